use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use reqwest::{
    Client,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use tokio::sync::Semaphore;
use url::{Host, Url};

/// How long an endpoint may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a name may take to be looked up, waiting for its turn included.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// Names that are looked up at the same time: each takes a thread of those that everything blocking shares, for as long as whoever answers for the name
/// likes.
const LOOKUPS_MAX: usize = 32;
static LOOKUPS: Semaphore = Semaphore::const_new(LOOKUPS_MAX);
/// Names whose addresses are remembered, at most so many of each, and for how long.
const KNOWN_MAX: usize = 10_000;
const ADDRESSES_MAX: usize = 16;
const KNOWN_FOR: Duration = Duration::from_secs(3_600);
static KNOWN: LazyLock<Known> = LazyLock::new(Known::default);
/// Connections to one host that are kept for what comes next.
const IDLE_MAX: usize = 32;

/// Why an endpoint is not spoken to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// It would reach a neighbour of ours.
    #[error("{0} is no address on the public internet")]
    Private(IpAddr),
    /// A name that leads nowhere else.
    #[error("{0} has no address on the public internet")]
    NoPublic(String),
    /// Nothing that is posted to.
    #[error("write an https:// URL with a host and without user name and password")]
    Url,
}

/// Who may be spoken to: hosts on the public internet, so that nobody reaches a neighbour of ours through us. A name is looked up once per
/// connection, and the connection goes to the address that was judged: a name that changes its address in between changes nothing.
#[derive(Clone, Copy, Debug)]
pub struct Guard {
    /// For development: this machine too, also without TLS.
    pub loopback: bool,
}

impl Guard {
    fn allows(self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        is_public(ip) || self.loopback && ip.is_loopback()
    }

    /// Judges a URL as far as it can be without looking its host up.
    ///
    /// # Errors
    /// When it is not spoken to.
    pub fn check(self, url: &Url) -> Result<(), Refused> {
        let plain = url.scheme() == "https" || self.loopback && url.scheme() == "http";
        if !plain || !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::Url);
        }
        let literal = match url.host() {
            Some(Host::Ipv4(ip)) => IpAddr::V4(ip),
            Some(Host::Ipv6(ip)) => IpAddr::V6(ip),
            Some(Host::Domain(_)) => return Ok(()),
            None => return Err(Refused::Url),
        };
        if self.allows(literal) { Ok(()) } else { Err(Refused::Private(literal)) }
    }

    /// A client whose every connection is judged. It follows no redirect and uses no proxy: both would connect elsewhere.
    pub(crate) fn client(self) -> reqwest::Result<Client> {
        let client = Client::builder().dns_resolver(self).redirect(redirect::Policy::none()).no_proxy();
        client.timeout(TIMEOUT).pool_max_idle_per_host(IDLE_MAX).build()
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = *self;
        Box::pin(async move {
            let found = addresses(name.as_str()).await?;
            let allowed: Vec<SocketAddr> = found.into_iter().filter(|address| guard.allows(address.ip())).collect();
            if allowed.is_empty() {
                return Err(Refused::NoPublic(name.as_str().to_owned()).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Addresses that names had when they were looked up last.
#[derive(Default)]
struct Known(Mutex<HashMap<String, (Instant, Vec<SocketAddr>)>>);

impl Known {
    fn of(&self, name: &str) -> Option<Vec<SocketAddr>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).filter(|(at, _)| at.elapsed() < KNOWN_FOR).map(|(_, addresses)| addresses.clone())
    }

    fn remember(&self, name: String, addresses: Vec<SocketAddr>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX && !known.contains_key(&name) {
            known.clear();
        }
        known.insert(name, (Instant::now(), addresses));
    }
}

/// Looks a name up, if there is a turn for it. Whoever answers slowly for names of their own may have all turns: then a name has the addresses that it
/// had lately.
async fn addresses(name: &str) -> io::Result<Vec<SocketAddr>> {
    let known = KNOWN.of(name);
    if let Some(known) = known.clone().filter(|_| LOOKUPS.available_permits() == 0) {
        return Ok(known);
    }
    match tokio::time::timeout(LOOKUP_TIMEOUT, look_up(name.to_owned())).await {
        Ok(found) => found,
        Err(_) => {
            let late = || io::Error::new(io::ErrorKind::TimedOut, format!("the address of {name} was not found in time"));
            known.ok_or_else(late)
        }
    }
}

/// The turn is over with the thread's work, not when nobody waits for it any more: nothing ends that.
async fn look_up(name: String) -> io::Result<Vec<SocketAddr>> {
    let turn = LOOKUPS.acquire().await.map_err(io::Error::other)?;
    let found = tokio::spawn(async move {
        let _turn = turn;
        let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.take(ADDRESSES_MAX).collect();
        KNOWN.remember(name, found.clone());
        Ok::<_, io::Error>(found)
    });
    found.await.map_err(io::Error::other)?
}

/// Whether an address is given to hosts of the public internet (IANA's special-purpose registries).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !special
}

/// Global unicast (2000::/3) without what carries an IPv4 address (Teredo, 6to4) or is for documentation and protocols.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    a & 0xe000 == 0x2000 && a != 0x2002 && !(a == 0x2001 && (b < 0x0200 || b == 0x0db8)) && !(a == 0x3fff && b < 0x1000)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops where an assumption fails")]

    use super::*;

    #[test]
    fn only_the_public_internet_is_spoken_to() {
        let guard = Guard { loopback: false };
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "2002:a00:1::1",
            "2001::1",
            "64:ff9b::a00:1",
            "2001:db8::1",
        ] {
            assert!(!guard.allows(private.parse().unwrap()), "{private}");
        }
        for public in ["1.1.1.1", "172.32.0.1", "192.0.1.1", "2606:4700:4700::1111", "2001:4860:4860::8888"] {
            assert!(guard.allows(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn an_address_in_the_url_is_judged_however_it_is_written() {
        let guard = Guard { loopback: false };
        for url in [
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://[::ffff:127.0.0.1]/",
            "http://example.com/",
            "https://user:word@example.com/",
            "ftp://example.com/",
        ] {
            assert!(guard.check(&url.parse().unwrap()).is_err(), "{url}");
        }
        assert!(guard.check(&"https://example.com/hook".parse().unwrap()).is_ok());
        assert!(Guard { loopback: true }.check(&"http://127.0.0.1:80/".parse().unwrap()).is_ok());
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_is_not_connected_to() {
        let client = Guard { loopback: false }.client().unwrap();
        let is_refused = async || {
            let text = format!("{:?}", client.get("http://localhost:1/").send().await.unwrap_err());
            assert!(text.contains("no address on the public internet") || text.contains("NoPublic"), "{text}");
        };
        is_refused().await;
        // Nor when names of others take all turns, when it is remembered where it leads.
        let _all = LOOKUPS.acquire_many(LOOKUPS_MAX as u32).await.unwrap();
        is_refused().await;
    }
}
