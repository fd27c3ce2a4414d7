//! What this process has used so far.

use std::fs;

use nix::sys::resource::{UsageWho, getrusage};

/// Of all threads, those that have ended included.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    pub cpu_seconds: f64,
    pub context_switches: f64,
}

impl Usage {
    pub fn now() -> Self {
        let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process may ask for its own usage");
        let seconds = [usage.user_time(), usage.system_time()]
            .map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6);
        let switches = usage.voluntary_context_switches() + usage.involuntary_context_switches();
        Self {
            cpu_seconds: seconds.iter().sum(),
            context_switches: switches as f64,
        }
    }

    pub fn since(self, before: Self) -> Self {
        Self {
            cpu_seconds: self.cpu_seconds - before.cpu_seconds,
            context_switches: self.context_switches - before.context_switches,
        }
    }
}

/// The memory that is resident now, in bytes.
pub fn resident() -> f64 {
    status("VmRSS:")
}

/// The most memory that was resident at a time, in bytes. Unlike the figure of `getrusage`, it does not go back to the parent process.
pub fn peak_resident() -> f64 {
    status("VmHWM:")
}

fn status(field: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kib.expect("a number of KiB") * 1024.0
}
