//! What happened is written down, and cannot be changed unseen.

use api::{ActorKind, AgentType, AuditFilter, ChangePassword, Code, CreateApiKey, Role, Scope, Severity, ledger::VerifyQuery};
use market::audit;
use proptest::{prelude::*, test_runner::TestRunner};
use sqlx::{PgConnection, PgPool};
use stack::Postgres;

use crate::{
    funds::until,
    harness::{PASSWORD, SELLER, World, refusal},
};

const EVENTS: i64 = 20;

struct Log {
    pool: PgPool,
    _server: Postgres,
}

impl Log {
    /// Five batches of four events.
    async fn new() -> Self {
        let server = Postgres::start(None).await.unwrap();
        let database = server.create("audit", None).await.unwrap();
        market::migrate(&database.url).await.unwrap();
        let pool = market::pool(&database.url).await.unwrap();
        for number in 1..=EVENTS {
            let event = "SELECT audit('tested', 'info', 'market', NULL, gen_random_uuid(), NULL, NULL, NULL, jsonb_build_object('number', $1::bigint))";
            sqlx::query(event).bind(number).execute(&pool).await.unwrap();
            if number % 4 == 0 {
                assert_eq!(audit::seal(&pool).await.unwrap(), 4);
            }
        }
        Self { pool, _server: server }
    }
}

/// What somebody does who has the database.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Remove(i64),
    Rewrite(i64),
    Hide(i64),
    Swap(i64, i64),
    /// And moves all that follow up.
    CutOut(i64),
    RemoveSeal(i64),
    ChangeHead(i64),
}

async fn run(conn: &mut PgConnection, statement: &'static str, numbers: &[i64]) {
    let query = numbers.iter().fold(sqlx::query(statement), |query, number| query.bind(*number));
    assert!(query.execute(conn).await.unwrap().rows_affected() > 0, "{statement}");
}

impl Deed {
    async fn done(self, conn: &mut PgConnection) {
        sqlx::query("ALTER TABLE audit_events DISABLE TRIGGER USER").execute(&mut *conn).await.unwrap();
        let rewrite = "UPDATE audit_events SET body = convert_to(replace(convert_from(body, 'UTF8'), 'tested', 'nothing'), 'UTF8') WHERE number = $1";
        match self {
            Self::Remove(number) => run(conn, "DELETE FROM audit_events WHERE number = $1", &[number]).await,
            Self::Rewrite(number) => run(conn, rewrite, &[number]).await,
            Self::Hide(number) => run(conn, "UPDATE audit_events SET event_type = 'nothing' WHERE number = $1", &[number]).await,
            Self::Swap(one, two) => {
                run(conn, "UPDATE audit_events SET number = 1000 WHERE number = $1", &[one]).await;
                run(conn, "UPDATE audit_events SET number = $2 WHERE number = $1", &[two, one]).await;
                run(conn, "UPDATE audit_events SET number = $1 WHERE number = 1000", &[two]).await;
            }
            Self::CutOut(number) => {
                run(conn, "DELETE FROM audit_events WHERE number = $1", &[number]).await;
                for next in number + 1..=EVENTS {
                    run(conn, "UPDATE audit_events SET number = $1 - 1 WHERE number = $1", &[next]).await;
                }
            }
            Self::RemoveSeal(sequence) => run(conn, "DELETE FROM audit_seals WHERE sequence = $1", &[sequence]).await,
            Self::ChangeHead(sequence) => {
                run(conn, "UPDATE audit_seals SET head = sha256(head) WHERE sequence = $1", &[sequence]).await
            }
        }
    }
}

fn deeds() -> impl Strategy<Value = Deed> {
    let (number, sequence) = (1..=EVENTS, 1_i64..5);
    prop_oneof![
        number.clone().prop_map(Deed::Remove),
        number.clone().prop_map(Deed::Rewrite),
        number.clone().prop_map(Deed::Hide),
        (number.clone(), 1..EVENTS).prop_map(|(one, more)| Deed::Swap(one, (one + more - 1) % EVENTS + 1)),
        number.prop_map(Deed::CutOut),
        sequence.clone().prop_map(Deed::RemoveSeal),
        sequence.prop_map(Deed::ChangeHead),
    ]
}

