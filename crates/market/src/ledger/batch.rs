//! The orders of one database transaction, judged in their order while the end of the ledger is locked.

use std::collections::{HashMap, HashSet};

use alloy::primitives::B256;
use api::ledger::{Amount, Asset, Kind, Leg, Transfer};
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    AccountId, Hold, How, Key, Move, Order, Posted, Rates, Redemption, Refused, Sale, Sending, What, Withdrawal,
    accounts::{Accounts, House},
    amount, request,
};

/// A hold, as it is now.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) hold: Hold,
    pub(super) opened_by: u64,
    /// By which transfer, and whether it was paid out.
    pub(super) ended: Option<(u64, bool)>,
    pub(super) touched: bool,
}

/// What is appended.
pub(super) struct Line {
    pub(super) transfer: Transfer,
    /// Afterwards, in the order of the legs.
    pub(super) balances: Vec<i64>,
    pub(super) key: Option<Key>,
    pub(super) memo: Option<String>,
}

/// The orders that are done in one go, and what they are judged by.
pub(super) struct Batch {
    pub(super) last_id: u64,
    pub(super) at: OffsetDateTime,
    pub(super) accounts: Accounts,
    pub(super) holds: HashMap<Uuid, Held>,
    pub(super) lines: Vec<Line>,
    /// With the transfer that each was written by.
    pub(super) sales: Vec<(u64, Sale, Asset)>,
    /// What earned a bonus before: the person behind the buyer, listing and content.
    rewarded: HashSet<(Uuid, Uuid, B256)>,
    /// What was done before with these keys.
    done: HashMap<B256, (B256, Posted)>,
    /// What buyers own, by buyer, listing and content.
    owned: HashMap<(Uuid, Uuid, B256), Posted>,
    /// When the listings that are for sale changed last.
    offers: HashMap<Uuid, OffsetDateTime>,
    /// With the state that each begins in.
    pub(super) withdrawals: Vec<(Hold, Withdrawal, &'static str)>,
    pub(super) redemptions: Vec<(Hold, Redemption)>,
    /// What persons withdrew in the last 24 hours.
    pub(super) withdrawn: HashMap<Uuid, i64>,
    /// With its transfer and its worth.
    pub(super) sends: Vec<(u64, Sending, i64)>,
    /// The worth of what persons sent in the last 24 hours.
    pub(super) sent: HashMap<Uuid, i64>,
    /// Sales that are reversed.
    pub(super) reversed: Vec<u64>,
    /// What is to be reversed, with the seller's account of a sale.
    reversible: HashMap<u64, (Transfer, Option<AccountId>)>,
}

impl Batch {
    /// Locks the end of the ledger and reads what the orders are judged by.
    pub(super) async fn open(conn: &mut PgConnection, orders: &[Order]) -> sqlx::Result<Self> {
        let end = "SELECT last_id, greatest(last_at, clock_timestamp()) AS at FROM ledger FOR UPDATE";
        let end = sqlx::query(end).fetch_one(&mut *conn).await?;
        let done = done(conn, orders).await?;
        let owned = owned(conn, orders).await?;
        let offers = offers(conn, orders).await?;
        let holds = holds(conn, orders).await?;
        let reversible = reversible(conn, orders).await?;
        let withdrawn = request::withdrawn(conn, orders).await?;
        let sent = request::sent(conn, orders).await?;
        let rewarded = rewarded(conn, orders).await?;
        let mut ids = Vec::with_capacity(orders.len() * 2 + 5);
        for order in orders {
            match &order.what {
                What::Sale(sale) => {
                    ids.extend([sale.buyer.account, sale.seller.account].into_iter().chain(sale.royalty.map(|r| r.0)))
                }
                What::Move(moved) | What::Send(moved, _) => ids.extend([moved.from, moved.to]),
                What::Hold(hold) | What::Withdraw(hold, _) | What::Redeem(hold, _) => ids.extend([hold.from, hold.held]),
                What::Post(_, to, _) => ids.push(*to),
                What::Void(_) | What::Reverse(_) => {}
            }
        }
        ids.extend(holds.values().flat_map(|held| [held.hold.from, held.hold.held]));
        ids.extend(
            reversible
                .values()
                .flat_map(|(transfer, seller)| transfer.legs.iter().map(|leg| leg.account.cast_signed()).chain(*seller)),
        );
        for house in [House::of(Asset::Usdc), House::of(Asset::Ard)] {
            ids.extend([house.revenue, house.outside, house.burned]);
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(Self {
            last_id: end.try_get::<i64, _>("last_id")?.unsigned_abs(),
            at: end.try_get("at")?,
            accounts: Accounts::load(conn, &ids).await?,
            holds,
            lines: Vec::with_capacity(orders.len()),
            sales: Vec::new(),
            withdrawals: Vec::new(),
            redemptions: Vec::new(),
            withdrawn,
            sends: Vec::new(),
            sent,
            rewarded,
            reversed: Vec::new(),
            done,
            owned,
            offers,
            reversible,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Does an order, if it can be done and was not yet.
    pub(super) fn append(&mut self, order: &Order, rates: &Rates) -> Result<Posted, Refused> {
        let key = key_of(order);
        if let Some(key) = &key
            && let Some((fingerprint, posted)) = self.done.get(&key.key)
        {
            let replayed = || Posted { how: How::Replayed, ..posted.clone() };
            return if *fingerprint == key.fingerprint { Ok(replayed()) } else { Err(Refused::KeyReused) };
        }
        match &order.what {
            What::Sale(sale) => self.sale(sale, key, rates),
            What::Move(moved) => self.transfer(moved, key),
            What::Send(moved, asked) => self.send(moved, asked, key),
            What::Hold(hold) => self.hold(hold, key),
            What::Withdraw(hold, asked) => self.withdraw(hold, asked, key),
            What::Redeem(hold, asked) => self.redeem(hold, asked, key),
            What::Post(hold, to, amount) => self.end_hold(*hold, Some((*to, *amount)), key),
            What::Void(hold) => self.end_hold(*hold, None, key),
            What::Reverse(transfer) => self.reverse(*transfer, key),
        }
    }

    pub(super) fn transfer(&mut self, moved: &Move, key: Option<Key>) -> Result<Posted, Refused> {
        let Move { kind, from, to, amount, reference, memo } = moved;
        self.post(*kind, *reference, &[(*from, -amount.signed()), (*to, amount.signed())], key, memo.clone())
    }

    fn sale(&mut self, sale: &Sale, key: Option<Key>, rates: &Rates) -> Result<Posted, Refused> {
        if sale.offered.is_some() && sale.offered != self.offers.get(&sale.listing).copied() {
            return Err(Refused::Changed);
        }
        let owned = (sale.buyer.id, sale.listing, sale.content_hash);
        if let Some(posted) = self.owned.get(&owned) {
            let balance = self.accounts.balance(sale.buyer.account)?;
            return Ok(Posted { how: How::Owned, balance: amount(balance), ..posted.clone() });
        }
        if sale.buyer.id == sale.seller.id {
            return Err(Refused::ToOneself);
        }
        let asset = self.accounts.asset(sale.buyer.account)?;
        let tier = rates.tier(self.accounts.volume(sale.seller.account)?);
        let (creator, share) = sale.royalty.unwrap_or((sale.seller.account, money::Bps::ZERO));
        let rewards = |person: Uuid| (person, sale.listing, sale.content_hash);
        let rewarded = sale.rewarded.filter(|person| !self.rewarded.contains(&rewards(*person)));
        let quality = if rewarded.is_some() { sale.quality } else { money::Bps::ZERO };
        let divided = rates.divide(sale.price, asset, tier, quality, share).ok_or(Refused::TooSmall)?;
        let rewarded = rewarded.filter(|_| !divided.bonus.is_zero());
        let house = House::of(asset);
        let moved = [
            (sale.buyer.account, -sale.price.signed()),
            (sale.seller.account, divided.net.signed()),
            (sale.seller.account, -divided.royalty.signed()),
            (sale.seller.account, divided.bonus.signed()),
            (creator, divided.royalty.signed()),
            (house.revenue, divided.house.signed()),
            (house.burned, divided.burned.signed()),
            (house.outside, -divided.bonus.signed()),
        ];
        let posted = self.post(Kind::Sale, sale.id, &moved, key, None)?;
        self.accounts.count(sale.buyer.account, sale.price.signed(), sale.seller.account, divided.net.signed());
        self.rewarded.extend(rewarded.map(rewards));
        self.sales.push((posted.transfer, Sale { rewarded, ..sale.clone() }, asset));
        if sale.owned_for.is_positive() {
            self.owned.insert(owned, posted.clone());
        }
        Ok(posted)
    }

    pub(super) fn hold(&mut self, hold: &Hold, key: Option<Key>) -> Result<Posted, Refused> {
        if self.holds.contains_key(&hold.id) {
            return Err(Refused::HoldExists);
        }
        let moved = [(hold.from, -hold.amount.signed()), (hold.held, hold.amount.signed())];
        let posted = self.post(Kind::Hold, hold.id, &moved, key, None)?;
        let held = Held { hold: hold.clone(), opened_by: posted.transfer, ended: None, touched: true };
        self.holds.insert(hold.id, held);
        Ok(posted)
    }

    fn end_hold(&mut self, id: Uuid, paid: Option<(AccountId, Amount)>, key: Option<Key>) -> Result<Posted, Refused> {
        let open = self.holds.get(&id).ok_or(Refused::NoSuchHold)?.clone();
        if open.ended.is_some() {
            return Err(Refused::HoldEnded);
        }
        let Hold { from, held, amount, .. } = open.hold;
        let (to, out) = paid.unwrap_or((from, Amount::ZERO));
        let back = amount.checked_sub(out).ok_or(Refused::MoreThanHeld { held: amount, wanted: out })?;
        let kind = if paid.is_some() { Kind::Post } else { Kind::Void };
        let posted = self.post(kind, id, &[(held, -amount.signed()), (to, out.signed()), (from, back.signed())], key, None)?;
        let ended = Some((posted.transfer, paid.is_some()));
        self.holds.insert(id, Held { ended, touched: true, ..open });
        Ok(posted)
    }

    fn reverse(&mut self, id: u64, key: Option<Key>) -> Result<Posted, Refused> {
        let in_this_batch = || {
            let line = self.lines.iter().find(|line| line.transfer.id == id)?;
            let sale = self.sales.iter().find(|(transfer, ..)| *transfer == id);
            Some((line.transfer.clone(), sale.map(|(_, sale, _)| sale.seller.account)))
        };
        let found = self.reversible.get(&id).cloned().or_else(in_this_batch);
        let (transfer, seller) = found.ok_or(Refused::NoSuchTransfer)?;
        if !matches!(transfer.kind, Kind::Sale | Kind::Transfer | Kind::Bonus) {
            return Err(Refused::NotReversible(transfer.kind));
        }
        let moved: Vec<_> = transfer.legs.iter().map(|leg| (leg.account.cast_signed(), -leg.amount)).collect();
        let posted = self.post(Kind::Reversal, transfer.reference, &moved, key, None)?;
        if let (Some(seller), [buyer, ..]) = (seller, &transfer.legs[..]) {
            let House { revenue, burned, .. } = House::of(buyer.asset);
            let of_fee = |leg: &&Leg| [revenue, burned].contains(&leg.account.cast_signed());
            let fee: i64 = transfer.legs.iter().filter(of_fee).map(|leg| leg.amount).sum();
            // The buyer's leg is minus the price, and the seller earned what the fee left of it.
            self.accounts.count(buyer.account.cast_signed(), buyer.amount, seller, buyer.amount + fee);
            self.reversed.push(id);
            self.owned.retain(|_, owned| owned.transfer != id);
        }
        Ok(posted)
    }

    /// Appends a transfer. Parts of one account are one leg; an account that neither gets nor gives has none.
    fn post(
        &mut self,
        kind: Kind,
        reference: Uuid,
        moved: &[(AccountId, i64)],
        key: Option<Key>,
        memo: Option<String>,
    ) -> Result<Posted, Refused> {
        let mut legs: Vec<Leg> = Vec::with_capacity(moved.len());
        for (account, amount) in moved.iter().filter(|(_, amount)| *amount != 0) {
            match legs.iter_mut().find(|leg| leg.account.cast_signed() == *account) {
                Some(leg) => leg.amount = leg.amount.checked_add(*amount).ok_or(Refused::TooLarge)?,
                None => {
                    legs.push(Leg { account: account.cast_unsigned(), asset: self.accounts.asset(*account)?, amount: *amount })
                }
            }
        }
        legs.retain(|leg| leg.amount != 0);
        let [first, ..] = &legs[..] else { return Err(Refused::ToOneself) };
        let payer = first.account.cast_signed();
        let transfer = Transfer { id: self.last_id + 1, at: self.at, kind, reference, legs };
        if !transfer.is_balanced() {
            return Err(Refused::OtherAsset);
        }
        self.accounts.apply(&transfer.legs)?;
        let balances =
            transfer.legs.iter().map(|leg| self.accounts.balance(leg.account.cast_signed())).collect::<Result<_, _>>()?;
        let balance = amount(self.accounts.balance(payer)?);
        let posted = Posted { transfer: transfer.id, at: self.at, reference, balance, how: How::Now };
        if let Some(key) = &key {
            self.done.insert(key.key, (key.fingerprint, posted.clone()));
        }
        self.last_id = transfer.id;
        self.lines.push(Line { transfer, balances, key, memo });
        Ok(posted)
    }
}

/// A reversal is done once, whoever asks and with whatever key.
fn key_of(order: &Order) -> Option<Key> {
    let What::Reverse(transfer) = order.what else { return order.key };
    let digest = Sha256::new_with_prefix(b"reversal").chain_update(transfer.to_be_bytes()).finalize();
    Some(Key { key: B256::from_slice(&digest), fingerprint: B256::ZERO })
}

async fn done(conn: &mut PgConnection, orders: &[Order]) -> sqlx::Result<HashMap<B256, (B256, Posted)>> {
    let keys: Vec<B256> = orders.iter().filter_map(key_of).map(|key| key.key).collect();
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_slice()).collect();
    let rows =
        sqlx::query("SELECT key, fingerprint, body FROM transfers WHERE key = ANY($1)").bind(keys).fetch_all(&mut *conn).await?;
    let mut done = HashMap::new();
    for row in rows {
        let (transfer, key) = (transfer(row.try_get("body")?)?, B256::from_slice(row.try_get("key")?));
        let payer = transfer.legs[0].account.cast_signed();
        let balance = sqlx::query_scalar("SELECT balance FROM entries WHERE account = $1 AND transfer = $2");
        let balance: i64 = balance.bind(payer).bind(transfer.id.cast_signed()).fetch_one(&mut *conn).await?;
        let Transfer { id, at, reference, .. } = transfer;
        let posted = Posted { transfer: id, at, reference, balance: amount(balance), how: How::Replayed };
        done.insert(key, (B256::from_slice(row.try_get("fingerprint")?), posted));
    }
    Ok(done)
}

async fn owned(conn: &mut PgConnection, orders: &[Order]) -> sqlx::Result<HashMap<(Uuid, Uuid, B256), Posted>> {
    let wanted = orders.iter().filter_map(|order| match &order.what {
        What::Sale(sale) if sale.owned_for.is_positive() => Some((sale.buyer.id, sale.listing)),
        _ => None,
    });
    let (buyers, listings): (Vec<_>, Vec<_>) = wanted.unzip();
    if buyers.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(
        "SELECT s.*, t.at FROM unnest($1::uuid[], $2::uuid[]) AS wanted (buyer, listing)
         CROSS JOIN LATERAL (
             SELECT id, buyer_id, listing_id, content_hash, transfer FROM sales
             WHERE buyer_id = buyer AND listing_id = listing AND owned_until > clock_timestamp() ORDER BY transfer DESC LIMIT 1) AS s
         JOIN transfers AS t ON t.id = s.transfer",
    );
    let mut owned = HashMap::new();
    for row in rows.bind(buyers).bind(listings).fetch_all(conn).await? {
        let content = B256::from_slice(row.try_get("content_hash")?);
        let transfer = row.try_get::<i64, _>("transfer")?.unsigned_abs();
        let (at, reference) = (row.try_get("at")?, row.try_get("id")?);
        let posted = Posted { transfer, at, reference, balance: Amount::ZERO, how: How::Owned };
        owned.insert((row.try_get("buyer_id")?, row.try_get("listing_id")?, content), posted);
    }
    Ok(owned)
}

/// What of the sales at hand has earned a bonus before. Only those that may are looked for.
async fn rewarded(conn: &mut PgConnection, orders: &[Order]) -> sqlx::Result<HashSet<(Uuid, Uuid, B256)>> {
    let wanted = orders.iter().filter_map(|order| match &order.what {
        What::Sale(sale) => Some((sale.rewarded?, sale.listing)),
        _ => None,
    });
    let (persons, listings): (Vec<_>, Vec<_>) = wanted.unzip();
    if persons.is_empty() {
        return Ok(HashSet::new());
    }
    let rows = sqlx::query(
        "SELECT rewarded, listing_id, content_hash FROM unnest($1::uuid[], $2::uuid[]) AS wanted (person, listing)
         JOIN sales ON rewarded = person AND listing_id = listing",
    );
    let rows = rows.bind(persons).bind(listings).fetch_all(conn).await?;
    let read = |row: &sqlx::postgres::PgRow| {
        Ok((row.try_get("rewarded")?, row.try_get("listing_id")?, B256::from_slice(row.try_get("content_hash")?)))
    };
    rows.iter().map(read).collect()
}

async fn offers(conn: &mut PgConnection, orders: &[Order]) -> sqlx::Result<HashMap<Uuid, OffsetDateTime>> {
    let mut ids: Vec<Uuid> = orders
        .iter()
        .filter_map(|order| match &order.what {
            What::Sale(sale) => sale.offered.map(|_| sale.listing),
            _ => None,
        })
        .collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(
        "SELECT id, updated_at FROM listings
         WHERE id = ANY($1) AND status = 'active' AND coalesce(expires_at > clock_timestamp(), TRUE)",
    );
    rows.bind(ids).fetch_all(conn).await?.iter().map(|row| Ok((row.try_get("id")?, row.try_get("updated_at")?))).collect()
}

async fn holds(conn: &mut PgConnection, orders: &[Order]) -> sqlx::Result<HashMap<Uuid, Held>> {
    let ids: Vec<Uuid> = orders
        .iter()
        .filter_map(|order| match order.what {
            What::Hold(ref hold) | What::Withdraw(ref hold, _) | What::Redeem(ref hold, _) => Some(hold.id),
            What::Post(hold, ..) | What::Void(hold) => Some(hold),
            _ => None,
        })
        .collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query("SELECT * FROM holds WHERE id = ANY($1)").bind(ids).fetch_all(conn).await?;
    let hold = |row: &sqlx::postgres::PgRow| {
        let ended: Option<i64> = row.try_get("ended_by")?;
        let posted = row.try_get::<i16, _>("state")? == 2;
        let amount = row.try_get::<i64, _>("amount")?.unsigned_abs();
        let hold = Hold {
            id: row.try_get("id")?,
            from: row.try_get("account")?,
            held: row.try_get("held")?,
            amount: Amount::from_units(amount).unwrap_or_default(),
            expires_at: row.try_get("expires_at")?,
        };
        let opened_by = row.try_get::<i64, _>("opened_by")?.unsigned_abs();
        Ok((hold.id, Held { hold, opened_by, ended: ended.map(|by| (by.unsigned_abs(), posted)), touched: false }))
    };
    rows.iter().map(hold).collect()
}

async fn reversible(conn: &mut PgConnection, orders: &[Order]) -> sqlx::Result<HashMap<u64, (Transfer, Option<AccountId>)>> {
    let ids: Vec<i64> = orders
        .iter()
        .filter_map(|order| match order.what {
            What::Reverse(transfer) => Some(transfer.cast_signed()),
            _ => None,
        })
        .collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(
        "SELECT t.body, a.id AS seller FROM transfers AS t LEFT JOIN sales AS s ON s.transfer = t.id
         LEFT JOIN accounts AS a ON a.owner = s.seller_id AND a.asset = s.asset AND a.purpose = 1 WHERE t.id = ANY($1)",
    );
    let rows = rows.bind(ids).fetch_all(conn).await?;
    let read = |row: &sqlx::postgres::PgRow| {
        let transfer = transfer(row.try_get("body")?)?;
        Ok((transfer.id, (transfer, row.try_get("seller")?)))
    };
    rows.iter().map(read).collect()
}

pub(super) fn transfer(body: &[u8]) -> sqlx::Result<Transfer> {
    Transfer::from_body(body).map_err(|error| sqlx::Error::Decode(error.into()))
}
