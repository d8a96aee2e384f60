//! Everybody who uses Natter during a run: friends who talk, friends who fall out, strangers who ask
//! each other at the same moment, and sessions that end. Then what Natter says in the end.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, ensure};
use futures_util::future::{join_all, try_join_all};
use natter_test_support::{Choices, PASSWORD, Person, befriend};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    client::{Client, HTTP, PATIENCE, Place, events_url, insist},
    record::{Change, Channel, Device, Event, History, Item, Stall},
    visits::visit,
};

const DEVICES: usize = 2;
/// Has no devices but those that visit: they end again and again by a new password.
const KAY: &str = "kay";
/// Between two things that the same actor does, in milliseconds.
const SHORTEST_PAUSE_MS: u64 = 2_000;
const LONGEST_PAUSE_MS: u64 = 6_000;
const TICK: Duration = Duration::from_millis(50);

pub struct Crowd {
    place: Place,
    clients: Vec<Client>,
    /// By channel: its members.
    friends: BTreeMap<String, [Person; 2]>,
    /// Whose friendship is broken and mended all the time.
    turbulent: String,
    /// The channel of [`KAY`] and a friend of hers.
    renewed: String,
    seed: u64,
    changes: Vec<Change>,
    visitors: Vec<Device>,
    stalls: Vec<Stall>,
}

impl Crowd {
    /// Signs everybody up.
    pub async fn gather(place: &Place, seed: u64) -> anyhow::Result<Self> {
        let names = ["ada", "bo", "cy", "di", "ed", "flo", "lou", KAY];
        let mut people = Vec::new();
        for name in names {
            people.push(sign_up(place, name).await?);
        }
        let mut friends = BTreeMap::new();
        let mut of: Vec<Vec<String>> = vec![Vec::new(); people.len()];
        let mut turbulent = String::new();
        let mut renewed = String::new();
        // The first and the third have two friends each.
        for (one, other) in [(0, 1), (2, 3), (0, 2), (6, 7), (4, 5)] {
            let (one_person, other_person) = (&people[one], &people[other]);
            let channel = befriend(&place.friendships, one_person, other_person).await;
            friends.insert(channel.clone(), [one_person.clone(), other_person.clone()]);
            of[one].push(channel.clone());
            of[other].push(channel.clone());
            if names[other] == KAY {
                renewed.clone_from(&channel);
            }
            turbulent = channel;
        }
        let mut clients = Vec::new();
        for (number, person) in people.iter().enumerate() {
            if names[number] == KAY {
                continue;
            }
            for device in 0..DEVICES {
                let name = format!("{}-{device}", names[number]);
                let series = (number * DEVICES + device) as u64;
                let session = person.log_in(&place.users).await;
                let client = Client::new(&name, session, place.clone(), Choices::new(seed, series));
                let foreign = (number >= 4).then(|| of[0][0].clone());
                clients.push(client.works_in(&of[number], foreign));
            }
        }
        Ok(Self {
            place: place.clone(),
            clients,
            friends,
            turbulent,
            renewed,
            seed,
            changes: Vec::new(),
            visitors: Vec::new(),
            stalls: Vec::new(),
        })
    }

    /// The friends talk, and nobody else does anything, until the run is over.
    pub async fn talk(&mut self) -> anyhow::Result<()> {
        let clients = self.clients.iter_mut();
        join_all(clients.map(|client| client.live())).await;
        Ok(())
    }

    /// Works until the run is over.
    pub async fn live(&mut self) -> anyhow::Result<()> {
        let Self {
            place,
            clients,
            friends,
            turbulent,
            renewed,
            seed,
            ..
        } = self;
        let living = join_all(clients.iter_mut().map(|client| client.live()));
        let friends = friends.clone();
        let sides = friends[turbulent].clone();
        let (_, changes, races, visitors, stalls) = tokio::try_join!(
            async { anyhow::Ok(living.await) },
            fall_out(place, turbulent, sides, Choices::new(*seed, 100)),
            ask_each_other(place, Choices::new(*seed, 101)),
            visit(place, &friends, renewed, Choices::new(*seed, 102)),
            async { Ok(lags(place).await) },
        )?;
        self.changes = changes;
        self.visitors = visitors;
        self.friends.extend(races);
        self.stalls = stalls;
        Ok(())
    }

