//! The ledger against a model in memory, several writers at once, and what tampering shows.

use std::collections::HashMap;

use alloy::{primitives::B256, signers::local::PrivateKeySigner};
use api::ledger::{Amount, Asset, Kind};
use market::ledger::{
    self, AccountId, Hold, How, Key, Ledger, LedgerError, Move, Order, Party, Posted, Purpose, Rates, Refused, Sale, What,
};
use money::Bps;
use proptest::{prelude::*, test_runner::TestRunner};
use sqlx::{PgPool, Row};
use stack::Postgres;
use uuid::Uuid;

const OUTSIDE: [(Asset, AccountId); 2] = [(Asset::Usdc, 2), (Asset::Ard, 4)];

struct Books {
    pool: PgPool,
    _server: Postgres,
}

impl Books {
    async fn new() -> Self {
        let server = Postgres::start(None).await.unwrap();
        let database = server.create("ledger", None).await.unwrap();
        market::migrate(&database.url).await.unwrap();
        Self { pool: market::pool(&database.url).await.unwrap(), _server: server }
    }

    async fn party(&self, id: u128, asset: Asset) -> Party {
        let id = Uuid::from_u128(id);
        Party { id, account: ledger::open(&self.pool, id, asset, Purpose::Free).await.unwrap() }
    }

    async fn held(&self, party: Party, asset: Asset) -> AccountId {
        ledger::open(&self.pool, party.id, asset, Purpose::Held).await.unwrap()
    }

    async fn balance(&self, account: AccountId) -> i64 {
        let balance = sqlx::query_scalar("SELECT balance FROM accounts WHERE id = $1").bind(account);
        balance.fetch_one(&self.pool).await.unwrap()
    }

