//! The jobs that are submitted one by one.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use retry_pool::{GiveUpReason, JobHandle, RetryPolicy, RetryPool};

use crate::options::Options;
use crate::play::{HANGING_ATTEMPTS, HOUR};
use crate::script::Script;
use crate::tally::Tally;
use crate::values::Guarded;
use crate::watch::deviation;

/// How many are on their way at a time.
const AHEAD: usize = 256;

/// After this an attempt that hangs is abandoned.
const LIMIT: Duration = Duration::from_micros(500);

struct Submitted {
    n: u64,
    script: Script,
    handle: JobHandle<Guarded, Guarded>,
    /// What `cancel` has said, where it was called.
    cancelled: Option<bool>,
}

/// Runs the single jobs of the round.
pub(crate) fn run(pool: &RetryPool, options: &Options, round: Range<u64>) -> Tally {
    let mut tally = Tally::default();
    let mut ahead = VecDeque::with_capacity(AHEAD);
    for n in round {
        let (script, is_single) = Script::of(options, n);
        if !is_single {
            continue;
        }
        if ahead.len() == AHEAD {
            ahead.drain(..1).for_each(|first| take(&mut tally, first));
        }
        ahead.push_back(submit(pool, n, script));
    }
    ahead.drain(..).for_each(|rest| take(&mut tally, rest));
    tally
}

fn submit(pool: &RetryPool, n: u64, script: Script) -> Submitted {
    let input = Guarded::new(n);
    let job = move || script.run(input.0);
    let handle = match script {
        Script::Hangs => {
            let policy = RetryPolicy::immediate().max_attempts(HANGING_ATTEMPTS);
            let job = pool.job(job).retry(policy).attempt_timeout(LIMIT);
            job.name("hangs").submit()
        }
        Script::IsCancelledDelayed => pool.job(job).delay(HOUR).submit(),
        _ => pool.submit(job),
    };
    let cancelled = (script == Script::IsCancelled).then(|| handle.cancel());
    Submitted {
        n,
        script,
        handle,
        cancelled,
    }
}

fn take(tally: &mut Tally, submitted: Submitted) {
    let Submitted {
        n,
        script,
        handle,
        mut cancelled,
    } = submitted;
    if matches!(
        script,
        Script::IsCancelledParked | Script::IsCancelledDelayed
    ) {
        cancelled = Some(handle.cancel());
    }
    let result = handle.wait();
    let attempts = result.as_ref().err().map(retry_pool::GiveUp::attempts);
    let has_ended_as = result.as_ref().err().map(retry_pool::GiveUp::reason);
    let must_be_cancelled = script != Script::IsCancelled && cancelled.is_some();
    let is_odd = match cancelled {
        // Refused, so it had settled by itself.
        Some(false) => must_be_cancelled || has_ended_as.is_some(),
        Some(true) => must_be_cancelled && has_ended_as != Some(GiveUpReason::Cancelled),
        None => false,
    };
    if is_odd {
        deviation(|| format!("job {n}, {script:?}: cancel {cancelled:?}, {has_ended_as:?}"));
    }
    tally.add((n, script), attempts, result.as_ref());
}
