//! A service's schema: its migrations, whether a role may use it, and whether this version can run
//! with what it finds.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use natter_startup::Waiting;
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, migrate::Migrator, postgres::PgConnectOptions,
};
use tokio::time::timeout;

use crate::{
    error::{is_awaited, is_pooler},
    url::{DatabaseUrl, options},
};

/// How long a set-up waits for a database that is still starting.
const SETUP_PATIENCE: Duration = Duration::from_secs(30);
/// A database that is not reached is not waited for as long as TCP would.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The advisory lock of whoever sets a schema up.
const SETUP_LOCK: i64 = 0x6e61_7474_6572;
/// What the description of a migration starts with (its file is `0004_expand_….sql`) when every
/// version before it can still run with it.
const EXPAND: &str = "expand ";

/// Why a pooler in front of the database is refused.
const POOLER: &str = "there is a pooler such as PgBouncer in front of the database, and it does not pass on the settings of a session: Natter needs sessions of its own, for timeouts, prepared statements, locks and LISTEN, and pools its connections itself, so let it connect to Postgres directly";

/// Which of a schema's two roles a URL is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads and writes the rows.
    Service,
    /// Owns the schema and migrates it.
    Owner,
}

impl Role {
    /// The setting with this role's URL.
    pub(crate) fn setting(self, schema: &str) -> String {
        let schema = schema.to_uppercase();
        match self {
            Self::Service => format!("NATTER_{schema}_DATABASE_URL"),
            Self::Owner => format!("NATTER_{schema}_OWNER_DATABASE_URL"),
        }
    }

    fn name(self, schema: &str) -> String {
        match self {
            Self::Service => format!("natter_{schema}"),
            Self::Owner => format!("natter_{schema}_owner"),
        }
    }
}

/// A schema as one role finds it.
pub struct Schema {
    name: &'static str,
    role: Role,
    facts: Facts,
    /// How many of this version's migrations the schema lacks.
    missing: usize,
    /// The newest migration that this version does not know.
    unknown: Option<String>,
    /// The newest with which this version cannot run.
    too_new: Option<String>,
}

/// The settings with which a power cut or a failover could take what was committed.
/// `synchronous_commit` must wait for the disk, also for that of a synchronous standby.
const UNSAFE_SETTINGS: &str = "
    ARRAY(SELECT name || ' = ' || setting FROM pg_settings
          WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off'
             OR name = 'synchronous_commit' AND setting NOT IN ('on', 'remote_apply')
          ORDER BY name)";

/// Refuses a new connection whose commits could be lost: a failover ends at another server, whose
/// settings may be others.
pub async fn require_durable(connection: &mut PgConnection) -> sqlx::Result<()> {
    let statement = AssertSqlSafe(format!("SELECT {UNSAFE_SETTINGS}"));
    let found: Vec<String> = sqlx::query_scalar(statement).fetch_one(connection).await?;
    if found.is_empty() {
        Ok(())
    } else {
        Err(sqlx::Error::Protocol(format!(
            "the database may lose what it commits: {}",
            found.join(", ")
        )))
    }
}

#[derive(sqlx::FromRow)]
struct Facts {
    /// Whether the session has the settings that its connection asked for.
    has_settings: bool,
    current_user: String,
    exists: bool,
    is_usable: bool,
    has_migrations: bool,
    is_owner: bool,
    /// May do more than any role of Natter: a superuser, or one that may make roles or databases,
    /// replicate, or bypass row security.
    is_powerful: bool,
    may_create: bool,
    /// Settings with which a power cut could take what was committed.
    unsafe_settings: Vec<String>,
    /// The tables that this role may not read and write.
    closed: Vec<String>,
    /// The schemas of other services that this role may look into.
    foreign: Vec<String>,
}

