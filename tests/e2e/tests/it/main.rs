mod failures;
mod launcher;
mod order;
mod sessions;
mod story;
