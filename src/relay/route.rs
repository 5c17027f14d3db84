//! Which lane a recipient needs, decided anew at each attempt from the present config, never
//! stored.
//!
//! A lane is a destination: a relay, a domain with mail hosts of its own, a Maildir, or nowhere.
//! There are at most [`LANES_MAX`] of them, numbered, so that a set of lanes is a 32-bit word; bit
//! [`HOLD`] stands for mail that is to stay. A lane keeps its number across reloads as long as its
//! destination is in the config or somebody is still sending to it. Domains come and go with their
//! mail (`domains`).
//!
//! Before the route comes who gets the mail at all ([`stead`]): an alias that leads to one address,
//! `[rewrite]` and the key `to` act here, at each attempt; an alias that leads to several acts when
//! the mail comes in (`intake`), or by `expand` if it was written later.

use crate::base::buffer::Text;
use crate::config::{Config, Relay, Via};
use crate::dns::message::HostName;
use crate::mail::address::Address;
use crate::mail::aliases::{Addressee, Found};
use crate::mail::rewrite::Mailbox;
use core::fmt::Write as _;

/// Destinations that one config may name.
pub const LANES_MAX: usize = 31;
/// The bit of recipients whose mail is to stay in the queue.
pub const HOLD: u32 = 1 << 31;

/// Where a lane leads.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(clippy::large_enum_variant, reason = "one a lane, and nothing is allocated for a domain")]
pub enum Destination {
    /// A next hop by SMTP.
    Relay {
        /// What the config calls it.
        name: String,
        /// Name or address.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// The mail hosts of a domain, in lower case or an address literal.
    Domain(HostName),
    /// A Maildir.
    Maildir(String),
    /// Nowhere.
    Discard,
}

impl Destination {
    /// What the log calls it.
    pub fn name(&self) -> &str {
        match self {
            Destination::Relay { name, .. } => name,
            Destination::Domain(domain) => domain.as_str(),
            Destination::Maildir(path) => path,
            Destination::Discard => "discard",
        }
    }

    /// True for next hops by SMTP.
    pub fn is_remote(&self) -> bool {
        matches!(self, Destination::Relay { .. } | Destination::Domain(_))
    }
}

/// The destination that a route has for everyone; none: the mail is to stay, or each domain has its
/// own.
pub fn destination(config: &Config, via: &Via) -> Option<Destination> {
    match via {
        Via::Relay(number) => config.relays.get(usize::from(*number)).map(|relay| {
            let (name, host) = (relay.name.clone(), relay.host.clone());
            Destination::Relay { name, host, port: relay.port }
        }),
        Via::Maildir(path) => Some(Destination::Maildir(path.clone())),
        // What comes in no more may still be there, and is not lost (decisions 3).
        Via::Mx | Via::Hold | Via::Reject => None,
        Via::Discard => Some(Destination::Discard),
    }
}

/// The domain whose mail hosts get `recipient`'s mail; none: no route leads there.
pub fn direct_domain(config: &Config, recipient: Addressee<'_>) -> Option<HostName> {
    let Stead::One { mailbox, .. } = stead(config, recipient) else { return None };
    let recipient = Address::parse_utf8(mailbox.as_str().as_bytes()).ok()?;
    // Nobody else serves this machine's own users.
    if *config.route(recipient) != Via::Mx || config.is_local(recipient) {
        return None;
    }
    let mut domain = HostName::new();
    for character in recipient.domain()?.chars() {
        // A Text cuts what is too long; a domain fits.
        let _ = domain.write_char(character.to_ascii_lowercase());
    }
    Some(domain)
}

/// True if `recipient`'s mail goes to `destination`, without making anything.
pub fn goes_to(config: &Config, recipient: Addressee<'_>, destination: &Destination) -> bool {
    if let Destination::Domain(domain) = destination {
        return direct_domain(config, recipient).is_some_and(|direct| direct == *domain);
    }
    leads_to(config, via(config, recipient), destination)
}

/// True if `via` leads everyone to `destination`.
pub fn leads_to(config: &Config, via: &Via, destination: &Destination) -> bool {
    match (via, destination) {
        (Via::Relay(number), Destination::Relay { name, host, port }) => {
            let relay = config.relays.get(usize::from(*number));
            relay.is_some_and(|r| r.name == *name && r.host == *host && r.port == *port)
        }
        (Via::Maildir(path), Destination::Maildir(other)) => path == other,
        (Via::Discard, Destination::Discard) => true,
        _ => false,
    }
}

/// The relay of that destination, as the present config has it.
pub fn relay<'a>(config: &'a Config, destination: &Destination) -> Option<&'a Relay> {
    let Destination::Relay { name, host, port } = destination else { return None };
    config.relays.iter().find(|r| r.name == *name && r.host == *host && r.port == *port)
}

