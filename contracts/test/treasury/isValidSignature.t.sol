// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { IERC1271 } from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import { ITreasuryAdmin } from "../../src/interfaces/ITreasuryAdmin.sol";
import { TreasuryTest } from "./TreasuryTest.sol";

contract IsValidSignatureTest is TreasuryTest {
    bytes4 private constant VALID = IERC1271.isValidSignature.selector;
    bytes4 private constant INVALID = 0xffffffff;
    bytes32 private constant MESSAGE = keccak256("we agree");
    string private constant CONTENTS = "Consent(bytes32 what)";
    bytes32 private constant APP_DOMAIN = keccak256("another contract's domain");

    function test_theThresholdSignsAPersonalMessage() public view {
        assertEq(_ask(MESSAGE, signatures(_personal(address(treasury)), 2)), VALID);
    }

    function test_theThresholdSignsTypedDataOfAnotherContract() public view {
        (bytes32 hash, bytes32 nested) = _typedData(address(treasury));
        assertEq(_ask(hash, _wrap(signatures(nested, 2))), VALID);
    }

    function test_approvalsByTransactionCountAsWell() public {
        bytes32 id = _personal(address(treasury));
        bytes memory approvals = approvedBy(ownerList[0], id);
        approvals = bytes.concat(approvals, approvedBy(ownerList[1], id));
        assertEq(_ask(MESSAGE, approvals), VALID);
    }

    function test_fewerThanTheThresholdOrGarbageAreNoSignature() public view {
        assertEq(_ask(MESSAGE, signatures(_personal(address(treasury)), 1)), INVALID);
        assertEq(_ask(MESSAGE, ""), INVALID);
        assertEq(_ask(MESSAGE, hex"0102030405"), INVALID);
        (bytes32 hash, bytes32 nested) = _typedData(address(treasury));
        assertEq(_ask(hash, _wrap(signatures(nested, 1))), INVALID);
    }

    function test_aBareHashIsNeverEnough() public view {
        assertEq(_ask(MESSAGE, signatures(MESSAGE, 3)), INVALID);
    }

    function test_aSignatureForAnotherTreasuryOfTheSameOwnersIsNoSignature() public {
        Config memory config = defaultConfig();
        config.salt = "another";
        address other = factory.create(config);
        assertEq(_ask(MESSAGE, signatures(_personal(other), 3)), INVALID);
        (bytes32 hash, bytes32 nested) = _typedData(other);
        assertEq(_ask(hash, _wrap(signatures(nested, 3))), INVALID);
    }

    function test_thePausedTreasurySignsNothing() public {
        bytes memory approvals = signatures(_personal(address(treasury)), 3);
        vm.prank(guardian);
        treasury.pause();
        assertEq(_ask(MESSAGE, approvals), INVALID);
    }

    function test_theTreasurySignsNothingToATokenWithAPolicy() public {
        bytes memory approvals = signatures(_personal(address(treasury)), 3);
        vm.prank(address(usdc));
        assertEq(_ask(MESSAGE, approvals), INVALID);
    }

    function test_noAuthorizationOfUsdcPaysPastThePolicies() public {
        Authorization memory authorization =
            Authorization(address(treasury), stranger, FUNDS, 0, block.timestamp + 60, "nonce");
        bytes32 structHash = keccak256(abi.encode(TRANSFER_WITH_AUTHORIZATION_TYPEHASH, authorization));
        string memory contents =
            "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)";
        bytes32 nested =
            _nested(usdc.DOMAIN_SEPARATOR(), contents, "TransferWithAuthorization", structHash, treasury_());
        bytes memory signature = bytes.concat(
            signatures(nested, 3),
            usdc.DOMAIN_SEPARATOR(),
            structHash,
            bytes(contents),
            bytes2(uint16(bytes(contents).length))
        );
        assertEq(_ask(transferDigest(authorization), signature), VALID);
        vm.expectRevert("FiatTokenV2: invalid signature");
        submit(authorization, signature);
    }

    function test_itSaysThatItKnowsErc7739() public view {
        assertEq(_ask(0x7739773977397739773977397739773977397739773977397739773977397739, ""), bytes4(0x77390001));
    }

    function _ask(bytes32 hash, bytes memory signature) private view returns (bytes4) {
        return IERC1271(address(treasury)).isValidSignature(hash, signature);
    }

    function treasury_() private view returns (address) {
        return address(treasury);
    }

    function _domain(address account) private view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Florin Treasury"),
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

    function _typedData(address account) private view returns (bytes32 hash, bytes32 nested) {
        bytes32 contents = keccak256(abi.encode(keccak256(bytes(CONTENTS)), MESSAGE));
        hash = keccak256(abi.encodePacked(hex"1901", APP_DOMAIN, contents));
        nested = _nested(APP_DOMAIN, CONTENTS, "Consent", contents, account);
    }

    function _nested(
        bytes32 domain,
        string memory contentsType,
        string memory contentsName,
        bytes32 contents,
        address account
    ) private view returns (bytes32) {
        bytes32 typehash = keccak256(
            abi.encodePacked(
                "TypedDataSign(",
                contentsName,
                " contents,string name,string version,uint256 chainId,address verifyingContract,bytes32 salt)",
                contentsType
            )
        );
        bytes32 structHash = keccak256(
            abi.encode(
                typehash, contents, keccak256("Florin Treasury"), keccak256("1"), block.chainid, account, bytes32(0)
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }

    function _wrap(bytes memory approvals) private pure returns (bytes memory) {
        bytes32 contents = keccak256(abi.encode(keccak256(bytes(CONTENTS)), MESSAGE));
        return bytes.concat(approvals, APP_DOMAIN, contents, bytes(CONTENTS), bytes2(uint16(bytes(CONTENTS).length)));
    }
}
