// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { RouterTest } from "../RouterTest.sol";
import { RouterHandler } from "./RouterHandler.sol";

/// What holds after any sequence of payments, subscriptions, refusals and waiting.
contract RouterInvariantTest is RouterTest {
    uint256 private constant FUNDS_OF_PAYER = 10_000e6;

    RouterHandler private handler;

    function setUp() public override {
        super.setUp();
        handler = new RouterHandler(router, usdc, issuer);
        for (uint256 i = 0; i < 3; ++i) {
            mint(handler.payers(i), FUNDS_OF_PAYER);
        }
        targetContract(address(handler));
    }

    /// One campaign for all of them: each below is checked after every call.
    function invariant_moneyOnlyPassesThrough() public view {
        _theRouterHoldsWhatItOwes();
        _nothingIsLost();
        _aPaymentIdExecutesOnce();
        _aPeriodIsChargedOnce();
        _chargesStayWithinTheTotal();
    }

    /// balance = sum of withdrawable = what was refused - what was withdrawn.
    function _theRouterHoldsWhatItOwes() private view {
        uint256 credits;
        for (uint256 i = 0; i < 4; ++i) {
            credits += router.withdrawable(address(usdc), handler.payees(i));
        }
        assertEq(usdc.balanceOf(address(router)), credits);
        assertEq(credits, handler.owed());
    }

    /// funds = payers + payees + credits + withdrawn: nobody else got anything.
    function _nothingIsLost() private view {
        uint256 sum = usdc.balanceOf(address(router)) + usdc.balanceOf(address(0xcafe));
        for (uint256 i = 0; i < 3; ++i) {
            sum += usdc.balanceOf(handler.payers(i));
        }
        for (uint256 i = 0; i < 4; ++i) {
            sum += usdc.balanceOf(handler.payees(i));
        }
        assertEq(sum, 3 * FUNDS_OF_PAYER);
    }

    /// executions(payer, id) <= 1, and the record is of what moved.
    function _aPaymentIdExecutesOnce() private view {
        assertEq(handler.executedTwice(), 0);
        assertEq(handler.recordedWrongly(), 0);
    }

    /// paid periods <= periods begun; without catch-up, one charge while a period runs; none after the end; each at the agreed price.
    function _aPeriodIsChargedOnce() private view {
        for (uint256 i = 0; i < handler.subscriptionCount(); ++i) {
            (uint256 paid, uint256 begun) = handler.periodsOf(i);
            assertLe(paid, begun);
        }
        assertEq(handler.chargedTwice(), 0);
        assertEq(handler.chargedWrongly(), 0);
        assertEq(handler.chargedAfterTheEnd(), 0);
    }

    /// charged <= totalMax.
    function _chargesStayWithinTheTotal() private view {
        for (uint256 i = 0; i < handler.subscriptionCount(); ++i) {
            (uint256 charged, uint256 totalMax) = handler.totalOf(i);
            assertLe(charged, totalMax);
        }
    }
}
