//! Links before the gateways and behind the services, and what befalls them.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use natter_e2e::World;
use natter_test_support::{Choices, Link, Signal};
use tokio::time::sleep;

use super::{TICK, rest};
use crate::{client::Place, record::Fault};

/// By whom they are used: `gateway` before a gateway, `messages-2 to postgres` behind a service.
pub type Links = BTreeMap<String, Link>;

/// What befalls a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    Cut,
    Silence,
    Partition,
    Slow,
}

const TROUBLES: [Trouble; 4] = [
    Trouble::Cut,
    Trouble::Silence,
    Trouble::Partition,
    Trouble::Slow,
];
const SLOW_BYTES_PER_SECOND: usize = 20_000;
/// One trouble of a link in this many is followed by a pause of the links, in which a replica is struck
/// while all else works.
const REST_IN: u64 = 5;
const REST: Duration = Duration::from_secs(25);

/// What the troubles of links and the other faults tell each other.
#[derive(Default)]
pub struct Pace {
    pub is_over: Cell<bool>,
    is_calm: Cell<bool>,
    /// A link has its trouble.
    is_troubled: Cell<bool>,
    /// Each trouble has befallen a link of each kind.
    has_had_all: Cell<bool>,
}

impl Pace {
    /// Nothing is struck, once the trouble that a link has is over.
    pub async fn calm(&self, length: Duration) {
        self.hold().await;
        sleep(length).await;
        self.go_on();
    }

    /// From its end on no link has a trouble.
    pub async fn hold(&self) {
        self.is_calm.set(true);
        while self.is_troubled.get() {
            sleep(TICK).await;
        }
    }

    pub fn go_on(&self) {
        self.is_calm.set(false);
    }

    /// Until each trouble has befallen a link of each kind.
    pub async fn had_all(&self) {
        while !self.has_had_all.get() {
            sleep(TICK).await;
        }
    }
}

/// Puts a link before a gateway, and between a service and what it needs.
pub async fn put_between(
    world: &mut World,
    links: &mut Links,
    name: &'static str,
    is_cluster: bool,
) {
    if !is_cluster {
        let link = Link::start(world.nats.port()).await;
        let url = format!("nats://127.0.0.1:{}", link.port());
        world.set(name, "NATTER_NATS_URL", &url);
        links.insert(format!("{name} to nats"), link);
    }
    let schema = name.trim_end_matches("-2");
    if schema != "gateway" {
        let link = Link::start(world.postgres.port()).await;
        let url = world.postgres.url_through(link.port(), schema);
        let setting = format!("NATTER_{}_DATABASE_URL", schema.to_uppercase());
        world.set(name, &setting, &url);
        links.insert(format!("{name} to postgres"), link);
    }
    world.restart(name, Signal::Term).await;
    if schema == "gateway" {
        let port = world
            .url(name)
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        let link = Link::start(port.expect("a port")).await;
        links.insert(name.to_owned(), link);
    }
}

/// Where a link leads: `postgres`, `nats`, or before a gateway.
fn kind(name: &str) -> &str {
    name.split_once(" to ").map_or("", |(_, to)| to)
}

/// Makes the trouble of links until all else is over. Each befalls a link of each kind before it does
/// so again; `is_dense`: without the long pauses.
pub async fn trouble(
    links: &Links,
    place: &Place,
    mut choices: Choices,
    pace: &Pace,
    is_dense: bool,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    let kinds: BTreeSet<&str> = links.keys().map(|name| kind(name)).collect();
    let all = kinds
        .iter()
        .flat_map(|kind| TROUBLES.map(|trouble| (trouble, *kind)));
    let all: Vec<(Trouble, &str)> = all.collect();
    let mut waiting = all.clone();
    while !pace.is_over.get() {
        if pace.is_calm.get() {
            sleep(TICK).await;
            continue;
        }
        pace.is_troubled.set(true);
        let which = choices.below(waiting.len() as u64);
        let (trouble, to) = waiting.swap_remove(usize::try_from(which).unwrap_or_default());
        let names: Vec<&String> = links.keys().filter(|name| kind(name) == to).collect();
        let name = *choices.of(&names);
        faults.push(befall(trouble, name, &links[name], place, &mut choices).await);
        pace.is_troubled.set(false);
        if waiting.is_empty() {
            pace.has_had_all.set(true);
            waiting.clone_from(&all);
        }
        if is_dense {
            rest(&mut choices, is_dense).await;
        } else {
            match choices.below(REST_IN) {
                0 => sleep(REST).await,
                _ => rest(&mut choices, is_dense).await,
            }
        }
    }
    faults
}

async fn befall(
    trouble: Trouble,
    name: &str,
    link: &Link,
    place: &Place,
    choices: &mut Choices,
) -> Fault {
    let from = place.now();
    match trouble {
        Trouble::Cut => link.cut(),
        Trouble::Silence => link.silence(),
        Trouble::Partition => link.partition(),
        Trouble::Slow => link.slow(SLOW_BYTES_PER_SECOND),
    }
    let hold = match trouble {
        Trouble::Cut => Duration::ZERO,
        // Until the other side has noticed it.
        Trouble::Silence => Duration::from_secs(3),
        Trouble::Partition | Trouble::Slow => Duration::from_millis(500 + choices.below(5_000)),
    };
    sleep(hold).await;
    link.mend();
    Fault {
        name: format!("{trouble:?} {name}"),
        from,
        to: place.now(),
        covered: (!name.contains(" to ")).then(|| name.to_owned()),
    }
}
