// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// What disperse.app runs on many chains: takes the sum, then pays each, all or nothing. Unchecked, as it was compiled then.
contract Disperse {
    function disperseToken(IERC20 token, address[] calldata recipients, uint256[] calldata values) external {
        unchecked {
            uint256 total = 0;
            for (uint256 i = 0; i < recipients.length; ++i) {
                total += values[i];
            }
            require(token.transferFrom(msg.sender, address(this), total));
            for (uint256 i = 0; i < recipients.length; ++i) {
                require(token.transfer(recipients[i], values[i]));
            }
        }
    }
}
