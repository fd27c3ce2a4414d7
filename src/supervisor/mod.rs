//! `Supervisor`: long-running named threads that keep their parameters and are brought back by policy.
//!
//! `state.rs` has the state machine: the table of states, its invariants, and one pure step; `group.rs` has what concerns several
//! children at once, `rules.rs` decides what follows from the end of a run. `thread.rs` has the threads and does what a step says;
//! `slot.rs` is one child in the machine, `child.rs` its code.

mod builder;
mod child;
mod group;
mod options;
mod rules;
mod slot;
mod state;
mod status;
#[cfg(test)]
mod tests;
mod thread;

pub use builder::SupervisorBuilder;
pub use child::Child;
pub use options::{ChildExit, ChildOptions, OnGiveUp, Restart, Strategy};
pub use status::{ChildError, ChildState, ChildStatus, SupervisorReport};

use std::fmt;
use std::time::Duration;

use crate::clock::deadline_after;
use crate::error::SupervisorError;
use crate::roster::{blocking, blocking_for_the_end};
use crate::sync::Arc;
use slot::{Slot, Wish};
use thread::{Shared, since};

/// A group of long-running children, each on a named thread of its own, that are brought back when they fail.
///
/// A child is a function with its parameters. It finds its stop signal with [`Attempt::current`](crate::Attempt::current)
/// (`is_cancelled()`, `cancel_token()`, or `sleep()`, which ends early), its name with `job_name()`, the last error of its earlier runs with
/// `previous_error()`, and which start it is with `number()`. At most one run of a child exists at any time: one that does not heed its
/// stop signal holds up its own restart, and others only for its [`grace`](ChildOptions::grace), where they are stopped in order.
///
/// The defaults are listed at [`SupervisorBuilder`] and [`ChildOptions`]. The [guide](crate::guide::supervision) has the names of
/// asyncio, OTP and systemd side by side with these.
///
/// ```
/// use std::time::Duration;
/// use retry_pool::{Attempt, ChildOptions, Restart, RetryPolicy, Supervisor};
///
/// fn ingest(shard: u32) -> Result<(), String> {
///     let attempt = Attempt::current();
///     while attempt.sleep(Duration::from_millis(1)) {
///         if attempt.number() < 3 {
///             return Err(format!("shard {shard} is away"));
///         }
///     }
///     Ok(()) // it was told to stop
/// }
///
/// let options = ChildOptions::new()
///     .restart(Restart::Permanent)
///     .delay(RetryPolicy::exponential(Duration::from_millis(1)))
///     .max_restarts(5, Duration::from_secs(60));
/// let supervisor = Supervisor::builder().child_with("ingest-7", options, || ingest(7)).start()?;
/// while supervisor.child("ingest-7").unwrap().starts() < 3 {
///     std::thread::yield_now();
/// }
/// let report = supervisor.shutdown(Duration::from_secs(5));
/// assert!(report.still_running().is_empty());
/// assert_eq!(report.children()[0].last_error(), Some("shard 7 is away"));
/// # Ok::<(), retry_pool::SupervisorError>(())
/// ```
///
/// # The end
/// Dropping the supervisor is [`shutdown`](Self::shutdown) with its [`grace`](SupervisorBuilder::grace), 5 s by default; while unwinding, without
/// waiting. None of the supervisor's threads waits for its own end, whichever of them drops it.
pub struct Supervisor {
    shared: Arc<Shared>,
}

impl Supervisor {
    /// A builder with the defaults.
    pub fn builder() -> SupervisorBuilder {
        SupervisorBuilder::new()
    }

    /// Every child, in start order.
    #[must_use]
    pub fn children(&self) -> Vec<ChildStatus> {
        let state = self.shared.lock();
        state.statuses()
    }

