//! The bytes of each kind of block: written in one place, read in one place, sealed with a keyed
//! hash.
//!
//! Every block opens with its tag: SipHash-2-4, 64 bits, keyed with the image's random key, over
//! all of the block that says something, the image's id and the block's number. So a block that
//! was torn, moved, spoiled or written by an attacker's message does not read as one of ours
//! (I12). What a reader gets from here is either whole or nothing; what the fields mean together is
//! judged by `recovery` and `reader`. All numbers are little-endian. FORMAT.md has the tables.

use super::disk::{BLOCK_BYTES, Block};
use super::layout::{GROUP_SLOTS, HEAD_BYTES, PAYLOAD_BYTES};
use super::mutant;
use core::hash::Hasher;
use siphasher::sip::SipHasher24;
use siphasher::sip128::{Hasher128, SipHasher24 as SipHasher24_128};

/// The format's number; a change that an older mote could not read raises it.
pub const VERSION: u16 = 1;

const IDENTITY_MAGIC: [u8; 16] = *b"mote spool\r\n\x1a\0\0\0";
const SUPERBLOCK_MAGIC: [u8; 8] = *b"motesupr";
const STATE_MAGIC: [u8; 4] = *b"stat";

const KIND_BODY: u8 = 1;
const KIND_HEADER: u8 = 2;

/// Where a state page's entries begin, and what one takes.
const ENTRIES_AT: usize = 64;
const ENTRY_BYTES: usize = 24;
const _: () = assert!(ENTRIES_AT + GROUP_SLOTS as usize * ENTRY_BYTES == BLOCK_BYTES);

/// The key and id of an image: what seals a block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    key: [u8; 16],
    image: u64,
}

impl Seal {
    /// The seal of a new image, from random bytes.
    pub fn new(random: [u8; 24]) -> Seal {
        let image = u64::from_le_bytes(bytes(&random, 16));
        Seal { key: bytes(&random, 0), image }
    }

    /// The image's id, for people and Message-IDs.
    pub fn image(&self) -> u64 {
        self.image
    }

    /// The tag that `block`, of which the first `used` bytes count, must bear as number `number`.
    fn tag(&self, number: u32, block: &Block, used: usize) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(block.get(8..used).unwrap_or_default());
        hasher.write(&self.image.to_le_bytes());
        hasher.write(&number.to_le_bytes());
        hasher.finish()
    }

    fn close(&self, number: u32, block: &mut Block, used: usize) -> u64 {
        let tag = self.tag(number, block, used);
        put(block, 0, &tag.to_le_bytes());
        tag
    }

    fn holds(&self, number: u32, block: &Block, used: usize) -> bool {
        read_u64(block, 0) == self.tag(number, block, used)
    }

    /// The binding of a chain, empty as yet (I2).
    pub fn binding(&self) -> Binding {
        Binding(SipHasher24_128::new_with_key(&self.key))
    }

    /// A number that only this image knows for `number` and `salt`: for jitter.
    pub fn scatter(&self, number: u64, salt: u64) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(&number.to_le_bytes());
        hasher.write(&salt.to_le_bytes());
        hasher.finish()
    }
}

/// The running 128-bit digest over (block, tag) of a message's body blocks in chain order.
#[derive(Clone, Copy)]
pub struct Binding(SipHasher24_128);

impl Binding {
    /// Adds a block.
    pub fn add(&mut self, number: u32, tag: u64) {
        self.0.write(&number.to_le_bytes());
        self.0.write(&tag.to_le_bytes());
    }

    /// The digest so far.
    pub fn digest(&self) -> [u8; 16] {
        self.0.finish128().as_bytes()
    }
}

/// Why an image is not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Foreign {
    /// Not a spool image, or its identity block and both superblocks are spoiled.
    NotAnImage,
    /// Written by a later version of mote.
    Later {
        /// Its format.
        version: u16,
        /// Features that one must know to read it.
        incompat: u32,
    },
}

