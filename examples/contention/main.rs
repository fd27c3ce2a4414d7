//! What jitter saves when clients contend for one row, on a virtual clock:
//! `cargo run --release --example contention -- [FILE.svg]`. With a file, it draws the table as two charts.

mod model;

use std::{env, fs, io};

use model::{contend, policies};
use retry_pool::RetryPolicy;

const RUNS: u32 = 20;
const COLORS: [&str; 4] = ["#c0392b", "#1f6fb2", "#b8860b", "#2e8b57"];

/// For each policy, the mean calls and seconds of 10, 20 … 100 clients.
type Series = [(&'static str, Vec<[f64; 2]>); 4];

fn main() -> io::Result<()> {
    let means = |policy| (10..=100).step_by(10).map(move |n| mean(n, &policy));
    let series = policies().map(|(name, policy)| (name, means(policy).collect()));
    println!("calls and time until all have written, means of {RUNS} runs");
    print_table(&series);
    match env::args_os().nth(1) {
        Some(file) => fs::write(file, svg(&series)),
        None => Ok(()),
    }
}

fn mean(clients: u64, policy: &RetryPolicy) -> [f64; 2] {
    let (mut calls, mut time) = (0.0, 0.0);
    for seed in 0..RUNS {
        let outcome = contend(clients, policy, u64::from(seed));
        calls += outcome.calls as f64;
        time += outcome.time.as_secs_f64();
    }
    [calls, time].map(|sum| sum / f64::from(RUNS))
}

fn print_table(series: &Series) {
    print!("clients");
    for (name, _) in series {
        print!(" {name:>15}");
    }
    for row in 0..10 {
        print!("\n{:>7}", 10 * (row + 1));
        for (_, means) in series {
            let [calls, time] = means[row];
            print!(" {calls:>7.0} {time:>5.1} s");
        }
    }
    println!();
}

fn svg(series: &Series) -> String {
    let heights = |height: fn(&[f64; 2]) -> f64| {
        let means = series.each_ref().map(|(_, means)| means.iter());
        means.map(|means| means.map(height).collect())
    };
    let style = "font-family='sans-serif' font-size='13' fill='#333' viewBox='0 0 900 400'";
    let mut svg = format!("<svg xmlns='http://www.w3.org/2000/svg' {style}>\n");
    svg += "<rect width='900' height='400' fill='#fff'/>\n";
    let calls = heights(|mean| mean[0] / 2_000.0);
    let time = heights(|mean| (mean[1] / 0.1).log10() / 3.0);
    svg += &chart(60, "calls", &["0", "1000", "2000"], calls);
    svg += &chart(510, "seconds (log scale)", &["0.1", "1", "10", "100"], time);
    for ((name, _), (x, color)) in series.iter().zip((190..).step_by(140).zip(COLORS)) {
        svg += &format!("<path d='M{x} 385h24' stroke='{color}' stroke-width='2.5'/>");
        svg += &text(x + 30, 389, "start", name);
    }
    svg + "</svg>\n"
}

/// A chart of 370 by 270: grid and labels, then a line for each policy, by its heights from 0 to 1.
fn chart(left: u32, title: &str, ticks: &[&str], lines: [Vec<f64>; 4]) -> String {
    let title = format!("{title} until all have written");
    let mut svg = text(left + 185, 30, "middle", &title);
    let step = 270 / (ticks.len() - 1);
    for (tick, y) in ticks.iter().rev().zip((50..).step_by(step)) {
        svg += &format!("<path d='M{left} {y}h370' stroke='#ddd'/>");
        svg += &text(left - 8, y + 5, "end", tick);
    }
    for clients in (0..=100).step_by(20) {
        let x = left + clients * 37 / 10;
        svg += &text(x, 338, "middle", &clients.to_string());
    }
    svg += &text(left + 185, 358, "middle", "clients");
    svg += &format!("<path d='M{left} 50v270h370' fill='none' stroke='#333'/>\n");
    for (line, color) in lines.into_iter().zip(COLORS) {
        svg += &format!("<polyline fill='none' stroke='{color}' stroke-width='2.5' points='");
        for (height, x) in line.into_iter().zip((left + 37..).step_by(37)) {
            svg += &format!("{x},{:.1} ", 320.0 - 270.0 * height);
        }
        svg += "'/>\n";
    }
    svg
}

fn text(x: u32, y: u32, anchor: &str, text: &str) -> String {
    format!("<text x='{x}' y='{y}' text-anchor='{anchor}'>{text}</text>\n")
}
