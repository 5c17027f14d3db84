//! The commands against a scripted daemon: what `sendmail` says on the submit socket, byte for
//! byte, what it does when nobody or half a daemon is there, and what the other commands make of
//! the answers on the control socket.
//!
//! The daemon here is a thread with a script; the real one is in `tests/e2e`. Every call names a
//! config file of its own, so that no daemon of the machine that runs this is ever asked.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod control;
mod place;
mod submission;
