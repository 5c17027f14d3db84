//! The only door to the outside: sockets, files, clocks, randomness, signals, threads, the log.
//!
//! [`world::World`] is what the daemon sees; the other files are its parts, each one trait or one
//! kind of system object. Nothing here knows SMTP or what a block or a drop file means. `unsafe`
//! stands only where a system call has no safe wrapper in std, on the smallest item, with its
//! reason.
//!
//! Start with `world`; then `reactor` (the only file that names mio), `tls` (the only folder that
//! names rustls) and `disk`.

pub mod alias_files;
pub mod clock;
#[cfg(feature = "tls")]
pub mod crypto;
pub mod disk;
pub mod drops;
pub mod folder;
pub mod handover;
pub mod image_reader;
pub mod inherited;
pub mod keyring;
mod links;
mod listening;
pub mod local;
mod lock;
pub mod log;
mod mail_hosts;
pub mod mailbox;
mod open_error;
pub mod plain_file;
pub mod process;
pub mod random;
mod reactor;
mod rejected;
mod resolver;
pub mod sandbox;
pub mod secret_file;
pub(crate) mod signals;
mod socket;
pub mod spawner;
pub mod terminal;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(not(feature = "tls"))]
#[path = "no_tls.rs"]
pub mod tls;
pub mod vault;
mod watch;
pub mod world;
