// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { PaymentRouter } from "../../src/PaymentRouter.sol";
import { IPaymentRouter } from "../../src/interfaces/IPaymentRouter.sol";
import { UsdcTest } from "../base/UsdcTest.sol";

/// A router, a payer with 1,000 USDC who allows it everything, and three payees.
abstract contract RouterTest is UsdcTest {
    uint256 internal constant FUNDS = 1000e6;
    bytes32 internal constant REF = "invoice 7";

    PaymentRouter internal router;
    address internal payer;
    uint256 internal payerKey;
    address internal payee = makeAddr("payee");
    address internal second = makeAddr("second payee");
    address internal third = makeAddr("third payee");
    address internal stranger = makeAddr("stranger");

    function setUp() public virtual override {
        super.setUp();
        router = new PaymentRouter();
        (payer, payerKey) = makeAddrAndKey("payer");
        mint(payer, FUNDS);
        vm.prank(payer);
        usdc.approve(address(router), type(uint256).max);
    }

    /// Takes the payer's allowance away, for tests of payments that do without.
    function disallow() internal {
        vm.prank(payer);
        usdc.approve(address(router), 0);
    }

    function legs(address[3] memory payees, uint96[3] memory amounts)
        internal
        pure
        returns (IPaymentRouter.Leg[] memory list)
    {
        list = new IPaymentRouter.Leg[](3);
        for (uint256 i = 0; i < 3; ++i) {
            list[i] = IPaymentRouter.Leg(payees[i], amounts[i]);
        }
    }

    /// 1, 2 and 3 USDC.
    function threeLegs() internal view returns (IPaymentRouter.Leg[] memory) {
        return legs([payee, second, third], [uint96(1e6), 2e6, 3e6]);
    }

    /// 50 %, 30 % and 20 %.
    function threeShares() internal view returns (IPaymentRouter.Share[] memory list) {
        list = new IPaymentRouter.Share[](3);
        list[0] = IPaymentRouter.Share(payee, 5000);
        list[1] = IPaymentRouter.Share(second, 3000);
        list[2] = IPaymentRouter.Share(third, 2000);
    }

    /// The payer's authorization of a call to the router that pays `value`, valid for a minute.
    function authorize(uint256 value, bytes32 nonce) internal view returns (IPaymentRouter.Authorization memory) {
        uint256 validBefore = vm.getBlockTimestamp() + 60;
        bytes memory signature =
            signReceive(payerKey, Authorization(payer, address(router), value, 0, validBefore, nonce));
        return IPaymentRouter.Authorization(payer, 0, validBefore, signature);
    }

    /// The payer's permit to the router, valid for a minute.
    function permit(uint256 value) internal view returns (IPaymentRouter.Permit memory) {
        uint256 deadline = vm.getBlockTimestamp() + 60;
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(payerKey, permitDigest(payer, address(router), value, deadline));
        return IPaymentRouter.Permit(deadline, v, r, s);
    }

    /// The EIP-712 digest of a struct under the router's domain.
    function routerDigest(bytes32 structHash) internal view returns (bytes32) {
        bytes32 domainSeparator = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Florin PaymentRouter"),
                keccak256("1"),
                block.chainid,
                router
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domainSeparator, structHash));
    }

    /// What the router owes: all that it may hold.
    function assertHolds(uint256 credits) internal view {
        assertEq(usdc.balanceOf(address(router)), credits);
    }
}
