//! A script as it is played, and what is expected of it.

use std::time::Duration;

use retry_pool::{Attempt, GiveUpReason, RetryPolicy};

use crate::script::Script;
use crate::values::{Guarded, count_run};

pub(crate) const ATTEMPTS: u32 = 4;
pub(crate) const HANGING_ATTEMPTS: u32 = 2;
const MOMENT: Duration = Duration::from_micros(200);
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) fn policy() -> RetryPolicy {
    RetryPolicy::immediate().max_attempts(ATTEMPTS)
}

impl Script {
    /// One attempt of job `n`.
    pub(crate) fn run(self, n: u64) -> Result<Guarded, Guarded> {
        let attempt = Attempt::current();
        // One that is abandoned may be so before it gets here.
        if self != Self::Hangs {
            count_run(n, attempt.number());
        }
        let failures = attempt.number() - 1;
        match self {
            Self::Recovers(fails) | Self::Panics(fails) | Self::IsPermanent(fails)
                if failures < fails =>
            {
                Err(Guarded::new(n))
            }
            Self::Exhausts => Err(Guarded::new(n)),
            Self::Parks if failures == 0 => Err(Attempt::retry_after(MOMENT, Guarded::new(n))),
            Self::IsCancelledParked => Err(Attempt::retry_after(HOUR, Guarded::new(n))),
            Self::IsPermanent(_) => Err(Attempt::permanent(Guarded::new(n))),
            // Without the panic hook, which would print each.
            Self::Panics(_) => std::panic::resume_unwind(Box::new(Guarded::new(n))),
            Self::Hangs => {
                attempt.sleep(Duration::MAX);
                Ok(Guarded::new(n))
            }
            _ => Ok(Guarded::new(n)),
        }
    }

    /// How many attempts it makes, and how it ends, if that is certain.
    pub(crate) fn expected(self) -> Option<(u32, Option<GiveUpReason>)> {
        match self {
            Self::Succeeds => Some((1, None)),
            Self::Recovers(fails) => Some((fails + 1, None)),
            Self::Parks => Some((2, None)),
            Self::Panics(fails) => Some((fails + 1, Some(GiveUpReason::Panicked))),
            Self::IsPermanent(fails) => Some((fails + 1, Some(GiveUpReason::Permanent))),
            Self::Exhausts => Some((ATTEMPTS, Some(GiveUpReason::AttemptsExhausted))),
            Self::Hangs => Some((HANGING_ATTEMPTS, Some(GiveUpReason::AttemptsExhausted))),
            Self::IsCancelledDelayed => Some((0, Some(GiveUpReason::Cancelled))),
            Self::IsCancelled | Self::IsCancelledParked => None,
        }
    }
}