    /// What must hold whatever was asked: found wrong are accounts and transfers.
    async fn assert_sound(&self) {
        let wrong: Vec<i64> = sqlx::query_scalar(
            "SELECT id FROM accounts LEFT JOIN entries ON account = id GROUP BY id HAVING coalesce(sum(amount), 0) <> max(accounts.balance)
             UNION ALL SELECT transfer FROM entries JOIN accounts ON id = account GROUP BY transfer, asset HAVING sum(amount) <> 0",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        assert_eq!(wrong, Vec::<i64>::new());
        while ledger::seal(&self.pool).await.unwrap() > 0 {}
        let checked = ledger::check(&mut self.pool.acquire().await.unwrap(), 1, 1_000).await.unwrap();
        let transfers: i64 = sqlx::query_scalar("SELECT count(*) FROM transfers").fetch_one(&self.pool).await.unwrap();
        assert_eq!((checked.problem, checked.transfers), (None, transfers.unsigned_abs()));
    }
}

fn amount(units: u64) -> Amount {
    Amount::from_units(units).unwrap()
}

fn key(name: &str) -> Option<Key> {
    Some(Key { key: alloy::primitives::keccak256(name), fingerprint: B256::ZERO })
}

async fn fund(ledger: &Ledger, party: Party, asset: Asset, units: u64) {
    let from = OUTSIDE.iter().find(|(of, _)| *of == asset).unwrap().1;
    let deposit = Move { kind: Kind::Deposit, from, to: party.account, amount: amount(units), reference: party.id, memo: None };
    ledger.submit(Order { key: None, what: What::Move(deposit) }).await.unwrap();
}

fn sale(id: u128, buyer: Party, seller: Party, price: u64) -> Sale {
    Sale {
        id: Uuid::from_u128(id),
        listing: Uuid::from_u128(1),
        buyer,
        seller,
        royalty: None,
        price: amount(price),
        quality: Bps::ZERO,
        rewarded: Some(buyer.id),
        content_hash: B256::ZERO,
        content_size: 10_240,
        content_type: "application/json".into(),
        owned_for: time::Duration::ZERO,
        offered: None,
    }
}

fn sell(sale: Sale) -> What {
    What::Sale(sale)
}

#[tokio::test]
async fn a_sale_pays_seller_creator_house_and_fire_in_one_transfer() {
    let books = Books::new().await;
    let ledger = Ledger::start(books.pool.clone(), Rates::default());
    let [buyer, seller, creator] =
        [books.party(1, Asset::Ard).await, books.party(2, Asset::Ard).await, books.party(3, Asset::Ard).await];
    fund(&ledger, buyer, Asset::Ard, 10_000_000).await;
    let good = Bps::new(8_000).unwrap();
    let royalty = Some((creator.account, Bps::new(5_000).unwrap()));
    let sale = Sale { royalty, quality: good, ..sale(7, buyer, seller, 1_000_000) };
    let posted = ledger.submit(Order { key: None, what: sell(sale) }).await.unwrap();
    assert_eq!((posted.transfer, posted.balance, posted.how), (2, amount(9_000_000), How::Now));
    // 2 % fee, half of it burned; 10 % of the net minted for the seller, but no more than was burned; half of the net for the creator.
    assert_eq!(books.balance(seller.account).await, 490_000 + 10_000);
    assert_eq!(books.balance(creator.account).await, 490_000);
    assert_eq!((books.balance(3).await, books.balance(5).await, books.balance(4).await), (10_000, 10_000, -10_010_000));
    books.assert_sound().await;
}

/// Two agents of one person, or of two who act together, sell each other what a moderator found good.
#[tokio::test]
async fn a_ring_of_buyers_and_sellers_mints_nothing_and_loses() {
    let books = Books::new().await;
    let ledger = Ledger::start(books.pool.clone(), Rates::default());
    let parties = [books.party(1, Asset::Ard).await, books.party(2, Asset::Ard).await];
    for party in parties {
        fund(&ledger, party, Asset::Ard, 50_000_000).await;
    }
    let all = async || books.balance(parties[0].account).await + books.balance(parties[1].account).await;
    let bonuses = async || {
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM sales WHERE rewarded IS NOT NULL")
            .fetch_one(&books.pool)
            .await
            .unwrap()
    };
    let (mut has, mut number) = (all().await, 0);
    for content in [1_u8, 1, 2, 1, 2] {
        for (buyer, seller, rewarded) in [(0, 1, Some(7)), (1, 0, Some(8)), (0, 1, None)] {
            number += 1;
            let rewarded = rewarded.map(Uuid::from_u128);
            let content_hash = B256::repeat_byte(content);
            let sale = sale(number, parties[buyer], parties[seller], 1_000_000);
            let sale = Sale { quality: Bps::WHOLE, rewarded, content_hash, ..sale };
            ledger.submit(Order { key: None, what: sell(sale) }).await.unwrap();
            let left = all().await;
            assert!(left < has, "every round costs");
            has = left;
        }
    }
    // Each of two persons, for each of two contents, once.
    assert_eq!(bonuses().await, 4);
    assert!(-books.balance(4).await <= 100_000_000 + books.balance(5).await, "no sale mints more than it burns");
    books.assert_sound().await;
}

#[tokio::test]
async fn an_order_with_a_key_is_done_once_whoever_repeats_it() {
    let books = Books::new().await;
    let ledgers = [Ledger::start(books.pool.clone(), Rates::default()), Ledger::start(books.pool.clone(), Rates::default())];
    let (buyer, seller) = (books.party(1, Asset::Usdc).await, books.party(2, Asset::Usdc).await);
    fund(&ledgers[0], buyer, Asset::Usdc, 1_000).await;
    let order = Order { key: key("a"), what: sell(sale(7, buyer, seller, 100)) };
    let asked = (0..40).map(|i| {
        let (ledger, order) = (ledgers[i % 2].clone(), order.clone());
        tokio::spawn(async move { ledger.submit(order).await.unwrap() })
    });
    let answers: Vec<Posted> = futures::future::try_join_all(asked).await.unwrap();
    assert_eq!(answers.iter().filter(|posted| posted.how == How::Now).count(), 1);
    assert!(answers.iter().all(|posted| (posted.transfer, posted.balance, posted.at) == (2, amount(900), answers[0].at)));
    let other = Key { fingerprint: B256::repeat_byte(1), ..key("a").unwrap() };
    let reused = ledgers[0].submit(Order { key: Some(other), ..order }).await;
    assert_eq!(reused, Err(LedgerError::Refused(Refused::KeyReused)));
    books.assert_sound().await;
}

#[tokio::test]
async fn what_is_owned_is_not_charged_again_until_it_is_reversed() {
    let books = Books::new().await;
    let ledger = Ledger::start(books.pool.clone(), Rates::default());
    let (buyer, seller) = (books.party(1, Asset::Usdc).await, books.party(2, Asset::Usdc).await);
    fund(&ledger, buyer, Asset::Usdc, 1_000).await;
    let buy = |id| {
        let sale = Sale { owned_for: time::Duration::HOUR, ..sale(id, buyer, seller, 100) };
        ledger.submit(Order { key: None, what: sell(sale) })
    };
    let (first, again) = (buy(7).await.unwrap(), buy(8).await.unwrap());
    assert_eq!((again.how, again.transfer, again.reference), (How::Owned, first.transfer, Uuid::from_u128(7)));
    let reverse = || ledger.submit(Order { key: None, what: What::Reverse(first.transfer, None) });
    let (undone, twice) = (reverse().await.unwrap(), reverse().await.unwrap());
    assert_eq!((undone.how, twice.how, undone.transfer), (How::Now, How::Replayed, twice.transfer));
    assert_eq!(books.balance(buyer.account).await, 1_000);
    assert_eq!(buy(9).await.unwrap().how, How::Now);
    books.assert_sound().await;
}

/// What one of four accounts is asked to do.
#[derive(Clone, Debug)]
enum Step {
    Buy(usize, usize, u64),
    Send(usize, usize, u64),
    Hold(usize, u64),
    Post(usize, usize, u64),
    Settle(usize, usize, u64),
    Void(usize),
    Reverse(u64),
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let (who, units) = (0_usize..4, 1_u64..2_000);
    let step = prop_oneof![
        4 => (who.clone(), who.clone(), units.clone()).prop_map(|(a, b, n)| Step::Buy(a, b, n)),
        2 => (who.clone(), who.clone(), units.clone()).prop_map(|(a, b, n)| Step::Send(a, b, n)),
        2 => (who.clone(), units.clone()).prop_map(|(a, n)| Step::Hold(a, n)),
        2 => (0_usize..6, who.clone(), units.clone()).prop_map(|(hold, to, n)| Step::Post(hold, to, n)),
        2 => (0_usize..6, who, units).prop_map(|(hold, seller, n)| Step::Settle(hold, seller, n)),
        1 => (0_usize..6).prop_map(Step::Void),
        1 => (1_u64..40).prop_map(Step::Reverse),
    ];
    prop::collection::vec(prop::collection::vec(step, 1..12), 1..5)
}

/// Balances as anybody would compute them by hand.
#[derive(Default)]
struct Model {
    free: [i128; 4],
    held: [i128; 4],
    holds: Vec<(usize, i128, bool)>,
    /// Free balances' changes by transfer, of what may be reversed.
    undo: HashMap<u64, ([i128; 4], bool)>,
}

impl Model {
    fn fee(price: u64) -> i128 {
        i128::from(price * 2).div_euclid(100) + i128::from(!(price * 2).is_multiple_of(100))
    }

