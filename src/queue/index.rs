//! What the queue knows in memory of every slot: parallel rows, made once, never searched by hash.
//!
//! 57 bytes a slot, of which untouched ones cost 4: but for `link` a row is zeroed by the kernel
//! and zero means free. `needs`, `ready` and `due` belong to the relay; the queue only keeps them.

use super::block::State;
use super::layout::NO_SLOT;

/// One value a slot. Out of range reads as zero; every caller's slot comes from this queue.
pub(super) struct Row<T>(Vec<T>);

impl<T: Copy + Default> Row<T> {
    fn new(slots: u32) -> Row<T>
    where
        Vec<T>: FromIterator<T>,
    {
        Row(vec![T::default(); slots as usize])
    }

    pub(super) fn get(&self, slot: u32) -> T {
        self.0.get(slot as usize).copied().unwrap_or_default()
    }

    pub(super) fn set(&mut self, slot: u32, value: T) {
        debug_assert!((slot as usize) < self.0.len(), "slot {slot} is not in this image");
        if let Some(place) = self.0.get_mut(slot as usize) {
            *place = value;
        }
    }
}

/// What a slot is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Use {
    /// May be written.
    Free,
    /// Belongs to a draft, or is a body block of a message taken since this opening.
    Draft,
    /// A body block of a message that a recovery has claimed.
    Body,
    /// The header block of a message that exists.
    Message,
    /// The header block of a message that needs nothing more; its blocks are not free before a
    /// state page that says so is durable (I5).
    Dying,
    /// A header block whose message cannot be read whole (I10).
    Damaged,
    /// Only during recovery: the medium did not give the block back.
    Unread,
}

impl Use {
    const ALL: [Use; 7] =
        [Use::Free, Use::Draft, Use::Body, Use::Message, Use::Dying, Use::Damaged, Use::Unread];
}

/// The rows.
pub(super) struct Index {
    uses: Row<u8>,
    /// Of a body block or a draft's: the slot that goes on. Of a header: the first of its chain.
    pub(super) link: Row<u32>,
    seq: Row<u64>,
    flags: Row<u16>,
    done: Row<u128>,
    pub(super) recipients: Row<u8>,
    /// `run` at arrival, seconds.
    pub(super) arrival: Row<u32>,
    /// 0, or the drop file may still be there: 1, or [`Index::REMOVED`].
    pub(super) imported: Row<u8>,
    pub(super) due: Row<u32>,
    pub(super) needs: Row<u32>,
    pub(super) ready: Row<u32>,
    /// `run` until which a sender wants it held; 0 for none.
    pub(super) later: Row<u32>,
    /// `run` at which its sender is to be told, or it is too late; 0 for none.
    pub(super) deadline: Row<u32>,
    slots: u32,
    free: u32,
    cursor: u32,
}

impl Index {
    /// The drop file is removed; it may come back with a power cut.
    pub(super) const REMOVED: u8 = 2;

    /// What the rows of so many slots take, and what a recovery notes of them on its way.
    pub(super) fn bytes_for(slots: u32) -> u64 {
        u64::from(slots) * 64
    }

    /// False if there is no memory for so many slots: an image from elsewhere may be of any size.
    pub(super) fn has_memory(slots: u32) -> bool {
        let mut rows: Vec<u8> = Vec::new();
        let bytes = usize::try_from(Index::bytes_for(slots)).unwrap_or(usize::MAX);
        let reserved = rows.try_reserve_exact(bytes);
        // It is asked for in earnest.
        core::hint::black_box(&rows);
        reserved.is_ok()
    }

    pub(super) fn new(slots: u32) -> Index {
        Index {
            uses: Row::new(slots),
            // The one wide row that grows with a mail's bytes is written now: a large mail takes no
            // memory that was not there at the start.
            link: Row(vec![NO_SLOT; slots as usize]),
            seq: Row::new(slots),
            flags: Row::new(slots),
            done: Row::new(slots),
            recipients: Row::new(slots),
            arrival: Row::new(slots),
            imported: Row::new(slots),
            due: Row::new(slots),
            needs: Row::new(slots),
            ready: Row::new(slots),
            later: Row::new(slots),
            deadline: Row::new(slots),
            slots,
            free: slots,
            cursor: 0,
        }
    }

    pub(super) fn slots(&self) -> u32 {
        self.slots
    }

