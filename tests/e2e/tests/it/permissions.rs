//! Every part gets only what it needs: at NATS, and in Postgres.

use std::collections::BTreeSet;

use async_nats::{Client, ConnectOptions, Event};
use natter_e2e::{Topology, World};
use natter_test_support::{Nats, PATIENCE, Postgres, until};
use sqlx::{Connection, Executor, PgConnection};
use tokio::{sync::mpsc, time::timeout};

/// Subjects, and which NATS users may publish there. All other users are refused.
const PUBLISH: &[(&str, &[&str])] = &[
    ("send.friendship.1", &["gateway"]),
    ("again.send.friendship.1", &["gateway"]),
    ("again.mark.friendship.1", &["gateway"]),
    ("again.rpc.users.refresh", &[]),
    (
        "again.rpc.users.get_many",
        &["friendships", "messages", "gateway"],
    ),
    ("again.rpc.friendships.list", &["users"]),
    ("again.rpc.messages.after", &["users", "gateway"]),
    ("mark.friendship.1", &["gateway"]),
    ("chat.friendship.1.log", &["messages"]),
    ("chat.friendship.1.mark", &["messages"]),
    ("chat.friendship.1.typing", &["gateway"]),
    ("presence.user.1", &["gateway"]),
    ("events.users.1.deleted", &["users", "admin"]),
    ("events.friendships.1.opened", &["friendships", "admin"]),
    ("notify.user.1", &["users", "friendships"]),
    ("$KV.revoked_sessions.1", &["users"]),
    ("dlq.USERS", &["friendships"]),
    ("dlq.FRIENDSHIPS", &["messages"]),
    ("dlq.CHAT", &[]),
    (
        "rpc.users.get_many",
        &["friendships", "messages", "gateway"],
    ),
    ("rpc.users.jwks", &["friendships", "messages", "gateway"]),
    ("rpc.users.refresh", &["gateway"]),
    ("rpc.friendships.get", &["users", "messages", "gateway"]),
    ("rpc.friendships.list", &["users"]),
    ("rpc.friendships.list_open", &["messages", "gateway"]),
    ("rpc.messages.heads", &["users", "gateway"]),
    ("rpc.messages.after", &["users", "gateway"]),
    ("rpc.messages.files", &["users"]),
    ("rpc.messages.marks", &["users"]),
    ("rpc.messages.marks_of", &["gateway"]),
    ("rpc.messages.epoch", &["gateway"]),
    ("again.rpc.messages.marks_of", &["gateway"]),
    ("again.rpc.messages.epoch", &["gateway"]),
    ("$SRV.PING", &["admin"]),
    ("$SRV.STATS.users", &["admin"]),
    // Inboxes for replies: without a request only their owners may publish there, who do so to
    // learn when the server has processed what they sent before.
    ("_INBOX_gateway.1", &["gateway"]),
    ("_INBOX_users.1", &["users"]),
    ("_INBOX.1", &[]),
    ("$JS.API.STREAM.CREATE.CHAT", &["admin"]),
    ("$JS.API.STREAM.UPDATE.CHAT", &["admin"]),
    ("$JS.API.STREAM.DELETE.CHAT", &[]),
    ("$JS.API.STREAM.PURGE.CHAT", &[]),
    ("$JS.API.STREAM.MSG.DELETE.CHAT", &[]),
    ("$JS.API.STREAM.MSG.GET.CHAT", &["messages", "subscriber"]),
    ("$JS.API.STREAM.MSG.GET.USERS", &["users", "subscriber"]),
    (
        "$JS.API.STREAM.MSG.GET.FRIENDSHIPS",
        &["friendships", "subscriber"],
    ),
    ("$JS.API.STREAM.MSG.GET.DLQ", &["admin"]),
    (
        "$JS.API.STREAM.MSG.GET.KV_revoked_sessions",
        &["users", "subscriber"],
    ),
    (
        "$JS.API.DIRECT.GET.KV_revoked_sessions.$KV.revoked_sessions.1",
        &["subscriber"],
    ),
    ("$JS.API.CONSUMER.CREATE.CHAT.mine", &["subscriber"]),
    ("$JS.API.CONSUMER.CREATE.DLQ.mine", &[]),
    // What watches the ended sessions is made anew after a broken connection.
    (
        "$JS.API.CONSUMER.CREATE.KV_revoked_sessions",
        &["users", "friendships", "messages", "gateway", "subscriber"],
    ),
    (
        "$JS.API.CONSUMER.CREATE.KV_revoked_sessions.1.x",
        &["users", "friendships", "messages", "gateway", "subscriber"],
    ),
    (
        "$JS.API.CONSUMER.DELETE.KV_revoked_sessions.1",
        &["users", "friendships", "messages", "gateway", "subscriber"],
    ),
    (
        "$JS.API.CONSUMER.CREATE.USERS.friendships.x",
        &["friendships"],
    ),
    (
        "$JS.API.CONSUMER.CREATE.FRIENDSHIPS.messages.x",
        &["messages"],
    ),
    ("$JS.API.CONSUMER.DELETE.USERS.friendships", &[]),
    ("$JS.API.CONSUMER.DELETE.FRIENDSHIPS.messages", &[]),
    ("$JS.API.CONSUMER.DURABLE.CREATE.USERS.friendships", &[]),
    (
        "$JS.API.CONSUMER.MSG.NEXT.USERS.friendships",
        &["friendships"],
    ),
    (
        "$JS.API.CONSUMER.MSG.NEXT.FRIENDSHIPS.messages",
        &["messages"],
    ),
    ("$JS.ACK.USERS.friendships.1.1.1.1.1", &["friendships"]),
    ("$JS.ACK.FRIENDSHIPS.messages.1.1.1.1.1", &["messages"]),
    ("$JS.ACK.CHAT.mine.1.1.1.1.1", &["subscriber"]),
];

