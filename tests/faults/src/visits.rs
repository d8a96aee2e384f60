//! Sessions that begin, are at work, and end: in each of the ways in which a session does.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, ensure};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use natter_test_support::{Choices, PASSWORD, Person};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    client::{Client, PATIENCE, Place, insist, log_in},
    crowd::{pause, sign_up},
    record::Device,
};

const TICK: Duration = Duration::from_millis(50);
/// Longer than the second within which nothing may come any more.
const VISIT: Duration = Duration::from_millis(1_500);

/// How often the friend of somebody who is gone writes meanwhile.
const SPOKEN: u32 = 10;

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Logout,
    /// By another device of its user.
    Revocation,
    /// By a new password, on another device.
    Password,
    /// With the account.
    Deletion,
}

const ENDS: [End; 4] = [End::Logout, End::Revocation, End::Password, End::Deletion];

/// Visits until the run is over. `renewed` is the channel of somebody whose sessions are hers alone to
/// end: a new password ends all of them.
pub async fn visit(
    place: &Place,
    friends: &BTreeMap<String, [Person; 2]>,
    renewed: &str,
    mut choices: Choices,
) -> anyhow::Result<Vec<Device>> {
    let rooms: Vec<(&String, &[Person; 2])> = friends.iter().collect();
    let [mut friend, owner] = friends[renewed].clone();
    let mut devices = Vec::new();
    loop {
        // The first of each at once: nothing is struck yet.
        let is_first = devices.len() < ENDS.len();
        if place.is_over() || !is_first && !pause(place, &mut choices).await {
            return Ok(devices);
        }
        let end = ENDS[devices.len() % ENDS.len()];
        let (channel, mut person) = match end {
            End::Logout | End::Revocation => {
                let (channel, sides) = *choices.of(&rooms);
                (channel.clone(), choices.of(sides).clone())
            }
            End::Password => (renewed.to_owned(), owner.clone()),
            End::Deletion => befriended(place, &mut friend).await?,
        };
        begin(place, &mut person).await?;
        let name = format!("visitor-{}, ended by {end:?},", devices.len());
        let own = Choices::new(choices.below(u64::MAX), 0);
        let client = Client::new(&name, person, place.clone(), own);
        let mut client = client.works_in(std::slice::from_ref(&channel), None);
        client.listen(VISIT).await;
        client.send_over_http(&channel).await;
        end_it(place, end, &mut client.person).await?;
        client.has_ended(session(&client.person.access));
        // Whatever it still gets, and whoever lets it in again.
        let speaking = timeout(VISIT, speak_to(place, end, &friend, &channel));
        // Of a connection that is closed at once it does not listen so long.
        let (_, _, ()) = tokio::join!(client.listen(VISIT), speaking, sleep(VISIT));
        client.trespass(&channel).await;
        client.listen(VISIT).await;
        client.record.is_partial = true;
        devices.push(client.record);
    }
}

/// The friend of somebody whose account was deleted writes to the channel, as long as it takes that: in
/// the others there is somebody who writes.
async fn speak_to(place: &Place, end: End, friend: &Person, channel: &str) {
    if end == End::Deletion {
        let messages = &place.messages[0];
        let url = format!("{messages}/api/messages/status/friendship/{channel}/messages/");
        for number in 0..SPOKEN {
            let body = json!({"payload": format!("{number}, and nobody is there to hear it")});
            place.ask(friend, Method::POST, &url, Some(body)).await;
            sleep(VISIT / SPOKEN).await;
        }
    }
}

/// Begins another session of somebody.
async fn begin(place: &Place, person: &mut Person) -> anyhow::Result<()> {
    let give_up = Instant::now() + PATIENCE;
    while !log_in(place, person).await {
        ensure!(Instant::now() < give_up, "nobody can log in");
        sleep(TICK).await;
    }
    Ok(())
}

/// Somebody new, and the open channel with this friend.
async fn befriended(place: &Place, friend: &mut Person) -> anyhow::Result<(String, Person)> {
    let mut person = sign_up(place, "max").await?;
    let url = format!("{}/api/users/friendship/", place.friendships);
    let ask = json!({"to_user": friend.id, "status": "accepted"});
    // Of a repeat the answer is that it exists.
    insist(place, &mut person, Method::POST, &url, Some(ask)).await?;
    let (code, list) = insist(place, &mut person, Method::GET, &url, None).await?;
    let channel = list[0]["id"].as_str();
    let channel = channel
        .with_context(|| format!("{code}: {list}"))?
        .to_owned();
    let accept = json!({"friendship_id": channel, "status": "accepted"});
    let (code, answer) = insist(place, friend, Method::PATCH, &url, Some(accept)).await?;
    ensure!(code == 200, "{code}: {answer}");
    Ok((channel, person))
}

async fn end_it(place: &Place, end: End, person: &mut Person) -> anyhow::Result<()> {
    let users = &place.users;
    let mut other = person.clone();
    match end {
        End::Logout => {
            let url = format!("{users}/api/users/logout/");
            let body = json!({"refresh": person.refresh});
            // Refused, when an answer before was lost.
            insist(place, person, Method::POST, &url, Some(body)).await?;
        }
        End::Revocation => {
            let sid = session(&person.access).context("an access token has no session")?;
            begin(place, &mut other).await?;
            let url = format!("{users}/api/users/sessions/{sid}/");
            let (code, answer) = insist(place, &mut other, Method::DELETE, &url, None).await?;
            // It was not there any more, when an answer before was lost.
            ensure!([204, 404].contains(&code), "{code}: {answer}");
        }
        End::Password => {
            begin(place, &mut other).await?;
            let url = format!("{users}/api/users/password/");
            // The same again: that too ends every other session.
            let body = json!({"current": PASSWORD, "new": PASSWORD});
            let (code, answer) = insist(place, &mut other, Method::POST, &url, Some(body)).await?;
            ensure!(code == 200, "{code}: {answer}");
        }
        End::Deletion => delete(place, &mut other).await?,
    }
    Ok(())
}

/// Ends an account, until it is certain that it has ended.
async fn delete(place: &Place, person: &mut Person) -> anyhow::Result<()> {
    let url = format!("{}/api/users/profile/", place.users);
    let login = format!("{}/api/users/login/", place.users);
    let give_up = Instant::now() + PATIENCE;
    loop {
        let body = json!({"password": PASSWORD});
        let answer = place.ask(person, Method::DELETE, &url, Some(body)).await;
        match answer {
            Some((204, _)) => return Ok(()),
            // Perhaps it has ended, and the answer was lost.
            Some((401, _)) => {
                let body = json!({"username": person.username, "password": PASSWORD});
                let answer = place.ask(person, Method::POST, &login, Some(body)).await;
                match answer {
                    Some((401, _)) => return Ok(()),
                    Some((200, _)) => begin(place, person).await?,
                    _ => {}
                }
            }
            _ => {}
        }
        ensure!(
            Instant::now() < give_up,
            "an account cannot be deleted: {answer:?}"
        );
        sleep(TICK).await;
    }
}

/// The session of an access token, as its claims name it.
fn session(access: &str) -> Option<String> {
    let claims = access.split('.').nth(1)?;
    let claims: Value =
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    claims["sid"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::session;

    #[test]
    fn a_token_names_its_session() {
        // {"sid":"01a2-ü","n":1}
        let token = "e30.eyJzaWQiOiIwMWEyLcO8IiwibiI6MX0.c2ln";
        assert_eq!(session(token).as_deref(), Some("01a2-ü"));
        assert_eq!(session("e30.%%.x"), None);
    }
}
