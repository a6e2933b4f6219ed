use std::{sync::LazyLock, time::Duration};

use alloy::primitives::B256;
use futures::future::{BoxFuture, FutureExt};
use redis::{FromRedisValue, RedisError, Script, ScriptInvocation, aio::ConnectionManager};

use super::{
    Claim, Kept, LEASE, Lease, REMEMBERED, ReservationError, Reservations, Served,
    codec::{claim, encode, store},
};

/// One hash for each payment. While it is only reserved it lives as long as the lease, later by what is to be remembered longer.
/// `KEYS[1]` the payment; fingerprint, holder, milliseconds of the lease, of the memory, and whether to make a new reservation.
static ASK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local fingerprint, lapses, kept, spent = unpack(redis.call('HMGET', KEYS[1], 'fingerprint', 'until', 'kept', 'spent'))
        local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        local same, create = fingerprint == ARGV[1], ARGV[5] == '1'
        if not create and not same then return {'none', false} end
        if spent then return {'spent', kept} end
        if lapses and tonumber(lapses) > now or kept and not same then return {'busy', false} end
        if not kept and not create then return {'none', false} end
        redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'holder', ARGV[2], 'until', now + ARGV[3])
        redis.call('PEXPIRE', KEYS[1], kept and ARGV[3] + ARGV[4] or ARGV[3])
        return {'taken', kept}",
    )
});

/// `KEYS[1]` the payment; holder, what to do, milliseconds of the lease and of the memory, what is kept. 0 when the lease lapsed.
static CHANGE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local holder, lapses, spent = unpack(redis.call('HMGET', KEYS[1], 'holder', 'until', 'spent'))
        local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        if spent or holder ~= ARGV[1] or tonumber(lapses) <= now then return 0 end
        if ARGV[2] == 'release' then return redis.call('DEL', KEYS[1]) end
        if ARGV[2] == 'renew' then
            redis.call('HSET', KEYS[1], 'until', now + ARGV[3])
            local kept = redis.call('HEXISTS', KEYS[1], 'kept') == 1
            return redis.call('PEXPIRE', KEYS[1], kept and ARGV[3] + ARGV[4] or ARGV[3])
        end
        if ARGV[2] == 'keep' then
            redis.call('HSET', KEYS[1], 'kept', ARGV[5], 'until', now + ARGV[3])
            return redis.call('PEXPIRE', KEYS[1], ARGV[3] + ARGV[4])
        end
        redis.call('HSET', KEYS[1], 'until', now)
        if ARGV[2] == 'spend' then redis.call('HSET', KEYS[1], 'kept', ARGV[5], 'spent', 1) end
        return redis.call('PEXPIRE', KEYS[1], ARGV[4])",
    )
});

/// Reservations in a Redis server, shared by every copy of a service.
///
/// The server must not evict keys (`maxmemory-policy noeviction`), and what it loses when it crashes is forgotten: with `appendonly yes`
/// and `appendfsync always` that is nothing. A payment that is forgotten is refused by the chain all the same, once it settled.
#[derive(Clone)]
pub struct RedisReservations {
    connection: ConnectionManager,
    prefix: String,
    lease: Duration,
}

impl std::fmt::Debug for RedisReservations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisReservations").field("prefix", &self.prefix).field("lease", &self.lease).finish_non_exhaustive()
    }
}

impl RedisReservations {
    /// Uses the server at `url`: `redis://`, `rediss://` or `redis+unix://`. Connects again when the connection is lost.
    ///
    /// # Errors
    /// When the server is unreachable.
    pub async fn new(url: &str) -> Result<Self, RedisError> {
        let connection = ConnectionManager::new(redis::Client::open(url)?).await?;
        Ok(Self { connection, prefix: "x402:".into(), lease: LEASE })
    }

