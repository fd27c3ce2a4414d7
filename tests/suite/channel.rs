//! Batches that other threads feed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Barrier};

use crate::common::{eventually, gate, is_asleep, ms, pool};
use retry_pool::{Attempt, RetryPool};

#[test]
fn what_producers_send_is_run_and_yielded_and_the_end_comes_with_the_last_sender() {
    let pool = pool(2);
    let flaky = |n: &u32| {
        if Attempt::current().number() > n % 3 {
            Ok(*n)
        } else {
            Err("again")
        }
    };
    let (sender, completed) = pool.batch([1_000, 1_001], flaky).window(7).channel();
    for producer in 0..4 {
        let sender = sender.clone();
        std::thread::spawn(move || (0..250).for_each(|n| sender.send(producer * 250 + n).unwrap()));
    }
    drop(sender);
    let mut seen: Vec<u32> = completed.map(|done| done.into_result().unwrap()).collect();
    seen.sort();
    assert!(seen.into_iter().eq(0..1_002));
}

#[test]
fn a_sent_input_runs_before_the_first_next() {
    let pool = pool(1);
    let (ran, runs) = mpsc::channel();
    let (sender, completed) = pool
        .batch(std::iter::empty(), move |n: &u32| ran.send(*n))
        .channel();
    sender.send(7).unwrap();
    assert_eq!(runs.recv(), Ok(7));
    drop(sender);
    assert_eq!(completed.count(), 1);
}

#[test]
fn senders_never_exceed_the_window() {
    let pool = pool(2);
    let inside = Arc::new(AtomicUsize::new(0));
    let (sender, completed) = pool
        .batch(std::iter::empty(), |n: &usize| Ok::<_, ()>(*n))
        .window(3)
        .channel();
    let accepted = Arc::clone(&inside);
    let producer = std::thread::spawn(move || {
        for n in 0..1_000 {
            sender.send(n).unwrap();
            accepted.fetch_add(1, Ordering::SeqCst);
        }
    });
    for (before, _done) in completed.enumerate() {
        assert!(inside.load(Ordering::SeqCst) <= before + 1 + 3);
    }
    producer.join().unwrap();
}

/// A batch whose window is full of held jobs, with `senders` threads blocked in `send`.
fn blocked_senders(
    pool: &RetryPool,
    senders: usize,
) -> (
    Vec<std::thread::JoinHandle<Option<u32>>>,
    impl Iterator<Item = retry_pool::Completion<u32, (), ()>> + use<>,
    crate::common::GateKeeper,
) {
    let (gate, keeper) = gate();
    let (sender, completed) = pool
        .batch(std::iter::empty(), move |_: &u32| {
            gate.pass();
            Ok::<_, ()>(())
        })
        .window(2)
        .channel();
    sender.send(0).unwrap();
    sender.send(0).unwrap();
    keeper.await_arrivals(2);
    let ready = Arc::new(Barrier::new(senders + 1));
    let threads = (1..=senders as u32)
        .map(|n| {
            let (sender, ready) = (sender.clone(), Arc::clone(&ready));
            std::thread::spawn(move || {
                ready.wait();
                sender.send(n).err().map(retry_pool::SendError::into_inner)
            })
        })
        .collect();
    ready.wait();
    (threads, completed, keeper)
}

#[test]
fn blocked_senders_get_their_input_back_when_the_iterator_is_dropped() {
    let pool = pool(2);
    let (threads, completed, keeper) = blocked_senders(&pool, 3);
    drop(completed);
    for (n, thread) in (1..).zip(threads) {
        assert_eq!(thread.join().unwrap(), Some(n));
    }
    keeper.let_through(2);
}

#[test]
fn blocked_senders_get_their_input_back_when_the_pool_is_closed() {
    let pool = pool(2);
    let (threads, completed, keeper) = blocked_senders(&pool, 3);
    pool.close();
    for (n, thread) in (1..).zip(threads) {
        assert_eq!(thread.join().unwrap(), Some(n));
    }
    keeper.let_through(2);
    assert_eq!(completed.count(), 2);
}

#[test]
fn a_closed_pool_ends_the_iteration_though_senders_live() {
    let pool = pool(1);
    let (sender, mut completed) = pool.batch([1], |n| Ok::<_, ()>(*n)).channel();
    assert!(completed.next().is_some());
    pool.close();
    assert!(completed.next().is_none());
    assert_eq!(sender.send(2).unwrap_err().into_inner(), 2);
}

#[test]
fn a_timed_wait_for_a_silent_producer_says_so() {
    let pool = pool(1);
    let (sender, mut completed) = pool
        .batch(std::iter::empty::<u32>(), |n| Ok::<_, ()>(*n))
        .channel();
    assert_eq!(completed.next_timeout(ms(2)).unwrap_err().unfinished, 0);
    drop(sender);
    assert!(completed.next_timeout(ms(1_000)).unwrap().is_none());
}

#[test]
fn a_blocked_sender_goes_on_when_a_quarter_of_the_window_is_delivered() {
    let pool = pool(1);
    let (sender, mut completed) = pool
        .batch(std::iter::empty(), |n: &u32| Ok::<_, ()>(*n))
        .window(8)
        .channel();
    // The batch has no other inputs.
    assert!(completed.next_timeout(ms(1)).is_err());
    (0..8).try_for_each(|n| sender.send(n)).unwrap();
    eventually("settled", || completed.progress().succeeded() == 8);
    let (tell, told) = mpsc::channel();
    let producer = std::thread::Builder::new().name("producer".to_owned());
    let producer = producer.spawn(move || tell.send(sender.send(8)).unwrap());
    eventually("blocked", || is_asleep("producer"));
    assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Empty));
    for _ in 0..3 {
        assert!(completed.next().is_some());
    }
    assert_eq!(told.recv_timeout(ms(10_000)), Ok(Ok(())));
    producer.unwrap().join().unwrap();
    assert_eq!(completed.count(), 6);
}
