//! The open image: drafts in, receipts out, marks, space.
//!
//! The life of a message, by what its header slot is used as (`index::Use`):
//!
//! | is        | becomes   | when                                                              |
//! |-----------|-----------|-------------------------------------------------------------------|
//! | Free      | Draft     | its draft takes the slot                                          |
//! | Draft     | Free      | the draft is abandoned                                            |
//! | Draft     | Dying     | its header's write failed: it may have landed all the same (I5)   |
//! | Draft     | Message   | a sync that began after its header was written came back (I1)     |
//! | Message   | Dying     | its last recipient is done (I7), or an administrator removed it   |
//! | Damaged   | Dying     | an administrator removed it                                       |
//! | Dying     | Free      | a sync that began after its state page was written came back (I5) |
//!
//! A recovery, also one after a failed sync, knows nothing of these: it begins with every slot Free
//! and makes of the medium Message, Body for the blocks that belong to one, and Damaged for what is
//! not whole (I10) or cannot be read. So what was a Draft when a sync failed is nothing afterwards.
//! What is found spoiled while it is read out stays a Message, flagged as damaged and held (I18).
//! The body blocks of what was taken since stay Draft until they are freed; of a message that ends,
//! only the header's slot is called Dying, and its body blocks are freed with it.
//!
//! Invariants I1 to I18 are those of FORMAT.md; each is cited where it is kept. One writer, one
//! thread, no lock. After a failed sync the image is `broken`: nothing is written to it again, the
//! daemon asks for a recovery (I11); what was committed can still be read.

use super::block::{self, BodyHead, Header, Seal, State};
use super::disk::{Block, Disk};
use super::draft::{Draft, Origin, QueueError, Summary};
use super::envelope::Record;
use super::index::{Index, Use};
use super::layout::{self, GROUP_SLOTS, HEAD_BYTES, NO_SLOT, PAYLOAD_BYTES};
use super::marks::Marks;
use super::mutant::{self, Mutant};
use crate::base::time::{Instant, earliest};
use crate::limits::RECIPIENTS_MAX;
use core::time::Duration;

/// How stale the running time and wall time in the superblock may grow while mail waits (I17).
const SUPERBLOCK_INTERVAL: Duration = Duration::from_secs(3600);

/// Drafts, seqs or generations in one epoch; MAIL and RSET in a loop take one in some microseconds.
const NUMBERS_MAX: u32 = u32::MAX - (1 << 24);

/// Names a message in the queue: its header's slot, and its number, which is never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket {
    /// Where.
    pub slot: u32,
    /// Which.
    pub seq: u64,
}

/// Proof that a message is durable. Only a finished sync makes one (LAW 1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    ticket: Ticket,
}

impl Receipt {
    /// The message.
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }
}

/// The sync of a batch failed: none of it is durable, all of it is answered 451 (I11).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotDurable;

/// A finished draft that waits for the sync.
#[derive(Clone, Copy)]
struct Waiting {
    owner: u32,
    ticket: Ticket,
}

/// Counters for `status` and for tests, since the process opened the image: a recovery after a
/// failed sync goes on counting.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Messages made durable: taken from peers, imported, and reports of ours.
    pub committed: u64,
    /// Blocks written, of any kind.
    pub writes: u64,
    /// Syncs asked for.
    pub syncs: u64,
    /// Messages found damaged by the last recovery, and while reading since.
    pub damaged: u32,
}

/// The queue on an open image.
pub struct Queue {
    pub(super) seal: Seal,
    pub(super) index: Index,
    pub(super) marks: Marks,
    pub(super) epoch: u32,
    pub(super) generation: u32,
    pub(super) superblock: block::Superblock,
    pub(super) superblock_copy: usize,
    pub(super) drafts: u32,
    pub(super) seqs: u32,
    pub(super) synced: u64,
    /// The lowest seq whose header may have landed though its write failed, and whose death is not
    /// durable yet: nothing at or above it is said to be durable (I10).
    pub(super) doubtful: u64,
    pub(super) run_base: u64,
    pub(super) opened: Instant,
    pub(super) superblock_written: Instant,
    /// The latest instant seen, for what is written between two commits.
    pub(super) clock: Instant,
    pub(super) reserved: u32,
    pub(super) stranger_blocks: u32,
    batch: Vec<Waiting>,
    pub(super) page: Box<Block>,
    pub(super) broken: bool,
    pub(super) counters: Counters,
    pub(super) messages: u32,
}

