//! Batches: the iteration against workers, senders, and whoever ends it.

use std::sync::{Arc, Mutex};

use retry_pool::{Attempt, CancelToken, Completion, FailFast, GiveUpReason, RetryPolicy};

use crate::explore::{explore, thread};
use crate::pools::{LATER, assert_settled, pool, second_time_lucky};

#[test]
fn full_window_against_fail_fast_and_a_blocked_sender() {
    let sides = ["sent 1", "sent 2", "sent more"];
    explore("full window, fail-fast, blocked sender", &sides, |sides| {
        let pool = pool(2);
        let batch = pool.batch(std::iter::empty(), |n: &u32| match n {
            0 => Err(()),
            n => Ok(*n),
        });
        let policy = RetryPolicy::never();
        let batch = batch.window(2).retry(policy);
        let (sender, completed) = batch.fail_fast(FailFast::AfterFailures(1)).channel();
        let producer = thread::spawn(move || {
            let sent = (0..4).take_while(|n| sender.send(*n).is_ok());
            sent.count()
        });
        let mut outcomes: Vec<_> = completed.map(Completion::into_parts).collect();
        let sent = producer.join().unwrap();
        outcomes.sort_by_key(|(input, _)| *input);
        assert_eq!(outcomes.len(), sent);
        let reasons = outcomes.iter().map(|(_, result)| match result {
            Ok(_) => None,
            Err(give_up) => Some(give_up.reason()),
        });
        let reasons: Vec<_> = reasons.collect();
        assert_eq!(reasons[0], Some(GiveUpReason::AttemptsExhausted));
        let stopped = [None, Some(GiveUpReason::FailFast)];
        assert!(reasons[1..].iter().all(|reason| stopped.contains(reason)));
        sides.saw(["sent 1", "sent 2", "sent more", "sent more"][sent - 1]);
        pool.shutdown();
        let gave_up = reasons.iter().flatten().count();
        assert_settled(&pool, (sent - gave_up) as u64, gave_up as u64);
    });
}

#[test]
fn a_batch_with_retries() {
    let sides = ["in order", "out of order"];
    explore("a batch with retries", &sides, |sides| {
        let pool = pool(2);
        let batch = pool.batch(0..3_u32, |n| match (n, Attempt::current().number()) {
            (0, 1) => Err(()),
            _ => Ok(*n),
        });
        let completed = batch.window(2);
        let order: Vec<_> = completed
            .into_iter()
            .map(|done| done.into_result().unwrap())
            .collect();
        sides.saw(match order.is_sorted() {
            true => "in order",
            false => "out of order",
        });
        assert_eq!(order.iter().sum::<u32>(), 3);
        pool.shutdown();
        assert_settled(&pool, 3, 0);
    });
}

#[test]
fn resubmit_against_the_end_of_the_iteration() {
    let sides = ["yielded again", "ended first"];
    explore("resubmit against the end", &sides, |sides| {
        let pool = pool(1);
        let batch = pool.batch([0_u32], |_| second_time_lucky());
        let mut completed = batch.retry(RetryPolicy::never()).as_completed();
        let failed = completed.next().unwrap();
        assert!(failed.result().is_err());
        let other = thread::spawn(move || failed.try_resubmit().is_ok());
        let again = completed.next();
        sides.saw(match again.is_some() {
            true => "yielded again",
            false => "ended first",
        });
        assert!(other.join().unwrap());
        let again = again.or_else(|| completed.next()).unwrap();
        assert_eq!(
            (again.into_result().unwrap(), completed.next().is_none()),
            (2, true)
        );
        drop(completed);
        pool.shutdown();
        assert_settled(&pool, 1, 1);
    });
}

#[test]
fn resubmit_against_the_drop_of_the_iteration() {
    let sides = ["ran", "dropped", "refused"];
    explore("resubmit against the drop", &sides, |sides| {
        let pool = pool(1);
        let batch = pool.batch([0_u32], |_| second_time_lucky());
        let mut completed = batch.retry(RetryPolicy::never()).as_completed();
        let failed = completed.next().unwrap();
        let other = thread::spawn(move || failed.try_resubmit().is_ok());
        drop(completed);
        let taken = other.join().unwrap();
        pool.shutdown();
        let ran = pool.stats().succeeded();
        sides.saw(match (taken, ran) {
            (true, 1) => "ran",
            (true, 0) => "dropped",
            (false, 0) => "refused",
            other => panic!("{other:?}"),
        });
        assert_settled(&pool, ran, 1 + u64::from(taken) - ran);
    });
}

#[test]
fn cancel_token_against_the_iteration() {
    let sides = ["before the first", "in between", "after the last"];
    explore("cancel token against the iteration", &sides, |sides| {
        let pool = pool(1);
        let token = CancelToken::new();
        let batch = pool.batch(0..3_u32, |n| match (n, Attempt::current().number()) {
            (0, 1) => Err(()),
            _ => Ok(*n),
        });
        let other = thread::spawn({
            let token = token.clone();
            move || token.cancel()
        });
        // It may be cancelled before it begins to listen.
        let completed = batch.window(2).cancel_token(token).as_completed();
        let results: Vec<_> = completed.map(Completion::into_result).collect();
        other.join().unwrap();
        let gave_up = results.iter().filter_map(|result| result.as_ref().err());
        let reasons: Vec<_> = gave_up.map(retry_pool::GiveUp::reason).collect();
        assert!(
            reasons
                .iter()
                .all(|reason| *reason == GiveUpReason::Cancelled)
        );
        let succeeded = results.len() - reasons.len();
        sides.saw(match succeeded {
            0 => "before the first",
            3 => "after the last",
            _ => "in between",
        });
        pool.shutdown();
        assert_settled(&pool, succeeded as u64, reasons.len() as u64);
    });
}

