//! The token under every schedule.

use super::*;
use crate::sync::loom::{check, spawn};
use crate::sync::{AtomicU32, now};

const CANCELLED: GiveUpReason = GiveUpReason::Cancelled;

/// Counts how often it was told.
#[derive(Default)]
struct Ear {
    told: AtomicU32,
    reason: Mutex<Option<GiveUpReason>>,
}

impl Listener for Ear {
    fn cancelled(self: Arc<Self>, reason: GiveUpReason) {
        self.told.fetch_add(1, Ordering::Relaxed);
        *self.reason.lock() = Some(reason);
    }
}

fn on_thread<R: Send + 'static>(
    token: &CancelToken,
    f: impl FnOnce(CancelToken) -> R + Send + 'static,
) -> crate::sync::loom::JoinHandle<R> {
    let token = token.clone();
    spawn(move || f(token))
}

#[test]
fn a_listener_is_told_once_whenever_it_comes() {
    check(&["at once", "later"], |sides| {
        let token = CancelToken::new();
        let canceller = on_thread(&token, |token| token.cancel());
        let ear = Arc::new(Ear::default());
        token.listen(Arc::clone(&ear) as Arc<dyn Listener>);
        let at_once = ear.told.load(Ordering::Relaxed) == 1;
        sides.saw(if at_once { "at once" } else { "later" });
        canceller.join().unwrap();
        assert_eq!(ear.told.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_child_is_cancelled_whenever_it_is_born_and_who_waits_for_it_is_woken() {
    check(
        &["born cancelled", "told", "cancelled before the wait"],
        |sides| {
            let token = CancelToken::new();
            let canceller = on_thread(&token, |token| token.cancel());
            let child = token.child();
            let born_cancelled = child.is_cancelled();
            let grandchild = child.child();
            let before = grandchild.is_cancelled();
            assert!(grandchild.wait_until(None));
            sides.saw(match (born_cancelled, before) {
                (true, _) => "born cancelled",
                (false, true) => "cancelled before the wait",
                (false, false) => "told",
            });
            canceller.join().unwrap();
            assert!(child.is_cancelled() && grandchild.is_cancelled());
        },
    );
}

#[test]
fn who_sees_a_token_cancelled_sees_what_was_written_before() {
    check(&["seen", "not yet"], |sides| {
        let token = CancelToken::new();
        let written = Arc::new(AtomicBool::new(false));
        let writes = Arc::clone(&written);
        let looks = on_thread(&token, move |token| {
            let seen = token.is_cancelled();
            assert!(!seen || written.load(Ordering::Relaxed));
            seen
        });
        writes.store(true, Ordering::Relaxed);
        token.cancel();
        let seen = looks.join().unwrap();
        sides.saw(if seen { "seen" } else { "not yet" });
    });
}

#[test]
fn of_two_that_cancel_the_first_gives_the_reason_and_tells() {
    check(&["cancelled", "shut down"], |sides| {
        let token = CancelToken::new();
        let ear = Arc::new(Ear::default());
        token.listen(Arc::clone(&ear) as Arc<dyn Listener>);
        let other = on_thread(&token, |token| token.cancel_for(GiveUpReason::Shutdown));
        token.cancel_for(CANCELLED);
        let reason = token.reason();
        other.join().unwrap();
        assert_eq!(token.reason(), reason);
        assert_eq!(ear.told.load(Ordering::Relaxed), 1);
        assert_eq!(*ear.reason.lock(), reason);
        sides.saw(if reason == Some(CANCELLED) {
            "cancelled"
        } else {
            "shut down"
        });
    });
}

#[test]
fn a_wait_ends_by_the_cancel_or_by_its_deadline_and_is_forgotten() {
    check(&["cancelled", "too late"], |sides| {
        let token = CancelToken::new();
        let canceller = on_thread(&token, |token| token.cancel());
        let patient = on_thread(&token, |token| token.wait_until(None));
        let cancelled = token.wait_until(Some(now()));
        sides.saw(if cancelled { "cancelled" } else { "too late" });
        assert!(patient.join().unwrap());
        canceller.join().unwrap();
        assert!(token.inner.links.lock().sleepers.is_empty());
    });
}
