//! A session on its way into TLS, behind STARTTLS or from its first byte on.
//!
//! Part of [`Session`]. While it awaits TLS nothing is read for it, until the handshake has begun:
//! what comes belongs to that. It begins only against the proof that nothing said in the clear is
//! left to be obeyed (LAW 5, threats 2).

use super::peer::Secured;
use super::session::{Session, Stand, Work};
use crate::base::buffer::Emptiness;
use crate::base::time::Instant;
use crate::config::{Config, ListenerTls};
use crate::queue::Queue;
use crate::smtp::reply::Reply;

impl Session {
    /// Says `reply`, a 421, and closes; without a word where TLS was to begin and has not: whoever
    /// expects it could not read that.
    pub fn turn_away(&mut self, reply: Reply, config: &Config, queue: &mut Queue) {
        self.dismiss(reply, queue);
        let listener = config.listener(self.work.listener);
        if matches!(listener.tls, ListenerTls::Implicit(_)) && self.work.secured.is_none() {
            self.replies.clear();
        }
    }

    /// Says 220, at once or inside TLS; or later, to whoever it is that the peer speaks for.
    pub fn greet(&mut self, config: &Config, now: Instant) {
        if self.stand == Stand::AwaitHeader {
            return;
        }
        let terms = self.work.terms(config);
        self.stand = Stand::Open;
        match config.listener(self.work.listener).tls {
            ListenerTls::Implicit(_) if self.work.secured.is_none() => {
                self.server.await_tls(&terms, now);
                self.stand = Stand::AwaitTls;
            }
            _ => {
                self.server.greet(&terms, &mut self.replies, now);
            }
        }
        self.last_useful = now;
    }

    /// The number of the config's listener that the peer came in by.
    pub fn listener(&self) -> u8 {
        self.work.listener
    }

    /// The proof it takes to begin TLS, when that is due: all that was said before is written, and
    /// nothing has come behind it (LAW 5).
    pub fn begins_tls(&self) -> Option<Emptiness> {
        let is_due = self.stand == Stand::AwaitTls && !self.is_securing && self.replies.is_empty();
        if is_due { self.input.emptiness() } else { None }
    }

    /// The handshake has begun.
    pub fn securing(&mut self) {
        self.is_securing = true;
    }

    /// True while the handshake goes on.
    pub fn is_securing(&self) -> bool {
        self.stand == Stand::AwaitTls && self.is_securing
    }

    /// TLS is on. Whatever the peer said before it means nothing any more (threats 2).
    pub fn secured(&mut self, secured: Secured, config: &Config, now: Instant) {
        debug_assert!(self.is_securing() && self.work.transaction.is_none());
        log::debug!("client={}, tls={} {}", self.work.peer, secured.version, secured.cipher);
        self.work.secured = Some(secured);
        self.work.hello.clear();
        self.work.is_extended = false;
        self.work.login.forget();
        let terms = self.work.terms(config);
        self.server.secured(&terms, &mut self.replies, now);
        self.stand = Stand::Open;
        self.last_useful = now;
    }

    /// The peer speaks in the clear where TLS should have begun: says so, and closes.
    pub fn missed_tls(&mut self) {
        if self.stand == Stand::AwaitTls {
            self.server.missed_tls(&mut self.replies);
            self.stand = Stand::Closing;
        }
    }
}

impl Work {
    /// Says why it was sent away.
    pub(super) fn began_with_tls(&self) {
        log::info!(
            "client={}: it began with TLS, which is not spoken first here; it needs STARTTLS, or a \
             listener with tls = implicit",
            self.peer
        );
    }
}
