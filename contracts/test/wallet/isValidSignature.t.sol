// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { WalletTest } from "./WalletTest.sol";

/// The owner signs for the wallet by ERC-7739; what operators sign is in lane.t.sol.
contract IsValidSignatureTest is WalletTest {
    bytes32 private constant MESSAGE = keccak256("we agree");
    string private constant PERMIT =
        "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)";

    function test_theOwnerSignsAPersonalMessage() public view {
        assertEq(wallet.isValidSignature(MESSAGE, sign(ownerKey, _personal(address(wallet)))), MAGIC);
    }

    /// The owner's power over the money includes what USDC asks the wallet for.
    function test_theOwnerSignsAPermitOfUsdc() public {
        uint256 deadline = block.timestamp + 60;
        bytes32 contents = keccak256(abi.encode(PERMIT_TYPEHASH, address(wallet), stranger, 5e6, 0, deadline));
        bytes memory signature = _wrap(ownerKey, contents);
        usdc.permit(address(wallet), stranger, 5e6, deadline, signature);
        assertEq(usdc.allowance(address(wallet), stranger), 5e6);
    }

    function test_nobodyElseSigns() public {
        uint256[2] memory keys = [operatorKey, approverKeys[approvers[0]]];
        uint256 deadline = block.timestamp + 60;
        bytes32 contents = keccak256(abi.encode(PERMIT_TYPEHASH, address(wallet), stranger, 5e6, 0, deadline));
        for (uint256 i = 0; i < keys.length; ++i) {
            assertEq(wallet.isValidSignature(MESSAGE, sign(keys[i], _personal(address(wallet)))), REFUSED);
            bytes memory signature = _wrap(keys[i], contents);
            vm.expectRevert("EIP2612: invalid signature");
            usdc.permit(address(wallet), stranger, 5e6, deadline, signature);
        }
    }

    function test_theOwnersBareSignatureIsNoneOfTheWallets() public view {
        assertEq(wallet.isValidSignature(MESSAGE, sign(ownerKey, MESSAGE)), REFUSED);
    }

    function test_whatIsSignedForAnotherWalletOfTheSameOwnerIsNotForThis() public view {
        assertEq(wallet.isValidSignature(MESSAGE, sign(ownerKey, _personal(stranger))), REFUSED);
    }

    function test_itSaysThatItKnowsErc7739() public view {
        bytes32 question = 0x7739773977397739773977397739773977397739773977397739773977397739;
        assertEq(wallet.isValidSignature(question, ""), bytes4(0x77390001));
    }

    function _domain(address account) private view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Florin Agent Wallet"),
                keccak256("1"),
                block.chainid,
                account
            )
        );
    }

    function _personal(address account) private view returns (bytes32) {
        bytes32 structHash = keccak256(abi.encode(keccak256("PersonalSign(bytes prefixed)"), MESSAGE));
        return keccak256(abi.encodePacked(hex"1901", _domain(account), structHash));
    }

    /// A permit of USDC nested into the wallet's domain, and what the wallet needs to see that.
    function _wrap(uint256 key, bytes32 contents) private view returns (bytes memory) {
        bytes32 typehash = keccak256(
            abi.encodePacked(
                "TypedDataSign(Permit contents,string name,string version,uint256 chainId,address verifyingContract,bytes32 salt)",
                PERMIT
            )
        );
        bytes32 structHash = keccak256(
            abi.encode(
                typehash,
                contents,
                keccak256("Florin Agent Wallet"),
                keccak256("1"),
                block.chainid,
                address(wallet),
                bytes32(0)
            )
        );
        // The nested struct is signed under the domain of the contract that asks.
        bytes memory signature = sign(key, usdcDigest(structHash));
        return bytes.concat(
            signature, usdc.DOMAIN_SEPARATOR(), contents, bytes(PERMIT), bytes2(uint16(bytes(PERMIT).length))
        );
    }
}
