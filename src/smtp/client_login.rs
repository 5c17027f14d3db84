//! Logging in at a next hop, step by step, for the sending machine ([`super::client`]): what an
//! exchange ([`super::sasl::client`]) says becomes AUTH and base64, and what is answered becomes
//! challenges.
//!
//! A response goes with AUTH where the line stays within what every server must take, and else
//! behind an empty challenge (RFC 4954 §4). A challenge that cannot be answered (of several lines,
//! no base64, none that makes sense) is answered with `*`, and the login has failed whatever comes
//! then. So it has when 235 comes from somebody who has not shown that he knows the password, where
//! the mechanism would have him show it.
//!
//! Not here: which password, whether this connection is one to log in over, what a failure means
//! for the mail (decisions 6). The key is lent for the length of a call, and what is made of it on
//! the stack is wiped; the owner wipes the buffer that it was written into, once it has gone out.
//!
//! Read first: RFC 4954 §4, §6; RFC 7628 §3.2.

use super::client::{Client, ClientEvent, ClientTerms, LoginLoss, LoginTerms, Loss};
use super::client_state::State;
use super::peer_offer::PeerOffer;
use super::reply::RemoteReply;
use super::sasl::client::{ClientError, Exchange, Login, SecretKind, choose, status_of};
use super::sasl::{Crypto, Encoded, Mechanism, encode, encoded_len};
use crate::base::buffer::{Buffer, Text};
use crate::base::secret::Secret;
use crate::base::time::Instant;
use crate::limits::{REMOTE_LINE_BYTES_MAX, SASL_MESSAGE_BYTES_MAX};

/// A command line with its CRLF that every server takes (RFC 5321 §4.5.3.1.4).
const LINE_BYTES_MAX: usize = 512;

/// One login.
pub(super) struct Steps {
    mechanism: Mechanism,
    /// None until its first message was sent.
    exchange: Option<Exchange>,
    /// AUTH was sent.
    is_begun: bool,
    challenge: Secret<{ REMOTE_LINE_BYTES_MAX / 4 * 3 }>,
    /// Lines of the reply so far.
    lines: u8,
    /// They are one challenge.
    is_challenge: bool,
    /// Why nothing good can come of it any more.
    failure: Option<ClientError>,
    /// Why a token was refused.
    token_status: Text<40>,
}

impl Steps {
    /// Of a connection over which nobody has logged in.
    pub(super) fn new() -> Steps {
        Steps::by(Mechanism::Plain)
    }

    fn by(mechanism: Mechanism) -> Steps {
        Steps {
            mechanism,
            exchange: None,
            is_begun: false,
            challenge: Secret::new(),
            lines: 0,
            is_challenge: false,
            failure: None,
            token_status: Text::new(),
        }
    }

    /// By the best mechanism that both sides have, if there is one.
    pub(super) fn choose(offer: &PeerOffer, is_token: bool) -> Option<Steps> {
        let kind = if is_token { SecretKind::Token(b"") } else { SecretKind::Password(b"") };
        choose(offer.mechanisms, kind).map(Steps::by)
    }

    pub(super) fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// A line of a reply, behind its code.
    pub(super) fn hear(&mut self, text: &[u8]) {
        // RFC 4954 §4 knows challenges of one line only.
        let is_first = self.lines == 0;
        self.is_challenge = is_first && Encoded(text).decode(&mut self.challenge).is_ok();
        self.lines = self.lines.saturating_add(1);
    }

    /// The reply is whole; the next one begins.
    pub(super) fn heard(&mut self) {
        self.lines = 0;
    }

    /// Writes what is to be said next. False: nothing was written, since AUTH itself cannot be
    /// said. When the answer must be `*` it is that.
    pub(super) fn speak(
        &mut self,
        out: &mut Buffer,
        login: &Login<'_>,
        crypto: &dyn Crypto,
    ) -> bool {
        let said = match (self.is_begun, self.is_challenge) {
            (false, _) => self.begin(out, login, crypto),
            (true, true) => self.answer(out, login, crypto),
            (true, false) => Err(ClientError::Challenge),
        };
        self.challenge.wipe();
        if let Err(error) = said {
            self.failure = Some(error);
            if self.is_begun {
                // RFC 4954 §4: that gives the login up. There is room: a line needs more.
                let _ = out.push(b"*\r\n");
            }
        }
        said.is_ok() || self.is_begun
    }

