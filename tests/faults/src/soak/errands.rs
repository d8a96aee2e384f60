//! What people do beside talking.

use std::{sync::Arc, time::Duration};

use anyhow::ensure;
use natter_test_support::{Choices, PNG, Person};
use reqwest::Method;
use serde_json::json;
use tokio::time::{Instant, interval};

use super::{Tally, crowd::Room};
use crate::client::{HTTP, Place, insist, log_in};

const ERRAND_EVERY: Duration = Duration::from_secs(4);

/// Errands until the time is over, each in a session of its own.
pub(super) async fn run_errands(
    place: &Place,
    rooms: &[Arc<Room>],
    tally: &Tally,
    seed: u64,
    over: Instant,
) -> anyhow::Result<()> {
    let mut choices = Choices::new(seed, 1_001);
    let mut ticks = interval(ERRAND_EVERY);
    while Instant::now() + HTTP < over {
        ticks.tick().await;
        let room = choices.of(rooms);
        let mut person = choices.of(&room.sides).clone();
        ensure!(log_in(place, &mut person).await, "nobody can log in");
        tally.count("sessions");
        run_errand(place, &room.channel, &mut person, tally, &mut choices).await?;
        let url = format!("{}/api/users/logout/", place.users);
        let body = json!({"refresh": person.refresh});
        let (code, answer) = insist(place, &mut person, Method::POST, &url, Some(body)).await?;
        ensure!(code == 200, "{code}: {answer}");
    }
    Ok(())
}

async fn run_errand(
    place: &Place,
    channel: &str,
    person: &mut Person,
    tally: &Tally,
    choices: &mut Choices,
) -> anyhow::Result<()> {
    let messages = choices.of(&place.messages).clone();
    let read = match choices.below(5) {
        0 => {
            tally.count("friendships broken and mended");
            return fall_out(place, channel, person).await;
        }
        1 => {
            tally.count("uploads");
            let url = format!("{messages}/api/messages/media/");
            let (code, answer) = person.upload(&url, "file", "pixel.png", PNG).await;
            ensure!(code == 201, "{code}: {answer}");
            return Ok(());
        }
        2 => {
            tally.count("searches");
            format!("{messages}/api/messages/search/?q=says")
        }
        3 => {
            tally.count("pages of conversations");
            format!("{messages}/api/messages/conversations/")
        }
        _ => {
            tally.count("pages of history");
            format!("{messages}/api/messages/status/friendship/{channel}/messages/?page_size=50")
        }
    };
    let (code, answer) = insist(place, person, Method::GET, &read, None).await?;
    ensure!(code == 200, "{read}: {code}: {answer}");
    Ok(())
}

/// One side leaves and comes back.
async fn fall_out(place: &Place, channel: &str, person: &mut Person) -> anyhow::Result<()> {
    let url = format!("{}/api/users/friendship/", place.friendships);
    for status in ["rejected", "accepted"] {
        let body = json!({"friendship_id": channel, "status": status});
        let (code, answer) = insist(place, person, Method::PATCH, &url, Some(body)).await?;
        ensure!(code == 200, "{code}: {answer}");
    }
    Ok(())
}
