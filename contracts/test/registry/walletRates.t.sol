// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { Escrow } from "../../src/Escrow.sol";
import { PaymentRouter } from "../../src/PaymentRouter.sol";
import { ServiceRegistry } from "../../src/ServiceRegistry.sol";
import { IEscrow } from "../../src/interfaces/IEscrow.sol";
import { IServiceRegistry } from "../../src/interfaces/IServiceRegistry.sol";
import { WalletTest } from "../wallet/WalletTest.sol";

/// An agent's wallet calls no registry: its owner signs what it says, and anyone relays that.
contract WalletRatesTest is WalletTest {
    ServiceRegistry private registry;
    IEscrow.Terms private terms;
    IServiceRegistry.Feedback private said;

    function setUp() public override {
        super.setUp();
        registry = new ServiceRegistry(usdc, Escrow(escrow), new PaymentRouter());
        IServiceRegistry.Offer memory offer;
        offer.token = address(usdc);
        vm.prank(stranger);
        said.service = registry.register("service of the payee", payee, address(0), offer);
        said.score = 90;
        said.deadline = uint64(block.timestamp);
        terms.buyer = address(wallet);
        terms.seller = payee;
        terms.token = address(usdc);
        terms.amount = 30e6;
        terms.deliverBy = uint64(block.timestamp + 1 days);
        vm.startPrank(operator);
        wallet.openEscrow(terms);
        wallet.releaseEscrow(terms);
        vm.stopPrank();
    }

    function deployEscrow() internal override returns (address) {
        return address(new Escrow());
    }

    function signedBy(uint256 key) private view returns (bytes memory) {
        return sign(key, personal(registry.feedbackDigest(said, Escrow(escrow).agreementId(terms))));
    }

    /// ERC-7739: the hash as a personal message in the wallet's own domain.
    function personal(bytes32 hash) private view returns (bytes32) {
        (, string memory name, string memory version, uint256 chainId, address self,,) = wallet.eip712Domain();
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256(bytes(name)),
                keccak256(bytes(version)),
                chainId,
                self
            )
        );
        bytes32 structHash = keccak256(abi.encode(keccak256("PersonalSign(bytes prefixed)"), hash));
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }

    function test_the_owner_of_a_wallet_rates_what_its_agent_bought() external {
        registry.rateAgreement(said, terms, signedBy(ownerKey));
        assertEq(registry.reputationOf(said.service).volume, 30e6);
        assertEq(registry.reputationOf(said.service).scoreSum, 90 * 30e6);
    }

    function test_a_stolen_operator_key_speaks_for_no_wallet() external {
        bytes memory signature = signedBy(operatorKey);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.SignatureInvalid.selector, address(wallet)));
        registry.rateAgreement(said, terms, signature);
    }
}
