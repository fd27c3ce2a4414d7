//! Runs a case, in a pool of its own.

use std::collections::HashSet;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

use retry_pool::{
    FailureEvent, GiveUp, GiveUpReason, JobEvent, Observer, PanicPolicy, RetryPolicy, RetryPool,
    Verdict, WorkerEvent,
};

use crate::case::{Bomb, Case, Fuse, Source, World};
use crate::common::{Gate, GateKeeper, Live, eventually, gate};

/// Panics whatever it is told.
struct Nuisance(World);

impl Observer for Nuisance {
    fn job_accepted(&self, _: &JobEvent<'_>) {
        self.0.panic();
    }

    fn attempt_started(&self, _: &JobEvent<'_>) {
        self.0.panic();
    }

    fn attempt_failed(&self, _: &JobEvent<'_>, _: &FailureEvent<'_>) {
        self.0.panic();
    }

    fn job_settled(&self, _: &JobEvent<'_>, _: Result<(), GiveUpReason>) {
        self.0.panic();
    }

    fn worker_started(&self, _: &WorkerEvent) {
        self.0.panic();
    }

    fn worker_stopped(&self, _: &WorkerEvent) {
        self.0.panic();
    }
}

/// Is told everything, errors in words included, and does nothing.
struct Quiet;

impl Observer for Quiet {}

fn pool(case: Case, world: &World) -> RetryPool {
    let builder = RetryPool::builder().threads(2).jitter_seed(1);
    let (starts, stops) = (world.clone(), world.clone());
    let builder = match case.source {
        Source::Observer => builder.observer(Nuisance(world.clone())),
        Source::Display => builder.observer(Quiet),
        Source::ThreadHooks => builder
            .on_thread_start(move || starts.panic())
            .on_thread_stop(move || stops.panic()),
        _ => builder,
    };
    builder.build().unwrap()
}

fn policy(case: Case, world: &World) -> RetryPolicy {
    const SOON: Duration = Duration::from_micros(1);
    let (world, last) = (world.clone(), case.number());
    match case.source {
        Source::JobRetried | Source::PayloadRetriedDrop => {
            RetryPolicy::immediate().on_panic(PanicPolicy::Retry)
        }
        Source::Delays => RetryPolicy::from_delays(move || {
            let (world, mut asked) = (world.clone(), 0);
            std::iter::from_fn(move || {
                asked += 1;
                if asked == last {
                    world.panic();
                }
                Some(SOON)
            })
        })
        .unlimited(),
        Source::DelaysFactory => {
            RetryPolicy::from_delays(move || -> std::iter::Empty<Duration> { world.panic() })
        }
        Source::DelaysDrop => RetryPolicy::from_delays(move || {
            let bomb = world.bomb(Fuse::Drop);
            std::iter::from_fn(move || {
                let _ = &bomb;
                Some(SOON)
            })
        }),
        _ => RetryPolicy::immediate(),
    }
}

/// Tells a single job or a batch what the case asks for: both have methods of the same names.
macro_rules! tell {
    ($job:expr, $case:ident, $world:ident, [$($input:ident)?]) => {{
        let world = $world.clone();
        let job = $job.retry(policy($case, $world));
        let job = match $case.source {
            Source::OnRetry => job.on_retry(move |$($input,)? _, _| world.panic()),
            Source::OnGiveUp => job.on_give_up(move |$($input,)? _| world.panic()),
            Source::HookDrop => {
                let bomb = world.bomb(Fuse::Drop);
                job.on_retry(move |$($input,)? _, _| {
                    let _ = &bomb;
                })
            }
            Source::PredicateDrop => {
                let bomb = world.bomb(Fuse::Drop);
                job.retry_if(move |_| {
                    let _ = &bomb;
                    true
                })
            }
            Source::RetryIf => job.retry_if(asked_too_often($case, world)),
            Source::Classify => {
                let asked = asked_too_often($case, world);
                job.classify(move |error| match asked(error) {
                    true => Verdict::Retry,
                    false => Verdict::GiveUp,
                })
            }
            Source::RetryUnless => job.retry_unless(move |_| world.panic()),
            Source::RejectedDrop => job.retry_unless(|output| output.fuse == Fuse::None),
            Source::Display => job.display_errors(),
            _ => job,
        };
        match $case.limited {
            true => job.attempt_timeout(Duration::from_secs(3_600)),
            false => job,
        }
    }};
}

/// A predicate that panics in the attempt of the case.
fn asked_too_often(case: Case, world: World) -> impl Fn(&Bomb) -> bool + Send + Sync {
    let asked = AtomicUsize::new(0);
    move |_| {
        if asked.fetch_add(1, Ordering::SeqCst) + 1 == case.number() as usize {
            world.panic();
        }
        true
    }
}

// A case.

type Ending = (Result<(), GiveUpReason>, u32);

/// Drops a value whose destructor may panic, as a careful caller would.
fn contained<V>(value: V) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(value)));
}

fn ending(result: Result<Bomb, GiveUp<Bomb>>, attempts: u32) -> Ending {
    let end = match &result {
        Ok(_) => Ok(()),
        Err(give_up) => {
            assert_eq!(give_up.attempts(), attempts);
            Err(give_up.reason())
        }
    };
    contained(result);
    (end, attempts)
}

