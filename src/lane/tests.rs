//! Single visits to a lane, without threads.

use super::entry::Share;
use super::*;
use crate::cancel::CancelToken;
use crate::crew::Settings;
use crate::give_up::{AttemptError, Record};
use crate::judge::Outcome;
use crate::observe::{Observer, Watcher};
use crate::permits::Permits;
use crate::policy::RetryPolicy;
use crate::roster::Roster;
use crate::unwind::Contained;

pub(super) type Numbers = Core<u32, u32, ()>;

fn setup<I>() -> Setup<I> {
    Setup {
        roster: Arc::new(Roster::new(2, 0, Permits::new(None))),
        number: 1,
        window: 100_000,
        threads: 2,
        place: Requeue::Back,
        fail_fast: FailFast::Never,
        share: None,
        token: CancelToken::new(),
        deadline: None,
        errors_kept: 1,
        observer: Watcher::default(),
    }
}

fn crew() -> Crew<'static> {
    Crew::new(Settings {
        threads: 2,
        processors: 2,
        policy: RetryPolicy::default(),
        seed: 0,
        capacity: None,
        max_stuck: 0,
        on_thread_start: None,
        on_thread_stop: None,
        observer: Watcher::default(),
    })
}

fn fill(core: &Numbers, jobs: u32) {
    let mut state = core.state.lock();
    for n in 0..jobs {
        let mut job = core.setup.fresh(n, n as usize, 0);
        job.record = (n % 2 == 1).then(|| {
            let mut record = Record::new();
            record.note(1, AttemptError::Failed(()), 0, 1);
            record
        });
        state.queued.push_back(job);
    }
}

/// A batch with so many jobs in its queue, of which the odd ones have failed before.
pub(super) fn batch(jobs: u32) -> Numbers {
    let core = Numbers::new(setup());
    fill(&core, jobs);
    core
}

fn succeed(job: Queued<u32, ()>) -> Ran<u32, u32, ()> {
    Ran::Settled(job.succeed(0))
}

fn turn<'a>(
    pocket: Option<&'a SharedPocket<u32, u32, ()>>,
    tiny: bool,
    over: bool,
) -> Turn<'a, u32, u32, ()> {
    Turn {
        pocket,
        tiny,
        over,
        time: 0,
    }
}

struct Nobody;

impl Observer for Nobody {}

#[test]
fn a_worker_takes_one_job_at_a_time_where_their_order_or_each_end_matters() {
    fn share(input: u32) -> SharedInput<u32> {
        Arc::new(Contained::new(input)) as Arc<dyn Share<u32> + Send + Sync>
    }
    let setups: [(fn(&mut Setup<u32>), bool); 5] = [
        (|_| {}, true),
        (|setup| setup.place = Requeue::Front, false),
        (|setup| setup.fail_fast = FailFast::AfterFailures(1), false),
        (|setup| setup.share = Some(share), false),
        (|setup| setup.observer = Watcher::new(Nobody), false),
    ];
    for (change, pockets) in setups {
        let mut setup = setup();
        change(&mut setup);
        let core = Numbers::new(setup);
        fill(&core, 1);
        let (job, pocket) = core.begin(0).unwrap();
        assert_eq!(pocket.is_some(), pockets);
        core.state.lock().tokens = 1;
        let turn = turn(pocket.as_ref(), false, false);
        let (after, _) = core.exchange(succeed(job), None, &turn);
        assert!(matches!(after, After::Empty));
    }
}

#[test]
fn a_pocket_is_filled_while_jobs_are_tiny_and_the_turn_is_not_over() {
    for (tiny, over, pocketed) in [(true, false, 15), (false, false, 0), (true, true, 0)] {
        let core = batch(32);
        core.state.lock().tokens = 1;
        let (job, pocket) = core.begin(0).unwrap();
        let pocket = pocket.unwrap();
        let visit = turn(Some(&pocket), tiny, over);
        let (after, _) = core.exchange(succeed(job), None, &visit);
        assert_eq!(core.state.lock().pocketed, pocketed);
        let After::Job(job) = after else {
            assert!(over);
            assert_eq!(core.state.lock().queued.len(), 31);
            continue;
        };
        assert!(!over);
        // The next comes out of the pocket, or does not.
        let (after, _) = core.exchange(succeed(job), None, &visit);
        let After::Job(job) = after else {
            panic!("there are more");
        };
        let left = core.state.lock().pocketed;
        assert_eq!(left, pocketed.saturating_sub(1));
        // What is left in it goes back with the turn.
        core.state.lock().tokens = 1;
        let visit = turn(Some(&pocket), tiny, true);
        let (after, _) = core.exchange(succeed(job), None, &visit);
        assert!(matches!(after, After::TurnOver));
        let state = core.state.lock();
        assert_eq!((state.pocketed, state.queued.len()), (0, 29));
    }
}

