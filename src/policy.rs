//! When to retry: the policy, which is plain data, and the verdict on one failure.

use std::time::Duration;

use crate::backoff::{Backoff, Jitter, mix};
use crate::clock::{Nanos, nanos};
use crate::error::PolicyError;
use crate::give_up::GiveUpReason;

/// What a predicate says of one failure.
///
/// ```
/// use std::time::Duration;
/// use retry_pool::{GiveUpReason, RetryPool, Verdict};
///
/// let pool = RetryPool::with_threads(1);
/// let job = pool.job(|| Err::<(), _>(404)).classify(|status| match status {
///     429 => Verdict::RetryAfter(Duration::from_secs(2)),
///     400..500 => Verdict::GiveUp,
///     _ => Verdict::Retry,
/// });
/// assert_eq!(job.submit().wait().unwrap_err().reason(), GiveUpReason::Permanent);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Retry, as the policy has it.
    Retry,
    /// Retry, but not before this time has passed: a minimum, as a server's `Retry-After` is one. It counts as an attempt
    /// and lifts no limit; where the policy's own delay is longer, that one holds.
    RetryAfter(Duration),
    /// No retry can help: the job ends as [`GiveUpReason::Permanent`].
    GiveUp,
}

/// When a failed job is retried: how often, and after which delay. Plain data, cheap to clone.
///
/// | constructor | delay before retry *k* | attempts | cap | jitter |
/// |---|---|---|---|---|
/// | [`default`](Self::default) | 100 ms × 2^(k−1) | 3 | 30 s | full |
/// | [`exponential(d)`](Self::exponential) | d × multiplier^(k−1), multiplier 2 | 3 | none | full |
/// | [`fixed(d)`](Self::fixed) | d | 3 | none | none |
/// | [`immediate()`](Self::immediate) | none: the back of the queue, now | 3 | – | – |
/// | [`never()`](Self::never) | – | 1 | – | – |
///
/// By default every `Err` is retried and a panic is not; see [`Job::classify`](crate::Job::classify).
///
/// ```
/// use std::time::Duration;
/// use retry_pool::{Jitter, RetryPolicy};
///
/// let policy = RetryPolicy::exponential(Duration::from_millis(100))
///     .multiplier(1.5)
///     .max_delay(Duration::from_secs(10))
///     .max_attempts(8)
///     .jitter(Jitter::Full);
/// assert!(policy.validate().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct RetryPolicy {
    backoff: Backoff,
    /// `None`: unlimited.
    max_attempts: Option<u32>,
    multiplier: f64,
    max_delay: Option<Nanos>,
    jitter: Jitter,
}

/// What follows from one failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Back to the queue now.
    Now,
    /// Back to the queue after this delay.
    After(Nanos),
    GiveUp(GiveUpReason),
}

impl RetryPolicy {
    const DEFAULT_ATTEMPTS: u32 = 3;
    const DEFAULT_MULTIPLIER: f64 = 2.0;

    fn new(backoff: Backoff, jitter: Jitter) -> Self {
        let max_attempts = Some(Self::DEFAULT_ATTEMPTS);
        Self {
            backoff,
            max_attempts,
            multiplier: Self::DEFAULT_MULTIPLIER,
            max_delay: None,
            jitter,
        }
    }

    /// One attempt, no retry: the first failure gives the job up as [`AttemptsExhausted`](GiveUpReason::AttemptsExhausted). It is
    /// [`immediate()`](Self::immediate) with `max_attempts(1)`, so a limit set afterwards holds.
    pub fn never() -> Self {
        Self::immediate().max_attempts(1)
    }

    /// Retries at once, at the back of the queue; 3 attempts.
    pub fn immediate() -> Self {
        Self::new(Backoff::Immediate, Jitter::None)
    }

    /// Retries after `delay` each time; 3 attempts, no jitter.
    pub fn fixed(delay: Duration) -> Self {
        Self::new(Backoff::Fixed(nanos(delay)), Jitter::None)
    }

    /// Retries after `initial`, and twice as long each time ([`multiplier`](Self::multiplier)); 3 attempts, no cap,
    /// [`Jitter::Full`].
    pub fn exponential(initial: Duration) -> Self {
        Self::new(
            Backoff::Exponential {
                initial: nanos(initial),
            },
            Jitter::Full,
        )
    }

