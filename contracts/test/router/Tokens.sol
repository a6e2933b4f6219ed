// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { ERC20 } from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// An ERC-20 that takes anybody's word for an authorization.
contract GullibleToken is ERC20("Gullible", "G") {
    bytes32 public constant DOMAIN_SEPARATOR = "any";

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function receiveWithAuthorization(address, address to, uint256 value, uint256, uint256, bytes32, bytes calldata)
        external
    {
        _mint(to, value);
    }
}

/// Keeps one unit of whatever it moves.
contract FeeToken is GullibleToken {
    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        super._update(to, address(0), 1);
    }
}

/// Refuses by answering false, as the standard allows.
contract FalseToken is GullibleToken {
    address public refused;

    function refuse(address account) external {
        refused = account;
    }

    function transfer(address to, uint256 value) public override returns (bool) {
        return to != refused && super.transfer(to, value);
    }
}

/// Answers nothing, as old tokens do.
contract SilentToken {
    mapping(address account => uint256) public balanceOf;

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function transfer(address to, uint256 value) external {
        _move(msg.sender, to, value);
    }

    function transferFrom(address from, address to, uint256 value) external {
        _move(from, to, value);
    }

    function _move(address from, address to, uint256 value) private {
        balanceOf[from] -= value;
        balanceOf[to] += value;
    }
}

/// Makes a call of its own whenever it moves, and keeps what came of it.
contract ReentrantToken is GullibleToken {
    address private _target;
    bytes private _data;
    uint256 public calls;
    bytes public failure;

    function reenter(address target, bytes calldata data) external {
        (_target, _data) = (target, data);
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (_target == address(0)) return;
        ++calls;
        (bool passed, bytes memory answer) = _target.call(_data);
        if (!passed) failure = answer;
    }
}
