//! What MAIL and RCPT said, as records of the queue; and who a recipient is, by the aliases.
//!
//! What is said of the message comes before its first recipient, what is said of a recipient right
//! before it (`queue/FORMAT.md`). Values are stored decoded: lengths keep them apart, not lines.

use super::later::Times;
use super::session::Context;
use crate::base::buffer::Text;
use crate::config::Config;
use crate::limits::RECIPIENTS_MAX;
use crate::mail::address::Address;
use crate::mail::aliases::{Addressee, Found};
use crate::queue::disk::{Block, Disk};
use crate::queue::draft::{Draft, QueueError};
use crate::queue::envelope::{Record, Said};
use crate::smtp::parameter::{
    Body, ENVELOPE_ID_BYTES_MAX, MailParameters, Notify, RcptParameters, Return,
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

/// Recipients that a message may name, whatever the key `recipients` says: what `sendmail` puts
/// into one file.
const NAMED_MAX: u8 = 100;

/// The most that a message names.
pub(super) fn named_max(config: &Config) -> u8 {
    config.recipients.max(NAMED_MAX)
}

/// Writes a recipient into `draft`, or all whom his alias leads to (decisions 2); tells which lanes
/// they need, if that is known of all of them. `named` is how many the sender has named: aliases
/// take no room from those who may still come, so with more than a few targets he stays himself,
/// and becomes several later.
pub(super) fn add_recipient<D: Disk>(
    draft: &mut Draft,
    named: &mut u8,
    path: Address<'_>,
    said: &Said,
    block: &mut Block,
    context: &mut Context<'_, D>,
) -> Result<Option<u32>, QueueError> {
    let Context { config, queue, disk, lookout, .. } = context;
    let spare = RECIPIENTS_MAX.saturating_sub(named_max(config).into());
    let taken = usize::from(draft.recipients().saturating_sub(*named));
    *named = named.saturating_add(1);
    // When a notice is due is found when the envelope is read, not before.
    let wants_notice = said.notify.is_some_and(|bits| Notify::from_bits(bits).has(Notify::DELAY));
    let is_timed = wants_notice && !config.delay_notice.is_zero();
    let mut each = |record: &Record<'_>| queue.record(*disk, draft, block, record);
    let Found::Targets(targets @ [_, _, ..]) = config.alias(Addressee::new(path)) else {
        said.write(&mut each)?;
        each(&Record::Recipient(path.as_str().as_bytes()))?;
        return Ok(known(lookout.lanes(Addressee::new(path))).filter(|_| !is_timed));
    };
    if taken + targets.len() > spare + 1 {
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
    Ok(needs.filter(|_| !is_timed))
}

fn known(lanes: u32) -> Option<u32> {
    Some(lanes).filter(|lanes| *lanes != 0)
}