    /// The greatest number of attempts, **the first one counted**; at least 1. Default: 3.
    pub fn max_attempts(self, attempts: u32) -> Self {
        Self {
            max_attempts: Some(attempts),
            ..self
        }
    }

    /// The greatest number of retries: one attempt more than this.
    pub fn max_retries(self, retries: u32) -> Self {
        self.max_attempts(retries.saturating_add(1))
    }

    /// Lifts the limit on attempts.
    pub fn unlimited(self) -> Self {
        Self {
            max_attempts: None,
            ..self
        }
    }

    /// By what an exponential delay grows from retry to retry; finite and at least 1. Default: 2. The other backoffs have no use
    /// for it.
    pub fn multiplier(self, factor: f64) -> Self {
        Self {
            multiplier: factor,
            ..self
        }
    }

    /// The longest delay, jitter included. Default: none; 30 s for [`RetryPolicy::default`].
    pub fn max_delay(self, delay: Duration) -> Self {
        Self {
            max_delay: Some(nanos(delay)),
            ..self
        }
    }

    /// How a delay is drawn from its ceiling. Default: [`Jitter::Full`] for an exponential backoff, else [`Jitter::None`].
    pub fn jitter(self, jitter: Jitter) -> Self {
        Self { jitter, ..self }
    }

    /// Checks the settings against each other, for values that come from configuration. A pool checks its default policy
    /// when it is built; a job or a batch, whose start returns no `Result`, panics with the same message.
    ///
    /// # Errors
    /// - [`ZeroAttempts`](PolicyError::ZeroAttempts): `max_attempts(0)`.
    /// - [`Multiplier`](PolicyError::Multiplier): not a number, infinite, or below 1.
    /// - [`ZeroDelay`](PolicyError::ZeroDelay), [`ZeroMaxDelay`](PolicyError::ZeroMaxDelay): a delay or a cap of 0.
    /// - [`InitialOverMax`](PolicyError::InitialOverMax): the first delay is longer than the cap.
    ///
    /// ```
    /// use retry_pool::RetryPolicy;
    ///
    /// let error = RetryPolicy::immediate().max_attempts(0).validate().unwrap_err();
    /// assert!(error.to_string().starts_with("max_attempts is 0"));
    /// ```
    pub fn validate(&self) -> Result<(), PolicyError> {
        if self.max_attempts == Some(0) {
            return Err(PolicyError::ZeroAttempts);
        }
        if !(self.multiplier >= 1.0 && self.multiplier.is_finite()) {
            return Err(PolicyError::Multiplier(self.multiplier));
        }
        match (self.backoff.initial(), self.max_delay) {
            (Some(0), _) => Err(PolicyError::ZeroDelay),
            (_, Some(0)) => Err(PolicyError::ZeroMaxDelay),
            (Some(initial), Some(max)) if initial > max => Err(PolicyError::InitialOverMax {
                initial: Duration::from_nanos(initial),
                max_delay: Duration::from_nanos(max),
            }),
            _ => Ok(()),
        }
    }

    /// Is `attempt` the last that the policy allows?
    pub(crate) fn is_last(&self, attempt: u32) -> bool {
        self.max_attempts.is_some_and(|max| attempt >= max)
    }

    /// What follows from the failure of `attempt` (from 1): the limits first, then the delay.
    pub(crate) fn decide(&self, seed: u64, job: u64, attempt: u32, verdict: Verdict) -> Decision {
        let hint = match verdict {
            Verdict::GiveUp => return Decision::GiveUp(GiveUpReason::Permanent),
            Verdict::Retry => None,
            Verdict::RetryAfter(hint) => Some(nanos(hint)),
        };
        if self.is_last(attempt) {
            return Decision::GiveUp(GiveUpReason::AttemptsExhausted);
        }
        // `None` sorts before every delay, so the longer of the two is the later one.
        match self.delay(seed, job, attempt).max(hint) {
            None | Some(0) => Decision::Now,
            Some(delay) => Decision::After(delay),
        }
    }

