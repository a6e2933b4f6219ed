// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { ECDSA } from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// An account that is a contract (EIP-1271): its signature is its owner's with a remark in front.
contract ContractPayer {
    bytes4 private constant MAGIC = 0x1626ba7e;
    bytes32 public constant REMARK = "signed on behalf of the company";
    address private immutable OWNER;

    constructor(address owner) {
        OWNER = owner;
    }

    function approve(IERC20 token, address spender) external {
        token.approve(spender, type(uint256).max);
    }

    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        if (signature.length != 97 || bytes32(signature) != REMARK) return 0xffffffff;
        return ECDSA.recover(hash, signature[32:]) == OWNER ? MAGIC : bytes4(0xffffffff);
    }
}

/// What an account delegates to (EIP-7702): it signs as it did before.
contract DelegateOfAccount {
    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        return ECDSA.recover(hash, signature) == address(this) ? bytes4(0x1626ba7e) : bytes4(0xffffffff);
    }
}

/// Answers whether something was signed by using up all gas.
contract BurningPayer {
    function isValidSignature(bytes32, bytes calldata) external view returns (bytes4) {
        uint256 i;
        while (gasleft() != 0) {
            ++i;
        }
        return bytes4(uint32(i));
    }
}
