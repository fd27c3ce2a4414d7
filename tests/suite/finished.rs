//! Many handles at once: as they settle, and waiting for several.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use crate::common::{Live, gate, ms, pool};
use retry_pool::{
    Finished, GiveUpReason, HandlesCompleted, JobHandle, RetryPolicy, RetryPool, Until, Waited,
    as_completed, wait_for,
};

type Outcome = Result<u32, ()>;
type Handle = JobHandle<u32, ()>;

/// A job that ends as it is told.
fn told(pool: &RetryPool) -> (Sender<Outcome>, Handle) {
    let (sender, orders) = channel::<Outcome>();
    let job = pool.job(move || orders.recv().unwrap());
    (sender, job.retry(RetryPolicy::never()).submit())
}

fn many_told<const N: usize>(pool: &RetryPool) -> ([Sender<Outcome>; N], Vec<Handle>) {
    let mut handles = Vec::new();
    let senders = std::array::from_fn(|_| {
        let (sender, handle) = told(pool);
        handles.push(handle);
        sender
    });
    (senders, handles)
}

fn ended(pool: &RetryPool, outcome: Outcome) -> Handle {
    let handle = told(pool);
    handle.0.send(outcome).unwrap();
    settled(handle.1)
}

fn settled<T, E>(handle: JobHandle<T, E>) -> JobHandle<T, E> {
    while !handle.is_settled() {
        std::thread::yield_now();
    }
    handle
}

fn indices<T, E>(finished: impl IntoIterator<Item = Finished<T, E>>) -> Vec<usize> {
    finished.into_iter().map(|done| done.index()).collect()
}

#[test]
fn jobs_come_out_in_the_order_in_which_they_settle() {
    let pool = pool(4);
    let (senders, handles) = many_told::<4>(&pool);
    let mut finished = as_completed(handles);
    for (left, index) in [2, 0, 3, 1].into_iter().enumerate() {
        assert_eq!(finished.len(), 4 - left);
        senders[index].send(Ok(7 + index as u32)).unwrap();
        let done = finished.next().unwrap();
        assert_eq!(done.index(), index);
        assert_eq!(done.into_result().unwrap(), 7 + index as u32);
    }
    assert!(finished.next().is_none());
    assert_eq!(finished.len(), 0);
}

#[test]
fn the_order_is_that_of_settling_and_not_that_of_the_handles() {
    let pool = pool(1);
    let (gate, keeper) = gate();
    let first = pool.submit(move || {
        gate.pass();
        Ok::<_, ()>(0)
    });
    let rest = (1..1_000).map(|n| pool.submit(move || Ok(n)));
    let mut handles: Vec<_> = std::iter::once(first).chain(rest).collect();
    handles.reverse();
    let finished = as_completed(handles);
    keeper.let_through(1);
    let order: Vec<usize> = finished.map(|done| done.into_result().unwrap()).collect();
    assert_eq!(order, (0..1_000).collect::<Vec<_>>());
}

/// A single worker settles jobs in the order of submission, also while their handles are being added.
#[test]
fn handles_that_settle_while_they_are_added_keep_their_order() {
    let pool = pool(1);
    for _ in 0..2_000 {
        let handles: Vec<_> = (0..300)
            .map(|n| pool.submit(move || Ok::<_, ()>(n)))
            .collect();
        assert_eq!(
            indices(as_completed(handles)),
            (0..300).collect::<Vec<usize>>()
        );
    }
}

#[test]
fn handles_can_be_added_while_iterating_and_after_the_end() {
    let pool = pool(2);
    let submit = |n: u32| pool.submit(move || Ok::<_, ()>(n));
    let mut finished = as_completed([submit(3)]);
    let mut seen = Vec::new();
    while let Some(done) = finished.next() {
        let (index, n) = (done.index(), done.into_result().unwrap());
        seen.push((index, n));
        if n > 0 {
            finished.add(submit(n - 1));
        }
    }
    assert_eq!(seen, [(0, 3), (1, 2), (2, 1), (3, 0)]);
    assert!(finished.next().is_none());
    finished.extend([submit(8), submit(9)]);
    let mut late: Vec<_> = finished.by_ref().map(|done| done.index()).collect();
    late.sort_unstable();
    assert_eq!(late, [4, 5]);
    finished.add(submit(10));
    assert_eq!(finished.next().unwrap().index(), 6);
    assert!(finished.next().is_none());
}

