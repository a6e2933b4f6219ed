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

use crate::{
    metrics::{Metrics, Stage},
    settlement::Call,
    token::IToken,
};

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

    /// A transfer by authorization of Circle's token.
    #[derive(Debug)]
    struct Holding { address token; address payer; address payee; bytes32 nonce; uint256 amount; }
}

/// Lens.sol, compiled by scripts/lens.
static CREATION_CODE: LazyLock<Bytes> =
    LazyLock::new(|| hex::decode(include_str!("Lens.hex").trim()).expect("hexadecimal, as scripts/lens writes it").into());
/// Rounds at once: while the node works on one, the next is written and read.
const ROUNDS_MAX: usize = 2;
/// Of creation code (EIP-3860).
const CODE_BYTES_MAX: usize = 49_152;
/// Of what creation code returns (EIP-170).
const ANSWERS_BYTES_MAX: usize = 24_576;
/// Who asks beyond these waits to be heard.
const WAITING_MAX: usize = 1_024;

/// The node's answers to questions that may be of many payments.
pub(crate) struct Lens(mpsc::Sender<Waiting>);

enum Waiting {
    Trial(Trial),
    Holding(Holding, oneshot::Sender<Result<bool, TransportError>>),
}

/// Questions that belong together.
struct Trial {
    questions: Vec<Question>,
    told: oneshot::Sender<Result<Vec<Answer>, TransportError>>,
}

/// Who goes together.
#[derive(Default)]
struct Round {
    trials: Vec<Trial>,
    holdings: Vec<Holding>,
    holders: Vec<oneshot::Sender<Result<bool, TransportError>>>,
    size: Size,
}

/// Bytes, encoded, beside what every round has.
#[derive(Clone, Copy, Default)]
struct Size {
    questions: usize,
    /// At most, whatever a payer's contract returns.
    answers: usize,
}

impl Question {
    /// What would this call do?
    pub(crate) fn new(payer: Address, token: Address, call: &Call) -> Self {
        Self { payer, token, target: call.to, gas: U256::from(call.gas), input: call.input.clone() }
    }
}

