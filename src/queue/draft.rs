//! A message on its way in: a chain of blocks that no header names yet.
//!
//! A draft holds numbers, not bytes: the bytes stand in one block buffer that its owner lends on
//! each call, envelope records first, then the message. Full blocks are written as they fill, each
//! naming the slot that goes on, which is taken before. The last bytes go into the header block,
//! written by [`Queue::finish`](super::Queue::finish). A draft that is dropped without `finish` or
//! `abandon` leaks its blocks until the next recovery; their owners' sessions always call one.

use super::block::{Binding, Seal};

/// On whose account a draft is made: how much of the free space it may take (I15).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Someone who may not relay: all of them together hold at most half of what is free.
    Stranger,
    /// A client that may relay, or a local program.
    Client,
    /// A report of ours: may use the space kept for reports.
    Report,
}

/// Why the queue does not take a message, or no more of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueueError {
    /// No room now (452 4.3.1).
    Full,
    /// Larger than the empty image holds (552 5.3.4).
    TooLarge,
    /// The disk failed on a read or write (451 4.3.0).
    Disk,
    /// A sync has failed; nothing is taken until the queue has been recovered (451 4.3.0).
    Broken,
}

impl QueueError {
    /// True if the same message may be taken later.
    pub fn is_temporary(self) -> bool {
        !matches!(self, QueueError::TooLarge)
    }
}

/// See the module's head.
pub struct Draft {
    pub(super) number: u64,
    pub(super) origin: Origin,
    pub(super) first: u32,
    pub(super) current: u32,
    /// Body blocks written so far.
    pub(super) index: u32,
    /// Bytes in the block buffer.
    pub(super) fill: usize,
    pub(super) envelope_len: u32,
    pub(super) message_len: u64,
    pub(super) recipients: u8,
    /// Blocks reserved and not taken yet.
    pub(super) reserve: u32,
    pub(super) binding: Binding,
}

impl Draft {
    pub(super) fn new(number: u64, origin: Origin, first: u32, reserve: u32, seal: &Seal) -> Draft {
        Draft {
            number,
            origin,
            first,
            current: first,
            index: 0,
            fill: 0,
            envelope_len: 0,
            message_len: 0,
            recipients: 0,
            reserve,
            binding: seal.binding(),
        }
    }

    /// Blocks that it holds.
    pub(super) fn blocks(&self) -> u32 {
        self.index + 1
    }

    /// Recipients recorded so far.
    pub fn recipients(&self) -> u8 {
        self.recipients
    }

    /// Message bytes so far, the envelope not counted.
    pub fn message_len(&self) -> u64 {
        self.message_len
    }
}

/// What the owner of a draft knows of its message when it ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// `Header::…` flags and the header scan's traits.
    pub flags: u32,
    /// Wall time.
    pub arrival: i64,
    /// Which lanes it needs, as far as known; 0 leaves that to the first attempt.
    pub needs: u32,
}