#[test]
fn a_handle_that_has_settled_comes_out_at_once() {
    let pool = pool(2);
    let (sender, running) = told(&pool);
    let mut finished = as_completed([running, ended(&pool, Ok(1)), ended(&pool, Err(()))]);
    finished.add(ended(&pool, Ok(3)));
    for index in 1..4 {
        let done = finished.next_timeout(Duration::ZERO).unwrap().unwrap();
        assert_eq!(done.index(), index);
    }
    let timed_out = finished.next_timeout(Duration::ZERO).unwrap_err();
    assert_eq!(timed_out.unfinished, 1);
    sender.send(Ok(0)).unwrap();
    assert_eq!(indices(finished), [0]);
}

#[test]
fn a_settled_handle_that_is_added_comes_after_what_settled_before_it() {
    let pool = pool(1);
    for _ in 0..500 {
        let (sender, earlier) = told(&pool);
        let later = pool.submit(|| Ok(2));
        let mut finished = as_completed([earlier]);
        sender.send(Ok(1)).unwrap();
        finished.add(settled(later));
        assert_eq!(indices(finished), [0, 1]);
    }
}

#[test]
fn a_finished_job_tells_its_name_and_attempts_whatever_came_of_it() {
    let first = pool(1);
    let second = pool(1);
    second.close();
    let handles = [
        first.job(|| Ok(5)).name("five").submit(),
        first.submit(|| Err("no")),
        first.job(|| panic!("boom")).name("fuse").submit(),
        second.submit(|| Ok(6)),
    ];
    let mut done: Vec<_> = as_completed(handles).collect();
    done.sort_by_key(Finished::index);
    let told = |n: usize| (done[n].name(), done[n].attempts());
    assert_eq!(
        [told(0), told(1), told(2), told(3)],
        [(Some("five"), 1), (None, 3), (Some("fuse"), 1), (None, 0)]
    );
    assert_eq!(*done[0].result().unwrap(), 5);
    let reason = |n: usize| done[n].result().unwrap_err().reason();
    assert_eq!(
        [reason(1), reason(2), reason(3)],
        [
            GiveUpReason::AttemptsExhausted,
            GiveUpReason::Panicked,
            GiveUpReason::Shutdown
        ]
    );
    let text = format!("{:?}", done[0]);
    assert!(text.contains("five") && text.contains("Ok(5)"), "{text}");
}

#[test]
fn a_timed_wait_is_never_early_and_the_iteration_goes_on() {
    let pool = pool(2);
    let (senders, handles) = many_told::<2>(&pool);
    let mut finished = as_completed(handles);
    for timeout in [Duration::ZERO, ms(1), ms(5)] {
        let begun = Instant::now();
        assert_eq!(finished.next_timeout(timeout).unwrap_err().unfinished, 2);
        assert!(begun.elapsed() >= timeout);
    }
    senders[1].send(Ok(1)).unwrap();
    let done = finished.next_timeout(Duration::MAX).unwrap().unwrap();
    assert_eq!(done.index(), 1);
    assert_eq!(finished.next_timeout(ms(1)).unwrap_err().unfinished, 1);
    senders[0].send(Ok(0)).unwrap();
    assert_eq!(finished.next().unwrap().index(), 0);
    assert!(finished.next_timeout(Duration::MAX).unwrap().is_none());
}

#[test]
fn waiting_for_the_first_gives_all_that_have_settled() {
    let pool = pool(2);
    let (sender, running) = told(&pool);
    let others = [Ok(1), Err(()), Ok(3)].map(|outcome| ended(&pool, outcome));
    let handles = std::iter::once(running).chain(others);
    let waited = wait_for(handles, Until::First, None);
    assert_eq!(indices(waited.done), [1, 2, 3]);
    assert_eq!(waited.pending.len(), 1);
    sender.send(Ok(0)).unwrap();
    assert_eq!(
        indices(wait_for(waited.pending, Until::First, None).done),
        [0]
    );
}

