//! The queries that are measured: those behind the paths and the fields of GraphQL, as these ask them.

use alloy::primitives::{Address, B256, U256};
use indexer::read::{
    self, AgreementFilter, AgreementStatus, BlockFilter, EventFilter, Order, PaymentFilter, PaymentKind, Position, Span,
    StatFilter, StatementFilter, TransferFilter, WalletFilter,
};
use rand::{Rng, rngs::StdRng};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::{
    Options,
    fill::{BUSY, PER_BLOCK, ROUTER, USDC, WALLET},
};

/// As for a page of the default size.
const LIMIT: u32 = 51;

/// A query by name. Each time it is asked of another account or place.
#[derive(Clone, Copy)]
pub(crate) struct Query(pub(crate) &'static str);

pub(crate) const QUERIES: &[Query] = &[
    Query("payments"),
    Query("payments, deep page"),
    Query("payments of an account"),
    Query("payments of an account, deep page"),
    Query("payments to a busy account that stopped"),
    Query("payments to a busy account that stopped, of a rare kind"),
    Query("payments between two accounts"),
    Query("payments of an account in a span of blocks"),
    Query("payments of a kind that stopped"),
    Query("payments of a rare kind"),
    Query("payments in a token that nobody uses"),
    Query("payments of a reference"),
    Query("payments of a transaction"),
    Query("transfers of an account, deep page"),
    Query("transfers of a transaction"),
    Query("transfer of an authorization"),
    Query("statement"),
    Query("statement, deep page"),
    Query("statement of a busy account, deep page"),
    Query("balance"),
    Query("balance at a block"),
    Query("sums of 7 days"),
    Query("sums of all days"),
    Query("sums of a kind that stopped"),
    Query("sums in a token that nobody uses"),
    Query("events of a contract, deep page"),
    Query("events of an account"),
    Query("events of a contract and a name that it never emits"),
    Query("events of a reference"),
    Query("blocks, deep page"),
    Query("agreements of a status"),
    Query("agreements of a busy buyer and a status"),
    Query("agreements of a busy buyer and a seller"),
    Query("agreements at a block"),
    Query("agreements of a buyer at a block"),
    Query("wallets at a block"),
    Query("wallets of an owner at a block"),
    Query("wallet and what remains of its limits"),
];

fn account(number: u64) -> Address {
    Address::from_word(U256::from(number + 1).into())
}

fn sha256(number: i64) -> B256 {
    B256::from_slice(&Sha256::digest(number.to_be_bytes()))
}

/// How many rows it answers.
pub(crate) async fn ask(conn: &mut PgConnection, query: Query, options: &Options, rng: &mut StdRng) -> usize {
    let who = account(rng.random_range(0..options.accounts));
    let other = account(rng.random_range(0..options.accounts));
    let blocks = options.payments / PER_BLOCK;
    let block = rng.random_range(blocks / 10..blocks * 9 / 10);
    let deep = Some(Position::end_of(block));
    let number = i64::try_from(rng.random_range(0..options.payments)).unwrap();
    let limit = LIMIT;
    let nobody = Address::repeat_byte(0xcc);
    match query.0 {
        "payments" => payments(conn, PaymentFilter::default()).await,
        "payments, deep page" => payments(conn, PaymentFilter { after: deep, ..Default::default() }).await,
        "payments of an account" => payments(conn, PaymentFilter { account: Some(who), ..Default::default() }).await,
        "payments of an account, deep page" => {
            payments(conn, PaymentFilter { account: Some(who), after: deep, ..Default::default() }).await
        }
        "payments to a busy account that stopped" => {
            payments(conn, PaymentFilter { payee: Some(BUSY), ..Default::default() }).await
        }
        "payments to a busy account that stopped, of a rare kind" => {
            let kind = Some(PaymentKind::Escrow);
            payments(conn, PaymentFilter { account: Some(BUSY), kind, after: deep, ..Default::default() }).await
        }
        "payments between two accounts" => {
            payments(conn, PaymentFilter { payer: Some(who), payee: Some(BUSY), ..Default::default() }).await
        }
        "payments of an account in a span of blocks" => {
            let span = Span { from: Some(block), to: Some(block + blocks / 10) };
            payments(conn, PaymentFilter { account: Some(who), blocks: span, ..Default::default() }).await
        }
        "payments of a kind that stopped" => {
            payments(conn, PaymentFilter { kind: Some(PaymentKind::Router), ..Default::default() }).await
        }
        "payments of a rare kind" => {
            payments(conn, PaymentFilter { kind: Some(PaymentKind::Escrow), ..Default::default() }).await
        }
        "payments in a token that nobody uses" => {
            payments(conn, PaymentFilter { token: Some(nobody), after: deep, ..Default::default() }).await
        }
        "payments of a reference" => {
            payments(conn, PaymentFilter { reference: Some(sha256(number)), ..Default::default() }).await
        }
        "payments of a transaction" => {
            payments(conn, PaymentFilter { tx: Some(sha256(-number - 1)), ..Default::default() }).await
        }
        "transfers of an account, deep page" => {
            let filter = TransferFilter { account: Some(who), after: deep, limit, ..Default::default() };
            read::transfers(conn, &filter).await.unwrap().len()
        }
        "transfers of a transaction" => {
            let filter = TransferFilter { tx: Some(sha256(-number - 1)), limit, ..Default::default() };
            read::transfers(conn, &filter).await.unwrap().len()
        }
        "transfer of an authorization" => {
            let filter = TransferFilter { authorization_nonce: Some(sha256(number)), limit, ..Default::default() };
            read::transfers(conn, &filter).await.unwrap().len()
        }
        "statement" => statement(conn, who, None).await,
        "statement, deep page" => statement(conn, who, deep).await,
        "statement of a busy account, deep page" => statement(conn, BUSY, deep).await,
        "balance" => usize::from(read::account(conn, USDC, who, None).await.unwrap().transfers > 0),
        "balance at a block" => usize::from(read::account(conn, USDC, who, Some(block)).await.unwrap().transfers > 0),
        "sums of 7 days" => {
            let newest = 1_750_000_000 + i64::try_from(blocks).unwrap() * 60;
            let from = (OffsetDateTime::from_unix_timestamp(newest).unwrap() - time::Duration::days(6)).date();
            stats(conn, StatFilter { from: Some(from), ..Default::default() }).await
        }
        "sums of all days" => stats(conn, StatFilter::default()).await,
        "sums of a kind that stopped" => stats(conn, StatFilter { kind: Some(PaymentKind::Router), ..Default::default() }).await,
        "sums in a token that nobody uses" => stats(conn, StatFilter { token: Some(nobody), ..Default::default() }).await,
        "events of a contract, deep page" => {
            events(conn, EventFilter { contract: Some(ROUTER), after: deep, ..Default::default() }).await
        }
        "events of an account" => events(conn, EventFilter { account: Some(who), ..Default::default() }).await,
        "events of a contract and a name that it never emits" => {
            let name = Some("PaymentExecuted".to_owned());
            events(conn, EventFilter { contract: Some(ROUTER), name, after: deep, ..Default::default() }).await
        }
        "events of a reference" => {
            let reference = Some(B256::from_slice(&Sha256::digest(who)));
            events(conn, EventFilter { reference, account: Some(who), ..Default::default() }).await
        }
        "blocks, deep page" => {
            let filter = BlockFilter { after: Some(block), limit, ..Default::default() };
            read::blocks(conn, &filter).await.unwrap().len()
        }
        "agreements of a status" => {
            agreements(conn, AgreementFilter { status: Some(AgreementStatus::Disputed), ..Default::default() }).await
        }
        "agreements of a busy buyer and a status" => {
            let status = Some(AgreementStatus::Disputed);
            agreements(conn, AgreementFilter { buyer: Some(BUSY), status, ..Default::default() }).await
        }
        "agreements of a busy buyer and a seller" => {
            agreements(conn, AgreementFilter { buyer: Some(BUSY), seller: Some(other), ..Default::default() }).await
        }
        "agreements at a block" => {
            agreements(conn, AgreementFilter { at_block: Some(block), after: Some(sha256(number)), ..Default::default() }).await
        }
        "agreements of a buyer at a block" => {
            agreements(conn, AgreementFilter { buyer: Some(who), at_block: Some(block), ..Default::default() }).await
        }
        "wallets at a block" => wallets(conn, WalletFilter { at_block: Some(block), ..Default::default() }).await,
        "wallets of an owner at a block" => {
            wallets(conn, WalletFilter { owner: Some(account(0)), at_block: Some(block), ..Default::default() }).await
        }
        "wallet and what remains of its limits" => {
            let state = read::wallet(conn, WALLET, None).await.unwrap().unwrap();
            read::limits(conn, WALLET, &state, OffsetDateTime::UNIX_EPOCH).await.unwrap().len()
        }
        name => unreachable!("{name}"),
    }
}

async fn payments(conn: &mut PgConnection, filter: PaymentFilter) -> usize {
    let filter = PaymentFilter { limit: LIMIT, ..filter };
    let until = read::payments_horizon(conn, &filter).await.unwrap();
    read::payments(conn, &PaymentFilter { until, ..filter }).await.unwrap().len()
}

async fn events(conn: &mut PgConnection, filter: EventFilter) -> usize {
    let filter = EventFilter { limit: LIMIT, ..filter };
    let until = read::events_horizon(conn, &filter).await.unwrap();
    read::events(conn, &EventFilter { until, ..filter }).await.unwrap().len()
}

async fn statement(conn: &mut PgConnection, who: Address, after: Option<Position>) -> usize {
    let filter = StatementFilter { blocks: Span::default(), after, order: Order::Desc, limit: LIMIT, held_before: 0 };
    read::statement(conn, USDC, who, &filter).await.unwrap().lines.len()
}

async fn stats(conn: &mut PgConnection, filter: StatFilter) -> usize {
    read::stats(conn, &StatFilter { limit: 500, ..filter }).await.unwrap().len()
}

async fn agreements(conn: &mut PgConnection, filter: AgreementFilter) -> usize {
    read::agreements(conn, &AgreementFilter { limit: LIMIT, ..filter }).await.unwrap().rows.len()
}

async fn wallets(conn: &mut PgConnection, filter: WalletFilter) -> usize {
    read::wallets(conn, &WalletFilter { limit: LIMIT, ..filter }).await.unwrap().rows.len()
}
