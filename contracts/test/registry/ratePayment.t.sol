// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IServiceRegistry } from "../../src/interfaces/IServiceRegistry.sol";
import { RegistryTest } from "./RegistryTest.sol";

contract RatePaymentTest is RegistryTest {
    bytes32 private constant PAYMENT = keccak256("invoice 7");

    function setUp() public override {
        super.setUp();
        pay(buyer, PAYMENT, payee, AMOUNT);
    }

    function ratePayment(address payer, bytes32 paymentId, uint256 amount) internal {
        vm.prank(payer);
        registry.ratePayment(feedback(90), payer, paymentId, amount, "");
    }

    function noPayment(address payer, bytes32 paymentId) internal view returns (bytes memory) {
        return abi.encodeWithSelector(IServiceRegistry.NoPayment.selector, registry.paymentKey(payer, paymentId));
    }

    function test_a_recorded_payment_weighs_its_amount() external {
        vm.expectEmit(address(registry));
        emit IServiceRegistry.FeedbackGiven(
            service,
            buyer,
            registry.paymentKey(buyer, PAYMENT),
            AMOUNT,
            false,
            90,
            "ipfs://bafy/review.json",
            keccak256("review")
        );
        ratePayment(buyer, PAYMENT, AMOUNT);
        assertReputation(1, 0, AMOUNT, 90 * AMOUNT);
    }

    function testFuzz_without_that_payment_nothing_is_rated(address payer, bytes32 paymentId, uint256 amount) external {
        vm.assume(payer != buyer || paymentId != PAYMENT || amount != AMOUNT);
        vm.expectRevert(noPayment(payer, paymentId));
        ratePayment(payer, paymentId, amount);
    }

    function test_a_payment_to_another_payee_or_in_another_token_rates_nothing() external {
        pay(buyer, "to another", stranger, AMOUNT);
        vm.expectRevert(noPayment(buyer, "to another"));
        ratePayment(buyer, "to another", AMOUNT);
        usdc = deployUsdc();
        pay(buyer, "in another", payee, AMOUNT);
        vm.expectRevert(noPayment(buyer, "in another"));
        ratePayment(buyer, "in another", AMOUNT);
    }

    function test_once_per_payment() external {
        ratePayment(buyer, PAYMENT, AMOUNT);
        vm.expectRevert(
            abi.encodeWithSelector(IServiceRegistry.AlreadyRated.selector, registry.paymentKey(buyer, PAYMENT))
        );
        ratePayment(buyer, PAYMENT, AMOUNT);
    }

    function test_two_payers_may_use_one_payment_id() external {
        pay(stranger, PAYMENT, payee, 1);
        ratePayment(buyer, PAYMENT, AMOUNT);
        ratePayment(stranger, PAYMENT, 1);
        assertReputation(2, 0, AMOUNT + 1, 90 * (AMOUNT + 1));
    }

    function test_anyone_relays_what_the_payer_signed_and_nobody_speaks_for_it() external {
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.SignatureInvalid.selector, buyer));
        registry.ratePayment(feedback(90), buyer, PAYMENT, AMOUNT, "");
        bytes32 digest = registry.feedbackDigest(feedback(90), registry.paymentKey(buyer, PAYMENT));
        registry.ratePayment(feedback(90), buyer, PAYMENT, AMOUNT, sign(BUYER_KEY, digest));
        assertReputation(1, 0, AMOUNT, 90 * AMOUNT);
    }

    function test_a_payment_to_the_payee_that_counts_now() external {
        address otherPayee = makeAddr("other payee");
        pay(buyer, "to the next", otherPayee, AMOUNT);
        announce(otherPayee, arbiter);
        ratePayment(buyer, PAYMENT, AMOUNT);
        vm.expectRevert(noPayment(buyer, "to the next"));
        ratePayment(buyer, "to the next", AMOUNT);
        vm.warp(block.timestamp + DELAY);
        ratePayment(buyer, "to the next", AMOUNT);
    }

    function test_an_unknown_service_is_not_rated() external {
        service = "unknown";
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.ServiceUnknown.selector, service));
        ratePayment(buyer, PAYMENT, AMOUNT);
    }
}
