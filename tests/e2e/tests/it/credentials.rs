//! The passwords of the database and of the broker are changed while people talk.

use natter_e2e::{Place, Topology, World, talk_during};
use natter_test_support::{Friends, Nats, Signal, until};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::cluster::{goes_on, has_all_processes};

const SCHEMAS: [&str; 3] = ["users", "friendships", "messages"];
const SERVICES: [&str; 4] = ["users", "friendships", "messages", "gateway"];

/// The broker's configuration with a second user for each service, its password written out, beside
/// the first or in its place.
fn with_second_users(config: &str, has_first: bool) -> String {
    SERVICES.iter().fold(config.to_owned(), |config, service| {
        let start = config.find(&format!("    {{\n      user: {service}\n"));
        let start = start.expect("the user's block");
        let length = config[start..].find("\n    }\n").expect("its end") + "\n    }\n".len();
        let first = &config[start..start + length];
        let setting = format!("$NATTER_{}_NATS_PASSWORD", service.to_uppercase());
        let password = format!("\"{}\"", second_password(service));
        let second = first
            .replacen(
                &format!("user: {service}"),
                &format!("user: {service}-b"),
                1,
            )
            .replacen(&setting, &password, 1);
        let kept = if has_first { first } else { "" };
        config.replacen(first, &format!("{kept}{second}"), 1)
    })
}

fn second_password(of: &str) -> String {
    format!("{of}-second-secret")
}

async fn run(admin: &mut PgConnection, sql: String) {
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(admin).await;
    done.expect("a superuser may");
}

/// Gives the broker another configuration, and waits until it has taken it.
async fn configure(world: &World, config: &str, times: usize) {
    world.nats.configure(config).await;
    until("the broker has other users", || async {
        let log = world.nats.log();
        let taken = log
            .iter()
            .filter(|line| line.contains("Reloaded: authorization users"));
        (taken.count() == times).then_some(())
    })
    .await;
}

#[tokio::test]
async fn passwords_are_changed_under_traffic_and_nothing_is_lost() {
    let mut world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let place = Place {
        gateways: vec![world.gateway(), world.gateway_2()],
        messages: world.messages(),
        channel,
    };
    let config = std::fs::read_to_string(Nats::CONFIG).expect("it is there");
    let faults = async {
        let mut admin = world.postgres.admin("natter").await;
        for schema in SCHEMAS {
            let password = second_password(schema);
            let second = format!(
                "CREATE ROLE natter_{schema}_b LOGIN PASSWORD '{password}' IN ROLE natter_{schema}"
            );
            run(&mut admin, second).await;
        }
        configure(&world, &with_second_users(&config, true), 1).await;
        for name in world.names() {
            let service = name.trim_end_matches("-2");
            let password = second_password(service);
            let setting = |what| format!("NATTER_{}_{what}", service.to_uppercase());
            world.set(name, "NATTER_NATS_USER_SUFFIX", "-b");
            world.set(name, &setting("NATS_PASSWORD"), &password);
            if SCHEMAS.contains(&service) {
                let url = world.postgres.url_with(&format!("{service}_b"), &password);
                world.set(name, &setting("DATABASE_URL"), &url);
            }
            world.restart(name, Signal::Term).await;
        }
        // Whoever still used the first would be cut off now.
        until("the first roles have no connection any more", || async {
            let mut admin = world.postgres.admin("natter").await;
            let first: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_stat_activity
                 WHERE usename IN ('natter_users', 'natter_friendships', 'natter_messages')",
            )
            .fetch_one(&mut admin)
            .await
            .ok()?;
            (first == 0).then_some(())
        })
        .await;
        for schema in SCHEMAS {
            run(&mut admin, format!("ALTER ROLE natter_{schema} NOLOGIN")).await;
        }
        configure(&world, &with_second_users(&config, false), 2).await;
        goes_on(&world).await;
    };
    talk_during(place, &alice, &bob, faults).await;
    world.published().await;
    has_all_processes(&mut world);
    for name in world.names() {
        let log = world.log([name]);
        assert!(!log.contains("authorization violation"), "{name}: {log}");
    }
}
