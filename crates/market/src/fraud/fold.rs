//! Judges what is new, one after the other, so that it finds the same however much it takes at a time.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use api::{FraudAction, FraudRule, Severity};
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool, Row};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{
    Rules,
    payments::{Evidence, Happened, Known, Payment, happened, settled},
};
use crate::{
    access::Trail,
    audit::{Actor, Event},
    db,
    limits::Principal,
};

/// Nobody waits for this.
const STATEMENT_TIMEOUT: &str = "SET LOCAL statement_timeout = '60s'";
/// In base units of USDC: who is ahead of all other givers by less says of nobody where they belong.
const FUNDING_LEAST: i64 = 1_000_000;
/// Kept of what says so, and of whom it is about.
const EVIDENCE_MAX: usize = 20;
const AGENTS_MAX: usize = 1_000;
/// Agents around a sale that are looked at together.
const NEAR_MAX: i64 = 200;
/// Days that a cluster is looked for in.
const CLUSTER_DAYS: i32 = 7;
/// Registrations looked at in one go.
const REGISTRATIONS_MAX: i64 = 500;

/// Judges the next transfers of the ledger, at most so many, as many payments by x402 that settled, and new registrations. How many payments and
/// transfers there were; `None` while another instance is at it.
///
/// # Errors
/// When the database fails; then nothing is judged.
pub async fn fold(pool: &PgPool, rules: &Rules, most: i64) -> sqlx::Result<Option<u64>> {
    let mut tx = pg::begin(pool).await?;
    sqlx::query(STATEMENT_TIMEOUT).execute(&mut *tx).await?;
    // The row of `ledger` may be older than the one that is locked: another instance may have judged more in between.
    let state = "SELECT f.ledger_to, greatest(f.ledger_to, least(l.last_id, f.ledger_to + $1)) AS upto
         FROM fraud AS f, ledger AS l FOR UPDATE OF f SKIP LOCKED";
    let Some(state) = sqlx::query(state).bind(most).fetch_optional(&mut *tx).await? else { return Ok(None) };
    let (from, upto): (i64, i64) = (state.try_get("ledger_to")?, state.try_get("upto")?);
    let mut found = Found::default();
    bursts(&mut tx, rules, &mut found).await?;
    let mut happened = if upto > from { happened(&mut tx, from, upto).await? } else { Vec::new() };
    let (settled, wallets) = settled(&mut tx, most).await?;
    let count = (upto - from).unsigned_abs() + settled.len() as u64;
    happened.extend(settled.into_iter().map(Happened::Paid));
    if !happened.is_empty() {
        let mut judge = Judge::new(&mut tx, rules, &happened, wallets, &mut found).await?;
        for it in happened {
            judge.judge(it).await?;
        }
        judge.end().await?;
    }
    if upto > from {
        sqlx::query("UPDATE fraud SET ledger_to = $1").bind(upto).execute(&mut *tx).await?;
    }
    found.write(&mut tx, rules).await?;
    tx.commit().await?;
    Ok(Some(count))
}

struct Judge<'a> {
    conn: &'a mut PgConnection,
    rules: &'a Rules,
    found: &'a mut Found,
    agents: HashMap<Uuid, Known>,
    /// When agents paid last.
    times: HashMap<Uuid, VecDeque<OffsetDateTime>>,
    /// Where most of agents' money leads back to and by how much it is more than other money, and of whom that is not written yet.
    roots: HashMap<Uuid, (Uuid, i64)>,
    funded: BTreeSet<Uuid>,
    /// Sales and their worth by payer, payee and day, that are not written yet.
    pairs: BTreeMap<(Uuid, Uuid, i32), (i64, i64)>,
}