impl Question {
    /// What does this account have of the token?
    pub(crate) fn of_balance(token: Address, account: Address) -> Self {
        /// What a token may use to tell.
        const BALANCE_GAS_MAX: u64 = 200_000;
        let call = Call::new(token, IToken::balanceOfCall { account }.abi_encode(), BALANCE_GAS_MAX);
        Self::new(account, token, &call)
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
    pub(crate) fn new(provider: DynProvider, sender: Address, metrics: Arc<Metrics>) -> Self {
        let (questions, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(dispatch(provider, sender, metrics, waiting));
        Self(questions)
    }

    /// The answers in the order of the questions, all of the newest block.
    pub(crate) async fn ask(&self, questions: Vec<Question>) -> Result<Vec<Answer>, TransportError> {
        let (told, answers) = oneshot::channel();
        self.0.send(Waiting::Trial(Trial { questions, told })).await.map_err(|_| gone())?;
        answers.await.map_err(|_| gone())?
    }

    /// Whether nothing that the newest block shows stands in the way of the transfer, as far as Circle's token goes: its payer has no code, the
    /// money and the nonce, and the token does not rest and shuts out neither of the two. Costs a tenth of a trial.
    pub(crate) async fn suffices(&self, holding: Holding) -> Result<bool, TransportError> {
        let (told, answer) = oneshot::channel();
        self.0.send(Waiting::Holding(holding, told)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn gone() -> TransportError {
    TransportErrorKind::custom_str("the facilitator is stopping")
}

/// Sends rounds for as long as somebody can ask.
async fn dispatch(provider: DynProvider, sender: Address, metrics: Arc<Metrics>, mut waiting: mpsc::Receiver<Waiting>) {
    let rounds = Arc::new(Semaphore::new(ROUNDS_MAX));
    // Who did not fit into the round before.
    let mut held = None;
    // The room first, so that those who come while there is none go together.
    while let Ok(room) = rounds.clone().acquire_owned().await {
        let first = match held.take() {
            Some(first) => first,
            None => match waiting.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        let mut round = Round::default();
        round.add(first);
        while let Ok(next) = waiting.try_recv() {
            if !round.has_room_for(&next) {
                held = Some(next);
                break;
            }
            round.add(next);
        }
        let (provider, metrics) = (provider.clone(), metrics.clone());
        tokio::spawn(async move {
            let _timer = metrics.time(Stage::Round);
            metrics.asked(round.holdings.len() + round.trials.iter().map(|trial| trial.questions.len()).sum::<usize>());
            round.answer(&provider, sender).await;
            drop(room);
        });
    }
}

impl Waiting {
    fn size(&self) -> Size {
        /// Of a question beside its input, and of an answer beside its output.
        const QUESTION_BYTES: usize = 7 * 32;
        const ANSWER_BYTES: usize = 9 * 32;
        /// As in Lens.sol.
        const OUTPUT_BYTES_MAX: usize = 256;
        match self {
            Self::Trial(trial) => Size {
                questions: trial.questions.iter().map(|q| QUESTION_BYTES + q.input.len().next_multiple_of(32)).sum(),
                answers: trial.questions.len() * (ANSWER_BYTES + OUTPUT_BYTES_MAX),
            },
            Self::Holding(..) => Size { questions: 5 * 32, answers: 32 },
        }
    }
}

impl Round {
    /// Whether it can be asked together with the others: nobody else may be the reason why a node refuses.
    fn has_room_for(&self, waiting: &Waiting) -> bool {
        /// Two lists: where each begins, and how long it is.
        const LISTS_BYTES: usize = 4 * 32;
        let more = waiting.size();
        CREATION_CODE.len() + LISTS_BYTES + self.size.questions + more.questions <= CODE_BYTES_MAX
            && LISTS_BYTES + self.size.answers + more.answers <= ANSWERS_BYTES_MAX
    }

    fn add(&mut self, waiting: Waiting) {
        let size = waiting.size();
        self.size = Size { questions: self.size.questions + size.questions, answers: self.size.answers + size.answers };
        match waiting {
            Waiting::Trial(trial) => self.trials.push(trial),
            Waiting::Holding(holding, told) => {
                self.holdings.push(holding);
                self.holders.push(told);
            }
        }
    }

    /// Asks until everybody has an answer: a node that runs out of gas leaves some questions for another try.
    async fn answer(mut self, provider: &DynProvider, sender: Address) {
        while !self.trials.is_empty() || !self.holders.is_empty() {
            let (answers, sufficient) = match self.call(provider, sender).await {
                Ok((answers, sufficient)) if sufficient.len() == self.holders.len() => (answers, sufficient),
                Ok(_) => return self.refuse(&not_ethereum("an answer is missing")),
                Err(error) => return self.refuse(&error),
            };
            for (holder, sufficient) in self.holders.drain(..).zip(sufficient) {
                let _ = holder.send(Ok(sufficient));
            }
            self.holdings.clear();
            let (asked, mut answers) = (self.trials.len(), answers.into_iter());
            self.trials.retain_mut(|trial| {
                let own: Vec<Answer> = answers.by_ref().take(trial.questions.len()).collect();
                if own.len() < trial.questions.len() || !own.iter().all(|answer| answer.tried) {
                    return true;
                }
                let (nobody, _) = oneshot::channel();
                let _ = std::mem::replace(&mut trial.told, nobody).send(Ok(own));
                false
            });
            if asked > 0 && self.trials.len() == asked {
                let little = "the node gives an eth_call too little gas to try one payment: raise its limit (geth: --rpc.gascap)";
                return self.refuse(&TransportErrorKind::custom_str(little));
            }
        }
    }

    async fn call(&self, provider: &DynProvider, sender: Address) -> Result<(Vec<Answer>, Vec<bool>), TransportError> {
        let questions: Vec<Question> = self.trials.iter().flat_map(|trial| &trial.questions).cloned().collect();
        let mut code = CREATION_CODE.to_vec();
        code.extend((questions, self.holdings.clone()).abi_encode_params());
        let request = TransactionRequest::default().with_from(sender).with_deploy_code(code);
        let answer = provider.call(request).await?;
        <(Vec<Answer>, Vec<bool>)>::abi_decode_params(&answer).map_err(|error| not_ethereum(&error.to_string()))
    }

    /// Everybody is told; a transport error cannot be copied.
    fn refuse(self, error: &TransportError) {
        let text = match error {
            RpcError::ErrorResp(response) => format!("the node refused: {response}"),
            other => other.to_string(),
        };
        let error = || TransportErrorKind::custom_str(&text);
        self.trials.into_iter().for_each(|trial| drop(trial.told.send(Err(error()))));
        self.holders.into_iter().for_each(|holder| drop(holder.send(Err(error()))));
    }
}

fn not_ethereum(what: &str) -> TransportError {
    TransportErrorKind::custom_str(&format!("the node does not run creation code in eth_call as Ethereum does: {what}"))
}
