//! Logging in, as far as it concerns one session: steps the mechanisms, and says how the machine
//! goes on.
//!
//! A wrong password costs: from the third failure on, of the session or of its address, the answer
//! is held back by a deadline of the session, and the [`LOGIN_FAILURES_MAX`]th ends it with 421. An
//! address with too many failures gets 421 at once ([`super::throttle`]). A log line tells of each
//! failure; it names a user only if there is one of that name, for what stands in the name's place
//! by mistake may be a password.
//!
//! Not here: who there is ([`super::users`]), what it allows (`admission`, `session`).

use super::peer::Peer;
use super::throttle::Throttle;
use super::users::{Keys, Users};
use crate::base::buffer::{Buffer, Text};
use crate::base::time::Instant;
use crate::limits::{LOGIN_FAILURES_MAX, LOGIN_NAME_BYTES_MAX};
use crate::smtp::login::Auth;
use crate::smtp::parameter::Xtext;
use crate::smtp::reply::Reply;
use crate::smtp::sasl::server::{Books, Challenge, Exchange, Progress};
use crate::smtp::sasl::{Encoded, Mechanism, Response};
use crate::smtp::server::Server;
use core::fmt::Write as _;

/// Of one session.
pub struct Login {
    exchange: Exchange,
    mechanism: Mechanism,
    /// Who has logged in; empty: nobody.
    name: Text<LOGIN_NAME_BYTES_MAX>,
    failures: u32,
    held: Option<(Instant, Reply)>,
}

/// How the machine goes on.
enum Answer {
    Challenge,
    /// 235 is the only good one.
    Reply(Reply),
    /// Not before [`Login::due`] gives the answer.
    Later,
}

/// What a step needs of its surroundings.
pub struct Scope<'a> {
    /// Who may log in; none: that cannot be known now.
    pub keys: Option<Keys<'a>>,
    /// Failures of all addresses.
    pub throttle: &'a mut Throttle,
    /// Whose session it is.
    pub peer: Peer,
    /// When.
    pub now: Instant,
}

impl Login {
    /// The memory for it.
    pub fn new() -> Login {
        Login {
            exchange: Exchange::new(),
            mechanism: Mechanism::Plain,
            name: Text::new(),
            failures: 0,
            held: None,
        }
    }

    /// Another session begins.
    pub fn clear(&mut self) {
        self.forget();
        self.failures = 0;
        self.held = None;
    }

    /// This session begins anew, inside TLS: nobody has logged in. What failed stays counted.
    pub fn forget(&mut self) {
        self.exchange.clear();
        self.name.wipe();
    }

    /// Somebody who is believed says that this user has logged in there. True if there is one of
    /// that name.
    pub fn assume(&mut self, name: Xtext<'_>, users: &Users) -> bool {
        let mut text = Text::<{ LOGIN_NAME_BYTES_MAX + 1 }>::new();
        // A Text cuts what is too long, it never fails; no user has a name of that length.
        let _ = write!(text, "{name}");
        let is_known = users.has(text.as_str());
        if is_known {
            self.name = Text::from(text.as_str());
        }
        is_known
    }

    /// Who has logged in.
    pub fn name(&self) -> Option<&str> {
        (!self.name.is_empty()).then(|| self.name.as_str())
    }

    /// When an answer is due that was held back.
    pub fn deadline(&self) -> Option<Instant> {
        self.held.map(|(until, _)| until)
    }

    /// That answer, once.
    pub fn due(&mut self, now: Instant) -> Option<Reply> {
        self.held.take_if(|(until, _)| now >= *until).map(|(_, reply)| reply)
    }

    /// Takes what the peer has said, and answers the machine, or will ([`Login::due`]).
    pub fn step(
        &mut self,
        auth: Auth<'_>,
        scope: &mut Scope<'_>,
        server: &mut Server,
        out: &mut Buffer,
    ) {
        let mut challenge = Challenge::new();
        match self.judge(auth, scope, &mut challenge) {
            Answer::Challenge => server.challenge(challenge.as_str().as_bytes(), out, scope.now),
            Answer::Reply(reply) => server.answer(reply, out, scope.now),
            Answer::Later => (),
        }
    }

    fn judge(
        &mut self,
        auth: Auth<'_>,
        scope: &mut Scope<'_>,
        challenge: &mut Challenge,
    ) -> Answer {
        let refuses = |source| scope.throttle.refuses(source, scope.now);
        if matches!(auth, Auth::Begin { .. }) && scope.peer.source().is_some_and(refuses) {
            log::warn!("login refused: client={}, too many failures", scope.peer);
            return Answer::Reply(Reply::TOO_MANY_LOGINS);
        }
        let Some(keys) = scope.keys else { return Answer::Reply(Reply::LOGIN_UNAVAILABLE) };
        let books = Books { accounts: keys.users, crypto: keys.crypto };
        let mut response = Response::new();
        let is_good = |text: Encoded<'_>, into: &mut Response| text.decode(into).is_ok();
        let progress = match auth {
            Auth::Begin { mechanism, initial } => {
                self.mechanism = mechanism;
                if !initial.is_none_or(|text| is_good(text, &mut response)) {
                    return Answer::Reply(Reply::NOT_BASE64);
                }
                let initial = initial.map(|_| response.expose());
                self.exchange.begin(mechanism, initial, books, challenge)
            }
            Auth::Response(text) if is_good(text, &mut response) => {
                self.exchange.respond(response.expose(), books, challenge)
            }
            Auth::Response(_) => return Answer::Reply(Reply::NOT_BASE64),
        };
        // SCRAM costs nothing worth counting, nor does a question.
        if self.mechanism != Mechanism::ScramSha256 && progress != Progress::Challenge {
            scope.throttle.spend();
        }
        match progress {
            Progress::Challenge => Answer::Challenge,
            Progress::Unasked => Answer::Reply(Reply::NO_INITIAL_RESPONSE),
            Progress::Accepted => {
                self.name = Text::from(self.exchange.name());
                self.exchange.clear();
                Answer::Reply(Reply::LOGGED_IN)
            }
            Progress::Refused => self.fail(scope),
        }
    }

    fn fail(&mut self, scope: &mut Scope<'_>) -> Answer {
        self.failures = self.failures.saturating_add(1);
        let mut failures = self.failures;
        if let Some(source) = scope.peer.source() {
            scope.throttle.count(source, scope.now);
            failures = failures.max(scope.throttle.failures(source, scope.now));
        }
        let name = if self.exchange.is_known() { self.exchange.name() } else { "?" };
        log::warn!(
            "login failed: client={}, user={name}, by={}, failures={failures}",
            scope.peer,
            self.mechanism.name()
        );
        self.exchange.clear();
        let is_last = self.failures >= LOGIN_FAILURES_MAX;
        let reply = if is_last { Reply::TOO_MANY_LOGINS } else { Reply::LOGIN_FAILED };
        let delay = Throttle::delay(failures);
        if delay.is_zero() {
            return Answer::Reply(reply);
        }
        self.held = Some((scope.now + delay, reply));
        Answer::Later
    }
}

impl Default for Login {
    fn default() -> Self {
        Self::new()
    }
}
