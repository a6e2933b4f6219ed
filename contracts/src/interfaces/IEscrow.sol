// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { IPayouts } from "./IPayouts.sol";

/// @title IEscrow
/// @notice Agreements between a buyer and a seller about money that waits on chain. Amounts are base units of the agreement's token,
/// times are unix seconds.
///
/// ERC-8183 (agentic commerce, a draft) has the same roles: client = buyer, provider = seller, evaluator = arbiter, jobId = uint256(id). An indexer
/// follows agreements as jobs by this table:
///
/// | ERC-8183                                              | here                                                                        |
/// |-------------------------------------------------------|-----------------------------------------------------------------------------|
/// | JobCreated, ProviderSet, BudgetSet, JobFunded         | AgreementFunded: one step, so no job is open but unfunded                   |
/// | JobFunded once more, with the higher budget           | AgreementToppedUp                                                           |
/// | JobSubmitted, deliverable                             | AgreementDelivered, deliveryHash                                            |
/// | PaymentReleased                                       | AgreementReleased, amount - fee                                             |
/// | JobCompleted by the client, or by anyone after silence | AgreementReleased with released = funded                                   |
/// | JobCompleted by the evaluator                         | AgreementResolved by the arbiter, toSeller > 0                              |
/// | JobRejected by the provider                           | AgreementRefunded by the seller                                             |
/// | JobRejected by the evaluator                          | AgreementResolved by the arbiter, toSeller = 0                              |
/// | JobExpired                                            | AgreementRefunded by another than the seller; AgreementResolved by a default |
/// | Refunded                                              | AgreementRefunded, amount; AgreementResolved, toBuyer                       |
/// | none: a dispute is between delivery and judgement     | AgreementDisputed                                                           |
///
/// The draft's events are not emitted beside these: a partial release, a split or a bond has no place in them, and the full set would add two logs
/// (3,500 gas) to a release. A part of the set would be worse than none: jobs that an indexer sees begin and never end.
interface IEscrow is IPayouts {
    /// @notice What happens when the arbiter of a dispute stays silent.
    enum DefaultOutcome {
        RefundBuyer,
        ReleaseSeller
    }

    /// @notice What buyer and seller agree on. Terms travel in calldata; storage keeps their hash and one slot.
    struct Terms {
        /// @dev Who pays, and who gets what is not released.
        address buyer;
        /// @dev Who delivers and is paid.
        address seller;
        /// @dev Who rules on a dispute. Zero: there is none, so no dispute either. Never the buyer or the seller.
        address arbiter;
        address token;
        /// @dev What is funded at the beginning.
        uint256 amount;
        /// @dev Share of everything released that goes to `feeRecipient`, in basis points, rounded down on the sum of all releases.
        uint16 feeBps;
        address feeRecipient;
        /// @dev Delivery is possible before this second, refund without the seller from it on.
        uint64 deliverBy;
        /// @dev Seconds after delivery in which the buyer may dispute; then anyone may release.
        uint32 reviewPeriod;
        /// @dev Seconds after the dispute in which the arbiter may rule; then anyone may apply the default.
        uint32 arbitrationPeriod;
        /// @dev What a dispute costs the buyer if it is lost entirely.
        uint256 disputeBond;
        DefaultOutcome defaultOutcome;
        /// @dev Hash of what is to be delivered.
        bytes32 contentHash;
        /// @dev ERC-8004 id of the seller's agent; zero for none.
        uint256 agentId;
        /// @dev Tells two equal agreements apart.
        bytes32 salt;
    }

    enum Status {
        None,
        Funded,
        Delivered,
        Disputed,
        Released,
        Refunded,
        Resolved
    }

    /// @notice All that changes about an agreement. One storage slot.
    struct Agreement {
        Status status;
        /// @dev Delivered: end of the review. Disputed: end of the arbitration. Otherwise zero.
        uint40 windowEnds;
        /// @dev Sum of all fundings.
        uint96 funded;
        /// @dev Sum of all that left towards the seller, fees included.
        uint96 released;
        /// @dev The arbiter ruled. False for everything else that ends an agreement, a default applied in the arbiter's silence included.
        bool ruled;
    }