    /// How long a reservation lasts that is not renewed, because who had it died: 30 seconds unless told.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// What every key begins with; `x402:` unless told.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, ReservationError> {
        script.invoke_async(&mut self.connection.clone()).await.map_err(store)
    }

    async fn ask(&self, key: B256, fingerprint: B256, create: bool) -> Result<Option<Claim>, ReservationError> {
        let lease = Lease::of(key);
        let mut script = ASK.key(self.key("", key));
        script.arg(fingerprint.as_slice()).arg(&lease.holder.to_be_bytes()).arg(millis(self.lease)).arg(millis(REMEMBERED));
        let (found, kept): (String, Option<Vec<u8>>) = self.run(script.arg(u8::from(create))).await?;
        let taken = (found == "taken").then_some(lease);
        if found == "none" { Ok(None) } else { claim(taken, kept.as_deref(), found == "spent").map(Some) }
    }

    async fn change(&self, lease: Lease, what: &str, kept: Vec<u8>) -> Result<(), ReservationError> {
        let mut script = CHANGE.key(self.key("", lease.key));
        script.arg(&lease.holder.to_be_bytes()).arg(what).arg(millis(self.lease)).arg(millis(REMEMBERED)).arg(kept);
        if self.run(&script).await? { Ok(()) } else { Err(ReservationError::Lost) }
    }

    fn key(&self, kind: &str, name: B256) -> String {
        format!("{}{kind}{name:x}", self.prefix)
    }
}

impl Reservations for RedisReservations {
    fn find(&self, key: B256, fingerprint: B256) -> BoxFuture<'_, Result<Option<Claim>, ReservationError>> {
        self.ask(key, fingerprint, false).boxed()
    }

    fn reserve(&self, key: B256, fingerprint: B256) -> BoxFuture<'_, Result<Claim, ReservationError>> {
        async move { self.ask(key, fingerprint, true).await?.ok_or_else(|| store("a reservation was neither made nor found")) }
            .boxed()
    }

    fn keep(&self, lease: Lease, kept: Kept) -> BoxFuture<'_, Result<(), ReservationError>> {
        let kept = encode(&kept);
        async move { self.change(lease, "keep", kept).await }.boxed()
    }

    fn renew(&self, lease: Lease) -> BoxFuture<'_, Result<(), ReservationError>> {
        self.change(lease, "renew", Vec::new()).boxed()
    }

    fn lease_time(&self) -> Duration {
        self.lease
    }

    fn suspend(&self, lease: Lease) -> BoxFuture<'_, Result<(), ReservationError>> {
        self.change(lease, "suspend", Vec::new()).boxed()
    }

    fn spend(&self, lease: Lease, served: Served) -> BoxFuture<'_, Result<(), ReservationError>> {
        let kept = encode(&served.into());
        async move { self.change(lease, "spend", kept).await }.boxed()
    }

    fn release(&self, lease: Lease) -> BoxFuture<'_, Result<(), ReservationError>> {
        self.change(lease, "release", Vec::new()).boxed()
    }

    fn remember(&self, name: B256, value: B256, time: Duration) -> BoxFuture<'_, Result<B256, ReservationError>> {
        let mut command = redis::cmd("SET");
        command.arg(self.key("memo:", name)).arg(value.as_slice()).arg("NX").arg("GET").arg("PX").arg(millis(time).max(1));
        async move {
            let known: Option<Vec<u8>> = command.query_async(&mut self.connection.clone()).await.map_err(store)?;
            known.map_or(Ok(value), |known| memo(&known))
        }
        .boxed()
    }

    fn recall(&self, name: B256) -> BoxFuture<'_, Result<Option<B256>, ReservationError>> {
        let mut command = redis::cmd("GET");
        command.arg(self.key("memo:", name));
        async move {
            let known: Option<Vec<u8>> = command.query_async(&mut self.connection.clone()).await.map_err(store)?;
            known.as_deref().map(memo).transpose()
        }
        .boxed()
    }
}

fn memo(value: &[u8]) -> Result<B256, ReservationError> {
    B256::try_from(value).map_err(store)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::from(u32::MAX))
}
