//! Who may send what to whom (threats 7), and the one table from trouble to reply.
//!
//! Decided on the parsed final domain, at RCPT. A client that may relay may send to anyone. A
//! stranger may send to local users only, and only where their mail ends here (the key `to`, a
//! Maildir, or hold) or has an alias, and to postmaster always (RFC 5321 §4.5.1); a local part that
//! names another host is refused before anything else is looked at.

use crate::config::{ClientPolicy, Config, Via};
use crate::mail::address::Address;
use crate::mail::aliases::{Addressee, Found};
use crate::queue::Queue;
use crate::queue::draft::{Origin, QueueError};
use crate::smtp::reply::Reply;

/// What a peer may do, fixed when it connects.
#[derive(Clone, Copy, Debug)]
pub struct Admission {
    /// May send to anyone.
    pub relay: bool,
    /// STARTTLS is offered, where its listener has it.
    pub starttls: bool,
    /// May log in without TLS.
    pub clear_auth: bool,
    /// It must begin with a PROXY header.
    pub proxy: bool,
    /// Whether it may tell by XCLIENT whom it speaks for.
    pub xclient: Telling,
    /// Its bad lines and commands are mended.
    pub lenient: bool,
    /// Connections of its address at one time.
    pub connections_max: u16,
    /// Messages of its address an hour.
    pub rate: Option<u16>,
    /// Largest message, bytes.
    pub size_max: u64,
    /// Most recipients of a message.
    pub recipients_max: u8,
}

/// Whether XCLIENT is believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Telling {
    /// No.
    Never,
    /// If it comes.
    May,
    /// And it must come before any mail.
    Must,
}

impl Admission {
    /// Of a slot that is free.
    pub const NOBODY: Admission = Admission {
        relay: false,
        starttls: false,
        proxy: false,
        xclient: Telling::Never,
        clear_auth: false,
        lenient: false,
        connections_max: u16::MAX,
        rate: None,
        size_max: 0,
        recipients_max: 0,
    };

    /// From what the config says of the client.
    pub fn new(config: &Config, policy: ClientPolicy) -> Admission {
        let size = policy.size.unwrap_or(config.message_size);
        let recipients = policy.recipients.unwrap_or(config.recipients);
        Admission {
            relay: policy.relay,
            starttls: policy.starttls,
            clear_auth: policy.clear_auth,
            lenient: policy.lenient,
            proxy: policy.proxy,
            xclient: if policy.xclient { Telling::Must } else { Telling::Never },
            connections_max: policy.connections.unwrap_or(u16::MAX),
            rate: policy.rate,
            size_max: size.min(config.message_size),
            recipients_max: recipients.min(config.recipients),
        }
    }

    /// A local program's, by the submit socket or the drop directory. Whoever `may_tell` runs the
    /// daemon: in `sendmail -bs` for inetd he says whose conversation it is.
    pub fn local(config: &Config, may_tell: bool) -> Admission {
        Admission {
            relay: true,
            xclient: if may_tell { Telling::May } else { Telling::Never },
            size_max: config.message_size,
            recipients_max: config.recipients,
            ..Admission::NOBODY
        }
    }

    /// No message larger than `queue` could ever hold is taken, so none larger is offered.
    pub fn within(mut self, queue: &Queue) -> Admission {
        self.size_max = self.size_max.min(queue.message_bytes_max(self.origin()));
        self
    }

    /// Whose space its messages take.
    pub fn origin(&self) -> Origin {
        if self.relay { Origin::Client } else { Origin::Stranger }
    }

    /// May mail be sent to `recipient`? The reply if not.
    pub fn recipient(
        &self,
        config: &Config,
        recipient: Address<'_>,
        already: u8,
    ) -> Result<(), Reply> {
        if already >= self.recipients_max {
            return Err(Reply::TOO_MANY_RECIPIENTS);
        }
        if is_refused(config, recipient) {
            return Err(Reply::NO_SUCH_USER);
        }
        if self.relay {
            return Ok(());
        }
        if recipient.is_route_trick() {
            return Err(Reply::ROUTED_RECIPIENT);
        }
        if !config.is_local(recipient) {
            return Err(Reply::NO_RELAYING);
        }
        let has_alias = match config.alias(Addressee::new(recipient)) {
            Found::Nothing => false,
            Found::Targets(_) => true,
            // It is being mended: later.
            Found::Broken(_) => return Err(Reply::LOCAL_ERROR),
        };
        let ends_here = has_alias
            || config.to.is_some()
            || config.rewritten(recipient).is_some()
            || matches!(config.route(recipient), Via::Maildir(_) | Via::Hold);
        let is_postmaster = recipient.local().eq_ignore_ascii_case("postmaster");
        if ends_here || is_postmaster { Ok(()) } else { Err(Reply::NO_SUCH_USER) }
    }
}

/// True if nobody else gets his mail, and his route refuses it. The postmaster is never refused
/// (RFC 5321 §4.5.1).
fn is_refused(config: &Config, recipient: Address<'_>) -> bool {
    let is_local = config.is_local(recipient);
    let is_postmaster = is_local && recipient.local().eq_ignore_ascii_case("postmaster");
    let has_stead = config.to.as_ref().is_some_and(|to| to.everyone || is_local)
        || config.rewritten(recipient).is_some()
        || config.alias(Addressee::new(recipient)) != Found::Nothing;
    *config.route(recipient) == Via::Reject && !is_postmaster && !has_stead
}

/// What is answered when the queue does not take a message.
pub fn queue_reply(error: QueueError) -> Reply {
    match error {
        QueueError::Full => Reply::NO_ROOM,
        QueueError::TooLarge => Reply::TOO_BIG,
        QueueError::Disk | QueueError::Broken => Reply::LOCAL_ERROR,
    }
}
