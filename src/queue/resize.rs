//! Making an image larger or smaller, before it is recovered at a start.
//!
//! Growing: the file is made longer and filled, what is new is made to say nothing, new groups get
//! their state pages, all of that is synced; only then a superblock with the new size is written.
//! A last group that was short is completed that way too. Shrinking: only if nothing stands on
//! what goes; the superblock first, then the file. So an image is as large as its newest superblock
//! says at any moment, and the power may be cut at any: what is left is the old size or the new.
//! The recovery that follows writes the other superblock too. What a cut has left of an attempt to
//! grow is given back before anything else: a disk that has no room now has at least that again,
//! and what grows is filled anew, for nobody knows how much of it was.
//!
//! What is new may have been the image's before, in a larger life: whole blocks in there are wiped,
//! and the new state pages call everything dead that this epoch or an earlier one could have left
//! (I4, I9).

use super::block::{self, Seal, State, StatePage, Superblock};
use super::disk::{Disk, DiskError, new_block};
use super::inspect::inspect;
use super::layout::{self, GROUP_SLOTS};
use super::recovery::{RecoverError, Roots};
use crate::base::time::Instant;

/// A disk whose length can be changed.
pub trait Extent: Disk {
    /// Makes it `blocks` long. Blocks that are new belong to it from then on, whatever they hold;
    /// on an error it is as long as before. Durable with the next sync.
    fn set_blocks(&mut self, blocks: u32) -> Result<(), DiskError>;
}

/// What came of it. Sizes are in slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fit {
    /// It has the size, or is none that a recovery would take.
    Same,
    /// It is larger now.
    Grown {
        /// Before.
        from: u32,
        /// Now.
        to: u32,
    },
    /// It is smaller now.
    Shrunk {
        /// Before.
        from: u32,
        /// Now.
        to: u32,
    },
    /// It stays as large as it is: mail stands on what would go.
    Occupied {
        /// On so many slots.
        used: u32,
        /// How large it is.
        slots: u32,
    },
    /// It stays as small as it is: the file system has no room.
    NoRoom {
        /// How large it is.
        slots: u32,
    },
}

/// Makes the image on `disk` one of `blocks` blocks; without that it keeps the size it has.
pub fn fit(
    disk: &mut impl Extent,
    blocks: impl Into<Option<u32>>,
    now: Instant,
) -> Result<Fit, RecoverError> {
    // As recovery does: what is read is durable (I6).
    disk.sync()?;
    let roots = match Roots::read(disk, &mut |_| {}) {
        Ok(roots) => roots,
        // The recovery that follows says what is wrong.
        Err(_) => return Ok(Fit::Same),
    };
    let (Some(seal), Some((superblock, copy))) = (roots.seal, roots.newest) else {
        return Ok(Fit::Same);
    };
    let from = superblock.slots;
    let needed = layout::blocks_for(from);
    let blocks = blocks.into().unwrap_or(needed);
    let to = layout::slots_in(blocks);
    if to == 0 || from == 0 || needed > disk.blocks() {
        return Ok(Fit::Same);
    }
    if layout::slots_in(disk.blocks()) > from {
        // What a cut has left of an earlier change. Where it stays, it is in nobody's way.
        let _ = disk.set_blocks(needed);
    }
    let mut image = Image { disk, seal, superblock, copy };
    if to > from {
        return image.grow(blocks, to);
    }
    if to < from {
        let looked = inspect(image.disk, now, |_| {})?;
        let used = looked.used_from(to);
        if used > 0 {
            return Ok(Fit::Occupied { used, slots: from });
        }
        image.write_size(to)?;
    }
    if image.disk.blocks() > blocks {
        let _ = image.disk.set_blocks(blocks);
    }
    Ok(if to < from { Fit::Shrunk { from, to } } else { Fit::Same })
}

struct Image<'a, D> {
    disk: &'a mut D,
    seal: Seal,
    superblock: Superblock,
    copy: usize,
}

