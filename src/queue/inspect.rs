//! An image looked at, and left as it is: what a recovery would find, without a single write.
//!
//! The scan is recovery's own, so that nobody is told of a message that a recovery would not find,
//! nor of damage where it would see none. Two things are taken that a recovery refuses: an image
//! whose superblocks are both spoiled while its identity is whole (then it is as large as its
//! file), and one that was cut short (then it ends where the file does).
//!
//! The queue that comes of it is *broken* from the start, so it can be read from and never be
//! written to. Time in it stands still. Nothing here syncs: what a killed process has written and
//! no sync has followed counts as written, since whoever asks wants to know what the file says now.
//! Nobody else may be writing to the image meanwhile; the caller holds the lock.

use super::block::{Foreign::NotAnImage, Superblock};
use super::disk::{BLOCK_BYTES, Disk};
use super::fault::{Check, Fault, Subject};
use super::image::{Queue, Ticket};
use super::layout::{self, GROUP_SLOTS};
use super::recovery::{Found, RecoverError, Roots, Scan, ensure_memory};
use crate::base::time::Instant;
use crate::limits::SPOOL_BYTES_MAX;

const BLOCKS_MAX: u32 = (SPOOL_BYTES_MAX / BLOCK_BYTES as u64) as u32;

/// What is there.
pub struct Inspection {
    /// To be read with `Reader` and `Message`, and asked for what waits; never written.
    pub queue: Queue,
    /// The numbers. The epoch is the highest that was found, not a new one.
    pub found: Found,
    /// Slots that were looked at.
    pub slots: u32,
    /// Groups whose state is lost, in order.
    blind: Vec<u32>,
}

impl Inspection {
    /// True if what was delivered of `ticket`, and whether it is dead, is not known any more.
    pub fn is_blind(&self, ticket: Ticket) -> bool {
        self.blind.binary_search(&(ticket.slot / GROUP_SLOTS)).is_ok()
    }

    /// How many slots from `first` on are not free: a message or damage stands on them.
    pub(super) fn used_from(&self, first: u32) -> u32 {
        let slots = (first..self.slots).filter(|slot| !self.queue.is_free(*slot));
        u32::try_from(slots.count()).unwrap_or(u32::MAX)
    }
}

