//! A lane visit by visit, without threads and without a clock.

use std::time::Duration;

use super::*;
use crate::cancel::CancelToken;
use crate::clock::Clock;
use crate::crew::Settings;
use crate::give_up::{AttemptError, Record};
use crate::judge::Outcome;
use crate::observe::{Observer, Watcher};
use crate::permits::Permits;
use crate::roster::{Post, Role, Roster};
use crate::sync::{Mutex, now, thread};
use crate::unwind::Contained;

pub(super) type Numbers = Core<u32, u32, ()>;
pub(super) type Job = Queued<u32, ()>;
pub(super) type Pocket = SharedPocket<u32, u32, ()>;

/// For a pool of one.
pub(super) fn setup<I>() -> Setup<I> {
    Setup {
        roster: Arc::new(Roster::new(1, 1, Permits::new(None))),
        number: 1,
        window: 100,
        threads: 1,
        processors: 2,
        place: Requeue::Back,
        fail_fast: FailFast::Never,
        share: None,
        token: CancelToken::new(),
        clock: Clock::new(),
        deadline: None,
        errors_kept: 1,
        observer: Watcher::default(),
    }
}

pub(super) fn crew() -> Crew<'static> {
    Crew::new(Settings::plain())
}

/// How a worker stands whose last job was tiny, or was not.
pub(super) fn turn(pocket: Option<&Pocket>, tiny: bool) -> Turn<'_, u32, u32, ()> {
    Turn {
        pocket,
        each: if tiny { 0 } else { TINY },
        over: false,
        time: 0,
    }
}

/// How one stands whose turn is over.
fn over(pocket: Option<&Pocket>) -> Turn<'_, u32, u32, ()> {
    Turn {
        over: true,
        ..turn(pocket, true)
    }
}

fn failed(mut job: Job) -> Job {
    job.record.get_or_insert_with(Record::new);
    job
}

pub(super) fn next(after: After<u32, ()>) -> Job {
    match after {
        After::Job(job) => job,
        After::Empty => panic!("the queue is empty"),
        After::TurnOver => panic!("the turn is over"),
    }
}

impl<I, T, E> Core<I, T, E> {
    /// Has every worker left this batch?
    pub(crate) fn is_left_alone(&self) -> bool {
        self.state.lock().tokens == 0
    }
}

impl Numbers {
    /// Admits so many inputs; says how many tokens are to be announced.
    fn add(&self, jobs: u32) -> usize {
        self.admit(&mut (0..jobs).collect(), 10).tokens
    }

    /// A worker with a token takes the first job.
    fn first(&self) -> Job {
        self.begin(0).unwrap().0
    }

    fn succeed(&self, job: Job, turn: &Turn<'_, u32, u32, ()>) -> After<u32, ()> {
        self.exchange(Ran::Settled(job.succeed(0)), None, turn).0
    }

    /// Runs what is queued; gives the numbers of the jobs.
    fn run_all(&self) -> Vec<usize> {
        let mut numbers = Vec::new();
        let mut begun = self.begin(0).map(|(job, _)| job);
        while let Some(job) = begun {
            numbers.push(job.index);
            begun = match self.succeed(job, &turn(None, false)) {
                After::Job(job) => Some(job),
                _ => None,
            };
        }
        numbers
    }

    fn collect_all(&self) -> VecDeque<Settled<u32, u32, ()>> {
        let mut ready = VecDeque::new();
        self.collect(&mut ready, 0, &crew());
        ready
    }

    /// A worker's place in the pool of this lane.
    fn post(&self) -> Arc<Post> {
        let roster = &self.setup.roster;
        let recruited = Arc::new(Mutex::new(None));
        let place = Arc::clone(&recruited);
        roster.set_recruiter(Arc::new(move |post| {
            *place.lock() = Some(post);
            Ok(())
        }));
        roster.recruit(Role::Regular).unwrap();
        roster.dismiss_recruiter();
        let post = recruited.lock().take();
        post.unwrap()
    }

