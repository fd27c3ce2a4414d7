use super::*;
use crate::roster::{Post, Role};

/// A pool without threads.
pub(super) fn crew() -> Arc<Crew<'static>> {
    Arc::new(Crew::new(Settings::plain()))
}

/// A batch that notes what is done with it.
#[derive(Default)]
pub(super) struct Batch(Mutex<Vec<&'static str>>);

impl Batch {
    fn note(&self, what: &'static str) {
        self.0.lock().push(what);
    }

    pub(super) fn noted(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl Work<'static> for Batch {
    fn run(&self, _at: u32, _crew: &Crew<'static>, _post: &Arc<Post>) -> Next {
        self.note("run");
        Next::Done
    }

    fn give_up(&self, _at: u32, _crew: &Crew<'static>, _reason: GiveUpReason) {
        self.note("given up");
    }
}

impl Lane<'static> for Batch {
    fn due(&self, _now: Nanos) -> Due {
        unreachable!("the timer has no thread")
    }

    fn missing_tokens(&self, _gone: bool) -> usize {
        0
    }

    fn judge(&self, _crew: &Crew<'static>, post: Option<&Post>) {
        self.note(post.map_or("judged by nobody", |_| "judged by a worker"));
    }

    fn close(&self) {
        self.note("closed");
    }
}

#[test]
fn a_limit_or_a_batch_that_nobody_holds_is_parked_in_vain() {
    let batch = Arc::new(Batch::default());
    let work: SharedWork<'static> = Piece::whole(Arc::clone(&batch) as _);
    let lane: SharedLane<'static> = Arc::clone(&batch) as _;
    let watch = Arc::new(Watch {
        work: work.downgrade(),
        attempt: 1,
    });
    assert!(Parked::Job(work.clone(), Requeue::Back).is_live());
    let parked = [
        Parked::Attempt(Arc::downgrade(&watch)),
        Parked::Deadline(work.downgrade()),
        Parked::Lane(Arc::downgrade(&lane)),
    ];
    assert!(parked.iter().all(Key::is_live));
    drop((watch, work, lane, batch));
    assert!(!parked.iter().any(Key::is_live));
}

#[test]
fn entries_that_the_timer_finds_dead_are_left_to_a_worker() {
    let crew = crew();
    let park = || {
        let lane: SharedLane<'static> = Arc::new(Batch::default());
        crew.park_again(Nanos::MAX, &lane);
    };
    park();
    assert!(crew.queue.is_empty());
    (0..100).for_each(|_| park());
    assert!(crew.queue.has_urgent());
    crew.sweep(GiveUpReason::Shutdown);
}

#[test]
fn in_a_stopped_pool_a_worker_runs_errands_and_ends_the_rest() {
    let crew = crew();
    crew.stop_now();
    let batch = Arc::new(Batch::default());
    crew.enqueue(Requeue::Back, Piece::whole(Arc::clone(&batch) as _));
    assert!(batch.noted().is_empty());
    // The test's thread takes the part of the worker's.
    let worker = Arc::downgrade(&crew);
    crew.roster.set_recruiter(Arc::new(move |post| {
        worker.upgrade().unwrap().work(&post);
        Ok(())
    }));
    crew.run_errand(Errand::Judge(Arc::clone(&batch) as _));
    assert_eq!(batch.noted(), ["judged by a worker", "given up"]);
}

#[test]
fn in_a_stopped_pool_that_can_have_no_worker_an_errand_is_done_at_once() {
    let crew = crew();
    let batch = Arc::new(Batch::default());
    crew.run_errand(Errand::Judge(Arc::clone(&batch) as _));
    assert!(batch.noted().is_empty());
    crew.stop_now();
    assert_eq!(batch.noted(), ["judged by nobody"]);
    crew.run_errand(Errand::Judge(Arc::clone(&batch) as _));
    assert_eq!(batch.noted(), ["judged by nobody"]);
}

#[test]
fn a_worker_that_sweeps_ends_what_it_finds() {
    let crew = crew();
    let batch = Arc::new(Batch::default());
    crew.enqueue(Requeue::Back, Piece::whole(Arc::clone(&batch) as _));
    let swept = Arc::clone(&crew);
    crew.roster.set_recruiter(Arc::new(move |post| {
        Slip::with(Errand::Sweep).run(&swept, &post);
        Err(std::io::Error::other("it is done"))
    }));
    assert!(crew.roster.recruit(Role::Errand).is_err());
    assert_eq!(batch.noted(), ["given up"]);
    crew.roster.dismiss_recruiter();
}

#[test]
fn one_sweep_ends_any_number_of_others() {
    let crew = crew();
    for _ in 0..20_000 {
        crew.queue.push_urgent(Slip::with(Errand::Sweep));
    }
    crew.sweep(GiveUpReason::Shutdown);
    assert!(crew.queue.is_empty());
}

#[test]
fn a_batch_is_closed_at_once_where_its_pool_takes_nothing_from_who_begins_it() {
    let crew = crew();
    let register = || {
        let batch = Arc::new(Batch::default());
        let lane: SharedLane<'static> = Arc::clone(&batch) as _;
        crew.register(crew.next_batch(), &lane, Arc::default());
        !batch.noted().is_empty()
    };
    assert!(!register());
    // A job keeps the pool from its end.
    crew.admit(Patience::None).unwrap();
    crew.close();
    assert!(register());
    Post::join(crew.roster.id);
    assert!(!register());
    crew.callers.succeeded.add(1);
    crew.settled_one();
    assert!(register());
}
