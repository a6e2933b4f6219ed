// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IERC20Permit } from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import { IPaymentRouter } from "../../src/interfaces/IPaymentRouter.sol";
import { IPayouts } from "../../src/interfaces/IPayouts.sol";
import { RouterTest } from "./RouterTest.sol";
import { FalseToken, FeeToken, SilentToken } from "./Tokens.sol";

contract BatchPayTest is RouterTest {
    function test_everyPayeeGetsItsAmountAndTheEventSaysSo() public {
        bytes32[] memory packed = new bytes32[](3);
        packed[0] = bytes32(abi.encodePacked(payee, uint96(1e6)));
        packed[1] = bytes32(abi.encodePacked(second, uint96(2e6)));
        packed[2] = bytes32(abi.encodePacked(third, uint96(3e6)));
        vm.expectEmit(address(router));
        emit IPaymentRouter.BatchPaid(REF, payer, address(usdc), 6e6, packed);
        _batchPay(threeLegs());
        _assertPaid(1e6, 2e6, 3e6);
    }

    function testFuzz_thePayerPaysExactlyWhatThePayeesGet(uint96[3] memory amounts) public {
        uint256 total;
        for (uint256 i = 0; i < 3; ++i) {
            amounts[i] = uint96(bound(amounts[i], 1, 1e17));
            total += amounts[i];
        }
        mint(payer, total);
        _batchPay(legs([payee, second, third], amounts));
        assertEq(usdc.balanceOf(payer), FUNDS);
        _assertPaid(amounts[0], amounts[1], amounts[2]);
    }

    function test_aPayeeTwiceInABatchGetsBoth() public {
        _batchPay(legs([payee, second, payee], [uint96(1e6), 2e6, 3e6]));
        _assertPaid(4e6, 2e6, 0);
    }

    // Refusals

    function test_aBlacklistedPayeeIsCreditedAndBlocksNobody() public {
        blacklist(second);
        vm.expectEmit(address(router));
        emit IPayouts.PayoutCredited(REF, address(usdc), second, 2e6);
        _batchPay(threeLegs());
        assertEq(usdc.balanceOf(payee), 1e6);
        assertEq(usdc.balanceOf(third), 3e6);
        assertEq(router.withdrawable(address(usdc), second), 2e6);
        assertHolds(2e6);

        vm.prank(second);
        router.withdraw(address(usdc), stranger);
        assertEq(usdc.balanceOf(stranger), 2e6);
        assertHolds(0);
    }

    function test_theFirstAndTheLastCanBeRefused() public {
        blacklist(payee);
        blacklist(third);
        _batchPay(threeLegs());
        assertEq(usdc.balanceOf(second), 2e6);
        assertHolds(4e6);
    }

    function test_aTokenThatAnswersFalseIsOneThatRefuses() public {
        FalseToken token = new FalseToken();
        token.refuse(second);
        token.mint(payer, 6e6);
        vm.startPrank(payer);
        token.approve(address(router), 6e6);
        router.batchPay(REF, address(token), threeLegs());
        assertEq(token.balanceOf(third), 3e6);
        assertEq(router.withdrawable(address(token), second), 2e6);
    }

    function test_aTokenThatAnswersNothingPays() public {
        SilentToken token = new SilentToken();
        token.mint(payer, 6e6);
        vm.prank(payer);
        router.batchPay(REF, address(token), threeLegs());
        assertEq(token.balanceOf(third), 3e6);
        assertEq(token.balanceOf(address(router)), 0);
    }

    function test_reverts_whenATokenKeepsAFee() public {
        FeeToken token = new FeeToken();
        token.mint(payer, 7e6);
        vm.startPrank(payer);
        token.approve(address(router), 6e6);
        vm.expectRevert(abi.encodeWithSelector(IPayouts.TokenMovedOtherAmount.selector, address(token), 6e6 - 1, 6e6));
        router.batchPay(REF, address(token), threeLegs());
    }

    /// With whatever gas, an honest payee is paid or the call reverts.
    function testFuzz_aShortageOfGasNeverPassesForARefusal(uint256 gas) public {
        vm.prank(payer);
        (bool passed,) = address(router).call{ gas: bound(gas, 50_000, 400_000) }(
            abi.encodeCall(IPaymentRouter.batchPay, (REF, address(usdc), threeLegs()))
        );
        assertEq(usdc.balanceOf(third), passed ? 3e6 : 0);
        assertHolds(0);
    }

    // What is refused by the router

    function test_reverts_withoutLegs() public {
        vm.expectRevert(IPaymentRouter.NoPayees.selector);
        _batchPay(new IPaymentRouter.Leg[](0));
    }

    function test_reverts_whenALegPaysNothing() public {
        vm.expectRevert(IPaymentRouter.AmountZero.selector);
        _batchPay(legs([payee, second, third], [uint96(1e6), 0, 3e6]));
    }

    function test_reverts_whenNobodyCanMeanAPayee() public {
        address[4] memory nobody = [address(0), payer, address(usdc), address(router)];
        for (uint256 i = 0; i < nobody.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IPayouts.PartyInvalid.selector, nobody[i]));
            _batchPay(legs([payee, second, nobody[i]], [uint96(1e6), 2e6, 3e6]));
        }
    }

    /// Bits above an address or an amount are no way around the checks and the sum.
    function testFuzz_reverts_whenALegIsNotEncodedCleanly(uint8 bit, bool inAmount) public {
        bytes memory call_ = abi.encodeCall(IPaymentRouter.batchPay, (REF, address(usdc), threeLegs()));
        // Selector, three words of arguments, the length; then two words a leg. The first byte of the second leg's payee or amount.
        uint256 at = 4 + 4 * 32 + 2 * 32 + (inAmount ? 32 : 0) + bound(bit, 0, inAmount ? 19 : 11);
        call_[at] = 0x01;
        vm.prank(payer);
        (bool passed, bytes memory answer) = address(router).call(call_);
        assertFalse(passed);
        assertEq(answer.length, 0);
    }

    function test_reverts_whenThePayerAllowsLessThanTheSum() public {
        vm.prank(payer);
        usdc.approve(address(router), 6e6 - 1);
        vm.expectRevert("ERC20: transfer amount exceeds allowance");
        _batchPay(threeLegs());
    }

    // By permit

    function test_aPermitAndABatchAreOneTransaction() public {
        disallow();
        IPaymentRouter.Permit memory signed = permit(6e6);
        vm.prank(payer);
        router.batchPayWithPermit(REF, address(usdc), threeLegs(), signed);
        _assertPaid(1e6, 2e6, 3e6);
        assertEq(usdc.allowance(payer, address(router)), 0);
    }

    function test_aFrontRunPermitDoesNoHarm() public {
        disallow();
        IPaymentRouter.Permit memory signed = permit(6e6);
        vm.prank(stranger);
        IERC20Permit(address(usdc)).permit(payer, address(router), 6e6, signed.deadline, signed.v, signed.r, signed.s);
        vm.prank(payer);
        router.batchPayWithPermit(REF, address(usdc), threeLegs(), signed);
        _assertPaid(1e6, 2e6, 3e6);
    }

    function test_reverts_whenSomebodyElseBringsThePermit() public {
        disallow();
        IPaymentRouter.Permit memory signed = permit(6e6);
        vm.expectRevert("ERC20: transfer amount exceeds allowance");
        vm.prank(stranger);
        router.batchPayWithPermit(REF, address(usdc), threeLegs(), signed);
    }

    // By authorization

    function test_anyoneRelaysTheBatchOfAPayerWhoSigned() public {
        disallow();
        IPaymentRouter.Authorization memory signed = _authorize(threeLegs());
        vm.prank(stranger);
        router.batchPayWithAuthorization(REF, address(usdc), threeLegs(), signed);
        _assertPaid(1e6, 2e6, 3e6);
    }

    function test_reverts_whenARelayerAltersABatch() public {
        IPaymentRouter.Authorization memory signed = _authorize(threeLegs());
        vm.expectRevert(abi.encodeWithSelector(IPaymentRouter.SignatureInvalid.selector, payer));
        router.batchPayWithAuthorization("another", address(usdc), threeLegs(), signed);
        vm.expectRevert(abi.encodeWithSelector(IPaymentRouter.SignatureInvalid.selector, payer));
        router.batchPayWithAuthorization(
            REF, address(usdc), legs([payee, second, third], [uint96(2e6), 1e6, 3e6]), signed
        );
        vm.expectRevert(abi.encodeWithSelector(IPaymentRouter.SignatureInvalid.selector, payer));
        router.batchPayWithAuthorization(
            REF, address(usdc), legs([payee, third, second], [uint96(1e6), 2e6, 3e6]), signed
        );
    }

    function test_reverts_whenTheSameBatchIsRelayedTwice() public {
        IPaymentRouter.Authorization memory signed = _authorize(threeLegs());
        router.batchPayWithAuthorization(REF, address(usdc), threeLegs(), signed);
        vm.expectRevert("FiatTokenV2: authorization is used or canceled");
        router.batchPayWithAuthorization(REF, address(usdc), threeLegs(), signed);
    }

    function test_theNonceOfABatchIsItsTypedHash() public view {
        bytes32 legType = keccak256("Leg(address payee,uint96 amount)");
        bytes32 legsHash = keccak256(
            abi.encodePacked(
                keccak256(abi.encode(legType, payee, 1e6)),
                keccak256(abi.encode(legType, second, 2e6)),
                keccak256(abi.encode(legType, third, 3e6))
            )
        );
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256(
                    "Batch(address payer,bytes32 paymentRef,address token,Leg[] legs)Leg(address payee,uint96 amount)"
                ),
                payer,
                REF,
                usdc,
                legsHash
            )
        );
        assertEq(router.batchNonce(payer, REF, address(usdc), threeLegs()), routerDigest(structHash));
    }

    function _batchPay(IPaymentRouter.Leg[] memory list) private {
        vm.prank(payer);
        router.batchPay(REF, address(usdc), list);
    }

    function _authorize(IPaymentRouter.Leg[] memory list) private view returns (IPaymentRouter.Authorization memory) {
        return authorize(6e6, router.batchNonce(payer, REF, address(usdc), list));
    }

    function _assertPaid(uint256 first, uint256 second_, uint256 third_) private view {
        assertEq(usdc.balanceOf(payee), first);
        assertEq(usdc.balanceOf(second), second_);
        assertEq(usdc.balanceOf(third), third_);
        assertHolds(0);
    }
}
