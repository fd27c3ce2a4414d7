//! Ends, hooks, errands and limits: each of these did not hold once. What would hang is left behind in a thread.
use retry_pool::*;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}
/// Runs `f` on a thread of its own; `None` if it has not ended within `limit`.
fn within<R: Send + 'static>(limit: Duration, f: impl FnOnce() -> R + Send + 'static) -> Option<R> {
    let (s, r) = mpsc::channel();
    thread::spawn(move || drop(s.send(f())));
    r.recv_timeout(limit).ok()
}
fn leak(p: RetryPool) -> &'static RetryPool {
    Box::leak(Box::new(p))
}
fn until(limit: Duration, f: impl Fn() -> bool) -> bool {
    let t = Instant::now();
    while !f() {
        if t.elapsed() > limit {
            return false;
        }
        thread::sleep(ms(1));
    }
    true
}
const FOREVER: Duration = Duration::from_secs(3600);

/// An attempt that never returns.
fn hangs() -> Result<(), ()> {
    loop {
        thread::park();
    }
}

struct Obs<A, S>(A, S);
impl<A: Fn(&JobEvent<'_>) + Send + Sync, S: Fn(&JobEvent<'_>) + Send + Sync> Observer
    for Obs<A, S>
{
    fn job_accepted(&self, j: &JobEvent<'_>) {
        (self.0)(j);
    }
    fn job_settled(&self, j: &JobEvent<'_>, _: Result<(), GiveUpReason>) {
        (self.1)(j);
    }
}

#[test]
fn hung_attempt_is_abandoned_also_after_shutdown_now() {
    let pool = leak(RetryPool::with_threads(1));
    let (s, r) = mpsc::channel();
    let h = pool
        .job(move || {
            s.send(()).unwrap();
            loop {
                thread::park();
            }
            #[allow(unreachable_code)]
            Ok::<(), ()>(())
        })
        .attempt_timeout(ms(100))
        .retry(RetryPolicy::never())
        .submit();
    r.recv().unwrap();
    pool.shutdown_now();
    let settled = h.wait_timeout(Duration::from_secs(3)).is_ok();
    let drops = within(Duration::from_secs(3), || {
        pool.shutdown();
    })
    .is_some();
    assert!(
        settled && drops,
        "settled {settled}, shutdown()/drop returned {drops}"
    );
}

#[test]
fn send_that_ends_while_the_observer_is_told_lets_the_pool_drain() {
    let (told, was_told) = mpsc::channel();
    let (open, gate) = mpsc::channel::<()>();
    let (told, gate) = (Mutex::new(told), Mutex::new(gate));
    let pool = leak(
        RetryPool::builder()
            .threads(1)
            .observer(Obs(
                move |_: &JobEvent<'_>| {
                    told.lock().unwrap().send(()).unwrap();
                    let _ = gate.lock().unwrap().recv();
                },
                |_: &JobEvent<'_>| (),
            ))
            .build()
            .unwrap(),
    );
    let (sender, completed) = pool
        .batch(std::iter::empty(), |n: &u32| Ok::<_, ()>(*n))
        .channel();
    let sending = thread::spawn(move || sender.send(1).is_ok());
    was_told.recv().unwrap();
    drop(completed);
    let (d, down) = mpsc::channel();
    thread::spawn(move || {
        pool.shutdown();
        d.send(()).unwrap();
    });
    thread::sleep(ms(100));
    open.send(()).unwrap();
    sending.join().unwrap();
    let ok = down.recv_timeout(Duration::from_secs(3)).is_ok();
    assert!(ok, "shutdown hangs; {:?}", pool.stats());
}

