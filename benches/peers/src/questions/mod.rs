//! What is asked: each kind of question has a file with how it is measured.

mod latency;
mod memory;
mod mixed;
mod parked;
mod quiet;
mod table;
mod throughput;

use std::collections::BTreeMap;

use crate::contestants::Contestant;
use crate::work::Work;
pub use table::ALL;

/// What was measured, by name.
pub type Metrics = BTreeMap<String, f64>;

/// Puts names to figures.
fn metrics<const N: usize>(figures: [(&str, f64); N]) -> Metrics {
    figures
        .map(|(name, figure)| (name.to_owned(), figure))
        .into()
}

pub struct Question {
    pub name: &'static str,
    pub title: &'static str,
    /// How it is measured, for the reader of the table.
    pub about: &'static str,
    pub cases: &'static [Case],
    pub rounds: usize,
    /// Everybody at once: for those who do nothing.
    pub together: bool,
    pub can: fn(&Contestant) -> bool,
    pub ask: fn(&Contestant, &Case) -> Metrics,
    /// The first is the answer, and what is compared; less is better.
    pub columns: &'static [Column],
    /// Python's recipes are asked, too.
    pub recipes: bool,
}

#[derive(Clone, Copy)]
pub struct Case {
    pub label: &'static str,
    pub threads: usize,
    pub work: Work,
    pub jobs: u64,
    /// How often so many jobs are run, one batch after the other.
    pub times: u64,
}

pub struct Column {
    pub metric: &'static str,
    pub heading: &'static str,
    pub digits: usize,
}
