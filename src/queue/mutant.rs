//! Rules of the queue that can be broken on purpose, one at a time, so that the crash tests prove
//! that they would notice. Chosen at run time in a build with the feature `mutants`; in the
//! product [`is`] is a constant no, and nothing of this remains.

use super::block::{self, Data, Header};
use super::disk::Disk;
use super::image::Queue;
use super::index::Use;
use super::layout::{self, GROUP_SLOTS, PAYLOAD_BYTES};

/// A rule left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// A message exists by its header, whatever its body blocks are (I2).
    BodyNotBound = 1,
    /// Blocks are free as soon as their message is finished (I5).
    ReuseBeforeSync,
    /// Receipts come before the sync (I1).
    AckBeforeSync,
    /// A state page is written over its newest durable copy (I6).
    StateOverDurable,
    /// The epoch is not raised (I8).
    EpochNotRaised,
    /// Recovery does not write the state pages (I9).
    NoSettling,
    /// The seq is taken with the first byte, not with the header.
    SeqAtMail,
    /// A failed sync is tried again (I11).
    RetriedSync,
    /// Marks are written into the header's block (I3).
    StateInHeader,
    /// `synced` counts what is written, not what is durable (I10).
    SyncedTooEarly,
    /// Recovery believes the cache (I9).
    RecoveryFromCache,
    /// Recovery reads what is not durable (I6).
    RecoveryUnsynced,
    /// What was answered 451 stays (I11).
    RefusedStays,
    /// Marks that only memory had are forgotten after a failed sync (I11).
    MarksForgotten,
    /// A header whose write failed is as if it had never been written (I5).
    RefusedFreedAtOnce,
    /// Every incomplete message is dropped (I10).
    DamageDropped,
    /// What cannot be read is taken for incomplete (I10).
    UnreadableDropped,
    /// All pages of an opening bear the same generation (I6).
    GenerationRepeated,
    /// Pages with marks are never written but for space (I16).
    MarksKeptInMemory,
    /// Running time begins anew with each opening (I17).
    AgeForgotten,
    /// What the medium does not give back after a failed sync is damage (I11).
    MemoryNotAsked,
    /// After a failed sync what is over is known by the numbers in memory alone (I11).
    OverByNumber,
    /// A newest page that cannot be read after a failed sync is written over (I6).
    UnreadOverwritten,
}

#[cfg(feature = "mutants")]
mod choice {
    use super::Mutant;
    use core::sync::atomic::{AtomicU8, Ordering};

    static CHOSEN: AtomicU8 = AtomicU8::new(0);

    /// Breaks `mutant`'s rule from now on; none is the product.
    pub fn choose(mutant: Option<Mutant>) {
        CHOSEN.store(mutant.map_or(0, |mutant| mutant as u8), Ordering::Relaxed);
    }

    /// Is this the rule to break?
    pub fn is(mutant: Mutant) -> bool {
        CHOSEN.load(Ordering::Relaxed) == mutant as u8
    }
}

#[cfg(feature = "mutants")]
pub use choice::{choose, is};

/// Is this the rule to break? Never.
#[cfg(not(feature = "mutants"))]
pub const fn is(_: Mutant) -> bool {
    false
}

/// The flag of a header whose block ends with marks, in [`Mutant::StateInHeader`].
const STATE_FOLLOWS: u32 = 1 << 31;

/// The length of the payload in a header block of length `len`, where marks may follow it.
pub(super) fn len_with_state(header: &Header, len: usize) -> usize {
    if !is(Mutant::StateInHeader) || header.flags & STATE_FOLLOWS == 0 {
        return len;
    }
    let bodies = header.count.saturating_sub(1) as usize * PAYLOAD_BYTES;
    (header.envelope_len as usize + header.message_len as usize).saturating_sub(bodies)
}

impl Queue {
    /// [`Mutant::StateInHeader`]: writes marks where the message stands.
    pub(super) fn mark_headers_in_place(&mut self, disk: &mut dyn Disk, group: u32) {
        let first = group * GROUP_SLOTS;
        for slot in (first..first + GROUP_SLOTS).filter(|slot| *slot < self.index.slots()) {
            let number = layout::block_of(slot);
            let is_marked =
                self.index.used_as(slot) == Use::Message && self.index.state(slot).done != 0;
            if is_marked
                && disk.read(number, &mut self.page).is_ok()
                && let Some((Data::Header { mut header, len }, _)) =
                    block::read_data(number, &self.page, &self.seal)
            {
                header.flags |= STATE_FOLLOWS;
                let done = self.index.state(slot).done.to_le_bytes();
                if len + done.len() <= PAYLOAD_BYTES {
                    self.page.last_chunk_mut().into_iter().for_each(|end| *end = done);
                    let len = PAYLOAD_BYTES;
                    block::write_header(number, &mut self.page, &self.seal, &header, len);
                    let _ = disk.write(number, &self.page);
                }
            }
        }
    }
}
