//! The state machine without threads and without a clock.

use std::time::Duration;

use super::child::{Brief, Child, Ward};
use super::options::{ChildExit, ChildOptions, OnGiveUp, Restart, Strategy};
use super::rules::{Ending, Span};
use super::slot::{After, Phase, Slot, Waiting, Wish};
use super::state::State;
use super::status::{ChildState, ChildStatus};
use crate::attempt::{Attempt, Texts};
use crate::clock::{Clock, Nanos};
use crate::policy::RetryPolicy;

const MS: Nanos = 1_000_000;

/// A supervisor without threads: who is started begins at once.
struct Bench {
    state: State,
    wards: Vec<Ward>,
}

fn bench(strategy: Strategy, options: &[&ChildOptions]) -> Bench {
    let mut state = State::new(strategy, true, Clock::new());
    for (id, options) in (0..).zip(options) {
        let child = Child::new(format!("{id}"), || Ok::<_, String>(()));
        let planned = child.options((*options).clone()).plan().unwrap();
        state.slots.push(Slot::new(id, planned));
    }
    let wards = Vec::new();
    Bench { state, wards }
}

fn fixed(delay: u64) -> ChildOptions {
    let policy = RetryPolicy::fixed(Duration::from_millis(delay));
    ChildOptions::new().delay(policy)
}

impl Bench {
    /// Takes a turn; gives who was told and who was started, each by id.
    fn turn(&mut self, now: Nanos) -> (Vec<u64>, Vec<u64>) {
        let told_before = self.told();
        let turn = self.state.turn(now);
        for start in &turn.start {
            let slot = self.state.slot(start.id).unwrap();
            self.wards.extend(slot.ward.take());
            slot.run(start.generation).unwrap().begun = Some(now);
        }
        let told = self.told().into_iter();
        let told = told.filter(|id| !told_before.contains(id)).collect();
        (told, turn.start.iter().map(|start| start.id).collect())
    }

    fn told(&self) -> Vec<u64> {
        let slots = self.state.slots.iter();
        let told =
            slots.filter(|slot| matches!(&slot.phase, Phase::Active(run) if run.told.is_some()));
        told.map(|slot| slot.id).collect()
    }

    /// The run of a child ends: with a failure whose policy says this delay.
    fn fail(&mut self, id: u64, delay: Nanos) {
        self.fail_after(0, id, delay);
    }

    /// As `fail`, for a run that has lasted for so long.
    fn fail_after(&mut self, uptime: Nanos, id: u64, delay: Nanos) {
        let run = Span {
            uptime,
            delay: Some(delay),
        };
        let error = "x".into();
        self.end(id, Ending::Failed { error, run });
    }

    /// The run of a child ends in good order.
    fn complete(&mut self, id: u64) {
        let run = Span {
            uptime: 0,
            delay: Some(0),
        };
        let exit = ChildExit::Normal;
        self.end(id, Ending::Returned { exit, run });
    }

    fn end(&mut self, id: u64, ending: Ending) {
        let slot = self.state.slot(id).unwrap();
        slot.end(slot.generation, ending);
    }

    /// How many errors are known of a child.
    fn errors(&mut self, id: u64) -> usize {
        self.state.slot(id).unwrap().history.to_vec().len()
    }

    fn shown(&mut self, id: u64) -> ChildState {
        let clock = self.state.clock;
        self.state.slot(id).unwrap().status(&clock, false).state()
    }
}

#[test]
fn a_restart_is_due_when_its_delay_is_over_and_not_before() {
    let mut bench = bench(Strategy::OneForOne, &[&fixed(10)]);
    assert_eq!(bench.turn(0).1, [0]);
    bench.fail(0, 10 * MS);
    assert!(bench.turn(5 * MS).1.is_empty());
    assert!(matches!(bench.shown(0), ChildState::Backoff { .. }));
    assert!(bench.turn(15 * MS - 1).1.is_empty());
    assert_eq!(bench.turn(15 * MS).1, [0]);
    assert!(bench.turn(99 * MS).1.is_empty());
}

#[test]
fn a_stop_takes_the_due_restart_with_it() {
    let mut bench = bench(Strategy::OneForOne, &[&fixed(10)]);
    bench.turn(0);
    bench.fail(0, 10 * MS);
    bench.turn(0);
    bench.state.slot(0).unwrap().wish = Some(Wish::Stop);
    assert_eq!(bench.shown(0), ChildState::Stopped);
    // Stop and restart are seen in one turn, late: the stop counts.
    assert!(bench.turn(20 * MS).1.is_empty());
    assert!(bench.turn(99 * MS).1.is_empty());
    assert!(bench.state.is_settled() || bench.state.telling);
}

