//! What the database did for a request: `auto_explain` writes the plan of each statement that the
//! services really sent, with the pages that it touched, into Postgres' log.

use std::time::Duration;

use natter_test_support::Postgres;
use serde_json::Value;
use sqlx::{Connection, PgConnection};

/// Makes every session from now on write its plans when [`explained`] asks for them.
pub async fn prepare(postgres: &Postgres) -> anyhow::Result<()> {
    let mut admin = postgres.admin("natter").await;
    // Its settings are known once it is loaded.
    load(&mut admin).await?;
    for setting in [
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = -1",
        "auto_explain.log_analyze = on",
        "auto_explain.log_buffers = on",
        "auto_explain.log_format = json",
    ] {
        set(&mut admin, setting).await?;
    }
    reload(&mut admin).await?;
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'natter_%'",
    )
    .execute(&mut admin)
    .await?;
    admin.close().await?;
    Ok(())
}

/// The plans of the statements that were sent meanwhile.
pub async fn explained(
    postgres: &Postgres,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Vec<Value>> {
    let mut admin = postgres.admin("natter").await;
    load(&mut admin).await?;
    set(&mut admin, "auto_explain.log_min_duration = 0").await?;
    reload(&mut admin).await?;
    // A session takes the new setting with its next statement.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = postgres.log().len();
    work.await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let lines = postgres.log().split_off(before);
    set(&mut admin, "auto_explain.log_min_duration = -1").await?;
    reload(&mut admin).await?;
    Ok(plans(&lines))
}

async fn load(admin: &mut PgConnection) -> anyhow::Result<()> {
    sqlx::query("LOAD 'auto_explain'").execute(admin).await?;
    Ok(())
}

async fn set(admin: &mut PgConnection, setting: &str) -> anyhow::Result<()> {
    let statement = format!("ALTER SYSTEM SET {setting}");
    sqlx::query(sqlx::AssertSqlSafe(statement))
        .execute(admin)
        .await?;
    Ok(())
}

async fn reload(admin: &mut PgConnection) -> anyhow::Result<()> {
    sqlx::query("SELECT pg_reload_conf()")
        .execute(admin)
        .await?;
    Ok(())
}

fn plans(lines: &[String]) -> Vec<Value> {
    let mut plans = Vec::new();
    let mut lines = lines.iter();
    while let Some(line) = lines.next() {
        if !line.contains("plan:") {
            continue;
        }
        let mut text = String::new();
        for line in lines.by_ref() {
            text.push_str(line);
            if line == "\t}" {
                break;
            }
        }
        plans.extend(serde_json::from_str::<Value>(&text));
    }
    plans
}

/// The pages (of 8 KiB) that a plan touched, in memory or on disk.
pub fn pages(plan: &Value) -> u64 {
    let blocks = |name: &str| plan["Plan"][name].as_u64().unwrap_or_default();
    blocks("Shared Hit Blocks") + blocks("Shared Read Blocks")
}

/// Which indexes a plan uses, and which tables it reads from end to end.
pub fn reads(plan: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(&plan["Plan"], &mut found);
    found.sort();
    found.dedup();
    found
}

fn collect(node: &Value, found: &mut Vec<String>) {
    if let Some(index) = node["Index Name"].as_str() {
        found.push(index.to_owned());
    } else if node["Node Type"] == "Seq Scan" {
        found.push(format!(
            "all of {}",
            node["Relation Name"].as_str().unwrap_or("?")
        ));
    }
    for child in node["Plans"].as_array().into_iter().flatten() {
        collect(child, found);
    }
}
