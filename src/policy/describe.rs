//! A policy in words.

use std::fmt;
use std::time::Duration;

use super::{PanicPolicy, RetryPolicy};
use crate::backoff::Backoff;
use crate::clock::Nanos;

impl RetryPolicy {
    /// Everything that can stop a job under this policy, and its delays, in words.
    ///
    /// ```
    /// use std::time::Duration;
    /// use retry_pool::RetryPolicy;
    ///
    /// let policy = RetryPolicy::default().max_elapsed(Duration::from_secs(60));
    /// assert_eq!(
    ///     policy.describe(),
    ///     "exponential 100ms x 2, at most 30s, full jitter; \
    ///      stops after 3 attempts, 60s, a hint past what is left of it, a permanent error, or a panic",
    /// );
    /// ```
    #[must_use]
    pub fn describe(&self) -> String {
        let span = |n: Nanos| format!("{:?}", Duration::from_nanos(n));
        let mut text = self.backoff.to_string();
        if let Backoff::Exponential(_) = self.backoff {
            text += &format!(" x {}", self.multiplier);
        }
        if let Some(max) = self.max_delay {
            text += &format!(", at most {}", span(max));
        }
        match (&self.backoff, self.jitter) {
            (Backoff::Immediate, _) => {}
            (_, jitter) => text += &format!(", {jitter}"),
        }
        let mut stops = Vec::new();
        match self.max_attempts {
            Some(1) => stops.push(String::from("1 attempt")),
            Some(max) => stops.push(format!("{max} attempts")),
            None => {}
        }
        if let Backoff::Delays(_) = self.backoff {
            stops.push(String::from("the last delay of the iterator"));
        }
        stops.extend(self.max_elapsed.map(span));
        match (self.max_hint, self.max_elapsed) {
            _ if self.is_last(1) => {}
            (Some(max), _) => text += &format!(", hints cut to {}", span(max)),
            (None, Some(_)) => stops.push(String::from("a hint past what is left of it")),
            (None, None) => stops.push(format!("a hint past {:?}", Self::LONGEST_HINT)),
        }
        stops.extend(
            self.budget
                .as_ref()
                .map(|budget| format!("an empty budget ({budget})")),
        );
        stops.push(String::from("a permanent error"));
        if self.on_panic == PanicPolicy::GiveUp {
            stops.push(String::from("a panic"));
        }
        let last = stops.pop().unwrap_or_default();
        let list = if stops.is_empty() {
            last
        } else {
            format!("{}, or {last}", stops.join(", "))
        };
        format!("{text}; stops after {list}")
    }
}

/// In words, as by [`describe`](RetryPolicy::describe).
impl fmt::Debug for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RetryPolicy({})", self.describe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::RetryBudget;

    #[test]
    fn a_description_names_whatever_can_stop_a_job() {
        let budget = RetryBudget::default();
        let policy = RetryPolicy::immediate()
            .unlimited()
            .budget(budget)
            .on_panic(PanicPolicy::Retry)
            .max_hint(Duration::from_millis(1));
        assert_eq!(
            policy.describe(),
            "immediate, hints cut to 1ms; stops after an empty budget (0.2 of the successes + 10/s), or a permanent error"
        );
        assert_eq!(
            format!("{:?}", RetryPolicy::never()),
            "RetryPolicy(immediate; stops after 1 attempt, a permanent error, or a panic)"
        );
    }
}
