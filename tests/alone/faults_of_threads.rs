//! The system refuses threads. One test, since it takes memory away from the whole process, again in a process of its own: the limit is of
//! memory, and the allocator is to take none of it for itself.
#![cfg(target_os = "linux")]

use std::error::Error;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::{eventually, status};
use retry_pool::{AttemptError, BuildError, RetryPolicy, RetryPool, RetryPoolBuilder};

const WORKERS: usize = 6;

/// So large that neither the allocator's needs nor the timer's stack, of 2 MiB, matter beside it.
const STACK: usize = 64 << 20;

const MIB: usize = 1 << 20;

/// Limits the address space of this process; `None` lifts the limit.
fn limit(bytes: Option<usize>) {
    let bytes = bytes.map_or(String::from("unlimited"), |bytes| bytes.to_string());
    let status = Command::new("prlimit")
        .args([
            format!("--pid={}", std::process::id()),
            format!("--as={bytes}:"),
        ])
        .status();
    assert!(status.unwrap().success());
}

/// Leaves room for so many stacks and a little more.
fn leave_room_for(stacks: usize) {
    // Together less than the timer's stack, which is to be refused when all workers have theirs.
    let (each, rest) = (MIB / 8, MIB);
    let room = stacks * (STACK + each) + rest;
    limit(Some(status("VmSize:") * 1_024 + room));
}

fn builder() -> RetryPoolBuilder {
    RetryPool::builder()
        .threads(WORKERS)
        .thread_name("rp")
        .stack_size(STACK)
}

fn refused_name(result: Result<RetryPool, BuildError>) -> String {
    match result {
        Err(ref error @ BuildError::Spawn { ref name, .. }) => {
            assert!(error.source().is_some());
            name.clone()
        }
        other => panic!("{other:?}"),
    }
}

/// The k-th worker is refused, for each k, and last the timer.
fn build_fails_wherever_a_thread_is_refused() {
    for started in 0..=WORKERS {
        leave_room_for(started);
        let begun = Instant::now();
        let result = builder().build();
        let time = begun.elapsed();
        let name = match started {
            WORKERS => String::from("rp-timer"),
            number => format!("rp-{number}"),
        };
        assert_eq!(refused_name(result), name);
        assert!(time < Duration::from_secs(1), "{time:?}");
        eventually("only this thread", || status("Threads:") == 2);
        limit(None);
    }
    // The same settings are right when there is room.
    let pool = builder().build().unwrap();
    assert_eq!(pool.submit(|| Ok::<_, ()>(7)).wait().unwrap(), 7);
}

/// A spare that is refused is a panic in the job that wanted to wait, and in no other.
fn a_refused_spare_ends_the_wait_and_not_the_pool() {
    let pool = Arc::new(
        RetryPool::builder()
            .threads(1)
            .stack_size(STACK)
            .build()
            .unwrap(),
    );
    let inner = Arc::clone(&pool);
    leave_room_for(0);
    let waits = pool.submit(move || Ok::<_, ()>(inner.submit(|| Ok::<_, ()>(1)).wait().is_ok()));
    let give_up = waits.wait().unwrap_err();
    limit(None);
    let Some(AttemptError::Panicked(panic)) = give_up.last_error() else {
        panic!("{give_up:?}")
    };
    assert!(panic.message().contains("spare"), "{}", panic.message());
    let inner = Arc::clone(&pool);
    let waits = pool.submit(move || Ok::<_, ()>(inner.submit(|| Ok::<_, ()>(1)).wait().is_ok()));
    assert!(waits.wait().unwrap());
    pool.shutdown();
    let stats = pool.stats();
    assert_eq!(stats.accepted(), stats.succeeded() + stats.gave_up());
}

/// A pool for jobs that borrow, in a job: its workers are refused, and so is the spare that would work while that pool ends.
fn a_scope_in_a_job_ends_though_all_threads_are_refused() {
    let pool = RetryPool::builder().threads(1).stack_size(STACK);
    let pool = pool.build().unwrap();
    // For the thread that starts the others.
    limit(Some(status("VmSize:") * 1_024 + 8 * MIB));
    let scoped = pool.submit(|| {
        let started = builder().scope(|_| ());
        Ok::<_, ()>(matches!(started, Err(BuildError::Spawn { .. })))
    });
    let refused = scoped.wait_timeout(Duration::from_secs(20));
    limit(None);
    assert!(refused.unwrap().unwrap());
}

/// A pool that is dropped by the panic of a job which owns it.
fn a_pool_ends_in_a_destructor_though_a_spare_is_refused() {
    let build = || builder().threads(1).build().unwrap();
    let (pool, owned) = (build(), Mutex::new(Some(build())));
    let job = pool.job(move || -> Result<(), ()> {
        let owned = owned.lock().unwrap().take().unwrap();
        panic!("{:?} is dropped", owned.stats())
    });
    leave_room_for(0);
    let give_up = job.retry(RetryPolicy::never()).submit().wait().unwrap_err();
    limit(None);
    let Some(AttemptError::Panicked(panic)) = give_up.last_error() else {
        panic!("{give_up:?}")
    };
    assert!(panic.message().ends_with("is dropped"));
}

#[test]
fn a_thread_that_the_system_refuses_leaves_none_behind() {
    const INNER: &str = "RETRY_POOL_TEST_REFUSES_THREADS";
    if std::env::var_os(INNER).is_some() {
        build_fails_wherever_a_thread_is_refused();
        a_refused_spare_ends_the_wait_and_not_the_pool();
        a_scope_in_a_job_ends_though_all_threads_are_refused();
        a_pool_ends_in_a_destructor_though_a_spare_is_refused();
        return;
    }
    let module = module_path!().split_once("::").unwrap().1;
    let name = format!("{module}::a_thread_that_the_system_refuses_leaves_none_behind");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture"])
        .envs([(INNER, "1"), ("MALLOC_ARENA_MAX", "1")])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{errors}");
    assert!(told.contains("1 passed"), "{told}");
}
