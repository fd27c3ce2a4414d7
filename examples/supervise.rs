//! Ten workers that keep their argument and are brought back when they fail: `cargo run --release --example supervise [SECONDS]`.
//! Each ticks, and fails in two ticks of eleven, with one of three errors. Ends after 3 seconds, or at Ctrl-C.

use std::cell::Cell;
use std::io::{IsTerminal, Write, stdout};
use std::time::{Duration, Instant};

use retry_pool::{
    Attempt, CancelToken, ChildOptions, ChildState, ChildStatus, RetryPolicy, Supervisor,
};

const TICK: Duration = Duration::from_millis(50);
const WORKERS: u64 = 10;

const ERRORS: [&str; 3] = ["RuntimeError", "ValueError", "TimeoutError"];

/// Works until it fails, or is told to stop. What it draws depends on its own number and on how often it has drawn.
fn worker(argument: u64, drawn: &Cell<u64>) -> Result<(), &'static str> {
    while Attempt::current().sleep(TICK) {
        drawn.set(drawn.get() + 1);
        let random = scramble(argument << 32 | drawn.get());
        if random % 11 < 2 {
            return Err(ERRORS[(random >> 32) as usize % 3]);
        }
    }
    Ok(())
}

/// The finalizer of SplitMix64.
fn scramble(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(3.0), |arg| arg.parse())?;
    let (begun, time) = (Instant::now(), Duration::try_from_secs_f64(seconds)?);
    let interrupted = CancelToken::new();
    let interrupt = interrupted.clone();
    ctrlc::set_handler(move || interrupt.cancel())?;

    let delay =
        RetryPolicy::exponential(Duration::from_millis(100)).max_delay(Duration::from_secs(1));
    let options = ChildOptions::new().delay(delay).stable_after(20 * TICK);
    let mut builder = Supervisor::builder();
    for argument in 0..WORKERS {
        let drawn = Cell::new(0);
        let run = move || worker(argument, &drawn);
        builder = builder.child_with(format!("worker-{argument}"), options.clone(), run);
    }
    let supervisor = builder.start()?;

    let live = stdout().is_terminal();
    while begun.elapsed() < time && !interrupted.wait_timeout(2 * TICK) {
        if live {
            show(&supervisor.children())?;
            print!("\x1b[{WORKERS}A"); // back to the first line
        }
    }
    let report = supervisor.shutdown(Duration::from_secs(5));
    show(report.children())?;
    let restarts: u64 = report.children().iter().map(ChildStatus::restarts).sum();
    println!(
        "{restarts} restarts; still running: {:?}; shut down in {:.1?}",
        report.still_running(),
        report.elapsed()
    );
    Ok(())
}

/// One line for each child.
fn show(children: &[ChildStatus]) -> std::io::Result<()> {
    let mut out = stdout().lock();
    let clear = if out.is_terminal() { "\x1b[K" } else { "" };
    for child in children {
        let (name, state, restarts) = (child.name(), child.state(), child.restarts());
        let time = match state {
            ChildState::Backoff { due } => {
                format!("for {:.1?}", due.saturating_duration_since(Instant::now()))
            }
            ChildState::Running => format!("since {:.1?}", child.uptime()),
            _ => String::new(),
        };
        let error = child.last_error().unwrap_or("-");
        writeln!(
            out,
            "{clear}{name:9} {state:9} {time:15} {restarts:3} restarts, last error: {error}"
        )?;
    }
    out.flush()
}