    /// Whether the step is done; `next` is the id it gets.
    fn step(&mut self, step: &Step, next: u64) -> bool {
        let before = self.free;
        let done = match *step {
            Step::Buy(buyer, seller, price) => {
                let (cost, net) = (i128::from(price), i128::from(price) - Self::fee(price));
                let can = buyer != seller && net > 0 && self.free[buyer] >= cost;
                if can {
                    self.free[buyer] -= cost;
                    self.free[seller] += net;
                }
                can
            }
            Step::Send(from, to, units) => {
                let can = from != to && self.free[from] >= i128::from(units);
                if can {
                    self.free[from] -= i128::from(units);
                    self.free[to] += i128::from(units);
                }
                can
            }
            Step::Hold(who, units) => {
                let can = self.free[who] >= i128::from(units);
                if can {
                    self.free[who] -= i128::from(units);
                    self.held[who] += i128::from(units);
                }
                self.holds.push((who, i128::from(units), can));
                return can;
            }
            Step::Post(hold, to, units) => return self.end(hold, Some((to, i128::from(units)))),
            Step::Settle(hold, seller, price) => {
                let Some((buyer, amount, true)) = self.holds.get(hold).copied() else { return false };
                let (cost, net) = (i128::from(price), i128::from(price) - Self::fee(price));
                if buyer == seller || net <= 0 || cost > amount || !self.end(hold, None) {
                    return false;
                }
                self.free[buyer] -= cost;
                self.free[seller] += net;
                let mut change = [0; 4];
                (change[buyer], change[seller]) = (-cost, net);
                // The sale follows the end of the hold.
                self.undo.insert(next + 1, (change, false));
                return true;
            }
            Step::Void(hold) => return self.end(hold, None),
            Step::Reverse(id) => {
                let Some((change, false)) = self.undo.get(&id).copied() else { return false };
                let after: Vec<i128> = self.free.iter().zip(change).map(|(free, change)| free - change).collect();
                if after.iter().zip(change).any(|(after, change)| change != 0 && *after < 0) {
                    return false;
                }
                self.free.copy_from_slice(&after);
                self.undo.insert(id, (change, true));
                return true;
            }
        };
        if done {
            let change = std::array::from_fn(|i| self.free[i] - before[i]);
            self.undo.insert(next, (change, false));
        }
        done
    }

