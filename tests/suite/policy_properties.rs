//! The arithmetic of delays, for every backoff, jitter and limit. No thread, no sleep.

use std::time::Duration;

use proptest::prelude::*;
use retry_pool::{Jitter, RetryPolicy};

/// Every backoff with a delay of its own.
fn backoffs(initial: Duration) -> [RetryPolicy; 5] {
    [
        RetryPolicy::fixed(initial),
        RetryPolicy::linear(initial),
        RetryPolicy::exponential(initial),
        RetryPolicy::fibonacci(initial),
        RetryPolicy::decorrelated(initial),
    ]
}

fn jitters() -> impl Strategy<Value = Jitter> {
    prop_oneof![
        Just(Jitter::None),
        Just(Jitter::Full),
        Just(Jitter::Equal),
        (0.0..=1.0).prop_map(Jitter::Proportional),
    ]
}

/// From a nanosecond to the longest, on a logarithmic scale.
fn durations() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0u32..63, 1.0..2.0).prop_map(|(bits, m): (u32, f64)| Duration::from_nanos(
            ((1u64 << bits) as f64 * m) as u64
        )),
        Just(Duration::MAX),
    ]
}

fn attempts() -> impl Strategy<Value = u32> {
    prop_oneof![
        1u32..100,
        Just(u32::MAX - 1),
        any::<u32>().prop_map(|n| n.clamp(1, u32::MAX - 1))
    ]
}

/// What nanoseconds in 64 bits can hold, 584 years; longer ones are cut to it.
const LONGEST: Duration = Duration::from_nanos(u64::MAX);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn a_delay_is_never_zero_and_never_over_the_cap(
        (a, b) in (durations(), durations()),
        jitter in jitters(),
        multiplier in 1.0..1e6,
        attempt in attempts(),
        (seed, job) in any::<(u64, u64)>(),
        previous in durations(),
    ) {
        let (initial, cap) = if a < b { (a, b) } else { (b, a) };
        for policy in backoffs(initial) {
            let policy = policy.max_delay(cap).jitter(jitter).multiplier(multiplier).unlimited();
            prop_assert_eq!(policy.validate(), Ok(()));
            let delay = policy.delay(seed, job, attempt, Some(previous)).unwrap();
            prop_assert!(!delay.is_zero() && delay <= cap.min(LONGEST), "{:?}: {:?}", policy, delay);
            prop_assert_eq!(Some(delay), policy.delay(seed, job, attempt, Some(previous)));
        }
    }

    #[test]
    fn ceilings_never_fall(initial in durations(), multiplier in 1.0..10.0, first in 1u32..200) {
        for policy in &backoffs(initial)[..4] {
            let policy = policy.clone().jitter(Jitter::None).multiplier(multiplier).unlimited();
            let ceiling = |attempt| policy.delay(0, 0, attempt, None).unwrap();
            prop_assert!(ceiling(first) <= ceiling(first + 1), "{:?} at {}", policy, first);
        }
    }

    #[test]
    fn jitter_only_ever_shortens(
        initial in durations(),
        jitter in jitters(),
        attempt in attempts(),
        (seed, job) in any::<(u64, u64)>(),
    ) {
        for policy in &backoffs(initial)[..4] {
            let policy = policy.clone().unlimited();
            let ceiling = policy.clone().jitter(Jitter::None).delay(seed, job, attempt, None).unwrap();
            let delay = policy.jitter(jitter).delay(seed, job, attempt, None).unwrap();
            prop_assert!(delay <= ceiling);
            let least = match jitter {
                Jitter::None => 1.0,
                Jitter::Equal => 0.5,
                Jitter::Proportional(share) => 1.0 - share,
                _ => 0.0,
            };
            prop_assert!(delay.as_secs_f64() >= ceiling.as_secs_f64() * least * (1.0 - 1e-9) - 1e-9);
        }
    }

    #[test]
    fn one_less_delay_than_attempts(limit in 1u32..50, (seed, job) in any::<(u64, u64)>()) {
        for policy in backoffs(Duration::from_millis(1)) {
            let policy = policy.max_attempts(limit);
            let delays: Vec<Duration> = policy.delays(seed, job).collect();
            prop_assert_eq!(delays.len(), limit as usize - 1);
            let mut previous = None;
            for (attempt, delay) in (1..).zip(delays) {
                prop_assert_eq!(policy.delay(seed, job, attempt, previous), Some(delay));
                previous = Some(delay);
            }
            prop_assert_eq!(policy.delay(seed, job, limit, previous), None);
        }
    }
}

/// A million draws for each backoff and jitter, at the cap and below it.
#[test]
fn a_million_draws_keep_to_the_cap_and_their_spread_survives_at_it() {
    let draws = 1_000_000;
    let cap = Duration::from_millis(100);
    for jitter in [
        Jitter::None,
        Jitter::Full,
        Jitter::Equal,
        Jitter::Proportional(0.3),
    ] {
        for policy in backoffs(Duration::from_millis(1)) {
            let policy = policy.max_delay(cap).jitter(jitter).unlimited();
            let (mut least, mut greatest) = (Duration::MAX, Duration::ZERO);
            for job in 0..draws {
                let attempt = 1 + (job % 20) as u32 * 100;
                let delay = policy.delay(7, job, attempt, Some(cap)).unwrap();
                assert!(!delay.is_zero() && delay <= cap);
                if attempt > 100 {
                    (least, greatest) = (least.min(delay), greatest.max(delay));
                }
            }
            let spread = (greatest - least).as_secs_f64() / cap.as_secs_f64();
            // All but `fixed` are at the cap by then.
            match jitter {
                _ if policy.describe().starts_with("fixed") => {}
                Jitter::Full => assert!(spread > 0.95, "{policy:?}: {spread}"),
                Jitter::Equal => assert!(spread > 0.495, "{policy:?}: {spread}"),
                Jitter::Proportional(share) => {
                    assert!(spread > 0.99 * share, "{policy:?}: {spread}");
                }
                _ => assert!(spread == 0.0, "{policy:?}: {spread}"),
            }
        }
    }
}

/// Chi-square over 100 buckets: with 99 degrees of freedom, 148.2 is exceeded once in a thousand seeds; these are fixed.
#[test]
fn draws_are_even() {
    let span = Duration::from_millis(100);
    let full = RetryPolicy::fixed(span).jitter(Jitter::Full).unlimited();
    let equal = RetryPolicy::fixed(span).jitter(Jitter::Equal).unlimited();
    for seed in 0..5 {
        for (policy, least) in [(&full, 0), (&equal, 50_000_000)] {
            let mut buckets = [0u32; 100];
            for job in 0..100_000 {
                let attempt = 1 + (job % 7) as u32;
                let nanos =
                    policy.delay(seed, job, attempt, None).unwrap().as_nanos() as u64 - 1 - least;
                buckets[(nanos * 100 / (100_000_000 - least)) as usize] += 1;
            }
            let chi: f64 = buckets
                .iter()
                .map(|n| (f64::from(*n) - 1_000.0).powi(2) / 1_000.0)
                .sum();
            assert!(chi < 148.2, "seed {seed}, {policy:?}: {chi}");
        }
    }
}