/// Writes the identity block: once in an image's life.
pub fn write_identity(block: &mut Block, seal: &Seal, created: i64) {
    block.fill(0);
    put(block, 8, &IDENTITY_MAGIC);
    put(block, 24, &VERSION.to_le_bytes());
    // 28: compat and 32: incompat features, none yet.
    put(block, 36, &seal.image.to_le_bytes());
    put(block, 44, &seal.key);
    put(block, 60, &created.to_le_bytes());
    seal.close(super::layout::IDENTITY, block, BLOCK_BYTES);
}

/// Reads the identity block.
pub fn read_identity(block: &Block) -> Result<Seal, Foreign> {
    if bytes::<16>(block, 8) != IDENTITY_MAGIC {
        return Err(Foreign::NotAnImage);
    }
    let seal = Seal { key: bytes(block, 44), image: read_u64(block, 36) };
    if !seal.holds(super::layout::IDENTITY, block, BLOCK_BYTES) {
        return Err(Foreign::NotAnImage);
    }
    let version = read_u16(block, 24);
    let incompat = read_u32(block, 32);
    if version != VERSION || incompat != 0 {
        return Err(Foreign::Later { version, incompat });
    }
    Ok(seal)
}

/// What a superblock says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Superblock {
    /// The higher of the two valid ones counts.
    pub generation: u64,
    /// Raised at every opening (I8).
    pub epoch: u32,
    /// Size of the image.
    pub slots: u32,
    /// Seconds of running, summed over all boots (I17).
    pub run: u64,
    /// The latest wall time seen, a floor for clocks that start in 1970.
    pub wall: i64,
}

/// Writes a superblock. It repeats the seal, so that a spoiled identity block loses nothing.
pub fn write_superblock(number: u32, block: &mut Block, seal: &Seal, superblock: &Superblock) {
    block.fill(0);
    put(block, 8, &SUPERBLOCK_MAGIC);
    put(block, 16, &superblock.generation.to_le_bytes());
    put(block, 24, &superblock.epoch.to_le_bytes());
    put(block, 28, &superblock.slots.to_le_bytes());
    put(block, 32, &superblock.run.to_le_bytes());
    put(block, 40, &superblock.wall.to_le_bytes());
    put(block, 48, &seal.image.to_le_bytes());
    put(block, 56, &seal.key);
    seal.close(number, block, BLOCK_BYTES);
}

/// Reads superblock `number`; the seal is its own when the identity block is lost.
pub fn read_superblock(
    number: u32,
    block: &Block,
    known: Option<&Seal>,
) -> Option<(Seal, Superblock)> {
    let seal = Seal { key: bytes(block, 56), image: read_u64(block, 48) };
    let ours = known.is_none_or(|known| *known == seal);
    let whole = bytes::<8>(block, 8) == SUPERBLOCK_MAGIC && seal.holds(number, block, BLOCK_BYTES);
    (ours && whole).then(|| {
        let superblock = Superblock {
            generation: read_u64(block, 16),
            epoch: read_u32(block, 24),
            slots: read_u32(block, 28),
            run: read_u64(block, 32),
            wall: read_u64(block, 40).cast_signed(),
        };
        (seal, superblock)
    })
}

/// Everything the queue must remember of a slot beside its header block: 24 bytes on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct State {
    /// The message that this speaks of; every older one in this slot is dead (I4).
    pub seq: u64,
    /// [`State::DEAD`] and the others.
    pub flags: u16,
    /// Bit n is set when recipient n needs nothing more.
    pub done: u128,
}

impl State {
    /// The message needs nothing more; its blocks may be used again once this is durable (I5).
    pub const DEAD: u16 = 1;
    /// Held by an administrator, or because its state was lost.
    pub const HELD: u16 = 2;
    /// Its sender has been told that it takes long.
    pub const NOTICED: u16 = 4;
    /// Damage was found; held until an administrator decides.
    pub const DAMAGED: u16 = 8;
    /// Its envelope's wish to be held counts no more.
    pub const RELEASED: u16 = 16;

    /// Dead as far as message `seq` in this slot is concerned (I4).
    pub fn is_dead(&self, seq: u64) -> bool {
        self.seq > seq || (self.seq == seq && self.flags & State::DEAD != 0)
    }
}

/// What a state page says beside its entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StatePage {
    /// The higher of the two valid copies counts.
    pub generation: u64,
    /// The highest seq known durable when it was written (I10).
    pub synced: u64,
    /// Seconds of running then (I17).
    pub run: u64,
}

