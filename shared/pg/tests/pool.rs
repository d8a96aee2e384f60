//! What holds for every connection of a service.

use std::time::Duration;

use natter_pg::DatabaseUrl;
use natter_test_support::{PgBouncer, Postgres};
use sqlx::migrate::Migrator;

async fn none() -> Migrator {
    let folder = tempfile::tempdir().expect("a temporary folder");
    Migrator::new(folder.path()).await.expect("no migrations")
}

fn url(postgres: &Postgres, role: &str) -> DatabaseUrl {
    postgres.url(role).parse().expect("a URL")
}

#[tokio::test]
async fn statements_lock_waits_and_idle_transactions_end() {
    let postgres = Postgres::start().await;
    let migrations = none().await;
    let owner = url(&postgres, "users_owner");
    natter_pg::migrate(&owner, "users", &migrations)
        .await
        .expect("it is set up");
    let pool = natter_pg::connect(
        &url(&postgres, "users"),
        "users",
        2,
        &migrations,
        natter_test_support::PATIENCE,
    )
    .await
    .expect("it connects");
    for (setting, most) in [
        ("statement_timeout", 5),
        ("lock_timeout", 2),
        ("idle_in_transaction_session_timeout", 15),
    ] {
        let milliseconds: i64 = sqlx::query_scalar(
            "SELECT setting::bigint FROM pg_settings WHERE name = $1 AND unit = 'ms'",
        )
        .bind(setting)
        .fetch_one(&pool)
        .await
        .expect("an answer");
        let limit = Duration::from_millis(milliseconds.unsigned_abs());
        assert_eq!(limit, Duration::from_secs(most), "{setting}");
    }
    // They are not only shown: a statement that takes too long is ended.
    let slow = sqlx::query("SELECT pg_sleep(60)").execute(&pool).await;
    let error = slow.expect_err("it takes too long");
    let code = error.as_database_error().and_then(|cause| cause.code());
    assert_eq!(code.as_deref(), Some("57014"), "{error}");
}

/// Through PgBouncer the settings of a session are refused, or lost where it was told to ignore them.
#[tokio::test]
async fn a_pooler_is_refused_with_the_reason() {
    let postgres = Postgres::start().await;
    let migrations = none().await;
    let owner = url(&postgres, "users_owner");
    let set_up = natter_pg::migrate(&owner, "users", &migrations).await;
    set_up.expect("it is set up");
    for settings in ["", "ignore_startup_parameters = options"] {
        let pooler = PgBouncer::start(&postgres, settings).await;
        let through = |role: &str| {
            let url = postgres.url_through(pooler.port(), role);
            url.parse::<DatabaseUrl>().expect("a URL")
        };
        let patience = natter_test_support::PATIENCE;
        let (service, owner) = (through("users"), through("users_owner"));
        let connected = natter_pg::connect(&service, "users", 2, &migrations, patience).await;
        let refused = connected.expect_err("a pooler is in front of it");
        let set_up = natter_pg::migrate(&owner, "users", &migrations).await;
        for (refused, setting) in [
            (refused, "NATTER_USERS_DATABASE_URL"),
            (
                set_up.expect_err("as above"),
                "NATTER_USERS_OWNER_DATABASE_URL",
            ),
        ] {
            let said = format!("{refused:#}");
            assert!(said.contains("PgBouncer"), "{settings}: {said}");
            assert!(said.contains(setting), "{settings}: {said}");
        }
    }
}
