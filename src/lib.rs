//! A synchronous thread pool whose jobs retry.

#![forbid(unsafe_code)]

mod attempt;
mod backoff;
mod batch;
mod builder;
mod channel;
mod clock;
mod completed;
mod completion;
mod crew;
mod error;
mod handle;
mod job;
mod lane;
mod policy;
mod pool;
mod queue;
mod report;
mod slot;
mod stats;
mod sync;
mod timer;
mod token;
mod unwind;

pub use attempt::Attempt;
pub use backoff::Jitter;
pub use batch::Batch;
pub use builder::RetryPoolBuilder;
pub use channel::BatchSender;
pub use completed::{AsCompleted, InOrder};
pub use completion::Completion;
pub use error::{
    AttemptError, BuildError, GiveUp, GiveUpReason, Panic, PolicyError, SendError, TimedOut,
};
pub use handle::JobHandle;
pub use policy::{RetryPolicy, Verdict};
pub use pool::{Job, RetryPool, ShutdownReport};
pub use report::{BatchReport, Progress};
pub use stats::Stats;