#[test]
fn cancel_all_then_drop_then_an_expired_attempt_still_settles() {
    let pool = leak(RetryPool::with_threads(2));
    let (open, gate) = mpsc::channel::<()>();
    let blocker = pool.submit(move || {
        let _ = gate.recv();
        Ok::<_, ()>(())
    });
    assert!(until(FOREVER, || blocker.state() == JobState::Running));
    let mut b = pool
        .batch(0..2, move |_| {
            thread::sleep(FOREVER);
            Ok::<(), ()>(())
        })
        .attempt_timeout(ms(300))
        .retry(RetryPolicy::never())
        .as_completed();
    assert!(b.next_timeout(ms(50)).is_err()); // one attempt hangs, one token waits in the work channel
    pool.cancel_all();
    drop(b);
    open.send(()).unwrap();
    let down = within(Duration::from_secs(4), || {
        pool.shutdown();
    })
    .is_some();
    assert!(
        down,
        "the expired attempt is never judged: {:?}",
        pool.stats()
    );
}

#[test]
fn on_give_up_may_submit_to_a_full_pool_on_the_worker() {
    let pool = leak(RetryPool::builder().threads(1).capacity(1).build().unwrap());
    let h = pool
        .job(|| Err::<(), _>("no"))
        .retry(RetryPolicy::never())
        .on_give_up(move |_| {
            pool.submit(|| Ok::<_, ()>(())).wait().unwrap();
        })
        .submit();
    let ok = within(Duration::from_secs(3), move || h.wait().is_err()).is_some();
    assert!(ok, "deadlock: {:?}", pool.stats());
}
#[test]
fn on_give_up_may_submit_to_a_full_pool_on_the_canceller() {
    let pool = leak(RetryPool::builder().threads(1).capacity(1).build().unwrap());
    let h = pool
        .job(|| Ok::<_, ()>(()))
        .delay(FOREVER)
        .on_give_up(move |_| {
            pool.submit(|| Ok::<_, ()>(())).wait().unwrap();
        })
        .submit();
    let ok = within(Duration::from_secs(3), move || h.cancel()).is_some();
    assert!(ok, "deadlock: {:?}", pool.stats());
}
#[test]
fn observer_may_submit_to_a_full_pool_when_a_batch_is_cancelled() {
    let cell: Arc<std::sync::OnceLock<&'static RetryPool>> = Arc::default();
    let c = Arc::clone(&cell);
    let once = AtomicBool::new(false);
    let pool = leak(
        RetryPool::builder()
            .threads(1)
            .capacity(1)
            .observer(Obs(
                |_: &JobEvent<'_>| (),
                move |_: &JobEvent<'_>| {
                    if !once.swap(true, SeqCst) {
                        c.get().unwrap().submit(|| Ok::<_, ()>(())).wait().unwrap();
                    }
                },
            ))
            .build()
            .unwrap(),
    );
    cell.set(pool).ok().unwrap();
    let ok = within(Duration::from_secs(3), move || {
        let mut b = pool
            .batch(0..1, |_| Err::<(), _>("no"))
            .retry(RetryPolicy::fixed(FOREVER))
            .as_completed();
        let _ = b.next_timeout(ms(100));
        b.cancel();
        b.count()
    })
    .is_some();
    assert!(ok, "deadlock: {:?}", pool.stats());
}

