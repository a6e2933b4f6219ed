// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IERC1271 } from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import { AgentWallet } from "../../src/AgentWallet.sol";
import { AgentWalletFactory } from "../../src/AgentWalletFactory.sol";
import { Escrow } from "../../src/Escrow.sol";
import { PaymentRouter } from "../../src/PaymentRouter.sol";
import { ServiceRegistry } from "../../src/ServiceRegistry.sol";
import { Treasury } from "../../src/Treasury.sol";
import { TreasuryAdmin } from "../../src/TreasuryAdmin.sol";
import { TreasuryFactory } from "../../src/TreasuryFactory.sol";
import { TreasuryHash } from "../../src/TreasuryHash.sol";
import { IAgentWallet } from "../../src/interfaces/IAgentWallet.sol";
import { IEscrow } from "../../src/interfaces/IEscrow.sol";
import { IPaymentRouter } from "../../src/interfaces/IPaymentRouter.sol";
import { IServiceRegistry } from "../../src/interfaces/IServiceRegistry.sol";
import { ISubscriptions } from "../../src/interfaces/ISubscriptions.sol";
import { ITreasury } from "../../src/interfaces/ITreasury.sol";
import { ITreasuryAccount } from "../../src/interfaces/ITreasuryAccount.sol";
import { IUsdc } from "../base/IUsdc.sol";
import { UsdcTest } from "../base/UsdcTest.sol";

