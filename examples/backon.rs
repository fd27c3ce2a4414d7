//! Takes the delays of another library, here backon's builder: `cargo run --release --example backon`.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use retry_pool::{Attempt, RetryPolicy, RetryPool};

fn main() {
    let delays = || {
        let builder = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(10))
            .with_max_delay(Duration::from_millis(50));
        builder.with_max_times(4).build()
    };
    // The iterator ends by itself, after 4 delays, so the policy needs no limit of its own.
    let policy = RetryPolicy::from_delays(delays).unlimited();
    println!("delays: {:?}", policy.delays(0, 0).collect::<Vec<_>>());

    let pool = RetryPool::with_threads(2);
    // Job n succeeds at its n-th attempt; 6 is one more than the policy has.
    let batch = pool.batch(1..=6, |n| match Attempt::current().number() {
        number if number == *n => Ok(()),
        number => Err(format!("attempt {number} failed by script")),
    });
    for done in batch.retry(policy).in_order() {
        let (job, attempts) = (done.input(), done.attempts());
        match done.result() {
            Ok(()) => println!("job {job}: succeeded, attempts: {attempts}"),
            Err(give_up) => println!("job {job}: attempts: {attempts}; {give_up}"),
        }
    }
}
