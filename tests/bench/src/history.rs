//! A page of history costs the same at any depth, in a conversation of any length; a search uses
//! its index.

use std::time::{Duration, Instant};

use clap::Args;
use natter_e2e::{Topology, World};
use natter_test_support::{Friends, Person};
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use crate::{
    explain::{explained, pages, prepare, reads},
    table::{line, ms, percentile},
};

const REPEATS: usize = 50;
/// How many different texts the messages have, and how many words each text has beside the one
/// that all have.
const PHRASES: i64 = 20_000;
const WORDS: usize = 6;
/// What words are made of: some 1,300 syllables.
const ONSETS: &str = "b c d f g h j k l m n p r s t v w st tr ch sh pl";
const NUCLEI: &str = "a e i o u ea ou ie";
const CODAS: &str = "- n r s t l nd ck";

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
        ("messages, a part of a rare word", format!("{search}eedl")),
        (
            "messages, parts that are common each and never together",
            format!("{search}shoun%20treack"),
        ),
        (
            "messages, a word in each of the conversation",
            format!("{search}everywhere"),
        ),
        (
            "messages, a part of a word in each",
            format!("{search}verywher"),
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
        // Without the statements that tasks of the process send meanwhile.
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
    // To make an index anew is faster than to keep it up to date.
    run_sql(&mut admin, "SET maintenance_work_mem = '1GB'; SET synchronous_commit = off; DROP INDEX messages.search_grams").await?;
    phrases(&mut admin).await?;
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
    let index = "CREATE INDEX search_grams ON messages.search USING gin (grams)
         WITH (gin_pending_list_limit = 262144);
         ALTER INDEX messages.search_grams OWNER TO natter_messages_owner";
    run_sql(&mut admin, index).await?;
    run_sql(&mut admin, "VACUUM ANALYZE messages.log").await?;
    run_sql(&mut admin, "VACUUM ANALYZE messages.search").await?;
    run_sql(&mut admin, "VACUUM ANALYZE users.accounts").await?;
    run_sql(&mut admin, "CHECKPOINT").await
}

/// The texts of messages, each with what the search index has of it.
async fn phrases(admin: &mut PgConnection) -> anyhow::Result<()> {
    run_sql(admin, "CREATE TEMPORARY TABLE IF NOT EXISTS phrases (number bigint PRIMARY KEY, content text, grams integer[])").await?;
    let parts = [ONSETS, NUCLEI, CODAS].map(|part| part.split(' ').collect::<Vec<_>>());
    let mut random = 7_u64;
    for number in 0..PHRASES {
        let mut phrase = "everywhere".to_owned();
        for _ in 0..WORDS {
            phrase.push(' ');
            for part in parts.iter().chain(&parts) {
                // Knuth's MMIX generator: the same words in each run.
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                phrase.push_str(part[(random >> 33) as usize % part.len()].trim_matches('-'));
            }
        }
        sqlx::query("INSERT INTO phrases VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(number)
            .bind(&phrase)
            .bind(natter_messages::grams_of(&phrase))
            .execute(&mut *admin)
            .await?;
    }
    Ok(())
}

/// Messages of a channel, a minute apart, up to `want`; three of them have a rare word.
async fn entries(
    admin: &mut PgConnection,
    channel: &str,
    have: u64,
    want: u64,
) -> anyhow::Result<()> {
    let id: Uuid = channel.parse()?;
    let needle: Vec<_> = natter_messages::grams_of("needle")
        .iter()
        .map(i32::to_string)
        .collect();
    let needle = needle.join(",");
    let mut from = have + 1;
    while from <= want {
        // Within one slice of the index.
        let slice = from / natter_messages::SLICE;
        let to = want.min((slice + 1) * natter_messages::SLICE - 1);
        let place = natter_messages::slice(id, slice);
        run_sql(admin, &format!(
            "WITH entries AS (
                 INSERT INTO messages.log (friendship_id, seq, id, kind, position, from_position, at, sender, digest, content)
                 SELECT friendship_id, s,
                        (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0') || '8000' || '8000' || '00'
                         || lpad(to_hex(s), 10, '0'))::uuid,
                        0, s, (s + 1) / 2, moment, CASE WHEN s % 2 = 1 THEN from_user ELSE to_user END, 0,
                        phrases.content || CASE WHEN s IN (7, 77, 777) THEN ' needle' ELSE '' END
                 FROM messages.channels, generate_series({from}, {to}) s,
                      LATERAL (SELECT timestamptz '2026-11-01' - interval '1 minute' * (1000000 - s) AS moment) times,
                      phrases
                 WHERE friendship_id = '{channel}' AND phrases.number = s::bigint * 7919 % {PHRASES}
             )
             INSERT INTO messages.search
             SELECT '{channel}', s, phrases.grams || {place} || CASE WHEN s IN (7, 77, 777) THEN '{{{needle}}}'::integer[] ELSE '{{}}' END
             FROM generate_series({from}, {to}) s, phrases
             WHERE phrases.number = s::bigint * 7919 % {PHRASES}")).await?;
        from = to + 1;
    }
    run_sql(
        admin,
        &format!(
            "INSERT INTO messages.searchable VALUES ('{channel}', {want})
         ON CONFLICT (friendship_id) DO UPDATE SET seq = excluded.seq"
        ),
    )
    .await?;
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
