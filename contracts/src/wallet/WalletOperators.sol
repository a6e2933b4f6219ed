// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { SpendingRing } from "../SpendingLimit.sol";
import { LaneCodec } from "../LaneCodec.sol";
import { LaneRecord, LaneRecords } from "../LaneRecord.sol";
import { IAgentWallet } from "../interfaces/IAgentWallet.sol";
import { WalletAccess } from "./WalletAccess.sol";

/// @dev What a lane's token must offer.
interface IEip712Token {
    function DOMAIN_SEPARATOR() external view returns (bytes32);
}

/// @title WalletOperators
/// @notice The keys that agents hold and what each of them may do: policies, allowlist, lane.
/// @dev Everything about an operator hangs on the number of its registration, which is never given twice. Removing the operator forgets
/// the number and with it all of that, without clearing anything.
abstract contract WalletOperators is WalletAccess {
    struct OperatorState {
        uint32 lane;
        uint32 epoch;
        bool frozen;
        /// @dev Position in the list of operators.
        uint8 index;
    }

    /// @dev A policy with all that a payment needs to know, in one slot. Number and freeze are copies of the operator's.
    struct PolicyRecord {
        uint56 paymentMax;
        uint56 dailyLimit;
        uint56 approvalAbove;
        uint40 expiresAt;
        uint32 number;
        bool onlyAllowed;
        bool frozen;
    }

    struct LaneToken {
        address token;
        bytes32 domainSeparator;
    }

    uint256 public constant OPERATORS_MAX = 16;

    /// @notice How many tokens an operator can have a policy for.
    uint256 public constant POLICIES_MAX = 8;

    /// @notice Shortest period of a lane; twice the grace, so that never more than two periods are valid at once.
    uint256 public constant LANE_PERIOD_SECONDS_MIN = 10 minutes;

    // slot 4
    /// @dev The last epoch or registration number given; the two share one count.
    uint32 private _lastEpoch;

    address[] private _operatorList;
    mapping(address operator => OperatorState) internal _operators;
    mapping(address operator => mapping(address token => PolicyRecord)) internal _policies;
    /// @dev The tokens that have a policy: what freezing and removing go through.
    mapping(address operator => address[]) private _policyTokens;
    mapping(uint32 number => mapping(address token => SpendingRing)) internal _rings;
    mapping(uint32 number => mapping(address recipient => bool)) internal _recipients;
    mapping(address operator => LaneToken) private _laneTokens;
    mapping(address operator => mapping(bytes32 domainSeparator => LaneRecord)) internal _lanes;

    /// @inheritdoc IAgentWallet
    function addOperator(OperatorConfig calldata config) external onlyOwner nonReentrant {
        _addOperator(config);
    }

    /// @inheritdoc IAgentWallet
    function removeOperator(address operator) external onlyOwner nonReentrant {
        OperatorState memory state = _requireOperator(operator);
        _closeLane(operator);
        address[] memory tokens = _policyTokens[operator];
        for (uint256 i = 0; i < tokens.length; ++i) {
            delete _policies[operator][tokens[i]];
        }
        delete _policyTokens[operator];
        address last = _operatorList[_operatorList.length - 1];
        _operatorList[state.index] = last;
        _operators[last].index = state.index;
        _operatorList.pop();
        delete _operators[operator];
        emit OperatorRemoved(operator, state.lane);
    }

    /// @inheritdoc IAgentWallet
    function setPolicy(address operator, address token, Policy calldata policy) external onlyOwner nonReentrant {
        _requireOperator(operator);
        _setPolicy(operator, token, policy);
    }

    /// @inheritdoc IAgentWallet
    function setRecipient(address operator, address recipient, bool allowed) external onlyOwner nonReentrant {
        _setRecipient(operator, _requireOperator(operator).lane, recipient, allowed);
    }

    /// @inheritdoc IAgentWallet
    function setLane(address operator, Lane calldata lane) external onlyOwner nonReentrant {
        _requireOperator(operator);
        _closeLane(operator);
        _renewEpoch(operator);
        if (lane.token != address(0)) _openLane(operator, lane);
    }

    /// @inheritdoc IAgentWallet
    function bumpEpoch(address operator) external onlyOwner nonReentrant {
        _requireOperator(operator);
        _renewEpoch(operator);
    }

    /// @inheritdoc IAgentWallet
    function unfreeze(address operator) external onlyOwner nonReentrant {
        _requireOperator(operator);
        _setFrozen(operator, false);
        emit OperatorUnfrozen(operator);
        _renewEpoch(operator);
    }

    /// @inheritdoc IAgentWallet
    function freeze(address operator) external onlyOwnerOrGuardian nonReentrant {
        _requireOperator(operator);
        _freeze(operator);
    }

    /// @inheritdoc IAgentWallet
    function freezeAll() external onlyOwnerOrGuardian nonReentrant {
        uint256 count = _operatorList.length;
        for (uint256 i = 0; i < count; ++i) {
            _freeze(_operatorList[i]);
        }
    }

    /// @inheritdoc IAgentWallet
    function operators() external view returns (address[] memory) {
        return _operatorList;
    }

    /// @inheritdoc IAgentWallet
    function operatorOf(address account) external view returns (Operator memory) {
        OperatorState memory state = _operators[account];
        return Operator(state.lane, state.epoch, state.frozen);
    }

    /// @inheritdoc IAgentWallet
    function policyOf(address operator, address token) external view returns (Policy memory) {
        PolicyRecord memory record = _policies[operator][token];
        return Policy(record.paymentMax, record.dailyLimit, record.approvalAbove, record.expiresAt, record.onlyAllowed);
    }

    /// @inheritdoc IAgentWallet
    function laneOf(address operator) external view returns (Lane memory) {
        LaneToken memory key = _laneTokens[operator];
        return _lanes[operator][key.domainSeparator].unpack(key.token);
    }

    /// @inheritdoc IAgentWallet
    function isRecipient(address operator, address recipient) external view returns (bool) {
        return _recipients[_operators[operator].lane][recipient];
    }

    /// @inheritdoc IAgentWallet
    function remaining(address operator, address token) external view returns (uint256) {
        PolicyRecord memory record = _policies[operator][token];
        return _rings[record.number][token].remaining(record.dailyLimit, block.timestamp);
    }

    /// @inheritdoc IAgentWallet
    function laneNonce(address operator, uint32 period, uint32 slot) external view returns (bytes32) {
        OperatorState memory state = _operators[operator];
        return LaneCodec.nonceOf(state.epoch, period, state.lane, slot);
    }

    function _addOperator(OperatorConfig calldata config) internal {
        address operator = config.operator;
        if (operator == owner || operator == guardian) revert AddressRefused(operator);
        _refuseInsider(operator);
        uint256 count = _operatorList.length;
        if (count == OPERATORS_MAX) revert TooMany(count + 1, OPERATORS_MAX);

        // slither-disable-next-line costly-loop -- at creation only, and OPERATORS_MAX bounds it
        uint32 number = ++_lastEpoch;
        // The list is shorter than OPERATORS_MAX.
        // forge-lint: disable-next-line(unsafe-typecast)
        _operators[operator] = OperatorState(number, number, false, uint8(count));
        _operatorList.push(operator);
        emit OperatorAdded(operator, number, number);

        for (uint256 i = 0; i < config.policies.length; ++i) {
            _setPolicy(operator, config.policies[i].token, config.policies[i].policy);
        }
        for (uint256 i = 0; i < config.recipients.length; ++i) {
            _setRecipient(operator, number, config.recipients[i], true);
        }
        if (config.lane.token != address(0)) _openLane(operator, config.lane);
    }

    function _isOperator(address account) internal view override returns (bool) {
        return _operators[account].lane != 0;
    }

    function _requireOperator(address account) internal view returns (OperatorState memory state) {
        state = _operators[account];
        if (state.lane == 0) revert NotOperator(account);
    }

    function _setPolicy(address operator, address token, Policy calldata policy) private {
        OperatorState memory state = _operators[operator];
        PolicyRecord storage record = _policies[operator][token];
        if (record.number == 0) {
            uint256 count = _policyTokens[operator].length;
            if (count == POLICIES_MAX) revert TooMany(count + 1, POLICIES_MAX);
            _policyTokens[operator].push(token);
        }
        _policies[operator][token] = PolicyRecord(
            policy.paymentMax,
            policy.dailyLimit,
            policy.approvalAbove,
            policy.expiresAt,
            state.lane,
            policy.onlyAllowed,
            state.frozen
        );
        emit PolicyChanged(operator, token, policy);
    }

    function _setRecipient(address operator, uint32 number, address recipient, bool allowed) private {
        _recipients[number][recipient] = allowed;
        emit RecipientChanged(operator, recipient, allowed);
    }

    function _openLane(address operator, Lane calldata lane) private {
        if (lane.periodSeconds < LANE_PERIOD_SECONDS_MIN) {
            revert LanePeriodTooShort(lane.periodSeconds, LANE_PERIOD_SECONDS_MIN);
        }
        // slither-disable-next-line calls-loop -- at creation, for tokens that the configuration names
        bytes32 domainSeparator = IEip712Token(lane.token).DOMAIN_SEPARATOR();
        _laneTokens[operator] = LaneToken(lane.token, domainSeparator);
        OperatorState memory state = _operators[operator];
        _lanes[operator][domainSeparator] = LaneRecords.pack(lane, state.lane, state.epoch, state.frozen);
        emit LaneOpened(operator, domainSeparator, lane);
    }

    function _closeLane(address operator) private {
        bytes32 domainSeparator = _laneTokens[operator].domainSeparator;
        if (domainSeparator == 0) return;
        _lanes[operator][domainSeparator] = LaneRecord.wrap(0);
        delete _laneTokens[operator];
        emit LaneClosed(operator, domainSeparator);
    }

    function _renewEpoch(address operator) private {
        uint32 epoch = ++_lastEpoch;
        _operators[operator].epoch = epoch;
        emit EpochChanged(operator, epoch);
        _syncLane(operator);
    }

    function _freeze(address operator) private {
        _setFrozen(operator, true);
        emit OperatorFrozen(operator, msg.sender);
        _syncLane(operator);
    }

    function _setFrozen(address operator, bool frozen) private {
        _operators[operator].frozen = frozen;
        address[] memory tokens = _policyTokens[operator];
        for (uint256 i = 0; i < tokens.length; ++i) {
            _policies[operator][tokens[i]].frozen = frozen;
        }
    }

    /// @dev Copies into the lane's slot what it shares with its operator.
    function _syncLane(address operator) private {
        bytes32 domainSeparator = _laneTokens[operator].domainSeparator;
        if (domainSeparator == 0) return;
        OperatorState memory state = _operators[operator];
        _lanes[operator][domainSeparator] = _lanes[operator][domainSeparator].sync(state.epoch, state.frozen);
    }
}
