//! One TLS connection: records between a socket and rustls, text between rustls and whoever holds
//! the token.
//!
//! To the daemon it is like a plain socket: [`Connection::receive`] gives less than there is room
//! for only when the socket has been read dry (what is left of a record is known here), and
//! [`Connection::send`] less than it was given only when the socket takes no more. Two things
//! differ. While no record buffer is free nothing is read, and the pool tells when to try again.
//! And bytes are sent, as far as the caller is told, when the socket has taken the whole record
//! that they are in: until then they are to be offered again, unchanged.
//!
//! Memory: rustls's own state (3 to 8 KiB), no buffer while nothing is under way, and what the
//! socket would not take of the last record sent. While a record is
//! decrypted, rustls holds it once more.
//!
//! A connection that fails says so once in the log, sends its alert, and fails for ever.
//!
//! Read first: RFC 8446 §5, §6; RFC 5246 §6.2; rustls's `unbuffered` module.

use super::Tls;
use super::outbox::Outbox;
use super::pool::{Lease, Pool, Record};
use super::trouble::Trouble;
use crate::daemon::world::{NetError, Token, Transfer};
use crate::intake::peer;
use core::net::IpAddr;
use core::ops::Range;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{ContentType, ProtocolVersion};
use std::io::{self, Read, Write};
use zeroize::Zeroize as _;

/// Type, version and length of a record.
const HEAD_BYTES: usize = 5;
/// Text that goes into one record: what may have to be kept when the socket is full.
const TEXT_BYTES_MAX: usize = 4096;
/// Bytes off the wire in one call. Somebody who sends records without text cannot keep the loop
/// to himself.
const WIRE_BYTES_MAX: usize = 64 * 1024;