    /// Begins an attempt that may take from 2 to 6.
    fn lend_first(&self, post: &Arc<Post>) -> u64 {
        let job = self.first();
        post.hold_token_of(1);
        let token = CancelToken::new();
        let (ticket, arm) = self.lend(job, 2, 6, Arc::clone(post), token);
        assert_eq!(arm, Some(6));
        ticket
    }
}

#[test]
fn workers_have_pockets_where_neither_order_nor_ends_nor_time_matter() {
    struct Deaf;
    impl Observer for Deaf {}
    let has_pocket = |change: fn(&mut Setup<u32>)| {
        let mut setup = setup();
        change(&mut setup);
        let core = Numbers::new(setup);
        core.add(1);
        let (job, pocket) = core.begin(0).unwrap();
        core.succeed(job, &turn(pocket.as_ref(), true));
        pocket.is_some()
    };
    assert!(has_pocket(|_| {}));
    assert!(!has_pocket(|setup| setup.place = Requeue::Front));
    assert!(!has_pocket(
        |setup| setup.fail_fast = FailFast::AfterFailures(9)
    ));
    assert!(!has_pocket(|setup| {
        setup.share = Some(|input| Arc::new(Contained::new(input)));
    }));
    assert!(!has_pocket(|setup| setup.observer = Watcher::new(Deaf)));
}

#[test]
fn a_worker_takes_several_jobs_at_once_only_while_they_are_tiny() {
    let core = Numbers::new(setup());
    core.add(9);
    let pocketed = || core.state.lock().pocketed;
    let (job, pocket) = core.begin(0).unwrap();
    let pocket = pocket.as_ref();
    let job = next(core.succeed(job, &turn(pocket, false)));
    assert_eq!(pocketed(), 0);
    let job = next(core.succeed(job, &turn(pocket, true)));
    // Half of the six that were left.
    assert_eq!(pocketed(), 3);
    // One that is parked makes room for the next one, too.
    let parked = Ran::Park(5, failed(job));
    let job = next(core.exchange(parked, None, &turn(pocket, true)).0);
    assert_eq!((job.index, pocketed()), (3, 2));
    assert!(matches!(core.succeed(job, &over(pocket)), After::TurnOver));
    assert_eq!(pocketed(), 0);
    assert_eq!(core.run_all(), [4, 5, 6, 7, 8]);
}

#[test]
fn a_token_goes_to_the_back_only_if_its_turn_is_over_and_a_job_is_left() {
    let core = Numbers::new(setup());
    core.add(2);
    let job = next(core.succeed(core.first(), &turn(None, false)));
    let over = over(None);
    assert!(matches!(core.succeed(job, &over), After::Empty));
    assert_eq!(core.add(2), 1);
    assert!(matches!(core.succeed(core.first(), &over), After::TurnOver));
    // It is still out.
    assert_eq!(core.missing_tokens(false), 0);
}

#[test]
fn a_resubmitted_job_asks_the_workers_for_a_token_if_one_is_missing() {
    let core = Numbers::new(setup());
    core.add(2);
    let has_notes = || core.setup.roster.has_notes();
    let job = next(core.succeed(core.first(), &turn(None, false)));
    // Who runs the second one will take it.
    let done = core.collect_all().pop_front().unwrap();
    assert!(core.resubmit(done).is_ok() && !has_notes());
    let job = next(core.succeed(job, &turn(None, false)));
    assert!(matches!(
        core.succeed(job, &turn(None, false)),
        After::Empty
    ));
    let done = core.collect_all().pop_front().unwrap();
    assert!(core.resubmit(done).is_ok() && has_notes());
}

#[test]
fn a_permit_that_waits_for_an_input_is_given_back_when_others_have_taken_the_room() {
    let core = Numbers::new(Setup {
        roster: Arc::new(Roster::new(1, 1, Permits::new(Some(2)))),
        window: 1,
        ..setup()
    });
    core.add(1);
    core.run_all();
    let permits = &core.setup.roster.permits;
    // As its worker does.
    permits.release(1);
    let done = core.collect_all().pop_front().unwrap();
    assert!(core.collect_all().is_empty());
    assert_eq!(core.wait(Some(now()), RefillFor::Permit), Woken::Progress);
    assert_eq!(permits.try_acquire(2), 1);
    permits.release(1);
    assert!(core.resubmit(done).is_ok());
    assert_eq!(permits.try_acquire(1), 0);
    assert!(core.collect_all().is_empty());
    assert_eq!(permits.try_acquire(2), 1);
}

