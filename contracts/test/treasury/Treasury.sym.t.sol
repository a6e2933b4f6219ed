// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { IERC1271 } from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import { Clones } from "@openzeppelin/contracts/proxy/Clones.sol";
import { ERC20 } from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import { Test } from "forge-std/Test.sol";
import { Treasury } from "../../src/Treasury.sol";
import { TreasuryAdmin } from "../../src/TreasuryAdmin.sol";
import { IAgentWalletFactory } from "../../src/interfaces/IAgentWalletFactory.sol";
import { IEscrow } from "../../src/interfaces/IEscrow.sol";
import { ITreasury } from "../../src/interfaces/ITreasury.sol";
import { ITreasuryAccount } from "../../src/interfaces/ITreasuryAccount.sol";

/// Halmos' own cheatcodes.
interface IHalmos {
    function enableSymbolicStorage(address account) external;
}

/// USDC's files cannot be read in here, and no token is asked what these proofs are about.
contract ProofToken is ERC20("Proof", "P") {
    constructor(address holder) {
        _mint(holder, type(uint128).max);
    }
}

/// A signer that is a contract, and answers what it was told to.
contract ContractSigner is IERC1271 {
    bool private _agrees;

    function setAnswer(bool agrees) external {
        _agrees = agrees;
    }

    function isValidSignature(bytes32, bytes calldata) external view returns (bytes4) {
        return _agrees ? IERC1271.isValidSignature.selector : bytes4(0);
    }
}

