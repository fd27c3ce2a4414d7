//! Pools that come and go. One test, since it looks at the size of the process and counts its threads.
#![cfg(target_os = "linux")]

use crate::common::{eventually, pool, resident, threads};

fn come_and_go(pools: usize) {
    for n in 0..pools {
        let pool = pool(2);
        match n % 4 {
            0 => {}
            1 => drop(pool.submit(|| Err::<(), _>(()))),
            2 => drop(pool.batch(0..5, |n| Ok::<_, ()>(*n)).as_completed().next()),
            _ => drop(pool.shutdown_now()),
        }
    }
}

#[test]
fn pools_that_come_and_go_leave_no_thread_and_no_memory_behind() {
    let pools = 10_000;
    let before = threads().len();
    come_and_go(pools / 10);
    eventually("no thread left", || threads().len() <= before);
    let resident_before = resident();
    come_and_go(pools);
    eventually("no thread left", || threads().len() <= before);
    let grown = resident().saturating_sub(resident_before);
    assert!(grown < 1 << 20, "grew by {grown} bytes");
}
