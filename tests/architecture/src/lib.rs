//! Checks of the workspace itself; everything is in `tests/`.
