//! Sequences of calls, made up by a generator, do with the pool what they do with a model of it that is so simple that it is right:
//! one thing after the other, without threads, queues or time.
//!
//! `RP_REFERENCE_SEQUENCES=100000` runs as many, and `RP_REFERENCE_SEED=2` others.

#[path = "../common/mod.rs"]
mod common;

mod calls;
mod compare;
mod driver;
mod jobs;
mod model;
mod ops;
mod stats;

use std::cell::Cell;
use std::env;
use std::time::{Duration, Instant};

use compare::note_failure;
use driver::Driver;
use ops::{Sequence, sequence};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

const SEQUENCES: u64 = 1_000;

/// On a machine that is busy with other things, some hundred are enough: each is many turns from one thread to another. Where a number
/// is asked for, all are run.
const ENOUGH: Duration = Duration::from_secs(20);

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable}: not a number")))
}

fn run(sequence: &Sequence) -> Result<(), String> {
    let mut driver = Driver::new(sequence);
    for (at, op) in sequence.ops.iter().enumerate() {
        if let Err(text) = driver.run(op) {
            let jobs = driver.model.jobs.iter();
            let places: Vec<_> = jobs.map(|job| (job.place, job.attempts)).collect();
            return Err(format!("operation {at}, {op:?}: {text}; {places:?}"));
        }
    }
    driver
        .finish()
        .map_err(|text| format!("at the end: {text}"))
}

#[test]
fn the_pool_does_what_the_model_does() {
    let wanted = number("RP_REFERENCE_SEQUENCES");
    let config = Config {
        cases: wanted.unwrap_or(SEQUENCES) as u32,
        max_shrink_iters: 10_000,
        max_shrink_time: 60_000,
        failure_persistence: None,
        ..Config::default()
    };
    // The same sequences each time, so that a change is to blame for a failure.
    let seed = number("RP_REFERENCE_SEED").unwrap_or(1);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let (begun, compared) = (Instant::now(), Cell::new(0));
    let result = TestRunner::new_with_rng(config, rng).run(&sequence(), |sequence| {
        if wanted.is_none() && begun.elapsed() > ENOUGH {
            return Ok(());
        }
        compared.set(compared.get() + 1);
        run(&sequence).map_err(|text| {
            note_failure(&text);
            TestCaseError::fail(text)
        })
    });
    match result {
        Ok(()) => println!("{} sequences compared", compared.get()),
        Err(TestError::Fail(reason, sequence)) => panic!("{reason}\n{sequence:?}"),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}
