//! What must be in the queue, kept beside it: the shadow that every recovery is held against.
//!
//! Of each message the model knows what is certain to be durable and what has only been asked for;
//! after a cut the queue may show anything between the two. Knows nothing of blocks.

use super::random::Random;
use mote::queue::Ticket;
use mote::queue::all_recipients;
use mote::queue::envelope::Record;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Where a message stands with those who handed it in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// No header was written: it must not be there.
    Draft,
    /// A header was written and not acknowledged: it may be there, whole.
    Maybe,
    /// Acknowledged, or found by a recovery.
    There,
    /// Will never be there again.
    Gone,
}

/// Something asked for, and whether that is durable.
#[derive(Clone, Copy, Default)]
pub struct Mark<T> {
    pub durable: T,
    pub asked: T,
}

impl<T: Copy> Mark<T> {
    fn settle(&mut self) {
        self.durable = self.asked;
    }
    fn set(&mut self, to: T) {
        (self.durable, self.asked) = (to, to);
    }
}

pub struct Message {
    /// Envelope records and message bytes, as the queue must give them back.
    pub stream: Rc<Vec<u8>>,
    pub envelope_len: usize,
    pub recipients: u8,
    pub presence: Presence,
    pub ticket: Option<Ticket>,
    pub done: Mark<u128>,
    pub held: Mark<bool>,
    /// Both have been asked for since one was certain to be durable.
    pub held_both: bool,
    pub removed: Mark<bool>,
    /// Answered with a refusal: once that is durable it must never be there.
    pub is_refused: bool,
    /// The drop file that it comes from.
    pub drop: Option<u32>,
}

impl Message {
    fn all(&self) -> u128 {
        all_recipients(self.recipients)
    }
    /// It is certain that nothing more is to be done.
    pub fn is_over(&self) -> bool {
        self.removed.durable || self.done.durable == self.all()
    }
    /// Nothing more is to be done, certainly or not.
    pub fn may_be_over(&self) -> bool {
        self.removed.asked || self.done.asked == self.all()
    }
}

/// A message as a recovered queue shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    pub id: u32,
    pub ticket: Ticket,
    pub done: u128,
    pub held: bool,
    pub damaged: bool,
    pub importing: bool,
    pub blocks: u32,
}

/// A file in the drop directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drop {
    /// There, durably.
    Left,
    /// Removed, and the directory not synced: a cut may bring it back.
    Unlinked,
    /// Durably gone.
    Gone,
}

#[derive(Default)]
pub struct Model {
    pub messages: BTreeMap<u32, Message>,
    pub drops: BTreeMap<u32, Drop>,
    next: u32,
}

/// A message's number stands in its sender: `mNNNNNNN@x`.
const ID_AT: usize = 5;
const ID_DIGITS: usize = 7;

