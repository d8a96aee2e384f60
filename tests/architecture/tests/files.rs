//! Which file of a crate may use which, and in which files an SQL statement may stand.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// A crate's files without their tests and comments, by their module's path: `http::login`.
type Files = BTreeMap<String, String>;

/// Which modules each module uses.
type Uses = BTreeMap<String, BTreeSet<String>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The crates below `services` and `shared`.
fn crates() -> BTreeMap<String, Files> {
    let folders = ["services", "shared"].map(|folder| root().join(folder));
    let folders = folders.iter().flat_map(|folder| entries(folder));
    let crates = folders.filter(|folder| folder.join("src").is_dir());
    let read = crates.map(|folder| {
        let mut files = Files::new();
        read_into(&mut files, &folder.join("src"), "");
        (name_of(&folder), files)
    });
    read.collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("it is there");
    entries
        .map(|entry| entry.expect("it can be read").path())
        .collect()
}

fn name_of(path: &Path) -> String {
    let name = path.file_stem().expect("a name");
    name.to_str().expect("it is ASCII").to_owned()
}

fn read_into(files: &mut Files, folder: &Path, above: &str) {
    for path in entries(folder) {
        let module = match above {
            "" => name_of(&path),
            above => format!("{above}::{}", name_of(&path)),
        };
        if path.is_dir() {
            read_into(files, &path, &module);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("it is text");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let lines = code
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            files.insert(module, lines.collect::<Vec<_>>().join("\n"));
        }
    }
}

fn uses(files: &Files) -> Uses {
    let mut uses = Uses::new();
    for (module, code) in files {
        let mut used = BTreeSet::new();
        for (start, _) in code
            .match_indices("crate::")
            .chain(code.match_indices("super::"))
        {
            // What stands in braces is imported from there together.
            let path = &code[start..];
            let end = path.find([';', '(', ')', '<', ' ', '\n', ',']);
            let tree = match path.find('{') {
                Some(brace) if end.is_none_or(|end| brace < end) => {
                    let close = path.find(';').unwrap_or(path.len());
                    &path[..close]
                }
                _ => &path[..end.unwrap_or(path.len())],
            };
            for path in leaves(tree) {
                used.extend(found(files, module, &path));
            }
        }
        used.remove(module);
        uses.insert(module.clone(), used);
    }
    uses
}

