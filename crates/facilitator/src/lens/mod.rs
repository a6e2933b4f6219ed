//! Asks the node what calls would do, many payments in one round trip, each tried alone on the state of one block.
//!
//! Whoever asks while a round is under way goes with the next one: nobody waits for company, and a crowd costs no more round trips than one.

use std::sync::{Arc, LazyLock};

use alloy::{
    network::TransactionBuilder,
    primitives::{Address, Bytes, U256, hex},
    providers::{DynProvider, Provider},
    rpc::types::TransactionRequest,
    sol,
    sol_types::{SolCall, SolValue},
    transports::{RpcError, TransportError, TransportErrorKind},
};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::settlement::Call;

sol! {
    /// A call to try. `payer` and `token` are only looked at for code; `gas` is the most it may use.
    #[derive(Debug)]
    struct Question { address payer; address token; address target; uint256 gas; bytes input; }

    /// What became of it. `output` is the start of what it returned, or of its words of refusal.
    #[derive(Debug)]
    struct Answer {
        bool payerHasCode;
        bool tokenHasCode;
        bool targetHasCode;
        bool tried;
        bool succeeded;
        uint256 gasUsed;
        bytes output;
    }
}

/// Lens.sol, compiled by scripts/lens.
static CREATION_CODE: LazyLock<Bytes> =
    LazyLock::new(|| hex::decode(include_str!("Lens.hex").trim()).expect("hexadecimal, as scripts/lens writes it").into());
/// Rounds at once: while the node works on one, the next is written and read.
const ROUNDS_MAX: usize = 2;
/// Creation code may have 49,152 bytes (EIP-3860), of which the lens has 2,000. A single asker may go beyond this.
const ROUND_BYTES_MAX: usize = 40_000;
/// Who asks beyond these waits to be heard.
const WAITING_MAX: usize = 1_024;

/// The node's answers to questions that may be of many payments.
pub(crate) struct Lens(mpsc::Sender<Waiting>);

struct Waiting {
    questions: Vec<Question>,
    told: oneshot::Sender<Result<Vec<Answer>, TransportError>>,
}

impl Question {
    /// What would this call do?
    pub(crate) fn new(payer: Address, token: Address, call: &Call) -> Self {
        Self { payer, token, target: call.to, gas: U256::from(call.gas), input: call.input.clone() }
    }
}

impl Answer {
    /// What a call of this kind returned; `None` when it failed or returned something else.
    pub(crate) fn returned<C: SolCall>(&self) -> Option<C::Return> {
        C::abi_decode_returns(&self.output).ok().filter(|_| self.succeeded && self.targetHasCode)
    }
}

impl Lens {
    /// `sender` is who tries the calls' transaction; it needs nothing.
    pub(crate) fn new(provider: DynProvider, sender: Address) -> Self {
        let (sender_of_questions, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(dispatch(provider, sender, waiting));
        Self(sender_of_questions)
    }

    /// The answers in the order of the questions, all of the newest block.
    pub(crate) async fn ask(&self, questions: Vec<Question>) -> Result<Vec<Answer>, TransportError> {
        let (told, answers) = oneshot::channel();
        let gone = || TransportErrorKind::custom_str("the facilitator is stopping");
        self.0.send(Waiting { questions, told }).await.map_err(|_| gone())?;
        answers.await.map_err(|_| gone())?
    }
}

/// Sends rounds for as long as somebody can ask.
async fn dispatch(provider: DynProvider, sender: Address, mut waiting: mpsc::Receiver<Waiting>) {
    let rounds = Arc::new(Semaphore::new(ROUNDS_MAX));
    // The room first, so that those who come while there is none go together.
    while let Ok(room) = rounds.clone().acquire_owned().await {
        let Some(first) = waiting.recv().await else { return };
        let mut size = size_of(&first);
        let mut round = vec![first];
        while size < ROUND_BYTES_MAX
            && let Ok(next) = waiting.try_recv()
        {
            size += size_of(&next);
            round.push(next);
        }
        let provider = provider.clone();
        tokio::spawn(async move {
            answer(&provider, sender, round).await;
            drop(room);
        });
    }
}

/// Asks until everybody has an answer: a node that runs out of gas leaves some questions for another try.
async fn answer(provider: &DynProvider, sender: Address, mut round: Vec<Waiting>) {
    while !round.is_empty() {
        let mut answers = match call(provider, sender, &round).await {
            Ok(answers) => answers.into_iter(),
            Err(error) => return refuse(round, &error),
        };
        let asked = round.len();
        round = round
            .into_iter()
            .filter_map(|waiting| {
                let own: Vec<Answer> = answers.by_ref().take(waiting.questions.len()).collect();
                if own.len() < waiting.questions.len() || !own.iter().all(|answer| answer.tried) {
                    return Some(waiting);
                }
                let _ = waiting.told.send(Ok(own));
                None
            })
            .collect();
        if round.len() == asked {
            let little = "the node gives an eth_call too little gas to try one payment: raise its limit (geth: --rpc.gascap)";
            return refuse(round, &TransportErrorKind::custom_str(little));
        }
    }
}

async fn call(provider: &DynProvider, sender: Address, round: &[Waiting]) -> Result<Vec<Answer>, TransportError> {
    let questions: Vec<&Question> = round.iter().flat_map(|waiting| &waiting.questions).collect();
    let mut code = CREATION_CODE.to_vec();
    code.extend(questions.into_iter().cloned().collect::<Vec<_>>().abi_encode());
    let request = TransactionRequest::default().with_from(sender).with_deploy_code(code);
    let answer = provider.call(request).await?;
    Vec::<Answer>::abi_decode(&answer).map_err(|error| {
        TransportErrorKind::custom_str(&format!("the node does not run creation code in eth_call as Ethereum does: {error}"))
    })
}

/// Everybody is told; a transport error cannot be copied.
fn refuse(round: Vec<Waiting>, error: &TransportError) {
    let text = match error {
        RpcError::ErrorResp(response) => format!("the node refused: {response}"),
        other => other.to_string(),
    };
    for waiting in round {
        let _ = waiting.told.send(Err(TransportErrorKind::custom_str(&text)));
    }
}

fn size_of(waiting: &Waiting) -> usize {
    /// Of one question beside its input.
    const HEAD_BYTES: usize = 7 * 32;
    waiting.questions.iter().map(|question| HEAD_BYTES + question.input.len().next_multiple_of(32)).sum()
}
