// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { UsdcTest } from "../base/UsdcTest.sol";
import { Disperse } from "./Disperse.sol";

interface ISafe {
    function setup(
        address[] calldata owners,
        uint256 threshold,
        address to,
        bytes calldata data,
        address fallbackHandler,
        address paymentToken,
        uint256 payment,
        address payable paymentReceiver
    ) external;
    function execTransaction(
        address to,
        uint256 value,
        bytes calldata data,
        uint8 operation,
        uint256 safeTxGas,
        uint256 baseGas,
        uint256 gasPrice,
        address gasToken,
        address payable refundReceiver,
        bytes calldata signatures
    ) external payable returns (bool success);
    function getTransactionHash(
        address to,
        uint256 value,
        bytes calldata data,
        uint8 operation,
        uint256 safeTxGas,
        uint256 baseGas,
        uint256 gasPrice,
        address gasToken,
        address refundReceiver,
        uint256 nonce
    ) external view returns (bytes32);
    function nonce() external view returns (uint256);
}

interface IMulticall3 {
    struct Call {
        address target;
        bytes callData;
    }

    function tryAggregate(bool requireSuccess, Call[] calldata calls) external payable;
}

/// What others pay for what these contracts do, under the conditions of these contracts' own gas tests: whole transactions, real USDC,
/// payer, payee and storage words in use already. `scripts/gas` sets the figures beside ours.
/// forge-config: default.isolate = true
contract FieldGasTest is UsdcTest {
    string private constant GROUP = "Field";
    string private constant SAFE = "node_modules/@safe-global/safe-smart-account/build/artifacts/contracts/";
    string private constant MULTICALL3 = "crates/contracts/vendor/Multicall3.json";
    uint256 private constant FUNDS = 1000e6;

    address private payee = makeAddr("payee");

    function setUp() public override {
        super.setUp();
        mint(payee, 1);
    }

    /// The x402 payment of a payer that is a key: what a lane adds to is this.
    function test_gas_transferWithAuthorization() public {
        (address payer, uint256 key) = makeAddrAndKey("payer");
        mint(payer, FUNDS);
        (bool success,) = address(usdc).call(_authorization(payer, key, 1e6, "nonce"));
        vm.snapshotGasLastCall(GROUP, "transferWithAuthorization");
        assertTrue(success);
    }

    function test_gas_safePaysWithTwoOfThreeSignatures() public {
        ISafe safe = _deploySafe();
        mint(address(safe), FUNDS);
        _execute(safe, 1e6);
        _execute(safe, 2e6);
        vm.snapshotGasLastCall(GROUP, "Safe 2-of-3");
        assertEq(usdc.balanceOf(payee), 1 + 3e6);
    }

    function test_gas_disperse() public {
        Disperse disperse = new Disperse();
        address payer = makeAddr("payer");
        mint(payer, FUNDS);
        vm.prank(payer);
        usdc.approve(address(disperse), type(uint256).max);
        _disperse(disperse, payer, 10);
        _disperse(disperse, payer, 100);
    }

    /// Ten payers, one payee; the cheapest of its functions that goes on after a failure.
    function test_gas_multicallOfAHundredAuthorizations() public {
        IMulticall3 multicall = IMulticall3(makeAddr("Multicall3"));
        vm.etch(address(multicall), vm.parseJsonBytes(vm.readFile(MULTICALL3), ".deployedBytecode"));
        IMulticall3.Call[] memory calls = new IMulticall3.Call[](100);
        for (uint256 i = 0; i < 100; ++i) {
            (address payer, uint256 key) = makeAddrAndKey(string.concat("payer ", vm.toString(i % 10)));
            if (i < 10) mint(payer, FUNDS);
            bytes memory call = _authorization(payer, key, 12_345 + i, keccak256(abi.encode(i)));
            calls[i] = IMulticall3.Call(address(usdc), call);
        }
        multicall.tryAggregate(false, calls);
        vm.snapshotGasLastCall(GROUP, "Multicall3 100");
        assertEq(usdc.balanceOf(payee), 1 + 100 * 12_345 + 99 * 50);
    }

    /// To `count` payees who have money.
    function _disperse(Disperse disperse, address payer, uint256 count) private {
        address[] memory payees = new address[](count);
        uint256[] memory amounts = new uint256[](count);
        for (uint256 i = 0; i < count; ++i) {
            payees[i] = vm.addr(1000 + i);
            amounts[i] = 1e6 + i;
            mint(payees[i], 1);
        }
        vm.prank(payer);
        disperse.disperseToken(IERC20(address(usdc)), payees, amounts);
        vm.snapshotGasLastCall(GROUP, string.concat("disperse ", vm.toString(count)));
        assertGt(usdc.balanceOf(payees[count - 1]), amounts[count - 1]);
    }

    /// By the older of the two overloads, which is the cheaper.
    function _authorization(address payer, uint256 key, uint256 value, bytes32 nonce)
        private
        view
        returns (bytes memory)
    {
        Authorization memory a = Authorization(payer, payee, value, 0, vm.getBlockTimestamp() + 60, nonce);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, transferDigest(a));
        return abi.encodeWithSignature(
            "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)",
            a.from,
            a.to,
            a.value,
            a.validAfter,
            a.validBefore,
            a.nonce,
            v,
            r,
            s
        );
    }

    function _deploySafe() private returns (ISafe safe) {
        address singleton = _create(_safeBytecode("Safe.sol/Safe.json"));
        safe =
            ISafe(_create(bytes.concat(_safeBytecode("proxies/SafeProxy.sol/SafeProxy.json"), abi.encode(singleton))));
        address[] memory owners = new address[](3);
        for (uint256 i = 0; i < 3; ++i) {
            owners[i] = vm.addr(i + 1);
        }
        safe.setup(owners, 2, address(0), "", address(0), address(0), 0, payable(0));
    }

    function _execute(ISafe safe, uint256 amount) private {
        bytes memory data = abi.encodeCall(IERC20.transfer, (payee, amount));
        bytes32 hash = safe.getTransactionHash(address(usdc), 0, data, 0, 0, 0, 0, address(0), address(0), safe.nonce());
        // Safe wants them by ascending owner.
        bytes memory signatures = vm.addr(1) < vm.addr(2)
            ? bytes.concat(sign(1, hash), sign(2, hash))
            : bytes.concat(sign(2, hash), sign(1, hash));
        safe.execTransaction(address(usdc), 0, data, 0, 0, 0, 0, address(0), payable(0), signatures);
    }

    function _safeBytecode(string memory artifact) private view returns (bytes memory) {
        return vm.parseJsonBytes(vm.readFile(string.concat(SAFE, artifact)), ".bytecode");
    }

    function _create(bytes memory code) private returns (address created) {
        assembly {
            created := create(0, add(code, 32), mload(code))
        }
        assertNotEq(created, address(0));
    }
}
