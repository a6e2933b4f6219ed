use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};

/// Upper bounds of the buckets, in milliseconds.
const BOUNDS: [u64; 10] = [1, 2, 5, 10, 25, 50, 100, 250, 1_000, 5_000];
const NAME: &str = "florin_indexer_http_request_milliseconds";

/// How long requests took until their answer began, by route and status. There are as many series as routes times statuses.
#[derive(Default)]
pub(super) struct Times(Mutex<BTreeMap<(String, u16), Histogram>>);

#[derive(Clone, Copy, Default)]
struct Histogram {
    /// By bound, the last for what took longer.
    counts: [u64; BOUNDS.len() + 1],
    sum: u64,
}

pub(super) async fn measure(State(times): State<Arc<Times>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let start = Instant::now();
    let response = next.run(request).await;
    let took = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut all = times.0.lock().unwrap_or_else(PoisonError::into_inner);
    let histogram = all.entry((route, response.status().as_u16())).or_default();
    histogram.counts[BOUNDS.iter().position(|bound| took <= *bound).unwrap_or(BOUNDS.len())] += 1;
    histogram.sum += took;
    response
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# HELP {NAME} Time until the answer began.\n# TYPE {NAME} histogram")?;
        for ((route, status), histogram) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let labels = format!("route=\"{route}\",status=\"{status}\"");
            let mut count = 0;
            for (index, counted) in histogram.counts.iter().enumerate() {
                count += counted;
                match BOUNDS.get(index) {
                    Some(bound) => writeln!(f, "{NAME}_bucket{{{labels},le=\"{bound}\"}} {count}")?,
                    None => writeln!(f, "{NAME}_bucket{{{labels},le=\"+Inf\"}} {count}")?,
                }
            }
            writeln!(f, "{NAME}_sum{{{labels}}} {}\n{NAME}_count{{{labels}}} {count}", histogram.sum)?;
        }
        Ok(())
    }
}
