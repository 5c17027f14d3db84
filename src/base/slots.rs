//! Handles to fixed slots: an index, and the generation of what lives there.
//!
//! A slot is reused, a handle is not: an answer that comes late (a name resolved, a sync finished)
//! names the generation that asked, and finds nobody when that one is gone.

/// Who lives in a slot right now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Handle {
    /// Which slot.
    pub index: u16,
    /// The how-manieth inhabitant of the slot.
    pub generation: u16,
}

/// Generations go round after this one, so that a handle fits 30 bits.
pub const GENERATION_MAX: u16 = 0x3fff;

/// A fixed row of slots, made once; each is free or holds one `T` that stays in its memory.
pub struct Slots<T> {
    rows: Box<[Row<T>]>,
    taken: usize,
}

struct Row<T> {
    generation: u16,
    taken: bool,
    value: T,
}

impl<T> Slots<T> {
    /// `count` free slots, each with its memory made by `make`.
    pub fn new(count: u16, make: impl FnMut() -> T) -> Slots<T> {
        let row = |value| Row { generation: 0, taken: false, value };
        let rows = core::iter::repeat_with(make).take(usize::from(count)).map(row).collect();
        Slots { rows, taken: 0 }
    }

    /// Takes the first free slot for which `fit` says yes; its value is as its last tenant left it.
    pub fn take(&mut self, fit: impl Fn(u16) -> bool) -> Option<(Handle, &mut T)> {
        let index = (0..).zip(self.rows.iter()).find(|(i, row)| !row.taken && fit(*i))?.0;
        let row = self.rows.get_mut(usize::from(index))?;
        row.taken = true;
        row.generation = (row.generation + 1) & GENERATION_MAX;
        self.taken += 1;
        Some((Handle { index, generation: row.generation }, &mut row.value))
    }

    /// Frees the slot at `index`, if it was taken.
    pub fn free(&mut self, index: u16) {
        if let Some(row) = self.rows.get_mut(usize::from(index)).filter(|row| row.taken) {
            row.taken = false;
            self.taken -= 1;
        }
    }

    /// What lives in slot `index` now.
    pub fn at(&mut self, index: u16) -> Option<(Handle, &mut T)> {
        let row = self.rows.get_mut(usize::from(index)).filter(|row| row.taken)?;
        Some((Handle { index, generation: row.generation }, &mut row.value))
    }

    /// What `handle` named, unless it is gone.
    pub fn get(&mut self, handle: Handle) -> Option<&mut T> {
        let (found, value) = self.at(handle.index)?;
        (found == handle).then_some(value)
    }

    /// All taken slots in order.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &T)> {
        (0..).zip(self.rows.iter()).filter(|(_, row)| row.taken).map(|(i, row)| (i, &row.value))
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// How many there are.
    pub fn capacity(&self) -> u16 {
        u16::try_from(self.rows.len()).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_dies_with_its_tenant() {
        let mut slots = Slots::new(2, || 0);
        let (first, value) = slots.take(|_| true).unwrap();
        *value = 7;
        assert_eq!(slots.get(first), Some(&mut 7));
        slots.free(first.index);
        assert_eq!(slots.get(first), None);
        let (second, _) = slots.take(|_| true).unwrap();
        assert_eq!(second.index, first.index);
        assert_eq!(slots.get(first), None);
        assert!(slots.take(|_| true).is_some());
        assert!(slots.take(|_| true).is_none());
        assert_eq!(slots.taken(), 2);
    }
}
