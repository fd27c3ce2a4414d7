//! A synchronous thread pool whose jobs retry.

#![forbid(unsafe_code)]

// In reading order: from the public face down to the primitives. A module imports only from modules below it.

mod pool;

mod builder;

mod single;

mod batch;

mod in_order;

mod completed;

mod channel;

mod report;

mod completion;

mod handle;

mod token;

mod lane;

mod job;

mod crew;

mod attempt;

mod stats;

mod policy;

mod backoff;

mod error;

mod give_up;

mod slot;

mod timer;

mod queue;

mod clock;

mod unwind;

mod sync;

pub use attempt::Attempt;
pub use backoff::Jitter;
pub use batch::Batch;
pub use builder::RetryPoolBuilder;
pub use channel::BatchSender;
pub use completed::AsCompleted;
pub use completion::Completion;
pub use error::{BuildError, PolicyError, SendError, TimedOut};
pub use give_up::{AttemptError, GiveUp, GiveUpReason, Panic};
pub use handle::JobHandle;
pub use in_order::InOrder;
pub use policy::{RetryPolicy, Verdict};
pub use pool::{RetryPool, ShutdownReport};
pub use report::{BatchReport, Progress};
pub use single::Job;
pub use stats::Stats;
