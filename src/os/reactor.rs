//! Readiness: the only file that names mio. Listeners, the table of connections, and what else may
//! wake the loop.
//!
//! A connection lives in the row of its token, is registered once for reading and writing, edge
//! triggered, and is closed by being dropped. [`Stream`] is the seam where another kind of
//! connection (TLS) joins: whoever holds a token moves plain bytes.
//!
//! Limits: as many connections as tokens, [`LISTENERS_MAX`] listeners, [`EVENTS_MAX`] events from one
//! poll; what a caller has no room for is given next time, nothing is lost. Nothing here allocates
//! after it has been made. Descriptors that run out are an answer ([`Accepted::Exhausted`]); the
//! connection then stays in the backlog.

use crate::daemon::world::{Accepted, Event, NetError, Peer, Token, Transfer};
use crate::limits::LISTENERS_MAX;
use crate::os::socket;
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, net};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, RawFd};
use std::time::Duration;

/// Events taken from the kernel at one time.
pub(crate) const EVENTS_MAX: usize = 128;
/// Connections that were broken before they could be taken, one after the other, before the others
/// get their turn.
const BROKEN_ACCEPTS_MAX: usize = 16;
/// Bytes that came too late, thrown away when a connection is closed.
const LATE_BYTES_MAX: usize = 64 * 1024;

/// mio's tokens: connections have their own number, below 2^16, the rest stands above.
const LISTENERS: usize = 1 << 16;
const SIGNALS: mio::Token = mio::Token(1 << 17);
const WATCH: mio::Token = mio::Token((1 << 17) + 1);
const BELL: mio::Token = mio::Token((1 << 17) + 2);

/// What a poll found.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ready {
    /// A listener or a connection.
    Event(Event),
    /// Signals wait.
    Signals,
    /// The watched directory has something new.
    Watch,
    /// Somebody rang.
    Bell,
}

/// Wakes the loop from another thread.
pub(crate) struct Bell(mio::Waker);

impl Bell {
    /// Wakes it. If the kernel will not, the loop still wakes at its next deadline.
    pub(crate) fn ring(&self) {
        let _ = self.0.wake();
    }
}

/// One connection. TLS will be the second variant.
enum Stream {
    Plain(Socket),
}

enum Socket {
    Tcp(net::TcpStream),
    Unix(net::UnixStream),
}

enum Listener {
    Tcp(net::TcpListener),
    Unix(net::UnixListener),
}

/// The poll and all that is registered with it.
pub(crate) struct Reactor {
    poll: Poll,
    events: Events,
    /// How many of `events` were given out.
    given: usize,
    listeners: Vec<Listener>,
    streams: Box<[Option<Stream>]>,
}

