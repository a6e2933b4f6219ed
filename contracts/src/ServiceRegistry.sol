// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { IERC20Permit } from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import { EIP712 } from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import { SafeCast } from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { SignatureChecker } from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import { Payouts } from "./Payouts.sol";
import { IEscrow } from "./interfaces/IEscrow.sol";
import { IPaymentRecords } from "./interfaces/IPaymentRecords.sol";
import { IReceiveWithAuthorization } from "./interfaces/IReceiveWithAuthorization.sol";
import { IServiceRegistry } from "./interfaces/IServiceRegistry.sol";

/// @title ServiceRegistry
/// @notice Services that agents sell, the stake that stands behind them, and what payers say about them.
///
/// Roles. An owner registers a service under an id that nobody else can take, says who is paid (the payee) and who may slash (the arbiter),
/// and stakes. A payer rates what it paid for. Nobody owns, upgrades or pauses this contract.
///
/// Stake. Bonded -> unbonding -> withdrawn after UNBONDING_DELAY. Until it is withdrawn it can be slashed, and what is unbonding is
/// slashed first. The balance of this contract is at least all stake, all unbonding and all credits.
///
/// Slashing needs a finding: an agreement of the escrow between a buyer and this service's payee, which this service's arbiter resolved, by
/// ruling and not by silence, with less than everything for the seller. That arbiter says how much of the stake the buyer gets, once per
/// agreement, at most
///  - what the payee received in it: what the agreement released, less the fee, which is a third party's and may be the buyer's friend;
///  - SLASH_SHARE_BPS of what is staked and unbonding at that moment.
///
/// Why a colluding buyer cannot drain a service. Only an agreement that the seller itself delivered can be disputed, and a slash gives back
/// at most what the payee got in it: a service is never left with less than before the deal, a buyer never with more. That holds even if
/// buyer, arbiter and the fee's recipient are one.
///
/// Why an owner cannot escape by slashing itself. A slash needs the arbiter. Another arbiter, or another payee whom old agreements do not
/// name, takes effect only after UNBONDING_DELAY, by itself, so no change is kept ready for the day it is needed; until then the present
/// arbiter can slash everything. An accomplice as arbiter is thus never quicker than unbonding. With an honest arbiter an owner would have
/// to lose a real dispute against itself, over money that it first paid itself, for at most a share of the stake each time. So a stake is
/// worth what its arbiter is worth: whoever relies on it looks at the arbiter, at announced parties, at what is unbonding, and keeps
/// delivery, review and arbitration of an agreement within the delay.
///
/// Feedback needs proof of payment in the stake's token: a released or resolved agreement, or the router's record. It is given by the payer,
/// by call or by signature, once per payment, and weighs what the payee received. If the service's arbiter ruled, it weighs no less than the amount
/// that the terms name, so that a seller whom rulings keep refunding has a record of it; what a buyer tops up and gets back weighs nothing.
///
/// Known limits. Two accounts of one person can pay each other and rate that: the records say what it cost, not who paid whom, so readers
/// weigh by distinct payers, which the events name. A payee is named, not proven, and may serve several services: the payer says for which
/// of them it paid. After a change of payee, payments to the former one can no longer be rated.
contract ServiceRegistry is Payouts, IServiceRegistry, EIP712 {
    using SafeCast for uint256;
    using SafeERC20 for IERC20;

    /// @inheritdoc IServiceRegistry
    uint256 public constant UNBONDING_DELAY = 14 days;
    /// @inheritdoc IServiceRegistry
    uint256 public constant SLASH_SHARE_BPS = 5000;

    uint256 private constant BPS = 10_000;
    uint256 private constant SCORE_MAX = 100;
    uint256 private constant STRING_LENGTH_MAX = 256;
    bytes32 private constant FEEDBACK_TYPEHASH = keccak256(
        "Feedback(bytes32 service,bytes32 payment,uint8 score,string uri,bytes32 contentHash,uint64 deadline)"
    );

    /// @notice What is staked, and the only token in which payments can be rated.
    IERC20 public immutable stakeToken;
    IEscrow public immutable escrow;
    IPaymentRecords public immutable router;

    mapping(bytes32 service => Service) private _services;
    mapping(bytes32 service => Reputation) private _reputations;
    mapping(bytes32 agreement => bool) private _slashed;
    mapping(bytes32 payment => bool) private _rated;

    constructor(IERC20 stakeToken_, IEscrow escrow_, IPaymentRecords router_) EIP712("Florin ServiceRegistry", "1") {
        (stakeToken, escrow, router) = (stakeToken_, escrow_, router_);
    }

    // Services

    /// @inheritdoc IServiceRegistry
    function register(bytes32 salt, address payee, address arbiter, Offer calldata offer)
        external
        nonReentrant
        returns (bytes32 id)
    {
        id = serviceId(msg.sender, salt);
        Service storage service = _services[id];
        if (service.owner != address(0)) revert ServiceExists(id);
        _requireSound(payee, arbiter);
        service.owner = msg.sender;
        service.payee = payee;
        service.arbiter = arbiter;
        emit ServiceRegistered(id, msg.sender, payee, arbiter, salt);
        _publish(id, service, offer);
    }

    /// @inheritdoc IServiceRegistry
    function updateOffer(bytes32 id, Offer calldata offer) external nonReentrant {
        Service storage service = _owned(id);
        _requireLive(id, service);
        _publish(id, service, offer);
    }

    /// @inheritdoc IServiceRegistry
    function retire(bytes32 id) external nonReentrant {
        Service storage service = _owned(id);
        _requireLive(id, service);
        service.retired = true;
        emit ServiceRetired(id);
    }

    /// @inheritdoc IServiceRegistry
    function offerOwnership(bytes32 id, address newOwner) external nonReentrant {
        _owned(id).pendingOwner = newOwner;
        emit OwnershipOffered(id, msg.sender, newOwner);
    }

    /// @inheritdoc IServiceRegistry
    function acceptOwnership(bytes32 id) external nonReentrant {
        Service storage service = _services[id];
        if (msg.sender != service.pendingOwner) revert NotPendingOwner(msg.sender, service.pendingOwner);
        emit OwnershipAccepted(id, service.owner, msg.sender);
        service.owner = msg.sender;
        service.pendingOwner = address(0);
    }

    /// @inheritdoc IServiceRegistry
    function announceParties(bytes32 id, address payee, address arbiter) external nonReentrant {
        Service storage service = _owned(id);
        _requireSound(payee, arbiter);
        (service.payee, service.arbiter) = _parties(service);
        (service.announcedPayee, service.announcedArbiter) = (payee, arbiter);
        uint256 changesAt = block.timestamp + UNBONDING_DELAY;
        service.changesAt = changesAt.toUint40();
        emit PartiesAnnounced(id, payee, arbiter, changesAt);
    }

    // Stake

    /// @inheritdoc IServiceRegistry
    function addStake(bytes32 id, uint256 amount) external nonReentrant {
        _addStake(id, msg.sender, amount);
        _pull(address(stakeToken), msg.sender, amount);
    }

    /// @inheritdoc IServiceRegistry
    function addStakeWithPermit(bytes32 id, uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
        nonReentrant
    {
        _addStake(id, msg.sender, amount);
        // Whoever saw the permit may have used it first; then the allowance is there all the same.
        try IERC20Permit(address(stakeToken)).permit(msg.sender, address(this), amount, deadline, v, r, s) { } catch { }
        _pull(address(stakeToken), msg.sender, amount);
    }

    /// @inheritdoc IServiceRegistry
    function addStakeWithAuthorization(
        bytes32 id,
        address from,
        uint256 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 salt,
        bytes calldata signature
    ) external nonReentrant {
        _addStake(id, from, amount);
        _receive(from, amount, validAfter, validBefore, stakeNonce(id, salt), signature);
    }

    /// @inheritdoc IServiceRegistry
    function beginUnbonding(bytes32 id, uint256 amount) external nonReentrant {
        Service storage service = _owned(id);
        uint256 stake = service.stake;
        if (amount == 0) revert AmountZero();
        if (amount > stake) revert MoreThanStaked(amount, stake);
        uint256 unbonding = service.unbonding + amount;
        uint256 unbondsAt = block.timestamp + UNBONDING_DELAY;
        service.stake = (stake - amount).toUint96();
        service.unbonding = unbonding.toUint96();
        service.unbondsAt = unbondsAt.toUint40();
        emit UnbondingBegun(id, amount, unbonding, unbondsAt);
    }

    /// @inheritdoc IServiceRegistry
    function cancelUnbonding(bytes32 id) external nonReentrant {
        Service storage service = _owned(id);
        uint256 amount = _takeUnbonding(id, service);
        uint256 stake = service.stake + amount;
        service.stake = stake.toUint96();
        emit UnbondingCancelled(id, amount, stake);
    }

    /// @inheritdoc IServiceRegistry
    function withdrawStake(bytes32 id, address to) external nonReentrant returns (uint256 amount) {
        Service storage service = _owned(id);
        if (to == address(0) || to == address(this) || to == address(stakeToken)) revert PartyInvalid(to);
        if (block.timestamp < service.unbondsAt) revert StillUnbonding(block.timestamp, service.unbondsAt);
        amount = _takeUnbonding(id, service);
        emit StakeWithdrawn(id, to, amount);
        stakeToken.safeTransfer(to, amount);
    }

    /// @inheritdoc IServiceRegistry
    function slash(bytes32 id, IEscrow.Terms calldata terms, uint256 amount) external nonReentrant {
        if (msg.sender != terms.arbiter) revert NotArbiter(msg.sender, terms.arbiter);
        (bytes32 agreement, uint256 amountMax) = _finding(id, terms);
        if (amount == 0) revert AmountZero();
        if (amount > amountMax) revert SlashTooLarge(amount, amountMax);
        Service storage service = _services[id];
        uint256 unbonding = service.unbonding;
        uint256 fromUnbonding = amount < unbonding ? amount : unbonding;
        _slashed[agreement] = true;
        service.unbonding = (unbonding - fromUnbonding).toUint96();
        service.stake -= (amount - fromUnbonding).toUint96();
        emit StakeSlashed(id, agreement, terms.buyer, amount, fromUnbonding);
        _pay(agreement, address(stakeToken), terms.buyer, amount);
    }

    // Feedback

    /// @inheritdoc IServiceRegistry
    function rateAgreement(Feedback calldata feedback, IEscrow.Terms calldata terms, bytes calldata signature)
        external
        nonReentrant
    {
        Service storage service = _existing(feedback.service);
        address arbiter = _requireSeller(service, terms);
        bytes32 id = escrow.agreementId(terms);
        IEscrow.Agreement memory agreement = escrow.agreementOf(id);
        bool disputed = agreement.status == IEscrow.Status.Resolved;
        // Refunded as well: a seller who gives back the last unit would not be rated for the rest otherwise.
        if (!disputed && agreement.status != IEscrow.Status.Released && agreement.status != IEscrow.Status.Refunded) {
            revert NoPayment(id);
        }
        uint256 amount = _received(agreement.released, terms);
        if (agreement.ruled && terms.arbiter == arbiter && amount < terms.amount) amount = terms.amount;
        if (amount == 0) revert NoPayment(id);
        _authorize(feedback, terms.buyer, id, signature);
        _record(feedback, terms.buyer, id, amount, disputed);
    }

    /// @inheritdoc IServiceRegistry
    function ratePayment(
        Feedback calldata feedback,
        address payer,
        bytes32 paymentId,
        uint256 amount,
        bytes calldata signature
    ) external nonReentrant {
        (address payee,) = _parties(_existing(feedback.service));
        bytes32 key = paymentKey(payer, paymentId);
        bytes32 record = router.paymentRecord(payer, paymentId);
        if (record != keccak256(abi.encode(payee, address(stakeToken), amount))) revert NoPayment(key);
        _authorize(feedback, payer, key, signature);
        _record(feedback, payer, key, amount, false);
    }

    // Views

    /// @inheritdoc IServiceRegistry
    function serviceId(address owner, bytes32 salt) public pure returns (bytes32) {
        return keccak256(abi.encode(owner, salt));
    }

    /// @inheritdoc IServiceRegistry
    function serviceOf(bytes32 id) external view returns (Service memory service) {
        service = _services[id];
        if (!_changed(service.changesAt)) return service;
        (service.payee, service.arbiter) = (service.announcedPayee, service.announcedArbiter);
        (service.announcedPayee, service.announcedArbiter, service.changesAt) = (address(0), address(0), 0);
    }

    /// @inheritdoc IServiceRegistry
    function reputationOf(bytes32 id) external view returns (Reputation memory) {
        return _reputations[id];
    }

    /// @inheritdoc IServiceRegistry
    function slashable(bytes32 id, IEscrow.Terms calldata terms) external view returns (uint256 amountMax) {
        (, amountMax) = _finding(id, terms);
    }

    /// @inheritdoc IServiceRegistry
    function stakeNonce(bytes32 id, bytes32 salt) public pure returns (bytes32) {
        return keccak256(abi.encode(id, salt));
    }

    /// @inheritdoc IServiceRegistry
    function paymentKey(address payer, bytes32 paymentId) public pure returns (bytes32) {
        return keccak256(abi.encode(payer, paymentId));
    }

    /// @inheritdoc IServiceRegistry
    function feedbackDigest(Feedback calldata feedback, bytes32 payment) public view returns (bytes32) {
        return _hashTypedDataV4(
            keccak256(
                abi.encode(
                    FEEDBACK_TYPEHASH,
                    feedback.service,
                    payment,
                    feedback.score,
                    keccak256(bytes(feedback.uri)),
                    feedback.contentHash,
                    feedback.deadline
                )
            )
        );
    }

    // Internals

    function _owned(bytes32 id) private view returns (Service storage service) {
        service = _services[id];
        if (msg.sender != service.owner) revert NotOwner(msg.sender, service.owner);
    }

    function _existing(bytes32 id) private view returns (Service storage service) {
        service = _services[id];
        if (service.owner == address(0)) revert ServiceUnknown(id);
    }

    function _requireLive(bytes32 id, Service storage service) private view {
        if (service.retired) revert ServiceIsRetired(id);
    }

    /// @dev The escrow refuses a seller who is its own arbiter: with such a pair nothing could ever be slashed.
    function _requireSound(address payee, address arbiter) private view {
        if (payee == address(0) || payee == address(this) || payee == address(stakeToken)) revert PartyInvalid(payee);
        if (arbiter == payee) revert PartyInvalid(arbiter);
    }

    function _requireShort(string calldata text) private pure {
        uint256 length = bytes(text).length;
        if (length > STRING_LENGTH_MAX) revert StringTooLong(length, STRING_LENGTH_MAX);
    }

    function _publish(bytes32 id, Service storage service, Offer calldata offer) private {
        _requireShort(offer.endpoint);
        _requireShort(offer.metadataURI);
        if ((offer.pricing == Pricing.Subscription) != (offer.period != 0)) {
            revert PeriodInvalid(offer.pricing, offer.period);
        }
        if (offer.token == address(0)) revert PartyInvalid(offer.token);
        bytes32 offerHash = keccak256(abi.encode(offer));
        (service.token, service.price, service.pricing) = (offer.token, offer.price, offer.pricing);
        service.period = offer.period;
        service.offerHash = offerHash;
        emit OfferPublished(id, offerHash, offer);
    }

    function _changed(uint256 changesAt) private view returns (bool) {
        return changesAt != 0 && block.timestamp >= changesAt;
    }

    /// @dev Who counts now: the announced ones once their time has come.
    function _parties(Service storage service) private view returns (address payee, address arbiter) {
        if (_changed(service.changesAt)) return (service.announcedPayee, service.announcedArbiter);
        return (service.payee, service.arbiter);
    }

    function _addStake(bytes32 id, address from, uint256 amount) private {
        Service storage service = _existing(id);
        _requireLive(id, service);
        if (amount == 0) revert AmountZero();
        uint256 stake = service.stake + amount;
        service.stake = stake.toUint96();
        emit StakeAdded(id, from, amount, stake);
    }

    function _receive(
        address from,
        uint256 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) private {
        uint256 before = stakeToken.balanceOf(address(this));
        IReceiveWithAuthorization(address(stakeToken))
            .receiveWithAuthorization(from, address(this), amount, validAfter, validBefore, nonce, signature);
        _requireArrived(address(stakeToken), before, amount);
    }

    function _takeUnbonding(bytes32 id, Service storage service) private returns (uint256 amount) {
        amount = service.unbonding;
        if (amount == 0) revert NothingUnbonding(id);
        service.unbonding = 0;
    }

    /// @dev The terms must be between a buyer and this service, in the stake's token.
    /// @return arbiter this service's
    function _requireSeller(Service storage service, IEscrow.Terms calldata terms)
        private
        view
        returns (address arbiter)
    {
        address payee;
        (payee, arbiter) = _parties(service);
        if (terms.seller != payee) revert PayeeMismatch(terms.seller, payee);
        if (terms.token != address(stakeToken)) revert TokenMismatch(terms.token, address(stakeToken));
    }

    /// @dev The agreement that its arbiter, who is this service's, decided against it, and what the stake owes for it at most.
    function _finding(bytes32 id, IEscrow.Terms calldata terms)
        private
        view
        returns (bytes32 agreementId, uint256 amountMax)
    {
        Service storage service = _existing(id);
        address arbiter = _requireSeller(service, terms);
        if (terms.arbiter != arbiter) revert ArbiterMismatch(terms.arbiter, arbiter);
        agreementId = escrow.agreementId(terms);
        IEscrow.Agreement memory agreement = escrow.agreementOf(agreementId);
        // Only a resolved agreement has been ruled on.
        if (!agreement.ruled || agreement.released == agreement.funded) revert NoFinding(agreementId);
        if (_slashed[agreementId]) revert AlreadySlashed(agreementId);
        uint256 received = _received(agreement.released, terms);
        uint256 share = (uint256(service.stake) + service.unbonding) * SLASH_SHARE_BPS / BPS;
        amountMax = received < share ? received : share;
    }

    /// @dev What the seller has of it. A fee may go to the buyer itself, so it weighs nothing.
    function _received(uint256 released, IEscrow.Terms calldata terms) private pure returns (uint256) {
        return released - released * terms.feeBps / BPS;
    }

    /// @dev Marks a payment as rated, if it is the payer who rates it.
    function _authorize(Feedback calldata feedback, address payer, bytes32 payment, bytes calldata signature) private {
        if (_rated[payment]) revert AlreadyRated(payment);
        _rated[payment] = true;
        if (payer == _services[feedback.service].owner) revert SelfFeedback(payer);
        if (msg.sender == payer) return;
        if (block.timestamp > feedback.deadline) revert DeadlinePassed(block.timestamp, feedback.deadline);
        bytes32 digest = feedbackDigest(feedback, payment);
        if (!SignatureChecker.isValidSignatureNowCalldata(payer, digest, signature)) revert SignatureInvalid(payer);
    }

    function _record(Feedback calldata feedback, address payer, bytes32 payment, uint256 amount, bool disputed)
        private
    {
        if (feedback.score > SCORE_MAX) revert ScoreTooHigh(feedback.score, SCORE_MAX);
        _requireShort(feedback.uri);
        _count(_reputations[feedback.service], amount, feedback.score, disputed);
        emit FeedbackGiven(
            feedback.service, payer, payment, amount, disputed, feedback.score, feedback.uri, feedback.contentHash
        );
    }

    function _count(Reputation storage reputation, uint256 amount, uint256 score, bool disputed) private {
        if (disputed) ++reputation.disputed;
        else ++reputation.settled;
        uint256 volume = reputation.volume + amount;
        uint256 scoreSum = reputation.scoreSum + score * amount;
        reputation.volume = volume.toUint88();
        reputation.scoreSum = scoreSum.toUint96();
    }
}
