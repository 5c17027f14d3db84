//! The configuration: what the file says, parsed once into types that cannot lie.
//!
//! Pure: text and facts about the host in, a [`Config`] or every fault out. Reading the file,
//! asking the system for its name and printing faults is `cli::configuration`'s part.
//!
//! Start at `table`, the one table of keys, which also prints the manual; `ini` splits lines,
//! `parse` walks them through the table, `value` reads single values.
//!
//! Invariants: every `Via::Relay` is an index into `relays`; every path is absolute; every name,
//! address and number has passed its key's floor and ceiling; `clients` always says something
//! about loopback.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

/// Everything that can be configured, in effect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// This machine's name in greetings, EHLO and Received.
    pub hostname: String,
    /// Where mail comes in; empty: only through the submit socket and the drop directory.
    pub listen: Vec<Listen>,
    /// Next hops by number; the one of the key `relay` is named `default`.
    pub relays: Vec<Relay>,
    /// Where mail goes that no route matches: the key `relay`, else held.
    pub via: Via,
    /// Per destination; the first match counts.
    pub routes: Vec<Route>,
    /// Who may do what; the longest prefix counts.
    pub clients: Vec<ClientRange>,
    /// Who gets the mail of local users, or of everyone.
    pub to: Option<To>,
    /// The envelope sender of everything that is sent on.
    pub from: Option<String>,
    /// The directory of the queue image and the drop directory.
    pub spool: String,
    /// The directory of the submit and control sockets.
    pub run: String,
    /// Bytes of the queue image; none: chosen from what is free when it is made.
    pub spool_size: Option<u64>,
    /// Bytes of the largest message taken.
    pub message_size: u64,
    /// Receiving slots.
    pub sessions: u16,
    /// Sending slots.
    pub senders: u16,
    /// Recipients of one message.
    pub recipients: u8,
    /// Received fields beyond which a message goes in circles.
    pub hops: u8,
    /// How long a peer may take for a command.
    pub command_timeout: Duration,
    /// How long a peer may send nothing inside DATA.
    pub data_timeout: Duration,
    /// How long a connection to a next hop may take.
    pub connect_timeout: Duration,
    /// How long a next hop may take for a reply.
    pub reply_timeout: Duration,
    /// Steps between attempts; the last repeats. Never empty.
    pub retry: Vec<Duration>,
    /// How long, in running time, delivery is tried.
    pub expire: Duration,
    /// What is logged.
    pub log: Log,
}

/// Where mail comes in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Listen {
    /// A TCP address.
    Address(SocketAddr),
    /// Every address of a network interface, and nothing else.
    Interface {
        /// The interface, such as `br-lan`.
        name: String,
        /// The TCP port.
        port: u16,
    },
    /// A Unix socket.
    Unix(String),
}

/// A next hop, spoken to by plain SMTP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Relay {
    /// What routes and the log call it.
    pub name: String,
    /// A domain name or an address literal without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// What becomes of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Via {
    /// Sent to the relay of that number in [`Config::relays`].
    Relay(u16),
    /// Delivered into the Maildir at that path.
    Maildir(String),
    /// Kept in the queue.
    Hold,
    /// Thrown away.
    Discard,
}

/// One `[route PATTERN]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// Which recipients.
    pub pattern: Pattern,
    /// Where to.
    pub via: Via,
}

/// Which recipients a route is for. Compared without case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// `*`: all.
    Any,
    /// `@`: local users.
    Local,
    /// `example.net`: everyone there, but not in subdomains.
    Domain(String),
    /// `*.example.net`, kept without the `*.`: everyone in its subdomains.
    Subdomains(String),
    /// `user@example.net`: one address.
    Address(String),
}

/// The key `to` or `to!`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct To {
    /// Who gets it.
    pub address: String,
    /// `to!`: every recipient is replaced, not just local users.
    pub everyone: bool,
}

/// What `[clients RANGE]` says of one network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientRange {
    /// The network's address, no bit set beyond the prefix.
    pub network: IpAddr,
    /// Bits of the prefix.
    pub prefix: u8,
    /// May send mail to anyone.
    pub relay: bool,
    /// Its own, lower limit of a message's bytes.
    pub size: Option<u64>,
    /// Its own, lower limit of recipients.
    pub recipients: Option<u8>,
}

/// What one client may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientPolicy {
    /// May send mail to anyone.
    pub relay: bool,
    /// Bytes of its largest message, if less than [`Config::message_size`].
    pub size: Option<u64>,
    /// Recipients of a message of its, if fewer than [`Config::recipients`].
    pub recipients: Option<u8>,
}

/// The least weighty event that is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Log {
    /// What needs somebody.
    Error,
    /// And what is odd.
    Warn,
    /// And every message's way.
    Info,
    /// And every step of it.
    Debug,
}

/// Facts about the machine and the caller that defaults depend on.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// The system's own name.
    pub hostname: &'a str,
    /// Where everything lies when there is no configuration file. Absolute.
    pub home: &'a str,
    /// There is no configuration file: loopback:2525, and everything under `home`.
    pub is_embedded: bool,
    /// The run directory where a file does not name one; none: the spool directory.
    pub run: Option<&'a str>,
}

/// Something wrong in the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The line, from 1; 0: the environment, and the message names the variable.
    pub line: u32,
    /// What is wrong, what was expected, and the nearest that is valid.
    pub message: String,
}

impl Config {
    /// What the client at `address` may do.
    pub fn client(&self, address: IpAddr) -> ClientPolicy {
        let address = address.to_canonical();
        let found = self
            .clients
            .iter()
            .filter(|range| range.holds(address))
            .max_by_key(|range| range.prefix);
        match found {
            Some(range) => {
                ClientPolicy { relay: range.relay, size: range.size, recipients: range.recipients }
            }
            None => ClientPolicy { relay: false, size: None, recipients: None },
        }
    }
}

impl ClientRange {
    /// Whether `address`, not an IPv4-mapped one, lies in this network.
    pub fn holds(&self, address: IpAddr) -> bool {
        match (self.network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix.min(32));
                let differs = network.to_bits() ^ address.to_bits();
                differs.checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix.min(128));
                let differs = network.to_bits() ^ address.to_bits();
                differs.checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}