/// No order above the tier executes with fewer owners than the threshold, on the real treasury behind a clone. Three proofs make one.
///
/// 1. Approvals suffice only if they are of as many different owners as the threshold says. Over a storage of which nothing is known: any
///    owners, any threshold, any approvals by transaction, any id; and any list of up to three approvals, of each kind in any order. Longer
///    lists are the same loop again, which carries nothing but the count and the last owner. All bytes that the treasury accepts are such a
///    list, because it insists that the last approval ends where the bytes do; a contract's signature is always 32 bytes here, and all
///    contracts are one that answers anything.
/// 2. {execute} does nothing that {checkApprovals} refuses for the order's id. For any amount, and up to two approvals by transaction.
/// 3. Without the owners, three orders of any amounts within a window take no more than the tier. Windows are SpendingLimit's proof.
///
/// Supposed: keccak256 has no collisions, and whoever's address ecrecover returns has signed.
contract TreasuryProof is Test, ITreasury {
    IHalmos private constant HALMOS = IHalmos(address(uint160(uint256(keccak256("svm cheat code")))));
    uint56 private constant TIER = 1000e6;
    uint56 private constant ORDER_MAX = 5000e6;
    address private constant OWNER_A = address(0xa11ce);
    address private constant OWNER_B = address(0xb0b);
    address private constant OWNER_C = address(0xca401);
    address private constant SPENDER = address(0x5e4de2);
    address private constant PAYEE = address(0x9a1ee);

    enum Kind {
        SignedByKey,
        ByTransaction,
        SignedByContract
    }

    struct Approval {
        Kind kind;
        address owner;
        bytes32 r;
        bytes32 s;
        uint8 v;
    }

    ITreasuryAccount private treasury;
    /// Never initialized, so that its whole storage can be unknown.
    ITreasuryAccount private anyTreasury;
    ContractSigner private contractSigner = new ContractSigner();
    ProofToken private token;

    function setUp() public {
        vm.warp(1_760_000_000);
        address implementation = address(
            new Treasury(new TreasuryAdmin(), IAgentWalletFactory(address(0)), IEscrow(address(0)), address(0))
        );
        anyTreasury = ITreasuryAccount(Clones.clone(implementation));
        treasury = ITreasuryAccount(Clones.clone(implementation));
        token = new ProofToken(address(treasury));
        Config memory config;
        config.owners = new address[](3);
        (config.owners[0], config.owners[1], config.owners[2]) = (OWNER_A, OWNER_B, OWNER_C);
        config.threshold = 2;
        config.changeDelay = 1 days;
        config.grants = new Grant[](1);
        Policy memory policy = Policy(3 * ORDER_MAX, ORDER_MAX, TIER, false);
        config.grants[0] = Grant(SPENDER, address(token), policy, new address[](0));
        treasury.initialize(config);
    }

    /// @custom:halmos --array-lengths given={0,1,2,3}
    function check_approvalsAreOfAsManyOwnersAsTheThreshold(bytes32 id, Approval[] memory given, bool agrees) public {
        HALMOS.enableSymbolicStorage(address(anyTreasury));
        contractSigner.setAnswer(agrees);
        bytes memory approvals;
        for (uint256 i = 0; i < given.length; ++i) {
            approvals = bytes.concat(approvals, _encode(id, given[i]));
        }
        try anyTreasury.checkApprovals(id, approvals) {
            uint256 agreeing;
            for (uint256 i = 0; i < given.length; ++i) {
                if (_agrees(id, given[i]) && !_isEarlier(given, i)) ++agreeing;
            }
            assert(agreeing >= anyTreasury.threshold());
        } catch { }
    }

    /// @custom:halmos --array-lengths given={0,1,2}
    function check_executesNothingThatItsApprovalsDoNotAllow(uint56 amount, address[] memory given, bool byA, bool byB)
        public
    {
        Order memory order = _order(amount, 1);
        bytes32 id = treasury.orderId(order);
        if (byA) _approve(OWNER_A, id);
        if (byB) _approve(OWNER_B, id);
        bytes memory approvals;
        for (uint256 i = 0; i < given.length; ++i) {
            approvals = bytes.concat(approvals, hex"01", bytes20(given[i]));
        }
        bool allowed;
        try treasury.checkApprovals(id, approvals) {
            allowed = true;
        } catch { }
        try treasury.execute(order, approvals) {
            assert(allowed);
        } catch { }
    }

    function check_spenderAloneTakesNoMoreThanTheTier(uint56 first, uint56 second, uint56 third) public {
        _submit(first, 1);
        _submit(second, 2);
        _submit(third, 3);
        assert(token.balanceOf(PAYEE) <= TIER);
    }

    /// The approval in the bytes of {ITreasuryOrders.execute}; a key's owner becomes whoever signed.
    function _encode(bytes32 id, Approval memory a) private view returns (bytes memory) {
        if (a.kind == Kind.SignedByKey) {
            a.owner = ecrecover(id, a.v, a.r, a.s);
            return bytes.concat(hex"00", a.r, a.s, bytes1(a.v));
        }
        if (a.kind == Kind.ByTransaction) return bytes.concat(hex"01", bytes20(a.owner));
        a.owner = address(contractSigner);
        return bytes.concat(hex"02", bytes20(a.owner), hex"0020", a.r);
    }

    function _agrees(bytes32 id, Approval memory a) private view returns (bool) {
        if (!anyTreasury.isOwner(a.owner)) return false;
        if (a.kind == Kind.SignedByKey) return true;
        if (a.kind == Kind.ByTransaction) return anyTreasury.isApproved(id, a.owner);
        return contractSigner.isValidSignature(id, "") == IERC1271.isValidSignature.selector;
    }

    function _isEarlier(Approval[] memory given, uint256 index) private pure returns (bool) {
        for (uint256 i = 0; i < index; ++i) {
            if (given[i].owner == given[index].owner) return true;
        }
        return false;
    }

    function _approve(address owner, bytes32 id) private {
        vm.prank(owner);
        treasury.approve(id);
    }

    function _submit(uint56 amount, uint256 nonce) private {
        vm.prank(SPENDER);
        try treasury.submit(_order(amount, nonce)) { } catch { }
    }

    function _order(uint56 amount, uint256 nonce) private view returns (Order memory order) {
        order.spender = SPENDER;
        order.token = address(token);
        order.payments = new Payment[](1);
        order.payments[0] = Payment(PAYEE, amount, bytes32(0));
        order.nonce = nonce;
        order.validUntil = type(uint64).max;
        order.policyEpoch = 1;
        order.ownerEpoch = 1;
    }
}
