//! What matters of what a next hop offers: who has to keep the sender's wishes, it or mote. And the
//! words of mote's own refusals, when a next hop cannot have a mail at all.

use crate::base::buffer::Text;
use crate::smtp::peer_offer::PeerOffer;
use crate::smtp::reply::{RemoteReply, Status};

/// See the module's head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop {
    /// It takes international addresses.
    pub(super) utf8: bool,
    /// Reports of success are its business.
    pub(super) dsn: bool,
    /// It knows how to deliver by a time.
    pub(super) deliver_by: bool,
}

impl Hop {
    /// A mailbox takes everything, and reports nothing.
    pub(super) const MAILBOX: Hop = Hop { utf8: true, dsn: false, deliver_by: true };

    /// A server that offers this.
    pub(super) const fn of(offer: &PeerOffer) -> Hop {
        Hop { utf8: offer.utf8, dsn: offer.dsn, deliver_by: offer.deliver_by.is_some() }
    }
}

/// A refusal of our own: 554 5.x.x.
pub(super) fn own_reply((subject, detail): (u16, u16), text: &str) -> RemoteReply {
    let status = Some(Status { class: 5, subject, detail });
    RemoteReply { code: 554, status, text: Text::from(text) }
}
