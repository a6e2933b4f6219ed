// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IERC1271 } from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import { ERC20 } from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import { ECDSA } from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import { Escrow } from "../../src/Escrow.sol";
import { IEscrow } from "../../src/interfaces/IEscrow.sol";
import { IPayouts } from "../../src/interfaces/IPayouts.sol";
import { IReceiveWithAuthorization } from "../../src/interfaces/IReceiveWithAuthorization.sol";
import { EscrowTest } from "./EscrowTest.sol";

/// Attacks and accidents by name.
contract EscrowAdversarialTest is EscrowTest {
    // Payees whom the token refuses

    function test_blacklistedSellerBlocksNobody() external {
        fundAndDeliver();
        blacklist(seller);
        vm.prank(buyer);
        escrow.release(terms);
        assertBalances(WALLET - AMOUNT, 0, FEE, AMOUNT - FEE);
        assertEq(escrow.withdrawable(address(usdc), seller), AMOUNT - FEE);
    }

    function test_blacklistedFeeRecipientBlocksNobody() external {
        fundAndDeliver();
        blacklist(feeRecipient);
        vm.prank(buyer);
        escrow.release(terms);
        assertBalances(WALLET - AMOUNT, AMOUNT - FEE, 0, FEE);
        assertEq(escrow.withdrawable(address(usdc), feeRecipient), FEE);
    }

    function test_blacklistedBuyerBlocksNobody() external {
        openDispute();
        blacklist(buyer);
        vm.prank(arbiter);
        escrow.resolve(terms, AMOUNT / 2);
        assertBalances(WALLET - AMOUNT - BOND, AMOUNT / 2 - FEE / 2, FEE / 2, AMOUNT / 2 + BOND);
        assertEq(escrow.withdrawable(address(usdc), buyer), AMOUNT / 2 + BOND);
    }

    function test_rulingForABlacklistedPartyIsPulledElsewhere() external {
        openDispute();
        blacklist(seller);
        vm.prank(arbiter);
        escrow.resolve(terms, AMOUNT);
        uint256 credit = AMOUNT - FEE + BOND;
        assertEq(escrow.withdrawable(address(usdc), seller), credit);
        vm.prank(seller);
        escrow.withdraw(address(usdc), stranger);
        assertEq(usdc.balanceOf(stranger), credit);
        assertEq(usdc.balanceOf(address(escrow)), 0);
    }

    function test_pausedToken() external {
        fundAndDeliver();
        pauseUsdc();
        IEscrow.Terms memory before = terms;
        terms.salt = bytes32(uint256(2));
        vm.expectRevert("Pausable: paused");
        fund();
        terms = before;
        vm.prank(buyer);
        escrow.release(terms);
        assertEq(escrow.withdrawable(address(usdc), seller), AMOUNT - FEE);
        assertEq(escrow.withdrawable(address(usdc), feeRecipient), FEE);
        unpauseUsdc();
        vm.prank(seller);
        escrow.withdraw(address(usdc), seller);
        vm.prank(feeRecipient);
        escrow.withdraw(address(usdc), feeRecipient);
        assertBalances(WALLET - AMOUNT, AMOUNT - FEE, FEE, 0);
    }

    function test_blacklistedEscrowLosesNothing() external {
        fundAndDeliver();
        blacklist(address(escrow));
        vm.prank(buyer);
        escrow.release(terms);
        unblacklist(address(escrow));
        vm.prank(seller);
        escrow.withdraw(address(usdc), seller);
        assertEq(usdc.balanceOf(seller), AMOUNT - FEE);
    }

    // Front runners and relayers

    function test_frontRunPermitDoesNoHarm() external {
        vm.prank(buyer);
        usdc.approve(address(escrow), 0);
        uint256 deadline = block.timestamp + 60;
        bytes32 digest = permitDigest(buyer, address(escrow), AMOUNT, deadline);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(BUYER_KEY, digest);
        vm.prank(stranger);
        usdc.permit(buyer, address(escrow), AMOUNT, deadline, abi.encodePacked(r, s, v));
        vm.prank(buyer);
        escrow.fundWithPermit(terms, deadline, v, r, s);
        assertStatus(IEscrow.Status.Funded);
    }

    /// The money cannot be moved to the escrow past the escrow, where it would belong to no agreement.
    function test_frontRunAuthorization() external {
        uint256 validBefore = block.timestamp + 60;
        bytes32 id = escrow.agreementId(terms);
        Authorization memory authorization = Authorization(buyer, address(escrow), AMOUNT, 0, validBefore, id);
        bytes memory signature = signReceive(BUYER_KEY, authorization);
        vm.startPrank(stranger);
        vm.expectRevert("FiatTokenV2: invalid signature");
        submit(authorization, signature);
        vm.expectRevert("FiatTokenV2: caller must be the payee");
        usdc.receiveWithAuthorization(buyer, address(escrow), AMOUNT, 0, validBefore, id, signature);
        vm.stopPrank();
        escrow.fundWithAuthorization(terms, 0, validBefore, signature);
        assertStatus(IEscrow.Status.Funded);
    }

    /// @param bit which bit of the terms the relayer turns
    function testFuzz_termsAlteredByARelayer(uint256 bit) external {
        uint256 validBefore = block.timestamp + 60;
        bytes memory signature = signFunding(escrow.agreementId(terms), validBefore);
        bytes memory encoded = abi.encode(terms, 0, validBefore, signature);
        bit = bound(bit, 0, 15 * 256 - 1);
        encoded[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
        vm.prank(stranger);
        (bool ok,) = address(escrow).call(bytes.concat(escrow.fundWithAuthorization.selector, encoded));
        assertFalse(ok);
        assertEq(usdc.balanceOf(buyer), WALLET);
    }

    /// Opened by somebody else in the meantime, an agreement is what its buyer signed all the same.
    function test_frontRunFunding() external {
        uint256 validBefore = block.timestamp + 60;
        bytes memory signature = signFunding(escrow.agreementId(terms), validBefore);
        vm.prank(stranger);
        escrow.fundWithAuthorization(terms, 0, validBefore, signature);
        vm.expectRevert(wrongStatus(IEscrow.Status.Funded));
        fund();
        assertBalances(WALLET - AMOUNT, 0, 0, AMOUNT);
    }

    // Replays and signatures

    function test_replayAcrossChains() external {
        bytes32 id = fund();
        bytes memory signature = signRelease(id, AMOUNT, block.timestamp);
        vm.chainId(block.chainid + 1);
        assertNotEq(escrow.agreementId(terms), id);
        vm.expectRevert(wrongStatus(IEscrow.Status.None));
        escrow.releaseWithSignature(terms, AMOUNT, block.timestamp, signature);
        fund();
        vm.expectRevert(abi.encodeWithSelector(IEscrow.SignatureInvalid.selector, buyer));
        escrow.releaseWithSignature(terms, AMOUNT, block.timestamp, signature);
    }

    function test_replayAcrossContracts() external {
        bytes32 id = fund();
        bytes memory signature = signRelease(id, AMOUNT, block.timestamp);
        Escrow other = new Escrow();
        vm.startPrank(buyer);
        usdc.approve(address(other), AMOUNT);
        other.fund(terms);
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(IEscrow.SignatureInvalid.selector, buyer));
        other.releaseWithSignature(terms, AMOUNT, block.timestamp, signature);
    }

    function test_signatureMalleability() external {
        bytes memory signature = malleate(signRelease(fund(), AMOUNT, block.timestamp));
        vm.expectRevert(abi.encodeWithSelector(IEscrow.SignatureInvalid.selector, buyer));
        escrow.releaseWithSignature(terms, AMOUNT, block.timestamp, signature);
    }

    function test_signatureOfTheWrongLength() external {
        bytes memory signature = bytes.concat(signRelease(fund(), AMOUNT, block.timestamp), hex"00");
        vm.expectRevert(abi.encodeWithSelector(IEscrow.SignatureInvalid.selector, buyer));
        escrow.releaseWithSignature(terms, AMOUNT, block.timestamp, signature);
    }

    function test_erc1271BuyerReleasesBySignature() external {
        terms.buyer = address(new SigningAccount(buyer));
        mint(terms.buyer, AMOUNT);
        vm.startPrank(terms.buyer);
        usdc.approve(address(escrow), AMOUNT);
        bytes32 id = escrow.fund(terms);
        vm.stopPrank();
        bytes memory forged = sign(0xbad, releaseDigest(escrow, id, AMOUNT, block.timestamp));
        vm.expectRevert(abi.encodeWithSelector(IEscrow.SignatureInvalid.selector, terms.buyer));
        escrow.releaseWithSignature(terms, AMOUNT, block.timestamp, forged);
        escrow.releaseWithSignature(terms, AMOUNT, block.timestamp, signRelease(id, AMOUNT, block.timestamp));
        assertStatus(IEscrow.Status.Released);
    }

    function test_erc1271BuyerIsFundedByAuthorization() external {
        terms.buyer = address(new SigningAccount(buyer));
        mint(terms.buyer, AMOUNT);
        Authorization memory authorization =
            Authorization(terms.buyer, address(escrow), AMOUNT, 0, block.timestamp + 60, escrow.agreementId(terms));
        escrow.fundWithAuthorization(terms, 0, block.timestamp + 60, signReceive(BUYER_KEY, authorization));
        assertStatus(IEscrow.Status.Funded);
    }

    /// An account that delegates answers for itself, as it does to USDC: its code has to speak ERC-1271.
    /// forge-config: default.evm_version = "prague"
    function test_eip7702Buyer() external {
        bytes32 id = fund();
        address delegate = address(new SigningAccount(address(0)));
        vm.etch(buyer, bytes.concat(hex"ef0100", bytes20(delegate)));
        escrow.releaseWithSignature(terms, 1, block.timestamp, signRelease(id, 1, block.timestamp));

        vm.etch(buyer, bytes.concat(hex"ef0100", bytes20(address(usdc))));
        bytes memory signature = signRelease(id, 2, block.timestamp);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.SignatureInvalid.selector, buyer));
        escrow.releaseWithSignature(terms, 2, block.timestamp, signature);
        // What it does itself it can do whatever its code is.
        vm.prank(buyer);
        escrow.release(terms);
        assertStatus(IEscrow.Status.Released);
    }

    // Time and silence

    function test_sellerDeliversAtTheLastSecond() external {
        fund();
        vm.warp(terms.deliverBy - 1);
        deliver();
        vm.warp(terms.deliverBy);
        vm.expectRevert(wrongStatus(IEscrow.Status.Delivered));
        vm.prank(buyer);
        escrow.refund(terms);
        // The buyer has the whole review all the same.
        vm.warp(terms.deliverBy - 1 + terms.reviewPeriod - 1);
        vm.prank(buyer);
        escrow.dispute(terms);
    }

    /// The buyer sees the delivery in the mempool and is first.
    function test_buyerCannotRefundBeforeTheDeliveryItSeesComing() external {
        fund();
        vm.warp(terms.deliverBy - 1);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.TooEarly.selector, terms.deliverBy - 1, terms.deliverBy));
        vm.prank(buyer);
        escrow.refund(terms);
        deliver();
    }

    function test_arbiterSilent() external {
        openDispute();
        vm.warp(block.timestamp + terms.arbitrationPeriod);
        vm.prank(stranger);
        escrow.applyDefault(terms);
        assertBalances(WALLET, 0, 0, 0);
        vm.expectRevert(wrongStatus(IEscrow.Status.Resolved));
        vm.prank(arbiter);
        escrow.resolve(terms, AMOUNT);
    }

    function test_refundOfWhatWasNeverFunded() external {
        mint(address(escrow), AMOUNT);
        vm.warp(terms.deliverBy);
        address[3] memory callers = [buyer, seller, stranger];
        for (uint256 i = 0; i < callers.length; ++i) {
            vm.expectRevert(wrongStatus(IEscrow.Status.None));
            vm.prank(callers[i]);
            escrow.refund(terms);
        }
    }

    function test_topUpAfterDeliveryJoinsWhatIsDisputed() external {
        fundAndDeliver();
        vm.startPrank(buyer);
        escrow.topUp(terms, AMOUNT);
        escrow.dispute(terms);
        vm.stopPrank();
        vm.prank(arbiter);
        escrow.resolve(terms, 2 * AMOUNT);
        assertBalances(WALLET - 2 * AMOUNT - BOND, 2 * (AMOUNT - FEE) + BOND, 2 * FEE, 0);
    }

    function test_topUpDuringADisputeIsRefused() external {
        openDispute();
        vm.expectRevert(wrongStatus(IEscrow.Status.Disputed));
        vm.prank(buyer);
        escrow.topUp(terms, 1);
    }

    // Tokens

    function test_reentrantToken() external {
        ReentrantToken token = new ReentrantToken(buyer, address(escrow));
        terms.token = address(token);
        IEscrow.Terms memory outer = terms;
        fund();
        deliver();
        terms.salt = bytes32(uint256(2));
        bytes[13] memory attempts = [
            abi.encodeCall(IEscrow.fund, (terms)),
            abi.encodeCall(IEscrow.fundWithPermit, (terms, 0, 0, 0, 0)),
            abi.encodeCall(IEscrow.fundWithAuthorization, (terms, 0, 0, "")),
            abi.encodeCall(IEscrow.topUp, (outer, 1)),
            abi.encodeCall(IEscrow.release, (outer)),
            abi.encodeCall(IEscrow.releaseBatch, (new IEscrow.Terms[](0))),
            abi.encodeCall(IEscrow.releaseUpTo, (outer, 1)),
            abi.encodeCall(IEscrow.releaseWithSignature, (outer, 1, block.timestamp, "")),
            abi.encodeCall(IEscrow.releaseUndisputed, (outer)),
            abi.encodeCall(IEscrow.refund, (outer)),
            abi.encodeCall(IEscrow.dispute, (outer)),
            abi.encodeCall(IEscrow.resolve, (outer, 0)),
            abi.encodeCall(IPayouts.withdraw, (address(token), stranger))
        ];
        for (uint256 i = 0; i < attempts.length; ++i) {
            token.attack(attempts[i]);
            vm.startPrank(buyer);
            // On the way in and on the way out.
            escrow.topUp(outer, 1);
            assertEq(token.reason(), guarded());
            escrow.releaseUpTo(outer, i + 1);
            assertEq(token.reason(), guarded());
            vm.stopPrank();
        }
    }

    function guarded() private pure returns (bytes memory) {
        return abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
    }

    /// Delivering is not guarded, for it calls nobody. Done while money of the same agreement moves, it counts as done after.
    function test_deliveryFromWithinATransfer() external {
        ReentrantToken token = new ReentrantToken(buyer, address(escrow));
        (terms.token, terms.seller) = (address(token), address(new DeliveringSeller(escrow)));
        bytes32 id = fund();
        token.call(terms.seller, abi.encodeCall(DeliveringSeller.deliver, (terms)));
        vm.prank(buyer);
        escrow.releaseUpTo(terms, AMOUNT / 2);
        IEscrow.Agreement memory agreement = escrow.agreementOf(id);
        assertEq(uint8(agreement.status), uint8(IEscrow.Status.Delivered));
        assertEq(agreement.released, AMOUNT / 2);
        vm.prank(buyer);
        escrow.release(terms);
        assertEq(token.balanceOf(address(escrow)), 0);
    }

    function test_feeOnTransferTokenIsRefused() external {
        FeeToken token = new FeeToken(buyer, address(escrow));
        terms.token = address(token);
        bytes memory refused =
            abi.encodeWithSelector(IPayouts.TokenMovedOtherAmount.selector, address(token), AMOUNT - 1, AMOUNT);
        token.setFee(1);
        vm.expectRevert(refused);
        fund();
        vm.expectRevert(refused);
        vm.prank(buyer);
        escrow.fundWithPermit(terms, 0, 0, 0, 0);
        vm.expectRevert(refused);
        escrow.fundWithAuthorization(terms, 0, block.timestamp + 1, "");

        // A fee that its issuer turns on later is refused from then on.
        token.setFee(0);
        fundAndDeliver();
        token.setFee(1);
        vm.expectRevert(refused);
        vm.prank(buyer);
        escrow.topUp(terms, AMOUNT);
        vm.expectRevert(abi.encodeWithSelector(IPayouts.TokenMovedOtherAmount.selector, address(token), BOND - 1, BOND));
        vm.prank(buyer);
        escrow.dispute(terms);
    }

    function test_tokenThatMovesMoreIsRefused() external {
        FeeToken token = new FeeToken(buyer, address(escrow));
        terms.token = address(token);
        token.giveBonus();
        vm.expectRevert(
            abi.encodeWithSelector(IPayouts.TokenMovedOtherAmount.selector, address(token), AMOUNT + 1, AMOUNT)
        );
        fund();
    }

    function test_tokenWithoutCode() external {
        terms.token = makeAddr("nothing here");
        vm.expectRevert();
        fund();
        vm.expectRevert();
        escrow.fundWithAuthorization(terms, 0, block.timestamp + 1, "");
    }

    function test_tokenThatAnswersFalseInsteadOfRefusing() external {
        FeeToken token = new FeeToken(buyer, address(escrow));
        terms.token = address(token);
        fund();
        token.refuse();
        vm.prank(buyer);
        escrow.release(terms);
        assertEq(escrow.withdrawable(address(token), seller), AMOUNT - FEE);
        assertEq(token.balanceOf(address(escrow)), AMOUNT);
    }
}

