//! PgBouncer in transaction mode, in front of a Postgres.

use std::fs;

use tempfile::TempDir;

use crate::{
    Postgres, free_port, postgres,
    process::{Process, accepts},
};

pub struct PgBouncer {
    port: u16,
    _process: Process,
    // Removed when the test ends.
    _folder: TempDir,
}

impl PgBouncer {
    /// With more settings, a line each.
    pub async fn start(postgres: &Postgres, settings: &str) -> Self {
        let folder = postgres::owned_folder("natter-pgbouncer-");
        let roles = postgres::ROLES.iter();
        let users =
            roles.map(|role| format!("\"natter_{role}\" \"{}\"\n", Postgres::password(role)));
        let auth_file = folder.path().join("users.txt");
        fs::write(&auth_file, users.collect::<String>()).expect("it is ours");
        let port = free_port();
        let server = postgres.port();
        let auth_file = auth_file.display();
        let written = format!(
            "[databases]
             natter = host=127.0.0.1 port={server}
             [pgbouncer]
             listen_addr = 127.0.0.1
             listen_port = {port}
             unix_socket_dir =
             auth_type = scram-sha-256
             auth_file = {auth_file}
             pool_mode = transaction
             {settings}
             "
        );
        let lines = written.lines().map(|line| line.trim().to_owned() + "\n");
        let ini = folder.path().join("pgbouncer.ini");
        fs::write(&ini, lines.collect::<String>()).expect("it is ours");
        let ini = ini.to_string_lossy();
        let process = Process::start_unprivileged("/usr/sbin/pgbouncer".as_ref(), &[&ini], &[]);
        accepts("PgBouncer answers", port).await;
        Self {
            port,
            _process: process,
            _folder: folder,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}
