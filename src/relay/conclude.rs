//! How attempts end, and what that does to lanes, slots and plans (decisions 5 to 7).

use super::domains::NO_LANE_WAIT;
use super::filing;
use super::forwarder::{Context, Forwarder, Reported};
use super::ledger::Ledger;
use super::mailbox::{Mailbox, MailboxError};
use super::report::Desk;
use super::route::Destination;
use super::sender::{Sender, State, scope};
use super::settle::{Settlement, next_due};
use crate::base::ascii::Base62;
use crate::base::buffer::Text;
use crate::dns::lookup::{Failure, MailHost};
use crate::limits::{REMOTE_TEXT_BYTES_MAX, TURN_BYTES_MAX};
use crate::mail::report::Cause;
use crate::queue::block::State as MessageState;
use crate::queue::disk::Disk;
use crate::queue::reader::ReadError;
use crate::queue::{NotDurable, Receipt, Ticket, all_recipients};
use crate::smtp::client::Stage;
use crate::smtp::reply::{RemoteReply, Status};
use core::fmt::Write as _;

/// How long a message that the disk did not give back is left alone, seconds of running.
const DISK_PAUSE: u64 = 60;

impl Forwarder {
    /// The connection is gone (decisions 6).
    pub(super) fn lost<W: Disk + Mailbox>(
        &mut self,
        slot: usize,
        under_way: Option<(Ledger, Ticket)>,
        stage: Stage,
        why: &str,
        context: &mut Context<'_, W>,
    ) {
        let has_served = self.senders.get(slot).is_some_and(Sender::has_served);
        if let Some((ledger, ticket)) = under_way {
            if has_served && stage == Stage::Envelope && ledger.is_blank() {
                // Decisions 6: 421, or the end, before the data. A new connection may do better.
                if let Some(lane) = self.lane_of_slot(slot) {
                    lane.offer(ticket);
                }
                // It may have been made due meanwhile.
                self.scan_by(0);
                self.close(slot);
                return self.release(slot);
            }
            self.over(slot, ticket, &ledger, why, context);
            if self.senders.get(slot).is_some_and(|sender| sender.state == State::Free) {
                // Not let in either: the lane has been told.
                return;
            }
        }
        self.close(slot);
        match stage {
            // Kept connections end; the lane has no trouble with that.
            Stage::BeforeMail if has_served => self.release(slot),
            // Nothing was begun: the next address, if there is one, may do better.
            Stage::BeforeMail => self.try_next_address(slot, why, context),
            // The peer may have the mail or not: nobody else is asked now.
            Stage::Final => self.release(slot),
            Stage::Envelope | Stage::Data => self.lane_failed(slot, why, context),
        }
    }

    /// An attempt has ended: by replies, or for the reason `why`.
    pub(super) fn over<W: Disk + Mailbox>(
        &mut self,
        slot: usize,
        ticket: Ticket,
        ledger: &Ledger,
        why: &str,
        context: &mut Context<'_, W>,
    ) {
        let mail_host = self.senders.get(slot).and_then(|sender| sender.mail_host().copied());
        let mechanism = self.senders.get(slot).and_then(Sender::mechanism);
        let protection = self.senders.get(slot).and_then(Sender::protection);
        let Some(lane) = self.lane_of_slot(slot) else { return };
        let bit = lane.bit();
        let mut relay = Text::<300>::from(lane.destination.name());
        let mut host = Text::<256>::new();
        let mut success = "sent";
        match &lane.destination {
            Destination::Domain(_) => {
                if let Some(MailHost { name, address }) = mail_host {
                    relay.clear();
                    let _ = write!(relay, "{}[{address}]:25", name.as_str());
                    host = Text::from(name.as_str());
                }
            }
            Destination::Relay { host: name, port, .. } => {
                relay.clear();
                // A Text cuts what is too long, it never fails.
                let _ = write!(relay, "{name}:{port}");
                let _ = host.write_str(name);
            }
            Destination::Maildir(_) => {}
            Destination::Discard => success = "discarded",
        }
        // It serves when it has answered for a mail; a greeting alone is no success, or a login
        // that is refused would be tried every minute for ever.
        if ledger.login_trouble.is_none() && (why.is_empty() || ledger.delivered != 0) {
            lane.serves();
        }
        if ledger.delivered != 0 {
            lane.succeeded(context.now.unix);
        } else if !why.is_empty() && ledger.mine != 0 {
            lane.last_error = Text::from(why);
        }
        let settlement = Settlement {
            ticket,
            ledger,
            relay: relay.as_str(),
            mechanism,
            protection,
            remote: (!host.is_empty()).then_some(host.as_str()),
            reason: why,
            cause: Cause::Refused,
            success,
        };
        self.settle(&settlement, slot, Some(bit), context);
    }

