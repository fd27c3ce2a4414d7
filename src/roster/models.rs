//! Sleeping and waking under every schedule: whatever is pushed is taken, or a worker would sleep for ever, which the model finds.
//!
//! The fences are what these models need: they pass with every access to the hints and the flag of the notes relaxed, and each fence that is
//! taken away lets a worker sleep on work.

use super::*;
use crate::queue::Queue;
use crate::sync::loom::{JoinHandle, Sides, check, check_bounded, spawn};

/// How a worker comes to its work.
const SIDES: [&str; 2] = ["found at once", "after a rest"];

struct Pool {
    roster: Arc<Roster>,
    queue: Queue<u32>,
}

impl Pool {
    fn new(threads: usize, spares: usize) -> Arc<Self> {
        let roster = Roster::new(threads, 0, Permits::new(None));
        roster.lock().available = threads + spares;
        Arc::new(Self {
            roster: Arc::new(roster),
            queue: Queue::new(),
        })
    }

    fn has_work(&self) -> bool {
        !self.queue.is_empty() || self.roster.has_notes()
    }

    /// As `Crew::push`.
    fn push(&self, front: bool) {
        if front {
            self.queue.push_front(7);
        } else {
            self.queue.push(7);
        }
        fence(Ordering::SeqCst);
        self.roster.wake_for_work();
    }

    fn look(&self) -> bool {
        let noted = self.roster.has_notes() && !self.roster.take_notes().is_empty();
        noted || self.queue.pop().is_some()
    }

    /// As `Crew::next_work`: true if there was work, false if this worker is to leave.
    fn next_work(&self, post: &Arc<Post>, sides: &Sides) -> bool {
        if self.look() {
            sides.saw("found at once");
            return true;
        }
        let mut patient = self.roster.begin_search() < 1;
        let mut side = "found at once";
        loop {
            if patient && self.look() {
                self.roster.end_search(|| self.has_work());
                sides.saw(side);
                return true;
            }
            side = "after a rest";
            match self.roster.rest(post, || self.has_work()) {
                Rest::Woken => patient = true,
                Rest::Leave => return false,
            }
        }
    }

    /// Starts a worker that takes work `times`, and says whether it got that.
    fn worker(self: &Arc<Self>, role: Role, times: u32, sides: &Arc<Sides>) -> JoinHandle<bool> {
        let (pool, sides) = (Arc::clone(self), Arc::clone(sides));
        let post = Arc::new(Post::new(&self.roster, 0, role));
        spawn(move || (0..times).all(|_| pool.next_work(&post, &sides)))
    }

    fn assert_quiet(&self) {
        assert_eq!(self.roster.hints.load(Ordering::SeqCst), 0);
        assert!(self.roster.lock().sleepers.is_empty());
        assert!(!self.has_work());
    }
}

#[test]
fn a_push_meets_a_worker_that_goes_to_sleep() {
    check(&SIDES, |sides| {
        let pool = Pool::new(1, 0);
        let worker = pool.worker(Role::Regular, 1, sides);
        pool.push(false);
        assert!(worker.join().unwrap());
        pool.assert_quiet();
    });
}

#[test]
fn a_push_to_the_front_meets_a_worker_that_goes_to_sleep() {
    check(&SIDES, |sides| {
        let pool = Pool::new(1, 0);
        let worker = pool.worker(Role::Regular, 1, sides);
        pool.push(true);
        assert!(worker.join().unwrap());
        pool.assert_quiet();
    });
}

#[test]
fn a_note_meets_a_worker_that_goes_to_sleep() {
    check(&SIDES, |sides| {
        let pool = Pool::new(1, 0);
        let worker = pool.worker(Role::Regular, 1, sides);
        pool.roster.note(Note::Ended);
        assert!(worker.join().unwrap());
        pool.assert_quiet();
    });
}

#[test]
fn two_pushes_meet_two_workers() {
    check_bounded(&SIDES, |sides| {
        let pool = Pool::new(2, 0);
        let workers = [(); 2].map(|()| pool.worker(Role::Regular, 1, sides));
        pool.push(false);
        pool.push(false);
        assert!(workers.into_iter().all(|worker| worker.join().unwrap()));
        pool.assert_quiet();
    });
}

#[test]
fn two_that_push_meet_one_worker() {
    check_bounded(&SIDES, |sides| {
        let pool = Pool::new(1, 0);
        let worker = pool.worker(Role::Regular, 2, sides);
        let other = {
            let pool = Arc::clone(&pool);
            spawn(move || pool.push(false))
        };
        pool.push(true);
        assert!(worker.join().unwrap());
        other.join().unwrap();
        pool.assert_quiet();
    });
}

#[test]
fn a_spare_that_leaves_does_not_take_a_wake_up_with_it() {
    let sides = [SIDES[0], SIDES[1], "the spare", "the regular one"];
    check_bounded(&sides, |sides| {
        let pool = Pool::new(1, 1);
        let spare = pool.worker(Role::Spare, 1, sides);
        let regular = pool.worker(Role::Regular, 1, sides);
        pool.push(false);
        if spare.join().unwrap() {
            sides.saw("the spare");
            // Now for the other one.
            pool.push(false);
        } else {
            sides.saw("the regular one");
        }
        assert!(regular.join().unwrap());
        pool.assert_quiet();
    });
}

#[test]
fn a_worker_of_a_pool_that_stops_takes_what_was_pushed_and_leaves() {
    let sides = [SIDES[0], SIDES[1], "left"];
    check(&sides, |sides| {
        let pool = Pool::new(1, 0);
        let worker = pool.worker(Role::Regular, 2, sides);
        pool.push(false);
        pool.roster.stop();
        assert!(!worker.join().unwrap());
        sides.saw("left");
        pool.assert_quiet();
    });
}

#[test]
fn a_spare_takes_the_work_of_one_that_is_away_and_leaves_when_that_one_is_back() {
    let sides = [SIDES[0], SIDES[1], "left"];
    check_bounded(&sides, |sides| {
        let pool = Pool::new(1, 0);
        let hired = Arc::new(Mutex::new(None));
        let recruiter = {
            let (pool, hired, sides) =
                (Arc::downgrade(&pool), Arc::clone(&hired), Arc::clone(sides));
            move |post: Arc<Post>| {
                let (pool, sides) = (pool.upgrade().unwrap(), Arc::clone(&sides));
                let life = move || {
                    while pool.next_work(&post, &sides) {}
                    sides.saw("left");
                };
                *hired.lock() = Some(spawn(life));
                Ok(())
            }
        };
        pool.roster.set_recruiter(Arc::new(recruiter));
        Arc::new(Post::new(&pool.roster, 0, Role::Regular)).take();
        blocking(|| pool.push(false));
        Post::leave();
        let spare = hired.lock().take();
        spare.unwrap().join().unwrap();
        assert_eq!(pool.roster.lock().available, 1);
        // What the spare has left is for the one that is back.
        while pool.look() {}
        pool.assert_quiet();
    });
}
