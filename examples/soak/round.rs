//! One round: batches and single jobs at once, then a quiet moment at which everything must add up.

use std::ops::Range;
use std::thread;

use retry_pool::RetryPool;

use crate::options::Options;
use crate::play::policy;
use crate::tally::Tally;
use crate::values::live;
use crate::watch::{PREFIX, deviation, resident, settles, threads};
use crate::{batches, singles};

/// The jobs of a round.
pub(crate) const ROUND: u64 = 50_000;

/// After a tenth of the jobs, and at the latest after so many, memory has to be flat; so much in KiB is the malloc's own.
const WARM_UP: u64 = 1_000_000;
const MAY_GROW: i64 = 1_024;

pub(crate) struct Soak {
    options: Options,
    pool: RetryPool,
    tally: Tally,
    resident_when_warm: Option<i64>,
    grown: i64,
    alive: Option<usize>,
}

impl Soak {
    pub(crate) fn new(options: &Options) -> Self {
        let builder = RetryPool::builder().threads(options.threads);
        let builder = builder.thread_name(PREFIX).retry(policy());
        Self {
            options: options.clone(),
            pool: builder.build().unwrap_or_else(|error| panic!("{error}")),
            tally: Tally::default(),
            resident_when_warm: None,
            grown: 0,
            alive: None,
        }
    }

    pub(crate) fn run(&mut self, round: Range<u64>) {
        let (pool, options) = (&self.pool, &self.options);
        let (batch, singles) = thread::scope(|scope| {
            let singles = scope.spawn(|| singles::run(pool, options, round.clone()));
            let batch = batches::run(pool, options, round.clone());
            (batch, singles.join())
        });
        self.tally.merge(&batch);
        // After a panic there, the sums differ.
        self.tally.merge(&singles.unwrap_or_default());
        let cancelled = (round.end - round.start) as f64 * options.cancel / 100.0;
        let first = round.start..round.start + cancelled as u64;
        self.tally.merge(&batches::run_cancelled(pool, first));
        self.look(round.end);
    }

    /// A quiet moment.
    fn look(&mut self, done: u64) {
        let options = &self.options;
        let is_quiet = || {
            let stats = self.pool.stats();
            // The timer's thread is one more.
            let all = threads().is_none_or(|threads| threads == options.threads + 1);
            all && live() == 0 && (stats.spare_threads(), stats.stuck_threads()) == (0, 0)
        };
        if !settles(is_quiet) {
            let (live, threads, stats) = (live(), threads(), self.pool.stats());
            deviation(|| format!("not quiet: {live} values live, {threads:?} threads, {stats:?}"));
        }
        self.alive = threads().map(|threads| threads - 1);
        self.tally.compare(&self.pool.stats());
        if done < WARM_UP.min(options.jobs / 10) {
            return;
        }
        let resident = resident();
        self.grown = resident - *self.resident_when_warm.get_or_insert(resident);
        if self.grown > MAY_GROW {
            deviation(|| format!("memory has grown by {} KiB, at {done} jobs", self.grown));
        }
    }

    /// Ends the pool, and says what came of it all.
    pub(crate) fn end(self) -> String {
        let report = self.pool.shutdown();
        if (report.drained(), report.gave_up(), report.still_running()) != (0, 0, 0) {
            deviation(|| format!("something was left over: {report:?}"));
        }
        if !settles(|| threads().is_none_or(|threads| threads == 0)) || live() != 0 {
            deviation(|| format!("{:?} threads and {} values are left", threads(), live()));
        }
        let alive = self.alive.unwrap_or_default();
        let (summary, threads) = (self.tally.summary(), self.options.threads);
        let (live, grown) = (live(), self.grown);
        format!("{summary}, {alive} of {threads} workers, {live} live values, {grown:+} KiB")
    }
}