    /// Every account that is listed: its id and its name.
    pub async fn accounts(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let sides = self.friends.values().next().context("there are friends")?;
        let mut side = sides[0].clone();
        let mut accounts = BTreeMap::new();
        let mut url = Some(format!("{}/api/users/?page_size=100", self.place.users));
        while let Some(page) = url {
            let (code, page) = insist(&self.place, &mut side, Method::GET, &page, None).await?;
            ensure!(code == 200, "{code}: {page}");
            for user in page["results"].as_array().into_iter().flatten() {
                let text = |name: &str| user[name].as_str().unwrap_or_default().to_owned();
                accounts.insert(text("id"), text("username"));
            }
            url = page["next"].as_str().map(str::to_owned);
        }
        Ok(accounts)
    }

    /// Reads everything from both sides, once all is well again, and lets every device catch up.
    pub async fn end(mut self) -> anyhow::Result<History> {
        let reading = self.friends.iter();
        let reading = reading.map(|(id, sides)| read(&self.place, id, sides.clone()));
        let channels = try_join_all(reading).await?;
        let mut channels: BTreeMap<String, Channel> = channels.into_iter().collect();
        let ends: BTreeMap<&String, (u64, bool)> = channels
            .iter()
            .map(|(id, channel)| {
                let newest = channel.logs.values().next().map_or(0, Vec::len) as u64;
                let is_open = channel
                    .friendships
                    .values()
                    .all(|one| one["is_open"] == true);
                (id, (newest, is_open))
            })
            .collect();
        let catching_up = self.clients.iter_mut().map(|client| {
            let own = client.channels();
            let own = own.iter().map(|id| (id.clone(), ends[id]));
            let own: BTreeMap<String, (u64, bool)> = own.collect();
            async move { client.catch_up(&own).await }
        });
        join_all(catching_up).await;
        for (id, channel) in &mut channels {
            channel.marks = marks(&self.place, id, &self.friends[id]).await?;
        }
        let mut devices: Vec<Device> = self.clients.into_iter().map(|one| one.record).collect();
        devices.extend(self.visitors);
        Ok(History {
            failures: self.place.failures(),
            devices,
            changes: self.changes,
            channels,
            stalls: self.stalls,
            ..History::default()
        })
    }
}

/// Signs somebody up, whatever is down meanwhile.
pub async fn sign_up(place: &Place, name: &str) -> anyhow::Result<Person> {
    let http = reqwest::Client::new();
    let give_up = Instant::now() + PATIENCE;
    loop {
        // Nobody has it, at a Natter that others use too.
        let unique = uuid::Uuid::now_v7().simple().to_string();
        let username = format!("{name}-{}", &unique[16..]);
        let url = format!("{}/api/users/signup/", place.users);
        let email = format!("{username}@mail.example");
        let body = json!({"username": username, "password": PASSWORD, "email": email});
        let asking = http.post(url).json(&body).timeout(HTTP).send();
        let answer = asking.await.ok();
        let status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
        place.note("a sign-up", status, &Value::Null);
        if let Some(answer) = answer
            && status == 201
            && let Ok(tokens) = answer.json::<Value>().await
        {
            let text = |name: &str| tokens[name].as_str().unwrap_or_default().to_owned();
            let mut person = Person {
                http,
                username,
                id: String::new(),
                access: text("access"),
                refresh: text("refresh"),
            };
            let url = format!("{}/api/users/profile/", place.users);
            let (_, profile) = insist(place, &mut person, Method::GET, &url, None).await?;
            profile["id"]
                .as_str()
                .context("an id")?
                .clone_into(&mut person.id);
            return Ok(person);
        }
        ensure!(Instant::now() < give_up, "nobody can sign up");
        sleep(TICK).await;
    }
}

