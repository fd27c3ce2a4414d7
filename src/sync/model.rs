//! The same primitives for the model checker shuttle, which decides at each use of one which thread goes on.
//!
//! | what | in the model |
//! |---|---|
//! | locks, atomics, threads, thread-locals | shuttle's, with the shape of ours; every ordering counts as sequentially consistent |
//! | [`Arc`](super::Arc) | the standard library's: its counts are no points at which another thread may go on |
//! | the channel | a queue under a lock |
//! | spinning before a sleep | a single look |
//! | time | a clock that stands still, but for a nanosecond at each reading: a wait with a deadline may end at any moment, and has the clock jump there |
//!
//! # Planted faults
//!
//! The environment variable `RP_MODEL_FAULT` names a fault, a source file, and lines of it if not all: `notify@src/timer.rs:70-85`. What
//! they ask for is forgotten, always. So the scenarios can show that they would find such a bug, and the code is free of switches.
//! `scripts/planted` plants the classic ones.
//!
//! | fault | what is wrong |
//! |---|---|
//! | `notify` | nobody is woken |
//! | `store`, `swap`, `add`, `sub`, `max` | the atomic keeps its value |
//! | `empty` | the channel looks empty to who asks, not to who takes |
//! | `split1`, `split2` | the lock is let go for a moment before its guard is written through for the first (second) time |
//! | `spawn` | what is started is said to run, and does not; but for threads that the scenario's first thread starts |

use std::collections::VecDeque;
use std::fmt;
use std::ops::RangeInclusive;
use std::panic::Location;
use std::sync::{OnceLock, PoisonError};
use std::time::{Duration, Instant};

use shuttle::rand::RngCore;

use super::{Arc, Ordering};

/// What `RP_MODEL_FAULT` asks for.
struct Planted {
    fault: String,
    file: String,
    lines: RangeInclusive<u32>,
}

impl Planted {
    fn parse(text: &str) -> Option<Self> {
        let (fault, place) = text.split_once('@')?;
        let (file, lines) = match place.split_once(':') {
            Some((file, lines)) => {
                let (from, to) = lines.split_once('-')?;
                (file, from.parse().ok()?..=to.parse().ok()?)
            }
            None => (place, 0..=u32::MAX),
        };
        Some(Self {
            fault: fault.to_owned(),
            file: file.to_owned(),
            lines,
        })
    }
}

/// Is this place to have this fault?
fn is_faulty(fault: &str, place: &Location<'_>) -> bool {
    static PLANTED: OnceLock<Option<Planted>> = OnceLock::new();
    let planted = PLANTED.get_or_init(|| {
        let text = std::env::var("RP_MODEL_FAULT").ok()?;
        let planted = Planted::parse(&text);
        Some(planted.unwrap_or_else(|| panic!("RP_MODEL_FAULT: not FAULT@FILE[:FROM-TO]: {text}")))
    });
    planted.as_ref().is_some_and(|planted| {
        planted.fault == fault
            && planted.file == place.file()
            && planted.lines.contains(&place.line())
    })
}

// Locks.

#[derive(Default)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    /// `None` while the lock is let go.
    guard: Option<shuttle::sync::MutexGuard<'a, T>>,
    /// Writes that are left until the lock is let go by a fault.
    until_split: u32,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    #[track_caller]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let caller = Location::caller();
        let until_split = match () {
            () if is_faulty("split1", caller) => 1,
            () if is_faulty("split2", caller) => 2,
            () => 0,
        };
        MutexGuard {
            mutex: self,
            guard: Some(self.lock_raw()),
            until_split,
        }
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_raw(&self) -> shuttle::sync::MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'a, T> MutexGuard<'a, T> {
    fn release(&mut self) -> shuttle::sync::MutexGuard<'a, T> {
        match self.guard.take() {
            Some(guard) => guard,
            None => unreachable!("a guard is used by one thread at a time"),
        }
    }

    fn acquire(&mut self) {
        self.guard = Some(self.mutex.lock_raw());
    }
}

impl<T> std::ops::Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.guard {
            Some(guard) => guard,
            None => unreachable!("a guard is used by one thread at a time"),
        }
    }
}

impl<T> std::ops::DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        if self.until_split > 0 {
            self.until_split -= 1;
            if self.until_split == 0 {
                drop(self.release());
                self.acquire();
            }
        }
        match &mut self.guard {
            Some(guard) => guard,
            None => unreachable!("a guard is used by one thread at a time"),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Condvar(shuttle::sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    #[track_caller]
    pub(crate) fn notify_one(&self) {
        if !is_faulty("notify", Location::caller()) {
            self.0.notify_one();
        }
    }

    #[track_caller]
    pub(crate) fn notify_all(&self) {
        if !is_faulty("notify", Location::caller()) {
            self.0.notify_all();
        }
    }

    fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let woken = self.0.wait(guard.release());
        guard.guard = Some(woken.unwrap_or_else(PoisonError::into_inner));
    }
}

