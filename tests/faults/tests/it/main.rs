mod checker;
mod faults;
mod fuzz;
mod soak;

/// One run after the other: each is judged by the second, and has the machine for itself.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
