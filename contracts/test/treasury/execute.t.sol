// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { SpendingLimit } from "../../src/SpendingLimit.sol";
import { ITreasuryAdmin } from "../../src/interfaces/ITreasuryAdmin.sol";
import { TreasuryTest } from "./TreasuryTest.sol";

/// An owner that is a contract: it signs what its key signs.
contract ContractOwner {
    mapping(bytes32 hash => bool) public agreed;

    function agree(bytes32 hash) external {
        agreed[hash] = true;
    }

    function isValidSignature(bytes32 hash, bytes calldata) external view returns (bytes4) {
        return agreed[hash] ? this.isValidSignature.selector : bytes4(0);
    }
}

contract ExecuteTest is TreasuryTest {
    /// @param amount anything above the tier that the policy permits
    function testFuzz_theThresholdsSignaturesExecuteInOneCallByAnyone(uint256 amount) public {
        amount = bound(amount, uint256(TIER) + 1, ORDER_MAX);
        Order memory order = payment(amount);
        bytes32 id = treasury.orderId(order);
        vm.expectEmit(address(treasury));
        emit OrderExecuted(id, spender, payee, address(usdc), amount, INVOICE, CATEGORY, order.nonce);
        vm.prank(stranger);
        assertEq(treasury.execute(order, signatures(id, 2)), id);
        assertEq(usdc.balanceOf(payee), amount);
        (uint256 total, uint256 withoutOwners) = treasury.remaining(spender, address(usdc));
        assertEq(total, DAILY_LIMIT - amount);
        assertEq(withoutOwners, 0);
    }

    function test_approvalsByTransactionBySignatureAndByContractMix() public {
        ContractOwner contractOwner = new ContractOwner();
        enact(abi.encodeCall(ITreasuryAdmin.addOwner, (address(contractOwner), 3)));
        Order memory order = payment(TIER + 1);
        bytes32 id = treasury.orderId(order);
        contractOwner.agree(id);
        bytes memory byContract = signedByContract(address(contractOwner), "any");
        bytes memory byTransaction = approvedBy(ownerList[0], id);
        bytes memory bySignature = signedBy(ownerList[1], id);
        treasury.execute(order, _ascending(address(contractOwner), byContract, byTransaction, bySignature));
        assertEq(usdc.balanceOf(payee), TIER + 1);
    }

    function test_reverts_whenAContractOwnerDoesNotAgree() public {
        ContractOwner contractOwner = new ContractOwner();
        enact(abi.encodeCall(ITreasuryAdmin.addOwner, (address(contractOwner), 1)));
        Order memory order = payment(1);
        bytes memory approvals = signedByContract(address(contractOwner), "any");
        vm.expectRevert(
            abi.encodeWithSelector(ApprovalInvalid.selector, address(contractOwner), treasury.orderId(order))
        );
        treasury.execute(order, approvals);
    }

    function test_theOwnersOwnBudgetIsTheZeroSpenders() public {
        spender = address(0);
        enactPolicy(defaultPolicy());
        Order memory order = payment(1);
        vm.prank(ownerList[2]);
        (bytes32 id, bool executed) = treasury.submit(order);
        assertFalse(executed);
        treasury.execute(order, signatures(id, 2));
        assertEq(usdc.balanceOf(payee), 1);
    }

    function test_reverts_theSecondTime() public {
        Order memory order = payment(TIER + 1);
        executeApproved(order);
        bytes memory approvals = signatures(treasury.orderId(order), 2);
        vm.expectRevert(abi.encodeWithSelector(NonceUsed.selector, spender, order.nonce));
        treasury.execute(order, approvals);
    }

    function test_reverts_whenFewerOwnersThanTheThresholdApprove() public {
        Order memory order = payment(1);
        bytes32 id = treasury.orderId(order);
        vm.expectRevert(abi.encodeWithSelector(ApprovalsBelowThreshold.selector, 1, 2));
        treasury.execute(order, signatures(id, 1));
        vm.expectRevert(abi.encodeWithSelector(ApprovalsBelowThreshold.selector, 0, 2));
        treasury.execute(order, "");
    }

    function test_reverts_whenOneOwnerApprovesTwice() public {
        Order memory order = payment(1);
        bytes32 id = treasury.orderId(order);
        bytes memory one = signedBy(ownerList[0], id);
        bytes memory twice = bytes.concat(one, approvedBy(ownerList[0], id));
        vm.expectRevert(abi.encodeWithSelector(ApprovalsNotAscending.selector, ownerList[0], ownerList[0]));
        treasury.execute(order, twice);
    }

    function test_reverts_whenAStrangerApproves() public {
        Order memory order = payment(1);
        (address outsider, uint256 key) = makeAddrAndKey("outsider");
        bytes memory approvals = bytes.concat(hex"00", sign(key, treasury.orderId(order)));
        vm.expectRevert(abi.encodeWithSelector(NotOwner.selector, outsider));
        treasury.execute(order, approvals);
        vm.expectRevert(abi.encodeWithSelector(NotOwner.selector, outsider));
        treasury.execute(order, bytes.concat(hex"01", bytes20(outsider)));
        vm.expectRevert(abi.encodeWithSelector(NotOwner.selector, outsider));
        treasury.execute(order, signedByContract(outsider, ""));
    }

    /// @param cut how much is missing at the end
    function testFuzz_reverts_whenApprovalsAreCutOff(uint256 cut) public {
        Order memory order = payment(1);
        bytes32 id = treasury.orderId(order);
        bytes memory approvals = signatures(id, 2);
        cut = bound(cut, 1, 65);
        bytes memory short = new bytes(approvals.length - cut);
        for (uint256 i = 0; i < short.length; ++i) {
            short[i] = approvals[i];
        }
        vm.expectRevert();
        treasury.execute(order, short);
    }

    function test_reverts_whenApprovalsAreOfNoKnownKindOrEndTooEarly() public {
        Order memory order = payment(1);
        vm.expectRevert(ApprovalsMalformed.selector);
        treasury.execute(order, hex"03");
        bytes memory tooLong = bytes.concat(hex"02", bytes20(ownerList[0]), hex"0001");
        vm.expectRevert(ApprovalsMalformed.selector);
        treasury.execute(order, tooLong);
        bytes memory approvals = approvedBy(ownerList[0], treasury.orderId(order));
        bytes memory zeroFilled = new bytes(20);
        for (uint256 i = 0; i < 20; ++i) {
            zeroFilled[i] = approvals[i];
        }
        vm.expectRevert();
        treasury.execute(order, zeroFilled);
    }

    function test_reverts_whenAnApprovalByTransactionIsMissingOrWithdrawn() public {
        Order memory order = payment(1);
        bytes32 id = treasury.orderId(order);
        bytes memory approvals = bytes.concat(hex"01", bytes20(ownerList[0]), signedBy(ownerList[1], id));
        vm.expectRevert(abi.encodeWithSelector(ApprovalMissing.selector, ownerList[0], id));
        treasury.execute(order, approvals);

        vm.expectEmit(address(treasury));
        emit Approved(id, ownerList[0]);
        vm.prank(ownerList[0]);
        treasury.approve(id);
        assertTrue(treasury.isApproved(id, ownerList[0]));
        vm.expectEmit(address(treasury));
        emit ApprovalWithdrawn(id, ownerList[0]);
        vm.prank(ownerList[0]);
        treasury.withdrawApproval(id);
        vm.expectRevert(abi.encodeWithSelector(ApprovalMissing.selector, ownerList[0], id));
        treasury.execute(order, approvals);
    }

    function test_reverts_whenSomebodyElseThanAnOwnerApproves() public {
        vm.expectRevert(abi.encodeWithSelector(NotOwner.selector, stranger));
        vm.prank(stranger);
        treasury.approve("id");
    }

    function test_reverts_whenTheWindowIsFullThoughEveryOwnerSigned() public {
        executeApproved(payment(ORDER_MAX));
        executeApproved(payment(ORDER_MAX));
        Order memory order = payment(1);
        bytes memory approvals = signatures(treasury.orderId(order), 3);
        vm.expectRevert(abi.encodeWithSelector(SpendingLimit.SpendingLimitExceeded.selector, 1, 0));
        treasury.execute(order, approvals);
    }

    function test_reverts_whenPaused() public {
        vm.prank(ownerList[0]);
        treasury.pause();
        Order memory order = payment(1);
        bytes memory approvals = signatures(treasury.orderId(order), 2);
        vm.expectRevert(IsPaused.selector);
        treasury.execute(order, approvals);
    }

    function test_reverts_afterItsExpiry() public {
        Order memory order = payment(TIER + 1);
        bytes memory approvals = signatures(treasury.orderId(order), 2);
        vm.warp(order.validUntil + 1);
        vm.expectRevert(abi.encodeWithSelector(Expired.selector, order.validUntil, order.validUntil + 1));
        treasury.execute(order, approvals);
    }

    function _ascending(address contractOwner, bytes memory byContract, bytes memory first, bytes memory second)
        private
        view
        returns (bytes memory)
    {
        if (contractOwner < ownerList[0]) return bytes.concat(byContract, first, second);
        if (contractOwner < ownerList[1]) return bytes.concat(first, byContract, second);
        return bytes.concat(first, second, byContract);
    }
}
