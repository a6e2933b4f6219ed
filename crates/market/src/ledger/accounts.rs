//! The accounts a batch touches, as they are while the end of the ledger is locked.

use std::collections::HashMap;

use api::ledger::{Amount, Asset, Leg};
use sqlx::{PgConnection, PgPool, Row, postgres::PgRow};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Refused;

/// An account's number.
pub type AccountId = i64;

/// What an account is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum Purpose {
    /// Free to use.
    Free = 1,
    /// Held for something that is not decided yet.
    Held = 2,
}

/// The accounts of the house in one asset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct House {
    pub(crate) revenue: AccountId,
    /// What came in from outside, or was minted: the only balance that is negative.
    pub(crate) outside: AccountId,
    /// Where the destroyed goes.
    pub(crate) burned: AccountId,
}

impl House {
    pub(crate) const fn of(asset: Asset) -> Self {
        match asset {
            // USDC is never burned: what would be, stays with the house.
            Asset::Usdc => Self { revenue: 1, outside: 2, burned: 1 },
            Asset::Ard => Self { revenue: 3, outside: 4, burned: 5 },
        }
    }
}

/// The number of an account, which is opened if need be.
pub async fn open(pool: &PgPool, owner: Uuid, asset: Asset, purpose: Purpose) -> sqlx::Result<AccountId> {
    let find = "SELECT id FROM accounts WHERE owner = $1 AND asset = $2 AND purpose = $3";
    let find = sqlx::query_scalar(find).bind(owner).bind(asset as i16).bind(purpose as i16);
    if let Some(id) = find.fetch_optional(pool).await? {
        return Ok(id);
    }
    // Changes nothing when another one was first, but says its number.
    let open = "INSERT INTO accounts (owner, asset, purpose) VALUES ($1, $2, $3)
         ON CONFLICT (owner, asset, purpose) DO UPDATE SET owner = excluded.owner RETURNING id";
    sqlx::query_scalar(open).bind(owner).bind(asset as i16).bind(purpose as i16).fetch_one(pool).await
}

/// An account as it is now.
#[derive(Clone, Debug)]
struct Account {
    owner: Uuid,
    asset: Asset,
    purpose: i16,
    balance: i64,
    earned: i64,
    spent: i64,
    touched: bool,
}

/// The accounts of a batch.
#[derive(Debug, Default)]
pub(crate) struct Accounts(HashMap<AccountId, Account>);

impl Accounts {
    /// With the end of the ledger: the last id, and when the next transfer is.
    pub(crate) async fn load(conn: &mut PgConnection, ids: &[AccountId]) -> sqlx::Result<(Self, u64, OffsetDateTime)> {
        let rows = sqlx::query(
            "SELECT id, owner, asset, purpose, balance, earned, spent, last_id, greatest(last_at, clock_timestamp()) AS at
             FROM ledger, accounts WHERE id = ANY($1)",
        );
        let rows = rows.bind(ids).fetch_all(conn).await?;
        // Those of the house are always among them.
        let end = rows.first().ok_or(sqlx::Error::RowNotFound)?;
        let (last_id, at): (i64, _) = (end.try_get("last_id")?, end.try_get("at")?);
        let accounts = rows.iter().map(|row| Ok((row.try_get("id")?, account(row)?)));
        Ok((Self(accounts.collect::<sqlx::Result<_>>()?), last_id.unsigned_abs(), at))
    }

    fn get(&self, id: AccountId) -> Result<&Account, Refused> {
        self.0.get(&id).ok_or(Refused::NoSuchAccount(id))
    }

    pub(crate) fn balance(&self, id: AccountId) -> Result<i64, Refused> {
        Ok(self.get(id)?.balance)
    }

    pub(crate) fn asset(&self, id: AccountId) -> Result<Asset, Refused> {
        Ok(self.get(id)?.asset)
    }

    pub(crate) fn owner(&self, leg: &Leg) -> Uuid {
        self.0.get(&leg.account.cast_signed()).map_or(Uuid::nil(), |account| account.owner)
    }

    /// All that the account earned and spent, in ARD.
    pub(crate) fn volume(&self, id: AccountId) -> Result<Amount, Refused> {
        let account = self.get(id)?;
        Ok(super::volume(account.asset, account.earned, account.spent))
    }

    /// Moves all legs, or none: no balance but the outside's goes below zero.
    pub(crate) fn apply(&mut self, legs: &[Leg]) -> Result<(), Refused> {
        for leg in legs {
            let account = self.get(leg.account.cast_signed())?;
            let balance = account.balance.checked_add(leg.amount).ok_or(Refused::TooLarge)?;
            if balance < 0 && account.purpose != 4 {
                let (has, needs) = (account.balance.unsigned_abs(), leg.amount.unsigned_abs());
                let amount = |units| Amount::from_units(units).unwrap_or(Amount::MAX);
                return Err(Refused::Insufficient {
                    owner: account.owner,
                    asset: account.asset,
                    has: amount(has),
                    needs: amount(needs),
                });
            }
        }
        for leg in legs {
            let account = self.0.get_mut(&leg.account.cast_signed()).expect("looked at above");
            account.balance += leg.amount;
            account.touched = true;
        }
        Ok(())
    }

    /// Counts a sale, or takes it back with negative amounts, towards the tiers.
    pub(crate) fn count(&mut self, buyer: AccountId, spent: i64, seller: AccountId, earned: i64) {
        if let Some(account) = self.0.get_mut(&buyer) {
            account.spent = account.spent.saturating_add(spent).max(0);
        }
        if let Some(account) = self.0.get_mut(&seller) {
            account.earned = account.earned.saturating_add(earned).max(0);
            // A royalty may leave the seller's balance as it was.
            account.touched = true;
        }
    }

    /// Columns of what changed: ids, balances, earned, spent.
    pub(crate) fn changed(&self) -> [Vec<i64>; 4] {
        let mut columns: [Vec<i64>; 4] = Default::default();
        for (id, account) in self.0.iter().filter(|(_, account)| account.touched) {
            let row = [*id, account.balance, account.earned, account.spent];
            columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
        }
        columns
    }
}

fn account(row: &PgRow) -> sqlx::Result<Account> {
    let asset = u8::try_from(row.try_get::<i16, _>("asset")?).ok().and_then(Asset::from_number);
    Ok(Account {
        owner: row.try_get("owner")?,
        asset: asset.ok_or_else(|| sqlx::Error::Decode("an asset of a later version".into()))?,
        purpose: row.try_get("purpose")?,
        balance: row.try_get("balance")?,
        earned: row.try_get("earned")?,
        spent: row.try_get("spent")?,
        touched: false,
    })
}
