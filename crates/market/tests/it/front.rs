//! What stands before two instances: each request goes to the other one than the request before it.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hyper::{
    Request, Response, StatusCode, Version,
    body::{Body, Bytes, Frame, Incoming, SizeHint},
    header::{CONTENT_TYPE, HeaderValue},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

/// So long an instance that is to die may have requests under way.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// A reverse proxy. It names the client in `X-Forwarded-For`, passes bodies on as they come, and splices connections that become something else.
pub(crate) struct Front {
    rota: Mutex<Rota>,
}

struct Rota {
    turn: usize,
    places: [Place; 2],
}

struct Place {
    /// Where the instance is, while it takes requests.
    at: Option<SocketAddr>,
    /// Requests under way.
    busy: usize,
}

/// A request under way at an instance.
struct Busy {
    front: Arc<Front>,
    which: usize,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.front.lock().places[self.which].busy -= 1;
    }
}

impl Front {
    pub(crate) fn before(instances: [SocketAddr; 2]) -> Arc<Self> {
        let places = instances.map(|at| Place { at: Some(at), busy: 0 });
        Arc::new(Self { rota: Mutex::new(Rota { turn: 0, places }) })
    }

    fn lock(&self) -> MutexGuard<'_, Rota> {
        self.rota.lock().unwrap()
    }

    /// Takes requests for as long as it is polled.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            let Ok((connection, client)) = listener.accept().await else { continue };
            let _ = connection.set_nodelay(true);
            let front = self.clone();
            let service = service_fn(move |request| front.clone().answer(request, client));
            let builder = hyper::server::conn::http1::Builder::new();
            tokio::spawn(builder.serve_connection(TokioIo::new(connection), service).with_upgrades());
        }
    }

    /// Gives an instance no more requests, and waits until it has none. `false` when some take too long: then it goes on.
    pub(crate) async fn close(&self, which: usize) -> bool {
        let at = self.lock().places[which].at.take();
        let begun = Instant::now();
        while self.lock().places[which].busy > 0 {
            if begun.elapsed() > DRAIN_MAX {
                self.lock().places[which].at = at;
                return false;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        true
    }

    /// Gives requests to an instance that was started in the place of one that died.
    pub(crate) fn open(&self, which: usize, at: SocketAddr) {
        self.lock().places[which].at = Some(at);
    }

    /// Whose turn it is.
    fn take(self: &Arc<Self>) -> (SocketAddr, Busy) {
        let mut rota = self.lock();
        rota.turn += 1;
        let first = rota.turn % 2;
        let taken = [first, 1 - first].into_iter().find_map(|which| Some((which, rota.places[which].at?)));
        let (which, at) = taken.expect("one of the two is always there");
        rota.places[which].busy += 1;
        (at, Busy { front: self.clone(), which })
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>, client: SocketAddr) -> Result<Response<Answer>, Infallible> {
        let (at, busy) = self.take();
        Ok(forward(request, client, at, busy).await.unwrap_or_else(|error| {
            eprintln!("the instance at {at} does not answer: {error:#}");
            let mut response = Response::new(Answer { body: None, _busy: None });
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }))
    }
}

/// Asks an instance over a connection of its own, which ends with the client's.
async fn forward(
    mut request: Request<Incoming>,
    client: SocketAddr,
    at: SocketAddr,
    busy: Busy,
) -> anyhow::Result<Response<Answer>> {
    let connection = TcpStream::connect(at).await?;
    connection.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(connection)).await?;
    tokio::spawn(connection.with_upgrades());
    let of_client = hyper::upgrade::on(&mut request);
    request.headers_mut().append("x-forwarded-for", HeaderValue::from_str(&client.ip().to_string())?);
    *request.version_mut() = Version::HTTP_11;
    let mut response = sender.send_request(request).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let of_instance = hyper::upgrade::on(&mut response);
        tokio::spawn(async move {
            let (Ok(client), Ok(instance)) = tokio::join!(of_client, of_instance) else { return };
            let _ = copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(instance)).await;
        });
        return Ok(response.map(|_| Answer { body: None, _busy: None }));
    }
    // What has no end is cut when the instance dies.
    let kind = response.headers().get(CONTENT_TYPE);
    let is_stream = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let busy = (!is_stream).then_some(busy);
    Ok(response.map(|body| Answer { body: Some(body), _busy: busy }))
}

/// The body of an answer; until it has ended the request is under way.
struct Answer {
    body: Option<Incoming>,
    _busy: Option<Busy>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.get_mut().body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
