//! What the mirror says of a contract, and how the contract is asked about it.

use alloy::{
    primitives::{Address, Bytes},
    sol_types::SolCall,
};

use super::{At, CALLS_AT_ONCE, Error, Found, Head, Node, ask};

pub(super) struct Fact {
    contract: Address,
    what: String,
    call: Vec<u8>,
    holds: Box<dyn Fn(&Bytes) -> bool + Send + Sync>,
}

impl Fact {
    pub(super) fn new<C: SolCall>(
        contract: Address,
        what: String,
        call: C,
        holds: impl Fn(C::Return) -> bool + Send + Sync + 'static,
    ) -> Self {
        let holds = Box::new(move |answer: &Bytes| C::abi_decode_returns(answer).is_ok_and(&holds));
        Self { contract, what, call: call.abi_encode(), holds }
    }
}

/// Finds the facts that do not hold at the mirrored block.
pub(super) async fn check(node: &Node, head: &Head, facts: &[Fact], found: &mut Found) -> Result<(), Error> {
    for facts in facts.chunks(usize::try_from(CALLS_AT_ONCE).unwrap_or(usize::MAX)) {
        let calls = facts.iter().map(|fact| (fact.contract, fact.call.clone())).collect();
        let answers = ask(node, At::Hash(head.hash), calls).await?;
        for (Fact { contract, what, .. }, answer) in facts.iter().zip(answers).filter(|(fact, answer)| !(fact.holds)(answer)) {
            found.add(head, || format!("{contract}: the mirror says {what}, the chain {answer}"));
        }
    }
    Ok(())
}
