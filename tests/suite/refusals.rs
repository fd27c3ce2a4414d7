//! Nonsense is refused by the name of the setting and its value; huge values are safe.

use std::time::Duration;

use crate::common::{await_worker, ms, pool};
use retry_pool::{BuildError, PolicyError, RetryPolicy, RetryPool};

fn message_of_panic(f: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let payload = std::panic::catch_unwind(f).expect_err("accepted");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().unwrap()).to_owned(),
    }
}

#[test]
fn the_builder_refuses_by_name_and_value() {
    let refused = |builder: retry_pool::RetryPoolBuilder| builder.build().unwrap_err().to_string();
    assert!(refused(RetryPool::builder().threads(0)).contains("threads is 0"));
    assert!(refused(RetryPool::builder().threads(usize::MAX)).contains(&usize::MAX.to_string()));
    assert!(refused(RetryPool::builder().thread_name("a\0b")).contains("thread_name"));
    let error = RetryPool::builder()
        .retry(RetryPolicy::immediate().max_attempts(0))
        .build()
        .unwrap_err();
    assert!(matches!(
        error,
        BuildError::Policy(PolicyError::ZeroAttempts)
    ));
    assert!(error.to_string().contains("max_attempts is 0"));
}

#[test]
fn a_thread_that_cannot_be_spawned_is_a_build_error() {
    let error = RetryPool::builder()
        .threads(2)
        .stack_size(isize::MAX as usize)
        .build()
        .unwrap_err();
    assert!(
        matches!(&error, BuildError::Spawn { name, .. } if name == "retry-pool-0"),
        "{error:?}"
    );
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn a_pool_without_threads_panics_with_the_same_message() {
    assert!(message_of_panic(|| drop(RetryPool::with_threads(0))).contains("threads is 0"));
}

#[test]
fn jobs_and_batches_panic_with_the_same_message() {
    let job = |policy: RetryPolicy| {
        message_of_panic(move || drop(pool(1).job(|| Ok::<_, ()>(())).retry(policy).submit()))
    };
    let batch = |policy: RetryPolicy| {
        message_of_panic(move || {
            drop(
                pool(1)
                    .batch([()], |_| Ok::<_, ()>(()))
                    .retry(policy)
                    .as_completed(),
            );
        })
    };
    for policy in [
        RetryPolicy::immediate().max_attempts(0),
        RetryPolicy::exponential(ms(1)).multiplier(f64::NAN),
        RetryPolicy::exponential(ms(1)).multiplier(0.5),
        RetryPolicy::fixed(ms(9)).max_delay(ms(1)),
    ] {
        let expected = policy.validate().unwrap_err().to_string();
        assert_eq!(
            (job(policy.clone()), batch(policy)),
            (expected.clone(), expected)
        );
    }
    let window = message_of_panic(|| {
        drop(
            pool(1)
                .batch([()], |_| Ok::<_, ()>(()))
                .window(0)
                .as_completed(),
        );
    });
    assert!(window.contains("window is 0"), "{window}");
}

#[test]
fn huge_values_are_safe() {
    let pool = pool(1);
    let forever = RetryPolicy::exponential(Duration::MAX)
        .max_attempts(u32::MAX)
        .max_delay(Duration::MAX);
    let parked = pool
        .job(|| Err::<(), _>(()))
        .retry(forever.clone())
        .submit();
    let hinted = pool
        .job(|| Err::<(), _>(()))
        .retry(
            RetryPolicy::immediate()
                .max_retries(u32::MAX)
                .max_hint(Duration::MAX),
        )
        .classify(|_| retry_pool::Verdict::RetryAfter(Duration::MAX))
        .submit();
    let mut batch = pool
        .batch(0..3, |_| Err::<(), _>(()))
        .window(usize::MAX)
        .retry(forever)
        .as_completed();
    assert_eq!(batch.next_timeout(ms(5)).unwrap_err().unfinished, 3);
    await_worker(&pool);
    assert_eq!((parked.attempts(), hinted.attempts()), (1, 1));
    let report = pool.shutdown_timeout(ms(5));
    assert_eq!((report.gave_up(), report.still_running()), (5, 0));
    assert!(parked.wait_timeout(Duration::MAX).unwrap().is_err());
    assert_eq!(
        batch
            .next_timeout(Duration::MAX)
            .unwrap()
            .unwrap()
            .attempts(),
        1
    );
}
