//! Where the jobs of one thread are placed.
//!
//! A thread that submits many jobs of one type to one pool, one after the other, has them placed in slabs: that spares an allocation for
//! each, and a good part of the memory. The price is that one job, or its handle, keeps the memory of all its slab, so a slab is small,
//! and the first jobs are by themselves. So are most of those that are waited for soon after they were submitted: in a slab, the worker
//! that runs one and the thread that submits the next would fight for the same memory. It is seen from a slab to which hardly anybody
//! refers by the time it has been used up. And so are those of a thread that has not used a slab up after four seconds.
//!
//! Only what `RetryPool::submit` and its kin are given comes here. A job with settings of its own, or of a scope, is always by itself.
//!
//! A slab that is free is used again. The thread keeps one, with nothing of the user's in it; beside the allocation, this keeps the allocator
//! from handing all memory back to the system each time that many jobs have ended.

use std::any::{Any, TypeId};
use std::cell::RefCell;

use super::Reference;
use super::cell::Cell;
use super::slab::{OPEN_FOR, Slab};
use super::todo::Plain;
use crate::clock::Nanos;
use crate::crew::{Crew, SharedWork};
use crate::sync::{Arc, thread_local};

/// So many jobs share a slab. With 32 of them, a million took about 0.9 of the time; but one that is parked for an hour would keep the memory of
/// 31 that are over.
const JOBS: usize = if cfg!(rp_shuttle) { 2 } else { 8 };
/// So many of one type come first, each by itself, and again after a slab that was too old; and twice as many each time that the jobs of a slab were soon over, up to the
/// second of these.
const ALONE: [usize; 2] = if cfg!(rp_shuttle) {
    [0, 0]
} else {
    [64, 1_024]
};
/// So many references to a slab are few, the thread's own included: a queued job has one from the pool, and each has one from its handle.
const FEW: usize = JOBS / 2;
/// Jobs that are larger are always by themselves: the allocation costs little beside them.
const MAX_BYTES: usize = 128;

thread_local! {
    static DESK: RefCell<Desk> = const { RefCell::new(Desk::new(None)) };
}

/// What a thread remembers of the jobs that it has submitted.
struct Desk {
    /// The type of the slabs, and the number of the pool.
    kind: Option<TypeId>,
    pool: u64,
    /// How many jobs in a row were of this kind, for this pool and by themselves; and how many are to be.
    alone: usize,
    wait: usize,
    slab: Option<Arc<dyn Any + Send + Sync>>,
    /// How many places of the slab are used. `None`: it is to be replaced, or to be renewed if it is free.
    used: Option<usize>,
    /// When the first job of the slab was accepted.
    since: Nanos,
}

type PlainSlab<F, T, E> = Slab<'static, Plain<F>, T, E, JOBS>;

impl Desk {
    const fn new(kind: Option<TypeId>) -> Self {
        Self {
            kind,
            pool: 0,
            alone: 0,
            wait: ALONE[0],
            slab: None,
            used: None,
            since: 0,
        }
    }

    /// A place for the next job; `None`: it is to be by itself. Runs no user code.
    fn place<F, T, E>(
        &mut self,
        crew: &Arc<Crew<'static>>,
        accepted: Nanos,
    ) -> Option<(Arc<PlainSlab<F, T, E>>, usize)>
    where
        F: Fn() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let kind = Some(TypeId::of::<PlainSlab<F, T, E>>());
        if self.kind != kind {
            *self = Self::new(kind);
        }
        if self.pool != crew.roster.id {
            (self.pool, self.used) = (crew.roster.id, None);
            (self.alone, self.wait) = (0, ALONE[0]);
        }
        if self.used == Some(JOBS) {
            self.used = None;
            let references = self.slab.as_ref().map_or(0, Arc::strong_count);
            if references <= FEW {
                (self.alone, self.wait) = (0, (2 * self.wait).min(ALONE[1]));
            } else {
                self.wait = ALONE[0];
            }
        }
        if self.used.is_some() && accepted.saturating_sub(self.since) > OPEN_FOR {
            // They come so slowly that there is nothing to be saved.
            (self.used, self.alone) = (None, 0);
        }
        if self.alone < self.wait {
            self.alone += 1;
            return None;
        }
        let at = match self.used {
            Some(used) => used,
            None => {
                let free = self.slab.as_mut().and_then(Arc::get_mut);
                let vacant = || PlainSlab::<F, T, E>::vacant(crew, accepted);
                match free.and_then(|slab| slab.downcast_mut()) {
                    Some(slab) => *slab = vacant(),
                    None => self.slab = Some(Arc::new(vacant())),
                }
                self.since = accepted;
                0
            }
        };
        self.used = Some(at + 1);
        Some((Arc::clone(self.slab.as_ref()?).downcast().ok()?, at))
    }
}

