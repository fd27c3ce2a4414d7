//! How a pool ends, under every schedule. The crews here have no threads: what workers and callers do is done by the model.

use super::*;
use crate::roster::{Post, Role};
use crate::sync::loom::{JoinHandle, Sides, check, check_bounded, spawn};
use crate::sync::thread::{self, ThreadId};

fn crew(capacity: Option<usize>) -> Arc<Crew<'static>> {
    Arc::new(Crew::new(Settings {
        capacity,
        ..Settings::plain()
    }))
}

fn on_thread<R: Send + 'static>(
    crew: &Arc<Crew<'static>>,
    f: impl FnOnce(&Crew<'static>) -> R + Send + 'static,
) -> JoinHandle<R> {
    let crew = Arc::clone(crew);
    spawn(move || f(&crew))
}

/// Settles a single job, as its worker does.
fn settle_one(crew: &Crew<'_>) {
    crew.callers.succeeded.add(1);
    crew.roster.permits.release(1);
    crew.settled_one();
}

/// Lets a job in, and settles it; true if it was accepted.
fn submit(crew: &Crew<'_>, patience: Patience) -> bool {
    match crew.admit(patience) {
        Ok(_) => {
            assert_ne!(crew.phase(), STOPPED, "an accepted job is lost");
            settle_one(crew);
            true
        }
        Err(refusal) => {
            assert_eq!(refusal, Refusal::Closed);
            false
        }
    }
}

fn assert_ended(crew: &Crew<'_>) {
    let stats = crew.stats();
    assert_eq!(stats.accepted(), stats.succeeded() + stats.gave_up());
    assert_eq!(crew.phase(), STOPPED, "nobody has stopped the pool");
}

/// Work that notes who has ended it.
struct Parcel {
    ended: Mutex<Vec<ThreadId>>,
    /// May be ended again, which changes nothing.
    forgives: bool,
}

impl Parcel {
    fn new(forgives: bool) -> Arc<Self> {
        let ended = Mutex::default();
        Arc::new(Self { ended, forgives })
    }

    /// Sees which of two threads has ended it, if only one has, and only once.
    fn saw(&self, sides: &Sides, here: &'static str, there: &'static str) {
        let by_us = |by: &ThreadId| *by == thread::current().id();
        match self.ended.lock().as_slice() {
            [by] => sides.saw(if by_us(by) { here } else { there }),
            ended => panic!("ended {} times", ended.len()),
        }
    }
}

impl Work<'static> for Parcel {
    fn run(&self, _at: u32, _crew: &Crew<'static>, _post: &Arc<Post>) -> Next {
        Next::Done
    }

    fn give_up(&self, _at: u32, _crew: &Crew<'static>, _reason: GiveUpReason) {
        // As a slot does: what has ended does not end again.
        let mut ended = self.ended.lock();
        if ended.is_empty() || !self.forgives {
            ended.push(thread::current().id());
        }
    }

    fn is_over(&self, _at: u32, crew: &Crew<'static>) -> Option<GiveUpReason> {
        crew.has_cancelled(0)
    }
}

impl Lane<'static> for Parcel {
    fn due(&self, _now: Nanos) -> Due {
        unreachable!("the timer has no thread")
    }

    fn missing_tokens(&self, _gone: bool) -> usize {
        0
    }

    fn judge(&self, _crew: &Crew<'static>, _post: Option<&Post>) {}

    fn close(&self) {}
}

#[test]
fn a_caller_sees_the_pool_closed_or_the_closer_sees_the_job() {
    check(&["accepted", "refused"], |sides| {
        let crew = crew(None);
        let caller = on_thread(&crew, |crew| submit(crew, Patience::None));
        crew.close();
        let accepted = caller.join().unwrap();
        sides.saw(if accepted { "accepted" } else { "refused" });
        assert_ended(&crew);
    });
}

#[test]
fn whoever_settles_the_last_job_stops_the_pool_or_its_closer_does() {
    check_bounded(&["the closer", "a settler"], |sides| {
        let crew = crew(None);
        let counts = Arc::<Counts>::default();
        let lane: SharedLane<'static> = Parcel::new(false);
        crew.register(1, &lane, Arc::clone(&counts));
        counts.accepted.bump(1);
        crew.admit(Patience::None).unwrap();
        let single = on_thread(&crew, settle_one);
        let of_batch = on_thread(&crew, move |crew| {
            counts.succeeded.bump(1);
            crew.settled();
        });
        crew.close();
        let stopped = crew.phase() == STOPPED;
        sides.saw(if stopped { "the closer" } else { "a settler" });
        single.join().unwrap();
        of_batch.join().unwrap();
        assert_ended(&crew);
    });
}

