//! The checklist itself, and those of its properties about submitting and running that no other test shows: each test begins with the
//! number in `CHECKLIST.md`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use crate::common::{Live, eventually, gate, ms, pool};
use retry_pool::{BuildError, RetryPool, TrySubmitError};

/// How many properties there are.
const PROPERTIES: usize = 77;

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The source of a test: a file in `tests`, or one in `src` by its path.
fn source_of(file: &str) -> String {
    match file.strip_prefix("src/") {
        Some(_) => read(file),
        None => read(&format!("tests/{file}")),
    }
}

/// The tests that a cell of the table names, as (file, function).
fn tests_named(cell: &str) -> Vec<(String, String)> {
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted
        .map(|name| {
            let (file, test) = name
                .split_once("::")
                .unwrap_or_else(|| panic!("{name} is not file::test"));
            (file.to_owned(), test.to_owned())
        })
        .collect()
}

#[test]
fn every_property_names_tests_that_exist_or_says_why_it_has_none() {
    let table = read("tests/CHECKLIST.md");
    let mut seen = BTreeSet::new();
    let mut sources = BTreeMap::new();
    for row in table.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let Ok(number) = cells[0].parse::<usize>() else {
            continue;
        };
        assert!(seen.insert(number), "{number} is there twice");
        let [_, property, shown] = cells[..] else {
            panic!("{row} has not three cells")
        };
        assert!(!property.is_empty());
        let tests = tests_named(shown);
        assert!(
            !tests.is_empty() || shown.starts_with("n/a because "),
            "{number} names no test, and no reason"
        );
        for (file, test) in tests {
            let source = sources
                .entry(file.clone())
                .or_insert_with(|| source_of(&file));
            let found = source.split("#[test]").skip(1).any(|rest| {
                // Other attributes may stand between.
                let signature = rest.split('{').next().unwrap_or_default();
                signature.contains(&format!("fn {test}()"))
            }) || source.contains(&format!("    {test} is "));
            assert!(found, "{number}: {file} has no test {test}");
        }
    }
    assert!(seen.into_iter().eq(1..=PROPERTIES));
}

#[test]
fn every_test_that_is_numbered_stands_in_its_row() {
    let table = read("tests/CHECKLIST.md");
    let mut tests = 0;
    let files = sources("tests").into_iter();
    for (file, text) in files.filter(|(file, _)| file.contains("/checklist")) {
        for line in text.lines() {
            let Some(test) = line
                .strip_prefix("fn p")
                .filter(|name| name.starts_with(|c: char| c.is_ascii_digit()))
            else {
                continue;
            };
            let test = format!("p{}", test.split('(').next().unwrap());
            let number = test[1..3].parse::<usize>().unwrap();
            let row = table
                .lines()
                .find(|row| row.starts_with(&format!("| {number} |")));
            assert!(
                row.is_some_and(|row| row.contains(&format!("`{file}::{test}`"))),
                "{file}::{test} is not in its row"
            );
            tests += 1;
        }
    }
    assert!(tests > 20, "only {tests} numbered tests found");
}

/// Every file in a folder and the folders in it, by its path from there, with its text.
fn sources(folder: &str) -> Vec<(String, String)> {
    fn visit(root: &Path, folder: &Path, files: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(root, &path, files);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                let name = path.strip_prefix(root).unwrap().display().to_string();
                files.push((name, text));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files = Vec::new();
    visit(&root, &root, &mut files);
    files
}

/// So a clock that is set back or forward changes no delay and no limit.
#[test]
fn no_time_is_measured_by_a_clock_that_can_be_set() {
    let files = sources("src");
    assert!(files.len() > 30, "only {} files found", files.len());
    for (file, text) in files {
        for name in ["UNIX_EPOCH", "SystemTimeError", ".duration_since("] {
            assert!(!text.contains(name), "{file} names {name}");
        }
        // One stamps the errors of a supervised child for people to read, and reads no time back.
        let stamps = usize::from(file == "supervisor/status.rs");
        assert_eq!(
            text.matches("SystemTime::now").count(),
            stamps,
            "{file} reads a clock that can be set"
        );
    }
}

#[test]
fn p04_admitted_jobs_run_though_nobody_iterates() {
    let pool = pool(2);
    let ran = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&ran);
    let (gate, keeper) = gate();
    let mut batch = pool
        .batch(0..50, move |_| {
            gate.pass();
            counter.fetch_add(1, Ordering::SeqCst);
            Ok::<_, ()>(())
        })
        .window(7)
        .as_completed();
    while batch.progress().accepted() < 7 {
        assert!(batch.next_timeout(ms(1)).is_err());
    }
    keeper.let_through(7);
    eventually("all that was admitted has run", || {
        ran.load(Ordering::SeqCst) == 7
    });
}

