// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IERC1271 } from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import { EIP712 } from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import { SignatureChecker } from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import { ERC7739 } from "@openzeppelin/contracts/utils/cryptography/signers/draft-ERC7739.sol";
import { LaneCodec, LaneFields } from "./LaneCodec.sol";
import { LaneRecord } from "./LaneRecord.sol";
import { WalletEscrow } from "./wallet/WalletEscrow.sol";

/// @title AgentWallet
/// @notice The wallet of a software agent: money that belongs to its owner, paid out by keys that are assumed stealable.
///
/// Guarantees
/// - A stolen operator key takes at most, per token, what the operator's policy leaves: `dailyLimit` in any 24 hours (strictly sliding,
///   not per calendar day), of it at most `approvalAbove` without co-signatures, only to allowed recipients where the policy says so;
///   plus what its lane leaves: `paymentsPerPeriod * paymentMax` per period. It cannot approve spenders, sign permits, Permit2 transfers
///   or anything else, raise its own bounds, reset its lane, or stop being frozen.
/// - A payment id is paid once per wallet, whoever orders it and however often: retrying is safe.
/// - A limit is consumed if and only if the money left. A payment that fails changes nothing.
/// - Removing an operator voids all that it signed, at once and for ever; an address added again starts from nothing.
///
/// Roles
/// - The owner (a person, a Treasury, any EIP-1271 account) configures, withdraws, and signs for the wallet by ERC-7739. It is trusted
///   with everything. Ownership moves in two steps.
/// - An operator pays within its bounds, by transaction, by a signed {Payment} that anyone relays, or by its x402 lane.
/// - Approvers, as many as the rule asks for, or the owner alone, co-sign payments above the tier. An operator never approves its own.
/// - The guardian only tightens: it freezes operators. It may hand the wallet of a lost owner to another, after a delay of seven days in
///   which the owner can object.
/// - The factory can initialise the wallet once, in the transaction that creates it. Nobody can upgrade it.
///
/// The x402 lane. USDC asks a contract payer by a static call whether it agrees to an EIP-3009 authorization; nothing can be counted
/// there. So the count is in the nonce, which USDC itself burns: a lane has `paymentsPerPeriod` nonces per period, and the wallet agrees
/// to nothing but those, each with at most `paymentMax`. The payment needs no transaction of the wallet and any x402 facilitator settles
/// it. Byte layouts: {LaneCodec}. An authorization belongs to the period in which it ends and is accepted from five minutes before that
/// begins, so in any stretch of `W` seconds at most `ceil((W + periodSeconds + 300) / periodSeconds)` allotments can leave; short periods
/// bound it tightly. A new epoch ({bumpEpoch}, {setLane}, {unfreeze}, all the owner's) voids what was signed and begins the current
/// period's allotment anew. Money paid by the lane does not count against the policy's limit: the two bounds add up.
///
/// EIP-1271. Yes to lane authorizations and to the owner's ERC-7739 signatures (nested typed data or personal message, bound to this
/// wallet); never to a bare hash signed by anybody, so no signature made for another wallet or contract counts here.
///
/// Tokens. Made for USDC: six decimals, upgradeable and pausable by its issuer, able to blacklist. A refused transfer reverts the
/// payment. Amounts of policies are 56 bits, of lanes 40 bits (1,099,511 USDC a payment). The wallet takes no ether.
contract AgentWallet is WalletEscrow, ERC7739 {
    /// @notice The only account that may call {initialize}.
    address public immutable FACTORY;

    constructor(address escrow) EIP712("Florin Agent Wallet", "1") WalletEscrow(escrow) {
        FACTORY = msg.sender;
    }

    /// @notice Called by the factory in the transaction that creates the wallet.
    function initialize(WalletConfig calldata config) external nonReentrant {
        if (msg.sender != FACTORY) revert NotFactory(msg.sender, FACTORY);
        _initializeAccess(config);
        for (uint256 i = 0; i < config.operators.length; ++i) {
            _addOperator(config.operators[i]);
        }
    }

    function isValidSignature(bytes32 hash, bytes calldata signature)
        public
        view
        override(ERC7739, IERC1271)
        returns (bytes4)
    {
        if (signature.length == LaneCodec.SIGNATURE_BYTES && _acceptsLanePayment(hash, signature)) {
            return IERC1271.isValidSignature.selector;
        }
        return super.isValidSignature(hash, signature);
    }

    function _acceptsLanePayment(bytes32 hash, bytes calldata signature) private view returns (bool) {
        (bytes32 domainSeparator, address to, LaneFields fields) = LaneCodec.decode(signature);
        LaneRecord lane = _lanes[LaneCodec.recover(hash, signature)][domainSeparator];
        (bool accepted, bytes32 nonce) = lane.accepts(fields, block.timestamp);
        if (!accepted || to == address(this) || _isSink(to)) return false;
        if (lane.onlyAllowed() && !_recipients[lane.number()][to]) return false;
        return LaneCodec.digest(domainSeparator, address(this), to, fields, nonce) == hash;
    }

    /// @dev What ERC-7739 asks after nesting the hash into this wallet's domain.
    // slither-disable-next-line dead-code -- ERC7739 calls it
    function _rawSignatureValidation(bytes32 hash, bytes calldata signature) internal view override returns (bool) {
        return SignatureChecker.isValidSignatureNowCalldata(owner, hash, signature);
    }
}