impl Reactor {
    /// A reactor for connections with tokens below `tokens`.
    pub(crate) fn new(tokens: u16) -> io::Result<Reactor> {
        Ok(Reactor {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS_MAX),
            given: 0,
            listeners: Vec::with_capacity(LISTENERS_MAX),
            streams: core::iter::repeat_with(|| None).take(usize::from(tokens)).collect(),
        })
    }

    /// Something that other threads wake this reactor with.
    pub(crate) fn bell(&self) -> io::Result<Bell> {
        mio::Waker::new(self.poll.registry(), BELL).map(Bell)
    }

    /// Tells when `signals`, a signalfd, can be read.
    pub(crate) fn add_signals(&self, signals: RawFd) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&signals), SIGNALS, Interest::READABLE)
    }

    /// Tells when `watch`, an inotify descriptor, can be read.
    pub(crate) fn add_watch(&self, watch: RawFd) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&watch), WATCH, Interest::READABLE)
    }

    /// Adds a listener; they are numbered in the order they come.
    pub(crate) fn add_tcp(&mut self, listener: std::net::TcpListener) -> io::Result<()> {
        self.add(Listener::Tcp(net::TcpListener::from_std(listener)))
    }

    /// Adds a listener on a Unix socket.
    pub(crate) fn add_unix(
        &mut self,
        listener: std::os::unix::net::UnixListener,
    ) -> io::Result<()> {
        self.add(Listener::Unix(net::UnixListener::from_std(listener)))
    }

    fn add(&mut self, mut listener: Listener) -> io::Result<()> {
        if self.listeners.len() == LISTENERS_MAX {
            return Err(io::Error::other(format!("more than {LISTENERS_MAX} listeners")));
        }
        let source: &mut dyn Source = match &mut listener {
            Listener::Tcp(listener) => listener,
            Listener::Unix(listener) => listener,
        };
        let token = mio::Token(LISTENERS + self.listeners.len());
        self.poll.registry().register(source, token, Interest::READABLE)?;
        self.listeners.push(listener);
        Ok(())
    }

    /// True when all that the last poll found was given out.
    pub(crate) fn is_drained(&self) -> bool {
        self.given >= self.events.iter().count()
    }

    /// Waits for readiness, at most `timeout`. A signal that interrupts it is nothing found.
    pub(crate) fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.given = 0;
        self.events.clear();
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            result => result,
        }
    }

    /// Hands at most `room` of what the last poll found to `each`.
    pub(crate) fn give(&mut self, room: usize, mut each: impl FnMut(Ready)) {
        for event in self.events.iter().skip(self.given).take(room) {
            self.given += 1;
            if let Some(ready) = translate(event) {
                each(ready);
            }
        }
    }

    /// Takes a waiting connection.
    pub(crate) fn accept(&mut self, listener: u8, token: Token) -> Accepted {
        debug_assert!(self.is_free(token));
        let Some(listener) = self.listeners.get(usize::from(listener)) else {
            return Accepted::Nothing;
        };
        for _ in 0..BROKEN_ACCEPTS_MAX {
            let accepted = match listener {
                Listener::Tcp(listener) => accept_tcp(listener),
                Listener::Unix(listener) => accept_unix(listener),
            };
            match accepted {
                Ok((socket, peer)) => {
                    return match self.adopt(token, socket) {
                        Ok(()) => Accepted::Peer(peer),
                        Err(_) => Accepted::Exhausted,
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Accepted::Nothing;
                }
                Err(error) if is_exhaustion(&error) => return Accepted::Exhausted,
                // accept(2): what went wrong with this one connection arrives here as well
                // (ECONNABORTED, EPROTO, ENETDOWN …); the next one may be fine.
                Err(_) => (),
            }
        }
        Accepted::Exhausted
    }

    /// Starts to connect.
    pub(crate) fn connect(&mut self, token: Token, to: SocketAddr) -> Result<(), NetError> {
        debug_assert!(self.is_free(token));
        let stream = net::TcpStream::connect(to).map_err(|error| net_error(&error))?;
        prepare_tcp(&stream);
        self.adopt(token, Socket::Tcp(stream)).map_err(|error| net_error(&error))
    }

    /// Reads what is there.
    pub(crate) fn receive(&mut self, token: Token, into: &mut [u8]) -> Transfer {
        debug_assert!(!into.is_empty());
        let Some(stream) = self.stream(token) else {
            return Transfer::Failed(NetError::Other);
        };
        match retried(|| stream.receive(into)) {
            Ok(0) => Transfer::Closed,
            result => transfer(result),
        }
    }

    /// Writes a prefix.
    pub(crate) fn send(&mut self, token: Token, from: &[u8]) -> Transfer {
        debug_assert!(!from.is_empty());
        let Some(stream) = self.stream(token) else {
            return Transfer::Failed(NetError::Other);
        };
        transfer(retried(|| stream.send(from)))
    }

    /// Closes.
    pub(crate) fn close(&mut self, token: Token) {
        if let Some(mut stream) = self.streams.get_mut(usize::from(token.0)).and_then(Option::take)
        {
            stream.discard_late();
        }
    }

    fn stream(&mut self, token: Token) -> Option<&mut Stream> {
        self.streams.get_mut(usize::from(token.0)).and_then(Option::as_mut)
    }

    fn is_free(&self, token: Token) -> bool {
        self.streams.get(usize::from(token.0)).is_some_and(Option::is_none)
    }

    fn adopt(&mut self, token: Token, mut socket: Socket) -> io::Result<()> {
        let row = self.streams.get_mut(usize::from(token.0)).ok_or(io::ErrorKind::InvalidInput)?;
        let source: &mut dyn Source = match &mut socket {
            Socket::Tcp(socket) => socket,
            Socket::Unix(socket) => socket,
        };
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(source, mio::Token(usize::from(token.0)), interest)?;
        *row = Some(Stream::Plain(socket));
        Ok(())
    }
}

