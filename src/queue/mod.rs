//! The queue: one preallocated image, group commit, proven by power cuts. FORMAT.md has every byte.
//!
//! Data's way: `Queue::begin` → `record` → `append` … → `finish` puts a message on the batch;
//! `commit`, once a loop turn, makes the whole batch durable and hands out [`Receipt`]s, without
//! which nobody says 250. `Reader` streams a message out; `mark_done` notes who has it.
//!
//! - `disk` what is needed of a disk · `layout` where things lie · `block` their bytes
//! - `envelope` records · `draft` a message on its way in · `reader`, `message` on its way out
//! - `waiting` the queue as the relay sees it
//! - `image` the open queue · `commit` what makes things durable · `marks` what waits for that
//! - `index` what is known of each slot · `recovery` from a medium to an open queue
//! - `recall` what a queue that broke still knows then · `unread` what a medium does not give back
//! - `inspect` the same scan without a write · `fault` what it finds spoiled
//! - `resize` an image made larger or smaller
//! - `memory_disk` what tests write on
//! - `mutant` rules broken for the tests' sake · `schedule` when a message is tried again
//!
//! Pure: the disk, the clock and randomness are arguments.

pub mod block;
mod commit;
pub mod disk;
pub mod draft;
pub mod envelope;
pub mod fault;
pub mod image;
mod index;
pub mod inspect;
pub mod layout;
mod marks;
#[cfg(test)]
pub(crate) mod memory_disk;
pub mod message;
pub mod mutant;
pub mod reader;
mod recall;
pub mod recovery;
pub mod resize;
pub mod schedule;
mod unread;
pub mod waiting;

pub use commit::all_recipients;
pub use image::{NotDurable, Queue, Receipt, Ticket};
