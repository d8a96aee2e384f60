//! The WebSocket protocol (RFC 6455) frame by frame, after the sections of the Autobahn test suite:
//! that suite itself wants a server that echoes.

use std::time::Duration;

use natter_e2e::{Topology, World};
use natter_test_support::{
    PATIENCE, Person,
    frames::{self, BINARY, CLOSE, CONTINUATION, FIN, Frames, PING, PONG, TEXT},
};
use tokio::{
    io::AsyncWriteExt,
    net::tcp::OwnedWriteHalf,
    time::{sleep, timeout},
};

const ASK: &[u8] = br#"{"type":"ping"}"#;
const ANSWER: &str = r#"{"type":"pong"}"#;

/// A WebSocket without a library between.
struct Raw {
    frames: Frames,
    writer: OwnedWriteHalf,
}

impl Raw {
    /// Connects, and reads up to `ready`.
    async fn connect(world: &World, person: &Person) -> Self {
        let address = world.gateway().replace("http://", "");
        let opened = frames::open(&address, &person.headers()).await;
        let opened = opened.expect("an answer");
        assert_eq!(opened.status, 101, "{}", opened.head);
        // The RFC's own example.
        assert!(
            opened
                .head
                .contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
            "{}",
            opened.head
        );
        let mut raw = Self {
            frames: opened.frames,
            writer: opened.writer,
        };
        let (opcode, ready) = raw.next().await.expect("a frame");
        assert_eq!(opcode, FIN | TEXT);
        assert!(ready.starts_with(br#"{"type":"ready""#));
        raw
    }

    /// Sends a frame as it is: its first byte has the flags and the opcode.
    async fn send(&mut self, first: u8, payload: &[u8]) {
        self.write(&frame(first, payload)).await;
    }

    async fn write(&mut self, bytes: &[u8]) {
        // The server may have closed already; what it said is what counts.
        let _ = self.writer.write_all(bytes).await;
    }

    /// The next frame; none at the end.
    async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let next = timeout(PATIENCE, self.frames.next()).await;
        let frame = next.expect("a frame or the end").ok()?;
        assert!(!frame.is_masked, "a server masks nothing");
        Some((frame.first, frame.payload))
    }

    async fn answers(&mut self) {
        assert_eq!(
            self.next().await,
            Some((FIN | TEXT, ANSWER.as_bytes().to_vec()))
        );
    }

    /// The code of the close frame, and that nothing follows.
    async fn closes(&mut self) -> Option<u16> {
        let mut code = None;
        while let Some((first, payload)) = self.next().await {
            if first == FIN | CLOSE {
                code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
            }
        }
        code
    }
}

/// A client's frame, masked.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frames::put(&mut bytes, [0x37, 0xfa, 0x21, 0x3d], first, payload);
    bytes
}

#[tokio::test]
async fn what_the_protocol_allows_is_understood() {
    let world = World::start(Topology::Standalone).await;
    let alice = Person::sign_up(&world.users(), "alice").await;
    let mut raw = Raw::connect(&world, &alice).await;
    // 2: pings come back as they are; a pong that nobody asked for is nothing.
    for payload in [&b""[..], b"hello", &[0xff; 125]] {
        raw.send(FIN | PING, payload).await;
        assert_eq!(raw.next().await, Some((FIN | PONG, payload.to_vec())));
    }
    raw.send(FIN | PONG, b"x").await;
    // 5: in fragments, also empty ones, with a ping between.
    raw.send(TEXT, &ASK[..3]).await;
    raw.send(CONTINUATION, b"").await;
    raw.send(FIN | PING, b"between").await;
    assert_eq!(raw.next().await, Some((FIN | PONG, b"between".to_vec())));
    raw.send(CONTINUATION, &ASK[3..5]).await;
    raw.send(FIN | CONTINUATION, &ASK[5..]).await;
    raw.answers().await;
    // A byte at a time, and several frames at once.
    for byte in frame(FIN | TEXT, ASK) {
        raw.write(&[byte]).await;
    }
    raw.answers().await;
    let many: Vec<u8> = (0..20).flat_map(|_| frame(FIN | TEXT, ASK)).collect();
    raw.write(&many).await;
    for _ in 0..20 {
        raw.answers().await;
    }
    // 6: a character may be split between fragments.
    let text = "{\"type\":\"ping\",\"x\":\"\u{1F600}\"}".as_bytes();
    let split = text.len() - 4;
    raw.send(TEXT, &text[..split]).await;
    raw.send(FIN | CONTINUATION, &text[split..]).await;
    raw.answers().await;
    // 9: long frames with both kinds of long lengths.
    for length in [126, 65_535, 65_536, 1 << 20] {
        let mut long = ASK[..ASK.len() - 1].to_vec();
        long.extend(format!(",\"x\":\"{}\"}}", "x".repeat(length)).as_bytes());
        raw.send(FIN | TEXT, &long).await;
        raw.answers().await;
    }
    // 1: what is no frame of ours is answered, and the connection stays.
    for (opcode, payload, code) in [
        (TEXT, &b""[..], "invalid_json"),
        (BINARY, b"x", "unsupported"),
    ] {
        raw.send(FIN | opcode, payload).await;
        let (_, refused) = raw.next().await.expect("an answer");
        let refused: serde_json::Value = serde_json::from_slice(&refused).expect("JSON");
        assert_eq!(refused["code"], code);
    }
    // 7: a close is answered with its code, and what came before it first.
    let close = frame(FIN | CLOSE, &3000_u16.to_be_bytes());
    let asked = frame(FIN | TEXT, ASK);
    let last = [asked.clone(), close.clone(), asked].concat();
    raw.write(&last).await;
    raw.answers().await;
    assert_eq!(raw.closes().await, Some(3000));
    // Half of one is waited for, and not for ever.
    let mut raw = Raw::connect(&world, &alice).await;
    raw.write(&close[..3]).await;
    assert_eq!(raw.closes().await, Some(1000));
}

