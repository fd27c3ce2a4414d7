//! What a job does.

use std::hint::{black_box, spin_loop};
use std::thread;
use std::time::{Duration, Instant};

/// What the jobs of a batch do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Nothing.
    Empty,
    /// Nothing, but one job of [`ONE_FAILS_OF`] fails once: 10 % of the attempts.
    FailsOnce,
    /// Computes for [`BUSY`].
    Busy,
    /// Sleeps for [`NAP`].
    Sleeps,
    /// Sleeps for [`NAP`], and fails like `FailsOnce`.
    SleepsAndFails,
}

const ONE_FAILS_OF: u64 = 9;
pub const BUSY: Duration = Duration::from_micros(10);
pub const NAP: Duration = Duration::from_millis(1);

/// The number of the job, as a success or a failed attempt.
pub type Outcome = Result<u64, u64>;

/// Marks the number of a job that is tried again.
pub const AGAIN: u64 = 1 << 63;

impl Work {
    /// One attempt at the job of this number.
    pub fn perform(self, n: u64) -> Outcome {
        match self {
            Self::Empty => Ok(black_box(n)),
            Self::FailsOnce => fails_once(n),
            Self::Busy => {
                spin(BUSY);
                Ok(n)
            }
            Self::Sleeps => {
                thread::sleep(NAP);
                Ok(n)
            }
            Self::SleepsAndFails => {
                thread::sleep(NAP);
                fails_once(n)
            }
        }
    }

    pub fn fails(self) -> bool {
        matches!(self, Self::FailsOnce | Self::SleepsAndFails)
    }

    /// How many attempts so many jobs take.
    pub fn attempts(self, jobs: u64) -> u64 {
        jobs + if self.fails() {
            jobs.div_ceil(ONE_FAILS_OF)
        } else {
            0
        }
    }
}

fn fails_once(n: u64) -> Outcome {
    if n & AGAIN == 0 && n.is_multiple_of(ONE_FAILS_OF) {
        Err(n)
    } else {
        Ok(n)
    }
}

/// Computes for so long.
pub fn spin(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        spin_loop();
    }
}