/// Looks at all of `disk`; `faults` is told of everything that is not whole.
pub fn inspect(
    disk: &mut dyn Disk,
    now: Instant,
    mut faults: impl FnMut(Fault),
) -> Result<Inspection, RecoverError> {
    let roots = Roots::read(disk, &mut faults)?;
    let is_stump = disk.blocks() <= layout::IDENTITY;
    let failure = if is_stump { RecoverError::Foreign(NotAnImage) } else { roots.failure };
    let seal = roots.seal.ok_or(failure)?;
    let there = layout::slots_in(disk.blocks());
    let said = roots.newest.map_or(there, |(Superblock { slots, .. }, _)| slots);
    let slots = said.min(there);
    if slots == 0 {
        return Err(RecoverError::Short { wanted: layout::blocks_for(said), found: disk.blocks() });
    }
    if roots.newest.is_none() && disk.blocks() > BLOCKS_MAX {
        return Err(RecoverError::Long { found: disk.blocks() });
    }
    ensure_memory(slots)?;
    if said > there {
        faults(Fault { block: disk.blocks(), subject: Subject::Image, check: Check::CutShort });
    }
    let mut blind = Vec::new();
    let mut each = |fault: Fault| {
        if let (Subject::StatePage { group }, Check::BothLost) = (fault.subject, fault.check) {
            blind.push(group);
        }
        faults(fault);
    };
    let scan = Scan::new(&roots, Queue::new(seal, slots, 0, now, 0), &mut each);
    let Scan { mut queue, found, run, .. } = scan.all(disk, None);
    queue.run_base = run;
    queue.broken = true;
    Ok(Inspection { queue, found, slots, blind })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::block;
    use crate::queue::disk::{Block, DiskError, new_block};
    use crate::queue::draft::{Origin, Summary};
    use crate::queue::envelope::Record;
    use crate::queue::memory_disk::MemoryDisk;
    use crate::queue::reader::Reader;
    use crate::queue::recovery::{format, recover};

    const NOW: Instant = Instant::from_millis(0);

    /// An image with messages of these lengths, all acknowledged.
    fn image(blocks: usize, lengths: &[usize]) -> (MemoryDisk, Vec<Ticket>) {
        let mut disk = MemoryDisk::new(blocks);
        format(&mut disk, [9; 24], 0).unwrap();
        let (mut queue, _) = recover(&mut disk, NOW, 16, None).unwrap();
        let mut tickets = Vec::new();
        let mut buffer = new_block();
        for length in lengths {
            let mut draft = queue.begin(&mut disk, Origin::Client, None).unwrap();
            for record in [Record::Sender(b"a@b"), Record::Recipient(b"c@d")] {
                queue.record(&mut disk, &mut draft, &mut buffer, &record).unwrap();
            }
            queue.append(&mut disk, &mut draft, &mut buffer, &vec![b'x'; *length]).unwrap();
            let summary = Summary::default();
            tickets.push(queue.finish(&mut disk, draft, &mut buffer, 7, summary, NOW).unwrap());
            queue.commit(&mut disk, NOW, |_, receipt| assert!(receipt.is_ok()));
        }
        disk.is_sealed = true;
        (disk, tickets)
    }

    fn look(disk: &mut MemoryDisk) -> (Inspection, Vec<Fault>) {
        let mut faults = Vec::new();
        let inspection = inspect(disk, NOW, |fault| faults.push(fault)).unwrap();
        (inspection, faults)
    }

    fn is_readable(inspection: &Inspection, disk: &mut MemoryDisk, ticket: Ticket) -> bool {
        let mut buffer = new_block();
        let Ok(mut reader) = Reader::open(&inspection.queue, disk, ticket, &mut buffer) else {
            return false;
        };
        while let Ok(Some(_)) = reader.next(&inspection.queue, disk, &mut buffer) {}
        reader.next(&inspection.queue, disk, &mut buffer) == Ok(None)
    }

    #[test]
    fn it_finds_what_recovery_finds_and_writes_nothing() {
        let (mut disk, tickets) = image(400, &[0, 4000, 100_000]);
        let before = disk.blocks.clone();
        let (mut inspection, faults) = look(&mut disk);
        assert_eq!((inspection.found.messages, inspection.found.damaged, faults.len()), (3, 0, 0));
        assert!(tickets.iter().all(|ticket| is_readable(&inspection, &mut disk, *ticket)));
        assert!(inspection.queue.begin(&mut disk, Origin::Report, None).is_err());
        inspection.queue.remove(tickets[0], NOW);
        inspection.queue.commit(&mut disk, NOW, |_, _| panic!("a verdict"));
        assert!(disk.blocks == before);
        assert_eq!(inspection.used_from(tickets[2].slot + 1), 0);
        assert_eq!(inspection.used_from(tickets[2].slot), 1);
        disk.is_sealed = false;
        let (queue, found) = recover(&mut disk, NOW, 16, None).unwrap();
        assert_eq!((found.messages, queue.messages()), (3, 3));
    }

    #[test]
    fn damage_is_named_by_block_and_check() {
        let (whole, tickets) = image(64, &[20_000, 10]);
        let parts = 20_000 / layout::PAYLOAD_BYTES as u32 + 1;
        let (ticket, header) = (tickets[0], tickets[0].slot);
        for back in 0..parts {
            let mut disk = whole.clone();
            let block = layout::block_of(header - back);
            disk.block(block)[300] ^= 1;
            let (inspection, faults) = look(&mut disk);
            assert_eq!((inspection.found.messages, inspection.found.damaged), (1, 1));
            let part = if back == 0 { 0 } else { parts - back };
            let subject = Subject::Message { ticket, part };
            assert_eq!(faults, [Fault { block, subject, check: Check::Seal }]);
            assert!(!is_readable(&inspection, &mut disk, ticket));
            assert!(is_readable(&inspection, &mut disk, tickets[1]));
        }
        // Two parts of the message, exchanged: the seals know their places.
        let mut disk = whole.clone();
        let [last, other] = [1, 2].map(|back| layout::block_of(header - back) as usize);
        disk.blocks.swap(last, other);
        assert_eq!(look(&mut disk).1[0].check, Check::Seal);
    }

    #[test]
    fn roots_and_states_that_are_lost() {
        let (whole, tickets) = image(64, &[20_000, 10]);
        let with = |blocks: &[u32]| {
            let mut disk = whole.clone();
            for block in blocks {
                disk.block(*block)[20] ^= 1;
            }
            disk
        };
        for blocks in [&[0][..], &[1], &[2], &[0, 1], &[0, 2], &[1, 2]] {
            let mut disk = with(blocks);
            let (inspection, faults) = look(&mut disk);
            assert_eq!(inspection.found.messages, 2, "{blocks:?}");
            assert_eq!(faults.len(), blocks.len(), "{blocks:?}");
            assert!(tickets.iter().all(|ticket| is_readable(&inspection, &mut disk, *ticket)));
        }
        let gone = inspect(&mut with(&[0, 1, 2]), NOW, |_| {}).err();
        assert_eq!(gone, Some(RecoverError::Foreign(block::Foreign::NotAnImage)));
        let (inspection, faults) = look(&mut with(&[3, 4]));
        assert_eq!((inspection.found.messages, inspection.found.blind_groups), (2, 1));
        assert!(inspection.is_blind(tickets[0]));
        assert!(inspection.queue.waiting(tickets[0]).unwrap().held);
        let checks: Vec<Check> = faults.iter().map(|fault| fault.check).collect();
        assert_eq!(checks, [Check::Seal, Check::Seal, Check::BothLost]);
        assert!(!look(&mut with(&[3])).0.is_blind(tickets[0]));
    }

    /// A disk as long as it says, of zeros behind what is there.
    struct Sparse(MemoryDisk, u32);

    impl Disk for Sparse {
        fn blocks(&self) -> u32 {
            self.1
        }
        fn read(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError> {
            assert!(number < self.0.blocks(), "more is read than was asked for");
            self.0.read(number, into)
        }
        fn read_medium(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError> {
            self.read(number, into)
        }
        fn write(&mut self, _: u32, _: &Block) -> Result<(), DiskError> {
            Err(DiskError::ReadOnly)
        }
        fn sync(&mut self) -> Result<(), DiskError> {
            Err(DiskError::ReadOnly)
        }
    }

    #[test]
    fn nobody_guesses_the_size_of_what_is_larger_than_any_image() {
        let (disk, _) = image(64, &[10]);
        let found = 100 << 20;
        let mut sparse = Sparse(disk, found);
        assert!(inspect(&mut sparse, NOW, |_| {}).is_ok(), "its superblock says how large it is");
        for superblock in layout::SUPERBLOCKS {
            *sparse.0.block(superblock) = [0; BLOCK_BYTES];
        }
        let refused = inspect(&mut sparse, NOW, |_| {}).err();
        assert_eq!(refused, Some(RecoverError::Long { found }));
    }

    #[test]
    fn an_image_cut_short_still_shows_what_is_left() {
        let (mut disk, _) = image(64, &[10, 100_000]);
        disk.blocks.truncate(20);
        let (inspection, faults) = look(&mut disk);
        assert_eq!(faults[0].check, Check::CutShort);
        assert_eq!(inspection.slots, 15);
        disk.blocks.truncate(5);
        assert!(matches!(inspect(&mut disk, NOW, |_| {}), Err(RecoverError::Short { .. })));
    }
}