#[test]
fn waiting_for_the_first_blocks_until_one_settles_also_with_an_error() {
    let pool = pool(3);
    for outcome in [Ok(1), Err(())] {
        let (senders, handles) = many_told::<3>(&pool);
        let waited = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| wait_for(handles, Until::First, Some(Duration::MAX)));
            senders[1].send(outcome).unwrap();
            waiter.join().unwrap()
        });
        assert_eq!(indices(waited.done), [1]);
        for (sender, n) in [(&senders[0], 0), (&senders[2], 2)] {
            sender.send(Ok(n)).unwrap();
        }
        let left = waited.pending.into_iter().map(|job| job.wait().unwrap());
        assert_eq!(left.collect::<Vec<_>>(), [0, 2]);
    }
}

#[test]
fn waiting_for_the_first_error_passes_successes_by() {
    let pool = pool(1);
    let (senders, handles) = many_told::<4>(&pool);
    let waited = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| wait_for(handles, Until::FirstError, None));
        for (sender, outcome) in senders.iter().zip([Ok(0), Ok(1), Err(())]) {
            sender.send(outcome).unwrap();
        }
        waiter.join().unwrap()
    });
    assert!(waited.done[2].result().is_err());
    assert_eq!(indices(waited.done), [0, 1, 2]);
    assert_eq!(waited.pending.len(), 1);
    drop(senders);
    let broken = wait_for(waited.pending, Until::FirstError, None);
    let give_up = broken.done.into_iter().next().unwrap().into_result();
    assert_eq!(give_up.unwrap_err().reason(), GiveUpReason::Panicked);
}

#[test]
fn an_error_that_is_there_already_ends_the_wait() {
    let pool = pool(2);
    let (sender, running) = told(&pool);
    let handles = [
        ended(&pool, Err(())),
        running,
        ended(&pool, Ok(2)),
        ended(&pool, Err(())),
    ];
    let waited = wait_for(handles, Until::FirstError, None);
    assert_eq!(indices(waited.done), [0, 2, 3]);
    assert_eq!(waited.pending.len(), 1);
    drop(sender);
}

#[test]
fn without_errors_and_for_all_the_wait_is_for_every_job() {
    let pool = pool(2);
    for until in [Until::FirstError, Until::All] {
        let handles = (0..100).map(|n| pool.submit(move || Ok::<_, ()>(n)));
        let waited = wait_for(handles, until, None);
        assert_eq!((waited.done.len(), waited.pending.len()), (100, 0));
    }
    let outcomes = [Err(()), Ok(1), Err(())];
    let waited = wait_for(
        outcomes.map(|outcome| ended(&pool, outcome)),
        Until::All,
        None,
    );
    assert_eq!(indices(waited.done), [0, 1, 2]);
}

#[test]
fn a_wait_goes_on_past_a_success_while_a_job_is_pending() {
    let pool = pool(2);
    for until in [Until::FirstError, Until::All] {
        let (sender, running) = told(&pool);
        let handles = [ended(&pool, Ok(0)), running];
        let waited = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| wait_for(handles, until, None));
            // Time for a wait that ends too early to be caught; a right one passes at any length.
            std::thread::sleep(ms(5));
            assert!(!waiter.is_finished());
            sender.send(Ok(1)).unwrap();
            waiter.join().unwrap()
        });
        assert_eq!(indices(waited.done), [0, 1]);
        assert!(waited.pending.is_empty());
    }
}

