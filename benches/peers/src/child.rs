//! A process of its own for each measurement: nobody inherits another's memory, threads or global state.

use std::env;
use std::process::{Command, Stdio, exit};
use std::thread;
use std::time::Duration;

use crate::contestants::{self, Contestant};
use crate::questions::{self, Case, Metrics, Question};

/// Holds what a child is to do.
const TASK: &str = "BENCH_PEERS_TASK";
/// Nothing takes nearly as long, unless it hangs.
const LIMIT: Duration = Duration::from_secs(90);

/// Measures if this process was started to do so, and does not return then.
pub fn answer_if_asked() {
    let Ok(task) = env::var(TASK) else { return };
    let [question, case, contestant, scale] = task.split('\t').collect::<Vec<_>>()[..] else {
        panic!("{task}: not a task")
    };
    thread::spawn(|| {
        thread::sleep(LIMIT);
        eprintln!("no answer in time");
        exit(1);
    });
    let question = questions::ALL
        .iter()
        .find(|one| one.name == question)
        .expect("a question");
    let case = question
        .cases
        .iter()
        .find(|one| one.label == case)
        .expect("a case");
    let contestant = contestants::ALL
        .iter()
        .find(|one| one.name == contestant)
        .expect("a contestant");
    let scale: u64 = scale.parse().expect("a number");
    let case = Case {
        jobs: case.jobs.div_ceil(scale),
        ..*case
    };
    let metrics = (question.ask)(contestant, &case);
    println!(
        "{}",
        serde_json::to_string(&metrics).expect("numbers by name")
    );
    // Without waiting for anybody's threads.
    exit(0);
}

/// The process that asks this contestant.
pub fn of_contestant(
    question: &Question,
    case: &Case,
    contestant: &Contestant,
    scale: u64,
) -> Command {
    let mut command = Command::new(env::current_exe().expect("this program has a path"));
    command.env(
        TASK,
        [
            question.name,
            case.label,
            contestant.name,
            &scale.to_string(),
        ]
        .join("\t"),
    );
    command
}

/// The process that asks one of Python's recipes.
pub fn of_recipe(recipe: &str, case: &Case, scale: u64) -> Command {
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/recipes.py"));
    command.args([
        recipe,
        &case.jobs.div_ceil(scale).to_string(),
        &case.threads.to_string(),
    ]);
    command
}

/// Runs the processes at once, and returns what each has measured, or nothing if it failed.
pub fn run(commands: Vec<Command>) -> Vec<Option<Metrics>> {
    let start = |mut command: Command| {
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    };
    let children: Vec<_> = commands.into_iter().map(start).collect();
    let finish = |child: std::io::Result<std::process::Child>| {
        let output = child.and_then(std::process::Child::wait_with_output);
        let output = output.map_err(|error| error.to_string())?;
        let answer = serde_json::from_slice(&output.stdout).ok();
        answer.ok_or(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let answers = children.into_iter().map(finish);
    answers
        .map(|answer: Result<_, String>| {
            answer
                .inspect_err(|error| eprintln!("  {}", error.trim()))
                .ok()
        })
        .collect()
}
