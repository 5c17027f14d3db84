//! Mail as text: addresses, header fields, stamps and reports, without any network or storage.
//!
//! Not here: SMTP (`smtp`), the envelope's place on disk (`queue`), who may send what (`intake`).
//! Whatever reads a message here reads it as a stream, in fixed memory, and does the same for every
//! way of cutting that stream into pieces. Whatever writes here writes into a `fmt::Write` or a
//! slice of the caller's and fails only when that has no room. Bodies are copied and measured,
//! never parsed.
//!
//! On its way a message meets, in this order: [`normal`] (only what local programs hand over),
//! [`header`] (while it is received; it is stored as it came), [`stamp`] and [`edit`] (at each
//! attempt to send it on: the fields that come on top of it, those that go, and the addresses in
//! the others), and [`report`] when that fails. [`address`] is the one parser of addresses and the
//! one type for them; [`list`] is the one reader of address lists, for [`fields`] (a header held
//! in memory) and [`edit`]; [`phrase`] and [`rewrite`] write names and senders; [`aliases`] tells
//! who gets whose mail.

pub mod address;
pub mod aliases;
pub mod edit;
mod ends;
pub mod fields;
pub mod header;
pub mod list;
pub mod normal;
pub mod phrase;
pub mod report;
pub mod rewrite;
pub mod stamp;
pub mod timestamp;
