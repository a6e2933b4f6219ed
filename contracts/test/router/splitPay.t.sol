// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IERC20Permit } from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import { IPaymentRouter } from "../../src/interfaces/IPaymentRouter.sol";
import { IPayouts } from "../../src/interfaces/IPayouts.sol";
import { RouterTest } from "./RouterTest.sol";

contract SplitPayTest is RouterTest {
    function test_everyPayeeGetsItsShareAndTheEventSaysSo() public {
        vm.expectEmit(address(router));
        emit IPaymentRouter.SplitPaid(REF, payer, address(usdc), 10e6, threeShares());
        _splitPay(10e6, threeShares());
        _assertPaid(5e6, 3e6, 2e6);
    }

    function test_whatRoundingLeavesGoesToTheFirst() public {
        // 50 %, 30 % and 20 % of 9 are 4.5, 2.7 and 1.8.
        _splitPay(9, threeShares());
        _assertPaid(6, 2, 1);
    }

    function test_aShareThatRoundsToNothingIsNoPayment() public {
        _splitPay(1, threeShares());
        _assertPaid(1, 0, 0);
    }

    /// Nobody but the first gets other than its share rounded down, and nothing is left over.
    function testFuzz_sharesAddUpToTheAmount(uint256 amount, uint256 bps2, uint256 bps3) public {
        amount = bound(amount, 1, 1e17);
        bps2 = bound(bps2, 1, 9998);
        bps3 = bound(bps3, 1, 9999 - bps2);
        IPaymentRouter.Share[] memory shares = threeShares();
        (shares[0].bps, shares[1].bps, shares[2].bps) = (uint16(10_000 - bps2 - bps3), uint16(bps2), uint16(bps3));
        mint(payer, amount);
        _splitPay(amount, shares);
        uint256 second_ = amount * bps2 / 10_000;
        uint256 third_ = amount * bps3 / 10_000;
        _assertPaid(amount - second_ - third_, second_, third_);
        assertEq(usdc.balanceOf(payer), FUNDS);
    }

    function test_aBlacklistedPayeeIsCreditedAndBlocksNobody() public {
        blacklist(payee);
        vm.expectEmit(address(router));
        emit IPayouts.PayoutCredited(REF, address(usdc), payee, 5e6);
        _splitPay(10e6, threeShares());
        assertEq(usdc.balanceOf(third), 2e6);
        assertHolds(5e6);
    }

    function test_reverts_whenSharesAreNotTheWhole() public {
        IPaymentRouter.Share[] memory shares = threeShares();
        shares[2].bps = 1999;
        vm.expectRevert(abi.encodeWithSelector(IPaymentRouter.SharesInvalid.selector, 9999, 10_000));
        _splitPay(10e6, shares);
        vm.expectRevert(abi.encodeWithSelector(IPaymentRouter.SharesInvalid.selector, 0, 10_000));
        _splitPay(10e6, new IPaymentRouter.Share[](0));
    }

    function test_reverts_whenAShareOrTheAmountIsNothing() public {
        vm.expectRevert(IPaymentRouter.AmountZero.selector);
        _splitPay(0, threeShares());
        IPaymentRouter.Share[] memory shares = threeShares();
        (shares[0].bps, shares[1].bps) = (8000, 0);
        vm.expectRevert(IPaymentRouter.AmountZero.selector);
        _splitPay(10e6, shares);
    }

    function test_reverts_whenNobodyCanMeanAPayee() public {
        IPaymentRouter.Share[] memory shares = threeShares();
        shares[1].payee = address(router);
        vm.expectRevert(abi.encodeWithSelector(IPayouts.PartyInvalid.selector, address(router)));
        _splitPay(10e6, shares);
    }

    function test_aFrontRunPermitDoesNoHarm() public {
        disallow();
        IPaymentRouter.Permit memory signed = permit(10e6);
        IERC20Permit(address(usdc)).permit(payer, address(router), 10e6, signed.deadline, signed.v, signed.r, signed.s);
        vm.prank(payer);
        router.splitPayWithPermit(REF, address(usdc), 10e6, threeShares(), signed);
        _assertPaid(5e6, 3e6, 2e6);
    }

    function test_anyoneRelaysTheSplitOfAPayerWhoSigned() public {
        disallow();
        IPaymentRouter.Authorization memory signed = _authorize();
        vm.prank(stranger);
        router.splitPayWithAuthorization(REF, address(usdc), 10e6, threeShares(), signed);
        _assertPaid(5e6, 3e6, 2e6);
    }

    function test_reverts_whenARelayerAltersASplit() public {
        IPaymentRouter.Authorization memory signed = _authorize();
        IPaymentRouter.Share[] memory shares = threeShares();
        (shares[0].payee, shares[1].payee) = (shares[1].payee, shares[0].payee);
        vm.expectRevert(abi.encodeWithSelector(IPaymentRouter.SignatureInvalid.selector, payer));
        router.splitPayWithAuthorization(REF, address(usdc), 10e6, shares, signed);
        vm.expectRevert(abi.encodeWithSelector(IPaymentRouter.SignatureInvalid.selector, payer));
        router.splitPayWithAuthorization("another", address(usdc), 10e6, threeShares(), signed);
    }

    function test_theNonceOfASplitIsItsTypedHash() public view {
        bytes32 shareType = keccak256("Share(address payee,uint16 bps)");
        bytes32 sharesHash = keccak256(
            abi.encodePacked(
                keccak256(abi.encode(shareType, payee, 5000)),
                keccak256(abi.encode(shareType, second, 3000)),
                keccak256(abi.encode(shareType, third, 2000))
            )
        );
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256(
                    "Split(address payer,bytes32 paymentRef,address token,uint256 amount,Share[] shares)Share(address payee,uint16 bps)"
                ),
                payer,
                REF,
                usdc,
                10e6,
                sharesHash
            )
        );
        assertEq(router.splitNonce(payer, REF, address(usdc), 10e6, threeShares()), routerDigest(structHash));
    }

    function _splitPay(uint256 amount, IPaymentRouter.Share[] memory shares) private {
        vm.prank(payer);
        router.splitPay(REF, address(usdc), amount, shares);
    }

    function _authorize() private view returns (IPaymentRouter.Authorization memory) {
        return authorize(10e6, router.splitNonce(payer, REF, address(usdc), 10e6, threeShares()));
    }

    function _assertPaid(uint256 first, uint256 second_, uint256 third_) private view {
        assertEq(usdc.balanceOf(payee), first);
        assertEq(usdc.balanceOf(second), second_);
        assertEq(usdc.balanceOf(third), third_);
        assertHolds(0);
    }
}
