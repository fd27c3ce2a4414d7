//! What every benchmark does: first a table for which the operations take turns, then each alone under criterion.
//!
//! What disturbs one of the operations in turns disturbs its neighbours, too: read the table's ratios, not its times. With
//! `-- --quick` both take less time, and `-- --test` only sees whether everything runs.

use std::env;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};

/// A name, what runs it for a parameter and says how long it took, and how many elements that were.
pub(crate) type Operation = (&'static str, fn(u64) -> Duration, fn(u64) -> u64);

/// One benchmark.
pub(crate) struct Benchmark {
    /// What is measured, as the head of the table.
    pub(crate) title: &'static str,
    /// What the time is divided by.
    pub(crate) element: &'static str,
    /// A parameter with which everything takes next to no time.
    pub(crate) tiny: u64,
    /// The parameters for the table.
    pub(crate) table: &'static [u64],
    /// The parameters for criterion.
    pub(crate) measured: &'static [u64],
    /// The first is the floor, and the second what the others are compared with as well.
    pub(crate) operations: &'static [Operation],
}

impl Benchmark {
    pub(crate) fn run(&self) {
        let mut criterion = Criterion::default().without_plots().configure_from_args();
        let given = |flag: &str| env::args().any(|argument| argument == flag);
        // Cargo passes `--bench` where it is to measure. Elsewhere the standard output is the harness's alone.
        if !given("--bench") || given("--test") || given("--list") {
            eprintln!("{}", self.compare(self.tiny, 1));
        } else {
            let rounds = if given("--quick") { 3 } else { 9 };
            for parameter in self.table {
                println!("{}", self.compare(*parameter, rounds));
            }
        }
        for operation in self.operations {
            self.measure(&mut criterion, operation);
        }
        criterion.final_summary();
    }

    fn measure(&self, criterion: &mut Criterion, (name, run, elements): &Operation) {
        let mut group = criterion.benchmark_group(*name);
        group.sample_size(10).sampling_mode(SamplingMode::Flat);
        group.warm_up_time(Duration::from_secs(1));
        group.measurement_time(Duration::from_secs(2));
        for parameter in self.measured {
            group.throughput(Throughput::Elements(elements(*parameter)));
            group.bench_function(BenchmarkId::from_parameter(parameter), |bencher| {
                bencher.iter_custom(|times| (0..times).map(|_| run(*parameter)).sum());
            });
        }
        group.finish();
    }

    /// Runs the operations in turns, and makes a table of the times.
    fn compare(&self, parameter: u64, rounds: usize) -> String {
        let ns = |(_, run, elements): &Operation| {
            run(parameter).as_nanos() as f64 / elements(parameter) as f64
        };
        let one_round = |_| self.operations.iter().map(ns).collect();
        let rounds: Vec<Vec<f64>> = (0..rounds).map(one_round).collect();
        let mut table = format!(
            "{}, {parameter}; median of {} (min..max); ratio of the medians, median of the rounds' ratios\n\
             {:30} {:>26} {:>15} {:>15}\n",
            self.title,
            rounds.len(),
            "",
            format!("ns per {}", self.element),
            "to the first",
            "to the second"
        );
        for (i, (name, ..)) in self.operations.iter().enumerate() {
            let [least, median, most] = spread(&rounds, |ns| ns[i]);
            let times = format!("{median:.0} ({least:.0}..{most:.0})");
            let [to_first, to_second] = [0, 1].map(|base| ratios(&rounds, i, base));
            table += &format!("{name:30} {times:>26} {to_first:>15} {to_second:>15}\n");
        }
        table
    }
}

/// Two operations' ratio of the medians, and the median of their ratios within each round.
fn ratios(rounds: &[Vec<f64>], of: usize, to: usize) -> String {
    let median = |value: &dyn Fn(&[f64]) -> f64| spread(rounds, value)[1];
    let of_medians = median(&|ns| ns[of]) / median(&|ns| ns[to]);
    format!("{of_medians:.2}, {:.2}", median(&|ns| ns[of] / ns[to]))
}

/// The least, the median and the greatest of what the rounds say.
fn spread(rounds: &[Vec<f64>], value: impl Fn(&[f64]) -> f64) -> [f64; 3] {
    let mut values: Vec<_> = rounds.iter().map(|round| value(round)).collect();
    values.sort_by(f64::total_cmp);
    [0, values.len() / 2, values.len() - 1].map(|at| values[at])
}
