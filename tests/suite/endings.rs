//! Pools that end in the middle of everything, in ways that chance chooses: each ends within a second, and every job has settled.
//!
//! `RP_ENDINGS=100000` has as many of them, and `RP_ENDINGS_SEED=2` others.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{Live, eventually, ms};
use retry_pool::{JobHandle, RetryPolicy, RetryPool, ScopedHandle};

/// An end that takes longer has hung, as far as its caller can tell.
const PATIENCE: Duration = Duration::from_secs(1);

/// SplitMix64, by Steele, Lea and Flood.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A policy that retries at once, after a moment, or after an hour, where nobody waits for that.
fn policy(dice: &mut Dice, drains: bool) -> RetryPolicy {
    match dice.roll(3) {
        0 => RetryPolicy::immediate(),
        1 => RetryPolicy::fixed(Duration::from_micros(dice.roll(2_000) + 1)),
        _ if drains => RetryPolicy::never(),
        _ => RetryPolicy::fixed(Duration::from_secs(3_600)),
    }
}

/// A few calls of one caller; the pool may end at any of them. What was accepted is left in `handles`.
fn call(
    pool: &Arc<RetryPool>,
    dice: &mut Dice,
    drains: bool,
    live: &Live,
) -> Vec<JobHandle<u64, ()>> {
    let mut handles = Vec::new();
    for _ in 0..dice.roll(5) {
        let alive = live.clone();
        let policy = policy(dice, drains);
        match dice.roll(8) {
            0 | 1 => handles.push(pool.submit(move || Ok(u64::from(alive.others() > 0)))),
            2 | 3 => {
                let failing = pool.job(move || if alive.others() > 0 { Err(()) } else { Ok(0) });
                handles.push(failing.retry(policy).submit());
            }
            4 => {
                let panics = move || -> Result<u64, ()> {
                    let _alive = &alive;
                    std::panic::resume_unwind(Box::new("a job that panics"))
                };
                handles.push(pool.submit(panics));
            }
            5 => {
                // Submits to the pool that runs it, which may be full, and has ended perhaps, and waits there.
                let inner = Arc::downgrade(pool);
                let outer = move || {
                    let _alive = &alive;
                    let pool = inner.upgrade().ok_or(())?;
                    pool.submit(|| Ok::<_, ()>(1)).wait().map_err(drop)
                };
                handles.push(pool.submit(outer));
            }
            6 => {
                let limit = dice.roll(20) as usize + 1;
                let batch = pool.batch(0..dice.roll(30), move |n: &u64| {
                    let _alive = &alive;
                    if n.is_multiple_of(3) { Err(()) } else { Ok(*n) }
                });
                let window = dice.roll(8) as usize + 1;
                let batch = batch.retry(policy).window(window).as_completed();
                if drains {
                    assert!(batch.take(limit).count() <= 30);
                } else {
                    // Its parked jobs would keep it for an hour.
                    drop(batch);
                }
            }
            _ => match dice.roll(3) {
                0 => pool.cancel_all(),
                _ => {
                    if let Some(handle) = handles.first() {
                        handle.cancel();
                    }
                }
            },
        }
    }
    handles
}

/// One life of a pool: callers at work, and its end in the middle of it.
fn live_and_end(dice: &mut Dice) {
    let live = Live::new();
    let (threads, callers, ending) = (dice.roll(3) + 1, dice.roll(3) + 1, dice.roll(6));
    let builder = RetryPool::builder().threads(threads as usize);
    let builder = match dice.roll(4) {
        0 => builder.capacity(1),
        1 => builder.capacity(dice.roll(6) as usize + 1),
        _ => builder,
    };
    let pool = Arc::new(builder.retry(RetryPolicy::immediate()).build().unwrap());
    // What ends by itself is waited for; an hour is not.
    let drains = ending < 4;
    let callers: Vec<_> = (0..callers)
        .map(|_| {
            let (pool, live, mut dice) =
                (Arc::clone(&pool), live.clone(), Dice(dice.roll(u64::MAX)));
            thread::spawn(move || call(&pool, &mut dice, drains, &live))
        })
        .collect();
    let begun = Instant::now();
    match ending {
        0 => drop(pool),
        1 => {
            // Freed with the job, on its worker: the last reference perhaps.
            let inside = Arc::clone(&pool);
            drop(pool.submit(move || {
                let _pool = &inside;
                Ok::<_, ()>(())
            }));
            drop(pool);
        }
        2 => thread::scope(|scope| {
            for _ in 0..=dice.roll(2) {
                scope.spawn(|| pool.shutdown());
            }
        }),
        3 => {
            let inside = Arc::clone(&pool);
            let from_a_job = pool.submit(move || {
                inside.shutdown();
                Ok::<_, ()>(())
            });
            drop(from_a_job);
            pool.shutdown();
        }
        4 => drop(pool.shutdown_now()),
        _ => drop(pool.shutdown_timeout(ms(dice.roll(3)))),
    }
    let handles: Vec<_> = callers
        .into_iter()
        .flat_map(|caller| caller.join().unwrap())
        .collect();
    for handle in handles {
        let left = PATIENCE.saturating_sub(begun.elapsed());
        let settled: Result<_, ScopedHandle<'_, _, _>> = handle.wait_timeout(left);
        assert!(
            settled.is_ok(),
            "a job has not settled after the end of its pool"
        );
    }
    eventually("what the jobs held is free", || live.others() == 0);
    assert!(
        begun.elapsed() < PATIENCE,
        "the end took {:?}",
        begun.elapsed()
    );
}

#[test]
fn every_pool_ends_within_a_second_whatever_its_callers_do() {
    let runs = number("RP_ENDINGS").unwrap_or(500);
    let seed = number("RP_ENDINGS_SEED").unwrap_or(1);
    for run in 0..runs {
        let (done, is_done) = mpsc::channel();
        let life = thread::spawn(move || {
            live_and_end(&mut Dice(
                seed.wrapping_mul(1_000_000_007).wrapping_add(run),
            ));
            done.send(()).unwrap();
        });
        // A hang is told with its number, so that it can be looked at.
        let ended = is_done.recv_timeout(Duration::from_secs(20));
        assert!(
            ended.is_ok(),
            "run {run} of seed {seed} has failed or hangs"
        );
        life.join().unwrap();
    }
}