impl Queue {
    pub(super) fn new(seal: Seal, slots: u32, epoch: u32, opened: Instant, batch: usize) -> Queue {
        Queue {
            seal,
            index: Index::new(slots),
            marks: Marks::new(layout::groups_for(slots)),
            epoch,
            generation: 0,
            superblock: block::Superblock::default(),
            superblock_copy: 0,
            drafts: 0,
            seqs: 0,
            synced: 0,
            doubtful: u64::MAX,
            run_base: 0,
            opened,
            superblock_written: opened,
            clock: opened,
            reserved: 0,
            stranger_blocks: 0,
            batch: Vec::with_capacity(batch),
            page: super::disk::new_block(),
            broken: false,
            counters: Counters::default(),
            messages: 0,
        }
    }

    /// Begins a message. A declared `size` is reserved until the end (RFC 1870 §6.1, I15).
    pub fn begin(
        &mut self,
        disk: &mut dyn Disk,
        origin: Origin,
        size: Option<u64>,
    ) -> Result<Draft, QueueError> {
        // I8: a counter that ran over would bring numbers of the next epoch early, then old ones.
        // A recovery raises the epoch. Seqs and pages are not ahead by more than the margin.
        self.broken |= self.drafts.max(self.generation) >= NUMBERS_MAX;
        if self.broken {
            return Err(QueueError::Broken);
        }
        let reserve = size.map_or(1, blocks_for_size);
        if reserve > u64::from(self.capacity(origin)) {
            return Err(QueueError::TooLarge);
        }
        let reserve = u32::try_from(reserve).unwrap_or(u32::MAX);
        self.make_room(disk, origin, reserve)?;
        self.reserved += reserve;
        if origin == Origin::Stranger {
            self.stranger_blocks += reserve;
        }
        let number = self.number(self.drafts);
        self.drafts += 1;
        let mut draft = Draft::new(number, origin, NO_SLOT, reserve, &self.seal);
        // Its first block is among those reserved, so this takes one.
        let first = self.allocate(disk, &mut draft)?;
        (draft.first, draft.current) = (first, first);
        Ok(draft)
    }

    /// Appends an envelope record; all of them come before the first byte of the message.
    pub fn record(
        &mut self,
        disk: &mut dyn Disk,
        draft: &mut Draft,
        buffer: &mut Block,
        record: &Record<'_>,
    ) -> Result<(), QueueError> {
        debug_assert!(draft.message_len == 0, "the envelope is closed");
        let is_recipient = matches!(record, Record::Recipient(_));
        if is_recipient && usize::from(draft.recipients) >= RECIPIENTS_MAX {
            // No state entry has a bit for it. Sessions say 452 before; a drop file may ask it.
            return Err(QueueError::TooLarge);
        }
        record.encode(|bytes| self.stream(disk, draft, buffer, bytes))?;
        draft.envelope_len += record.encoded_len() as u32;
        draft.recipients += u8::from(is_recipient);
        Ok(())
    }

    /// Appends message bytes.
    pub fn append(
        &mut self,
        disk: &mut dyn Disk,
        draft: &mut Draft,
        buffer: &mut Block,
        bytes: &[u8],
    ) -> Result<(), QueueError> {
        self.stream(disk, draft, buffer, bytes)?;
        draft.message_len += bytes.len() as u64;
        Ok(())
    }

    fn stream(
        &mut self,
        disk: &mut dyn Disk,
        draft: &mut Draft,
        buffer: &mut Block,
        mut bytes: &[u8],
    ) -> Result<(), QueueError> {
        while !bytes.is_empty() {
            if draft.fill == PAYLOAD_BYTES {
                self.write_full_block(disk, draft, buffer)?;
            }
            let count = bytes.len().min(PAYLOAD_BYTES - draft.fill);
            let (now, later) = bytes.split_at_checked(count).unwrap_or_default();
            let at = HEAD_BYTES + draft.fill;
            buffer.get_mut(at..at + count).unwrap_or_default().copy_from_slice(now);
            draft.fill += count;
            bytes = later;
        }
        Ok(())
    }

