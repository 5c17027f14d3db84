//! What a message's sender asked for beside delivery: read from the envelope, handed on to a next
//! hop that understands it, honoured here where none does.
//!
//! What is said of the message stands before its first recipient, what is said of a recipient right
//! before it (`queue/FORMAT.md`).
//!
//! Read first: RFC 3461 §5.2.

use crate::base::buffer::Text;
use crate::queue::envelope::{By, Hold, Record, VALUE_BYTES_MAX};
use crate::smtp::parameter::{ENVELOPE_ID_BYTES_MAX, Notify, Return};

/// See the module's head.
#[derive(Default)]
pub struct Wishes {
    /// BODY=BINARYMIME.
    pub is_binary: bool,
    /// SMTPUTF8.
    pub is_utf8: bool,
    /// RET=.
    pub ret: Option<Return>,
    /// ENVID=, decoded; empty for none.
    pub envid: Text<ENVELOPE_ID_BYTES_MAX>,
    /// Not before.
    pub hold: Option<Hold>,
    /// Not after.
    pub by: Option<By>,
    /// Of the recipient that comes next.
    notify: Option<Notify>,
    is_final: bool,
    original: Text<VALUE_BYTES_MAX>,
}

/// What is said of one recipient.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecipientWishes {
    /// NOTIFY=.
    pub notify: Option<Notify>,
    /// ORCPT=, decoded: `type;address`; empty for none.
    pub original: Text<VALUE_BYTES_MAX>,
    /// No alias is looked for.
    pub is_final: bool,
}

impl RecipientWishes {
    /// Shall the sender be told of a failure? RFC 3461 §5.2.6.
    pub fn wants_failure(&self) -> bool {
        self.notify.is_none_or(|notify| notify.has(Notify::FAILURE))
    }

    /// And of a success? RFC 3461 §5.2.3.
    pub fn wants_success(&self) -> bool {
        self.notify.is_some_and(|notify| notify.has(Notify::SUCCESS))
    }

    /// And that it takes long? RFC 3461 §5.2.5.
    pub fn wants_delay(&self) -> bool {
        self.notify.is_some_and(|notify| notify.has(Notify::DELAY))
    }
}

impl Wishes {
    /// Notes what `record` says, if it is about this.
    pub fn note(&mut self, record: &Record<'_>) {
        let text = |bytes| core::str::from_utf8(bytes).unwrap_or_default();
        match record {
            Record::Binary => self.is_binary = true,
            Record::Utf8 => self.is_utf8 = true,
            Record::Return(1) => self.ret = Some(Return::Full),
            Record::Return(_) => self.ret = Some(Return::Headers),
            Record::EnvelopeId(envid) => self.envid = Text::from(text(envid)),
            Record::Notify(bits) => self.notify = Some(Notify::from_bits(*bits)),
            Record::Original(original) => self.original = Text::from(text(original)),
            Record::Hold(hold) => self.hold = Some(*hold),
            Record::Final => self.is_final = true,
            Record::By(by) => self.by = Some(*by),
            _ => {}
        }
    }

    /// What was said of the recipient whose record has come.
    pub fn take_recipient(&mut self) -> RecipientWishes {
        RecipientWishes {
            notify: self.notify.take(),
            original: core::mem::take(&mut self.original),
            is_final: core::mem::take(&mut self.is_final),
        }
    }
}
