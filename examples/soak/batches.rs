//! The jobs that go in batches.

use std::ops::Range;

use retry_pool::{Completion, RetryPool};

use crate::options::Options;
use crate::play::policy;
use crate::script::Script;
use crate::tally::Tally;
use crate::values::Guarded;
use crate::watch::deviation;

type Done = Completion<(Guarded, Script), Guarded, Guarded>;

/// Runs those jobs of the round that are no single ones, as one batch.
pub(crate) fn run(pool: &RetryPool, options: &Options, round: Range<u64>) -> Tally {
    let mut tally = Tally::default();
    let mut seen = vec![false; (round.end - round.start) as usize];
    let given = options.clone();
    let input = round.clone().filter_map(move |n| {
        let (script, is_single) = Script::of(&given, n);
        (!is_single).then(|| (Guarded::new(n), script))
    });
    let batch = pool.batch(input, |(n, script)| script.run(n.0));
    for done in batch.retry(policy()) {
        take(&mut tally, &done, &mut seen, round.start);
    }
    tally
}

/// Runs the first jobs of the round again, as a batch that is cancelled on its way: each job that was let in comes out, too.
pub(crate) fn run_cancelled(pool: &RetryPool, round: Range<u64>) -> Tally {
    let mut tally = Tally::default();
    let mut seen = vec![false; (round.end - round.start) as usize];
    let delivered_before = seen.len() as u64 / 4;
    let input = round
        .clone()
        .map(|n| (Guarded::new(n), Script::IsCancelled));
    let batch = pool.batch(input, |(n, script)| script.run(n.0));
    let mut batch = batch.retry(policy()).window(32).as_completed();
    while let Some(done) = batch.next() {
        take(&mut tally, &done, &mut seen, round.start);
        if batch.progress().delivered() == delivered_before {
            batch.cancel();
        }
    }
    let progress = batch.progress();
    if progress.undelivered() > 0 || progress.accepted() != progress.delivered() {
        deviation(|| format!("a cancelled batch has ended with {progress:?}"));
    }
    tally
}

fn take(tally: &mut Tally, done: &Done, seen: &mut [bool], from: u64) {
    let (n, script) = (done.input().0.0, done.input().1);
    if std::mem::replace(&mut seen[(n - from) as usize], true) {
        deviation(|| format!("job {n} came out twice"));
    }
    tally.add((n, script), Some(done.attempts()), done.result());
}
