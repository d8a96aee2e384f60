//! What an operator is told: `natter-admin check`, `setup` and `smoke`, and a service whose
//! settings or surroundings are not as they should be.

use std::{fs, process::Output};

use natter_e2e::{Topology, World};
use natter_test_support::{Signal, until};
use tempfile::TempDir;

/// What a program said, and its exit code.
fn said(output: &Output) -> (String, Option<i32>) {
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (said, output.status.code())
}

#[tokio::test]
async fn a_sound_installation_passes_the_check_the_setup_and_the_smoke_test() {
    let world = World::start(Topology::Standalone).await;
    let (checked, code) = said(&world.admin(&["check"], &[]).await);
    assert_eq!(code, Some(0), "{checked}");
    assert!(!checked.contains("FAIL"), "{checked}");
    assert!(
        checked.contains("note  the stream CHAT is there"),
        "{checked}"
    );
    for user in ["users", "friendships", "messages", "gateway", "admin"] {
        assert!(
            checked.contains(&format!("ok    NATS user {user}: ")),
            "{checked}"
        );
    }
    for role in ["users", "users_owner", "friendships", "messages_owner"] {
        assert!(
            checked.contains(&format!("ok    Postgres role natter_{role}: ")),
            "{checked}"
        );
    }
    // Twice at once, on what is there already.
    let (one, other) = tokio::join!(world.admin(&["setup"], &[]), world.admin(&["setup"], &[]));
    assert!(
        one.status.success() && other.status.success(),
        "{one:?} {other:?}"
    );
    let url = world.users();
    let (tried, code) = said(&world.admin(&["smoke", "--url", &url], &[]).await);
    assert_eq!(code, Some(0), "{tried}");
    for step in [
        "sign up",
        "accept",
        "send, until the ack",
        "receive it",
        "delete an account",
    ] {
        assert!(tried.contains(&format!("ms  {step}\n")), "{tried}");
    }
    let mut admin = world.postgres.admin("natter").await;
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM users.accounts")
        .fetch_one(&mut admin)
        .await
        .expect("an answer");
    assert_eq!(left, 0, "somebody is left behind");
}

#[tokio::test]
async fn the_check_names_each_setting_that_is_at_fault() {
    let mut world = World::start(Topology::Standalone).await;
    let users = world.postgres.url("users");
    let owner = world.postgres.url("messages_owner");
    let folder = TempDir::new().expect("a temporary folder");
    let key = folder.path().join("key.pem");
    fs::write(&key, "no key").expect("it is ours");
    let key = key.to_string_lossy();
    for (setting, value, sentence) in [
        (
            "NATTER_SIGNING_KEY_FILE",
            key.as_ref(),
            "is not an Ed25519 key",
        ),
        (
            "NATTER_USERS_NATS_PASSWORD",
            "wrong",
            "refuses the user users with NATTER_USERS_NATS_PASSWORD",
        ),
        (
            "NATTER_MESSAGES_DATABASE_URL",
            &users,
            "NATTER_MESSAGES_DATABASE_URL must name that role",
        ),
        (
            "NATTER_MESSAGES_DATABASE_URL",
            &owner,
            "NATTER_MESSAGES_DATABASE_URL must name the role natter_messages",
        ),
        (
            "NATTER_USERS_OWNER_DATABASE_URL",
            &users,
            "NATTER_USERS_OWNER_DATABASE_URL must name that role",
        ),
        (
            "NATTER_USERS_DATABASE_URL",
            "postgres://natter_users@127.0.0.1:1/natter",
            "of NATTER_USERS_DATABASE_URL cannot be used",
        ),
        (
            "NATTER_NATS_URL",
            "nats://127.0.0.1:1",
            "the NATS server of NATTER_NATS_URL=127.0.0.1:1 cannot be used",
        ),
        (
            "NATTER_MEDIA_DIR",
            "/proc/nothing",
            "NATTER_MEDIA_DIR=/proc/nothing cannot be written to",
        ),
    ] {
        let (checked, code) = said(&world.admin(&["check"], &[(setting, value)]).await);
        assert_eq!(code, Some(1), "{setting}: {checked}");
        let told = checked
            .lines()
            .find(|line| line.starts_with("FAIL") && line.contains(sentence));
        assert!(told.is_some(), "{setting}: {checked}");
        assert!(checked.contains(" checks failed"), "{checked}");
    }
    // A value of the wrong kind is refused before anything is tried.
    let wrong = [("NATTER_HEARTBEAT_SECONDS", "soon")];
    let (checked, code) = said(&world.admin(&["check"], &wrong).await);
    assert_eq!(code, Some(1), "{checked}");
    assert_eq!(checked.lines().count(), 1, "{checked}");
    assert!(checked.contains("NATTER_HEARTBEAT_SECONDS"), "{checked}");
    world.process("standalone").end(Signal::Term).await;
}

