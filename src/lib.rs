#![doc = include_str!("ARCHITECTURE.md")]

pub mod clock;
pub mod kafka;
pub mod runtime;
