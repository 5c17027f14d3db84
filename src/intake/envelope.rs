//! What MAIL and RCPT said, as records of the queue.
//!
//! What is said of the message comes before its first recipient, what is said of a recipient right
//! before it (`queue/FORMAT.md`). Values are stored decoded: lengths keep them apart, not lines.

use super::later::Times;
use crate::base::buffer::Text;
use crate::mail::address::Address;
use crate::queue::draft::QueueError;
use crate::queue::envelope::Record;
use crate::smtp::parameter::{
    Body, ENVELOPE_ID_BYTES_MAX, MailParameters, ORIGINAL_BYTES_MAX, RcptParameters, Return,
};
use core::fmt::Write as _;

/// Hands the records of what was said behind MAIL to `each`.
pub(super) fn mail_records(
    parameters: &MailParameters<'_>,
    times: &Times,
    mut each: impl FnMut(&Record<'_>) -> Result<(), QueueError>,
) -> Result<(), QueueError> {
    if parameters.body == Some(Body::BinaryMime) {
        each(&Record::Binary)?;
    }
    if parameters.utf8 {
        each(&Record::Utf8)?;
    }
    match parameters.ret {
        Some(Return::Full) => each(&Record::Return(1))?,
        Some(Return::Headers) => each(&Record::Return(2))?,
        None => {}
    }
    if let Some(hold) = times.hold {
        each(&Record::Hold(hold))?;
    }
    if let Some(envid) = parameters.envid {
        let mut text = Text::<ENVELOPE_ID_BYTES_MAX>::new();
        // A Text cuts what is too long; decoded, it is shorter than it was.
        let _ = write!(text, "{envid}");
        each(&Record::EnvelopeId(text.as_str().as_bytes()))?;
    }
    Ok(())
}

/// Hands the records of a recipient and of what was said of him to `each`.
pub(super) fn recipient_records(
    path: Address<'_>,
    parameters: &RcptParameters<'_>,
    mut each: impl FnMut(&Record<'_>) -> Result<(), QueueError>,
) -> Result<(), QueueError> {
    if let Some(notify) = parameters.notify {
        each(&Record::Notify(notify.bits()))?;
    }
    if let Some(original) = parameters.orcpt {
        let mut text = Text::<ORIGINAL_BYTES_MAX>::new();
        // A Text cuts what is too long; this was measured when it was read.
        let _ = write!(text, "{original}");
        each(&Record::Original(text.as_str().as_bytes()))?;
    }
    each(&Record::Recipient(path.as_str().as_bytes()))
}
