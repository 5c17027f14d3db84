//! What a scan of the image found not to be as it was written: which block, what it was part of,
//! which check failed. For people: recovery decides without it.

use super::image::Ticket;
use crate::base::ascii::Base62;
use core::fmt;

/// One finding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The block.
    pub block: u32,
    /// What it is part of.
    pub subject: Subject,
    /// What is wrong with it.
    pub check: Check,
}

/// What a block is part of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// The image as a whole.
    Image,
    /// One of the two superblocks.
    Superblock,
    /// The identity block.
    Identity,
    /// One copy of a group's state page.
    StatePage {
        /// The group.
        group: u32,
    },
    /// A message that was acknowledged.
    Message {
        /// Which.
        ticket: Ticket,
        /// The block's place in the message, from 1, where it is known.
        part: u32,
    },
    /// A data block of which nothing more is known.
    Slot {
        /// Which.
        slot: u32,
    },
}

/// Which check failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    /// The medium does not give the block back.
    Medium,
    /// The seal: torn, rotten, moved, or never ours.
    Seal,
    /// Both copies are lost.
    BothLost,
    /// It is whole, and belongs to something else.
    Replaced,
    /// It is whole and the message's own, at another place in the chain.
    Order,
    /// The chain leads out of the image, or not to its header.
    Link,
    /// The chain leads to a block that another message stands on, or twice to the same.
    Taken,
    /// The digest over the blocks is another.
    Digest,
    /// The blocks do not add up to the lengths in the header.
    Length,
    /// More recipients than a state entry has bits for.
    Recipients,
    /// The file ends before the image does.
    CutShort,
}

impl Check {
    /// In words that go on from "block 7: ".
    pub fn text(self) -> &'static str {
        match self {
            Check::Medium => "the medium does not give it back",
            Check::Seal => "its seal does not hold: torn, spoiled, or never written",
            Check::BothLost => "both copies are lost: what was delivered is not known",
            Check::Replaced => "something else stands there",
            Check::Order => "another part of the message stands there",
            Check::Link => "the way to the next part leads astray",
            Check::Taken => "the next part belongs to another message",
            Check::Digest => "the parts are whole, but not those that were written together",
            Check::Length => "the parts do not add up to the message's length",
            Check::Recipients => "too many recipients",
            Check::CutShort => "the file ends here, before the image does",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subject {
            Subject::Image => write!(out, "image"),
            Subject::Superblock => write!(out, "superblock"),
            Subject::Identity => write!(out, "identity"),
            Subject::StatePage { group } => write!(out, "state of group {group}"),
            Subject::Slot { slot } => write!(out, "slot {slot}"),
            Subject::Message { ticket, part: 0 } => {
                write!(out, "message {}, slot {}", Base62(ticket.seq), ticket.slot)
            }
            Subject::Message { ticket, part } => {
                write!(out, "message {}, slot {}, part {part}", Base62(ticket.seq), ticket.slot)
            }
        }?;
        write!(out, ", block {}: {}", self.block, self.check.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_all() {
        let ticket = Ticket { slot: 3, seq: 62 };
        let subject = Subject::Message { ticket, part: 2 };
        let fault = Fault { block: 8, subject, check: Check::Order };
        let text = "message 10, slot 3, part 2, block 8: another part of the message stands there";
        assert_eq!(fault.to_string(), text);
    }
}
