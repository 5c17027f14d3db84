//! The records of a drop file, checked: what `sendmail` may say in it, and what is said instead of
//! what it says of itself.

use super::drop_directory::DropName;
use super::import::Fault;
use super::session::Context;
use crate::base::buffer::Text;
use crate::mail::address::Address;
use crate::queue::disk::{Block, Disk};
use crate::queue::draft::Draft;
use crate::queue::envelope::Record;
use core::fmt::Write as _;

/// What is known of a drop file for sure.
pub(super) struct Adopted {
    /// Its owner.
    pub(super) uid: u32,
    /// Its name.
    pub(super) name: DropName,
}

impl Adopted {
    /// Checks a record of the file and writes it into the draft.
    pub(super) fn record<W: Disk>(
        &self,
        record: Record<'_>,
        draft: &mut Draft,
        block: &mut Block,
        context: &mut Context<'_, W>,
    ) -> Result<(), Fault> {
        let Context { queue, disk, .. } = context;
        match record {
            Record::Sender(sender) => {
                if !sender.is_empty() {
                    Address::parse_utf8(sender)
                        .map_err(|_| Fault::Bad("its sender is no address"))?;
                }
                queue.record(*disk, draft, block, &record)?;
                let mut client = Text::<32>::new();
                // A Text cuts what is too long, it never fails.
                let _ = write!(client, "local uid={} ", self.uid);
                let client = Record::Client(client.as_str().as_bytes());
                queue.record(*disk, draft, block, &client)?;
                queue.record(*disk, draft, block, &Record::Login(self.uid))?;
                queue.record(*disk, draft, block, &Record::DropName(self.name.0))?;
            }
            // What root says of others is passed over; nobody else may say it.
            Record::Login(uid) if uid != self.uid && self.uid != 0 => {
                return Err(Fault::Bad("its owner is not its sender"));
            }
            Record::Login(_) | Record::Client(_) | Record::DropName(_) | Record::Account(_) => {}
            // Written when it is known how many there are of him.
            Record::Recipient(_) | Record::Notify(0..=7) => {}
            Record::Utf8 | Record::Return(1 | 2) | Record::EnvelopeId(_) | Record::Original(_) => {
                if let Record::EnvelopeId(text) | Record::Original(text) = record
                    && !text.iter().all(|byte| matches!(byte, b' '..=b'~'))
                {
                    return Err(Fault::Bad("a parameter holds a control character"));
                }
                if !matches!(record, Record::Original(_)) {
                    queue.record(*disk, draft, block, &record)?;
                }
            }
            Record::Return(_)
            | Record::Notify(_)
            | Record::Binary
            | Record::Hold(_)
            | Record::Final
            | Record::By(_) => {
                return Err(Fault::Bad("it asks for what sendmail cannot ask"));
            }
        }
        Ok(())
    }
}