#[test]
fn a_turn_that_is_over_gives_the_token_up_if_nothing_is_left() {
    let core = batch(1);
    core.state.lock().tokens = 1;
    let (job, _) = core.begin(0).unwrap();
    let (after, _) = core.exchange(succeed(job), None, &turn(None, false, true));
    assert!(matches!(after, After::Empty));
    assert_eq!(core.state.lock().tokens, 0);
}

#[test]
fn a_worker_that_comes_back_from_waiting_is_not_away_any_more() {
    let core = batch(1);
    core.state.lock().tokens = 1;
    let (job, pocket) = core.begin(0).unwrap();
    assert_eq!(core.missing_tokens(true), 0);
    let away = |core: &Numbers| {
        let state = core.state.lock();
        (state.away, state.tokens)
    };
    assert_eq!(away(&core), (1, 0));
    core.put_away(succeed(job), None, pocket.as_ref());
    assert_eq!(away(&core), (0, 0));
}

#[test]
fn who_has_judged_gives_its_token_back_unless_it_has_waited() {
    for (has_token, left) in [(true, (0, 3, 1)), (false, (0, 4, 0))] {
        let core = batch(1);
        core.state.lock().tokens = 2;
        let (job, _) = core.begin(0).unwrap();
        {
            let mut state = core.state.lock();
            (state.judging, state.tokens, state.away) = (1, 4, 1);
        }
        core.put_judged(succeed(job), None, has_token);
        let mut state = core.state.lock();
        assert_eq!((state.judging, state.tokens, state.away), left);
        state.away = 0;
    }
}

#[test]
fn a_token_that_was_not_used_is_out_no_more() {
    let core = batch(0);
    core.state.lock().tokens = 2;
    core.void_token();
    assert_eq!(core.state.lock().tokens, 1);
}

#[test]
fn a_success_is_told_its_time_at_the_next_look_at_the_clock() {
    let core = batch(1);
    core.state.lock().tokens = 1;
    let (job, _) = core.begin(0).unwrap();
    core.exchange(succeed(job), None, &turn(None, false, false));
    assert_eq!(core.state.lock().settled[0].ended, 0);
    core.tell_time(50);
    core.tell_time(60);
    assert_eq!(core.state.lock().settled[0].ended, 50);
}

#[test]
fn a_long_queue_gives_its_memory_back_once_it_is_empty() {
    let core = batch(0);
    let mut state = core.state.lock();
    state.queued.reserve(LONG / 2);
    assert_eq!(state.take_outgrown().capacity(), 0, "it is not long");
    state.queued.reserve(LONG + 1);
    state.queued.push_back(core.setup.fresh(0, 0, 0));
    assert!(state.take_outgrown().is_empty(), "it is not empty");
    assert!(state.queued.pop_front().is_some());
    assert!(state.take_outgrown().capacity() > LONG);
    assert_eq!(state.queued.capacity(), 0);
}

#[test]
fn the_timer_is_asked_only_for_what_is_earlier_than_all_it_knows() {
    let core = batch(0);
    let mut state = core.state.lock();
    let asked = [5, 5, 7, 3, 4].map(|due| state.arm(due));
    assert_eq!(asked, [Some(5), None, None, Some(3), None]);
}

#[test]
fn what_comes_due_at_the_front_is_in_the_order_of_the_due_times_and_then_of_arrival() {
    let core = batch(4);
    let mut state = core.state.lock();
    let jobs: Vec<_> = state.queued.drain(..).collect();
    for (due, mut job) in [5, 5, 9, 5].into_iter().zip(jobs) {
        job.record.get_or_insert_with(Record::new);
        state.requeue_due(Requeue::Front, due, job);
    }
    let order: Vec<_> = state.queued.iter().map(|job| job.index).collect();
    assert_eq!(order, [0, 1, 3, 2]);
}

