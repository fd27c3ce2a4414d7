//! Delays by the wall clock: the properties of the checklist that no other test shows, each by its number in `CHECKLIST.md`, and how late
//! timers are: `RP_TIMERS=100000` has as many of them.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::common::{at_best, gate, ms, pool};
use retry_pool::{Attempt, JobState, RetryPolicy, RetryPool, as_completed};

#[test]
fn p43_a_retry_comes_no_sooner_than_its_delay_and_within_twice_of_it() {
    const DELAY: Duration = Duration::from_millis(20);
    let pool = pool(1);
    let longest = at_best(DELAY * 2, || {
        let (tell, told) = mpsc::channel();
        let handle = pool
            .job(move || {
                tell.send(Instant::now()).unwrap();
                match Attempt::current().number() {
                    5 => Ok(()),
                    _ => Err(()),
                }
            })
            .retry(RetryPolicy::fixed(DELAY).max_attempts(5))
            .submit();
        handle.wait().unwrap();
        let times: Vec<Instant> = told.iter().collect();
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
        let gaps: Vec<Duration> = gaps.collect();
        assert!(gaps.iter().all(|gap| *gap >= DELAY), "{gaps:?}");
        *gaps.iter().max().unwrap()
    });
    assert!(longest <= DELAY * 2, "{longest:?}");
}

#[test]
fn p45_delays_that_overflow_neither_come_due_nor_hold_back_what_is_due() {
    const LONG: [Duration; 5] = [
        Duration::MAX,
        Duration::from_nanos(u64::MAX),
        Duration::from_nanos(u64::MAX - 1),
        Duration::from_nanos(u64::MAX / 2),
        Duration::from_secs(u64::MAX / 2),
    ];
    const SHORT: [Duration; 4] = [
        Duration::ZERO,
        Duration::from_nanos(1),
        Duration::from_millis(1),
        Duration::from_millis(5),
    ];
    for long in LONG {
        for short in SHORT {
            let pool = pool(1);
            let begun = Instant::now();
            let never = pool.job(|| Ok::<_, ()>("never")).delay(long).submit();
            let retried = pool.job(|| Err::<(), _>(()));
            let retried = retried
                .retry(RetryPolicy::fixed(long).max_delay(Duration::MAX))
                .submit();
            let due = pool.job(|| Ok::<_, ()>("due")).delay(short).submit();
            let due = due.wait_timeout(Duration::from_secs(20));
            assert_eq!(due.expect("it is held back").unwrap(), "due");
            assert!(begun.elapsed() >= short);
            let after = pool.job(|| Ok::<_, ()>(1)).delay(ms(1)).submit();
            assert_eq!(after.wait().unwrap(), 1);
            assert_eq!(never.state(), JobState::Parked, "{long:?}");
            assert_eq!((retried.state(), retried.attempts()), (JobState::Parked, 1));
            assert_eq!(pool.shutdown_now().gave_up(), 2);
        }
    }
}

/// How late so many timers are, in order, of a pool with nothing else to do; none is early.
fn lateness(timers: usize) -> Vec<Duration> {
    const AT_ONCE: usize = 100;
    let pool = pool(2);
    let mut late = Vec::with_capacity(timers);
    for _ in 0..timers / AT_ONCE {
        let handles: Vec<_> = (0..AT_ONCE as u64)
            .map(|n| {
                // From 0 to 50 ms, in no order.
                let delay = Duration::from_micros(n * 37 % 100 * 505);
                let due = Instant::now() + delay;
                let job = pool.job(move || Ok::<_, ()>((due, Instant::now())));
                job.delay(delay).submit()
            })
            .collect();
        for handle in handles {
            let (due, begun) = handle.wait().unwrap();
            assert!(begun >= due, "{:?} early", due - begun);
            late.push(begun - due);
        }
    }
    late.sort_unstable();
    late
}

#[test]
fn no_timer_is_early_and_half_of_them_are_less_than_a_millisecond_late() {
    let timers = std::env::var("RP_TIMERS").map_or(1_000, |text| text.parse().unwrap());
    // Other programs hold up single ones.
    let half = at_best(ms(1), || {
        let late = lateness(timers);
        let part = |percent| late[late.len() * percent / 100];
        println!(
            "of {timers} timers, half are less than {:?} late, 99 % less than {:?}",
            part(50),
            part(99)
        );
        part(50)
    });
    assert!(half < ms(1), "{half:?}");
}

/// The time for each handle, from giving them, none of them settled, to the last one's coming out.
fn cost_per_handle(pool: &RetryPool, handles: u32, repeats: u32) -> f64 {
    let once = || {
        let (gate, keeper) = gate();
        let first = pool.submit(move || {
            gate.pass();
            Ok::<_, ()>(0)
        });
        let rest = (1..handles).map(|n| pool.submit(move || Ok(n)));
        let all: Vec<_> = std::iter::once(first).chain(rest).collect();
        let begun = Instant::now();
        let finished = as_completed(all);
        keeper.let_through(1);
        assert_eq!(finished.count(), handles as usize);
        begun.elapsed().as_secs_f64() / f64::from(handles)
    };
    (0..repeats).map(|_| once()).fold(f64::INFINITY, f64::min)
}

/// What looks at every handle at each event costs a hundred times as much.
#[test]
fn a_hundred_thousand_handles_come_out_in_linear_time() {
    let pool = pool(1);
    let few = cost_per_handle(&pool, 1_000, 50);
    let many = cost_per_handle(&pool, 100_000, 3);
    assert!(
        many < few * 10.0,
        "{few:e} s each of 10³, {many:e} s of 10⁵"
    );
}
