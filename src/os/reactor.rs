//! Readiness: the only file that names mio. Listeners, the table of connections, and what else may
//! wake the loop.
//!
//! A connection lives in the row of its token, is registered once for reading and writing, edge
//! triggered, and is closed by being dropped. Whoever holds a token moves plain bytes, whether
//! there is TLS around them or not ([`Stream`]). What only the TLS layer knows becomes an event
//! here, as if a socket had told it.
//!
//! Limits: as many connections as tokens, [`LISTENERS_MAX`] listeners, [`EVENTS_MAX`] events from
//! one poll; what a caller has no room for is given next time, nothing is lost. Nothing here
//! allocates after it has been made, but for TLS. Descriptors that run out are an answer
//! ([`Accepted::Exhausted`]); the connection then stays in the backlog.

use crate::daemon::world::{
    Accepted, Event, NetError, NetWords, Peer, Protection, Secured, Side, Token, Transfer,
};
use crate::limits::LISTENERS_MAX;
use crate::os::socket;
use crate::os::tls::{Connection, Files, Tls, Wire};
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, net};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

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
const LINKS: mio::Token = mio::Token((1 << 17) + 3);

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
    /// Interfaces have come or gone.
    Links,
}

/// Wakes the loop from another thread.
#[derive(Clone)]
pub(crate) struct Bell(Arc<mio::Waker>);

impl Bell {
    /// Wakes it. If the kernel will not, the loop still wakes at its next deadline.
    pub(crate) fn ring(&self) {
        let _ = self.0.wake();
    }
}

