//! Sockets as they are made: what has to be said to the kernel before `listen`, and after `accept`.
//!
//! Not here: readiness, tokens and streams (`reactor`). Std binds and listens in one step, with a
//! backlog of its own; here the mode of a Unix socket, the device of an interface listener and
//! IPV6_V6ONLY are settled before anyone can connect (threats 18). Everything is CLOEXEC and never
//! blocks.

use crate::limits::LISTEN_BACKLOG;
use std::fs::Permissions;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Listens on `address`; with `device`, only for what arrives through that interface.
pub(crate) fn listen_tcp(
    address: SocketAddr,
    device: Option<&str>,
    only_v6: bool,
) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => open(libc::AF_INET)?,
        SocketAddr::V6(_) => open(libc::AF_INET6)?,
    };
    set_number(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if let Some(device) = device {
        bind_device(socket.as_fd(), device)?;
    }
    match address {
        SocketAddr::V4(address) => {
            let name = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
                sin_zero: [0; 8],
            };
            bind(&socket, &name, core::mem::size_of_val(&name))?;
        }
        SocketAddr::V6(address) => {
            set_number(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, i32::from(only_v6))?;
            let name = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: address.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                sin6_scope_id: address.scope_id(),
            };
            bind(&socket, &name, core::mem::size_of_val(&name))?;
        }
    }
    listen(&socket)?;
    Ok(TcpListener::from(socket))
}

/// Listens on a Unix socket at `path` with exactly `mode`, set while nobody can connect yet.
/// A socket that nobody listens on any more is replaced: the caller holds the image's lock, so it
/// is its own from before a crash. Anything else at `path` is left and an error.
pub(crate) fn listen_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    remove_stale(path)?;
    let mut name =
        libc::sockaddr_un { sun_family: libc::AF_UNIX as libc::sa_family_t, sun_path: [0; 108] };
    let bytes = path.as_os_str().as_bytes();
    // The last byte stays NUL.
    if bytes.len() >= name.sun_path.len() {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    for (place, byte) in name.sun_path.iter_mut().zip(bytes) {
        *place = *byte as libc::c_char;
    }
    let socket = open(libc::AF_UNIX)?;
    bind(&socket, &name, core::mem::size_of_val(&name))?;
    std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    listen(&socket)?;
    Ok(UnixListener::from(socket))
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::from_raw_os_error(libc::EEXIST));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::Error::from_raw_os_error(libc::EADDRINUSE)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(error) => Err(error),
    }
}

/// Makes a socket that somebody else has opened one like ours; an error if it is not a listening
/// stream socket.
#[allow(unsafe_code)]
pub(crate) fn adopt(socket: BorrowedFd<'_>) -> io::Result<()> {
    let wanted = [(libc::SO_TYPE, libc::SOCK_STREAM), (libc::SO_ACCEPTCONN, 1)];
    for (option, value) in wanted {
        if number(socket, libc::SOL_SOCKET, option)? != value {
            return Err(io::Error::other("it is not a listening stream socket"));
        }
    }
    let file = socket.as_raw_fd();
    // SAFETY: these take numbers only.
    unsafe {
        checked(libc::fcntl(file, libc::F_SETFD, libc::FD_CLOEXEC))?;
        let flags = checked(libc::fcntl(file, libc::F_GETFL))?;
        checked(libc::fcntl(file, libc::F_SETFL, flags | libc::O_NONBLOCK)).map(drop)
    }
}

/// True for a Unix socket.
pub(crate) fn is_unix(socket: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(number(socket, libc::SOL_SOCKET, libc::SO_DOMAIN)? == libc::AF_UNIX)
}

/// Binds a listener to the interface that is called so now.
pub(crate) fn bind_device(socket: BorrowedFd<'_>, device: &str) -> io::Result<()> {
    set_option(&socket, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, device.as_bytes())
}

/// Has the kernel ask now and then whether the peer is still there: a router that lost its state
/// tells nobody. A system that cannot is no worse off.
pub(crate) fn keep_alive(socket: BorrowedFd<'_>) {
    let _ = set_number(&socket, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1);
}