    event AgreementFunded(bytes32 indexed id, address indexed buyer, address indexed seller, Terms terms);
    event AgreementToppedUp(bytes32 indexed id, uint256 amount, uint256 funded);
    event AgreementDelivered(bytes32 indexed id, bytes32 deliveryHash, uint256 reviewEnds);
    /// @param amount what left with this release, fee included
    event AgreementReleased(bytes32 indexed id, address indexed by, uint256 amount, uint256 fee, uint256 released);
    event AgreementRefunded(bytes32 indexed id, address indexed by, uint256 amount);
    event AgreementDisputed(bytes32 indexed id, uint256 bond, uint256 arbitrationEnds);
    /// @param by the arbiter, or whoever applied the default
    event AgreementResolved(
        bytes32 indexed id, address indexed by, uint256 toSeller, uint256 toBuyer, uint256 fee, address bondTo
    );

    error NotBuyer(address caller, address buyer);
    error NotSeller(address caller, address seller);
    error NotArbiter(address caller, address arbiter);
    error WrongStatus(bytes32 id, Status status);
    error AmountZero();
    error AmountTooLarge(uint256 amount, uint256 max);
    error FeeInvalid(uint256 feeBps, uint256 feeBpsMax);
    error DeadlinePassed(uint256 timestamp, uint256 deadline);
    error TooEarly(uint256 timestamp, uint256 opensAt);
    error ReviewOver(uint256 timestamp, uint256 reviewEnds);
    error ReviewNotOver(uint256 timestamp, uint256 reviewEnds);
    error ArbitrationOver(uint256 timestamp, uint256 arbitrationEnds);
    error ArbitrationNotOver(uint256 timestamp, uint256 arbitrationEnds);
    error NothingToRelease(uint256 total, uint256 released);
    error MoreThanFunded(uint256 total, uint256 funded);
    error SignatureInvalid(address signer);

    /// @notice The buyer funds by allowance.
    function fund(Terms calldata terms) external returns (bytes32 id);

    /// @notice The buyer funds by an EIP-2612 permit. A permit that somebody used first does no harm.
    function fundWithPermit(Terms calldata terms, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
        returns (bytes32 id);

    /// @notice Anyone funds for the buyer, who signed an EIP-3009 `ReceiveWithAuthorization` to this contract of `terms.amount`, whose nonce
    /// is the agreement's id: no term can be altered.
    function fundWithAuthorization(
        Terms calldata terms,
        uint256 validAfter,
        uint256 validBefore,
        bytes calldata signature
    ) external returns (bytes32 id);

    /// @notice The buyer adds money by allowance.
    function topUp(Terms calldata terms, uint256 amount) external;

    /// @notice The seller delivers, before `deliverBy`.
    function markDelivered(Terms calldata terms, bytes32 deliveryHash) external;

    /// @notice The buyer releases everything.
    function release(Terms calldata terms) external;

    /// @notice The buyer releases everything of several agreements.
    function releaseBatch(Terms[] calldata terms) external;

    /// @notice The buyer releases up to a sum of `total` over the life of the agreement.
    function releaseUpTo(Terms calldata terms, uint256 total) external;

    /// @notice The same by the buyer's EIP-712 signature of `Release(bytes32 agreement,uint256 total,uint256 deadline)`. Anyone may relay it;
    /// a second time it releases nothing.
    function releaseWithSignature(Terms calldata terms, uint256 total, uint256 deadline, bytes calldata signature)
        external;

    /// @notice Anyone releases everything once the review passed without a dispute.
    function releaseUndisputed(Terms calldata terms) external;

    /// @notice Gives the rest back to the buyer: by the seller before a dispute at any time, by anyone else from `deliverBy` on if nothing
    /// was delivered.
    function refund(Terms calldata terms) external;

    /// @notice The buyer disputes a delivery before the review ends. Takes the bond by allowance.
    function dispute(Terms calldata terms) external;

    /// @notice The arbiter splits the rest: `toSeller`, fee included, and what remains to the buyer. The bond goes to the seller if the buyer
    /// gets nothing, else back.
    function resolve(Terms calldata terms, uint256 toSeller) external;

    /// @notice Anyone applies the default outcome once the arbiter has been silent for too long. The bond goes back.
    function applyDefault(Terms calldata terms) external;

    /// @notice The EIP-712 hash of the terms: their id.
    function agreementId(Terms calldata terms) external view returns (bytes32);
    function agreementOf(bytes32 id) external view returns (Agreement memory);
}
