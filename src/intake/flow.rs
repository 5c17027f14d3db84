//! The bytes of a session, as the daemon moves them between its buffers and the socket; and what is
//! remembered of whoever sends them.
//!
//! Part of [`Session`].

use super::devices::{Complaint, Devices};
use super::peer::Peer;
use super::session::{Session, Stand};
use crate::base::time::Instant;

/// Reads of fewer bytes of a message than this do not keep a slot from being passed on.
const USEFUL_BYTES: usize = 64;

impl Session {
    /// Room for input; empty when the peer must wait.
    pub fn input_mut(&mut self) -> &mut [u8] {
        match self.stand {
            Stand::AwaitHeader => self.header_mut(),
            _ => self.input.writable(),
        }
    }

    /// True while reading makes sense: there is room, and somebody will look at it.
    pub fn wants_read(&self) -> bool {
        // What comes before the handshake begins is part of it, and not for these buffers.
        let is_due = match self.stand {
            Stand::AwaitTls => self.is_securing,
            Stand::AwaitHeader | Stand::Open | Stand::AwaitCommit => true,
            Stand::AtDoor | Stand::Closing => false,
        };
        is_due && !self.is_deserted && self.input.space() > 0
    }

    /// `count` bytes have been read into [`Session::input_mut`].
    pub fn received(&mut self, count: usize, now: Instant) {
        self.input.produced(count);
        if count >= USEFUL_BYTES && self.server.is_in_data() {
            self.last_useful = now;
        }
    }

    /// The peer has ended its side, or the connection broke. A message that waits for its verdict
    /// has been submitted all the same.
    pub fn deserted(&mut self) {
        if self.is_securing() {
            self.news.complaint = Some(Complaint::Handshake);
        }
        self.is_deserted = true;
    }

    /// What waits to be written.
    pub fn output(&self) -> &[u8] {
        self.replies.readable()
    }

    /// `count` bytes of [`Session::output`] have been written; 0: the peer does not read.
    pub fn sent(&mut self, count: usize, now: Instant) {
        self.replies.consume(count);
        match (self.replies.is_empty(), count) {
            (true, _) => self.stalled_since = None,
            (false, 0) => {
                self.stalled_since.get_or_insert(now);
                self.is_deserted |= self.is_dismissed;
            }
            (false, _) => self.stalled_since = Some(now),
        }
    }

    /// Tells what is new of the peer to those who remember it.
    pub fn tell(&mut self, devices: &mut Devices, now: Instant) {
        let Peer::Tcp(address) = self.work.peer else { return };
        if let Some(reply) = self.server.take_complaint() {
            self.news.complaint = Some(Complaint::Reply(reply));
        }
        let news = core::mem::take(&mut self.news);
        if news.is_any() {
            let hello = news.is_named.then(|| self.work.hello.as_str());
            devices.note(address.ip(), hello, &news, now);
        }
    }
}
