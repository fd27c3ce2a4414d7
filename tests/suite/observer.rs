//! What an observer is told, and that it can do no harm.

use std::sync::{Arc, Mutex, OnceLock, Weak, mpsc};

use crate::common::{gate, ms};
use retry_pool::{
    Attempt, CancelToken, FailureEvent, GiveUpReason, JobEvent, Observer, RetryPolicy, RetryPool,
    RetryPoolBuilder, WorkerEvent,
};

/// Writes down what it is told.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn add(&self, note: String) {
        self.0.lock().unwrap().push(note);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Observer for Notes {
    fn job_accepted(&self, job: &JobEvent<'_>) {
        self.add(format!("{job} accepted"));
    }

    fn attempt_started(&self, job: &JobEvent<'_>) {
        self.add(format!("{job} attempt {}", job.attempts()));
    }

    fn attempt_failed(&self, job: &JobEvent<'_>, failure: &FailureEvent<'_>) {
        let error = failure.error().unwrap_or("-");
        self.add(format!(
            "{job} attempt {} failed: {error}, {:?}",
            job.attempts(),
            failure.next()
        ));
    }

    fn job_settled(&self, job: &JobEvent<'_>, result: Result<(), GiveUpReason>) {
        self.add(format!("{job} settled {result:?}, {}", job.attempts()));
    }

    fn worker_started(&self, worker: &WorkerEvent) {
        self.add(format!("worker {} started", worker.number()));
    }

    fn worker_stuck(&self, worker: &WorkerEvent) {
        self.add(format!(
            "worker {} stuck, {}",
            worker.number(),
            worker.replaced()
        ));
    }

    fn worker_stopped(&self, worker: &WorkerEvent) {
        self.add(format!("worker {} stopped", worker.number()));
    }
}

fn one_worker() -> RetryPoolBuilder {
    RetryPool::builder()
        .threads(1)
        .retry(RetryPolicy::immediate())
}

fn observed() -> (RetryPool, Notes) {
    let notes = Notes::default();
    let pool = one_worker().observer(notes.clone()).build().unwrap();
    // A thread of its own, so what it does first may come late.
    while notes.0.lock().unwrap().is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(notes.take(), ["worker 0 started"]);
    (pool, notes)
}

#[test]
fn a_single_job_is_told_of_step_by_step() {
    let (pool, notes) = observed();
    let run = || match Attempt::current().number() {
        1 => Err("busy"),
        2 => panic!("oh"),
        _ => Ok(()),
    };
    let policy = RetryPolicy::fixed(ms(1)).on_panic(retry_pool::PanicPolicy::Retry);
    let job = pool.job(run).name("fetch").display_errors().retry(policy);
    job.submit().wait().unwrap();
    drop(pool);
    assert_eq!(
        notes.take(),
        [
            "job 0 (fetch) accepted",
            "job 0 (fetch) attempt 1",
            "job 0 (fetch) attempt 1 failed: busy, Ok(1ms)",
            "job 0 (fetch) attempt 2",
            "job 0 (fetch) attempt 2 failed: job fetch panicked: oh, Ok(1ms)",
            "job 0 (fetch) attempt 3",
            "job 0 (fetch) settled Ok(()), 3",
            "worker 0 stopped",
        ]
    );
}

#[test]
fn the_jobs_of_a_batch_are_told_of_step_by_step() {
    let (pool, notes) = observed();
    let batch = pool.batch(["a", "b"], |text| match *text {
        "a" => Ok(()),
        _ => Err("no"),
    });
    let batch = batch.name(ToString::to_string).display_errors().window(1);
    let report = batch.retry(RetryPolicy::immediate().max_attempts(2)).run();
    assert_eq!(report.gave_up().len(), 1);
    assert_eq!(
        notes.take(),
        [
            "batch 1 job 0 accepted",
            "batch 1 job 0 (a) attempt 1",
            "batch 1 job 0 (a) settled Ok(()), 1",
            "batch 1 job 1 accepted",
            "batch 1 job 1 (b) attempt 1",
            "batch 1 job 1 (b) attempt 1 failed: no, Ok(0ns)",
            "batch 1 job 1 (b) attempt 2",
            "batch 1 job 1 (b) attempt 2 failed: no, Err(AttemptsExhausted)",
            "batch 1 job 1 (b) settled Err(AttemptsExhausted), 2",
        ]
    );
}

#[test]
fn jobs_that_end_without_a_further_attempt_are_told_of() {
    let (pool, notes) = observed();
    let (gate, keeper) = gate();
    let held = pool.submit(move || {
        gate.pass();
        Ok::<_, ()>(())
    });
    keeper.await_arrivals(1);
    notes.take();
    let queued = pool.submit(|| Ok::<_, ()>(()));
    assert!(queued.cancel());
    let token = CancelToken::new();
    let batch = pool
        .batch([()], |()| Ok::<_, ()>(()))
        .cancel_token(token.clone());
    let mut batch = batch.as_completed();
    assert!(batch.next_timeout(ms(1)).is_err());
    token.cancel();
    batch.add(());
    assert_eq!(batch.count(), 2);
    assert_eq!(
        notes.take(),
        [
            "job 1 accepted",
            "job 1 settled Err(Cancelled), 0",
            "batch 1 job 0 accepted",
            "batch 1 job 0 settled Err(Cancelled), 0",
            "batch 1 job 1 accepted",
            "batch 1 job 1 settled Err(Cancelled), 0",
        ]
    );
    keeper.let_through(1);
    held.wait().unwrap();
}