impl<'a> Judge<'a> {
    async fn new(
        conn: &'a mut PgConnection,
        rules: &'a Rules,
        happened: &[Happened],
        wallets: HashMap<Uuid, Known>,
        found: &'a mut Found,
    ) -> sqlx::Result<Self> {
        let mut parties = BTreeSet::new();
        for it in happened {
            match it {
                Happened::Paid(payment) => parties.extend([payment.payer, payment.account, payment.payee]),
                Happened::Came { agent, .. } => parties.extend([*agent]),
            }
        }
        let parties: Vec<Uuid> = parties.into_iter().collect();
        let mut agents = wallets;
        let rows = sqlx::query("SELECT id, person, wallet, created_at FROM agents WHERE id = ANY($1)").bind(&parties);
        for row in rows.fetch_all(&mut *conn).await? {
            let known = Known {
                person: row.try_get("person")?,
                wallet: db::address(&row, "wallet")?,
                created_at: row.try_get("created_at")?,
            };
            agents.insert(row.try_get("id")?, known);
        }
        let mut times = HashMap::new();
        let rows = sqlx::query("SELECT agent_id, times FROM fraud_payers WHERE agent_id = ANY($1)").bind(&parties);
        for row in rows.fetch_all(&mut *conn).await? {
            times.insert(row.try_get("agent_id")?, VecDeque::from(row.try_get::<Vec<OffsetDateTime>, _>("times")?));
        }
        let mut roots = HashMap::new();
        let rows = sqlx::query("SELECT agent_id, root, worth FROM fraud_funding WHERE agent_id = ANY($1)").bind(&parties);
        for row in rows.fetch_all(&mut *conn).await? {
            roots.insert(row.try_get("agent_id")?, (row.try_get("root")?, row.try_get("worth")?));
        }
        Ok(Self { conn, rules, found, agents, times, roots, funded: BTreeSet::new(), pairs: BTreeMap::new() })
    }

    async fn judge(&mut self, it: Happened) -> sqlx::Result<()> {
        let payment = match it {
            Happened::Paid(payment) => payment,
            Happened::Came { agent, wallet, worth } => {
                let own = self.agents.get(&agent).and_then(|known| Principal::Wallet(known.wallet).person());
                if let Some(own) = own {
                    self.fund(agent, if own == wallet { agent } else { wallet }, worth);
                }
                return Ok(());
            }
        };
        let Payment { payer, account, payee, at, worth, is_sale, .. } = payment;
        let (Some(gives), Some(gets)) = (self.agents.get(&payer), self.agents.get(&payee)) else { return Ok(()) };
        let is_new = gives.created_at > at - Duration::DAY;
        let is_own = is_sale && (gives.person == gets.person || gives.wallet == gets.wallet);
        if is_own {
            self.found.hit(FraudRule::SelfDealing, payee, [payee, payer, account], &payment);
        }
        let large = i64::try_from(self.rules.large.base_units()).unwrap_or(i64::MAX);
        if large > 0 && worth >= large {
            self.found.hit(FraudRule::LargeTransaction, account, [payer, account], &payment);
        }
        let times = self.times.entry(account).or_default();
        times.push_back(at);
        while times.len() > self.rules.remembered().max(1) {
            times.pop_front();
        }
        let many = |most: u32, since: OffsetDateTime| {
            most > 0 && times.len().checked_sub(most as usize).is_some_and(|first| times[first] > since)
        };
        if many(self.rules.rapid_per_hour, at - Duration::HOUR) {
            self.found.hit(FraudRule::RapidTransactions, account, [payer, account], &payment);
        }
        if is_new && many(self.rules.new_account_per_day, at - Duration::DAY) {
            self.found.hit(FraudRule::NewAccount, account, [payer, account], &payment);
        }
        if !is_sale {
            // Who gets some back from whom they gave it brought none by that.
            let root = self.group(payer);
            if root != payee {
                self.fund(payee, root, worth);
            }
            return Ok(());
        }
        self.sold(&payment).await
    }

    /// Where most of an agent's money is from says where it belongs. Of all who gave, one is kept: who gave more than half of it is the one in the end,
    /// in whatever order and parts it came. What a stranger sends neither joins the agent to anybody nor takes it out of anything, unless it is more.
    fn fund(&mut self, agent: Uuid, root: Uuid, worth: i64) {
        let (kept, ahead) = self.roots.entry(agent).or_insert((root, 0));
        if *kept == root {
            *ahead = ahead.saturating_add(worth);
        } else if worth > *ahead {
            (*kept, *ahead) = (root, worth - *ahead);
        } else {
            *ahead -= worth;
        }
        self.funded.insert(agent);
    }