    /// The policy's own delay after the failure of `attempt`: 0 < delay ≤ `max_delay`; `None` for at once.
    fn delay(&self, seed: u64, job: u64, attempt: u32) -> Option<Nanos> {
        let ceiling = self.backoff.ceiling(attempt, self.multiplier)?;
        let capped = ceiling.min(self.max_delay.unwrap_or(Nanos::MAX));
        Some(self.jitter.draw(capped, mix(seed, job, attempt)))
    }
}

/// 3 attempts, 100 ms × 2, cap 30 s, [`Jitter::Full`].
impl Default for RetryPolicy {
    fn default() -> Self {
        Self::exponential(Duration::from_millis(100)).max_delay(Duration::from_secs(30))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn max_attempts_counts_the_first() {
        let policy = RetryPolicy::immediate().max_attempts(3);
        let decisions: Vec<_> = (1..=4)
            .map(|n| policy.decide(0, 0, n, Verdict::Retry))
            .collect();
        let exhausted = Decision::GiveUp(GiveUpReason::AttemptsExhausted);
        assert_eq!(
            decisions,
            [Decision::Now, Decision::Now, exhausted, exhausted]
        );
        assert_eq!(RetryPolicy::immediate().max_retries(2), policy);
        assert_eq!(
            RetryPolicy::never().decide(0, 0, 1, Verdict::Retry),
            exhausted
        );
        let unlimited = policy.unlimited();
        assert_eq!(
            unlimited.decide(0, 0, u32::MAX, Verdict::Retry),
            Decision::Now
        );
    }

    #[test]
    fn a_hint_is_a_minimum_that_lifts_no_limit() {
        let policy = RetryPolicy::fixed(ms(10)).max_attempts(2);
        let after = |hint| policy.decide(0, 0, 1, Verdict::RetryAfter(hint));
        assert_eq!(after(ms(5)), Decision::After(10 * MS));
        assert_eq!(after(ms(50)), Decision::After(50 * MS));
        assert_eq!(after(Duration::MAX), Decision::After(u64::MAX));
        let last = policy.decide(0, 0, 2, Verdict::RetryAfter(ms(1)));
        assert_eq!(last, Decision::GiveUp(GiveUpReason::AttemptsExhausted));
        let now = RetryPolicy::immediate().decide(0, 0, 1, Verdict::RetryAfter(Duration::ZERO));
        assert_eq!(now, Decision::Now);
    }

    #[test]
    fn delays_stay_under_the_cap() {
        let policy = RetryPolicy::exponential(ms(1)).max_delay(ms(8)).unlimited();
        for attempt in [1, 2, 3, 4, 5, 100, u32::MAX] {
            for job in 0..100 {
                let delay = policy.delay(7, job, attempt).unwrap();
                let ceiling = MS.saturating_mul(1 << (attempt - 1).min(20)).min(8 * MS);
                assert!((1..=ceiling).contains(&delay), "attempt {attempt}: {delay}");
            }
        }
        let longest = RetryPolicy::fixed(Duration::MAX);
        assert_eq!(longest.delay(0, 0, 1), Some(u64::MAX));
    }

    #[test]
    fn nonsense_is_refused_by_name_and_value() {
        let refused = |policy: RetryPolicy| policy.validate().unwrap_err().to_string();
        let exponential = || RetryPolicy::exponential(ms(1));
        assert!(refused(exponential().max_attempts(0)).contains("max_attempts is 0"));
        for factor in [f64::NAN, f64::INFINITY, 0.5, -2.0] {
            assert!(
                refused(exponential().multiplier(factor))
                    .contains(&format!("multiplier is {factor}"))
            );
        }
        assert!(refused(RetryPolicy::fixed(Duration::ZERO)).contains("delay is 0"));
        assert!(refused(exponential().max_delay(Duration::ZERO)).contains("max_delay is 0"));
        let error = refused(RetryPolicy::fixed(ms(50)).max_delay(ms(20)));
        assert!(
            error.contains("50ms") && error.contains("max_delay 20ms"),
            "{error}"
        );
        for accepted in [
            RetryPolicy::default(),
            RetryPolicy::never(),
            RetryPolicy::immediate().unlimited(),
        ] {
            assert_eq!(accepted.validate(), Ok(()));
        }
    }
}