#[test]
fn observer_is_never_called_on_the_timer() {
    let (s, r) = mpsc::channel();
    let s = Mutex::new(s);
    let pool = RetryPool::builder()
        .threads(1)
        .observer(Obs(
            |_: &JobEvent<'_>| (),
            move |_: &JobEvent<'_>| {
                s.lock()
                    .unwrap()
                    .send(thread::current().name().map(String::from))
                    .unwrap();
            },
        ))
        .build()
        .unwrap();
    let (open, gate) = mpsc::channel::<()>();
    let _blocker = pool.submit(move || gate.recv());
    pool.batch(0..1, |_| Err::<(), _>("no"))
        .timeout(ms(50))
        .run();
    open.send(()).unwrap();
    assert_ne!(r.recv().unwrap().as_deref(), Some("retry-pool-timer"));
}
#[test]
fn observer_that_waits_at_a_batch_timeout_does_not_stop_the_timer() {
    let cell: Arc<std::sync::OnceLock<&'static RetryPool>> = Arc::default();
    let c = Arc::clone(&cell);
    let pool = leak(
        RetryPool::builder()
            .threads(1)
            .observer(Obs(
                |_: &JobEvent<'_>| (),
                move |j: &JobEvent<'_>| {
                    if j.batch().is_some() {
                        c.get()
                            .unwrap()
                            .job(|| Ok::<_, ()>(()))
                            .delay(ms(1))
                            .submit()
                            .wait()
                            .unwrap();
                    }
                },
            ))
            .build()
            .unwrap(),
    );
    cell.set(pool).ok().unwrap();
    let (open, gate) = mpsc::channel::<()>();
    let blocker = pool.submit(move || gate.recv());
    assert!(until(FOREVER, || blocker.state() == JobState::Running));
    let ok = within(Duration::from_secs(3), move || {
        let mut b = pool
            .batch(0..1, |_| Ok::<(), ()>(()))
            .timeout(ms(200))
            .as_completed();
        assert!(b.next_timeout(ms(10)).is_err());
        thread::sleep(ms(300));
        open.send(()).unwrap();
        b.count()
    })
    .is_some();
    assert!(ok, "the timer waits for itself: {:?}", pool.stats());
}
struct Tell(mpsc::Sender<Option<String>>);
impl Drop for Tell {
    fn drop(&mut self) {
        let _ = self.0.send(thread::current().name().map(String::from));
    }
}
#[test]
fn errors_of_settled_jobs_are_not_dropped_on_the_timer() {
    let pool = RetryPool::with_threads(1);
    let (s, r) = mpsc::channel();
    // dead entries in the timer's heap: cancelled while parked, the handle gone
    let hs: Vec<_> = (0..200)
        .map(|_| {
            let s = s.clone();
            pool.job(move || Err::<(), _>(Tell(s.clone())))
                .retry(RetryPolicy::fixed(FOREVER))
                .submit()
        })
        .collect();
    pool.submit(|| Ok::<_, ()>(())).wait().unwrap();
    assert!(until(ms(3000), || hs
        .iter()
        .all(|h| h.state() == JobState::Parked)));
    for h in hs {
        h.cancel();
    }
    // the timer's thread parks lanes again and again
    for _ in 0..20 {
        let b = pool
            .batch(0..64, |_| Err::<(), _>("no"))
            .retry(RetryPolicy::fixed(ms(1)).max_attempts(20))
            .timeout(FOREVER);
        b.run();
    }
    drop(s);
    drop(pool);
    assert!(
        r.iter()
            .all(|name| name.as_deref() != Some("retry-pool-timer"))
    );
}

#[test]
fn job_timeout_settles_while_an_errand_leaves() {
    let pool = leak(
        RetryPool::builder()
            .threads(1)
            .on_thread_stop(|| thread::sleep(ms(1500)))
            .build()
            .unwrap(),
    );
    let (_open, gate) = mpsc::channel::<()>();
    let blocker = pool.submit(move || gate.recv());
    assert!(until(FOREVER, || blocker.state() == JobState::Running));
    let a = pool.job(|| Ok::<_, ()>(())).timeout(ms(50)).submit();
    let b = pool.job(|| Ok::<_, ()>(())).timeout(ms(150)).submit();
    assert!(a.wait_timeout(ms(1000)).is_ok());
    assert!(
        b.wait_timeout(ms(5000)).is_ok(),
        "its time is over for 5 s and it is still queued"
    );
    std::mem::forget(blocker);
}
#[test]
fn job_timeout_settles_while_an_errand_has_become_a_spare() {
    let pool = leak(RetryPool::with_threads(1));
    let (_open, gate) = mpsc::channel::<()>();
    let (go, wait) = mpsc::channel::<()>();
    let c: Arc<Mutex<Option<JobHandle<(), mpsc::RecvError>>>> = Arc::default();
    let c2 = Arc::clone(&c);
    let outer = pool.submit(move || {
        wait.recv().unwrap();
        let h = c2.lock().unwrap().take().unwrap();
        let _ = h.wait();
        Ok::<_, ()>(())
    });
    assert!(until(FOREVER, || outer.state() == JobState::Running));
    let a = pool
        .job(|| Ok::<_, ()>(()))
        .timeout(ms(50))
        .on_give_up(move |_| {
            go.send(()).unwrap();
            thread::sleep(ms(200));
        })
        .submit();
    let inner = pool.submit(move || gate.recv());
    *c.lock().unwrap() = Some(inner);
    assert!(a.wait_timeout(ms(3000)).is_ok());
    thread::sleep(ms(200));
    let b = pool.job(|| Ok::<_, ()>(())).timeout(ms(50)).submit();
    assert!(
        b.wait_timeout(ms(4000)).is_ok(),
        "its time is over and it is still queued: {:?}",
        pool.stats()
    );
}

