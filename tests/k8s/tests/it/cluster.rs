//! The overlay `kind`, run: the story through a real ingress, the jobs, and rolling restarts of
//! everything under traffic.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
};

use futures_util::future::join_all;
use natter_e2e::{Addresses, Log, Talker, story};
use natter_k8s::{Cluster, Containers};
use natter_test_support::{PASSWORD, Person, befriend};
use reqwest::{
    Client, StatusCode,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

const DEPLOYMENTS: [&str; 4] = [
    "natter-users",
    "natter-friendships",
    "natter-messages",
    "natter-gateway",
];
const PAIRS: usize = 3;
/// What a connection may be closed with while everything is restarted.
const EXPECTED_CLOSES: [u16; 3] = [1012, 1013, 4008];

#[tokio::test(flavor = "multi_thread")]
async fn the_kind_overlay_runs_and_loses_nothing_in_a_rolling_restart() {
    let Some(_containers) = Containers::available().await else {
        return;
    };
    let mut cluster = Cluster::start("overlays/kind").await;
    // Each call waits until what it starts is ready or done.
    cluster.start_stateful_set("postgres").await;
    cluster.start_stateful_set("nats").await;
    cluster.job("postgres-setup").await;
    let (one, other) = tokio::join!(
        cluster.job_as("natter-setup", "setup-one"),
        cluster.job_as("natter-setup", "setup-other"),
    );
    for printed in [&one, &other] {
        assert!(printed.contains("ok    NATS user gateway"), "{printed}");
        assert!(!printed.contains("FAIL"), "{printed}");
    }
    // And once more, when everything is there.
    let again = cluster.job("natter-setup").await;
    assert!(again.contains("note  the stream CHAT is there"), "{again}");
    cluster.job("postgres-setup").await;
    for name in DEPLOYMENTS {
        cluster.start_deployment(name).await;
    }

    story(&Addresses::behind(&cluster.url())).await;
    files(&cluster.url()).await;
    let rotated = cluster.cron_job("natter-rotate-key").await;
    assert!(rotated.contains("signs in 600 seconds"), "{rotated}");
    let printed = cluster.smoke().await;
    assert!(printed.contains("ms  receive it"), "{printed}");
    under_traffic(&mut cluster).await;
    client_addresses(&cluster.url()).await;
}

/// An image at sign-up, and media with ranges, by the URLs that the answers give.
async fn files(url: &str) {
    let pixel = Part::bytes(natter_test_support::PNG).file_name("pixel.png");
    let form = Form::new()
        .text("username", "pictured")
        .text("password", PASSWORD)
        .text("email", "pictured@mail.example")
        .part(
            "personal_image",
            pixel.mime_str("image/png").expect("a type"),
        );
    let http = Client::new();
    let signup = http
        .post(format!("{url}/api/users/signup/"))
        .multipart(form);
    let signup = signup.send().await.expect("an answer");
    assert_eq!(signup.status(), StatusCode::CREATED);
    let tokens: Value = signup.json().await.expect("tokens");
    let access = tokens["access"].as_str().expect("a token");
    let get = async |url: &str| {
        let answer = http.get(url).bearer_auth(access).send().await;
        answer.expect("an answer")
    };
    let profile = get(&format!("{url}/api/users/profile/")).await;
    let profile: Value = profile.json().await.expect("a profile");
    let image = profile["personal_image"].as_str().expect("a URL");
    assert!(image.starts_with(url), "{image}");
    let image = get(image).await;
    assert_eq!(image.status(), StatusCode::OK);

    let sent: Vec<u8> = (0..2_000_000).map(|byte| byte as u8).collect();
    let form = Form::new().part("file", Part::bytes(sent.clone()).file_name("two.bin"));
    let upload = http
        .post(format!("{url}/api/messages/media/"))
        .multipart(form);
    let upload = upload.bearer_auth(access).send().await.expect("an answer");
    assert_eq!(upload.status(), StatusCode::CREATED);
    let stored: Value = upload.json().await.expect("a file");
    let file = stored["file"].as_str().expect("a URL");
    let range = http.get(file).bearer_auth(access);
    let range = range.header("range", "bytes=1000000-1000999").send().await;
    let range = range.expect("an answer");
    assert_eq!(range.status(), StatusCode::PARTIAL_CONTENT);
    let part = range.bytes().await.expect("bytes");
    assert_eq!(part, sent[1_000_000..1_001_000]);
}

/// Whoever fails to log in too often is refused by their own address: what they claim in
/// `X-Forwarded-For` does not count, and nobody else behind the ingress is refused with them.
async fn client_addresses(url: &str) {
    let client = |address: [u8; 4]| {
        let from = Client::builder().local_address(IpAddr::from(address));
        from.build().expect("a client")
    };
    let log_in = async |client: &Client, number: usize| {
        let body = json!({"username": format!("nobody{number}"), "password": PASSWORD});
        let request = client.post(format!("{url}/api/users/login/")).json(&body);
        let claimed = format!("198.51.100.{}", number % 250);
        let answer = request.header("x-forwarded-for", claimed).send().await;
        answer.expect("an answer").status()
    };
    let (guesser, other) = (client([127, 0, 0, 1]), client([127, 0, 0, 2]));
    // Until both replicas refuse: each counts for itself.
    let mut refused_in_a_row = 0;
    for number in 0..1_000 {
        match log_in(&guesser, number).await {
            StatusCode::TOO_MANY_REQUESTS => refused_in_a_row += 1,
            status => {
                assert_eq!(status, StatusCode::UNAUTHORIZED);
                refused_in_a_row = 0;
            }
        }
        if refused_in_a_row == 20 {
            break;
        }
    }
    assert_eq!(refused_in_a_row, 20, "nobody is refused");
    for number in 0..10 {
        assert_eq!(log_in(&other, number).await, StatusCode::UNAUTHORIZED);
    }
}

/// Pairs talk through the ingress while every service, NATS and Postgres are restarted.
async fn under_traffic(cluster: &mut Cluster) {
    let url = cluster.url();
    let mut talkers = Vec::new();
    for pair in 0..PAIRS {
        let alice = Person::sign_up(&url, "roller").await;
        let bob = Person::sign_up(&url, "rolled").await;
        let channel = befriend(&url, &alice, &bob).await;
        for (side, person) in [alice, bob].into_iter().enumerate() {
            let talker = Talker::new(person.clone(), vec![url.clone()], &channel);
            talkers.push((format!("{pair}-{side}"), talker, person, channel.clone()));
        }
    }
    let stop = AtomicBool::new(false);
    let restart = async {
        for name in DEPLOYMENTS {
            cluster.rollout(name).await;
        }
        cluster.restart_stateful_set("nats").await;
        cluster.restart_stateful_set("postgres").await;
        // Everyone still gets through once more: the last message is sent until it is acknowledged.
        stop.store(true, Ordering::Relaxed);
    };
    let asker = talkers[0].2.clone();
    let talk = talkers
        .iter_mut()
        .map(|(name, talker, ..)| talker.talk_until(name, &stop));
    let talk = join_all(talk);
    let (.., asked) = tokio::join!(restart, talk, ask_until(&url, &asker, &stop));
    assert!(asked > 0, "nothing was asked over HTTP");

    let mut closes = talkers
        .iter()
        .flat_map(|(_, talker, ..)| &talker.log.closes);
    assert!(
        closes.any(|code| *code == Some(1012)),
        "no gateway was felt to restart"
    );
    for pair in talkers.chunks_mut(2) {
        let (person, channel) = (pair[0].2.clone(), pair[0].3.clone());
        let history = person.history(&url, &channel).await;
        for (_, talker, ..) in pair.iter_mut() {
            talker.follow_to(history.len() as u64).await;
        }
        let logs: Vec<&Log> = pair.iter().map(|(_, talker, ..)| &talker.log).collect();
        Log::check(&logs, &history);
        for log in logs {
            assert!(!log.acknowledged.is_empty(), "nothing was sent");
            for close in &log.closes {
                let is_expected = close.is_some_and(|code| EXPECTED_CLOSES.contains(&code));
                assert!(is_expected, "closed with {close:?}: {:?}", log.closes);
            }
        }
    }
}

/// Asks every service over HTTP: each request is answered, or refused as `unavailable`.
async fn ask_until(url: &str, person: &Person, stop: &AtomicBool) -> usize {
    let mut answered = 0;
    while !stop.load(Ordering::Relaxed) {
        for path in [
            "/api/users/profile/",
            "/api/users/friendship/",
            "/api/messages/conversations/",
        ] {
            let (status, answer) = person.get(&format!("{url}{path}")).await;
            match status {
                StatusCode::OK => answered += 1,
                _ => assert_eq!(answer["code"], "unavailable", "{path}: {status} {answer}"),
            }
        }
    }
    answered
}
