//! A function that is called again and again at a fixed rate.

use std::fmt;
use std::time::Duration;

use crate::attempt::Attempt;
use crate::cancel::CancelToken;
use crate::clock::{Nanos, nanos};
use crate::crew::{Crew, Next, Parked, Piece, Work};
use crate::policy::Requeue;
use crate::reason::GiveUpReason;
use crate::roster::Post;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};
use crate::unwind::{self, Contained};

/// A function that a pool calls at a fixed rate; made by [`RetryPool::every`](crate::RetryPool::every).
///
/// Dropping this does not stop it; [`stop`](Self::stop) does, and so does the end of the pool.
#[derive(Clone)]
#[must_use = "without it the calls cannot be stopped before the pool is closed"]
pub struct Periodic {
    shared: Arc<Shared>,
}

struct Shared {
    /// `None` while it runs, and once stopped.
    function: Mutex<Option<Function>>,
    token: CancelToken,
    begun: Nanos,
    period: Nanos,
    /// When the coming call is due, or that which runs was. Written by the call alone.
    due: AtomicU64,
    runs: AtomicU64,
    panics: AtomicU64,
    skipped: AtomicU64,
}

type Function = Contained<Box<dyn Fn() + Send>>;

impl Periodic {
    pub(crate) fn start(
        crew: &Crew<'static>,
        period: Duration,
        function: impl Fn() + Send + 'static,
    ) -> Self {
        assert!(
            period > Duration::ZERO,
            "the period is 0: calls without a pause are a loop, not a rate"
        );
        let begun = crew.clock.now();
        let shared = Arc::new(Shared {
            function: Mutex::new(Some(Contained::new(Box::new(function)))),
            token: CancelToken::new(),
            begun,
            period: nanos(period),
            due: AtomicU64::new(begun),
            runs: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
        });
        let work = Piece::whole(Arc::clone(&shared) as _);
        crew.park(begun, Parked::Job(work, Requeue::Back));
        Self { shared }
    }

    /// Stops the calls. The function is dropped, here, or at the end of a call that runs, which is told
    /// ([`Attempt::is_cancelled`]). May be repeated.
    pub fn stop(&self) {
        self.shared.end();
    }

    /// Was it stopped, by [`stop`](Self::stop) or by the end of the pool?
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.shared.token.is_cancelled()
    }

    /// How many calls have ended, those that panicked included.
    #[must_use]
    pub fn runs(&self) -> u64 {
        // ORDERING: figures, here and below; they publish nothing else.
        self.shared.runs.load(Ordering::Relaxed)
    }

    /// How many calls panicked.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.shared.panics.load(Ordering::Relaxed)
    }

    /// How many calls were left out because the one before took too long, or no worker was free.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.shared.skipped.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn end(&self) {
        self.token.cancel();
        let function = self.function.lock().take();
        unwind::discard(function);
    }

    /// Notes when the next call is due; what has passed since the last one is skipped.
    fn go_on(&self, now: Nanos) -> Nanos {
        let due = self.next_due(now);
        let passed = due.saturating_sub(self.due.swap(due, Ordering::Relaxed)) / self.period;
        self.skipped
            .fetch_add(passed.saturating_sub(1), Ordering::Relaxed);
        due
    }

    /// The first multiple of the period that is still to come.
    fn next_due(&self, now: Nanos) -> Nanos {
        let passed = now.saturating_sub(self.begun) / self.period;
        self.begun
            .saturating_add(self.period.saturating_mul(passed.saturating_add(1)))
    }
}

impl<'p> Work<'p> for Shared {
    fn run(&self, at: u32, crew: &Crew<'p>, post: &Arc<Post>) -> Next {
        if self.is_over(at, crew).is_some() {
            self.end();
        }
        let Some(function) = self.function.lock().take() else {
            return Next::Done;
        };
        let own = post.swap_token(self.token.clone());
        let (result, _) = Attempt::during(1, false, None, None, || unwind::catch(&**function));
        drop(post.swap_token(own));
        if let Err(payload) = result {
            unwind::discard(payload);
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
        self.runs.fetch_add(1, Ordering::Relaxed);
        *self.function.lock() = Some(function);
        if self.token.is_cancelled() || self.is_over(at, crew).is_some() {
            self.end();
            return Next::Done;
        }
        Next::ParkUntil(self.go_on(crew.clock.now()), Requeue::Back)
    }

    fn give_up(&self, _at: u32, _crew: &Crew<'p>, _reason: GiveUpReason) {
        self.end();
    }

    fn is_over(&self, _at: u32, crew: &Crew<'p>) -> Option<GiveUpReason> {
        let closed = (!crew.is_running()).then_some(GiveUpReason::Shutdown);
        closed.or_else(|| crew.has_cancelled(self.begun))
    }

    fn is_live(&self, _at: u32) -> bool {
        !self.token.is_cancelled()
    }
}

impl fmt::Debug for Periodic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Periodic")
            .field("stopped", &self.is_stopped())
            .field("runs", &self.runs())
            .field("panics", &self.panics())
            .field("skipped", &self.skipped())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crew::WHOLE;

    fn shared(begun: Nanos, period: Nanos) -> Shared {
        Shared {
            function: Mutex::new(None),
            token: CancelToken::new(),
            begun,
            period,
            due: AtomicU64::new(begun),
            runs: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
        }
    }

    #[test]
    fn once_stopped_there_is_nothing_left_to_be_called() {
        let shared = shared(0, 10);
        assert!(shared.is_live(WHOLE));
        shared.end();
        assert!(!shared.is_live(WHOLE));
    }

    #[test]
    fn the_rate_does_not_drift_and_what_was_missed_is_skipped() {
        let due = |now| shared(100, 10).next_due(now);
        assert_eq!(
            [due(100), due(109), due(110), due(137)],
            [110, 110, 120, 140]
        );
        assert_eq!(shared(5, u64::MAX).next_due(7), u64::MAX);
        let shared = shared(100, 10);
        let skipped = |now| (shared.go_on(now), shared.skipped.load(Ordering::Relaxed));
        // In time, in time, and for the call of 120 a worker was free at 137 only.
        assert_eq!(
            [skipped(101), skipped(119), skipped(137), skipped(149)],
            [(110, 0), (120, 0), (140, 1), (150, 1)]
        );
    }
}
