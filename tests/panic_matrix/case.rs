//! What a case is, the values that panic in it, and what is to come of it.

use std::fmt;
use std::panic::panic_any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use retry_pool::{Attempt, GiveUpReason};

use crate::common::{Gate, Live};

/// Where the panic comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Job,
    JobRetried,
    PayloadDrop,
    PayloadRetriedDrop,
    OutputDrop,
    RejectedDrop,
    ErrorDrop,
    InputDrop,
    FunctionDrop,
    HookDrop,
    PredicateDrop,
    DelaysDrop,
    OnRetry,
    OnGiveUp,
    Observer,
    ThreadHooks,
    RetryIf,
    Classify,
    RetryUnless,
    Name,
    Display,
    WakerWake,
    WakerDrop,
    Delays,
    DelaysFactory,
}

/// The attempt that the panic belongs to. There are three at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    First = 1,
    Retry = 2,
    Last = 3,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) source: Source,
    pub(crate) moment: Moment,
    /// Is the handle (or the iterator) dropped while the attempt runs?
    pub(crate) dropped: bool,
    pub(crate) batch: bool,
    /// Have the attempts a limit? They take another way through the pool then.
    pub(crate) limited: bool,
}

/// What the user's values of one case have in common: whether they live, and how often one of them has panicked.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) live: Live,
    pub(crate) fired: Arc<AtomicUsize>,
}

/// The payload of a scripted panic.
pub(crate) struct Cargo(#[expect(dead_code, reason = "counted while it lives")] World);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fuse {
    None,
    Drop,
    Display,
}

/// A value that panics in its destructor or when it is shown, as its fuse says.
pub(crate) struct Bomb {
    pub(crate) fuse: Fuse,
    pub(crate) world: World,
}

impl World {
    pub(crate) fn panic(&self) -> ! {
        self.fired.fetch_add(1, Ordering::SeqCst);
        panic_any(Cargo(self.clone()));
    }

    pub(crate) fn bomb(&self, fuse: Fuse) -> Bomb {
        Bomb {
            fuse,
            world: self.clone(),
        }
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.fuse == Fuse::Drop {
            self.world.panic();
        }
    }
}

impl fmt::Display for Bomb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.fuse == Fuse::Display {
            self.world.panic();
        }
        f.write_str("a bomb")
    }
}

impl Case {
    pub(crate) fn number(self) -> u32 {
        self.moment as u32
    }

    /// Is the attempt told to stop? Dropping the iterator cancels the batch; a dropped handle detaches its job.
    pub(crate) fn told(self) -> bool {
        self.batch && self.dropped
    }

    /// Is there such a thing?
    pub(crate) fn is_legal(self) -> bool {
        match self.source {
            Source::InputDrop | Source::Name => self.batch,
            Source::WakerWake | Source::WakerDrop => !self.batch,
            // It is made at the first failure.
            Source::DelaysFactory => self.moment == Moment::First,
            _ => true,
        }
    }

    /// What comes of the job, and after how many attempts.
    pub(crate) fn expected(self) -> (Result<(), GiveUpReason>, u32) {
        let n = self.number();
        let unless_told = |reason| match self.told() {
            true => Err(GiveUpReason::Cancelled),
            false => Err(reason),
        };
        match self.source {
            Source::Job | Source::PayloadDrop | Source::RetryUnless => {
                (Err(GiveUpReason::Panicked), n)
            }
            Source::JobRetried
            | Source::PayloadRetriedDrop
            | Source::RejectedDrop
            | Source::ErrorDrop
            | Source::OnRetry
            | Source::DelaysDrop
            | Source::Display => match self.moment {
                Moment::First | Moment::Retry if !self.told() => (Ok(()), n + 1),
                _ => (unless_told(GiveUpReason::AttemptsExhausted), n),
            },
            Source::OnGiveUp => (unless_told(GiveUpReason::Permanent), n),
            Source::RetryIf | Source::Classify | Source::Delays | Source::DelaysFactory => {
                (unless_told(GiveUpReason::Panicked), n)
            }
            _ => (Ok(()), n),
        }
    }

    /// Does the scripted panic happen? What was told to stop is not asked about retries any more, and who has left is not woken.
    pub(crate) fn fires(self) -> bool {
        match self.source {
            Source::RetryIf | Source::Classify | Source::Delays | Source::DelaysFactory => {
                !self.told()
            }
            Source::OnRetry | Source::DelaysDrop => !self.told() || self.moment != Moment::First,
            Source::WakerWake => !self.dropped,
            _ => true,
        }
    }

    /// One attempt.
    pub(crate) fn attempt(self, world: &World, gate: &Gate) -> Result<Bomb, Bomb> {
        let number = Attempt::current().number();
        let harmless = || world.bomb(Fuse::None);
        if number < self.number() {
            return Err(harmless());
        }
        if number > self.number() {
            return Ok(harmless());
        }
        gate.pass();
        match self.source {
            Source::Job | Source::JobRetried => world.panic(),
            Source::PayloadDrop | Source::PayloadRetriedDrop => panic_any(world.bomb(Fuse::Drop)),
            Source::OutputDrop | Source::RejectedDrop => Ok(world.bomb(Fuse::Drop)),
            Source::ErrorDrop => Err(world.bomb(Fuse::Drop)),
            Source::Display => Err(world.bomb(Fuse::Display)),
            Source::OnGiveUp => Err(Attempt::permanent(harmless())),
            Source::OnRetry
            | Source::DelaysDrop
            | Source::RetryIf
            | Source::Classify
            | Source::Delays
            | Source::DelaysFactory => Err(harmless()),
            _ => Ok(harmless()),
        }
    }
}