/// A worker that was started to judge an abandoned attempt took the batch's next job, and with it the place of one too many.
#[test]
fn an_errand_begins_no_job_of_its_batch() {
    let pool = leak(
        RetryPool::builder()
            .threads(1)
            .max_stuck(0)
            .build()
            .unwrap(),
    );
    let gate = CancelToken::new();
    let begun = Arc::new(AtomicUsize::new(0));
    let batch = pool.batch([0, 1], {
        let (gate, begun) = (gate.clone(), Arc::clone(&begun));
        move |_| {
            begun.fetch_add(1, SeqCst);
            while !gate.is_cancelled() {
                thread::sleep(ms(1));
            }
            Ok::<_, ()>(())
        }
    });
    let batch = batch.retry(RetryPolicy::never()).attempt_timeout(ms(50));
    let mut completed = batch.as_completed();
    let first = completed.next_timeout(ms(3000)).unwrap().unwrap();
    assert!(first.result().is_err());
    assert!(completed.next_timeout(ms(200)).is_err());
    assert_eq!(begun.load(SeqCst), 1);
    gate.cancel();
    let second = completed.next_timeout(ms(3000)).unwrap().unwrap();
    assert!(second.result().is_ok());
    assert!(completed.next().is_none());
}

/// While a hook waited on the worker that was started for the first of them, nobody judged the second.
#[test]
fn an_errand_that_waits_is_handed_over() {
    let pool = leak(
        RetryPool::builder()
            .threads(2)
            .max_stuck(0)
            .retry(RetryPolicy::never())
            .build()
            .unwrap(),
    );
    let gate = CancelToken::new();
    let first = pool.job(hangs).attempt_timeout(ms(50)).on_give_up({
        let gate = gate.clone();
        move |_| {
            gate.wait_timeout(FOREVER);
        }
    });
    let first = first.submit();
    let second = pool.job(hangs).attempt_timeout(ms(150)).submit();
    assert!(
        second
            .wait_timeout(ms(3000))
            .is_ok_and(|result| result.is_err())
    );
    assert!(!first.is_settled());
    gate.cancel();
    assert!(
        first
            .wait_timeout(ms(3000))
            .is_ok_and(|result| result.is_err())
    );
}

/// What the first errand left behind in the work channel was taken for somebody who would judge the second.
#[test]
fn attempts_of_a_batch_that_expire_one_after_the_other_are_both_judged() {
    let pool = leak(
        RetryPool::builder()
            .threads(2)
            .max_stuck(0)
            .build()
            .unwrap(),
    );
    let batch = pool.batch(std::iter::empty(), |_: &u32| hangs());
    let batch = batch.retry(RetryPolicy::never()).attempt_timeout(ms(60));
    let (sender, mut completed) = batch.channel();
    sender.send(0).unwrap();
    thread::sleep(ms(30));
    sender.send(1).unwrap();
    for _ in 0..2 {
        let done = completed.next_timeout(ms(3000)).unwrap().unwrap();
        assert!(done.result().is_err());
    }
    std::mem::forget(completed);
}

/// One errand was to judge both, one after the other, so the hook of the first waited for good.
#[test]
fn hooks_of_attempts_that_expire_together_may_wait_for_each_other() {
    let pool = leak(RetryPool::with_threads(2));
    let told = [CancelToken::new(), CancelToken::new()];
    let batch = pool.batch([0, 1], |_: &usize| hangs());
    let batch = batch.retry(RetryPolicy::never()).attempt_timeout(ms(50));
    let batch = batch.on_give_up(move |n, _| {
        told[*n].cancel();
        told[1 - n].wait_timeout(FOREVER);
    });
    let mut completed = batch.as_completed();
    for _ in 0..2 {
        let done = completed.next_timeout(ms(3000)).unwrap().unwrap();
        assert!(done.result().is_err());
    }
    std::mem::forget(completed);
}

