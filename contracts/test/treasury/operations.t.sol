// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IAgentWallet } from "../../src/interfaces/IAgentWallet.sol";
import { IEscrow } from "../../src/interfaces/IEscrow.sol";
import { TakingRouter } from "./TakingRouter.sol";
import { TreasuryTest } from "./TreasuryTest.sol";

contract OperationsTest is TreasuryTest {
    address private seller = makeAddr("seller");
    address private arbiter = makeAddr("arbiter");

    // Agent wallets

    function test_aWalletIsCreatedAndFundedInOneOrder() public {
        Order memory order = _walletOrder(_walletConfig());
        submit(order);
        address wallet = order.payments[0].to;
        assertGt(wallet.code.length, 0);
        assertEq(usdc.balanceOf(wallet), 25e6);
    }

    function test_aWalletThatExistsIsFunded() public {
        walletFactory.createWallet(_walletConfig());
        Order memory order = _walletOrder(_walletConfig());
        submit(order);
        assertEq(usdc.balanceOf(order.payments[0].to), 25e6);
    }

    function test_reverts_whenThePayeeIsNotTheWalletOfTheConfiguration() public {
        Order memory order = _walletOrder(_walletConfig());
        order.payments[0].to = payee;
        vm.expectRevert(DetailsMismatch.selector);
        submit(order);
    }

    function test_reverts_whenAnOperationHasSeveralPayments() public {
        address[] memory payees = new address[](2);
        (payees[0], payees[1]) = (payee, stranger);
        Order memory order = batch(payees, 1);
        order.operation = Operation.CreateWallet;
        vm.expectRevert(abi.encodeWithSelector(InvalidPaymentCount.selector, 2, 1));
        submit(order);
    }

    // Escrow

    function test_anEscrowIsOpenedWithinThePolicyAndReleasedByItsSpender() public {
        IEscrow.Terms memory terms = _terms(100e6);
        bytes32 agreement = _open(terms);
        assertEq(usdc.balanceOf(address(escrow)), 100e6);
        assertEq(usdc.allowance(address(treasury), address(escrow)), 0);
        (address opener, bool opened) = treasury.escrowSpender(agreement);
        assertTrue(opened);
        assertEq(opener, spender);

        vm.prank(spender);
        treasury.releaseEscrow(abi.encode(terms));
        assertEq(usdc.balanceOf(seller), 100e6);
    }

    function test_anOwnerReleasesToo() public {
        IEscrow.Terms memory terms = _terms(100e6);
        _open(terms);
        vm.prank(ownerList[2]);
        treasury.releaseEscrow(abi.encode(terms));
        assertEq(usdc.balanceOf(seller), 100e6);
    }

    function test_aSpenderWhosePolicyWasRemovedReleasesNothing() public {
        IEscrow.Terms memory terms = _terms(100e6);
        _open(terms);
        vm.prank(guardian);
        treasury.removePolicy(spender, address(usdc));
        vm.expectRevert(abi.encodeWithSelector(PolicyInactive.selector, spender, address(usdc)));
        vm.prank(spender);
        treasury.releaseEscrow(abi.encode(terms));
    }

    function test_anAllowlistCoversWhoGetsTheFee() public {
        Policy memory strict = defaultPolicy();
        strict.onlyAllowed = true;
        enactPolicy(strict);
        enactRecipient(seller);
        vm.warp(block.timestamp + COOLDOWN);
        IEscrow.Terms memory terms = _terms(100e6);
        (terms.feeBps, terms.feeRecipient) = (10_000, stranger);
        Order memory order = _escrowOrder(terms, Operation.OpenEscrow, terms.amount);
        vm.expectRevert(abi.encodeWithSelector(RecipientNotAllowed.selector, stranger, 0, block.timestamp));
        submit(order);
    }

    function test_reverts_whenAnybodyElseReleases() public {
        IEscrow.Terms memory terms = _terms(100e6);
        vm.expectRevert(abi.encodeWithSelector(NotSpenderOrOwner.selector, spender, address(0)));
        vm.prank(spender);
        treasury.releaseEscrow(abi.encode(terms));
        _open(terms);
        vm.expectRevert(abi.encodeWithSelector(NotSpenderOrOwner.selector, stranger, spender));
        vm.prank(stranger);
        treasury.releaseEscrow(abi.encode(terms));
    }

    function test_reverts_whenThePausedTreasuryReleases() public {
        IEscrow.Terms memory terms = _terms(100e6);
        _open(terms);
        vm.prank(guardian);
        treasury.pause();
        vm.expectRevert(IsPaused.selector);
        vm.prank(spender);
        treasury.releaseEscrow(abi.encode(terms));
    }

    function test_theMoneyOfAnAgreementThatWasNotDeliveredComesBack() public {
        IEscrow.Terms memory terms = _terms(100e6);
        _open(terms);
        vm.warp(terms.deliverBy);
        escrow.refund(terms);
        assertEq(usdc.balanceOf(address(treasury)), FUNDS);
    }

    function test_aDeliveryIsDisputedAndTheBondChargedToThePolicy() public {
        IEscrow.Terms memory terms = _terms(100e6);
        bytes32 agreement = _open(terms);
        vm.prank(seller);
        escrow.markDelivered(terms, "delivery");
        Order memory order = _escrowOrder(terms, Operation.DisputeEscrow, terms.disputeBond);
        (, bool executed) = submit(order);
        assertTrue(executed);
        assertEq(uint8(escrow.agreementOf(agreement).status), uint8(IEscrow.Status.Disputed));
        (uint256 total,) = treasury.remaining(spender, address(usdc));
        assertEq(total, DAILY_LIMIT - 105e6);
        vm.prank(arbiter);
        escrow.resolve(terms, 0);
        assertEq(usdc.balanceOf(address(treasury)), FUNDS);
    }

    function test_aDisputeWithoutBondPaysNothing() public {
        IEscrow.Terms memory terms = _terms(100e6);
        terms.disputeBond = 0;
        bytes32 agreement = _open(terms);
        vm.prank(seller);
        escrow.markDelivered(terms, "delivery");
        submit(_escrowOrder(terms, Operation.DisputeEscrow, 0));
        assertEq(uint8(escrow.agreementOf(agreement).status), uint8(IEscrow.Status.Disputed));
    }

    /// The seller would be paid if a dispute waited for the end of the pause.
    function test_theOwnersDisputeWhileTheTreasuryIsPaused() public {
        IEscrow.Terms memory terms = _terms(100e6);
        bytes32 agreement = _open(terms);
        vm.prank(seller);
        escrow.markDelivered(terms, "delivery");
        vm.prank(guardian);
        treasury.pause();
        Order memory order = _escrowOrder(terms, Operation.DisputeEscrow, terms.disputeBond);
        vm.expectRevert(IsPaused.selector);
        submit(order);
        executeApproved(order);
        assertEq(uint8(escrow.agreementOf(agreement).status), uint8(IEscrow.Status.Disputed));
    }

    function test_whatAnotherOpenedIsDisputedWithTheOwnersOnly() public {
        IEscrow.Terms memory terms = _terms(100e6);
        terms.disputeBond = 0;
        vm.prank(address(treasury));
        usdc.approve(address(escrow), terms.amount);
        vm.prank(address(treasury));
        escrow.fund(terms);
        vm.prank(seller);
        escrow.markDelivered(terms, "delivery");
        (, bool executed) = submit(_escrowOrder(terms, Operation.DisputeEscrow, 0));
        assertFalse(executed);
    }

    function test_reverts_whenAPaymentWouldBeLost() public {
        address[2] memory sinks = [address(router), address(escrow)];
        for (uint256 i = 0; i < sinks.length; ++i) {
            Order memory order = payment(sinks[i], 1e6);
            vm.expectRevert(abi.encodeWithSelector(InvalidPayee.selector, sinks[i]));
            submit(order);
        }
    }

    function test_reverts_whenTheTermsAreNotThoseOfThePayment() public {
        IEscrow.Terms memory terms = _terms(100e6);
        for (uint256 i = 0; i < 5; ++i) {
            Order memory order = _escrowOrder(terms, Operation.OpenEscrow, terms.amount);
            IEscrow.Terms memory other = _terms(100e6);
            if (i == 0) other.buyer = stranger;
            if (i == 1) other.seller = stranger;
            if (i == 2) other.token = stranger;
            if (i == 3) other.amount = 99e6;
            if (i == 4) other.salt = "other";
            if (i < 4) order.payments[0].paymentRef = escrow.agreementId(other);
            order.details = abi.encode(other);
            vm.expectRevert(DetailsMismatch.selector);
            submit(order);
        }
        _open(terms);
        Order memory dispute = _escrowOrder(terms, Operation.DisputeEscrow, terms.disputeBond + 1);
        vm.expectRevert(DetailsMismatch.selector);
        submit(dispute);
    }

    // Router

    function test_theRouterTakesExactlyThePaymentAndKeepsNoAllowance() public {
        Order memory order = _routerOrder(abi.encodeCall(TakingRouter.take, (usdc, payee, 10e6)));
        executeApproved(order);
        assertEq(usdc.balanceOf(payee), 10e6);
        assertEq(usdc.allowance(address(treasury), address(router)), 0);
    }

    function test_aRouterCallNeedsTheOwnersEvenUnderTheTier() public {
        (, bool executed) = submit(_routerOrder(abi.encodeCall(TakingRouter.take, (usdc, payee, 10e6))));
        assertFalse(executed);
    }

    function test_reverts_whenTheRouterMovesAnotherAmount() public {
        Order memory order = _routerOrder(abi.encodeCall(TakingRouter.take, (usdc, payee, 9e6)));
        bytes memory approvals = signatures(treasury.orderId(order), 2);
        vm.expectRevert(abi.encodeWithSelector(BalanceMismatch.selector, address(usdc), 9e6, 10e6));
        treasury.execute(order, approvals);

        mint(address(router), 1e6);
        order = _routerOrder(abi.encodeCall(TakingRouter.give, (usdc, 1e6)));
        approvals = signatures(treasury.orderId(order), 2);
        vm.expectRevert(abi.encodeWithSelector(BalanceMismatch.selector, address(usdc), 0, 10e6));
        treasury.execute(order, approvals);
    }

    function test_reverts_whenThePayeeIsNotTheRouter() public {
        Order memory order = _routerOrder(abi.encodeCall(TakingRouter.take, (usdc, payee, 10e6)));
        order.payments[0].to = payee;
        bytes memory approvals = signatures(treasury.orderId(order), 2);
        vm.expectRevert(DetailsMismatch.selector);
        treasury.execute(order, approvals);
    }

    // Top-up

    function test_aTopUpByAuthorizationArrivesWithItsReference() public {
        (address payer, uint256 key) = makeAddrAndKey("payer");
        mint(payer, 50e6);
        TopUp memory terms = TopUp(address(usdc), payer, 50e6, 0, block.timestamp + 60, CATEGORY, INVOICE, 1);
        bytes memory signature = _signTopUp(key, terms);
        vm.expectEmit(address(treasury));
        emit ToppedUp(address(usdc), payer, INVOICE, 50e6, CATEGORY);
        vm.prank(stranger);
        treasury.topUp(terms, signature);
        assertEq(usdc.balanceOf(address(treasury)), FUNDS + 50e6);
    }

    function test_reverts_whenARelayerAltersATopUp() public {
        (address payer, uint256 key) = makeAddrAndKey("payer");
        mint(payer, 50e6);
        TopUp memory terms = TopUp(address(usdc), payer, 50e6, 0, block.timestamp + 60, CATEGORY, INVOICE, 1);
        bytes memory signature = _signTopUp(key, terms);
        terms.category = "pocket money";
        vm.expectRevert("FiatTokenV2: invalid signature");
        treasury.topUp(terms, signature);
        terms.amount = 0;
        vm.expectRevert(ZeroAmount.selector);
        treasury.topUp(terms, signature);
    }

    function test_reverts_whenATokenKeepsAFeeOfATopUp() public {
        FeeToken token = new FeeToken();
        TopUp memory terms = TopUp(address(token), stranger, 50, 0, block.timestamp + 60, CATEGORY, INVOICE, 1);
        vm.expectRevert(abi.encodeWithSelector(BalanceMismatch.selector, address(token), 49, 50));
        treasury.topUp(terms, "");
    }

    function _signTopUp(uint256 key, TopUp memory terms) private view returns (bytes memory) {
        return signReceive(
            key,
            Authorization(
                terms.from,
                address(treasury),
                terms.amount,
                terms.validAfter,
                terms.validBefore,
                treasury.topUpNonce(terms)
            )
        );
    }

    function _walletConfig() private view returns (IAgentWallet.WalletConfig memory config) {
        config.owner = address(treasury);
        config.guardian = guardian;
    }

    function _walletOrder(IAgentWallet.WalletConfig memory config) private returns (Order memory order) {
        order = payment(walletFactory.walletAddress(config), 25e6);
        order.operation = Operation.CreateWallet;
        order.details = abi.encode(config);
    }

    function _terms(uint256 amount) private view returns (IEscrow.Terms memory terms) {
        terms.buyer = address(treasury);
        terms.seller = seller;
        terms.arbiter = arbiter;
        terms.token = address(usdc);
        terms.amount = amount;
        terms.deliverBy = uint64(1_760_000_000 + 1 days);
        terms.reviewPeriod = 1 days;
        terms.arbitrationPeriod = 1 days;
        terms.disputeBond = 5e6;
    }

    function _escrowOrder(IEscrow.Terms memory terms, Operation operation, uint256 amount)
        private
        returns (Order memory order)
    {
        order = payment(terms.seller, amount);
        order.operation = operation;
        order.payments[0].paymentRef = escrow.agreementId(terms);
        order.details = abi.encode(terms);
    }

    function _open(IEscrow.Terms memory terms) private returns (bytes32) {
        Order memory order = _escrowOrder(terms, Operation.OpenEscrow, terms.amount);
        submit(order);
        return order.payments[0].paymentRef;
    }

    function _routerOrder(bytes memory data) private returns (Order memory order) {
        order = payment(address(router), 10e6);
        order.operation = Operation.CallRouter;
        order.details = data;
    }
}

/// Takes one unit of every transfer.
contract FeeToken {
    mapping(address account => uint256) public balanceOf;

    function receiveWithAuthorization(address, address to, uint256 value, uint256, uint256, bytes32, bytes calldata)
        external
    {
        balanceOf[to] += value - 1;
    }
}
