//! How a supervisor is built and started.

use std::fmt;
use std::time::Duration;

use super::Supervisor;
use super::child::{Child, Planned};
use super::options::{ChildExit, ChildOptions, Strategy, check_name};
use super::slot::Slot;
use super::state::State;
use super::thread::Shared;
use crate::attempt::Attempt;
use crate::backoff::random_seed;
use crate::clock::Clock;
use crate::error::SupervisorError;
use crate::observe::Observer;
use crate::sync::Arc;
use crate::unwind::Contained;

/// Builds a [`Supervisor`]; made by [`Supervisor::builder`].
///
/// | setting | default |
/// |---|---|
/// | [`name`](Self::name) | `retry-pool`, so its thread is `retry-pool-supervisor` |
/// | [`strategy`](Self::strategy) | [`Strategy::OneForOne`] |
/// | [`grace`](Self::grace) | 5 s |
/// | [`jitter_seed`](Self::jitter_seed) | random for each supervisor |
/// | [`observer`](Self::observer) | none |
/// | a child's | see [`ChildOptions`] |
#[must_use = "a builder does nothing until start() or run()"]
pub struct SupervisorBuilder {
    name: String,
    strategy: Strategy,
    grace: Duration,
    seed: Option<u64>,
    observer: Option<Contained<Box<dyn Observer>>>,
    children: Vec<Planned>,
    /// The first thing that was refused.
    refused: Option<SupervisorError>,
}