#[test]
fn the_hook_of_an_abandoned_attempt_may_send_to_its_own_full_batch() {
    let pool = leak(RetryPool::with_threads(1));
    let batch = pool.batch(std::iter::empty(), |n: &u32| match n {
        0 => loop {
            thread::park();
        },
        n => Ok::<_, ()>(*n),
    });
    let own: Arc<Mutex<Option<BatchSender<u32>>>> = Arc::default();
    let batch = batch.retry(RetryPolicy::never()).attempt_timeout(ms(50));
    let batch = batch.window(1).on_give_up({
        let own = Arc::clone(&own);
        move |_, _| {
            let sender = own.lock().unwrap().take().unwrap();
            sender.send(7).unwrap();
        }
    });
    let (sender, mut completed) = batch.channel();
    *own.lock().unwrap() = Some(sender.clone());
    sender.send(0).unwrap();
    drop(sender);
    let mut results: Vec<_> = (0..2)
        .map(|_| completed.next_timeout(ms(3000)).unwrap().unwrap())
        .map(|done| done.into_result().ok())
        .collect();
    results.sort_unstable();
    assert_eq!(results, [None, Some(7)]);
    std::mem::forget(completed);
}

/// Who judged it did not say that the queue was empty.
#[test]
fn an_iteration_goes_on_behind_a_judged_attempt_and_many_that_are_parked() {
    let pool = leak(RetryPool::with_threads(1));
    let batch = pool.batch(0..9, |n: &u32| match n {
        7 => loop {
            thread::park();
        },
        8 => Ok(()),
        _ => Err(()),
    });
    let batch = batch
        .retry(RetryPolicy::fixed(ms(1)).max_attempts(2))
        .classify(|()| Verdict::RetryAfter(FOREVER))
        .window(8)
        .attempt_timeout(ms(50));
    let mut completed = batch.as_completed();
    for index in [7, 8] {
        let done = completed.next_timeout(ms(3000)).unwrap().unwrap();
        assert_eq!(done.index(), index);
    }
    std::mem::forget(completed);
}

/// The observer was called by a worker that had been started to judge the attempt, which nobody else did.
#[test]
fn an_observer_that_is_told_of_a_stuck_worker_may_wait_for_its_job() {
    struct Waits(CancelToken);
    impl Observer for Waits {
        fn worker_stuck(&self, _: &WorkerEvent) {
            self.0.wait_timeout(FOREVER);
        }
    }
    let given_up = CancelToken::new();
    let pool = RetryPool::builder()
        .threads(1)
        .max_stuck(0)
        .retry(RetryPolicy::never())
        .observer(Waits(given_up.clone()));
    let pool = leak(pool.build().unwrap());
    let job = pool.job(hangs).attempt_timeout(ms(50));
    let job = job.on_give_up(move |_| given_up.cancel()).submit();
    assert!(
        job.wait_timeout(ms(3000))
            .is_ok_and(|result| result.is_err())
    );
}

/// In a stopped pool nobody took the place of a worker that waited in a hook.
#[test]
fn a_hook_may_wait_for_another_abandoned_job_in_a_stopped_pool() {
    for _ in 0..20 {
        let pool = leak(
            RetryPool::builder()
                .threads(2)
                .retry(RetryPolicy::never())
                .build()
                .unwrap(),
        );
        let (both_run, run) = mpsc::channel();
        let settled = [CancelToken::new(), CancelToken::new()];
        let submit = |n: usize| {
            let both_run = both_run.clone();
            let [own, other] = [n, 1 - n].map(|n| settled[n].clone());
            let job = pool.job(move || {
                both_run.send(()).unwrap();
                hangs()
            });
            let job = job.attempt_timeout(ms(20)).on_give_up(move |_| {
                own.cancel();
                other.wait_timeout(FOREVER);
            });
            job.submit()
        };
        let jobs = [submit(0), submit(1)];
        run.iter().take(2).for_each(drop);
        pool.shutdown_now();
        for job in jobs {
            assert!(
                job.wait_timeout(ms(3000))
                    .is_ok_and(|result| result.is_err())
            );
        }
    }
}

