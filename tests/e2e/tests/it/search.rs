//! `GET search/`: messages are found by words and parts of words.

use natter_e2e::{Topology, World};
use natter_test_support::{Friends, Person, Signal, until};
use reqwest::Url;
use serde_json::{Value, json};

/// The contents of what is found, best first.
async fn found(world: &World, person: &Person, query: &str) -> Vec<String> {
    let url = format!("{}/api/messages/search/", world.messages());
    let url = Url::parse_with_params(&url, [("q", query)]).expect("a URL");
    let (status, page) = person.get(url.as_str()).await;
    assert_eq!(status.as_u16(), 200, "{query}: {page}");
    let results = page["results"].as_array().expect("results").iter();
    let contents = results.map(|item| item["message"]["content"].as_str().expect("a text"));
    let contents: Vec<String> = contents.map(str::to_owned).collect();
    assert_eq!(page["count"], contents.len());
    contents
}

/// Waits until the messages service has taken every log over into the search table.
async fn taken_over(world: &World) {
    until("the search is up to date", || async {
        let mut admin = world.postgres.admin("natter").await;
        let behind: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM messages.channels LEFT JOIN messages.searchable USING (friendship_id)
             WHERE channels.last_seq > coalesce(searchable.seq, 0)",
        )
        .fetch_one(&mut admin)
        .await
        .expect("it is counted");
        (behind == 0).then_some(())
    })
    .await;
}

async fn rows(world: &World) -> i64 {
    let mut admin = world.postgres.admin("natter").await;
    sqlx::query_scalar("SELECT count(*) FROM messages.search")
        .fetch_one(&mut admin)
        .await
        .expect("it is counted")
}

#[tokio::test]
async fn what_people_type_is_found_at_once_and_by_the_index() {
    const TEXTS: [&str; 12] = [
        "see https://example.com/a/b?c=d!",
        "foo.png",
        "set sess.opts first",
        "我们明天去北京吗",
        "東京タワーに行きたい",
        "내일 한국에 갑니다",
        "ฉันรักภาษาไทย",
        "Un Café, s'il vous plaît",
        "η οδος του",
        "great 🎉 party 👍🏽",
        "a needle in the haystack",
        "needles",
    ];
    let world = World::start(Topology::Standalone).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let eve = Person::sign_up(&world.users(), "eve").await;
    let mut socket = alice.connect(&world.gateway()).await;
    for text in TEXTS {
        socket.say(&channel, text, text).await;
    }
    for round in ["at once", "by the index"] {
        for (query, expected) in [
            ("https://example.com/a/b?c=d", &[0][..]),
            ("example.com", &[0]),
            ("EXAMPLE", &[0]),
            ("foo", &[1]),
            ("png", &[1]),
            ("sess opts", &[2]),
            ("opts", &[2]),
            ("北京", &[3]),
            ("明", &[3]),
            ("京北", &[]),
            ("タワー", &[4]),
            ("ﾀﾜｰ", &[4]),
            ("한국", &[5]),
            ("ภาษา", &[6]),
            ("cafe", &[7]),
            ("CAFE\u{301}", &[7]),
            ("CAFÉ", &[7]),
            ("ｃａｆｅ", &[7]),
            ("ΟΔΟΣ", &[8]),
            ("🎉", &[9]),
            ("👍", &[9]),
            // The whole word before the newer part.
            ("needle", &[10, 11]),
            ("eedl", &[11, 10]),
            ("needle -haystack", &[11]),
            ("\"the haystack\"", &[10]),
            ("\"haystack the\"", &[]),
            ("foo or sess", &[2, 1]),
            ("needle nowhere", &[]),
            ("?!", &[]),
            ("\0", &[]),
        ] {
            let expected: Vec<&str> = expected.iter().map(|at: &usize| TEXTS[*at]).collect();
            assert_eq!(
                found(&world, &bob, query).await,
                expected,
                "{query}, {round}"
            );
        }
        assert!(found(&world, &eve, "needle").await.is_empty());
        taken_over(&world).await;
    }
}

