//! Letting single jobs in: permits first, then the pool's phase.

use std::time::Instant;

use super::{Crew, DRAINING, RUNNING};
use crate::park::Parker;
use crate::roster::blocking;
use crate::sync::Arc;

/// How long a caller waits for a permit.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    None,
    /// `None`: without a limit.
    Until(Option<Instant>),
}

/// Why a job was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Full,
    Closed,
}

impl Crew<'_> {
    /// Counts a single job as accepted and returns its number, unless the pool is closed to the caller or stays full.
    #[inline]
    pub(crate) fn admit(&self, patience: Patience) -> Result<u32, Refusal> {
        if self.roster.permits.are_bounded() {
            self.acquire_permit(patience)?;
        }
        let number = self.callers.accepted.add(1);
        if self.is_open() {
            return Ok(number as u32);
        }
        self.callers.refused.add(1);
        self.roster.permits.release(1);
        self.settled();
        Err(Refusal::Closed)
    }

    /// Does the pool accept what the current thread submits?
    pub(crate) fn is_open(&self) -> bool {
        match self.phase() {
            RUNNING => true,
            DRAINING => self.is_inside(),
            _ => false,
        }
    }

    fn acquire_permit(&self, patience: Patience) -> Result<(), Refusal> {
        let permits = &self.roster.permits;
        let look = || match () {
            () if !self.is_open() => Some(Err(Refusal::Closed)),
            () if permits.try_acquire(1) == 1 => Some(Ok(())),
            () => None,
        };
        let deadline = match (look(), patience) {
            (Some(found), _) => return found,
            (None, Patience::None) => return Err(Refusal::Full),
            (None, Patience::Until(deadline)) => deadline,
        };
        blocking(|| {
            let parker = Arc::new(Parker::default());
            loop {
                if let Some(found) = look() {
                    return found;
                }
                // A close that came before this was not heard, so it is looked for once more.
                if !permits.enlist(&parker) {
                    continue;
                }
                let in_time = !self.is_open() || parker.park(deadline);
                permits.leave(&parker);
                if !in_time {
                    return Err(Refusal::Full);
                }
            }
        })
    }
}
