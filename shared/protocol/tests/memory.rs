//! What a frame may cost while it is read. A test of its own program: the peak that Linux tells is
//! the whole process's.
#![cfg(target_os = "linux")]

use std::fs;

use natter_protocol::frame::{ClientFrame, MAX_FRAME_BYTES};

const CHANNEL: &str = "00000000-0000-7000-8000-000000000001";
/// Several copies of the frame, and far less than a value of memory for each value in it.
const MAX_COST: usize = 3 * MAX_FRAME_BYTES;

/// The most memory that the process has had since `forget_peak`, in bytes.
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("the process's status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kilobytes: usize = kilobytes
        .and_then(|text| text.parse().ok())
        .expect("a number");
    kilobytes << 10
}

fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").expect("the peak is forgotten");
}

/// `start`, then so many of `item`, each with its number for `#`, as make up a frame; then `end`.
fn filled(start: &str, item: &str, end: &str) -> String {
    let mut frame = start.to_owned();
    let mut number = 0_u64;
    while frame.len() + item.len() + 20 + end.len() < MAX_FRAME_BYTES {
        if number > 0 {
            frame.push(',');
        }
        match item.split_once('#') {
            Some((before, after)) => {
                frame.push_str(before);
                frame.push_str(&number.to_string());
                frame.push_str(after);
            }
            None => frame.push_str(item),
        }
        number += 1;
    }
    frame.push_str(end);
    frame
}

#[test]
fn no_frame_costs_many_times_its_bytes() {
    let send = format!(r#"{{"type":"friendship","channel":"{CHANNEL}""#);
    let typing = format!(r#"{{"type":"typing","channel":"{CHANNEL}","active":true,"x":["#);
    let mut costly = Vec::new();
    for (start, item, end) in [
        (r#"{"type":["#, "0", "]}"),
        (r#"{"type":{"#, r##""#":0"##, "}}"),
        (r#"{"type":"ping","client_id":["#, "0", "]}"),
        (r#"{"type":"ping","x":["#, "0", "]}"),
        (r#"{"type":"ping","#, r##""#":0"##, "}"),
        (&typing, "0", "]}"),
        (&format!(r#"{send},"payload":["#), "0", "]}"),
        (&format!(r#"{send},"payload":"x","x":["#), "0", "]}"),
        (&format!(r#"{send},"media":["#), r#"{"a":""}"#, "]}"),
        (r#"{"type":"resume","channels":{"#, r##""#":0"##, "}}"),
    ] {
        let frame = filled(start, item, end);
        assert!(frame.len() > MAX_FRAME_BYTES - 100);
        forget_peak();
        let before = peak();
        let _ = ClientFrame::parse(&frame);
        let cost = peak().saturating_sub(before);
        if cost > MAX_COST {
            costly.push(format!("{start}{item}…{end} cost {cost} bytes"));
        }
    }
    assert!(costly.is_empty(), "{costly:#?}");
}
