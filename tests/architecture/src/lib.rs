//! Who may import whom, checked against `cargo metadata`.
