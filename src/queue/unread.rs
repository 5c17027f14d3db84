//! What a medium does not give back: a recovery keeps it, and all that may belong to it (I10).
//!
//! A block that cannot be read may be part of a message, or a message's header, and the medium may
//! come back: nothing of it is dropped, and nothing that leads to it is written over (I3). It is
//! shown as damaged until an administrator removes it.
//!
//! A dying disk may have many such blocks, and a start must not take minutes for it: whatever their
//! number, every slot is looked at once in each of the passes here. What they note down while they
//! do is at most 16 bytes for two slots, given back when the recovery is over, and nothing where
//! everything can be read.

use super::block::{self, Data, State};
use super::disk::Disk;
use super::fault::{Check, Subject};
use super::image::Queue;
use super::index::{Index, Use};
use super::layout::{self, NO_SLOT};
use super::mutant::{self, Mutant};
use super::recovery::{Scan, read_medium};

/// A message of which a body block could not be read: where its chain goes on is not known.
pub(super) struct Interrupted {
    pub(super) draft: u64,
    /// Its slot.
    pub(super) header: u32,
    /// The last slot that was claimed for it.
    pub(super) last: u32,
}

impl Scan<'_> {
    /// Keeps every block of the drafts that were `interrupted` for their messages.
    pub(super) fn claim_drafts(&mut self, disk: &mut dyn Disk) {
        let mut interrupted = core::mem::take(&mut self.interrupted);
        if interrupted.is_empty() {
            return;
        }
        interrupted.sort_unstable_by_key(|message| (message.draft, message.header));
        let seal = self.queue.seal;
        for slot in 0..self.queue.index.slots() {
            let number = layout::block_of(slot);
            if is_free_body(&self.queue.index, slot)
                && read_medium(disk, number, &mut self.chain).is_ok()
                && let Some((Data::Body { draft, .. }, _)) =
                    block::read_data(number, &self.chain, &seal)
                && let at = interrupted.partition_point(|message| message.draft < draft)
                && let Some(message) = interrupted.get_mut(at)
                && message.draft == draft
            {
                self.claim(message.header, message.last, slot);
                message.last = slot;
            }
        }
    }

    /// Third pass: what the medium did not give back may be a header. It is kept and shown as
    /// damaged, with every block that leads to it: if they were written over, no medium that comes
    /// back could bring back the message (I3).
    pub(super) fn keep_unread(&mut self, broken: Option<&Queue>) {
        if let Some(broken) = broken.filter(|_| !mutant::is(Mutant::MemoryNotAsked)) {
            self.recall(broken);
        }
        let mut leading = None;
        let mut from = 0;
        while let Some(header) = self.queue.index.find(from, Use::Unread) {
            let leading = leading.get_or_insert_with(|| slots_by_target(&self.queue.index));
            from = header + 1;
            if let Some(broken) = broken.filter(|queue| queue.index.used_as(header) == Use::Damaged)
            {
                self.queue.index.set_state(header, broken.index.state(header));
            }
            self.queue.index.link.set(header, header);
            let (block, subject) = (layout::block_of(header), Subject::Slot { slot: header });
            self.fault(block, subject, Check::Medium);
            self.keep_damaged(header);
            self.claim_leading(leading, header);
        }
    }

    /// Claims for `header` what leads to it, then what leads there, and so on.
    fn claim_leading(&mut self, leading: &[(u32, u32)], header: u32) {
        let (mut target, mut last) = (header, header);
        loop {
            let first = leading.partition_point(|(to, _)| *to < target);
            let those = leading.get(first..).unwrap_or_default().iter();
            for (_, slot) in those.take_while(|(to, _)| *to == target) {
                if self.queue.index.used_as(*slot) == Use::Free {
                    self.claim(header, last, *slot);
                    last = *slot;
                }
            }
            target = self.queue.index.link.get(target);
            if target == header {
                return;
            }
        }
    }
}

/// True if nobody has claimed `slot`, and a body block stands there.
fn is_free_body(index: &Index, slot: u32) -> bool {
    index.used_as(slot) == Use::Free && index.link.get(slot) != NO_SLOT
}

/// What unclaimed body blocks go on to, and they, in order.
fn slots_by_target(index: &Index) -> Vec<(u32, u32)> {
    let bodies = (0..index.slots()).filter(|slot| is_free_body(index, *slot));
    let mut pairs: Vec<(u32, u32)> = bodies.map(|slot| (index.link.get(slot), slot)).collect();
    pairs.sort_unstable();
    pairs
}

