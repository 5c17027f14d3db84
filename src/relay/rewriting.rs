//! Who is who on the way out, by the present config: `origin`, `from`, `to`, the aliases and
//! `[rewrite]`, for the envelope and for the header alike.
//!
//! A recipient becomes whom his alias leads to, then what `[rewrite]` says, then `to`
//! ([`super::route::stead`]); To and Cc name the same mailbox, so that nobody upstream sees a name
//! that means something on this machine only. An alias that leads to several leaves the name there.
//! A sender becomes what `[rewrite]` says, and on the way to another server `from`. Whatever is
//! still without a domain gets `origin`.
//!
//! The header of a stranger's mail is somebody else's, and signed perhaps: it stays as it is, but
//! for From and Sender where the next server takes only one. Into a Maildir mail goes as from who
//! wrote it.

use super::additions::traits;
use super::route::{By, Destination, Qualified, Stead, stead};
use crate::base::buffer::Text;
use crate::config::Config;
use crate::mail::address::Address;
use crate::mail::aliases::Addressee;
use crate::mail::edit::Plan;
use crate::mail::header::Traits;
use crate::mail::rewrite::{Change, Mailbox, Role, Rules};
use crate::queue::block::Header;

/// See the module's head.
pub(super) struct Rewriting<'a> {
    config: &'a Config,
    /// The next hop takes the mail of `from` only.
    claim: Option<Address<'a>>,
}

impl<'a> Rewriting<'a> {
    /// Towards `destination`.
    pub(super) fn new(config: &'a Config, destination: &Destination) -> Rewriting<'a> {
        let from = config.from.as_deref().filter(|_| destination.is_remote());
        let claim = from.and_then(|from| Address::parse(from.as_bytes()).ok());
        Rewriting { config, claim }
    }

    /// What is done to the message of `header`.
    pub(super) fn plan(&self, header: &Header) -> Plan {
        let traits = traits(header);
        Plan {
            remove_bcc: header.flags & Header::SUBMITTED != 0 && traits.has(Traits::HAS_BCC),
            separate: traits.has(Traits::NO_HEADER),
            rewrite: header.flags & Header::STRANGER == 0,
            claim: self.claim.is_some(),
            has_reply_to: traits.has(Traits::HAS_REPLY_TO),
        }
    }

    /// `sender`, as the envelope names him; none: he cannot be named.
    pub(super) fn sender(&self, sender: Address<'_>) -> Option<Qualified> {
        let mapped = self.config.rewritten(sender);
        let mapped = mapped.as_ref().and_then(|mailbox| Address::parse_utf8(bytes(mailbox)).ok());
        let sender = self.claim.or(mapped).unwrap_or(sender);
        Some(Qualified::new(sender, &self.config.origin))
    }
}

impl Rules for Rewriting<'_> {
    fn change(&self, role: Role, address: Address<'_>) -> Change {
        let config = self.config;
        let (mailbox, by) = match role {
            Role::Sender => {
                (config.rewritten(address).unwrap_or(Text::from(address.as_str())), By::Himself)
            }
            Role::Recipient => match stead(config, Addressee::new(address)) {
                Stead::One { mailbox, by } => (mailbox, by),
                Stead::Several(_) | Stead::Unknown(_) => {
                    (Text::from(address.as_str()), By::Himself)
                }
            },
        };
        let qualified = Address::parse_utf8(bytes(&mailbox)).ok();
        let qualified = qualified.map(|address| Qualified::new(address, &config.origin));
        let qualified = qualified.as_ref().and_then(Qualified::address);
        match (qualified, by) {
            (None, _) => Change::Stays,
            (Some(to), By::To) => Change::Merges(Text::from(to.as_str())),
            (Some(to), _) if to.as_str() == address.as_str() => Change::Stays,
            (Some(to), _) => Change::Becomes(Text::from(to.as_str())),
        }
    }

    fn claim(&self) -> Option<Address<'_>> {
        self.claim
    }

    fn origin<'b>(&'b self, address: Option<Address<'b>>) -> (&'b str, bool) {
        let elsewhere = address.filter(|address| !self.config.is_local(*address));
        match elsewhere.and_then(|address| address.domain()) {
            Some(domain) => (domain, true),
            None => (&self.config.hostname, false),
        }
    }
}

fn bytes(mailbox: &Mailbox) -> &[u8] {
    mailbox.as_str().as_bytes()
}