    /// The child of this name.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<ChildStatus> {
        let state = self.shared.lock();
        let mut slots = state.slots.iter();
        let slot = slots.find(|slot| &*slot.name == name && !slot.is_gone())?;
        Some(state.status(slot))
    }

    /// Adds a child, after all others in start order, and starts it.
    ///
    /// # Errors
    /// As [`add_child`](Self::add_child).
    ///
    /// ```
    /// # use retry_pool::{ChildOptions, Supervisor};
    /// let supervisor = Supervisor::builder().start()?;
    /// supervisor.add("late", ChildOptions::new(), || Ok::<_, String>(()))?;
    /// supervisor.join();
    /// assert_eq!(supervisor.child("late").unwrap().starts(), 1);
    /// # Ok::<(), retry_pool::SupervisorError>(())
    /// ```
    pub fn add<F, R, E>(
        &self,
        name: impl Into<String>,
        options: ChildOptions,
        function: F,
    ) -> Result<(), SupervisorError>
    where
        F: Fn() -> Result<R, E> + Send + 'static,
        R: Into<ChildExit>,
        E: fmt::Display + 'static,
    {
        self.add_child(Child::new(name, function).options(options))
    }

    /// Adds a child that says how its errors are judged.
    ///
    /// # Errors
    /// Those of [`SupervisorBuilder::start`] that concern a child, and [`ShutDown`](SupervisorError::ShutDown).
    pub fn add_child<E: fmt::Display + 'static>(
        &self,
        child: Child<E>,
    ) -> Result<(), SupervisorError> {
        let planned = child.plan()?;
        {
            let mut state = self.shared.lock();
            let taken = |slot: &Slot| slot.name == planned.name && !slot.is_gone();
            let refused = if state.shutdown.is_some() {
                Some(SupervisorError::ShutDown)
            } else if state.slots.iter().any(taken) {
                Some(SupervisorError::DuplicateName(planned.name.to_string()))
            } else {
                None
            };
            if let Some(refused) = refused {
                drop(state);
                return Err(refused);
            }
            let id = state.next_id;
            state.next_id += 1;
            state.slots.push(Slot::new(id, planned));
        }
        self.shared.wake();
        Ok(())
    }

    /// Tells a child to stop, and returns at once. A child that waits for its restart is not started any more; one that has ended for good
    /// stays as it is. The child may be started again by [`restart`](Self::restart).
    ///
    /// # Errors
    /// [`UnknownChild`](SupervisorError::UnknownChild), [`ShutDown`](SupervisorError::ShutDown).
    pub fn stop(&self, name: &str) -> Result<(), SupervisorError> {
        self.command(name, |slot| slot.wish = Some(Wish::Stop))
    }

    /// Starts a child anew, and returns at once: one that runs is told to stop first, one that waits for its restart waits no longer, and one
    /// that has ended, given up or been stopped is started again. Its counts for limits and delays begin anew. Its siblings are left alone,
    /// whatever the [`Strategy`].
    ///
    /// # Errors
    /// [`UnknownChild`](SupervisorError::UnknownChild), [`ShutDown`](SupervisorError::ShutDown).
    pub fn restart(&self, name: &str) -> Result<(), SupervisorError> {
        self.command(name, |slot| slot.wish = Some(Wish::Restart))
    }

    /// Tells a child to stop and forgets it, at once or when it has ended; until then its name is taken. Its function is dropped here, or by
    /// its own thread at the end of its run.
    ///
    /// # Errors
    /// [`UnknownChild`](SupervisorError::UnknownChild), [`ShutDown`](SupervisorError::ShutDown).
    pub fn remove(&self, name: &str) -> Result<(), SupervisorError> {
        let ward = self.command(name, |slot| {
            slot.wish = Some(Wish::Stop);
            slot.removed = true;
            slot.ward.take()
        })?;
        drop(ward);
        Ok(())
    }

    fn command<R>(
        &self,
        name: &str,
        mark: impl FnOnce(&mut Slot) -> R,
    ) -> Result<R, SupervisorError> {
        let result = {
            let mut state = self.shared.lock();
            if state.shutdown.is_some() {
                return Err(SupervisorError::ShutDown);
            }
            let Some(slot) = state.find(name) else {
                return Err(SupervisorError::UnknownChild(name.to_owned()));
            };
            mark(slot)
        };
        self.shared.wake();
        Ok(result)
    }

    /// Waits until no child runs or will be started: each has completed, given up or been stopped. By then its events have been told. Other
    /// threads may go on adding children meanwhile. Returns at once on a thread of this supervisor (a child's, or in an observer). In a
    /// job of a pool, a spare worker takes the place of the one that waits.
    ///
    /// # Panics
    /// In a job, if the operating system refuses the spare thread.
    pub fn join(&self) {
        if !self.shared.is_inside() {
            blocking(|| {
                self.shared
                    .wait(None, |state| state.over || state.is_settled());
            });
        }
    }

    /// Stops all children and the supervisor: no child is started any more, and each is told to stop, the last one started first, when all
    /// after it have ended or had their [`grace`](ChildOptions::grace), or their share of this one. Returns when all have ended, or after
    /// `grace`, when whoever is left is told at once; children that run on then are named in the report, and left to themselves.
    ///
    /// May be repeated, and called by several threads at once: the earliest end holds. On a thread of this supervisor it returns
    /// without waiting. In a job of a pool, a spare worker takes the place of the one that waits, if the operating system grants it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use retry_pool::{Attempt, Supervisor};
    ///
    /// let supervisor = Supervisor::builder()
    ///     .child("tick", || Ok::<_, String>(while Attempt::current().sleep(Duration::from_secs(1)) {}))
    ///     .start()?;
    /// assert!(supervisor.shutdown(Duration::from_secs(5)).still_running().is_empty());
    /// # Ok::<(), retry_pool::SupervisorError>(())
    /// ```
    pub fn shutdown(&self, grace: Duration) -> SupervisorReport {
        let shared = &self.shared;
        let (begun, deadline) = (shared.clock.now(), deadline_after(grace));
        shared.mark_shutdown(grace);
        // The user's code that no run has.
        let wards: Vec<_> = {
            let mut state = shared.lock();
            let slots = state.slots.iter_mut();
            slots.filter_map(|slot| slot.ward.take()).collect()
        };
        drop(wards);
        if !shared.is_inside() {
            blocking_for_the_end(|| shared.wait(deadline, |state| state.over));
        }
        let state = shared.lock();
        let running = state.slots.iter().filter(|slot| slot.is_running());
        SupervisorReport {
            still_running: running.map(|slot| slot.name.to_string()).collect(),
            escalated_by: state.escalated.as_ref().map(|(name, _)| name.to_string()),
            children: state.statuses(),
            elapsed: since(begun, &shared.clock),
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let grace = if std::thread::panicking() {
            Duration::ZERO
        } else {
            self.shared.grace
        };
        let _ = self.shutdown(grace);
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("name", &self.shared.name)
            .field("children", &self.children())
            .finish()
    }
}
