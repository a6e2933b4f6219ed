// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { IERC20Permit } from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import { EIP712 } from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import { MessageHashUtils } from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import { SignatureChecker } from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import { Payouts } from "./Payouts.sol";
import { IPaymentRouter } from "./interfaces/IPaymentRouter.sol";
import { IReceiveWithAuthorization } from "./interfaces/IReceiveWithAuthorization.sol";

/// @title PaymentRouterFunding
/// @notice How a payer's money comes in when an allowance is not there.
abstract contract PaymentRouterFunding is IPaymentRouter, Payouts, EIP712 {
    /// @dev EIP-3009's.
    bytes32 private constant RECEIVE_WITH_AUTHORIZATION_TYPEHASH = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );

    /// @dev By the caller's allowance, with a permit for it.
    function _pullWithPermit(address token, uint256 amount, Permit calldata permit) internal {
        // Whoever saw the permit may have used it first; then the allowance is there all the same.
        try IERC20Permit(token)
            .permit(msg.sender, address(this), amount, permit.deadline, permit.v, permit.r, permit.s) { }
            catch { }
        _pull(token, msg.sender, amount);
    }

    /// @dev By the payer's authorization. A token that lets anything pass could otherwise put records and events in the name of anybody, so the
    /// signature is verified here, too: what the payer signed names the token in its nonce.
    /// @param nonce a hash of all that the payer signs for
    function _receive(address token, uint256 amount, bytes32 nonce, Authorization calldata authorization) internal {
        bytes32 digest = _authorizationDigest(token, amount, nonce, authorization);
        if (!SignatureChecker.isValidSignatureNowCalldata(authorization.payer, digest, authorization.signature)) {
            revert SignatureInvalid(authorization.payer);
        }
        uint256 before = IERC20(token).balanceOf(address(this));
        IReceiveWithAuthorization(token)
            .receiveWithAuthorization(
                authorization.payer,
                address(this),
                amount,
                authorization.validAfter,
                authorization.validBefore,
                nonce,
                authorization.signature
            );
        _requireArrived(token, before, amount);
    }

    /// @dev A payee that nobody can mean reverts, whatever the token thinks of it.
    function _checkPayee(address payer, address token, address payee) internal view {
        if (payee == address(0) || payee == payer || payee == token || payee == address(this)) {
            revert PartyInvalid(payee);
        }
    }

    function _authorizationDigest(address token, uint256 amount, bytes32 nonce, Authorization calldata authorization)
        private
        view
        returns (bytes32)
    {
        bytes32 structHash = keccak256(
            abi.encode(
                RECEIVE_WITH_AUTHORIZATION_TYPEHASH,
                authorization.payer,
                address(this),
                amount,
                authorization.validAfter,
                authorization.validBefore,
                nonce
            )
        );
        return MessageHashUtils.toTypedDataHash(IERC20Permit(token).DOMAIN_SEPARATOR(), structHash);
    }
}