    fn end(&mut self, hold: usize, paid: Option<(usize, i128)>) -> bool {
        let Some((who, amount, open @ true)) = self.holds.get_mut(hold).map(|(who, amount, open)| (*who, *amount, open)) else {
            return false;
        };
        let (to, out) = paid.unwrap_or((who, 0));
        if out > amount {
            return false;
        }
        *open = false;
        self.held[who] -= amount;
        self.free[to] += out;
        self.free[who] += amount - out;
        true
    }
}

#[test]
fn any_orders_leave_the_balances_that_the_model_has() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let books = runtime.block_on(Books::new());
    let rounds = std::cell::Cell::new(0_u128);
    let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) });
    let run = runner.run(&steps(), |batches| {
        let round = rounds.replace(rounds.get() + 1_000) + 1_000;
        runtime.block_on(async {
            let ledger = Ledger::start(books.pool.clone(), Rates::default());
            let (mut parties, mut held) = (Vec::new(), Vec::new());
            for i in 0..4 {
                parties.push(books.party(round + i, Asset::Usdc).await);
                held.push(books.held(parties[i as usize], Asset::Usdc).await);
                fund(&ledger, parties[i as usize], Asset::Usdc, 3_000).await;
            }
            let mut model = Model { free: [3_000; 4], ..Model::default() };
            let first: i64 = sqlx::query_scalar("SELECT last_id FROM ledger").fetch_one(&books.pool).await.unwrap();
            let (mut last, mut holds) = (first.unsigned_abs(), 0);
            let mut holders = Vec::new();
            for steps in batches {
                // Asked for in one go, they become one batch or a few, in this order.
                let mut asked = Vec::new();
                for step in &steps {
                    let id = Uuid::from_u128(round + 100 + holds);
                    let hold = |number: usize| Uuid::from_u128(round + 100 + number as u128);
                    let what = match *step {
                        Step::Buy(a, b, price) => sell(Sale { id: Uuid::now_v7(), ..sale(0, parties[a], parties[b], price) }),
                        Step::Send(a, b, units) => What::Move(Move {
                            kind: Kind::Transfer,
                            from: parties[a].account,
                            to: parties[b].account,
                            amount: amount(units),
                            reference: Uuid::nil(),
                            memo: Some("thanks".into()),
                        }),
                        Step::Hold(a, units) => {
                            holds += 1;
                            holders.push(a);
                            let expires_at = time::OffsetDateTime::now_utc() + time::Duration::HOUR;
                            What::Hold(Hold { id, from: parties[a].account, held: held[a], amount: amount(units), expires_at })
                        }
                        Step::Post(number, to, units) => What::Post(hold(number), parties[to].account, amount(units)),
                        Step::Settle(number, seller, price) => {
                            let buyer = holders.get(number).copied().unwrap_or_default();
                            let sale = sale(0, parties[buyer], parties[seller], price);
                            What::Settle(hold(number), Sale { id: Uuid::now_v7(), ..sale })
                        }
                        Step::Void(number) => What::Void(hold(number)),
                        Step::Reverse(number) => What::Reverse(first.unsigned_abs() + number, None),
                    };
                    asked.push(ledger.submit(Order { key: None, what }));
                }
                for (step, answer) in steps.iter().zip(futures::future::join_all(asked).await) {
                    let step = match step {
                        Step::Reverse(number) => Step::Reverse(first.unsigned_abs() + number),
                        step => step.clone(),
                    };
                    let done = match &answer {
                        Ok(posted) => posted.how == How::Now,
                        Err(LedgerError::Refused(_)) => false,
                        Err(error) => panic!("{error}"),
                    };
                    prop_assert_eq!(done, model.step(&step, last + 1), "{:?}: {:?}", step, answer);
                    last += u64::from(done) + u64::from(done && matches!(step, Step::Settle(..)));
                }
            }
            for i in 0..4 {
                prop_assert_eq!(i128::from(books.balance(parties[i].account).await), model.free[i]);
                prop_assert_eq!(i128::from(books.balance(held[i]).await), model.held[i]);
            }
            books.assert_sound().await;
            Ok(())
        })
    });
    run.unwrap();
}