#[test]
fn a_wait_that_times_out_gives_back_the_pending_handles_in_their_order() {
    let pool = pool(4);
    let (senders, mut handles) = many_told::<3>(&pool);
    handles.insert(1, ended(&pool, Ok(7)));
    for (until, timeout) in [(Until::All, Duration::ZERO), (Until::FirstError, ms(5))] {
        let begun = Instant::now();
        let waited = wait_for(handles, until, Some(timeout));
        assert!(begun.elapsed() >= timeout);
        assert_eq!(indices(waited.done), [1]);
        handles = waited.pending;
        assert_eq!(handles.len(), 3);
        handles.insert(1, ended(&pool, Ok(7)));
    }
    drop(handles.remove(1));
    for (n, sender) in senders.iter().enumerate() {
        sender.send(Ok(n as u32)).unwrap();
    }
    let left = handles.into_iter().map(|job| job.wait().unwrap());
    assert_eq!(left.collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn a_handle_that_was_given_back_is_as_good_as_new() {
    let pool = pool(5);
    let (senders, handles) = many_told::<5>(&pool);
    let waited = wait_for(handles, Until::First, Some(Duration::ZERO));
    let Waited { done, pending } = as_completed(waited.pending).into_waited();
    assert!(waited.done.is_empty() && done.is_empty());
    let [wait, timed, awaited, asked, dropped] = <[Handle; 5]>::try_from(pending).unwrap();
    let timed = timed.wait_timeout(ms(1)).unwrap_err();
    drop(dropped);
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| {
            let results = [wait.wait(), timed.wait_timeout(Duration::MAX).unwrap()];
            let results = results.map(Result::unwrap);
            (results, futures::executor::block_on(awaited).unwrap())
        });
        for (n, sender) in senders.iter().enumerate() {
            sender.send(Ok(n as u32)).unwrap();
        }
        assert_eq!(blocked.join().unwrap(), ([0, 1], 2));
    });
    assert_eq!(settled(asked).try_result().unwrap().unwrap(), 3);
    pool.shutdown();
    assert_eq!(pool.stats().succeeded(), 5);
}

#[test]
fn what_was_not_yielded_is_given_back_with_the_rest() {
    let pool = pool(2);
    let (sender, running) = told(&pool);
    let others = [Ok(0), Ok(1), Err(())].map(|outcome| ended(&pool, outcome));
    let mut finished = as_completed(others);
    finished.add(running);
    assert_eq!(finished.next().unwrap().index(), 0);
    let waited = finished.into_waited();
    assert_eq!(indices(waited.done), [1, 2]);
    assert_eq!(waited.pending.len(), 1);
    drop(sender);
}

#[test]
fn no_handles_need_no_waiting() {
    assert!(as_completed::<(), ()>([]).next().is_none());
    let ended = as_completed::<(), ()>([]).next_timeout(Duration::MAX);
    assert!(ended.unwrap().is_none());
    for until in [Until::First, Until::FirstError, Until::All] {
        for timeout in [None, Some(Duration::ZERO), Some(Duration::MAX)] {
            let waited = wait_for::<(), ()>([], until, timeout);
            assert!(waited.done.is_empty() && waited.pending.is_empty());
        }
    }
}

#[test]
#[should_panic(expected = "taken already")]
fn a_handle_whose_result_was_taken_is_refused() {
    let pool = pool(1);
    let handle = ended(&pool, Ok(1));
    assert!(handle.try_result().is_some());
    let _ = wait_for([handle], Until::All, None);
}

#[test]
fn a_refused_handle_does_not_end_the_iteration() {
    let pool = pool(2);
    let (sender, running) = told(&pool);
    let mut finished = as_completed([running]);
    let taken = ended(&pool, Ok(1));
    assert!(taken.try_result().is_some());
    let add = std::panic::AssertUnwindSafe(|| finished.add(taken));
    assert!(std::panic::catch_unwind(add).is_err());
    finished.add(ended(&pool, Ok(2)));
    sender.send(Ok(0)).unwrap();
    let mut left = indices(finished);
    left.sort_unstable();
    assert_eq!(left, [0, 2]);
}