impl<D: Extent> Image<'_, D> {
    fn grow(&mut self, blocks: u32, to: u32) -> Result<Fit, RecoverError> {
        let (from, before) = (self.superblock.slots, self.disk.blocks());
        if before < blocks && self.disk.set_blocks(blocks).is_err() {
            return Ok(Fit::NoRoom { slots: from });
        }
        match self.prepare(from, to) {
            Ok(()) => {}
            Err(DiskError::Full) => {
                let _ = self.disk.set_blocks(before);
                return Ok(Fit::NoRoom { slots: from });
            }
            Err(error) => return Err(error.into()),
        }
        self.disk.sync()?;
        self.write_size(to)?;
        Ok(Fit::Grown { from, to })
    }

    /// Makes slots `from` to `to` say nothing.
    fn prepare(&mut self, from: u32, to: u32) -> Result<(), DiskError> {
        let mut block = new_block();
        for slot in from..to {
            let number = layout::block_of(slot);
            self.disk.read(number, &mut block)?;
            let says_something = block::read_data(number, &block, &self.seal).is_some()
                || block::spoiled_header_seq(&block).is_some();
            if says_something {
                block.fill(0);
                self.disk.write(number, &block)?;
            }
        }
        let floor = (u64::from(self.superblock.epoch) + 1) << 32;
        let nothing = State { seq: floor, flags: State::DEAD, done: 0 };
        for group in layout::groups_for(from)..layout::groups_for(to) {
            for copy in 0..2 {
                let number = layout::state_page(group, copy);
                let page = StatePage { generation: copy.into(), synced: 0, run: 0 };
                let entries = core::iter::repeat_n(nothing, GROUP_SLOTS as usize);
                block::write_state_page(number, &mut block, &self.seal, &page, entries);
                self.disk.write(number, &block)?;
            }
        }
        Ok(())
    }

    /// The new size, over the older superblock (I6), durable.
    fn write_size(&mut self, slots: u32) -> Result<(), DiskError> {
        self.copy = 1 - self.copy;
        let Some(number) = layout::SUPERBLOCKS.get(self.copy).copied() else { return Ok(()) };
        self.superblock.generation = self.superblock.generation.saturating_add(1);
        self.superblock.slots = slots;
        let mut block = new_block();
        block::write_superblock(number, &mut block, &self.seal, &self.superblock);
        self.disk.write(number, &block)?;
        self.disk.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::disk::{BLOCK_BYTES, Block};
    use crate::queue::draft::{Origin, Summary};
    use crate::queue::envelope::Record;
    use crate::queue::reader::Reader;
    use crate::queue::recovery::{format, recover};
    use crate::queue::{Queue, Ticket};

    const NOW: Instant = Instant::from_millis(0);

    /// A file that may lose its power: what is durable, and what was done to it since, in order.
    #[derive(Clone)]
    struct Disc {
        durable: Vec<Block>,
        now: Vec<Block>,
        pending: Vec<Op>,
        /// What the power may be cut at, if it is of interest.
        moments: Option<Vec<(Vec<Block>, Vec<Op>)>>,
        room: u32,
        /// It cannot be made shorter.
        is_stiff: bool,
    }

    #[derive(Clone)]
    enum Op {
        Write(u32, Box<Block>),
        Length(u32),
    }

    impl Disc {
        fn new(blocks: u32) -> Disc {
            let bytes = vec![[0; BLOCK_BYTES]; blocks as usize];
            let (durable, now) = (bytes.clone(), bytes);
            let pending = Vec::new();
            Disc { durable, now, pending, moments: None, room: u32::MAX, is_stiff: false }
        }

        fn note(&mut self) {
            if let Some(moments) = &mut self.moments {
                moments.push((self.durable.clone(), self.pending.clone()));
            }
        }
    }

    impl Disk for Disc {
        fn blocks(&self) -> u32 {
            self.now.len() as u32
        }
        fn read(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError> {
            *into = *self.now.get(number as usize).ok_or(DiskError::Io)?;
            Ok(())
        }
        fn read_medium(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError> {
            self.read(number, into)
        }
        fn write(&mut self, number: u32, from: &Block) -> Result<(), DiskError> {
            *self.now.get_mut(number as usize).ok_or(DiskError::Io)? = *from;
            self.pending.push(Op::Write(number, Box::new(*from)));
            self.note();
            Ok(())
        }
        fn sync(&mut self) -> Result<(), DiskError> {
            self.durable.clone_from(&self.now);
            self.pending.clear();
            self.note();
            Ok(())
        }
    }

    impl Extent for Disc {
        fn set_blocks(&mut self, blocks: u32) -> Result<(), DiskError> {
            if blocks > self.room || (self.is_stiff && blocks < self.blocks()) {
                return Err(DiskError::Full);
            }
            self.now.resize(blocks as usize, [0x5a; BLOCK_BYTES]);
            self.pending.push(Op::Length(blocks));
            self.note();
            Ok(())
        }
    }

    /// The power was cut: every write, and every change of length, has landed or not; some writes
    /// in part.
    fn after_cut(durable: &[Block], pending: &[Op], mut seed: u64) -> Disc {
        let mut next = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed >> 33
        };
        let mut bytes = durable.to_vec();
        for op in pending {
            let fate = next() % 4;
            match op {
                Op::Length(blocks) if fate > 0 => bytes.resize(*blocks as usize, [0; BLOCK_BYTES]),
                Op::Write(number, from) => {
                    let Some(place) = bytes.get_mut(*number as usize) else { continue };
                    let torn = 512 * (next() as usize % 8);
                    match fate {
                        0 | 1 => *place = **from,
                        2 => place[..torn].copy_from_slice(&from[..torn]),
                        _ => {}
                    }
                }
                Op::Length(_) => {}
            }
        }
        Disc { durable: bytes.clone(), now: bytes, ..Disc::new(0) }
    }

    fn add(disk: &mut Disc, queue: &mut Queue, len: usize) -> Ticket {
        let mut buffer = new_block();
        let mut draft = queue.begin(disk, Origin::Client, None).unwrap();
        for record in [Record::Sender(b"a@b"), Record::Recipient(b"c@d")] {
            queue.record(disk, &mut draft, &mut buffer, &record).unwrap();
        }
        queue.append(disk, &mut draft, &mut buffer, &vec![b'x'; len]).unwrap();
        let summary = Summary::default();
        let ticket = queue.finish(disk, draft, &mut buffer, 7, summary, NOW).unwrap();
        queue.commit(disk, NOW, |_, receipt| assert!(receipt.is_ok()));
        ticket
    }

    /// An image with messages at its front.
    fn image(blocks: u32) -> (Disc, Vec<Ticket>) {
        let mut disk = Disc::new(blocks);
        format(&mut disk, [9; 24], 0).unwrap();
        let (mut queue, _) = recover(&mut disk, NOW, 16, None).unwrap();
        queue.index.set_cursor(0);
        let tickets = (0..6).map(|n| add(&mut disk, &mut queue, n * 3000)).collect();
        (disk, tickets)
    }

    fn slots(disk: &mut Disc, tickets: &[Ticket]) -> u32 {
        let (queue, found) = recover(disk, NOW, 16, None).unwrap();
        assert_eq!((found.messages, found.damaged), (tickets.len() as u32, 0));
        let mut buffer = new_block();
        for ticket in tickets {
            let mut reader = Reader::open(&queue, disk, *ticket, &mut buffer).unwrap();
            while reader.next(&queue, disk, &mut buffer).unwrap().is_some() {}
        }
        queue.space().0
    }

    #[test]
    fn it_grows_and_shrinks_and_keeps_its_mail() {
        for (from, to) in [(64, 70), (64, 173), (64, 600), (173, 400), (175, 176), (400, 700)] {
            let (mut disk, mut tickets) = image(from);
            let (small, large) = (layout::slots_in(from), layout::slots_in(to));
            assert_eq!(fit(&mut disk, from, NOW), Ok(Fit::Same));
            let grown = fit(&mut disk, to, NOW);
            let grew = Fit::Grown { from: small, to: large };
            assert_eq!(grown, Ok(if small == large { Fit::Same } else { grew }));
            assert_eq!(slots(&mut disk, &tickets), large);
            let (mut queue, _) = recover(&mut disk, NOW, 16, None).unwrap();
            queue.index.set_cursor(small);
            tickets.push(add(&mut disk, &mut queue, 20_000));
            assert_eq!(slots(&mut disk, &tickets), large);
            if small < large {
                let kept = fit(&mut disk, from, NOW).unwrap();
                assert!(
                    matches!(kept, Fit::Occupied { used, slots } if used > 0 && slots == large),
                    "{kept:?}"
                );
            }
            let (mut queue, _) = recover(&mut disk, NOW, 16, None).unwrap();
            tickets.drain(6..).for_each(|ticket| assert!(queue.remove(ticket, NOW)));
            queue.commit(&mut disk, NOW, |_, _| {});
            let shrunk = fit(&mut disk, from, NOW).unwrap();
            if small < large {
                assert_eq!(shrunk, Fit::Shrunk { from: large, to: small });
            }
            assert_eq!(disk.blocks(), from);
            assert_eq!(slots(&mut disk, &tickets), small);
            // Once more: what stood there before says nothing now.
            fit(&mut disk, to, NOW).unwrap();
            assert_eq!(slots(&mut disk, &tickets), large);
        }
    }

    #[test]
    fn what_stood_there_in_a_larger_life_stays_dead() {
        let (mut disk, tickets) = image(400);
        let (mut queue, _) = recover(&mut disk, NOW, 16, None).unwrap();
        queue.index.set_cursor(300);
        let late = add(&mut disk, &mut queue, 9000);
        assert!(late.slot >= 300 && queue.remove(late, NOW));
        queue.commit(&mut disk, NOW, |_, _| {});
        // The file is not made shorter, nor can it be.
        let left = disk.now.clone();
        assert!(matches!(fit(&mut disk, 100, NOW), Ok(Fit::Shrunk { .. })));
        disk.now.extend_from_slice(&left[disk.now.len()..]);
        disk.is_stiff = true;
        assert!(matches!(fit(&mut disk, 400, NOW), Ok(Fit::Grown { .. })));
        let (_, found) = recover(&mut disk, NOW, 16, None).unwrap();
        assert_eq!((found.messages, found.damaged, found.dropped), (tickets.len() as u32, 0, 0));
    }

    #[test]
    fn a_cut_anywhere_leaves_the_old_size_or_the_new() {
        let cases = [(64, 64, 190), (173, 173, 360), (360, 360, 64), (400, 400, 230)];
        // What an earlier cut has left: less, or more, than is wanted now.
        for (from, left, to) in cases.into_iter().chain([(64, 130, 190), (64, 400, 190)]) {
            let (mut disk, tickets) = image(from);
            disk.set_blocks(left).unwrap();
            disk.sync().unwrap();
            disk.moments = Some(Vec::new());
            fit(&mut disk, to, NOW).unwrap();
            let moments = disk.moments.take().unwrap();
            assert!(moments.len() >= 4);
            let sizes = [from, to].map(layout::slots_in);
            for (at, (durable, pending)) in moments.iter().enumerate() {
                for seed in 0..12 {
                    let mut cut = after_cut(durable, pending, seed * 1000 + at as u64);
                    let found = slots(&mut cut.clone(), &tickets);
                    assert!(sizes.contains(&found), "{from} to {to}, cut {at}: {found} slots");
                    // A start tries again, and gets there.
                    fit(&mut cut, to, NOW).unwrap();
                    assert_eq!(slots(&mut cut, &tickets), sizes[1]);
                    assert!(cut.blocks() <= left.max(to));
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_is_left_alone() {
        let (mut disk, tickets) = image(64);
        disk.room = 100;
        assert_eq!(fit(&mut disk, 200, NOW), Ok(Fit::NoRoom { slots: 59 }));
        assert_eq!((disk.blocks(), slots(&mut disk, &tickets)), (64, 59));
        assert_eq!(fit(&mut disk, 4, NOW), Ok(Fit::Same));
        disk.now[0] = [0; BLOCK_BYTES];
        disk.now[1] = [0; BLOCK_BYTES];
        assert_eq!(fit(&mut disk, 200, NOW), Ok(Fit::Same));
        assert_eq!(fit(&mut Disc::new(64), 200, NOW), Ok(Fit::Same));
    }

    /// It stayed for ever, and was taken for the spool's size.
    #[test]
    fn what_a_cut_has_left_of_growing_is_given_back() {
        for blocks in [Some(900), Some(64), None] {
            let (mut disk, tickets) = image(64);
            disk.set_blocks(700).unwrap();
            disk.room = 700;
            let no_room = Fit::NoRoom { slots: 59 };
            let expected = if blocks == Some(900) { no_room } else { Fit::Same };
            assert_eq!(fit(&mut disk, blocks, NOW), Ok(expected));
            assert_eq!((disk.blocks(), slots(&mut disk, &tickets)), (64, 59));
        }
    }

    /// A file system may have kept the length of what a cut left, and not what was written there.
    #[test]
    fn what_a_cut_has_left_of_growing_is_filled_anew() {
        let (mut disk, tickets) = image(64);
        disk.now.resize(300, [0; BLOCK_BYTES]);
        let grown = Fit::Grown { from: 59, to: layout::slots_in(400) };
        assert_eq!(fit(&mut disk, 400, NOW), Ok(grown));
        let filled = layout::block_of(59) as usize..layout::state_page(1, 0) as usize;
        assert!(disk.now[filled].iter().all(|block| *block == [0x5a; BLOCK_BYTES]));
        assert_eq!(slots(&mut disk, &tickets), layout::slots_in(400));
    }
}
