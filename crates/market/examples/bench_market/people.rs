//! Who buys and who sells, made for one run of the program; and a past for them to stand in.

use anyhow::{Context, Result, ensure};
use api::{
    Category, Client, CreateListing,
    ledger::{Amount, Asset, Kind},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use market::ledger::{self, Ledger, MINT, Move, Order, Purpose, Rates, What};
use money::Usdc;
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use uuid::Uuid;

const BUYERS: usize = 1_000;
const SELLERS: usize = 100;
/// Of all sellers together, and again of the one seller: every buyer can buy this often from either.
const LISTINGS: i32 = 1_000;
/// Entries that a sale leaves.
const LEGS: u64 = 5;
/// Rows of the past that are written in one go.
const PART: u64 = 200_000;
/// Seals of it that are proved again.
const CHECKED_SEALS: u32 = 10;

pub(crate) struct Agent {
    pub(crate) id: Uuid,
    pub(crate) key: String,
}

pub(crate) struct People {
    pub(crate) buyers: Vec<Agent>,
    pub(crate) sellers: Vec<Agent>,
}

impl People {
    /// Buyers have a million ARD each.
    pub(crate) async fn make(pool: &PgPool) -> Result<Self> {
        let run = Uuid::now_v7();
        let secret = |number: usize| Sha256::new_with_prefix(run).chain_update(number.to_be_bytes()).finalize();
        let ids: Vec<Uuid> = (0..BUYERS + SELLERS).map(|_| Uuid::now_v7()).collect();
        let hashes: Vec<Vec<u8>> = (0..ids.len()).map(|number| Sha256::digest(secret(number)).to_vec()).collect();
        sqlx::query(
            "WITH who AS (SELECT * FROM unnest($1::uuid[], $2::bytea[]) AS who (id, hash)), agents AS (
                 INSERT INTO agents (id, name, description, agent_type, wallet, welcomed)
                 SELECT id, id::text, '', 'both', substr(hash, 1, 20), TRUE FROM who
             ) INSERT INTO api_keys (id, agent_id, name, key_hash, scopes) SELECT id, id, '', hash, '{read,buy,sell,transfer}' FROM who",
        )
        .bind(&ids)
        .bind(hashes)
        .execute(pool)
        .await?;
        let key = |(number, id): (usize, &Uuid)| {
            let key = format!("florin_{}_{}", id.simple(), alloy::hex::encode(secret(number)));
            Agent { id: *id, key }
        };
        let mut buyers: Vec<Agent> = ids.iter().enumerate().map(key).collect();
        let sellers = buyers.split_off(BUYERS);
        let ledger = Ledger::start(pool.clone(), Rates::default());
        let amount = Amount::from_units(1_000_000_000_000).context("an amount")?;
        for seller in &sellers {
            ledger::open(pool, seller.id, Asset::Ard, Purpose::Free).await?;
        }
        for buyer in &buyers {
            let to = ledger::open(pool, buyer.id, Asset::Ard, Purpose::Free).await?;
            let gift = Move { kind: Kind::Bonus, from: MINT, to, amount, reference: Uuid::nil(), memo: None };
            ledger.submit(Order { key: None, what: What::Move(gift) }).await?;
        }
        Ok(Self { buyers, sellers })
    }

    /// Publishes `body` through `market` again and again, by all sellers in turn or by the first alone. It is of the best quality, so that a sale
    /// has all the legs that a sale can have.
    pub(crate) async fn publish(&self, pool: &PgPool, market: &Client, body: &[u8], one: bool) -> Result<Vec<String>> {
        let sellers: Vec<Uuid> = self.sellers.iter().map(|seller| seller.id).take(if one { 1 } else { SELLERS }).collect();
        let listing = CreateListing {
            title: "Prices of electricity".into(),
            description: "By the hour".into(),
            category: Category::Computation,
            tags: vec!["energy".into()],
            price: Usdc::from_base_units(1_000),
            content_type: "application/json".into(),
            content_base64: Some(STANDARD.encode(body)),
            metadata: serde_json::Map::new(),
            expires_at: None,
        };
        let first = market.with_api_key(&self.sellers[0].key).create_listing(&listing).await?.id;
        let ids: Vec<Uuid> = sqlx::query_scalar(
            "INSERT INTO listings (id, seller_id, title, description, category, tags, price, content_type, content_hash, content_size, status)
             SELECT gen_random_uuid(), ($2::uuid[])[1 + n % array_length($2, 1)], title, description, category, tags, price, content_type,
                 content_hash, content_size, status FROM listings, generate_series(1, $3) AS n WHERE id = $1 RETURNING id",
        )
        .bind(first)
        .bind(sellers)
        .bind(LISTINGS)
        .fetch_all(pool)
        .await?;
        sqlx::query("UPDATE listings SET quality = 10000 WHERE id = ANY($1)").bind(&ids).execute(pool).await?;
        Ok(ids.iter().map(Uuid::to_string).collect())
    }

    /// Access tokens of all buyers.
    pub(crate) async fn tokens(&self, market: &str) -> Result<Vec<String>> {
        let (http, mut tokens) = (reqwest::Client::new(), Vec::new());
        for buyer in &self.buyers {
            let asked = http.post(format!("{market}/api/v1/agents/token")).bearer_auth(&buyer.key).json(&serde_json::json!({}));
            let token: api::AccessToken = asked.send().await?.error_for_status()?.json().await?;
            tokens.push(token.access_token);
        }
        Ok(tokens)
    }

    /// Fills the ledger up to `entries` and the market up to `listings`, with rows as the market writes them.
    pub(crate) async fn past(&self, pool: &PgPool, database_url: &str, entries: u64, listings: u64) -> Result<()> {
        use sqlx::Connection;
        let mut conn = sqlx::PgConnection::connect(database_url).await?;
        let settings = "SET search_path = market; SET synchronous_commit = off; SET work_mem = '256MB'";
        sqlx::raw_sql(settings).execute(&mut conn).await?;
        let there: i64 = sqlx::query_scalar("SELECT count(*) FROM listings").fetch_one(&mut conn).await?;
        let missing = listings.saturating_sub(there.unsigned_abs());
        let there: i64 = sqlx::query_scalar("SELECT count(*) FROM entries").fetch_one(&mut conn).await?;
        let sales = entries.saturating_sub(there.unsigned_abs()).div_ceil(LEGS);
        let sellers: Vec<Uuid> = self.sellers.iter().map(|seller| seller.id).collect();
        let buyers: Vec<Uuid> = self.buyers.iter().map(|buyer| buyer.id).collect();
        for part in (0..missing).step_by(PART as usize) {
            eprintln!("listings: {part} of {missing}");
            sqlx::query(
                "INSERT INTO listings (id, seller_id, title, description, category, tags, price, content_type, content_hash, content_size, status)
                 SELECT gen_random_uuid(), ($1::uuid[])[1 + n % array_length($1, 1)], 'Prices of place ' || n, 'By the hour', 'computation',
                     ARRAY['energy'], 1000 + n % 1000, 'application/json', sha256(n::text::bytea), 10240, 'active'
                 FROM generate_series($2::bigint, $3::bigint) AS n",
            )
            .bind(&sellers)
            .bind(part as i64)
            .bind((part + PART).min(missing) as i64 - 1)
            .execute(&mut conn)
            .await?;
        }
        for part in (0..sales).step_by(PART as usize) {
            eprintln!("sales: {part} of {sales}");
            let mut tx = conn.begin_with("BEGIN; SELECT FROM ledger FOR UPDATE").await?;
            sqlx::query(PAST_SALES).bind(&buyers).bind(&sellers).bind(PART.min(sales - part) as i64).execute(&mut *tx).await?;
            tx.commit().await?;
        }
        while ledger::seal(pool).await? > 0 {}
        let checked = ledger::check(&mut *pool.acquire().await?, 1, CHECKED_SEALS).await?;
        ensure!(checked.problem.is_none(), "the past is not sound: {:?}", checked.problem);
        if missing + sales > 0 {
            sqlx::raw_sql("VACUUM (ANALYZE)").execute(&mut conn).await?;
            sqlx::raw_sql("CHECKPOINT").execute(&mut conn).await?;
        }
        Ok(())
    }
}