/// Makes a job of a function, for the pool and for its handle.
pub(crate) fn place<F, T, E>(
    crew: &Arc<Crew<'static>>,
    job: F,
    accepted: Nanos,
    number: u32,
) -> (SharedWork<'static>, Reference<'static, T, E>)
where
    F: Fn() -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    let job = Plain(job);
    let place = if size_of::<Cell<Plain<F>, T, E>>() <= MAX_BYTES {
        // While the thread's locals are torn down there is no desk.
        DESK.try_with(|desk| desk.borrow_mut().place(crew, accepted))
            .ok()
            .flatten()
    } else {
        None
    };
    match place {
        Some((slab, at)) => {
            slab.fill(at as u32, job, accepted, number);
            slab.both(at as u32)
        }
        None => Arc::new(Slab::single(crew, None, job, accepted, number)).whole(),
    }
}

#[cfg(all(test, not(any(rp_loom, rp_shuttle))))]
mod tests {
    use super::*;
    use crate::crew::Parked;
    use crate::policy::Requeue;
    use crate::sync::Weak;
    use crate::timer::Key;

    const FIRST: usize = ALONE[0];

    fn crew() -> Arc<Crew<'static>> {
        Arc::new(Crew::new(crate::crew::Settings::plain()))
    }

    /// Where in their slabs so many jobs of this type are placed, which stay for ever.
    fn places<F>(
        desk: &mut Desk,
        crew: &Arc<Crew<'static>>,
        _: &F,
        jobs: usize,
    ) -> Vec<Option<usize>>
    where
        F: Fn() -> Result<(), ()> + Send + 'static,
    {
        let place = |_| {
            let (slab, at) = desk.place::<F, (), ()>(crew, 0)?;
            // It counts as one that waits: a reference for the queue, and one for the handle.
            std::mem::forget((Arc::clone(&slab), slab));
            Some(at)
        };
        (0..jobs).map(place).collect()
    }

    fn numbers(range: std::ops::Range<usize>) -> Vec<Option<usize>> {
        range.map(Some).collect()
    }

    #[test]
    fn the_first_jobs_are_by_themselves_and_the_others_fill_slabs() {
        let (mut desk, crew, job) = (Desk::new(None), crew(), || Ok(()));
        assert_eq!(places(&mut desk, &crew, &job, FIRST), vec![None; FIRST]);
        for _ in 0..3 {
            assert_eq!(places(&mut desk, &crew, &job, JOBS), numbers(0..JOBS));
        }
    }

    #[test]
    fn types_that_take_turns_are_by_themselves() {
        let (mut desk, crew) = (Desk::new(None), crew());
        for _ in 0..2 * FIRST {
            assert_eq!(places(&mut desk, &crew, &|| Ok(()), 1), [None]);
            assert_eq!(places(&mut desk, &crew, &|| Err(()), 1), [None]);
        }
    }

    #[test]
    fn pools_that_take_turns_are_by_themselves() {
        let (mut desk, job, pools) = (Desk::new(None), || Ok(()), [crew(), crew()]);
        for n in 0..20 * FIRST {
            assert_eq!(places(&mut desk, &pools[n % 2], &job, 1), [None]);
        }
    }

    type Job = fn() -> Result<(), ()>;

    #[test]
    fn where_jobs_are_soon_over_more_and_more_are_by_themselves() {
        let (mut desk, crew, job) = (Desk::new(None), crew(), (|| Ok(())) as Job);
        let [first, most] = ALONE;
        for round in 0..10 {
            let place = |_| Some(desk.place::<Job, (), ()>(&crew, 0)?.1);
            let alone = (first << round).min(most);
            let placed: Vec<_> = (0..alone + JOBS).map(place).collect();
            assert_eq!(placed, [vec![None; alone], numbers(0..JOBS)].concat());
        }
        // Once jobs wait again, it is as it was.
        let again = places(&mut desk, &crew, &job, most + 2 * JOBS);
        assert_eq!(again[most..], [numbers(0..JOBS), numbers(0..JOBS)].concat());
        assert_eq!(desk.wait, first);
    }

    #[test]
    fn a_slab_that_is_free_is_used_again_for_another_pool_too() {
        let (mut desk, job) = (Desk::new(None), (|| Ok(())) as Job);
        let mut address = |crew| {
            assert_eq!(places(&mut desk, crew, &job, FIRST), vec![None; FIRST]);
            let (slab, at) = desk.place::<Job, (), ()>(crew, 0).unwrap();
            slab.fill(at as u32, Plain(job), 0, 0);
            (Arc::as_ptr(&slab).addr(), at)
        };
        assert_eq!(address(&crew()), address(&crew()));
    }

    #[test]
    fn what_was_learnt_of_one_pool_is_not_held_against_another() {
        let (mut desk, crew, job) = (Desk::new(None), crew(), (|| Ok(())) as Job);
        for _ in 0..FIRST + JOBS + 1 {
            let _ = desk.place::<Job, (), ()>(&crew, 0);
        }
        assert!(desk.wait > FIRST);
        let elsewhere = places(&mut desk, &self::crew(), &job, FIRST + 1);
        assert_eq!(elsewhere[FIRST - 1..], [None, Some(0)]);
    }

    #[test]
    fn jobs_that_come_slowly_are_by_themselves() {
        let (mut desk, crew, job) = (Desk::new(None), crew(), (|| Ok(())) as Job);
        let mut at = |accepted| {
            let (slab, at) = desk.place::<Job, (), ()>(&crew, accepted)?;
            slab.fill(at as u32, Plain(job), accepted, 0);
            assert_eq!(slab.accepted(at as u32, &crew), accepted);
            // For ever in the queue.
            std::mem::forget(slab);
            Some(at)
        };
        let mut begun = 7;
        for _ in 0..3 {
            assert!((0..FIRST).all(|_| at(begun).is_none()));
            let last = begun + OPEN_FOR;
            assert_eq!([begun, last, last].map(&mut at), [0, 1, 2].map(Some));
            begun = last + 1;
        }
        assert_eq!(at(Nanos::MAX), None);
    }

    #[test]
    fn large_jobs_are_by_themselves() {
        let (crew, large) = (crew(), [1_u64; 16]);
        // What is pushed ends at once.
        crew.stop_now();
        for number in 0..2 * FIRST as u32 {
            let job = move || Ok::<_, ()>(large[0]);
            let (work, (job, at)) = place(&crew, job, 0, number);
            crew.push(work);
            assert_eq!((at, Arc::strong_count(&job)), (0, 1));
        }
    }

    #[test]
    fn neighbours_are_told_apart_by_their_places() {
        let crew = crew();
        // What is pushed ends at once.
        crew.stop_now();
        let jobs: Vec<_> = (0..FIRST as u32 + 2)
            .map(|number| {
                let (work, job) = place(&crew, || Ok::<_, ()>(()), 0, number);
                crew.push(work);
                job
            })
            .collect();
        let [.., (before, 0), (one, 0), (other, 1)] = &jobs[..] else {
            panic!("placed otherwise");
        };
        assert!(Arc::ptr_eq(one, other) && !Arc::ptr_eq(before, one));
    }

    #[test]
    fn to_the_timer_a_job_is_dead_once_it_has_settled() {
        let crew = crew();
        let [parked, cancelled] = [0, 1].map(|number| {
            let (work, job) = place(&crew, || Ok::<_, ()>(()), 0, number);
            (Parked::Job(work, Requeue::Back), job)
        });
        let (job, at) = cancelled.1;
        assert!(job.cancel(at));
        assert_eq!((parked.0.is_live(), cancelled.0.is_live()), (true, false));
    }

    #[test]
    fn a_desk_keeps_nothing_of_the_users() {
        let (mut desk, crew, owned) = (Desk::new(None), crew(), Arc::new(()));
        let job = |mine: &Arc<()>| {
            let mine = Arc::clone(mine);
            move || Ok::<_, ()>(Arc::clone(&mine))
        };
        fn alike<J>(_: &J, job: J) -> J {
            job
        }
        let first = job(&owned);
        let settle = |slab: &PlainSlab<_, Arc<()>, ()>, at: usize, leave_first: bool| {
            let slot = &slab.cell(at as u32).slot;
            slab.fill(at as u32, Plain(alike(&first, job(&owned))), 0, 0);
            let (todo, _) = slot.begin(0).unwrap();
            if leave_first {
                slot.leave();
            }
            let unwanted = slot.set(Ok(todo.job.0().unwrap()));
            assert_eq!(unwanted.is_some(), leave_first);
            slot.leave();
        };
        for n in 0..FIRST + 4 {
            if let Some((slab, at)) = desk.place(&crew, 0) {
                settle(&slab, at, n % 2 == 0);
            }
        }
        drop(first);
        assert_eq!(Arc::strong_count(&owned), 1);
        let pool: Weak<_> = Arc::downgrade(&crew);
        drop(crew);
        assert!(desk.slab.is_some() && pool.upgrade().is_none());
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_queued_job_is_small() {
        fn sizes<F>(_: &F) -> [usize; 2]
        where
            F: Fn() -> Result<(), ()> + Send + 'static,
        {
            [
                size_of::<Cell<Plain<F>, (), ()>>(),
                size_of::<PlainSlab<F, (), ()>>(),
            ]
        }
        // A slab is what one job may keep.
        assert_eq!(sizes(&|| Ok(())), [40, 344]);
    }
}
