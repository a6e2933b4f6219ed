//! Many questions to the node in one request.

use std::borrow::Cow;

use alloy::{
    providers::{DynProvider, Provider},
    rpc::{
        client::BatchRequest,
        json_rpc::{RpcError, RpcRecv, RpcSend},
    },
    transports::{TransportErrorKind, TransportResult},
};

/// Calls in one request. Public nodes refuse more.
const BATCH_MAX: usize = 100;

/// Asks the same of every parameter. The outer failure is the request's, the inner ones are the node's answers.
pub(crate) async fn many<P, R>(
    provider: &DynProvider,
    method: &'static str,
    params: Vec<P>,
) -> TransportResult<Vec<Result<R, RpcError<TransportErrorKind>>>>
where
    P: RpcSend + Clone,
    R: RpcRecv,
{
    // The usual case, which nodes that know no batches understand too.
    if let [one] = params.as_slice() {
        let answer = provider.client().request::<_, R>(method, one.clone()).await;
        return match answer {
            Err(error) if !error.is_error_resp() => Err(error),
            answer => Ok(vec![answer]),
        };
    }
    let mut answers = Vec::with_capacity(params.len());
    for chunk in params.chunks(BATCH_MAX) {
        let mut batch = BatchRequest::new(provider.client());
        let mut waiting = Vec::with_capacity(chunk.len());
        for one in chunk {
            waiting.push(batch.add_call::<_, R>(Cow::Borrowed(method), one)?);
        }
        batch.send().await?;
        for waiter in waiting {
            answers.push(waiter.await);
        }
    }
    Ok(answers)
}