    fn write_full_block(
        &mut self,
        disk: &mut dyn Disk,
        draft: &mut Draft,
        buffer: &mut Block,
    ) -> Result<(), QueueError> {
        if self.broken || !self.is_ours(draft) {
            return Err(QueueError::Broken);
        }
        let next = self.allocate(disk, draft)?;
        self.index.link.set(draft.current, next);
        let head = BodyHead { draft: draft.number, index: draft.index, next, len: draft.fill };
        let number = layout::block_of(draft.current);
        let tag = block::write_body(number, buffer, &self.seal, head);
        draft.binding.add(number, tag);
        draft.index += 1;
        draft.current = next;
        draft.fill = 0;
        self.counters.writes += 1;
        disk.write(number, buffer).map_err(|_| QueueError::Disk)
    }

    /// Ends a message: writes its header and puts `owner` on the batch of the next commit. On an
    /// error the draft is abandoned already.
    pub fn finish(
        &mut self,
        disk: &mut dyn Disk,
        draft: Draft,
        buffer: &mut Block,
        owner: u32,
        summary: Summary,
        now: Instant,
    ) -> Result<Ticket, QueueError> {
        if self.broken || !self.is_ours(&draft) {
            self.abandon(draft);
            return Err(QueueError::Broken);
        }
        let seq = match mutant::is(Mutant::SeqAtMail) {
            true => draft.number,
            false => self.number(self.seqs),
        };
        self.seqs += 1;
        let header = Header {
            seq,
            draft: draft.number,
            first: draft.first,
            count: draft.blocks(),
            envelope_len: draft.envelope_len,
            message_len: draft.message_len,
            arrival: summary.arrival,
            run: self.run(now),
            synced: self.witnessed(),
            flags: summary.flags,
            recipients: draft.recipients,
            digest: draft.binding.digest(),
        };
        let slot = draft.current;
        let number = layout::block_of(slot);
        block::write_header(number, buffer, &self.seal, &header, draft.fill);
        self.counters.writes += 1;
        let written = disk.write(number, buffer);
        self.clock = now;
        self.release_claims(&draft);
        self.index.link.set(slot, draft.first);
        if written.is_err() && mutant::is(Mutant::RefusedFreedAtOnce) {
            self.index.free_chain(draft.first, slot);
            return Err(QueueError::Disk);
        }
        if written.is_err() {
            // It may have landed all the same: dead on disk before its blocks are used again (I5).
            self.index.set_state(slot, State { seq, flags: State::DEAD, done: 0 });
            self.index.set_use(slot, Use::Dying);
            self.marks.note_dying(Queue::group_of(slot), draft.blocks(), now);
            self.marks.hurry();
            self.doubtful = self.doubtful.min(seq);
            return Err(QueueError::Disk);
        }
        self.index.set_state(slot, State { seq, flags: 0, done: 0 });
        self.adopt(slot, &header, summary.needs);
        if mutant::is(Mutant::SyncedTooEarly) {
            self.synced = seq;
        }
        let ticket = Ticket { slot, seq };
        self.batch.push(Waiting { owner, ticket });
        Ok(ticket)
    }

    /// Gives up a message: nothing of it will ever be seen.
    pub fn abandon(&mut self, draft: Draft) {
        if !self.is_ours(&draft) {
            return;
        }
        self.release_claims(&draft);
        self.index.free_chain(draft.first, draft.current);
    }

    /// False for a draft that was begun before a recovery: its slots may be somebody else's now.
    fn is_ours(&self, draft: &Draft) -> bool {
        draft.number >> 32 == u64::from(self.epoch)
    }

