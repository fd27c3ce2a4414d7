//! What a sequence is made of.

use proptest::prelude::*;

/// How an attempt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Succeed,
    /// With a value that is not accepted.
    Reject,
    Fail,
    /// Fails, and asks to be retried in an hour.
    Park,
    FailForGood,
    Panic,
}

/// The ends of a job's attempts; the last one stands for all that follow.
pub(crate) type Script = Vec<Outcome>;

/// When a job is retried.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) max_attempts: u32,
    pub(crate) has_budget: bool,
    pub(crate) retries_panics: bool,
    pub(crate) goes_to_front: bool,
    /// No retry later than in half an hour.
    pub(crate) is_short: bool,
}

/// The limits of time of a single job. No limit lies between zero and half an hour, so what happens depends on no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Time {
    Unlimited,
    /// It is an hour before it is due.
    Delayed,
    /// Its time is over at once.
    Over,
    /// It may take half an hour.
    HalfAnHour,
    /// No attempt may take any time, and each takes longer.
    Hangs,
}

#[derive(Debug, Clone)]
pub(crate) struct Single {
    pub(crate) script: Script,
    pub(crate) rules: Rules,
    pub(crate) time: Time,
}

#[derive(Debug, Clone)]
pub(crate) struct Many {
    pub(crate) inputs: Vec<Script>,
    pub(crate) rules: Rules,
    pub(crate) window: usize,
    pub(crate) fail_fast: Option<u64>,
}

/// Stands for one of those that there are, counted round and round.
pub(crate) type Index = usize;

/// One step of a sequence. Where there is nothing that an index could stand for, nothing is done.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Submit(Single),
    /// Lets a running attempt end.
    Step(Index),
    Cancel(Index),
    CancelAll,
    Batch(Many),
    Add(Index, Script),
    Next(Index),
    Resubmit(Index),
    CancelBatch(Index),
    DropBatch(Index),
    Close,
    /// Where nothing is left to wait for; else the pool is closed.
    Shutdown,
    ShutdownNow,
}

#[derive(Debug, Clone)]
pub(crate) struct Sequence {
    pub(crate) threads: usize,
    pub(crate) capacity: Option<usize>,
    pub(crate) ops: Vec<Op>,
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(Outcome::Succeed),
        1 => Just(Outcome::Reject),
        6 => Just(Outcome::Fail),
        2 => Just(Outcome::Park),
        1 => Just(Outcome::FailForGood),
        1 => Just(Outcome::Panic),
    ]
}

fn script() -> impl Strategy<Value = Script> {
    prop::collection::vec(outcome(), 1..=3)
}

fn rules() -> impl Strategy<Value = Rules> {
    (1..=3u32, any::<[bool; 3]>(), prop::bool::weighted(0.3)).prop_map(
        |(max_attempts, [has_budget, retries_panics, goes_to_front], is_short)| Rules {
            max_attempts,
            has_budget,
            retries_panics,
            goes_to_front,
            is_short,
        },
    )
}

fn time() -> impl Strategy<Value = Time> {
    prop_oneof![
        8 => Just(Time::Unlimited),
        1 => Just(Time::Delayed),
        1 => Just(Time::Over),
        1 => Just(Time::HalfAnHour),
        1 => Just(Time::Hangs),
    ]
}

fn single() -> impl Strategy<Value = Single> {
    (script(), rules(), time()).prop_map(|(script, mut rules, time)| {
        // When two of them are judged is not certain, and so which of them pays first.
        rules.has_budget &= time != Time::Hangs;
        Single {
            script,
            rules,
            time,
        }
    })
}

fn many() -> impl Strategy<Value = Many> {
    let inputs = prop::collection::vec(script(), 0..8);
    (inputs, rules(), 1..=8usize, prop::option::of(1..=2u64)).prop_map(
        |(inputs, rules, window, fail_fast)| Many {
            inputs,
            rules,
            window,
            fail_fast,
        },
    )
}

fn index() -> impl Strategy<Value = Index> {
    0..12usize
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        20 => single().prop_map(Op::Submit),
        50 => index().prop_map(Op::Step),
        6 => index().prop_map(Op::Cancel),
        1 => Just(Op::CancelAll),
        6 => many().prop_map(Op::Batch),
        8 => (index(), script()).prop_map(|(batch, script)| Op::Add(batch, script)),
        25 => index().prop_map(Op::Next),
        6 => index().prop_map(Op::Resubmit),
        1 => index().prop_map(Op::CancelBatch),
        1 => index().prop_map(Op::DropBatch),
        1 => Just(Op::Close),
        1 => Just(Op::Shutdown),
        1 => Just(Op::ShutdownNow),
    ]
}

pub(crate) fn sequence() -> impl Strategy<Value = Sequence> {
    let ops = prop::collection::vec(op(), 1..60);
    (1..=3usize, prop::option::of(1..=6usize), ops).prop_map(|(threads, capacity, ops)| Sequence {
        threads,
        capacity,
        ops,
    })
}