/// `crate::{a, b::{c, d}}` as `crate::a`, `crate::b::c`, `crate::b::d`.
fn leaves(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((before, rest)) = tree.split_once('{') else {
        return vec![tree.to_owned()];
    };
    let inside = rest.rsplit_once('}').map_or(rest, |(inside, _)| inside);
    let mut depth = 0;
    let parts = inside.split(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    let parts = parts.filter(|part| !part.trim().is_empty());
    let leaves = parts.flat_map(leaves);
    leaves
        .map(|leaf| format!("{}{leaf}", before.trim()))
        .collect()
}

/// The module that a path leads to, seen from another one.
fn found(files: &Files, from: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split("::").collect();
    for part in path.split("::") {
        match part {
            "crate" => parts.clear(),
            "super" => drop(parts.pop()),
            "self" => {}
            part => parts.push(part),
        }
    }
    while !parts.is_empty() {
        let module = parts.join("::");
        if files.contains_key(&module) {
            return Some(module);
        }
        parts.pop();
    }
    None
}

/// Everything that a module uses, and what that uses.
fn reached(uses: &Uses, from: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(module) = open.pop() {
        for used in &uses[module] {
            if reached.insert(used.clone()) {
                open.push(used);
            }
        }
    }
    reached
}

/// A file above (`store.rs`) and those below it (`store/log.rs`) are parts of one.
fn is_one(a: &str, b: &str) -> bool {
    let above = |a: &str, b: &str| b.strip_prefix(a).is_some_and(|rest| rest.starts_with("::"));
    above(a, b) || above(b, a)
}

#[test]
fn no_file_uses_one_that_uses_it() {
    let mut circles = Vec::new();
    for (name, mut files) in crates() {
        // The root names every module, and every module may name what it holds.
        files.remove("lib");
        files.remove("main");
        let mut uses = uses(&files);
        for (module, used) in &mut uses {
            used.retain(|used| !is_one(module, used));
        }
        for (module, used) in &uses {
            let back = used
                .iter()
                .filter(|used| reached(&uses, used).contains(module));
            circles.extend(back.map(|used| format!("{name}: {module} and {used}")));
        }
    }
    assert_eq!(circles, Vec::<String>::new());
}

/// HTTP handlers (`http`) and NATS handlers (`events`) do not use each other: both use the rules
/// and the store.
#[test]
fn no_door_uses_another() {
    const DOORS: [&str; 2] = ["http", "events"];
    for (name, files) in crates() {
        for (module, used) in uses(&files) {
            let door = |module: &str| {
                let first = module.split("::").next();
                DOORS.into_iter().find(|door| first == Some(door))
            };
            for used in used {
                if let (Some(this), Some(other)) = (door(&module), door(&used)) {
                    assert_eq!(this, other, "{name}: {module} uses {used}");
                }
            }
        }
    }
}

#[test]
fn statements_stand_in_stores_and_name_their_columns() {
    for (name, files) in crates() {
        for (module, code) in files {
            let first = module.split("::").next().unwrap_or_default();
            // `test-support` is what tests use in place of a service.
            let may = first == "store" || ["outbox", "pg", "test-support"].contains(&name.as_str());
            let calls = [
                "sqlx::query(",
                "sqlx::query_",
                "sqlx::query::",
                "sqlx::raw_sql",
            ];
            let has = calls.iter().any(|call| code.contains(call));
            assert!(may || !has, "{name}: {module} has a statement");
            for all in ["SELECT *", "RETURNING *"] {
                // Before `SELECT * FROM unnest(…)` the INSERT has named the columns.
                let code = code.replace("SELECT * FROM unnest(", "");
                assert!(!code.contains(all), "{name}: {module} takes all columns");
            }
        }
    }
}

/// A transaction begins in a store, or in the file whose rule decides which statements run: a
/// reader of a handler need not ask what commits together.
#[test]
fn no_door_begins_a_transaction() {
    for (name, files) in crates() {
        for (module, code) in files {
            let first = module.split("::").next().unwrap_or_default();
            let begins = code.contains(".begin()");
            assert!(
                !(begins && ["http", "events"].contains(&first)),
                "{name}: {module} begins a transaction"
            );
            // Functions that run inside a transaction all take the same type.
            assert!(
                !code.contains("&mut Transaction<"),
                "{name}: {module} takes a transaction: take &mut PgConnection"
            );
        }
    }
}

/// `deploy/LOGS.md` has every line at level warn or error.
#[test]
fn every_warning_and_error_is_explained() {
    let page = fs::read_to_string(root().join("deploy/LOGS.md")).expect("it is there");
    let mut found = 0;
    let mut missing = Vec::new();
    for (name, files) in crates() {
        if name == "test-support" {
            continue;
        }
        for (module, code) in files {
            let lines = ["tracing::warn!(", "tracing::error!("];
            let lines = lines.iter().flat_map(|call| code.split(call).skip(1));
            for line in lines {
                let (_, text) = line.split_once('"').expect("a text");
                let text = text.split(['"', '{']).next().unwrap_or_default().trim();
                assert!(
                    !text.is_empty(),
                    "{name}: {module} logs a line without words"
                );
                if !page.contains(&format!("`{text}")) {
                    missing.push(format!("{name}: {module}: {text}"));
                }
                found += 1;
            }
        }
    }
    assert!(found > 50, "{found}");
    assert_eq!(missing, Vec::<String>::new());
}

/// The paths that a service or the pages answer, with all below them: `PATHS` in its `lib.rs`.
fn paths_of(service: &str) -> Vec<String> {
    let file = root().join(format!("services/{service}/src/lib.rs"));
    let code = fs::read_to_string(file).expect("it is there");
    let (_, list) = code
        .split_once("pub const PATHS: &[&str] = &[")
        .expect("PATHS");
    let (list, _) = list.split_once(']').expect("its end");
    let paths = list.split(',').map(|path| path.trim().trim_matches('"'));
    paths
        .filter(|path| !path.is_empty())
        .map(str::to_owned)
        .collect()
}

/// As `natter_http::by_path` has it.
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix.trim_end_matches('/'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The service with the longest path that fits answers: each documents what comes to it.
#[test]
fn every_route_is_below_its_service() {
    let services = ["users", "friendships", "messages", "gateway", "site"];
    let paths = services.map(|service| (service, paths_of(service)));
    let answers = |path: &str| {
        let fitting = paths.iter().flat_map(|(service, paths)| {
            let fits = paths.iter().filter(|prefix| is_below(path, prefix));
            fits.map(|prefix| (prefix.len(), *service))
        });
        fitting.max().map(|(_, service)| service)
    };
    for service in ["users", "friendships", "messages"] {
        let document = root().join(format!("services/{service}/openapi.json"));
        let document = fs::read_to_string(document).expect("it is there");
        let document: Value = serde_json::from_str(&document).expect("it is JSON");
        let paths = document["paths"].as_object().expect("paths");
        assert!(!paths.is_empty());
        for path in paths.keys() {
            assert_eq!(answers(path), Some(service), "{path}");
        }
    }
}

/// Postgres keeps one set of advisory locks for a database, whichever schema takes them.
#[test]
fn every_advisory_lock_has_a_number_of_its_own() {
    let mut names = BTreeMap::new();
    for (name, files) in crates() {
        for (module, code) in files {
            for line in code.lines().filter(|line| line.contains("LOCK: i64 =")) {
                let (_, number) = line.split_once('=').expect("it has a value");
                let here = format!("{name} {module}");
                let other = names.insert(number.trim().to_owned(), here.clone());
                assert_eq!(other, None, "{here} has the lock of another place");
            }
        }
    }
    assert!(names.len() >= 3, "{names:?}");
}
