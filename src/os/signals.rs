//! Signals as something to read: TERM and INT drain, HUP reloads, USR1 flushes.
//!
//! They are blocked and arrive through signalfd(2), so no handler ever runs between two
//! instructions. Threads started afterwards inherit the block; that is why this comes before the
//! resolver's. Signals that arrive in a heap are one: the kernel keeps one of each kind.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd, RawFd};

const INFO_BYTES: usize = core::mem::size_of::<libc::signalfd_siginfo>();

/// Keeps HUP and USR1 for [`Signals::open`]: who tells a daemon to read its config again does not
/// mean to end it, however early. TERM and INT end it until then.
pub(crate) fn hold_back() -> io::Result<()> {
    block(&[libc::SIGHUP, libc::SIGUSR1]).map(|_| ())
}

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Signal {
    /// TERM, INT.
    Drain,
    /// HUP.
    Reload,
    /// USR1.
    Flush,
}

/// The signals that wait.
pub(crate) struct Signals {
    file: File,
}

impl Signals {
    /// Blocks the four signals in this thread and all it starts from now on; ignores SIGPIPE.
    pub(crate) fn open() -> io::Result<Signals> {
        ignore_broken_pipes();
        Ok(Signals { file: File::from(block_and_open()?) })
    }

    /// The next one, if any waits.
    pub(crate) fn take(&mut self) -> Option<Signal> {
        loop {
            let mut info = [0u8; INFO_BYTES];
            match self.file.read(&mut info) {
                Ok(INFO_BYTES) => (),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                _ => return None,
            }
            // `ssi_signo` is the first field.
            let number = info.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
            match i32::try_from(number).unwrap_or(0) {
                libc::SIGTERM | libc::SIGINT => return Some(Signal::Drain),
                libc::SIGHUP => return Some(Signal::Reload),
                libc::SIGUSR1 => return Some(Signal::Flush),
                _ => (),
            }
        }
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// A peer that leaves is an answer of the write, not a signal.
#[allow(unsafe_code)]
fn ignore_broken_pipes() {
    // SAFETY: ignoring installs no handler, so no code of ours can run in signal context.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Blocks `signals`, and gives them as a set.
#[allow(unsafe_code)]
fn block(signals: &[libc::c_int]) -> io::Result<libc::sigset_t> {
    // SAFETY: sigset_t is plain bits that sigemptyset sets up; every pointer is to that live set.
    unsafe {
        let mut set: libc::sigset_t = core::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in signals {
            libc::sigaddset(&mut set, *signal);
        }
        match libc::pthread_sigmask(libc::SIG_BLOCK, &set, core::ptr::null_mut()) {
            0 => Ok(set),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

#[allow(unsafe_code)]
fn block_and_open() -> io::Result<OwnedFd> {
    let set = block(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1])?;
    // SAFETY: the pointer is to a live set; the descriptor returned is new, so ours alone.
    unsafe {
        match libc::signalfd(-1, &set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) {
            -1 => Err(io::Error::last_os_error()),
            file => Ok(OwnedFd::from_raw_fd(file)),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// To this thread only: the other tests run in the same process.
    #[allow(unsafe_code)]
    pub(crate) fn raise(signal: libc::c_int) {
        // SAFETY: raising a blocked signal runs no code.
        assert_eq!(unsafe { libc::raise(signal) }, 0);
    }

    #[test]
    fn signals_are_read_not_suffered() {
        let mut signals = Signals::open().unwrap();
        assert_eq!(signals.take(), None);
        let known = [
            (libc::SIGTERM, Signal::Drain),
            (libc::SIGINT, Signal::Drain),
            (libc::SIGHUP, Signal::Reload),
            (libc::SIGUSR1, Signal::Flush),
        ];
        for (number, signal) in known {
            raise(number);
            raise(number);
            assert_eq!(signals.take(), Some(signal));
            assert_eq!(signals.take(), None);
        }
    }
}