#[test]
fn a_batch_that_has_failed_fast_ends_for_that_reason() {
    let core = batch(2);
    core.state.lock().gate = Gate::Ended(GiveUpReason::FailFast);
    core.end(&crew(), GiveUpReason::Cancelled);
    let state = core.state.lock();
    assert_eq!((state.settled.len(), state.running), (2, 0));
    for settled in &state.settled {
        let give_up = settled.result.as_ref().unwrap_err();
        assert_eq!(give_up.reason(), GiveUpReason::FailFast);
    }
}

#[test]
fn a_batch_that_is_abandoned_has_nothing_left() {
    let core = batch(3);
    core.state.lock().tokens = 1;
    let (job, _) = core.begin(0).unwrap();
    core.abandon(&crew());
    assert_eq!(core.state.lock().held(), 1, "what runs");
    let (_, leftover) = core.exchange(succeed(job), None, &turn(None, false, false));
    assert!(leftover.unread.is_some());
    assert_eq!(core.state.lock().held(), 0);
}

#[test]
fn the_iterator_is_woken_only_when_it_sleeps() {
    let core = batch(0);
    let soon = crate::sync::now();
    core.wake_iterator();
    assert!(!core.is_awaited() && !core.parker.park(Some(soon)));
    core.set_awaited(true);
    core.wake_iterator();
    assert!(!core.is_awaited() && core.parker.park(Some(soon)));
}

#[test]
fn what_is_left_in_a_batch_is_dropped_value_by_value() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let core = Core::<Bomb, (), ()>::new(setup());
    let mut state = core.state.lock();
    for _ in 0..2 {
        let (queued, settled) = (core.setup.fresh(Bomb, 0, 0), core.setup.fresh(Bomb, 0, 0));
        state.queued.push_back(queued);
        state.settled.push_back(settled.succeed(()));
    }
    drop(state);
    drop(core);
}

#[test]
fn a_job_that_is_not_retried_any_more_gives_the_reason_for_which_its_batch_has_ended() {
    for retried in [Ran::Retry, |job| Ran::Park(9, job)] {
        let core = batch(1);
        core.state.lock().tokens = 1;
        let (job, _) = core.begin(0).unwrap();
        core.state.lock().gate = Gate::Ended(GiveUpReason::FailFast);
        let (_, leftover) = core.exchange(retried(job), Some(3), &turn(None, false, false));
        assert_eq!(leftover.ended.unwrap().reason, GiveUpReason::FailFast);
        let state = core.state.lock();
        let give_up = state.settled[0].result.as_ref().unwrap_err();
        assert_eq!(give_up.reason(), GiveUpReason::FailFast);
    }
}

#[test]
fn a_success_in_a_pocket_is_brought_to_the_iterator_that_sleeps() {
    let core = batch(16);
    core.state.lock().tokens = 1;
    let (job, pocket) = core.begin(0).unwrap();
    let pocket = pocket.unwrap();
    let visit = turn(Some(&pocket), true, false);
    let (After::Job(mut job), _) = core.exchange(succeed(job), None, &visit) else {
        panic!("there are more");
    };
    let exchanged = pocket.exchange(&mut job, Outcome::Succeeded(0), None);
    assert!(exchanged.is_ok());
    core.set_awaited(true);
    core.deliver(&pocket);
    assert_eq!(core.state.lock().settled.len(), 2);
    assert!(!core.is_awaited() && core.parker.park(Some(crate::sync::now())));
    core.exchange(succeed(job), None, &turn(Some(&pocket), false, true));
}

#[test]
fn one_token_more_is_wanted_for_each_abandoned_attempt_that_is_judged() {
    let core = batch(5);
    let mut state = core.state.lock();
    for (judging, tokens, lacking) in [(0, 0, 2), (1, 2, 1), (9, 0, 5), (0, 3, 0)] {
        (state.judging, state.tokens) = (judging, tokens);
        assert_eq!(state.lacking(2), lacking);
    }
    state.judging = 0;
}