/// A pause of an actor; whether the run goes on.
pub async fn pause(place: &Place, choices: &mut Choices) -> bool {
    let milliseconds = SHORTEST_PAUSE_MS + choices.below(LONGEST_PAUSE_MS - SHORTEST_PAUSE_MS);
    sleep(Duration::from_millis(milliseconds)).await;
    !place.is_over()
}

/// Two friends of whom one leaves and comes back, again and again.
async fn fall_out(
    place: &Place,
    channel: &str,
    mut sides: [Person; 2],
    mut choices: Choices,
) -> anyhow::Result<Vec<Change>> {
    let mut changes = Vec::new();
    while pause(place, &mut choices).await {
        let side = &mut sides[usize::try_from(choices.below(2))?];
        for status in ["rejected", "accepted"] {
            let asked = place.now();
            let url = format!("{}/api/users/friendship/", place.friendships);
            let body = json!({"friendship_id": channel, "status": status});
            let (code, answer) = insist(place, side, Method::PATCH, &url, Some(body)).await?;
            ensure!(code == 200, "{code}: {answer}");
            changes.push(Change {
                channel: channel.to_owned(),
                asked,
                answered: place.now(),
                is_open: answer["is_open"] == true,
            });
            if status == "rejected" {
                pause(place, &mut choices).await;
            }
        }
    }
    Ok(changes)
}

/// Strangers who ask each other at the same moment, and of whom one rejects while the other accepts.
async fn ask_each_other(
    place: &Place,
    mut choices: Choices,
) -> anyhow::Result<BTreeMap<String, [Person; 2]>> {
    let mut all = BTreeMap::new();
    // Few people: each costs a second of everybody's processor.
    let mut known = [sign_up(place, "gil").await?, sign_up(place, "hal").await?];
    while pause(place, &mut choices).await && pause(place, &mut choices).await {
        let url = format!("{}/api/users/friendship/", place.friendships);
        let [one, other] = &mut known;
        let ask = |to: &Person| Some(json!({"to_user": to.id, "status": "accepted"}));
        let (to_one, to_other) = (ask(one), ask(other));
        let (first, second) = tokio::join!(
            insist(place, one, Method::POST, &url, to_other),
            insist(place, other, Method::POST, &url, to_one),
        );
        let (first, second) = (first?, second?);
        for (code, answer) in [&first, &second] {
            // A repeat of what was stored, and not answered, finds that it exists.
            ensure!([201, 400].contains(code), "{code}: {answer}");
        }
        let (code, list) = insist(place, one, Method::GET, &url, None).await?;
        ensure!(code == 200, "{code}: {list}");
        let list = list.as_array().cloned().unwrap_or_default();
        let found: Vec<&Value> = list
            .iter()
            .filter(|row| row["from_user"] == json!(other.id) || row["to_user"] == json!(other.id))
            .collect();
        ensure!(found.len() == 1, "two asked each other, and are {found:?}");
        let id = found[0]["id"].as_str().context("an id")?.to_owned();
        let say = |status: &str| Some(json!({"friendship_id": id, "status": status}));
        let (accepts, rejects) = (say("accepted"), say("rejected"));
        let (first, second) = tokio::join!(
            insist(place, one, Method::PATCH, &url, accepts),
            insist(place, other, Method::PATCH, &url, rejects),
        );
        ensure!((first?.0, second?.0) == (200, 200), "a side cannot be set");
        all.insert(id, known.clone());
        // One of them is somebody else the next time.
        known[1] = sign_up(place, "ida").await?;
    }
    Ok(all)
}