#[test]
fn a_run_that_goes_on_blocks_its_own_next_start() {
    let mut bench = bench(Strategy::OneForOne, &[&fixed(10)]);
    bench.turn(0);
    bench.state.slot(0).unwrap().wish = Some(Wish::Restart);
    assert_eq!(bench.turn(MS), (vec![0], vec![]));
    assert!(bench.turn(3_600_000 * MS).1.is_empty());
    assert_eq!(bench.shown(0), ChildState::Stopping);
    bench.fail(0, 10 * MS);
    // It was told to stop: that is no failure, and has no delay.
    assert_eq!(bench.turn(3_600_000 * MS).1, [0]);
}

#[test]
fn a_thread_of_another_generation_finds_no_run() {
    let mut bench = bench(Strategy::OneForOne, &[&fixed(10)]);
    bench.turn(0);
    bench.fail(0, 0);
    assert_eq!(bench.turn(MS).1, [0]);
    let slot = bench.state.slot(0).unwrap();
    assert!(slot.run(1).is_none() && slot.run(2).is_some());
}

#[test]
fn a_group_starts_when_all_have_ended_or_had_their_grace() {
    let grace = |ms| fixed(10).grace(Duration::from_millis(ms));
    let children = [&grace(100), &grace(50), &grace(100), &grace(100)];
    let mut bench = bench(Strategy::OneForAll, &children);
    assert_eq!(bench.turn(0).1, [0, 1, 2, 3]);
    bench.fail(2, 10 * MS);
    assert_eq!(bench.turn(0), (vec![3], vec![]));
    bench.fail(3, 0);
    assert_eq!(bench.turn(20 * MS), (vec![1], vec![]));
    assert_eq!(bench.state.turn(20 * MS).next, Some(70 * MS));
    // The second child does not heed its token; after its grace the first one is told.
    assert_eq!(bench.turn(70 * MS), (vec![0], vec![]));
    assert_eq!(bench.state.turn(70 * MS).next, Some(170 * MS));
    bench.fail(0, 0);
    assert_eq!(bench.turn(80 * MS), (vec![], vec![0, 2, 3]));
    assert_eq!(bench.shown(1), ChildState::Stopping);
    bench.fail(1, 0);
    assert_eq!(bench.turn(90 * MS), (vec![], vec![1]));
}

#[test]
fn in_a_shutdown_each_holds_the_others_up_for_its_share_at_most() {
    let options = fixed(10).grace(Duration::from_secs(3_600));
    let mut bench = bench(Strategy::OneForOne, &[&options; 3]);
    bench.turn(0);
    bench.state.shutdown = Some(90 * MS);
    assert_eq!(bench.turn(0).0, [2]);
    assert!(bench.turn(30 * MS - 1).0.is_empty());
    assert_eq!(bench.turn(30 * MS).0, [1]);
    assert!(bench.turn(60 * MS - 1).0.is_empty());
    assert_eq!(bench.turn(60 * MS).0, [0]);
    for id in 0..3 {
        assert!(!bench.state.turn(99 * MS).over);
        bench.fail(id, 0);
    }
    let turn = bench.state.turn(99 * MS);
    assert!(turn.over && turn.start.is_empty());
}

#[test]
fn a_silent_child_is_told_once_and_judged_when_it_ends() {
    let options = fixed(10).heartbeat(Duration::from_millis(5));
    let mut bench = bench(Strategy::OneForOne, &[&options]);
    bench.turn(0);
    assert_eq!(bench.state.turn(MS).next, Some(5 * MS));
    assert_eq!(bench.turn(5 * MS).0, [0]);
    assert_eq!(bench.state.turn(6 * MS).next, None);
    bench.fail(0, 10 * MS);
    assert!(bench.turn(7 * MS).1.is_empty());
    assert_eq!(bench.errors(0), 1);
    assert_eq!(bench.turn(17 * MS).1, [0]);
}

#[test]
fn a_temporary_child_is_stopped_with_its_group_and_not_restarted() {
    let temporary = fixed(10).restart(Restart::Temporary);
    let mut bench = bench(Strategy::OneForAll, &[&temporary, &fixed(10)]);
    bench.turn(0);
    bench.fail(1, 10 * MS);
    assert_eq!(bench.turn(0).0, [0]);
    bench.fail(0, 0);
    assert_eq!(bench.turn(10 * MS).1, [1]);
    assert_eq!(bench.shown(0), ChildState::Stopped);
}

#[test]
fn a_run_that_ends_for_a_siblings_sake_has_lasted_all_the_same() {
    let second = Duration::from_secs(1);
    for limited in [
        fixed(10).stable_after(second).max_consecutive(1),
        fixed(10).max_restarts(1, second),
    ] {
        let mut bench = bench(Strategy::OneForAll, &[&fixed(10), &limited]);
        assert_eq!(bench.turn(0).1, [0, 1]);
        for (first, then) in [(1, 0), (0, 1)] {
            bench.fail(first, 0);
            assert_eq!(bench.turn(MS), (vec![then], vec![]));
            bench.fail_after(1_001 * MS, then, 0);
            assert_eq!(bench.turn(MS).1, [0, 1]);
        }
        // Since its first failure it has run for more than a second.
        bench.fail(1, 0);
        bench.turn(MS);
        assert!(matches!(bench.shown(1), ChildState::Backoff { .. }));
    }
}