    fn group(&self, agent: Uuid) -> Uuid {
        self.roots.get(&agent).filter(|(_, ahead)| *ahead >= FUNDING_LEAST).map_or(agent, |(root, _)| *root)
    }

    /// A cluster becomes denser only by a pair that did not deal before.
    async fn sold(&mut self, payment: &Payment) -> sqlx::Result<()> {
        let Payment { payer, payee, worth, .. } = *payment;
        let root = self.group(payer);
        if payer != payee && root != self.group(payee) {
            // What was earned elsewhere is nobody's gift.
            self.fund(payee, payee, worth);
        }
        let is_inside = self.rules.cluster_agents > 0 && payer != payee && root == self.group(payee);
        let mut is_known = true;
        if is_inside {
            self.flush().await?;
            let known = "SELECT EXISTS (SELECT FROM fraud_pairs WHERE day > $3 - $4
                 AND ((payer_id = $1 AND payee_id = $2) OR (payer_id = $2 AND payee_id = $1)))";
            let known = sqlx::query_scalar(known).bind(payer).bind(payee).bind(payment.day()).bind(CLUSTER_DAYS);
            is_known = known.fetch_one(&mut *self.conn).await?;
        }
        let pair = self.pairs.entry((payer, payee, payment.day())).or_default();
        (pair.0, pair.1) = (pair.0 + 1, pair.1.saturating_add(worth));
        if !is_known {
            self.flush().await?;
            self.cluster(root, payment).await?;
        }
        Ok(())
    }

    /// Looks at the agents of one source around a sale.
    async fn cluster(&mut self, root: Uuid, payment: &Payment) -> sqlx::Result<()> {
        let near = sqlx::query(
            "WITH window_pairs AS NOT MATERIALIZED (SELECT payer_id, payee_id, worth FROM fraud_pairs WHERE day > $4 - $5 AND day <= $4),
                  near AS (SELECT payee_id AS id FROM window_pairs WHERE payer_id IN ($2, $3)
                           UNION SELECT payer_id FROM window_pairs WHERE payee_id IN ($2, $3)),
                  nodes AS (SELECT n.id FROM near AS n LEFT JOIN fraud_funding AS f ON f.agent_id = n.id AND f.worth >= $7
                            WHERE coalesce(f.root, n.id) = $1 ORDER BY n.id LIMIT $6),
                  inside AS (SELECT payer_id, payee_id, worth FROM window_pairs
                             WHERE payer_id IN (SELECT id FROM nodes) AND payee_id IN (SELECT id FROM nodes) AND payer_id <> payee_id)
             SELECT (SELECT coalesce(array_agg(id ORDER BY id), '{}') FROM nodes) AS agents,
                 (SELECT count(*) FROM (SELECT DISTINCT least(payer_id, payee_id), greatest(payer_id, payee_id) FROM inside) AS e) AS edges,
                 (SELECT coalesce(sum(worth), 0)::bigint FROM inside) AS inside,
                 (SELECT coalesce(sum(worth), 0)::bigint FROM window_pairs WHERE payer_id IN (SELECT id FROM nodes)) AS spent",
        );
        let near = near.bind(root).bind(payment.payer).bind(payment.payee).bind(payment.day()).bind(CLUSTER_DAYS).bind(NEAR_MAX);
        let near = near.bind(FUNDING_LEAST);
        let near = near.fetch_one(&mut *self.conn).await?;
        let agents: Vec<Uuid> = near.try_get("agents")?;
        let (edges, inside, spent): (i64, i64, i64) = (near.try_get("edges")?, near.try_get("inside")?, near.try_get("spent")?);
        let count = agents.len() as i64;
        let is_dense = edges * 2 * 10_000 > count * (count - 1) * i64::from(self.rules.cluster_density_bps);
        let is_closed = i128::from(inside) * 10_000 >= i128::from(spent) * i128::from(self.rules.cluster_closed_bps);
        if count >= i64::from(self.rules.cluster_agents.max(2)) && is_dense && is_closed {
            self.found.hit(FraudRule::SybilCluster, root, agents, payment);
        }
        Ok(())
    }

    /// Writes what was judged so far, for what is looked up.
    async fn flush(&mut self) -> sqlx::Result<()> {
        if !self.pairs.is_empty() {
            let pairs = std::mem::take(&mut self.pairs);
            let rows = pairs.iter();
            let keep = "INSERT INTO fraud_pairs AS p (payer_id, payee_id, day, sales, worth)
                 SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::bigint[], $5::bigint[])
                 ON CONFLICT (payer_id, payee_id, day) DO UPDATE SET sales = p.sales + excluded.sales, worth = p.worth + excluded.worth";
            sqlx::query(keep)
                .bind(rows.clone().map(|((payer, ..), _)| *payer).collect::<Vec<_>>())
                .bind(rows.clone().map(|((_, payee, _), _)| *payee).collect::<Vec<_>>())
                .bind(rows.clone().map(|((.., day), _)| *day).collect::<Vec<_>>())
                .bind(rows.clone().map(|(_, (sales, _))| *sales).collect::<Vec<_>>())
                .bind(rows.map(|(_, (_, worth))| *worth).collect::<Vec<_>>())
                .execute(&mut *self.conn)
                .await?;
        }
        if !self.funded.is_empty() {
            let funded = std::mem::take(&mut self.funded);
            let rows = funded.iter().filter_map(|agent| self.roots.get(agent).map(|(root, ahead)| (*agent, *root, *ahead)));
            let keep =
                "INSERT INTO fraud_funding (agent_id, root, worth) SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[])
                 ON CONFLICT (agent_id) DO UPDATE SET root = excluded.root, worth = excluded.worth";
            let keep = sqlx::query(keep)
                .bind(rows.clone().map(|(agent, ..)| agent).collect::<Vec<_>>())
                .bind(rows.clone().map(|(_, root, _)| root).collect::<Vec<_>>())
                .bind(rows.map(|(.., ahead)| ahead).collect::<Vec<_>>());
            keep.execute(&mut *self.conn).await?;
        }
        Ok(())
    }

    async fn end(mut self) -> sqlx::Result<()> {
        self.flush().await?;
        for (agent, times) in self.times.iter().filter(|(_, times)| !times.is_empty()) {
            let times: Vec<OffsetDateTime> = times.iter().copied().collect();
            let keep = "INSERT INTO fraud_payers (agent_id, times, last_at) VALUES ($1, $2, $3)
                 ON CONFLICT (agent_id) DO UPDATE SET times = excluded.times, last_at = excluded.last_at";
            sqlx::query(keep).bind(agent).bind(&times).bind(times.last()).execute(&mut *self.conn).await?;
        }
        Ok(())
    }
}