#[tokio::test]
async fn secrets_come_from_files_and_a_bad_file_is_named() {
    let world = World::start(Topology::Standalone).await;
    let folder = TempDir::new().expect("a temporary folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("it is ours");
        path.to_string_lossy().into_owned()
    };
    let password = file("password", "nats-admin-secret\n");
    let empty = file("empty", "\n");
    let setting = "NATTER_ADMIN_NATS_PASSWORD_FILE";
    let without = "NATTER_ADMIN_NATS_PASSWORD";
    let listed = world
        .admin_without(&["dead-letters"], without, &[(setting, &password)])
        .await;
    assert!(listed.status.success(), "{listed:?}");
    // The password of a role beside a URL that has none.
    let (role, url) = ("users_owner", world.postgres.url("users_owner"));
    let secret = natter_test_support::Postgres::password(role);
    let bare = url.replace(&format!(":{secret}@"), "@");
    let secret = file("role", &secret);
    let settings = [
        ("NATTER_USERS_OWNER_DATABASE_URL", bare.as_str()),
        ("NATTER_USERS_OWNER_DATABASE_PASSWORD_FILE", &secret),
    ];
    let setup = world.admin(&["setup"], &settings).await;
    assert!(setup.status.success(), "{setup:?}");

    for (settings, sentence) in [
        (
            vec![],
            format!("not set: {without} (or {setting}) (see --help)"),
        ),
        (
            vec![(setting, empty.as_str())],
            format!("{setting}={empty} is empty"),
        ),
        (
            vec![(setting, "/nowhere")],
            format!("{setting}=/nowhere cannot be read"),
        ),
        (
            vec![(setting, &password), (without, "x")],
            format!("set {without} or {setting}, not both"),
        ),
    ] {
        let refused = world
            .admin_without(&["dead-letters"], without, &settings)
            .await;
        let (refused, code) = said(&refused);
        assert_eq!(code, Some(1), "{refused}");
        assert_eq!(refused.lines().count(), 1, "{refused}");
        assert!(refused.contains(&sentence), "{refused}");
    }
    let help = world
        .admin_without(
            &["dead-letters", "--help"],
            without,
            &[(setting, &password)],
        )
        .await;
    let (help, _) = said(&help);
    assert!(
        help.contains(setting) && !help.contains("nats-admin-secret"),
        "{help}"
    );
}

#[tokio::test]
async fn an_older_version_does_not_run_on_newer_tables() {
    let mut world = World::start(Topology::Apart).await;
    let mut admin = world.postgres.admin("natter").await;
    let mut migration = async |description: &str| {
        sqlx::query("DELETE FROM messages._sqlx_migrations WHERE version = 9999")
            .execute(&mut admin)
            .await
            .expect("it is deleted");
        sqlx::query(
            "INSERT INTO messages._sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (9999, $1, true, '', 0)",
        )
        .bind(description)
        .execute(&mut admin)
        .await
        .expect("it is inserted");
    };
    // One that only expands: a replica of the previous version may start again during the upgrade.
    migration("expand reactions").await;
    world.restart("messages", Signal::Term).await;
    let setup = world.admin(&["setup"], &[]).await;
    let (refused, code) = said(&setup);
    assert_eq!(code, Some(1), "an older setup migrates newer tables");
    assert!(
        refused.contains("the schema messages is of a newer version"),
        "{refused}"
    );
    // One that does not.
    migration("drop words").await;
    let refused = world.refusal("messages").await;
    assert!(
        refused.contains("the schema messages is of a newer version (this one does not know its migration 9999 drop words)"),
        "{refused}"
    );
    let (checked, code) = said(&world.admin(&["check"], &[]).await);
    assert_eq!(code, Some(1), "{checked}");
    assert!(checked.contains("is of a newer version"), "{checked}");
}

#[tokio::test]
async fn a_service_says_what_it_waits_for_and_is_asked_without_a_shell() {
    let mut world = World::start(Topology::Apart).await;
    assert_eq!(world.ask_ready("users").await, (String::new(), Some(0)));
    world.nats.stop(Signal::Kill).await;
    let (told, code) = until("it is unready", || async {
        let answer = world.ask_ready("users").await;
        (answer.1 != Some(0)).then_some(answer)
    })
    .await;
    assert_eq!(code, Some(1));
    assert!(told.contains("not ready, waiting for: broker"), "{told}");
    world.process("users").signal(Signal::Term).await;
    world.process("users").ended().await;
    world.begin("users");
    let waits = "waiting: the NATS server of NATTER_NATS_URL=127.0.0.1:";
    let process = world.process("users");
    process
        .line("what it waits for", |line| {
            line.contains(waits).then_some(())
        })
        .await;
}

/// A process that is told to stop is unready, and serves on until no traffic comes any more.
#[tokio::test]
async fn a_stopping_service_serves_until_it_is_withdrawn() {
    let delay = [("NATTER_SHUTDOWN_DELAY_SECONDS", "3600")];
    let mut world = World::start_with(Topology::Apart, &delay).await;
    let friends = world.friends().await;
    world.process("gateway").signal(Signal::Term).await;
    until("it is unready", || async {
        (!world.is_ready("gateway").await).then_some(())
    })
    .await;
    let mut socket = friends.alice.connect(&world.gateway()).await;
    let ack = socket.say(&friends.channel, "late", "still here").await;
    assert_eq!(ack["type"], "ack");
    world.process("gateway").end(Signal::Kill).await;
    for name in world.names() {
        if name != "gateway" {
            world.process(name).end(Signal::Kill).await;
        }
    }
}
