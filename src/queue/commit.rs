//! State pages, the superblock and the sync: everything that makes something durable.
//!
//! A page or superblock is written over the older of its two copies and becomes the newest only
//! when the sync has come back (I6). A failed sync breaks the image at once (I11); a failed write
//! of one page only leaves that page to be written later, its newest copy still stands.

use super::block::{self, State, StatePage, Superblock};
use super::disk::Disk;
use super::image::{Queue, Ticket};
use super::index::Use;
use super::layout::{self, GROUP_SLOTS};
use super::mutant::{self, Mutant};
use crate::base::time::{Instant, UnixTime};

/// Seconds by which a clock that may be right is taken to have been set back.
const SET_BACK_MAX: i64 = 366 * 86_400;

impl Queue {
    /// Syncs, with all dirty state pages (`pages`) and the superblock (`refresh`) on board. False:
    /// the image is broken now.
    pub(super) fn sync(&mut self, disk: &mut dyn Disk, pages: bool, refresh: bool) -> bool {
        if self.broken {
            return false;
        }
        if pages && !self.write_dirty_pages(disk) {
            self.marks.postpone(self.clock);
        }
        let refreshed = refresh && self.write_superblock(disk);
        self.counters.syncs += 1;
        let is_good =
            disk.sync().is_ok() || (mutant::is(Mutant::RetriedSync) && disk.sync().is_ok());
        if !is_good {
            self.broken = true;
            return false;
        }
        if refreshed {
            self.superblock_copy = 1 - self.superblock_copy;
        }
        if refresh {
            // If it could not be written, the next one will be.
            self.superblock_written = self.clock;
        }
        self.settle_written_groups();
        true
    }

    /// Recipients whose bits are in `done` need nothing more (I7: their 250 has come, or what they
    /// became is durable). When it was the last, the message is dying. False: there is no such
    /// message any more.
    pub fn mark_done(&mut self, ticket: Ticket, done: u128, now: Instant) -> bool {
        let Some(mut state) = self.live_state(ticket) else { return false };
        state.done |= done;
        let all = all_recipients(self.index.recipients.get(ticket.slot));
        // Of a damaged one it may not be known how many they are.
        if all != 0 && state.done & all == all {
            self.end(ticket.slot, state, now);
        } else {
            self.put_state(ticket.slot, state, now);
        }
        true
    }

    /// Sets or clears flags of a message ([`State::HELD`]). Durable with
    /// the next commit when it is a hold or a release.
    pub fn set_flag(&mut self, ticket: Ticket, flag: u16, on: bool, now: Instant) -> bool {
        let Some(mut state) = self.live_state(ticket) else { return false };
        state.flags = if on { state.flags | flag } else { state.flags & !flag };
        self.put_state(ticket.slot, state, now);
        if flag & (State::HELD | State::RELEASED) != 0 {
            self.marks.hurry();
        }
        true
    }

    /// An administrator removes a message; durable with the next commit.
    pub fn remove(&mut self, ticket: Ticket, now: Instant) -> bool {
        let Some(mut state) = self.live_state(ticket) else { return false };
        if self.index.used_as(ticket.slot) == Use::Damaged {
            // Whatever the number of the header is that could not be read: it shall not come back.
            state.seq = state.seq.max(u64::from(self.epoch) << 32);
        }
        self.end(ticket.slot, state, now);
        self.marks.hurry();
        true
    }

    /// Found damaged while it was read out: held until an administrator decides (I18), and again
    /// when he has let it go and it is no better.
    pub fn mark_damaged(&mut self, ticket: Ticket, now: Instant) {
        let Some(mut state) = self.live_state(ticket) else { return };
        let found = State::DAMAGED | State::HELD;
        if state.flags & found != found {
            self.counters.damaged += u32::from(state.flags & State::DAMAGED == 0);
            state.flags |= found;
            self.put_state(ticket.slot, state, now);
        }
        self.index.ready.set(ticket.slot, 0);
    }

    /// Makes all marks durable with the next commit: before leaving (LAW 4: a courtesy, not a
    /// need).
    pub fn hurry(&mut self) {
        self.marks.hurry();
    }

    /// True while a change that somebody waits for is not durable, and the next commit may make it
    /// so.
    pub fn is_hurried(&self) -> bool {
        self.marks.is_hurried()
    }

    /// True from a state page that could not be written until all that is marked is durable: who
    /// waits for a change cannot be told that it lasts.
    pub fn are_marks_stuck(&self) -> bool {
        self.marks.has_failed()
    }