/// Sales of these buyers and sellers with all their legs, as the market writes them; sealed they are by the market.
const PAST_SALES: &str = "
    WITH sale AS MATERIALIZED (
        SELECT last_id + n AS id, gen_random_uuid() AS sale, greatest(last_at, now()) AS at,
            ($1::uuid[])[1 + n % array_length($1, 1)] AS buyer, ($2::uuid[])[1 + n % array_length($2, 1)] AS seller
        FROM ledger, generate_series(1, $3::bigint) AS n
    ), traded AS MATERIALIZED (
        SELECT sale.*, b.id AS b, s.id AS s, person FROM sale JOIN agents ON agents.id = buyer
        JOIN accounts AS b ON b.owner = buyer AND b.asset = 2 AND b.purpose = 1
        JOIN accounts AS s ON s.owner = seller AND s.asset = 2 AND s.purpose = 1
    ), leg AS MATERIALIZED (
        SELECT leg.account, traded.id, leg.amount, a.balance + sum(leg.amount) OVER (PARTITION BY a.id ORDER BY traded.id) AS balance FROM traded
        CROSS JOIN LATERAL (VALUES (b, -1000), (s, 1078), (3, 10), (5, 10), (4, -98)) AS leg (account, amount)
        JOIN accounts AS a ON a.id = leg.account
    ), transfers AS (
        INSERT INTO transfers (id, at, kind, reference, body, key, fingerprint)
        SELECT id, at, 2, sale, '\x01'::bytea || int8send(id) || int8send((extract(epoch FROM at) * 1000000)::bigint) || '\x02'::bytea
            || uuid_send(sale) || int8send(b) || '\x02'::bytea || int8send(-1000) || int8send(s) || '\x02'::bytea || int8send(1078)
            || int8send(3) || '\x02'::bytea || int8send(10) || int8send(5) || '\x02'::bytea || int8send(10)
            || int8send(4) || '\x02'::bytea || int8send(-98), sha256(id::text::bytea), sha256('') FROM traded
    ), entries AS (
        INSERT INTO entries (account, transfer, amount, balance) SELECT account, id, amount, balance FROM leg
    ), sales AS (
        INSERT INTO sales (transfer, id, buyer_id, listing_id, seller_id, asset, price, content_hash, content_size, content_type, owned_until,
            rewarded)
        SELECT id, sale, buyer, gen_random_uuid(), seller, 2, 1000, sha256(''), 10240, 'application/json', at, person FROM traded
    ), moved AS (
        UPDATE accounts SET balance = accounts.balance + sum, spent = spent + 1000 * count * (sum < 0 AND purpose = 1)::int,
            earned = earned + 980 * count * (sum > 0 AND purpose = 1)::int
        FROM (SELECT account, sum(amount), count(*) FROM leg GROUP BY account) AS sums (account, sum, count)
        WHERE accounts.id = account
    ) UPDATE ledger SET last_id = last_id + $3, last_at = (SELECT max(at) FROM sale)";