/// Subjects with a queue group (or none), and which NATS users may subscribe to them.
const SUBSCRIBE: &[(&str, &str, &[&str])] = &[
    (">", "", &[]),
    ("send.friendship.*", "", &[]),
    ("send.friendship.*", "messages", &["messages"]),
    ("mark.friendship.*", "messages", &["messages"]),
    ("again.send.friendship.*", "", &["messages"]),
    ("again.rpc.users.*", "", &["users"]),
    ("again.rpc.messages.*", "", &["messages"]),
    ("chat.friendship.*.*", "", &["gateway", "subscriber"]),
    ("presence.user.*", "", &["gateway", "subscriber"]),
    ("notify.user.*", "", &["gateway"]),
    ("events.>", "", &["subscriber"]),
    ("dlq.*", "", &[]),
    ("$KV.revoked_sessions.>", "", &[]),
    ("rpc.users.refresh", "", &[]),
    ("rpc.users.refresh", "users", &["users"]),
    ("rpc.friendships.get", "friendships", &["friendships"]),
    ("rpc.messages.after", "messages", &["messages"]),
    ("_INBOX_users.>", "", &["users"]),
    ("_INBOX_gateway.>", "", &["gateway"]),
    ("_INBOX.>", "", &["subscriber"]),
    ("$JS.API.>", "", &[]),
];

/// Connects as a user; what the server refuses comes out of the queue.
async fn connect(nats: &Nats, user: &str) -> (Client, mpsc::Receiver<String>) {
    let (refused, refusals) = mpsc::channel(1_000);
    let options = ConnectOptions::with_user_and_password(user.to_owned(), Nats::password(user));
    let options = options.event_callback(move |event| {
        let refused = refused.clone();
        async move {
            if let Event::ServerError(error) = event {
                let _ = refused.send(error.to_string()).await;
            }
        }
    });
    let client = options.connect(nats.url()).await.expect("it is let in");
    (client, refusals)
}

/// The subjects that were refused so far: the last refusal is of a subject that nobody may use.
async fn refused(client: &Client, refusals: &mut mpsc::Receiver<String>) -> BTreeSet<String> {
    client
        .publish("nobody.may", "".into())
        .await
        .expect("it is connected");
    let mut all = BTreeSet::new();
    loop {
        let refusal = timeout(PATIENCE, refusals.recv()).await;
        let refusal = refusal.expect("a refusal").expect("it is connected");
        let subject = refusal.split('"').nth(1).unwrap_or_default();
        if subject == "nobody.may" {
            return all;
        }
        all.insert(subject.to_owned());
    }
}

#[tokio::test]
async fn each_nats_user_may_do_its_own_and_nothing_else() {
    let nats = Nats::start().await;
    for user in Nats::USERS {
        let (client, mut refusals) = connect(&nats, user).await;
        for (subject, _) in PUBLISH {
            let sent = client.publish(*subject, "{}".into()).await;
            sent.expect("it is connected");
        }
        let got = refused(&client, &mut refusals).await;
        let expected = PUBLISH.iter().filter(|(_, may)| !may.contains(&user));
        let expected: BTreeSet<String> =
            expected.map(|(subject, _)| (*subject).to_owned()).collect();
        assert_eq!(got, expected, "what {user} may not publish");
        for (subject, queue, may) in SUBSCRIBE {
            let subscribed = if queue.is_empty() {
                client.subscribe(*subject).await
            } else {
                client.queue_subscribe(*subject, (*queue).to_owned()).await
            };
            let subscription = subscribed.expect("it is connected");
            let got = refused(&client, &mut refusals).await;
            assert_eq!(
                got.is_empty(),
                may.contains(&user),
                "{user}: {subject} {queue}"
            );
            drop(subscription);
        }
    }
}