/// See the module's head.
pub(crate) struct Connection {
    session: UnbufferedServerConnection,
    token: Token,
    address: IpAddr,
    listener: u8,
    /// TLS begins with the first byte of the connection.
    is_implicit: bool,
    stage: Stage,
    /// The first bytes of a record, while no buffer is needed or none can be had.
    head: [u8; HEAD_BYTES],
    head_len: u8,
    lease: Option<Lease>,
    /// Whole records at the front of the buffer that rustls has seen and wants to see again: the
    /// pieces of a message that is not whole yet.
    kept: usize,
    outbox: Outbox,
    /// How much text the last record in `outbox` holds, which the caller still offers.
    owed: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
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

/// What rustls made of what has come.
enum Step {
    /// So much text.
    Text(usize),
    /// The handshake is over.
    Secured,
    /// It needs more.
    Blocked,
    /// The peer has ended its side.
    Ended,
}

/// Why reading has stopped.
enum Filled {
    /// It is full, or the socket is dry; or the peer has ended its side of TLS, or it broke.
    Transfer(Transfer),
    /// The socket has come to its end.
    End,
    /// It has had its share, and there may be more behind so many bytes.
    More(usize),
}

impl Connection {
    pub(super) fn new(
        session: UnbufferedServerConnection,
        token: Token,
        address: IpAddr,
        listener: u8,
        is_implicit: bool,
    ) -> Connection {
        Connection {
            session,
            token,
            address,
            listener,
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
    pub(crate) fn secured(&self) -> Option<peer::Secured> {
        if !matches!(self.stage, Stage::Open | Stage::HalfOpen) {
            return None;
        }
        let version = match self.session.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "1.2",
            _ => "1.3",
        };
        let suite = self.session.negotiated_cipher_suite().map(|suite| suite.suite());
        let cipher = suite.and_then(|suite| suite.as_str()).unwrap_or("unknown");
        Some(peer::Secured { version, cipher })
    }

    /// True when the peer never spoke TLS, and may be told so in the clear.
    pub(crate) fn is_plain(&self) -> bool {
        self.stage == Stage::Plain
    }

    /// Reads text into `into`, which is not empty.
    pub(crate) fn receive<S: Read + Write>(
        &mut self,
        socket: &mut S,
        into: &mut [u8],
        tls: &mut Tls,
    ) -> Transfer {
        if let Err(ended) = self.may_receive() {
            return ended;
        }
        let Some(lease) = self.lease.take().or_else(|| self.take_buffer(tls)) else {
            return self.wait(socket, tls);
        };
        let Tls { pool, scratch, .. } = tls;
        let filled = match pool.record(&lease) {
            Some(record) => {
                let filled = self.fill(socket, into, record, scratch);
                let is_idle = self.put_away(record);
                let has_moved = record.has_moved();
                if is_idle {
                    pool.give_back(lease);
                } else {
                    if has_moved {
                        pool.renew(&lease, tls.now);
                    }
                    self.lease = Some(lease);
                }
                filled
            }
            None => Err(Trouble::Protocol("it has lost its buffer")),
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
    pub(crate) fn send<S: Write>(
        &mut self,
        socket: &mut S,
        from: &[u8],
        tls: &mut Tls,
    ) -> Transfer {
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
    pub(crate) fn flush<S: Write>(&mut self, socket: &mut S) -> io::Result<bool> {
        self.outbox.flush(socket)
    }

    /// Ends it, politely if that can be done at once.
    pub(crate) fn close<S: Write>(&mut self, socket: &mut S, tls: &mut Tls) {
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
            tls.pool.give_back(lease);
        }
        tls.pool.forget(self.token);
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
            if let Some(record) = tls.pool.record(&lease) {
                is_text |= record.wire().first().is_some_and(u8::is_ascii_graphic);
            }
            tls.pool.give_back(lease);
        }
        tls.pool.forget(self.token);
        if trouble == Trouble::NotTls && self.is_implicit && is_text {
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

    /// No buffer is free. The head of a record needs none, and before it is there nobody waits.
    fn wait<S: Read>(&mut self, socket: &mut S, tls: &mut Tls) -> Transfer {
        while let Some(room) = self.head.get_mut(usize::from(self.head_len)..) {
            if room.is_empty() {
                tls.pool.wait(self.token, self.address);
                return Transfer::NotReady;
            }
            match socket.read(room) {
                Ok(0) => return self.end(tls),
                Ok(count) => self.head_len += count as u8,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Transfer::Failed(net_error(&error)),
            }
        }
        Transfer::NotReady
    }

    /// The socket has come to its end. Without a word of TLS before, which is no worse here: every
    /// command and every message has an end of its own.
    fn end(&mut self, tls: &mut Tls) -> Transfer {
        match self.stage {
            Stage::Fresh if self.head_len == 0 => self.stage = Stage::Failed,
            Stage::Fresh | Stage::Handshake => {
                self.complain(Trouble::Left, tls);
                self.stage = Stage::Failed;
            }
            _ => self.stage = Stage::HalfOpen,
        }
        Transfer::Closed
    }

    /// Fills `into` until it is full or the socket is dry.
    fn fill<S: Read + Write>(
        &mut self,
        socket: &mut S,
        into: &mut [u8],
        record: &mut Record,
        scratch: &mut [u8],
    ) -> Result<Filled, Trouble> {
        let mut count = 0;
        let mut budget = WIRE_BYTES_MAX;
        let mut is_dry = false;
        let done = |count, other| if count > 0 { Transfer::Bytes(count) } else { other };
        loop {
            let rest = into.get_mut(count..).unwrap_or_default();
            count += record.take_plain(rest);
            if count == into.len() {
                return Ok(Filled::Transfer(Transfer::Bytes(count)));
            }
            self.recognise(record)?;
            let rest = into.get_mut(count..).unwrap_or_default();
            match self.step(socket, rest, record, scratch)? {
                Step::Text(more) => {
                    count += more;
                    continue;
                }
                // Whoever holds the token looks at this before it reads on.
                Step::Secured => return Ok(Filled::Transfer(Transfer::NotReady)),
                Step::Ended => {
                    self.stage = Stage::HalfOpen;
                    return Ok(Filled::Transfer(done(count, Transfer::Closed)));
                }
                Step::Blocked => {}
            }
            if is_dry {
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
                    is_dry = read < size;
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
    fn recognise(&mut self, record: &mut Record) -> Result<(), Trouble> {
        if let (Stage::Fresh, Some(first)) = (self.stage, record.wire().first()) {
            self.stage = Stage::Handshake;
            if *first != u8::from(ContentType::Handshake) {
                return Err(Trouble::NotTls);
            }
        }
        Ok(())
    }

    /// Lets rustls work on what has come, and sends what it has to say, until there is text or it
    /// needs more.
    fn step<S: Write>(
        &mut self,
        socket: &mut S,
        into: &mut [u8],
        record: &mut Record,
        scratch: &mut [u8],
    ) -> Result<Step, Trouble> {
        let mut whole = self.kept + whole_records(record.wire().get(self.kept..));
        let mut encoded = 0;
        let step = loop {
            let UnbufferedStatus { mut discard, state, .. } =
                self.session.process_tls_records(record.wire());
            let mut text = Range::default();
            let step = match state.map_err(|error| Trouble::from(&error))? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    self.outbox.put(socket, scratch.get(..encoded))?;
                    encoded = 0;
                    match traffic.next_record() {
                        Some(Ok(next)) => {
                            discard += next.discard;
                            // What came right behind the handshake waits until that was told.
                            let is_told = self.stage != Stage::Handshake;
                            let room = if is_told { &mut *into } else { &mut [] };
                            let (count, rest) = share(next.payload, room, scratch);
                            text = 0..rest;
                            Some(Step::Text(count))
                        }
                        Some(Err(error)) => return Err(Trouble::from(&error)),
                        None => None,
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    let mut done = data.encode(scratch.get_mut(encoded..).unwrap_or_default());
                    if let (Err(EncodeError::InsufficientSize(_)), true) = (&done, encoded > 0) {
                        self.outbox.put(socket, scratch.get(..encoded))?;
                        encoded = 0;
                        done = data.encode(scratch);
                    }
                    encoded += done.map_err(|_| Trouble::Protocol("its answer is too large"))?;
                    None
                }
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    self.outbox.put(socket, scratch.get(..encoded))?;
                    encoded = 0;
                    None
                }
                ConnectionState::PeerClosed | ConnectionState::Closed => Some(Step::Ended),
                ConnectionState::WriteTraffic(_) | ConnectionState::BlockedHandshake => {
                    Some(Step::Blocked)
                }
                _ => return Err(Trouble::Protocol("it sent data before the handshake")),
            };
            let text = scratch.get_mut(text).unwrap_or_default();
            record.consume(discard, text);
            text.zeroize();
            whole = whole.saturating_sub(discard);
            if let Some(step) = step {
                break step;
            }
        };
        self.kept = if matches!(step, Step::Blocked) { whole } else { 0 };
        if self.stage == Stage::Handshake && !self.session.is_handshaking() {
            self.stage = Stage::Open;
            return Ok(Step::Secured);
        }
        Ok(step)
    }

    fn take_buffer(&mut self, tls: &mut Tls) -> Option<Lease> {
        let lease = tls.pool.take(self.token, self.address, tls.now)?;
        if let Some(record) = tls.pool.record(&lease) {
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

    /// What rustls has to see before it does anything: the pieces that it keeps.
    fn kept<'a>(lease: Option<&Lease>, kept: usize, pool: &'a mut Pool) -> &'a mut [u8] {
        let record = lease.filter(|_| kept > 0).and_then(|lease| pool.record(lease));
        record.and_then(|record| record.wire().get_mut(..kept)).unwrap_or_default()
    }

    /// Puts `text` into a record in `scratch`; how long that is.
    fn seal(&mut self, text: Option<&[u8]>, tls: &mut Tls) -> Option<usize> {
        let Tls { pool, scratch, .. } = tls;
        let kept = Connection::kept(self.lease.as_ref(), self.kept, pool);
        let status = self.session.process_tls_records(kept);
        let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state else { return None };
        match text {
            Some(text) => traffic.encrypt(text, scratch).ok(),
            None => traffic.queue_close_notify(scratch).ok(),
        }
    }

    /// Tells the peer why, if rustls has an alert for it and the socket takes it.
    fn send_alert<S: Write>(&mut self, socket: &mut S, scratch: &mut [u8]) {
        let mut encoded = 0;
        // Not asked for more than it has: it would look for records in what is not there.
        while self.session.wants_write() {
            let status = self.session.process_tls_records(&mut []);
            let Ok(ConnectionState::EncodeTlsData(mut data)) = status.state else { break };
            let Some(room) = scratch.get_mut(encoded..) else { break };
            let Ok(count) = data.encode(room) else { break };
            encoded += count;
        }
        if let (true, Some(alert)) = (self.outbox.is_empty(), scratch.get(..encoded)) {
            // Nobody is left to be told that it did not fit.
            let _ = socket.write(alert);
        }
    }

    /// One line for the log.
    fn complain(&self, trouble: Trouble, tls: &Tls) {
        log::info!(
            "listen {}: TLS with {} failed: {}",
            tls.listener(self.listener),
            self.address,
            trouble.text()
        );
    }
}

/// Puts `text` into `into` as far as it goes, and the rest into `scratch`; how much each is.
fn share(text: &[u8], into: &mut [u8], scratch: &mut [u8]) -> (usize, usize) {
    let count = text.len().min(into.len());
    let (first, rest) = text.split_at_checked(count).unwrap_or((text, &[]));
    for (room, text) in [(into, first), (scratch, rest)] {
        if let Some(room) = room.get_mut(..text.len()) {
            room.copy_from_slice(text);
        }
    }
    (first.len(), rest.len())
}

/// How many bytes at the front of `wire` are whole records.
fn whole_records(wire: Option<&[u8]>) -> usize {
    let wire = wire.unwrap_or_default();
    let mut whole = 0;
    while let Some([_, _, _, high, low]) = wire.get(whole..).and_then(<[u8]>::first_chunk) {
        let end = whole + HEAD_BYTES + usize::from(u16::from_be_bytes([*high, *low]));
        if end > wire.len() {
            break;
        }
        whole = end;
    }
    whole
}

fn net_error(error: &io::Error) -> NetError {
    match error.kind() {
        io::ErrorKind::TimedOut => NetError::TimedOut,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::NotConnected => NetError::Reset,
        _ => NetError::Other,
    }
}
