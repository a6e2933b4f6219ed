// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IEscrow } from "../../../src/interfaces/IEscrow.sol";
import { EscrowTest } from "../EscrowTest.sol";
import { EscrowHandler } from "./EscrowHandler.sol";

/// What holds after any sequence of operations on any number of agreements, refused payouts and waiting. That calls work exactly when
/// escrow.tree says so, and that a status moves only along it, the handler asserts at each call.
contract EscrowInvariantTest is EscrowTest {
    EscrowHandler private handler;

    function setUp() public override {
        super.setUp();
        handler = new EscrowHandler(escrow, usdc, issuer);
        vm.prank(issuer);
        usdc.configureMinter(issuer, type(uint256).max);
        bytes4[] memory selectors = new bytes4[](14);
        selectors[0] = handler.fund.selector;
        selectors[1] = handler.topUp.selector;
        selectors[2] = handler.dispute.selector;
        selectors[3] = handler.donate.selector;
        selectors[4] = handler.markDelivered.selector;
        selectors[5] = handler.release.selector;
        selectors[6] = handler.releaseUpTo.selector;
        selectors[7] = handler.releaseUndisputed.selector;
        selectors[8] = handler.refund.selector;
        selectors[9] = handler.resolve.selector;
        selectors[10] = handler.applyDefault.selector;
        selectors[11] = handler.withdraw.selector;
        selectors[12] = handler.refuse.selector;
        selectors[13] = handler.letTimePass.selector;
        targetSelector(FuzzSelector(address(handler), selectors));
        targetContract(address(handler));
    }

    /// What the contract still holds of an agreement: what is not released, and the bond of a dispute.
    function held(IEscrow.Terms memory agreed) private view returns (uint256) {
        IEscrow.Agreement memory agreement = escrow.agreementOf(escrow.agreementId(agreed));
        if (uint8(agreement.status) > uint8(IEscrow.Status.Disputed)) return 0;
        uint256 bond = agreement.status == IEscrow.Status.Disputed ? agreed.disputeBond : 0;
        return agreement.funded - agreement.released + bond;
    }

    /// Per agreement: released to the seller + fee + given back to the buyer + still held = funded + bond. So no agreement ever pays with the
    /// money of another, nor with what lies in the contract otherwise.
    function invariant_everyAgreementIsConserved() external view {
        for (uint256 i = 0; i < handler.count(); ++i) {
            EscrowHandler.Books memory books = handler.booksOf(i);
            assertEq(
                books.toSeller + books.toFeeRecipient + books.toBuyer + held(handler.termsOf(i)),
                books.funded + books.bond
            );
        }
    }

    /// Balance = the sum of what is held of all agreements + all credits + what was given for nothing.
    function invariant_theContractHoldsExactlyWhatItOwes() external view {
        uint256 owed = handler.donated();
        for (uint256 i = 0; i < handler.count(); ++i) {
            owed += held(handler.termsOf(i));
        }
        for (uint256 i = 0; i < 5; ++i) {
            owed += escrow.withdrawable(address(usdc), handler.accounts(i));
        }
        assertEq(usdc.balanceOf(address(escrow)), owed);
    }

    /// The fee is that of the sum of all that left towards the seller, rounded down once.
    function invariant_theFeeIsOfTheSum() external view {
        for (uint256 i = 0; i < handler.count(); ++i) {
            IEscrow.Terms memory agreed = handler.termsOf(i);
            uint256 released = escrow.agreementOf(escrow.agreementId(agreed)).released;
            assertEq(handler.booksOf(i).toFeeRecipient, released * agreed.feeBps / 10_000);
        }
    }

    /// At every second an open agreement waits for exactly one: for its party, or for anyone who applies that party's default.
    function invariant_exactlyOneDefaultApplies() external {
        for (uint256 i = 0; i < handler.count(); ++i) {
            assertEq(handler.defaultsOf(i), 1);
        }
    }
}
