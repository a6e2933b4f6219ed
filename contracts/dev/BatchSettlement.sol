// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { ECDSA } from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import { SignatureChecker } from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

/// Everything that never changes about a channel. Its EIP-712 hash is the channel's id.
struct ChannelConfig {
    address payer;
    address payerAuthorizer;
    address receiver;
    address receiverAuthorizer;
    address token;
    uint40 withdrawDelay;
    bytes32 salt;
}

struct ClaimedVoucher {
    ChannelConfig channel;
    uint128 maxClaimableAmount;
}

struct VoucherClaim {
    ClaimedVoucher voucher;
    bytes signature;
    uint128 totalClaimed;
}

interface ICollector {
    function collect(address payer, address token, uint256 amount, bytes32 channelId, bytes calldata data) external;
}

/// The dev chain's stand-in for `x402BatchSettlement`: the functions, typed data and rules that the official packages rely on, written from
/// the protocol's description. Base and its test net have the canonical one at the same address; nothing of value belongs in this one.
contract BatchSettlement {
    using SafeERC20 for IERC20;

    struct Channel {
        uint128 balance;
        uint128 totalClaimed;
    }

    struct Withdrawal {
        uint128 amount;
        uint40 initiatedAt;
    }

    struct Receiver {
        uint128 totalClaimed;
        uint128 totalSettled;
    }

    error AmountIsZero();
    error BadChannel();
    error NotAllowed();
    error InvalidSignature();
    error InvalidNonce();
    error ClaimExceedsCeiling();
    error ClaimExceedsBalance();
    error DepositNotReceived();
    error NothingToWithdraw();
    error WithdrawTooEarly();

    event Deposited(bytes32 indexed channelId, address indexed sender, uint128 amount, uint128 balance);
    event Claimed(bytes32 indexed channelId, address indexed sender, uint128 amount, uint128 totalClaimed);
    event Settled(address indexed receiver, address indexed token, address indexed sender, uint128 amount);
    event Refunded(bytes32 indexed channelId, address indexed sender, uint128 amount);
    event WithdrawInitiated(bytes32 indexed channelId, uint128 amount, uint40 finalizeAfter);
    event WithdrawFinalized(bytes32 indexed channelId, uint128 amount);

    uint256 private constant DELAY_MIN = 15 minutes;
    uint256 private constant DELAY_MAX = 30 days;
    bytes32 private constant DOMAIN =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 public constant CHANNEL_CONFIG_TYPEHASH = keccak256(
        "ChannelConfig(address payer,address payerAuthorizer,address receiver,address receiverAuthorizer,address token,uint40 withdrawDelay,bytes32 salt)"
    );
    bytes32 private constant VOUCHER = keccak256("Voucher(bytes32 channelId,uint128 maxClaimableAmount)");
    bytes32 private constant REFUND = keccak256("Refund(bytes32 channelId,uint256 nonce,uint128 amount)");
    bytes32 private constant ENTRY =
        keccak256("ClaimEntry(bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed)");
    bytes32 private constant BATCH = keccak256(
        "ClaimBatch(ClaimEntry[] claims)ClaimEntry(bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed)"
    );

    mapping(bytes32 id => Channel) public channels;
    mapping(bytes32 id => Withdrawal) public pendingWithdrawals;
    mapping(bytes32 id => uint256) public refundNonce;
    mapping(address receiver => mapping(address token => Receiver)) public receivers;

    function deposit(ChannelConfig calldata config, uint128 amount, address collector, bytes calldata data) external {
        if (amount == 0) revert AmountIsZero();
        if (config.withdrawDelay < DELAY_MIN || config.withdrawDelay > DELAY_MAX) revert BadChannel();
        if (config.receiver == address(0) || config.receiverAuthorizer == address(0)) revert BadChannel();
        bytes32 id = getChannelId(config);
        IERC20 token = IERC20(config.token);
        uint256 before = token.balanceOf(address(this));
        ICollector(collector).collect(config.payer, config.token, amount, id, data);
        if (token.balanceOf(address(this)) != before + amount) revert DepositNotReceived();
        channels[id].balance += amount;
        emit Deposited(id, msg.sender, amount, channels[id].balance);
    }

    function claim(VoucherClaim[] calldata claims) external {
        for (uint256 i = 0; i < claims.length; ++i) {
            ChannelConfig calldata config = claims[i].voucher.channel;
            if (msg.sender != config.receiver && msg.sender != config.receiverAuthorizer) revert NotAllowed();
            _claim(claims[i]);
        }
    }

    function claimWithSignature(VoucherClaim[] calldata claims, bytes calldata signature) external {
        bytes32 digest = getClaimBatchDigest(claims);
        for (uint256 i = 0; i < claims.length; ++i) {
            address authorizer = claims[i].voucher.channel.receiverAuthorizer;
            if (!SignatureChecker.isValidSignatureNow(authorizer, digest, signature)) revert InvalidSignature();
            _claim(claims[i]);
        }
    }

    function settle(address receiver, address token) external {
        Receiver storage account = receivers[receiver][token];
        uint128 amount = account.totalClaimed - account.totalSettled;
        if (amount == 0) return;
        account.totalSettled = account.totalClaimed;
        IERC20(token).safeTransfer(receiver, amount);
        emit Settled(receiver, token, msg.sender, amount);
    }

    function initiateWithdraw(ChannelConfig calldata config, uint128 amount) external {
        bytes32 id = _asPayer(config);
        uint128 available = channels[id].balance - channels[id].totalClaimed;
        if (amount == 0 || amount > available) revert NothingToWithdraw();
        pendingWithdrawals[id] = Withdrawal(amount, uint40(block.timestamp));
        emit WithdrawInitiated(id, amount, uint40(block.timestamp) + config.withdrawDelay);
    }

    function finalizeWithdraw(ChannelConfig calldata config) external {
        bytes32 id = _asPayer(config);
        Withdrawal memory pending = pendingWithdrawals[id];
        if (pending.amount == 0) revert NothingToWithdraw();
        if (block.timestamp < pending.initiatedAt + config.withdrawDelay) revert WithdrawTooEarly();
        uint128 amount = _pay(config, id, pending.amount);
        delete pendingWithdrawals[id];
        emit WithdrawFinalized(id, amount);
    }

    function refund(ChannelConfig calldata config, uint128 amount) external {
        if (msg.sender != config.receiver && msg.sender != config.receiverAuthorizer) revert NotAllowed();
        _refund(config, getChannelId(config), amount);
    }

    function refundWithSignature(ChannelConfig calldata config, uint128 amount, uint256 nonce, bytes calldata signature)
        external
    {
        bytes32 id = getChannelId(config);
        if (nonce != refundNonce[id]++) revert InvalidNonce();
        bytes32 digest = getRefundDigest(id, nonce, amount);
        if (!SignatureChecker.isValidSignatureNow(config.receiverAuthorizer, digest, signature)) {
            revert InvalidSignature();
        }
        _refund(config, id, amount);
    }

    function multicall(bytes[] calldata data) external returns (bytes[] memory results) {
        results = new bytes[](data.length);
        for (uint256 i = 0; i < data.length; ++i) {
            (bool ok, bytes memory answer) = address(this).delegatecall(data[i]);
            if (!ok) {
                assembly ("memory-safe") {
                    revert(add(answer, 32), mload(answer))
                }
            }
            results[i] = answer;
        }
    }

    function getChannelId(ChannelConfig calldata config) public view returns (bytes32) {
        return _hash(keccak256(abi.encode(CHANNEL_CONFIG_TYPEHASH, config)));
    }

    function getVoucherDigest(bytes32 id, uint128 ceiling) public view returns (bytes32) {
        return _hash(keccak256(abi.encode(VOUCHER, id, ceiling)));
    }

    function getRefundDigest(bytes32 id, uint256 nonce, uint128 amount) public view returns (bytes32) {
        return _hash(keccak256(abi.encode(REFUND, id, nonce, amount)));
    }

    function getClaimBatchDigest(VoucherClaim[] calldata claims) public view returns (bytes32) {
        bytes32[] memory entries = new bytes32[](claims.length);
        for (uint256 i = 0; i < claims.length; ++i) {
            ClaimedVoucher calldata voucher = claims[i].voucher;
            bytes32 id = getChannelId(voucher.channel);
            entries[i] = keccak256(abi.encode(ENTRY, id, voucher.maxClaimableAmount, claims[i].totalClaimed));
        }
        return _hash(keccak256(abi.encode(BATCH, keccak256(abi.encodePacked(entries)))));
    }

    function _claim(VoucherClaim calldata row) private {
        ChannelConfig calldata config = row.voucher.channel;
        bytes32 id = getChannelId(config);
        Channel storage channel = channels[id];
        if (row.totalClaimed <= channel.totalClaimed) return;
        if (row.totalClaimed > row.voucher.maxClaimableAmount) revert ClaimExceedsCeiling();
        if (row.totalClaimed > channel.balance) revert ClaimExceedsBalance();
        bytes32 digest = getVoucherDigest(id, row.voucher.maxClaimableAmount);
        if (config.payerAuthorizer != address(0)) {
            (address signer, ECDSA.RecoverError failed,) = ECDSA.tryRecover(digest, row.signature);
            if (failed != ECDSA.RecoverError.NoError || signer != config.payerAuthorizer) revert InvalidSignature();
        } else if (!SignatureChecker.isValidSignatureNow(config.payer, digest, row.signature)) {
            revert InvalidSignature();
        }
        uint128 amount = row.totalClaimed - channel.totalClaimed;
        channel.totalClaimed = row.totalClaimed;
        receivers[config.receiver][config.token].totalClaimed += amount;
        emit Claimed(id, msg.sender, amount, row.totalClaimed);
    }

    function _refund(ChannelConfig calldata config, bytes32 id, uint128 amount) private {
        amount = _pay(config, id, amount);
        uint128 left = channels[id].balance - channels[id].totalClaimed;
        if (left == 0) delete pendingWithdrawals[id];
        else if (pendingWithdrawals[id].amount > left) pendingWithdrawals[id].amount = left;
        emit Refunded(id, msg.sender, amount);
    }

    /// Pays the payer at most what is not claimed.
    function _pay(ChannelConfig calldata config, bytes32 id, uint128 amount) private returns (uint128) {
        uint128 available = channels[id].balance - channels[id].totalClaimed;
        if (amount > available) amount = available;
        channels[id].balance -= amount;
        if (amount != 0) IERC20(config.token).safeTransfer(config.payer, amount);
        return amount;
    }

    function _asPayer(ChannelConfig calldata config) private view returns (bytes32) {
        if (msg.sender != config.payer && msg.sender != config.payerAuthorizer) revert NotAllowed();
        return getChannelId(config);
    }

    function _hash(bytes32 structHash) private view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(DOMAIN, keccak256("x402 Batch Settlement"), keccak256("1"), block.chainid, address(this))
        );
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }
}
