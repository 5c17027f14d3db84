//! A disk that can lose its power, and fail in the other ways that disks fail.
//!
//! What is durable, what has been written since the last sync, and what the system's cache claims
//! are three things. A power cut decides for every un-synced 512-byte sector which of its versions
//! the medium has; one of them may be noise. A sync may fail: then a random part has landed, and
//! the cache calls all of it clean, as Linux does. Blocks are shared, so a copy of the disk costs
//! little; every write and every good sync leaves a [`Moment`] at which the power can be cut
//! afterwards.

use super::random::Random;
use mote::queue::disk::{BLOCK_BYTES, Block, Disk, DiskError};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

const SECTOR: usize = 512;

/// All blocks of a medium.
pub type Image = Rc<Vec<Rc<Block>>>;

/// The disk as it was at one moment: what is durable, and what is not yet.
#[derive(Clone)]
pub struct Moment {
    pub durable: Image,
    pub pending: Vec<(u32, Rc<Block>)>,
}

/// How the disk misbehaves.
#[derive(Clone, Default)]
pub struct Faults {
    /// Writes until one fails.
    pub write_in: Option<u32>,
    /// How many fail then.
    pub write_fails: u32,
    /// Syncs until one fails.
    pub sync_in: Option<u32>,
    /// Blocks that the medium does not give back.
    pub unreadable: BTreeSet<u32>,
}

/// How a power cut treats what was not synced.
#[derive(Clone, Copy)]
pub struct Cut {
    /// Of 12 blocks written and not synced, how many are torn; the rest is kept or lost.
    pub torn: usize,
}

pub struct SimDisk {
    durable: Image,
    pending: Vec<(u32, Rc<Block>)>,
    /// What the cache says where that is not what is durable.
    cache: BTreeMap<u32, Rc<Block>>,
    pub faults: Faults,
    pub random: Random,
    /// After a failed sync nothing may be written before somebody recovers.
    closed: bool,
    /// A rule about the use of disks that was broken.
    pub outrage: Option<&'static str>,
    pub is_recording: bool,
    moments: Vec<Moment>,
    write_failed: bool,
}

impl SimDisk {
    pub fn new(image: Image, random: Random) -> SimDisk {
        SimDisk {
            durable: image,
            pending: Vec::new(),
            cache: BTreeMap::new(),
            faults: Faults::default(),
            random,
            closed: false,
            outrage: None,
            is_recording: false,
            moments: Vec::new(),
            write_failed: false,
        }
    }

    /// A medium of zeros.
    pub fn zeros(blocks: usize) -> Image {
        let zero = Rc::new([0; BLOCK_BYTES]);
        // All the same block: it is copied when it is written.
        Rc::new((0..blocks).map(|_| zero.clone()).collect())
    }

    /// The disk after the power was cut at `moment`.
    pub fn after_cut(moment: &Moment, cut: Cut, mut random: Random) -> SimDisk {
        let mut image = moment.durable.clone();
        land(&mut image, &moment.pending, cut, &mut random);
        SimDisk::new(image, random)
    }

    /// The disk after the process was killed at `moment`: what was written is still in the cache.
    pub fn after_kill(moment: &Moment, random: Random) -> SimDisk {
        let mut disk = SimDisk::new(moment.durable.clone(), random);
        disk.pending = moment.pending.clone();
        disk.cache.extend(moment.pending.iter().cloned());
        disk
    }

    pub fn moment(&self) -> Moment {
        Moment { durable: self.durable.clone(), pending: self.pending.clone() }
    }

    pub fn take_moments(&mut self) -> Vec<Moment> {
        std::mem::take(&mut self.moments)
    }

    /// Whether a write has failed since the last call.
    pub fn take_write_failed(&mut self) -> bool {
        std::mem::take(&mut self.write_failed)
    }

    /// The same, and it is still news.
    pub fn has_write_failed(&self) -> bool {
        self.write_failed
    }

    /// Somebody begins to recover: what was closed by a failed sync may be written again.
    pub fn reopen(&mut self) {
        self.closed = false;
    }

    pub fn image(&self) -> &Image {
        &self.durable
    }

    /// Rot: one bit of what is durable.
    pub fn flip(&mut self, block: u32, bit: usize) {
        let image = Rc::make_mut(&mut self.durable);
        Rc::make_mut(&mut image[block as usize])[bit / 8] ^= 1 << (bit % 8);
    }

    fn note(&mut self) {
        if self.is_recording {
            self.moments.push(self.moment());
        }
    }

