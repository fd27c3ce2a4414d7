//! One child as it is described, and its function as its runs call it.

use std::fmt;

use super::options::{ChildExit, ChildOptions, Settings, check_name};
use super::rules::{Ending, Span, in_a_row};
use super::slot::After;
use super::status::text_of;
use crate::attempt::{Attempt, Texts};
use crate::backoff::RetryState;
use crate::clock::Nanos;
use crate::error::SupervisorError;
use crate::panic::Panic;
use crate::policy::{Draw, RetryPolicy, Verdict};
use crate::sync::Arc;
use crate::unwind::{self, Contained, Hook};

/// A child of a [`Supervisor`](crate::Supervisor): a name, a function, and how its errors are judged. For those that need more than
/// [`SupervisorBuilder::child_with`](crate::SupervisorBuilder::child_with) takes.
///
/// ```
/// use std::io::{Error, ErrorKind};
/// use retry_pool::{Child, ChildState, Supervisor};
///
/// let listen = Child::new("listen", || Err::<(), _>(Error::from(ErrorKind::PermissionDenied)))
///     .retry_if(|error| error.kind() != ErrorKind::PermissionDenied);
/// let supervisor = Supervisor::builder().with(listen).start()?;
/// supervisor.join();
/// let status = supervisor.child("listen").unwrap();
/// assert_eq!((status.state(), status.starts()), (ChildState::GaveUp, 1));
/// # Ok::<(), retry_pool::SupervisorError>(())
/// ```
#[must_use = "a child does nothing until it is given to a supervisor"]
pub struct Child<E> {
    name: String,
    options: ChildOptions,
    // Each is contained by itself, so that destructors that panic do not meet.
    function: Contained<Box<dyn Fn() -> Result<ChildExit, E> + Send>>,
    classify: Hook<dyn Fn(&E) -> Verdict + Send>,
}

impl<E: fmt::Display + 'static> Child<E> {
    /// A child with the default options. `function` keeps its parameters and is called anew at each start, one call at a time.
    pub fn new<F, R>(name: impl Into<String>, function: F) -> Self
    where
        F: Fn() -> Result<R, E> + Send + 'static,
        R: Into<ChildExit>,
    {
        Self {
            name: name.into(),
            options: ChildOptions::new(),
            function: Contained::new(Box::new(move || function().map(Into::into))),
            classify: None,
        }
    }

    /// How the child is treated. Default: [`ChildOptions::new`].
    pub fn options(self, options: ChildOptions) -> Self {
        Self { options, ..self }
    }

    /// Which errors are worth a restart; with any other the child gives up. A child can also say so itself, by
    /// [`Attempt::permanent`]. Default: all.
    pub fn retry_if(self, retry: impl Fn(&E) -> bool + Send + 'static) -> Self {
        self.classify(move |error| {
            if retry(error) {
                Verdict::Retry
            } else {
                Verdict::GiveUp
            }
        })
    }

    /// What is to be made of an error. [`Verdict::RetryAfter`] is the least delay before the restart; one of more than a
    /// day is taken for a mistake, and the child gives up, unless the policy has a [`max_hint`](RetryPolicy::max_hint). Default: [`Verdict::Retry`].
    pub fn classify(self, classify: impl Fn(&E) -> Verdict + Send + 'static) -> Self {
        Self {
            classify: Some(Contained::new(Box::new(classify))),
            ..self
        }
    }

    /// Checks the settings and hides the type of the error.
    pub(super) fn plan(self) -> Result<Planned, SupervisorError> {
        if self.name.is_empty() {
            return Err(SupervisorError::EmptyName);
        }
        check_name(&self.name)?;
        let (settings, policy) = self.options.check(&self.name)?;
        let (function, classify) = (self.function, self.classify);
        let call = move || match function() {
            Ok(exit) => Outcome::Returned(exit),
            Err(error) => {
                let error = Contained::new(error);
                let verdict = classify.as_ref().map_or(Verdict::Retry, |f| f(&error));
                Outcome::Failed(text_of(&*error), verdict)
            }
        };
        Ok(Planned {
            name: self.name.into(),
            settings,
            ward: Ward {
                function: Box::new(call),
                policy,
                retry: RetryState::new(),
            },
        })
    }
}

impl<E> fmt::Debug for Child<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("name", &self.name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// A child whose settings were found good.
pub(super) struct Planned {
    pub(super) name: Arc<str>,
    pub(super) settings: Settings,
    pub(super) ward: Ward,
}

/// Whatever of a child is the user's code: called and dropped on the child's own threads, or on that of a caller.
pub(super) struct Ward {
    function: Box<dyn Fn() -> Outcome + Send>,
    /// It may have an iterator of the user's.
    policy: RetryPolicy,
    retry: RetryState,
}

enum Outcome {
    Returned(ChildExit),
    Failed(Arc<str>, Verdict),
}

/// What a run is told when it begins.
pub(super) struct Brief {
    pub(super) texts: Texts,
    /// Which start this is.
    pub(super) start: u64,
    /// Restarts in a row before it.
    pub(super) in_a_row: u32,
    pub(super) stable_after: Nanos,
    pub(super) seed: u64,
    /// The child's number, for the jitter.
    pub(super) child: u64,
}

impl Ward {
    /// Runs the child once, on the current thread; `ask` tells how long that has lasted, and what follows if the child was told to stop.
    pub(super) fn run(
        &mut self,
        brief: &Brief,
        ask: impl FnOnce() -> (Nanos, Option<After>),
    ) -> Ending {
        let number = u32::try_from(brief.start).unwrap_or(u32::MAX);
        let texts = Box::new(brief.texts.clone());
        let (result, mark) = Attempt::during(number, false, Some(texts), None, || {
            unwind::catch(&self.function)
        });
        let (uptime, told_for) = ask();
        let (outcome, mark) = match result {
            Ok(outcome) => (outcome, mark),
            Err(payload) => {
                let panic = Panic::new(payload, None);
                (Outcome::Failed(text_of(&panic), Verdict::Retry), None)
            }
        };
        let verdict = match outcome {
            Outcome::Returned(_) => Verdict::Retry,
            Outcome::Failed(_, verdict) => mark.unwrap_or(verdict),
        };
        let delay = match told_for {
            // Its end is not judged, and so takes no delay.
            Some(After::Stop | After::Restart(_)) => Some(0),
            // It has failed, whatever it returned when it was told.
            Some(After::Judge(_)) => self.delay(brief, uptime, Verdict::Retry),
            None => self.delay(brief, uptime, verdict),
        };
        let run = Span { uptime, delay };
        match outcome {
            Outcome::Returned(exit) => Ending::Returned { exit, run },
            Outcome::Failed(error, _) => Ending::Failed { error, run },
        }
    }

    /// The delay after a run, by the policy; `None` to give up.
    fn delay(&mut self, brief: &Brief, uptime: Nanos, verdict: Verdict) -> Option<Nanos> {
        let attempt = in_a_row(brief.in_a_row, uptime, brief.stable_after);
        if attempt == 1 {
            self.retry = RetryState::new();
        }
        let draw = Draw {
            seed: brief.seed,
            job: brief.child,
            attempt,
        };
        let decided = unwind::catch(|| self.policy.decide(draw, &mut self.retry, 0, verdict));
        match decided {
            Ok(decision) => decision.ok(),
            Err(payload) => {
                unwind::discard(payload);
                None
            }
        }
    }
}
