// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IPaymentRouter } from "../../src/interfaces/IPaymentRouter.sol";
import { IPayouts } from "../../src/interfaces/IPayouts.sol";
import { ContractPayer } from "./Payers.sol";
import { RouterTest } from "./RouterTest.sol";
import { FeeToken } from "./Tokens.sol";

contract PayTest is RouterTest {
    bytes32 private constant ID = "payment 1";

    function test_aPaymentGoesStraightToItsPayeeAndIsProvenFromThenOn() public {
        vm.expectEmit(address(router));
        emit IPaymentRouter.PaymentRecorded(ID, payer, payee, address(usdc), 5e6);
        _pay(ID, payee, 5e6);
        assertEq(usdc.balanceOf(payee), 5e6);
        assertEq(router.paymentRecord(payer, ID), keccak256(abi.encode(payee, address(usdc), 5e6)));
        assertHolds(0);
    }

    function test_reverts_whenAPaymentIdIsUsedAgain() public {
        _pay(ID, payee, 5e6);
        vm.expectRevert(abi.encodeWithSelector(IPaymentRouter.PaymentExecuted.selector, payer, ID));
        _pay(ID, second, 1e6);

        // Nor with another way to pay.
        IPaymentRouter.Authorization memory authorization = _authorize(ID, payee, 5e6);
        vm.expectRevert(abi.encodeWithSelector(IPaymentRouter.PaymentExecuted.selector, payer, ID));
        router.payWithAuthorization(ID, address(usdc), payee, 5e6, authorization);
    }

    function test_payersDoNotTakePaymentIdsFromEachOther() public {
        mint(stranger, 1e6);
        vm.startPrank(stranger);
        usdc.approve(address(router), 1e6);
        router.pay(ID, address(usdc), payee, 1e6);
        vm.stopPrank();
        _pay(ID, payee, 5e6);
        assertEq(router.paymentRecord(stranger, ID), keccak256(abi.encode(payee, address(usdc), 1e6)));
    }

    function test_aRefusedPaymentLeavesMoneyAndIdWithThePayer() public {
        blacklist(payee);
        vm.expectRevert("Blacklistable: account is blacklisted");
        _pay(ID, payee, 5e6);
        IPaymentRouter.Authorization memory authorization = _authorize(ID, payee, 5e6);
        vm.expectRevert("Blacklistable: account is blacklisted");
        router.payWithAuthorization(ID, address(usdc), payee, 5e6, authorization);
        assertEq(usdc.balanceOf(payer), FUNDS);
        unblacklist(payee);
        _pay(ID, payee, 5e6);
    }

    function test_reverts_whenNothingIsPaid() public {
        vm.expectRevert(IPaymentRouter.AmountZero.selector);
        _pay(ID, payee, 0);
    }

    function test_reverts_whenNobodyCanMeanThePayee() public {
        address[4] memory nobody = [address(0), payer, address(usdc), address(router)];
        for (uint256 i = 0; i < nobody.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IPayouts.PartyInvalid.selector, nobody[i]));
            _pay(ID, nobody[i], 5e6);
        }
    }

    // By authorization

    function test_anyoneRelaysThePaymentOfAPayerWhoSigned() public {
        disallow();
        IPaymentRouter.Authorization memory authorization = _authorize(ID, payee, 5e6);
        vm.expectEmit(address(router));
        emit IPaymentRouter.PaymentRecorded(ID, payer, payee, address(usdc), 5e6);
        vm.prank(stranger);
        router.payWithAuthorization(ID, address(usdc), payee, 5e6, authorization);
        assertEq(usdc.balanceOf(payee), 5e6);
        assertEq(router.paymentRecord(payer, ID), keccak256(abi.encode(payee, address(usdc), 5e6)));
        assertHolds(0);
    }

    function test_aPayerThatIsAContractSigns() public {
        ContractPayer account = new ContractPayer(payer);
        mint(address(account), 5e6);
        bytes32 nonce = router.paymentNonce(address(account), ID, address(usdc), payee, 5e6);
        Authorization memory terms =
            Authorization(address(account), address(router), 5e6, 0, vm.getBlockTimestamp() + 60, nonce);
        bytes memory signature = bytes.concat(account.REMARK(), signReceive(payerKey, terms));
        router.payWithAuthorization(
            ID,
            address(usdc),
            payee,
            5e6,
            IPaymentRouter.Authorization(terms.from, terms.validAfter, terms.validBefore, signature)
        );
        assertEq(usdc.balanceOf(payee), 5e6);
    }

    function test_reverts_whenARelayerAltersAnything() public {
        IPaymentRouter.Authorization memory signed = _authorize(ID, payee, 5e6);
        _expectUnsigned(payer);
        router.payWithAuthorization("payment 2", address(usdc), payee, 5e6, signed);
        _expectUnsigned(payer);
        router.payWithAuthorization(ID, address(usdc), second, 5e6, signed);
        _expectUnsigned(payer);
        router.payWithAuthorization(ID, address(usdc), payee, 4e6, signed);
        signed.validBefore += 1;
        _expectUnsigned(payer);
        router.payWithAuthorization(ID, address(usdc), payee, 5e6, signed);
        signed.validBefore -= 1;
        signed.validAfter += 1;
        _expectUnsigned(payer);
        router.payWithAuthorization(ID, address(usdc), payee, 5e6, signed);
        signed.validAfter -= 1;
        signed.payer = stranger;
        _expectUnsigned(stranger);
        router.payWithAuthorization(ID, address(usdc), payee, 5e6, signed);
    }

    function test_reverts_whenTheAuthorizationExpired() public {
        IPaymentRouter.Authorization memory authorization = _authorize(ID, payee, 5e6);
        vm.warp(authorization.validBefore);
        vm.expectRevert("FiatTokenV2: authorization is expired");
        router.payWithAuthorization(ID, address(usdc), payee, 5e6, authorization);
    }

    function test_reverts_whenATokenKeepsAFee() public {
        FeeToken token = new FeeToken();
        bytes32 nonce = router.paymentNonce(payer, ID, address(token), payee, 50);
        bytes32 structHash = keccak256(
            abi.encode(RECEIVE_WITH_AUTHORIZATION_TYPEHASH, payer, router, 50, 0, type(uint256).max, nonce)
        );
        bytes memory signature =
            sign(payerKey, keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), structHash)));
        vm.expectRevert(abi.encodeWithSelector(IPayouts.TokenMovedOtherAmount.selector, address(token), 49, 50));
        router.payWithAuthorization(
            ID, address(token), payee, 50, IPaymentRouter.Authorization(payer, 0, type(uint256).max, signature)
        );
    }

    function _pay(bytes32 id, address to, uint256 amount) private {
        vm.prank(payer);
        router.pay(id, address(usdc), to, amount);
    }

    function _authorize(bytes32 id, address to, uint256 amount)
        private
        view
        returns (IPaymentRouter.Authorization memory)
    {
        return authorize(amount, router.paymentNonce(payer, id, address(usdc), to, amount));
    }

    function _expectUnsigned(address signer) private {
        vm.expectRevert(abi.encodeWithSelector(IPaymentRouter.SignatureInvalid.selector, signer));
    }
}