/// Waits for a notification, at the longest until `deadline` (`None`: without a limit). False if the deadline has passed.
pub(crate) fn wait_until<T>(
    condvar: &Condvar,
    guard: &mut MutexGuard<'_, T>,
    deadline: Option<Instant>,
) -> bool {
    let Some(deadline) = deadline else {
        condvar.wait(guard);
        return true;
    };
    drop(guard.release());
    // Nobody is ever blocked here, so a notification has nobody to wake; a wait that ends for no reason stands for it.
    let (passes, lets_others_go) = match shuttle::rand::thread_rng().next_u32() % 4 {
        0 => (false, true),
        1 => (true, false),
        _ => (true, true),
    };
    if lets_others_go {
        shuttle::thread::yield_now();
    }
    guard.acquire();
    if passes {
        TIME.set(TIME.get().max(since_start(deadline)));
    }
    !passes
}

pub(crate) fn look_before_sleep<V>(look: impl FnOnce() -> Option<V>) -> Option<V> {
    look()
}

pub(crate) fn search<V>(look: impl FnOnce() -> Option<V>) -> Option<V> {
    look()
}

// Time. All threads of an execution are on one thread of the operating system, and each execution goes on where the last one ended:
// all that matters are differences.

std::thread_local! {
    static START: Instant = Instant::now();
    static TIME: std::cell::Cell<Duration> = const { std::cell::Cell::new(Duration::ZERO) };
}

fn since_start(instant: Instant) -> Duration {
    START.with(|start| instant.saturating_duration_since(*start))
}

/// The time. No two readings are the same.
pub(crate) fn now() -> Instant {
    TIME.set(TIME.get() + Duration::from_nanos(1));
    START.with(|start| *start + TIME.get())
}

// Atomics.

#[track_caller]
pub(crate) fn fence(order: Ordering) {
    shuttle::sync::atomic::fence(order);
}

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        #[derive(Debug, Default)]
        pub(crate) struct $name(shuttle::sync::atomic::$name);

        #[allow(dead_code, reason = "no atomic needs all of this")]
        impl $name {
            pub(crate) fn new(value: $value) -> Self {
                Self(shuttle::sync::atomic::$name::new(value))
            }

            pub(crate) fn load(&self, order: Ordering) -> $value {
                self.0.load(order)
            }

            #[track_caller]
            pub(crate) fn store(&self, value: $value, order: Ordering) {
                if !is_faulty("store", Location::caller()) {
                    self.0.store(value, order);
                }
            }

            #[track_caller]
            pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                match is_faulty("swap", Location::caller()) {
                    true => self.0.load(order),
                    false => self.0.swap(value, order),
                }
            }
        }
    };
}

macro_rules! counter {
    ($name:ident, $value:ty) => {
        atomic!($name, $value);

        #[allow(dead_code, reason = "no atomic needs all of this")]
        impl $name {
            #[track_caller]
            pub(crate) fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                match is_faulty("add", Location::caller()) {
                    true => self.0.load(order),
                    false => self.0.fetch_add(value, order),
                }
            }

            #[track_caller]
            pub(crate) fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                match is_faulty("sub", Location::caller()) {
                    true => self.0.load(order),
                    false => self.0.fetch_sub(value, order),
                }
            }

            #[track_caller]
            pub(crate) fn fetch_max(&self, value: $value, order: Ordering) -> $value {
                match is_faulty("max", Location::caller()) {
                    true => self.0.load(order),
                    false => self.0.fetch_max(value, order),
                }
            }
        }
    };
}

atomic!(AtomicBool, bool);
counter!(AtomicU8, u8);
counter!(AtomicU32, u32);
counter!(AtomicU64, u64);

// The channel.

struct Channel<W> {
    state: Mutex<ChannelState<W>>,
    changed: Condvar,
}

struct ChannelState<W> {
    queue: VecDeque<W>,
    senders: usize,
    has_receiver: bool,
}

pub(crate) struct Sender<W>(Arc<Channel<W>>);

pub(crate) struct Receiver<W>(Arc<Channel<W>>);

/// The other side is gone.
#[derive(Debug)]
pub(crate) struct Disconnected;

pub(crate) fn unbounded<W>() -> (Sender<W>, Receiver<W>) {
    let channel = Arc::new(Channel {
        state: Mutex::new(ChannelState {
            queue: VecDeque::new(),
            senders: 1,
            has_receiver: true,
        }),
        changed: Condvar::new(),
    });
    (Sender(Arc::clone(&channel)), Receiver(channel))
}

impl<W> Sender<W> {
    pub(crate) fn send(&self, work: W) -> Result<(), Disconnected> {
        let mut state = self.0.state.lock();
        if !state.has_receiver {
            return Err(Disconnected);
        }
        state.queue.push_back(work);
        self.0.changed.notify_one();
        Ok(())
    }
}

impl<W> Receiver<W> {
    pub(crate) fn try_recv(&self) -> Result<W, Disconnected> {
        self.0.state.lock().queue.pop_front().ok_or(Disconnected)
    }

