//! What the crate uses of [`std::thread`].

use std::io;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use checker::thread::park;
pub(crate) use checker::thread::{Scope, ThreadId, current, panicking, scope};

use super::fault::is_faulty;
use crate::sync::checker;

/// What shuttle calls the first thread of a scenario.
const MAIN: &str = "main-thread";

/// Its stack size is not heeded: the model's threads are small, and all of one size.
#[derive(Debug, Default)]
pub(crate) struct Builder(checker::thread::Builder);

#[derive(Debug)]
pub(crate) struct JoinHandle<R> {
    thread: checker::thread::JoinHandle<R>,
    finished: Arc<AtomicBool>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn name(self, name: String) -> Self {
        Self(self.0.name(name))
    }

    pub(crate) fn stack_size(self, _bytes: usize) -> Self {
        self
    }

    #[track_caller]
    pub(crate) fn spawn<R: Send + 'static>(
        self,
        f: impl FnOnce() -> R + Send + 'static,
    ) -> io::Result<JoinHandle<R>> {
        let finished = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&finished);
        let is_lost = is_faulty("spawn", Location::caller()) && current().name() != Some(MAIN);
        let thread = self.0.spawn(move || {
            if is_lost {
                loop {
                    park();
                }
            }
            let result = f();
            ends.store(true, Ordering::SeqCst);
            result
        })?;
        Ok(JoinHandle { thread, finished })
    }

    pub(crate) fn spawn_scoped<'scope, R: Send + 'scope>(
        self,
        scope: &'scope Scope<'scope, '_>,
        f: impl FnOnce() -> R + Send + 'scope,
    ) -> io::Result<checker::thread::ScopedJoinHandle<'scope, R>> {
        checker::spawn_scoped(scope, f)
    }
}

impl<R> JoinHandle<R> {
    pub(crate) fn join(self) -> std::thread::Result<R> {
        self.thread.join()
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::SeqCst)
    }

    pub(crate) fn thread(&self) -> &checker::thread::Thread {
        self.thread.thread()
    }
}
