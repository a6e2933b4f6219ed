// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IEscrow } from "../../src/interfaces/IEscrow.sol";
import { EscrowTest } from "./EscrowTest.sol";

contract ReleaseBatchTest is EscrowTest {
    function test_releases_each_agreement_in_full() external {
        IEscrow.Terms[] memory batch = new IEscrow.Terms[](3);
        for (uint256 i = 0; i < batch.length; ++i) {
            terms.salt = bytes32(i);
            terms.amount = AMOUNT + i;
            fund();
            batch[i] = terms;
        }
        vm.prank(buyer);
        escrow.releaseBatch(batch);
        assertBalances(WALLET - 3 * AMOUNT - 3, 3 * (AMOUNT - FEE) + 3, 3 * FEE, 0);
        for (uint256 i = 0; i < batch.length; ++i) {
            assertEq(uint8(escrow.agreementOf(escrow.agreementId(batch[i])).status), uint8(IEscrow.Status.Released));
        }
    }

    function test_all_or_nothing() external {
        IEscrow.Terms[] memory batch = new IEscrow.Terms[](2);
        fund();
        (batch[0], batch[1]) = (terms, terms);
        vm.expectRevert(wrongStatus(IEscrow.Status.Released));
        vm.prank(buyer);
        escrow.releaseBatch(batch);
        assertStatus(IEscrow.Status.Funded);
    }

    function test_every_agreement_is_the_callers() external {
        IEscrow.Terms[] memory batch = new IEscrow.Terms[](2);
        fund();
        (batch[0], batch[1]) = (terms, terms);
        batch[1].buyer = stranger;
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NotBuyer.selector, buyer, stranger));
        vm.prank(buyer);
        escrow.releaseBatch(batch);
    }
}