#[test]
fn the_time_that_a_thread_takes_to_begin_is_no_silence() {
    let options = fixed(10).heartbeat(Duration::from_millis(5));
    let mut bench = bench(Strategy::OneForOne, &[&options]);
    bench.state.turn(0);
    let slot = bench.state.slot(0).unwrap();
    slot.run(slot.generation).unwrap().begun = Some(6 * MS);
    assert!(bench.turn(7 * MS).0.is_empty());
    assert_eq!(bench.state.turn(8 * MS).next, Some(11 * MS));
    assert_eq!(bench.turn(11 * MS).0, [0]);
}

#[test]
fn a_beat_is_a_sign_of_life_after_the_begin() {
    let mut bench = bench(Strategy::OneForOne, &[&fixed(10)]);
    bench.turn(0);
    let clock = bench.state.clock;
    let slot = bench.state.slot(0).unwrap();
    let run = slot.run(slot.generation).unwrap();
    assert_eq!(run.last_sign(), Some(0));
    let lifeline = run.lifeline.clone();
    let before = clock.now();
    assert!(before > 0);
    // The test's thread takes the part of the child's.
    Attempt::supervise(lifeline);
    Attempt::current().beat();
    assert!(run.last_sign().is_some_and(|sign| sign >= before));
}

#[test]
fn a_child_has_run_since_it_began_or_until_its_heart_stopped() {
    let mut bench = bench(Strategy::OneForOne, &[&fixed(10)]);
    let clock = bench.state.clock;
    bench.turn(0);
    let slot = bench.state.slot(0).unwrap();
    assert!(slot.status(&clock, false).uptime() > Duration::ZERO);
    let run = slot.run(slot.generation).unwrap();
    run.begun = None;
    assert_eq!(run.uptime(7 * MS), 0);
    run.begun = Some(2 * MS);
    assert_eq!(run.uptime(7 * MS), 5 * MS);
    run.after = Some(After::Judge(4 * MS));
    assert_eq!(run.uptime(7 * MS), 2 * MS);
    bench.fail(0, MS);
    bench.turn(10 * MS);
    let status = bench.state.slot(0).unwrap().status(&clock, false);
    assert_eq!(status.uptime(), Duration::ZERO);
}

#[test]
fn a_run_that_ends_before_its_turn_to_be_told_is_judged_by_that_end() {
    // For the restart of its group.
    let mut bench = bench(Strategy::OneForAll, &[&fixed(10); 3]);
    bench.turn(0);
    bench.fail(1, 10 * MS);
    assert_eq!(bench.turn(0).0, [2]);
    bench.complete(0);
    bench.turn(MS);
    assert_eq!(bench.shown(0), ChildState::Completed);

    // For the end of its group.
    let last = fixed(10).restart(Restart::Temporary);
    let last = last.on_give_up(OnGiveUp::StopGroup);
    let mut bench = self::bench(Strategy::OneForOne, &[&fixed(10), &fixed(10), &last, &last]);
    bench.turn(0);
    bench.fail(2, 0);
    assert_eq!(bench.turn(0).0, [3]);
    bench.complete(0);
    bench.fail(1, 10 * MS);
    bench.turn(MS);
    assert_eq!(bench.shown(0), ChildState::Completed);
    assert_eq!((bench.shown(1), bench.errors(1)), (ChildState::Stopped, 1));
}

#[test]
fn a_child_that_fails_before_its_group_is_restarted_waits_for_the_later_of_both() {
    let mut bench = bench(Strategy::OneForAll, &[&fixed(10); 3]);
    bench.turn(0);
    bench.fail(1, 10 * MS);
    assert_eq!(bench.turn(0).0, [2]);
    bench.fail(0, MS);
    bench.turn(0);
    bench.complete(2);
    assert!(bench.turn(5 * MS).1.is_empty());
    assert_eq!(bench.state.turn(5 * MS).next, Some(10 * MS));
    assert_eq!(bench.turn(10 * MS).1, [0, 1, 2]);
}

#[test]
fn a_child_restarted_by_hand_waits_with_its_group_all_the_same() {
    let mut bench = bench(Strategy::OneForAll, &[&fixed(10); 3]);
    bench.turn(0);
    bench.state.slot(0).unwrap().wish = Some(Wish::Restart);
    assert_eq!(bench.turn(0).0, [0]);
    bench.fail(1, 10 * MS);
    assert_eq!(bench.turn(0).0, [2]);
    bench.complete(0);
    bench.turn(MS);
    assert!(matches!(bench.shown(0), ChildState::Backoff { .. }));
    // The last one holds all of them up.
    assert!(bench.turn(10 * MS).1.is_empty());
    bench.complete(2);
    assert_eq!(bench.turn(10 * MS).1, [0, 1, 2]);
}

