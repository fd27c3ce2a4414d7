//! What this process has used, as Linux tells it by thread.

#![allow(dead_code, reason = "each benchmark uses its own part")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// The time that the living threads have spent on a processor; zero where there is no `/proc`.
pub(crate) fn cpu_time() -> Duration {
    let first_number = |text: String| text.split(' ').next()?.parse::<u64>().ok();
    let times = of_threads("schedstat").filter_map(first_number);
    Duration::from_nanos(times.sum())
}

/// How often the living threads have been taken off a processor, of their own will or not.
pub(crate) fn context_switches() -> u64 {
    let of_thread = |text: String| {
        let counts = text.lines().filter(|line| line.contains("ctxt_switches"));
        let counts = counts.filter_map(|line| line.rsplit('\t').next()?.parse::<u64>().ok());
        counts.sum::<u64>()
    };
    of_threads("status").map(of_thread).sum()
}

/// The memory that is resident, in bytes: now (`VmRSS:`) or at its peak (`VmHWM:`).
pub(crate) fn memory(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// The file of that name of each thread that has not ended meanwhile.
fn of_threads(file: &'static str) -> impl Iterator<Item = String> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten();
    let paths = threads
        .flatten()
        .map(move |thread| -> PathBuf { thread.path().join(file) });
    paths.filter_map(|path| fs::read_to_string(path).ok())
}
