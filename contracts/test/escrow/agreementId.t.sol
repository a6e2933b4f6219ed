// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { Escrow } from "../../src/Escrow.sol";
import { IEscrow } from "../../src/interfaces/IEscrow.sol";
import { EscrowTest } from "./EscrowTest.sol";

contract AgreementIdTest is EscrowTest {
    bytes32 private constant TYPEHASH = keccak256(
        "Terms(address buyer,address seller,address arbiter,address token,uint256 amount,uint16 feeBps,address feeRecipient,uint64 deliverBy,uint32 reviewPeriod,uint32 arbitrationPeriod,uint256 disputeBond,uint8 defaultOutcome,bytes32 contentHash,uint256 agentId,bytes32 salt)"
    );

    function expected(IEscrow.Terms memory agreed) private view returns (bytes32) {
        bytes32 structHash = keccak256(bytes.concat(TYPEHASH, abi.encode(agreed)));
        return keccak256(abi.encodePacked(hex"1901", domainSeparator(escrow), structHash));
    }

    function testFuzz_is_the_eip712_digest_of_the_terms(address party, uint256 amount, uint64 time, bool toSeller)
        external
    {
        (terms.buyer, terms.feeRecipient) = (party, party);
        (terms.amount, terms.agentId, terms.salt) = (amount, ~amount, keccak256(abi.encode(amount)));
        (terms.deliverBy, terms.reviewPeriod, terms.feeBps) = (time, uint32(time), uint16(time));
        if (toSeller) terms.defaultOutcome = IEscrow.DefaultOutcome.ReleaseSeller;
        assertEq(escrow.agreementId(terms), expected(terms));
    }

    /// Any bit of any member makes another agreement.
    function testFuzz_every_member_counts(uint256 bit) external view {
        bytes memory encoded = abi.encode(terms);
        bit = bound(bit, 0, encoded.length * 8 - 1);
        bytes32 id = escrow.agreementId(terms);
        encoded[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
        bytes memory call = bytes.concat(escrow.agreementId.selector, encoded);
        (, bytes memory other) = address(escrow).staticcall(call);
        assertNotEq(abi.decode(other, (bytes32)), id);
    }

    /// The same terms with bits beyond a member's type are another id, so funding has to refuse them: nobody could act on them by the terms
    /// that a log shows.
    function test_terms_with_bits_beyond_a_members_type_cannot_be_funded() external {
        uint8[10] memory narrow = [0, 1, 2, 3, 5, 6, 7, 8, 9, 11];
        for (uint256 i = 0; i < narrow.length; ++i) {
            bytes memory encoded = abi.encode(terms);
            encoded[uint256(narrow[i]) * 32] = 0x01;
            vm.prank(buyer);
            (bool ok,) = address(escrow).call(bytes.concat(escrow.fund.selector, encoded));
            assertFalse(ok);
        }
    }

    function test_is_of_this_contract_and_this_chain() external {
        bytes32 id = escrow.agreementId(terms);
        assertNotEq(new Escrow().agreementId(terms), id);
        vm.chainId(block.chainid + 1);
        assertNotEq(escrow.agreementId(terms), id);
        assertEq(escrow.agreementId(terms), expected(terms));
    }

    function test_the_domain_can_be_read() external view {
        (bytes1 fields, string memory name, string memory version, uint256 chainId, address verifier,,) =
            escrow.eip712Domain();
        assertEq(fields, hex"0f");
        assertEq(name, "Florin Escrow");
        assertEq(version, "1");
        assertEq(chainId, block.chainid);
        assertEq(verifier, address(escrow));
    }
}