#[test]
fn drop_of_the_iteration_against_a_worker() {
    let sides = ["all ran", "some dropped"];
    explore("drop of the iteration against a worker", &sides, |sides| {
        let pool = pool(1);
        let kept = Arc::new(());
        let batch = pool.batch(0..3_u32, {
            let kept = Arc::clone(&kept);
            move |_| match Attempt::current().number() {
                1 => Err(()),
                _ => Ok(Arc::clone(&kept)),
            }
        });
        let mut completed = batch.as_completed();
        assert!(completed.next().unwrap().into_result().is_ok());
        drop(completed);
        pool.shutdown();
        let dropped = pool.stats().gave_up_as(GiveUpReason::Cancelled);
        sides.saw(match dropped {
            0 => "all ran",
            _ => "some dropped",
        });
        let stats = pool.stats();
        assert_settled(&pool, stats.accepted() - dropped, dropped);
        drop(pool);
        // Neither the job nor what it returned is kept.
        assert_eq!(Arc::strong_count(&kept), 1);
    });
}

#[test]
fn close_against_a_channel_and_its_sender() {
    let sides = ["sent none", "sent 1", "sent 2", "sent all 3"];
    explore("close against a sender", &sides, |sides| {
        let pool = Arc::new(pool(1));
        let batch = pool.batch(std::iter::empty(), |_: &u32| second_time_lucky());
        let (sender, completed) = batch.window(1).channel();
        let producer =
            thread::spawn(move || (0..3).take_while(|n| sender.send(*n).is_ok()).count());
        let closer = thread::spawn({
            let pool = Arc::clone(&pool);
            move || pool.close()
        });
        let received: Vec<_> = completed.map(|done| done.into_result().unwrap()).collect();
        let sent = producer.join().unwrap();
        assert_eq!(received, vec![2; sent]);
        sides.saw(["sent none", "sent 1", "sent 2", "sent all 3"][sent]);
        closer.join().unwrap();
        pool.shutdown();
        assert_settled(&pool, sent as u64, 0);
    });
}

#[test]
fn close_against_the_begin_of_a_batch() {
    let sides = ["none", "some", "all", "pulled too late"];
    explore("close against the begin of a batch", &sides, |sides| {
        let pool = Arc::new(pool(1));
        let closer = thread::spawn({
            let pool = Arc::clone(&pool);
            move || pool.shutdown()
        });
        let batch = pool.batch(0..2_u32, |_| second_time_lucky()).window(1);
        let mut completed = batch.as_completed();
        let (mut ran, mut refused) = (0, 0);
        for done in completed.by_ref() {
            match done.into_result() {
                Ok(attempts) => {
                    assert_eq!(attempts, 2);
                    ran += 1;
                }
                // It had been pulled from the input, and is not lost.
                Err(give_up) => {
                    assert_eq!(give_up.reason(), GiveUpReason::Shutdown);
                    assert_eq!(give_up.attempts(), 0);
                    sides.saw("pulled too late");
                    refused += 1;
                }
            }
        }
        // A batch that was cut never looks complete.
        assert!(ran as u64 + refused == 2 || completed.progress().input_left());
        sides.saw(["none", "some", "all"][ran]);
        drop(completed);
        closer.join().unwrap();
        assert_settled(&pool, ran as u64, refused);
    });
}

#[test]
fn two_batches_and_a_single_job_take_turns_on_one_worker() {
    let sides = ["before the batches", "in between"];
    explore("fair turns on one worker", &sides, |sides| {
        let pool = Arc::new(pool(1));
        let begun = Arc::new(Mutex::new(Vec::new()));
        let run = |letter: char| {
            let begun = Arc::clone(&begun);
            move || {
                begun.lock().unwrap().push(letter);
                // Longer than a turn.
                Attempt::current().sleep(LATER);
                Ok::<_, ()>(())
            }
        };
        let batches = ['a', 'b'].map(|letter| {
            let (pool, run) = (Arc::clone(&pool), run(letter));
            thread::spawn(move || {
                let completed = pool.batch(0..3_u32, move |_| run()).as_completed();
                completed.count()
            })
        });
        let single = pool.submit(run('s'));
        begun.lock().unwrap().push('!');
        single.wait().unwrap();
        for batch in batches {
            assert_eq!(batch.join().unwrap(), 3);
        }
        let order: String = begun.lock().unwrap().iter().collect();
        let (submitted, started) = (order.find('!').unwrap(), order.find('s').unwrap());
        // One job for each that may be ahead of it: the one that runs, and the turn of the other batch.
        let ahead = started.saturating_sub(submitted + 1);
        assert!(ahead <= 2, "{ahead} jobs ahead of the single one: {order}");
        sides.saw(match order[..started].contains(['a', 'b']) {
            false => "before the batches",
            true => "in between",
        });
        pool.shutdown();
        assert_settled(&pool, 7, 0);
    });
}
