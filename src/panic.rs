//! A panic as a value.

use std::any::Any;
use std::fmt;

use crate::sync::{Arc, Mutex};
use crate::unwind::{Contained, Payload};

/// A panic that was caught: its payload, its text and the name of the job.
///
/// ```
/// use retry_pool::{AttemptError, RetryPool};
///
/// let pool = RetryPool::with_threads(1);
/// let job = pool.job(|| -> Result<(), String> { panic!("out of {}", "cheese") }).name("shop");
/// let give_up = job.submit().wait().unwrap_err();
/// let Some(AttemptError::Panicked(panic)) = give_up.last_error() else { unreachable!() };
/// assert_eq!((panic.message(), panic.job_name()), ("out of cheese", Some("shop")));
/// ```
pub struct Panic {
    /// Boxed, so that errors stay small where nothing panics.
    inner: Box<PanicInner>,
}

struct PanicInner {
    message: String,
    job_name: Option<Arc<str>>,
    /// Behind a mutex because a payload need not be `Sync`, and this value is. Its destructor may panic.
    payload: Mutex<Contained<Payload>>,
}

impl Panic {
    pub(crate) fn new(payload: Payload, job_name: Option<Arc<str>>) -> Self {
        let message = match payload.downcast_ref::<&str>() {
            Some(text) => (*text).to_owned(),
            None => match payload.downcast_ref::<String>() {
                Some(text) => text.clone(),
                None => String::from("a payload that is not text"),
            },
        };
        let inner = PanicInner {
            message,
            job_name,
            payload: Mutex::new(Contained::new(payload)),
        };
        Self {
            inner: Box::new(inner),
        }
    }

    /// The text of the panic, or a stand-in where its payload is neither `&str` nor `String`.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// The name of the job that panicked, if it has one.
    #[must_use]
    pub fn job_name(&self) -> Option<&str> {
        self.inner.job_name.as_deref()
    }

    /// The payload, as [`std::thread::JoinHandle::join`] would give it; to go on panicking, pass it to
    /// [`std::panic::resume_unwind`].
    #[must_use]
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        self.inner.payload.into_inner().into_inner()
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner.job_name {
            Some(name) => write!(f, "job {name} panicked: {}", self.inner.message),
            None => write!(f, "panicked: {}", self.inner.message),
        }
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Panic")
            .field("message", &self.inner.message)
            .field("job_name", &self.inner.job_name)
            .finish_non_exhaustive()
    }
}
