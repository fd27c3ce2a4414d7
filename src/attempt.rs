//! What a job can ask about the attempt that it is.

use std::cell::{Cell, RefCell};

use crate::sync::Arc;

/// The attempt that the current thread is running.
///
/// It is looked up rather than passed, so that it reaches the code that a job calls. Outside a job it is a detached first
/// attempt, so a job's function can be called as it is from a test.
///
/// ```
/// use retry_pool::{Attempt, RetryPolicy, RetryPool};
///
/// fn third_time_lucky() -> Result<u32, String> {
///     match Attempt::current().number() {
///         3 => Ok(3),
///         n => Err(format!("attempt {n} failed")),
///     }
/// }
/// let pool = RetryPool::with_threads(1);
/// let job = pool.job(third_time_lucky).retry(RetryPolicy::immediate());
/// assert_eq!(job.submit().wait().unwrap(), 3);
/// assert_eq!(Attempt::current().number(), 1);
/// ```
#[derive(Debug, Clone)]
pub struct Attempt {
    number: u32,
    last: bool,
    job_name: Option<Arc<str>>,
}

thread_local! {
    static NUMBER: Cell<u32> = const { Cell::new(1) };
    static LAST: Cell<bool> = const { Cell::new(false) };
    static JOB_NAME: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

impl Attempt {
    /// The attempt that the calling thread is running, or a detached first attempt outside a job.
    #[must_use]
    pub fn current() -> Self {
        // The name is gone while the thread's locals are torn down; no job runs then.
        let job_name = JOB_NAME
            .try_with(|name| name.borrow().clone())
            .ok()
            .flatten();
        Self {
            number: NUMBER.get(),
            last: LAST.get(),
            job_name,
        }
    }

    /// Which attempt of its job this is, from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Is this the last attempt that the policy's `max_attempts` allows? A job can then fail with more to say, or take its
    /// fallback. Always false for an unlimited policy and outside a job.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.last
    }

    /// The name of the job, if it was given one.
    #[must_use]
    pub fn job_name(&self) -> Option<&str> {
        self.job_name.as_deref()
    }

    /// Makes the given attempt the current one while `f` runs. `f` does not unwind.
    pub(crate) fn during<R>(
        number: u32,
        last: bool,
        name: Option<&Arc<str>>,
        f: impl FnOnce() -> R,
    ) -> R {
        NUMBER.set(number);
        LAST.set(last);
        if let Some(name) = name {
            JOB_NAME.set(Some(Arc::clone(name)));
        }
        let result = f();
        NUMBER.set(1);
        LAST.set(false);
        if name.is_some() {
            JOB_NAME.set(None);
        }
        result
    }
}