    /// What the relay wants to know of a message without reading it.
    pub(super) fn adopt(&mut self, slot: u32, header: &Header, needs: u32) {
        self.index.recipients.set(slot, header.recipients);
        self.index.arrival.set(slot, u32::try_from(header.run).unwrap_or(u32::MAX));
        self.index.imported.set(slot, u8::from(header.flags & Header::IMPORTED != 0));
        self.index.due.set(slot, 0);
        self.index.needs.set(slot, needs);
        self.index.ready.set(slot, needs);
        self.index.later.set(slot, 0);
        self.index.deadline.set(slot, 0);
    }

    /// One sync for everything that was finished since the last (I1); `each` gets every owner on
    /// the batch with its receipt, or with the news that it has none. Without anything to make
    /// durable nothing happens.
    pub fn commit(
        &mut self,
        disk: &mut dyn Disk,
        now: Instant,
        mut each: impl FnMut(u32, Result<Receipt, NotDurable>),
    ) {
        self.clock = now;
        let wanted = !self.broken && self.marks.are_due(now, !self.batch.is_empty());
        let refresh = !self.broken && now >= self.superblock_written + SUPERBLOCK_INTERVAL;
        // I17: mail that waits grows older on the disk too.
        if self.batch.is_empty() && !wanted && !(refresh && self.messages > 0) {
            return;
        }
        let synced = mutant::is(Mutant::AckBeforeSync) || self.sync(disk, wanted, refresh);
        for at in 0..self.batch.len() {
            let Some(Waiting { owner, ticket }) = self.batch.get(at).copied() else { break };
            if synced {
                self.index.set_use(ticket.slot, Use::Message);
                self.messages += 1;
                self.synced = self.synced.max(ticket.seq);
                self.counters.committed += 1;
                each(owner, Ok(Receipt { ticket }));
            } else {
                each(owner, Err(NotDurable));
            }
        }
        self.batch.clear();
    }

    /// The lanes of what waits for the next commit are to be found anew: the config has changed.
    pub fn forget_batch_plans(&mut self) {
        for Waiting { ticket, .. } in &self.batch {
            self.index.needs.set(ticket.slot, 0);
            self.index.ready.set(ticket.slot, 0);
        }
    }

    /// Finished messages that wait for the next commit.
    pub fn batch_len(&self) -> usize {
        self.batch.len()
    }

    /// True after a failed sync, until a recovery.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// When [`Queue::commit`] should be called though nothing was finished.
    pub fn deadline(&self) -> Option<Instant> {
        if self.broken {
            return None;
        }
        let refresh = self.superblock_written + SUPERBLOCK_INTERVAL;
        earliest(self.marks.deadline(), (self.messages > 0).then_some(refresh))
    }

    /// True while something marked, held, released or removed is not durable yet.
    pub fn has_marks_waiting(&self) -> bool {
        self.marks.are_waiting()
    }

    /// Seconds that mote has run on this image, all boots together (I17).
    pub fn run(&self, now: Instant) -> u64 {
        self.run_base.saturating_add(now.since(self.opened).as_secs())
    }

    /// Slots in all, and free ones, those that will be free after the next state write included.
    pub fn space(&self) -> (u32, u32) {
        (self.index.slots(), self.index.free() + self.marks.dying_blocks())
    }

    /// True if nothing stands on `slot`.
    pub(super) fn is_free(&self, slot: u32) -> bool {
        self.index.used_as(slot) == Use::Free
    }

    /// How many messages exist.
    pub fn messages(&self) -> u32 {
        self.messages
    }

    /// The counters.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The image's id, for Message-IDs and Maildir names.
    pub fn image(&self) -> u64 {
        self.seal.image()
    }

    /// The seal, for the schedule's jitter.
    pub fn seal(&self) -> &Seal {
        &self.seal
    }

    /// The largest message that `origin` could ever hand in, of whatever free space: more is too
    /// large for this image, not just for now.
    pub fn message_bytes_max(&self, origin: Origin) -> u64 {
        let bytes = u64::from(self.capacity(origin)) * PAYLOAD_BYTES as u64;
        bytes.saturating_sub(ENVELOPE_BYTES)
    }

    /// Largest draft that `origin` could ever have, in blocks.
    fn capacity(&self, origin: Origin) -> u32 {
        let slots = self.index.slots();
        match origin {
            Origin::Report => slots,
            Origin::Client => slots.saturating_sub(report_reserve(slots)),
            Origin::Stranger => slots.saturating_sub(report_reserve(slots)) / 2,
        }
    }

