//! Beginning TLS with a next hop, for the sending machine ([`super::client`]): from the first byte
//! on, or behind STARTTLS.
//!
//! The handshake itself is the owner's. Once it is over nothing counts that was said before it, and
//! EHLO is said anew. Who must have TLS and is not offered it, or is refused, loses the connection;
//! who need not goes on in the clear. More than was asked for, before TLS, is never taken for
//! something that was said inside it: the connection is lost (threats 2).
//!
//! Read first: RFC 3207 §4, §6; RFC 8314 §3.3.

use super::client::{Client, ClientEvent, ClientTerms, Loss, TlsTerms, say};
use super::client_state::State;
use super::peer_offer::PeerOffer;
use super::reply::{RemoteReply, ReplyParser};
use crate::base::buffer::Buffer;
use crate::base::time::Instant;

impl Client {
    pub(super) fn begin_tls(&mut self, now: Instant) {
        self.begins_tls = true;
        self.enter(State::AwaitTls, now);
    }

    /// The handshake that [`ClientEvent::BeginTls`] asked for is over. RFC 3207 §4.2: nothing that
    /// was said before it is known any more. Room in `out` for one command.
    pub fn secured(&mut self, out: &mut Buffer, terms: &ClientTerms<'_>, now: Instant) {
        debug_assert!(self.state == State::AwaitTls && !self.is_secured);
        self.is_secured = true;
        self.offer = PeerOffer::default();
        self.parser = ReplyParser::new();
        if terms.tls == TlsTerms::Implicit {
            return self.enter(State::AwaitGreeting, now);
        }
        say(out, format_args!("EHLO {}\r\n", terms.hostname));
        self.enter(State::AwaitEhlo, now);
    }

    /// True inside TLS.
    pub const fn is_secured(&self) -> bool {
        self.is_secured
    }

    /// True while the handshake is awaited.
    pub fn awaits_tls(&self) -> bool {
        self.state == State::AwaitTls
    }

    /// TLS must be and is not yet.
    pub(super) fn needs_tls(&self, terms: &ClientTerms<'_>) -> bool {
        !self.is_secured && terms.tls == TlsTerms::Starttls
    }

    /// EHLO or HELO is accepted: next comes TLS, the login, or the first mail.
    pub(super) fn greeted(
        &mut self,
        out: &mut Buffer,
        terms: &ClientTerms<'_>,
        now: Instant,
    ) -> ClientEvent {
        let wants_tls = self.needs_tls(terms)
            || (!self.is_secured && terms.tls == TlsTerms::IfOffered && self.offer.starttls);
        if wants_tls && !self.offer.starttls {
            return self.lose(Loss::NoTls(None), now);
        }
        if wants_tls {
            // Somebody answers who was not asked.
            if self.is_ahead {
                return self.lose(Loss::Injected, now);
            }
            say(out, format_args!("STARTTLS\r\n"));
            return self.enter_with(State::AwaitStarttls, ClientEvent::Again, now);
        }
        self.begin_login(terms, now)
    }

    pub(super) fn take_starttls_reply(
        &mut self,
        reply: RemoteReply,
        terms: &ClientTerms<'_>,
        now: Instant,
    ) -> ClientEvent {
        match reply.class() {
            // Threats 2: what stands behind it in the clear anybody may have put there.
            2 if self.is_ahead => self.lose(Loss::Injected, now),
            2 => {
                self.begin_tls(now);
                ClientEvent::Again
            }
            4 | 5 if self.needs_tls(terms) => self.lose(Loss::NoTls(Some(reply)), now),
            // RFC 3207 §4: who does not have to may go on without.
            4 | 5 => self.begin_login(terms, now),
            _ => self.lose(Loss::Garbage, now),
        }
    }
}