#[test]
fn whatever_is_removed_changed_or_moved_shows() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let log = runtime.block_on(Log::new());
    let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) });
    let run = runner.run(&deeds(), |deed| {
        runtime.block_on(async {
            let mut tx = pg::begin(&log.pool).await.unwrap();
            let before = audit::check(&mut tx, 1, 100).await.unwrap();
            prop_assert_eq!((before.problem, before.seals, before.transfers), (None, 5, 20));
            deed.done(&mut tx).await;
            let after = audit::check(&mut tx, 1, 100).await.unwrap();
            prop_assert!(after.problem.is_some(), "{:?} is not seen", deed);
            tx.rollback().await.unwrap();
            Ok(())
        })
    });
    run.unwrap();
    let refused = runtime.block_on(async {
        let statements = ["DELETE FROM audit_events", "UPDATE audit_events SET severity = 'info'", "TRUNCATE audit_events"];
        let mut refused = 0;
        for statement in statements {
            refused += i32::from(sqlx::query(statement).execute(&log.pool).await.is_err());
        }
        refused
    });
    assert_eq!(refused, 3, "by accident nothing is changed either");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_did_what_is_told_to_those_who_help_and_proved() {
    let world = World::new().await;
    let market = world.market().await;
    let support = market.client.with_api_key(&market.staff(world.stack.database_url(), Role::Support).await);
    let agent = market.join("agent", SELLER, AgentType::Both).await;
    let request = CreateApiKey { name: "robot".into(), scopes: vec![Scope::Read], expires_at: None };
    let key = agent.client.create_api_key(&request).await.unwrap().key;
    for _ in 0..2 {
        agent.client.revoke_api_key(key.id).await.unwrap();
    }
    let me = market.creator("me@example.com").await;
    let change = ChangePassword { password: PASSWORD.into(), new_password: "another good password".into() };
    market.client.with_token(&me.access).change_password(&change).await.unwrap();
    assert_eq!(refusal(market.client.login(&api::Login::new("me@example.com", PASSWORD)).await), Code::Unauthenticated);
    assert_eq!(refusal(market.client.audit_events(&AuditFilter::default()).await), Code::Unauthenticated);

    let told = async |filter: AuditFilter| support.audit_events(&filter).await.unwrap();
    let of = async |actor, subject| {
        let filter = AuditFilter { actor, subject, limit: Some(100), ..AuditFilter::default() };
        told(filter).await.data.into_iter().map(|entry| entry.event.event_type).collect::<Vec<_>>()
    };
    assert_eq!(of(Some(agent.agent.id), None).await, ["api_key_revoked", "api_key_created", "agent_registered"], "newest first");
    assert_eq!(of(None, Some(key.id)).await, ["api_key_revoked", "api_key_created"]);
    let mine = of(Some(me.creator.id), None).await;
    assert_eq!(mine, ["login", "password_changed", "creator_registered", "login"]);
    let failed = told(AuditFilter { event_type: Some("login_failed".into()), ..AuditFilter::default() }).await.data;
    let [failed] = &failed[..] else { panic!("{failed:?}") };
    assert_eq!((failed.event.subject, failed.event.actor_kind), (Some(me.creator.id), ActorKind::Nobody));
    assert_eq!(failed.event.network.as_deref(), Some("127.0.0.0/24"));
    assert!(failed.event.request_id.is_some());
    // What staff decides is there by itself.
    let granted =
        AuditFilter { severity: Some(Severity::Warning), event_type: Some("role_granted".into()), ..AuditFilter::default() };
    let granted = told(granted).await.data;
    assert_eq!((granted.len(), granted[0].event.actor_kind), (1, ActorKind::Operator));
    let all = told(AuditFilter { page: Some(1), page_size: Some(200), ..AuditFilter::default() }).await.data;
    let second = told(AuditFilter { page: Some(2), page_size: Some(3), ..AuditFilter::default() }).await.data;
    let ids = |entries: &[api::AuditEntry]| entries.iter().map(|entry| entry.id).collect::<Vec<_>>();
    assert_eq!(ids(&second), ids(&all[3..6]));

    let numbered = async || told(AuditFilter { limit: Some(1), ..AuditFilter::default() }).await.data[0].number;
    until("all is sealed", async || numbered().await.is_some()).await;
    let last = numbered().await.unwrap();
    for number in 1..=last {
        let proof = support.audit_proof(number).await.unwrap();
        let event = proof.verify().unwrap();
        assert!(all.iter().any(|entry| entry.event == event), "{event:?}");
        let other = api::AuditProof { number: number + 1, ..proof };
        assert!(other.verify().is_err());
    }
    assert_eq!(refusal(support.audit_proof(last + 1).await), Code::NotFound);
    let verified = support.verify_audit(&VerifyQuery::default()).await.unwrap();
    assert_eq!((verified.valid, verified.events), (true, last));
}
