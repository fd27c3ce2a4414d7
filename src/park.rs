//! A thread that sleeps until it is woken.

use std::task::Wake;
use std::time::Instant;

use crate::sync::{Arc, Condvar, Mutex, wait_until};

/// What a thread sleeps on. A wake-up that comes before the sleep is kept, so none is lost.
#[derive(Debug, Default)]
pub(crate) struct Parker {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Parker {
    /// Sleeps until woken, at the longest until `deadline` (`None`: without a limit). False if the deadline came first.
    pub(crate) fn park(&self, deadline: Option<Instant>) -> bool {
        let mut woken = self.woken.lock();
        while !*woken {
            if !wait_until(&self.changed, &mut woken, deadline) {
                return std::mem::take(&mut *woken);
            }
        }
        *woken = false;
        true
    }

    // The model checker can have one caller forget it; see `sync/model/fault.rs`.
    #[cfg_attr(rp_shuttle, track_caller)]
    pub(crate) fn unpark(&self) {
        let before = std::mem::replace(&mut *self.woken.lock(), true);
        if !before {
            self.changed.notify_one();
        }
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.unpark();
    }
}
