//! One TLS connection: records between a socket and rustls, text between rustls and whoever holds
//! the token.
//!
//! To the daemon it is like a plain socket: [`Connection::receive`] gives less than there is room
//! for only when the socket has been read dry (what is left of a record is known here), and
//! [`Connection::send`] less than it was given only when the socket takes no more. Two things
//! differ. While no record buffer is free only records that have come as a whole are read, and the
//! pool tells when to try again.
//! And bytes are sent, as far as the caller is told, when the socket has taken the whole record
//! that they are in: until then they are to be offered again, unchanged.
//!
//! Memory: rustls's own state (3 to 8 KiB), no buffer while nothing is under way, and what the
//! socket would not take of the last record sent. While a record is
//! decrypted, rustls holds it once more.
//!
//! A connection that fails says so once, in the log if the peer is a client, else by
//! [`Connection::trouble`]; it sends its alert, and fails for ever.
//!
//! Read first: RFC 8446 §5, §6; RFC 5246 §6.2; rustls's `unbuffered` module.

use super::outbox::Outbox;
use super::outgoing::Outgoing;
use super::pool::{Lease, Record};
use super::progress::Step;
use super::trouble::Trouble;
use super::{Tls, Wire};
use crate::daemon::world::{NetError, NetWords, Protection, Token, Transfer};
use crate::intake::peer;
use core::net::IpAddr;
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::{CommonState, ContentType, ProtocolVersion};
use std::io::{self, Write};

/// Type, version and length of a record.
pub(super) const HEAD_BYTES: usize = 5;
/// Text that goes into one record: what may have to be kept when the socket is full.
const TEXT_BYTES_MAX: usize = 4096;
/// Bytes off the wire in one call. Somebody who sends records without text cannot keep the loop
/// to himself.
pub(super) const WIRE_BYTES_MAX: usize = 64 * 1024;

/// See the module's head.
pub struct Connection {
    pub(super) session: Session,
    pub(super) token: Token,
    pub(super) address: IpAddr,
    peer: Role,
    /// TLS begins with the first byte of the connection.
    is_implicit: bool,
    pub(super) stage: Stage,
    /// The first bytes of a record, while no buffer is needed or none can be had.
    pub(super) head: [u8; HEAD_BYTES],
    pub(super) head_len: u8,
    pub(super) lease: Option<Lease>,
    /// Whole records at the front of the buffer that rustls has seen and wants to see again: the
    /// pieces of a message that is not whole yet.
    pub(super) kept: usize,
    pub(super) outbox: Outbox,
    /// How much text the last record in `outbox` holds, which the caller still offers.
    owed: usize,
}

/// rustls's part.
pub(super) enum Session {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

impl Session {
    pub(super) fn state(&self) -> &CommonState {
        match self {
            Session::Server(session) => session,
            Session::Client(session) => session,
        }
    }
}

/// What the peer is.
pub(super) enum Role {
    /// A client, who came in through that listener.
    Client { listener: u8 },
    /// A server, to which we are one.
    NextHop(Box<Outgoing>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Nothing has come yet.
    Fresh,
    Handshake,
    Open,
    /// The peer has ended its side.
    HalfOpen,
    Failed,
    /// It was never TLS, and from now on it is a plain socket.
    Plain,
}

/// Why reading has stopped.
pub(super) enum Filled {
    /// It is full, or the socket is dry; or the peer has ended its side of TLS, or it broke.
    Transfer(Transfer),
    /// The socket has come to its end.
    End,
    /// It has had its share, and there may be more behind so many bytes.
    More(usize),
}

impl Connection {
    pub(super) fn new(
        session: Session,
        token: Token,
        address: IpAddr,
        peer: Role,
        is_implicit: bool,
    ) -> Connection {
        Connection {
            session,
            token,
            address,
            peer,
            is_implicit,
            stage: Stage::Fresh,
            head: [0; HEAD_BYTES],
            head_len: 0,
            lease: None,
            kept: 0,
            outbox: Outbox::default(),
            owed: 0,
        }
    }

