// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { IEscrow } from "./IEscrow.sol";
import { IPayouts } from "./IPayouts.sol";

/// @title IServiceRegistry
/// @notice Services that agents sell, the stake that stands behind them, and what payers say about them. Amounts are base units, times are
/// unix seconds.
interface IServiceRegistry is IPayouts {
    enum Pricing {
        PerCall,
        Subscription,
        Metered
    }

    /// @notice What a service offers. Published in an event; storage keeps the price and a hash of the whole.
    struct Offer {
        /// @dev Where the service is called. At most 256 bytes.
        string endpoint;
        /// @dev Where its description is, capabilities included. At most 256 bytes.
        string metadataURI;
        /// @dev keccak256 of that description; zero if it may change freely.
        bytes32 metadataHash;
        Pricing pricing;
        address token;
        /// @dev Per call, per period, or per unit that the description names.
        uint88 price;
        /// @dev Seconds in a period of a subscription, otherwise zero.
        uint32 period;
        /// @dev ERC-8004 id that the owner claims; zero for none. Nobody checked it: compare that agent's wallet with the payee.
        uint256 agentId;
    }

    /// @notice All that is stored about a service, but its reputation.
    struct Service {
        /// @dev Zero: there is no such service.
        address owner;
        uint32 period;
        /// @dev When `unbonding` can be withdrawn. Says nothing if there is none.
        uint40 unbondsAt;
        bool retired;
        /// @dev Who may become the owner; zero for nobody.
        address pendingOwner;
        /// @dev When the announced parties take effect; zero if none were announced.
        uint40 changesAt;
        /// @dev Who is paid: the seller of agreements, the payee of payments.
        address payee;
        /// @dev What stays bonded.
        uint96 stake;
        /// @dev Who may slash; zero for nobody.
        address arbiter;
        /// @dev What is on its way out, and can be slashed until it is withdrawn.
        uint96 unbonding;
        address announcedPayee;
        address announcedArbiter;
        address token;
        uint88 price;
        Pricing pricing;
        /// @dev keccak256(abi.encode(offer)).
        bytes32 offerHash;
    }

    /// @notice What payers said, in one storage slot.
    struct Reputation {
        /// @dev Payments without a dispute.
        uint32 settled;
        /// @dev Agreements that ended by a dispute, whoever won it.
        uint32 disputed;
        /// @dev Sum of the amounts of both.
        uint88 volume;
        /// @dev Sum of score times amount: divided by `volume` it is the mean score.
        uint96 scoreSum;
    }

    /// @notice What a payer says about one payment.
    struct Feedback {
        bytes32 service;
        /// @dev 0 (worst) to 100 (best).
        uint8 score;
        /// @dev Where the payer explains itself, at most 256 bytes, and keccak256 of what is there. Both may be empty.
        string uri;
        bytes32 contentHash;
        /// @dev The last second in which the payer's signature counts. Unused if the payer calls.
        uint64 deadline;
    }

    event ServiceRegistered(
        bytes32 indexed service, address indexed owner, address indexed payee, address arbiter, bytes32 salt
    );
    event OfferPublished(bytes32 indexed service, bytes32 offerHash, Offer offer);
    event ServiceRetired(bytes32 indexed service);
    event OwnershipOffered(bytes32 indexed service, address indexed owner, address indexed pendingOwner);
    event OwnershipAccepted(bytes32 indexed service, address indexed owner, address indexed newOwner);
    /// @param changesAt when they take effect, without a further event
    event PartiesAnnounced(bytes32 indexed service, address indexed payee, address indexed arbiter, uint256 changesAt);
    event StakeAdded(bytes32 indexed service, address indexed from, uint256 amount, uint256 stake);
    /// @param unbonding all that is unbonding, `amount` included
    event UnbondingBegun(bytes32 indexed service, uint256 amount, uint256 unbonding, uint256 unbondsAt);
    event UnbondingCancelled(bytes32 indexed service, uint256 amount, uint256 stake);
    event StakeWithdrawn(bytes32 indexed service, address indexed to, uint256 amount);
    /// @param fromUnbonding what of `amount` was unbonding; the rest was stake
    event StakeSlashed(
        bytes32 indexed service, bytes32 indexed agreement, address indexed buyer, uint256 amount, uint256 fromUnbonding
    );
    /// @param payment the agreement's id, or {paymentKey}
    event FeedbackGiven(
        bytes32 indexed service,
        address indexed payer,
        bytes32 indexed payment,
        uint256 amount,
        bool disputed,
        uint8 score,
        string uri,
        bytes32 contentHash
    );