/// Each thread that was started in the place of one that waited in this hook waited there, too, and was replaced in its turn.
#[test]
fn a_hook_at_the_start_of_threads_may_wait() {
    let started = Arc::new(AtomicUsize::new(0));
    let pool = RetryPool::builder().threads(1).on_thread_start({
        let started = Arc::clone(&started);
        move || {
            started.fetch_add(1, SeqCst);
            CancelToken::new().wait_timeout(ms(1));
        }
    });
    let pool = pool.build().unwrap();
    let gate = CancelToken::new();
    let blocker = pool.submit({
        let gate = gate.clone();
        move || {
            while !gate.is_cancelled() {
                thread::sleep(ms(1));
            }
            Ok::<_, ()>(())
        }
    });
    assert!(until(FOREVER, || blocker.state() == JobState::Running));
    let late = pool.job(|| Ok::<_, ()>(())).timeout(ms(20)).submit();
    assert!(late.wait().is_err());
    // It comes to an end, while the job still runs.
    let none_starts = || {
        let before = started.load(SeqCst);
        thread::sleep(ms(50));
        started.load(SeqCst) == before
    };
    assert!(until(ms(3000), none_starts), "{started:?} threads");
    gate.cancel();
    blocker.wait().unwrap();
    pool.shutdown();
}

/// The iterator saw a place that the waiting job lends, which is not for it, and asked for it over and over.
#[cfg(target_os = "linux")]
#[test]
fn an_iteration_sleeps_while_a_job_of_its_full_window_waits() {
    let pool = RetryPool::with_threads(1);
    let gate = CancelToken::new();
    let pulled = AtomicUsize::new(0);
    let inputs = (0..2).inspect(|_| {
        pulled.fetch_add(1, SeqCst);
    });
    let batch = pool.batch(inputs, {
        let gate = gate.clone();
        move |_| {
            gate.wait_timeout(FOREVER);
            Ok::<_, ()>(())
        }
    });
    let cpu_time = || {
        let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        Duration::from_nanos(times.split(' ').next().unwrap().parse().unwrap())
    };
    let mut completed = batch.window(1).as_completed();
    let before = cpu_time();
    assert!(completed.next_timeout(ms(300)).is_err());
    let used = cpu_time() - before;
    assert!(used < ms(100), "{used:?} in 300 ms");
    assert_eq!(pulled.load(SeqCst), 1);
    gate.cancel();
    assert_eq!(completed.count(), 2);
}

#[test]
fn shutdown_now_does_not_wait_for_the_timer() {
    let pool = RetryPool::with_threads(1);
    let (open, gate) = mpsc::channel::<()>();
    let blocker = pool.submit(move || gate.recv());
    assert!(until(FOREVER, || blocker.state() == JobState::Running));
    // The quickest of a few, as a thread may be held up.
    let took = (0..5).map(|_| {
        let begun = Instant::now();
        pool.shutdown_now();
        begun.elapsed()
    });
    let took = took.min().unwrap();
    drop(open);
    assert!(took < ms(25), "{took:?}");
}

