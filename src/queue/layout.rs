//! Where things lie in the image: plain arithmetic between slots, groups and blocks.
//!
//! The image is superblock A, superblock B, the identity block, then groups of [state page A,
//! state page B, 168 data blocks]. A *slot* is a data block by its ordinal, from 0; the last group
//! may be short. FORMAT.md has the picture.

use super::disk::BLOCK_BYTES;

/// The two superblocks.
pub const SUPERBLOCKS: [u32; 2] = [0, 1];
/// The identity block.
pub const IDENTITY: u32 = 2;
const FIRST_GROUP: u32 = 3;
/// Data blocks that one state page speaks of.
pub const GROUP_SLOTS: u32 = 168;
const GROUP_BLOCKS: u32 = GROUP_SLOTS + 2;
/// Bytes of a data block before its payload.
pub const HEAD_BYTES: usize = 128;
/// Bytes of message or envelope in a full data block.
pub const PAYLOAD_BYTES: usize = BLOCK_BYTES - HEAD_BYTES;
/// No slot.
pub const NO_SLOT: u32 = u32::MAX;

/// How many slots an image of `blocks` blocks has.
pub fn slots_in(blocks: u32) -> u32 {
    let rest = blocks.saturating_sub(FIRST_GROUP);
    let short = (rest % GROUP_BLOCKS).saturating_sub(2);
    rest / GROUP_BLOCKS * GROUP_SLOTS + short
}

/// How many blocks an image with `slots` slots takes; more than there can be is the most there can.
pub fn blocks_for(slots: u32) -> u32 {
    slots.saturating_add(FIRST_GROUP + 2 * groups_for(slots))
}

/// How many groups hold `slots` slots.
pub fn groups_for(slots: u32) -> u32 {
    slots.div_ceil(GROUP_SLOTS)
}

/// The block number of a slot.
pub fn block_of(slot: u32) -> u32 {
    FIRST_GROUP + slot / GROUP_SLOTS * GROUP_BLOCKS + 2 + slot % GROUP_SLOTS
}

/// The block number of a group's state page, copy 0 or 1.
pub fn state_page(group: u32, copy: u32) -> u32 {
    FIRST_GROUP + group * GROUP_BLOCKS + copy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_has_one_use() {
        for blocks in 8..700 {
            let slots = slots_in(blocks);
            let mut used = vec![IDENTITY];
            used.extend(SUPERBLOCKS);
            used.extend((0..slots).map(block_of));
            for group in 0..groups_for(slots) {
                used.extend([state_page(group, 0), state_page(group, 1)]);
            }
            used.sort_unstable();
            let whole: Vec<u32> = (0..blocks_for(slots)).collect();
            assert_eq!(used, whole, "{blocks} blocks");
            assert!(blocks - blocks_for(slots) <= 2, "{blocks} blocks");
        }
    }
}