impl Queue {
    /// The number that what stands in `slot` is called by. A header that could not be read has none
    /// that is known, and its state entry speaks of who died there before, or of nobody: it is
    /// called by its place. No message is ever called so: their numbers bear an epoch.
    pub(super) fn number_in(&self, slot: u32) -> u64 {
        let state = self.index.state(slot);
        let is_unread = self.index.used_as(slot) == Use::Damaged && state.flags & State::DEAD != 0;
        if is_unread { u64::from(slot) + 1 } else { state.seq }
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::{Block, DiskError, new_block};
    use super::super::draft::{Origin, Summary};
    use super::super::envelope::Record;
    use super::super::image::Ticket;
    use super::super::memory_disk::MemoryDisk;
    use super::super::recovery::{format, recover};
    use super::*;
    use crate::base::time::Instant;
    use std::collections::BTreeSet;

    const NOW: Instant = Instant::from_millis(0);

    /// A disk of which every n-th block cannot be read.
    struct Dying {
        disk: MemoryDisk,
        bad: Vec<bool>,
    }

    impl Disk for Dying {
        fn blocks(&self) -> u32 {
            self.disk.blocks()
        }
        fn read(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError> {
            let is_bad = self.bad.get(number as usize).copied().unwrap_or(false);
            let read = self.disk.read(number, into);
            if is_bad { Err(DiskError::Io) } else { read }
        }
        fn read_medium(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError> {
            self.read(number, into)
        }
        fn write(&mut self, number: u32, from: &Block) -> Result<(), DiskError> {
            self.disk.write(number, from)
        }
        fn sync(&mut self) -> Result<(), DiskError> {
            self.disk.sync()
        }
    }

    /// Messages of three blocks each, as many as find room.
    fn image(blocks: usize) -> (MemoryDisk, Vec<Ticket>) {
        let mut disk = MemoryDisk::new(blocks);
        format(&mut disk, [9; 24], 0).unwrap();
        let (mut queue, _) = recover(&mut disk, NOW, 1, None).unwrap();
        let mut buffer = new_block();
        let mut tickets = Vec::new();
        while let Ok(mut draft) = queue.begin(&mut disk, Origin::Client, Some(9000)) {
            for record in [Record::Sender(b"a@b"), Record::Recipient(b"c@d")] {
                queue.record(&mut disk, &mut draft, &mut buffer, &record).unwrap();
            }
            queue.append(&mut disk, &mut draft, &mut buffer, &[b'x'; 9000]).unwrap();
            let summary = Summary::default();
            tickets.push(queue.finish(&mut disk, draft, &mut buffer, 7, summary, NOW).unwrap());
            queue.commit(&mut disk, NOW, |_, receipt| assert!(receipt.is_ok()));
        }
        (disk, tickets)
    }

    fn shown(queue: &Queue) -> Vec<Ticket> {
        let (mut shown, mut from) = (Vec::new(), 0);
        while let Some(waiting) = queue.next_waiting(from) {
            from = waiting.ticket.slot + 1;
            shown.push(waiting.ticket);
        }
        shown
    }

    #[test]
    fn what_cannot_be_read_has_each_its_own_number() {
        let (memory, tickets) = image(400);
        // Headers that are known of, headers that are not, and slots where nothing stood.
        let mut disk = memory.clone();
        disk.unreadable.extend(tickets[..5].iter().map(|ticket| layout::block_of(ticket.slot)));
        let free = (0..layout::slots_in(400)).rev().take(9).map(layout::block_of);
        disk.unreadable.extend(free);
        for _ in 0..2 {
            let (mut queue, found) = recover(&mut disk, NOW, 1, None).unwrap();
            let shown = shown(&queue);
            let numbers: BTreeSet<u64> = shown.iter().map(|ticket| ticket.seq).collect();
            assert_eq!(numbers.len(), shown.len(), "{found:?}");
            assert!(found.damaged >= 5);
            assert_eq!((found.damaged + found.messages) as usize, shown.len());
            assert!(shown.iter().all(|ticket| queue.find(ticket.seq) == Some(*ticket)));
            // Held or let go, they keep it.
            assert!(shown.iter().all(|ticket| queue.set_flag(*ticket, State::HELD, false, NOW)));
            assert!(shown.iter().all(|ticket| queue.waiting(*ticket).is_some()));
        }
        // The medium comes back: so do they, and nothing else.
        disk.unreadable.clear();
        let (queue, found) = recover(&mut disk, NOW, 1, None).unwrap();
        assert_eq!((found.messages as usize, found.damaged), (tickets.len(), 0));
        assert_eq!(shown(&queue).len(), tickets.len());
    }

    #[test]
    fn a_dying_disk_is_read_a_few_times_however_much_of_it_is_gone() {
        let blocks = 6000;
        let (disk, tickets) = image(blocks);
        let mut reads = Vec::new();
        for every in [1000, 4] {
            // Their first body blocks, and some headers.
            let mut bad = vec![false; blocks];
            for (at, ticket) in tickets.iter().enumerate().filter(|(at, _)| at % every == 0) {
                let back = if at % (2 * every) == 0 { 0 } else { 2 };
                bad[layout::block_of(ticket.slot - back) as usize] = true;
            }
            let mut disk = Dying { disk: disk.clone(), bad };
            disk.disk.reads = 0;
            let (queue, found) = recover(&mut disk, NOW, 1, None).unwrap();
            assert_eq!((found.messages + found.damaged) as usize, tickets.len());
            let (slots, free) = queue.space();
            assert!(slots - free >= 3 * tickets.len() as u32, "what belongs to them is kept");
            reads.push(disk.disk.reads);
        }
        assert!(reads.iter().all(|reads| *reads <= 4 * blocks as u64), "{reads:?}");
    }
}