/// Who is at the other end of a Unix socket, as it was when it connected.
#[allow(unsafe_code)]
pub(crate) fn peer_uid(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut len = core::mem::size_of_val(&peer) as libc::socklen_t;
    // SAFETY: the pointers are to a live ucred and to its length.
    let result = unsafe {
        let into: *mut libc::c_void = (&raw mut peer).cast();
        let (level, name) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
        libc::getsockopt(socket.as_raw_fd(), level, name, into, &mut len)
    };
    checked(result)?;
    Ok(peer.uid)
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[allow(unsafe_code)]
fn open(family: libc::c_int) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the descriptor returned is new, so ours alone.
    unsafe { Ok(OwnedFd::from_raw_fd(checked(libc::socket(family, kind, 0))?)) }
}

#[allow(unsafe_code)]
fn number(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut len = core::mem::size_of_val(&value) as libc::socklen_t;
    // SAFETY: the pointers are to a live number and to its length.
    let result = unsafe {
        let into: *mut libc::c_void = (&raw mut value).cast();
        libc::getsockopt(socket.as_raw_fd(), level, name, into, &mut len)
    };
    checked(result).map(|_| value)
}

fn set_number(
    socket: &impl std::os::fd::AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: i32,
) -> io::Result<()> {
    set_option(socket, level, name, &value.to_ne_bytes())
}

#[allow(unsafe_code)]
fn set_option(
    socket: &impl std::os::fd::AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &[u8],
) -> io::Result<()> {
    let (file, len) = (socket.as_fd().as_raw_fd(), value.len() as libc::socklen_t);
    // SAFETY: the pointer and the length are those of one live slice.
    checked(unsafe { libc::setsockopt(file, level, name, value.as_ptr().cast(), len) }).map(drop)
}

/// `address` is one of the sockaddr structs, `len` its size.
#[allow(unsafe_code)]
fn bind<A>(socket: &OwnedFd, address: &A, len: usize) -> io::Result<()> {
    debug_assert!(len <= core::mem::size_of::<A>());
    let address: *const A = address;
    // SAFETY: the pointer is to a live struct of at least `len` bytes.
    let result = unsafe { libc::bind(socket.as_raw_fd(), address.cast(), len as libc::socklen_t) };
    checked(result).map(drop)
}

#[allow(unsafe_code)]
fn listen(socket: &OwnedFd) -> io::Result<()> {
    // SAFETY: takes no memory.
    checked(unsafe { libc::listen(socket.as_raw_fd(), LISTEN_BACKLOG) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn a_port_is_bound_again_at_once() {
        let first = listen_tcp("127.0.0.1:0".parse().unwrap(), None, false).unwrap();
        let address = first.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let error = listen_tcp(address, None, false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        drop(client);
        listen_tcp(address, None, false).unwrap();
    }

    #[test]
    fn the_v6_wildcard_serves_v4_unless_told_otherwise() {
        let Ok(both) = listen_tcp("[::]:0".parse().unwrap(), None, false) else {
            return; // This kernel has no IPv6.
        };
        let port = both.local_addr().unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        drop(both);
        let _v6 = listen_tcp(SocketAddr::new("::".parse().unwrap(), port), None, true).unwrap();
        let _v4 =
            listen_tcp(SocketAddr::new("0.0.0.0".parse().unwrap(), port), None, false).unwrap();
    }

    #[test]
    fn an_interface_that_is_not_there_is_told() {
        let error = listen_tcp("0.0.0.0:0".parse().unwrap(), Some("nosuch0"), false).unwrap_err();
        assert!([libc::ENODEV, libc::EPERM].contains(&error.raw_os_error().unwrap()), "{error}");
    }

    #[test]
    fn a_unix_socket_has_its_mode_and_knows_its_peer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("submit");
        let listener = listen_unix(&path, 0o666).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o666);
        let _client = UnixStream::connect(&path).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(peer_uid(accepted.as_fd()).unwrap(), crate::os::process::user_id());
    }

    #[test]
    fn only_a_dead_socket_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control");
        let alive = listen_unix(&path, 0o600).unwrap();
        let error = listen_unix(&path, 0o600).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(alive);
        assert!(path.exists());
        drop(listen_unix(&path, 0o600).unwrap());

        let file = directory.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        assert_eq!(listen_unix(&file, 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&file).unwrap(), b"precious");

        let long = directory.path().join("x".repeat(200));
        let error = listen_unix(&long, 0o600).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENAMETOOLONG));
    }
}