/// One connection.
enum Stream {
    Plain(Socket),
    Tls(Socket, Box<Connection>),
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
    listeners: Vec<Option<Listener>>,
    streams: Box<[Option<Stream>]>,
    /// None: no listener has a certificate, and no next hop has been spoken to by TLS.
    tls: Option<Tls>,
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
            tls: None,
        })
    }

    /// From now on connections may be secured.
    pub(crate) fn add_tls(&mut self, tls: Tls) {
        self.tls = Some(tls);
    }

    /// The config was read again, and names these certificates.
    pub(crate) fn reload_tls(&mut self, files: &[Option<Files>]) {
        if let Some(tls) = &mut self.tls {
            tls.reload(files);
        }
    }

    /// Something that other threads wake this reactor with.
    pub(crate) fn bell(&self) -> io::Result<Bell> {
        mio::Waker::new(self.poll.registry(), BELL).map(|waker| Bell(Arc::new(waker)))
    }

    /// Tells when `signals`, a signalfd, can be read.
    pub(crate) fn add_signals(&self, signals: RawFd) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&signals), SIGNALS, Interest::READABLE)
    }

    /// Tells when `watch`, an inotify descriptor, can be read.
    pub(crate) fn add_watch(&self, watch: RawFd) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&watch), WATCH, Interest::READABLE)
    }

    /// Tells when `links`, a netlink socket, can be read.
    pub(crate) fn add_links(&self, links: RawFd) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&links), LINKS, Interest::READABLE)
    }

    /// Binds a listener to the interface that is called so now.
    pub(crate) fn bind_device(&self, listener: usize, device: &str) -> io::Result<()> {
        match self.listeners.get(listener) {
            Some(Some(Listener::Tcp(listener))) => socket::bind_device(listener.as_fd(), device),
            _ => Ok(()),
        }
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
        self.listeners.push(Some(listener));
        Ok(())
    }

    /// True when all that the last poll found was given out.
    pub(crate) fn is_drained(&self) -> bool {
        let is_tls_drained = self.tls.as_ref().is_none_or(|tls| !tls.has_events());
        is_tls_drained && self.given >= self.events.iter().count()
    }

    /// How long a poll may sleep.
    pub(crate) fn patience(&self) -> Option<Duration> {
        let deadline = self.tls.as_ref()?.deadline()?;
        Some(deadline.saturating_duration_since(Instant::now()))
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
    pub(crate) fn give(&mut self, mut room: usize, mut each: impl FnMut(Ready)) {
        let Reactor { events, given, streams, tls, .. } = self;
        if let Some(tls) = tls {
            begin_turn(tls, streams);
            while let Some((token, closed)) = (room > 0).then(|| tls.next_event()).flatten() {
                room -= 1;
                each(Ready::Event(Event::Socket {
                    token,
                    readable: true,
                    writable: closed,
                    closed,
                }));
            }
        }
        for event in events.iter().skip(*given).take(room) {
            *given += 1;
            let Some(ready) = translate(event) else { continue };
            if let Ready::Event(Event::Socket { token, writable: true, .. }) = ready {
                flush(streams, token);
            }
            each(ready);
        }
    }

    /// Takes a waiting connection.
    pub(crate) fn accept(&mut self, listener: u8, token: Token) -> Accepted {
        debug_assert!(self.is_free(token));
        let Some(Some(listener)) = self.listeners.get(usize::from(listener)) else {
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
        let Reactor { streams, tls, .. } = self;
        let Some(row) = streams.get_mut(usize::from(token.0)) else {
            return Transfer::Failed(NetError::Other);
        };
        let transfer = match (row.as_mut(), tls) {
            (Some(Stream::Plain(socket)), _) => match retried(|| socket.read(into)) {
                Ok(0) => Transfer::Closed,
                result => transfer(result),
            },
            (Some(Stream::Tls(socket, connection)), Some(tls)) => {
                connection.receive(socket, into, tls)
            }
            _ => Transfer::Failed(NetError::Other),
        };
        if transfer == Transfer::Failed(NetError::NotTls) {
            *row = match row.take() {
                Some(Stream::Tls(socket, connection)) if connection.is_plain() => {
                    Some(Stream::Plain(socket))
                }
                other => other,
            };
        }
        transfer
    }

    /// Writes a prefix.
    pub(crate) fn send(&mut self, token: Token, from: &[u8]) -> Transfer {
        debug_assert!(!from.is_empty());
        let Reactor { streams, tls, .. } = self;
        let stream = streams.get_mut(usize::from(token.0)).and_then(Option::as_mut);
        match (stream, tls) {
            (Some(Stream::Plain(socket)), _) => transfer(retried(|| socket.write(from))),
            (Some(Stream::Tls(socket, connection)), Some(tls)) => {
                connection.send(socket, from, tls)
            }
            _ => Transfer::Failed(NetError::Other),
        }
    }

    /// Puts TLS around a TCP connection.
    pub(crate) fn secure(&mut self, token: Token, side: Side<'_>) -> Result<(), NetWords> {
        let Reactor { streams, tls, .. } = self;
        let tokens = streams.len() as u16;
        let failed = |error: NetError| NetWords::from(error.text());
        let row = streams.get_mut(usize::from(token.0));
        let Some(row @ Some(Stream::Plain(Socket::Tcp(_)))) = row else {
            return Err(failed(NetError::Other));
        };
        let connection = match (side, row.as_mut()) {
            (Side::Server { listener, is_implicit, address }, _) => {
                let tls = tls.as_mut().ok_or_else(|| failed(NetError::Tls))?;
                tls.serve(listener, is_implicit, token, address).map_err(failed)?
            }
            (Side::Client(next_hop), Some(Stream::Plain(socket))) => {
                if tls.is_none() {
                    *tls = Tls::for_next_hops(tokens, Instant::now());
                }
                let tls = tls.as_mut().ok_or_else(|| failed(NetError::Tls))?;
                tls.call(&next_hop, token, socket)?
            }
            _ => return Err(failed(NetError::Other)),
        };
        if let Some(Stream::Plain(socket)) = row.take() {
            *row = Some(Stream::Tls(socket, Box::new(connection)));
        }
        Ok(())
    }

    /// What was agreed on, once the handshake is over.
    pub(crate) fn secured(&self, token: Token) -> Option<Secured> {
        match self.streams.get(usize::from(token.0))? {
            Some(Stream::Tls(_, connection)) => connection.secured(),
            _ => None,
        }
    }

    /// The same of a next hop.
    pub(crate) fn protection(&self, token: Token) -> Option<Protection> {
        match self.streams.get(usize::from(token.0))? {
            Some(Stream::Tls(_, connection)) => connection.protection(),
            _ => None,
        }
    }

    /// What went wrong with a next hop.
    pub(crate) fn tls_trouble(&self, token: Token) -> Option<NetWords> {
        match self.streams.get(usize::from(token.0))? {
            Some(Stream::Tls(_, connection)) => connection.trouble(),
            _ => None,
        }
    }

    /// Closes.
    pub(crate) fn close(&mut self, token: Token) {
        let Reactor { streams, tls, .. } = self;
        let Some(stream) = streams.get_mut(usize::from(token.0)).and_then(Option::take) else {
            return;
        };
        let mut socket = match (stream, tls) {
            (Stream::Tls(mut socket, mut connection), Some(tls)) => {
                connection.close(&mut socket, tls);
                socket
            }
            (Stream::Plain(socket) | Stream::Tls(socket, _), _) => socket,
        };
        socket.discard_late();
    }

    /// Closes all listeners but that one, with the connections that wait in their backlogs.
    pub(crate) fn stop_listening(&mut self, keep: Option<u8>) {
        for (number, listener) in self.listeners.iter_mut().enumerate() {
            if keep.is_none_or(|keep| usize::from(keep) != number) {
                *listener = None;
            }
        }
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

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => socket.read(into),
            Socket::Unix(socket) => socket.read(into),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => socket.write(from),
            Socket::Unix(socket) => socket.write(from),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Wire for Socket {
    fn peek(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => socket.peek(into),
            // There is no TLS on these.
            Socket::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

impl Socket {
    /// Takes what the peer has sent meanwhile off the socket. To close a TCP connection over unread
    /// bytes resets it, and a reset may overtake the last reply (RFC 1122 §4.2.2.13).
    fn discard_late(&mut self) {
        let mut late = [0; 4096];
        for _ in 0..LATE_BYTES_MAX / late.len() {
            match self.read(&mut late) {
                Ok(count) if count == late.len() => (),
                _ => return,
            }
        }
    }
}

/// The rules of TLS's buffers, which no socket tells of.
fn begin_turn(tls: &mut Tls, streams: &mut [Option<Stream>]) {
    tls.begin_turn(Instant::now());
    // Each round frees a buffer.
    for _ in 0..streams.len() {
        let Some(token) = tls.overdue() else { break };
        if let Some(Some(Stream::Tls(socket, connection))) = streams.get_mut(usize::from(token.0)) {
            tls.end(connection, socket);
        }
    }
    tls.serve_waiting();
}

/// What TLS could not write before; whoever holds the token may have nothing to send.
fn flush(streams: &mut [Option<Stream>], token: Token) {
    if let Some(Some(Stream::Tls(socket, connection))) = streams.get_mut(usize::from(token.0)) {
        // If it is broken, the next read or write tells.
        let _ = connection.flush(socket);
    }
}

fn translate(event: &mio::event::Event) -> Option<Ready> {
    let token = event.token();
    match token {
        SIGNALS => return Some(Ready::Signals),
        WATCH => return Some(Ready::Watch),
        BELL => return Some(Ready::Bell),
        LINKS => return Some(Ready::Links),
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::time::Instant;

    const A: Token = Token(0);
    const B: Token = Token(1);

    fn reactor() -> (Reactor, SocketAddr) {
        let mut reactor = Reactor::new(4).unwrap();
        let listener = socket::listen_tcp("127.0.0.1:0".parse().unwrap(), None, false).unwrap();
        let address = listener.local_addr().unwrap();
        reactor.add_tcp(listener).unwrap();
        (reactor, address)
    }

    /// Polls until `wanted` says yes to an event.
    fn until(reactor: &mut Reactor, mut wanted: impl FnMut(Event) -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        let mut found = false;
        while !found {
            assert!(Instant::now() < end);
            reactor.poll(Some(Duration::from_millis(100))).unwrap();
            reactor.give(EVENTS_MAX, |ready| match ready {
                Ready::Event(event) => found |= wanted(event),
                other => panic!("{other:?}"),
            });
        }
    }

    fn until_closed(reactor: &mut Reactor, wanted: Token) {
        until(reactor, |event| match event {
            Event::Socket { token, readable, closed, .. } => {
                assert!(readable || !closed);
                token == wanted && closed
            }
            Event::Listener(_) => false,
            other => panic!("{other:?}"),
        });
    }

    fn until_readable(reactor: &mut Reactor, wanted: Token) {
        until(
            reactor,
            |event| matches!(event, Event::Socket { token, readable: true, .. } if token == wanted),
        );
    }

    fn accept(reactor: &mut Reactor, token: Token) -> Peer {
        match reactor.accept(0, token) {
            Accepted::Peer(peer) => peer,
            other => panic!("{other:?}"),
        }
    }

    /// A connection and its other end, under token A.
    fn connected() -> (Reactor, TcpStream) {
        let (mut reactor, address) = reactor();
        let client = TcpStream::connect(address).unwrap();
        until(&mut reactor, |event| matches!(event, Event::Listener(0)));
        accept(&mut reactor, A);
        (reactor, client)
    }

    #[test]
    fn connections_are_taken_until_nobody_waits() {
        let (mut reactor, address) = reactor();
        assert!(matches!(reactor.accept(0, A), Accepted::Nothing));
        let one = TcpStream::connect(address).unwrap();
        let _two = TcpStream::connect(address).unwrap();
        until(&mut reactor, |event| matches!(event, Event::Listener(0)));
        assert_eq!(accept(&mut reactor, A), Peer::Tcp(one.local_addr().unwrap()));
        accept(&mut reactor, B);
        assert!(matches!(reactor.accept(0, Token(2)), Accepted::Nothing));
        assert!(matches!(reactor.accept(9, Token(2)), Accepted::Nothing));
        match &reactor.streams[0] {
            Some(Stream::Plain(Socket::Tcp(stream))) => assert!(stream.nodelay().unwrap()),
            _ => panic!("no stream"),
        }
    }

    #[test]
    fn who_comes_or_waits_after_the_last_listener_is_refused() {
        let (mut reactor, address) = reactor();
        let mut waiting = TcpStream::connect(address).unwrap();
        reactor.stop_listening(None);
        let error = TcpStream::connect(address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let error = waiting.read(&mut [0; 10]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(matches!(reactor.accept(0, A), Accepted::Nothing));
    }

    #[test]
    fn a_close_that_came_with_the_last_data_is_told_with_it() {
        let (mut reactor, mut client) = connected();
        client.write_all(b"QUIT\r\n").unwrap();
        drop(client);
        until_closed(&mut reactor, A);
        let mut bytes = [0; 100];
        assert_eq!(reactor.receive(A, &mut bytes), Transfer::Bytes(6));
        assert_eq!(reactor.receive(A, &mut bytes), Transfer::Closed);
        assert_eq!(reactor.receive(A, &mut bytes), Transfer::Closed);
    }

    #[test]
    fn one_edge_may_be_read_in_pieces_and_the_next_comes_by_itself() {
        let (mut reactor, mut client) = connected();
        client.write_all(b"0123456789").unwrap();
        until_readable(&mut reactor, A);
        let mut bytes = [0; 4];
        for count in [4, 4, 2] {
            assert_eq!(reactor.receive(A, &mut bytes), Transfer::Bytes(count));
        }
        assert_eq!(reactor.receive(A, &mut bytes), Transfer::NotReady);
        client.write_all(b"x").unwrap();
        until_readable(&mut reactor, A);
        // Not read: the close is an edge of its own.
        client.shutdown(Shutdown::Write).unwrap();
        until_closed(&mut reactor, A);
        assert_eq!(reactor.receive(A, &mut bytes), Transfer::Bytes(1));
        assert_eq!(reactor.receive(A, &mut bytes), Transfer::Closed);
        // A peer that has ended its side can still be answered.
        assert_eq!(reactor.send(A, b"221"), Transfer::Bytes(3));
        client.read_exact(&mut bytes[..3]).unwrap();
        assert_eq!(&bytes[..3], b"221");
    }

    #[test]
    fn a_full_socket_says_so_and_tells_when_it_is_not() {
        let (mut reactor, mut client) = connected();
        let block = [b'x'; 4096];
        let mut sent = 0;
        loop {
            match reactor.send(A, &block) {
                Transfer::Bytes(count) => sent += count,
                Transfer::NotReady => break,
                other => panic!("{other:?}"),
            }
        }
        // What the poll knew before is old.
        reactor.poll(Some(Duration::ZERO)).unwrap();
        let reader = std::thread::spawn(move || {
            let mut all = vec![0; sent];
            client.read_exact(&mut all).unwrap();
        });
        until(&mut reactor, |event| {
            matches!(event, Event::Socket { token: A, writable: true, .. })
        });
        assert!(matches!(reactor.send(A, &block), Transfer::Bytes(_)));
        reader.join().unwrap();
    }

    #[test]
    fn a_reset_is_an_answer() {
        let (mut reactor, client) = connected();
        assert_eq!(reactor.send(A, b"220"), Transfer::Bytes(3));
        // Wait for the bytes: closing over them resets.
        client.peek(&mut [0; 3]).unwrap();
        drop(client);
        until_closed(&mut reactor, A);
        let answer = reactor.receive(A, &mut [0; 10]);
        assert_eq!(answer, Transfer::Failed(NetError::Reset));
        assert_eq!(reactor.send(A, b"x"), Transfer::Failed(NetError::Reset));
    }

    #[test]
    fn a_connection_out_works_or_says_why_not() {
        let (mut reactor, _) = reactor();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap();
        reactor.connect(A, address).unwrap();
        until(&mut reactor, |event| {
            matches!(event, Event::Socket { token: A, writable: true, closed: false, .. })
        });
        assert_eq!(reactor.send(A, b"EHLO"), Transfer::Bytes(4));
        let (mut peer, _) = other.accept().unwrap();
        let mut bytes = [0; 4];
        peer.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"EHLO");
        drop((other, peer));

        for token in [B, Token(2)] {
            match reactor.connect(token, address) {
                Err(error) => assert_eq!(error, NetError::Refused),
                Ok(()) => {
                    until(&mut reactor, |event| match event {
                        Event::Socket { token: found, readable, writable, closed } => {
                            found == token && readable && writable && closed
                        }
                        _ => false,
                    });
                    let answer = match token {
                        B => reactor.send(token, b"x"),
                        _ => reactor.receive(token, &mut [0; 1]),
                    };
                    assert_eq!(answer, Transfer::Failed(NetError::Refused));
                }
            }
        }
    }

    #[test]
    fn before_it_is_connected_a_socket_is_not_ready() {
        let (mut reactor, _) = reactor();
        // TEST-NET-1 (RFC 5737): nobody is there. Some networks say so at once.
        if reactor.connect(A, "192.0.2.1:25".parse().unwrap()).is_ok() {
            let answer = reactor.send(A, b"x");
            assert!(!matches!(answer, Transfer::Bytes(_) | Transfer::Closed), "{answer:?}");
        }
        reactor.close(A);
    }

    #[test]
    fn a_closed_token_is_free_and_silent() {
        let (mut reactor, mut client) = connected();
        reactor.close(A);
        reactor.close(A);
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
        assert_eq!(reactor.receive(A, &mut [0; 1]), Transfer::Failed(NetError::Other));
        assert_eq!(reactor.send(A, b"x"), Transfer::Failed(NetError::Other));
        reactor.close(Token(4000));
        reactor.poll(Some(Duration::from_millis(20))).unwrap();
        reactor.give(EVENTS_MAX, |ready| panic!("{ready:?}"));
    }

    #[test]
    fn the_last_reply_reaches_a_peer_that_was_still_talking() {
        let (mut reactor, mut client) = connected();
        client.write_all(&[b'x'; 20_000]).unwrap();
        until_readable(&mut reactor, A);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(reactor.send(A, b"421 bye\r\n"), Transfer::Bytes(9));
        reactor.close(A);
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"421 bye\r\n");
    }

    #[test]
    fn mapped_addresses_are_what_they_mean() {
        let Ok(listener) = socket::listen_tcp("[::]:0".parse().unwrap(), None, false) else {
            return; // This kernel has no IPv6.
        };
        let port = listener.local_addr().unwrap().port();
        let mut reactor = Reactor::new(1).unwrap();
        reactor.add_tcp(listener).unwrap();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        until(&mut reactor, |event| matches!(event, Event::Listener(0)));
        assert_eq!(accept(&mut reactor, A), Peer::Tcp(client.local_addr().unwrap()));
    }

    #[test]
    fn local_users_are_known() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("submit");
        let mut reactor = Reactor::new(1).unwrap();
        let listener: UnixListener = socket::listen_unix(&path, 0o600).unwrap();
        reactor.add_unix(listener).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"HELO\r\n").unwrap();
        until(&mut reactor, |event| matches!(event, Event::Listener(0)));
        let uid = crate::os::process::user_id();
        assert_eq!(accept(&mut reactor, A), Peer::Unix { uid });
        until_readable(&mut reactor, A);
        assert_eq!(reactor.receive(A, &mut [0; 10]), Transfer::Bytes(6));
        drop(client);
        until_closed(&mut reactor, A);
        assert_eq!(reactor.receive(A, &mut [0; 10]), Transfer::Closed);
        assert_eq!(reactor.send(A, b"x"), Transfer::Failed(NetError::Reset));
    }

    #[test]
    fn a_bell_wakes_from_another_thread() {
        let mut reactor = Reactor::new(0).unwrap();
        let bell = reactor.bell().unwrap();
        let ringer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            bell.ring();
            bell
        });
        let mut rung = 0;
        reactor.poll(Some(Duration::from_secs(10))).unwrap();
        assert!(!reactor.is_drained());
        reactor.give(EVENTS_MAX, |ready| rung += usize::from(matches!(ready, Ready::Bell)));
        assert_eq!(rung, 1);
        assert!(reactor.is_drained());
        ringer.join().unwrap();
    }

    #[test]
    fn what_has_no_room_comes_next_time() {
        let (mut reactor, address) = reactor();
        let mut clients: Vec<_> = (0..4).map(|_| TcpStream::connect(address).unwrap()).collect();
        for token in 0..4 {
            accept(&mut reactor, Token(token));
        }
        for client in &mut clients {
            client.write_all(b"x").unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
        reactor.poll(Some(Duration::ZERO)).unwrap();
        let mut tokens = Vec::new();
        while !reactor.is_drained() {
            let before = tokens.len();
            reactor.give(1, |ready| match ready {
                Ready::Event(Event::Socket { token, .. }) => tokens.push(token.0),
                other => panic!("{other:?}"),
            });
            assert_eq!(tokens.len(), before + 1);
        }
        tokens.sort();
        assert_eq!(tokens, [0, 1, 2, 3]);
    }

    /// Descriptors run out for the whole process, so this runs itself again in one of its own.
    #[test]
    fn without_descriptors_the_connection_waits() {
        const ALONE: &str = "MOTE_TEST_ALONE";
        if std::env::var_os(ALONE).is_none() {
            let name = "os::reactor::tests::without_descriptors_the_connection_waits";
            let mut alone = std::process::Command::new("sh");
            alone.args(["-c", "ulimit -n 64; exec \"$0\" --exact \"$1\""]);
            alone.arg(std::env::current_exe().unwrap()).arg(name);
            let output = alone.env(ALONE, "1").output().unwrap();
            let words = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && words.contains("1 passed"), "{words}");
            return;
        }
        let (mut reactor, address) = reactor();
        let _client = TcpStream::connect(address).unwrap();
        until(&mut reactor, |event| matches!(event, Event::Listener(0)));
        let mut hoard = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            hoard.push(file);
        }
        assert!(matches!(reactor.accept(0, A), Accepted::Exhausted));
        assert!(matches!(reactor.accept(0, A), Accepted::Exhausted));
        assert_eq!(reactor.connect(A, address), Err(NetError::Exhausted));
        hoard.pop();
        accept(&mut reactor, A);
    }
}
