//! By when a mail is to be delivered (RFC 2852), and when its sender is told that it takes long.
//!
//! Both are counted in running time from the arrival, or from the end of a hold: a clock that jumps
//! makes nothing late (I17). The queue keeps the next such moment of a message beside its age
//! (`Waiting::deadline`); it is found when the envelope is read for its lanes, and the pass over
//! the index meets it (`plan`).
//!
//! What is late is returned if its sender wants that (`BY=…;R`): so it is not handed to a next hop
//! that promises nothing. Else he is told, once, and it goes on (`BY=…;N`). Who asked NOTIFY=DELAY
//! is told after the time of the key `delay-notice`. The mark that he has been is set when the
//! report is durable.
//!
//! Read first: RFC 2852 §4, RFC 3461 §5.2.5.

use super::forwarder::{Context, Forwarder, NEVER, Reported};
use super::ledger::Ledger;
use super::report::{Desk, Notice, Tale, Unwritten, Written};
use super::wishes::RecipientWishes;
use crate::base::ascii::Base62;
use crate::mail::report::Cause;
use crate::queue::Ticket;
use crate::queue::block::State as MessageState;
use crate::queue::disk::Disk;
use crate::queue::envelope::By;
use crate::queue::waiting::Waiting;
use crate::smtp::deliver_by::{DeliverBy, SECONDS_MAX};
use crate::smtp::parameter::Notify;

/// How long a notice waits for room.
const NOTICE_PAUSE: u64 = 600;

/// What an envelope says of it.
#[derive(Clone, Copy, Default)]
pub(super) struct Haste {
    /// BY=.
    pub(super) by: Option<By>,
    /// Somebody asked NOTIFY=DELAY of a recipient who is not done.
    pub(super) wants_delay: bool,
}

impl Haste {
    /// Notes what is said of a recipient who is not done.
    pub(super) fn note(&mut self, wishes: &RecipientWishes) {
        self.wants_delay |= wishes.wants_delay();
    }

    /// When `waiting` is to be looked at for it; `delay` is the config's, 0 for never.
    pub(super) fn deadline(&self, waiting: &Waiting, delay: u64) -> Option<u64> {
        let of_by = self.by.filter(|by| by.is_final() || !waiting.noticed).map(|by| {
            let seconds = u64::try_from(by.seconds).unwrap_or(0);
            waiting.arrival.saturating_add(seconds)
        });
        let is_told = self.wants_delay && delay > 0 && !waiting.noticed;
        let of_delay = is_told.then(|| waiting.arrival.saturating_add(delay));
        of_by.into_iter().chain(of_delay).min()
    }
}

/// Seconds that are left of it, `age` after its arrival.
pub(super) fn left(by: By, age: u64) -> i64 {
    i64::from(by.seconds).saturating_sub_unsigned(age)
}

/// The same, of a message whose age begins now.
pub(super) fn rest(by: By, age: u64) -> By {
    By { seconds: remaining(by, age).seconds, ..by }
}

/// What a next hop is told of it.
pub(super) fn remaining(by: By, age: u64) -> DeliverBy {
    let least = if by.is_final() { 1 } else { i64::from(-SECONDS_MAX) };
    let seconds = left(by, age).clamp(least, SECONDS_MAX.into());
    let seconds = i32::try_from(seconds).unwrap_or(SECONDS_MAX);
    DeliverBy { seconds, is_final: by.is_final(), is_traced: by.is_traced() }
}

/// Why what is to be returned when it is late cannot be given to a next hop with this least
/// promise, or with none.
pub(super) fn obstacle(by: By, age: u64, promise: Option<u32>) -> Option<&'static str> {
    let left = left(by, age);
    match promise {
        _ if !by.is_final() => None,
        _ if left <= 0 => Some("The time in which it was to be delivered is over"),
        None => Some("The next server promises no time of delivery (DELIVERBY)"),
        Some(least) if left < least.into() => {
            Some("The next server takes longer than is left of the time for delivery")
        }
        Some(_) => None,
    }
}