/// Writes a group's state page as block `number`.
pub fn write_state_page(
    number: u32,
    block: &mut Block,
    seal: &Seal,
    page: &StatePage,
    entries: impl Iterator<Item = State>,
) {
    block.fill(0);
    put(block, 8, &page.generation.to_le_bytes());
    put(block, 16, &page.synced.to_le_bytes());
    put(block, 24, &page.run.to_le_bytes());
    put(block, 32, &STATE_MAGIC);
    for (index, entry) in entries.take(GROUP_SLOTS as usize).enumerate() {
        let at = ENTRIES_AT + index * ENTRY_BYTES;
        put(block, at, &entry.seq.to_le_bytes());
        put(block, at + 8, &entry.flags.to_le_bytes());
        let done: [u8; 16] = entry.done.to_le_bytes();
        put(block, at + 10, done.first_chunk::<14>().unwrap_or(&[0; 14]));
    }
    seal.close(number, block, BLOCK_BYTES);
}

/// Reads a state page's head, if the page is whole.
pub fn read_state_page(number: u32, block: &Block, seal: &Seal) -> Option<StatePage> {
    let whole = bytes::<4>(block, 32) == STATE_MAGIC && seal.holds(number, block, BLOCK_BYTES);
    whole.then(|| StatePage {
        generation: read_u64(block, 8),
        synced: read_u64(block, 16),
        run: read_u64(block, 24),
    })
}

/// Entry `index` of a state page that has been found whole.
pub fn state_entry(block: &Block, index: u32) -> State {
    let at = ENTRIES_AT + index as usize * ENTRY_BYTES;
    let mut done = [0; 16];
    let bits: [u8; 14] = bytes(block, at + 10);
    for (to, from) in done.iter_mut().zip(bits) {
        *to = from;
    }
    State {
        seq: read_u64(block, at),
        flags: read_u16(block, at + 8),
        done: u128::from_le_bytes(done),
    }
}

/// What a header block says of its message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Header {
    /// The message's number: epoch ‖ counter, in the order headers are written.
    pub seq: u64,
    /// The number its body blocks bear.
    pub draft: u64,
    /// The slot its stream begins in; the header's own when there is no body block.
    pub first: u32,
    /// Blocks of the message, this one included.
    pub count: u32,
    /// Bytes of envelope records at the head of the stream.
    pub envelope_len: u32,
    /// Bytes of the message behind them.
    pub message_len: u64,
    /// Wall time of its arrival, for people.
    pub arrival: i64,
    /// `run` at its arrival, for its age (I17).
    pub run: u64,
    /// The highest seq known durable when it was written (I10).
    pub synced: u64,
    /// What was seen of it while it was read (`Header::IMPORTED` … and the scan's traits).
    pub flags: u32,
    /// How many recipients the envelope has.
    pub recipients: u8,
    /// Binds the body blocks (I2).
    pub digest: [u8; 16],
}

impl Header {
    /// Came from the drop directory: not to be attempted before that file is surely gone.
    pub const IMPORTED: u32 = 1 << 16;
    /// Handed in by a local program: Bcc is ours to remove.
    pub const SUBMITTED: u32 = 1 << 17;
    /// A report of ours.
    pub const REPORT: u32 = 1 << 18;
    /// From somebody who may not relay: gets no reports (threats 14).
    pub const STRANGER: u32 = 1 << 19;
}

/// A data block's role.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Data {
    /// A full block of a message's stream.
    Body {
        /// Whose.
        draft: u64,
        /// Its place in the chain.
        index: u32,
        /// The slot that goes on.
        next: u32,
        /// Bytes of payload.
        len: usize,
    },
    /// The last block of a message, which makes it exist.
    Header {
        /// Its fields.
        header: Header,
        /// Bytes of payload.
        len: usize,
    },
}

/// Completes `block`, whose payload stands in place, as a body block; gives its tag.
pub fn write_body(number: u32, block: &mut Block, seal: &Seal, data: BodyHead) -> u64 {
    clear_head(block, data.len);
    block[8] = KIND_BODY;
    put(block, 10, &(data.len as u16).to_le_bytes());
    put(block, 12, &data.index.to_le_bytes());
    put(block, 16, &data.draft.to_le_bytes());
    put(block, 24, &data.next.to_le_bytes());
    seal.close(number, block, HEAD_BYTES + data.len)
}

