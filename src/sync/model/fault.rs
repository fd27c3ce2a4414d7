//! Faults that are planted in the code under test.
//!
//! The environment variable `RP_MODEL_FAULT` names a fault, a source file, and lines of it if not all: `notify@src/timer.rs:70-85`. What
//! they ask for is forgotten, always. So the scenarios can show that they would find such a bug, and the code is free of switches.
//! `scripts/planted` plants the classic ones.
//!
//! | fault | what is wrong |
//! |---|---|
//! | `notify` | nobody is woken |
//! | `store`, `swap`, `add`, `sub`, `max` | the atomic keeps its value |
//! | `relaxed`, `fence` | the atomic, or the fence, orders nothing (for loom) |
//! | `empty` | the channel looks empty to who asks, not to who takes |
//! | `split1`, `split2` | the lock is let go for a moment before its guard is written through for the first (second) time |
//! | `spawn` | what is started is said to run, and does not; but for threads that the scenario's first thread starts |

use std::ops::RangeInclusive;
use std::panic::Location;
use std::sync::OnceLock;

use crate::sync::Ordering;

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
pub(super) fn is_faulty(fault: &str, place: &Location<'_>) -> bool {
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

/// The ordering that counts.
pub(super) fn heeded(order: Ordering, caller: &Location<'_>) -> Ordering {
    match is_faulty("relaxed", caller) {
        true => Ordering::Relaxed,
        false => order,
    }
}
