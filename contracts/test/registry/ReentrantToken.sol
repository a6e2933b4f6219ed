// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import { ERC20 } from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// Makes one call in the midst of every transfer, as whoever armed it, and remembers how that ended.
contract ReentrantToken is ERC20 {
    address private _target;
    bytes private _data;
    bool public succeeded;
    bytes public answer;

    constructor() ERC20("Reentrant", "RE") { }

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function arm(address target, bytes calldata data) external {
        (_target, _data) = (target, data);
    }

    function execute(address target, bytes calldata data) external returns (bytes memory result) {
        (, result) = target.call(data);
    }

    function _update(address from, address to, uint256 amount) internal override {
        super._update(from, to, amount);
        if (_target == address(0)) return;
        address target = _target;
        _target = address(0);
        (succeeded, answer) = target.call(_data);
    }
}

/// Takes a hundredth of everything that moves.
contract TaxingToken is ERC20 {
    constructor() ERC20("Taxing", "TAX") { }

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function _update(address from, address to, uint256 amount) internal override {
        super._update(from, to, amount);
        if (from != address(0) && to != address(0)) super._update(to, address(0xdead), amount / 100);
    }
}
