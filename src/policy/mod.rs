//! When to retry: the policy, which is plain data, and the verdict on one failure.

mod decision;
mod describe;

pub(crate) use decision::Draw;

use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

use crate::backoff::{Backoff, Delays, Jitter};
use crate::budget::RetryBudget;
use crate::clock::{Nanos, nanos};
use crate::error::PolicyError;
use crate::sync::Arc;
use crate::unwind::Contained;

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
    /// No retry can help: the job ends as [`Permanent`](crate::GiveUpReason::Permanent).
    GiveUp,
}

/// What becomes of a job that panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PanicPolicy {
    /// It gives up as [`Panicked`](crate::GiveUpReason::Panicked). The default: a panic is a bug, which a retry rarely mends.
    GiveUp,
    /// It counts as a failed attempt and is retried like any other.
    Retry,
}

/// Where a job that is retried joins its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Requeue {
    /// At the back, so that a job that keeps failing cannot starve fresh ones. The default.
    Back,
    /// At the front: retried jobs end sooner, and so does the whole, since no retry is left for the very end.
    Front,
}

/// When a failed job is retried: how often, and after which delay. Plain data, cheap to clone.
///
/// | constructor | delay before retry *k* | attempts | cap | jitter |
/// |---|---|---|---|---|
/// | [`default`](Self::default) | 100 ms × 2^(k−1) | 3 | 30 s | full |
/// | [`exponential(d)`](Self::exponential) | d × multiplier^(k−1), multiplier 2 | 3 | none | full |
/// | [`fibonacci(d)`](Self::fibonacci) | d × 1, 1, 2, 3, 5 … | 3 | none | full |
/// | [`linear(d)`](Self::linear) | d × k | 3 | none | none |
/// | [`fixed(d)`](Self::fixed) | d | 3 | none | none |
/// | [`decorrelated(d)`](Self::decorrelated) | between d and 3 × the previous one | 3 | none | its own |
/// | [`from_delays(f)`](Self::from_delays) | the next item of the iterator | 3 | none | none |
/// | [`immediate()`](Self::immediate) | none: back to the queue, now | 3 | – | – |
/// | [`never()`](Self::never) | – | 1 | – | – |
///
/// By default every `Err` is retried and a panic is not; see [`Job::classify`](crate::Job::classify) and
/// [`on_panic`](Self::on_panic). The [guide to retrying](crate::guide) has all settings side by side, with those of other libraries.
///
/// ```
/// use std::time::Duration;
/// use retry_pool::{Jitter, RetryPolicy};
///
/// let policy = RetryPolicy::exponential(Duration::from_millis(100))
///     .multiplier(1.5)
///     .max_delay(Duration::from_secs(10))
///     .max_attempts(8)
///     .jitter(Jitter::Equal);
/// assert!(policy.validate().is_ok());
/// ```
#[derive(Clone)]
#[must_use]
pub struct RetryPolicy {
    backoff: Backoff,
    /// `None`: unlimited.
    max_attempts: Option<u32>,
    max_elapsed: Option<Nanos>,
    max_delay: Option<Nanos>,
    max_hint: Option<Nanos>,
    multiplier: f64,
    jitter: Jitter,
    budget: Option<RetryBudget>,
    on_panic: PanicPolicy,
    requeue: Requeue,
    hot_loop_ok: bool,
}

impl RetryPolicy {
    const DEFAULT_ATTEMPTS: u32 = 3;
    const DEFAULT_MULTIPLIER: f64 = 2.0;

    /// A hint that is longer than this, where neither `max_hint` nor `max_elapsed` says what to do, is a mistake of the server's.
    const LONGEST_HINT: Duration = Duration::from_secs(24 * 60 * 60);

    fn new(backoff: Backoff, jitter: Jitter) -> Self {
        Self {
            backoff,
            max_attempts: Some(Self::DEFAULT_ATTEMPTS),
            max_elapsed: None,
            max_delay: None,
            max_hint: None,
            multiplier: Self::DEFAULT_MULTIPLIER,
            jitter,
            budget: None,
            on_panic: PanicPolicy::GiveUp,
            requeue: Requeue::Back,
            hot_loop_ok: false,
        }
    }

    /// One attempt, no retry: the first failure gives the job up as [`AttemptsExhausted`](crate::GiveUpReason::AttemptsExhausted). It is
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

    /// Retries after `delay`, 2 × `delay`, 3 × `delay` …; 3 attempts, no cap, no jitter.
    pub fn linear(delay: Duration) -> Self {
        Self::new(Backoff::Linear(nanos(delay)), Jitter::None)
    }

    /// Retries after `initial`, and twice as long each time ([`multiplier`](Self::multiplier)); 3 attempts, no cap,
    /// [`Jitter::Full`].
    pub fn exponential(initial: Duration) -> Self {
        Self::new(Backoff::Exponential(nanos(initial)), Jitter::Full)
    }

