//! What logging in has to do with the rest of a session: whether it is offered, and what it allows.
//!
//! Whoever has logged in may send to anyone, as the senders that the users file leaves him, for as
//! long as he is in that file: both are looked up again for each mail. Not here: how a login goes
//! ([`super::login`]).

use super::admission::Admission;
use super::login::Scope;
use super::peer::Peer;
use super::session::{Context, Session, Work};
use super::users::Vault;
use super::visitors::Visitors;
use crate::base::buffer::Buffer;
use crate::config::Config;
use crate::mail::address::ReversePath;
use crate::smtp::login::{Auth, AuthOffer};
use crate::smtp::reply::Reply;
use crate::smtp::sasl::Mechanisms;
use crate::smtp::sasl::server::OFFERED;
use crate::smtp::server::Server;
use core::fmt;

impl Session {
    /// Lets the tenant log in, by one of these.
    pub fn offer_login(&mut self, mechanisms: Mechanisms) {
        self.work.mechanisms = mechanisms;
    }
}

/// How users of the config's `listener` may log in there; where they cannot be known now, they will
/// be told so when they do.
pub fn mechanisms<V: Vault>(config: &Config, listener: u8, vault: &mut V) -> Mechanisms {
    let Some(terms) = &config.listener(listener).auth else { return Mechanisms::NONE };
    vault.users(&terms.users).map_or(OFFERED, |keys| keys.users.mechanisms())
}

impl Work {
    /// Whether the peer may log in now, and must.
    pub(super) fn auth(&self, config: &Config) -> AuthOffer {
        let terms = config.listener(self.listener).auth.as_ref();
        let is_over_network = matches!(self.peer, Peer::Tcp(_));
        AuthOffer {
            mechanisms: self.mechanisms,
            needs_tls: self.secured.is_none() && !self.admission.clear_auth,
            is_required: is_over_network && terms.is_some_and(|terms| terms.is_required),
            is_held: false,
        }
    }

    /// Takes a step of a login.
    pub(super) fn log_in<D: Vault>(
        &mut self,
        auth: Auth<'_>,
        server: &mut Server,
        replies: &mut Buffer,
        context: &mut Context<'_, D>,
    ) {
        let Context { config, disk, visitors, now, .. } = context;
        let terms = config.listener(self.listener).auth.as_ref();
        let keys = terms.and_then(|terms| disk.users(&terms.users));
        let (throttle, peer, now) = (&mut visitors.throttle, self.peer, now.instant);
        let mut scope = Scope { keys, throttle, peer, now };
        self.login.step(auth, &mut scope, server, replies);
    }

    /// Stops before the next step: if a login cannot go on in this turn, it shall in the next.
    pub(super) fn wait(&self, input: &Buffer, visitors: &mut Visitors) {
        if !self.mechanisms.is_empty() && !input.is_empty() && visitors.throttle.is_spent() {
            visitors.throttle.wait();
        }
    }

    /// What the peer may do by its address, and to whom it may send having logged in.
    pub(super) fn granted(&self) -> Admission {
        let relay = self.admission.relay || self.login.name().is_some();
        Admission { relay, ..self.admission }
    }

    /// Whether whoever has logged in is still a user, and may write as `path`; the reply if not.
    pub(super) fn check_sender<D: Vault>(
        &self,
        path: ReversePath<'_>,
        context: &mut Context<'_, D>,
    ) -> Result<(), Reply> {
        let Some(name) = self.login.name() else { return Ok(()) };
        let Context { config, disk, .. } = context;
        let terms = config.listener(self.listener).auth.as_ref();
        let keys = terms.and_then(|terms| disk.users(&terms.users));
        // Whether there still is such a user cannot be known now.
        let Some(keys) = keys else { return Err(Reply::LOGIN_UNAVAILABLE) };
        match keys.users.may_send(name, path, config) {
            Some(true) => Ok(()),
            Some(false) => Err(Reply::NOT_YOUR_SENDER),
            None => Err(Reply::LOGIN_FIRST),
        }
    }
    /// How the peer is known, for the log line of a mail.
    pub(super) fn manner(&self) -> Manner<'_> {
        Manner { login: self.login.name(), tls: self.secured.map(|secured| secured.version) }
    }
}

/// See [`Work::manner`].
pub(super) struct Manner<'a> {
    login: Option<&'a str>,
    tls: Option<&'static str>,
}

impl fmt::Display for Manner<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = self.login {
            write!(out, " login={name}")?;
        }
        match self.tls {
            Some(version) => write!(out, ", tls={version}"),
            None => Ok(()),
        }
    }
}