/// Until the frame is complete, its client can answer no ping.
#[tokio::test]
async fn a_frame_that_comes_slowly_is_no_silence() {
    let quick = [("NATTER_HEARTBEAT_SECONDS", "3")];
    let world = World::start_with(Topology::Standalone, &quick).await;
    let alice = Person::sign_up(&world.users(), "alice").await;
    let mut raw = Raw::connect(&world, &alice).await;
    // For more than twice as long as a silent client is waited for.
    for part in frame(FIN | TEXT, ASK).chunks(1) {
        raw.write(part).await;
        sleep(Duration::from_millis(600)).await;
    }
    loop {
        let (first, payload) = raw.next().await.expect("it stays open");
        if first == FIN | TEXT {
            assert_eq!(payload, ANSWER.as_bytes());
            return;
        }
        assert_eq!(first, FIN | PING);
    }
}

#[tokio::test]
async fn what_the_protocol_forbids_ends_the_connection() {
    let world = World::start(Topology::Standalone).await;
    let alice = Person::sign_up(&world.users(), "alice").await;
    let unmasked = [&[FIN | TEXT, u8::try_from(ASK.len()).expect("short")], ASK].concat();
    let broken = 1002;
    for (what, bytes, code) in [
        ("3: a reserved bit", frame(FIN | 0x40 | TEXT, ASK), broken),
        (
            "3: reserved bits of a ping",
            frame(FIN | 0x30 | PING, b""),
            broken,
        ),
        ("4: an unknown opcode", frame(FIN | 0x3, b""), broken),
        (
            "4: an unknown control opcode",
            frame(FIN | 0xB, b""),
            broken,
        ),
        ("2: a long ping", frame(FIN | PING, &[0; 126]), broken),
        ("5: a ping in fragments", frame(PING, b"x"), broken),
        (
            "5: a continuation of nothing",
            frame(FIN | CONTINUATION, ASK),
            broken,
        ),
        (
            "5: a text within a text",
            [frame(TEXT, b"x"), frame(FIN | TEXT, ASK)].concat(),
            broken,
        ),
        ("an unmasked frame", unmasked, broken),
        ("7: a close of one byte", frame(FIN | CLOSE, b"x"), broken),
        (
            "7: a close with a code that is none",
            frame(FIN | CLOSE, &999_u16.to_be_bytes()),
            broken,
        ),
        (
            "6: what is not UTF-8",
            frame(FIN | TEXT, &[0xce, 0xba, 0xe1, 0xbd, 0xed, 0xa0, 0x80]),
            1007,
        ),
        (
            "6: half a character",
            frame(FIN | TEXT, &[0xf0, 0x9f]),
            1007,
        ),
        (
            "9: more than a frame may have",
            frame(FIN | TEXT, &vec![b' '; (8 << 20) + 1]),
            1009,
        ),
    ] {
        let mut raw = Raw::connect(&world, &alice).await;
        raw.write(&bytes).await;
        assert_eq!(raw.closes().await, Some(code), "{what}");
    }
    // None of it has harmed anybody else.
    let mut raw = Raw::connect(&world, &alice).await;
    raw.send(FIN | TEXT, ASK).await;
    raw.answers().await;
}