/// Who gets mail in a recipient's stead.
#[derive(Clone, Copy)]
#[expect(clippy::large_enum_variant, reason = "on the stack, for one recipient at a time")]
pub enum Stead<'a> {
    /// That one.
    One {
        /// Who.
        mailbox: Mailbox,
        /// Why.
        by: By,
    },
    /// More than one, by an alias that was not there when the mail came (decisions 2).
    Several(&'a [String]),
    /// His alias has a fault, at that line: his mail waits.
    Unknown(u32),
}

/// Why somebody gets mail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// It is for him.
    Himself,
    /// By an alias, or by `[rewrite]`.
    Alias,
    /// By the key `to`.
    To,
}

/// Who gets mail for `recipient`: by its alias, then by `[rewrite]`, and then by the key `to`.
pub fn stead<'a>(config: &'a Config, recipient: Addressee<'_>) -> Stead<'a> {
    let (address, by) = match config.alias(recipient) {
        Found::Nothing => (recipient.address, By::Himself),
        Found::Broken(line) => return Stead::Unknown(line),
        Found::Targets([one]) => match Address::parse(one.as_bytes()) {
            Ok(address) => (address, By::Alias),
            Err(_) => return Stead::Unknown(0),
        },
        Found::Targets(several) => return Stead::Several(several),
    };
    let (mailbox, by) = match config.rewritten(address) {
        Some(mailbox) => (mailbox, By::Alias),
        None => (Text::from(address.as_str()), by),
    };
    let is_local = |mailbox: &Mailbox| {
        let address = Address::parse_utf8(mailbox.as_str().as_bytes());
        address.is_ok_and(|address| config.is_local(address))
    };
    match &config.to {
        Some(to) if to.everyone || is_local(&mailbox) => {
            Stead::One { mailbox: Text::from(to.address.as_str()), by: By::To }
        }
        _ => Stead::One { mailbox, by },
    }
}

/// The route that `recipient`'s mail takes; it stays while it is not known who gets it.
pub fn via<'a>(config: &'a Config, recipient: Addressee<'_>) -> &'a Via {
    let Stead::One { mailbox, .. } = stead(config, recipient) else { return &Via::Hold };
    Address::parse_utf8(mailbox.as_str().as_bytes())
        .map_or(&Via::Hold, |address| config.route(address))
}

/// An address as it goes out: a bare name gets `origin` behind it (RFC 5321 §2.3.5).
/// None if that is longer than a path may be.
pub struct Qualified(Text<{ crate::limits::ADDRESS_BYTES_MAX }>);

impl Qualified {
    /// Qualifies `address`.
    pub fn new(address: Address<'_>, origin: &str) -> Qualified {
        let mut text = Text::from(address.as_str());
        if address.domain().is_none() {
            // A Text cuts what is too long; the parser then refuses it.
            let _ = write!(text, "@{origin}");
        }
        Qualified(text)
    }

    /// The address.
    pub fn address(&self) -> Option<Address<'_>> {
        Address::parse_utf8(self.0.as_str().as_bytes()).ok()
    }
}