struct Broken(World, Source);

impl Wake for Broken {
    fn wake(self: Arc<Self>) {
        if self.1 == Source::WakerWake {
            self.0.panic();
        }
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        if self.1 == Source::WakerDrop {
            self.0.panic();
        }
    }
}

fn function_of(case: Case, world: &World, gate: Gate) -> impl Fn() -> Result<Bomb, Bomb> + use<> {
    let captured = world.bomb(match case.source {
        Source::FunctionDrop => Fuse::Drop,
        _ => Fuse::None,
    });
    move || case.attempt(&captured.world, &gate)
}

/// Runs the case as a single job. Its end, if the handle was kept.
fn single(
    pool: &RetryPool,
    case: Case,
    world: &World,
    gate: Gate,
    keeper: &GateKeeper,
) -> Option<Ending> {
    let job = pool.job(function_of(case, world, gate));
    let mut handle = tell!(job, case, world, []).submit();
    keeper.await_arrivals(1);
    if matches!(case.source, Source::WakerWake | Source::WakerDrop) {
        let waker = Waker::from(Arc::new(Broken(world.clone(), case.source)));
        let polled = Pin::new(&mut handle).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
    }
    if case.dropped {
        drop(handle);
        keeper.let_through(1);
        return None;
    }
    keeper.let_through(1);
    eventually("settled", || handle.is_settled());
    let attempts = handle.attempts();
    Some(ending(handle.wait(), attempts))
}

/// Runs the case as a batch of one input. Its end, if the iterator was kept.
fn batch(
    pool: &RetryPool,
    case: Case,
    world: &World,
    gate: Gate,
    keeper: &GateKeeper,
) -> Option<Ending> {
    let input = world.bomb(match case.source {
        Source::InputDrop => Fuse::Drop,
        _ => Fuse::None,
    });
    let function = function_of(case, world, gate);
    let batch = pool.batch([input], move |_: &Bomb| function());
    let batch = tell!(batch, case, world, [_input]);
    let namer = world.clone();
    let batch = match case.source {
        Source::Name => batch.name(move |_| namer.panic()),
        _ => batch,
    };
    let mut batch = batch.as_completed();
    assert!(batch.next_timeout(Duration::ZERO).is_err());
    keeper.await_arrivals(1);
    if case.dropped {
        drop(batch);
        keeper.let_through(1);
        return None;
    }
    keeper.let_through(1);
    let done = batch.next().unwrap();
    let attempts = done.attempts();
    let (input, result) = done.into_parts();
    contained(input);
    assert!(batch.next().is_none());
    Some(ending(result, attempts))
}

/// The threads of both workers, which serve at the same time. One that died would have been replaced by another.
fn workers(pool: &RetryPool) -> HashSet<ThreadId> {
    let (gate, keeper) = gate();
    let held = [(); 2].map(|()| {
        let gate = gate.clone();
        pool.submit(move || {
            gate.pass();
            Ok::<_, ()>(thread::current().id())
        })
    });
    keeper.await_arrivals(2);
    keeper.let_through(2);
    held.into_iter()
        .map(|handle| handle.wait().unwrap())
        .collect()
}

/// The workers are those from before, there are no others, and further jobs run.
fn assert_serves(pool: &RetryPool, before: &HashSet<ThreadId>) {
    assert_eq!(workers(pool), *before);
    for n in 0..20 {
        assert_eq!(pool.submit(move || Ok::<_, ()>(n)).wait().unwrap(), n);
    }
    let report = pool.batch(0..20, |n| Ok::<_, ()>(*n)).run();
    assert_eq!(report.succeeded().len(), 20);
    let stats = pool.stats();
    assert_eq!((stats.spare_threads(), stats.stuck_threads()), (0, 0));
}

pub(crate) fn run(case: Case) {
    let world = World {
        live: Live::new(),
        fired: Arc::default(),
    };
    let pool = pool(case, &world);
    let (workers, before) = (workers(&pool), pool.stats());
    let (gate, keeper) = gate();
    let seen = match case.batch {
        true => batch(&pool, case, &world, gate, &keeper),
        false => single(&pool, case, &world, gate, &keeper),
    };
    let (end, attempts) = case.expected();
    assert!(seen.is_none_or(|seen| seen == (end, attempts)), "{seen:?}");
    eventually("settled", || pool.stats().unsettled() == 0);
    let stats = pool.stats();
    let gave_up = end.err().map_or(0, |reason| stats.gave_up_as(reason));
    assert_eq!(stats.accepted() - before.accepted(), 1);
    assert_eq!(stats.retries(), u64::from(attempts) - 1);
    assert_eq!(
        stats.succeeded() - before.succeeded(),
        u64::from(end.is_ok())
    );
    assert_eq!(
        (stats.gave_up(), gave_up),
        (u64::from(end.is_err()), u64::from(end.is_err()))
    );
    assert_serves(&pool, &workers);
    pool.shutdown();
    let stats = pool.stats();
    assert_eq!(stats.accepted(), stats.succeeded() + stats.gave_up());
    drop(pool);
    assert_eq!(world.live.others(), 0, "values are left");
    assert_eq!(world.fired.load(Ordering::SeqCst) > 0, case.fires());
}
