// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// What a treasury needs of a payment router: it takes from its caller, and gives back.
contract TakingRouter {
    function take(IERC20 token, address to, uint256 amount) external {
        require(token.transferFrom(msg.sender, to, amount));
    }

    function give(IERC20 token, uint256 amount) external {
        require(token.transfer(msg.sender, amount));
    }
}
