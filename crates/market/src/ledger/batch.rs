//! The orders of one database transaction, judged in their order while the end of the ledger is locked.

use std::collections::{HashMap, HashSet};

use alloy::primitives::B256;
use api::ledger::{Amount, Asset, Kind, Leg, Transfer};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    AccountId, Hold, How, Key, Move, Order, Posted, Rates, Redemption, Refused, Sale, Sending, Undoing, What, Withdrawal,
    accounts::{Accounts, House},
    amount,
    past::{self, Held, Known},
    request,
};

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
    /// Keys of purchases of what was owned, with what is answered to them.
    pub(super) owned_keys: Vec<(Key, Posted)>,
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
    /// What somebody decided to undo: what it was about, and the transfer.
    pub(super) undone: Vec<(Uuid, u64, Undoing)>,
    /// Sales that are reversed.
    pub(super) reversed: Vec<u64>,
    /// What is to be reversed, with the seller's account of a sale.
    reversible: HashMap<u64, (Transfer, Option<AccountId>)>,
    /// Purchases in steps that wait for their payment.
    awaited: HashSet<Uuid>,
}

impl Batch {
    /// Reads what the orders are judged by, in a transaction that has locked the end of the ledger.
    pub(super) async fn open(conn: &mut PgConnection, orders: &[Order]) -> sqlx::Result<Self> {
        let keys: Vec<B256> = orders.iter().filter_map(past::key_of).map(|key| key.key).collect();
        let done = past::done(conn, &keys).await?;
        let Known { owned, rewarded, offers } = Known::of(conn, orders).await?;
        let holds = past::holds(conn, orders).await?;
        let awaited = past::awaited(conn, orders).await?;
        let reversible = past::reversible(conn, orders).await?;
        let withdrawn = request::withdrawn(conn, orders).await?;
        let sent = request::sent(conn, orders).await?;
        let mut ids = Vec::with_capacity(orders.len() * 2 + 5);
        for order in orders {
            match &order.what {
                What::Sale(sale) | What::Settle(_, sale) => {
                    ids.extend([sale.buyer.account, sale.seller.account].into_iter().chain(sale.royalty.map(|r| r.0)))
                }
                What::Move(moved) | What::Send(moved, _) => ids.extend([moved.from, moved.to]),
                What::Hold(hold) | What::Pay(hold) | What::Withdraw(hold, _) | What::Redeem(hold, _) => {
                    ids.extend([hold.from, hold.held]);
                }
                What::Post(_, to, _) => ids.push(*to),
                What::Void(_) | What::Reverse(..) => {}
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
        let (accounts, last_id, at) = Accounts::load(conn, &ids).await?;
        Ok(Self {
            last_id,
            at,
            accounts,
            holds,
            lines: Vec::with_capacity(orders.len()),
            sales: Vec::new(),
            withdrawals: Vec::new(),
            redemptions: Vec::new(),
            withdrawn,
            sends: Vec::new(),
            sent,
            rewarded,
            undone: Vec::new(),
            reversed: Vec::new(),
            done,
            owned_keys: Vec::new(),
            owned,
            offers,
            reversible,
            awaited,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.owned_keys.is_empty()
    }

    /// Does an order, if it can be done and was not yet.
    pub(super) fn append(&mut self, order: &Order, rates: &Rates) -> Result<Posted, Refused> {
        let key = past::key_of(order);
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
            What::Pay(hold) if !self.awaited.contains(&hold.id) => Err(Refused::NotAwaited),
            What::Pay(hold) => self.hold(hold, key),
            What::Settle(hold, sale) => self.settle(*hold, sale, key, rates),
            What::Withdraw(hold, asked) => self.withdraw(hold, asked, key),
            What::Redeem(hold, asked) => self.redeem(hold, asked, key),
            What::Post(hold, to, amount) => self.end_hold(*hold, Some((*to, *amount)), key),
            What::Void(hold) => self.end_hold(*hold, None, key),
            What::Reverse(transfer, undoing) => self.undo(*transfer, undoing.as_ref(), key),
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
            let posted = Posted { how: How::Owned, balance: amount(balance), ..posted.clone() };
            if let Some(key) = key {
                self.done.insert(key.key, (key.fingerprint, posted.clone()));
                self.owned_keys.push((key, posted.clone()));
            }
            return Ok(posted);
        }
        self.sell(sale, key, rates)
    }

    /// Charges the buyer, whatever the buyer owns.
    fn sell(&mut self, sale: &Sale, key: Option<Key>, rates: &Rates) -> Result<Posted, Refused> {
        if sale.buyer.id == sale.seller.id {
            return Err(Refused::ToOneself);
        }
        let owned = (sale.buyer.id, sale.listing, sale.content_hash);
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

    /// Ends a hold for a sale: all of it is free again, and the sale takes its price from there, or neither is done.
    fn settle(&mut self, id: Uuid, sale: &Sale, key: Option<Key>, rates: &Rates) -> Result<Posted, Refused> {
        let open = self.holds.get(&id).ok_or(Refused::NoSuchHold)?.clone();
        let Hold { from, amount, .. } = open.hold;
        if sale.price > amount {
            return Err(Refused::MoreThanHeld { held: amount, wanted: sale.price });
        }
        if sale.buyer.account != from {
            return Err(Refused::OtherAsset);
        }
        self.end_hold(id, Some((from, amount)), None)?;
        self.sell(sale, key, rates).inspect_err(|_| {
            let line = self.lines.pop().expect("appended just now");
            self.last_id -= 1;
            let back = |leg: &Leg| Leg { amount: -leg.amount, ..*leg };
            let back: Vec<Leg> = line.transfer.legs.iter().map(back).collect();
            self.accounts.apply(&back).expect("as it was before");
            self.holds.insert(id, open);
        })
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

    pub(super) fn reverse(&mut self, id: u64, key: Option<Key>) -> Result<Posted, Refused> {
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
