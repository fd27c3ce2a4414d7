//! What follows from a failure, and after which delay.

use std::time::Duration;

use super::{RetryPolicy, Verdict};
use crate::backoff::{RetryState, mix};
use crate::budget::{Charge, RetryBudget};
use crate::clock::{Nanos, nanos};
use crate::reason::GiveUpReason;

/// What a draw depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draw {
    pub(crate) seed: u64,
    pub(crate) job: u64,
    pub(crate) attempt: u32,
}

impl RetryPolicy {
    /// The delays before retry 1, 2, 3 … of the single job that was accepted as number `job` (from 0), as a pool with this
    /// `jitter_seed` would draw them: at most one less than `max_attempts`. A batch mixes its own number into the seed. A pure function, for tests of a policy that need neither a thread nor a sleep. Hints, `max_elapsed` and the
    /// budget depend on what happens, and are left out.
    ///
    /// ```
    /// use std::time::Duration;
    /// use retry_pool::{Jitter, RetryPolicy};
    ///
    /// let policy = RetryPolicy::exponential(Duration::from_millis(100)).max_delay(Duration::from_millis(300)).max_attempts(5);
    /// let ceilings: Vec<u128> = policy.clone().jitter(Jitter::None).delays(0, 0).map(|d| d.as_millis()).collect();
    /// assert_eq!(ceilings, [100, 200, 300, 300]);
    /// assert!(policy.delays(7, 1).eq(policy.delays(7, 1)));
    /// ```
    pub fn delays(&self, seed: u64, job: u64) -> impl Iterator<Item = Duration> + use<> {
        let policy = self.clone();
        let mut state = RetryState::new();
        policy.backoff.prepare(&mut state);
        (1..=u32::MAX).map_while(move |attempt| {
            let open = !policy.is_last(attempt);
            let delay = open
                .then(|| policy.draw(seed, job, attempt, &mut state))
                .flatten();
            delay.map(Duration::from_nanos)
        })
    }

    /// The delay before the retry that follows on `attempt`, as a pool with this `jitter_seed` would draw it, given the delay before
    /// (which only [`decorrelated`](Self::decorrelated) looks at; an iterator of delays is stepped through up to there). `None` if `attempt` is the last. Zero means at once.
    #[must_use]
    pub fn delay(
        &self,
        seed: u64,
        job: u64,
        attempt: u32,
        previous: Option<Duration>,
    ) -> Option<Duration> {
        if self.is_last(attempt) {
            return None;
        }
        let mut state = RetryState::new();
        state.set_previous(previous.map_or(0, nanos));
        self.backoff.prepare(&mut state);
        if let RetryState::Delays { delays, .. } = &mut state {
            let skipped = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
            delays.get_mut().by_ref().take(skipped).for_each(drop);
        }
        self.draw(seed, job, attempt, &mut state)
            .map(Duration::from_nanos)
    }

    /// What follows from the failure of `attempt` (from 1), `elapsed` after the job's submission: a retry after this delay, 0 for at once, if
    /// there is something to pay it with (see [`Self::charge`]). Calls the user's iterator of delays, if the policy has one.
    pub(crate) fn decide(
        &self,
        draw: Draw,
        state: &mut RetryState,
        elapsed: Nanos,
        verdict: Verdict,
    ) -> Result<Nanos, GiveUpReason> {
        let hint = match verdict {
            Verdict::GiveUp => return Err(GiveUpReason::Permanent),
            Verdict::Retry => 0,
            Verdict::RetryAfter(hint) => nanos(hint),
        };
        let Draw { seed, job, attempt } = draw;
        if self.is_last(attempt) {
            return Err(GiveUpReason::AttemptsExhausted);
        }
        self.backoff.prepare(state);
        let Some(own) = self.draw(seed, job, attempt, state) else {
            return Err(GiveUpReason::AttemptsExhausted);
        };
        let delay = own.max(hint.min(self.max_hint.unwrap_or(Nanos::MAX)));
        let mistaken = self.max_hint.is_none()
            && self.max_elapsed.is_none()
            && hint > nanos(Self::LONGEST_HINT);
        if mistaken
            || self
                .max_elapsed
                .is_some_and(|max| elapsed.saturating_add(delay) > max)
        {
            return Err(GiveUpReason::ElapsedExhausted);
        }
        Ok(delay)
    }

    /// Pays for a retry out of the budget, if there is one.
    pub(crate) fn charge(&self) -> Result<Option<Charge>, GiveUpReason> {
        let charge = self.budget.as_ref().map(RetryBudget::charge);
        charge.map_or(Ok(None), |paid| {
            paid.map(Some).ok_or(GiveUpReason::BudgetExhausted)
        })
    }

