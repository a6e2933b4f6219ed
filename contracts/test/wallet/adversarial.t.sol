// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { ERC20 } from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import { AgentWallet } from "../../src/AgentWallet.sol";
import { LaneCodec } from "../../src/LaneCodec.sol";
import { SpendingLimit } from "../../src/SpendingLimit.sol";
import { IAgentWallet } from "../../src/interfaces/IAgentWallet.sol";
import { WalletTest } from "./WalletTest.sol";

/// Attacks by name.
contract AdversarialTest is WalletTest {
    bytes32 private constant MAGIC_SUFFIX_6492 = 0x6492649264926492649264926492649264926492649264926492649264926492;

    // Replay

    function test_replayAcrossChains() public {
        IAgentWallet.Payment memory payment = paymentOf(1e6, "1");
        bytes memory signature = sign(operatorKey, wallet.paymentDigest(payment));
        Authorization memory authorization = laneAuthorization(1e6, 0);
        bytes memory laneSignature = signLane(authorization);
        vm.chainId(block.chainid + 1);
        vm.expectPartialRevert(IAgentWallet.OperatorSignatureInvalid.selector);
        wallet.executePaymentWithSig(payment, signature);
        vm.expectRevert("FiatTokenV2: invalid signature");
        submit(authorization, laneSignature);
    }

    function test_replayAcrossClones() public {
        AgentWallet other = _clone();
        IAgentWallet.Payment memory payment = paymentOf(PAYMENT_MAX, "1");
        bytes32 digest = wallet.paymentDigest(payment);
        IAgentWallet.Approval[] memory approvals = approve(payment, 2);
        bytes memory signature = sign(operatorKey, digest);
        vm.expectPartialRevert(IAgentWallet.OperatorSignatureInvalid.selector);
        other.executePaymentWithSig(payment, signature);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.ApprovalSignatureInvalid.selector, approvers[0]));
        vm.prank(operator);
        other.executeApprovedPayment(payment, "", approvals);

        // The same operator, period and slot: the nonce is equal, the payer is not.
        Authorization memory authorization = laneAuthorization(1e6, 0);
        bytes memory laneSignature = signLane(authorization);
        authorization.from = address(other);
        vm.expectRevert("FiatTokenV2: invalid signature");
        submit(authorization, laneSignature);
    }

    /// What the operator signs for the wallet is no signature to anybody else, and the other way round.
    function test_replayAcrossContracts() public view {
        bytes32 digest = wallet.paymentDigest(paymentOf(1e6, "1"));
        assertEq(wallet.isValidSignature(digest, sign(operatorKey, digest)), REFUSED);
        assertEq(wallet.isValidSignature(digest, sign(ownerKey, digest)), REFUSED);
    }

    function test_paymentIdReuseByAnotherOperator() public {
        address second = makeAddr("second operator");
        IAgentWallet.OperatorConfig memory config = operatorConfig(second);
        vm.prank(owner);
        wallet.addOperator(config);
        pay(1e6, "1");
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.PaymentAlreadyExecuted.selector, bytes32("1")));
        vm.prank(second);
        wallet.executePayment(address(usdc), payee, 2e6, "1");
    }

    function test_signatureMalleability() public {
        IAgentWallet.Payment memory payment = paymentOf(1e6, "1");
        bytes memory twin = malleate(sign(operatorKey, wallet.paymentDigest(payment)));
        vm.expectPartialRevert(IAgentWallet.OperatorSignatureInvalid.selector);
        wallet.executePaymentWithSig(payment, twin);

        // A compact signature has room for no twin but this: the parity flipped, and with it another signer.
        Authorization memory authorization = laneAuthorization(1e6, 0);
        bytes memory flipped = signLane(authorization);
        flipped[96] ^= 0x80;
        vm.expectRevert("FiatTokenV2: invalid signature");
        submit(authorization, flipped);
    }

    /// Any r and s are somebody's signature. Here that somebody is made an operator, so that nothing but s stands in the way.
    function test_signatureMalleabilityOfTheLane() public {
        uint256 halfOrder = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;
        for (uint256 above = 0; above < 2; ++above) {
            // What the next operator's lane and epoch will be.
            uint32 next = uint32(2 + above);
            Authorization memory authorization = laneAuthorization(1e6, 0);
            authorization.nonce = LaneCodec.nonceOf(next, currentPeriod(), next, 0);
            bytes32 digest = transferDigest(authorization);
            (bytes32 r, bytes32 s) = (bytes32(uint256(1)), bytes32(halfOrder + above));
            IAgentWallet.OperatorConfig memory config = operatorConfig(ecrecover(digest, 27, r, s));
            vm.prank(owner);
            wallet.addOperator(config);
            bytes4 answer = wallet.isValidSignature(digest, packLane(authorization, 0, r, s));
            assertEq(answer, above == 0 ? MAGIC : REFUSED);
        }
    }

    // Limits

    /// @param pieces into how many payments the operator cuts what it wants
    function testFuzz_onePaymentSplitIntoManyUnderTheTier(uint256 pieces) public {
        pieces = bound(pieces, 3, 20);
        uint256 piece = 2 * uint256(APPROVAL_ABOVE) / pieces;
        for (uint256 i = 0; i < pieces; ++i) {
            vm.prank(operator);
            try wallet.executePayment(address(usdc), payee, piece, bytes32(i)) { } catch { }
        }
        assertLe(usdc.balanceOf(payee), APPROVAL_ABOVE);
        assertGt(usdc.balanceOf(payee) + piece, APPROVAL_ABOVE);
    }

    function test_midnightDoubleSpend() public {
        IAgentWallet.Policy memory untiered = policy();
        untiered.approvalAbove = DAILY_LIMIT;
        untiered.paymentMax = DAILY_LIMIT;
        vm.prank(owner);
        wallet.setPolicy(operator, address(usdc), untiered);
        vm.warp((vm.getBlockTimestamp() / 1 days + 1) * 1 days - 1);
        pay(DAILY_LIMIT, "1");
        vm.warp(vm.getBlockTimestamp() + 1);
        vm.expectRevert(abi.encodeWithSelector(SpendingLimit.SpendingLimitExceeded.selector, 1, 0));
        pay(1, "2");
    }

    function test_operatorRemovedAfterSigning() public {
        IAgentWallet.Payment memory payment = paymentOf(1e6, "1");
        bytes memory signature = sign(operatorKey, wallet.paymentDigest(payment));
        vm.prank(owner);
        wallet.removeOperator(operator);
        vm.expectPartialRevert(IAgentWallet.OperatorSignatureInvalid.selector);
        wallet.executePaymentWithSig(payment, signature);
        // Nor signed anew.
        signature = sign(operatorKey, wallet.paymentDigest(payment));
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotOperator.selector, operator));
        wallet.executePaymentWithSig(payment, signature);
    }

    // A stolen operator key signs something else

    function test_anOperatorKeySignsAPermit() public {
        bytes32 digest = permitDigest(address(wallet), stranger, FUNDS, block.timestamp + 60);
        _refusedInEveryShape(digest);
        vm.expectRevert("EIP2612: invalid signature");
        usdc.permit(address(wallet), stranger, FUNDS, block.timestamp + 60, sign(operatorKey, digest));
        // Dressed as a payment of its lane.
        bytes memory dressed = _dressed(digest);
        vm.expectRevert("EIP2612: invalid signature");
        usdc.permit(address(wallet), stranger, FUNDS, block.timestamp + 60, dressed);
    }

    function test_anOperatorKeySignsAPermit2Transfer() public view {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,uint256 chainId,address verifyingContract)"),
                keccak256("Permit2"),
                block.chainid,
                0x000000000022D473030F116dDEE9F6B43aC78BA3
            )
        );
        bytes32 permitted =
            keccak256(abi.encode(keccak256("TokenPermissions(address token,uint256 amount)"), address(usdc), FUNDS));
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256(
                    "PermitTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline)TokenPermissions(address token,uint256 amount)"
                ),
                permitted,
                stranger,
                0,
                block.timestamp + 60
            )
        );
        _refusedInEveryShape(keccak256(abi.encodePacked(hex"1901", domain, structHash)));
    }

    function test_anOperatorKeySignsTheOtherAuthorizationsOfUsdc() public {
        Authorization memory authorization = laneAuthorization(1e6, 0);
        authorization.to = stranger;
        bytes memory signature = _dressed(receiveDigest(authorization));
        vm.expectRevert("FiatTokenV2: invalid signature");
        vm.prank(stranger);
        usdc.receiveWithAuthorization(
            address(wallet), stranger, 1e6, 0, authorization.validBefore, authorization.nonce, signature
        );
        bytes32 cancellation =
            keccak256(abi.encode(CANCEL_AUTHORIZATION_TYPEHASH, address(wallet), authorization.nonce));
        signature = _dressed(usdcDigest(cancellation));
        vm.expectRevert("FiatTokenV2: invalid signature");
        usdc.cancelAuthorization(address(wallet), authorization.nonce, signature);
    }

    // Tokens

    /// A token that is even the wallet's owner, so that nothing but the guard stands in its way.
    function test_reentrantToken() public {
        ReenteringToken token = new ReenteringToken();
        vm.startPrank(owner);
        wallet.setPolicy(operator, address(token), policy());
        wallet.transferOwnership(address(token));
        vm.stopPrank();
        vm.prank(address(token));
        wallet.acceptOwnership();
        token.mint(address(wallet), FUNDS);
        bytes[6] memory calls = [
            abi.encodeCall(IAgentWallet.executePayment, (address(token), address(token), 1e6, "2")),
            abi.encodeCall(IAgentWallet.executePaymentWithSig, (paymentOf(1e6, "1"), "")),
            abi.encodeCall(IAgentWallet.withdraw, (address(token), stranger, 1e6)),
            abi.encodeCall(IAgentWallet.acceptOwnership, ()),
            abi.encodeCall(IAgentWallet.unfreeze, (operator)),
            abi.encodeCall(IAgentWallet.removeOperator, (operator))
        ];
        for (uint256 i = 0; i < calls.length; ++i) {
            token.reenterWith(calls[i]);
            vm.expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
            vm.prank(operator);
            wallet.executePayment(address(token), payee, 1e6, "1");
        }
        assertEq(wallet.remaining(operator, address(token)), DAILY_LIMIT);
        assertFalse(wallet.isPaymentExecuted("1"));
    }

    function test_blacklistedPayee() public {
        blacklist(payee);
        vm.expectRevert("Blacklistable: account is blacklisted");
        pay(1e6, "1");
        assertEq(wallet.remaining(operator, address(usdc)), DAILY_LIMIT);
        // It blocks nobody else, and once it is lifted the same id is paid.
        vm.prank(operator);
        wallet.executePayment(address(usdc), stranger, 1e6, "2");
        unblacklist(payee);
        pay(1e6, "1");
    }

    // Accounts with code

    /// An operator that delegates its code (EIP-7702) is still the key that signs.
    function test_eip7702Operator() public {
        vm.etch(operator, abi.encodePacked(hex"ef0100", address(new ApprovesEverything())));
        IAgentWallet.Payment memory payment = paymentOf(1e6, "1");
        wallet.executePaymentWithSig(payment, sign(operatorKey, wallet.paymentDigest(payment)));
        payByLane(1e6, 0);
        // What its code says yes to is not.
        payment = paymentOf(1e6, "2");
        vm.expectPartialRevert(IAgentWallet.OperatorSignatureInvalid.selector);
        wallet.executePaymentWithSig(payment, "yes");
        assertEq(usdc.balanceOf(payee), 2e6);
    }

    /// An owner with code answers for itself: its key's bare signature is worth what its code says.
    function test_eip7702Owner() public {
        IAgentWallet.Payment memory payment = paymentOf(PAYMENT_MAX, "1");
        IAgentWallet.Approval[] memory approvals = approveAsOwner(payment);
        vm.etch(owner, address(new ApprovesNothing()).code);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.ApprovalSignatureInvalid.selector, owner));
        vm.prank(operator);
        wallet.executeApprovedPayment(payment, "", approvals);
        vm.etch(owner, address(new ApprovesEverything()).code);
        vm.prank(operator);
        wallet.executeApprovedPayment(payment, "", approvals);
        assertEq(usdc.balanceOf(payee), PAYMENT_MAX);
    }

    // Creation

    function test_create2FrontRun() public {
        IAgentWallet.WalletConfig memory config = _anotherConfig();
        address expected = factory.walletAddress(config);
        mint(expected, FUNDS);
        // Whoever comes first can create this wallet, and only as it was meant to be.
        vm.prank(stranger);
        factory.createWallet(config);
        IAgentWallet.WalletConfig memory changed = _anotherConfig();
        changed.owner = stranger;
        vm.prank(stranger);
        assertNotEq(factory.createWallet(changed), expected);
        assertEq(factory.createWallet(config), expected);
        assertEq(AgentWallet(expected).owner(), owner);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotOwner.selector, stranger, owner));
        vm.prank(stranger);
        AgentWallet(expected).withdraw(address(usdc), stranger, FUNDS);
    }

    /// An undeployed wallet's first payment, settled as a facilitator does: deploy by the wrapper's call, then the inner signature.
    function test_erc6492FirstPayment() public {
        IAgentWallet.WalletConfig memory config = _anotherConfig();
        address undeployed = factory.walletAddress(config);
        mint(undeployed, FUNDS);
        // Lane and epoch of the first operator will be 1, as in the wallet that is there.
        Authorization memory authorization = laneAuthorization(1e6, 0);
        authorization.from = undeployed;
        bytes memory wrapped = bytes.concat(
            abi.encode(address(factory), abi.encodeCall(factory.createWallet, (config)), signLane(authorization)),
            MAGIC_SUFFIX_6492
        );

        vm.startPrank(stranger);
        (address target, bytes memory call, bytes memory signature) = abi.decode(wrapped, (address, bytes, bytes));
        (bool success,) = target.call(call);
        assertTrue(success);
        submit(authorization, signature);
        // A second facilitator finds the wallet there and the payment made.
        (success,) = target.call(call);
        assertTrue(success);
        vm.expectRevert("FiatTokenV2: authorization is used or canceled");
        submit(authorization, signature);
        vm.stopPrank();
        assertEq(usdc.balanceOf(payee), 1e6);
    }

    // Internals

    function _anotherConfig() private view returns (IAgentWallet.WalletConfig memory config) {
        config = walletConfig();
        config.salt = "another";
    }

    function _clone() private returns (AgentWallet other) {
        other = AgentWallet(factory.createWallet(_anotherConfig()));
        mint(address(other), FUNDS);
    }

    function _refusedInEveryShape(bytes32 digest) private view {
        assertEq(wallet.isValidSignature(digest, sign(operatorKey, digest)), REFUSED);
        (bytes32 r, bytes32 vs) = vm.signCompact(operatorKey, digest);
        assertEq(wallet.isValidSignature(digest, abi.encodePacked(r, vs)), REFUSED);
        assertEq(wallet.isValidSignature(digest, _dressed(digest)), REFUSED);
    }

    /// The operator's signature of any digest, in the frame of a payment that its lane would accept.
    function _dressed(bytes32 digest) private view returns (bytes memory) {
        (bytes32 r, bytes32 vs) = vm.signCompact(operatorKey, digest);
        return packLane(laneAuthorization(1e6, 0), 0, r, vs);
    }
}

/// Calls the one who moves it, with whatever it was told to, and passes its refusal on.
contract ReenteringToken is ERC20("Reentering", "RE") {
    bytes private _call;

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function reenterWith(bytes calldata call) external {
        _call = call;
    }

    function transfer(address to, uint256 amount) public override returns (bool) {
        (bool success, bytes memory reason) = msg.sender.call(_call);
        if (!success) {
            assembly {
                revert(add(reason, 32), mload(reason))
            }
        }
        return super.transfer(to, amount);
    }
}

contract ApprovesEverything {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        return this.isValidSignature.selector;
    }
}

contract ApprovesNothing { }