/// True if the sender is to be told that it is handed on; `knows` whether the next hop has the
/// extension.
pub(super) fn is_told(by: By, knows: bool, wishes: &RecipientWishes) -> bool {
    let is_due = by.is_traced() || !by.is_final() && !knows;
    is_due && wishes.notify != Some(Notify::NEVER)
}

impl Forwarder {
    /// A moment has come that `haste` tells of. True: the message is given up.
    pub(super) fn is_given_up(waiting: &Waiting, haste: &Haste, run: u64) -> bool {
        let age = run.saturating_sub(waiting.arrival);
        haste.by.is_some_and(|by| by.is_final() && left(by, age) <= 0)
    }

    /// Tells the sender of `moving` that it takes long, and finds the next such moment.
    pub(super) fn give_notice<W: Disk>(
        &mut self,
        ticket: Ticket,
        haste: &Haste,
        moving: u128,
        words: &str,
        context: &mut Context<'_, W>,
    ) {
        let Context { config, queue, world, now } = context;
        let run = queue.run(now.instant);
        let Some(waiting) = queue.waiting(ticket) else { return };
        let age = run.saturating_sub(waiting.arrival);
        let ledger = Ledger { mine: moving, ..Ledger::default() };
        let is_late = haste.by.is_some_and(|by| left(by, age) <= 0);
        let delay = config.delay_notice.as_secs();
        let expires = waiting.arrival.saturating_add(config.expire.as_secs());
        let notice = Notice {
            is_late,
            is_slow: delay > 0 && age >= delay,
            seconds_left: expires.saturating_sub(run),
        };
        let tale = Tale {
            ticket,
            ledger: &ledger,
            remote: None,
            cause: Cause::Refused,
            notice: Some(notice),
            last_words: if words.is_empty() { "it has not been delivered yet" } else { words },
        };
        let (reading, writing) = (&mut self.reading, &mut self.writing);
        let mut desk = Desk { config, queue, disk: *world, now: *now, reading, writing };
        let slot = self.senders.len();
        let written = desk.write(&tale, self.owner_base + slot as u32);
        let noticed = Waiting { noticed: true, ..waiting };
        let mut deadline = haste.deadline(&noticed, delay);
        let id = Base62(ticket.seq);
        match written {
            Ok(Written::Waiting) => {
                if let Some(place) = self.reported.get_mut(slot) {
                    *place = Some(Reported { is_notice: true, ..Reported::nothing(ticket) });
                }
                log::info!("{id}: its sender is told that it takes long");
            }
            Ok(Written::None) => {
                queue.set_flag(ticket, MessageState::NOTICED, true, now.instant);
            }
            Err(Unwritten::Queue(error)) => {
                log::warn!("{id}: no room for a notice of its delay ({error:?})");
                deadline = Some(run + NOTICE_PAUSE);
            }
            Err(Unwritten::Read(error)) => {
                queue.set_deadline(ticket, None);
                return self.unread(ticket, error, context);
            }
        }
        queue.set_deadline(ticket, deadline);
        self.scan_by(deadline.unwrap_or(NEVER));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_next_hop_is_told_and_which_gets_nothing() {
        let by = |seconds, flags| By { seconds, flags };
        let (none, knows, slow) = (None, Some(0), Some(60));
        for (by, age, promise, is_refused, said) in [
            (by(120, By::RETURN), 20, knows, false, "100;R"),
            (by(120, By::RETURN | By::TRACE), 60, slow, false, "60;RT"),
            (by(120, By::RETURN), 61, slow, true, "59;R"),
            (by(120, By::RETURN), 20, none, true, "100;R"),
            (by(120, By::RETURN), 120, knows, true, "1;R"),
            (by(120, 0), 20, none, false, "100;N"),
            (by(120, By::TRACE), 150, slow, false, "-30;NT"),
            (by(-5, 0), u64::MAX, slow, false, "-999999999;N"),
        ] {
            assert_eq!(obstacle(by, age, promise).is_some(), is_refused, "{by:?} {age}");
            assert_eq!(remaining(by, age).to_string(), said);
        }
    }
}
