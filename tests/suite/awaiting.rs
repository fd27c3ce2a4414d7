//! Handles as futures: woken once, on whichever runtime, whatever becomes of the job and however the waker behaves.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use crate::common::{Live, await_worker, gate, ms, pool};
use futures::future::{Either, join, join_all, select};
use retry_pool::{GiveUp, GiveUpReason, JobHandle, RetryPolicy, RetryPool};

#[derive(Default)]
struct Counting(AtomicUsize);

impl Counting {
    fn new() -> (Arc<Self>, Waker) {
        let counting = Arc::new(Self::default());
        (Arc::clone(&counting), Waker::from(counting))
    }

    fn wakes(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll<T, E>(handle: &mut JobHandle<T, E>, waker: &Waker) -> Poll<Result<T, GiveUp<E>>> {
    Pin::new(handle).poll(&mut Context::from_waker(waker))
}

fn hourly() -> RetryPolicy {
    RetryPolicy::fixed(Duration::from_secs(3_600)).unlimited()
}

/// The pool still runs what it is given.
fn assert_goes_on(pool: &RetryPool) {
    for n in 0..10 {
        assert_eq!(pool.submit(move || Ok::<_, ()>(n)).wait().unwrap(), n);
    }
}

#[test]
fn an_awaited_handle_is_woken_once_whenever_its_job_settles() {
    let (mut pending, mut ready) = (0, 0);
    for round in 0..2_000 {
        let pool = pool(1);
        let (counting, waker) = Counting::new();
        let mut handle = pool.submit(|| Ok::<_, ()>(1));
        (0..round % 100).for_each(|_| std::hint::spin_loop());
        let first = poll(&mut handle, &waker);
        // It has settled once the pool is gone, and who settled it has told.
        drop(pool);
        match first {
            Poll::Pending => {
                assert_eq!(counting.wakes(), 1);
                assert!(poll(&mut handle, &waker).is_ready());
                pending += 1;
            }
            Poll::Ready(result) => {
                assert_eq!((result.unwrap(), counting.wakes()), (1, 0));
                ready += 1;
            }
        }
    }
    assert!(pending > 0, "{pending} were pending, {ready} were ready");
}

#[test]
fn the_last_waker_is_woken_and_the_others_are_dropped() {
    let pool = pool(1);
    let (gate, keeper) = gate();
    let mut handle = pool.submit(move || {
        gate.pass();
        Ok::<_, ()>(())
    });
    let wakers: Vec<_> = (0..5).map(|_| Counting::new()).collect();
    for (counting, waker) in &wakers {
        // The same waker twice is as good as once.
        assert!(poll(&mut handle, waker).is_pending());
        assert!(poll(&mut handle, waker).is_pending());
        assert_eq!(Arc::strong_count(counting), 3);
    }
    let (last, others) = wakers.split_last().unwrap();
    assert!(
        others
            .iter()
            .all(|(other, _)| Arc::strong_count(other) == 2)
    );
    keeper.let_through(1);
    drop(pool);
    assert_eq!(last.0.wakes(), 1);
    assert!(others.iter().all(|(other, _)| other.wakes() == 0));
    assert_eq!(Arc::strong_count(&last.0), 2);
    assert!(poll(&mut handle, &last.1).is_ready());
}

#[test]
fn a_handle_dropped_while_it_is_awaited_leaks_nothing_and_its_job_still_runs() {
    let live = Live::new();
    let ran = Arc::new(AtomicBool::new(false));
    let pool = pool(1);
    let (gate, keeper) = gate();
    let (job, has_run) = (live.clone(), Arc::clone(&ran));
    let mut handle = pool.submit(move || {
        gate.pass();
        has_run.store(true, Ordering::SeqCst);
        Ok::<_, ()>(job.clone())
    });
    let (counting, waker) = Counting::new();
    let mut awaiting = Box::pin(async move { (&mut handle).await.is_ok() });
    assert!(
        awaiting
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    drop(awaiting);
    drop(waker);
    assert_eq!(Arc::strong_count(&counting), 1);
    keeper.let_through(1);
    drop(pool);
    assert!(ran.load(Ordering::SeqCst));
    assert_eq!((live.others(), counting.wakes()), (0, 0));
}

/// A waker that panics when it is woken, or when the last of its clones is dropped.
struct Broken {
    in_wake: bool,
    in_drop: bool,
    reached: Arc<AtomicUsize>,
}

impl Wake for Broken {
    fn wake(self: Arc<Self>) {
        if self.in_wake {
            self.reached.fetch_add(1, Ordering::SeqCst);
            panic!("a broken waker");
        }
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        if self.in_drop && !thread::panicking() {
            self.reached.fetch_add(1, Ordering::SeqCst);
            panic!("a waker that cannot be dropped");
        }
    }
}

fn broken(in_wake: bool, in_drop: bool) -> (Waker, Arc<AtomicUsize>) {
    let reached = Arc::<AtomicUsize>::default();
    let broken = Broken {
        in_wake,
        in_drop,
        reached: Arc::clone(&reached),
    };
    (Waker::from(Arc::new(broken)), reached)
}

#[test]
fn a_waker_that_panics_is_contained() {
    let pool = pool(1);
    for (in_wake, in_drop) in [(true, false), (false, true), (true, true)] {
        let (gate, keeper) = gate();
        let mut handle = pool.submit(move || {
            gate.pass();
            Ok::<_, ()>(())
        });
        let (waker, reached) = broken(in_wake, in_drop);
        assert!(poll(&mut handle, &waker).is_pending());
        // The slot has the last clone.
        drop(waker);
        keeper.let_through(1);
        await_worker(&pool);
        assert_eq!(reached.load(Ordering::SeqCst), 1);
        assert!(handle.try_result().unwrap().is_ok());
        assert_goes_on(&pool);
    }
}

#[test]
fn a_waker_that_panics_when_it_is_replaced_or_forgotten_is_contained() {
    let pool = pool(1);
    for replaced in [true, false] {
        let (gate, keeper) = gate();
        let mut handle = pool.submit(move || {
            gate.pass();
            Ok::<_, ()>(())
        });
        let (waker, reached) = broken(false, true);
        assert!(poll(&mut handle, &waker).is_pending());
        drop(waker);
        if replaced {
            assert!(poll(&mut handle, Waker::noop()).is_pending());
        } else {
            drop(handle);
        }
        assert_eq!(reached.load(Ordering::SeqCst), 1);
        keeper.let_through(1);
        assert_goes_on(&pool);
    }
}

#[test]
fn a_waker_may_call_the_pool() {
    struct Submitter(Arc<RetryPool>, Arc<AtomicUsize>);
    impl Wake for Submitter {
        fn wake(self: Arc<Self>) {
            let ran = Arc::clone(&self.1);
            let more = self
                .0
                .submit(move || Ok::<_, ()>(ran.fetch_add(1, Ordering::SeqCst)));
            more.wait().unwrap();
        }
    }
    let (pool, ran) = (Arc::new(pool(1)), Arc::<AtomicUsize>::default());
    let (gate, keeper) = gate();
    let mut handle = pool.submit(move || {
        gate.pass();
        Ok::<_, ()>(())
    });
    let waker = Waker::from(Arc::new(Submitter(Arc::clone(&pool), Arc::clone(&ran))));
    assert!(poll(&mut handle, &waker).is_pending());
    drop(waker);
    keeper.let_through(1);
    await_worker(&pool);
    pool.shutdown();
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    assert!(poll(&mut handle, Waker::noop()).is_ready());
}

/// A handle of each kind of ending, and what is to come of it.
fn endings(pool: &RetryPool) -> Vec<(JobHandle<u32, ()>, Result<u32, GiveUpReason>)> {
    let cancelled = pool
        .job(|| Ok(0))
        .delay(Duration::from_secs(3_600))
        .submit();
    assert!(cancelled.cancel());
    let retried = || match retry_pool::Attempt::current().number() {
        1 => Err(()),
        n => Ok(n),
    };
    vec![
        (pool.submit(|| Ok(7)), Ok(7)),
        (cancelled, Err(GiveUpReason::Cancelled)),
        (
            pool.job(|| panic!("a job that panics")).submit(),
            Err(GiveUpReason::Panicked),
        ),
        (
            pool.job(retried).retry(RetryPolicy::fixed(ms(10))).submit(),
            Ok(2),
        ),
        (
            pool.submit(|| Err(())),
            Err(GiveUpReason::AttemptsExhausted),
        ),
    ]
}

fn reasons(results: Vec<Result<u32, GiveUp<()>>>) -> Vec<Result<u32, GiveUpReason>> {
    results
        .into_iter()
        .map(|result| result.map_err(|give_up| give_up.reason()))
        .collect()
}

#[test]
fn handles_are_awaited_without_a_runtime() {
    let pool = pool(2);
    let (handles, wanted): (Vec<_>, Vec<_>) = endings(&pool).into_iter().unzip();
    let results = futures::executor::block_on(join_all(handles));
    assert_eq!(reasons(results), wanted);
    let slow = pool
        .job(|| Ok::<_, ()>(2))
        .delay(Duration::from_secs(3_600))
        .submit();
    let fast = pool.submit(|| Ok::<_, ()>(1));
    match futures::executor::block_on(select(fast, slow)) {
        Either::Left((fast, slow)) => {
            assert_eq!(fast.unwrap(), 1);
            assert!(slow.cancel());
        }
        Either::Right(_) => panic!("an hour has passed"),
    }
}

#[test]
fn handles_are_awaited_in_tokio() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let pool = pool(2);
    runtime.block_on(async {
        let (handles, wanted): (Vec<_>, Vec<_>) = endings(&pool).into_iter().unzip();
        let tasks: Vec<_> = handles.into_iter().map(tokio::spawn).collect();
        let mut results = Vec::new();
        for task in tasks {
            results.push(task.await.unwrap());
        }
        assert_eq!(reasons(results), wanted);
        let (one, two) = tokio::join!(
            pool.submit(|| Ok::<_, ()>(1)),
            pool.submit(|| Ok::<_, ()>(2))
        );
        assert_eq!((one.unwrap(), two.unwrap()), (1, 2));
        let mut slow = pool
            .job(|| Ok::<_, ()>(2))
            .delay(Duration::from_secs(3_600))
            .submit();
        tokio::select! {
            result = pool.submit(|| Ok::<_, ()>(1)) => assert_eq!(result.unwrap(), 1),
            _ = &mut slow => panic!("an hour has passed"),
        }
        assert!(slow.cancel());
        assert_eq!(slow.await.unwrap_err().reason(), GiveUpReason::Cancelled);
    });
}

#[test]
fn handles_are_awaited_in_smol() {
    let pool = pool(2);
    smol::block_on(async {
        let (handles, wanted): (Vec<_>, Vec<_>) = endings(&pool).into_iter().unzip();
        let tasks: Vec<_> = handles.into_iter().map(smol::spawn).collect();
        let mut results = Vec::new();
        for task in tasks {
            results.push(task.await);
        }
        assert_eq!(reasons(results), wanted);
        let both = smol::future::zip(
            pool.submit(|| Ok::<_, ()>(1)),
            pool.submit(|| Ok::<_, ()>(2)),
        );
        let (one, two) = both.await;
        assert_eq!((one.unwrap(), two.unwrap()), (1, 2));
        let slow = pool
            .job(|| Ok::<_, ()>(2))
            .delay(Duration::from_secs(3_600))
            .submit();
        let fast = pool.submit(|| Ok::<_, ()>(1));
        assert_eq!(smol::future::or(slow, fast).await.unwrap(), 1);
        // The slow one was dropped, and so detached.
        assert_eq!(pool.stats().unsettled(), 1);
        pool.cancel_all();
    });
}

#[test]
fn who_awaits_is_woken_when_the_job_is_cancelled_or_its_pool_shuts_down() {
    for way in 0..3 {
        let pool = pool(1);
        let (counting, waker) = Counting::new();
        let mut parked = pool.job(|| Err::<(), _>("busy")).retry(hourly()).submit();
        await_worker(&pool);
        assert!(poll(&mut parked, &waker).is_pending());
        let wanted = match way {
            0 => {
                assert!(parked.cancel());
                GiveUpReason::Cancelled
            }
            1 => {
                pool.shutdown_now();
                GiveUpReason::Shutdown
            }
            _ => {
                pool.shutdown_timeout(ms(1));
                GiveUpReason::Shutdown
            }
        };
        assert_eq!(counting.wakes(), 1);
        match poll(&mut parked, &waker) {
            Poll::Ready(Err(give_up)) => {
                assert_eq!((give_up.reason(), give_up.error()), (wanted, Some(&"busy")));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn thousands_are_awaited_at_once() {
    let pool = pool(2);
    let handles = |from: u32| {
        let submit = |n| pool.submit(move || Ok::<_, ()>(n));
        join_all((from..from + 2_000).map(submit))
    };
    let (first, second) = futures::executor::block_on(join(handles(0), handles(2_000)));
    let results = first.into_iter().chain(second).map(Result::unwrap);
    assert!(results.eq(0..4_000));
}