/// The fields of a body block.
#[derive(Clone, Copy)]
pub struct BodyHead {
    /// Whose.
    pub draft: u64,
    /// Its place in the chain.
    pub index: u32,
    /// The slot that goes on.
    pub next: u32,
    /// Bytes of payload, at most [`PAYLOAD_BYTES`].
    pub len: usize,
}

/// Completes `block`, whose payload of `len` bytes stands in place, as a header block.
pub fn write_header(number: u32, block: &mut Block, seal: &Seal, header: &Header, len: usize) {
    clear_head(block, len);
    block[8] = KIND_HEADER;
    put(block, 10, &(len as u16).to_le_bytes());
    put(block, 12, &header.count.wrapping_sub(1).to_le_bytes());
    put(block, 16, &header.seq.to_le_bytes());
    put(block, 24, &super::layout::NO_SLOT.to_le_bytes());
    put(block, 32, &header.draft.to_le_bytes());
    put(block, 40, &header.first.to_le_bytes());
    put(block, 44, &header.count.to_le_bytes());
    put(block, 48, &header.envelope_len.to_le_bytes());
    put(block, 52, &header.flags.to_le_bytes());
    put(block, 56, &header.message_len.to_le_bytes());
    put(block, 64, &header.arrival.to_le_bytes());
    put(block, 72, &header.run.to_le_bytes());
    put(block, 80, &header.synced.to_le_bytes());
    put(block, 88, &header.digest);
    put(block, 104, &[header.recipients]);
    seal.close(number, block, HEAD_BYTES + len);
}

/// Reads data block `number`; none if it is not whole and ours. The tag comes along.
pub fn read_data(number: u32, block: &Block, seal: &Seal) -> Option<(Data, u64)> {
    let len = usize::from(read_u16(block, 10));
    if len > PAYLOAD_BYTES || !seal.holds(number, block, HEAD_BYTES + len) {
        return None;
    }
    let data = match block[8] {
        KIND_BODY => Data::Body {
            draft: read_u64(block, 16),
            index: read_u32(block, 12),
            next: read_u32(block, 24),
            len,
        },
        KIND_HEADER => {
            let header = header_fields(block);
            Data::Header { header, len: mutant::len_with_state(&header, len) }
        }
        _ => return None,
    };
    Some((data, read_u64(block, 0)))
}

/// The seq of what once was a header block but is not whole now: only good for finding damage.
pub fn spoiled_header_seq(block: &Block) -> Option<u64> {
    let shaped = block[8] == KIND_HEADER && usize::from(read_u16(block, 10)) <= PAYLOAD_BYTES;
    shaped.then(|| read_u64(block, 16))
}

/// The payload of a data block.
pub fn payload(block: &Block, len: usize) -> &[u8] {
    block.get(HEAD_BYTES..HEAD_BYTES + len).unwrap_or_default()
}

fn header_fields(block: &Block) -> Header {
    Header {
        seq: read_u64(block, 16),
        draft: read_u64(block, 32),
        first: read_u32(block, 40),
        count: read_u32(block, 44),
        envelope_len: read_u32(block, 48),
        flags: read_u32(block, 52),
        message_len: read_u64(block, 56),
        arrival: read_u64(block, 64).cast_signed(),
        run: read_u64(block, 72),
        synced: read_u64(block, 80),
        digest: bytes(block, 88),
        recipients: block[104],
    }
}

/// Zeros around the payload: nothing of the buffer's earlier tenants reaches the disk.
fn clear_head(block: &mut Block, len: usize) {
    debug_assert!(len <= PAYLOAD_BYTES);
    block.get_mut(..HEAD_BYTES).unwrap_or_default().fill(0);
    block.get_mut(HEAD_BYTES + len..).unwrap_or_default().fill(0);
}

