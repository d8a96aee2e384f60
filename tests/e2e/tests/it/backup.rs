//! A backup is taken while people talk, and restored into another database.

use std::{fs, process::Output};

use natter_e2e::{Place, Topology, World, talk_during};
use natter_test_support::{Friends, Signal, until};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    cluster::{goes_on, newest},
    setback::{connect, send},
};

const SCHEMAS: [&str; 3] = ["users", "friendships", "messages"];

/// The settings that lead to another database of the same server.
fn urls(world: &World, database: &str) -> Vec<(String, String)> {
    let roles = SCHEMAS.iter();
    let roles = roles.flat_map(|schema| [(*schema).to_owned(), format!("{schema}_owner")]);
    roles
        .map(|role| {
            let url = world.postgres.url(&role);
            let url = url.strip_suffix("/natter").expect("the database's name");
            let setting = format!("NATTER_{}_DATABASE_URL", role.to_uppercase());
            (setting, format!("{url}/{database}"))
        })
        .collect()
}

/// Runs natter-admin on another database.
async fn on(world: &World, urls: &[(String, String)], arguments: &[&str]) -> Output {
    let urls = urls.iter();
    let urls: Vec<(&str, &str)> = urls.map(|(name, url)| (&**name, &**url)).collect();
    world.admin(arguments, &urls).await
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

#[tokio::test]
async fn a_backup_has_what_was_acknowledged_and_is_restored() {
    let mut world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let place = Place {
        gateways: vec![world.gateway(), world.gateway_2()],
        messages: world.messages(),
        channel: channel.clone(),
    };
    let folder = TempDir::with_prefix("natter-backup-").expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let file = path("backup");
    let mut stored = 0;
    let backup = async {
        goes_on(&world).await;
        stored = newest(&world).await.unsigned_abs();
        let taken = world.admin(&["backup", &file], &[]).await;
        assert!(taken.status.success(), "{}", said(&taken));
        goes_on(&world).await;
    };
    talk_during(place, &alice, &bob, backup).await;
    let again = world.admin(&["backup", &file], &[]).await;
    assert!(!again.status.success(), "it was overwritten");
    let (_, ready) = connect(&bob, &world.gateway()).await;
    let before = alice.history(&world.messages(), &channel).await;

    world.postgres.create_database("restored").await;
    let restored = urls(&world, "restored");
    let refused = on(&world, &restored, &["restore", &file]).await;
    assert!(
        said(&refused).contains("natter-admin setup"),
        "{}",
        said(&refused)
    );
    let set_up = on(&world, &restored, &["setup"]).await;
    assert!(set_up.status.success(), "{}", said(&set_up));
    let good = fs::read(&file).expect("it was written");
    let (mut changed, cut) = (good.clone(), &good[..good.len() / 2]);
    // The last of the row's two: its content, which stands behind its client id.
    let content = changed.windows(5).rposition(|some| some == b"\ta-1\t");
    changed[content.expect("the first message") + 3] = b'Z';
    for (name, bad, why) in [
        ("changed", &*changed, "damaged"),
        ("cut", cut, "breaks off"),
    ] {
        fs::write(path(name), bad).expect("it is ours");
        let refused = on(&world, &restored, &["restore", &path(name)]).await;
        assert!(!refused.status.success(), "{name} was restored");
        assert!(said(&refused).contains(why), "{name}: {}", said(&refused));
    }
    let verified = on(&world, &restored, &["restore", "--verify", &file]).await;
    assert!(verified.status.success(), "{}", said(&verified));
    assert!(
        said(&verified).contains("nothing was kept"),
        "{}",
        said(&verified)
    );
    let done = on(&world, &restored, &["restore", &file]).await;
    assert!(done.status.success(), "{}", said(&done));
    let refused = on(&world, &restored, &["restore", &file]).await;
    assert!(said(&refused).contains("has rows"), "{}", said(&refused));

    for name in ["users", "friendships", "messages", "messages-2"] {
        for (setting, url) in &restored {
            world.set(name, setting, url);
        }
        world.process(name).end(Signal::Term).await;
    }
    for name in ["users", "friendships", "messages", "messages-2"] {
        world.begin(name);
    }
    world.ready().await;
    // Everything up to the backup, with the tokens and the key of before.
    let after = alice.history(&world.messages(), &channel).await;
    assert!(after.len() as u64 >= stored && after.len() < before.len());
    assert_eq!(after[..], before[..after.len()]);
    // The log was set back: another epoch, as soon as the gateway has heard of it, and whoever has more
    // than the log is told.
    let mut socket = until("another epoch", || async {
        let (socket, now) = connect(&bob, &world.gateway()).await;
        (now["epoch"] != ready["epoch"]).then_some(socket)
    })
    .await;
    let have =
        json!({"type": "resume", "epoch": ready["epoch"], "channels": {&channel: before.len()}});
    socket.send(have).await;
    let resync = socket.frame("resync").await;
    assert_eq!(resync["channels"], json!({&channel: after.len()}));
    socket.frame("resumed").await;
    let next = send(&alice, &world.messages(), &channel, "after the restore").await;
    assert_eq!(next, after.len() as u64 + 1);
    assert_eq!(socket.frame("friendship_message").await["seq"], next);
}

#[tokio::test]
async fn a_backup_with_a_hole_is_refused() {
    let world = World::start(Topology::Standalone).await;
    let Friends { alice, channel, .. } = world.friends().await;
    for content in ["one", "two", "three"] {
        send(&alice, &world.messages(), &channel, content).await;
    }
    let mut admin = world.postgres.admin("natter").await;
    let lost = sqlx::raw_sql("DELETE FROM messages.log WHERE seq = 2");
    lost.execute(&mut admin).await.expect("a superuser may");
    let folder = TempDir::with_prefix("natter-backup-").expect("a temporary folder");
    let file = folder.path().join("backup").to_string_lossy().into_owned();
    let taken = world.admin(&["backup", &file], &[]).await;
    assert!(taken.status.success(), "{}", said(&taken));
    world.postgres.create_database("restored").await;
    let restored = urls(&world, "restored");
    let set_up = on(&world, &restored, &["setup"]).await;
    assert!(set_up.status.success(), "{}", said(&set_up));
    let refused = on(&world, &restored, &["restore", "--verify", &file]).await;
    assert!(!refused.status.success(), "it was good: {}", said(&refused));
    assert!(
        said(&refused).contains("has 1 channels whose log"),
        "{}",
        said(&refused)
    );
}
