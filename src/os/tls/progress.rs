//! What rustls does with records: the one place that goes through its states.
//!
//! Its rules: what it says can be discarded must be gone before it is asked again; what it keeps,
//! pieces of a message of its own that is not whole yet, must be there whenever it is asked for
//! anything, or it would look for them in vain.
//!
//! The states are the same on both sides of a connection, so [`react`] does not know which it is.

use super::Tls;
use super::connection::{Connection, HEAD_BYTES, Session, Stage};
use super::outbox::Outbox;
use super::pool::{Lease, Pool, Record};
use super::trouble::Trouble;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use std::io::Write;
use zeroize::Zeroize as _;

/// What rustls made of what has come.
pub(super) enum Step {
    /// So much text.
    Text(usize),
    /// The handshake is over.
    Secured,
    /// It needs more.
    Blocked,
    /// The peer has ended its side.
    Ended,
}

/// Where text and sealed records go.
struct Desk<'a, S> {
    into: &'a mut [u8],
    socket: &'a mut S,
    outbox: &'a mut Outbox,
    scratch: &'a mut [u8],
    /// How much of `scratch` is sealed and not sent.
    sealed: usize,
}

/// What one state came to.
struct Reaction {
    step: Option<Step>,
    /// Consumed off the wire.
    discard: usize,
    /// Text that `into` had no room for stands in `scratch`.
    rest: usize,
}

impl Connection {
    /// Lets rustls work on what has come, and sends what it has to say, until there is text or it
    /// needs more.
    pub(super) fn step<S: Write>(
        &mut self,
        socket: &mut S,
        into: &mut [u8],
        record: &mut Record,
        scratch: &mut [u8],
    ) -> Result<Step, Trouble> {
        let mut whole = self.kept + whole_records(record.wire().get(self.kept..));
        // What came right behind the handshake waits until that was told.
        let into = if self.stage == Stage::Handshake { &mut [] } else { into };
        let mut desk = Desk { into, socket, outbox: &mut self.outbox, scratch, sealed: 0 };
        let step = loop {
            let wire = record.wire();
            let reaction = match &mut self.session {
                Session::Server(session) => react(session.process_tls_records(wire), &mut desk),
                Session::Client(session) => react(session.process_tls_records(wire), &mut desk),
            };
            let Reaction { step, discard, rest } = reaction?;
            let text = desk.scratch.get_mut(..rest).unwrap_or_default();
            record.consume(discard, text);
            // It may be a password (threats 19).
            text.zeroize();
            whole = whole.saturating_sub(discard);
            if let Some(step) = step {
                break step;
            }
        };
        self.kept = if matches!(step, Step::Blocked) { whole } else { 0 };
        if self.stage == Stage::Handshake && !self.session.state().is_handshaking() {
            self.stage = Stage::Open;
            return Ok(Step::Secured);
        }
        Ok(step)
    }

    /// Puts `text`, or that there is no more, into a record in `scratch`; how long that is.
    pub(super) fn seal(&mut self, text: Option<&[u8]>, tls: &mut Tls) -> Option<usize> {
        let Tls { pools, scratch, .. } = tls;
        let pool = pools.of(self.is_outgoing());
        debug_assert!(self.kept == 0 || self.lease.is_some(), "what rustls keeps is gone");
        let kept = kept(self.lease.as_ref(), self.kept, pool);
        match &mut self.session {
            Session::Server(session) => seal(session.process_tls_records(kept), text, scratch),
            Session::Client(session) => seal(session.process_tls_records(kept), text, scratch),
        }
    }

    /// Tells the peer why, if rustls has an alert for it and the socket takes it.
    pub(super) fn send_alert<S: Write>(&mut self, socket: &mut S, scratch: &mut [u8]) {
        let mut sealed = 0;
        // Not asked for more than it has: it would look for records in what is not there.
        while self.session.state().wants_write() {
            let Some(room) = scratch.get_mut(sealed..) else { break };
            let count = match &mut self.session {
                Session::Server(session) => encode(session.process_tls_records(&mut []), room),
                Session::Client(session) => encode(session.process_tls_records(&mut []), room),
            };
            let Some(count) = count else { break };
            sealed += count;
        }
        if let (true, Some(alert)) = (self.outbox.is_empty(), scratch.get(..sealed)) {
            // Nobody is left to be told that it did not fit.
            let _ = socket.write(alert);
        }
    }
}

impl<S: Write> Desk<'_, S> {
    fn send(&mut self) -> Result<(), Trouble> {
        let sealed = self.scratch.get(..core::mem::take(&mut self.sealed));
        self.outbox.put(self.socket, sealed)
    }
}

fn seal<D>(
    status: UnbufferedStatus<'_, '_, D>,
    text: Option<&[u8]>,
    room: &mut [u8],
) -> Option<usize> {
    let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state else { return None };
    match text {
        Some(text) => traffic.encrypt(text, room).ok(),
        None => traffic.queue_close_notify(room).ok(),
    }
}

fn encode<D>(status: UnbufferedStatus<'_, '_, D>, room: &mut [u8]) -> Option<usize> {
    let Ok(ConnectionState::EncodeTlsData(mut data)) = status.state else { return None };
    data.encode(room).ok()
}

fn react<D, S: Write>(
    status: UnbufferedStatus<'_, '_, D>,
    desk: &mut Desk<'_, S>,
) -> Result<Reaction, Trouble> {
    let UnbufferedStatus { mut discard, state, .. } = status;
    let mut rest = 0;
    let step = match state.map_err(|error| Trouble::from(&error))? {
        ConnectionState::ReadTraffic(mut traffic) => {
            desk.send()?;
            match traffic.next_record() {
                Some(Ok(next)) => {
                    discard += next.discard;
                    let (count, more) = share(next.payload, desk.into, desk.scratch);
                    rest = more;
                    Some(Step::Text(count))
                }
                Some(Err(error)) => return Err(Trouble::from(&error)),
                None => None,
            }
        }
        ConnectionState::EncodeTlsData(mut data) => {
            let mut done = data.encode(desk.scratch.get_mut(desk.sealed..).unwrap_or_default());
            if let (Err(EncodeError::InsufficientSize(_)), true) = (&done, desk.sealed > 0) {
                desk.send()?;
                done = data.encode(desk.scratch);
            }
            desk.sealed += done.map_err(|_| Trouble::Protocol("its answer is too large"))?;
            None
        }
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            desk.send()?;
            None
        }
        ConnectionState::PeerClosed | ConnectionState::Closed => Some(Step::Ended),
        ConnectionState::WriteTraffic(_) | ConnectionState::BlockedHandshake => Some(Step::Blocked),
        _ => return Err(Trouble::Protocol("it sent data before the handshake")),
    };
    Ok(Reaction { step, discard, rest })
}

/// What rustls has to see before it does anything: the pieces that it keeps.
fn kept<'a>(lease: Option<&Lease>, kept: usize, pool: &'a mut Pool) -> &'a mut [u8] {
    let record = lease.filter(|_| kept > 0).and_then(|lease| pool.record(lease));
    record.and_then(|record| record.wire().get_mut(..kept)).unwrap_or_default()
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
    while let Some(head) = wire.get(whole..).and_then(<[u8]>::first_chunk) {
        let end = whole + HEAD_BYTES + body_bytes(head);
        if end > wire.len() {
            break;
        }
        whole = end;
    }
    whole
}

/// How much comes behind the head of a record.
pub(super) fn body_bytes(head: &[u8; HEAD_BYTES]) -> usize {
    let [_, _, _, high, low] = *head;
    usize::from(u16::from_be_bytes([high, low]))
}
