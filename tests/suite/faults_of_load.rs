//! Pools under jobs that panic, fail without end, block in hooks, or whose results nobody reads.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crate::common::{Gate, GateKeeper, Live, eventually, gate, ms, pool};
use retry_pool::{
    Attempt, GiveUpReason, JobEvent, Observer, RetryPolicy, RetryPool, TrySubmitError,
};

fn endless() -> RetryPolicy {
    RetryPolicy::immediate().unlimited().hot_loop_ok()
}

/// The threads that serve at the same time, as many as the pool has workers.
fn workers(pool: &RetryPool, threads: usize) -> HashSet<ThreadId> {
    let (gate, keeper) = gate();
    let submit = |_| {
        let gate = gate.clone();
        pool.submit(move || {
            gate.pass();
            Ok::<_, ()>(thread::current().id())
        })
    };
    let held: Vec<_> = (0..threads).map(submit).collect();
    keeper.await_arrivals(threads);
    keeper.let_through(threads);
    held.into_iter()
        .map(|handle| handle.wait().unwrap())
        .collect()
}

#[test]
fn after_a_million_panics_the_same_workers_serve() {
    const PANICS: u64 = 1_000_000;
    let pool = pool(2);
    let before = workers(&pool, 2);
    std::panic::set_hook(Box::new(|_| ()));
    let run = |n: &u64| -> Result<(), ()> { panic!("{n}") };
    let batch = pool.batch(0..PANICS / 2, run);
    assert_eq!(batch.as_completed().count() as u64, PANICS / 2);
    for _ in 0..PANICS / 2 {
        drop(pool.submit(|| -> Result<(), ()> { panic!("alone") }));
    }
    let after = workers(&pool, 2);
    let _ = std::panic::take_hook();
    assert_eq!(before, after);
    let stats = pool.stats();
    assert_eq!((stats.spare_threads(), stats.stuck_threads()), (0, 0));
    assert_eq!(stats.gave_up_as(GiveUpReason::Panicked), PANICS);
    assert_eq!(stats.unsettled(), 0);
}

// No starvation.

const WORKERS: usize = 3;
const HOT: usize = 8;

/// An attempt of a job that fails again and again.
fn fail_again(starts: &AtomicUsize, gate: &Gate) -> Result<usize, ()> {
    starts.fetch_add(1, Ordering::SeqCst);
    gate.pass();
    Err(())
}

/// Holds all workers in attempts of jobs that fail at once, has `submit` add a job, and lets them go. Its first attempt is to begin after no more
/// than `bound` others.
fn starts_in_time(
    pool: &RetryPool,
    starts: &AtomicUsize,
    keeper: &GateKeeper,
    bound: usize,
    submit: impl FnOnce() -> Receiver<usize>,
) {
    keeper.await_arrivals(WORKERS);
    let before = starts.load(Ordering::SeqCst);
    let begun = submit();
    // A batch's token gives way to what waits once its turn has lasted 50 us.
    thread::sleep(ms(1));
    // Each lets a worker go on to one more attempt: the last may be that of the job, however late its thread gets a processor.
    keeper.let_through(bound + 1);
    let begun = begun.recv_timeout(Duration::from_secs(20));
    let waited = begun.expect("it starves") - before;
    assert!(waited <= bound, "{waited} attempts began before it");
    pool.cancel_all();
    keeper.let_through(1_000);
}

#[test]
fn a_fresh_job_begins_after_those_before_it_though_all_others_fail_without_end() {
    let builder = RetryPool::builder().threads(WORKERS).capacity(HOT + 1);
    let pool = builder.retry(endless()).build().unwrap();
    let (gate, keeper) = gate();
    let starts = Arc::new(AtomicUsize::new(0));
    for _ in 0..HOT {
        let (starts, gate) = (Arc::clone(&starts), gate.clone());
        drop(pool.submit(move || fail_again(&starts, &gate)));
    }
    let queued = HOT - WORKERS;
    starts_in_time(&pool, &starts, &keeper, queued + WORKERS, || {
        let (tell, begun) = mpsc::channel();
        let starts = Arc::clone(&starts);
        drop(pool.submit(move || {
            tell.send(starts.load(Ordering::SeqCst)).unwrap();
            Ok::<_, ()>(())
        }));
        begun
    });
}

