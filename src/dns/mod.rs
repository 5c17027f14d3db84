//! Where a domain's mail goes: questions and answers of the DNS, and the search for mail hosts.
//!
//! Pure: bytes, numbers and `now` come in as arguments. `os` owns the sockets and the threads they
//! block, and is told what to do next: [`message`] writes questions and reads answers,
//! [`exchange`] gets one question answered by one of several servers, [`lookup`] walks from a
//! domain to addresses in the order of RFC 5321 §5.1, [`cache`] remembers what came of it,
//! [`servers`] reads resolv.conf.
//!
//! Not here: names of configured relays, which the system's own resolver looks up with its hosts
//! file and search list (decisions 14).

pub mod cache;
pub mod exchange;
pub mod lookup;
pub mod message;
pub mod servers;
