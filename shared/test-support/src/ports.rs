use std::{
    net::TcpListener,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// Below those that the kernel gives to connections (`ip_local_port_range`), of which one may take
/// a port before its server does.
const FIRST: u32 = 10_000;
const COUNT: u32 = 22_000;

/// A port of the loopback that is free, for servers that cannot take port 0. This process gets each
/// once; others, which run their tests at the same time, begin elsewhere.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = process::id().wrapping_mul(7_919);
    let free = (0..COUNT).find_map(|_| {
        let next = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + next % COUNT).ok()?;
        TcpListener::bind(("127.0.0.1", port))
            .is_ok()
            .then_some(port)
    });
    free.expect("the loopback has a free port")
}