    /// Retries after `initial` × 1, 1, 2, 3, 5, 8 …; 3 attempts, no cap, [`Jitter::Full`].
    pub fn fibonacci(initial: Duration) -> Self {
        Self::new(Backoff::Fibonacci(nanos(initial)), Jitter::Full)
    }

    /// Retries after a delay between `base` and three times the previous one (at first, three times `base`): the "decorrelated
    /// jitter" of the article that [`Jitter`] names; 3 attempts, no cap. A [`jitter`](Self::jitter) that is set besides replaces
    /// the even draw by its own, never below `base`.
    pub fn decorrelated(base: Duration) -> Self {
        Self::new(Backoff::Decorrelated(nanos(base)), Jitter::Full)
    }

    /// Retries after the delays of an iterator, which is made anew for each job that fails; 3 attempts, no cap, no jitter. When it ends,
    /// the job gives up as [`AttemptsExhausted`](crate::GiveUpReason::AttemptsExhausted). A delay of 0 is at once.
    ///
    /// Any library that makes an iterator of delays plugs in; say [`unlimited`](Self::unlimited) where the iterator ends by itself.
    ///
    /// ```
    /// use std::time::Duration;
    /// use retry_pool::RetryPolicy;
    ///
    /// let policy = RetryPolicy::from_delays(|| [1, 5, 25].into_iter().map(Duration::from_millis)).unlimited();
    /// let delays: Vec<Duration> = policy.delays(0, 0).collect();
    /// assert_eq!(delays, [1, 5, 25].map(Duration::from_millis));
    /// ```
    pub fn from_delays<I>(delays: impl Fn() -> I + Send + Sync + 'static) -> Self
    where
        I: Iterator<Item = Duration> + Send + 'static,
    {
        let make: Box<dyn Fn() -> Delays + Send + Sync> = Box::new(move || Box::new(delays()));
        Self::new(
            Backoff::Delays(Arc::new(Contained::new(make))),
            Jitter::None,
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

    /// Lifts the limit on attempts. With `immediate()`, a budget or [`hot_loop_ok`](Self::hot_loop_ok) is asked for.
    pub fn unlimited(self) -> Self {
        Self {
            max_attempts: None,
            ..self
        }
    }

    /// The time from the job's first submission, on the monotonic clock, after which no attempt is scheduled. If the next one would be
    /// due later, the job gives up **now**, as [`ElapsedExhausted`](crate::GiveUpReason::ElapsedExhausted). What a due job waits for a
    /// free worker is not counted, and a running attempt is not interrupted. Default: none.
    pub fn max_elapsed(self, elapsed: Duration) -> Self {
        Self {
            max_elapsed: Some(nanos(elapsed)),
            ..self
        }
    }

    /// The longest delay, jitter included. A hint may be longer, see [`max_hint`](Self::max_hint). Default: none; 30 s for
    /// [`RetryPolicy::default`].
    pub fn max_delay(self, delay: Duration) -> Self {
        Self {
            max_delay: Some(nanos(delay)),
            ..self
        }
    }

    /// The longest that a [`Verdict::RetryAfter`] is heeded: a longer one is cut to this. Default: none, so a hint that is longer
    /// than what `max_elapsed` leaves gives the job up, as
    /// [`ElapsedExhausted`](crate::GiveUpReason::ElapsedExhausted), and so does one of more than 24 hours where no `max_elapsed` is set.
    pub fn max_hint(self, hint: Duration) -> Self {
        Self {
            max_hint: Some(nanos(hint)),
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

    /// How a delay is drawn from its ceiling. Default: [`Jitter::Full`] for `exponential`, `fibonacci` and `decorrelated`, else
    /// [`Jitter::None`].
    pub fn jitter(self, jitter: Jitter) -> Self {
        Self { jitter, ..self }
    }

    /// Limits the retries of all jobs that share the budget. Default: none.
    pub fn budget(self, budget: RetryBudget) -> Self {
        Self {
            budget: Some(budget),
            ..self
        }
    }

    /// What becomes of a job that panics. Default: [`PanicPolicy::GiveUp`].
    pub fn on_panic(self, policy: PanicPolicy) -> Self {
        Self {
            on_panic: policy,
            ..self
        }
    }

    /// Where a retried job joins its queue. Default: [`Requeue::Back`].
    pub fn requeue(self, place: Requeue) -> Self {
        Self {
            requeue: place,
            ..self
        }
    }

    /// Allows `immediate().unlimited()` without a budget, which retries millions of times a second as long as the job fails. (An
    /// endless iterator of zeros, by [`from_delays`](Self::from_delays), is the same loop, and cannot be told in advance.)
    pub fn hot_loop_ok(self) -> Self {
        Self {
            hot_loop_ok: true,
            ..self
        }
    }

    /// Checks the settings against each other, for values that come from configuration. A pool checks its default policy
    /// when it is built; a job or a batch, whose start returns no `Result`, panics with the same message.
    ///
    /// # Errors
    /// - [`ZeroAttempts`](PolicyError::ZeroAttempts): `max_attempts(0)`.
    /// - [`Multiplier`](PolicyError::Multiplier): not a number, infinite, or below 1.
    /// - [`JitterShare`](PolicyError::JitterShare): a `Proportional` jitter outside of 0 … 1.
    /// - [`ZeroDelay`](PolicyError::ZeroDelay), [`ZeroMaxDelay`](PolicyError::ZeroMaxDelay): a delay or a cap of 0.
    /// - [`InitialOverMax`](PolicyError::InitialOverMax): the first delay is longer than the cap.
    /// - [`HotLoop`](PolicyError::HotLoop): `immediate().unlimited()` without a budget or `hot_loop_ok()`.
    /// - [`BudgetRatio`](PolicyError::BudgetRatio), [`ZeroBudgetWindow`](PolicyError::ZeroBudgetWindow): a budget with a ratio that is
    ///   negative, infinite or not a number, or with a window of 0.
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
        if let Jitter::Proportional(share) = self.jitter
            && !(0.0..=1.0).contains(&share)
        {
            return Err(PolicyError::JitterShare(share));
        }
        let immediate = matches!(self.backoff, Backoff::Immediate);
        if immediate && self.max_attempts.is_none() && self.budget.is_none() && !self.hot_loop_ok {
            return Err(PolicyError::HotLoop);
        }
        self.budget.as_ref().map_or(Ok(()), RetryBudget::validate)?;
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

    /// The delays alone, for those who have limits of their own.
    ///
    /// # Errors
    /// As [`validate`](Self::validate); [`HotLoop`](PolicyError::HotLoop) for `immediate()` unless it is `limited` otherwise.
    pub(crate) fn without_limits(&self, limited: bool) -> Result<Self, PolicyError> {
        if self.max_attempts == Some(0) {
            return Err(PolicyError::ZeroAttempts);
        }
        let delays = Self {
            max_attempts: None,
            max_elapsed: None,
            budget: None,
            hot_loop_ok: self.hot_loop_ok || limited,
            ..self.clone()
        };
        delays.validate()?;
        Ok(delays)
    }

    pub(crate) fn place(&self) -> Requeue {
        self.requeue
    }

    pub(crate) fn retries_panics(&self) -> bool {
        self.on_panic == PanicPolicy::Retry
    }

    /// A job succeeded.
    #[inline]
    pub(crate) fn reward(&self) {
        if let Some(budget) = &self.budget {
            budget.deposit();
        }
    }

    /// Is `attempt` the last that the policy allows?
    #[inline]
    pub(crate) fn is_last(&self, attempt: u32) -> bool {
        self.max_attempts.is_some_and(|max| attempt >= max)
    }
}

/// 3 attempts, 100 ms × 2, cap 30 s, [`Jitter::Full`].
impl Default for RetryPolicy {
    fn default() -> Self {
        Self::exponential(Duration::from_millis(100)).max_delay(Duration::from_secs(30))
    }
}

// What a panic leaves behind is sound: a policy is never half-changed.
impl UnwindSafe for RetryPolicy {}
impl RefUnwindSafe for RetryPolicy {}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
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
        for share in [f64::NAN, -0.1, 1.1] {
            assert!(
                refused(exponential().jitter(Jitter::Proportional(share)))
                    .contains(&share.to_string())
            );
        }
        assert!(refused(RetryPolicy::fixed(Duration::ZERO)).contains("delay is 0"));
        assert!(refused(exponential().max_delay(Duration::ZERO)).contains("max_delay is 0"));
        let error = refused(RetryPolicy::fixed(ms(50)).max_delay(ms(20)));
        assert!(
            error.contains("50ms") && error.contains("max_delay 20ms"),
            "{error}"
        );
        assert!(refused(RetryPolicy::immediate().unlimited()).contains("hot_loop_ok"));
        let broke = RetryPolicy::immediate().budget(RetryBudget::default().ratio(f64::NAN));
        assert!(refused(broke).contains("ratio is NaN"));
        for accepted in [
            RetryPolicy::default(),
            RetryPolicy::never(),
            RetryPolicy::immediate().unlimited().hot_loop_ok(),
            RetryPolicy::immediate()
                .unlimited()
                .budget(RetryBudget::default()),
            exponential().multiplier(1.0).max_delay(ms(1)),
        ] {
            assert_eq!(accepted.validate(), Ok(()));
        }
    }
}
