//! When a session is over though its peer does not say so: deadlines, and how it is told.
//!
//! Part of [`Server`]. While the peer waits for us there is no deadline.

use super::chunk::Chunk;
use super::pace::Pace;
use super::reply::Reply;
use super::server::{Event, Server};
use super::state::State;
use crate::base::buffer::Buffer;
use crate::base::time::{Instant, earliest};
use crate::limits::REPLY_BYTES_MAX;

impl Server {
    /// Ends the session from this side with `reply`, a 421 (RFC 5321 §3.8). Not while a verdict on
    /// a message is due: that comes first, and false says so.
    pub fn dismiss(&mut self, reply: Reply, out: &mut Buffer) -> bool {
        match self.state {
            State::AwaitCommit => return false,
            State::AwaitClose => return true,
            _ => (),
        }
        // In a handshake there is no way to say it. And a peer that does not read its replies goes
        // without this one.
        if self.state != State::AwaitTls && out.space() >= REPLY_BYTES_MAX / 2 {
            self.tell(reply, out);
        }
        self.close();
        true
    }

    /// Closes the session with 421 if its deadline has passed.
    pub fn timed_out(&mut self, out: &mut Buffer, now: Instant) -> Event<'static> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Event::Wait;
        }
        let is_slow = self.pace().is_some_and(|pace| pace.rate_deadline() <= now);
        self.dismiss(if is_slow { Reply::TOO_SLOW } else { Reply::TIMED_OUT }, out);
        Event::Close
    }

    /// When to call [`Server::timed_out`]; none while the peer waits for us.
    pub fn deadline(&self) -> Option<Instant> {
        let own = match &self.state {
            State::AwaitTls | State::AwaitHello | State::AwaitMail | State::AwaitResponse => {
                self.command_deadline
            }
            State::AwaitRecipient => {
                let rate = self.pace().map(|pace| pace.rate_deadline());
                self.command_deadline.min(rate.unwrap_or(self.command_deadline))
            }
            State::AwaitDot(_, pace) | State::AwaitChunk(Chunk { pace, .. }) => pace.deadline(),
            _ => return None,
        };
        earliest(Some(own), self.session_deadline)
    }

    /// True between 354 and the final dot, and within a chunk.
    pub const fn is_in_data(&self) -> bool {
        matches!(self.state, State::AwaitDot(..) | State::AwaitChunk(_))
    }

    /// How fast the message comes that is under way, also between its chunks.
    fn pace(&self) -> Option<Pace> {
        match &self.state {
            State::AwaitDot(_, pace) | State::AwaitChunk(Chunk { pace, .. }) => Some(*pace),
            State::AwaitRecipient => {
                let chunks = self.transaction.and_then(|transaction| transaction.chunks);
                chunks.map(|(_, pace)| pace)
            }
            _ => None,
        }
    }
}
