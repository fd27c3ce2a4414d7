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

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn a_waker_wakes_once_by_reference_and_by_value() {
        let parker = Arc::new(Parker::default());
        let waker = Waker::from(Arc::clone(&parker));
        let is_woken = || parker.park(Some(Instant::now()));
        waker.wake_by_ref();
        assert_eq!((is_woken(), is_woken()), (true, false));
        waker.wake();
        assert_eq!((is_woken(), is_woken()), (true, false));
    }
}

#[cfg(all(test, rp_loom))]
mod models {
    use super::*;
    use crate::sync::loom::{check, spawn};
    use crate::sync::{AtomicBool, Ordering, now};

    #[test]
    fn a_wake_up_before_the_sleep_is_kept_and_orders_what_came_before() {
        check(&["kept", "slept or about to"], |sides| {
            let parker = Arc::new(Parker::default());
            let written = Arc::new(AtomicBool::new(false));
            let waker = spawn({
                let (parker, written) = (Arc::clone(&parker), Arc::clone(&written));
                move || {
                    written.store(true, Ordering::Relaxed);
                    parker.unpark();
                }
            });
            let kept = *parker.woken.lock();
            assert!(parker.park(None));
            assert!(written.load(Ordering::Relaxed));
            sides.saw(if kept { "kept" } else { "slept or about to" });
            waker.join().unwrap();
        });
    }

    #[test]
    fn a_wake_up_that_comes_after_the_deadline_is_there_for_the_next_sleep() {
        check(&["in time", "too late"], |sides| {
            let parker = Arc::new(Parker::default());
            let wakers = [(); 2].map(|()| {
                let parker = Arc::clone(&parker);
                spawn(move || parker.unpark())
            });
            let in_time = parker.park(Some(now()));
            sides.saw(if in_time { "in time" } else { "too late" });
            if !in_time {
                assert!(parker.park(None));
            }
            wakers.into_iter().for_each(|waker| waker.join().unwrap());
        });
    }
}