/// What Rust hashed and signed (`crates/contracts/src/signing`), put before the contracts. `vectors.json` is written by
/// `FLORIN_BLESS=1 cargo test -p contracts vectors`. The contracts are moved to the chain and the addresses that it names.
contract VectorsTest is UsdcTest {
    string private constant VECTORS = "contracts/test/eip712/vectors.json";
    bytes4 private constant VALID = IERC1271.isValidSignature.selector;
    bytes4 private constant INVALID = 0xffffffff;
    uint256 private constant FUNDS = 1000e6;

    string private json;
    ITreasuryAccount private treasury;
    AgentWallet private wallet;
    Escrow private escrow;
    PaymentRouter private router;
    ServiceRegistry private registry;

    function setUp() public override {
        super.setUp();
        json = vm.readFile(VECTORS);
        vm.chainId(vm.parseJsonUint(json, ".chainId"));
        vm.warp(vm.parseJsonUint(json, ".time"));
        usdc = IUsdc(_moved(address(usdc), ".usdc"));
        escrow = Escrow(_moved(address(new Escrow()), ".escrow"));
        router = PaymentRouter(_moved(address(new PaymentRouter()), ".router"));
        registry = ServiceRegistry(_moved(address(new ServiceRegistry(usdc, escrow, router)), ".registry"));
        AgentWalletFactory wallets = new AgentWalletFactory(address(escrow));
        wallet = AgentWallet(_moved(wallets.createWallet(_walletConfig()), ".wallet"));
        Treasury implementation = new Treasury(new TreasuryAdmin(), wallets, escrow, address(0));
        TreasuryFactory treasuries = new TreasuryFactory(address(implementation));
        treasury = ITreasuryAccount(_moved(treasuries.create(_treasuryConfig()), ".treasury"));
        mint(address(wallet), FUNDS);
        mint(address(treasury), FUNDS);
    }

    function test_typehashesAreThoseOfTheTypesAndOfTheContracts() public view {
        _assertType(".order", TreasuryHash.ORDER_TYPEHASH);
        _assertType(".change", TreasuryHash.CHANGE_TYPEHASH);
        _assertType(".cancellation", TreasuryHash.CANCELLATION_TYPEHASH);
        _assertType(".topUp", TreasuryHash.TOP_UP_TYPEHASH);
        _assertType(".transferWithAuthorization", TRANSFER_WITH_AUTHORIZATION_TYPEHASH);
        _assertType(".receiveWithAuthorization", RECEIVE_WITH_AUTHORIZATION_TYPEHASH);
        _assertType(".cancelAuthorization", CANCEL_AUTHORIZATION_TYPEHASH);
        _assertType(".permit", PERMIT_TYPEHASH);
    }

    /// With the type, the domain and the struct hash given, another implementation finds out where it goes wrong.
    function test_eachDigestIsMadeOfItsDomainAndItsStruct() public view {
        string[24] memory names = [
            "order",
            "change",
            "cancellation",
            "topUp",
            "topUpAuthorization",
            "payment",
            "approvedPayment",
            "lane",
            "terms",
            "funding",
            "release",
            "transferWithAuthorization",
            "receiveWithAuthorization",
            "cancelAuthorization",
            "permit",
            "routerPayment",
            "batch",
            "split",
            "subscriptionTerms",
            "subscribe",
            "priceChange",
            "cancel",
            "staking",
            "feedback"
        ];
        for (uint256 i = 0; i < names.length; ++i) {
            string memory at = string.concat(".", names[i]);
            bytes32 domain = _word(at, ".domainSeparator");
            assertEq(_word(at, ".digest"), keccak256(abi.encodePacked(hex"1901", domain, _word(at, ".structHash"))), at);
        }
    }

    function test_theOwnersOrderIsExecuted() public {
        ITreasury.Order memory order = abi.decode(_bytes(".order", ".abi"), (ITreasury.Order));
        assertEq(treasury.orderId(order), _word(".order", ".digest"));
        treasury.execute(order, _bytes(".order", ".approvals"));
        for (uint256 i = 0; i < order.payments.length; ++i) {
            assertEq(usdc.balanceOf(order.payments[i].to), order.payments[i].amount);
        }
    }

    function test_theOwnersChangeIsScheduledAndCancelled() public {
        ITreasury.Change memory change = abi.decode(_bytes(".change", ".abi"), (ITreasury.Change));
        bytes32 id = _word(".change", ".digest");
        assertEq(treasury.changeId(change), id);
        assertEq(treasury.scheduleChange(change, _bytes(".change", ".approvals")), id);
        assertEq(treasury.cancellationId(id), _word(".cancellation", ".digest"));
        treasury.cancelChange(change, _bytes(".cancellation", ".approvals"));
        assertEq(treasury.readyAt(id), type(uint64).max);
    }

    function test_theOwnersChangeIsExecuted() public {
        ITreasury.Change memory change = abi.decode(_bytes(".change", ".abi"), (ITreasury.Change));
        treasury.scheduleChange(change, _bytes(".change", ".approvals"));
        vm.warp(treasury.readyAt(_word(".change", ".digest")));
        treasury.executeChange(change);
        assertEq(treasury.ownerEpoch(), 3);
    }

    function test_theTreasuryIsToppedUp() public {
        ITreasury.TopUp memory terms = abi.decode(_bytes(".topUp", ".abi"), (ITreasury.TopUp));
        mint(terms.from, terms.amount);
        assertEq(treasury.topUpNonce(terms), _word(".topUp", ".digest"));
        treasury.topUp(terms, _bytes(".topUp", ".signature"));
        assertEq(usdc.balanceOf(address(treasury)), FUNDS + terms.amount);
    }

    function test_theOperatorsPaymentIsRelayed() public {
        IAgentWallet.Payment memory payment = abi.decode(_bytes(".payment", ".abi"), (IAgentWallet.Payment));
        assertEq(wallet.paymentDigest(payment), _word(".payment", ".digest"));
        wallet.executePaymentWithSig(payment, _bytes(".payment", ".signature"));
        assertEq(usdc.balanceOf(payment.to), payment.amount);
    }

    function test_theApprovedPaymentIsRelayed() public {
        IAgentWallet.Payment memory payment = abi.decode(_bytes(".approvedPayment", ".abi"), (IAgentWallet.Payment));
        bytes memory signature = _bytes(".approvedPayment", ".signature");
        assertEq(wallet.paymentDigest(payment), _word(".approvedPayment", ".digest"));
        vm.expectPartialRevert(IAgentWallet.ApprovalRequired.selector);
        wallet.executePaymentWithSig(payment, signature);
        IAgentWallet.Approval[] memory approvals =
            abi.decode(_bytes(".approvedPayment", ".approvals"), (IAgentWallet.Approval[]));
        wallet.executeApprovedPayment(payment, signature, approvals);
        assertEq(usdc.balanceOf(payment.to), payment.amount);
    }

    function test_usdcSettlesTheLanesAuthorization() public {
        Authorization memory authorization = _authorization(".lane");
        assertEq(authorization.nonce, wallet.laneNonce(vm.parseJsonAddress(json, ".operator"), _period(), 2));
        assertEq(transferDigest(authorization), _word(".lane", ".digest"));
        submit(authorization, _bytes(".lane", ".signature"));
        assertEq(usdc.balanceOf(authorization.to), authorization.value);
    }

    function test_theBuyersAuthorizationFundsAndItsReleaseReleases() public {
        IEscrow.Terms memory terms = abi.decode(_bytes(".terms", ".abi"), (IEscrow.Terms));
        mint(terms.buyer, terms.amount);
        bytes32 id = _word(".terms", ".digest");
        assertEq(escrow.agreementId(terms), id);
        Authorization memory funding = _authorization(".funding");
        assertEq(funding.nonce, id);
        escrow.fundWithAuthorization(terms, funding.validAfter, funding.validBefore, _bytes(".funding", ".signature"));
        uint256 total = vm.parseJsonUint(json, ".release.message.total");
        uint256 deadline = vm.parseJsonUint(json, ".release.message.deadline");
        escrow.releaseWithSignature(terms, total, deadline, _bytes(".release", ".signature"));
        assertEq(escrow.agreementOf(id).released, total);
    }

    /// A contract's signature of the escrow's message: nested, so good for this account only.
    function test_accountsThatAreContractsSignByErc7739() public view {
        bytes32 release = _word(".release", ".digest");
        bytes32 personal = _word(".personalMessage", ".hash");
        assertEq(IERC1271(address(treasury)).isValidSignature(release, _bytes(".treasurySigns", ".signature")), VALID);
        assertEq(
            IERC1271(address(treasury)).isValidSignature(personal, _bytes(".treasurySigns", ".personalSignature")),
            VALID
        );
        assertEq(wallet.isValidSignature(release, _bytes(".walletSigns", ".signature")), VALID);
        assertEq(wallet.isValidSignature(personal, _bytes(".walletSigns", ".personalSignature")), VALID);
        assertEq(
            IERC1271(address(treasury)).isValidSignature(personal, _bytes(".treasurySigns", ".signature")), INVALID
        );
        assertEq(wallet.isValidSignature(release, _bytes(".treasurySigns", ".signature")), INVALID);
    }

    function test_thePayersRecordedPaymentIsRelayedAndRated() public {
        address payer = _payRecorded();
        _register();
        IServiceRegistry.Feedback memory feedback = IServiceRegistry.Feedback({
            service: _word(".feedback", ".message.service"),
            score: uint8(vm.parseJsonUint(json, ".feedback.message.score")),
            uri: vm.parseJsonString(json, ".feedback.message.uri"),
            contentHash: _word(".feedback", ".message.contentHash"),
            deadline: uint64(vm.parseJsonUint(json, ".feedback.message.deadline"))
        });
        bytes32 payment = _word(".feedback", ".message.payment");
        assertEq(registry.feedbackDigest(feedback, payment), _word(".feedback", ".digest"));
        registry.ratePayment(feedback, payer, keccak256("payment"), 1e6, _bytes(".feedback", ".signature"));
        assertEq(registry.reputationOf(feedback.service).settled, 1);
    }

    function test_thePayersBatchIsRelayed() public {
        (address payer, bytes32 paymentRef, address token, IPaymentRouter.Leg[] memory legs) =
            abi.decode(_members(".batch"), (address, bytes32, address, IPaymentRouter.Leg[]));
        mint(payer, 3e6);
        assertEq(router.batchNonce(payer, paymentRef, token, legs), _word(".batch", ".digest"));
        router.batchPayWithAuthorization(paymentRef, token, legs, _funding(payer, ".batch"));
        assertEq(usdc.balanceOf(legs[0].payee), legs[0].amount);
        assertEq(usdc.balanceOf(legs[1].payee), legs[1].amount);
    }

    function test_thePayersSplitIsRelayed() public {
        (address payer, bytes32 paymentRef, address token, uint256 amount, IPaymentRouter.Share[] memory shares) =
            abi.decode(_members(".split"), (address, bytes32, address, uint256, IPaymentRouter.Share[]));
        mint(payer, amount);
        assertEq(router.splitNonce(payer, paymentRef, token, amount, shares), _word(".split", ".digest"));
        router.splitPayWithAuthorization(paymentRef, token, amount, shares, _funding(payer, ".split"));
        assertEq(usdc.balanceOf(shares[0].payee), amount * shares[0].bps / 10_000);
    }

    function test_thePayersSubscriptionBeginsRisesAndEnds() public {
        ISubscriptions.SubscriptionTerms memory terms =
            abi.decode(_bytes(".subscriptionTerms", ".abi"), (ISubscriptions.SubscriptionTerms));
        uint256 deadline = vm.parseJsonUint(json, ".subscribe.message.deadline");
        bytes32 id = _word(".subscriptionTerms", ".digest");
        assertEq(router.subscriptionId(terms), id);
        mint(terms.payer, terms.amount);
        vm.prank(terms.payer);
        usdc.approve(address(router), terms.totalMax);
        assertEq(router.subscribeWithSignature(terms, 1, deadline, _bytes(".subscribe", ".signature")), id);
        uint96 price = uint96(vm.parseJsonUint(json, ".priceChange.message.price"));
        vm.prank(terms.payee);
        router.raisePrice(terms, price, 2, deadline, _bytes(".priceChange", ".signature"));
        assertEq(router.subscriptionOf(id).price, price);
        router.cancelWithSignature(terms, true, 3, deadline, _bytes(".cancel", ".signature"));
        assertLt(router.subscriptionOf(id).endPeriod, type(uint32).max);
    }

    function test_aStakeIsAddedByAuthorization() public {
        _register();
        Authorization memory staking = _authorization(".staking");
        mint(staking.from, staking.value);
        bytes32 service = _word(".feedback", ".message.service");
        bytes32 salt = 0x0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f;
        assertEq(registry.stakeNonce(service, salt), staking.nonce);
        registry.addStakeWithAuthorization(
            service,
            staking.from,
            staking.value,
            staking.validAfter,
            staking.validBefore,
            salt,
            _bytes(".staking", ".signature")
        );
        assertEq(registry.serviceOf(service).stake, staking.value);
    }

    function test_usdcTakesTheTransfer() public {
        Authorization memory authorization = _authorization(".transferWithAuthorization");
        mint(authorization.from, authorization.value);
        assertEq(transferDigest(authorization), _word(".transferWithAuthorization", ".digest"));
        submit(authorization, _bytes(".transferWithAuthorization", ".signature"));
        assertEq(usdc.balanceOf(authorization.to), authorization.value);
    }

    function test_usdcTakesTheReceipt() public {
        Authorization memory authorization = _authorization(".receiveWithAuthorization");
        mint(authorization.from, authorization.value);
        assertEq(receiveDigest(authorization), _word(".receiveWithAuthorization", ".digest"));
        vm.prank(authorization.to);
        usdc.receiveWithAuthorization(
            authorization.from,
            authorization.to,
            authorization.value,
            authorization.validAfter,
            authorization.validBefore,
            authorization.nonce,
            _bytes(".receiveWithAuthorization", ".signature")
        );
        assertEq(usdc.balanceOf(authorization.to), authorization.value);
    }

    function test_usdcTakesTheCancellation() public {
        address authorizer = vm.parseJsonAddress(json, ".cancelAuthorization.message.authorizer");
        bytes32 nonce = vm.parseJsonBytes32(json, ".cancelAuthorization.message.nonce");
        usdc.cancelAuthorization(authorizer, nonce, _bytes(".cancelAuthorization", ".signature"));
        assertTrue(usdc.authorizationState(authorizer, nonce));
    }

    function test_usdcTakesThePermit() public {
        address owner = vm.parseJsonAddress(json, ".permit.message.owner");
        address spender = vm.parseJsonAddress(json, ".permit.message.spender");
        uint256 value = vm.parseJsonUint(json, ".permit.message.value");
        uint256 deadline = vm.parseJsonUint(json, ".permit.message.deadline");
        assertEq(permitDigest(owner, spender, value, deadline), _word(".permit", ".digest"));
        usdc.permit(owner, spender, value, deadline, _bytes(".permit", ".signature"));
        assertEq(usdc.allowance(owner, spender), value);
    }

    function _payRecorded() private returns (address) {
        (address payer, bytes32 paymentId, address token, address payee, uint256 amount) =
            abi.decode(_bytes(".routerPayment", ".abi"), (address, bytes32, address, address, uint256));
        mint(payer, amount);
        bytes32 nonce = router.paymentNonce(payer, paymentId, token, payee, amount);
        assertEq(nonce, _word(".routerPayment", ".digest"));
        router.payWithAuthorization(paymentId, token, payee, amount, _funding(payer, ".routerPayment"));
        assertEq(usdc.balanceOf(payee), amount);
        return payer;
    }

    function _register() private {
        IServiceRegistry.Offer memory offer;
        offer.token = address(usdc);
        offer.price = 1e6;
        address payee = vm.parseJsonAddress(json, ".routerPayment.message.payee");
        vm.prank(vm.parseJsonAddress(json, ".serviceOwner"));
        registry.register(0, payee, address(0), offer);
    }

    function _funding(address payer, string memory at) private view returns (IPaymentRouter.Authorization memory) {
        return IPaymentRouter.Authorization({
            payer: payer,
            validAfter: vm.parseJsonUint(json, ".funding.message.validAfter"),
            validBefore: vm.parseJsonUint(json, ".funding.message.validBefore"),
            signature: _bytes(at, ".signature")
        });
    }

    /// The members of a struct with dynamic ones: its encoding without the offset at which it begins.
    function _members(string memory at) private view returns (bytes memory members) {
        bytes memory encoded = _bytes(at, ".abi");
        members = new bytes(encoded.length - 32);
        for (uint256 i = 0; i < members.length; ++i) {
            members[i] = encoded[i + 32];
        }
    }

    function _assertType(string memory at, bytes32 typehash) private view {
        assertEq(keccak256(bytes(vm.parseJsonString(json, string.concat(at, ".type")))), typehash, at);
        assertEq(_word(at, ".typeHash"), typehash, at);
    }

    /// Where the vectors have it, with its code and storage.
    function _moved(address from, string memory at) private returns (address to) {
        to = vm.parseJsonAddress(json, at);
        vm.cloneAccount(from, to);
    }

    function _word(string memory at, string memory field) private view returns (bytes32) {
        return vm.parseJsonBytes32(json, string.concat(at, field));
    }

    function _bytes(string memory at, string memory field) private view returns (bytes memory) {
        return vm.parseJsonBytes(json, string.concat(at, field));
    }

    function _authorization(string memory at) private view returns (Authorization memory) {
        string memory message = string.concat(at, ".message");
        return Authorization({
            from: vm.parseJsonAddress(json, string.concat(message, ".from")),
            to: vm.parseJsonAddress(json, string.concat(message, ".to")),
            value: vm.parseJsonUint(json, string.concat(message, ".value")),
            validAfter: vm.parseJsonUint(json, string.concat(message, ".validAfter")),
            validBefore: vm.parseJsonUint(json, string.concat(message, ".validBefore")),
            nonce: vm.parseJsonBytes32(json, string.concat(message, ".nonce"))
        });
    }

    function _period() private view returns (uint32) {
        return uint32(vm.parseJsonUint(json, ".lane.message.validBefore") / 1 hours);
    }

    function _walletConfig() private view returns (IAgentWallet.WalletConfig memory config) {
        config.owner = vm.parseJsonAddress(json, ".walletOwner");
        config.approvers = vm.parseJsonAddressArray(json, ".approvers");
        config.approvalsRequired = 2;
        config.operators = new IAgentWallet.OperatorConfig[](1);
        config.operators[0].operator = vm.parseJsonAddress(json, ".operator");
        config.operators[0].policies = new IAgentWallet.TokenPolicy[](1);
        config.operators[0].policies[0] =
            IAgentWallet.TokenPolicy(address(usdc), IAgentWallet.Policy(50e6, 100e6, 10e6, type(uint40).max, false));
        config.operators[0].lane = IAgentWallet.Lane(address(usdc), 1e6, 5, 1 hours, type(uint40).max, false);
    }

    function _treasuryConfig() private view returns (ITreasury.Config memory config) {
        config.owners = vm.parseJsonAddressArray(json, ".owners");
        config.threshold = 2;
        config.changeDelay = 1 days;
        config.recipientCooldown = 1 days;
        config.grants = new ITreasury.Grant[](1);
        config.grants[0] = ITreasury.Grant(
            vm.parseJsonAddress(json, ".spender"),
            address(usdc),
            ITreasury.Policy(100e6, 50e6, 1e6, false),
            new address[](0)
        );
    }
}
