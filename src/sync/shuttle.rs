//! What `model.rs` asks of a model checker, by shuttle. It has the names already.

use std::io;
use std::time::Duration;

use ::shuttle::rand::{RngCore, thread_rng};

use super::Ordering;

pub(super) use ::shuttle::{sync, thread};

/// How a wait with a deadline ends: does the time come, and do others go on before? Nobody is ever blocked in it, so a notification has nobody
/// to wake; a wait that ends for no reason stands for that.
pub(super) fn lapse(_deadline: Duration) -> Option<(bool, bool)> {
    Some(match thread_rng().next_u32() % 4 {
        0 => (false, true),
        1 => (true, false),
        _ => (true, true),
    })
}

/// Every access is sequentially consistent.
pub(super) fn before_load(_order: Ordering) {}

pub(super) fn before_write(_order: Ordering) {}

pub(super) fn spawn_scoped<'scope, R: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    f: impl FnOnce() -> R + Send + 'scope,
) -> io::Result<thread::ScopedJoinHandle<'scope, R>> {
    Ok(scope.spawn(f))
}