/// Whatever its signer signed. With no signer it is what an EOA delegates to: the account's own key signs.
contract SigningAccount is IERC1271 {
    address private immutable SIGNER;

    constructor(address signer) {
        SIGNER = signer;
    }

    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        address signer = SIGNER == address(0) ? address(this) : SIGNER;
        return ECDSA.recover(hash, signature) == signer ? IERC1271.isValidSignature.selector : bytes4(0);
    }
}

contract DeliveringSeller {
    Escrow private immutable ESCROW;

    constructor(Escrow escrow) {
        ESCROW = escrow;
    }

    function deliver(IEscrow.Terms calldata terms) external {
        ESCROW.markDelivered(terms, "");
    }
}

/// Calls somebody whenever it moves, and remembers what a call was refused with.
contract ReentrantToken is ERC20("Reentrant", "R") {
    address private immutable ESCROW;
    address private _target;
    bytes private _data;
    bytes public reason;

    constructor(address holder, address escrow) {
        ESCROW = escrow;
        _mint(holder, 1e12);
        _approve(holder, escrow, type(uint256).max);
    }

    function attack(bytes calldata data) external {
        (_target, _data) = (ESCROW, data);
    }

    function call(address target, bytes calldata data) external {
        (_target, _data) = (target, data);
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (_target == address(0)) return;
        delete reason;
        (bool ok, bytes memory answer) = _target.call(_data);
        if (!ok) reason = answer;
    }
}

/// Keeps a unit of what is moved into the escrow once its issuer says so; or adds one; or answers false.
contract FeeToken is ERC20("Fee", "F"), IReceiveWithAuthorization {
    address private immutable ESCROW;
    uint256 private _fee;
    bool private _bonus;
    bool private _refusing;

    constructor(address holder, address escrow) {
        ESCROW = escrow;
        _mint(holder, 1e12);
        _approve(holder, escrow, type(uint256).max);
    }

    function setFee(uint256 fee) external {
        _fee = fee;
    }

    function giveBonus() external {
        _bonus = true;
    }

    function refuse() external {
        _refusing = true;
    }

    function transfer(address to, uint256 value) public override returns (bool) {
        return _refusing ? false : super.transfer(to, value);
    }

    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256,
        uint256,
        bytes32,
        bytes calldata
    ) external {
        _transfer(from, to, value);
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (to != ESCROW) return;
        if (_fee != 0) super._update(to, address(0), _fee);
        if (_bonus) super._update(address(0), to, 1);
    }
}