#[test]
fn nothing_is_settled_before_it_has_been_told() {
    let mut bench = bench(Strategy::OneForOne, &[&fixed(10)]);
    bench.turn(0);
    bench.complete(0);
    bench.turn(0);
    assert_eq!(bench.shown(0), ChildState::Completed);
    assert!(!bench.state.is_settled());
    bench.turn(0);
    assert!(bench.state.is_settled());
}

#[test]
fn a_run_that_was_skipped_is_no_start() {
    let mut bench = bench(Strategy::OneForOne, &[&fixed(10)]);
    bench.turn(0);
    assert_eq!(bench.state.slot(0).unwrap().starts, 1);
    bench.end(0, Ending::Skipped);
    bench.state.slot(0).unwrap().wish = Some(Wish::Stop);
    bench.turn(0);
    assert_eq!(bench.shown(0), ChildState::Stopped);
    assert_eq!(bench.state.slot(0).unwrap().starts, 0);
}

/// The supervisor's thread may look only after both.
#[test]
fn a_run_that_fails_after_it_was_told_by_a_command_fails_nobody() {
    for (wish, starts) in [(Wish::Stop, vec![]), (Wish::Restart, vec![1])] {
        let options = fixed(10).max_consecutive(0).on_give_up(OnGiveUp::Escalate);
        let mut bench = bench(Strategy::OneForAll, &[&options, &options]);
        bench.turn(0);
        bench.state.slot(1).unwrap().wish = Some(wish);
        bench.fail(1, 0);
        assert_eq!(bench.turn(MS), (vec![], starts));
        assert_eq!((bench.errors(1), bench.shown(0)), (0, ChildState::Running));
    }
    // A command that comes later does not undo a failure.
    let mut bench = bench(Strategy::OneForAll, &[&fixed(10), &fixed(10)]);
    bench.turn(0);
    bench.fail(1, 0);
    bench.state.slot(1).unwrap().wish = Some(Wish::Stop);
    assert_eq!(bench.turn(MS).0, [0]);
    assert_eq!((bench.errors(1), bench.shown(1)), (1, ChildState::Stopped));
}

#[test]
fn a_supervisor_that_is_to_end_shows_nobody_as_running() {
    let mut bench = bench(Strategy::OneForOne, &[&fixed(10), &fixed(10)]);
    bench.turn(0);
    bench.fail(1, 10 * MS);
    bench.turn(0);
    bench.state.shutdown = Some(0);
    let shown: Vec<_> = bench
        .state
        .statuses()
        .iter()
        .map(ChildStatus::state)
        .collect();
    assert_eq!(shown, [ChildState::Stopping, ChildState::Stopped]);
}

/// Runs a child that was told so before it ended; gives its delay in milliseconds.
fn delay_of(ward: &mut Ward, in_a_row: u32, told_for: Option<After>) -> Option<Nanos> {
    let brief = Brief {
        texts: Texts::default(),
        start: 1,
        in_a_row,
        stable_after: Nanos::MAX,
        seed: 0,
        child: 0,
    };
    let span = ward.run(&brief, || (0, told_for)).run().unwrap();
    span.delay.map(|delay| delay / MS)
}

#[test]
fn a_run_that_was_told_to_stop_takes_none_of_the_delays() {
    let delays = || [10, 20].map(Duration::from_millis).into_iter();
    let options = ChildOptions::new().delay(RetryPolicy::from_delays(delays));
    let child = Child::new("x", || Err::<(), _>("x")).options(options);
    let mut ward = child.plan().unwrap().ward;
    let sibling = Some(After::Restart(Waiting::now()));
    assert_eq!(delay_of(&mut ward, 0, None), Some(10));
    for told_for in [sibling, Some(After::Stop), sibling] {
        assert_eq!(delay_of(&mut ward, 1, told_for), Some(0));
    }
    assert_eq!(delay_of(&mut ward, 1, None), Some(20));
    assert_eq!(delay_of(&mut ward, 2, None), None);
}

#[test]
fn a_child_whose_heart_stopped_has_failed_whatever_it_returned_when_it_was_told() {
    let child = Child::new("x", || Err::<(), _>("cancelled")).options(fixed(10));
    let mut ward = child.retry_if(|_| false).plan().unwrap().ward;
    assert_eq!(delay_of(&mut ward, 0, Some(After::Judge(0))), Some(10));
    assert_eq!(delay_of(&mut ward, 0, None), None);
}
