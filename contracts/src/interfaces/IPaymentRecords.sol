// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @title IPaymentRecords
/// @notice What a payment router remembers of the payments it made.
interface IPaymentRecords {
    /// @return record `keccak256(abi.encode(payee, token, amount))` of the payment `payer` made under `paymentId`; zero if there is none
    function paymentRecord(address payer, bytes32 paymentId) external view returns (bytes32 record);
}
