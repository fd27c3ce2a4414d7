//! Builds the mutated crate, finds out which test reaches which mutant, and runs them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::plant::Mutant;

/// How many mutants are run at once: tests wait for most of the time.
const AT_ONCE: usize = 5;

/// For how many seconds a mutant is run against passing tests, unless `RP_MUTANTS_SECONDS` says it: the longest tests are left out for it.
const ENOUGH: f64 = 90.0;

pub struct Test {
    program: PathBuf,
    name: String,
    takes: Duration,
    reaches: BTreeSet<usize>,
}

impl Test {
    fn to_line(&self) -> String {
        let reaches: Vec<String> = self.reaches.iter().map(usize::to_string).collect();
        format!(
            "{}\t{}\t{}\t{}",
            self.program.display(),
            self.name,
            self.takes.as_micros(),
            reaches.join(" ")
        )
    }

    fn parse(line: &str) -> Option<Self> {
        let mut cells = line.split('\t');
        Some(Self {
            program: cells.next()?.into(),
            name: cells.next()?.to_owned(),
            takes: Duration::from_micros(cells.next()?.parse().ok()?),
            reaches: cells
                .next()?
                .split(' ')
                .filter_map(|id| id.parse().ok())
                .collect(),
        })
    }
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

pub fn read_banned(copy: &Path) -> BTreeSet<usize> {
    lines(&copy.join("unviable"))
        .iter()
        .filter_map(|line| line.parse().ok())
        .collect()
}

pub fn write_banned(copy: &Path, banned: &BTreeSet<usize>) {
    let text: Vec<String> = banned.iter().map(usize::to_string).collect();
    fs::write(copy.join("unviable"), text.join("\n")).unwrap();
}

fn cargo(copy: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command
        .current_dir(copy)
        .args(arguments)
        .arg("--message-format=json");
    command
        .env("RUSTFLAGS", "--cap-lints=warn")
        .env("CARGO_INCREMENTAL", "0");
    command.stderr(Stdio::null());
    command
}

fn messages(mut command: Command) -> Vec<serde_json::Value> {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// The mutants that the compiler refuses.
pub fn uncompilable(copy: &Path) -> BTreeSet<usize> {
    let mut bad = BTreeSet::new();
    let mut failed = false;
    for message in messages(cargo(copy, &["check", "--lib", "--all-features"])) {
        let message = &message["message"];
        if message["level"] != "error" {
            continue;
        }
        failed = true;
        for span in message["spans"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|span| span["is_primary"] == true)
        {
            let file = lines(&copy.join(span["file_name"].as_str().unwrap()));
            let line = span["line_start"].as_u64().unwrap() as usize;
            // The one that begins last before the place.
            let asked: Option<usize> = file[..line.min(file.len())].iter().rev().find_map(|line| {
                let id = line.rsplit_once("mutant::on(")?.1;
                id.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
            });
            bad.extend(asked);
        }
    }
    assert!(
        !failed || !bad.is_empty(),
        "the mutated crate does not compile: see cargo check --lib in {}",
        copy.display()
    );
    bad
}

/// A way to compile tests.
struct Build {
    /// The compiler's wrapper, for the model checkers.
    wrapper: Option<&'static str>,
    arguments: &'static [&'static str],
    filter: &'static str,
}

const BUILDS: &[Build] = &[
    Build {
        wrapper: None,
        arguments: &["--all-features", "--lib", "--tests"],
        filter: "",
    },
    Build {
        wrapper: Some("scripts/rustc-shuttle"),
        arguments: &["--features", "_model", "--test", "model"],
        filter: "",
    },
    Build {
        wrapper: Some("scripts/rustc-loom"),
        arguments: &["--features", "_model", "--lib"],
        filter: "models::",
    },
];

/// The programs that a build makes.
fn programs(copy: &Path, build: &Build) -> Vec<PathBuf> {
    let mut command = cargo(copy, &["test", "--no-run"]);
    command.args(build.arguments);
    if let Some(wrapper) = build.wrapper {
        command.env("RUSTC_WORKSPACE_WRAPPER", copy.join(wrapper));
    }
    let programs: Vec<PathBuf> = messages(command)
        .iter()
        .filter(|message| message["profile"]["test"] == true)
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .collect();
    assert!(!programs.is_empty(), "no tests: {:?}", build.arguments);
    programs
}

/// Builds all tests, and runs each once: what it reaches, and how long it takes. Those that fail there are left out. What is found is kept for
/// the next time.
pub fn tests(copy: &Path) -> Vec<Test> {
    let kept = copy.join("tests-and-what-they-reach");
    if let Ok(text) = fs::read_to_string(&kept) {
        return text
            .lines()
            .map(|line| Test::parse(line).unwrap())
            .collect();
    }
    let mut found: Vec<(PathBuf, String)> = Vec::new();
    for build in BUILDS {
        for program in programs(copy, build) {
            let output = Command::new(&program)
                .args(["--list", "--format", "terse", build.filter])
                .current_dir(copy)
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            found.extend(text.lines().filter_map(|line| {
                Some((program.clone(), line.strip_suffix(": test")?.to_owned()))
            }));
        }
    }
    println!("{} tests", found.len());
    let next = AtomicUsize::new(0);
    let tests = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for worker in 0..2 {
            let (next, tests, found) = (&next, &tests, &found);
            scope.spawn(move || {
                let asked = copy.join(format!("asked-{worker}"));
                while let Some((program, name)) = found.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let _ = fs::remove_file(&asked);
                    let mut test = Test {
                        program: program.clone(),
                        name: name.clone(),
                        takes: Duration::ZERO,
                        reaches: BTreeSet::new(),
                    };
                    let begun = Instant::now();
                    let noted = [("RP_MUTANTS_ASKED", asked.display().to_string())];
                    if run_test(copy, &test, &noted, Duration::from_secs(120)) != Some(true) {
                        println!("left out, since it fails without a mutant: {name}");
                        continue;
                    }
                    test.takes = begun.elapsed();
                    test.reaches = lines(&asked)
                        .iter()
                        .filter_map(|line| line.parse().ok())
                        .collect();
                    tests.lock().unwrap().push(test);
                }
            });
        }
    });
    let mut tests = tests.into_inner().unwrap();
    tests.sort_by_key(|test| test.takes);
    let lines: Vec<String> = tests.iter().map(Test::to_line).collect();
    fs::write(kept, lines.join("\n")).unwrap();
    tests
}

