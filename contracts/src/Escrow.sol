// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { IERC20Permit } from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import { EIP712 } from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import { SignatureChecker } from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import { Payouts } from "./Payouts.sol";
import { IEscrow } from "./interfaces/IEscrow.sol";
import { IReceiveWithAuthorization } from "./interfaces/IReceiveWithAuthorization.sol";

/// @title Escrow
/// @notice Holds a buyer's money until a seller has delivered.
///
/// States: None -> Funded -> Delivered -> Released | Disputed -> Resolved, and Refunded from Funded or Delivered.
///
/// Guarantees. Per agreement, released + refunded = funded, and money of one agreement never pays for another. At every second exactly one
/// party's default applies: before `deliverBy` an undelivered agreement waits for the seller, from then on it can be refunded; until the
/// review ends a delivered one waits for the buyer, from then on anyone releases it; until the arbitration ends a disputed one waits for the
/// arbiter, from then on anyone applies the default that the terms name. A silent party never strands the other.
///
/// Roles. The buyer funds, tops up, releases, disputes. The seller delivers and may refund before a dispute. The arbiter splits what is left of a
/// disputed agreement between those two, and can do nothing else. Nobody owns, upgrades or pauses this contract.
///
/// Tokens. Any ERC-20 that moves exactly what it is told; others are refused when they fund. An issuer may pause or upgrade its token and
/// blacklist accounts: a payout that it refuses becomes a credit that the account withdraws to an address of its choice.
contract Escrow is Payouts, IEscrow, EIP712 {
    uint256 private constant BPS = 10_000;
    bytes32 private constant TERMS_TYPEHASH = keccak256(
        "Terms(address buyer,address seller,address arbiter,address token,uint256 amount,uint16 feeBps,address feeRecipient,uint64 deliverBy,uint32 reviewPeriod,uint32 arbitrationPeriod,uint256 disputeBond,uint8 defaultOutcome,bytes32 contentHash,uint256 agentId,bytes32 salt)"
    );
    bytes32 private constant RELEASE_TYPEHASH = keccak256("Release(bytes32 agreement,uint256 total,uint256 deadline)");

    mapping(bytes32 id => Agreement agreement) private _agreements;

    constructor() EIP712("Florin Escrow", "1") { }

    // Funding

    /// @inheritdoc IEscrow
    function fund(Terms calldata terms) external nonReentrant returns (bytes32 id) {
        _onlyBuyer(terms);
        id = _open(terms);
        _pull(terms.token, terms.buyer, terms.amount);
    }

    /// @inheritdoc IEscrow
    function fundWithPermit(Terms calldata terms, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
        nonReentrant
        returns (bytes32 id)
    {
        _onlyBuyer(terms);
        id = _open(terms);
        // Whoever saw the permit may have used it first; then the allowance is there all the same.
        try IERC20Permit(terms.token).permit(terms.buyer, address(this), terms.amount, deadline, v, r, s) { } catch { }
        _pull(terms.token, terms.buyer, terms.amount);
    }

    /// @inheritdoc IEscrow
    function fundWithAuthorization(
        Terms calldata terms,
        uint256 validAfter,
        uint256 validBefore,
        bytes calldata signature
    ) external nonReentrant returns (bytes32 id) {
        id = _open(terms);
        (address token, uint256 amount) = (terms.token, terms.amount);
        uint256 before = _balance(token);
        IReceiveWithAuthorization(token)
            .receiveWithAuthorization(terms.buyer, address(this), amount, validAfter, validBefore, id, signature);
        _requireArrived(token, before, amount);
    }

    /// @inheritdoc IEscrow
    function topUp(Terms calldata terms, uint256 amount) external nonReentrant {
        _onlyBuyer(terms);
        if (amount == 0) revert AmountZero();
        (bytes32 id, Agreement storage agreement) = _running(terms);
        uint256 funded = agreement.funded + amount;
        if (funded > type(uint96).max) revert AmountTooLarge(funded, type(uint96).max);
        // forge-lint: disable-next-line(unsafe-typecast) -- checked above
        agreement.funded = uint96(funded);
        emit AgreementToppedUp(id, amount, funded);
        _pull(terms.token, terms.buyer, amount);
    }

    // Delivery and release

    /// @inheritdoc IEscrow
    function markDelivered(Terms calldata terms, bytes32 deliveryHash) external {
        // Without a reentrancy guard: it calls nobody, and whoever calls out has written what it writes before.
        if (msg.sender != terms.seller) revert NotSeller(msg.sender, terms.seller);
        (bytes32 id, Agreement storage agreement) = _in(terms, Status.Funded);
        if (block.timestamp >= terms.deliverBy) revert DeadlinePassed(block.timestamp, terms.deliverBy);
        uint256 reviewEnds = block.timestamp + terms.reviewPeriod;
        agreement.status = Status.Delivered;
        // forge-lint: disable-next-line(unsafe-typecast) -- a time plus 32 bits
        agreement.windowEnds = uint40(reviewEnds);
        emit AgreementDelivered(id, deliveryHash, reviewEnds);
    }

    /// @inheritdoc IEscrow
    function release(Terms calldata terms) external nonReentrant {
        _onlyBuyer(terms);
        _releaseAll(terms);
    }

    /// @inheritdoc IEscrow
    function releaseBatch(Terms[] calldata terms) external nonReentrant {
        for (uint256 i = 0; i < terms.length; ++i) {
            _onlyBuyer(terms[i]);
            _releaseAll(terms[i]);
        }
    }

    /// @inheritdoc IEscrow
    function releaseUpTo(Terms calldata terms, uint256 total) external nonReentrant {
        _onlyBuyer(terms);
        (bytes32 id, Agreement storage agreement) = _running(terms);
        _release(id, agreement, terms, total);
    }

    /// @inheritdoc IEscrow
    function releaseWithSignature(Terms calldata terms, uint256 total, uint256 deadline, bytes calldata signature)
        external
        nonReentrant
    {
        if (block.timestamp > deadline) revert DeadlinePassed(block.timestamp, deadline);
        (bytes32 id, Agreement storage agreement) = _running(terms);
        bytes32 digest = _hashTypedDataV4(keccak256(abi.encode(RELEASE_TYPEHASH, id, total, deadline)));
        if (!SignatureChecker.isValidSignatureNowCalldata(terms.buyer, digest, signature)) {
            revert SignatureInvalid(terms.buyer);
        }
        _release(id, agreement, terms, total);
    }

    /// @inheritdoc IEscrow
    function releaseUndisputed(Terms calldata terms) external nonReentrant {
        (bytes32 id, Agreement storage agreement) = _in(terms, Status.Delivered);
        if (block.timestamp < agreement.windowEnds) revert ReviewNotOver(block.timestamp, agreement.windowEnds);
        _release(id, agreement, terms, agreement.funded);
    }

    /// @inheritdoc IEscrow
    function refund(Terms calldata terms) external nonReentrant {
        (bytes32 id, Agreement storage agreement) = _running(terms);
        if (msg.sender != terms.seller) {
            if (agreement.status != Status.Funded) revert WrongStatus(id, agreement.status);
            if (block.timestamp < terms.deliverBy) revert TooEarly(block.timestamp, terms.deliverBy);
        }
        uint256 rest = _rest(agreement);
        agreement.status = Status.Refunded;
        emit AgreementRefunded(id, msg.sender, rest);
        _pay(id, terms.token, terms.buyer, rest);
    }

    // Dispute

    /// @inheritdoc IEscrow
    function dispute(Terms calldata terms) external nonReentrant {
        _onlyBuyer(terms);
        if (terms.arbiter == address(0)) revert PartyInvalid(terms.arbiter);
        (bytes32 id, Agreement storage agreement) = _in(terms, Status.Delivered);
        if (block.timestamp >= agreement.windowEnds) revert ReviewOver(block.timestamp, agreement.windowEnds);
        uint256 arbitrationEnds = block.timestamp + terms.arbitrationPeriod;
        agreement.status = Status.Disputed;
        // forge-lint: disable-next-line(unsafe-typecast) -- a time plus 32 bits
        agreement.windowEnds = uint40(arbitrationEnds);
        emit AgreementDisputed(id, terms.disputeBond, arbitrationEnds);
        if (terms.disputeBond != 0) _pull(terms.token, terms.buyer, terms.disputeBond);
    }

    /// @inheritdoc IEscrow
    function resolve(Terms calldata terms, uint256 toSeller) external nonReentrant {
        if (msg.sender != terms.arbiter) revert NotArbiter(msg.sender, terms.arbiter);
        (bytes32 id, Agreement storage agreement) = _in(terms, Status.Disputed);
        uint256 ends = agreement.windowEnds;
        if (block.timestamp >= ends) revert ArbitrationOver(block.timestamp, ends);
        uint256 rest = _rest(agreement);
        if (toSeller > rest) revert MoreThanFunded(toSeller, rest);
        agreement.ruled = true;
        _split(id, agreement, terms, toSeller, toSeller == rest ? terms.seller : terms.buyer);
    }

    /// @inheritdoc IEscrow
    function applyDefault(Terms calldata terms) external nonReentrant {
        (bytes32 id, Agreement storage agreement) = _in(terms, Status.Disputed);
        uint256 ends = agreement.windowEnds;
        if (block.timestamp < ends) revert ArbitrationNotOver(block.timestamp, ends);
        bool toSeller = terms.defaultOutcome == DefaultOutcome.ReleaseSeller;
        _split(id, agreement, terms, toSeller ? _rest(agreement) : 0, terms.buyer);
    }

    // Views

    /// @inheritdoc IEscrow
    function agreementId(Terms calldata terms) public view returns (bytes32) {
        // The fifteen members of Terms are of one word each and in the order of their type, so calldata holds their EIP-712 encoding. A word
        // with bits beyond its type gives an id that no agreement has: funding emits the terms, and there the compiler checks every member.
        bytes32 typehash = TERMS_TYPEHASH;
        bytes32 structHash;
        assembly ("memory-safe") {
            let encoded := mload(0x40)
            mstore(encoded, typehash)
            calldatacopy(add(encoded, 0x20), terms, 0x1e0)
            structHash := keccak256(encoded, 0x200)
        }
        return _hashTypedDataV4(structHash);
    }

    /// @inheritdoc IEscrow
    function agreementOf(bytes32 id) external view returns (Agreement memory) {
        return _agreements[id];
    }

    // Internals

    function _open(Terms calldata terms) private returns (bytes32 id) {
        _requireSound(terms);
        id = agreementId(terms);
        Agreement storage agreement = _agreements[id];
        if (agreement.status != Status.None) revert WrongStatus(id, agreement.status);
        agreement.status = Status.Funded;
        agreement.funded = uint96(terms.amount);
        emit AgreementFunded(id, terms.buyer, terms.seller, terms);
    }

    function _requireSound(Terms calldata terms) private view {
        uint256 amount = terms.amount;
        if (amount == 0) revert AmountZero();
        if (amount > type(uint96).max) revert AmountTooLarge(amount, type(uint96).max);
        (address buyer, address seller, address arbiter) = (terms.buyer, terms.seller, terms.arbiter);
        if (buyer == address(0) || buyer == address(this)) revert PartyInvalid(buyer);
        if (seller == address(0) || seller == buyer || seller == address(this) || seller == terms.token) {
            revert PartyInvalid(seller);
        }
        if (arbiter != address(0) && (arbiter == buyer || arbiter == seller)) revert PartyInvalid(arbiter);
        uint256 feeBps = terms.feeBps;
        if (feeBps != 0) {
            if (feeBps > BPS) revert FeeInvalid(feeBps, BPS);
            address feeRecipient = terms.feeRecipient;
            if (feeRecipient == address(0) || feeRecipient == address(this) || feeRecipient == terms.token) {
                revert PartyInvalid(feeRecipient);
            }
        }
        if (block.timestamp >= terms.deliverBy) revert DeadlinePassed(block.timestamp, terms.deliverBy);
    }

    function _onlyBuyer(Terms calldata terms) private view {
        if (msg.sender != terms.buyer) revert NotBuyer(msg.sender, terms.buyer);
    }

    /// @dev The agreement, which must be in `status`.
    function _in(Terms calldata terms, Status status) private view returns (bytes32 id, Agreement storage agreement) {
        id = agreementId(terms);
        agreement = _agreements[id];
        if (agreement.status != status) revert WrongStatus(id, agreement.status);
    }

    /// @dev The agreement, which must be funded or delivered.
    function _running(Terms calldata terms) private view returns (bytes32 id, Agreement storage agreement) {
        id = agreementId(terms);
        agreement = _agreements[id];
        Status status = agreement.status;
        if (status != Status.Funded && status != Status.Delivered) revert WrongStatus(id, status);
    }

    function _rest(Agreement storage agreement) private view returns (uint256) {
        return agreement.funded - agreement.released;
    }

    function _releaseAll(Terms calldata terms) private {
        (bytes32 id, Agreement storage agreement) = _running(terms);
        _release(id, agreement, terms, agreement.funded);
    }

    /// @dev Releases until `total` has left over the life of the agreement.
    function _release(bytes32 id, Agreement storage agreement, Terms calldata terms, uint256 total) private {
        (uint256 funded, uint256 released) = (agreement.funded, agreement.released);
        if (total <= released) revert NothingToRelease(total, released);
        if (total > funded) revert MoreThanFunded(total, funded);
        if (total == funded) agreement.status = Status.Released;
        // forge-lint: disable-next-line(unsafe-typecast) -- at most what is funded
        agreement.released = uint96(total);
        uint256 fee = _feeBetween(terms, released, total);
        emit AgreementReleased(id, msg.sender, total - released, fee, total);
        address token = terms.token;
        _pay(id, token, terms.seller, total - released - fee);
        if (fee != 0) _pay(id, token, terms.feeRecipient, fee);
    }

    /// @dev Ends a dispute: `toSeller` of the rest, fee included, to the seller, what remains to the buyer, the bond to `bondTo`.
    function _split(bytes32 id, Agreement storage agreement, Terms calldata terms, uint256 toSeller, address bondTo)
        private
    {
        uint256 released = agreement.released;
        uint256 toBuyer = _rest(agreement) - toSeller;
        agreement.status = Status.Resolved;
        // forge-lint: disable-next-line(unsafe-typecast) -- at most what is funded
        agreement.released = uint96(released + toSeller);
        uint256 fee = _feeBetween(terms, released, released + toSeller);
        emit AgreementResolved(id, msg.sender, toSeller, toBuyer, fee, bondTo);
        _pay(id, terms.token, terms.seller, toSeller - fee);
        _pay(id, terms.token, terms.feeRecipient, fee);
        _pay(id, terms.token, terms.buyer, toBuyer);
        _pay(id, terms.token, bondTo, terms.disputeBond);
    }

    /// @dev The fee on the sum of releases, minus what of it was taken before: slicing a release does not round the fee away.
    function _feeBetween(Terms calldata terms, uint256 releasedBefore, uint256 releasedAfter)
        private
        pure
        returns (uint256)
    {
        uint256 feeBps = terms.feeBps;
        if (feeBps == 0) return 0;
        return (releasedAfter * feeBps) / BPS - (releasedBefore * feeBps) / BPS;
    }
}
