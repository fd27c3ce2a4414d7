//! An unbounded channel for the models: a queue under a lock.
//!
//! For loom, a look at it that finds nothing takes no lock and orders nothing, as if crossbeam's channel were all relaxed: what comes before
//! such a look has to be ordered by the one who looks.

use std::collections::VecDeque;
use std::fmt;
use std::panic::Location;

#[cfg(rp_loom)]
use super::AtomicU64;
use super::fault::is_faulty;
use super::{Condvar, Mutex};
use crate::sync::Arc;
#[cfg(rp_loom)]
use crate::sync::Ordering;

struct Channel<W> {
    state: Mutex<ChannelState<W>>,
    changed: Condvar,
    /// What a look sees.
    #[cfg(rp_loom)]
    len: AtomicU64,
}

struct ChannelState<W> {
    queue: VecDeque<W>,
    senders: usize,
    has_receiver: bool,
}

pub(crate) struct Sender<W>(Arc<Channel<W>>);

pub(crate) struct Receiver<W>(Arc<Channel<W>>);

/// The other side is gone.
#[derive(Debug)]
pub(crate) struct Disconnected;

pub(crate) fn unbounded<W>() -> (Sender<W>, Receiver<W>) {
    let channel = Arc::new(Channel {
        state: Mutex::new(ChannelState {
            queue: VecDeque::new(),
            senders: 1,
            has_receiver: true,
        }),
        changed: Condvar::new(),
        #[cfg(rp_loom)]
        len: AtomicU64::new(0),
    });
    (Sender(Arc::clone(&channel)), Receiver(channel))
}

impl<W> Sender<W> {
    pub(crate) fn send(&self, work: W) -> Result<(), Disconnected> {
        let mut state = self.0.state.lock();
        if !state.has_receiver {
            return Err(Disconnected);
        }
        state.queue.push_back(work);
        #[cfg(rp_loom)]
        self.0.len.fetch_add(1, Ordering::Relaxed);
        self.0.changed.notify_one();
        Ok(())
    }
}

impl<W> Receiver<W> {
    pub(crate) fn try_recv(&self) -> Result<W, Disconnected> {
        #[cfg(rp_loom)]
        if self.is_empty() {
            return Err(Disconnected);
        }
        let mut state = self.0.state.lock();
        self.pop(&mut state).ok_or(Disconnected)
    }

    pub(crate) fn recv(&self) -> Result<W, Disconnected> {
        let mut state = self.0.state.lock();
        loop {
            if let Some(work) = self.pop(&mut state) {
                return Ok(work);
            }
            if state.senders == 0 {
                return Err(Disconnected);
            }
            self.0.changed.wait(&mut state);
        }
    }

    fn pop(&self, state: &mut ChannelState<W>) -> Option<W> {
        let work = state.queue.pop_front()?;
        #[cfg(rp_loom)]
        self.0.len.fetch_sub(1, Ordering::Relaxed);
        Some(work)
    }

    pub(crate) fn len(&self) -> usize {
        #[cfg(rp_loom)]
        return self.0.len.load(Ordering::Relaxed) as usize;
        #[cfg(rp_shuttle)]
        self.0.state.lock().queue.len()
    }

    #[track_caller]
    pub(crate) fn is_empty(&self) -> bool {
        is_faulty("empty", Location::caller()) || self.len() == 0
    }
}

impl<W> Drop for Sender<W> {
    fn drop(&mut self) {
        self.0.state.lock().senders -= 1;
        self.0.changed.notify_all();
    }
}

impl<W> Drop for Receiver<W> {
    fn drop(&mut self) {
        let left = {
            let mut state = self.0.state.lock();
            state.has_receiver = false;
            std::mem::take(&mut state.queue)
        };
        drop(left);
    }
}

impl<W> fmt::Debug for Sender<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

impl<W> fmt::Debug for Receiver<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}