/// A batch whose inputs below `HOT` fail without end, and another one tells how many attempts began before it.
fn hot_batch(fresh_comes_by_the_batch: bool) {
    let pool = RetryPool::with_threads(WORKERS);
    let (gate, keeper) = gate();
    let starts = Arc::new(AtomicUsize::new(0));
    let (tell, begun) = mpsc::channel();
    let (counter, teller) = (Arc::clone(&starts), tell.clone());
    let run = move |n: &usize| {
        if *n < HOT {
            return fail_again(&counter, &gate);
        }
        teller.send(counter.load(Ordering::SeqCst)).unwrap();
        Ok(*n)
    };
    let batch = pool.batch(std::iter::empty(), run).retry(endless());
    let (sender, completed) = batch.window(HOT + 1).channel();
    (0..HOT).for_each(|n| sender.send(n).unwrap());
    let queued = match fresh_comes_by_the_batch {
        true => HOT - WORKERS,
        // Each token of the batch gives way after the attempt that runs.
        false => 0,
    };
    starts_in_time(&pool, &starts, &keeper, queued + WORKERS, || {
        if fresh_comes_by_the_batch {
            sender.send(HOT).unwrap();
        } else {
            let starts = Arc::clone(&starts);
            drop(pool.submit(move || {
                tell.send(starts.load(Ordering::SeqCst)).unwrap();
                Ok::<_, ()>(())
            }));
        }
        begun
    });
    drop(completed);
}

#[test]
fn a_fresh_input_begins_after_those_before_it_though_all_others_fail_without_end() {
    hot_batch(true);
}

#[test]
fn a_single_job_begins_after_what_runs_though_a_batch_fails_without_end() {
    hot_batch(false);
}

// Places.

/// How many jobs hold a place: accepted, and not about to end.
#[derive(Clone, Default)]
struct Places {
    held: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Observer for Places {
    fn job_accepted(&self, _: &JobEvent<'_>) {
        let held = self.held.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(held, Ordering::SeqCst);
    }
}

impl Places {
    /// An attempt of a job that ends in one of four ways, at the third attempt at the latest.
    fn attempt(&self, n: usize) -> Result<(), ()> {
        let last = match n % 4 {
            1 | 2 => 3,
            _ => 1,
        };
        if Attempt::current().number() < last {
            return Err(());
        }
        self.held.fetch_sub(1, Ordering::SeqCst);
        match n % 4 {
            0 | 1 => Ok(()),
            2 => Err(()),
            _ => std::panic::resume_unwind(Box::new(n)),
        }
    }
}

fn assert_all_places_are_free(pool: &RetryPool, capacity: usize) {
    let submit = || pool.job(|| Ok::<_, ()>(())).delay(ms(3_600_000));
    let held: Vec<_> = (0..capacity)
        .map(|_| submit().try_submit().unwrap())
        .collect();
    assert!(matches!(
        submit().try_submit(),
        Err(TrySubmitError::Full(_))
    ));
    held.into_iter().for_each(|handle| assert!(handle.cancel()));
}

#[test]
fn no_more_jobs_have_a_place_than_there_are_and_every_place_comes_back() {
    const CAPACITY: usize = 5;
    const JOBS: usize = 1_000;
    let places = Places::default();
    let pool = RetryPool::builder()
        .threads(3)
        .capacity(CAPACITY)
        .retry(RetryPolicy::fixed(Duration::from_micros(20)))
        .observer(places.clone())
        .build()
        .unwrap();
    thread::scope(|scope| {
        for n in 0..2 {
            let (places, pool) = (&places, &pool);
            scope.spawn(move || {
                for n in (0..JOBS).map(|job| job + n) {
                    let places = places.clone();
                    drop(pool.submit(move || places.attempt(n)));
                }
            });
            scope.spawn(move || {
                let places = places.clone();
                let batch = pool.batch(0..JOBS, move |n| places.attempt(*n));
                assert_eq!(batch.window(4).as_completed().count(), JOBS);
            });
        }
    });
    eventually("settled", || pool.stats().unsettled() == 0);
    let most = places.most.load(Ordering::SeqCst);
    assert_eq!((most, places.held.load(Ordering::SeqCst)), (CAPACITY, 0));
    assert_all_places_are_free(&pool, CAPACITY);
}

#[test]
fn every_place_comes_back_whatever_is_cancelled_or_dropped() {
    let builder = RetryPool::builder().threads(2).capacity(4);
    let policy = RetryPolicy::fixed(Duration::from_micros(20));
    let pool = builder.retry(policy).build().unwrap();
    for round in 0..200 {
        let run = move |n: &usize| match (n + round) % 3 {
            0 => Ok(()),
            1 => Err(()),
            _ => std::panic::resume_unwind(Box::new(round)),
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                let handle = pool.submit(move || run(&0));
                (0..round % 40).for_each(|_| thread::yield_now());
                handle.cancel();
            });
            scope.spawn(|| {
                let mut batch = pool.batch(0..20, run).window(3).as_completed();
                (0..round % 5).for_each(|_| drop(batch.next()));
            });
            scope.spawn(|| pool.batch(0..5, run).run().accepted());
            if round % 7 == 0 {
                pool.cancel_all();
            }
        });
    }
    eventually("settled", || pool.stats().unsettled() == 0);
    assert_all_places_are_free(&pool, 4);
}