    /// Blocks that a draft of `origin` may take beyond what is reserved.
    fn available(&self, origin: Origin) -> u32 {
        let open = self.index.free().saturating_sub(self.reserved);
        let kept = open.saturating_sub(report_reserve(self.index.slots()));
        match origin {
            Origin::Report => open,
            Origin::Client => kept,
            Origin::Stranger => {
                // Free or theirs already; what others have reserved is neither.
                let half = (open + self.stranger_blocks) / 2;
                kept.min(half.saturating_sub(self.stranger_blocks))
            }
        }
    }

    /// Sees to it that `count` blocks are available, if need be by making marks durable first
    /// (I16: before any 452).
    fn make_room(
        &mut self,
        disk: &mut dyn Disk,
        origin: Origin,
        count: u32,
    ) -> Result<(), QueueError> {
        if self.available(origin) >= count {
            return Ok(());
        }
        if self.marks.dying_blocks() > 0 && !self.sync(disk, true, false) {
            return Err(QueueError::Broken);
        }
        if self.available(origin) >= count { Ok(()) } else { Err(QueueError::Full) }
    }

    fn allocate(&mut self, disk: &mut dyn Disk, draft: &mut Draft) -> Result<u32, QueueError> {
        if draft.reserve > 0 {
            draft.reserve -= 1;
            self.reserved -= 1;
        } else {
            if draft.blocks() >= self.capacity(draft.origin) {
                // No size was declared, or its envelope is a long one.
                return Err(QueueError::TooLarge);
            }
            self.make_room(disk, draft.origin, 1)?;
            if draft.origin == Origin::Stranger {
                self.stranger_blocks += 1;
            }
        }
        self.index.take_free().ok_or(QueueError::Full)
    }

    fn release_claims(&mut self, draft: &Draft) {
        self.reserved -= draft.reserve;
        if draft.origin == Origin::Stranger {
            self.stranger_blocks -= draft.blocks() + draft.reserve;
        }
    }

    /// The highest seq that a header or page may call durable.
    pub(super) fn witnessed(&self) -> u64 {
        self.synced.min(self.doubtful.saturating_sub(1))
    }

    /// I8: epoch ‖ counter.
    fn number(&self, counter: u32) -> u64 {
        (u64::from(self.epoch) << 32) + u64::from(counter) + 1
    }

    /// What must hold between any two calls: every chain ends at its header, nothing in it is free,
    /// and what is reserved is there.
    #[cfg(debug_assertions)]
    pub fn check_invariants(&self) {
        let (mut owned, mut free) = (0, 0);
        for slot in 0..self.index.slots() {
            match self.index.used_as(slot) {
                Use::Free => free += 1,
                Use::Draft | Use::Body | Use::Unread => {}
                Use::Message | Use::Dying | Use::Damaged => {
                    let mut last = NO_SLOT;
                    for part in self.index.chain(self.index.link.get(slot), slot) {
                        debug_assert!(self.index.used_as(part) != Use::Free, "{part} of {slot}");
                        owned += 1;
                        last = part;
                    }
                    debug_assert!(last == slot, "a chain misses its header {slot}");
                }
            }
        }
        debug_assert!(free == self.index.free(), "free slots are miscounted");
        debug_assert!(owned <= self.index.slots() - free, "two messages share a block");
        debug_assert!(self.reserved <= free, "more is reserved than is free (I15)");
    }

    /// The group of a slot.
    pub(super) fn group_of(slot: u32) -> u32 {
        slot / GROUP_SLOTS
    }
}

/// Blocks kept for reports (I15).
fn report_reserve(slots: u32) -> u32 {
    (slots / 16).max(4)
}

/// What is allowed for an envelope where only the message's size is known.
const ENVELOPE_BYTES: u64 = 1024;

/// Blocks that a message of `size` bytes takes.
fn blocks_for_size(size: u64) -> u64 {
    size.saturating_add(ENVELOPE_BYTES).div_ceil(PAYLOAD_BYTES as u64)
}
