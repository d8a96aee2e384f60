//! What crosses three services: exporting and deleting an account, also when one of them crashes
//! in the middle.

use async_zip::base::read::mem::ZipFileReader;
use natter_e2e::{Topology, World};
use natter_test_support::{Friends, Person, Signal, befriend, until};
use reqwest::{
    Method, Response, StatusCode,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

/// Friends of the account that is deleted: so many that a crash finds some of the friendships still open.
const FRIENDS: usize = 40;

async fn export(person: &Person, world: &World) -> Response {
    let url = format!("{}/api/users/export/", world.users());
    let request = person.http.get(url).bearer_auth(&person.access);
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "application/zip");
    answer
}

struct Archive(ZipFileReader);

impl Archive {
    async fn of(bytes: Vec<u8>) -> Self {
        Self(ZipFileReader::new(bytes).await.expect("a whole archive"))
    }

    async fn bytes(&self, name: &str) -> Vec<u8> {
        let entries = self.0.file().entries();
        let names: Vec<&str> = entries
            .iter()
            .filter_map(|entry| entry.filename().as_str().ok())
            .collect();
        let index = names.iter().position(|other| *other == name);
        let index = index.unwrap_or_else(|| panic!("{name} is not among {names:?}"));
        // Whoever unpacks it may read it.
        assert_eq!(entries[index].unix_permissions(), Some(0o100_644));
        let mut bytes = Vec::new();
        let mut reader = self.0.reader_with_entry(index).await.expect("an entry");
        reader
            .read_to_end_checked(&mut bytes)
            .await
            .expect("its bytes");
        bytes
    }

    async fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.bytes(name).await).expect("JSON")
    }
}

/// Two friends, a message with a file, and an edit.
async fn talked(world: &World) -> (Friends, Value) {
    let friends = world.friends().await;
    let Friends {
        alice,
        bob,
        channel,
    } = &friends;
    let messages = world.messages();
    let upload = Part::bytes(b"content".to_vec()).file_name("../up.txt");
    let upload = alice
        .http
        .post(format!("{messages}/api/messages/media/"))
        .bearer_auth(&alice.access)
        .multipart(Form::new().part("file", upload));
    let file: Value = upload
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    let send = format!("{messages}/api/messages/status/friendship/{channel}/messages/");
    let with_file = json!({"payload": "look", "media": [{"id": file["id"]}]});
    assert_eq!(alice.post(&send, with_file).await.0, StatusCode::CREATED);
    let answer = json!({"payload": "nice"});
    assert_eq!(bob.post(&send, answer).await.0, StatusCode::CREATED);
    (friends, file)
}

async fn check(archive: Archive, friends: &Friends, file: &Value) {
    let Friends { alice, channel, .. } = friends;
    let account = archive.json("account.json").await;
    assert_eq!(
        (&account["id"], &account["username"]),
        (&json!(alice.id), &json!(alice.username))
    );
    assert_eq!(account["password_hash"], Value::Null);
    let sessions = archive.json("sessions.json").await;
    assert_eq!(sessions.as_array().map(Vec::len), Some(1));
    let friendships = archive.json("friendships.json").await;
    assert_eq!(friendships[0]["id"], json!(channel));
    assert_eq!(
        archive.json("marks.json").await[0]["channel"],
        json!(channel)
    );
    let log = archive.json(&format!("conversations/{channel}.json")).await;
    let contents: Vec<&Value> = log
        .as_array()
        .expect("events")
        .iter()
        .map(|event| &event["message"]["content"])
        .collect();
    assert_eq!(contents, ["look", "nice"]);
    let listed = archive.json("files.json").await[0].clone();
    let id = file["id"].as_str().expect("an id");
    assert_eq!(
        (&listed["id"], &listed["filename"]),
        (&json!(id), &json!("up.txt"))
    );
    assert_eq!(listed["entry"], format!("files/{id}-up.txt"));
    assert_eq!(
        archive.bytes(&format!("files/{id}-up.txt")).await,
        b"content"
    );
}

#[tokio::test]
async fn an_export_has_everything() {
    let world = World::start(Topology::Standalone).await;
    let (friends, file) = talked(&world).await;
    let archive = export(&friends.alice, &world)
        .await
        .bytes()
        .await
        .expect("all of it");
    check(Archive::of(archive.into()).await, &friends, &file).await;
    // A HEAD builds no archive, and so takes none of the places for exports.
    for _ in 0..20 {
        let url = format!("{}/api/users/export/", world.users());
        let request = friends
            .alice
            .http
            .head(url)
            .bearer_auth(&friends.alice.access);
        let head = request.send().await.expect("an answer");
        assert_eq!(head.status(), StatusCode::OK);
        assert_eq!(head.headers()["content-type"], "application/zip");
    }
    let log = world.log(["standalone"]);
    assert_eq!(log.matches("export begun").count(), 1);
}

#[tokio::test]
async fn an_export_goes_on_after_a_crash_in_the_middle() {
    let mut world = World::start(Topology::Apart).await;
    let (friends, file) = talked(&world).await;
    // The users service has its part, and asks in vain for the next.
    for replica in ["messages", "messages-2"] {
        world.process(replica).end(Signal::Kill).await;
    }
    let mut answer = export(&friends.alice, &world).await;
    let mut bytes = Vec::new();
    let name = b"friendships.json";
    while !bytes.windows(name.len()).any(|window| window == name) {
        let part = answer.chunk().await.expect("it goes on");
        bytes.extend(part.expect("it has not ended"));
    }
    world.restart("messages", Signal::Kill).await;
    while let Some(part) = answer.chunk().await.expect("it goes on") {
        bytes.extend(part);
    }
    check(Archive::of(bytes).await, &friends, &file).await;
}

#[tokio::test]
async fn a_deletion_goes_on_after_a_crash_in_the_middle() {
    let mut world = World::start(Topology::Apart).await;
    let users = world.users();
    let alice = Person::sign_up(&users, "alice").await;
    let mut friends = Vec::new();
    for _ in 0..FRIENDS {
        let friend = Person::sign_up(&users, "friend").await;
        befriend(&world.friendships(), &alice, &friend).await;
        friends.push(friend);
    }
    let mut socket = friends[0].connect(&world.gateway()).await;
    world.process("friendships").end(Signal::Kill).await;
    let url = format!("{users}/api/users/profile/");
    let password = json!({"password": natter_test_support::PASSWORD});
    let delete = alice
        .http
        .request(Method::DELETE, url)
        .bearer_auth(&alice.access)
        .json(&password);
    let deleted = delete.send().await.expect("an answer");
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    // It begins, and crashes when the first friend has been told.
    world.restart("friendships", Signal::Kill).await;
    let update = socket.frame("friendship_update").await;
    assert_eq!(update["friendship"]["is_open"], false);
    world.restart("friendships", Signal::Kill).await;
    let url = format!("{}/api/users/friendship/?expand=users", world.friendships());
    for friend in &friends {
        let closed = until("every friendship is closed", || async {
            let (_, all) = friend.get(&url).await;
            (all[0]["is_open"] == false).then_some(all)
        });
        let from = &closed.await[0]["from_user"];
        assert_eq!(
            (&from["deleted"], &from["username"]),
            (&json!(true), &json!(""))
        );
    }
}
