//! A synchronous thread pool whose jobs retry.
//!
//! [`RetryPool`] is a set of OS threads over one shared work channel. A job that fails goes back to be worked on at once, or after
//! its backoff, and what has settled comes out as it settles, first tries and retried jobs alike: there is no round barrier. No
//! async runtime, no unsafe code.
//!
//! ```
//! use std::time::Duration;
//! use retry_pool::{Attempt, RetryPolicy, RetryPool};
//!
//! // Fails at the first attempt, as a busy server would.
//! fn fetch(url: &str) -> Result<String, std::io::Error> {
//!     match Attempt::current().number() {
//!         1 => Err(std::io::ErrorKind::TimedOut.into()),
//!         _ => Ok(format!("the page at {url}")),
//!     }
//! }
//!
//! let pool = RetryPool::new(); // one worker for each CPU
//! let urls = ["https://a.example", "https://b.example"];
//! for done in pool
//!     .batch(urls, |url| fetch(url))
//!     .retry(RetryPolicy::exponential(Duration::from_millis(1)).max_attempts(5))
//!     .retry_if(|error| error.kind() == std::io::ErrorKind::TimedOut)
//! {
//!     match done.result() {
//!         Ok(page) => println!("{}: {} bytes after {} attempts", done.input(), page.len(), done.attempts()),
//!         Err(give_up) => eprintln!("{}: {give_up}", done.input()),
//!     }
//! }
//! ```
//!
//! # Concepts
//!
//! A *job* is a unit of work, run in *attempts* that are numbered from 1; a *retry* is an attempt after the first. A job *settles*
//! exactly once: with success, or it *gives up* for a named reason ([`GiveUp`], [`GiveUpReason`]). Between attempts it may be
//! *parked* in the timer until it is due. When to retry says a [`RetryPolicy`]; whether an error is worth it, a [`Verdict`].
//!
//! | what | how |
//! |---|---|
//! | many jobs of one type, as they settle | [`RetryPool::batch`], [`Batch::as_completed`] or a `for` loop |
//! | in the order of the input | [`Batch::in_order`] |
//! | all at once, with a report | [`Batch::run`] |
//! | from producers on other threads | [`Batch::channel`] |
//! | one job, to block on or to await | [`RetryPool::submit`], [`RetryPool::job`], [`JobHandle`] |
//! | several single jobs, as they settle, or until one has | [`as_completed`], [`wait_for`] |
//! | let the caller decide on each failure | [`RetryPolicy::never`], [`Completion::resubmit`] |
//! | which attempt am I? should I stop? | [`Attempt::current`] |
//! | no more than so many jobs at once | [`RetryPoolBuilder::capacity`], [`RetryPool::try_submit`] |
//! | stop a job, a batch, everything | [`JobHandle::cancel`](ScopedHandle::cancel), [`CancelToken`], [`RetryPool::cancel_all`] |
//! | a limit of time | [`Job::attempt_timeout`], [`Job::timeout`], [`Batch::timeout`] |
//! | stop at the first failures | [`FailFast`] |
//! | later, or again and again | [`Job::delay`], [`RetryPool::every`] |
//! | jobs that borrow | [`scope`](fn@scope) |
//! | long-running threads that come back when they fail | [`Supervisor`], [`ChildOptions`] |
//! | be told what happens | [`Observer`] |
//! | limit the retries of many jobs together | [`RetryBudget`] |
//! | everything about retrying, and about supervision | the [guide], and its [second part](guide::supervision) |
//! | what has the pool done? | [`RetryPool::stats`], [`AsCompleted::progress`] |
//! | the end | [`RetryPool::close`], [`RetryPool::shutdown`], [`RetryPool::shutdown_timeout`], [`RetryPool::shutdown_now`], drop |
//!
//! # Guarantees
//!
//! Each has a test of its name in `tests/suite/promises.rs`.
//!
//! ## Every accepted job settles exactly once
//! With success, as given up, by a panic, a cancel, a time-out or a shutdown. Whenever nothing runs, `accepted == succeeded + gave_up` in
//! [`Stats`].
//!
//! ## A retry never waits for another job to finish
//! Only for its own backoff and a free worker. It joins the back of its queue, so a job that keeps failing cannot starve fresh ones.
//!
//! ## No worker ever blocks on a queue of the pool
//! A batch's [`window`](Batch::window) counts jobs that are admitted and not delivered, and a pool's
//! [`capacity`](RetryPoolBuilder::capacity) those that have not settled; neither is a queue's size. A job keeps its place while it
//! retries, so a pool with room for one job makes progress when every job fails.
//!
//! ## No worker ever sleeps for a backoff
//! Parked jobs wait in one timer thread, however many they are.
//!
//! ## A panic is an error value
//! With its payload and the job's name ([`Panic`]); the worker lives on. A panic in a predicate, a waker, or the destructor of a
//! payload, an input, a result or an error is contained, too.
//!
//! ## Memory is bounded
//! A batch holds at most `window` jobs, whatever the length of its input, also for an endless input or a slow consumer; those
//! that its caller [resubmits](Completion::resubmit) come on top, since nothing blocks there. A result is freed when it is taken, and a
//! single job's closure before its settlement is seen.
//!
//! ## Waiting in a job does not deadlock
//! A job that waits for others, in any call of this crate and on any pool, has a spare worker of its own pool in its place as long as it
//! waits, and lends its place in a full pool or window; its batch goes on. No other job runs on its stack.
//!
//! ## Cancelling is cooperative and complete
//! Queued and parked jobs settle at once, running ones are told ([`Attempt::is_cancelled`]), blocked producers get their input back,
//! and cancelled jobs come out of the iteration. None is retried. What still succeeds is a success.
//!
//! ## A hung attempt cannot take the pool with it
//! Past its `attempt_timeout` it counts as failed, its job goes on by the policy, and a fresh worker takes the place of the stuck one
//! (up to [`max_stuck`](RetryPoolBuilder::max_stuck)); what it returns later is dropped.
//!
//! ## Drop joins
//! Dropping the pool settles every accepted job, retries included, and joins the threads. [`RetryPool::shutdown_timeout`] bounds it
//! and says what was drained, given up, and still runs. No thread joins itself, whichever drops the pool, and no attempt that was
//! abandoned is waited for.
//!
//! ## Huge values are safe
//! `Duration::MAX`, a window of `usize::MAX`, `u32::MAX` attempts: sums saturate, nothing panics or wraps.
//!
//! ## No user code runs under a lock
//! No job, predicate, waker, iterator or destructor: each may call the pool.
//!
//! # Not promised
//!
//! - A thread cannot be killed: an attempt that never returns keeps its thread, even where the pool goes on without it.
//! - A job that blocks elsewhere (a lock, a channel, a socket) holds its worker meanwhile; only waits of this crate have a spare. A
//!   spare that the operating system refuses is a panic in the job that wanted to wait; only the end of a pool, a scope or a supervisor
//!   is waited for without one.
//! - A child that was forked and goes on without `exec` has none of the pool's threads: jobs do not run there, and a wait without a
//!   limit, or dropping the pool, does not end. Jobs may start programs by [`std::process::Command`].
//! - A job that aborts the process, or two destructors that panic in one value, end the process as everywhere in Rust.

