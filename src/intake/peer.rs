//! Who connected, as far as the kernel vouches for it.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

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

/// What is counted as one (threats 7): whoever has an IPv6 /64 has all its addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Source {
    /// An IPv4 address, also one that came as `::ffff:a.b.c.d`.
    V4(u32),
    /// The first half of an IPv6 address.
    V6(u64),
}

impl Source {
    /// Where `address` counts.
    pub fn of(address: IpAddr) -> Source {
        match address.to_canonical() {
            IpAddr::V4(address) => Source::V4(address.to_bits()),
            IpAddr::V6(address) => Source::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// What a peer and this machine have agreed on for TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Secured {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// The cipher suite, as the RFCs call it.
    pub cipher: &'static str,
}

impl Peer {
    /// Where it counts; none for the users of this machine.
    pub fn source(&self) -> Option<Source> {
        match self {
            Peer::Tcp(address) => Some(Source::of(address.ip())),
            Peer::Unix { .. } => None,
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_as_one() {
        let of = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(of("192.0.2.7"), of("::ffff:192.0.2.7"));
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::9"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_ne!(of("::c000:207"), of("192.0.2.7"));
        assert_eq!(Peer::Unix { uid: 7 }.source(), None);
    }
}