    /// What was agreed on, once the handshake is over.
    pub fn secured(&self) -> Option<peer::Secured> {
        if !matches!(self.stage, Stage::Open | Stage::HalfOpen) {
            return None;
        }
        let state = self.session.state();
        let version = match state.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "1.2",
            _ => "1.3",
        };
        let suite = state.negotiated_cipher_suite().map(|suite| suite.suite());
        let cipher = suite.and_then(|suite| suite.as_str()).unwrap_or("unknown");
        Some(peer::Secured { version, cipher })
    }

    /// What was agreed on with a next hop, once the handshake is over.
    pub fn protection(&self) -> Option<Protection> {
        let secured = self.secured()?;
        let Role::NextHop(next_hop) = &self.peer else { return None };
        Some(Protection { version: secured.version, is_verified: next_hop.is_verified() })
    }

    /// What went wrong with a next hop, and what to change.
    pub fn trouble(&self) -> Option<NetWords> {
        match &self.peer {
            Role::NextHop(next_hop) => next_hop.trouble(),
            Role::Client { .. } => None,
        }
    }

    /// True when we are the client, and so speak first.
    pub(super) fn is_outgoing(&self) -> bool {
        matches!(self.peer, Role::NextHop(_))
    }

    /// Says hello to a next hop, as its client has to.
    pub(super) fn greet<S: Wire>(&mut self, socket: &mut S, tls: &mut Tls) -> Result<(), Trouble> {
        tls.spare.clear();
        self.step(socket, &mut [], &mut tls.spare, &mut tls.scratch).map(drop)
    }

    /// True when the peer never spoke TLS, and may be told so in the clear.
    pub fn is_plain(&self) -> bool {
        self.stage == Stage::Plain
    }

    /// Reads text into `into`, which is not empty.
    pub fn receive<S: Wire>(&mut self, socket: &mut S, into: &mut [u8], tls: &mut Tls) -> Transfer {
        if let Err(ended) = self.may_receive() {
            return ended;
        }
        let filled = match self.lease.take().or_else(|| self.take_buffer(tls)) {
            Some(lease) => self.receive_into_buffer(socket, into, lease, tls),
            None => self.receive_whole_records(socket, into, tls),
        };
        match filled {
            Ok(Filled::Transfer(transfer)) => transfer,
            Ok(Filled::End) => self.end(tls),
            Ok(Filled::More(count)) => {
                tls.tell(self.token, false);
                if count > 0 { Transfer::Bytes(count) } else { Transfer::NotReady }
            }
            Err(trouble) => self.fail(trouble, socket, tls),
        }
    }

    /// Writes a prefix of `from`, which is not empty.
    pub fn send<S: Write>(&mut self, socket: &mut S, from: &[u8], tls: &mut Tls) -> Transfer {
        match self.stage {
            Stage::Open | Stage::HalfOpen => {}
            Stage::Failed | Stage::Plain => return Transfer::Failed(NetError::Tls),
            Stage::Fresh | Stage::Handshake => return Transfer::NotReady,
        }
        let mut sent = 0;
        let outcome = loop {
            match self.flush(socket) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
            sent += core::mem::take(&mut self.owed);
            let rest = from.get(sent..).unwrap_or_default();
            let text = rest.get(..TEXT_BYTES_MAX).unwrap_or(rest);
            if text.is_empty() {
                break Ok(());
            }
            let Some(count) = self.seal(Some(text), tls) else {
                return self.fail(Trouble::Protocol("its keys are used up"), socket, tls);
            };
            self.owed = text.len();
            if let Err(trouble) = self.outbox.put(socket, tls.scratch.get(..count)) {
                return self.fail(trouble, socket, tls);
            }
        };
        match (outcome, sent.min(from.len())) {
            (Err(error), _) => Transfer::Failed(net_error(&error)),
            (Ok(()), 0) => Transfer::NotReady,
            (Ok(()), sent) => Transfer::Bytes(sent),
        }
    }

    /// Gives the socket what it would not take before; false: it still does not take it all.
    pub fn flush<S: Write>(&mut self, socket: &mut S) -> io::Result<bool> {
        self.outbox.flush(socket)
    }

