//! Who connected, as far as the kernel vouches for it.

use core::fmt;
use core::net::SocketAddr;

/// Who connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// Over TCP; IPv4-mapped IPv6 addresses arrive here as the IPv4 address they mean.
    Tcp(SocketAddr),
    /// Over a Unix socket, with the kernel's word for who it is.
    Unix {
        /// User id.
        uid: u32,
    },
}

impl Peer {
    /// Loopback and Unix sockets: nobody from outside.
    pub fn is_local(&self) -> bool {
        match self {
            Peer::Tcp(address) => address.ip().is_loopback(),
            Peer::Unix { .. } => true,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => write!(formatter, "{}", address.ip()),
            Peer::Unix { uid } => write!(formatter, "local uid={uid}"),
        }
    }
}
