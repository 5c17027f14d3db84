//! What a session is held to and offered, by who the peer is and by what listener it came in, and
//! what Received calls the way that it spoke.

use super::session::Work;
use crate::config::{Config, ListenerTls};
use crate::smtp::offer::Offers;
use crate::smtp::server::Terms;

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
        }
    }

    fn offers(&self, config: &Config) -> Offers {
        let tls = &config.listener(self.listener).tls;
        let is_there = matches!(tls, ListenerTls::Starttls(_));
        let starttls = is_there && self.admission.starttls;
        Offers { starttls, limits: true, chunking: true, ..Offers::BASIC }
    }

    /// What Received calls the protocol: RFC 3848, which has no word for HELO inside TLS.
    pub(super) fn protocol(&self) -> &'static str {
        match (self.is_extended, self.secured) {
            (false, _) => "SMTP",
            (true, None) => "ESMTP",
            (true, Some(_)) => "ESMTPS",
        }
    }
}