#[test]
fn dropping_the_iterator_detaches_the_jobs_and_leaks_nothing() {
    let live = Live::new();
    let pool = pool(1);
    let (gate, keeper) = gate();
    let calls = Arc::new(AtomicUsize::new(0));
    let submit = |passes: bool| {
        let (job, gate, calls) = (live.clone(), gate.clone(), Arc::clone(&calls));
        pool.submit(move || {
            if passes {
                gate.pass();
            }
            calls.fetch_add(1, Ordering::SeqCst);
            Ok::<_, ()>(job.clone())
        })
    };
    let mut finished = as_completed([submit(false), submit(false), submit(true), submit(false)]);
    drop(finished.next().unwrap());
    keeper.await_arrivals(1);
    drop(finished);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    keeper.let_through(1);
    drop(pool);
    assert_eq!((calls.load(Ordering::SeqCst), live.others()), (4, 0));
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("boom");
    }
}

#[test]
fn results_that_panic_when_dropped_are_contained() {
    let pool = pool(1);
    let handles = [(); 3].map(|()| settled(pool.submit(|| Ok::<_, ()>(Bomb))));
    let mut finished = as_completed(handles);
    std::mem::forget(finished.next().unwrap());
    drop(finished);
}

#[test]
fn an_iterator_can_move_to_another_thread() {
    fn is_send<S: Send>(value: S) -> S {
        value
    }
    let pool = pool(2);
    let (sender, handle) = told(&pool);
    let finished = is_send::<HandlesCompleted<u32, ()>>(as_completed([handle]));
    let elsewhere = std::thread::spawn(move || finished.collect::<Vec<_>>());
    sender.send(Ok(1)).unwrap();
    assert_eq!(indices(elsewhere.join().unwrap()), [0]);
}

/// Jobs settle, some of them after retries, while several threads wait in every way there is. A wake-up that is lost is a hang.
#[test]
fn every_job_comes_out_exactly_once_whoever_waits_and_however() {
    let pool = pool(3);
    let jobs = |count: usize, round: usize| {
        let submit = |n: usize| {
            pool.submit(move || {
                if (n + round).is_multiple_of(5) && retry_pool::Attempt::current().number() < 3 {
                    return Err(());
                }
                // Some are long enough for those who wait to fall asleep, at any moment of it.
                let length = Duration::from_micros((n * round) as u64 % 50);
                let begun = Instant::now();
                while begun.elapsed() < length {
                    std::hint::spin_loop();
                }
                Ok(n)
            })
        };
        (0..count).map(submit).collect::<Vec<_>>()
    };
    let one_by_one = |round: usize| {
        let mut finished = as_completed(jobs(round % 7, round));
        let mut late = jobs(round % 3, round).into_iter();
        let mut seen = Vec::new();
        loop {
            let timeout = Duration::from_micros(round as u64 % 40);
            match finished.next_timeout(timeout) {
                Ok(Some(done)) => seen.push(done.index()),
                Ok(None) if late.len() == 0 => break,
                Ok(None) | Err(_) => finished.extend(late.next()),
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..round % 7 + round % 3).collect::<Vec<_>>());
    };
    let in_bites = |round: usize, until: Until, timeout: Option<Duration>| {
        let mut pending = jobs(round % 9, round);
        let mut seen = Vec::new();
        while !pending.is_empty() {
            let before = pending.len();
            let waited = wait_for(pending, until, timeout);
            assert_eq!(waited.done.len() + waited.pending.len(), before);
            assert!(timeout.is_some() || !waited.done.is_empty());
            seen.extend(
                waited
                    .done
                    .into_iter()
                    .map(|job| job.into_result().unwrap()),
            );
            pending = waited.pending;
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..round % 9).collect::<Vec<_>>());
    };
    std::thread::scope(|scope| {
        scope.spawn(|| (0..2_000).for_each(one_by_one));
        scope.spawn(|| (0..2_000).for_each(|round| in_bites(round, Until::First, None)));
        scope.spawn(|| (0..2_000).for_each(|round| in_bites(round, Until::FirstError, None)));
        let brief = Some(Duration::from_micros(5));
        scope.spawn(move || (0..2_000).for_each(|round| in_bites(round, Until::All, brief)));
    });
}
