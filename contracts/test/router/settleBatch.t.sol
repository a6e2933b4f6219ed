// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IPaymentRouter } from "../../src/interfaces/IPaymentRouter.sol";
import { IPayouts } from "../../src/interfaces/IPayouts.sol";
import { BurningPayer, ContractPayer, DelegateOfAccount } from "./Payers.sol";
import { SettlementTest } from "./SettlementTest.sol";

contract SettleBatchTest is SettlementTest {
    function setUp() public override {
        super.setUp();
        mint(addPayer("first payer"), 100e6);
        mint(addPayer("second payer"), 100e6);
        payees.push(payee);
        payees.push(second);
    }

    function test_everyPaymentGoesStraightToItsPayee() public {
        bytes memory payments = batch(bytes.concat(packed(0, 0, 1e6), packed(1, 1, 2e6), packed(0, 1, 4e6)));
        vm.expectEmit(address(router));
        emit IPaymentRouter.BatchSettled(address(usdc), stranger, 3, 7);
        vm.prank(stranger);
        assertEq(router.settleBatch(payments), 7);
        assertEq(usdc.balanceOf(payers[0]), 95e6);
        assertEq(usdc.balanceOf(payers[1]), 98e6);
        assertEq(usdc.balanceOf(payee), 1e6);
        assertEq(usdc.balanceOf(second), 6e6);
        assertHolds(0);
    }

    /// The token checks the signature over every field, so a payment that passes was read as it was signed. Both kinds of signatures.
    function testFuzz_everyFieldIsReadAsItWasSigned(
        uint64 value,
        uint40 validAfter,
        uint40 validBefore,
        bytes32 nonce,
        bool isCompact
    ) public {
        value = uint64(bound(value, 1, 1e17));
        validAfter = uint40(bound(validAfter, 0, block.timestamp - 1));
        validBefore = uint40(bound(validBefore, block.timestamp + 1, type(uint40).max));
        mint(payers[1], value);
        Authorization memory terms = Authorization(payers[1], second, value, validAfter, validBefore, nonce);
        bytes memory signature = signTransfer(keyOf[payers[1]], terms);
        bytes memory payment =
            isCompact ? packed(1, 1, terms, compact(signature), 0) : packed(1, 1, terms, signature, 65);
        assertEq(router.settleBatch(batch(payment)), 1);
        assertEq(usdc.balanceOf(second), value);
        assertTrue(usdc.authorizationState(payers[1], nonce));
    }

    function test_whatTheTokenRefusesStopsNoOther() public {
        mint(addPayer("blacklisted payer"), 100e6);
        blacklist(payers[2]);
        payees.push(makeAddr("blacklisted payee"));
        blacklist(payees[2]);
        bytes memory used = packed(0, 0, 1e6);
        router.settleBatch(batch(used));

        bytes memory payments = bytes.concat(packed(0, 0, 1e6), used, _timed(0, block.timestamp));
        payments = bytes.concat(payments, _timed(block.timestamp, type(uint40).max), packed(0, 0, 100e6), _forged());
        payments = bytes.concat(payments, packed(2, 0, 1e6), packed(0, 2, 1e6), packed(1, 1, 1e6));
        uint256 settled = router.settleBatch(batch(payments));

        // The first and the last of nine.
        assertEq(settled, 1 | 1 << 8);
        assertEq(usdc.balanceOf(payee), 2e6);
        assertEq(usdc.balanceOf(second), 1e6);
    }

    function test_theSameBatchTwicePaysOnce() public {
        bytes memory payments = batch(bytes.concat(packed(0, 0, 1e6), packed(1, 1, 2e6)));
        router.settleBatch(payments);
        assertEq(router.settleBatch(payments), 0);
        assertEq(usdc.balanceOf(payee), 1e6);
    }

    /// What somebody else submitted first reads as refused here, and is paid all the same.
    function test_aFrontRunAuthorizationIsPaidOnce() public {
        Authorization memory terms = authorization(0, 0, 1e6);
        bytes memory signature = signTransfer(keyOf[payers[0]], terms);
        vm.prank(stranger);
        submit(terms, signature);
        assertEq(router.settleBatch(batch(packed(0, 0, terms, compact(signature), 0))), 0);
        assertTrue(usdc.authorizationState(payers[0], terms.nonce));
        assertEq(usdc.balanceOf(payee), 1e6);
    }

    function test_theOtherSOfASignatureIsRefused() public {
        Authorization memory terms = authorization(0, 0, 1e6);
        bytes memory malleated = malleate(signTransfer(keyOf[payers[0]], terms));
        assertEq(router.settleBatch(batch(packed(0, 0, terms, malleated, 65))), 0);
        assertEq(usdc.balanceOf(payee), 0);
    }

    function test_anAuthorizationOfAnotherChainIsRefused() public {
        bytes memory payments = batch(packed(0, 0, 1e6));
        vm.chainId(block.chainid + 1);
        assertEq(router.settleBatch(payments), 0);
    }

    function test_aPausedTokenRefusesAll() public {
        bytes memory payments = batch(bytes.concat(packed(0, 0, 1e6), packed(1, 1, 2e6)));
        pauseUsdc();
        assertEq(router.settleBatch(payments), 0);
        unpauseUsdc();
        assertEq(router.settleBatch(payments), 3);
    }

    // Payers that are contracts

    function test_aContractSignsInItsOwnWay() public {
        ContractPayer account = new ContractPayer(payer);
        mint(address(account), 5e6);
        payers.push(address(account));
        Authorization memory terms = authorization(2, 0, 5e6);
        bytes memory signature = bytes.concat(account.REMARK(), signTransfer(payerKey, terms));
        bytes memory payments = bytes.concat(packed(0, 0, 1e6), packed(2, 0, terms, signature, 97), packed(1, 0, 1e6));
        assertEq(router.settleBatch(batch(payments)), 7);
        assertEq(usdc.balanceOf(payee), 7e6);
    }

    /// forge-config: default.evm_version = "prague"
    function test_anAccountThatDelegatedSignsThroughItsDelegate() public {
        vm.etch(payers[0], abi.encodePacked(hex"ef0100", new DelegateOfAccount()));
        assertEq(router.settleBatch(batch(packed(0, 0, 1e6))), 1);

        // To a delegate that knows no signatures: the key alone does not pay any more.
        vm.etch(payers[0], abi.encodePacked(hex"ef0100", router));
        assertEq(router.settleBatch(batch(bytes.concat(packed(0, 0, 1e6), packed(1, 0, 1e6)))), 2);
    }

    function test_aPayerThatBurnsItsGasCostsNoOther() public {
        payers.push(address(new BurningPayer()));
        mint(payers[2], 5e6);
        Authorization memory terms = authorization(2, 0, 5e6);
        bytes memory payments = bytes.concat(packed(2, 0, terms, new bytes(65), 65), packed(0, 0, 1e6));
        payments = batch(payments);
        uint256 gas = gasleft();
        assertEq(router.settleBatch(payments), 2);
        assertLt(gas - gasleft(), router.SETTLEMENT_GAS() + 120_000);
    }

    // Gas

    /// With whatever gas, all are tried in full or the call reverts. The long signature makes memory cost what a naive guard forgets.
    function testFuzz_aShortageOfGasNeverPassesForARefusal(uint256 gas, bool isLong) public {
        BurningPayer account = new BurningPayer();
        payers.push(address(account));
        Authorization memory terms = authorization(2, 0, 5e6);
        bytes memory noise = isLong ? packed(2, 0, terms, new bytes(65_000), 65_000) : bytes("");
        bytes memory payments = batch(bytes.concat(noise, packed(0, 0, 1e6), packed(1, 0, 1e6)));
        bytes memory data = abi.encodeCall(IPaymentRouter.settleBatch, (payments));
        (bool passed, bytes memory answer) = address(router).call{ gas: bound(gas, 50_000, 1_000_000) }(data);
        if (passed) assertEq(abi.decode(answer, (uint256)), isLong ? 6 : 3);
        assertEq(usdc.balanceOf(payee), passed ? 2e6 : 0);
    }

    function test_reverts_whenTheGasCannotTryThemAll() public {
        bytes memory payments = batch(bytes.concat(packed(0, 0, 1e6), packed(1, 0, 1e6)));
        (bool passed, bytes memory answer) =
            address(router).call{ gas: 330_000 }(abi.encodeCall(IPaymentRouter.settleBatch, (payments)));
        assertFalse(passed);
        assertEq(bytes4(answer), IPayouts.InsufficientGas.selector);
    }

    // Malformed

    function test_anIndexBeyondItsTablePaysNobody() public {
        Authorization memory terms = authorization(0, 0, 1e6);
        bytes memory signature = compact(signTransfer(keyOf[payers[0]], terms));
        bytes memory payments = bytes.concat(packed(2, 0, terms, signature, 0), packed(0, 2, terms, signature, 0));
        assertEq(router.settleBatch(batch(payments)), 0);
    }

    function test_reverts_whenThePaymentsEndTooSoonOrTooLate() public {
        bytes memory payments = batch(packed(0, 0, 1e6));
        for (uint256 length = 20; length < payments.length; length += 13) {
            bytes memory cut = _slice(payments, length);
            vm.expectPartialRevert(IPaymentRouter.PackedInvalid.selector);
            router.settleBatch(cut);
        }
        vm.expectRevert(abi.encodeWithSelector(IPaymentRouter.PackedInvalid.selector, 1, payments.length - 1));
        router.settleBatch(_slice(payments, payments.length - 1));
        vm.expectPartialRevert(IPaymentRouter.PackedInvalid.selector);
        router.settleBatch(bytes.concat(payments, hex"00"));
    }

    function test_reverts_whenThereIsNoPayment() public {
        bytes memory payments = batch("");
        vm.expectRevert(abi.encodeWithSelector(IPaymentRouter.PackedInvalid.selector, 0, payments.length));
        router.settleBatch(payments);
    }

    /// A call to an address without code passes; it must not read as paid.
    function test_reverts_whenTheTokenIsNone() public {
        bytes memory payments = bytes.concat(bytes20(stranger), table(payers), table(payees), packed(0, 0, 1e6));
        vm.expectRevert(abi.encodeWithSelector(IPaymentRouter.NotAToken.selector, stranger));
        router.settleBatch(payments);
    }

    function test_reverts_whenThereAreMoreThanTheBitmapHolds() public {
        bytes memory payments;
        for (uint256 i = 0; i < 257; ++i) {
            payments = bytes.concat(payments, new bytes(118));
        }
        vm.expectRevert(abi.encodeWithSelector(IPaymentRouter.TooManyPayments.selector, 257, 256));
        router.settleBatch(batch(payments));
        assertEq(router.settleBatch(batch(_slice(payments, 256 * 118))), 0);
    }

    /// Whatever the bytes, nobody pays without a signature, and nothing stays here.
    function testFuzz_noisePaysNobody(bytes memory noise) public {
        try router.settleBatch(batch(noise)) returns (uint256 settled) {
            assertEq(settled, 0);
        } catch { }
        assertEq(usdc.balanceOf(payers[0]) + usdc.balanceOf(payers[1]), 200e6);
    }

    /// A payment valid within these seconds only.
    function _timed(uint256 validAfter, uint256 validBefore) private returns (bytes memory) {
        Authorization memory terms = authorization(0, 0, 1e6);
        (terms.validAfter, terms.validBefore) = (validAfter, validBefore);
        return packed(0, 0, terms, compact(signTransfer(keyOf[payers[0]], terms)), 0);
    }

    /// A payment of the first payer that the second signed.
    function _forged() private returns (bytes memory) {
        Authorization memory terms = authorization(0, 0, 1e6);
        return packed(0, 0, terms, compact(signTransfer(keyOf[payers[1]], terms)), 0);
    }

    function _slice(bytes memory data, uint256 length) private pure returns (bytes memory part) {
        part = new bytes(length);
        for (uint256 i = 0; i < length; ++i) {
            part[i] = data[i];
        }
    }
}