#[tokio::test]
async fn a_message_is_found_as_it_reads_now() {
    let world = World::start(Topology::Standalone).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut socket = alice.connect(&world.gateway()).await;
    let first = socket.say(&channel, "c-1", "an early draft").await;
    let second = socket.say(&channel, "c-2", "a draft to go").await;
    taken_over(&world).await;
    assert_eq!(rows(&world).await, 2);
    let mut change = async |frame: Value| {
        socket.send(frame.clone()).await;
        let client_id = frame["client_id"].as_str().expect("a text");
        assert_eq!(socket.answer(client_id).await["type"], "ack");
    };
    change(json!({
        "type": "friendship_edit", "channel": channel, "message": first["message"],
        "payload": "the final wording", "client_id": "c-3",
    }))
    .await;
    change(json!({
        "type": "friendship_delete", "channel": channel, "message": second["message"],
        "client_id": "c-4",
    }))
    .await;
    for _ in ["at once", "by the index"] {
        assert!(found(&world, &bob, "draft").await.is_empty());
        assert_eq!(found(&world, &bob, "final").await, ["the final wording"]);
        taken_over(&world).await;
    }
    // Of the deleted message nothing is left; of the edited one both wordings.
    assert_eq!(rows(&world).await, 2);
    change(json!({
        "type": "friendship_delete", "channel": channel, "message": first["message"],
        "client_id": "c-5",
    }))
    .await;
    taken_over(&world).await;
    assert_eq!(rows(&world).await, 0);
    assert!(found(&world, &bob, "final").await.is_empty());
}

#[tokio::test]
async fn what_no_replica_told_of_is_taken_over_after_a_start() {
    let mut world = World::start(Topology::Standalone).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut socket = alice.connect(&world.gateway()).await;
    for number in 1..=300 {
        let text = format!("entry {number} {}", if number == 7 { "needle" } else { "" });
        socket.say(&channel, &text, &text).await;
    }
    taken_over(&world).await;
    let before = rows(&world).await;
    let mut admin = world.postgres.admin("natter").await;
    sqlx::raw_sql("TRUNCATE messages.search, messages.searchable")
        .execute(&mut admin)
        .await
        .expect("it is emptied");
    world.restart("standalone", Signal::Term).await;
    taken_over(&world).await;
    assert_eq!(rows(&world).await, before);
    assert_eq!(found(&world, &bob, "needle").await, ["entry 7 needle"]);
    let url = format!("{}/api/messages/search/?q=entry", world.messages());
    assert_eq!(bob.get(&url).await.1["count"], 300);
}

/// More than a slice of the index, more than is taken over at a time, and more than is counted.
#[tokio::test]
async fn a_long_conversation_is_taken_over_and_searched() {
    let mut world = World::start(Topology::Standalone).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut socket = alice.connect(&world.gateway()).await;
    socket.say(&channel, "c-1", "the oldest needle").await;
    taken_over(&world).await;
    let mut admin = world.postgres.admin("natter").await;
    let fill = format!(
        "INSERT INTO messages.log (friendship_id, seq, id, kind, position, from_position, at,
                                   sender, digest, content)
         SELECT friendship_id, s, gen_random_uuid(), 0, s, s, at, sender, 0,
                'everywhere ' || CASE WHEN s % 100 = 0 THEN repeat('long text ' || s, 600) ELSE s::text END
         FROM messages.log, generate_series(2, 12000) s
         WHERE friendship_id = '{channel}' AND seq = 1;
         UPDATE messages.channels SET last_seq = 12000, messages = 12000, from_messages = 12000
         WHERE friendship_id = '{channel}'"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(fill))
        .execute(&mut admin)
        .await
        .expect("it is stored");
    world.restart("standalone", Signal::Term).await;
    taken_over(&world).await;
    assert_eq!(rows(&world).await, 12_000);
    assert_eq!(found(&world, &bob, "needle").await, ["the oldest needle"]);
    assert_eq!(found(&world, &bob, "eedl").await, ["the oldest needle"]);
    assert_eq!(found(&world, &bob, "11999").await, ["everywhere 11999"]);
    let search = format!("{}/api/messages/search/", world.messages());
    let (_, page) = bob.get(&format!("{search}?q=verywher")).await;
    assert_eq!(page["count"], 10_000);
    // Every message has the excluded word; and more than 8 alternatives are refused.
    let (_, page) = bob.get(&format!("{search}?q=every%20-everywhere")).await;
    assert_eq!(page["count"], 0);
    let many = ["a"; 9].join("%20or%20");
    assert_eq!(bob.get(&format!("{search}?q={many}")).await.0, 400);
}