    /// Ends it, politely if that can be done at once.
    pub fn close<S: Write>(&mut self, socket: &mut S, tls: &mut Tls) {
        match self.stage {
            Stage::Fresh if self.head_len == 0 => {
                self.complain(Trouble::TooSlow { is_silent: true }, tls);
            }
            Stage::Fresh | Stage::Handshake => {
                self.complain(Trouble::TooSlow { is_silent: false }, tls);
            }
            Stage::Open | Stage::HalfOpen if self.outbox.is_empty() => {
                if let Some(count) = self.seal(None, tls) {
                    // Nobody is left to be told that it did not fit.
                    let _ = socket.write(tls.scratch.get(..count).unwrap_or_default());
                }
            }
            _ => {}
        }
        if let Some(lease) = self.lease.take() {
            tls.pools.of(self.is_outgoing()).give_back(lease);
        }
        tls.forget(self.token);
        self.stage = Stage::Failed;
    }

    /// Ends it for that reason; it fails from now on.
    pub(super) fn fail<S: Write>(
        &mut self,
        trouble: Trouble,
        socket: &mut S,
        tls: &mut Tls,
    ) -> Transfer {
        self.complain(trouble, tls);
        let head = self.head.get(..usize::from(self.head_len)).unwrap_or_default();
        let mut is_text = head.first().is_some_and(u8::is_ascii_graphic);
        if let Some(lease) = self.lease.take() {
            let pool = tls.pools.of(self.is_outgoing());
            if let Some(record) = pool.record(&lease) {
                is_text |= record.wire().first().is_some_and(u8::is_ascii_graphic);
            }
            pool.give_back(lease);
        }
        tls.pools.forget(self.token);
        let may_be_told = self.is_implicit && !self.is_outgoing();
        if trouble == Trouble::NotTls && may_be_told && is_text {
            self.stage = Stage::Plain;
            return Transfer::Failed(NetError::NotTls);
        }
        self.stage = Stage::Failed;
        self.send_alert(socket, &mut tls.scratch);
        Transfer::Failed(NetError::Tls)
    }

    fn may_receive(&self) -> Result<(), Transfer> {
        match self.stage {
            Stage::Fresh | Stage::Handshake | Stage::Open => Ok(()),
            Stage::HalfOpen => Err(Transfer::Closed),
            Stage::Failed => Err(Transfer::Failed(NetError::Tls)),
            Stage::Plain => Err(Transfer::Failed(NetError::NotTls)),
        }
    }

    fn receive_into_buffer<S: Wire>(
        &mut self,
        socket: &mut S,
        into: &mut [u8],
        lease: Lease,
        tls: &mut Tls,
    ) -> Result<Filled, Trouble> {
        let Tls { pools, scratch, now, .. } = tls;
        let pool = pools.of(self.is_outgoing());
        let Some(record) = pool.record(&lease) else {
            return Err(Trouble::Protocol("it has lost its buffer"));
        };
        let filled = self.fill(socket, into, record, scratch);
        // Behind the peer's end nothing counts any more.
        let is_idle = self.stage == Stage::HalfOpen || self.put_away(record);
        let has_moved = record.has_moved();
        if is_idle {
            pool.give_back(lease);
        } else {
            if has_moved {
                pool.renew(&lease, *now);
            }
            self.lease = Some(lease);
        }
        filled
    }

    /// The socket has come to its end. Without a word of TLS before, which is no worse here: every
    /// command and every message has an end of its own.
    fn end(&mut self, tls: &mut Tls) -> Transfer {
        match self.stage {
            Stage::Fresh if self.head_len == 0 && !self.is_outgoing() => {
                self.stage = Stage::Failed;
            }
            Stage::Fresh | Stage::Handshake => {
                self.complain(Trouble::Left, tls);
                self.stage = Stage::Failed;
            }
            _ => self.stage = Stage::HalfOpen,
        }
        Transfer::Closed
    }

    /// The peer has ended its side of TLS.
    pub(super) fn end_side(&mut self) {
        self.stage = Stage::HalfOpen;
    }

