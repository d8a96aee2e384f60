//! The plot: CPU seconds of each process for 1,000 messages, and latency, for every load.

use std::fmt::Write;

use super::Point;

const ROW: f64 = 22.0;
const LEFT: f64 = 330.0;
const WIDTH: f64 = 420.0;
const TOP: f64 = 60.0;
const COLOURS: [(&str, &str); 3] = [
    ("Natter", "#2f6f9f"),
    ("nats-server", "#7fb069"),
    ("Postgres", "#d98e4a"),
];

pub fn svg(points: &[Point]) -> String {
    let height = TOP + ROW * points.len() as f64 + 30.0;
    let right = LEFT + WIDTH + 60.0;
    let full = right + WIDTH + 80.0;
    let most = points
        .iter()
        .map(|point| point.cpu.all())
        .fold(0.1, f64::max);
    let slowest = points.iter().map(|point| point.p99).fold(10.0, f64::max);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {full} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    text(
        &mut svg,
        LEFT,
        20.0,
        "CPU seconds for 1,000 delivered (line: the floor)",
    );
    text(
        &mut svg,
        right,
        20.0,
        "ms from the intended send: p50 to p99, logarithmic",
    );
    for (number, (name, colour)) in COLOURS.iter().enumerate() {
        let x = LEFT + 110.0 * number as f64;
        bar(&mut svg, x, 32.0, 10.0, 10.0, colour);
        text(&mut svg, x + 14.0, 41.0, name);
    }
    // From 0.1 ms on.
    let place = |ms: f64| right + WIDTH * (ms.max(0.1) / 0.1).log10() / (slowest / 0.1).log10();
    for (number, point) in points.iter().enumerate() {
        let y = TOP + ROW * number as f64;
        text(
            &mut svg,
            8.0,
            y + 12.0,
            &format!("{}: {}", point.variant, point.load),
        );
        let mut x = LEFT;
        let parts = [point.cpu.natter, point.cpu.nats, point.cpu.postgres];
        for (part, (_, colour)) in parts.iter().zip(COLOURS) {
            let width = WIDTH * part / most;
            bar(&mut svg, x, y + 2.0, width, ROW - 8.0, colour);
            x += width;
        }
        text(
            &mut svg,
            x + 4.0,
            y + 13.0,
            &format!("{:.2}", point.cpu.all()),
        );
        bar(
            &mut svg,
            LEFT + WIDTH * point.floor / most,
            y,
            2.0,
            ROW - 4.0,
            "black",
        );
        let (from, to) = (place(point.p50), place(point.p99));
        bar(
            &mut svg,
            from,
            y + 5.0,
            (to - from).max(2.0),
            ROW - 14.0,
            "#777777",
        );
        let note = format!("{:.1} / {:.1}", point.p50, point.p99);
        text(&mut svg, to + 4.0, y + 13.0, &note);
    }
    svg.push_str("</svg>\n");
    svg
}

fn text(svg: &mut String, x: f64, y: f64, text: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(svg, "<text x=\"{x:.0}\" y=\"{y:.0}\">{text}</text>");
}

fn bar(svg: &mut String, x: f64, y: f64, width: f64, height: f64, colour: &str) {
    let _ = writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
    );
}
