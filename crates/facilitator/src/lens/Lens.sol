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

/// Tries many calls against the state of one block, each as if it were alone. Never deployed: nodes run it as the creation code of an
/// eth_call, so it needs nothing on the chain and no extension of the node.
contract Lens {
    // What this contract itself needs around a trial.
    uint256 private constant RESERVE_GAS = 60_000;

    constructor(Question[] memory questions) {
        Trial trial = new Trial();
        Answer[] memory answers = new Answer[](questions.length);
        for (uint256 i; i < questions.length; ++i) {
            Question memory question = questions[i];
            Answer memory answer = answers[i];
            answer.payerHasCode = question.payer.code.length != 0;
            answer.tokenHasCode = question.token.code.length != 0;
            answer.targetHasCode = question.target.code.length != 0;
            // Two calls deep, each of which keeps back a 64th.
            if (gasleft() < question.gas + question.gas / 30 + RESERVE_GAS) continue;
            answer.tried = true;
            try trial.run(question.target, question.gas, question.input) {}
            catch (bytes memory told) {
                (answer.succeeded, answer.gasUsed, answer.output) = abi.decode(told, (bool, uint256, bytes));
            }
        }
        bytes memory result = abi.encode(answers);
        assembly ("memory-safe") {
            return(add(result, 32), mload(result))
        }
    }
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
