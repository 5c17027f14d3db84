//! Reading while no record buffer is free: whole records, one at a time.
//!
//! Others may hold all buffers with parts of records. Whoever's record has come as a whole is
//! served all the same, by way of one more buffer that nobody may keep: the head of a record is
//! read into the connection, and the rest is taken off the socket only when all of it is there. Who
//! has only a part waits for his turn.

use super::connection::{Connection, Filled, HEAD_BYTES, WIRE_BYTES_MAX, net_error};
use super::pool::{RECORD_BYTES_MAX, Record};
use super::progress::{Step, body_bytes};
use super::trouble::Trouble;
use super::{Tls, Wire};
use crate::daemon::world::Transfer;
use std::io;

/// Of a record's body at least so much is not text, with every cipher that is spoken here.
const TAG_BYTES: usize = 16;
/// Text of a record: RFC 8446 §5.1.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// What reading the head of a record came to.
enum Head {
    Whole,
    Partial,
    End,
    Broken(io::Error),
}

impl Connection {
    pub(super) fn receive_whole_records<S: Wire>(
        &mut self,
        socket: &mut S,
        into: &mut [u8],
        tls: &mut Tls,
    ) -> Result<Filled, Trouble> {
        let mut count = 0;
        let mut budget = WIRE_BYTES_MAX;
        let done = |count, other| {
            Ok(Filled::Transfer(if count > 0 { Transfer::Bytes(count) } else { other }))
        };
        loop {
            let room = into.get_mut(count..).unwrap_or_default();
            if room.is_empty() {
                return done(count, Transfer::NotReady);
            }
            match self.read_head(socket) {
                Head::Whole => {}
                Head::Partial => return done(count, Transfer::NotReady),
                Head::End if count == 0 => return Ok(Filled::End),
                Head::End => return done(count, Transfer::Closed),
                Head::Broken(error) => {
                    return done(count, Transfer::Failed(net_error(&error)));
                }
            }
            let head = self.head;
            self.recognise(&head)?;
            if budget == 0 {
                return Ok(Filled::More(count));
            }
            let body = body_bytes(&head);
            budget = budget.saturating_sub(body);
            // Its text must have room, since it cannot be kept.
            let text = body.saturating_sub(TAG_BYTES).min(TEXT_BYTES_MAX);
            let fits = HEAD_BYTES + body <= RECORD_BYTES_MAX && text <= room.len();
            if !fits && count > 0 {
                return Ok(Filled::More(count));
            }
            if !fits || !take_whole(socket, &head, body, &mut tls.spare) {
                tls.pools.of(self.is_outgoing()).wait(self.token, self.address);
                return done(count, Transfer::NotReady);
            }
            self.head_len = 0;
            tls.pools.forget(self.token);
            let used = self.use_whole(socket, room, &mut tls.spare, &mut tls.scratch);
            tls.spare.wipe();
            match used? {
                Step::Text(more) => count += more,
                Step::Blocked => {}
                Step::Secured => return done(count, Transfer::NotReady),
                Step::Ended => {
                    self.end_side();
                    return done(count, Transfer::Closed);
                }
            }
        }
    }

    fn read_head<S: Wire>(&mut self, socket: &mut S) -> Head {
        loop {
            let room = self.head.get_mut(usize::from(self.head_len)..).unwrap_or_default();
            if room.is_empty() {
                return Head::Whole;
            }
            match socket.read(room) {
                Ok(0) => return Head::End,
                Ok(count) => self.head_len += count as u8,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Head::Partial,
                Err(error) => return Head::Broken(error),
            }
        }
    }

    /// Nothing of the record may be left.
    fn use_whole<S: Wire>(
        &mut self,
        socket: &mut S,
        into: &mut [u8],
        record: &mut Record,
        scratch: &mut [u8],
    ) -> Result<Step, Trouble> {
        let step = self.step(socket, into, record, scratch)?;
        // Text was all there is, but rustls may have to answer: it is asked until it needs more.
        let next = match step {
            Step::Text(_) => self.step(socket, &mut [], record, scratch)?,
            _ => Step::Blocked,
        };
        if record.is_empty() && matches!(next, Step::Blocked) {
            return Ok(step);
        }
        Err(Trouble::Scattered)
    }
}

/// Takes the record off the socket if all of it is there.
fn take_whole<S: Wire>(
    socket: &mut S,
    head: &[u8; HEAD_BYTES],
    body: usize,
    spare: &mut Record,
) -> bool {
    spare.clear();
    if let Some(room) = spare.room().first_chunk_mut() {
        *room = *head;
    }
    spare.produced(HEAD_BYTES);
    let Some(room) = spare.room().get_mut(..body) else { return false };
    // An empty one is no record that TLS 1.2 or 1.3 has, and is left to rustls to refuse.
    let is_whole = body == 0 || socket.peek(room).is_ok_and(|there| there == body);
    if is_whole && body > 0 && socket.read(room).is_ok_and(|count| count != body) {
        return false;
    }
    spare.produced(body);
    is_whole
}
