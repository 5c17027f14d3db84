//! What a queue that broke still knows when its image is recovered under it (I11).
//!
//! After a failed sync the process lives on, and of three things its memory is a better witness
//! than the medium: which messages were durable (whatever else a block shows was answered 451, or
//! is over), what is marked of them though no page has it yet, and where they stand. So
//!
//! - what memory knows to be over stays over, whichever page or block cannot be read just now;
//! - what memory knows to be durable and the medium does not give back just now is no damage: it
//!   stays as it was, and is checked when it is read out (I18);
//! - a slot that cannot be read, and on which nothing stood, is free: there is nothing to keep;
//! - of two copies of a page or superblock the one that memory calls the newest is not written
//!   over, also when it cannot be read (I6).
//!
//! Only what could not be read already when this queue was opened is not known: it is judged by the
//! medium alone, as at a start.

use super::block::State;
use super::fault::{Check, Subject};
use super::image::{Counters, Queue, Ticket};
use super::index::Use;
use super::layout;
use super::mutant::{self, Mutant};
use super::recovery::{RecoverError, Roots, Scan};

impl Queue {
    /// False if `ticket` was durable here and needs something more; what could not be read at this
    /// queue's opening may have been.
    pub(super) fn is_over(&self, ticket: Ticket) -> bool {
        let state = self.index.state(ticket.slot);
        match self.index.used_as(ticket.slot) {
            Use::Message => state.seq != ticket.seq,
            Use::Damaged => state.seq > ticket.seq,
            _ if mutant::is(Mutant::OverByNumber) => {
                state.seq == ticket.seq || ticket.seq > self.synced
            }
            _ => true,
        }
    }

    /// What is marked here of a message that was durable, be it on disk or not.
    pub(super) fn known_state(&self, ticket: Ticket) -> Option<State> {
        self.living_state(ticket.slot).filter(|state| state.seq == ticket.seq)
    }

    /// The same for whatever message stands in `slot`.
    fn living_state(&self, slot: u32) -> Option<State> {
        let is_live = matches!(self.index.used_as(slot), Use::Message | Use::Damaged);
        is_live.then(|| self.index.state(slot))
    }

    /// Takes over from the queue that broke what no two openings may say differently, and what it
    /// has counted. `roots` are what the medium gave.
    pub(super) fn succeed(&mut self, broken: &Queue, roots: &Roots) {
        // No generation is issued twice, even if nobody can read the copy that bears it.
        let newest = self.superblock.generation.max(broken.superblock.generation);
        self.superblock.generation = newest;
        // `status` counts from the start of the process.
        let found = self.counters;
        self.counters = Counters { damaged: found.damaged, ..broken.counters };
        if matches!(roots.failure, RecoverError::Disk(_)) {
            self.superblock_copy = broken.superblock_copy;
        }
    }
}

impl Scan<'_> {
    /// After the candidates have been judged: what memory has to say of the rest. Afterwards
    /// nothing is `Use::Unread` but what could not be read at the last opening either.
    pub(super) fn recall(&mut self, broken: &Queue) {
        let mut from = 0;
        while let Some(slot) = broken.index.find(from, Use::Message) {
            from = slot + 1;
            match self.queue.index.used_as(slot) {
                Use::Unread => self.trust(slot, broken),
                // Not even a header of its number stands there.
                Use::Free => self.miss(slot, broken),
                _ => {}
            }
        }
        let (mut claimed, mut from) = (None, 0);
        while let Some(slot) = self.queue.index.find(from, Use::Unread) {
            let claimed = claimed.get_or_insert_with(|| claimed_by(broken));
            from = slot + 1;
            let is_claimed = claimed.get(slot as usize).copied().unwrap_or(false);
            if broken.index.used_as(slot) != Use::Damaged && !is_claimed {
                self.queue.index.set_use(slot, Use::Free);
                self.queue.index.set_state(slot, State::default());
                // A header that was refused may stand there.
                self.is_settled = false;
            }
        }
    }

    /// Takes the message in `slot` for whole, as `broken` knows it.
    fn trust(&mut self, slot: u32, broken: &Queue) {
        let first = broken.index.link.get(slot);
        let chain = || broken.index.chain(first, slot);
        let is_free = |part| matches!(self.queue.index.used_as(part), Use::Free | Use::Unread);
        if !chain().all(is_free) {
            // Only a forged image has another message stand on its blocks.
            return self.miss(slot, broken);
        }
        let index = &mut self.queue.index;
        for part in chain() {
            index.set_use(part, Use::Body);
            index.set_state(part, State::default());
            index.link.set(part, broken.index.link.get(part));
        }
        let state = broken.index.state(slot);
        index.set_use(slot, Use::Message);
        index.set_state(slot, state);
        index.recipients.set(slot, broken.index.recipients.get(slot));
        index.arrival.set(slot, broken.index.arrival.get(slot));
        index.imported.set(slot, broken.index.imported.get(slot));
        self.highest = self.highest.max(state.seq);
        self.found.messages += 1;
    }

    /// It was durable, and is not there: damage, whatever the pages say.
    fn miss(&mut self, slot: u32, broken: &Queue) {
        let state = broken.index.state(slot);
        let ticket = Ticket { slot, seq: state.seq };
        let subject = Subject::Message { ticket, part: 0 };
        self.fault(layout::block_of(slot), subject, Check::Replaced);
        self.queue.index.link.set(slot, slot);
        self.queue.index.set_state(slot, state);
        self.keep_damaged(slot);
    }
}

/// For each slot, whether `broken` keeps it for a message whose header it could not read.
fn claimed_by(broken: &Queue) -> Vec<bool> {
    let mut claimed = vec![false; broken.index.slots() as usize];
    let mut from = 0;
    while let Some(header) = broken.index.find(from, Use::Damaged) {
        from = header + 1;
        let first = broken.index.link.get(header);
        for part in broken.index.chain(first, header) {
            claimed.get_mut(part as usize).into_iter().for_each(|place| *place = true);
        }
    }
    claimed
}
