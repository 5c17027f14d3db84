//! Tells when interfaces, addresses and routes come, go or change: rtnetlink(7).
//!
//! Nothing of it is a list of what changed: whoever is told looks for itself, and what was lost
//! because too much came at one time is a change like any other. Two ask: mail that waits for the
//! network (`relay/release.rs`), and listeners on interfaces.
//!
//! A listener on an interface has all of its addresses, those of tomorrow too; but the kernel knows
//! the interface by a number, and one that is made anew under its old name (a router that restarts
//! its network does so) has another: then it has to be bound again.

use std::ffi::CStr;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd, RawFd};

/// What is told of. None of it comes often on a machine whose network is well.
const GROUPS: libc::c_int = libc::RTMGRP_LINK
    | libc::RTMGRP_IPV4_IFADDR
    | libc::RTMGRP_IPV6_IFADDR
    | libc::RTMGRP_IPV4_ROUTE
    | libc::RTMGRP_IPV6_ROUTE;

/// The watch.
pub(crate) struct Links {
    /// Any socket that std can read: what family it has does not matter for that.
    socket: UdpSocket,
}

impl Links {
    /// Begins to watch, or says why not: nothing depends on it but how soon things go on.
    pub(crate) fn watch() -> Option<Links> {
        let links = Links::open();
        if let Err(error) = &links {
            log::warn!(
                "the system does not tell when the network changes: {error}; mail that waits for \
                 it goes as 'retry' says, and an interface that is made anew needs a restart"
            );
        }
        links.ok()
    }

    fn open() -> io::Result<Links> {
        Ok(Links { socket: UdpSocket::from(open()?) })
    }

    /// Forgets what was told; true if anything was, or was lost.
    pub(crate) fn drain(&mut self) -> bool {
        let (mut told, mut failed) = (false, false);
        let mut message = [0u8; 4096];
        while !failed {
            match self.socket.recv(&mut message) {
                Ok(_) => told = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                // Too many came at one time, and some are lost; more may lie behind them.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => told = true,
                Err(_) => failed = true,
            }
        }
        told || failed
    }
}

impl AsRawFd for Links {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// The number of the interface of that name; 0: there is none now.
#[allow(unsafe_code)]
pub(crate) fn index(name: &CStr) -> u32 {
    // SAFETY: the name is a live C string.
    unsafe { libc::if_nametoindex(name.as_ptr()) }
}

#[allow(unsafe_code)]
fn open() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: all zeros is a valid value of this plain data.
    let mut name: libc::sockaddr_nl = unsafe { core::mem::zeroed() };
    name.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    name.nl_groups = GROUPS as u32;
    let len = core::mem::size_of_val(&name) as libc::socklen_t;
    // SAFETY: the descriptor returned is new, so ours alone; the name lives, and has that length.
    unsafe {
        let socket = match libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) {
            -1 => return Err(io::Error::last_os_error()),
            socket => OwnedFd::from_raw_fd(socket),
        };
        match libc::bind(socket.as_raw_fd(), (&raw const name).cast(), len) {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(socket),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_have_numbers() {
        assert!(index(c"lo") > 0);
        assert_eq!(index(c"nosuch0"), 0);
    }

    #[test]
    fn nothing_is_told_while_nothing_changes() {
        let Ok(mut links) = Links::open() else { return };
        links.drain();
        assert!(!links.drain());
    }
}
