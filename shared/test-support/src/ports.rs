use std::net::TcpListener;

/// A port of the loopback that was free a moment ago, for servers that cannot take port 0.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    listener.local_addr().expect("it is bound").port()
}
