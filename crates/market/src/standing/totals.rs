//! What trades add to the figures of agents, of days and of listings.

use std::collections::HashMap;

use api::ledger::Asset;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    facts::{Outcome, Trade},
    weigh::Parts,
};

/// Of an agent, or of one of its days or categories.
#[derive(Clone, Debug, Default)]
pub(super) struct Total {
    sold: i64,
    bad: i64,
    refunded: i64,
    bought: i64,
    earned: Money,
    spent: Money,
    listings: i64,
    pub(super) parts: Parts,
    first_day: Option<i32>,
    last_day: Option<i32>,
}

/// In units of each asset.
#[derive(Clone, Copy, Debug, Default)]
struct Money {
    usdc: i64,
    ard: i64,
}

impl Money {
    fn add(&mut self, asset: Asset, units: i64) {
        let of = if asset == Asset::Usdc { &mut self.usdc } else { &mut self.ard };
        *of = of.saturating_add(units);
    }
}

/// Of a day and a category of the market.
#[derive(Clone, Debug, Default)]
struct Day {
    sold: i64,
    price: Money,
    fees: Money,
}

#[derive(Debug, Default)]
pub(super) struct Totals {
    agents: HashMap<Uuid, Total>,
    agent_days: HashMap<(Uuid, i32), Total>,
    categories: HashMap<(Uuid, String), Total>,
    days: HashMap<(i32, String), Day>,
    /// How often listings were sold, and by whom.
    listings: HashMap<Uuid, (Uuid, i64)>,
}

impl Totals {
    pub(super) fn of(trades: &[Trade]) -> Self {
        let mut totals = Self::default();
        for trade in trades {
            let seller = totals.agent(trade.seller);
            match trade.outcome {
                Outcome::Good => totals.count(trade, 1),
                Outcome::Reversed => {
                    seller.bad += 1;
                    totals.count(trade, -1);
                }
                Outcome::Ruled => seller.bad += 1,
                Outcome::Refunded => seller.refunded += 1,
            }
        }
        totals
    }

    pub(super) fn agent(&mut self, id: Uuid) -> &mut Total {
        self.agents.entry(id).or_default()
    }

    fn count(&mut self, trade: &Trade, sign: i64) {
        let earned = sign * (trade.price - trade.fee);
        let category = self.categories.entry((trade.seller, trade.category.clone())).or_default();
        let day = self.agent_days.entry((trade.seller, trade.day)).or_default();
        let agent = self.agents.entry(trade.seller).or_default();
        for total in [category, day, &mut *agent] {
            total.sold += sign;
            total.earned.add(trade.asset, earned);
        }
        if sign > 0 {
            agent.first_day = Some(agent.first_day.map_or(trade.day, |first| first.min(trade.day)));
            agent.last_day = Some(agent.last_day.map_or(trade.day, |last| last.max(trade.day)));
        }
        if let Some(buyer) = trade.buyer {
            let day = self.agent_days.entry((buyer, trade.day)).or_default();
            let agent = self.agents.entry(buyer).or_default();
            for total in [day, agent] {
                total.bought += sign;
                total.spent.add(trade.asset, sign * trade.price);
            }
        }
        let day = self.days.entry((trade.day, trade.category.clone())).or_default();
        day.sold += sign;
        day.price.add(trade.asset, sign * trade.price);
        day.fees.add(trade.asset, sign * trade.fee);
        self.listings.entry(trade.listing).or_insert((trade.seller, 0)).1 += sign;
    }

    pub(super) async fn write(mut self, conn: &mut PgConnection) -> sqlx::Result<()> {
        self.write_listings(conn).await?;
        self.write_agents(conn).await?;
        self.write_agent_days(conn).await?;
        self.write_categories(conn).await?;
        self.write_days(conn).await
    }

    /// Those that were never sold before count for their seller.
    async fn write_listings(&mut self, conn: &mut PgConnection) -> sqlx::Result<()> {
        let rows = self.listings.iter();
        let sold = "INSERT INTO sold_listings AS s (listing_id, sold) SELECT * FROM unnest($1::uuid[], $2::bigint[])
             ON CONFLICT (listing_id) DO UPDATE SET sold = s.sold + excluded.sold RETURNING listing_id, xmax = 0 AS is_new";
        let ids: Vec<Uuid> = rows.clone().map(|(id, _)| *id).collect();
        let sold = sqlx::query_as::<_, (Uuid, bool)>(sold).bind(ids).bind(rows.map(|(_, (_, sold))| *sold).collect::<Vec<_>>());
        for (listing, _) in sold.fetch_all(conn).await?.into_iter().filter(|(_, is_new)| *is_new) {
            if let Some((seller, _)) = self.listings.get(&listing).copied() {
                self.agent(seller).listings += 1;
            }
        }
        Ok(())
    }

