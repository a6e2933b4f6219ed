// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { WalletTest } from "../WalletTest.sol";
import { WalletHandler } from "./WalletHandler.sol";

/// What holds after any sequence of payments, signatures kept and used later, lane payments through USDC, freezes, removals, returns, changes
/// of terms, and time.
contract WalletInvariantTest is WalletTest {
    WalletHandler private handler;
    uint256 private constant PLENTY = 1_000_000e6;

    function setUp() public override {
        super.setUp();
        mint(address(wallet), PLENTY - FUNDS);
        handler = new WalletHandler();
        handler.begin(wallet, usdc, owner, ownerKey);
        bytes4[] memory actions = new bytes4[](9);
        actions[0] = WalletHandler.payByTransaction.selector;
        actions[1] = WalletHandler.signPayment.selector;
        actions[2] = WalletHandler.usePayment.selector;
        actions[3] = WalletHandler.signAuthorization.selector;
        actions[4] = WalletHandler.useAuthorization.selector;
        actions[5] = WalletHandler.setPolicy.selector;
        actions[6] = WalletHandler.setLane.selector;
        actions[7] = WalletHandler.administer.selector;
        actions[8] = WalletHandler.letTimePass.selector;
        targetContract(address(handler));
        targetSelector(FuzzSelector(address(handler), actions));
    }

    /// One campaign for all of them: each below is checked after every call.
    function invariant_moneyLeavesOnlyWithinWhatTheOwnerAllowed() public view {
        _noWindowIsOverItsLimit();
        _noLaneIsOverItsCap();
        _noPaymentIsExecutedTwice();
        _theTierAsksForApproval();
        _nothingLeavesAfterTheEnd();
        _whatLeftIsWhatWasPaid();
    }

    /// For every payment p of a registration: its payments in [p.time - 24 hours, p.time] up to p add up to at most the limit of that moment.
    /// The newest is looked at here; each was the newest once.
    function _noWindowIsOverItsLimit() private view {
        uint256 count = handler.spendCount();
        if (count == 0) return;
        (uint256 time,, uint256 limit, uint32 number) = handler.spends(count - 1);
        uint256 sum;
        for (uint256 i = count; i > 0; --i) {
            (uint256 earlier, uint256 amount,, uint32 whose) = handler.spends(i - 1);
            if (earlier + 24 hours < time) break;
            if (whose == number) sum += amount;
        }
        assertLe(sum, limit);
    }

    /// For every epoch and period: payments <= paymentsPerPeriod, money <= paymentsPerPeriod * paymentMax.
    function _noLaneIsOverItsCap() private view {
        assertEq(handler.lanesOverTheirCap(), 0);
    }

    /// For every payment id: executions <= 1.
    function _noPaymentIsExecutedTwice() private view {
        assertEq(handler.paidTwice(), 0);
    }

    /// window spend + payment > approvalAbove only with an approval.
    function _theTierAsksForApproval() private view {
        assertEq(handler.paidAboveTier(), 0);
    }

    /// Whoever pays is an operator, not frozen, and of the epoch under which it signed.
    function _nothingLeavesAfterTheEnd() private view {
        assertEq(handler.paidAfterTheEnd(), 0);
    }

    /// balance = funds - payments - lane payments, and the payee has the rest.
    function _whatLeftIsWhatWasPaid() private view {
        assertEq(usdc.balanceOf(address(wallet)), PLENTY - handler.paid());
        assertEq(usdc.balanceOf(payee), handler.paid());
    }
}
