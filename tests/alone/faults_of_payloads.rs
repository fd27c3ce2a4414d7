//! Payloads of panics that are large. One test, since it looks at the size of the process.
#![cfg(target_os = "linux")]

use std::panic::resume_unwind;

use crate::common::{eventually, pool, resident};

const SIZE: usize = 64 << 20;

fn panic_with_much() -> Result<(), ()> {
    resume_unwind(Box::new(vec![1u8; SIZE]));
}

#[test]
fn a_payload_of_64_mib_is_freed_with_its_result_or_at_once() {
    let pool = pool(1);
    let before = resident();
    let grown = || resident().saturating_sub(before);
    for round in 0..2 {
        let kept = pool.submit(panic_with_much).wait().unwrap_err();
        assert!(grown() >= SIZE);
        drop(kept);
        assert!(grown() < SIZE, "in round {round}: {}", grown());
        drop(pool.submit(panic_with_much));
        eventually("freed", || pool.stats().unsettled() == 0 && grown() < SIZE);
        let mut batch = pool.batch(0..3, |_| panic_with_much()).as_completed();
        drop(batch.next());
        drop(batch);
        eventually("freed", || pool.stats().unsettled() == 0 && grown() < SIZE);
    }
    assert_eq!(pool.stats().threads(), 1);
}
