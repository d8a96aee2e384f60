//! A page of history costs the same at any depth, in a conversation of any length; a search uses
//! its index.

use std::time::{Duration, Instant};

use clap::Args;
use natter_e2e::{Topology, World};
use natter_test_support::{Friends, Person};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::{
    explain::{explained, pages, prepare, reads},
    table::{line, ms, percentile},
};

const REPEATS: usize = 50;
/// Entries that are inserted in one statement.
const CHUNK: u64 = 250_000;

#[derive(Args)]
pub struct Options {
    /// Users
    #[arg(long, default_value_t = 1_000_000)]
    users: u64,
    /// Messages in all
    #[arg(long, default_value_t = 10_000_000)]
    messages: u64,
    /// Messages of the longest conversation
    #[arg(long, default_value_t = 1_000_000)]
    longest: u64,
}

/// How much there is.
struct Size {
    users: u64,
    messages: u64,
    longest: u64,
}

const SMALL: Size = Size {
    users: 1_000,
    messages: 10_000,
    longest: 5_000,
};

pub async fn run(options: Options) -> anyhow::Result<()> {
    let world = World::start(Topology::Standalone).await;
    let Friends { alice, channel, .. } = world.friends().await;
    // The messages service learns of the channel when it is asked for it.
    alice.history(&world.messages(), &channel).await;
    prepare(&world.postgres).await?;
    let large = Size {
        users: options.users,
        messages: options.messages,
        longest: options.longest,
    };
    line("| data | request | median | p99 | pages of 8 KiB | reads |")?;
    line("| --- | --- | --- | --- | --- | --- |")?;
    let mut have = Size {
        users: 0,
        messages: 0,
        longest: 0,
    };
    for size in [SMALL, large] {
        let started = Instant::now();
        load(&world, &channel, &have, &size).await?;
        eprintln!("loaded in {:.0} s", started.elapsed().as_secs_f64());
        measure(&world, &alice, &channel, &size).await?;
        have = size;
    }
    Ok(())
}

/// Fills the log with conversations of a thousand messages each.
pub async fn fill(world: &World, messages: u64) -> anyhow::Result<()> {
    let Friends { alice, channel, .. } = world.friends().await;
    alice.history(&world.messages(), &channel).await;
    let nothing = Size {
        users: 0,
        messages: 0,
        longest: 0,
    };
    let size = Size {
        users: 0,
        messages,
        longest: 1_000,
    };
    load(world, &channel, &nothing, &size).await
}

async fn measure(world: &World, alice: &Person, channel: &str, size: &Size) -> anyhow::Result<()> {
    let url = world.messages();
    let history = format!("{url}/api/messages/status/friendship/{channel}/messages/?page_size=10");
    let last = size.longest / 10;
    let half = size.longest / 2;
    let date = date_of(world, channel, half).await?;
    let search = format!("{url}/api/messages/search/?q=");
    let users = format!("{url}/api/users/?username=");
    let data = format!(
        "{} messages, {} in the conversation, {} users",
        size.messages, size.longest, size.users
    );
    for (name, request) in [
        ("history, first page", history.clone()),
        (
            "history, middle page",
            format!("{history}&page={}", last / 2),
        ),
        ("history, deepest page", format!("{history}&page={last}")),
        ("history, newest first", format!("{history}&before=1")),
        (
            "history, after a seq in the middle",
            format!("{history}&after_seq={half}"),
        ),
        (
            "history, from a date",
            format!("{history}&after=1&start_date={date}"),
        ),
        (
            "users, part of a rare name",
            format!("{users}ser{}99", size.users / 1_000),
        ),
        ("messages, a rare word", format!("{search}needle")),
        (
            "messages, a word in each of the conversation",
            format!("{search}everywhere"),
        ),
    ] {
        let mut times = Vec::with_capacity(REPEATS);
        for _ in 0..REPEATS {
            times.push(ask(alice, &request).await?);
        }
        let plans = explained(&world.postgres, async {
            ask(alice, &request).await?;
            Ok(())
        });
        // Of the statements that the other parts of the process send, none is about these.
        let plans = plans.await?.into_iter().filter(|plan| {
            let text = plan["Query Text"].as_str().unwrap_or_default();
            !text.contains("outbox") && !text.contains("INSERT INTO marks")
        });
        let plans: Vec<_> = plans.collect();
        let mut used: Vec<String> = plans.iter().flat_map(reads).collect();
        used.sort();
        used.dedup();
        let touched: u64 = plans.iter().map(pages).sum();
        let (median, p99) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
        let used = used.join(", ");
        line(&format!(
            "| {data} | {name} | {} | {} | {touched} | {used} |",
            ms(median),
            ms(p99)
        ))?;
    }
    Ok(())
}

