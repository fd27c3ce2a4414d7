//! Where and with what it was measured.

use std::collections::BTreeMap;
use std::fs;
use std::hint::spin_loop;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use crate::contestants;

/// What the figures depend on, by name.
pub fn describe() -> BTreeMap<String, String> {
    let cpu = first_line("/proc/cpuinfo", "model name");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let facts = [
        ("date", said("date", &["-u", "+%F %H:%M UTC"])),
        (
            "processor",
            cpu.map(|name| format!("{name}, {cores} cores")),
        ),
        // Without the builder's own suffix.
        (
            "system",
            said("uname", &["-sr"])
                .map(|system| system.split('-').next().unwrap_or_default().to_owned()),
        ),
        ("compiler", said("rustc", &["--version"])),
        ("Python", said("python3", &["--version"])),
        (
            "load before",
            fs::read_to_string("/proc/loadavg")
                .ok()
                .map(|load| load.split(' ').take(3).collect::<Vec<_>>().join(" ")),
        ),
        ("commit", said("git", &["describe", "--always", "--dirty"])),
    ];
    let known = facts
        .into_iter()
        .filter_map(|(name, fact)| Some((name.to_owned(), fact?)));
    known.collect()
}

fn first_line(path: &str, field: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// How far the processors are from each other: the ns that a cache line takes from one to the other and back, by the best of some tries, since
/// two threads may begin on one processor. On a virtual machine that may change from one moment to the next, and most that is measured here
/// with it.
pub fn there_and_back() -> u64 {
    const TURNS: u32 = 1_000;
    let try_once = || {
        let ball = &AtomicU32::new(0);
        let wait_for = |turn: u32| {
            while ball.load(Ordering::Acquire) != turn {
                spin_loop();
            }
        };
        thread::scope(|scope| {
            scope.spawn(move || {
                for turn in 0..=TURNS {
                    wait_for(2 * turn + 1);
                    ball.store(2 * turn + 2, Ordering::Release);
                }
            });
            let throw = |turn: u32| {
                ball.store(2 * turn + 1, Ordering::Release);
                wait_for(2 * turn + 2);
            };
            throw(0);
            let begun = Instant::now();
            (1..=TURNS).for_each(throw);
            begun.elapsed().as_nanos() as u64 / u64::from(TURNS)
        })
    };
    (0..20).map(|_| try_once()).min().unwrap_or_default()
}

/// The version of each contestant's package, as locked.
pub fn versions() -> BTreeMap<String, String> {
    let lock = include_str!("../Cargo.lock");
    let version = |package: &str| {
        let (_, entry) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
        Some((package.to_owned(), entry.split_once('"')?.0.to_owned()))
    };
    let packages = contestants::ALL.iter().map(|one| one.package);
    packages.chain(["oneshot"]).filter_map(version).collect()
}
