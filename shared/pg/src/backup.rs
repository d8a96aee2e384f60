//! The rows of a schema, taken out and put back. Its tables are made by its migrations.

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Connection, PgConnection, postgres::PgCopyIn};
use uuid::Uuid;

use crate::{
    schema::{Role, open},
    url::DatabaseUrl,
};

/// What a service's backup is.
pub struct Backup {
    pub schema: &'static str,
    /// Tables left out: derived from others, or valid only for this database.
    pub left_out: &'static [&'static str],
    /// Description of an inconsistency, and the query that counts it.
    pub checks: &'static [(&'static str, &'static str)],
}

/// What stands in a backup of one schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    pub schema: String,
    /// The newest migration of its tables.
    pub migration: i64,
    pub tables: Vec<Table>,
}

/// A table, with the columns of its rows in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub struct Table {
    pub name: String,
    pub columns: Vec<String>,
}

/// A transaction on all of a schema's rows, in the role that owns it.
pub struct Rows {
    db: PgConnection,
    pub contents: Contents,
}

impl Rows {
    /// The rows as they are at this moment, to be read.
    pub async fn snapshot(url: &DatabaseUrl, backup: &Backup) -> anyhow::Result<Self> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        Self::begin(url, backup, begin).await
    }

    /// The rows of a schema that was set up and never used, to be filled.
    pub async fn empty(url: &DatabaseUrl, backup: &Backup) -> anyhow::Result<Self> {
        let mut rows = Self::begin(url, backup, "BEGIN").await?;
        let schema = backup.schema;
        for Table { name, .. } in &rows.contents.tables {
            let asked = format!("SELECT EXISTS (SELECT FROM {name})");
            let has_rows: bool = sqlx::query_scalar(AssertSqlSafe(asked))
                .fetch_one(&mut rows.db)
                .await?;
            ensure!(
                !has_rows,
                "the table {name} of the schema {schema} has rows: a backup is restored into a database that natter-admin setup has made and no service has used"
            );
        }
        Ok(rows)
    }

    async fn begin(
        url: &DatabaseUrl,
        backup: &Backup,
        begin: &'static str,
    ) -> anyhow::Result<Self> {
        let schema = backup.schema;
        let mut db = open(url, schema, Role::Owner).await?;
        sqlx::raw_sql(begin).execute(&mut db).await?;
        // This transaction waits while the other schemas are read.
        sqlx::raw_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            .execute(&mut db)
            .await?;
        let migration = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations");
        let migration: Option<i64> = migration.fetch_one(&mut db).await.with_context(|| {
            format!("the schema {schema} is not set up: natter-admin setup does that")
        })?;
        // Those that refer to others last.
        let tables = sqlx::query_as(
            "SELECT relname::text AS name,
                    array_agg(attname::text ORDER BY attnum) AS columns
             FROM pg_class AS of JOIN pg_attribute ON attrelid = of.oid
             WHERE relnamespace = to_regnamespace($1) AND relkind IN ('r', 'p')
               AND NOT relispartition AND relname <> '_sqlx_migrations'
               AND relname <> ALL ($2)
               AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
             GROUP BY of.oid, relname
             ORDER BY (SELECT count(*) FROM pg_constraint
                       WHERE conrelid = of.oid AND contype = 'f'), relname",
        )
        .bind(schema)
        .bind(backup.left_out)
        .fetch_all(&mut db)
        .await?;
        Ok(Self {
            db,
            contents: Contents {
                schema: schema.to_owned(),
                migration: migration.unwrap_or_default(),
                tables,
            },
        })
    }

    /// A table's rows in the text format of `COPY`, a line each.
    pub async fn read(
        &mut self,
        table: &Table,
    ) -> sqlx::Result<BoxStream<'_, sqlx::Result<Bytes>>> {
        let (name, columns) = (&table.name, table.columns.join(", "));
        // A partitioned table can only be copied as what a query reads from it.
        let copy = format!("COPY (SELECT {columns} FROM {name}) TO STDOUT");
        self.db.copy_out_raw(&copy).await
    }

    /// Takes a table's rows as [`Self::read`] gives them.
    pub async fn write(&mut self, table: &Table) -> sqlx::Result<PgCopyIn<&mut PgConnection>> {
        let (name, columns) = (&table.name, table.columns.join(", "));
        let copy = format!("COPY {name} ({columns}) FROM STDIN");
        self.db.copy_in_raw(&copy).await
    }

    /// Fails if a check counts any rows.
    pub async fn check(&mut self, backup: &Backup) -> anyhow::Result<()> {
        for (wrong, query) in backup.checks {
            let count: i64 = sqlx::query_scalar(*query).fetch_one(&mut self.db).await?;
            ensure!(
                count == 0,
                "the schema {} has {count} {wrong}",
                backup.schema
            );
        }
        Ok(())
    }

    /// The ids that a query reads.
    pub async fn ids(&mut self, query: &'static str) -> sqlx::Result<Vec<Uuid>> {
        sqlx::query_scalar(query).fetch_all(&mut self.db).await
    }

    /// Keeps what was written. Identity columns go on after the highest number in them.
    pub async fn commit(mut self) -> sqlx::Result<()> {
        let numbered: Vec<(String, String)> = sqlx::query_as(
            "SELECT relname::text, attname::text
             FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
             WHERE relnamespace = to_regnamespace($1) AND attidentity <> ''",
        )
        .bind(&self.contents.schema)
        .fetch_all(&mut self.db)
        .await?;
        for (table, column) in numbered {
            let next = format!(
                "SELECT setval(pg_get_serial_sequence('{table}', '{column}'), max({column}))
                 FROM {table}"
            );
            sqlx::query(AssertSqlSafe(next))
                .execute(&mut self.db)
                .await?;
        }
        sqlx::raw_sql("COMMIT").execute(&mut self.db).await?;
        self.db.close().await
    }
}