    pub(crate) fn recv(&self) -> Result<W, Disconnected> {
        let mut state = self.0.state.lock();
        loop {
            if let Some(work) = state.queue.pop_front() {
                return Ok(work);
            }
            if state.senders == 0 {
                return Err(Disconnected);
            }
            self.0.changed.wait(&mut state);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.state.lock().queue.len()
    }

    #[track_caller]
    pub(crate) fn is_empty(&self) -> bool {
        is_faulty("empty", Location::caller()) || self.len() == 0
    }
}

impl<W> Drop for Sender<W> {
    fn drop(&mut self) {
        self.0.state.lock().senders -= 1;
        self.0.changed.notify_all();
    }
}

impl<W> Drop for Receiver<W> {
    fn drop(&mut self) {
        let left = {
            let mut state = self.0.state.lock();
            state.has_receiver = false;
            std::mem::take(&mut state.queue)
        };
        drop(left);
    }
}

impl<W> fmt::Debug for Sender<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

impl<W> fmt::Debug for Receiver<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}

// Threads.

/// What the crate uses of [`std::thread`].
pub(crate) mod thread {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use std::panic::Location;

    use shuttle::thread::park;
    pub(crate) use shuttle::thread::{Scope, ThreadId, current, panicking, scope};

    use super::is_faulty;

    /// What shuttle calls the first thread of a scenario.
    const MAIN: &str = "main-thread";

    /// Its stack size is not heeded: the model's threads are small, and all of one size.
    #[derive(Debug, Default)]
    pub(crate) struct Builder(shuttle::thread::Builder);

    #[derive(Debug)]
    pub(crate) struct JoinHandle<R> {
        thread: shuttle::thread::JoinHandle<R>,
        finished: Arc<AtomicBool>,
    }

    impl Builder {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        pub(crate) fn name(self, name: String) -> Self {
            Self(self.0.name(name))
        }

        pub(crate) fn stack_size(self, _bytes: usize) -> Self {
            self
        }

        #[track_caller]
        pub(crate) fn spawn<R: Send + 'static>(
            self,
            f: impl FnOnce() -> R + Send + 'static,
        ) -> io::Result<JoinHandle<R>> {
            let finished = Arc::new(AtomicBool::new(false));
            let ends = Arc::clone(&finished);
            let is_lost = is_faulty("spawn", Location::caller()) && current().name() != Some(MAIN);
            let thread = self.0.spawn(move || {
                while is_lost {
                    park();
                }
                let result = f();
                ends.store(true, Ordering::SeqCst);
                result
            })?;
            Ok(JoinHandle { thread, finished })
        }

        pub(crate) fn spawn_scoped<'scope, R: Send + 'scope>(
            self,
            scope: &'scope Scope<'scope, '_>,
            f: impl FnOnce() -> R + Send + 'scope,
        ) -> io::Result<shuttle::thread::ScopedJoinHandle<'scope, R>> {
            Ok(scope.spawn(f))
        }
    }

    impl<R> JoinHandle<R> {
        pub(crate) fn join(self) -> std::thread::Result<R> {
            self.thread.join()
        }

        pub(crate) fn is_finished(&self) -> bool {
            self.finished.load(Ordering::SeqCst)
        }

        pub(crate) fn thread(&self) -> &shuttle::thread::Thread {
            self.thread.thread()
        }
    }
}

// Thread-locals: those of the model's threads, which share one thread of the operating system.

pub(crate) struct LocalKey<V: 'static>(pub(crate) shuttle::thread::LocalKey<V>);

#[allow(dead_code, reason = "no key needs all of this")]
impl<V> LocalKey<V> {
    pub(crate) fn try_with<R>(
        &'static self,
        f: impl FnOnce(&V) -> R,
    ) -> Result<R, shuttle::thread::AccessError> {
        self.0.try_with(f)
    }
}

impl<V> LocalKey<std::cell::Cell<V>> {
    pub(crate) fn set(&'static self, value: V) {
        self.0.with(|cell| cell.set(value));
    }

    pub(crate) fn get(&'static self) -> V
    where
        V: Copy,
    {
        self.0.with(std::cell::Cell::get)
    }

    pub(crate) fn take(&'static self) -> V
    where
        V: Default,
    {
        self.0.with(std::cell::Cell::take)
    }
}

impl<V> LocalKey<std::cell::RefCell<V>> {
    pub(crate) fn set(&'static self, value: V) {
        drop(self.0.with(|cell| cell.replace(value)));
    }

    pub(crate) fn take(&'static self) -> V
    where
        V: Default,
    {
        self.0.with(std::cell::RefCell::take)
    }
}

macro_rules! model_thread_local {
    ($($(#[$attribute:meta])* static $name:ident: $value:ty = const { $init:expr };)*) => {$(
        $(#[$attribute])*
        static $name: $crate::sync::LocalKey<$value> = $crate::sync::LocalKey(shuttle::thread::LocalKey {
            init: || $init,
            _p: std::marker::PhantomData,
        });
    )*};
}
pub(crate) use model_thread_local as thread_local;