#[test]
fn who_waits_for_a_permit_of_a_pool_that_closes_gets_it_or_is_let_go() {
    check_bounded(&["accepted", "refused"], |sides| {
        let crew = crew(Some(1));
        crew.admit(Patience::None).unwrap();
        let caller = on_thread(&crew, |crew| submit(crew, Patience::Until(None)));
        let worker = on_thread(&crew, settle_one);
        crew.close();
        let accepted = caller.join().unwrap();
        sides.saw(if accepted { "accepted" } else { "refused" });
        worker.join().unwrap();
        assert_ended(&crew);
    });
}

#[test]
fn what_is_pushed_while_the_pool_stops_is_swept_out_once() {
    check(&["by the stopper", "by the pusher"], |sides| {
        let crew = crew(None);
        let parcel = Parcel::new(false);
        let pushed = Arc::clone(&parcel);
        let pusher = on_thread(&crew, move |crew| crew.push(Piece::whole(pushed)));
        crew.stop_now();
        pusher.join().unwrap();
        parcel.saw(sides, "by the stopper", "by the pusher");
    });
}

#[test]
fn what_is_pushed_while_the_last_job_settles_is_swept_out_once() {
    check(&["by the settler", "by the pusher"], |sides| {
        let crew = crew(None);
        crew.admit(Patience::None).unwrap();
        crew.close();
        let parcel = Parcel::new(false);
        let pushed = Arc::clone(&parcel);
        // A token, say, of a batch that has nothing left to do.
        let pusher = on_thread(&crew, move |crew| crew.push(Piece::whole(pushed)));
        settle_one(&crew);
        pusher.join().unwrap();
        parcel.saw(sides, "by the settler", "by the pusher");
        assert_ended(&crew);
    });
}

#[test]
fn what_is_parked_while_everything_is_cancelled_is_cancelled() {
    check(&["by the canceller", "by the parker"], |sides| {
        let crew = crew(None);
        let parcel = Parcel::new(true);
        let parked = Arc::clone(&parcel);
        let parker = on_thread(&crew, move |crew| {
            crew.park(7, Parked::Job(Piece::whole(parked), Requeue::Back));
        });
        crew.cancel_all();
        parker.join().unwrap();
        parcel.saw(sides, "by the canceller", "by the parker");
    });
}

#[test]
fn what_is_parked_while_the_pool_stops_ends_once() {
    check(&["by the stopper", "by the parker"], |sides| {
        let crew = crew(None);
        let parcel = Parcel::new(true);
        let parked = Arc::clone(&parcel);
        let parker = on_thread(&crew, move |crew| {
            crew.park(7, Parked::Job(Piece::whole(parked), Requeue::Back));
        });
        crew.stop_now();
        parker.join().unwrap();
        parcel.saw(sides, "by the stopper", "by the parker");
    });
}

#[test]
fn no_job_slips_through_between_the_queue_and_its_worker() {
    check(&["by the time", "by its token"], |sides| {
        let crew = crew(None);
        let hired = Arc::new(Mutex::new(None));
        let hires = Arc::clone(&hired);
        crew.roster.set_recruiter(Arc::new(move |post| {
            *hires.lock() = Some(post);
            Ok(())
        }));
        crew.roster.recruit(Role::Regular).unwrap();
        let post = hired.lock().take().unwrap();
        // The job before was cancelled.
        post.token().cancel();
        let accepted = crew.clock.now();
        let worker = on_thread(&crew, move |crew| {
            post.renew_token();
            let at_once = crew.has_cancelled(accepted).is_some();
            (at_once, post)
        });
        crew.cancel_all();
        let (at_once, post) = worker.join().unwrap();
        assert!(at_once || post.told_to_stop().is_some(), "the job runs on");
        sides.saw(if at_once {
            "by the time"
        } else {
            "by its token"
        });
        crew.roster.has_started();
        crew.roster.stop();
        crew.roster.dismiss(&post, false);
    });
}
