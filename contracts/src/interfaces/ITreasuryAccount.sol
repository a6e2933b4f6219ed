// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import { ITreasuryAdmin } from "./ITreasuryAdmin.sol";
import { ITreasuryOrders } from "./ITreasuryOrders.sol";

/// @title ITreasuryAccount
/// @notice Everything that can be called on a treasury.
interface ITreasuryAccount is ITreasuryOrders, ITreasuryAdmin { }