    pub(super) fn free(&self) -> u32 {
        self.free
    }

    pub(super) fn used_as(&self, slot: u32) -> Use {
        Use::ALL.get(usize::from(self.uses.get(slot))).copied().unwrap_or(Use::Free)
    }

    pub(super) fn set_use(&mut self, slot: u32, to: Use) {
        match (self.used_as(slot), to) {
            (Use::Free, Use::Free) => {}
            (Use::Free, _) => self.free -= 1,
            (_, Use::Free) => self.free += 1,
            _ => {}
        }
        self.uses.set(slot, to as u8);
    }

    /// What the slot's state entry says. A slot of which nothing is known has `seq` 0.
    pub(super) fn state(&self, slot: u32) -> State {
        State { seq: self.seq.get(slot), flags: self.flags.get(slot), done: self.done.get(slot) }
    }

    pub(super) fn set_state(&mut self, slot: u32, state: State) {
        self.seq.set(slot, state.seq);
        self.flags.set(slot, state.flags);
        self.done.set(slot, state.done);
    }

    /// Takes the next free slot after the last one taken (next fit: wear is level, and the marks
    /// of neighbours in time share a state page).
    pub(super) fn take_free(&mut self) -> Option<u32> {
        let (before, after) = self.uses.0.split_at_checked(self.cursor as usize)?;
        let ahead = memchr::memchr(Use::Free as u8, after).map(|at| self.cursor + at as u32);
        let slot = ahead.or_else(|| memchr::memchr(Use::Free as u8, before).map(|at| at as u32))?;
        self.cursor = (slot + 1) % self.slots.max(1);
        self.set_use(slot, Use::Draft);
        Some(slot)
    }

    /// Sets where the next search begins.
    pub(super) fn set_cursor(&mut self, slot: u32) {
        self.cursor = slot % self.slots.max(1);
    }

    /// The slots of a chain from `first` on to `last`, which comes last.
    pub(super) fn chain(&self, first: u32, last: u32) -> impl Iterator<Item = u32> {
        let mut next = first;
        let mut left = self.slots;
        core::iter::from_fn(move || {
            let slot = next;
            if slot == NO_SLOT || left == 0 {
                return None;
            }
            left -= 1;
            next = if slot == last { NO_SLOT } else { self.link.get(slot) };
            Some(slot)
        })
    }

    /// Frees a chain.
    pub(super) fn free_chain(&mut self, first: u32, last: u32) {
        let mut slot = first;
        for _ in 0..self.slots {
            let next = self.link.get(slot);
            self.set_use(slot, Use::Free);
            if slot == last {
                return;
            }
            slot = next;
        }
        debug_assert!(false, "a chain from {first} never reaches {last}");
    }

    /// The next slot at or after `from` that is used as `one` or as `other`.
    pub(super) fn find_either(&self, from: u32, one: Use, other: Use) -> Option<u32> {
        let rest = self.uses.0.get(from as usize..)?;
        memchr::memchr2(one as u8, other as u8, rest).map(|at| from + at as u32)
    }

    /// The next slot at or after `from` that is used as `wanted`.
    pub(super) fn find(&self, from: u32, wanted: Use) -> Option<u32> {
        let rest = self.uses.0.get(from as usize..)?;
        memchr::memchr(wanted as u8, rest).map(|at| from + at as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_fit_goes_round() {
        let mut index = Index::new(3);
        assert_eq!(index.take_free(), Some(0));
        assert_eq!(index.take_free(), Some(1));
        index.set_use(0, Use::Free);
        assert_eq!(index.take_free(), Some(2), "not the one just freed");
        assert_eq!(index.take_free(), Some(0));
        assert_eq!(index.take_free(), None);
        assert_eq!(index.free(), 0);
    }

    #[test]
    fn chains_are_walked_and_freed() {
        let mut index = Index::new(4);
        for slot in [2, 0, 3] {
            index.set_use(slot, Use::Body);
        }
        index.link.set(2, 0);
        index.link.set(0, 3);
        index.link.set(3, 2);
        assert_eq!(index.chain(2, 3).collect::<Vec<_>>(), [2, 0, 3]);
        index.free_chain(2, 3);
        assert_eq!(index.free(), 4);
        assert_eq!(index.find(0, Use::Body), None);
    }
}
