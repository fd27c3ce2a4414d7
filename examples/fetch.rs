//! Fetches pages over HTTP and retries what fails: `cargo run --release --example fetch -- [URL…]`.
//! Without a URL it fetches 300 pages from a flaky server of its own, on loopback.

mod flaky_server;

use std::time::{Duration, Instant};
use std::{env, io, io::Write, process::ExitCode};

use indicatif::ProgressBar;
use retry_pool::{Completion, RetryPolicy, RetryPool, Verdict};
use ureq::{Agent, Proxy};

use FetchError::{Busy, Status, Transport};

type Page = Completion<String, u64, FetchError>;

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("HTTP status {0}")]
    Status(u16),
    #[error("HTTP status {0}, retry after {1} s")]
    Busy(u16, u64),
    #[error(transparent)]
    Transport(#[from] ureq::Error),
}

fn main() -> io::Result<ExitCode> {
    let urls = env::args_os().skip(1);
    let mut urls: Vec<String> = urls.map(|url| url.display().to_string()).collect();
    if let Some(option) = urls.iter().find(|url| url.starts_with('-')) {
        eprintln!("fetch: {option} is not a URL\nusage: fetch [URL…]");
        return Ok(ExitCode::from(2));
    }
    let (mut missing, mut proxy) = (Vec::new(), Proxy::try_from_env());
    if urls.is_empty() {
        (urls, missing) = flaky_server::start()?;
        // A proxy would look for the server on a loopback of its own.
        proxy = None;
    }
    let begun = Instant::now();
    let (fetched, gave_up) = fetch_all(urls, proxy);
    report(&fetched, &gave_up, begun.elapsed())?;
    let as_expected = gave_up.iter().map(Completion::input).eq(&missing);
    Ok(ExitCode::from(u8::from(!as_expected)))
}

/// Returns the pages that were fetched, and those that were given up.
fn fetch_all(urls: Vec<String>, proxy: Option<Proxy>) -> (Vec<Page>, Vec<Page>) {
    let agent = Agent::config_builder().proxy(proxy);
    let agent = agent.timeout_global(Some(Duration::from_secs(10)));
    let agent = agent.http_status_as_error(false).build().new_agent();
    // It draws on standard error, and only if that is a terminal.
    let bar = ProgressBar::new(urls.len() as u64);
    let pool = RetryPool::with_threads(16);
    let policy = RetryPolicy::exponential(Duration::from_millis(100)).max_attempts(5);
    let pages = pool.batch(urls, move |url| fetch(&agent, url));
    bar.wrap_iter(pages.retry(policy).classify(judge).into_iter())
        .partition(|page| page.result().is_ok())
}

/// Returns the length of the page.
fn fetch(agent: &Agent, url: &str) -> Result<u64, FetchError> {
    let mut response = agent.get(url).call()?;
    if response.status().is_success() {
        let mut body = response.body_mut().as_reader();
        return Ok(io::copy(&mut body, &mut io::sink()).map_err(ureq::Error::from)?);
    }
    let status = response.status().as_u16();
    // The header may also hold a date; then the policy's own delay has to do.
    let wait = response.headers().get("retry-after");
    let wait = wait.and_then(|wait| wait.to_str().ok()?.parse().ok());
    Err(wait.map_or(Status(status), |seconds| Busy(status, seconds)))
}

fn judge(error: &FetchError) -> Verdict {
    match error {
        Transport(ureq::Error::BadUri(_) | ureq::Error::Http(_)) => Verdict::GiveUp,
        Status(400..=428 | 430..=499) | Busy(400..=428 | 430..=499, _) => Verdict::GiveUp,
        // Nobody waits longer than a minute for a page.
        Busy(_, 61..) => Verdict::GiveUp,
        Busy(_, seconds) => Verdict::RetryAfter(Duration::from_secs(*seconds)),
        Status(_) | Transport(_) => Verdict::Retry,
    }
}

fn report(fetched: &[Page], gave_up: &[Page], wall: Duration) -> io::Result<()> {
    let bytes: u64 = fetched.iter().filter_map(|page| page.result().ok()).sum();
    let pages = fetched.iter().chain(gave_up);
    let retried = pages.filter(|page| page.attempts() > 1).count();
    let mut out = io::stdout().lock();
    for page in gave_up {
        if let Err(give_up) = page.result() {
            writeln!(out, "gave up {}: {give_up}", page.input())?;
        }
    }
    let (fetched, gave_up) = (fetched.len(), gave_up.len());
    writeln!(out, "fetched {fetched} ({bytes} bytes) in {wall:.1?}")?;
    writeln!(out, "retried {retried}, gave up {gave_up}")
}
