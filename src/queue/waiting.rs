//! The queue as the relay and the administrator see it: what waits, for whom, since when.
//!
//! `needs` and `ready` are sets of lanes (the relay's numbers, at most 32), `due` is in seconds of
//! running. The queue keeps them for the relay and forgets them at every recovery: everything is
//! then due at once, and its lanes are found anew from the present config.

use super::block::State;
use super::image::{Queue, Ticket};
use super::index::{Index, Use};

/// What is known of a waiting message without reading it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// Which.
    pub ticket: Ticket,
    /// Its recipients.
    pub recipients: u8,
    /// Those who need nothing more.
    pub done: u128,
    /// Held by an administrator or for damage.
    pub held: bool,
    /// Damage was found.
    pub damaged: bool,
    /// Its header can be read, so it can be shown.
    pub readable: bool,
    /// Its drop file is not surely gone: not to be attempted yet.
    pub importing: bool,
    /// `run` at its arrival, or when a hold was over.
    pub arrival: u64,
    /// Its sender wants it held until then, as far as that is known.
    pub later: Option<u64>,
    /// Its sender's wish to have it held counts no more.
    pub released: bool,
    /// `run` at which its sender is to be told, or it is too late.
    pub deadline: Option<u64>,
    /// Its sender has been told that it takes long.
    pub noticed: bool,
    /// `run` at which it is due.
    pub due: u64,
    /// Lanes that have unfinished recipients; 0 when not known yet.
    pub needs: u32,
    /// Lanes that may attempt it now.
    pub ready: u32,
}

impl Queue {
    /// What waits in the first slot at or after `from` that holds a message.
    pub fn next_waiting(&self, from: u32) -> Option<Waiting> {
        let slot = self.index.find_either(from, Use::Message, Use::Damaged)?;
        self.waiting(Ticket { slot, seq: self.number_in(slot) })
    }

    /// What is known of `ticket`'s message, if it exists.
    pub fn waiting(&self, ticket: Ticket) -> Option<Waiting> {
        let state = self.live_state(ticket)?;
        let slot = ticket.slot;
        Some(Waiting {
            ticket,
            recipients: self.index.recipients.get(slot),
            done: state.done,
            held: state.flags & State::HELD != 0,
            damaged: state.flags & State::DAMAGED != 0,
            readable: self.index.used_as(slot) == Use::Message,
            importing: self.index.imported.get(slot) != 0,
            arrival: self.index.arrival.get(slot).into(),
            later: Some(self.index.later.get(slot).into()).filter(|later| *later != 0),
            deadline: Some(self.index.deadline.get(slot).into()).filter(|at| *at != 0),
            noticed: state.flags & State::NOTICED != 0,
            released: state.flags & State::RELEASED != 0,
            due: self.index.due.get(slot).into(),
            needs: self.index.needs.get(slot),
            ready: self.index.ready.get(slot),
        })
    }

    /// True if the recipients in `bits` need nothing more, or the message is gone.
    pub fn is_done(&self, ticket: Ticket, bits: u128) -> bool {
        self.live_state(ticket).is_none_or(|state| state.done & bits == bits)
    }

    /// The message of number `seq`, by looking at every slot.
    pub fn find(&self, seq: u64) -> Option<Ticket> {
        let mut from = 0;
        while let Some(waiting) = self.next_waiting(from) {
            if waiting.ticket.seq == seq {
                return Some(waiting.ticket);
            }
            from = waiting.ticket.slot + 1;
        }
        None
    }

    /// The relay's plan for a message: which lanes it needs, which may attempt it, when the others
    /// are due (seconds of running).
    pub fn plan(&mut self, ticket: Ticket, needs: u32, ready: u32, due: u64) {
        if self.live_state(ticket).is_some() {
            self.index.needs.set(ticket.slot, needs);
            self.index.ready.set(ticket.slot, ready);
            self.index.due.set(ticket.slot, u32::try_from(due).unwrap_or(u32::MAX));
        }
    }

    /// Its sender wants it held until `run` is so much; none when that is over.
    pub fn hold_until(&mut self, ticket: Ticket, later: Option<u64>) {
        if self.live_state(ticket).is_some() {
            let later = later.map_or(0, |later| u32::try_from(later).unwrap_or(u32::MAX).max(1));
            self.index.later.set(ticket.slot, later);
        }
    }

    /// When the relay has to look at it, whether or not it is due.
    pub fn set_deadline(&mut self, ticket: Ticket, deadline: Option<u64>) {
        if self.live_state(ticket).is_some() {
            let deadline = deadline.map_or(0, |at| u32::try_from(at).unwrap_or(u32::MAX).max(1));
            self.index.deadline.set(ticket.slot, deadline);
        }
    }

    /// It was held until `run` was so much: its age counts from then.
    pub fn begin_age(&mut self, ticket: Ticket, run: u64) {
        if self.live_state(ticket).is_some() {
            self.index.arrival.set(ticket.slot, u32::try_from(run).unwrap_or(u32::MAX));
        }
    }

    /// Its drop file is removed, but not yet durably.
    pub fn import_is_removed(&mut self, ticket: Ticket) {
        if self.live_state(ticket).is_some() {
            self.index.imported.set(ticket.slot, Index::REMOVED);
        }
    }

    /// The removals are durable.
    pub fn removed_imports_are_over(&mut self) {
        let mut from = 0;
        while let Some(slot) = self.index.find(from, Use::Message) {
            from = slot + 1;
            if self.index.imported.get(slot) == Index::REMOVED {
                self.index.imported.set(slot, 0);
            }
        }
    }

    /// Its drop file is durably gone.
    pub fn import_is_over(&mut self, ticket: Ticket) {
        if self.live_state(ticket).is_some() {
            self.index.imported.set(ticket.slot, 0);
        }
    }
}