#[test]
fn every_job_is_told_of_in_its_order_and_settled_once_whatever_the_threads_do() {
    let notes = Notes::default();
    let pool = RetryPool::builder()
        .threads(3)
        .retry(RetryPolicy::immediate())
        .observer(notes.clone())
        .build()
        .unwrap();
    let flaky = |n: &u32| match Attempt::current().number() {
        1 if n.is_multiple_of(3) => Err(()),
        _ => Ok(()),
    };
    let (sender, completed) = pool.batch(0..500, flaky).window(16).channel();
    std::thread::scope(|scope| {
        scope.spawn(move || (500..1_000).try_for_each(|n| sender.send(n)));
        for done in completed {
            if done.attempts() == 2 {
                done.resubmit();
            }
        }
    });
    drop(pool);
    let notes = notes.take();
    for job in 0..1_000 {
        let prefix = format!("batch 1 job {job} ");
        let steps = notes.iter().filter_map(|note| note.strip_prefix(&prefix));
        let steps: Vec<&str> = steps.collect();
        let resubmitted = steps.iter().filter(|step| **step == "accepted").count() == 2;
        let retried = steps.contains(&"attempt 2");
        let mut expected = vec!["accepted", "attempt 1"];
        if retried {
            expected.extend([
                "attempt 1 failed: -, Ok(0ns)",
                "attempt 2",
                "settled Ok(()), 2",
            ]);
        } else {
            expected.push("settled Ok(()), 1");
        }
        if resubmitted {
            expected.extend(["accepted", "attempt 3", "settled Ok(()), 3"]);
        }
        assert_eq!(steps, expected, "job {job}");
        assert_eq!(retried, resubmitted);
    }
}

#[test]
fn a_stuck_worker_is_told_of() {
    let (pool, notes) = observed();
    let (gate, keeper) = gate();
    let gate = Mutex::new(gate);
    let run = move || {
        if Attempt::current().number() == 1 {
            gate.lock().unwrap().pass();
        }
        Ok::<_, ()>(())
    };
    pool.job(run)
        .attempt_timeout(ms(10))
        .submit()
        .wait()
        .unwrap();
    keeper.await_arrivals(1);
    let told = || {
        notes
            .0
            .lock()
            .unwrap()
            .iter()
            .any(|note| note == "worker 0 stuck, true")
    };
    while !told() {
        std::thread::yield_now();
    }
    keeper.let_through(1);
    drop(pool);
    let notes = notes.take();
    assert!(notes.iter().any(|note| note == "worker 1 started"));
    assert!(
        notes
            .iter()
            .any(|note| note.starts_with("job 0 attempt 1 failed: attempt timed out"))
    );
}

/// Panics, and calls back into the pool, whatever it is told.
struct Nuisance(Arc<OnceLock<Weak<RetryPool>>>);

impl Nuisance {
    fn act(&self) {
        if let Some(pool) = self.0.get().and_then(Weak::upgrade) {
            let _ = pool.stats();
            if pool.stats().accepted() < 500 {
                let handle = pool.submit(|| Ok::<_, ()>(()));
                let _ = handle.cancel();
            }
        }
        panic!("a nuisance");
    }
}

impl Observer for Nuisance {
    fn job_accepted(&self, _: &JobEvent<'_>) {
        self.act();
    }

    fn attempt_started(&self, _: &JobEvent<'_>) {
        self.act();
    }

    fn attempt_failed(&self, _: &JobEvent<'_>, _: &FailureEvent<'_>) {
        self.act();
    }

    fn job_settled(&self, _: &JobEvent<'_>, _: Result<(), GiveUpReason>) {
        self.act();
    }

    fn worker_started(&self, _: &WorkerEvent) {
        self.act();
    }

    fn worker_stopped(&self, _: &WorkerEvent) {
        self.act();
    }
}

#[test]
fn an_observer_that_panics_and_calls_the_pool_does_no_harm() {
    let place = Arc::new(OnceLock::new());
    let observer = Nuisance(Arc::clone(&place));
    let pool = Arc::new(one_worker().observer(observer).build().unwrap());
    place.set(Arc::downgrade(&pool)).unwrap();
    let report = pool
        .batch(0..20, |n| if *n < 10 { Ok(*n) } else { Err(()) })
        .run();
    assert_eq!((report.succeeded().len(), report.gave_up().len()), (10, 10));
    assert_eq!(pool.submit(|| Ok::<_, ()>(7)).wait().unwrap(), 7);
    pool.shutdown();
    let stats = pool.stats();
    assert_eq!(stats.accepted(), stats.succeeded() + stats.gave_up());
}

#[test]
fn a_spare_is_told_of_as_one() {
    struct Spares(Mutex<mpsc::Sender<(usize, bool)>>);
    impl Observer for Spares {
        fn worker_started(&self, worker: &WorkerEvent) {
            let started = (worker.number(), worker.is_spare());
            self.0.lock().unwrap().send(started).unwrap();
        }
    }
    let (tell, told) = mpsc::channel();
    let observer = Spares(Mutex::new(tell));
    let pool = Arc::new(one_worker().observer(observer).build().unwrap());
    let inner = Arc::clone(&pool);
    let outer = pool.submit(move || inner.submit(|| Ok::<_, ()>(())).wait());
    outer.wait().unwrap();
    let mut started: Vec<_> = told.iter().take(2).collect();
    started.sort_unstable();
    assert_eq!(started, [(0, false), (1, true)]);
}