/// Many registrations from one address.
async fn bursts(conn: &mut PgConnection, rules: &Rules, found: &mut Found) -> sqlx::Result<()> {
    let new = "WITH new AS (SELECT id, address, at FROM registrations WHERE NOT judged ORDER BY at LIMIT $1 FOR UPDATE SKIP LOCKED),
              judged AS (UPDATE registrations SET judged = TRUE WHERE id IN (SELECT id FROM new))
         SELECT n.address, n.at, b.ids FROM (SELECT address, max(at) AS at FROM new GROUP BY address) AS n CROSS JOIN LATERAL (
             SELECT array_agg(r.id ORDER BY r.at, r.id) AS ids FROM (
                 SELECT id, at FROM registrations WHERE address = n.address AND at > n.at - interval '1 hour' AND at <= n.at ORDER BY at LIMIT $2
             ) AS r) AS b";
    let new = sqlx::query(new).bind(REGISTRATIONS_MAX).bind(AGENTS_MAX as i64).fetch_all(conn).await?;
    for row in &new {
        let ids: Option<Vec<Uuid>> = row.try_get("ids")?;
        let ids = ids.unwrap_or_default();
        if rules.burst_per_hour > 0 && ids.len() >= rules.burst_per_hour as usize {
            let digest = Sha256::digest(row.try_get::<&str, _>("address")?);
            let subject = Uuid::from_slice(&digest[..16]).unwrap_or_default();
            let at = row.try_get("at")?;
            let evidence = ids.iter().take(EVIDENCE_MAX).map(Uuid::to_string).collect();
            found.add(FraudRule::RegistrationBurst, subject, ids, evidence, at);
        }
    }
    Ok(())
}

