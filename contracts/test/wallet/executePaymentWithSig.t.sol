// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IAgentWallet } from "../../src/interfaces/IAgentWallet.sol";
import { WalletTest } from "./WalletTest.sol";

contract ExecutePaymentWithSigTest is WalletTest {
    function test_anyoneRelaysWhatTheOperatorSigned() public {
        IAgentWallet.Payment memory payment = paymentOf(3e6, "1");
        bytes memory signature = sign(operatorKey, wallet.paymentDigest(payment));
        vm.expectEmit(address(wallet));
        emit IAgentWallet.PaymentExecuted(operator, "1", payee, address(usdc), 3e6);
        vm.prank(stranger);
        wallet.executePaymentWithSig(payment, signature);
        assertEq(usdc.balanceOf(payee), 3e6);
    }

    function test_theDigestIsEip712OverTheDocumentedType() public view {
        IAgentWallet.Payment memory payment = paymentOf(3e6, "1");
        bytes32 typehash = keccak256(
            "Payment(address wallet,address operator,address token,address to,uint256 amount,bytes32 paymentId,uint256 deadline,uint32 operatorEpoch,uint32 approvalEpoch)"
        );
        // A chained encoding only because one call with all the words is too deep for the stack.
        bytes memory fields = abi.encode(payment.token, payment.to, payment.amount, payment.paymentId, payment.deadline);
        bytes32 structHash = keccak256(
            bytes.concat(abi.encode(typehash, address(wallet), operator), fields, abi.encode(uint32(1), uint32(1)))
        );
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Florin Agent Wallet"),
                keccak256("1"),
                block.chainid,
                address(wallet)
            )
        );
        assertEq(wallet.paymentDigest(payment), keccak256(abi.encodePacked(hex"1901", domain, structHash)));
    }

    function test_holdsUntilTheLastSecondOfItsDeadline() public {
        IAgentWallet.Payment memory payment = paymentOf(3e6, "1");
        bytes memory signature = sign(operatorKey, wallet.paymentDigest(payment));
        vm.warp(payment.deadline + 1);
        vm.expectRevert(
            abi.encodeWithSelector(IAgentWallet.PaymentDeadlinePassed.selector, payment.deadline + 1, payment.deadline)
        );
        wallet.executePaymentWithSig(payment, signature);
        vm.warp(payment.deadline);
        wallet.executePaymentWithSig(payment, signature);
    }

    function test_refusesASignatureOfSomebodyElse() public {
        IAgentWallet.Payment memory payment = paymentOf(3e6, "1");
        bytes memory signature = sign(ownerKey, wallet.paymentDigest(payment));
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.OperatorSignatureInvalid.selector, owner, operator));
        wallet.executePaymentWithSig(payment, signature);
    }

    /// @param seed picks the field that is altered after signing
    function testFuzz_noFieldCanBeAlteredAfterSigning(uint256 seed) public {
        IAgentWallet.Payment memory payment = paymentOf(3e6, "1");
        bytes memory signature = sign(operatorKey, wallet.paymentDigest(payment));
        uint256 field = bound(seed, 0, 4);
        if (field == 0) payment.to = stranger;
        if (field == 1) payment.amount += 1;
        if (field == 2) payment.paymentId = "2";
        if (field == 3) payment.deadline += 1;
        if (field == 4) payment.token = address(deployUsdc());
        vm.expectPartialRevert(IAgentWallet.OperatorSignatureInvalid.selector);
        wallet.executePaymentWithSig(payment, signature);
    }

    function test_aSignedPaymentOfNobodyIsRefused() public {
        IAgentWallet.Payment memory payment = paymentOf(3e6, "1");
        payment.operator = address(0);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.OperatorSignatureInvalid.selector, address(0), address(0)));
        wallet.executePaymentWithSig(payment, "");
    }

    function test_theSameRulesHoldAsForATransaction() public {
        IAgentWallet.Payment memory payment = paymentOf(PAYMENT_MAX + 1, "1");
        bytes memory signature = sign(operatorKey, wallet.paymentDigest(payment));
        vm.expectRevert(
            abi.encodeWithSelector(IAgentWallet.PaymentAboveMaximum.selector, uint256(PAYMENT_MAX) + 1, PAYMENT_MAX)
        );
        wallet.executePaymentWithSig(payment, signature);
    }
}
