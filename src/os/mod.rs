//! The only door to the outside: sockets, files, clocks, randomness, signals, threads, the log.
//!
//! [`world::World`] is what the daemon sees; the other files are its parts, each one trait or one
//! kind of system object. Nothing here knows SMTP or what a block or a drop file means. `unsafe`
//! stands only where a system call has no safe wrapper in std, on the smallest item, with its
//! reason.
//!
//! Start with `world`; then `reactor` (the only file that names mio) and `disk`.

pub mod clock;
#[cfg(feature = "tls")]
pub mod crypto;
pub mod disk;
pub mod drops;
mod folder;
pub mod image_reader;
pub mod local;
mod lock;
pub mod log;
pub mod mailbox;
pub mod process;
pub mod random;
mod reactor;
mod resolver;
mod signals;
mod socket;
mod watch;
pub mod world;