#[test]
fn a_success_in_a_pocket_is_brought_to_an_iterator_that_sleeps_or_gathered_by_one_that_looks() {
    let core = Numbers::new(setup());
    core.add(9);
    let (job, pocket) = core.begin(0).unwrap();
    let pocket = pocket.as_ref().unwrap();
    let mut job = next(core.succeed(job, &turn(Some(pocket), true)));
    assert_eq!(core.collect_all().len(), 1);
    assert!(!core.gather());
    assert!(
        pocket
            .exchange(&mut job, Outcome::Succeeded(1), None)
            .is_ok()
    );
    assert_eq!(core.collect_all().len(), 0);
    core.deliver(pocket);
    assert_eq!(core.collect_all().len(), 1);
    assert!(
        pocket
            .exchange(&mut job, Outcome::Succeeded(2), None)
            .is_ok()
    );
    assert!(core.gather());
    assert_eq!(core.collect_all().len(), 1);
    core.succeed(job, &over(Some(pocket)));
    // It has not slept.
    assert!(!core.parker.park(Some(now())));
}

#[test]
fn what_comes_due_is_queued_in_that_moment_and_ahead_by_its_time_and_number() {
    let core = Numbers::new(Setup {
        place: Requeue::Front,
        ..setup()
    });
    assert_eq!(core.add(4), 1);
    let mut after = After::Job(core.first());
    let mut looks = Vec::new();
    for due in [7, 5, 5, 9] {
        let parked = Ran::Park(due, failed(next(after)));
        let (then, leftover) = core.exchange(parked, None, &turn(None, false));
        after = then;
        looks.push(leftover.arm);
    }
    // The timer looks once at each time.
    assert_eq!(looks, [Some(7), Some(5), None, None]);
    let early = core.due(4);
    assert_eq!((early.tokens, early.again), (0, None));
    let on_time = core.due(5);
    assert_eq!((on_time.tokens, on_time.again), (1, None));
    let queued = || {
        let state = core.state.lock();
        let queued = state.queued.iter().map(|job| job.index);
        queued.collect::<Vec<_>>()
    };
    assert_eq!(queued(), [1, 2]);
    let later = core.due(7);
    assert_eq!((later.tokens, later.again), (0, Some(9)));
    assert_eq!(queued(), [1, 2, 0]);
    assert_eq!(core.run_all(), [1, 2, 0]);
    assert_eq!(core.missing_tokens(false), 0);
}

#[test]
fn parked_jobs_are_ordered_by_their_time_then_by_their_number() {
    let parked = |due, index| ParkedJob {
        due,
        job: Queued {
            input: Input::Own(0),
            index,
            accepted: 0,
            record: None::<Box<Record<()>>>,
        },
    };
    // The greatest comes first.
    assert!(parked(1, 9) > parked(2, 0));
    assert!(parked(1, 0) > parked(1, 1));
    assert!(parked(1, 0) == parked(1, 0));
    assert!(parked(1, 0) != parked(1, 1));
}

#[test]
fn what_has_not_begun_when_the_time_is_over_ends_for_that_whatever_comes_after() {
    let core = Numbers::new(Setup {
        deadline: Some(9),
        ..setup()
    });
    core.add(3);
    let job = core.first();
    assert!(!core.due(8).over);
    assert!(core.due(9).over);
    assert!(!core.due(9).over);
    let retried = Ran::Retry(failed(job));
    let (after, leftover) = core.exchange(retried, None, &turn(None, false));
    assert!(matches!(after, After::Empty) && leftover.ended.is_some());
    core.end(&crew(), GiveUpReason::Cancelled);
    assert_eq!(core.tally().gave_up, 3);
    let reason = |done: Settled<u32, u32, ()>| done.result.unwrap_err().reason();
    let reasons: Vec<_> = core.collect_all().into_iter().map(reason).collect();
    assert_eq!(reasons, [GiveUpReason::DeadlineExceeded; 3]);
}

