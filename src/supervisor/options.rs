//! What a supervisor and its children can be told: settings, their defaults, and what is refused.

use std::convert::Infallible;
use std::time::Duration;

use crate::clock::{Nanos, nanos};
use crate::error::{PolicyError, SupervisorError};
use crate::policy::RetryPolicy;

/// Who is restarted when a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Strategy {
    /// That child alone. The default.
    #[default]
    OneForOne,
    /// All children: the others are stopped at once, the last one started first, and start together with the failed one, in their order.
    /// [`Temporary`](Restart::Temporary) ones stay stopped, and those that have ended before stay as they are.
    OneForAll,
    /// The failed one and those started after it.
    RestForOne,
}

/// After which end a child is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Restart {
    /// After every end, also a good one.
    Permanent,
    /// After an error or a panic. The default.
    #[default]
    Transient,
    /// Never, not for the sake of a sibling either.
    Temporary,
}

/// What becomes of the others when a child gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnGiveUp {
    /// They go on. The default.
    #[default]
    Ignore,
    /// They are stopped, the last one started first.
    StopGroup,
    /// They are stopped, and the supervisor has failed: [`SupervisorBuilder::run`](crate::SupervisorBuilder::run) returns an error, so that a
    /// supervisor above restarts the whole.
    Escalate,
}

/// What a child says when it ends in good order: `Ok(())` is a normal end.
///
/// ```
/// use retry_pool::{ChildExit, ChildOptions, ChildState, Restart, Supervisor};
///
/// let options = ChildOptions::new().restart(Restart::Permanent);
/// let supervisor = Supervisor::builder()
///     .child_with("import", options, || Ok::<_, String>(ChildExit::DoNotRestart))
///     .start()?;
/// supervisor.join();
/// assert_eq!(supervisor.child("import").unwrap().state(), ChildState::Completed);
/// # Ok::<(), retry_pool::SupervisorError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ChildExit {
    /// It has ended; a [`Permanent`](Restart::Permanent) child is restarted.
    #[default]
    Normal,
    /// Its work is done for good, whatever its [`Restart`] says.
    DoNotRestart,
    /// The work of all is done: the others are stopped, the last one started first.
    StopGroup,
}

/// A normal end.
impl From<()> for ChildExit {
    fn from((): ()) -> Self {
        Self::Normal
    }
}

/// For a child that returns only with an error.
impl From<Infallible> for ChildExit {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// How a child is treated.
///
/// | setting | default |
/// |---|---|
/// | [`restart`](Self::restart) | [`Restart::Transient`] |
/// | [`delay`](Self::delay) | exponential, 100 ms × 2, at most 30 s, full jitter |
/// | [`stable_after`](Self::stable_after) | 30 s |
/// | [`max_consecutive`](Self::max_consecutive), [`max_restarts`](Self::max_restarts) | no limit |
/// | [`on_give_up`](Self::on_give_up) | [`OnGiveUp::Ignore`] |
/// | [`grace`](Self::grace) | 5 s |
/// | [`heartbeat`](Self::heartbeat) | none |
/// | [`errors_kept`](Self::errors_kept) | 8 |
///
/// ```
/// use std::time::Duration;
/// use retry_pool::{ChildOptions, Restart, RetryPolicy};
///
/// let options = ChildOptions::new()
///     .restart(Restart::Permanent)
///     .delay(RetryPolicy::exponential(Duration::from_millis(10)).max_delay(Duration::from_secs(1)))
///     .max_restarts(5, Duration::from_secs(60));
/// # let _ = options;
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct ChildOptions {
    pub(super) restart: Restart,
    pub(super) delay: RetryPolicy,
    stable_after: Duration,
    max_consecutive: Option<u32>,
    max_restarts: Option<(u32, Duration)>,
    on_give_up: OnGiveUp,
    grace: Duration,
    heartbeat: Option<Duration>,
    errors_kept: usize,
}

/// The settings of one child that were found good, but for its delays, which call the user's code.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) restart: Restart,
    pub(super) stable_after: Nanos,
    pub(super) max_consecutive: Option<u32>,
    pub(super) max_restarts: Option<(u32, Nanos)>,
    pub(super) on_give_up: OnGiveUp,
    pub(super) grace: Nanos,
    pub(super) heartbeat: Option<Nanos>,
    pub(super) errors_kept: usize,
}