    error ServiceExists(bytes32 service);
    error ServiceUnknown(bytes32 service);
    error ServiceIsRetired(bytes32 service);
    error NotOwner(address caller, address owner);
    error NotPendingOwner(address caller, address pendingOwner);
    error NotArbiter(address caller, address arbiter);
    error StringTooLong(uint256 length, uint256 lengthMax);
    error PeriodInvalid(Pricing pricing, uint32 period);
    error AmountZero();
    error MoreThanStaked(uint256 amount, uint256 stake);
    error NothingUnbonding(bytes32 service);
    error StillUnbonding(uint256 timestamp, uint256 unbondsAt);
    error PayeeMismatch(address seller, address payee);
    error ArbiterMismatch(address arbiter, address expected);
    error TokenMismatch(address token, address expected);
    /// @notice The arbiter did not rule on this agreement, or ruled for the seller entirely.
    error NoFinding(bytes32 agreement);
    error AlreadySlashed(bytes32 agreement);
    error SlashTooLarge(uint256 amount, uint256 amountMax);
    /// @notice Nothing was paid to this service under that agreement or payment id.
    error NoPayment(bytes32 payment);
    error AlreadyRated(bytes32 payment);
    error SelfFeedback(address payer);
    error ScoreTooHigh(uint256 score, uint256 scoreMax);
    error DeadlinePassed(uint256 timestamp, uint256 deadline);
    error SignatureInvalid(address signer);

    // Services

    /// @notice Registers a service of the caller. Its id is {serviceId} of the caller and `salt`: nobody else can take it.
    /// @param payee who is paid
    /// @param arbiter who may slash the stake; zero for nobody
    function register(bytes32 salt, address payee, address arbiter, Offer calldata offer)
        external
        returns (bytes32 service);

    /// @notice The owner publishes another offer. It counts at once.
    function updateOffer(bytes32 service, Offer calldata offer) external;

    /// @notice The owner withdraws its offer for good. The stake stays until it is unbonded, feedback stays possible.
    function retire(bytes32 service) external;

    /// @notice The owner names who may accept ownership, stake included. Zero takes it back.
    function offerOwnership(bytes32 service, address newOwner) external;
    function acceptOwnership(bytes32 service) external;

    /// @notice The owner names another payee and arbiter, who take effect after `UNBONDING_DELAY`; until then the present ones count.
    /// To take an announcement back, announce the present ones.
    function announceParties(bytes32 service, address payee, address arbiter) external;

    // Stake

    /// @notice Anyone adds to the stake by allowance; only the owner ever takes it out.
    function addStake(bytes32 service, uint256 amount) external;

    /// @notice The same by the caller's EIP-2612 permit. A permit that somebody used first does no harm.
    function addStakeWithPermit(bytes32 service, uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external;

    /// @notice Anyone adds stake for `from`, who signed an EIP-3009 `ReceiveWithAuthorization` to this contract whose nonce is {stakeNonce}:
    /// it serves no other service.
    function addStakeWithAuthorization(
        bytes32 service,
        address from,
        uint256 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 salt,
        bytes calldata signature
    ) external;

    /// @notice The owner begins to take stake out. What is already unbonding waits anew.
    function beginUnbonding(bytes32 service, uint256 amount) external;

    /// @notice The owner bonds everything again that is unbonding.
    function cancelUnbonding(bytes32 service) external;

    /// @notice The owner withdraws what has been unbonding for `UNBONDING_DELAY`, to an address it names.
    function withdrawStake(bytes32 service, address to) external returns (uint256 amount);

    /// @notice The arbiter who ruled against this service in an agreement of the escrow pays the buyer from the stake, once per agreement.
    /// @param amount at most {slashable}
    function slash(bytes32 service, IEscrow.Terms calldata terms, uint256 amount) external;

    // Feedback

    /// @notice The buyer of a released or resolved agreement rates the service, once.
    /// @param signature the buyer's over {feedbackDigest} of the agreement's id; empty if the buyer calls
    function rateAgreement(Feedback calldata feedback, IEscrow.Terms calldata terms, bytes calldata signature) external;

    /// @notice The payer of a payment through the router rates the service, once.
    /// @param amount what was paid
    /// @param signature the payer's over {feedbackDigest} of {paymentKey}; empty if the payer calls
    function ratePayment(
        Feedback calldata feedback,
        address payer,
        bytes32 paymentId,
        uint256 amount,
        bytes calldata signature
    ) external;

    // Views

    /// @notice Seconds for which stake waits before it can be withdrawn, and another payee or arbiter before they count.
    function UNBONDING_DELAY() external view returns (uint256);
    /// @notice The share of stake and unbonding, in basis points, that one agreement can take at most.
    function SLASH_SHARE_BPS() external view returns (uint256);

    function serviceId(address owner, bytes32 salt) external view returns (bytes32);
    /// @notice The service as it is now: parties whose time has come are the payee and arbiter.
    function serviceOf(bytes32 service) external view returns (Service memory);
    function reputationOf(bytes32 service) external view returns (Reputation memory);
    /// @notice The most that {slash} would take now for this agreement, or the reason why it would refuse.
    function slashable(bytes32 service, IEscrow.Terms calldata terms) external view returns (uint256);
    /// @notice Nonce of an authorization for {addStakeWithAuthorization}.
    function stakeNonce(bytes32 service, bytes32 salt) external view returns (bytes32);
    /// @notice What {FeedbackGiven} calls a payment through the router.
    function paymentKey(address payer, bytes32 paymentId) external view returns (bytes32);
    /// @notice The EIP-712 digest that a payer signs to have its feedback relayed.
    function feedbackDigest(Feedback calldata feedback, bytes32 payment) external view returns (bytes32);
}
