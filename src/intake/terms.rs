//! What a session is held to and offered, by who the peer is and by what listener it came in, and
//! what Received calls the way that it spoke.

use super::admission::Telling;
use super::peer::Source;
use super::session::Work;
use crate::config::{Config, ListenerTls};
use crate::mail::stamp::Protocol;
use crate::smtp::offer::Offers;
use crate::smtp::server::Terms;
use core::fmt::Write as _;

impl Work {
    /// For the server machine.
    pub(super) fn terms<'a>(&self, config: &'a Config) -> Terms<'a> {
        Terms {
            hostname: &config.hostname,
            size_max: self.admission.size_max,
            recipients_max: self.admission.recipients_max,
            command_timeout: config.command_timeout,
            data_timeout: config.data_timeout,
            offers: self.offers(config),
            lenient: self.admission.lenient,
        }
    }

    /// What a next hop may refuse, and what may need a report, is offered to those who get
    /// reports, or may log in and get them then: a stranger would not learn of it (threats 14).
    fn offers(&self, config: &Config) -> Offers {
        let tls = &config.listener(self.listener).tls;
        let is_there = matches!(tls, ListenerTls::Starttls(_));
        let starttls = is_there && self.admission.starttls && !self.is_hearsay;
        let auth = self.auth(config);
        // A chunk is counted, and mending would change its number.
        let chunking = !self.admission.lenient;
        let is_answered = self.granted().relay || auth.is_told();
        let takes_all = is_answered || config.relays.is_empty();
        Offers {
            starttls,
            limits: true,
            chunking,
            binary: chunking && takes_all,
            utf8: takes_all,
            dsn: is_answered,
            auth,
            xclient: self.admission.xclient != Telling::Never,
            ..Offers::BASIC
        }
    }

    /// What Received calls the protocol: RFC 3848, which has no word for HELO inside TLS.
    pub(super) fn protocol(&self, is_utf8: bool) -> &'static str {
        let protocol = Protocol {
            is_extended: self.is_extended,
            is_utf8,
            is_secure: self.secured.is_some(),
            is_authenticated: self.login.name().is_some(),
        };
        protocol.word()
    }
    /// What it calls itself.
    pub(super) fn hello(&mut self, name: &[u8], extended: bool) {
        self.hello.clear();
        let name = core::str::from_utf8(name).unwrap_or("?");
        // A Text cuts what is too long, it never fails.
        let _ = self.hello.write_str(name);
        self.is_extended = extended;
    }

    /// Where its messages are counted, and how many there may be in an hour.
    pub(super) fn rated(&self) -> Option<(Source, u16)> {
        Some((self.peer.source()?, self.admission.rate?))
    }
}
