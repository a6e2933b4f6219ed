// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { Escrow } from "../../src/Escrow.sol";
import { PaymentRouter } from "../../src/PaymentRouter.sol";
import { ServiceRegistry } from "../../src/ServiceRegistry.sol";
import { IEscrow } from "../../src/interfaces/IEscrow.sol";
import { IServiceRegistry } from "../../src/interfaces/IServiceRegistry.sol";
import { UsdcTest } from "../base/UsdcTest.sol";

/// One service with a stake of 1,000 USDC, and a buyer with agreements of 100 USDC with it.
abstract contract RegistryTest is UsdcTest {
    uint256 internal constant OWNER_KEY = 0xa11ce;
    uint256 internal constant BUYER_KEY = 0xb0b;
    uint256 internal constant STAKE = 1000e6;
    uint256 internal constant AMOUNT = 100e6;
    /// What the buyer releases before it disputes, and what of it the seller receives.
    uint256 internal constant EARLY = 40e6;
    uint256 internal constant RECEIVED = 39e6;
    uint256 internal constant DELAY = 14 days;
    bytes32 internal constant SALT = keccak256("translations");

    Escrow internal escrow;
    PaymentRouter internal router;
    ServiceRegistry internal registry;
    address internal owner = vm.addr(OWNER_KEY);
    address internal buyer = vm.addr(BUYER_KEY);
    address internal payee = makeAddr("payee");
    address internal arbiter = makeAddr("arbiter");
    address internal stranger = makeAddr("stranger");
    IEscrow.Terms internal terms;
    bytes32 internal service;

    function setUp() public virtual override {
        super.setUp();
        escrow = new Escrow();
        router = new PaymentRouter();
        registry = new ServiceRegistry(usdc, escrow, router);
        service = register(owner, SALT, payee, arbiter);
        mint(owner, STAKE);
        mint(buyer, 10 * AMOUNT);
        vm.prank(buyer);
        usdc.approve(address(escrow), type(uint256).max);
        vm.startPrank(owner);
        usdc.approve(address(registry), type(uint256).max);
        registry.addStake(service, STAKE);
        vm.stopPrank();
        terms = IEscrow.Terms({
            buyer: buyer,
            seller: payee,
            arbiter: arbiter,
            token: address(usdc),
            amount: AMOUNT,
            feeBps: 250,
            feeRecipient: makeAddr("fee recipient"),
            deliverBy: uint64(block.timestamp + 1 days),
            reviewPeriod: 2 days,
            arbitrationPeriod: 3 days,
            disputeBond: 0,
            defaultOutcome: IEscrow.DefaultOutcome.RefundBuyer,
            contentHash: keccak256("content"),
            agentId: 0,
            salt: bytes32(uint256(1))
        });
    }

    // Services

    function register(address owner_, bytes32 salt, address payee_, address arbiter_) internal returns (bytes32) {
        vm.prank(owner_);
        return registry.register(salt, payee_, arbiter_, defaultOffer());
    }

    function defaultOffer() internal view returns (IServiceRegistry.Offer memory) {
        return IServiceRegistry.Offer({
            endpoint: "https://translations.example/v1",
            metadataURI: "ipfs://bafy/card.json",
            metadataHash: keccak256("card"),
            pricing: IServiceRegistry.Pricing.PerCall,
            token: address(usdc),
            price: 20_000,
            period: 0,
            agentId: 42
        });
    }

    function found() internal view returns (IServiceRegistry.Service memory) {
        return registry.serviceOf(service);
    }

    function announce(address payee_, address arbiter_) internal {
        vm.prank(owner);
        registry.announceParties(service, payee_, arbiter_);
    }

    function beginUnbonding(uint256 amount) internal {
        vm.prank(owner);
        registry.beginUnbonding(service, amount);
    }

    function assertStake(uint256 stake, uint256 unbonding) internal view {
        assertEq(found().stake, stake, "stake");
        assertEq(found().unbonding, unbonding, "unbonding");
    }

    // Agreements

    function fund() internal returns (bytes32) {
        vm.prank(buyer);
        return escrow.fund(terms);
    }

    function deliver() internal {
        vm.prank(terms.seller);
        escrow.markDelivered(terms, keccak256("delivery"));
    }

    /// An agreement that released `early` before the buyer disputed the rest.
    function disputed(uint256 early) internal returns (bytes32 id) {
        id = fund();
        deliver();
        vm.startPrank(buyer);
        if (early != 0) escrow.releaseUpTo(terms, early);
        escrow.dispute(terms);
        vm.stopPrank();
    }

    /// The same, of whose rest the arbiter then gave `toSeller` to the seller.
    function ruled(uint256 early, uint256 toSeller) internal returns (bytes32 id) {
        id = disputed(early);
        vm.prank(terms.arbiter);
        escrow.resolve(terms, toSeller);
    }

    function released() internal returns (bytes32 id) {
        id = fund();
        vm.prank(buyer);
        escrow.release(terms);
    }

    function slash(uint256 amount) internal {
        vm.prank(terms.arbiter);
        registry.slash(service, terms, amount);
    }

    // Payments

    function pay(address payer, bytes32 paymentId, address to, uint256 amount) internal {
        mint(payer, amount);
        vm.startPrank(payer);
        usdc.approve(address(router), amount);
        router.pay(paymentId, address(usdc), to, amount);
        vm.stopPrank();
    }

    // Feedback

    function feedback(uint8 score) internal view returns (IServiceRegistry.Feedback memory) {
        return IServiceRegistry.Feedback({
            service: service,
            score: score,
            uri: "ipfs://bafy/review.json",
            contentHash: keccak256("review"),
            deadline: uint64(block.timestamp)
        });
    }

    function rate(uint8 score) internal {
        vm.prank(buyer);
        registry.rateAgreement(feedback(score), terms, "");
    }

    function assertReputation(uint256 settled, uint256 disputes, uint256 volume, uint256 scoreSum) internal view {
        IServiceRegistry.Reputation memory reputation = registry.reputationOf(service);
        assertEq(reputation.settled, settled, "settled");
        assertEq(reputation.disputed, disputes, "disputed");
        assertEq(reputation.volume, volume, "volume");
        assertEq(reputation.scoreSum, scoreSum, "score sum");
    }
}
