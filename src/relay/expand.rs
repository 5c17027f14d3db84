//! A recipient who has become several: the aliases were changed after his mail had come
//! (decisions 2).
//!
//! A new message is made for those to whom his alias now leads, with the same bytes, sender and
//! wishes; the old one is done for him when the new one is durable (I7). A power cut in between
//! makes another new one: as with every delivery, twice and never not at all. The new message's age
//! begins anew, and one without a Message-ID gets another.
//!
//! It is copied in one go, whatever its size: this happens once after somebody has changed a file.
//! While there is no room for it the old one stays, and it is tried again after [`PAUSE`].

use super::forwarder::{Context, Forwarder, Reported};
use super::late;
use super::route::{self, Stead};
use crate::base::ascii::Base62;
use crate::base::buffer::Text;
use crate::base::time::Now;
use crate::config::Config;
use crate::limits::RECIPIENTS_MAX;
use crate::mail::address::Address;
use crate::mail::aliases::Addressee;
use crate::queue::block::Header;
use crate::queue::disk::{Block, Disk};
use crate::queue::draft::{Draft, Origin, QueueError, Summary};
use crate::queue::envelope::{Record, Said};
use crate::queue::message::Message;
use crate::queue::reader::ReadError;
use crate::queue::{Queue, Ticket};

/// Seconds of running before another try.
const PAUSE: u64 = 60;

/// Why there is no copy.
enum Uncopied {
    Queue(QueueError),
    Read(ReadError),
}

impl From<QueueError> for Uncopied {
    fn from(error: QueueError) -> Self {
        Uncopied::Queue(error)
    }
}

impl From<ReadError> for Uncopied {
    fn from(error: ReadError) -> Self {
        Uncopied::Read(error)
    }
}

/// What a copy is made with.
struct Copyist<'a, D> {
    config: &'a Config,
    queue: &'a mut Queue,
    disk: &'a mut D,
    now: Now,
    reading: &'a mut Block,
    writing: &'a mut Block,
}

impl Forwarder {
    /// Makes a message for all those whom the aliases of `recipients` of `ticket` lead to; false if
    /// that has to wait, and `ticket` with it.
    pub(super) fn expand<W: Disk>(
        &mut self,
        ticket: Ticket,
        recipients: u128,
        context: &mut Context<'_, W>,
    ) -> bool {
        let slot = self.senders.len() + 1;
        let owner = self.owner_base + slot as u32;
        let Some(place @ None) = self.reported.get_mut(slot) else {
            // One at a time.
            return self.put_off(ticket, 1, context);
        };
        let Context { config, queue, world, now } = context;
        let (reading, writing) = (&mut *self.reading, &mut *self.writing);
        let mut copyist = Copyist { config, queue, disk: *world, now: *now, reading, writing };
        match copyist.copy(ticket, recipients, owner) {
            Ok((copy, taken, count)) => {
                *place = Some(Reported { copied: taken, ..Reported::nothing(ticket) });
                let (id, copy) = (Base62(ticket.seq), Base62(copy.seq));
                log::info!("{id}: for {count} by the aliases as they are now, as {copy}");
                true
            }
            Err(Uncopied::Queue(error)) => {
                let id = Base62(ticket.seq);
                log::warn!("{id}: for several by the aliases, but no room ({error:?}); later");
                self.put_off(ticket, PAUSE, context)
            }
            Err(Uncopied::Read(error)) => {
                self.unread(ticket, error, context);
                false
            }
        }
    }

    fn put_off<W>(&mut self, ticket: Ticket, wait: u64, context: &mut Context<'_, W>) -> bool {
        let due = context.queue.run(context.now.instant) + wait;
        context.queue.plan(ticket, 0, 0, due);
        self.scan_by(due);
        false
    }
}

impl<D: Disk> Copyist<'_, D> {
    /// Puts the copy on the batch; tells in whose stead it is, and how many it is for.
    fn copy(
        &mut self,
        ticket: Ticket,
        recipients: u128,
        owner: u32,
    ) -> Result<(Ticket, u128, u8), Uncopied> {
        let mut message = Message::open(self.queue, self.disk, ticket, self.reading)?;
        let header = *message.header();
        let mut draft = self.queue.begin(self.disk, Origin::Client, Some(header.message_len))?;
        let taken = match self.write(&mut message, recipients, &mut draft) {
            Ok(taken) => taken,
            Err(error) => {
                self.queue.abandon(draft);
                return Err(error);
            }
        };
        let count = draft.recipients();
        // Its file, if it had one, was the old one's.
        let flags = header.flags & !Header::IMPORTED;
        let summary = Summary { flags, arrival: header.arrival, needs: 0 };
        let now = self.now.instant;
        let copy = self.queue.finish(self.disk, draft, self.writing, owner, summary, now)?;
        Ok((copy, taken, count))
    }

    fn write(
        &mut self,
        message: &mut Message,
        recipients: u128,
        draft: &mut Draft,
    ) -> Result<u128, Uncopied> {
        let Copyist { config, queue, disk, reading, writing, .. } = self;
        let since = queue.waiting(message.ticket()).map_or(0, |waiting| waiting.arrival);
        let age = queue.run(self.now.instant).saturating_sub(since);
        let (mut number, mut taken) = (0, 0);
        let mut said = Said::default();
        while let Some(record) = message.record(queue, *disk, reading)? {
            match record {
                Record::Notify(bits) => said.notify = Some(bits),
                Record::Original(text) => {
                    let text = core::str::from_utf8(text).or(Err(ReadError::Unreadable))?;
                    said.original = Text::from(text);
                }
                // It was held as long as was asked.
                Record::Final | Record::DropName(_) | Record::Hold(_) => {}
                Record::Recipient(text) => {
                    let bit = 1u128.checked_shl(number).ok_or(ReadError::Unreadable)?;
                    number += 1;
                    let said = core::mem::take(&mut said);
                    if recipients & bit == 0 {
                        continue;
                    }
                    let address = Address::parse_utf8(text).or(Err(ReadError::Unreadable))?;
                    let to = Addressee::new(address);
                    let Stead::Several(targets) = route::stead(config, to) else { continue };
                    if usize::from(draft.recipients()) + targets.len() > RECIPIENTS_MAX {
                        // Another copy is for him.
                        continue;
                    }
                    taken |= bit;
                    let said = said.naming(address, &config.hostname);
                    for target in targets {
                        said.write(|record| queue.record(*disk, draft, writing, record))?;
                        let target = Record::Recipient(target.as_bytes());
                        for record in [Record::Final, target] {
                            queue.record(*disk, draft, writing, &record)?;
                        }
                    }
                }
                // The copy's age begins anew, and its time does not.
                Record::By(by) => {
                    let by = Record::By(late::rest(by, age));
                    queue.record(*disk, draft, writing, &by)?;
                }
                other => queue.record(*disk, draft, writing, &other)?,
            }
        }
        let mut piece = [0u8; 1024];
        while let Some(bytes) = message.bytes(queue, *disk, reading)? {
            let count = bytes.len().min(piece.len());
            for (to, from) in piece.iter_mut().zip(bytes) {
                *to = *from;
            }
            message.consume(count);
            queue.append(*disk, draft, writing, piece.get(..count).unwrap_or_default())?;
        }
        Ok(taken)
    }
}
