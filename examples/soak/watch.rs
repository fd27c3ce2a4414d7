//! What is looked at from outside: memory, threads, and what was not as it should be.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The pool's threads are named after this.
pub(crate) const PREFIX: &str = "soak";

static DEVIATIONS: AtomicU64 = AtomicU64::new(0);

/// Notes that something is not as it should be; tells of the first few.
pub(crate) fn deviation(text: impl FnOnce() -> String) {
    const TOLD: u64 = 10;
    if DEVIATIONS.fetch_add(1, Ordering::Relaxed) < TOLD {
        eprintln!("deviation: {}", text());
    }
}

pub(crate) fn deviations() -> u64 {
    DEVIATIONS.load(Ordering::Relaxed)
}

/// Waits until something is so, which takes microseconds: a thread that was abandoned has to return, say.
pub(crate) fn settles(mut is_so: impl FnMut() -> bool) -> bool {
    const PATIENCE: Duration = Duration::from_secs(20);
    let begun = Instant::now();
    loop {
        if is_so() {
            return true;
        }
        if begun.elapsed() > PATIENCE {
            return false;
        }
        thread::yield_now();
    }
}

/// The resident memory of the process in KiB; 0 where the system does not say.
pub(crate) fn resident() -> i64 {
    // Added up from the mappings: the figure in `statm` may lag behind by as much as is looked for here.
    let text = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// The pool's threads that are alive; `None` where the system does not say.
pub(crate) fn threads() -> Option<usize> {
    let threads = fs::read_dir("/proc/self/task").ok()?;
    let is_of_pool = |path: std::path::PathBuf| {
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        name.strip_prefix(PREFIX)
            .is_some_and(|rest| rest.starts_with('-'))
    };
    Some(
        threads
            .flatten()
            .filter(|thread| is_of_pool(thread.path()))
            .count(),
    )
}