/// When the clients waited for their own turn: what they saw then, they noted later.
async fn lags(place: &Place) -> Vec<Stall> {
    let mut lags = Vec::new();
    while !place.is_over() {
        let begun = Instant::now();
        sleep(TICK).await;
        let lag = begun.elapsed().saturating_sub(TICK);
        if lag > TICK {
            let to = place.now();
            lags.push(Stall {
                from: to.saturating_sub(lag),
                to,
                who: "the clients".to_owned(),
            });
        }
    }
    lags
}

/// What Natter says of a channel, to both sides.
async fn read(place: &Place, id: &str, sides: [Person; 2]) -> anyhow::Result<(String, Channel)> {
    let mut channel = Channel::default();
    for mut side in sides {
        channel.members.push(side.id.clone());
        let log = log(place, &mut side, id).await?;
        channel.logs.insert(side.id.clone(), log);
        let history = history(place, &mut side, id).await?;
        channel.histories.insert(side.id.clone(), history);
        let url = format!("{}/api/users/friendship/", place.friendships);
        let (_, list) = insist(place, &mut side, Method::GET, &url, None).await?;
        let own = list.as_array().into_iter().flatten();
        let own = own.into_iter().find(|row| row["id"] == id);
        channel
            .friendships
            .insert(side.id.clone(), own.cloned().unwrap_or(Value::Null));
    }
    Ok((id.to_owned(), channel))
}

async fn log(place: &Place, side: &mut Person, id: &str) -> anyhow::Result<Vec<Event>> {
    let mut log: Vec<Event> = Vec::new();
    loop {
        let after = log.last().map_or(0, |event| event.seq);
        let url = events_url(&place.messages[0], id, after);
        let (code, page) = insist(place, side, Method::GET, &url, None).await?;
        ensure!(code == 200, "{code}: {page}");
        let events = page["results"].as_array().context("a page of the log")?;
        if events.is_empty() {
            return Ok(log);
        }
        for event in events {
            log.push(Event::of(event).with_context(|| format!("an entry: {event}"))?);
        }
    }
}

async fn history(place: &Place, side: &mut Person, id: &str) -> anyhow::Result<Vec<Item>> {
    let mut items = Vec::new();
    let mut url = Some(format!(
        "{}/api/messages/status/friendship/{id}/messages/?page_size=100",
        place.messages[0]
    ));
    while let Some(page) = url {
        let (code, page) = insist(place, side, Method::GET, &page, None).await?;
        ensure!(code == 200, "{code}: {page}");
        for item in page["results"].as_array().into_iter().flatten() {
            let message = &item["message"];
            let text = |value: &Value| value.as_str().map(str::to_owned);
            items.push(Item {
                seq: message["seq"].as_u64().context("a seq")?,
                message: text(&message["id"]).context("an id")?,
                client_id: text(&message["client_id"]),
                content: text(&message["content"]).filter(|content| !content.is_empty()),
                is_deleted: message["deleted"] == true,
            });
        }
        url = page["next"].as_str().map(str::to_owned);
    }
    Ok(items)
}

/// How far both sides are.
async fn marks(
    place: &Place,
    id: &str,
    sides: &[Person; 2],
) -> anyhow::Result<BTreeMap<String, (u64, u64)>> {
    let mut marks = BTreeMap::new();
    for side in sides {
        let mut side = side.clone();
        let mut url = Some(format!("{}/api/messages/conversations/", place.messages[0]));
        while let Some(page) = url {
            let (code, page) = insist(place, &mut side, Method::GET, &page, None).await?;
            ensure!(code == 200, "{code}: {page}");
            for conversation in page["results"].as_array().into_iter().flatten() {
                if conversation["friendship"]["id"] == id {
                    let seq = |name: &str| conversation[name].as_u64().unwrap_or_default();
                    marks.insert(side.id.clone(), (seq("received_seq"), seq("seen_seq")));
                }
            }
            url = page["next"].as_str().map(str::to_owned);
        }
    }
    Ok(marks)
}