    /// Marks, reports and plans. `bit` is the attempt's lane; none when the message is given up.
    pub(super) fn settle<W: Disk>(
        &mut self,
        settlement: &Settlement<'_>,
        slot: usize,
        bit: Option<u32>,
        context: &mut Context<'_, W>,
    ) {
        let Settlement { ticket, ledger, .. } = *settlement;
        let Context { config, queue, world, now } = context;
        self.counters.delivered += u64::from(ledger.delivered.count_ones());
        let owner = self.owner_base + slot as u32;
        let (reading, writing) = (&mut self.reading, &mut self.writing);
        let mut desk = Desk { config, queue, disk: *world, now: *now, reading, writing };
        let open = match desk.settle(settlement, owner) {
            Ok(open) => open,
            Err(error) => return self.unread(ticket, error, context),
        };
        if open.is_over {
            self.counters.failed += u64::from(ledger.failed.count_ones());
        }
        if open.is_reported
            && let Some(place) = self.reported.get_mut(slot)
        {
            let (failed, told) = (ledger.failed, open.told);
            *place = Some(Reported { failed, told, ..Reported::nothing(ticket) });
        }
        let Some(waiting) = queue.waiting(ticket) else { return };
        let mut needs = waiting.needs;
        let mut due = waiting.due;
        if let Some(bit) = bit.filter(|_| !open.is_deferred && !ledger.is_partial) {
            needs &= !bit;
        }
        let is_left = needs == 0 && waiting.done != all_recipients(waiting.recipients);
        self.counters.deferred += u64::from(open.is_deferred);
        if ledger.is_partial && ledger.has_progressed() {
            // The others go in the next mail, at once.
            due = 0;
        } else if open.is_deferred || ledger.is_partial {
            due = due.min(next_due(queue, ticket, &config.retry, now.instant));
        } else if is_left && !open.is_reported {
            // The config has changed since it was planned, or there was no lane for somebody: its
            // lanes are to be found anew.
            due = due.min(queue.run(now.instant) + NO_LANE_WAIT);
        }
        if open.is_deferred {
            self.note_words(settlement);
        }
        let ready = waiting.ready & !bit.unwrap_or(u32::MAX);
        queue.plan(ticket, needs, ready, due);
        self.scan_by(waiting.deadline.map_or(due, |deadline| due.min(deadline)));
        if let Some(reply) = ledger.login_trouble {
            let mut words = Text::<256>::new();
            // A Text cuts what is too long, it never fails.
            let _ = write!(words, "does not let us in: {reply}");
            self.close(slot);
            self.locked(slot, words.as_str(), context);
        }
    }

    /// What the first of those who have to wait was told.
    fn note_words(&mut self, settlement: &Settlement<'_>) {
        let Settlement { ticket, ledger, reason, .. } = *settlement;
        let mut words = Text::<REMOTE_TEXT_BYTES_MAX>::from(reason);
        let first = ledger.deferred().trailing_zeros() as u8;
        if let Some(reply) = ledger.reply(first).filter(|_| reason.is_empty()) {
            // A Text cuts what is too long, it never fails.
            let _ = write!(words, "{reply}");
        }
        self.words.note(ticket, words.as_str());
    }

