//! AUTH in the receiving machine: when it may come, and the lines of an exchange.
//!
//! The machine knows the order and the codes of RFC 4954, nothing of passwords: each response is
//! lent to the owner as it came ([`Auth`]), who has the mechanisms ([`super::sasl::server`]) and
//! says how it goes on: [`Server::challenge`], or [`Server::answer`] with the verdict. 235 is once
//! a session; anything else leaves it as it was.
//!
//! Within an exchange a line is a response, whatever it looks like: `*` cancels, a line that is too
//! long ends the exchange, and in both cases the next line is a command again.
//!
//! Read first: RFC 4954 §4, §6; RFC 3463 with the codes X.7.x.

use super::command::trim_junk;
use super::line::Flaw;
use super::reply::Reply;
use super::sasl::{Encoded, Mechanism, Mechanisms, encode, encoded_len};
use super::server::{Event, Server, Terms};
use super::state::{Question, State};
use crate::base::buffer::Buffer;
use crate::base::time::Instant;
use crate::limits::SASL_CHALLENGE_BYTES_MAX;

/// Whether and how a peer may log in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AuthOffer {
    /// By these; by none: AUTH is an unknown word.
    pub mechanisms: Mechanisms,
    /// Not before TLS: neither told nor taken.
    pub needs_tls: bool,
    /// Whoever has not logged in sends nothing.
    pub is_required: bool,
    /// Not just now: what belongs to a login is left in the input, where the next step finds it.
    pub is_held: bool,
}

impl AuthOffer {
    /// Nobody logs in.
    pub const NONE: AuthOffer = AuthOffer {
        mechanisms: Mechanisms::NONE,
        needs_tls: false,
        is_required: false,
        is_held: false,
    };

    /// True when EHLO tells of it.
    pub const fn is_told(&self) -> bool {
        !self.mechanisms.is_empty() && !self.needs_tls
    }
}

/// What stands for an initial response that is there and empty (RFC 4954 §4).
const EQUALS: Encoded<'static> = Encoded(b"=");

/// What a peer says to log in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Auth<'a> {
    /// It begins.
    Begin {
        /// How.
        mechanism: Mechanism,
        /// What came along; `=` has become the empty response that it stands for.
        initial: Option<Encoded<'a>>,
    },
    /// Its answer to the last challenge.
    Response(Encoded<'a>),
}

impl Server {
    /// The command. RFC 4954 §4.
    pub(super) fn auth<'a>(
        &mut self,
        name: &[u8],
        initial: Option<Encoded<'a>>,
        out: &mut Buffer,
        terms: &Terms<'_>,
    ) -> Event<'a> {
        let offer = &terms.offers.auth;
        if self.state == State::AwaitHello {
            return self.blame(Reply::HELLO_FIRST, out);
        }
        if self.is_logged_in {
            return self.blame(Reply::LOGGED_IN_ALREADY, out);
        }
        if self.transaction.is_some() {
            return self.blame(Reply::LOGIN_WITHIN_MAIL, out);
        }
        if offer.needs_tls {
            return self.blame(Reply::LOGIN_NEEDS_TLS, out);
        }
        match Mechanism::parse(name).filter(|mechanism| offer.mechanisms.has(*mechanism)) {
            None => self.blame(Reply::UNKNOWN_MECHANISM, out),
            Some(mechanism) => {
                let initial = initial.map(|text| if text == EQUALS { Encoded(b"") } else { text });
                self.enter(State::AwaitAnswer(Question::Auth));
                Event::Auth(Auth::Begin { mechanism, initial })
            }
        }
    }

    /// A line within an exchange.
    pub(super) fn take_response<'a>(
        &mut self,
        text: &'a [u8],
        out: &mut Buffer,
        now: Instant,
    ) -> Event<'a> {
        self.command_deadline = now + self.command_timeout;
        // RFC 5321 §4.1.1: white space at the end SHOULD be tolerated.
        let text = text.trim_ascii_end();
        if text == b"*" {
            self.enter(State::AwaitMail);
            return self.blame(Reply::LOGIN_CANCELLED, out);
        }
        self.enter(State::AwaitAnswer(Question::Auth));
        Event::Auth(Auth::Response(Encoded(text)))
    }

    /// Goes on with an exchange: `raw` is to be answered. Instead of [`Server::answer`].
    pub fn challenge(&mut self, raw: &[u8], out: &mut Buffer, now: Instant) {
        debug_assert!(self.state == State::AwaitAnswer(Question::Auth), "nobody logs in");
        let mut room = [0; encoded_len(SASL_CHALLENGE_BYTES_MAX)];
        let text = encode(raw, &mut room);
        debug_assert!(text.is_some(), "the challenge is too long");
        super::server::say(out, format_args!("334 {}\r\n", text.unwrap_or_default()));
        self.command_deadline = now + self.command_timeout;
        self.enter(State::AwaitResponse);
    }

    /// True when a line that belongs to a login is not to be taken yet.
    pub(super) fn holds(&self, line: &[u8], terms: &Terms<'_>) -> bool {
        let offer = &terms.offers.auth;
        let may_log_in = offer.is_held && !offer.mechanisms.is_empty();
        may_log_in && (self.state == State::AwaitResponse || is_auth(line))
    }

    /// What is answered to a flawed line at the front of `input`. An exchange is over with it.
    pub(super) fn flaw_reply(&mut self, flaw: Flaw, input: &[u8], terms: &Terms<'_>) -> Reply {
        let is_response = self.state == State::AwaitResponse;
        if is_response {
            self.enter(State::AwaitMail);
        }
        let is_login = is_response || (terms.offers.auth.is_told() && is_auth(input));
        match flaw {
            // RFC 4954 §4.
            Flaw::TooLong if is_login => Reply::LOGIN_TOO_LONG,
            flaw => flaw.reply(),
        }
    }
}

fn is_auth(line: &[u8]) -> bool {
    // As a lenient range reads it; in another one it is no command, and loses nothing by waiting.
    let line = trim_junk(line);
    let (verb, rest) = line.split_at_checked(4).unwrap_or((line, &[]));
    verb.eq_ignore_ascii_case(b"AUTH") && matches!(rest, [b' ' | b'\t', ..])
}