fn put(block: &mut Block, at: usize, value: &[u8]) {
    if let Some(place) = block.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

fn bytes<const N: usize>(block: &[u8], at: usize) -> [u8; N] {
    block.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().unwrap_or([0; N])
}

fn read_u16(block: &Block, at: usize) -> u16 {
    u16::from_le_bytes(bytes(block, at))
}

fn read_u32(block: &Block, at: usize) -> u32 {
    u32::from_le_bytes(bytes(block, at))
}

fn read_u64(block: &Block, at: usize) -> u64 {
    u64::from_le_bytes(bytes(block, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::disk::new_block;

    fn seal() -> Seal {
        Seal::new([7; 24])
    }

    #[test]
    fn identity_and_superblock_there_and_back() {
        let mut block = new_block();
        write_identity(&mut block, &seal(), 5);
        assert!(read_identity(&block) == Ok(seal()));
        block[24] = 2;
        assert!(read_identity(&block) == Err(Foreign::NotAnImage), "the tag binds the version");
        let superblock = Superblock { generation: 9, epoch: 3, slots: 12, run: 77, wall: -1 };
        write_superblock(1, &mut block, &seal(), &superblock);
        assert!(read_superblock(1, &block, None) == Some((seal(), superblock)));
        assert!(read_superblock(0, &block, None).is_none(), "the tag binds the place");
        assert!(read_superblock(1, &block, Some(&Seal::new([8; 24]))).is_none());
    }

    #[test]
    fn a_later_version_is_named() {
        let mut block = new_block();
        write_identity(&mut block, &seal(), 5);
        block[24] = 2;
        seal().close(super::super::layout::IDENTITY, &mut block, BLOCK_BYTES);
        assert!(read_identity(&block) == Err(Foreign::Later { version: 2, incompat: 0 }));
    }

    #[test]
    fn state_pages_there_and_back() {
        let mut block = new_block();
        let page = StatePage { generation: 1, synced: 2, run: 3 };
        let entry = |n: u64| State { seq: n, flags: 5, done: (1 << 111) | u128::from(n) };
        write_state_page(3, &mut block, &seal(), &page, (0..168).map(entry));
        assert_eq!(read_state_page(3, &block, &seal()), Some(page));
        assert_eq!(read_state_page(4, &block, &seal()), None);
        for index in 0..168u32 {
            assert_eq!(state_entry(&block, index), entry(index.into()));
        }
        block[4095] ^= 1;
        assert_eq!(read_state_page(3, &block, &seal()), None);
    }

    #[test]
    fn data_blocks_there_and_back() {
        let mut block = new_block();
        block[HEAD_BYTES..].fill(b'x');
        let head = BodyHead { draft: 5, index: 2, next: 9, len: PAYLOAD_BYTES };
        let tag = write_body(20, &mut block, &seal(), head);
        let body = Data::Body { draft: 5, index: 2, next: 9, len: PAYLOAD_BYTES };
        assert_eq!(read_data(20, &block, &seal()), Some((body, tag)));
        block[HEAD_BYTES..].fill(b'y');
        let header = Header {
            seq: 1,
            draft: 2,
            first: 3,
            count: 4,
            envelope_len: 5,
            message_len: 6,
            arrival: -7,
            run: 8,
            synced: 9,
            flags: 10,
            recipients: 112,
            digest: [12; 16],
        };
        write_header(21, &mut block, &seal(), &header, 10);
        let (data, _) = read_data(21, &block, &seal()).unwrap();
        assert_eq!(data, Data::Header { header, len: 10 });
        assert_eq!(payload(&block, 10), b"yyyyyyyyyy");
        assert!(block[HEAD_BYTES + 10..].iter().all(|byte| *byte == 0), "no earlier tenant");
        assert_eq!(spoiled_header_seq(&block), Some(1));
        for at in 0..HEAD_BYTES + 10 {
            block[at] ^= 0x40;
            assert_eq!(read_data(21, &block, &seal()), None, "byte {at}");
            block[at] ^= 0x40;
        }
    }

    #[test]
    fn a_state_kills_the_older() {
        let state = State { seq: 5, flags: 0, done: 0 };
        assert!(state.is_dead(4) && !state.is_dead(5) && !state.is_dead(6));
        assert!(State { flags: State::DEAD, ..state }.is_dead(5));
    }
}
