//! The receiving machine at the border between clear text and TLS.
//!
//! Part of [`Server`]. Nothing of TLS itself: the machine stands still while somebody else shakes
//! hands, and whatever reaches it meanwhile came in the clear and ends the session. Behind the
//! border it knows nothing of what was said before (threats 2): no hello, no mail.
//!
//! Read first: RFC 3207 §4; RFC 8314 §3.

use super::reply::Reply;
use super::server::{Event, Server, Terms};
use super::state::State;
use crate::base::buffer::Buffer;
use crate::base::time::Instant;
use crate::limits::REPLY_BYTES_MAX;

impl Server {
    /// Begins a session that is inside TLS from the first byte on: starts the clocks, and greets
    /// when it is [`Server::secured`]. Instead of [`Server::greet`].
    pub fn await_tls(&mut self, terms: &Terms<'_>, now: Instant) {
        self.start_clocks(terms, now);
        self.enter(State::AwaitTls);
    }

    /// TLS is on. RFC 3207 §4.2: what the peer said before is forgotten.
    pub fn secured(&mut self, terms: &Terms<'_>, out: &mut Buffer, now: Instant) {
        debug_assert!(self.state == State::AwaitTls && self.transaction.is_none());
        self.is_secure = true;
        (self.is_greeted, self.is_plain, self.is_logged_in) = (false, false, false);
        self.command_deadline = now + self.command_timeout;
        if !self.is_welcome {
            self.say_greeting(terms, out);
        }
        self.enter(State::AwaitHello);
    }

    /// The peer does not speak TLS, where it should have begun with it: says so in the clear, and
    /// closes.
    pub fn missed_tls(&mut self, out: &mut Buffer) {
        debug_assert!(self.state == State::AwaitTls);
        self.give_up(Reply::TLS_FIRST, out);
    }

    /// STARTTLS.
    pub(super) fn start_tls(&mut self, out: &mut Buffer) -> Event<'static> {
        if self.is_secure {
            return self.blame(Reply::TLS_ALREADY, out);
        }
        // It stands in the answer to EHLO, which is asked for first.
        if self.state == State::AwaitHello {
            return self.blame(Reply::HELLO_FIRST, out);
        }
        Reply::START_TLS.write(out);
        self.enter(State::AwaitTls);
        Event::StartTls
    }

    /// Something came while the machine stands still for the handshake: it came in the clear.
    pub(super) fn take_injection<'a>(
        &mut self,
        input: &'a [u8],
        out: &mut Buffer,
    ) -> (usize, Event<'a>) {
        if input.is_empty() || out.space() < REPLY_BYTES_MAX {
            return (0, Event::Wait);
        }
        (input.len(), self.give_up(Reply::BEHIND_STARTTLS, out))
    }
}
