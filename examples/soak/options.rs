//! The flags.

/// How much to do, and how often what happens, in percent of the jobs.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) jobs: u64,
    pub(crate) seconds: f64,
    pub(crate) seed: u64,
    pub(crate) threads: usize,
    /// Jobs that are submitted one by one; the others are inputs of a batch.
    pub(crate) singles: f64,
    pub(crate) fail: f64,
    pub(crate) panic: f64,
    pub(crate) cancel: f64,
    pub(crate) timeout: f64,
    pub(crate) park: f64,
}

const USAGE: &str =
    "soak [--jobs N] [--seconds S] [--seed N] [--threads N], and in percent of the jobs:
     [--singles 5] [--fail 1] [--panic 0.01] [--cancel 0.1] [--timeout 0.01] [--park 0.1]";

impl Options {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            jobs: 1_000_000,
            seconds: f64::INFINITY,
            seed: 1,
            threads: 2,
            singles: 5.0,
            fail: 1.0,
            panic: 0.01,
            cancel: 0.1,
            timeout: 0.01,
            park: 0.1,
        };
        while let Some(flag) = arguments.next() {
            let value = arguments.next().ok_or(USAGE)?;
            let rate = |text: &str| match text.parse::<f64>() {
                Ok(rate) if (0.0..=100.0).contains(&rate) => Ok(rate),
                _ => Err(format!("{flag} {text}: not a percentage\n{USAGE}")),
            };
            let number = |text: &str| {
                text.parse::<u64>()
                    .map_err(|error| format!("{flag} {text}: {error}\n{USAGE}"))
            };
            match flag.as_str() {
                "--jobs" => options.jobs = number(&value)?.max(1),
                "--seconds" => options.seconds = number(&value)? as f64,
                "--seed" => options.seed = number(&value)?,
                "--threads" => options.threads = number(&value)? as usize,
                "--singles" => options.singles = rate(&value)?,
                "--fail" => options.fail = rate(&value)?,
                "--panic" => options.panic = rate(&value)?,
                "--cancel" => options.cancel = rate(&value)?,
                "--timeout" => options.timeout = rate(&value)?,
                "--park" => options.park = rate(&value)?,
                _ => return Err(USAGE.into()),
            }
        }
        Ok(options)
    }
}
