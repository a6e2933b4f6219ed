// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { Escrow } from "../../../src/Escrow.sol";
import { PaymentRouter } from "../../../src/PaymentRouter.sol";
import { ServiceRegistry } from "../../../src/ServiceRegistry.sol";
import { IServiceRegistry } from "../../../src/interfaces/IServiceRegistry.sol";
import { UsdcTest } from "../../base/UsdcTest.sol";
import { RegistryHandler } from "./RegistryHandler.sol";

/// What holds after any sequence of staking, deals, rulings, slashes, feedback, refusals and waiting.
contract RegistryInvariantTest is UsdcTest {
    ServiceRegistry private registry;
    RegistryHandler private handler;

    function setUp() public override {
        super.setUp();
        Escrow escrow = new Escrow();
        PaymentRouter router = new PaymentRouter();
        registry = new ServiceRegistry(usdc, escrow, router);
        handler = new RegistryHandler(escrow, registry, router, usdc, issuer);
        targetContract(address(handler));
    }

    /// One campaign for all of them: each below is checked after every call.
    function invariant_stakeAnswersAndReputationIsPaidFor() public view {
        _stakeIsConserved();
        _aggregatesAreSums();
        _slashesFollowFindings();
        _feedbackFollowsPayments();
        assertEq(handler.withdrawnTooEarly(), 0);
    }

    /// Per service, stake + unbonding = added - withdrawn - slashed. Over all, balance = stake + unbonding + credits.
    function _stakeIsConserved() private view {
        uint256 owed;
        for (uint256 i = 0; i < 3; ++i) {
            IServiceRegistry.Service memory service = registry.serviceOf(handler.services(i));
            RegistryHandler.Book memory book = handler.bookOf(i);
            uint256 bonded = uint256(service.stake) + service.unbonding;
            assertEq(bonded, book.added - book.withdrawn - book.slashed);
            owed += bonded + registry.withdrawable(address(usdc), handler.buyers(i));
        }
        assertEq(usdc.balanceOf(address(registry)), owed);
    }

    /// Settled, disputed, volume and score sum are those of the feedback that was accepted; the mean score is at most 100.
    function _aggregatesAreSums() private view {
        for (uint256 i = 0; i < 3; ++i) {
            IServiceRegistry.Reputation memory reputation = registry.reputationOf(handler.services(i));
            assertEq(abi.encode(reputation), abi.encode(handler.bookOf(i).reputation));
            assertLe(reputation.scoreSum, uint256(reputation.volume) * 100);
        }
    }

    /// Only for a ruling against the payee by the arbiter who both count at that second; once; at most what the payee received, at most half.
    function _slashesFollowFindings() private view {
        assertEq(handler.slashedWithoutFinding(), 0);
        assertEq(handler.slashedTwice(), 0);
        assertEq(handler.slashedMoreThanReceived(), 0);
        assertEq(handler.slashedMoreThanShare(), 0);
    }

    function _feedbackFollowsPayments() private view {
        assertEq(handler.ratedTwice(), 0);
        assertEq(handler.ratedWithoutPayment(), 0);
    }

    /// The handler reaches what the invariants are about: else they would hold of nothing.
    function test_theHandlerSlashesAndRates() external {
        handler.addStake(0, 500e6);
        handler.deal(1 << 8, 100e6, 40e6, 0);
        handler.slash(0, 0, 40e6);
        handler.rateAgreement(0, 0, 10);
        handler.ratePayment(0, 0, 7, 100);
        RegistryHandler.Book memory book = handler.bookOf(0);
        assertEq(book.slashed, 40e6);
        assertEq(book.reputation.disputed, 1);
        assertEq(book.reputation.settled, 1);
        assertEq(book.reputation.volume, 100e6 + 7);
    }
}