    fn fails(countdown: &mut Option<u32>) -> bool {
        match countdown {
            Some(0) => {
                *countdown = None;
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }
}

impl Disk for SimDisk {
    fn blocks(&self) -> u32 {
        self.durable.len() as u32
    }

    fn read(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError> {
        if self.faults.unreadable.contains(&number) {
            return Err(DiskError::Io);
        }
        let durable = self.durable.get(number as usize).ok_or(DiskError::Io)?;
        into.copy_from_slice(&self.cache.get(&number).unwrap_or(durable)[..]);
        Ok(())
    }

    /// O_DIRECT: a dirty page is written out first (not synced), a clean one is passed by.
    fn read_medium(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError> {
        if self.faults.unreadable.contains(&number) {
            return Err(DiskError::Io);
        }
        let durable = self.durable.get(number as usize).ok_or(DiskError::Io)?;
        let written = self.pending.iter().rev().find(|(block, _)| *block == number);
        into.copy_from_slice(&written.map_or(durable, |(_, bytes)| bytes)[..]);
        Ok(())
    }

    fn write(&mut self, number: u32, from: &Block) -> Result<(), DiskError> {
        if self.closed {
            self.outrage = Some("a write after a failed sync (I11)");
        }
        if number >= self.blocks() {
            self.outrage = Some("a write beyond the end");
            return Err(DiskError::Io);
        }
        let mut failed = false;
        if self.faults.write_fails > 0 && Self::fails(&mut self.faults.write_in) {
            failed = true;
            self.write_failed = true;
            self.faults.write_fails -= 1;
            self.faults.write_in = Some(0).filter(|_| self.faults.write_fails > 0);
        }
        let mut bytes = *from;
        if failed {
            // It may have landed all the same, wholly or in part.
            match self.random.below(3) {
                0 => return Err(DiskError::Full),
                1 => {
                    let mut old = [0; BLOCK_BYTES];
                    let _ = self.read(number, &mut old);
                    for sector in 0..BLOCK_BYTES / SECTOR {
                        if self.random.chance(1, 2) {
                            let range = sector * SECTOR..(sector + 1) * SECTOR;
                            bytes[range.clone()].copy_from_slice(&old[range]);
                        }
                    }
                }
                _ => {}
            }
        }
        let bytes = Rc::new(bytes);
        self.cache.insert(number, bytes.clone());
        self.pending.push((number, bytes));
        self.note();
        if failed { Err(DiskError::Io) } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        if self.closed {
            self.outrage = Some("a sync after a failed sync (I11)");
        }
        let pending = std::mem::take(&mut self.pending);
        if Self::fails(&mut self.faults.sync_in) {
            land(&mut self.durable, &pending, Cut { torn: 4 }, &mut self.random);
            // Some of it leaves the cache, the rest stays there and is called clean.
            let random = &mut self.random;
            self.cache.retain(|_, _| random.chance(1, 2));
            self.closed = true;
            self.note();
            return Err(DiskError::Io);
        }
        let image = Rc::make_mut(&mut self.durable);
        for (number, bytes) in pending {
            self.cache.remove(&number);
            image[number as usize] = bytes;
        }
        self.note();
        Ok(())
    }
}

/// Decides for every sector which version the medium has.
fn land(image: &mut Image, pending: &[(u32, Rc<Block>)], cut: Cut, random: &mut Random) {
    if pending.is_empty() {
        return;
    }
    let mut versions: BTreeMap<u32, Vec<&Rc<Block>>> = BTreeMap::new();
    for (number, bytes) in pending {
        versions.entry(*number).or_default().push(bytes);
    }
    // Sometimes all but one landed, or only one.
    let one = random.below(versions.len());
    let manner = random.below(8);
    let image = Rc::make_mut(image);
    for (at, (number, versions)) in versions.into_iter().enumerate() {
        let place = &mut image[number as usize];
        let fate = match (manner, at == one) {
            (0, true) | (1, false) => Fate::Lost,
            (0, false) | (1, true) => Fate::Kept,
            (2, true) => Fate::Torn,
            (2, false) => Fate::Kept,
            _ if random.chance(cut.torn, 12) => Fate::Torn,
            _ if random.chance(1, 2) => Fate::Kept,
            _ => Fate::Lost,
        };
        match fate {
            Fate::Lost => {}
            Fate::Kept => {
                let back = if random.chance(1, 4) { random.below(versions.len()) } else { 0 };
                *place = versions[versions.len() - 1 - back].clone();
            }
            Fate::Torn => {
                let mut bytes = **place;
                // A sector is written whole; a later version may be lost behind an earlier one.
                for sector in 0..BLOCK_BYTES / SECTOR {
                    if let Some(version) = versions.get(random.below(versions.len() + 1)) {
                        let range = sector * SECTOR..(sector + 1) * SECTOR;
                        bytes[range.clone()].copy_from_slice(&version[range]);
                    }
                }
                // The sector that was just being written when the power went.
                if random.chance(1, 4) {
                    let at = random.below(BLOCK_BYTES / SECTOR) * SECTOR;
                    let noise = if random.chance(1, 2) { 0xFF } else { random.next() as u8 };
                    bytes[at..at + SECTOR].fill(noise);
                }
                *place = Rc::new(bytes);
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Fate {
    Lost,
    Kept,
    Torn,
}
