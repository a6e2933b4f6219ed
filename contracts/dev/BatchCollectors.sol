// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import { ICollector } from "./BatchSettlement.sol";
import { IReceiveWithAuthorization } from "../src/interfaces/IReceiveWithAuthorization.sol";

interface IToken is IReceiveWithAuthorization {
    function transfer(address to, uint256 amount) external returns (bool);
    function permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external;
}

interface IPermit2 {
    struct TokenPermissions {
        address token;
        uint256 amount;
    }

    struct PermitTransferFrom {
        TokenPermissions permitted;
        uint256 nonce;
        uint256 deadline;
    }

    struct SignatureTransferDetails {
        address to;
        uint256 requestedAmount;
    }

    function permitWitnessTransferFrom(
        PermitTransferFrom calldata permit,
        SignatureTransferDetails calldata details,
        address owner,
        bytes32 witness,
        string calldata witnessTypeString,
        bytes calldata signature
    ) external;
}

/// Who may collect: the channels' contract alone, or a payer's authorization would be spent for nothing.
abstract contract Collector is ICollector {
    error NotTheSettlement();

    address internal constant SETTLEMENT = 0x4020074e9dF2ce1deE5A9C1b5c3f541D02a10003;

    modifier onlySettlement() {
        if (msg.sender != SETTLEMENT) revert NotTheSettlement();
        _;
    }
}

/// The dev chain's stand-in for `ERC3009DepositCollector`.
contract Erc3009Collector is Collector {
    function collect(address payer, address token, uint256 amount, bytes32 channelId, bytes calldata data)
        external
        onlySettlement
    {
        (uint256 validAfter, uint256 validBefore, uint256 salt, bytes memory signature) =
            abi.decode(data, (uint256, uint256, uint256, bytes));
        bytes32 nonce = keccak256(abi.encode(channelId, salt));
        IToken(token)
            .receiveWithAuthorization(payer, address(this), amount, validAfter, validBefore, nonce, signature);
        IToken(token).transfer(SETTLEMENT, amount);
    }
}

/// The dev chain's stand-in for `Permit2DepositCollector`.
contract Permit2Collector is Collector {
    IPermit2 private constant PERMIT2 = IPermit2(0x000000000022D473030F116dDEE9F6B43aC78BA3);
    string private constant WITNESS_TYPE =
        "DepositWitness witness)DepositWitness(bytes32 channelId)TokenPermissions(address token,uint256 amount)";

    function collect(address payer, address token, uint256 amount, bytes32 channelId, bytes calldata data)
        external
        onlySettlement
    {
        (uint256 nonce, uint256 deadline, bytes memory signature, bytes memory permit) =
            abi.decode(data, (uint256, uint256, bytes, bytes));
        if (permit.length != 0) _permit(payer, token, permit);
        bytes32 witness = keccak256(abi.encode(keccak256("DepositWitness(bytes32 channelId)"), channelId));
        PERMIT2.permitWitnessTransferFrom(
            IPermit2.PermitTransferFrom(IPermit2.TokenPermissions(token, amount), nonce, deadline),
            IPermit2.SignatureTransferDetails(SETTLEMENT, amount),
            payer,
            witness,
            WITNESS_TYPE,
            signature
        );
    }

    /// Somebody may have used the permit already, which is as good.
    function _permit(address payer, address token, bytes memory data) private {
        (uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s) =
            abi.decode(data, (uint256, uint256, uint8, bytes32, bytes32));
        try IToken(token).permit(payer, address(PERMIT2), value, deadline, v, r, s) { } catch { }
    }
}
