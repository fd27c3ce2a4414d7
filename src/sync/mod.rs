//! The primitives that the crate is built on, named here and nowhere else, so that a model checker's can take their place.
//!
//! `real.rs` is what everybody gets. Under `cfg(rp_shuttle)`, which `scripts/model` sets, `model.rs` has the same names for the
//! model checker shuttle: its locks, atomics and threads, and a clock that the schedule drives. Under `cfg(rp_loom)`, which
//! `scripts/loom` sets, it has them for the model checker loom.

#[cfg(rp_loom)]
pub(crate) mod loom;
#[cfg(any(rp_loom, rp_shuttle))]
mod model;
#[cfg(not(any(rp_loom, rp_shuttle)))]
mod real;
#[cfg(rp_shuttle)]
mod shuttle;

#[cfg(rp_loom)]
use self::loom as checker;
#[cfg(rp_shuttle)]
use self::shuttle as checker;

#[cfg(any(rp_loom, rp_shuttle))]
pub(crate) use model::*;
#[cfg(not(any(rp_loom, rp_shuttle)))]
pub(crate) use real::*;
pub(crate) use std::sync::atomic::Ordering;
pub(crate) use std::sync::{Arc, Weak};

/// A number that no other caller in this process has got, from 1.
pub(crate) fn unique_number() -> u64 {
    // Not the model's: it outlives each execution of a model.
    static LAST: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    // ORDERING: only the number itself matters.
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// A value on cache lines of its own, so that threads that write it do not slow down those that read its neighbours. Two lines
/// of 64 bytes, because x86 processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<V>(V);

impl<V> Padded<V> {
    pub(crate) fn new(value: V) -> Self {
        Self(value)
    }
}

impl<V> std::ops::Deref for Padded<V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.0
    }
}