impl Stream {
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(Socket::Tcp(socket)) => socket.read(into),
            Stream::Plain(Socket::Unix(socket)) => socket.read(into),
        }
    }

    fn send(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(Socket::Tcp(socket)) => socket.write(from),
            Stream::Plain(Socket::Unix(socket)) => socket.write(from),
        }
    }

    /// Takes what the peer has sent meanwhile off the socket. To close a TCP connection over unread
    /// bytes resets it, and a reset may overtake the last reply (RFC 1122 §4.2.2.13).
    fn discard_late(&mut self) {
        let mut late = [0; 4096];
        for _ in 0..LATE_BYTES_MAX / late.len() {
            match self.receive(&mut late) {
                Ok(count) if count == late.len() => (),
                _ => return,
            }
        }
    }
}

fn translate(event: &mio::event::Event) -> Option<Ready> {
    let token = event.token();
    match token {
        SIGNALS => return Some(Ready::Signals),
        WATCH => return Some(Ready::Watch),
        BELL => return Some(Ready::Bell),
        _ => (),
    }
    if let Ok(index) = u16::try_from(token.0) {
        // Whatever is wrong with a socket, only a read or a write tells what: so both are due.
        let closed = event.is_error() || event.is_read_closed() || event.is_write_closed();
        let (readable, writable) = (event.is_readable(), event.is_writable());
        return Some(Ready::Event(Event::Socket {
            token: Token(index),
            readable: readable || closed,
            writable: writable || event.is_error(),
            closed,
        }));
    }
    let listener = token.0.checked_sub(LISTENERS).and_then(|index| u8::try_from(index).ok())?;
    Some(Ready::Event(Event::Listener(listener)))
}

fn accept_tcp(listener: &net::TcpListener) -> io::Result<(Socket, Peer)> {
    let (stream, address) = listener.accept()?;
    prepare_tcp(&stream);
    // Threats 7: ::ffff:a.b.c.d is that IPv4 address.
    let address = match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(IpAddr::V4(ip), address.port()),
        IpAddr::V6(_) => address,
    };
    Ok((Socket::Tcp(stream), Peer::Tcp(address)))
}

fn accept_unix(listener: &net::UnixListener) -> io::Result<(Socket, Peer)> {
    let (stream, _) = listener.accept()?;
    let uid = socket::peer_uid(stream.as_fd())?;
    Ok((Socket::Unix(stream), Peer::Unix { uid }))
}

fn prepare_tcp(stream: &net::TcpStream) {
    // Replies are written whole, so Nagle could only hold them back. A socket that is already reset
    // refuses; its next read tells.
    let _ = stream.set_nodelay(true);
    socket::keep_alive(stream.as_fd());
}

fn retried(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            result => return result,
        }
    }
}

fn transfer(result: io::Result<usize>) -> Transfer {
    match result {
        Ok(0) => Transfer::NotReady,
        Ok(count) => Transfer::Bytes(count),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Transfer::NotReady,
        Err(error) => Transfer::Failed(net_error(&error)),
    }
}

fn is_exhaustion(error: &io::Error) -> bool {
    let codes = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::ENOSPC];
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

fn net_error(error: &io::Error) -> NetError {
    match error.raw_os_error() {
        _ if is_exhaustion(error) => NetError::Exhausted,
        // No ephemeral port is left, or none of this address.
        Some(libc::EADDRNOTAVAIL | libc::EAGAIN) => NetError::Exhausted,
        Some(libc::ECONNREFUSED) => NetError::Refused,
        Some(
            libc::ENETUNREACH
            | libc::EHOSTUNREACH
            | libc::ENETDOWN
            | libc::EHOSTDOWN
            | libc::EAFNOSUPPORT
            | libc::EACCES
            | libc::EPERM,
        ) => NetError::Unreachable,
        Some(libc::ETIMEDOUT) => NetError::TimedOut,
        Some(libc::ECONNRESET | libc::EPIPE | libc::ECONNABORTED | libc::ENOTCONN) => {
            NetError::Reset
        }
        _ => NetError::Other,
    }
}
