// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { UsdcTest } from "./UsdcTest.sol";

contract UsdcFixtureTest is UsdcTest {
    function test_theFixtureIsTheUsdcThatPaymentClientsSignFor() public view {
        assertEq(usdc.name(), "USDC");
        assertEq(usdc.version(), "2");
        assertEq(usdc.decimals(), 6);
        bytes32 domainTypehash =
            keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
        assertEq(
            usdc.DOMAIN_SEPARATOR(),
            keccak256(abi.encode(domainTypehash, keccak256("USDC"), keccak256("2"), block.chainid, address(usdc)))
        );
    }

    function test_anAuthorizationSignedByTheHelpersSettles() public {
        (address payer, uint256 key) = makeAddrAndKey("payer");
        mint(payer, 5e6);
        Authorization memory authorization =
            Authorization(payer, makeAddr("payee"), 2e6, 0, block.timestamp + 60, keccak256("order 1"));
        submit(authorization, signTransfer(key, authorization));
        assertEq(usdc.balanceOf(payer), 3e6);
        assertEq(usdc.balanceOf(authorization.to), 2e6);
    }
}
