//! A disk with a cache: what is written is durable after a sync, and after a cut each sector of
//! what was not is old, new, or any version between.
//!
//! A sync that fails leaves a random part of what it was about on the medium and takes the rest
//! for clean: reads from the cache still show it, reads from the medium do not, and a further sync
//! brings nothing of it (the kernel's behaviour since 4.13).

use super::rng::Rng;
use mote::queue::disk::{BLOCK_BYTES, Block};
use std::collections::BTreeMap;

const SECTOR_BYTES: usize = 512;

pub struct SimDisk {
    durable: Vec<Box<Block>>,
    /// Versions written since the last sync, oldest first.
    unsynced: BTreeMap<u32, Vec<Box<Block>>>,
    /// What the cache shows though it will never be on the medium.
    ghosts: BTreeMap<u32, Box<Block>>,
}

impl SimDisk {
    pub fn new(blocks: u32) -> SimDisk {
        let durable = (0..blocks).map(|_| Box::new([0; BLOCK_BYTES])).collect();
        SimDisk { durable, unsynced: BTreeMap::new(), ghosts: BTreeMap::new() }
    }

    pub fn blocks(&self) -> u32 {
        self.durable.len() as u32
    }

    pub fn read(&self, number: u32, into: &mut Block) {
        let unsynced = self.unsynced.get(&number).and_then(|versions| versions.last());
        let shown = unsynced.or_else(|| self.ghosts.get(&number));
        *into = **shown.unwrap_or(&self.durable[number as usize]);
    }

    /// Past the cache: what is dirty is written out on the way, what is only a ghost is not there.
    pub fn read_medium(&mut self, number: u32, into: &mut Block) {
        if let Some(last) = self.unsynced.get(&number).and_then(|versions| versions.last()) {
            *into = **last;
            return;
        }
        self.ghosts.remove(&number);
        *into = *self.durable[number as usize];
    }

    pub fn write(&mut self, number: u32, from: &Block) {
        self.ghosts.remove(&number);
        self.unsynced.entry(number).or_default().push(Box::new(*from));
    }

    pub fn sync(&mut self) {
        for (number, mut versions) in std::mem::take(&mut self.unsynced) {
            self.durable[number as usize] = versions.pop().unwrap();
        }
    }

    pub fn fail_sync(&mut self, rng: &mut Rng) {
        for (number, mut versions) in std::mem::take(&mut self.unsynced) {
            let last = versions.pop().unwrap();
            if rng.permille(500) {
                self.durable[number as usize] = last;
            } else {
                self.ghosts.insert(number, last);
            }
        }
    }

    /// The process is gone, the machine is not.
    pub fn kill(&mut self) {
        self.sync();
    }

    /// The power is gone.
    pub fn cut(&mut self, rng: &mut Rng) {
        self.ghosts.clear();
        for (number, versions) in std::mem::take(&mut self.unsynced) {
            let durable = &mut self.durable[number as usize];
            match rng.below(3) {
                0 => {}
                1 => **durable = **versions.last().unwrap(),
                _ => {
                    for at in (0..BLOCK_BYTES).step_by(SECTOR_BYTES) {
                        let which = rng.below(versions.len() as u64 + 1) as usize;
                        if let Some(version) = versions.get(which) {
                            let sector = at..at + SECTOR_BYTES;
                            durable[sector.clone()].copy_from_slice(&version[sector]);
                        }
                    }
                }
            }
        }
    }
}
