//! Sessions: how many there may be, when they end, and what a database that was set back does.

use natter_test_support::{Person, until};
use reqwest::StatusCode;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::start;

/// How often this person's sessions have this state.
async fn count(db: &mut PgConnection, person: &Person, state: &str) -> i64 {
    let statement =
        format!("SELECT count(*) FROM users.sessions WHERE user_id::text = $1 AND {state}");
    let counted = sqlx::query_scalar(AssertSqlSafe(statement)).bind(&person.id);
    counted.fetch_one(db).await.expect("a count")
}

/// Adds sessions that were used last so many seconds ago.
async fn add(db: &mut PgConnection, person: &Person, sessions: i32, seconds_ago: f64) {
    let added = sqlx::query(
        "INSERT INTO users.sessions
             (sid, user_id, user_agent, refresh_jti, refresh_issued_at, last_used_at)
         SELECT gen_random_uuid(), $1::uuid, 'old', gen_random_uuid(), at, at
         FROM generate_series(1, $2) AS n,
              LATERAL (SELECT now() - make_interval(secs => $3 + n * 0.001) AS at) AS used",
    );
    let added = added.bind(&person.id).bind(sessions).bind(seconds_ago);
    added.execute(db).await.expect("sessions");
}

/// However many there are, their end must fit into the deadline of a request.
#[tokio::test]
async fn any_number_of_sessions_ends_with_a_password_or_an_account() {
    const SESSIONS: i32 = 2_000;
    let app = start(&[]).await;
    let alice = Person::sign_up(app.url(), "alice").await;
    let mut db = app.postgres.admin("natter").await;
    add(&mut db, &alice, SESSIONS, 60.0).await;
    let url = |path: &str| format!("{}/api/users/{path}/", app.url());
    let change = json!({"current": "Str0ng!pass", "new": "0ther!Pass"});
    let (status, answer) = alice.post(&url("password"), change).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(count(&mut db, &alice, "ended_at IS NULL").await, 1);
    // One statement has ended them, and one written their events: no statement for each.
    let statements: i64 = sqlx::query_scalar(
        "SELECT count(DISTINCT cmin::text) FROM users.sessions WHERE user_id::text = $1 AND user_agent = 'old'",
    )
    .bind(&alice.id)
    .fetch_one(&mut db)
    .await
    .expect("a count");
    assert_eq!(statements, 1);
    // Each has its three rows, in their order: the bucket's entry, the notice, the event.
    let written: Vec<(String, i64)> = sqlx::query_as(
        "SELECT split_part(subject, '.', 1), count(*) FROM users.outbox
         WHERE payload LIKE '%session_revoked%' OR payload LIKE '%session_ended%' OR subject LIKE '$KV.%'
         GROUP BY 1 ORDER BY 1",
    )
    .fetch_all(&mut db)
    .await
    .expect("rows");
    let each = i64::from(SESSIONS);
    assert_eq!(
        written,
        [("$KV", each), ("events", each), ("notify", each)]
            .map(|(name, rows)| (name.to_owned(), rows))
    );

    add(&mut db, &alice, SESSIONS, 60.0).await;
    let gone = json!({"password": "0ther!Pass"});
    let deleted = alice.http.delete(url("profile")).bearer_auth(&alice.access);
    let deleted = deleted.json(&gone).send().await.expect("an answer");
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    assert_eq!(count(&mut db, &alice, "true").await, 0);
}

#[tokio::test]
async fn a_login_ends_what_nobody_uses_and_what_is_too_much() {
    let app = start(&[]).await;
    let alice = Person::sign_up(app.url(), "alice").await;
    let mut db = app.postgres.admin("natter").await;
    let day = 24.0 * 3_600.0;
    // The refresh tokens of some are past their 30 days; of others almost.
    add(&mut db, &alice, 5, 31.0 * day).await;
    add(&mut db, &alice, 5, 29.0 * day).await;
    let laptop = alice.log_in(app.url()).await;
    let live = "ended_at IS NULL";
    assert_eq!(count(&mut db, &alice, live).await, 7);
    let expired = "ended_at IS NULL AND refresh_issued_at < now() - interval '30 days'";
    assert_eq!(count(&mut db, &alice, expired).await, 0);

    // A thousand may live at a time: those used longest ago make room.
    add(&mut db, &alice, 1_000, day).await;
    let phone = alice.log_in(app.url()).await;
    let used_long_ago = "ended_at IS NULL AND last_used_at < now() - interval '28 days'";
    assert_eq!(count(&mut db, &alice, used_long_ago).await, 0);
    assert_eq!(count(&mut db, &alice, live).await, 1_000);
    for person in [&alice, &laptop, &phone] {
        let url = format!("{}/api/users/refresh-token/", app.url());
        let (status, answer) = person.post(&url, json!({"refresh": person.refresh})).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    until("other services are told", || async {
        let mut db = app.postgres.admin("natter").await;
        let told: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM users.outbox
             WHERE published_at IS NOT NULL AND payload LIKE '%session_revoked%'",
        )
        .fetch_one(&mut db)
        .await
        .expect("a count");
        // 5 that had expired, and 8 of the 1,008 that there would be.
        (told == 13).then_some(())
    })
    .await;
}

/// A restored backup, or a failover that lost commits, knows an older refresh token than the client.
#[tokio::test]
async fn a_client_that_is_ahead_of_a_database_that_was_set_back_stays_logged_in() {
    let app = start(&[]).await;
    let alice = Person::sign_up(app.url(), "alice").await;
    let url = format!("{}/api/users/refresh-token/", app.url());
    let mut db = app.postgres.admin("natter").await;
    let set_back = async |db: &mut PgConnection, seconds: f64| {
        let set = sqlx::query(
            "UPDATE users.sessions SET refresh_jti = gen_random_uuid(), exchanged_jtis = '{}', exchanged_at = '{}',
                 previous_jti = NULL, rotated_at = NULL,
                 refresh_issued_at = date_trunc('second', refresh_issued_at) - make_interval(secs => $2)
             WHERE user_id::text = $1",
        );
        let set = set.bind(&alice.id).bind(seconds).execute(db).await;
        assert_eq!(set.expect("a session").rows_affected(), 1);
    };
    set_back(&mut db, 1.0).await;
    let (status, renewed) = alice.post(&url, json!({"refresh": alice.refresh})).await;
    assert_eq!(status, StatusCode::OK, "{renewed}");
    let newest = renewed["refresh"].as_str().expect("a new refresh token");
    assert_ne!(newest, alice.refresh);
    // It is a token like any other from then on, and so is its predecessor within the grace.
    let (status, again) = alice.post(&url, json!({"refresh": alice.refresh})).await;
    assert_eq!(
        (status, &again["refresh"]),
        (StatusCode::OK, &json!(newest))
    );
    // One that is no newer than what the database knows proves nothing: it may be stolen.
    set_back(&mut db, 0.0).await;
    let (status, theft) = alice.post(&url, json!({"refresh": newest})).await;
    assert_eq!(
        (status.as_u16(), &theft["code"]),
        (401, &json!("invalid_refresh"))
    );
}
