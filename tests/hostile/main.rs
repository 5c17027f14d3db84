//! Peers who mean harm, through the daemon and both protocol machines, and through the real binary.
//!
//! What takes longer than a few seconds is ignored, sampled by an ordinary test beside it, and run
//! whole by `make hostile`; so is whatever measures a time. Each prints its figure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod budget;
mod control_bytes;
mod crowd;
mod descriptors;
mod drops;
mod foreign;
mod garbage;
mod lenient;
mod listing;
mod long;
mod smuggling;
mod told;
mod world;

/// What the disk in memory is written against.
mod disk {
    pub(crate) use mote::queue::disk::{BLOCK_BYTES, Block, Disk, DiskError};
}

#[allow(dead_code, reason = "shared with tests that use all of it")]
#[path = "../../src/queue/memory_disk.rs"]
mod memory_disk;

#[allow(dead_code, unreachable_pub, missing_docs, reason = "shared with the crash tests")]
#[path = "../crash/random.rs"]
mod random;

#[allow(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
#[path = "../e2e/instance.rs"]
mod instance;
#[allow(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
#[path = "../e2e/load.rs"]
mod load;
#[allow(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
#[path = "../e2e/session.rs"]
mod session;
