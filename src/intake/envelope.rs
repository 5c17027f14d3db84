//! What MAIL and RCPT said, as records of the queue; and who a recipient is, by the aliases.
//!
//! What is said of the message comes before its first recipient, what is said of a recipient right
//! before it (`queue/FORMAT.md`). Values are stored decoded: lengths keep them apart, not lines.

use super::later::Times;
use super::session::Context;
use crate::base::buffer::Text;
use crate::limits::RECIPIENTS_MAX;
use crate::mail::address::Address;
use crate::mail::aliases::{Addressee, Found};
use crate::queue::disk::{Block, Disk};
use crate::queue::draft::{Draft, QueueError};
use crate::queue::envelope::{Record, Said};
use crate::smtp::parameter::{Body, ENVELOPE_ID_BYTES_MAX, MailParameters, RcptParameters, Return};
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
    if let Some(by) = times.by {
        each(&Record::By(by))?;
    }
    if let Some(envid) = parameters.envid {
        let mut text = Text::<ENVELOPE_ID_BYTES_MAX>::new();
        // A Text cuts what is too long; decoded, it is shorter than it was.
        let _ = write!(text, "{envid}");
        each(&Record::EnvelopeId(text.as_str().as_bytes()))?;
    }
    Ok(())
}

/// What was said behind RCPT.
pub(super) fn said_of(parameters: &RcptParameters<'_>) -> Said {
    let notify = parameters.notify.map(|notify| notify.bits());
    let mut said = Said { notify, ..Said::default() };
    if let Some(original) = parameters.orcpt {
        // A Text cuts what is too long; this was measured when it was read.
        let _ = write!(said.original, "{original}");
    }
    said
}

/// Writes a recipient into `draft`, or all whom his alias leads to (decisions 2); tells which lanes
/// they need, if that is known of all of them. Where so many have no room he stays himself, and
/// becomes several later.
pub(super) fn add_recipient<D: Disk>(
    draft: &mut Draft,
    path: Address<'_>,
    said: &Said,
    block: &mut Block,
    context: &mut Context<'_, D>,
) -> Result<Option<u32>, QueueError> {
    let Context { config, queue, disk, lookout, .. } = context;
    let room = RECIPIENTS_MAX.saturating_sub(draft.recipients().into());
    let mut each = |record: &Record<'_>| queue.record(*disk, draft, block, record);
    let Found::Targets(targets @ [_, _, ..]) = config.alias(Addressee::new(path)) else {
        said.write(&mut each)?;
        each(&Record::Recipient(path.as_str().as_bytes()))?;
        return Ok(known(lookout.lanes(Addressee::new(path))));
    };
    if targets.len() > room {
        said.write(&mut each)?;
        each(&Record::Recipient(path.as_str().as_bytes()))?;
        return Ok(None);
    }
    let named = said.naming(path, &config.hostname);
    let mut needs = Some(0);
    for target in targets {
        let address = Address::parse(target.as_bytes()).or(Err(QueueError::TooLarge))?;
        named.write(&mut each)?;
        each(&Record::Final)?;
        each(&Record::Recipient(target.as_bytes()))?;
        let lanes = known(lookout.lanes(Addressee { address, is_final: true }));
        needs = needs.zip(lanes).map(|(needs, lanes)| needs | lanes);
    }
    Ok(needs)
}

fn known(lanes: u32) -> Option<u32> {
    Some(lanes).filter(|lanes| *lanes != 0)
}
