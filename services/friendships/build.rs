//! `sqlx::migrate!` reads the folder at compile time; cargo must be told to look at it.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
