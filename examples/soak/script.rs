//! What each job does, by its number: no generator, so that any thread can look it up.

use crate::options::Options;

/// What a job does in its attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    Succeeds,
    /// Fails that often, then succeeds.
    Recovers(u32),
    /// Fails once, and is retried after a moment.
    Parks,
    /// Fails that often, then panics.
    Panics(u32),
    /// Fails that often, then for good.
    IsPermanent(u32),
    Exhausts,
    /// Each attempt lasts until it is abandoned.
    Hangs,
    /// Cancelled as soon as it is submitted.
    IsCancelled,
    /// Fails once, and is cancelled while it waits for its retry.
    IsCancelledParked,
    /// Cancelled before it is due for the first time.
    IsCancelledDelayed,
}

impl Script {
    /// The script of job `n`, and whether it is a single job.
    pub(crate) fn of(options: &Options, n: u64) -> (Self, bool) {
        let roll = mix(options.seed ^ mix(n));
        let mut point = (roll >> 32) as f64 / f64::from(u32::MAX) * 100.0;
        // Bits that the point does not depend on.
        let detail = (roll & 0xff) as u32;
        let is_single = ((roll >> 8) & 0xff_ffff) as f64 / 16_777_216.0 * 100.0 < options.singles;
        let mut falls_in = |rate: f64| {
            point -= rate;
            point < 0.0
        };
        let script = match () {
            () if falls_in(options.timeout) => return (Self::Hangs, true),
            () if falls_in(options.cancel) => {
                let script = match detail % 4 {
                    0 => Self::IsCancelledParked,
                    1 => Self::IsCancelledDelayed,
                    _ => Self::IsCancelled,
                };
                return (script, true);
            }
            () if falls_in(options.panic) => Self::Panics(detail % 3),
            () if falls_in(options.park) => Self::Parks,
            () if falls_in(options.fail) => match detail % 16 {
                0 => Self::Exhausts,
                1..3 => Self::IsPermanent(detail / 16 % 3),
                _ => Self::Recovers(1 + detail / 16 % 3),
            },
            () => Self::Succeeds,
        };
        (script, is_single)
    }
}

/// Spreads neighbouring numbers over all of them (splitmix64).
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}