/// `None` if it hangs.
fn run_test(
    copy: &Path,
    test: &Test,
    variables: &[(&str, String)],
    limit: Duration,
) -> Option<bool> {
    let mut command = Command::new(&test.program);
    command
        .args(["--exact", &test.name, "--test-threads=1"])
        .current_dir(copy);
    command
        .env("CARGO_MANIFEST_DIR", copy)
        .env("RUST_BACKTRACE", "0")
        .env("PROPTEST_CASES", "64");
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let begun = Instant::now();
    let mut nap = Duration::from_millis(1);
    while begun.elapsed() < limit {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status.success());
        }
        thread::sleep(nap);
        nap = (nap * 2).min(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// Which test kills the mutant; `Err`: how many it survives.
fn kill<'a>(
    copy: &Path,
    id: usize,
    tests: &'a [Test],
    enough: Duration,
) -> Result<&'a Test, usize> {
    let mut spent = Duration::ZERO;
    let mut survived = 0;
    let on = [("RP_MUTANT", id.to_string())];
    for test in tests.iter().filter(|test| test.reaches.contains(&id)) {
        spent += test.takes;
        if spent > enough {
            break;
        }
        let limit = Duration::from_secs(4) + test.takes * 10;
        let passes =
            |variables: &[(&str, String)]| run_test(copy, test, variables, limit) == Some(true);
        if !passes(&on) && passes(&[]) && !passes(&on) {
            return Ok(test);
        }
        survived += 1;
    }
    Err(survived)
}

/// Results go by number, so all of them have to be of the same mutants.
pub fn same_as_before(copy: &Path, mutants: &[Mutant]) {
    let path = copy.join("mutants");
    let line = |m: &Mutant| format!("{} {} {} {}", m.id, m.file, m.function, m.change);
    let text: String = mutants
        .iter()
        .map(|mutant| line(mutant).replace('\n', " ") + "\n")
        .collect();
    let before = fs::read_to_string(&path).unwrap_or_else(|_| text.clone());
    assert!(
        before == text,
        "the sources have changed since the first run: --fresh"
    );
    fs::write(path, text).unwrap();
}

/// They are run again, with the tests that there are now.
pub fn forget_survivors(copy: &Path) {
    let _ = fs::remove_file(copy.join("tests-and-what-they-reach"));
    let path = copy.join("results");
    let killed = lines(&path)
        .into_iter()
        .filter(|line| line.contains(" killed by "));
    let text: String = killed.map(|line| line + "\n").collect();
    fs::write(path, text).unwrap();
}

/// Runs all mutants, but for those that are in the results already, and prints the score.
pub fn run(copy: &Path, mutants: &[Mutant], banned: &BTreeSet<usize>, tests: &[Test]) {
    let path = copy.join("results");
    let known: BTreeMap<usize, String> = lines(&path)
        .iter()
        .filter_map(|line| {
            let (id, rest) = line.split_once(' ')?;
            Some((id.parse().ok()?, rest.to_owned()))
        })
        .collect();
    let results = Mutex::new(
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .unwrap(),
    );
    let left: Vec<&Mutant> = mutants
        .iter()
        .filter(|mutant| !banned.contains(&mutant.id) && !mutant.is_none)
        .filter(|mutant| !known.contains_key(&mutant.id))
        .collect();
    // In no order, so that what is known when it is stopped stands for all.
    let mut order: Vec<usize> = (0..left.len()).collect();
    order.sort_by_key(|place| (*place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let enough = std::env::var("RP_MUTANTS_SECONDS").map_or(ENOUGH, |text| text.parse().unwrap());
    let enough = Duration::from_secs_f64(enough);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            let (next, left, order, results) = (&next, &left, &order, &results);
            scope.spawn(move || {
                while let Some(place) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mutant = left[*place];
                    let verdict = match kill(copy, mutant.id, tests, enough) {
                        Ok(test) => format!("killed by {}", test.name),
                        Err(0) => "not reached".to_owned(),
                        Err(tests) => format!("survived {tests}"),
                    };
                    let line = format!(
                        "{} {verdict} | {} {} | {}\n",
                        mutant.id,
                        mutant.file,
                        mutant.function,
                        mutant.change.replace('\n', " ")
                    );
                    results.lock().unwrap().write_all(line.as_bytes()).unwrap();
                }
            });
        }
    });
    report(&path, banned.len());
}

fn report(path: &Path, unviable: usize) {
    let lines = lines(path);
    let (killed, alive): (Vec<&String>, Vec<&String>) =
        lines.iter().partition(|line| line.contains(" killed by "));
    let mut list = File::create(path.with_file_name("survivors")).unwrap();
    for line in &alive {
        writeln!(list, "{line}").unwrap();
    }
    let score = killed.len() as f64 * 100.0 / lines.len().max(1) as f64;
    println!(
        "mutants: {} viable, {unviable} not; {} killed, {} survived: {score:.1} %",
        lines.len(),
        killed.len(),
        alive.len()
    );
}