/// At the front, in the order in which they came due, before all that came by another way.
#[test]
fn retries_that_come_due_at_the_front_pass_fresh_and_resubmitted_jobs() {
    let mut setup = setup();
    setup.place = Requeue::Front;
    let core = Numbers::new(setup);
    core.add(12);
    let ran: Vec<_> = (0..9).map(|_| core.first()).collect();
    for (job, ran) in ran.into_iter().enumerate() {
        let ran = match job {
            7 => Ran::Park(30, failed(ran)),
            8 => Ran::Park(20, failed(ran)),
            _ => Ran::Settled(ran.succeed(0)),
        };
        core.put(&mut core.state.lock(), ran, None);
    }
    for done in core.collect_all() {
        assert!(core.resubmit(done).is_ok());
    }
    core.due(20);
    core.due(30);
    let order = [8, 7, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6];
    assert_eq!(core.run_all(), order);
}

#[test]
fn of_an_abandoned_batch_only_what_runs_is_left_and_nobody_gets_its_result() {
    let core = Numbers::new(setup());
    core.add(3);
    let job = core.first();
    core.abandon(&crew());
    assert_eq!(core.state.lock().held(), 1);
    let ran = Ran::Settled(job.succeed(0));
    let (after, leftover) = core.exchange(ran, None, &turn(None, false));
    assert!(matches!(after, After::Empty) && leftover.unread.is_some());
    assert_eq!(core.state.lock().held(), 0);
}

#[test]
fn a_long_queue_gives_its_memory_back_when_it_is_empty_and_not_before() {
    let core = Numbers::new(setup());
    core.add(1);
    let mut state = core.state.lock();
    state.queued.reserve(LONG);
    assert_eq!(state.take_outgrown().capacity(), 0);
    assert_eq!(state.queued.len(), 1);
    state.queued.clear();
    assert!(state.take_outgrown().capacity() > LONG);
    // A short one keeps it.
    state.queued.reserve(1);
    assert_eq!(state.take_outgrown().capacity(), 0);
}

#[test]
fn inputs_and_results_that_panic_when_dropped_do_so_one_by_one_with_their_lane() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(thread::panicking(), "a value is dropped");
        }
    }
    let core = Core::<Bomb, Bomb, ()>::new(setup());
    core.admit(&mut vec![Bomb, Bomb], 0);
    let (job, pocket) = core.begin(0).unwrap();
    let turn = Turn {
        pocket: pocket.as_ref(),
        each: TINY,
        over: true,
        time: 0,
    };
    core.exchange(Ran::Settled(job.succeed(Bomb)), None, &turn);
    drop(core);
}

#[test]
fn a_success_is_timed_by_the_next_look_at_the_clock() {
    let core = Numbers::new(setup());
    // They were accepted at 10.
    core.add(3);
    let plain = turn(None, false);
    let job = core.first();
    let (after, _) = core.exchange(Ran::Settled(job.succeed(0)), Some(13), &plain);
    let job = next(core.succeed(next(after), &plain));
    core.tell_time(17);
    let timed: Vec<_> = core.collect_all().iter().map(Settled::elapsed).collect();
    assert_eq!(timed, [3, 7].map(Duration::from_nanos));
    core.succeed(job, &plain);
    assert!(core.collect_all()[0].elapsed() > Duration::from_nanos(7));
}

