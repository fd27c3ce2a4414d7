//! The contention model of Marc Brooker, *Exponential Backoff And Jitter*, AWS Architecture Blog, 2015, on a virtual clock.
//!
//! Each client wants to update one row once, with optimistic concurrency control: it reads the row's version, then writes. The
//! write is refused if the version has changed meanwhile; then the client backs off and starts over.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use retry_pool::{Jitter, RetryPolicy};

/// What it took until every client had its write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The writes that were attempted, refused ones included.
    pub(crate) calls: u64,
    /// When the last client heard of its success.
    pub(crate) time: Duration,
}

/// A request that reaches the server.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Request {
    Read,
    /// Holds if the row still has this version.
    Write(u64),
}

/// The policies that are compared, with the article's base of 5 ms and cap of 2 s; plain exponential comes first.
pub(crate) fn policies() -> [(&'static str, RetryPolicy); 4] {
    let base = Duration::from_millis(5);
    let exponential = || RetryPolicy::exponential(base);
    [
        ("no jitter", exponential().jitter(Jitter::None)),
        ("full", exponential().jitter(Jitter::Full)),
        ("equal", exponential().jitter(Jitter::Equal)),
        ("decorrelated", RetryPolicy::decorrelated(base)),
    ]
    .map(|(name, policy)| (name, policy.max_delay(Duration::from_secs(2)).unlimited()))
}

/// Lets the clients contend for the row until each has written once.
pub(crate) fn contend(clients: u64, policy: &RetryPolicy, seed: u64) -> Outcome {
    let mut latency = (0..).map(|message| latency(seed, message));
    let mut latency = || latency.next().unwrap_or_default();
    let mut backoffs: Vec<_> = (0..clients).map(|id| policy.delays(seed, id)).collect();
    // By time, then in the order in which they were sent.
    let mut events = BinaryHeap::new();
    let mut sent = 0..;
    let mut send = |events: &mut BinaryHeap<_>, due: Duration, client: usize, request| {
        events.push(Reverse((due, sent.next(), client, request)));
    };
    for client in 0..backoffs.len() {
        send(&mut events, latency(), client, Request::Read);
    }
    let (mut version, mut calls, mut time) = (0, 0, Duration::ZERO);
    while let Some(Reverse((now, _, client, request))) = events.pop() {
        let answered = now + latency();
        match request {
            Request::Read => {
                let due = answered + latency();
                send(&mut events, due, client, Request::Write(version));
                continue;
            }
            Request::Write(read) if read == version => {
                version += 1;
                time = time.max(answered);
            }
            Request::Write(_) => {
                let backoff = backoffs[client].next().expect("the policy is unlimited");
                send(
                    &mut events,
                    answered + backoff + latency(),
                    client,
                    Request::Read,
                );
            }
        }
        calls += 1;
    }
    Outcome { calls, time }
}

/// How long the n-th message is under way: 10 ms on average, with a standard deviation of 2 ms. The sum of four even draws is
/// close enough to a normal one.
fn latency(seed: u64, message: u64) -> Duration {
    let bits = splitmix(seed ^ splitmix(message));
    let sum: u64 = (0..4).map(|part| bits >> (16 * part) & 0xffff).sum();
    // Four draws below 2¹⁶ have a mean of 2¹⁷ and a deviation of 2¹⁶ / √3; 52.86 ns = 2 ms × √3 / 2¹⁶.
    Duration::from_nanos(10_000_000 + sum * 5_286 / 100 - (1 << 17) * 5_286 / 100)
}

/// `SplitMix64` as a hash (Steele, Lea, Flood, 2014).
fn splitmix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
