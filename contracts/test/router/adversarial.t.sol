// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import { PaymentRouter } from "../../src/PaymentRouter.sol";
import { IPaymentRouter } from "../../src/interfaces/IPaymentRouter.sol";
import { IPayouts } from "../../src/interfaces/IPayouts.sol";
import { ISubscriptions } from "../../src/interfaces/ISubscriptions.sol";
import { DelegateOfAccount } from "./Payers.sol";
import { SubscriptionsTest } from "./SubscriptionsTest.sol";
import { GullibleToken, ReentrantToken } from "./Tokens.sol";

/// Attacks that concern more than one operation. Those on one operation are in its file.
contract RouterAdversarialTest is SubscriptionsTest {
    bytes32 private constant ID = "payment 1";

    function test_aFrontRunAuthorizationStrandsNothing() public {
        bytes32 nonce = router.batchNonce(payer, REF, address(usdc), threeLegs());
        IPaymentRouter.Authorization memory signed = authorize(6e6, nonce);
        // Brought to the token itself, past the router, it is refused: only the router may.
        vm.expectRevert("FiatTokenV2: caller must be the payee");
        vm.prank(stranger);
        usdc.receiveWithAuthorization(
            payer, address(router), 6e6, signed.validAfter, signed.validBefore, nonce, signed.signature
        );
        Authorization memory terms =
            Authorization(payer, address(router), 6e6, signed.validAfter, signed.validBefore, nonce);
        vm.expectRevert("FiatTokenV2: invalid signature");
        submit(terms, signed.signature);

        // Brought to the router, it pays whom the payer meant.
        vm.prank(stranger);
        router.batchPayWithAuthorization(REF, address(usdc), threeLegs(), signed);
        vm.expectRevert("FiatTokenV2: authorization is used or canceled");
        router.batchPayWithAuthorization(REF, address(usdc), threeLegs(), signed);
        assertEq(usdc.balanceOf(third), 3e6);
        assertEq(usdc.balanceOf(payer), FUNDS - 6e6);
        assertHolds(0);
    }

    /// Else anybody could use up the payment ids of others, and put words into their mouths.
    function test_aTokenThatBelievesAnybodyRecordsNothingInAPayersName() public {
        GullibleToken token = new GullibleToken();
        vm.expectRevert(abi.encodeWithSelector(IPaymentRouter.SignatureInvalid.selector, payer));
        vm.prank(stranger);
        router.payWithAuthorization(
            ID, address(token), payee, 5e6, IPaymentRouter.Authorization(payer, 0, type(uint256).max, new bytes(65))
        );
        assertEq(router.paymentRecord(payer, ID), 0);
    }

    function test_aSignatureIsGoodForOneRouterOnly() public {
        PaymentRouter other = new PaymentRouter();
        IPaymentRouter.Authorization memory signed =
            authorize(5e6, router.paymentNonce(payer, ID, address(usdc), payee, 5e6));
        vm.expectRevert(abi.encodeWithSelector(IPaymentRouter.SignatureInvalid.selector, payer));
        other.payWithAuthorization(ID, address(usdc), payee, 5e6, signed);
        bytes memory signature = signSubscribe(defaultTerms(), 7, START);
        vm.expectRevert(abi.encodeWithSelector(IPaymentRouter.SignatureInvalid.selector, payer));
        other.subscribeWithSignature(defaultTerms(), 7, START, signature);
    }

    function test_aSignatureIsGoodForOneChainOnly() public {
        IPaymentRouter.Authorization memory signed =
            authorize(5e6, router.paymentNonce(payer, ID, address(usdc), payee, 5e6));
        bytes memory signature = signSubscribe(defaultTerms(), 7, START);
        vm.chainId(block.chainid + 1);
        vm.expectRevert(abi.encodeWithSelector(IPaymentRouter.SignatureInvalid.selector, payer));
        router.payWithAuthorization(ID, address(usdc), payee, 5e6, signed);
        vm.expectRevert(abi.encodeWithSelector(IPaymentRouter.SignatureInvalid.selector, payer));
        router.subscribeWithSignature(defaultTerms(), 7, START, signature);
    }

    function test_theOtherSOfASignatureIsRefused() public {
        disallow();
        IPaymentRouter.Authorization memory signed =
            authorize(5e6, router.paymentNonce(payer, ID, address(usdc), payee, 5e6));
        signed.signature = malleate(signed.signature);
        vm.expectRevert(abi.encodeWithSelector(IPaymentRouter.SignatureInvalid.selector, payer));
        router.payWithAuthorization(ID, address(usdc), payee, 5e6, signed);

        IPaymentRouter.Permit memory signedPermit = permit(6e6);
        bytes memory malleated = malleate(abi.encodePacked(signedPermit.r, signedPermit.s, signedPermit.v));
        (signedPermit.v, signedPermit.s) = (uint8(malleated[64]), _word(malleated, 1));
        vm.expectRevert("ERC20: transfer amount exceeds allowance");
        vm.prank(payer);
        router.batchPayWithPermit(REF, address(usdc), threeLegs(), signedPermit);
    }

    /// forge-config: default.evm_version = "prague"
    function test_anAccountThatDelegatedPaysBySignature() public {
        vm.etch(payer, abi.encodePacked(hex"ef0100", new DelegateOfAccount()));
        router.payWithAuthorization(
            ID, address(usdc), payee, 5e6, authorize(5e6, router.paymentNonce(payer, ID, address(usdc), payee, 5e6))
        );
        router.subscribeWithSignature(defaultTerms(), 7, START, signSubscribe(defaultTerms(), 7, START));
        assertEq(usdc.balanceOf(payee), 5e6 + PRICE);
    }

    /// A pause refuses the pull, so all money stays where it is; credits wait.
    function test_aPausedTokenMovesNothing() public {
        blacklist(second);
        vm.prank(payer);
        router.batchPay(REF, address(usdc), threeLegs());
        pauseUsdc();
        vm.startPrank(payer);
        vm.expectRevert("Pausable: paused");
        router.pay(ID, address(usdc), payee, 5e6);
        vm.expectRevert("Pausable: paused");
        router.batchPay(REF, address(usdc), threeLegs());
        vm.expectRevert("Pausable: paused");
        router.splitPay(REF, address(usdc), 10e6, threeShares());
        vm.stopPrank();
        vm.expectRevert("Pausable: paused");
        vm.prank(second);
        router.withdraw(address(usdc), stranger);
        assertHolds(2e6);
    }

    /// Money that somebody sends here by mistake is nobody's, and disturbs nobody's payment.
    function test_moneyThatWasSentHereDisturbsNoPayment() public {
        mint(address(router), 3);
        vm.startPrank(payer);
        router.batchPay(REF, address(usdc), threeLegs());
        router.splitPay(REF, address(usdc), 10e6, threeShares());
        assertHolds(3);
    }

    function test_aReentrantTokenEntersNothingThatMovesMoney() public {
        ReentrantToken token = new ReentrantToken();
        ISubscriptions.SubscriptionTerms memory terms = defaultTerms();
        terms.token = address(token);
        token.mint(payer, FUNDS);
        vm.prank(payer);
        token.approve(address(router), FUNDS);
        bytes[9] memory entries = [
            abi.encodeCall(IPaymentRouter.pay, (ID, address(token), payee, 1)),
            abi.encodeCall(IPaymentRouter.batchPay, (REF, address(token), threeLegs())),
            abi.encodeCall(IPaymentRouter.batchPayWithPermit, (REF, address(token), threeLegs(), permit(6e6))),
            abi.encodeCall(IPaymentRouter.splitPay, (REF, address(token), 1, threeShares())),
            abi.encodeCall(IPaymentRouter.splitPayWithPermit, (REF, address(token), 1, threeShares(), permit(1))),
            abi.encodeCall(ISubscriptions.subscribe, (terms)),
            abi.encodeCall(ISubscriptions.charge, (terms)),
            abi.encodeCall(ISubscriptions.cancel, (terms, false)),
            abi.encodeCall(IPayouts.withdraw, (address(token), stranger))
        ];
        for (uint256 i = 0; i < entries.length; ++i) {
            token.reenter(address(router), entries[i]);
            vm.prank(payer);
            router.batchPay(REF, address(token), threeLegs());
            assertEq(bytes4(token.failure()), ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        }
        // One pull and three legs each.
        assertEq(token.calls(), 4 * entries.length);
        assertEq(token.balanceOf(address(router)), 0);
    }

    function _word(bytes memory data, uint256 index) private pure returns (bytes32 word) {
        assembly {
            word := mload(add(add(data, 0x20), mul(index, 0x20)))
        }
    }
}
