//! What the daemon needs of the world outside, as traits; `os` is the real one, the simulator
//! another.
//!
//! Not here: [`crate::queue::disk::Disk`], [`crate::relay::mailbox::Mailbox`],
//! [`crate::intake::drop_directory::DropDirectory`], [`Vault`] and [`Keyring`], which belong to the
//! rooms that need them.
//! Every call returns at once, but for `sync` of the disk and the mailbox, which take what the
//! medium takes. A socket is named by a [`Token`] that the daemon chooses: one per slot, so the
//! table of sockets is as fixed as the table of slots. Readiness is a hint: a call on a socket that
//! is not ready says [`Transfer::NotReady`], never blocks.

use crate::base::buffer::Emptiness;
use crate::base::time::{Now, UnixTime};
use crate::config::RelayTls;
pub use crate::dns::lookup::{Failure, MailHosts};
use crate::intake::drop_directory::DropDirectory;
pub use crate::intake::peer::{Peer, Secured};
use crate::intake::users::Vault;
use crate::queue::disk::Disk;
use crate::relay::keyring::Keyring;
use crate::relay::mailbox::Mailbox;
pub use crate::relay::network::{Addresses, NetError, NetWords, Protection, ResolveError};
use core::net::{IpAddr, SocketAddr};

/// Names a socket: the number of the daemon's slot that owns it. Below [`super::turn::tokens`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token(pub u16);

/// What woke the loop.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// Listener number so-and-so (in the order they were bound) has connections waiting.
    Listener(u8),
    /// Something changed at a socket. `closed`: the peer has shut down or reset, so reads must go
    /// on until they say so.
    Socket {
        /// Which.
        token: Token,
        /// Reading may give bytes.
        readable: bool,
        /// Writing may take bytes (also: a connect has finished, one way or the other).
        writable: bool,
        /// The other side is gone or going.
        closed: bool,
    },
    /// A name that was asked for.
    Resolved {
        /// The number given to [`Resolver::resolve`].
        ticket: u32,
        /// The addresses, or why not.
        answer: Result<Addresses, ResolveError>,
    },
    /// A domain that was asked for; [`Resolver::mail_hosts`] has the answer.
    MailResolved {
        /// The number given to [`Resolver::resolve_mail`].
        ticket: u32,
    },
    /// A key that was asked for, and that can be asked for again now.
    Unlocked {
        /// The number given to [`Keyring::unlock`].
        ticket: u32,
    },
    /// An address, a route or a link of this machine has come, gone or changed.
    Network,
    /// A new file may lie in the drop directory.
    Drop,
    /// TERM or INT: finish what is under way, accept nothing new, leave.
    Drain,
    /// HUP: read the configuration again.
    Reload,
    /// USR1: everything is due now.
    Flush,
}

/// What [`Net::accept`] found.
#[derive(Clone, Copy, Debug)]
pub enum Accepted {
    /// A connection, now known under the token given.
    Peer(Peer),
    /// Nobody waits.
    Nothing,
    /// The system has no descriptors or memory left; try again when a slot is freed, or in a
    /// second.
    Exhausted,
}

/// What came of moving bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transfer {
    /// So many bytes, at least one.
    Bytes(usize),
    /// None now; an event will tell.
    NotReady,
    /// The peer has ended its side (reading only).
    Closed,
    /// The connection is gone.
    Failed(NetError),
}

/// Which side of TLS this machine is on, and with what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side<'a> {
    /// The server's, with the certificate of a listener.
    Server {
        /// The listener's number.
        listener: u8,
        /// TLS begins with the first byte; else behind STARTTLS.
        is_implicit: bool,
        /// Whose connection it is; not that of a load balancer between.
        address: IpAddr,
    },
    /// The client's.
    Client(NextHop<'a>),
}

/// A next hop that TLS is begun with, and what that has to hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NextHop<'a> {
    /// What it is called: that name, or that address, its certificate has to bear.
    pub name: &'a str,
    /// Where it is.
    pub address: IpAddr,
    /// TLS begins with the first byte; else behind STARTTLS.
    pub is_implicit: bool,
    /// What it is held to; none: to nothing, and it is only noted whether it can be verified.
    pub terms: Option<&'a RelayTls>,
    /// The file of CAs, where its terms name none; none: the system's.
    pub ca: Option<&'a str>,
    /// The time by which certificates are judged.
    pub time: UnixTime,
}

/// Sockets.
pub trait Net {
    /// Takes one waiting connection of `listener` into the socket table as `token`, which is free.
    fn accept(&mut self, listener: u8, token: Token) -> Accepted;
    /// Starts to connect `token`, which is free, to `to`; an event tells when it can be written,
    /// and the first [`Net::send`] or [`Net::receive`] tells whether it failed.
    fn connect(&mut self, token: Token, to: SocketAddr) -> Result<(), NetError>;
    /// Reads what is there into `into`, which is not empty.
    fn receive(&mut self, token: Token, into: &mut [u8]) -> Transfer;
    /// Writes a prefix of `from`, which is not empty. What was not taken is to be offered again, at
    /// the front of the next call: of TLS a part may be on its way.
    fn send(&mut self, token: Token, from: &[u8]) -> Transfer;
    /// Begins TLS on `token`; `_proof` is that nothing which came before is still to be read. From
    /// now on `receive` and `send` move what is inside it, and nothing before the handshake is
    /// over: reading brings it forward, and then [`Net::secured`] tells.
    fn secure(&mut self, token: Token, side: Side<'_>, _proof: Emptiness) -> Result<(), NetWords>;
    /// What was agreed on, once the handshake of `token` is over.
    fn secured(&mut self, token: Token) -> Option<Secured>;
    /// The same of a next hop.
    fn protection(&mut self, token: Token) -> Option<Protection>;
    /// Why TLS with a next hop has failed ([`NetError::Tls`]), and what to change.
    fn tls_trouble(&mut self, token: Token) -> Option<NetWords>;
    /// Closes `token`; nothing happens if it is free.
    fn close(&mut self, token: Token);
    /// Closes all listeners but that one for ever: who connects now is refused at once and goes
    /// elsewhere, or leaves the mail in the drop directory.
    fn stop_listening(&mut self, keep: Option<u8>);
}

/// Names to addresses, off the loop.
pub trait Resolver {
    /// Asks for `host`; [`Event::Resolved`] with `ticket` follows within `limits::RESOLVE_TIMEOUT`.
    /// False: too many questions are under way, ask again later.
    fn resolve(&mut self, ticket: u32, host: &str) -> bool;
    /// Asks for the mail hosts of `domain`; [`Event::MailResolved`] follows in the same way.
    fn resolve_mail(&mut self, ticket: u32, domain: &str) -> bool;
    /// Takes the answer to the question `ticket`, once.
    fn mail_hosts(&mut self, ticket: u32) -> Option<Result<MailHosts, Failure>>;
    /// Whether the name servers are others than at the last call, as far as that can be told.
    fn has_changed(&mut self) -> bool;
}

/// Both clocks.
pub trait Clock {
    /// Reads them.
    fn now(&mut self) -> Now;
}

/// Unpredictable bytes.
pub trait Random {
    /// Fills `bytes`.
    fn fill(&mut self, bytes: &mut [u8]);
}

/// The whole outside, as one value that is handed through a turn.
pub trait World: Disk + Net + Resolver + Clock + Mailbox + DropDirectory + Vault + Keyring {}

impl<W> World for W where
    W: Disk + Net + Resolver + Clock + Mailbox + DropDirectory + Vault + Keyring
{
}
