#![doc = include_str!("../docs/retrying.md")]