#[tokio::test]
async fn nobody_gets_in_without_a_name() {
    let nats = Nats::start().await;
    assert!(ConnectOptions::new().connect(nats.url()).await.is_err());
    let wrong = ConnectOptions::with_user_and_password("gateway".to_owned(), "wrong".to_owned());
    assert!(wrong.connect(nats.url()).await.is_err());
}

const SCHEMAS: [&str; 3] = ["users", "friendships", "messages"];

async fn may(connection: &mut PgConnection, statement: String) -> bool {
    // Whatever it would do is taken back.
    let mut tx = connection.begin().await.expect("a transaction");
    let done = tx.execute(sqlx::AssertSqlSafe(statement)).await;
    match done {
        Ok(_) => true,
        Err(error) => {
            let code = error.as_database_error().and_then(|cause| cause.code());
            assert_eq!(code.as_deref(), Some("42501"), "{error}");
            false
        }
    }
}

#[tokio::test]
async fn each_postgres_role_sees_its_own_schema_alone() {
    let world = World::start(Topology::Apart).await;
    for schema in SCHEMAS {
        for role in [schema.to_owned(), format!("{schema}_owner")] {
            let url = world.postgres.url(&role);
            let mut connection = PgConnection::connect(&url).await.expect("it is let in");
            let other = if schema == "users" {
                "messages"
            } else {
                "users"
            };
            let wrong = world.postgres.url_with(&role, &Postgres::password(other));
            assert!(PgConnection::connect(&wrong).await.is_err(), "{role}");
            let is_owner = role != schema;
            for other in SCHEMAS {
                let own = other == schema;
                for (statement, expected) in [
                    (format!("SELECT count(*) FROM {other}.outbox"), own),
                    (format!("DELETE FROM {other}.outbox"), own),
                    (format!("CREATE TABLE {other}.more ()"), own && is_owner),
                    (
                        format!("ALTER TABLE {other}.outbox ADD more int"),
                        own && is_owner,
                    ),
                    (format!("DROP TABLE {other}.outbox"), own && is_owner),
                    (format!("TRUNCATE {other}.outbox"), own && is_owner),
                    (
                        format!("DELETE FROM {other}._sqlx_migrations"),
                        own && is_owner,
                    ),
                ] {
                    let got = may(&mut connection, statement.clone()).await;
                    assert_eq!(got, expected, "{role}: {statement}");
                }
            }
            assert!(!may(&mut connection, "CREATE TABLE public.more ()".to_owned()).await);
            assert!(!may(&mut connection, "CREATE SCHEMA more".to_owned()).await);
        }
    }
}

#[tokio::test]
async fn a_database_that_may_lose_what_it_committed_is_refused() {
    let mut world = World::start(Topology::Apart).await;
    for (setting, unsafe_value) in [
        ("fsync", "off"),
        ("full_page_writes", "off"),
        ("synchronous_commit", "off"),
        ("synchronous_commit", "local"),
        ("synchronous_commit", "remote_write"),
    ] {
        let mut admin = world.postgres.admin("natter").await;
        for statement in [
            format!("ALTER SYSTEM SET {setting} = {unsafe_value}"),
            "SELECT pg_reload_conf()".to_owned(),
        ] {
            let done = admin.execute(sqlx::AssertSqlSafe(statement)).await;
            done.expect("a superuser may");
        }
        let postgres = &world.postgres;
        until("the setting counts", || async {
            let mut fresh = postgres.admin("natter").await;
            let show = sqlx::AssertSqlSafe(format!("SHOW {setting}"));
            let value: String = sqlx::query_scalar(show).fetch_one(&mut fresh).await.ok()?;
            (value == unsafe_value).then_some(())
        })
        .await;
        let said = world.refusal("friendships").await;
        assert!(
            said.ends_with(&format!(
                "may lose what it has committed: {setting} = {unsafe_value}"
            )),
            "{said}"
        );
        let done = admin
            .execute(sqlx::AssertSqlSafe(format!("ALTER SYSTEM RESET {setting}")))
            .await;
        done.expect("a superuser may");
    }
}
