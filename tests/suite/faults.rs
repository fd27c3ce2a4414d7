//! Where waiting, cancelling, capacity and the end meet: each of these did not hold once.

use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::common::{await_worker, gate, ms, pool};
use retry_pool::{Attempt, CancelToken, FailFast, JobState, RetryPolicy, RetryPool};

fn bounded(threads: usize, capacity: usize) -> RetryPool {
    RetryPool::builder()
        .threads(threads)
        .capacity(capacity)
        .retry(RetryPolicy::immediate())
        .build()
        .unwrap()
}

/// Runs `f` on a thread of its own; it is to end in time.
fn in_time<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    let (sender, result) = mpsc::channel();
    std::thread::spawn(move || sender.send(f()));
    result
        .recv_timeout(Duration::from_secs(5))
        .expect("it hangs")
}

#[test]
fn a_batch_job_that_waited_is_retried_at_once() {
    in_time(|| {
        let pool = Arc::new(pool(1));
        let inner = Arc::clone(&pool);
        let report = pool
            .batch([()], move |()| {
                inner
                    .submit(|| {
                        std::thread::sleep(ms(5));
                        Ok::<_, ()>(())
                    })
                    .wait()
                    .unwrap();
                match Attempt::current().number() {
                    3 => Ok(()),
                    _ => Err("again"),
                }
            })
            .run();
        assert!(report.is_success());
    });
}

#[test]
fn a_job_iterates_over_a_batch_in_a_pool_of_capacity_one() {
    in_time(|| {
        let pool = Arc::new(bounded(1, 1));
        let inner = Arc::clone(&pool);
        let outer = pool.submit(move || {
            Ok::<_, ()>(
                inner
                    .batch(0..3u32, |n| Ok::<_, ()>(*n))
                    .run()
                    .succeeded()
                    .len(),
            )
        });
        assert_eq!(outer.wait().unwrap(), 3);
    });
}

#[test]
fn who_sees_a_job_settled_finds_its_place_free() {
    struct Prober(RetryPool, mpsc::Sender<bool>);
    impl std::task::Wake for Prober {
        fn wake(self: Arc<Self>) {
            let next = self.0.try_submit(|| Ok::<_, ()>(()));
            self.1.send(next.is_ok()).unwrap();
        }
    }
    let (sender, found_room) = mpsc::channel();
    let (gate, keeper) = gate();
    let prober = Arc::new(Prober(bounded(1, 1), sender));
    let mut handle = prober.0.submit(move || {
        gate.pass();
        Ok::<_, ()>(())
    });
    let waker = std::task::Waker::from(Arc::clone(&prober));
    let mut context = std::task::Context::from_waker(&waker);
    assert!(
        std::pin::Pin::new(&mut handle)
            .poll(&mut context)
            .is_pending()
    );
    keeper.let_through(1);
    assert!(found_room.recv().unwrap());
}

#[test]
fn an_iterator_without_permits_hears_a_cancel_whenever_it_comes() {
    let pool = Arc::new(bounded(1, 1));
    let holder = pool
        .job(|| Ok::<_, ()>(()))
        .delay(Duration::from_secs(3_600))
        .submit();
    assert_eq!(holder.state(), JobState::Parked);
    for _ in 0..1_000 {
        let pool = Arc::clone(&pool);
        let token = CancelToken::new();
        let (canceller, (ready, start)) = (token.clone(), mpsc::channel());
        let batch = pool.batch(0..3u32, |n| Ok::<_, ()>(*n)).cancel_token(token);
        let cancels = std::thread::spawn(move || {
            start.recv().unwrap();
            canceller.cancel();
        });
        let mut batch = batch.as_completed();
        ready.send(()).unwrap();
        let begun = Instant::now();
        let mut next = || {
            batch
                .next_timeout(ms(2_000))
                .expect("the cancel was not heard")
        };
        while next().is_some() {}
        assert!(begun.elapsed() < ms(1_900), "the cancel was not heard");
        cancels.join().unwrap();
    }
    assert!(holder.cancel());
}

#[test]
fn a_function_that_is_called_at_a_rate_is_ended_by_a_cancel_of_all() {
    let pool = pool(2);
    for round in 0..3_000 {
        let clock = pool.every(Duration::from_micros(20), || ());
        (0..round % 400).for_each(|_| std::hint::spin_loop());
        pool.cancel_all();
        let patience = Instant::now() + Duration::from_secs(1);
        while !clock.is_stopped() {
            assert!(Instant::now() < patience, "round {round}: {clock:?}");
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_drained_pool_does_not_wait_for_an_abandoned_attempt_of_a_batch_that_ended() {
    let (gate, keeper) = gate();
    let token = CancelToken::new();
    let pool = Arc::new(pool(1));
    let mut batch = pool
        .batch([()], move |()| {
            gate.pass();
            Ok::<_, ()>(())
        })
        .attempt_timeout(ms(300))
        .cancel_token(token.clone())
        .fail_fast(FailFast::Never)
        .as_completed();
    assert!(batch.next_timeout(ms(1)).is_err());
    keeper.await_arrivals(1);
    token.cancel();
    let shared = Arc::clone(&pool);
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || done.send(shared.shutdown()));
    let report = is_done.recv_timeout(Duration::from_secs(5));
    keeper.let_through(1);
    assert!(report.is_ok(), "the shutdown hangs");
}

#[test]
fn a_stopped_clock_is_known_as_such_once_its_pool_is_closed() {
    let pool = pool(1);
    let held = pool
        .job(|| Ok::<_, ()>(()))
        .delay(Duration::from_secs(3_600))
        .submit();
    let clock = pool.every(Duration::from_secs(3_600), || ());
    while clock.runs() == 0 {
        std::thread::yield_now();
    }
    await_worker(&pool);
    pool.close();
    let stopped = clock.is_stopped();
    let _ = held.cancel();
    assert!(stopped);
}
