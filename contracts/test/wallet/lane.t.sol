// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { LaneCodec } from "../../src/LaneCodec.sol";
import { IAgentWallet } from "../../src/interfaces/IAgentWallet.sol";
import { IUsdc } from "../base/IUsdc.sol";
import { WalletTest } from "./WalletTest.sol";

/// Payments that USDC itself executes because the wallet says yes to the operator's EIP-3009 authorization.
contract LaneTest is WalletTest {
    function setUp() public override {
        super.setUp();
        vm.warp(vm.getBlockTimestamp() / LANE_PERIOD_SECONDS * LANE_PERIOD_SECONDS + 10 minutes);
    }

    function test_usdcSettlesWhatTheOperatorSigned() public {
        Authorization memory authorization = laneAuthorization(1e6, 0);
        bytes memory signature = signLane(authorization);
        vm.expectEmit(address(usdc));
        emit IUsdc.AuthorizationUsed(address(wallet), authorization.nonce);
        vm.prank(stranger);
        submit(authorization, signature);
        assertEq(usdc.balanceOf(payee), 1e6);
        assertEq(usdc.balanceOf(address(wallet)), FUNDS - 1e6);
    }

    function test_thePeriodsAllotmentLeavesAndNothingMore() public {
        for (uint32 slot = 0; slot < LANE_PAYMENTS; ++slot) {
            payByLane(LANE_PAYMENT_MAX, slot);
        }
        assertEq(usdc.balanceOf(payee), uint256(LANE_PAYMENTS) * LANE_PAYMENT_MAX);
        _assertRefused(laneAuthorization(1, LANE_PAYMENTS));
        Authorization memory again = laneAuthorization(1, 0);
        bytes memory signature = signLane(again);
        vm.expectRevert("FiatTokenV2: authorization is used or canceled");
        submit(again, signature);
    }

    /// @param value anything a lane signature can carry
    function testFuzz_acceptsValuesFromOneToTheMaximum(uint40 value) public view {
        Authorization memory authorization = laneAuthorization(value, 0);
        bool fits = value > 0 && value <= LANE_PAYMENT_MAX;
        assertEq(_answer(authorization), fits ? MAGIC : REFUSED);
    }

    /// @param slot anything a lane signature can carry
    function testFuzz_acceptsTheSlotsOfThePeriod(uint24 slot) public view {
        assertEq(_answer(laneAuthorization(1e6, slot)), slot < LANE_PAYMENTS ? MAGIC : REFUSED);
    }

    /// @param validBefore any time from five hours ago to five hours ahead
    function testFuzz_acceptsThePeriodThatIsCurrentOrAboutToBegin(uint256 validBefore) public view {
        uint256 time = block.timestamp;
        validBefore = bound(validBefore, time - 5 hours, time + 5 hours);
        uint256 start = validBefore / LANE_PERIOD_SECONDS * LANE_PERIOD_SECONDS;
        bool current = time < validBefore && start <= time + GRACE_SECONDS;
        assertEq(_answer(laneAuthorization(1e6, 0, validBefore)), current ? MAGIC : REFUSED);
    }

    function test_aPeriodIsAcceptedFromExactlyFiveMinutesBeforeItBegins() public {
        uint256 next = (block.timestamp / LANE_PERIOD_SECONDS + 1) * LANE_PERIOD_SECONDS;
        Authorization memory authorization = laneAuthorization(1e6, 0, next);
        vm.warp(next - GRACE_SECONDS - 1);
        assertEq(_answer(authorization), REFUSED);
        vm.warp(next - GRACE_SECONDS);
        assertEq(_answer(authorization), MAGIC);
        vm.warp(next - 1);
        assertEq(_answer(authorization), MAGIC);
        vm.warp(next);
        assertEq(_answer(authorization), REFUSED); // over
    }

    function test_expiresAtItsSecond() public {
        uint256 expiresAt = lane().expiresAt;
        vm.prank(owner);
        wallet.setLane(operator, lane());
        vm.warp(expiresAt + 10 minutes - 1);
        expiresAt = block.timestamp + 1;
        IAgentWallet.Lane memory changed = lane();
        changed.expiresAt = uint40(expiresAt);
        vm.prank(owner);
        wallet.setLane(operator, changed);
        assertEq(_answer(laneAuthorization(1e6, 0)), MAGIC);
        vm.warp(expiresAt);
        assertEq(_answer(laneAuthorization(1e6, 0)), REFUSED);
    }

    function test_withAnAllowlistPaysOnlyWhoIsOnIt() public {
        IAgentWallet.Lane memory changed = lane();
        changed.onlyAllowed = true;
        vm.prank(owner);
        wallet.setLane(operator, changed);
        assertEq(_answer(laneAuthorization(1e6, 0)), REFUSED);
        vm.prank(owner);
        wallet.setRecipient(operator, payee, true);
        assertEq(_answer(laneAuthorization(1e6, 0)), MAGIC);
    }

    function test_doesNotPayWhomMoneyDoesNotComeBackFrom() public view {
        address[2] memory sinks = [address(wallet), escrow];
        for (uint256 i = 0; i < sinks.length; ++i) {
            Authorization memory authorization = laneAuthorization(1e6, 0);
            authorization.to = sinks[i];
            assertEq(_answer(authorization), REFUSED);
        }
    }

    function test_refusesTheSignatureOfAnybodyElse() public view {
        Authorization memory authorization = laneAuthorization(1e6, 0);
        assertEq(wallet.isValidSignature(transferDigest(authorization), signLane(ownerKey, authorization)), REFUSED);
    }

    /// @param at @param flip any bit of the signature
    function testFuzz_noBitOfTheSignatureIsIdle(uint256 at, uint256 flip) public view {
        Authorization memory authorization = laneAuthorization(1e6, 0);
        bytes memory signature = signLane(authorization);
        at = bound(at, 0, signature.length - 1);
        signature[at] ^= bytes1(uint8(1 << bound(flip, 0, 7)));
        assertEq(wallet.isValidSignature(transferDigest(authorization), signature), REFUSED);
    }

    /// @param hash any digest; the operator's signature of it is genuine
    function testFuzz_theOperatorsSignatureOfAnyOtherDigestIsWorthNothing(bytes32 hash) public view {
        Authorization memory authorization = laneAuthorization(1e6, 0);
        (bytes32 r, bytes32 vs) = vm.signCompact(operatorKey, hash);
        assertEq(wallet.isValidSignature(hash, packLane(authorization, 0, r, vs)), REFUSED);
        assertEq(wallet.isValidSignature(hash, sign(operatorKey, hash)), REFUSED);
    }

    function test_onlyWhatBeginsToBeValidAtOnceIsAccepted() public view {
        Authorization memory authorization = laneAuthorization(1e6, 0);
        authorization.validAfter = 1;
        assertEq(_answer(authorization), REFUSED);
    }

    function test_aSecondTokenIsNotCovered() public {
        IUsdc other = deployUsdc();
        Authorization memory authorization = laneAuthorization(1e6, 0);
        IUsdc first = usdc;
        usdc = other;
        assertEq(_answer(authorization), REFUSED);
        usdc = first;
        assertEq(_answer(authorization), MAGIC);
    }

    function test_anEpochVoidsWhatWasSigned() public {
        Authorization memory authorization = laneAuthorization(1e6, 0);
        vm.expectEmit(address(wallet));
        emit IAgentWallet.EpochChanged(operator, 2);
        vm.prank(owner);
        wallet.bumpEpoch(operator);
        assertEq(_answer(authorization), REFUSED);
        assertEq(_answer(laneAuthorization(1e6, 0)), MAGIC);
    }

    function test_aFreezeStopsItAndWhatWasSignedStaysVoidAfterwards() public {
        Authorization memory authorization = laneAuthorization(1e6, 0);
        vm.prank(guardian);
        wallet.freeze(operator);
        assertEq(_answer(authorization), REFUSED);
        vm.prank(owner);
        wallet.unfreeze(operator);
        assertEq(_answer(authorization), REFUSED);
        assertEq(_answer(laneAuthorization(1e6, 0)), MAGIC);
    }

    function test_closingItEndsIt() public {
        Authorization memory authorization = laneAuthorization(1e6, 0);
        IAgentWallet.Lane memory none;
        vm.expectEmit(address(wallet));
        emit IAgentWallet.LaneClosed(operator, usdc.DOMAIN_SEPARATOR());
        vm.prank(owner);
        wallet.setLane(operator, none);
        assertEq(_answer(authorization), REFUSED);
        assertEq(_answer(laneAuthorization(1e6, 0)), REFUSED);
        assertEq(wallet.laneOf(operator).token, address(0));
    }

    function test_isReadBackAsItWasSet() public {
        vm.prank(owner);
        wallet.setLane(operator, lane());
        assertEq(abi.encode(wallet.laneOf(operator)), abi.encode(lane()));
        vm.prank(guardian);
        wallet.freeze(operator);
        assertEq(abi.encode(wallet.laneOf(operator)), abi.encode(lane()));
    }

    function test_aFrozenOperatorsNewLaneIsFrozen() public {
        vm.prank(guardian);
        wallet.freeze(operator);
        vm.prank(owner);
        wallet.setLane(operator, lane());
        assertEq(_answer(laneAuthorization(1e6, 0)), REFUSED);
    }

    function test_refusesPeriodsTooShortForTheGrace() public {
        IAgentWallet.Lane memory changed = lane();
        changed.periodSeconds = 10 minutes - 1;
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.LanePeriodTooShort.selector, 10 minutes - 1, 10 minutes));
        vm.prank(owner);
        wallet.setLane(operator, changed);
    }

    /// The bound that the documentation gives for any stretch of time, reached by an operator who spends all it can.
    function test_aStretchOfTimeSeesAtMostTheDocumentedNumberOfAllotments() public {
        uint256 begin = (block.timestamp / LANE_PERIOD_SECONDS + 1) * LANE_PERIOD_SECONDS - 2; // its last authorization ends a second later
        uint256 stretch = 3 hours;
        for (uint256 time = begin; time <= begin + stretch; time += 59) {
            vm.warp(time);
            for (uint256 ends = time + 1; ends <= time + LANE_PERIOD_SECONDS; ends += GRACE_SECONDS) {
                for (uint32 slot = 0; slot < LANE_PAYMENTS; ++slot) {
                    Authorization memory authorization = laneAuthorization(LANE_PAYMENT_MAX, slot, ends);
                    if (usdc.authorizationState(address(wallet), authorization.nonce)) break;
                    if (_answer(authorization) == MAGIC) submit(authorization, signLane(authorization));
                }
            }
        }
        uint256 allotments =
            (stretch + LANE_PERIOD_SECONDS + GRACE_SECONDS + LANE_PERIOD_SECONDS - 1) / LANE_PERIOD_SECONDS;
        uint256 allotment = uint256(LANE_PAYMENTS) * LANE_PAYMENT_MAX;
        assertEq(usdc.balanceOf(payee), allotments * allotment);
    }

    function test_theNonceHasTheDocumentedLayout() public view {
        assertEq(
            wallet.laneNonce(operator, 0xa1a2a3a4, 0xb1b2b3b4),
            hex"0000000000000000000000000000000000000001a1a2a3a400000001b1b2b3b4"
        );
        assertEq(LaneCodec.SIGNATURE_BYTES, 128);
    }

    function _answer(Authorization memory authorization) private view returns (bytes4) {
        return wallet.isValidSignature(transferDigest(authorization), signLane(authorization));
    }

    function _assertRefused(Authorization memory authorization) private {
        bytes memory signature = signLane(authorization);
        vm.expectRevert("FiatTokenV2: invalid signature");
        submit(authorization, signature);
    }
}
