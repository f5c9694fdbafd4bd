//! The embedded broker over its socket, as a client sees it.

mod client;
mod durability;
mod faults;
mod fetch;
mod groups;
mod independent;
mod produce;
mod robustness;
mod topics;
mod versions;
