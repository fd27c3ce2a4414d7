//! Which plots there are.

use std::path::Path;

use plotters::style::RGBColor;

use super::{bars, lines};
use crate::contestants;
use crate::questions;
use crate::recipes::RECIPES;
use crate::results::Results;

/// A plot that was drawn.
pub struct Plot {
    pub question: &'static str,
    pub file: &'static str,
    pub title: &'static str,
}

/// What all plots share.
pub struct Axes {
    pub title: &'static str,
    pub x: &'static str,
    pub y: &'static str,
}

pub const BLUE: RGBColor = RGBColor(0x1f, 0x6f, 0xb2);
pub const GRAY: RGBColor = RGBColor(0x88, 0x88, 0x88);
pub const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);
const OTHERS: [RGBColor; 6] = [
    RGBColor(0xc0, 0x39, 0x2b),
    RGBColor(0xb8, 0x86, 0x0b),
    RGBColor(0x2e, 0x8b, 0x57),
    RGBColor(0x8e, 0x44, 0xad),
    RGBColor(0xd3, 0x54, 0x00),
    RGBColor(0x16, 0xa0, 0x85),
];

/// More lines than these cannot be told apart.
const IN_LINES: [&str; 8] = [
    "floor",
    "retry-pool",
    "threadpool",
    "rayon spawn + channel",
    "futures ThreadPool",
    "executors, work stealing",
    "tokio spawn_blocking",
    "tokio JoinSet",
];

const BARS: [(&str, &str, Axes); 5] = [
    (
        "empty",
        "bench-empty.svg",
        Axes {
            title: "1 M empty jobs as a batch, 2 workers",
            x: "ns per job (median)",
            y: "",
        },
    ),
    (
        "handles",
        "bench-handles.svg",
        Axes {
            title: "1 M empty jobs with a handle each, 2 workers",
            x: "ns per job (median)",
            y: "",
        },
    ),
    (
        "retry",
        "bench-retry.svg",
        Axes {
            title: "1 M empty jobs, 10 % of attempts fail, 2 workers",
            x: "ns per attempt (median)",
            y: "",
        },
    ),
    (
        "memory-handles",
        "bench-memory.svg",
        Axes {
            title: "Memory of a queued job with its handle",
            x: "bytes (median)",
            y: "",
        },
    ),
    (
        "trickle",
        "bench-trickle.svg",
        Axes {
            title: "One job each millisecond, 8 workers",
            x: "CPU µs per job (median)",
            y: "",
        },
    ),
];

const LINES: [(&str, &str, Axes); 3] = [
    (
        "sizes",
        "bench-sizes.svg",
        Axes {
            title: "Cost of an attempt by the number of jobs",
            x: "jobs",
            y: "ns per attempt",
        },
    ),
    (
        "threads",
        "bench-threads.svg",
        Axes {
            title: "Cost of an empty job by the number of threads",
            x: "threads",
            y: "ns per job",
        },
    ),
    (
        "recipes",
        "bench-recipes.svg",
        Axes {
            title: "Jobs of 1 ms, 16 workers, 10 % of attempts fail",
            x: "jobs",
            y: "time, in multiples of the ideal",
        },
    ),
];

/// A row or a line: who, in which colour, and the figures.
pub struct Series<T> {
    pub name: &'static str,
    pub color: RGBColor,
    pub figures: T,
}

/// Draws what there are figures for.
pub fn draw(results: &Results, out: &Path) -> Result<Vec<Plot>, String> {
    let mut drawn = Vec::new();
    for (question, file, axes) in BARS {
        let rows = in_bars(results, question);
        if !rows.is_empty() {
            bars::draw(&out.join(file), &axes, &rows)
                .map_err(|error| format!("{file}: {error}"))?;
            drawn.push(Plot {
                question,
                file,
                title: axes.title,
            });
        }
    }
    for (question, file, axes) in LINES {
        let series = in_lines(results, question);
        if !series.is_empty() {
            lines::draw(&out.join(file), &axes, &series)
                .map_err(|error| format!("{file}: {error}"))?;
            drawn.push(Plot {
                question,
                file,
                title: axes.title,
            });
        }
    }
    Ok(drawn)
}

/// The medians, the least first.
fn in_bars(results: &Results, name: &str) -> Vec<Series<f64>> {
    let Some(question) = questions::ALL.iter().find(|question| question.name == name) else {
        return Vec::new();
    };
    let row = |contestant: &'static contestants::Contestant| {
        let (case, metric) = (question.cases[0].label, question.columns[0].metric);
        let figures = results.median(name, case, contestant.name, metric)?;
        Some(Series {
            name: contestant.name,
            color: color(contestant.name, 2),
            figures,
        })
    };
    let mut rows: Vec<_> = contestants::ALL.iter().filter_map(row).collect();
    rows.sort_by(|one, other| one.figures.total_cmp(&other.figures));
    rows
}

/// The medians by case.
fn in_lines(results: &Results, name: &str) -> Vec<Series<Vec<(f64, f64)>>> {
    let Some(question) = questions::ALL.iter().find(|question| question.name == name) else {
        return Vec::new();
    };
    let line = |(place, name): (usize, &'static str)| {
        let point = |case: &questions::Case| {
            let y = results.median(question.name, case.label, name, question.columns[0].metric)?;
            Some((case.label.parse().ok()?, y))
        };
        let figures: Vec<_> = question.cases.iter().filter_map(point).collect();
        (!figures.is_empty()).then(|| Series {
            name,
            color: color(name, place),
            figures,
        })
    };
    let names = IN_LINES.into_iter().chain(RECIPES.iter().copied());
    names.enumerate().filter_map(line).collect()
}

fn color(name: &str, place: usize) -> RGBColor {
    match name {
        "retry-pool" => BLUE,
        _ if name.starts_with("floor") => GRAY,
        _ => OTHERS[(place + OTHERS.len() - 2) % OTHERS.len()],
    }
}