impl SupervisorBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: String::from("retry-pool"),
            strategy: Strategy::default(),
            grace: Duration::from_secs(5),
            seed: None,
            observer: None,
            children: Vec::new(),
            refused: None,
        }
    }

    /// What the supervisor's own thread is named after, and what an [`Observer`] is told. Default: `retry-pool`.
    pub fn name(self, name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..self
        }
    }

    /// Who is restarted when a child is. Default: [`Strategy::OneForOne`].
    pub fn strategy(self, strategy: Strategy) -> Self {
        Self { strategy, ..self }
    }

    /// How long the children have to end when the supervisor is dropped, or [`run`](Self::run) is told to stop. Default: 5 s.
    pub fn grace(self, time: Duration) -> Self {
        Self {
            grace: time,
            ..self
        }
    }

    /// The seed of the jitter: with the same seed, children added in the same order have the same delays. Default: random.
    pub fn jitter_seed(self, seed: u64) -> Self {
        Self {
            seed: Some(seed),
            ..self
        }
    }

    /// Who is told what happens to the children. Default: nobody.
    pub fn observer(self, observer: impl Observer + 'static) -> Self {
        Self {
            observer: Some(Contained::new(Box::new(observer))),
            ..self
        }
    }

    /// Adds a child with the default options. Its function keeps its parameters and is called anew at each start; its thread has the
    /// child's name. Children are started in the order in which they were added.
    pub fn child<F, R, E>(self, name: impl Into<String>, function: F) -> Self
    where
        F: Fn() -> Result<R, E> + Send + 'static,
        R: Into<ChildExit>,
        E: fmt::Display + 'static,
    {
        self.with(Child::new(name, function))
    }

    /// Adds a child.
    pub fn child_with<F, R, E>(
        self,
        name: impl Into<String>,
        options: ChildOptions,
        function: F,
    ) -> Self
    where
        F: Fn() -> Result<R, E> + Send + 'static,
        R: Into<ChildExit>,
        E: fmt::Display + 'static,
    {
        self.with(Child::new(name, function).options(options))
    }

    /// Adds a child that says how its errors are judged.
    pub fn with<E: fmt::Display + 'static>(mut self, child: Child<E>) -> Self {
        match child.plan() {
            Ok(planned) if self.children.iter().any(|other| other.name == planned.name) => {
                let name = planned.name.to_string();
                self.refused
                    .get_or_insert(SupervisorError::DuplicateName(name));
            }
            Ok(planned) => self.children.push(planned),
            Err(error) => {
                self.refused.get_or_insert(error);
            }
        }
        self
    }

    /// Starts the children, each on a thread of its own. Where the system refuses a child's thread, the child has failed; if its
    /// limits allow it, it is started again a second later, whatever its delay.
    ///
    /// # Errors
    /// - [`DuplicateName`](SupervisorError::DuplicateName), [`EmptyName`](SupervisorError::EmptyName),
    ///   [`NulInName`](SupervisorError::NulInName): a name that cannot be one.
    /// - [`ZeroSetting`](SupervisorError::ZeroSetting): a `stable_after`, `heartbeat`, `errors_kept` or time of `max_restarts` of 0.
    /// - [`Policy`](SupervisorError::Policy): a child's delay is refused by [`RetryPolicy::validate`](crate::RetryPolicy::validate).
    /// - [`HotLoop`](SupervisorError::HotLoop): neither a delay nor a limit.
    /// - [`Spawn`](SupervisorError::Spawn): the system refused the supervisor's own thread.
    ///
    /// ```
    /// use retry_pool::{ChildOptions, RetryPolicy, Supervisor};
    ///
    /// let options = ChildOptions::new().delay(RetryPolicy::immediate());
    /// let refused = Supervisor::builder().child_with("spin", options, || Err::<(), _>("no")).start();
    /// assert!(refused.unwrap_err().to_string().contains("hot loop"));
    /// ```
    pub fn start(self) -> Result<Supervisor, SupervisorError> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        check_name(&self.name)?;
        let clock = Clock::new();
        let mut state = State::new(self.strategy, self.observer.is_some(), clock);
        let slots = (0..).zip(self.children);
        state.slots = slots.map(|(id, child)| Slot::new(id, child)).collect();
        state.next_id = state.slots.len() as u64;
        let shared = Arc::new(Shared::new(
            self.name.into(),
            state,
            clock,
            self.observer,
            self.seed.unwrap_or_else(random_seed),
            self.grace,
        ));
        match shared.start() {
            Ok(()) => Ok(Supervisor { shared }),
            Err((name, source)) => Err(SupervisorError::Spawn { name, source }),
        }
    }

    /// Starts the children and stays until they are all done, or the current attempt is told to stop
    /// ([`Attempt::is_cancelled`]); then ends the supervisor. This is how a supervisor is the child of another: called in a
    /// child's function, it stops with that child, and fails with it.
    ///
    /// It returns only when no child runs any more, since what it is called by may start it again.
    ///
    /// # Errors
    /// Those of [`start`](Self::start), and [`Escalated`](SupervisorError::Escalated) if a child gave up that was told to
    /// [`Escalate`](crate::OnGiveUp::Escalate).
    ///
    /// ```
    /// use std::time::Duration;
    /// use retry_pool::{Attempt, ChildOptions, OnGiveUp, RetryPolicy, Supervisor};
    ///
    /// fn session() -> Result<(), retry_pool::SupervisorError> {
    ///     let fragile = ChildOptions::new().delay(RetryPolicy::immediate()).max_consecutive(2).on_give_up(OnGiveUp::Escalate);
    ///     Supervisor::builder()
    ///         .child("ping", || Ok::<_, String>(drop(Attempt::current().sleep(Duration::MAX))))
    ///         .child_with("read", fragile, || Err::<(), _>("connection lost"))
    ///         .run()
    /// }
    /// let whole = ChildOptions::new().delay(RetryPolicy::immediate()).max_consecutive(1);
    /// let outer = Supervisor::builder().child_with("session", whole, session).start()?;
    /// outer.join();
    /// let status = outer.child("session").unwrap();
    /// assert_eq!((status.starts(), status.last_error()), (2, Some("child \"read\" gave up: connection lost")));
    /// # Ok::<(), retry_pool::SupervisorError>(())
    /// ```
    pub fn run(self) -> Result<(), SupervisorError> {
        let supervisor = self.start()?;
        let shared = &supervisor.shared;
        // The token holds it weakly.
        Attempt::current()
            .cancel_token()
            .listen(Arc::clone(shared) as _);
        supervisor.join();
        let _ = supervisor.shutdown(Duration::MAX);
        let escalated = shared.lock().escalated.clone();
        match escalated {
            Some((child, error)) => Err(SupervisorError::Escalated {
                child: child.to_string(),
                error: error.to_string(),
            }),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for SupervisorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let children = self.children.iter().map(|child| &*child.name);
        f.debug_struct("SupervisorBuilder")
            .field("name", &self.name)
            .field("strategy", &self.strategy)
            .field("grace", &self.grace)
            .field("children", &children.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
