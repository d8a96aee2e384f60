mod failures;
mod friendships;
mod history;
mod launcher;
mod order;
mod sessions;
mod story;
mod users;
