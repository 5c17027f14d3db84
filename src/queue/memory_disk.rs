//! A disk in memory, for tests: it fails where it is told to and nowhere else. The product does not
//! contain it; what stands under `tests` includes this file by its path, beside a `disk` of its own
//! root. The disks that lose their power are the crash tests' and the simulator's.

use super::disk::{BLOCK_BYTES, Block, Disk, DiskError};
use std::rc::Rc;

/// Blocks are shared until they are written, so that a copy costs little.
#[derive(Clone)]
pub(crate) struct MemoryDisk<T = ()> {
    pub(crate) blocks: Vec<Rc<Block>>,
    /// Blocks that it does not give back.
    pub(crate) unreadable: Vec<u32>,
    /// Blocks of which a write takes no more than the first sector, and fails.
    pub(crate) unwritable: Vec<u32>,
    /// Nobody may write or sync any more.
    pub(crate) is_sealed: bool,
    /// Nobody may ask the medium for what is not durable.
    pub(crate) is_strict: bool,
    /// Reads so far, and how many there may be.
    pub(crate) reads: u64,
    pub(crate) reads_max: u64,
    /// Written since the last sync.
    pub(crate) unsynced: Vec<u32>,
    /// What a test needs beside it.
    pub(crate) beside: T,
}

impl MemoryDisk {
    /// Of zeros.
    pub(crate) fn new(blocks: usize) -> MemoryDisk {
        MemoryDisk::with(blocks, ())
    }
}

impl<T> MemoryDisk<T> {
    /// Of zeros, with something beside it.
    pub(crate) fn with(blocks: usize, beside: T) -> MemoryDisk<T> {
        let zero = Rc::new([0; BLOCK_BYTES]);
        MemoryDisk {
            blocks: (0..blocks).map(|_| zero.clone()).collect(),
            unreadable: Vec::new(),
            unwritable: Vec::new(),
            is_sealed: false,
            is_strict: false,
            reads: 0,
            reads_max: u64::MAX,
            unsynced: Vec::new(),
            beside,
        }
    }

    /// A block, to be looked at or spoiled.
    pub(crate) fn block(&mut self, number: u32) -> &mut Block {
        Rc::make_mut(self.blocks.get_mut(number as usize).expect("a block of this disk"))
    }
}

impl<T> Disk for MemoryDisk<T> {
    fn blocks(&self) -> u32 {
        self.blocks.len() as u32
    }

    fn read(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError> {
        self.reads += 1;
        assert!(self.reads <= self.reads_max, "it goes on for ever");
        if self.unreadable.contains(&number) {
            return Err(DiskError::Io);
        }
        *into = **self.blocks.get(number as usize).ok_or(DiskError::Io)?;
        Ok(())
    }

    fn read_medium(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError> {
        let is_durable = !self.unsynced.contains(&number);
        assert!(is_durable || !self.is_strict, "block {number} is read and not durable");
        self.read(number, into)
    }

    fn write(&mut self, number: u32, from: &Block) -> Result<(), DiskError> {
        assert!(!self.is_sealed, "block {number} is written");
        let block = self.blocks.get_mut(number as usize).ok_or(DiskError::Io)?;
        self.unsynced.push(number);
        if self.unwritable.contains(&number) {
            Rc::make_mut(block)[..512].copy_from_slice(&from[..512]);
            return Err(DiskError::Io);
        }
        *Rc::make_mut(block) = *from;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        assert!(!self.is_sealed, "a sync");
        self.unsynced.clear();
        Ok(())
    }
}
