use http::Extensions;
use reqwest::{Request, Response};
use reqwest_middleware::{Error, Middleware, Next, Result};

use super::{Answer, Client, PayError, Payer};

/// A client is a middleware of `reqwest-middleware`: the request goes through the chain, and what a 402 asks for is paid over a connection of
/// the client's own, which follows no redirect. The receipt, a [`crate::SettleResponse`], is in the extensions of the response.
#[async_trait::async_trait]
impl<P: Payer + 'static> Middleware for Client<P> {
    async fn handle(&self, request: Request, extensions: &mut Extensions, next: Next<'_>) -> Result<Response> {
        let again = request.try_clone().ok_or_else(|| Error::middleware(PayError::BodyNotRepeatable))?;
        let answer = match self.resume(&request).await.map_err(Error::middleware)? {
            Some(answer) => answer,
            None => {
                let response = next.run(request, extensions).await?;
                self.answer(again, response).await.map_err(Error::middleware)?
            }
        };
        Ok(match answer {
            Answer::Free(response) => response,
            Answer::Paid(paid) => {
                let mut response = paid.response;
                if let Some(receipt) = paid.receipt {
                    response.extensions_mut().insert(receipt);
                }
                response
            }
        })
    }
}