impl Model {
    /// Makes up a message of about `len` bytes.
    pub fn compose(
        &mut self,
        len: usize,
        recipients: u8,
        drop: Option<u32>,
        random: &mut Random,
    ) -> u32 {
        self.next += 1;
        let id = self.next;
        let sender = format!("m{id:0ID_DIGITS$}@x");
        let mut stream = Vec::with_capacity(len + 64);
        let mut push = |record: Record<'_>| {
            let _: Result<(), ()> = record.encode(|bytes| {
                stream.extend_from_slice(bytes);
                Ok(())
            });
        };
        push(Record::Sender(sender.as_bytes()));
        for number in 0..recipients {
            push(Record::Recipient(format!("r{number}@example.net").as_bytes()));
        }
        if let Some(drop) = drop {
            push(Record::DropName(drop_name(drop)));
        }
        let envelope_len = stream.len();
        // Each word its own, so that no two blocks are alike.
        let mut word = random.next();
        while stream.len() < envelope_len + len {
            word = word.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            stream.extend_from_slice(&word.to_be_bytes());
        }
        stream.truncate(envelope_len + len);
        let message = Message {
            stream: Rc::new(stream),
            envelope_len,
            recipients,
            presence: Presence::Draft,
            ticket: None,
            done: Mark::default(),
            held: Mark::default(),
            held_both: false,
            removed: Mark::default(),
            is_refused: false,
            drop,
        };
        self.messages.insert(id, message);
        id
    }

    pub fn get(&mut self, id: u32) -> &mut Message {
        self.messages.get_mut(&id).expect("a message of the model")
    }

    /// All marks asked for are durable now.
    pub fn settle(&mut self) {
        for message in self.messages.values_mut() {
            message.done.settle();
            message.held.settle();
            message.held_both = false;
            message.removed.settle();
            let is_over = message.is_over() && message.presence == Presence::There;
            if is_over || message.is_refused {
                message.presence = Presence::Gone;
            }
        }
    }

    /// After a recovery that the schedule goes on from: what was seen is what is.
    pub fn adopt(&mut self, seen: &[Seen]) {
        for message in self.messages.values_mut() {
            message.presence = Presence::Gone;
        }
        for seen in seen {
            let message = self.get(seen.id);
            message.presence = Presence::There;
            message.ticket = Some(seen.ticket);
            message.done.set(seen.done);
            message.held.set(seen.held);
            message.held_both = false;
            message.removed.set(false);
            message.is_refused = false;
        }
    }

    /// Is what a recovery showed what it may show? `exact`: nothing was lost on the way, so
    /// what was asked for is what must be.
    pub fn judge(&self, seen: &[Seen], exact: bool, judgement: &Judgement) -> Result<(), String> {
        let mut at = seen.iter().peekable();
        for (id, message) in &self.messages {
            let Some(seen) = at.next_if(|seen| seen.id == *id) else {
                let must = message.presence == Presence::There
                    && !message.may_be_over()
                    && Some(*id) != judgement.damaged;
                if must {
                    return Err(format!("message {id} was acknowledged and is not there"));
                }
                let drop = message.drop.and_then(|drop| self.drops.get(&drop));
                if message.presence == Presence::Maybe
                    && drop.is_some_and(|drop| *drop != Drop::Left)
                {
                    return Err(format!("message {id} is neither here nor in the drop directory"));
                }
                continue;
            };
            message.judge(seen, exact, judgement).map_err(|what| format!("message {id} {what}"))?;
        }
        match at.next() {
            Some(seen) => Err(format!("message {} was invented", seen.id)),
            None => Ok(()),
        }
    }
}

/// Allowances for faults that the medium itself was given.
#[derive(Clone, Copy, Default)]
pub struct Judgement {
    /// A state page was spoiled: marks may be gone, messages held.
    pub marks_may_be_lost: bool,
    /// Held and called damaged, though whole.
    pub may_be_held: bool,
    /// This message was spoiled.
    pub damaged: Option<u32>,
}

impl Message {
    fn judge(&self, seen: &Seen, exact: bool, judgement: &Judgement) -> Result<(), &'static str> {
        match self.presence {
            Presence::Draft => return Err("had no header and is there"),
            Presence::Gone if !judgement.marks_may_be_lost => return Err("is back"),
            Presence::Maybe if exact => return Err("was refused and is there"),
            _ => {}
        }
        if self.ticket.is_some_and(|ticket| ticket != seen.ticket) {
            return Err("has another number or place");
        }
        if judgement.marks_may_be_lost {
            return Ok(());
        }
        if self.is_over() || (exact && self.may_be_over()) {
            return Err("was over and is there");
        }
        let least = if exact { self.done.asked } else { self.done.durable };
        if seen.done & !self.done.asked != 0 {
            return Err("is done for someone who did not get it");
        }
        if least & !seen.done != 0 {
            return Err("forgot who has it");
        }
        let held_may_differ = judgement.may_be_held || (!exact && self.held_both);
        if seen.held != self.held.asked && !held_may_differ {
            return Err("is held, or not, against orders");
        }
        Ok(())
    }
}

/// The number of the message that `stream`, of which this is the beginning, must be.
pub fn id_of(beginning: &[u8]) -> Option<u32> {
    std::str::from_utf8(beginning.get(ID_AT..ID_AT + ID_DIGITS)?).ok()?.parse().ok()
}

/// The name of drop file `number`.
pub fn drop_name(number: u32) -> [u8; 32] {
    let text = format!("{number:032x}");
    text.as_bytes().try_into().expect("32 digits")
}
