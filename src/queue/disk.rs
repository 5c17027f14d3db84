//! What the queue needs of a disk: a row of blocks, and a sync.
//!
//! `os::disk` is a preallocated file, the crash tests have a simulated one. Reads may come from a
//! cache; [`Disk::read_medium`] must not. A write is durable only after a [`Disk::sync`] that began
//! after it returned says so. After a failed sync nothing is known of any write since the last good
//! one, and the queue must be recovered from the medium (I11).

/// Bytes in a block, on every machine and for ever: part of the format.
pub const BLOCK_BYTES: usize = 4096;

/// One block.
pub type Block = [u8; BLOCK_BYTES];

/// A block full of zeros, on the heap.
pub fn new_block() -> Box<Block> {
    Box::new([0; BLOCK_BYTES])
}

/// Why the disk did not do it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskError {
    /// No space left on the device, or over quota (ENOSPC, EDQUOT).
    Full,
    /// The medium or its driver failed (EIO and the rest).
    Io,
    /// The file system is, or has become, read-only (EROFS).
    ReadOnly,
}

/// A row of blocks numbered from 0.
pub trait Disk {
    /// How many blocks there are.
    fn blocks(&self) -> u32;
    /// Reads one block, perhaps from a cache.
    fn read(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError>;
    /// Reads one block from the medium itself (I9).
    fn read_medium(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError>;
    /// Writes one block; durable after the next sync.
    fn write(&mut self, number: u32, from: &Block) -> Result<(), DiskError>;
    /// Makes every earlier write durable.
    fn sync(&mut self) -> Result<(), DiskError>;
}

/// A borrowed disk of any kind, where code that is made for one kind is not worth its bytes.
impl Disk for &mut dyn Disk {
    fn blocks(&self) -> u32 {
        (**self).blocks()
    }

    fn read(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError> {
        (**self).read(number, into)
    }

    fn read_medium(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError> {
        (**self).read_medium(number, into)
    }

    fn write(&mut self, number: u32, from: &Block) -> Result<(), DiskError> {
        (**self).write(number, from)
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        (**self).sync()
    }
}