#[test]
fn p05_no_workers_and_no_capacity_are_refused() {
    let none = RetryPool::builder().threads(0).build().unwrap_err();
    assert!(matches!(none, BuildError::ZeroThreads));
    assert_eq!(
        none.to_string(),
        "threads is 0: a pool has at least 1 worker"
    );
    let none = RetryPool::builder().capacity(0).build().unwrap_err();
    assert!(matches!(none, BuildError::ZeroCapacity));
    assert!(none.to_string().starts_with("capacity is 0"), "{none}");
}

#[test]
fn p07_there_is_one_worker_for_each_cpu_by_default() {
    for pool in [RetryPool::new(), RetryPool::builder().build().unwrap()] {
        assert_eq!(pool.stats().threads(), num_cpus::get());
    }
}

#[test]
fn p08_jobs_one_after_the_other_need_no_further_thread() {
    let pool = pool(3);
    let mut threads = HashSet::new();
    for _ in 0..1_000 {
        let id = pool.submit(|| Ok::<_, ()>(thread::current().id()));
        threads.insert(id.wait().unwrap());
    }
    assert!(threads.len() <= 3, "{threads:?}");
    assert_eq!(pool.stats().threads(), 3);
}

#[test]
fn p09_a_function_can_be_submitted_again_and_again_also_after_refusals() {
    let pool = RetryPool::builder().threads(1).capacity(1).build().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let job = Arc::new(move || Ok::<_, ()>(counter.fetch_add(1, Ordering::SeqCst)));
    let submit = || {
        let job = Arc::clone(&job);
        move || job()
    };
    let mut refused = submit();
    for round in 0..1_000 {
        let held = pool.job(|| Ok::<_, ()>(())).delay(ms(3_600_000)).submit();
        refused = match pool.try_submit(refused) {
            Err(TrySubmitError::Full(job)) => job,
            _ => panic!("the pool was not full"),
        };
        assert!(held.cancel());
        assert_eq!(pool.try_submit(refused).unwrap().wait().unwrap(), round);
        refused = submit();
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1_000);
}

#[test]
fn p12_the_hook_of_a_thread_runs_before_its_first_job() {
    let ready = Arc::new(Mutex::new(HashSet::new()));
    let set = Arc::clone(&ready);
    let pool = RetryPool::builder()
        .threads(3)
        .on_thread_start(move || {
            // A job that does not wait for this is caught.
            thread::sleep(ms(5));
            assert!(set.lock().unwrap().insert(thread::current().id()));
        })
        .build()
        .unwrap();
    let all = Arc::new(Barrier::new(3));
    let handles = [(); 3].map(|()| {
        let (ready, all) = (Arc::clone(&ready), Arc::clone(&all));
        pool.submit(move || {
            let seen = ready.lock().unwrap().contains(&thread::current().id());
            // So each worker has one of them.
            all.wait();
            Ok::<_, ()>(seen)
        })
    });
    assert!(handles.into_iter().all(|handle| handle.wait().unwrap()));
    assert_eq!(ready.lock().unwrap().len(), 3);
}

#[test]
fn p13_a_hook_of_threads_that_panics_breaks_no_pool() {
    let pool = RetryPool::builder()
        .threads(2)
        .on_thread_start(|| panic!("in the hook"))
        .on_thread_stop(|| panic!("in the hook"))
        .build()
        .unwrap();
    let all = Arc::new(Barrier::new(2));
    let handles = [(); 2].map(|()| {
        let all = Arc::clone(&all);
        pool.submit(move || Ok::<_, ()>(all.wait().is_leader()))
    });
    let leaders = handles.map(|handle| handle.wait().unwrap());
    assert_eq!(leaders.iter().filter(|leads| **leads).count(), 1);
    assert_eq!(pool.shutdown().still_running(), 0);
}

#[test]
fn p75_a_job_is_freed_after_its_last_attempt_though_its_handle_is_forgotten() {
    let live = Live::new();
    let pool = pool(1);
    let (gate, keeper) = gate();
    for outcome in [Ok(()), Err(())] {
        let (held, gate) = (live.clone(), gate.clone());
        std::mem::forget(pool.submit(move || {
            let _ = &held;
            gate.pass();
            outcome
        }));
        let attempts = if outcome.is_ok() { 1 } else { 3 };
        keeper.let_through(attempts);
        keeper.await_arrivals(attempts);
        eventually("freed", || live.others() == 0);
    }
}
