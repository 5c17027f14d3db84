//! The real binary on loopback, between programs that nobody here wrote.
//!
//! Each test starts `mote -C FILE serve` in a folder of its own, on ports of its own, with real
//! clients before it and real servers behind it. Those are unpacked by `peers.sh` into
//! `target/peers`; a test whose peer is not there says `skipped: NAME: reason` and passes.
//!
//! Tests that measure times or count system calls hold `load::quiet()` and run alone; all others
//! hold `load::shared()`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod aliases;
mod auth;
mod bodies;
mod callers;
mod clients;
mod confinement;
mod conversation;
mod domains;
mod durability;
mod extensions;
mod hops;
mod hostile_hops;
mod instance;
mod latency;
mod listeners;
mod load;
mod logging_in;
mod manual;
mod memory;
mod network;
mod next_hop;
mod peers;
mod programs;
mod proxies;
mod receive;
mod relaying;
mod reports;
mod rewriting;
mod sendmail;
mod session;
mod signals;
mod syncs;
#[cfg(feature = "tls")]
mod times;
mod tls;
#[cfg(feature = "tls")]
mod tls_out;