    /// Writes on into a Maildir, or throws away.
    pub(super) fn file<W: Disk + Mailbox>(&mut self, slot: usize, context: &mut Context<'_, W>) {
        let Some(sender) = self.senders.get_mut(slot) else { return };
        let Some(lane) = self.lanes.get(usize::from(sender.lane)) else { return };
        let Context { config, queue, world, now } = context;
        let mut scope = scope(config, queue, *world, *now, &lane.destination);
        let filed = match &lane.destination {
            Destination::Maildir(path) => {
                filing::file(slot as u16, sender, path, TURN_BYTES_MAX, &mut scope)
            }
            // What cannot be delivered is thrown away, but for the report.
            _ => filing::discard(sender, &mut scope),
        };
        if let Ok(false) = filed {
            return;
        }
        let Some(attempt) = sender.attempt.take() else { return self.release(slot) };
        let ticket = attempt.ticket();
        let refusal = lane.refusal;
        match filed {
            Ok(_) => {
                let mut ledger = attempt.ledger;
                let why = match refusal {
                    Some(failure) => {
                        ledger.sender_refused(reply_of(failure));
                        ""
                    }
                    None => {
                        ledger.all_delivered();
                        "filed"
                    }
                };
                self.over(slot, ticket, &ledger, why, context);
                self.release(slot);
            }
            Err(filing::Fault::Message(error)) => {
                self.unread(ticket, error, context);
                self.release(slot);
            }
            // The mail stays ready; the mailbox is tried again when its lane is.
            Err(filing::Fault::Mailbox(error)) => {
                self.scan_by(0);
                self.lane_failed(slot, mailbox_text(error), context);
            }
        }
    }

    /// The verdict on a report.
    pub fn committed<W: Disk>(
        &mut self,
        owner: u32,
        verdict: Result<Receipt, NotDurable>,
        context: &mut Context<'_, W>,
    ) {
        let slot = owner.saturating_sub(self.owner_base) as usize;
        let Some(reported) = self.reported.get_mut(slot).and_then(Option::take) else { return };
        let Reported { ticket, failed, told, copied, is_notice } = reported;
        let now = context.now.instant;
        match verdict {
            Ok(receipt) => {
                if is_notice {
                    context.queue.set_flag(ticket, MessageState::NOTICED, true, now);
                    return self.fresh(receipt.ticket(), context);
                }
                context.queue.mark_done(ticket, failed | told | copied, now);
                self.counters.failed += u64::from(failed.count_ones());
                self.fresh(receipt.ticket(), context);
                // The others of that message may have been made due meanwhile.
                self.scan_by(0);
                self.look_for_lanes(ticket, context);
            }
            Err(NotDurable) => {
                // Better that they have it and nobody says so than that they have it twice.
                if told != 0 {
                    context.queue.mark_done(ticket, told, now);
                }
                // The others fail again at the next attempt, and are reported or copied then.
                self.retry(context.queue, ticket);
            }
        }
    }

    /// If the report was not about everyone who was left, the others had no lane.
    fn look_for_lanes<W>(&mut self, ticket: Ticket, context: &mut Context<'_, W>) {
        let Context { queue, now, .. } = context;
        let Some(waiting) = queue.waiting(ticket) else { return };
        if waiting.needs == 0 {
            let due = waiting.due.min(queue.run(now.instant) + NO_LANE_WAIT);
            queue.plan(ticket, 0, 0, due);
            self.scan_by(due);
        }
    }

    /// A message that cannot be read is held and reported; one that is gone is nobody's concern,
    /// and a disk that failed once is asked again.
    pub(super) fn unread<W>(
        &mut self,
        ticket: Ticket,
        error: ReadError,
        context: &mut Context<'_, W>,
    ) {
        let id = Base62(ticket.seq);
        let now = context.now.instant;
        match error {
            ReadError::Gone => {}
            ReadError::Damaged => {
                log::error!("{id}: damaged in the queue; held");
                context.queue.mark_damaged(ticket, now);
            }
            ReadError::Unreadable => {
                log::error!("{id}: its envelope is of a later version or no envelope; held");
                context.queue.set_flag(ticket, MessageState::HELD, true, now);
            }
            ReadError::Disk => {
                log::error!("{id}: the disk fails to read it; tried again later");
                let due = context.queue.run(now) + DISK_PAUSE;
                context.queue.plan(ticket, 0, 0, due);
                self.scan_by(due);
            }
        }
    }
}

/// What a next hop would have said (RFC 3463 §3.2, RFC 7505 §4.2).
fn reply_of(failure: Failure) -> RemoteReply {
    let (code, subject, detail) = match failure {
        Failure::NullMx => (556, 1, 10),
        Failure::Myself => (554, 4, 6),
        _ => (550, 1, 2),
    };
    let status = Some(Status { class: 5, subject, detail });
    RemoteReply { code, status, text: Text::from(failure.text()) }
}

fn mailbox_text(error: MailboxError) -> &'static str {
    match error {
        MailboxError::Full => "no room in the mailbox",
        MailboxError::Denied => "the mailbox cannot be written: look at owner and mode",
        MailboxError::Io => "the mailbox's disk fails",
    }
}
