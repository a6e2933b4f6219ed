//! Questions to the user of a model, for clients that say once what they can do, by `initialize`.
//!
//! A question is an event of the answer to the call that waits for it; what the user says is posted like any message, to whatever instance. Its id is sealed for
//! whom it is put to, so that nobody else answers it; what comes to another instance than the one that asked waits for that one in the database.
//! That a client can ask is sealed, too, into the id of its session: nothing is kept of it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use api::Code;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;
use uuid::Uuid;

use super::streams::{self, Event};
use crate::{limits::Principal, problem::Problem, service::Market};

/// Questions to one principal, and to all, that wait at one instance.
const OF_ONE_MAX: usize = 8;
const OF_ALL_MAX: usize = 256;
/// How long the user may take: less than a quote is good.
const ANSWER_WAIT: Duration = Duration::from_secs(300);
/// How often it is looked whether the answer came to another instance.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What is sealed.
const QUESTION: &str = "mcp question";
const SESSION: &str = "mcp session";

/// Questions that wait for an answer.
#[derive(Debug, Default)]
pub(super) struct Questions(Mutex<HashMap<Uuid, Asked>>);

#[derive(Debug)]
struct Asked {
    who: Principal,
    told: oneshot::Sender<bool>,
}

/// One of them, for as long as somebody waits.
struct Waiting<'a> {
    questions: &'a Questions,
    id: Uuid,
    answer: oneshot::Receiver<bool>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.questions.lock().remove(&self.id);
    }
}

impl Questions {
    /// Puts a question to the user of who calls. Whether they agreed: who hangs up, or says nothing for too long, did not.
    pub(super) async fn ask(
        &self,
        market: &Market,
        who: Principal,
        question: &Value,
        events: &mpsc::Sender<Event>,
    ) -> Result<bool, Problem> {
        let mut waiting = self.wait(who)?;
        let id = sealed(market, QUESTION, waiting.id, who);
        let message = json!({"jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": question});
        let answered = async {
            if events.send((streams::event(&message), None)).await.is_err() {
                return false;
            }
            loop {
                if let Ok(agreed) = tokio::time::timeout(LOOK_EVERY, &mut waiting.answer).await {
                    return agreed.unwrap_or(false);
                }
                if let Some(agreed) = take(market, waiting.id).await {
                    return agreed;
                }
            }
        };
        Ok(tokio::select! {
            agreed = tokio::time::timeout(ANSWER_WAIT, answered) => agreed.unwrap_or(false),
            () = events.closed() => false,
            () = market.closing.cancelled() => false,
        })
    }

    fn wait(&self, who: Principal) -> Result<Waiting<'_>, Problem> {
        let mut asked = self.lock();
        if asked.values().filter(|asked| asked.who == who).count() >= OF_ONE_MAX {
            return Err(Problem::new(
                Code::OverLimit,
                format!("{OF_ONE_MAX} questions wait for your user: have them answered first"),
            ));
        }
        if asked.len() >= OF_ALL_MAX {
            return Err(Problem::new(Code::Unavailable, "Too many questions wait for users here: try again"));
        }
        let (id, (told, answer)) = (Uuid::now_v7(), oneshot::channel());
        asked.insert(id, Asked { who, told });
        Ok(Waiting { questions: self, id, answer })
    }

    /// Takes what the user of who calls said to a question. `false` when it was not put to them.
    pub(super) async fn answered(&self, market: &Market, who: Principal, id: &str, agreed: bool) -> Result<bool, Problem> {
        let Some(id) = opened(market, QUESTION, id, who) else { return Ok(false) };
        let asked = self.lock().remove(&id);
        if let Some(asked) = asked {
            // Who asked may just have given up.
            let _ = asked.told.send(agreed);
            return Ok(true);
        }
        let old = "DELETE FROM mcp_answers WHERE answered_at < now() - interval '10 minutes'";
        sqlx::query(old).execute(&market.pool).await?;
        let put = "INSERT INTO mcp_answers (question, agreed) VALUES ($1, $2) ON CONFLICT (question) DO NOTHING";
        sqlx::query(put).bind(id).bind(agreed).execute(&market.pool).await?;
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Asked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came to another instance, if it did.
async fn take(market: &Market, id: Uuid) -> Option<bool> {
    let take = sqlx::query_scalar("DELETE FROM mcp_answers WHERE question = $1 RETURNING agreed");
    let taken: sqlx::Result<Option<bool>> = take.bind(id).fetch_optional(&market.pool).await;
    taken.inspect_err(|error| warn!(%error, "an answer of a user cannot be looked for")).ok().flatten()
}

/// The id of a session of a client that can ask its user.
pub(super) fn session(market: &Market, who: Principal) -> String {
    sealed(market, SESSION, Uuid::now_v7(), who)
}

/// Whether this is the id of a session of who calls.
pub(super) fn is_session(market: &Market, text: &str, who: Principal) -> bool {
    opened(market, SESSION, text, who).is_some()
}

fn sealed(market: &Market, purpose: &str, id: Uuid, who: Principal) -> String {
    let seal = market.auth.tokens.seal(purpose, format!("{id} {who}").as_bytes());
    format!("{id}.{seal}")
}

fn opened(market: &Market, purpose: &str, text: &str, who: Principal) -> Option<Uuid> {
    let (id, seal) = text.split_once('.')?;
    let id: Uuid = id.parse().ok()?;
    market.auth.tokens.is_sealed(purpose, format!("{id} {who}").as_bytes(), seal).then_some(id)
}
