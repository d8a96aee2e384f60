use std::{
    hash::{BuildHasher, RandomState},
    net::TcpListener,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Below those that the kernel gives to connections (`ip_local_port_range`), of which one may take
/// a port before its server does.
const FIRST: u64 = 10_000;
const COUNT: u64 = 22_000;

/// A port of the loopback that is free, for servers that cannot take port 0. This process gets each
/// once; others, which run their tests at the same time, begin somewhere else, by chance.
pub fn free_port() -> u16 {
    static NEXT: LazyLock<AtomicU64> =
        LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one(()) % COUNT));
    let free = (0..COUNT).find_map(|_| {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + next % COUNT).ok()?;
        TcpListener::bind(("127.0.0.1", port))
            .is_ok()
            .then_some(port)
    });
    free.expect("the loopback has a free port")
}
