//! What came out, added up, to be compared with what the pool says.

use retry_pool::{GiveUp, GiveUpReason, Stats};

use crate::script::Script;
use crate::values::{Guarded, take_runs};
use crate::watch::deviation;

const REASONS: [GiveUpReason; 9] = [
    GiveUpReason::Permanent,
    GiveUpReason::AttemptsExhausted,
    GiveUpReason::ElapsedExhausted,
    GiveUpReason::BudgetExhausted,
    GiveUpReason::Panicked,
    GiveUpReason::DeadlineExceeded,
    GiveUpReason::Cancelled,
    GiveUpReason::FailFast,
    GiveUpReason::Shutdown,
];

#[derive(Debug, Default)]
pub(crate) struct Tally {
    accepted: u64,
    succeeded: u64,
    retries: u64,
    gave_up: [u64; REASONS.len()],
}

impl Tally {
    /// Takes one job's end in, and compares it with its script. `attempts` is not known of a single job that succeeded.
    pub(crate) fn add(
        &mut self,
        (n, script): (u64, Script),
        attempts: Option<u32>,
        result: Result<&Guarded, &GiveUp<Guarded>>,
    ) {
        let reason = result.err().map(GiveUp::reason);
        let runs = match script {
            Script::Hangs => attempts.unwrap_or_default(),
            _ => take_runs(n),
        };
        let attempts = attempts.unwrap_or(runs);
        self.accepted += 1;
        self.retries += u64::from(runs.saturating_sub(1));
        match reason {
            None => self.succeeded += 1,
            Some(reason) => self.gave_up[reason as usize] += 1,
        }
        if runs != attempts {
            deviation(|| format!("job {n} says {attempts} attempts, and has run {runs} times"));
        }
        if result.is_ok_and(|value| value.0 != n) {
            deviation(|| format!("job {n} has another's result"));
        }
        let is_expected = match script.expected() {
            Some(expected) => expected == (attempts, reason),
            None => attempts <= 1 && matches!(reason, None | Some(GiveUpReason::Cancelled)),
        };
        if !is_expected {
            deviation(|| format!("job {n}, {script:?}: {attempts} attempts, {reason:?}"));
        }
    }

    /// Adds what another has seen.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.succeeded += other.succeeded;
        self.retries += other.retries;
        for (sum, n) in self.gave_up.iter_mut().zip(other.gave_up) {
            *sum += n;
        }
    }

    /// Compares with what the pool has counted, at a quiet moment.
    pub(crate) fn compare(&self, stats: &Stats) {
        let counted = Self {
            accepted: stats.accepted(),
            succeeded: stats.succeeded(),
            retries: stats.retries(),
            gave_up: REASONS.map(|reason| stats.gave_up_as(reason)),
        };
        let is_conserved = stats.accepted() == stats.succeeded() + stats.gave_up();
        if format!("{self:?}") != format!("{counted:?}") || !is_conserved {
            deviation(|| format!("counted {counted:?}, delivered {self:?}"));
        }
    }

    pub(crate) fn summary(&self) -> String {
        let gave_up = REASONS.iter().zip(self.gave_up).filter(|(_, n)| *n > 0);
        let gave_up: String = gave_up.map(|(why, n)| format!(", {n} {why}")).collect();
        let (succeeded, retries) = (self.succeeded, self.retries);
        format!("{succeeded} succeeded{gave_up}; {retries} retries")
    }
}
