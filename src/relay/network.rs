//! What the relay learns from the network: addresses, and why there are none.

use crate::base::buffer::Text;
use crate::config::Relay;
use crate::limits::REMOTE_TEXT_BYTES_MAX;
use core::net::IpAddr;

/// At most eight addresses of one name, in the order to try.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Addresses {
    list: [Option<IpAddr>; 8],
    len: u8,
}

impl Addresses {
    /// Appends `address`; the ninth is dropped.
    pub fn push(&mut self, address: IpAddr) {
        if let Some(place) = self.list.get_mut(usize::from(self.len)) {
            *place = Some(address);
            self.len += 1;
        }
    }

    /// The address number `index`, from 0.
    pub fn get(&self, index: u8) -> Option<IpAddr> {
        self.list.get(usize::from(index)).copied().flatten()
    }
}

/// What is wrong with a connection, and what to change, for the log and for `status`.
pub type NetWords = Text<REMOTE_TEXT_BYTES_MAX>;

/// How the connection to a next hop is protected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Protection {
    /// TLS of that version: `1.2` or `1.3`.
    pub version: &'static str,
    /// The next hop has shown that it is who it should be.
    pub is_verified: bool,
}

/// A next hop, as TLS has to know it.
#[derive(Clone, Copy, Debug)]
pub struct TlsPeer<'a> {
    /// What it is called.
    pub name: &'a str,
    /// Where it is.
    pub address: IpAddr,
    /// Which relay; none: somebody's mail host.
    pub relay: Option<&'a Relay>,
}

/// Why a name has no addresses now. All of these are temporary: a name that is not there today
/// may be tomorrow, and mail is never returned for it before it expires (LAW 7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResolveError {
    /// The resolver says that there is no such name, or none with an address.
    NoSuchName,
    /// No resolver answered, or it failed.
    Unavailable,
    /// No answer within `limits::RESOLVE_TIMEOUT`.
    TimedOut,
}

/// Why a connection could not be made, or broke.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NetError {
    /// Nobody listens there.
    Refused,
    /// No route to host or network, or the network is down.
    Unreachable,
    /// The system's own time-out.
    TimedOut,
    /// Reset or broken pipe.
    Reset,
    /// Descriptors, memory or ports are used up here.
    Exhausted,
    /// TLS failed; the log has the reason.
    Tls,
    /// The peer does not speak TLS at all. From now on the connection is in the clear.
    NotTls,
    /// Anything else.
    Other,
}

impl ResolveError {
    /// For the log and for `status`.
    pub fn text(self) -> &'static str {
        match self {
            ResolveError::NoSuchName => "the resolver knows no address of that name",
            ResolveError::Unavailable => "no resolver answers",
            ResolveError::TimedOut => "the resolver takes too long",
        }
    }
}

impl NetError {
    /// For the log and for `status`.
    pub fn text(self) -> &'static str {
        match self {
            NetError::Refused => "connection refused",
            NetError::Unreachable => "no route there",
            NetError::TimedOut => "connecting timed out",
            NetError::Reset => "connection reset",
            NetError::Exhausted => "no descriptors or ports left here",
            NetError::Tls => "TLS failed",
            NetError::NotTls => "no TLS is spoken there",
            NetError::Other => "connection failed",
        }
    }
}
