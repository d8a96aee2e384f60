//! A bounded queue with one reader, that is nothing but its items.
//!
//! tokio's channels reserve more than a KiB each, whatever waits in them; a connection has two, and
//! almost always nothing waits.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

pub struct Queue<T> {
    items: Mutex<VecDeque<T>>,
    limit: usize,
    added: Notify,
}

/// There is no room.
pub struct Full;

impl<T> Queue<T> {
    pub fn new(limit: usize) -> Self {
        Self {
            items: Mutex::default(),
            limit,
            added: Notify::new(),
        }
    }

    fn items(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn push(&self, item: T) -> Result<(), Full> {
        let mut items = self.items();
        if items.len() >= self.limit {
            return Err(Full);
        }
        items.push_back(item);
        drop(items);
        self.added.notify_one();
        Ok(())
    }

    /// The next item, if one waits. What a burst took is given back with its last item.
    pub fn pop(&self) -> Option<T> {
        let mut items = self.items();
        let item = items.pop_front();
        if items.is_empty() {
            *items = VecDeque::new();
        }
        item
    }

    /// Whether an item waits for which this holds.
    pub fn has(&self, is_it: impl Fn(&T) -> bool) -> bool {
        self.items().iter().any(is_it)
    }

    /// The next item. Nothing is lost when this is dropped; there must be one reader.
    pub async fn next(&self) -> T {
        loop {
            if let Some(item) = self.pop() {
                return item;
            }
            self.added.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn everything_comes_once_and_in_order_across_threads() {
        let queue = Arc::new(Queue::new(8));
        let writer = queue.clone();
        let writing = tokio::task::spawn_blocking(move || {
            for number in 0..10_000 {
                while writer.push(number).is_err() {
                    std::thread::yield_now();
                }
            }
        });
        for expected in 0..10_000 {
            assert_eq!(queue.next().await, expected);
        }
        writing.await.expect("it does not panic");
        assert_eq!(queue.pop(), None);
    }

    #[tokio::test]
    async fn it_is_bounded_and_a_reader_that_gives_up_loses_nothing() {
        let queue = Queue::new(2);
        let waited = tokio::time::timeout(std::time::Duration::ZERO, queue.next()).await;
        assert!(waited.is_err());
        assert!(queue.push(1).is_ok() && queue.push(2).is_ok());
        assert!(queue.push(3).is_err());
        assert_eq!((queue.next().await, queue.next().await), (1, 2));
    }
}
