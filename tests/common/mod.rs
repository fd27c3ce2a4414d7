//! What several test files need.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use retry_pool::{Attempt, RetryPolicy, RetryPool};

/// A pool that retries at once.
pub(crate) fn pool(threads: usize) -> RetryPool {
    RetryPool::builder()
        .threads(threads)
        .retry(RetryPolicy::immediate())
        .jitter_seed(1)
        .build()
        .unwrap()
}

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Waits until the worker of a pool of one is done with what was submitted before: it has parked what failed.
pub(crate) fn await_worker(pool: &RetryPool) {
    assert_eq!(pool.stats().threads(), 1);
    pool.submit(|| Ok::<_, ()>(())).wait().unwrap();
}

/// The shortest of up to three runs, fewer if one is `enough`: other programs on the machine can only lengthen a run.
pub(crate) fn at_best(enough: Duration, mut run: impl FnMut() -> Duration) -> Duration {
    let mut shortest = Duration::MAX;
    for _ in 0..3 {
        shortest = shortest.min(run());
        if shortest <= enough {
            break;
        }
    }
    shortest
}

/// A gate that jobs wait at until the test lets them through, one token for each job.
#[derive(Clone)]
pub(crate) struct Gate {
    arrived: Sender<()>,
    open: Arc<Mutex<Receiver<()>>>,
}

/// The test's side of a gate.
pub(crate) struct GateKeeper {
    arrivals: Receiver<()>,
    opener: Sender<()>,
}

pub(crate) fn gate() -> (Gate, GateKeeper) {
    let (arrived, arrivals) = mpsc::channel();
    let (opener, open) = mpsc::channel();
    let gate = Gate {
        arrived,
        open: Arc::new(Mutex::new(open)),
    };
    (gate, GateKeeper { arrivals, opener })
}

impl Gate {
    /// Says that a job is here, and waits to be let through.
    pub(crate) fn pass(&self) {
        self.arrived.send(()).unwrap();
        let open: MutexGuard<'_, _> = self.open.lock().unwrap();
        open.recv().unwrap();
    }
}

impl GateKeeper {
    /// Waits until `jobs` jobs are at the gate.
    pub(crate) fn await_arrivals(&self, jobs: usize) {
        for _ in 0..jobs {
            self.arrivals.recv().unwrap();
        }
    }

    pub(crate) fn let_through(&self, jobs: usize) {
        for _ in 0..jobs {
            self.opener.send(()).unwrap();
        }
    }
}

/// Counts how many of its clones live.
pub(crate) struct Live(Arc<AtomicUsize>);

impl Live {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(1)))
    }

    /// How many are alive besides this one.
    pub(crate) fn others(&self) -> usize {
        self.0.load(Ordering::SeqCst) - 1
    }
}

impl Clone for Live {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The resident memory of the process in bytes, without what is mapped from files: that grows when code is run for the first time.
pub(crate) fn resident() -> usize {
    status("RssAnon:") * 1_024
}

/// The names of the threads of the process. The kernel cuts the list short if a thread ends while it is read, so it is read again until there
/// are as many as before and after.
pub(crate) fn threads() -> Vec<String> {
    let begun = std::time::Instant::now();
    loop {
        assert!(begun.elapsed() < Duration::from_secs(20), "never as many");
        let before = status("Threads:");
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names: Vec<_> = tasks
            .filter_map(|task| std::fs::read(task.ok()?.path().join("comm")).ok())
            .map(|name| String::from_utf8_lossy(&name).into_owned())
            .collect();
        if (names.len(), status("Threads:")) == (before, before) {
            return names;
        }
    }
}

/// How many threads of the process have a name that begins so.
pub(crate) fn threads_named(prefix: &str) -> usize {
    let names = threads();
    names.iter().filter(|name| name.starts_with(prefix)).count()
}

/// What the system tells of the thread whose name begins so.
pub(crate) fn thread_status(prefix: &str) -> Option<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let mut paths = tasks.filter_map(|task| Some(task.ok()?.path()));
    let path = paths.find(|path| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.starts_with(prefix))
    })?;
    std::fs::read_to_string(path.join("status")).ok()
}

/// Does the thread whose name begins so sleep?
pub(crate) fn is_asleep(prefix: &str) -> bool {
    thread_status(prefix).is_some_and(|status| status.contains("State:\tS"))
}

/// A number that the system tells of the process: that of threads, or a size in KiB.
pub(crate) fn status(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.unwrap().parse().unwrap()
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// The current child stays until it is told to stop.
pub(crate) fn stay() -> Result<(), String> {
    Attempt::current().sleep(Duration::MAX);
    Ok(())
}