#[tokio::test]
async fn what_would_overflow_or_take_the_place_of_another_hold_is_refused() {
    let books = Books::new().await;
    let ledger = Ledger::start(books.pool.clone(), Rates::default());
    let (buyer, seller) = (books.party(1, Asset::Ard).await, books.party(2, Asset::Ard).await);
    let held = books.held(buyer, Asset::Ard).await;
    let most = Amount::MAX.units();
    fund(&ledger, buyer, Asset::Ard, most).await;
    // Its net and the bonus on it are more than an account can have.
    let refused = ledger
        .submit(Order { key: None, what: sell(Sale { quality: Bps::new(8_000).unwrap(), ..sale(1, buyer, seller, most) }) })
        .await;
    assert_eq!(refused, Err(LedgerError::Refused(Refused::TooLarge)));
    let expires_at = time::OffsetDateTime::now_utc() + time::Duration::HOUR;
    let hold = |amount| Hold { id: Uuid::from_u128(7), from: buyer.account, held, amount, expires_at };
    let order = |units| Order { key: None, what: What::Hold(hold(amount(units))) };
    ledger.submit(order(5)).await.unwrap();
    assert_eq!(ledger.submit(order(3)).await, Err(LedgerError::Refused(Refused::HoldExists)));
    ledger.submit(Order { key: None, what: What::Void(hold(Amount::ZERO).id) }).await.unwrap();
    assert_eq!(ledger.submit(order(3)).await, Err(LedgerError::Refused(Refused::HoldExists)));
    assert_eq!(books.balance(buyer.account).await, Amount::MAX.signed());
    books.assert_sound().await;
}

#[tokio::test]
async fn a_sealed_transfer_is_proved_to_whoever_has_the_seal_and_a_changed_one_shows() {
    let books = Books::new().await;
    let ledger = Ledger::start(books.pool.clone(), Rates::default());
    let (buyer, seller) = (books.party(1, Asset::Usdc).await, books.party(2, Asset::Usdc).await);
    fund(&ledger, buyer, Asset::Usdc, 10_000).await;
    let signer = PrivateKeySigner::random();
    for batch in 0..3 {
        for i in 0..5 {
            ledger.submit(Order { key: None, what: sell(sale(batch * 10 + i, buyer, seller, 100)) }).await.unwrap();
        }
        assert!(ledger::seal(&books.pool).await.unwrap() > 0);
    }
    ledger::sign(&books.pool, &signer).await.unwrap();
    let mut conn = books.pool.acquire().await.unwrap();
    let seals = ledger::seals(&mut conn, 1, 10).await.unwrap();
    assert_eq!(seals.iter().map(|seal| seal.count).collect::<Vec<_>>(), [6, 5, 5]);
    assert!(seals.iter().all(|seal| seal.signer() == Some(signer.address())));
    for id in 1..=16 {
        let mut proof = ledger::proof(&mut conn, id).await.unwrap().unwrap();
        assert_eq!(proof.verify().unwrap().id, id);
        let last = proof.body.len() - 1;
        let mut body = proof.body.to_vec();
        body[last] ^= 1;
        proof.body = body.into();
        assert!(proof.verify().is_err());
    }
    assert_eq!(ledger::proof(&mut conn, 17).await.unwrap(), None);
    // Money moved from one to the other afterwards, with sums and balances to match.
    let row = sqlx::query("SELECT amount FROM entries WHERE account = $1 AND transfer = 9").bind(seller.account);
    let net: i64 = row.fetch_one(&mut *conn).await.unwrap().get(0);
    sqlx::query("UPDATE entries SET amount = amount - 1 WHERE account = $1 AND transfer = 9")
        .bind(seller.account)
        .execute(&mut *conn)
        .await
        .unwrap();
    sqlx::query("UPDATE entries SET amount = amount + 1 WHERE account = 1 AND transfer = 9").execute(&mut *conn).await.unwrap();
    let checked = ledger::check(&mut conn, 1, 10).await.unwrap();
    assert_eq!(checked.problem.as_deref(), Some("the entries of transfer 9 are not what was sealed in batch 2"), "{net}");
    sqlx::query("DELETE FROM seals WHERE sequence = 2").execute(&mut *conn).await.unwrap();
    let checked = ledger::check(&mut conn, 1, 10).await.unwrap();
    assert!(checked.problem.unwrap().contains("batch 3 does not follow"));
}