#[test]
fn an_abandoned_attempt_is_judged_with_a_token_of_its_own() {
    let core = Numbers::new(setup());
    assert_eq!(core.add(1), 1);
    let ticket = core.lend_first(&core.post());
    assert!(core.due(5).stuck.is_empty());
    assert_eq!(core.due(6).stuck.len(), 1);
    assert!(core.reclaim(ticket).is_none());
    let mut job = core.take_expired().unwrap();
    assert!(core.take_expired().is_none());
    let limit = job.record.as_mut().unwrap().take_expired();
    assert_eq!(limit, Some(Duration::from_nanos(4)));
    // The stuck worker's token is void, and that of the judge helps no other job.
    assert_eq!(core.add(1), 1);
    let (_, tokens) = core.put_judged(Ran::Retry(job), Some(7), true);
    assert_eq!((tokens, core.run_all()), (0, vec![1, 0]));
    assert_eq!(core.add(1), 1);
}

#[test]
fn an_iterator_that_wants_more_is_woken_when_an_abandoned_attempt_is_parked() {
    let core = Numbers::new(Setup {
        threads: 2,
        ..setup()
    });
    assert_eq!(core.add(2), 2);
    core.lend_first(&core.post());
    core.set_awaited(true);
    core.state.lock().wants_more = true;
    assert_eq!(core.due(6).stuck.len(), 1);
    let job = core.take_expired().unwrap();
    assert!(core.is_awaited());
    // One job is left, and that in the queue.
    let _ = core.put_judged(Ran::Park(99, job), Some(7), true);
    assert!(!core.is_awaited());
}

#[test]
fn an_attempt_that_returns_in_time_is_not_abandoned() {
    let core = Numbers::new(setup());
    core.add(1);
    let ticket = core.lend_first(&core.post());
    let job = core.reclaim(ticket).unwrap();
    assert!(core.due(6).stuck.is_empty());
    core.succeed(job, &turn(None, false));
    assert_eq!(core.collect_all().len(), 1);
}

#[test]
fn who_waits_for_other_jobs_has_no_token_and_lends_its_place_until_it_is_back_or_abandoned() {
    let core = Numbers::new(setup());
    core.add(1);
    let (away, free) = (
        || core.state.lock().away,
        || core.state.lock().room(core.setup.window),
    );
    // In its job.
    let job = core.first();
    assert_eq!((core.missing_tokens(true), away(), free()), (0, 1, 100));
    let (_, tokens) = core.put_away(Ran::Retry(job), None, None);
    assert_eq!((tokens, away(), free()), (1, 0, 99));
    // In an attempt that is abandoned.
    let post = core.post();
    core.lend_first(&post);
    assert!(post.void_token());
    core.missing_tokens(true);
    assert_eq!(core.due(6).stuck.len(), 1);
    assert_eq!((away(), free()), (0, 99));
    // In a hook that hears of that.
    let job = core.take_expired().unwrap();
    core.missing_tokens(true);
    assert_eq!((away(), free()), (1, 100));
    let (_, tokens) = core.put_judged(Ran::Retry(job), None, false);
    assert_eq!((tokens, away(), free()), (1, 0, 99));
    assert_eq!(core.run_all(), [0]);
    assert_eq!(core.add(1), 1);
}

#[test]
fn an_abandoned_attempt_that_nobody_has_judged_was_made_when_its_batch_ends() {
    let core = Numbers::new(setup());
    core.add(1);
    core.lend_first(&core.post());
    assert_eq!(core.due(6).stuck.len(), 1);
    core.end(&crew(), GiveUpReason::Cancelled);
    let done = core.collect_all().pop_front().unwrap();
    let give_up = done.result.unwrap_err();
    let seen = (done.attempts, give_up.attempts(), give_up.reason());
    assert_eq!(seen, (1, 1, GiveUpReason::Cancelled));
    assert!(
        matches!(give_up.last_error(), Some(AttemptError::TimedOut(limit)) if *limit == Duration::from_nanos(4))
    );
}

#[test]
fn a_worker_may_come_back_from_waiting_after_its_batch_is_gone_and_nobody_has_noted_that_it_went() {
    let core = Numbers::new(setup());
    core.add(1);
    let job = core.first();
    core.put_away(Ran::Settled(job.succeed(0)), None, None);
    assert_eq!(core.state.lock().away, -1);
    drop(core);
}