    fn begin(
        &mut self,
        out: &mut Buffer,
        login: &Login<'_>,
        crypto: &dyn Crypto,
    ) -> Result<(), ClientError> {
        let mut message = Secret::<SASL_MESSAGE_BYTES_MAX>::new();
        let mut exchange = Exchange::new(self.mechanism, crypto);
        let name = self.mechanism.name();
        let has_response = exchange.initial(login, &mut message)?;
        let bytes = "AUTH  \r\n".len() + name.len() + encoded_len(message.expose().len());
        out.push(b"AUTH ")?;
        out.push(name.as_bytes())?;
        if !has_response {
            out.push(b"\r\n")?;
            self.exchange = Some(exchange);
        } else if bytes > LINE_BYTES_MAX {
            // It is made anew when it is asked for.
            out.push(b"\r\n")?;
        } else {
            out.push(b" ")?;
            push_line(out, message.expose())?;
            self.exchange = Some(exchange);
        }
        self.is_begun = true;
        Ok(())
    }

    fn answer(
        &mut self,
        out: &mut Buffer,
        login: &Login<'_>,
        crypto: &dyn Crypto,
    ) -> Result<(), ClientError> {
        let mut message = Secret::<SASL_MESSAGE_BYTES_MAX>::new();
        match &mut self.exchange {
            Some(exchange) => {
                if matches!(login.secret, SecretKind::Token(_)) {
                    let status = status_of(self.challenge.expose());
                    self.token_status = status.unwrap_or_default().into();
                }
                exchange.respond(self.challenge.expose(), login, crypto, &mut message)?;
            }
            // The server asks for what did not fit behind AUTH.
            none => {
                let mut exchange = Exchange::new(self.mechanism, crypto);
                exchange.initial(login, &mut message)?;
                *none = Some(exchange);
            }
        }
        push_line(out, message.expose())
    }

    /// True after `*`.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// 235 has come: may mail be sent now?
    pub(super) fn succeed(&self) -> Result<(), ClientError> {
        self.exchange.as_ref().map_or(Err(ClientError::Challenge), Exchange::is_proven)
    }

    /// The login has come to nothing: by a reply, or here.
    pub(super) fn loss(&self, reply: Option<RemoteReply>) -> LoginLoss {
        match (self.failure, reply) {
            (Some(error), _) => LoginLoss::Failed(self.mechanism, error),
            (None, Some(reply)) => LoginLoss::Refused(self.mechanism, reply, self.token_status),
            (None, None) => LoginLoss::Failed(self.mechanism, ClientError::Challenge),
        }
    }
}

impl Client {
    /// Next comes the login, or the first mail.
    pub(super) fn begin_login(&mut self, terms: &ClientTerms<'_>, now: Instant) -> ClientEvent {
        let is_token = match terms.login {
            LoginTerms::None => {
                return self.enter_with(State::AwaitMail, ClientEvent::Greeted, now);
            }
            LoginTerms::Exposed => return self.lose(Loss::Login(LoginLoss::Exposed), now),
            // Somebody answers who was not asked.
            _ if self.is_ahead => return self.lose(Loss::Garbage, now),
            LoginTerms::Password => false,
            LoginTerms::Token => true,
        };
        match Steps::choose(&self.offer, is_token) {
            Some(steps) => {
                self.login = steps;
                self.enter_with(State::AwaitKey, ClientEvent::Again, now)
            }
            None => self.lose(Loss::Login(LoginLoss::NoMechanism(self.offer.auth)), now),
        }
    }

    /// The answer to AUTH, or to a response.
    pub(super) fn take_login_reply(&mut self, reply: RemoteReply, now: Instant) -> ClientEvent {
        self.login.heard();
        match reply.code {
            235 if !self.login.has_failed() => match self.login.succeed() {
                Ok(()) => {
                    self.is_logged_in = true;
                    self.enter_with(State::AwaitMail, ClientEvent::Greeted, now)
                }
                Err(error) => {
                    let loss = LoginLoss::Failed(self.login.mechanism(), error);
                    self.lose(Loss::Login(loss), now)
                }
            },
            334 if !self.login.has_failed() => {
                self.enter_with(State::AwaitKey, ClientEvent::Again, now)
            }
            400..=599 => self.lose(Loss::Login(self.login.loss(Some(reply))), now),
            // After `*` there is nothing that could make it good again.
            _ if self.login.has_failed() => self.lose(Loss::Login(self.login.loss(None)), now),
            _ => self.lose(Loss::Garbage, now),
        }
    }
}

/// All of `raw` in base64 with its CRLF, or nothing.
fn push_line(out: &mut Buffer, raw: &[u8]) -> Result<(), ClientError> {
    if encoded_len(raw.len()) + 2 > out.space() {
        return Err(ClientError::TooLong);
    }
    let written = encode(raw, out.writable()).map(str::len).ok_or(ClientError::TooLong)?;
    out.produced(written);
    out.push(b"\r\n")?;
    Ok(())
}
