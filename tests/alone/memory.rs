//! Memory stays flat. One test, since it looks at the size of the process.
#![cfg(target_os = "linux")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::{pool, resident};

#[test]
fn an_endless_input_and_a_slow_consumer_keep_memory_flat() {
    const WINDOW: usize = 256;
    let pool = pool(2);
    let pulled = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&pulled);
    let input = std::iter::from_fn(move || {
        counter.fetch_add(1, Ordering::SeqCst);
        Some(vec![0u8; 1_000])
    });
    let run = |bytes: &Vec<u8>| {
        if bytes.len() == 1_000 {
            Ok(bytes.clone())
        } else {
            Err(())
        }
    };
    let mut batch = pool.batch(input, run).window(WINDOW).as_completed();
    let mut consume = |jobs: usize| {
        for (delivered, done) in batch.by_ref().take(jobs).enumerate() {
            drop(done);
            if delivered % 1_000 == 0 {
                // A consumer that is slower than the pool: whatever the window lets in has settled by now.
                std::thread::yield_now();
            }
        }
    };
    consume(50_000);
    let before = resident();
    consume(350_000);
    let grown = resident().saturating_sub(before);
    assert!(grown < 1 << 20, "grew by {grown} bytes");
    assert!(pulled.load(Ordering::SeqCst) <= 400_000 + WINDOW);
}
