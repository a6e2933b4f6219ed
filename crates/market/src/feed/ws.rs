//! The feed over WebSocket.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use api::{Code, FeedQuery};
use axum::{
    extract::{
        ConnectInfo, State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    },
    http::HeaderMap,
    response::Response,
};
use futures::SinkExt;
use serde_json::json;
use tokio::time::timeout;

use super::{
    ALIVE_EVERY, SLOW,
    reader::{End, Reader},
    ticket,
    viewer::Viewer,
};
use crate::{access, input::Params, problem::Problem, service::Market};

/// Who sends neither a message nor the answer to a ping for so long is gone.
const SILENT_MAX: Duration = Duration::from_secs(60);
/// Nothing but pings and a close is expected from a reader.
const READ_MAX_BYTES: usize = 1024;
/// Written in one go.
const WRITE_BYTES: usize = 16 * 1024;
/// How long a reader that was told why may take to hang up.
const GOODBYE: Duration = Duration::from_secs(2);
/// No credentials; bad ones, or such as may not read; too many connections.
const MISSING: u16 = 4001;
const BAD: u16 = 4003;
const TOO_MANY: u16 = 4029;

/// `GET /ws/feed`: each event is one message. The first message, `{"ready": seq}`, says where it begins, the code and reason of the close why it ends.
pub(crate) async fn ws(
    State(market): State<Market>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    Params(query): Params<FeedQuery>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Problem> {
    let opened = match viewer(&market, address, &headers, &query).await? {
        Ok(viewer) => match Reader::open(&market, viewer, &query, query.after).await {
            Ok(reader) => Ok(reader),
            Err(problem) => Err((close_code(&problem)?, problem.0.detail)),
        },
        Err(refused) => Err(refused),
    };
    let upgrade = upgrade.read_buffer_size(READ_MAX_BYTES).max_frame_size(READ_MAX_BYTES).max_message_size(READ_MAX_BYTES);
    let tasks = market.tasks.clone();
    // A browser sees no status of an upgrade that was refused, so whoever is refused is told by the close.
    Ok(upgrade.write_buffer_size(WRITE_BYTES).on_upgrade(move |mut socket| {
        tasks.track_future(async move {
            match opened {
                Ok(reader) => send_all(reader, socket).await,
                Err((code, reason)) => close(&mut socket, code, &reason).await,
            }
        })
    }))
}

/// Who reads; or the code and the reason for which nobody does.
async fn viewer(
    market: &Market,
    address: SocketAddr,
    headers: &HeaderMap,
    query: &FeedQuery,
) -> Result<Result<Viewer, (u16, String)>, Problem> {
    let found = match access::known(market, headers, Some(address.ip())).await {
        Ok(Some(caller)) => Viewer::of(&caller),
        Ok(None) => match &query.ticket {
            Some(ticket) => ticket::take(&market.pool, ticket).await?.ok_or_else(crate::auth::refused),
            None => return Ok(Err((MISSING, "send Authorization, or a ticket of POST /api/v1/feed/ticket".into()))),
        },
        Err(problem) => Err(problem),
    };
    match found {
        Ok(viewer) => Ok(Ok(viewer)),
        Err(problem) => Ok(Err((close_code(&problem)?, problem.0.detail))),
    }
}

/// How a refusal closes the connection; one that has to do with nothing else is an answer to the request.
fn close_code(problem: &Problem) -> Result<u16, Problem> {
    match &problem.0.code {
        Code::Unauthenticated | Code::WalletNotProven | Code::Forbidden => Ok(BAD),
        Code::OverLimit => Ok(TOO_MANY),
        Code::NotKept => Ok(End::NotKept.code()),
        _ => Err(Problem(problem.0.clone())),
    }
}

async fn send_all(mut reader: Reader, mut socket: WebSocket) {
    let mut told = reader.cursor();
    let ready = Message::text(json!({"ready": told}).to_string());
    if !matches!(timeout(SLOW, socket.send(ready)).await, Ok(Ok(()))) {
        return;
    }
    let (mut ticks, mut heard) = (tokio::time::interval(ALIVE_EVERY), Instant::now());
    let end = loop {
        tokio::select! {
            items = reader.next() => match items {
                Ok(items) => {
                    let sending = async {
                        for item in &items {
                            socket.feed(Message::Text(item.text.clone())).await?;
                        }
                        socket.flush().await
                    };
                    match timeout(SLOW, sending).await {
                        Ok(Ok(())) => told = reader.cursor(),
                        Ok(Err(_)) => return,
                        Err(_) => break End::Slow,
                    }
                }
                Err(end) => break end,
            },
            received = socket.recv() => match received {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => heard = Instant::now(),
            },
            _ = ticks.tick() => {
                if heard.elapsed() > SILENT_MAX {
                    return;
                }
                // Its reader goes on there, although nothing came that is for it.
                let passed = reader.cursor();
                let alive = async {
                    if passed > told {
                        socket.feed(Message::text(json!({"ready": passed}).to_string())).await?;
                    }
                    socket.send(Message::Ping(Default::default())).await
                };
                match timeout(SLOW, alive).await {
                    Ok(Ok(())) => told = passed,
                    Ok(Err(_)) => return,
                    Err(_) => break End::Slow,
                }
            }
        }
    };
    close(&mut socket, end.code(), &end.reason(told)).await;
}

/// Says why, and lets the other side hang up, so that it is told before the connection is gone.
async fn close(socket: &mut WebSocket, code: u16, reason: &str) {
    let reason: String = reason.chars().filter(char::is_ascii).take(123).collect();
    let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
    if matches!(timeout(SLOW, socket.send(close)).await, Ok(Ok(()))) {
        let hung_up = async { while let Some(Ok(_)) = socket.recv().await {} };
        let _ = timeout(GOODBYE, hung_up).await;
    }
}