/// When a message was sent.
async fn date_of(world: &World, channel: &str, seq: u64) -> anyhow::Result<String> {
    let mut admin = world.postgres.admin("natter").await;
    let statement = format!(
        "SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM messages.log
         WHERE friendship_id = '{channel}' AND seq = {seq}"
    );
    Ok(sqlx::query_scalar(AssertSqlSafe(statement))
        .fetch_one(&mut admin)
        .await?)
}

async fn ask(alice: &Person, url: &str) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let (status, body) = alice.get(url).await;
    anyhow::ensure!(status.is_success(), "{url}: {status} {body}");
    Ok(started.elapsed())
}

/// Brings the tables from one size to another.
async fn load(world: &World, channel: &str, have: &Size, want: &Size) -> anyhow::Result<()> {
    let mut admin = world.postgres.admin("natter").await;
    // An index is made faster than it is kept.
    run_sql(&mut admin, "SET maintenance_work_mem = '1GB'; SET synchronous_commit = off; DROP INDEX messages.log_words").await?;
    run_sql(&mut admin, &format!(
        "INSERT INTO users.accounts (id, username, username_key, email, password_hash, first_name, last_name)
         SELECT gen_random_uuid(), 'user' || n, 'USER' || n, 'user' || n || '@mail.example', '-', '', ''
         FROM generate_series({} + 1, {}) n", have.users, want.users)).await?;
    entries(&mut admin, channel, have.longest, want.longest).await?;
    // The other conversations have a thousand messages each.
    let others = |size: &Size| (size.messages - size.longest) / 1_000;
    for number in others(have)..others(want) {
        let other = format!("00000000-0000-7000-8000-{number:012x}");
        run_sql(&mut admin, &format!(
            "INSERT INTO messages.channels (friendship_id, from_user, to_user, is_open, revision, created_at)
             VALUES ('{other}', gen_random_uuid(), gen_random_uuid(), true, 1, now())")).await?;
        entries(&mut admin, &other, 0, 1_000).await?;
    }
    let index = "CREATE INDEX log_words ON messages.log
         USING gin (friendship_id, to_tsvector('simple', content))
         WITH (gin_pending_list_limit = 262144) WHERE kind < 2;
         ALTER INDEX messages.log_words OWNER TO natter_messages_owner";
    run_sql(&mut admin, index).await?;
    run_sql(&mut admin, "VACUUM ANALYZE messages.log").await?;
    run_sql(&mut admin, "VACUUM ANALYZE users.accounts").await?;
    run_sql(&mut admin, "CHECKPOINT").await
}

/// Messages of a channel, a minute apart, up to this one; three of all have a rare word.
async fn entries(
    admin: &mut PgConnection,
    channel: &str,
    have: u64,
    want: u64,
) -> anyhow::Result<()> {
    let mut from = have + 1;
    while from <= want {
        let to = want.min(from + CHUNK - 1);
        run_sql(admin, &format!(
            "INSERT INTO messages.log (friendship_id, seq, id, kind, position, from_position, at, sender, digest, content)
             SELECT friendship_id, s,
                    (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0') || '8000' || '8000' || '00'
                     || lpad(to_hex(s), 10, '0'))::uuid,
                    0, s, (s + 1) / 2, moment, CASE WHEN s % 2 = 1 THEN from_user ELSE to_user END, 0,
                    'everywhere ' || CASE WHEN s IN (7, 77, 777) THEN 'needle ' ELSE '' END
                    || 'w' || (random() * 5000)::int || ' w' || (random() * 5000)::int || ' w' || (random() * 5000)::int
                    || ' w' || (random() * 5000)::int || ' w' || (random() * 5000)::int
             FROM messages.channels, generate_series({from}, {to}) s,
                  LATERAL (SELECT timestamptz '2026-11-01' - interval '1 minute' * (1000000 - s) AS moment) times
             WHERE friendship_id = '{channel}'")).await?;
        from = to + 1;
    }
    run_sql(admin, &format!(
        "UPDATE messages.channels SET last_seq = {want}, messages = {want}, from_messages = ({want} + 1) / 2,
                last_at = (SELECT at FROM messages.log WHERE friendship_id = '{channel}' AND seq = {want})
         WHERE friendship_id = '{channel}'")).await
}

async fn run_sql(admin: &mut PgConnection, statement: &str) -> anyhow::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(admin)
        .await?;
    Ok(())
}
