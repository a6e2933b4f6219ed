// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { AgentWallet } from "../../../src/AgentWallet.sol";
import { IAgentWallet } from "../../../src/interfaces/IAgentWallet.sol";
import { IUsdc } from "../../base/IUsdc.sol";
import { WalletTest } from "../WalletTest.sol";

/// Drives one wallet with all its parties, thieves of signatures included, and keeps books of its own.
contract WalletHandler is WalletTest {
    struct Spend {
        uint256 time;
        uint256 amount;
        /// The limit of that moment.
        uint256 limit;
        /// Whose: the number of the operator's registration.
        uint32 number;
    }

    /// Something signed and not necessarily used yet.
    struct Signed {
        IAgentWallet.Payment payment;
        bytes signature;
        /// Of the owner; without, the payment needs to fit under the tier.
        IAgentWallet.Approval[] approvals;
        uint32 epoch;
    }

    struct SignedLane {
        Authorization authorization;
        bytes signature;
        address operator;
        uint32 epoch;
        uint256 period;
    }

    uint256 private constant OPERATORS = 3;
    uint256 private constant FIRST_KEY = 0xa9e27;

    address[OPERATORS] private _operators;
    mapping(address account => uint256 key) private _keyOf;
    Spend[] public spends;
    Signed[] private _signed;
    SignedLane[] private _signedLanes;
    uint256 private _ids;
    mapping(bytes32 paymentId => bool) private _paid;
    mapping(uint32 epoch => mapping(uint256 period => uint256)) private _lanePayments;
    mapping(uint32 epoch => mapping(uint256 period => uint256)) private _laneSums;

    /// All that left the wallet.
    uint256 public paid;
    /// Payment ids that were paid more than once. Never.
    uint256 public paidTwice;
    /// Payments that brought the window above the tier without approval. Never.
    uint256 public paidAboveTier;
    /// Money that left for an operator frozen or removed, or by what was signed under another epoch. Never.
    uint256 public paidAfterTheEnd;
    /// Periods of a lane with more payments or more money than their allotment. Never.
    uint256 public lanesOverTheirCap;

    function setUp() public override { }

    function begin(AgentWallet wallet_, IUsdc usdc_, address owner_, uint256 ownerKey_) external {
        (wallet, usdc, owner, ownerKey) = (wallet_, usdc_, owner_, ownerKey_);
        for (uint256 i = 0; i < OPERATORS; ++i) {
            address account = vm.addr(FIRST_KEY + i);
            _operators[i] = account;
            _keyOf[account] = FIRST_KEY + i;
            _add(account);
        }
    }

    function spendCount() external view returns (uint256) {
        return spends.length;
    }

    // Payments

    function payByTransaction(uint256 who, uint256 amount, uint256 idSeed) external {
        IAgentWallet.Payment memory payment = _payment(who, amount, idSeed);
        uint256 before = _spent(payment.operator);
        vm.prank(payment.operator);
        try wallet.executePayment(payment.token, payment.to, payment.amount, payment.paymentId) {
            _record(payment, wallet.operatorOf(payment.operator).epoch, before, false);
        } catch { }
    }

    /// An operator signs, now and then the owner as well; {usePayment} hands it in, sooner, later or never.
    function signPayment(uint256 who, uint256 amount, uint256 idSeed, bool approved) external {
        IAgentWallet.Payment memory payment = _payment(who, amount, idSeed);
        bytes32 digest = wallet.paymentDigest(payment);
        Signed storage signed = _signed.push();
        signed.payment = payment;
        signed.signature = sign(_keyOf[payment.operator], digest);
        signed.epoch = wallet.operatorOf(payment.operator).epoch;
        if (approved) signed.approvals.push(IAgentWallet.Approval(owner, sign(ownerKey, digest)));
    }

    function usePayment(uint256 which) external {
        if (_signed.length == 0) return;
        Signed memory signed = _signed[_signed.length - 1 - which % _signed.length % 4];
        uint256 before = _spent(signed.payment.operator);
        bool approved = signed.approvals.length != 0;
        if (approved) {
            try wallet.executeApprovedPayment(signed.payment, signed.signature, signed.approvals) {
                _record(signed.payment, signed.epoch, before, true);
            } catch { }
        } else {
            try wallet.executePaymentWithSig(signed.payment, signed.signature) {
                _record(signed.payment, signed.epoch, before, false);
            } catch { }
        }
    }

    /// A lane authorization for this period or its neighbours, for slots and values within the terms or just beyond.
    function signAuthorization(uint256 who, uint256 value, uint256 slot, uint256 endsIn) external {
        address account = _operator(who);
        IAgentWallet.Lane memory lane_ = wallet.laneOf(account);
        if (lane_.token == address(0)) return;
        uint256 validBefore = vm.getBlockTimestamp() + bound(endsIn, 0, 2 * uint256(lane_.periodSeconds));
        uint256 period = validBefore / lane_.periodSeconds;
        uint32 slot_ = uint32(bound(slot, 0, lane_.paymentsPerPeriod));
        SignedLane storage signed = _signedLanes.push();
        signed.authorization = Authorization(
            address(wallet),
            payee,
            bound(value, 1, uint256(lane_.paymentMax) + 1),
            0,
            validBefore,
            wallet.laneNonce(account, uint32(period), slot_)
        );
        signed.signature = signLane(_keyOf[account], signed.authorization);
        (signed.operator, signed.period) = (account, period);
        signed.epoch = wallet.operatorOf(account).epoch;
        useAuthorization(0);
    }

    /// Anyone hands an authorization to USDC, one of the last few.
    function useAuthorization(uint256 which) public {
        if (_signedLanes.length == 0) return;
        SignedLane memory signed = _signedLanes[_signedLanes.length - 1 - which % _signedLanes.length % 4];
        Authorization memory authorization = signed.authorization;
        try usdc.transferWithAuthorization(
            authorization.from,
            authorization.to,
            authorization.value,
            authorization.validAfter,
            authorization.validBefore,
            authorization.nonce,
            signed.signature
        ) {
            _recordLane(signed);
        } catch { }
    }

    // Owner and guardian

    function setPolicy(uint256 who, uint56 paymentMax, uint56 dailyLimit, uint56 approvalAbove) external {
        address account = _operator(who);
        if (!_isOperator(account)) return;
        IAgentWallet.Policy memory changed = policy();
        changed.dailyLimit = uint56(bound(dailyLimit, 0, 2 * DAILY_LIMIT));
        changed.paymentMax = uint56(bound(paymentMax, 1, DAILY_LIMIT));
        changed.approvalAbove = uint56(bound(approvalAbove, 0, 2 * DAILY_LIMIT));
        vm.prank(owner);
        wallet.setPolicy(account, address(usdc), changed);
    }

    function setLane(uint256 who, uint24 payments, uint32 periodSeconds) external {
        address account = _operator(who);
        if (!_isOperator(account)) return;
        IAgentWallet.Lane memory changed = lane();
        changed.paymentsPerPeriod = uint24(bound(payments, 0, 3));
        changed.periodSeconds = uint32(bound(periodSeconds, 10 minutes, 1 days));
        vm.prank(owner);
        wallet.setLane(account, changed);
    }

    /// Freezing, removing and the way back; the ways back more often, so that there is somebody to pay.
    function administer(uint256 who, uint256 kind) external {
        address account = _operator(who);
        kind %= 8;
        if (!_isOperator(account)) return _add(account);
        if (wallet.operatorOf(account).frozen) {
            vm.prank(owner);
            return wallet.unfreeze(account);
        }
        if (kind == 0) {
            vm.prank(guardian);
            wallet.freezeAll();
        } else if (kind < 3) {
            vm.prank(guardian);
            wallet.freeze(account);
        } else if (kind < 5) {
            vm.prank(owner);
            wallet.removeOperator(account);
        } else if (kind < 7) {
            vm.prank(owner);
            wallet.bumpEpoch(account);
        }
    }

    function letTimePass(uint256 duration) external {
        vm.warp(vm.getBlockTimestamp() + bound(duration, 1, 10 hours));
    }

    // Internals

    function _add(address account) private {
        IAgentWallet.OperatorConfig memory config = operatorConfig(account);
        config.lane.paymentsPerPeriod = 2;
        vm.prank(owner);
        wallet.addOperator(config);
    }

    function _operator(uint256 who) private view returns (address) {
        return _operators[who % OPERATORS];
    }

    function _isOperator(address account) private view returns (bool) {
        return wallet.operatorOf(account).lane != 0;
    }

    /// What counts against the operator's limit now, if anything is left of it.
    function _spent(address account) private view returns (uint256) {
        return wallet.policyOf(account, address(usdc)).dailyLimit - wallet.remaining(account, address(usdc));
    }

    /// Every fourth payment tries an id that was used before.
    function _payment(uint256 who, uint256 amount, uint256 idSeed)
        private
        returns (IAgentWallet.Payment memory payment)
    {
        payment.operator = _operator(who);
        uint256 most = wallet.policyOf(payment.operator, address(usdc)).paymentMax;
        payment.token = address(usdc);
        payment.to = payee;
        payment.amount = bound(amount, 1, most + 1);
        payment.paymentId = bytes32(idSeed % 4 == 0 && _ids != 0 ? idSeed % _ids : _ids++);
        payment.deadline = vm.getBlockTimestamp() + 2 days;
    }

    function _record(IAgentWallet.Payment memory payment, uint32 epoch, uint256 before, bool approved) private {
        IAgentWallet.Operator memory state = wallet.operatorOf(payment.operator);
        IAgentWallet.Policy memory policy_ = wallet.policyOf(payment.operator, address(usdc));
        if (state.lane == 0 || state.frozen || state.epoch != epoch) ++paidAfterTheEnd;
        if (_paid[payment.paymentId]) ++paidTwice;
        if (!approved && before + payment.amount > policy_.approvalAbove) ++paidAboveTier;
        _paid[payment.paymentId] = true;
        paid += payment.amount;
        spends.push(Spend(vm.getBlockTimestamp(), payment.amount, policy_.dailyLimit, state.lane));
    }

    function _recordLane(SignedLane memory signed) private {
        IAgentWallet.Operator memory state = wallet.operatorOf(signed.operator);
        IAgentWallet.Lane memory lane_ = wallet.laneOf(signed.operator);
        if (state.lane == 0 || state.frozen || state.epoch != signed.epoch) ++paidAfterTheEnd;
        uint256 payments = ++_lanePayments[signed.epoch][signed.period];
        uint256 sum = _laneSums[signed.epoch][signed.period] += signed.authorization.value;
        uint256 allotment = uint256(lane_.paymentsPerPeriod) * lane_.paymentMax;
        if (payments > lane_.paymentsPerPeriod || sum > allotment) ++lanesOverTheirCap;
        paid += signed.authorization.value;
    }
}
