//! Many jobs that succeed, fail, panic, hang, are parked and are cancelled, in batches and singly, with everything accounted for:
//! `cargo run --release --example soak -- --jobs 100000000`. `--help` names the rates. Ends with a line of result, and with exit
//! code 1 if anything is not as it should be.

mod batches;
mod options;
mod play;
mod round;
mod script;
mod singles;
mod tally;
mod values;
mod watch;

use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{env, process, thread};

use options::Options;
use round::{ROUND, Soak};

fn main() -> ExitCode {
    let options = match Options::parse(env::args().skip(1)) {
        Ok(options) => options,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::FAILURE;
        }
    };
    let progress = watch_for_hangs();
    let begun = Instant::now();
    let mut soak = Soak::new(&options);
    let mut paces = Vec::new();
    let mut done = 0;
    while done < options.jobs && begun.elapsed().as_secs_f64() < options.seconds {
        let jobs = ROUND.min(options.jobs - done);
        let round = Instant::now();
        soak.run(done..done + jobs);
        paces.push(jobs as f64 / round.elapsed().as_secs_f64());
        done += jobs;
        // The other side lives as long as this function.
        let _ = progress.send(());
    }
    let result = soak.end();
    let deviations = watch::deviations();
    println!(
        "soak: {done} jobs in {:.1} s, {}, {result}, seed {}: {deviations} deviations",
        begun.elapsed().as_secs_f64(),
        compare(&paces),
        options.seed,
    );
    if deviations == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The throughput of the first tenth of the rounds, and that of the last.
fn compare(paces: &[f64]) -> String {
    let tenth = paces.len().div_ceil(10);
    let mean = |paces: &[f64]| {
        let times: f64 = paces.iter().map(|pace| 1.0 / pace).sum();
        paces.len() as f64 / times / 1e3
    };
    let (first, last) = (
        mean(&paces[..tenth]),
        mean(&paces[paces.len().saturating_sub(tenth)..]),
    );
    format!(
        "{first:.0} k/s at first and {last:.0} k/s at last ({:.2} ×)",
        last / first
    )
}

/// Ends the process when a round takes too long: one takes less than a second.
fn watch_for_hangs() -> mpsc::Sender<()> {
    const PATIENCE: Duration = Duration::from_secs(120);
    let (progress, rounds) = mpsc::channel();
    thread::spawn(move || {
        loop {
            match rounds.recv_timeout(PATIENCE) {
                Ok(()) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    println!("soak: no round has ended for {PATIENCE:?}: a hang");
                    process::exit(1);
                }
            }
        }
    });
    progress
}