#[test]
fn destructor_of_an_unread_result_may_wait() {
    struct Waits(&'static RetryPool, mpsc::Sender<()>);
    impl Drop for Waits {
        fn drop(&mut self) {
            let _ = self.0.submit(|| Ok::<_, ()>(())).wait();
            let _ = self.1.send(());
        }
    }
    let pool = leak(RetryPool::with_threads(1));
    let panics = Arc::new(AtomicUsize::new(0));
    let p = Arc::clone(&panics);
    std::panic::set_hook(Box::new(move |i| {
        eprintln!("{i}");
        p.fetch_add(1, SeqCst);
    }));
    for round in 0..5 {
        let (go, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let (done, dropped) = mpsc::channel();
        let (begun, begins) = mpsc::channel();
        let s = Mutex::new((done, begun));
        let mut b = pool
            .batch(0..1, move |_| {
                let s = s.lock().unwrap();
                s.1.send(()).unwrap();
                gate.lock().unwrap().recv().unwrap();
                Ok::<_, ()>(Waits(pool, s.0.clone()))
            })
            .as_completed();
        let _ = b.next_timeout(ms(1));
        begins.recv().unwrap();
        drop(b);
        go.send(()).unwrap();
        assert!(
            dropped.recv_timeout(ms(3000)).is_ok(),
            "round {round}: hangs; panics {panics:?}"
        );
    }
    let ok = within(ms(3000), move || {
        pool.submit(|| Ok::<_, ()>(1)).wait().is_ok()
    })
    .is_some();
    assert!(
        ok && panics.load(SeqCst) == 0,
        "pool works {ok}, panics {panics:?}"
    );
}

#[test]
fn observer_is_told_that_too_many_are_stuck() {
    struct Stuck(Mutex<mpsc::Sender<bool>>);
    impl Observer for Stuck {
        fn worker_stuck(&self, w: &WorkerEvent) {
            self.0.lock().unwrap().send(w.replaced()).unwrap();
        }
    }
    let (s, r) = mpsc::channel();
    let pool = leak(
        RetryPool::builder()
            .threads(1)
            .max_stuck(0)
            .observer(Stuck(Mutex::new(s)))
            .build()
            .unwrap(),
    );
    let _h = pool
        .job(|| {
            thread::sleep(FOREVER);
            Ok::<(), ()>(())
        })
        .attempt_timeout(ms(50))
        .submit();
    assert_eq!(
        r.recv_timeout(ms(3000)),
        Ok(false),
        "stuck: {}",
        pool.stats().stuck_threads()
    );
}

#[test]
fn capacity_holds_while_an_abandoned_attempt_waits() {
    let other = leak(RetryPool::with_threads(1));
    let pool = leak(RetryPool::builder().threads(1).capacity(1).build().unwrap());
    let h = pool
        .job(move || {
            let _ = other
                .submit(|| {
                    thread::sleep(FOREVER);
                    Ok::<_, ()>(())
                })
                .wait();
            Ok::<(), ()>(())
        })
        .attempt_timeout(ms(50))
        .retry(RetryPolicy::never())
        .submit();
    h.wait().unwrap_err();
    let (_open, gate) = mpsc::channel::<()>();
    let first = pool.try_submit(move || gate.recv());
    assert!(first.is_ok());
    let second = pool.try_submit(|| Ok::<_, ()>(()));
    assert!(
        second.is_err(),
        "capacity 1, unsettled {}",
        pool.stats().unsettled()
    );
}

#[test]
fn give_up_counts_the_abandoned_attempt() {
    let pool = leak(
        RetryPool::builder()
            .threads(1)
            .max_stuck(0)
            .build()
            .unwrap(),
    );
    let h = pool
        .job(|| {
            thread::sleep(FOREVER);
            Ok::<(), ()>(())
        })
        .attempt_timeout(ms(50))
        .submit();
    assert!(until(ms(3000), || pool.stats().stuck_threads() == 1));
    h.cancel();
    let attempts = h.attempts();
    let g = h.wait().unwrap_err();
    assert_eq!((g.attempts(), g.last_error().is_some()), (attempts, true));
}

#[test]
fn a_periodic_call_takes_no_place() {
    let pool = leak(RetryPool::builder().threads(2).capacity(1).build().unwrap());
    let (s, r) = mpsc::channel();
    let _p = pool.every(FOREVER, move || {
        s.send(()).unwrap();
        thread::sleep(FOREVER);
    });
    r.recv().unwrap();
    assert_eq!(pool.stats().unsettled(), 0);
    assert!(pool.try_submit(|| Ok::<_, ()>(())).is_ok());
}

#[test]
fn timed_out_names_the_time_allowed() {
    let pool = RetryPool::with_threads(1);
    let h = pool
        .job(|| {
            thread::sleep(ms(600));
            Ok::<(), ()>(())
        })
        .attempt_timeout(FOREVER)
        .timeout(ms(200))
        .submit();
    let g = h.wait().unwrap_err();
    let Some(AttemptError::TimedOut(limit)) = g.last_error() else {
        panic!("{:?}", g.reason())
    };
    assert!(*limit <= ms(200), "{limit:?}");
}

/// The observer was called by a worker that still counted as one that looks for work, so nobody else was woken.
#[test]
fn an_observer_that_is_told_of_a_stuck_worker_may_wait_for_a_retry() {
    struct Waits(Arc<OnceLock<&'static RetryPool>>, Mutex<mpsc::Sender<bool>>);
    impl Observer for Waits {
        fn worker_stuck(&self, _: &WorkerEvent) {
            let flaky = || match Attempt::current().number() {
                1 => Err(()),
                _ => Ok(()),
            };
            let job = self.0.get().unwrap().job(flaky);
            let job = job.retry(RetryPolicy::fixed(ms(50))).submit();
            let succeeds = job
                .wait_timeout(ms(3000))
                .is_ok_and(|result| result.is_ok());
            self.1.lock().unwrap().send(succeeds).unwrap();
        }
    }
    let (tell, told) = mpsc::channel();
    let own = Arc::new(OnceLock::new());
    let observer = Waits(Arc::clone(&own), Mutex::new(tell));
    let pool = RetryPool::builder().threads(2).observer(observer);
    let pool = leak(pool.build().unwrap());
    own.set(pool).unwrap();
    let _stuck = pool.job(hangs).attempt_timeout(ms(100)).submit();
    assert_eq!(told.recv(), Ok(true));
}

/// Its batch was forgotten before it was counted as ended, so the pool waited for it for ever.
#[test]
fn a_job_that_is_resubmitted_while_its_iteration_ends_is_accounted_for() {
    let accepted = AtomicUsize::new(0);
    let (begun, begins) = mpsc::channel();
    let (go, gate) = mpsc::channel::<()>();
    let (begun, gate) = (Mutex::new(begun), Mutex::new(gate));
    let resubmitted = move |_: &JobEvent<'_>| {
        if accepted.fetch_add(1, SeqCst) == 1 {
            begun.lock().unwrap().send(()).unwrap();
            gate.lock().unwrap().recv().unwrap();
        }
    };
    let pool = RetryPool::builder().threads(1);
    let pool = leak(
        pool.observer(Obs(resubmitted, |_: &JobEvent<'_>| {}))
            .build()
            .unwrap(),
    );
    let mut completed = pool.batch([0], |_| Ok::<_, ()>(())).as_completed();
    let done = completed.next().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| done.resubmit());
        begins.recv().unwrap();
        drop(completed);
        pool.batch([0], |_| Ok::<_, ()>(())).run();
        go.send(()).unwrap();
    });
    let stats = pool.stats();
    assert_eq!((stats.accepted(), stats.unsettled()), (3, 0));
    assert!(within(ms(3000), || pool.shutdown()).is_some());
}

/// Its time was taken from when it had been accepted first.
#[test]
fn a_job_whose_batch_ends_while_it_is_resubmitted_has_its_time() {
    let token = CancelToken::new();
    let (accepted, ends) = (AtomicUsize::new(0), token.clone());
    let resubmitted = move |_: &JobEvent<'_>| {
        if accepted.fetch_add(1, SeqCst) == 1 {
            ends.cancel();
        }
    };
    let pool = RetryPool::builder().threads(1);
    let pool = leak(
        pool.observer(Obs(resubmitted, |_: &JobEvent<'_>| {}))
            .build()
            .unwrap(),
    );
    let batch = pool.batch([0], |_| Ok::<_, ()>(())).cancel_token(token);
    let mut completed = batch.as_completed();
    let done = completed.next().unwrap();
    thread::sleep(ms(20));
    done.resubmit();
    let done = completed.next().unwrap();
    assert!(done.elapsed() >= ms(20), "{:?}", done.elapsed());
    let give_up = done.into_result().unwrap_err();
    assert!(give_up.elapsed() >= ms(20), "{:?}", give_up.elapsed());
}
