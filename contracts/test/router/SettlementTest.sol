// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { RouterTest } from "./RouterTest.sol";

/// Packs signed payments as {IPaymentRouter.settleBatch} documents it.
abstract contract SettlementTest is RouterTest {
    uint40 internal constant VALID_AFTER = 1_759_999_400;

    address[] internal payers;
    mapping(address payer => uint256) internal keyOf;
    address[] internal payees;
    uint256 private _nonce;

    function addPayer(string memory name) internal returns (address account) {
        uint256 key;
        (account, key) = makeAddrAndKey(name);
        keyOf[account] = key;
        payers.push(account);
    }

    /// An x402 payment as clients sign it: valid from ten minutes ago for a minute from now.
    function authorization(uint256 from, uint256 to, uint256 value) internal returns (Authorization memory) {
        return Authorization(
            payers[from], payees[to], value, VALID_AFTER, vm.getBlockTimestamp() + 60, keccak256(abi.encode(++_nonce))
        );
    }

    /// A payment with a compact signature.
    function packed(uint256 from, uint256 to, uint256 value) internal returns (bytes memory) {
        Authorization memory terms = authorization(from, to, value);
        return packed(from, to, terms, compact(signTransfer(keyOf[terms.from], terms)), 0);
    }

    /// A payment with a signature of any kind.
    function packed(uint256 from, uint256 to, Authorization memory terms, bytes memory signature, uint256 length)
        internal
        pure
        returns (bytes memory)
    {
        return abi.encodePacked(
            uint8(from),
            uint8(to),
            uint64(terms.value),
            uint40(terms.validAfter),
            uint40(terms.validBefore),
            terms.nonce,
            uint16(length),
            signature
        );
    }

    /// `payments` behind the token and both tables.
    function batch(bytes memory payments) internal view returns (bytes memory) {
        return bytes.concat(bytes20(address(usdc)), table(payers), table(payees), payments);
    }

    function table(address[] memory accounts) internal pure returns (bytes memory list) {
        list = abi.encodePacked(uint8(accounts.length - 1));
        for (uint256 i = 0; i < accounts.length; ++i) {
            list = bytes.concat(list, bytes20(accounts[i]));
        }
    }

    /// `r ‖ s ‖ v` as EIP-2098 has it.
    function compact(bytes memory signature) internal pure returns (bytes memory) {
        bytes32 r;
        uint256 s;
        assembly {
            r := mload(add(signature, 32))
            s := mload(add(signature, 64))
        }
        return abi.encodePacked(r, s | uint256(uint8(signature[64]) - 27) << 255);
    }
}