impl Schema {
    pub(crate) async fn read(
        connection: &mut PgConnection,
        name: &'static str,
        role: Role,
        migrations: &Migrator,
    ) -> sqlx::Result<Self> {
        let facts: Facts = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT current_setting('search_path') = $1 AS has_settings,
                    current_user::text,
                    s.oid IS NOT NULL AS exists,
                    coalesce(has_schema_privilege(s.oid, 'USAGE'), false) AS is_usable,
                    EXISTS (SELECT FROM pg_class WHERE relnamespace = s.oid
                            AND relname = '_sqlx_migrations') AS has_migrations,
                    coalesce(pg_has_role(s.nspowner, 'MEMBER'), false) AS is_owner,
                    (SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
                     FROM pg_roles WHERE rolname = current_user) AS is_powerful,
                    coalesce(has_schema_privilege(s.oid, 'CREATE'), false) AS may_create,
                    {UNSAFE_SETTINGS} AS unsafe_settings,
                    ARRAY(SELECT relname::text FROM pg_class
                          WHERE relnamespace = s.oid AND relkind IN ('r', 'p')
                          AND relname <> '_sqlx_migrations'
                          AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
                                   AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE'))
                          ORDER BY relname) AS closed,
                    ARRAY(SELECT nspname::text FROM pg_namespace
                          WHERE nspname IN ('users', 'friendships', 'messages') AND nspname <> $1
                          AND has_schema_privilege(oid, 'USAGE') ORDER BY nspname) AS foreign
             FROM (SELECT 1) AS one LEFT JOIN pg_namespace s ON s.nspname = $1",
        )))
        .bind(name)
        .fetch_one(&mut *connection)
        .await?;
        let applied: Vec<(i64, String)> = if facts.is_usable && facts.has_migrations {
            sqlx::query_as(
                "SELECT version, description FROM _sqlx_migrations
                 WHERE success ORDER BY version DESC",
            )
            .fetch_all(connection)
            .await?
        } else {
            Vec::new()
        };
        let is_applied = |version| applied.iter().any(|(applied, _)| *applied == version);
        let wanted = migrations.iter();
        let missing = wanted.filter(|one| !is_applied(one.version)).count();
        let unknown = || {
            let newest_first = applied.iter();
            newest_first.filter(|(version, _)| !migrations.version_exists(*version))
        };
        let shown = |(version, description): &(i64, String)| format!("{version} {description}");
        let mut too_new = unknown().filter(|(_, description)| !description.starts_with(EXPAND));
        Ok(Self {
            name,
            role,
            missing,
            unknown: unknown().next().map(shown),
            too_new: too_new.next().map(shown),
            facts,
        })
    }

    /// What is missing and may still come, while another process sets the schema up.
    pub fn lack(&self) -> Option<String> {
        let name = self.name;
        if !self.facts.exists {
            return Some(format!(
                "the schema {name} is not there: deploy/postgres/setup.sql makes it"
            ));
        }
        (self.missing > 0).then(|| {
            format!(
                "the schema {name} lacks {} of this version's migrations: natter-admin setup brings it up to date",
                self.missing
            )
        })
    }

    /// Refuses what `natter-admin setup` cannot mend: another role, tables of a newer version, a
    /// database that could lose what it has committed.
    pub fn require(&self) -> anyhow::Result<()> {
        let Self { name, facts, .. } = self;
        let setting = self.role.setting(name);
        ensure!(
            facts.has_settings,
            "the database of {setting} cannot be used: {POOLER}"
        );
        ensure!(
            facts.unsafe_settings.is_empty(),
            "the database of {setting} may lose what it has committed: {}",
            facts.unsafe_settings.join(", ")
        );
        if !facts.exists {
            return Ok(());
        }
        let wanted = self.role.name(name);
        ensure!(
            facts.is_usable && (self.role == Role::Service || facts.is_owner),
            "the role {} may not do in the schema {name} what {wanted} may: {setting} must name that role, as deploy/postgres/setup.sql makes it",
            facts.current_user
        );
        ensure!(
            facts.closed.is_empty(),
            "the role {} may not read and write the tables {} of the schema {name}: deploy/postgres/setup.sql gives it the right",
            facts.current_user,
            facts.closed.join(", ")
        );
        let too_new = match self.role {
            Role::Service => &self.too_new,
            Role::Owner => &self.unknown,
        };
        if let Some(newest) = too_new {
            bail!(
                "the schema {name} is of a newer version (this one does not know its migration {newest}): run that version, or go back to a backup from before it"
            );
        }
        Ok(())
    }

    /// Refuses rights that a role does not need.
    pub fn require_least_rights(&self) -> anyhow::Result<()> {
        let Self { name, facts, .. } = self;
        let (setting, wanted) = (self.role.setting(name), self.role.name(name));
        let user = &facts.current_user;
        ensure!(
            !facts.is_powerful,
            "{user} may do more than a role of Natter needs (a superuser, or one that may make roles or databases, replicate, or bypass row security): {setting} must name the role {wanted}"
        );
        ensure!(
            self.role == Role::Owner || !(facts.may_create || facts.is_owner),
            "{user} may change the tables of the schema {name}: {setting} must name the role {wanted}"
        );
        ensure!(
            facts.foreign.is_empty(),
            "{user} may look into the schema {}: {setting} must name a role that sees {name} alone",
            facts.foreign.join(" and ")
        );
        Ok(())
    }
}