impl ChildOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            restart: Restart::default(),
            delay: RetryPolicy::default(),
            stable_after: Duration::from_secs(30),
            max_consecutive: None,
            max_restarts: None,
            on_give_up: OnGiveUp::default(),
            grace: Duration::from_secs(5),
            heartbeat: None,
            errors_kept: 8,
        }
    }

    /// After which end the child is restarted. Default: [`Restart::Transient`].
    pub fn restart(self, restart: Restart) -> Self {
        Self { restart, ..self }
    }

    /// How long the child waits before it is restarted: the policy's backoff, cap and jitter. Its limits (`max_attempts`, `max_elapsed`, the
    /// budget) do not count here: those of a child are [`max_consecutive`](Self::max_consecutive) and
    /// [`max_restarts`](Self::max_restarts). The first restart in a row has the policy's first delay. A child whose policy is an iterator of
    /// delays ([`RetryPolicy::from_delays`]) gives up when that ends. Default: [`RetryPolicy::default`], so 100 ms × 2, at most
    /// 30 s, full jitter.
    ///
    /// [`RetryPolicy::immediate`] is refused without a limit, since it is a hot loop if the child fails at once, unless
    /// [`hot_loop_ok`](RetryPolicy::hot_loop_ok) is said.
    pub fn delay(self, policy: RetryPolicy) -> Self {
        Self {
            delay: policy,
            ..self
        }
    }

    /// A run that lasted for this long was a good one: the failure that ends it is the first in a row, with the first delay. Default: 30 s.
    pub fn stable_after(self, uptime: Duration) -> Self {
        Self {
            stable_after: uptime,
            ..self
        }
    }

    /// How often the child is restarted in a row, without a run of [`stable_after`](Self::stable_after) between: at the next failure it gives
    /// up. 0 allows no restart. Default: no limit.
    pub fn max_consecutive(self, restarts: u32) -> Self {
        Self {
            max_consecutive: Some(restarts),
            ..self
        }
    }

    /// How often the child is restarted within some time: `max_restarts(5, …)` allows 5 restarts, so 6 starts; at the next failure it gives
    /// up. Only the time that the child **runs** is counted, not what it waits for a restart, so a long delay cannot hide a child that always
    /// fails. Restarts by hand ([`Supervisor::restart`](crate::Supervisor::restart)) and for the sake of a sibling do not count. Default: no
    /// limit.
    pub fn max_restarts(self, restarts: u32, within: Duration) -> Self {
        Self {
            max_restarts: Some((restarts, within)),
            ..self
        }
    }

    /// What becomes of the others when this child gives up. Default: [`OnGiveUp::Ignore`].
    pub fn on_give_up(self, what: OnGiveUp) -> Self {
        Self {
            on_give_up: what,
            ..self
        }
    }

    /// For how long the child holds the others up while they are stopped in order: once it has been told to stop, the one before it is told
    /// when this one has ended, or this time has passed. Default: 5 s.
    pub fn grace(self, time: Duration) -> Self {
        Self {
            grace: time,
            ..self
        }
    }

    /// The child must call [`Attempt::beat`](crate::Attempt::beat) at least once in this time, from its start on. If it does not, it is told
    /// to stop and counts as failed, as with systemd's `WatchdogSec`. It is replaced once it has ended: a thread cannot be killed. Default:
    /// none.
    pub fn heartbeat(self, within: Duration) -> Self {
        Self {
            heartbeat: Some(within),
            ..self
        }
    }

    /// How many of the last errors are kept, with their texts cut to 1 KiB. Default: 8.
    pub fn errors_kept(self, errors: usize) -> Self {
        Self {
            errors_kept: errors,
            ..self
        }
    }

    /// Checks the settings of the child of this name, and gives those for the rules and those for the delays.
    pub(super) fn check(&self, child: &str) -> Result<(Settings, RetryPolicy), SupervisorError> {
        let zero = |setting, must| SupervisorError::ZeroSetting {
            child: child.to_owned(),
            setting,
            must,
        };
        if self.stable_after.is_zero() {
            return Err(zero(
                "stable_after",
                "no two failures would ever be in a row",
            ));
        }
        if self
            .max_restarts
            .is_some_and(|(_, within)| within.is_zero())
        {
            return Err(zero(
                "the time of max_restarts",
                "restarts are counted within some time",
            ));
        }
        if self.heartbeat.is_some_and(|within| within.is_zero()) {
            return Err(zero("heartbeat", "no child can beat as often"));
        }
        if self.errors_kept == 0 {
            return Err(zero("errors_kept", "the last error is always kept"));
        }
        let limited = self.max_consecutive.is_some()
            || self.max_restarts.is_some()
            || self.restart == Restart::Temporary;
        let child = || child.to_owned();
        let delay = self
            .delay
            .without_limits(limited)
            .map_err(|error| match error {
                PolicyError::HotLoop => SupervisorError::HotLoop(child()),
                error => SupervisorError::Policy {
                    child: child(),
                    error,
                },
            })?;
        let settings = Settings {
            restart: self.restart,
            stable_after: nanos(self.stable_after),
            max_consecutive: self.max_consecutive,
            max_restarts: self
                .max_restarts
                .map(|(restarts, within)| (restarts, nanos(within))),
            on_give_up: self.on_give_up,
            grace: nanos(self.grace),
            heartbeat: self.heartbeat.map(nanos),
            errors_kept: self.errors_kept,
        };
        Ok((settings, delay))
    }
}

/// The same as [`ChildOptions::new`].
impl Default for ChildOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Refuses names that cannot be a thread's.
pub(super) fn check_name(name: &str) -> Result<(), SupervisorError> {
    if name.contains('\0') {
        return Err(SupervisorError::NulInName(name.to_owned()));
    }
    Ok(())
}
