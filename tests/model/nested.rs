//! Jobs that wait for jobs.

use std::sync::{Arc, Mutex};

use retry_pool::CancelToken;

use crate::explore::{explore, thread};
use crate::pools::{assert_settled, pool, second_time_lucky};

#[test]
fn a_nested_wait_with_one_worker() {
    let sides = ["in order", "overtaken"];
    explore("nested wait, one worker", &sides, |sides| {
        let pool = Arc::new(pool(1));
        let order = Arc::new(Mutex::new(Vec::new()));
        let outer = (0..2).map(|n| {
            let (weak, order) = (Arc::downgrade(&pool), Arc::clone(&order));
            pool.submit(move || {
                let inner = weak.upgrade().ok_or(())?.submit(second_time_lucky);
                inner.wait().map_err(drop)?;
                order.lock().unwrap().push(n);
                Ok::<_, ()>(())
            })
        });
        let outer: Vec<_> = outer.collect();
        outer.into_iter().for_each(|outer| outer.wait().unwrap());
        sides.saw(match order.lock().unwrap().is_sorted() {
            true => "in order",
            false => "overtaken",
        });
        pool.shutdown();
        assert_settled(&pool, 4, 0);
    });
}

#[test]
fn a_nested_wait_comes_back_while_work_arrives() {
    let sides = ["by the worker", "by the spare"];
    explore("nested wait against submit", &sides, |sides| {
        let pool = Arc::new(pool(1));
        let thread_of = || Ok::<_, ()>(thread::current().id());
        let weak = Arc::downgrade(&pool);
        let outer = pool.submit(move || {
            let inner = weak.upgrade().ok_or(())?.submit(thread_of);
            inner.wait().map_err(drop)
        });
        let spare = outer.wait().unwrap();
        // Meanwhile the worker comes back, and the spare leaves.
        let next = pool.submit(thread_of).wait().unwrap();
        sides.saw(match next == spare {
            true => "by the spare",
            false => "by the worker",
        });
        pool.shutdown();
        assert_settled(&pool, 3, 0);
    });
}

#[test]
fn a_job_of_a_batch_gives_its_token_up_while_it_waits() {
    let sides = ["by the spare"];
    explore("nested wait in a batch", &sides, |sides| {
        let pool = Arc::new(pool(1));
        let (weak, token) = (Arc::downgrade(&pool), CancelToken::new());
        let job = move |n: &u32| {
            if *n == 1 {
                token.cancel();
                return Ok(thread::current().id());
            }
            // An iteration that only the batch's other job ends.
            let pool = weak.upgrade().ok_or(())?;
            let inner = pool.batch(std::iter::empty::<u32>(), |_| Ok::<_, ()>(()));
            let (_sender, completed) = inner.cancel_token(token.clone()).channel();
            drop(pool);
            assert_eq!(completed.count(), 0);
            Ok::<_, ()>(thread::current().id())
        };
        let completed = pool.batch([0, 1], job).as_completed();
        let mut done: Vec<_> = completed
            .map(|done| (done.index(), done.into_result()))
            .collect();
        done.sort_by_key(|(index, _)| *index);
        let threads: Vec<_> = done
            .into_iter()
            .map(|(_, result)| result.unwrap())
            .collect();
        assert_ne!(threads[0], threads[1]);
        sides.saw("by the spare");
        pool.shutdown();
        assert_settled(&pool, 2, 0);
    });
}