/// Reads the schema as the role finds it.
pub async fn inspect(
    url: &DatabaseUrl,
    schema: &'static str,
    role: Role,
    migrations: &Migrator,
) -> anyhow::Result<Schema> {
    let fail = || cannot_be_used(url, schema, role);
    let mut connection = open(url, schema, role).await?;
    let read = Schema::read(&mut connection, schema, role, migrations).await;
    let read = read.with_context(fail)?;
    connection.close().await.with_context(fail)?;
    Ok(read)
}

/// Brings a schema up to date, in the role that owns it. Several at once wait for each other.
pub async fn migrate(
    url: &DatabaseUrl,
    schema: &'static str,
    migrations: &Migrator,
) -> anyhow::Result<()> {
    let fail = || cannot_be_used(url, schema, Role::Owner);
    let options = options(url, schema);
    let mut waiting = Waiting::at_most(SETUP_PATIENCE);
    let mut connection = loop {
        match connect(&options).await {
            Ok(connection) => break connection,
            Err(error) => {
                let is_passing = is_awaited(&error);
                let error = explained(error).context(fail());
                if is_passing {
                    waiting.after(error).await?
                } else {
                    return Err(error);
                }
            }
        }
    };
    // Until the connection ends: another set-up waits for all of this one.
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(SETUP_LOCK)
        .execute(&mut connection)
        .await
        .with_context(fail)?;
    let found = Schema::read(&mut connection, schema, Role::Owner, migrations).await;
    let found = found.with_context(fail)?;
    found.require()?;
    if let (false, Some(lack)) = (found.facts.exists, found.lack()) {
        bail!(lack);
    }
    // Without the limits of requests: set-ups wait for each other, and an index may take its time.
    migrations
        .run(&mut connection)
        .await
        .with_context(|| format!("the schema {schema} could not be migrated"))?;
    // `setup.sql` gave the service's role rights on all tables; the table of migrations is not the
    // service's to change.
    let revoke = format!("REVOKE INSERT, UPDATE, DELETE ON _sqlx_migrations FROM natter_{schema}");
    sqlx::raw_sql(AssertSqlSafe(revoke))
        .execute(&mut connection)
        .await
        .with_context(|| format!("the schema {schema} is not as the set-up makes it"))?;
    connection.close().await.with_context(fail)?;
    Ok(())
}

/// A connection of a role to a schema.
pub async fn open(
    url: &DatabaseUrl,
    schema: &'static str,
    role: Role,
) -> anyhow::Result<PgConnection> {
    let connected = connect(&options(url, schema)).await.map_err(explained);
    connected.with_context(|| cannot_be_used(url, schema, role))
}

/// The error, with an explanation if a pooler is the cause.
pub(crate) fn explained(error: sqlx::Error) -> anyhow::Error {
    if is_pooler(&error) {
        anyhow::Error::new(error).context(POOLER)
    } else {
        error.into()
    }
}

async fn connect(options: &PgConnectOptions) -> sqlx::Result<PgConnection> {
    let connecting = timeout(CONNECT_TIMEOUT, PgConnection::connect_with(options));
    connecting.await.map_err(|_| sqlx::Error::PoolTimedOut)?
}

pub(crate) fn cannot_be_used(url: &DatabaseUrl, schema: &str, role: Role) -> String {
    format!(
        "the database at {url} of {} cannot be used",
        role.setting(schema)
    )
}