    /// `claim`, or the newest time that is known to have been, if that is later: a clock that
    /// starts in 1970 is wrong, and so is one that was set back (threats 24). But where a clock
    /// that may be right is years behind, it was once wrong in the future, and that shall not hold
    /// for ever.
    pub fn not_before(&self, claim: UnixTime) -> UnixTime {
        let ahead = self.superblock.wall.saturating_sub(claim.seconds);
        if ahead <= 0 || (claim.trusted && ahead > SET_BACK_MAX) {
            return claim;
        }
        UnixTime { seconds: self.superblock.wall, trusted: false }
    }

    /// The wall time that the next superblock will bear.
    pub fn note_wall(&mut self, wall: i64) {
        self.superblock.wall = self.superblock.wall.max(wall);
    }

    /// The state of a message that exists.
    pub(super) fn live_state(&self, ticket: Ticket) -> Option<State> {
        let is_live = matches!(self.index.used_as(ticket.slot), Use::Message | Use::Damaged);
        let state = self.index.state(ticket.slot);
        (is_live && self.number_in(ticket.slot) == ticket.seq).then_some(state)
    }

    fn put_state(&mut self, slot: u32, state: State, now: Instant) {
        self.index.set_state(slot, state);
        self.marks.note(Queue::group_of(slot), now);
    }

    /// The message in `slot` needs nothing more.
    fn end(&mut self, slot: u32, state: State, now: Instant) {
        let group = Queue::group_of(slot);
        self.index.set_state(slot, State { flags: state.flags | State::DEAD, ..state });
        let first = self.index.link.get(slot);
        let blocks = self.index.chain(first, slot).count() as u32;
        self.messages -= 1;
        if mutant::is(Mutant::ReuseBeforeSync) {
            self.index.free_chain(first, slot);
            return self.marks.note(group, now);
        }
        self.index.set_use(slot, Use::Dying);
        self.marks.note_dying(group, blocks, now);
    }

    fn write_dirty_pages(&mut self, disk: &mut dyn Disk) -> bool {
        let mut all = true;
        let mut from = 0;
        while let Some((group, copy)) = self.marks.next_dirty(from) {
            from = group + 1;
            if mutant::is(Mutant::StateInHeader) {
                self.mark_headers_in_place(disk, group);
            }
            let number = layout::state_page(group, copy);
            let page = StatePage {
                generation: self.next_generation(),
                synced: self.witnessed(),
                run: self.run(self.clock),
            };
            let floor = u64::from(self.epoch) << 32;
            let first = group * GROUP_SLOTS;
            let entries = (first..first + GROUP_SLOTS).map(|slot| {
                let state = self.index.state(slot);
                // I9: a slot that nothing is known of is dead below this epoch.
                if state.seq == 0 {
                    State { seq: floor, flags: State::DEAD, done: 0 }
                } else {
                    state
                }
            });
            block::write_state_page(number, &mut self.page, &self.seal, &page, entries);
            self.counters.writes += 1;
            if disk.write(number, &self.page).is_ok() {
                self.marks.written(group);
            } else {
                all = false;
            }
        }
        all
    }

    /// Writes the superblock over its older copy; it counts after the next sync.
    pub(super) fn write_superblock(&mut self, disk: &mut dyn Disk) -> bool {
        let copy = 1 - self.superblock_copy;
        let Some(number) = layout::SUPERBLOCKS.get(copy).copied() else { return false };
        self.superblock = Superblock {
            generation: self.superblock.generation.saturating_add(1),
            epoch: self.epoch,
            slots: self.index.slots(),
            run: self.run(self.clock),
            wall: self.superblock.wall,
        };
        block::write_superblock(number, &mut self.page, &self.seal, &self.superblock);
        self.counters.writes += 1;
        disk.write(number, &self.page).is_ok()
    }

    /// I5: what is dead on disk for sure may be used again.
    fn settle_written_groups(&mut self) {
        let Queue { index, marks, .. } = self;
        let mut freed = 0;
        marks.synced(|group| {
            let mut slot = group * GROUP_SLOTS;
            let end = slot + GROUP_SLOTS;
            while let Some(dying) = index.find(slot, Use::Dying).filter(|dying| *dying < end) {
                let first = index.link.get(dying);
                let before = index.free();
                index.free_chain(first, dying);
                freed += index.free() - before;
                slot = dying + 1;
            }
        });
        marks.freed(freed);
        if !marks.are_waiting() {
            self.doubtful = u64::MAX;
        }
    }

    fn next_generation(&mut self) -> u64 {
        self.generation += u32::from(!mutant::is(Mutant::GenerationRepeated));
        (u64::from(self.epoch) << 32) + u64::from(self.generation)
    }
}

/// The bits of `count` recipients.
pub fn all_recipients(count: u8) -> u128 {
    1u128.checked_shl(u32::from(count)).map_or(u128::MAX, |bit| bit - 1)
}
