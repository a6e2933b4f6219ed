// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { TreasuryHash } from "../../src/TreasuryHash.sol";
import { TreasuryTest } from "./TreasuryTest.sol";

/// The digests by another way than the contracts': by the encoding that EIP-712 prescribes, without shortcuts.
contract HashTest is TreasuryTest {
    /// @param payments anything
    /// @param details anything
    /// @param words the members of one word
    /// @param operation anything
    function testFuzz_anOrdersIdIsItsEip712Digest(
        Payment[] memory payments,
        bytes memory details,
        uint256[4] memory words,
        uint8 operation
    ) public view {
        Order memory order;
        order.spender = address(uint160(words[0]));
        order.token = address(uint160(words[1]));
        order.operation = Operation(operation % 5);
        order.category = bytes32(words[2]);
        order.payments = payments;
        order.details = details;
        order.nonce = words[3];
        order.validUntil = uint64(words[0]);
        order.policyEpoch = uint32(words[1]);
        order.ownerEpoch = uint32(words[2]);
        assertEq(treasury.orderId(order), _digest(_orderHash(order)));
    }

    function _orderHash(Order memory order) private view returns (bytes32) {
        bytes32[] memory payments = new bytes32[](order.payments.length);
        for (uint256 i = 0; i < payments.length; ++i) {
            Payment memory p = order.payments[i];
            payments[i] = keccak256(abi.encode(TreasuryHash.PAYMENT_TYPEHASH, p.to, p.amount, p.paymentRef));
        }
        bytes memory head = abi.encode(
            TreasuryHash.ORDER_TYPEHASH, address(treasury), order.spender, order.token, order.operation, order.category
        );
        bytes memory middle = abi.encode(keccak256(abi.encodePacked(payments)), keccak256(order.details), order.nonce);
        bytes memory tail = abi.encode(order.validUntil, order.policyEpoch, order.ownerEpoch);
        return keccak256(bytes.concat(head, middle, tail));
    }

    /// @param c anything
    function testFuzz_aChangesIdIsItsEip712Digest(Change memory c) public view {
        bytes32[] memory calls = new bytes32[](c.calls.length);
        for (uint256 i = 0; i < calls.length; ++i) {
            calls[i] = keccak256(c.calls[i]);
        }
        bytes32 id = _digest(
            keccak256(
                abi.encode(
                    TreasuryHash.CHANGE_TYPEHASH,
                    address(treasury),
                    keccak256(abi.encodePacked(calls)),
                    c.nonce,
                    c.validUntil,
                    c.ownerEpoch
                )
            )
        );
        assertEq(treasury.changeId(c), id);
        bytes32 cancellation = keccak256(abi.encode(TreasuryHash.CANCELLATION_TYPEHASH, address(treasury), id));
        assertEq(treasury.cancellationId(id), _digest(cancellation));
    }

    /// @param t anything
    function testFuzz_aTopUpsNonceIsItsEip712Digest(TopUp memory t) public view {
        bytes memory head = abi.encode(TreasuryHash.TOP_UP_TYPEHASH, address(treasury), t.token, t.from, t.amount);
        bytes memory tail = abi.encode(t.validAfter, t.validBefore, t.category, t.paymentRef, t.salt);
        assertEq(treasury.topUpNonce(t), _digest(keccak256(bytes.concat(head, tail))));
    }

    function test_theTypehashesAreGolden() public pure {
        assertEq(TreasuryHash.PAYMENT_TYPEHASH, 0x6b1ba7884db1796795cde67553a2fb2e088671a315710f6e196fe2fb79a29eae);
        assertEq(TreasuryHash.ORDER_TYPEHASH, 0x7fed374e0a1de7e4e47f38b10d6fdd5bfb4a2c82e5c2a8bc592365b72965b1d4);
        assertEq(TreasuryHash.CHANGE_TYPEHASH, 0x28287947c7aebf95fa28fc2a457c613e6e61a2f3d876b9395ac09c45d0d2dfb3);
        assertEq(TreasuryHash.CANCELLATION_TYPEHASH, 0x7fa84b05c02f1ab6ef8932af25c7e72e1caad3d913eba29b46206520a08878b6);
        assertEq(TreasuryHash.TOP_UP_TYPEHASH, 0x45b6babd08fc221b646fcd5f2a2045ece74bc064b41c0832195f4c2b1f58009d);
    }

    function _digest(bytes32 structHash) private view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Florin Treasury"),
                keccak256("1"),
                block.chainid,
                address(treasury)
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }
}