/// What was found, one for each rule and subject.
#[derive(Default)]
struct Found(BTreeMap<(FraudRule, Uuid), Finding>);

struct Finding {
    agents: BTreeSet<Uuid>,
    evidence: Vec<String>,
    hits: i64,
    first_at: OffsetDateTime,
    last_at: OffsetDateTime,
}

impl Found {
    fn hit(&mut self, rule: FraudRule, subject: Uuid, agents: impl IntoIterator<Item = Uuid>, payment: &Payment) {
        let evidence = match payment.evidence {
            Evidence::Transfer(id) => id.to_string(),
            Evidence::Purchase(id) => id.to_string(),
        };
        self.add(rule, subject, agents, vec![evidence], payment.at);
    }

    fn add(
        &mut self,
        rule: FraudRule,
        subject: Uuid,
        agents: impl IntoIterator<Item = Uuid>,
        evidence: Vec<String>,
        at: OffsetDateTime,
    ) {
        let none = || Finding { agents: BTreeSet::new(), evidence: Vec::new(), hits: 0, first_at: at, last_at: at };
        let finding = self.0.entry((rule, subject)).or_insert_with(none);
        finding.agents.extend(agents);
        finding.evidence.extend(evidence);
        finding.evidence.truncate(EVIDENCE_MAX);
        finding.hits += 1;
        finding.last_at = at;
    }

    async fn write(self, conn: &mut PgConnection, rules: &Rules) -> sqlx::Result<()> {
        for ((rule, subject), finding) in self.0 {
            let action = rules.action(rule);
            let agents: Vec<Uuid> = finding.agents.into_iter().collect();
            let keep = "INSERT INTO fraud_findings AS f (id, rule, subject, action, agents, evidence, hits, first_at, last_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
                 ON CONFLICT (rule, subject) WHERE status = 'open' DO UPDATE SET hits = f.hits + excluded.hits, last_at = excluded.last_at,
                     action = excluded.action, evidence = (f.evidence || excluded.evidence)[1:$10],
                     agents = ARRAY(SELECT DISTINCT unnest(f.agents || excluded.agents) ORDER BY 1 LIMIT $11)
                 RETURNING id, xmax = 0 AS is_new";
            let kept = sqlx::query(keep)
                .bind(Uuid::now_v7())
                .bind(db::name_of(rule))
                .bind(subject)
                .bind(db::name_of(action))
                .bind(&agents)
                .bind(&finding.evidence)
                .bind(finding.hits)
                .bind(finding.first_at)
                .bind(finding.last_at)
                .bind(EVIDENCE_MAX as i32)
                .bind(AGENTS_MAX as i64)
                .fetch_one(&mut *conn)
                .await?;
            if kept.try_get("is_new")? {
                let noted = Event::new("fraud_found", Actor::Market).about(kept.try_get("id")?).severe(Severity::Warning);
                let details = json!({"rule": rule, "subject": subject, "action": action, "evidence": finding.evidence});
                noted.with(details).note(&mut *conn, &Trail::default()).await?;
            }
            if action != FraudAction::Flag {
                // What waits for a batch waits for somebody instead.
                let hold = "UPDATE withdrawals SET status = 'awaiting_approval'
                     WHERE status = 'pending' AND (person = ANY($1) OR person IN (SELECT person FROM agents WHERE id = ANY($1)))";
                sqlx::query(hold).bind(&agents).execute(&mut *conn).await?;
            }
        }
        Ok(())
    }
}
