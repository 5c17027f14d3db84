//! Tells when network interfaces come and go: rtnetlink(7).
//!
//! A listener on an interface has all of its addresses, those of tomorrow too; but the kernel knows
//! the interface by a number, and one that is made anew under its old name (a router that restarts
//! its network does so) has another. Whoever is told by this binds again. Not a list of what
//! changed: whoever is told looks for itself.

use std::ffi::CStr;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd, RawFd};

/// The watch.
pub(crate) struct Links {
    /// Any socket that std can read: what family it has does not matter for that.
    socket: UdpSocket,
}

impl Links {
    /// Begins to watch.
    pub(crate) fn open() -> io::Result<Links> {
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
    name.nl_groups = libc::RTMGRP_LINK as u32;
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