    /// Fills `into` until it is full or the socket is dry.
    fn fill<S: Wire>(
        &mut self,
        socket: &mut S,
        into: &mut [u8],
        record: &mut Record,
        scratch: &mut [u8],
    ) -> Result<Filled, Trouble> {
        let mut count = 0;
        let mut budget = WIRE_BYTES_MAX;
        let (mut is_dry, mut is_short) = (false, false);
        let done = |count, other| if count > 0 { Transfer::Bytes(count) } else { other };
        loop {
            let rest = into.get_mut(count..).unwrap_or_default();
            count += record.take_plain(rest);
            if count == into.len() {
                return Ok(Filled::Transfer(Transfer::Bytes(count)));
            }
            self.recognise(record.wire())?;
            let rest = into.get_mut(count..).unwrap_or_default();
            match self.step(socket, rest, record, scratch)? {
                Step::Text(more) => {
                    count += more;
                    continue;
                }
                // Whoever holds the token looks at this before it reads on.
                Step::Secured => return Ok(Filled::Transfer(Transfer::NotReady)),
                Step::Ended => {
                    self.end_side();
                    return Ok(Filled::Transfer(done(count, Transfer::Closed)));
                }
                Step::Blocked => {}
            }
            // A short read has used up what was there, but an end may be behind it. Whoever gets
            // text comes again if he was told of one.
            if is_dry || (is_short && count > 0) {
                return Ok(Filled::Transfer(done(count, Transfer::NotReady)));
            }
            if budget == 0 {
                return Ok(Filled::More(count));
            }
            let room = record.room();
            let size = room.len();
            if size == 0 {
                return Err(Trouble::Scattered);
            }
            match socket.read(room) {
                Ok(0) if count > 0 => return Ok(Filled::Transfer(Transfer::Bytes(count))),
                Ok(0) => return Ok(Filled::End),
                Ok(read) => {
                    record.produced(read);
                    budget = budget.saturating_sub(read);
                    is_short = read < size;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => is_dry = true,
                Err(error) => {
                    let failed = Transfer::Failed(net_error(&error));
                    return Ok(Filled::Transfer(done(count, failed)));
                }
            }
        }
    }

    /// The first byte of all tells whether this is TLS.
    pub(super) fn recognise(&mut self, wire: &[u8]) -> Result<(), Trouble> {
        if let (Stage::Fresh, Some(first)) = (self.stage, wire.first()) {
            self.stage = Stage::Handshake;
            let is_alert = *first == u8::from(ContentType::Alert);
            // A server may refuse the hello without one of its own.
            let is_answer = is_alert && self.is_outgoing();
            if *first != u8::from(ContentType::Handshake) && !is_answer {
                return Err(Trouble::NotTls);
            }
        }
        Ok(())
    }

    fn take_buffer(&mut self, tls: &mut Tls) -> Option<Lease> {
        let pool = tls.pools.of(self.is_outgoing());
        let lease = pool.take(self.token, self.address, tls.now)?;
        if let Some(record) = pool.record(&lease) {
            let head = self.head.get(..usize::from(self.head_len)).unwrap_or_default();
            if let Some(room) = record.room().get_mut(..head.len()) {
                room.copy_from_slice(head);
            }
            record.produced(head.len());
            self.head_len = 0;
        }
        Some(lease)
    }

    /// What is less than the head of a record needs no buffer; true when nothing else does.
    fn put_away(&mut self, record: &mut Record) -> bool {
        if record.is_empty() {
            return true;
        }
        if self.kept > 0 || record.has_text() || record.wire_len() >= HEAD_BYTES {
            return false;
        }
        let wire = record.wire();
        if let Some(room) = self.head.get_mut(..wire.len()) {
            room.copy_from_slice(wire);
            self.head_len = wire.len() as u8;
        }
        true
    }

    /// One line for the log; or, of a next hop, words for whoever asks.
    fn complain(&mut self, trouble: Trouble, tls: &Tls) {
        match &mut self.peer {
            Role::NextHop(next_hop) => {
                next_hop.complain(trouble.text_of_next_hop(self.is_implicit))
            }
            Role::Client { listener } => log::info!(
                "listen {}: TLS with {} failed: {}",
                tls.listener(*listener),
                self.address,
                trouble.text()
            ),
        }
    }
}

pub(super) fn net_error(error: &io::Error) -> NetError {
    match error.kind() {
        io::ErrorKind::TimedOut => NetError::TimedOut,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::NotConnected => NetError::Reset,
        _ => NetError::Other,
    }
}