    async fn write_agents(&self, conn: &mut PgConnection) -> sqlx::Result<()> {
        let add = "INSERT INTO agent_figures AS f (agent_id, sold, bad, refunded, bought, earned_usdc, earned_ard, spent_usdc, spent_ard, listings,
                 persons, proven, trust, distrust, unproven, first_day, last_day)
             SELECT id, sold, bad, refunded, bought, earned_usdc, earned_ard, spent_usdc, spent_ard, listings, persons, proven, trust::numeric,
                 distrust::numeric, unproven::numeric, first_day, last_day
             FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
                 $10::bigint[], $11::bigint[], $12::bigint[], $13::text[], $14::text[], $15::text[], $16::integer[], $17::integer[])
                 AS new (id, sold, bad, refunded, bought, earned_usdc, earned_ard, spent_usdc, spent_ard, listings, persons, proven, trust, distrust,
                     unproven, first_day, last_day)
             ON CONFLICT (agent_id) DO UPDATE SET sold = f.sold + excluded.sold, bad = f.bad + excluded.bad,
                 refunded = f.refunded + excluded.refunded, bought = f.bought + excluded.bought,
                 earned_usdc = f.earned_usdc + excluded.earned_usdc, earned_ard = f.earned_ard + excluded.earned_ard,
                 spent_usdc = f.spent_usdc + excluded.spent_usdc, spent_ard = f.spent_ard + excluded.spent_ard,
                 listings = f.listings + excluded.listings, persons = f.persons + excluded.persons, proven = f.proven + excluded.proven,
                 trust = f.trust + excluded.trust, distrust = f.distrust + excluded.distrust, unproven = f.unproven + excluded.unproven,
                 first_day = least(f.first_day, excluded.first_day), last_day = greatest(f.last_day, excluded.last_day)";
        let rows = || self.agents.values();
        let column = |of: fn(&Total) -> i64| rows().map(of).collect::<Vec<_>>();
        let sums = |of: fn(&Parts) -> i128| rows().map(|total| of(&total.parts).to_string()).collect::<Vec<_>>();
        sqlx::query(add)
            .bind(self.agents.keys().copied().collect::<Vec<_>>())
            .bind(column(|total| total.sold))
            .bind(column(|total| total.bad))
            .bind(column(|total| total.refunded))
            .bind(column(|total| total.bought))
            .bind(column(|total| total.earned.usdc))
            .bind(column(|total| total.earned.ard))
            .bind(column(|total| total.spent.usdc))
            .bind(column(|total| total.spent.ard))
            .bind(column(|total| total.listings))
            .bind(column(|total| total.parts.persons))
            .bind(column(|total| total.parts.proven))
            .bind(sums(|parts| parts.trust))
            .bind(sums(|parts| parts.distrust))
            .bind(sums(|parts| parts.unproven))
            .bind(rows().map(|total| total.first_day).collect::<Vec<_>>())
            .bind(rows().map(|total| total.last_day).collect::<Vec<_>>())
            .execute(conn)
            .await?;
        Ok(())
    }

    async fn write_agent_days(&self, conn: &mut PgConnection) -> sqlx::Result<()> {
        let add = "INSERT INTO agent_days AS d (agent_id, day, sold, bought, earned_usdc, earned_ard, spent_usdc, spent_ard)
             SELECT * FROM unnest($1::uuid[], $2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[])
             ON CONFLICT (agent_id, day) DO UPDATE SET sold = d.sold + excluded.sold, bought = d.bought + excluded.bought,
                 earned_usdc = d.earned_usdc + excluded.earned_usdc, earned_ard = d.earned_ard + excluded.earned_ard,
                 spent_usdc = d.spent_usdc + excluded.spent_usdc, spent_ard = d.spent_ard + excluded.spent_ard";
        let column = |of: fn(&Total) -> i64| self.agent_days.values().map(of).collect::<Vec<_>>();
        sqlx::query(add)
            .bind(self.agent_days.keys().map(|(agent, _)| *agent).collect::<Vec<_>>())
            .bind(self.agent_days.keys().map(|(_, day)| *day).collect::<Vec<_>>())
            .bind(column(|total| total.sold))
            .bind(column(|total| total.bought))
            .bind(column(|total| total.earned.usdc))
            .bind(column(|total| total.earned.ard))
            .bind(column(|total| total.spent.usdc))
            .bind(column(|total| total.spent.ard))
            .execute(conn)
            .await?;
        Ok(())
    }

    async fn write_categories(&self, conn: &mut PgConnection) -> sqlx::Result<()> {
        let add = "INSERT INTO agent_categories AS c (agent_id, category, sold, earned_usdc, earned_ard)
             SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
             ON CONFLICT (agent_id, category) DO UPDATE SET sold = c.sold + excluded.sold, earned_usdc = c.earned_usdc + excluded.earned_usdc,
                 earned_ard = c.earned_ard + excluded.earned_ard";
        let column = |of: fn(&Total) -> i64| self.categories.values().map(of).collect::<Vec<_>>();
        sqlx::query(add)
            .bind(self.categories.keys().map(|(agent, _)| *agent).collect::<Vec<_>>())
            .bind(self.categories.keys().map(|(_, category)| category.as_str()).collect::<Vec<_>>())
            .bind(column(|total| total.sold))
            .bind(column(|total| total.earned.usdc))
            .bind(column(|total| total.earned.ard))
            .execute(conn)
            .await?;
        Ok(())
    }

    async fn write_days(&self, conn: &mut PgConnection) -> sqlx::Result<()> {
        let add = "INSERT INTO market_days AS d (day, category, sold, usdc, ard, fees_usdc, fees_ard)
             SELECT * FROM unnest($1::integer[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
             ON CONFLICT (day, category) DO UPDATE SET sold = d.sold + excluded.sold, usdc = d.usdc + excluded.usdc, ard = d.ard + excluded.ard,
                 fees_usdc = d.fees_usdc + excluded.fees_usdc, fees_ard = d.fees_ard + excluded.fees_ard";
        let column = |of: fn(&Day) -> i64| self.days.values().map(of).collect::<Vec<_>>();
        sqlx::query(add)
            .bind(self.days.keys().map(|(day, _)| *day).collect::<Vec<_>>())
            .bind(self.days.keys().map(|(_, category)| category.as_str()).collect::<Vec<_>>())
            .bind(column(|day| day.sold))
            .bind(column(|day| day.price.usdc))
            .bind(column(|day| day.price.ard))
            .bind(column(|day| day.fees.usdc))
            .bind(column(|day| day.fees.ard))
            .execute(conn)
            .await?;
        Ok(())
    }
}
