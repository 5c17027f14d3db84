//! Listening sockets that whoever started this process has opened for it: `LISTEN_FDS`, as systemd
//! and others do it (sd_listen_fds(3)).
//!
//! They begin at descriptor 3, are as many as `LISTEN_FDS` says, have the names in
//! `LISTEN_FDNAMES`, and are meant for us only if `LISTEN_PID` is this process. What is not a
//! listening stream socket is refused by its number: somebody's config is wrong. `Accept=yes` hands
//! over connections, not listeners, and is for `sendmail -bs`.
//!
//! inetd says nothing in the environment: with `wait` the listening socket is stdin, and is called
//! `inetd` here. It stays open as long as the process, so nobody is refused before the next one.

use crate::os::socket;
use std::env;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::sync::Arc;

/// The first of them.
const FIRST: RawFd = 3;
/// More than anybody listens on here.
const COUNT_MAX: RawFd = 64;

/// One of them.
#[derive(Clone, Debug)]
pub struct Inherited {
    socket: Arc<OwnedFd>,
    /// What the starter calls it; systemd says the name of the unit, or `FileDescriptorName=`.
    pub name: String,
}

impl PartialEq for Inherited {
    fn eq(&self, other: &Inherited) -> bool {
        Arc::ptr_eq(&self.socket, &other.socket)
    }
}

impl Eq for Inherited {}

impl Inherited {
    /// A descriptor of the same socket.
    pub(crate) fn socket(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }

    /// True for a Unix socket.
    pub fn is_unix(&self) -> bool {
        socket::is_unix(self.socket.as_fd()).unwrap_or(false)
    }

    /// Its number, for messages.
    pub(crate) fn number(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// All that were handed over. Once, and before anything else is opened. Err: why they cannot be
/// used.
#[allow(unsafe_code)]
pub fn take() -> Result<Vec<Inherited>, String> {
    let variable = |name| env::var(name).unwrap_or_default();
    let pid = std::process::id().to_string();
    let names = variable("LISTEN_FDNAMES");
    let Some(count) = count(&variable("LISTEN_PID"), &variable("LISTEN_FDS"), &pid)? else {
        return Ok(stdin().into_iter().collect());
    };
    let mut names = names.split(':');
    (FIRST..FIRST + count)
        .map(|number| {
            // SAFETY: this only asks whether the descriptor is open.
            if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
                return Err(format!("LISTEN_FDS={count}, but descriptor {number} is not open"));
            }
            // SAFETY: it is open, and was handed over to this process alone; this runs once.
            let socket = unsafe { OwnedFd::from_raw_fd(number) };
            socket::adopt(socket.as_fd()).map_err(|error| {
                format!("descriptor {number}, handed over by LISTEN_FDS: {error}")
            })?;
            let name = names.next().unwrap_or_default().to_owned();
            Ok(Inherited { socket: Arc::new(socket), name })
        })
        .collect()
}

/// Stdin, if that is a listening socket.
fn stdin() -> Option<Inherited> {
    let socket = io::stdin().as_fd().try_clone_to_owned().ok()?;
    socket::adopt(socket.as_fd()).ok()?;
    Some(Inherited { socket: Arc::new(socket), name: "inetd".to_owned() })
}

/// How many, if they are for process `pid`.
fn count(for_pid: &str, count: &str, pid: &str) -> Result<Option<RawFd>, String> {
    if count.is_empty() || for_pid != pid {
        return Ok(None);
    }
    match count.parse() {
        Ok(count) if (0..=COUNT_MAX).contains(&count) => Ok(Some(count)),
        _ => Err(format!("LISTEN_FDS={count} is not a number up to {COUNT_MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_for_this_process() {
        assert_eq!(count("", "", "7"), Ok(None));
        assert_eq!(count("", "1", "7"), Ok(None));
        assert_eq!(count("8", "1", "7"), Ok(None));
        assert_eq!(count("7", "0", "7"), Ok(Some(0)));
        assert_eq!(count("7", "2", "7"), Ok(Some(2)));
        for bad in ["-1", "65", "many", "1 "] {
            assert!(count("7", bad, "7").is_err(), "{bad}");
        }
    }
}
