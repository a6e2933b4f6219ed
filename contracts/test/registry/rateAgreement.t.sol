// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IServiceRegistry } from "../../src/interfaces/IServiceRegistry.sol";
import { RegistryTest } from "./RegistryTest.sol";

contract RateAgreementTest is RegistryTest {
    function setUp() public override {
        super.setUp();
        terms.feeBps = 0;
    }

    function noPayment() internal view returns (bytes memory) {
        return abi.encodeWithSelector(IServiceRegistry.NoPayment.selector, escrow.agreementId(terms));
    }

    function test_a_released_agreement_weighs_what_was_paid() external {
        bytes32 id = released();
        vm.expectEmit(address(registry));
        emit IServiceRegistry.FeedbackGiven(
            service, buyer, id, AMOUNT, false, 80, "ipfs://bafy/review.json", keccak256("review")
        );
        rate(80);
        assertReputation(1, 0, AMOUNT, 80 * AMOUNT);
    }

    function testFuzz_aggregates_are_the_sums_of_what_was_said(uint256[5] memory amounts, uint8[5] memory scores)
        external
    {
        uint256 volume;
        uint256 scoreSum;
        for (uint256 i = 0; i < 5; ++i) {
            terms.amount = bound(amounts[i], 1, 2 * AMOUNT);
            terms.salt = bytes32(i);
            scores[i] = uint8(bound(scores[i], 0, 100));
            released();
            rate(scores[i]);
            volume += terms.amount;
            scoreSum += scores[i] * terms.amount;
        }
        assertReputation(5, 0, volume, scoreSum);
    }

    function test_a_ruling_of_the_services_arbiter_weighs_the_amount_agreed() external {
        ruled(0, 0);
        rate(0);
        assertReputation(0, 1, AMOUNT, 0);
    }

    function test_a_ruling_weighs_what_was_paid_if_that_is_more() external {
        fund();
        vm.prank(buyer);
        escrow.topUp(terms, AMOUNT);
        deliver();
        vm.startPrank(buyer);
        escrow.releaseUpTo(terms, AMOUNT + EARLY);
        escrow.dispute(terms);
        vm.stopPrank();
        vm.prank(arbiter);
        escrow.resolve(terms, 0);
        rate(1);
        assertReputation(0, 1, AMOUNT + EARLY, AMOUNT + EARLY);
    }

    function test_a_default_outcome_weighs_what_was_paid() external {
        disputed(EARLY);
        vm.warp(block.timestamp + terms.arbitrationPeriod);
        escrow.applyDefault(terms);
        rate(10);
        assertReputation(0, 1, EARLY, 10 * EARLY);
    }

    /// Else a buyer with an arbiter of its own would weigh money that it got back.
    function test_a_ruling_of_another_arbiter_weighs_what_was_paid() external {
        terms.arbiter = stranger;
        ruled(EARLY, 0);
        rate(10);
        assertReputation(0, 1, EARLY, 10 * EARLY);
    }

    /// Else a stranger's contract could weigh borrowed money that comes back to it as the fee.
    function test_a_fee_weighs_nothing() external {
        (terms.feeBps, terms.feeRecipient) = (2_500, buyer);
        released();
        rate(0);
        assertReputation(1, 0, AMOUNT - AMOUNT / 4, 0);
        terms.feeBps = 10_000;
        released();
        vm.expectRevert(noPayment());
        rate(0);
    }

    function test_a_seller_who_gives_back_the_last_unit_is_rated_for_the_rest() external {
        fund();
        vm.prank(buyer);
        escrow.releaseUpTo(terms, AMOUNT - 1);
        vm.prank(payee);
        escrow.refund(terms);
        rate(5);
        assertReputation(1, 0, AMOUNT - 1, 5 * (AMOUNT - 1));
    }

    function test_nothing_paid_and_nothing_ruled_is_not_rated() external {
        disputed(0);
        vm.warp(block.timestamp + terms.arbitrationPeriod);
        escrow.applyDefault(terms);
        vm.expectRevert(noPayment());
        rate(0);
    }

    function test_a_refunded_agreement_is_not_rated() external {
        fund();
        vm.prank(payee);
        escrow.refund(terms);
        vm.expectRevert(noPayment());
        rate(0);
    }

    function test_an_agreement_is_rated_when_it_has_ended() external {
        vm.expectRevert(noPayment());
        rate(0);
        fund();
        vm.expectRevert(noPayment());
        rate(0);
        vm.prank(buyer);
        escrow.releaseUpTo(terms, EARLY);
        vm.expectRevert(noPayment());
        rate(0);
    }

    function test_once_per_agreement_even_on_another_service_of_the_payee() external {
        bytes32 id = released();
        rate(80);
        bytes memory refusal = abi.encodeWithSelector(IServiceRegistry.AlreadyRated.selector, id);
        vm.expectRevert(refusal);
        rate(80);
        service = register(owner, "second", payee, arbiter);
        vm.expectRevert(refusal);
        rate(80);
    }

    function test_a_payment_to_somebody_else_rates_nothing() external {
        released();
        service = register(stranger, SALT, stranger, arbiter);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.PayeeMismatch.selector, payee, stranger));
        rate(0);
    }

    function test_money_of_another_token_weighs_nothing() external {
        terms.token = address(deployUsdc());
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.TokenMismatch.selector, terms.token, address(usdc)));
        rate(0);
    }

    function test_an_unknown_service_is_not_rated() external {
        released();
        service = "unknown";
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.ServiceUnknown.selector, service));
        rate(0);
    }

    function testFuzz_scores_end_at_a_hundred(uint8 score) external {
        released();
        if (score > 100) vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.ScoreTooHigh.selector, score, 100));
        rate(score);
    }

    function test_a_long_uri_is_refused() external {
        released();
        IServiceRegistry.Feedback memory said = feedback(80);
        said.uri = string(new bytes(257));
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.StringTooLong.selector, 257, 256));
        vm.prank(buyer);
        registry.rateAgreement(said, terms, "");
    }

    function test_an_owner_does_not_rate_itself() external {
        released();
        vm.prank(owner);
        registry.offerOwnership(service, buyer);
        vm.prank(buyer);
        registry.acceptOwnership(service);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.SelfFeedback.selector, buyer));
        rate(100);
    }

    // By signature

    function test_anyone_relays_what_the_buyer_signed() external {
        bytes32 id = released();
        bytes memory signature = sign(BUYER_KEY, registry.feedbackDigest(feedback(80), id));
        vm.prank(stranger);
        registry.rateAgreement(feedback(80), terms, signature);
        assertReputation(1, 0, AMOUNT, 80 * AMOUNT);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.AlreadyRated.selector, id));
        registry.rateAgreement(feedback(80), terms, signature);
    }

    function test_a_relayer_alters_nothing() external {
        bytes32 id = released();
        bytes memory signature = sign(BUYER_KEY, registry.feedbackDigest(feedback(80), id));
        IServiceRegistry.Feedback memory altered = feedback(79);
        refuses(altered, signature);
        (altered = feedback(80)).uri = "ipfs://forged";
        refuses(altered, signature);
        (altered = feedback(80)).contentHash = 0;
        refuses(altered, signature);
        (altered = feedback(80)).deadline += 1;
        refuses(altered, signature);
        (altered = feedback(80)).service = register(stranger, SALT, payee, arbiter);
        refuses(altered, signature);
        terms.salt = "another agreement";
        released();
        refuses(feedback(80), signature);
        refuses(feedback(80), malleate(signature));
    }

    function refuses(IServiceRegistry.Feedback memory said, bytes memory signature) private {
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.SignatureInvalid.selector, buyer));
        registry.rateAgreement(said, terms, signature);
    }

    function test_a_signature_counts_until_its_deadline() external {
        bytes32 id = released();
        IServiceRegistry.Feedback memory said = feedback(80);
        bytes memory signature = sign(BUYER_KEY, registry.feedbackDigest(said, id));
        vm.warp(said.deadline + 1);
        vm.expectRevert(
            abi.encodeWithSelector(IServiceRegistry.DeadlinePassed.selector, said.deadline + 1, said.deadline)
        );
        registry.rateAgreement(said, terms, signature);
        vm.warp(said.deadline);
        registry.rateAgreement(said, terms, signature);
    }
}
