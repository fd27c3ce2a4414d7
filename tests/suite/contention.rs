//! Clients in contention for one row, on a virtual clock: what jitter saves.

#[path = "../../examples/contention/model.rs"]
mod model;

use std::time::Duration;

use model::{Outcome, contend, policies};

/// The calls and the time of one run, or of several in sum.
type Cost = (u64, Duration);

/// What 100 clients come to under each policy: plain exponential, then full, equal and decorrelated jitter.
fn outcomes(seed: u64) -> [Outcome; 4] {
    policies().map(|(_, policy)| contend(100, &policy, seed))
}

/// Plain exponential and full jitter, each run for itself.
fn plain_and_full(seeds: std::ops::Range<u64>) -> Vec<(Cost, Cost)> {
    let cost = |outcome: Outcome| (outcome.calls, outcome.time);
    let runs = seeds.map(outcomes);
    runs.map(|[plain, full, ..]| (cost(plain), cost(full)))
        .collect()
}

/// On the mean of 20 runs, as the article plots means, with the article's own parameters: base 5 ms, cap 2 s, messages of
/// 10 ms ± 2 ms. Single runs spread, see below.
#[test]
fn full_jitter_halves_the_calls_and_ends_ten_times_sooner() {
    let add = |a: Cost, b: Cost| (a.0 + b.0, a.1 + b.1);
    for first in (0..100).step_by(20) {
        let runs = plain_and_full(first..first + 20).into_iter();
        let sums = runs.reduce(|a, b| (add(a.0, b.0), add(a.1, b.1)));
        let (plain, full) = sums.unwrap();
        assert!(full.0 * 2 <= plain.0, "{first}: {full:?}, {plain:?}");
        assert!(full.1 * 10 <= plain.1, "{first}: {full:?}, {plain:?}");
    }
}

/// The worst of 300 runs made 48 % fewer calls and ended 8.5 times sooner.
#[test]
fn full_jitter_pays_in_every_single_run() {
    for (plain, full) in plain_and_full(0..100) {
        assert!(full.0 * 100 <= plain.0 * 55, "{full:?}, {plain:?}");
        assert!(full.1 * 8 <= plain.1, "{full:?}, {plain:?}");
    }
}

#[test]
fn every_jitter_makes_fewer_calls_than_none() {
    for seed in 0..20 {
        let [plain, jittered @ ..] = outcomes(seed);
        for outcome in jittered {
            assert!(
                outcome.calls < plain.calls,
                "{seed}: {outcome:?}, {plain:?}"
            );
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_contention() {
    assert_eq!(outcomes(7), outcomes(7));
    assert_ne!(outcomes(7), outcomes(8));
}

#[test]
fn a_client_alone_needs_one_call() {
    for (name, policy) in policies() {
        assert_eq!(contend(1, &policy, 7).calls, 1, "{name}");
    }
}
