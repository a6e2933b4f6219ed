// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { TreasuryTest } from "./TreasuryTest.sol";

contract PoliciesTest is TreasuryTest {
    /// @param dailyLimit at most the present one
    /// @param orderMax at most that
    /// @param approvalAbove at most that
    function testFuzz_anyOwnerOrGuardianLowersAPolicyAtOnce(uint56 dailyLimit, uint56 orderMax, uint56 approvalAbove)
        public
    {
        dailyLimit = uint56(bound(dailyLimit, 0, DAILY_LIMIT));
        orderMax = uint56(bound(orderMax, 0, dailyLimit < ORDER_MAX ? dailyLimit : ORDER_MAX));
        approvalAbove = uint56(bound(approvalAbove, 0, dailyLimit < TIER ? dailyLimit : TIER));
        Policy memory policy = Policy(dailyLimit, orderMax, approvalAbove, true);
        vm.expectEmit(address(treasury));
        emit PolicySet(spender, address(usdc), policy, 2, guardian);
        vm.prank(guardian);
        treasury.lowerPolicy(spender, address(usdc), policy);
        PolicyView memory found = treasury.policyOf(spender, address(usdc));
        assertEq(abi.encode(found.policy), abi.encode(policy));
        assertEq(found.epoch, 2);
    }

    function test_reverts_whenAGuardianWidensAnything() public {
        Policy[] memory wider = new Policy[](4);
        for (uint256 i = 0; i < 4; ++i) {
            wider[i] = defaultPolicy();
        }
        wider[0].dailyLimit += 1;
        wider[1].orderMax += 1;
        wider[2].approvalAbove += 1;
        Policy memory current = defaultPolicy();
        for (uint256 i = 0; i < 4; ++i) {
            if (i == 3) {
                current.onlyAllowed = true;
                vm.prank(ownerList[0]);
                treasury.lowerPolicy(spender, address(usdc), current);
            }
            vm.expectRevert(abi.encodeWithSelector(NotLower.selector, wider[i], current));
            vm.prank(guardian);
            treasury.lowerPolicy(spender, address(usdc), wider[i]);
        }
    }

    function test_reverts_whenAPolicyContradictsItself() public {
        Policy memory policy = defaultPolicy();
        policy.orderMax = DAILY_LIMIT + 1;
        vm.expectRevert(abi.encodeWithSelector(InvalidPolicy.selector, policy));
        vm.prank(address(treasury));
        treasury.setPolicy(spender, address(usdc), policy);
        policy = defaultPolicy();
        policy.approvalAbove = DAILY_LIMIT + 1;
        vm.expectRevert(abi.encodeWithSelector(InvalidPolicy.selector, policy));
        vm.prank(address(treasury));
        treasury.setPolicy(spender, address(usdc), policy);
    }

    function test_reverts_whenTheTokenIsTheTreasuryOrNoContract() public {
        vm.startPrank(address(treasury));
        vm.expectRevert(abi.encodeWithSelector(InvalidToken.selector, address(treasury)));
        treasury.setPolicy(spender, address(treasury), defaultPolicy());
        vm.expectRevert(abi.encodeWithSelector(InvalidToken.selector, stranger));
        treasury.setPolicy(spender, stranger, defaultPolicy());
    }

    function test_reverts_whenAStrangerTightens() public {
        vm.startPrank(stranger);
        bytes memory refusal = abi.encodeWithSelector(NotOwnerOrGuardian.selector, stranger);
        vm.expectRevert(refusal);
        treasury.lowerPolicy(spender, address(usdc), defaultPolicy());
        vm.expectRevert(refusal);
        treasury.removePolicy(spender, address(usdc));
        vm.expectRevert(refusal);
        treasury.removeRecipient(spender, address(usdc), payee);
    }

    function test_raisingALimitRevivesNothingAndForgetsNothing() public {
        executeApproved(payment(ORDER_MAX));
        executeApproved(payment(ORDER_MAX));
        Policy memory policy = defaultPolicy();
        policy.dailyLimit = DAILY_LIMIT + 5;
        vm.prank(address(treasury));
        treasury.setPolicy(spender, address(usdc), policy);
        (uint256 total,) = treasury.remaining(spender, address(usdc));
        assertEq(total, 5);
    }

    function test_aRemovedSpenderReturnsWithEmptyWindowAndAllowlistAndItsOrdersStayDead() public {
        submit(payment(TIER));
        vm.prank(address(treasury));
        treasury.allowRecipient(spender, address(usdc), payee);
        Order memory old = payment(1);

        vm.expectEmit(address(treasury));
        emit PolicyRemoved(spender, address(usdc), 2, ownerList[0]);
        vm.prank(ownerList[0]);
        treasury.removePolicy(spender, address(usdc));
        assertFalse(treasury.policyOf(spender, address(usdc)).active);
        (uint256 total, uint256 withoutOwners) = treasury.remaining(spender, address(usdc));
        assertEq(total + withoutOwners, 0);
        vm.expectRevert(abi.encodeWithSelector(PolicyInactive.selector, spender, address(usdc)));
        submit(old);
        vm.expectRevert(abi.encodeWithSelector(PolicyInactive.selector, spender, address(usdc)));
        vm.prank(ownerList[0]);
        treasury.removePolicy(spender, address(usdc));

        vm.prank(address(treasury));
        treasury.setPolicy(spender, address(usdc), defaultPolicy());
        (total,) = treasury.remaining(spender, address(usdc));
        assertEq(total, DAILY_LIMIT);
        assertEq(treasury.allowedFrom(spender, address(usdc), payee), 0);
        vm.expectRevert(abi.encodeWithSelector(PolicyStale.selector, 1, 3));
        submit(old);
    }

    function test_aRecipientIsAllowedByAChangeAndStruckByAGuardian() public {
        uint64 from = uint64(vm.getBlockTimestamp() + COOLDOWN);
        vm.expectEmit(address(treasury));
        emit RecipientAllowed(spender, address(usdc), payee, from);
        vm.prank(address(treasury));
        treasury.allowRecipient(spender, address(usdc), payee);
        vm.expectEmit(address(treasury));
        emit RecipientRemoved(spender, address(usdc), payee, guardian);
        vm.prank(guardian);
        treasury.removeRecipient(spender, address(usdc), payee);
        assertEq(treasury.allowedFrom(spender, address(usdc), payee), 0);
    }
}
