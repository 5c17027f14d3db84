//! The whole machine, pure: one turn of the loop over intake, queue and relay.
//!
//! - `world` what it needs of the outside, as traits
//! - `turn` the [`turn::Daemon`]: events in, one commit, replies out, the next deadline
//! - `service` the bytes between sockets and machines, a part of the turn
//! - `doors` which connection gets which slot, and who has to give his up; `laggards`, who had to
//! - `control` the administrator's socket: one request line, JSON lines back
//! - `listing` those lines
//!
//! `cli::serve` runs it over `os`, the simulator over a seeded world; nothing is wired twice.

pub mod control;
pub mod doors;
mod laggards;
pub mod listing;
mod service;
pub mod turn;
pub mod world;
