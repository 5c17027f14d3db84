//! From a peer's bytes to a message in the queue.
//!
//! - `session` one conversation: server machine, draft, buffers; `flow` its bytes, `terms` what it
//!   is held to and offered, `security` its way into TLS
//! - `admission` who may send what to whom, and which reply each refusal is
//! - `envelope` what MAIL and RCPT said, as records
//! - `import` mail that `sendmail` left in the drop directory, whose records `adopted` checks
//! - `peer` who connected; `told` whom a proxy speaks for
//! - `visitors` what is remembered of peers: `rates`, the messages of each in the last hour,
//!   `throttle`, their failed logins, and `devices`, what `status` tells
//! - `login` logging in, step by step; `access` what it allows; `users` who may
//! - `drop_directory` what that needs of the world
//!
//! Knows the smtp machines and the queue, never the relay: where a recipient's mail will go is a
//! number that the caller's [`Lookout`] tells.

pub mod access;
pub mod admission;
mod adopted;
pub mod devices;
pub mod drop_directory;
mod envelope;
mod flow;
pub mod import;
mod later;
pub mod login;
pub mod peer;
pub mod rates;
mod security;
pub mod session;
mod terms;
pub mod throttle;
mod told;
pub mod users;
pub mod visitors;

use crate::mail::aliases::Addressee;

/// Tells which lanes (a set of at most 32) a recipient's mail will need, as things stand.
pub trait Lookout {
    /// The set; 0 when that is not known before the attempt.
    fn lanes(&self, recipient: Addressee<'_>) -> u32;
}

/// Where a test or a caller without a relay looks: nowhere is known.
impl Lookout for () {
    fn lanes(&self, _: Addressee<'_>) -> u32 {
        0
    }
}
