// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { ERC20 } from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import { Test } from "forge-std/Test.sol";
import { Escrow } from "../../src/Escrow.sol";
import { IEscrow } from "../../src/interfaces/IEscrow.sol";

/// An honest token whose issuer refuses some accounts. USDC's files cannot be read in here.
contract ProofToken is ERC20("Proof", "P") {
    mapping(address account => bool) private _refused;

    function mint(address account, uint256 amount) external {
        _mint(account, amount);
    }

    function refuse(address account, bool refused) external {
        _refused[account] = refused;
    }

    function _update(address from, address to, uint256 value) internal override {
        require(!_refused[from] && !_refused[to], "refused");
        super._update(from, to, value);
    }
}

/// The escrow always has what it owes, whatever is done with its agreements, however often. By induction over the operations.
///
/// To begin with it has nothing and owes nothing. The step: whatever was funded and released of an agreement so far, at any time, with any
/// amount, whomever the token refuses, each operation changes the balance exactly as it changes what is owed: what is held of the agreement,
/// and the credits. It leaves another agreement alone, and never more released than funded. So balance - owed stays what it was, and no payment
/// is made from another agreement's money.
///
/// Each operation is done by who may, in a status it works in; for others, and in other statuses, it reverts, as the tests of each operation
/// show. To add or release money is the same whether it is delivered or not, so it is proved for one of the two. fund and releaseUpTo stand for
/// the other ways to fund and to release, which differ in how the buyer says so. Supposed: keccak256 has no collisions.
contract EscrowProof is Test {
    address private constant BUYER = address(0xb1);
    address private constant SELLER = address(0x51);
    address private constant ARBITER = address(0xa4b1);
    address private constant FEE_RECIPIENT = address(0xfee);
    address private constant ANYONE = address(0xa11);
    address private constant ELSEWHERE = address(0xe15e);
    uint256 private constant BOND = 5e6;
    /// Where Escrow and Payouts keep them.
    uint256 private constant AGREEMENTS_SLOT = 3;
    uint256 private constant WITHDRAWABLE_SLOT = 0;

    struct State {
        uint40 windowEnds;
        uint96 funded;
        uint96 released;
    }

    struct World {
        uint40 time;
        bool buyerRefused;
        bool sellerRefused;
        bool feeRecipientRefused;
    }

    Escrow private escrow;
    ProofToken private token;
    IEscrow.Terms private terms;
    bytes32 private id;

    function setUp() public {
        escrow = new Escrow();
        token = new ProofToken();
        // So much that nothing fails for want of money: the proof is about what changes.
        token.mint(BUYER, type(uint128).max);
        token.mint(address(escrow), type(uint128).max);
        vm.prank(BUYER);
        token.approve(address(escrow), type(uint256).max);
        terms.buyer = BUYER;
        terms.seller = SELLER;
        terms.arbiter = ARBITER;
        terms.token = address(token);
        terms.amount = 100e6;
        terms.feeBps = 250;
        terms.feeRecipient = FEE_RECIPIENT;
        terms.deliverBy = 1_760_000_000;
        terms.reviewPeriod = 2 days;
        terms.arbitrationPeriod = 3 days;
        terms.disputeBond = BOND;
    }

    function check_fund(World memory world) public {
        State memory nothing;
        _step(IEscrow.Status.None, nothing, world, BUYER, abi.encodeCall(IEscrow.fund, (terms)));
    }

    function check_topUp(State memory state, World memory world, uint96 amount) public {
        _step(IEscrow.Status.Delivered, state, world, BUYER, abi.encodeCall(IEscrow.topUp, (terms, amount)));
    }

    function check_markDelivered(State memory state, World memory world) public {
        _step(IEscrow.Status.Funded, state, world, SELLER, abi.encodeCall(IEscrow.markDelivered, (terms, "")));
    }

    function check_releaseUpTo(State memory state, World memory world, uint96 total) public {
        _step(IEscrow.Status.Funded, state, world, BUYER, abi.encodeCall(IEscrow.releaseUpTo, (terms, total)));
    }

    function check_releaseUndisputed(State memory state, World memory world) public {
        _step(IEscrow.Status.Delivered, state, world, ANYONE, abi.encodeCall(IEscrow.releaseUndisputed, (terms)));
    }

    function check_refund(State memory state, World memory world, bool delivered, bool bySeller) public {
        IEscrow.Status status = delivered ? IEscrow.Status.Delivered : IEscrow.Status.Funded;
        address caller = bySeller ? SELLER : ANYONE;
        _step(status, state, world, caller, abi.encodeCall(IEscrow.refund, (terms)));
    }

    function check_dispute(State memory state, World memory world) public {
        _step(IEscrow.Status.Delivered, state, world, BUYER, abi.encodeCall(IEscrow.dispute, (terms)));
    }

    function check_resolve(State memory state, World memory world, uint96 toSeller) public {
        _step(IEscrow.Status.Disputed, state, world, ARBITER, abi.encodeCall(IEscrow.resolve, (terms, toSeller)));
    }

    function check_applyDefault(State memory state, World memory world, bool toSeller) public {
        if (toSeller) terms.defaultOutcome = IEscrow.DefaultOutcome.ReleaseSeller;
        _step(IEscrow.Status.Disputed, state, world, ANYONE, abi.encodeCall(IEscrow.applyDefault, (terms)));
    }

    function check_withdraw(uint96 credit, address caller, World memory world) public {
        bytes32 ofToken = keccak256(abi.encode(address(token), WITHDRAWABLE_SLOT));
        vm.store(address(escrow), keccak256(abi.encode(SELLER, ofToken)), bytes32(uint256(credit)));
        assert(escrow.withdrawable(address(token), SELLER) == credit);
        _enter(world);
        uint256 before = token.balanceOf(address(escrow));
        vm.prank(caller);
        try escrow.withdraw(address(token), ELSEWHERE) {
            assert(caller == SELLER);
            assert(token.balanceOf(ELSEWHERE) == credit);
            assert(before - token.balanceOf(address(escrow)) == credit);
            assert(escrow.withdrawable(address(token), SELLER) == 0);
        } catch { }
    }

    // Internals

    function _step(IEscrow.Status status, State memory state, World memory world, address caller, bytes memory call)
        private
    {
        vm.assume(state.released <= state.funded);
        id = escrow.agreementId(terms);
        bytes32 slot = keccak256(abi.encode(id, AGREEMENTS_SLOT));
        IEscrow.Terms memory others = terms;
        others.salt = "another";
        bytes32 otherSlot = keccak256(abi.encode(escrow.agreementId(others), AGREEMENTS_SLOT));
        // As Escrow packs it.
        bytes32 word =
            bytes32(abi.encodePacked(uint16(0), state.released, state.funded, state.windowEnds, uint8(status)));
        vm.store(address(escrow), slot, word);
        vm.store(address(escrow), otherSlot, word);
        _enter(world);

        uint256 balance = token.balanceOf(address(escrow));
        uint256 owed = _held() + _credits();
        vm.prank(caller);
        (bool ok,) = address(escrow).call(call);
        if (!ok) return;

        // Both sides change by a few amounts of 96 bits at most, far from where they would wrap.
        unchecked {
            assert(token.balanceOf(address(escrow)) - balance == _held() + _credits() - owed);
        }
        IEscrow.Agreement memory agreement = escrow.agreementOf(id);
        assert(agreement.released <= agreement.funded);
        assert(vm.load(address(escrow), otherSlot) == word);
    }

    function _enter(World memory world) private {
        vm.warp(world.time);
        token.refuse(BUYER, world.buyerRefused);
        token.refuse(SELLER, world.sellerRefused);
        token.refuse(FEE_RECIPIENT, world.feeRecipientRefused);
    }

    /// What the contract holds of the agreement.
    function _held() private view returns (uint256) {
        IEscrow.Agreement memory agreement = escrow.agreementOf(id);
        if (uint8(agreement.status) > uint8(IEscrow.Status.Disputed)) return 0;
        uint256 bond = agreement.status == IEscrow.Status.Disputed ? BOND : 0;
        return agreement.funded - agreement.released + bond;
    }

    function _credits() private view returns (uint256) {
        return escrow.withdrawable(address(token), BUYER) + escrow.withdrawable(address(token), SELLER)
            + escrow.withdrawable(address(token), FEE_RECIPIENT);
    }
}
