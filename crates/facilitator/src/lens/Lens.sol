// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// One call to try.
struct Question {
    address payer;
    address token;
    address target;
    uint256 gas;
    bytes input;
}

struct Answer {
    bool payerHasCode;
    bool tokenHasCode;
    bool targetHasCode;
    // False when the node had not enough gas left: ask again.
    bool tried;
    bool succeeded;
    uint256 gasUsed;
    // The start of what it returned, or of its words of refusal.
    bytes output;
}

/// A transfer by authorization of Circle's token, and what its payer must have.
struct Holding {
    address token;
    address payer;
    address payee;
    bytes32 nonce;
    uint256 amount;
}

/// Tries many calls against the state of one block, each as if it were alone. Never deployed: nodes run it as the creation code of an
/// eth_call, so it needs nothing on the chain and no extension of the node.
contract Lens {
    // What this contract itself needs around a trial.
    uint256 private constant RESERVE_GAS = 60_000;
    uint256 private constant VIEW_GAS = 60_000;

    constructor(Question[] memory questions, Holding[] memory holdings) {
        bytes memory result = abi.encode(answer(questions), suffice(holdings));
        assembly ("memory-safe") {
            return(add(result, 32), mload(result))
        }
    }

    function answer(Question[] memory questions) private returns (Answer[] memory answers) {
        answers = new Answer[](questions.length);
        if (questions.length == 0) return answers;
        Trial trial = new Trial();
        for (uint256 i; i < questions.length; ++i) {
            Question memory question = questions[i];
            Answer memory told = answers[i];
            told.payerHasCode = question.payer.code.length != 0;
            told.tokenHasCode = question.token.code.length != 0;
            told.targetHasCode = question.target.code.length != 0;
            // Two calls deep, each of which keeps back a 64th.
            if (gasleft() < question.gas + question.gas / 30 + RESERVE_GAS) continue;
            told.tried = true;
            try trial.run(question.target, question.gas, question.input) {}
            catch (bytes memory outcome) {
                (told.succeeded, told.gasUsed, told.output) = abi.decode(outcome, (bool, uint256, bytes));
            }
        }
    }

    /// Which of the transfers nothing that can be read stands in the way of: the payer is an account without code that has the money and has not
    /// used the nonce, and the token neither rests nor shuts out one of the two.
    function suffice(Holding[] memory holdings) private view returns (bool[] memory sufficient) {
        sufficient = new bool[](holdings.length);
        for (uint256 i; i < holdings.length; ++i) {
            Holding memory h = holdings[i];
            sufficient[i] = h.payer.code.length == 0 && h.token.code.length != 0
                && read(h.token, abi.encodeCall(Token.authorizationState, (h.payer, h.nonce)), 1) == 0
                && read(h.token, abi.encodeCall(Token.paused, ()), 1) == 0
                && read(h.token, abi.encodeCall(Token.isBlacklisted, (h.payer)), 1) == 0
                && read(h.token, abi.encodeCall(Token.isBlacklisted, (h.payee)), 1) == 0
                && read(h.token, abi.encodeCall(Token.balanceOf, (h.payer)), 0) >= h.amount;
        }
    }

    /// The word that a view returns, or `otherwise` when it returns none.
    function read(address target, bytes memory input, uint256 otherwise) private view returns (uint256) {
        (bool succeeded, bytes memory output) = target.staticcall{gas: VIEW_GAS}(input);
        return succeeded && output.length == 32 ? abi.decode(output, (uint256)) : otherwise;
    }
}

interface Token {
    function authorizationState(address authorizer, bytes32 nonce) external view returns (bool);
    function balanceOf(address account) external view returns (uint256);
    function isBlacklisted(address account) external view returns (bool);
    function paused() external view returns (bool);
}

contract Trial {
    // A payer's contract may return as much as its gas buys; nobody here reads more.
    uint256 private constant OUTPUT_BYTES_MAX = 256;

    /// Calls, and undoes it: always reverts, with `abi.encode(succeeded, gasUsed, output)`.
    function run(address target, uint256 gasLimit, bytes calldata input) external {
        bool succeeded;
        uint256 gasUsed = gasleft();
        bytes memory data = input;
        assembly ("memory-safe") {
            succeeded := call(gasLimit, target, 0, add(data, 32), mload(data), 0, 0)
        }
        gasUsed -= gasleft();
        bytes memory output;
        assembly ("memory-safe") {
            let length := returndatasize()
            if gt(length, OUTPUT_BYTES_MAX) { length := OUTPUT_BYTES_MAX }
            output := mload(0x40)
            mstore(output, length)
            returndatacopy(add(output, 32), 0, length)
            mstore(0x40, add(output, add(32, and(add(length, 31), not(31)))))
        }
        bytes memory told = abi.encode(succeeded, gasUsed, output);
        assembly ("memory-safe") {
            revert(add(told, 32), mload(told))
        }
    }
}
