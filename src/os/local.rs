//! A Unix stream socket to a daemon on this machine, for the programs people call.
//!
//! Blocking, with a time-out on everything, connecting included: a daemon whose backlog is full
//! must not hang cron. Not for the loop, which has `os::reactor`.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Connects to the socket at `path`; connecting, and later each read and each write, fail after
/// `patience`.
pub fn connect(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let address = address(path)?;
    let stream = socket()?;
    // The time-out for writing is also the one for connecting (unix(7), SO_SNDTIMEO).
    stream.set_write_timeout(Some(patience))?;
    stream.set_read_timeout(Some(patience))?;
    loop {
        match connect_once(&stream, &address) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
            Ok(()) => return Ok(stream),
        }
    }
}

/// The user who listens at the other end of `stream`.
pub fn peer_uid(stream: &UnixStream) -> io::Result<u32> {
    super::socket::peer_uid(stream.as_fd())
}

/// Who is at the other end of `file`, if that is a network connection.
pub fn remote(file: BorrowedFd<'_>) -> Option<SocketAddr> {
    let stream = TcpStream::from(file.try_clone_to_owned().ok()?);
    let address = stream.peer_addr().ok()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// `path` as the kernel wants it: at most 107 bytes, and a zero behind them.
#[allow(unsafe_code)]
fn address(path: &Path) -> io::Result<libc::sockaddr_un> {
    // SAFETY: all zeros is a valid value of this plain data.
    let mut address: libc::sockaddr_un = unsafe { core::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let path = path.as_os_str().as_bytes();
    if path.len() >= address.sun_path.len() || path.contains(&0) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in address.sun_path.iter_mut().zip(path) {
        *place = *byte as libc::c_char;
    }
    Ok(address)
}

#[allow(unsafe_code)]
fn socket() -> io::Result<UnixStream> {
    // SAFETY: no pointers are passed.
    let raw = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, and nobody else owns it.
    Ok(UnixStream::from(unsafe { OwnedFd::from_raw_fd(raw) }))
}

#[allow(unsafe_code)]
fn connect_once(stream: &UnixStream, address: &libc::sockaddr_un) -> io::Result<()> {
    let len = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    let address: *const libc::sockaddr_un = address;
    // SAFETY: `address` points to a whole sockaddr_un with a zero behind its path, `len` bytes.
    match unsafe { libc::connect(stream.as_raw_fd(), address.cast(), len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_conversation() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let patience = Duration::from_millis(100);
        assert_eq!(connect(&path, patience).unwrap_err().kind(), io::ErrorKind::NotFound);
        let listener = UnixListener::bind(&path).unwrap();
        let mut near = connect(&path, patience).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        far.write_all(b"x").unwrap();
        let mut byte = [0];
        near.read_exact(&mut byte).unwrap();
        assert_eq!(near.read(&mut byte).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(peer_uid(&near).is_ok());
        drop((listener, far));
        assert_eq!(connect(&path, patience).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_full_backlog_is_a_time_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let _listener = UnixListener::bind(&path).unwrap();
        let mut waiting = Vec::new();
        // std's backlog is 128 or the system's maximum, which may be 4096.
        let error = loop {
            match connect(&path, Duration::from_millis(50)) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
            if waiting.len() > 900 {
                return; // more than this process may open
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_long_path_is_refused() {
        let long = "x".repeat(108);
        let error = connect(Path::new(&long), Duration::from_millis(1)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