#![forbid(unsafe_code)]

// In reading order: from the public face down to the primitives. A module imports only from modules below it.

mod pool;

mod scope;

mod builder;

mod periodic;

mod supervisor;

mod single;

mod batch;

mod in_order;

mod completed;

mod channel;

mod report;

mod completion;

mod finished;

mod handle;

mod token;

mod lane;

mod job;

mod crew;

mod judge;

mod attempt;

mod registry;

mod policy;

mod give_up;

mod panic;

mod budget;

mod backoff;

mod error;

mod slot;

mod roster;

mod stats;

mod timer;

mod queue;

mod permits;

mod cancel;

mod observe;

mod reason;

mod park;

mod clock;

mod unwind;

mod sync;

pub mod guide;

pub use attempt::Attempt;
pub use backoff::Jitter;
pub use batch::Batch;
pub use budget::RetryBudget;
pub use builder::RetryPoolBuilder;
pub use cancel::CancelToken;
pub use channel::BatchSender;
pub use completed::AsCompleted;
pub use completion::Completion;
pub use error::{BuildError, PolicyError, SendError, SupervisorError, TimedOut, TrySubmitError};
pub use finished::{Finished, HandlesCompleted, Until, Waited, as_completed, wait_for};
pub use give_up::{AttemptError, FailedAttempt, GiveUp};
pub use handle::{JobHandle, ScopedHandle};
pub use in_order::InOrder;
pub use job::JobState;
pub use judge::NextAttempt;
pub use lane::FailFast;
#[cfg(feature = "log")]
pub use observe::LogObserver;
pub use observe::{ChildEvent, FailureEvent, JobEvent, Observer, WorkerEvent};
pub use panic::Panic;
pub use periodic::Periodic;
pub use policy::{PanicPolicy, Requeue, RetryPolicy, Verdict};
pub use pool::{RetryPool, ShutdownReport};
pub use reason::GiveUpReason;
pub use report::{BatchReport, Progress};
pub use scope::{ScopedPool, scope};
pub use single::Job;
pub use stats::Stats;
pub use supervisor::{
    Child, ChildError, ChildExit, ChildOptions, ChildState, ChildStatus, OnGiveUp, Restart,
    Strategy, Supervisor, SupervisorBuilder, SupervisorReport,
};
