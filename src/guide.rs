#![doc = include_str!("../docs/retrying.md")]

#[doc = include_str!("../docs/supervision.md")]
pub mod supervision {}
