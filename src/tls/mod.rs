//! TLS: what is in key stores, and servers and clients made of it.

pub mod keystore;
