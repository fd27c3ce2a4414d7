//! Puts the same questions to retry-pool, to its peers, and to the floors.

mod arguments;
mod child;
mod contestants;
mod machine;
mod questions;
mod recipes;
mod report;
mod results;
mod rounds;
mod usage;
mod work;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use arguments::Arguments;
use results::Results;

fn main() -> ExitCode {
    child::answer_if_asked();
    match Arguments::parse().and_then(|arguments| run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    if arguments.list {
        questions::ALL
            .iter()
            .for_each(|question| println!("{:15} {}", question.name, question.title));
        println!();
        contestants::ALL
            .iter()
            .for_each(|contestant| println!("{}", contestant.name));
        return Ok(());
    }
    let out = arguments
        .out
        .clone()
        .unwrap_or_else(|| default_out(arguments.quick));
    fs::create_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    let file = out.join("benchmarks.json");
    let mut results = if arguments.report_only {
        Results::load(&file)?
    } else {
        Results::load(&file).unwrap_or_default()
    };
    if !arguments.report_only {
        (results.machine, results.versions) = (machine::describe(), machine::versions());
        results.quick = arguments.quick;
        let mut distances = Vec::new();
        for question in arguments.questions() {
            distances.push(machine::there_and_back());
            results.machine.insert(
                "a cache line from core to core and back, before each question".to_owned(),
                in_short(&distances),
            );
            let answers = rounds::ask(question, arguments);
            results.answers.insert(question.name.to_owned(), answers);
            // A run that is cut off has what it had.
            results.save(&file)?;
        }
    }
    report::write(&results, &out)?;
    println!("{}", out.join("benchmarks.md").display());
    Ok(())
}

fn in_short(distances: &[u64]) -> String {
    let all: Vec<_> = distances.iter().map(u64::to_string).collect();
    format!("{} ns", all.join(", "))
}

/// A quick run does not overwrite what a long one has measured.
fn default_out(quick: bool) -> PathBuf {
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    package.join(if quick { "target/quick" } else { "../../docs" })
}