// Results that nobody reads.

#[test]
fn results_that_nobody_reads_never_exceed_the_window() {
    const WINDOW: usize = 16;
    let live = Live::new();
    let pool = pool(2);
    let template = live.clone();
    let run = move |_: &Live| Ok::<_, ()>(template.clone());
    let batch = pool.batch(std::iter::empty(), run).window(WINDOW);
    let (sender, completed) = batch.channel();
    let input = live.clone();
    let producer = thread::spawn(move || {
        (0..1_000)
            .take_while(|_| sender.send(input.clone()).is_ok())
            .count()
    });
    eventually("full", || pool.stats().succeeded() == WINDOW as u64);
    // Workers that are idle and a producer that is blocked: nothing happens any more.
    pool.submit(|| Ok::<_, ()>(())).wait().unwrap();
    assert_eq!(pool.stats().succeeded(), WINDOW as u64 + 1);
    // An input and a result each, the templates, and the input that the producer holds.
    assert!(live.others() <= 2 * WINDOW + 3, "{}", live.others());
    drop(completed);
    assert_eq!(producer.join().unwrap(), WINDOW);
    pool.shutdown();
    assert_eq!(live.others(), 0);
}

// Hooks that block.

/// Blocks until it is told to go on, once.
#[derive(Clone)]
struct Blocker(Arc<Mutex<(Sender<()>, Receiver<()>)>>);

impl Blocker {
    fn block(&self) {
        let channels = self.0.lock().unwrap();
        channels.0.send(()).unwrap();
        channels.1.recv().unwrap();
    }
}

impl Observer for Blocker {
    fn attempt_started(&self, job: &JobEvent<'_>) {
        if job.name() == Some("blocked") {
            self.block();
        }
    }
}

fn blocker() -> (Blocker, Receiver<()>, Sender<()>) {
    let ((tell, blocks), (go, goes)) = (mpsc::channel(), mpsc::channel());
    (Blocker(Arc::new(Mutex::new((tell, goes)))), blocks, go)
}

#[test]
fn a_hook_that_blocks_holds_up_its_own_job_and_no_other() {
    for place in ["on_retry", "on_give_up", "observer", "batch"] {
        let batched = place == "batch";
        let (blocker, blocks, go) = blocker();
        let (first, second) = (blocker.clone(), blocker.clone());
        let pool = RetryPool::builder()
            .threads(2)
            .retry(RetryPolicy::immediate().max_attempts(2))
            .observer(blocker)
            .build()
            .unwrap();
        let fail = || Err::<(), _>(());
        let job = pool.job(fail);
        let mut batch = pool
            .batch(0..usize::from(batched), |_| Err::<(), _>(()))
            .on_retry(move |_, _, _| first.block())
            .as_completed();
        let job = match place {
            "on_retry" => job.on_retry(move |_, _| second.block()),
            "on_give_up" => job.on_give_up(move |_| second.block()),
            "observer" => job.name("blocked"),
            _ => job,
        };
        let handle = job.submit();
        if batched {
            assert!(batch.next_timeout(Duration::ZERO).is_err());
        }
        blocks.recv().unwrap();
        for n in 0..100 {
            assert_eq!(pool.submit(move || Ok::<_, ()>(n)).wait().unwrap(), n);
        }
        // The timer goes on, too.
        let parked = pool.job(|| Ok::<_, ()>(7)).delay(ms(1)).submit();
        assert_eq!(parked.wait().unwrap(), 7);
        assert_eq!(
            pool.batch(0..100, |n| Ok::<_, ()>(*n)).run().accepted(),
            100
        );
        assert_eq!(handle.is_settled(), batched);
        // The observer is told of two attempts.
        (0..2).for_each(|_| go.send(()).unwrap());
        assert_eq!(
            handle.wait().unwrap_err().reason(),
            GiveUpReason::AttemptsExhausted
        );
        assert_eq!(batch.count(), usize::from(batched));
    }
}