    /// The policy's own delay after the failure of `attempt`: 0 for at once, else 0 < delay ≤ `max_delay`. `None`: the iterator of
    /// delays has ended.
    fn draw(&self, seed: u64, job: u64, attempt: u32, state: &mut RetryState) -> Option<Nanos> {
        let cap = self.max_delay.unwrap_or(Nanos::MAX);
        let ceiling = self.backoff.ceiling(attempt, self.multiplier, cap, state)?;
        if ceiling == 0 {
            return Some(0);
        }
        let delay = self
            .jitter
            .draw(self.backoff.floor(), ceiling, mix(seed, job, attempt));
        state.set_previous(delay);
        Some(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// What follows from the failure of `attempt`: the delay, or the reason to give up.
    fn decide(
        policy: &RetryPolicy,
        attempt: u32,
        elapsed: Nanos,
        verdict: Verdict,
    ) -> Result<Nanos, GiveUpReason> {
        let draw = Draw {
            seed: 0,
            job: 0,
            attempt,
        };
        policy.decide(draw, &mut RetryState::new(), elapsed, verdict)
    }

    #[test]
    fn max_attempts_counts_the_first() {
        let policy = RetryPolicy::immediate().max_attempts(3);
        let exhausted = Err(GiveUpReason::AttemptsExhausted);
        let decisions: Vec<_> = (1..=4)
            .map(|n| decide(&policy, n, 0, Verdict::Retry))
            .collect();
        assert_eq!(decisions, [Ok(0), Ok(0), exhausted, exhausted]);
        assert_eq!(
            RetryPolicy::immediate().max_retries(2).describe(),
            policy.describe()
        );
        assert_eq!(
            decide(&RetryPolicy::never(), 1, 0, Verdict::Retry),
            exhausted
        );
        assert_eq!(
            decide(&policy.unlimited(), u32::MAX, 0, Verdict::Retry),
            Ok(0)
        );
    }

    #[test]
    fn a_hint_is_a_minimum_that_lifts_no_limit() {
        let policy = RetryPolicy::fixed(ms(10)).max_attempts(2);
        let after =
            |policy: &RetryPolicy, hint| decide(policy, 1, 5 * MS, Verdict::RetryAfter(hint));
        assert_eq!(after(&policy, ms(5)), Ok(10 * MS));
        assert_eq!(after(&policy, ms(50)), Ok(50 * MS));
        assert_eq!(
            decide(&policy, 2, 0, Verdict::RetryAfter(ms(1))),
            Err(GiveUpReason::AttemptsExhausted)
        );
        assert_eq!(after(&RetryPolicy::immediate(), Duration::ZERO), Ok(0));
        let hours = Duration::from_secs(484_289 * 3_600);
        assert_eq!(after(&policy, hours), Err(GiveUpReason::ElapsedExhausted));
        assert_eq!(
            after(&policy, Duration::MAX),
            Err(GiveUpReason::ElapsedExhausted)
        );
        let longest = RetryPolicy::LONGEST_HINT;
        assert_eq!(after(&policy, longest), Ok(nanos(longest)));
        assert_eq!(
            after(&policy, longest + ms(1)),
            Err(GiveUpReason::ElapsedExhausted)
        );
        let patient = policy.clone().max_elapsed(Duration::MAX);
        assert_eq!(after(&patient, hours), Ok(nanos(hours)));
        assert_eq!(after(&policy.clone().max_hint(ms(70)), hours), Ok(70 * MS));
        let limited = policy.max_elapsed(ms(60));
        assert_eq!(after(&limited, ms(55)), Ok(55 * MS));
        assert_eq!(after(&limited, ms(56)), Err(GiveUpReason::ElapsedExhausted));
    }

    #[test]
    fn max_elapsed_gives_up_when_the_next_attempt_would_be_due_later() {
        let policy = RetryPolicy::fixed(ms(10)).max_elapsed(ms(25)).unlimited();
        let at = |elapsed| decide(&policy, 1, elapsed * MS, Verdict::Retry);
        let exhausted = Err(GiveUpReason::ElapsedExhausted);
        assert_eq!(
            [at(0), at(15), at(16), at(99)],
            [Ok(10 * MS), Ok(10 * MS), exhausted, exhausted]
        );
        let longest = RetryPolicy::fixed(Duration::MAX).max_elapsed(Duration::MAX);
        assert_eq!(decide(&longest, 1, u64::MAX, Verdict::Retry), Ok(u64::MAX));
    }

    #[test]
    fn a_retry_is_paid_out_of_the_budget() {
        assert!(matches!(RetryPolicy::immediate().charge(), Ok(None)));
        let budget = RetryBudget::default().min_per_second(1);
        let policy = RetryPolicy::immediate().unlimited().budget(budget.clone());
        let charges: Vec<_> = std::iter::from_fn(|| match policy.charge() {
            Ok(charge) => charge,
            Err(reason) => {
                assert_eq!(reason, GiveUpReason::BudgetExhausted);
                None
            }
        })
        .collect();
        assert_eq!((charges.len(), budget.available()), (10, 0));
        drop(charges);
        assert_eq!(budget.available(), 10);
    }

    #[test]
    fn an_iterator_that_ends_exhausts_the_attempts() {
        let policy = RetryPolicy::from_delays(|| [ms(1), ms(2)].into_iter()).unlimited();
        let mut state = RetryState::new();
        let mut next = |attempt| {
            let draw = Draw {
                seed: 0,
                job: 0,
                attempt,
            };
            policy.decide(draw, &mut state, 0, Verdict::Retry)
        };
        assert_eq!(
            [next(1), next(2), next(3)],
            [Ok(MS), Ok(2 * MS), Err(GiveUpReason::AttemptsExhausted)]
        );
        assert_eq!(policy.delay(0, 0, 2, None), Some(ms(2)));
        assert_eq!(policy.delay(0, 0, 3, None), None);
    }
}
