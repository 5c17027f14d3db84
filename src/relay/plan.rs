//! What is due: the pass over the queue's index.
//!
//! It finds messages that have become due or have expired, tells their lanes from the present
//! config, and makes them `ready`. Envelopes are read only for messages whose lanes are not known:
//! after a start, a reload, a flush. The pass is cut after so many of those and goes on in the
//! next turn.

use super::domains::{self, NO_LANE_WAIT};
use super::forwarder::{Context, Forwarder, NEVER};
use super::hold;
use super::late::Haste;
use super::ledger::Ledger;
use super::mailbox::Mailbox;
use super::route::{self, HOLD, Stead};
use super::settle::Settlement;
use super::wishes::Wishes;
use crate::base::ascii::Base62;
use crate::base::buffer::Text;
use crate::base::time::Now;
use crate::limits::REMOTE_TEXT_BYTES_MAX;
use crate::mail::address::Address;
use crate::mail::aliases::Addressee;
use crate::mail::report::Cause;
use crate::queue::disk::Disk;
use crate::queue::envelope::{Hold, Record};
use crate::queue::message::Message;
use crate::queue::reader::ReadError;
use crate::queue::waiting::Waiting;
use crate::queue::{Queue, Ticket, all_recipients};
use core::fmt::Write as _;

/// What came of giving a message back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GivenBack {
    /// Its report is on the batch; the message is gone once that is durable.
    Reported,
    /// Nobody is to have a report; the message is gone.
    Gone,
    /// It is being attempted, imported or reported, or another is being given back: later.
    Busy,
    /// It cannot be read, or there is no room for a report; the log has said which.
    Failed,
}

/// Messages whose envelope is read in one turn to find their lanes.
const ROUTED_MAX: u32 = 32;

/// Where the recipients of a message who are not done have to go.
#[derive(Clone, Copy, Default)]
struct Needs {
    lanes: u32,
    /// For somebody no lane is free now.
    is_short: bool,
    /// Those whose mail is not to stay in the queue.
    moving: u128,
    /// Its sender wants it held so long yet, seconds.
    held: Option<u64>,
    /// Those who are several now.
    several: u128,
    /// What it says of time.
    haste: Haste,
}

impl Forwarder {
    /// The lanes of `ticket`'s recipients; an envelope that cannot be read holds its message.
    pub(super) fn route<W: Disk>(&mut self, ticket: Ticket, context: &mut Context<'_, W>) -> u32 {
        match self.read_needs(ticket, context) {
            Ok(Needs { held: Some(left), .. }) => {
                let run = context.queue.run(context.now.instant);
                context.queue.hold_until(ticket, Some(run.saturating_add(left)));
                let due = hold::look_at(run, left);
                context.queue.plan(ticket, 0, 0, due);
                self.scan_by(due);
                0
            }
            Ok(needs) => {
                if needs.several != 0 && !self.expand(ticket, needs.several, context) {
                    return 0;
                }
                if needs.is_short && needs.lanes & !HOLD == 0 {
                    // With others to serve, who is left is looked for when those are done.
                    let due = context.queue.run(context.now.instant) + NO_LANE_WAIT;
                    context.queue.plan(ticket, 0, 0, due);
                    self.scan_by(due);
                    return 0;
                }
                self.set_deadline(ticket, &needs.haste, context);
                needs.lanes
            }
            Err(error) => {
                self.unread(ticket, error, context);
                0
            }
        }
    }

    fn read_needs<W: Disk>(
        &mut self,
        ticket: Ticket,
        context: &mut Context<'_, W>,
    ) -> Result<Needs, ReadError> {
        let mut due = NEVER;
        let needs = self.read_lanes(ticket, &mut due, context);
        self.scan_by(due);
        needs
    }

    /// `due` is when mail is to be looked at that has lost its lane to this one.
    fn read_lanes<W: Disk>(
        &mut self,
        ticket: Ticket,
        due: &mut u64,
        context: &mut Context<'_, W>,
    ) -> Result<Needs, ReadError> {
        let Context { config, queue, world, now } = context;
        let Forwarder { lanes, reading, .. } = self;
        let mut message = Message::open(queue, *world, ticket, reading)?;
        let mut needs = Needs::default();
        let mut number = 0u32;
        let mut is_final = false;
        let mut wishes = Wishes::default();
        while let Some(record) = message.record(queue, *world, reading)? {
            let text = match record {
                Record::Recipient(text) => text,
                Record::By(by) => {
                    needs.haste.by = Some(by);
                    continue;
                }
                Record::Hold(asked) => {
                    let arrival = message.header().run;
                    needs.held = stay(queue, ticket, asked, arrival, *now);
                    if needs.held.is_some() {
                        return Ok(needs);
                    }
                    continue;
                }
                Record::Final => {
                    is_final = true;
                    continue;
                }
                other => {
                    wishes.note(&other);
                    continue;
                }
            };
            let is_final = core::mem::take(&mut is_final);
            let recipient = Address::parse_utf8(text).map_err(|_| ReadError::Unreadable)?;
            let bit = 1u128.checked_shl(number).ok_or(ReadError::Unreadable)?;
            number += 1;
            let asked = wishes.take_recipient();
            if queue.is_done(ticket, bit) {
                continue;
            }
            needs.haste.note(&asked);
            let recipient = Addressee { address: recipient, is_final };
            match route::stead(config, recipient) {
                Stead::Several(_) => needs.several |= bit,
                Stead::Unknown(line) => {
                    let id = Base62(ticket.seq);
                    log::warn!("{id}: the alias of a recipient, line {line}, is wrong; held");
                }
                Stead::One { .. } => {}
            }
            let (kept, now) = (needs.lanes, now.instant);
            let lane = domains::lane_for(lanes, kept, queue, config, recipient, now, due);
            needs.lanes |= lane.unwrap_or(0);
            needs.is_short |= lane.is_none();
            needs.moving |= if lane == Some(HOLD) { 0 } else { bit };
        }
        // Nobody left to serve, and not dead: the envelope and the header disagree.
        match needs.lanes == 0 && !needs.is_short {
            true => Err(ReadError::Unreadable),
            false => Ok(needs),
        }
    }

    /// Looks through the index if something may have become due or expired.
    pub(super) fn scan<W: Disk + Mailbox>(&mut self, context: &mut Context<'_, W>) {
        let run = context.queue.run(context.now.instant);
        if self.scan_from.is_none() && run < self.scan_at {
            return;
        }
        let mut from = self.scan_from.take().unwrap_or_else(|| {
            self.scan_next = NEVER;
            self.scan_at = NEVER;
            0
        });
        let mut routed = 0;
        while let Some(waiting) = context.queue.next_waiting(from) {
            if routed >= ROUTED_MAX || self.expiry_slot_is_taken() {
                self.scan_from = Some(from);
                return;
            }
            from = waiting.ticket.slot + 1;
            routed += u32::from(self.consider(&waiting, run, context));
        }
        // What was brought forward meanwhile counts too.
        self.scan_at = self.scan_at.min(self.scan_next);
    }

    /// Brings the next pass forward.
    pub(super) fn scan_by(&mut self, due: u64) {
        self.scan_at = self.scan_at.min(due);
    }

    /// One message of the pass; true if its envelope had to be read.
    fn consider<W: Disk + Mailbox>(
        &mut self,
        waiting: &Waiting,
        run: u64,
        context: &mut Context<'_, W>,
    ) -> bool {
        if waiting.held || waiting.importing || !waiting.readable {
            return false;
        }
        let ticket = waiting.ticket;
        let expire = context.config.expire.as_secs();
        let expires = waiting.arrival + expire;
        let has_expired = run >= expires;
        let deadline = waiting.deadline.unwrap_or(NEVER);
        // Without lanes it is held by a route, or was put off: there was no room for its report, or
        // its envelope could not be read. Then its time being up is no reason to look again.
        let has_lanes = waiting.needs & !HOLD != 0;
        let is_timely = !has_expired && run < deadline;
        if waiting.due > run && (is_timely || !has_lanes) {
            if has_lanes {
                self.scan_next = self.scan_next.min(expires).min(deadline);
            }
            self.scan_next = self.scan_next.min(waiting.due);
            return false;
        }
        if self.is_under_way(ticket) {
            // Its end plans it.
            return false;
        }
        let reads = waiting.needs == 0;
        let needs = if reads { self.route(ticket, context) } else { waiting.needs };
        if needs == 0 {
            return reads;
        }
        // A hold that is over makes it young again.
        let routed = context.queue.waiting(ticket).unwrap_or(*waiting);
        let expires = routed.arrival + expire;
        if needs != HOLD {
            if run >= expires {
                self.expire(ticket, needs, Cause::Expired, context);
                return true;
            }
            self.scan_next = self.scan_next.min(expires);
            if run >= routed.deadline.unwrap_or(NEVER) && self.overdue(ticket, needs, context) {
                return true;
            }
            if waiting.due > run {
                self.scan_next = self.scan_next.min(waiting.due);
                return true;
            }
        }
        context.queue.plan(ticket, needs, needs & !HOLD, NEVER);
        for lane in self.lanes.iter_mut().filter(|lane| needs & lane.bit() != 0) {
            lane.look();
        }
        reads
    }

    fn expiry_slot_is_taken(&self) -> bool {
        self.reported.get(self.senders.len()).is_some_and(Option::is_some)
    }

    /// Its sender is to be told that it takes long, or it is too late: then it is given up.
    fn overdue<W: Disk + Mailbox>(
        &mut self,
        ticket: Ticket,
        lanes: u32,
        context: &mut Context<'_, W>,
    ) -> bool {
        let run = context.queue.run(context.now.instant);
        let needs = match self.read_needs(ticket, context) {
            Ok(needs) => needs,
            Err(error) => {
                self.unread(ticket, error, context);
                return true;
            }
        };
        let Some(waiting) = context.queue.waiting(ticket) else { return true };
        if Forwarder::is_given_up(&waiting, &needs.haste, run) {
            self.expire(ticket, lanes, Cause::Late, context);
            return true;
        }
        let words = Text::<REMOTE_TEXT_BYTES_MAX>::from(self.last_words_of(ticket, lanes));
        self.give_notice(ticket, &needs.haste, needs.moving, words.as_str(), context);
        false
    }

    /// What was said last to it, or of its destination.
    fn last_words_of(&self, ticket: Ticket, lanes: u32) -> &str {
        let lane = self.lanes.iter().find(|lane| lanes & lane.bit() != 0);
        let of_lane = lane.map_or("", |lane| lane.last_error.as_str());
        self.words.of(ticket).unwrap_or(of_lane)
    }

    fn set_deadline<W>(&mut self, ticket: Ticket, haste: &Haste, context: &mut Context<'_, W>) {
        let Some(waiting) = context.queue.waiting(ticket) else { return };
        let deadline = haste.deadline(&waiting, context.config.delay_notice.as_secs());
        context.queue.set_deadline(ticket, deadline);
        self.scan_by(deadline.unwrap_or(NEVER));
    }

    /// The time of `ticket` is up: nobody who has not got it gets another try. Who is held by a
    /// route stays held.
    fn expire<W: Disk + Mailbox>(
        &mut self,
        ticket: Ticket,
        lanes: u32,
        cause: Cause,
        context: &mut Context<'_, W>,
    ) {
        let needs = match self.read_needs(ticket, context) {
            Ok(needs) => needs,
            Err(error) => return self.unread(ticket, error, context),
        };
        let mut ledger = Ledger { mine: needs.moving, ..Ledger::default() };
        ledger.all_given_up();
        let lane = self.lanes.iter().find(|lane| lanes & lane.bit() != 0);
        let words = lane.map_or(Text::new(), |lane| lane.last_error);
        let relay = Text::<128>::from(lane.map_or("none", |lane| lane.destination.name()));
        let mut reason = Text::<256>::from(match cause {
            Cause::Late => "not delivered in the time that its sender gave",
            _ => "delivery time expired",
        });
        if !words.is_empty() {
            // A Text cuts what is too long, it never fails.
            let _ = write!(reason, "; last: {}", words.as_str());
        }
        let settlement = Settlement {
            ticket,
            ledger: &ledger,
            relay: relay.as_str(),
            mechanism: None,
            protection: None,
            remote: None,
            reason: reason.as_str(),
            cause,
            success: "sent",
        };
        let slot = self.senders.len();
        context.queue.plan(ticket, needs.lanes & HOLD, 0, NEVER);
        self.settle(&settlement, slot, None, context);
    }

    /// An administrator returns a message to its sender: like one that has expired, held or not,
    /// and with other words.
    pub fn give_back<W: Disk>(
        &mut self,
        ticket: Ticket,
        context: &mut Context<'_, W>,
    ) -> GivenBack {
        let Some(waiting) = context.queue.waiting(ticket) else { return GivenBack::Gone };
        if !waiting.readable {
            return GivenBack::Failed;
        }
        if waiting.importing || self.is_under_way(ticket) || self.expiry_slot_is_taken() {
            return GivenBack::Busy;
        }
        let mine = all_recipients(waiting.recipients) & !waiting.done;
        let mut ledger = Ledger { mine, ..Ledger::default() };
        ledger.all_given_up();
        let settlement = Settlement {
            ticket,
            ledger: &ledger,
            relay: "none",
            mechanism: None,
            protection: None,
            remote: None,
            reason: "returned by the administrator",
            cause: Cause::Returned,
            success: "sent",
        };
        context.queue.plan(ticket, 0, 0, NEVER);
        self.settle(&settlement, self.senders.len(), None, context);
        match context.queue.waiting(ticket) {
            None => GivenBack::Gone,
            Some(_) if self.expiry_slot_is_taken() => GivenBack::Reported,
            Some(_) => GivenBack::Failed,
        }
    }
}

/// How long a message stays that its sender wants held. When that is over, its age begins.
fn stay(queue: &mut Queue, ticket: Ticket, asked: Hold, arrival: u64, now: Now) -> Option<u64> {
    let waiting = queue.waiting(ticket)?;
    let run = queue.run(now.instant);
    let end = arrival.saturating_add(asked.seconds.into()).min(run);
    if waiting.arrival == arrival && !waiting.released {
        let left = hold::left(asked, run.saturating_sub(arrival), now.unix);
        if left.is_some() {
            return left;
        }
    }
    queue.hold_until(ticket, None);
    if waiting.arrival == arrival {
        queue.begin_age(ticket, end);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Instant;
    use crate::config::{Config, Host, parse};
    use crate::queue::NotDurable;
    use crate::queue::disk::new_block;
    use crate::queue::draft::{Origin, Summary};
    use crate::queue::envelope::By;
    use crate::queue::memory_disk::MemoryDisk;
    use crate::queue::recovery::{format, recover};
    use crate::relay::forwarder::Reported;
    use crate::relay::mailbox::MailboxError;
    use core::time::Duration;
    impl crate::relay::keyring::Keyring for MemoryDisk {}

    /// No mailbox at all.
    impl Mailbox for MemoryDisk {
        fn open_mail(&mut self, _: u16, _: &str, _: &str) -> Result<(), MailboxError> {
            Err(MailboxError::Io)
        }
        fn append_mail(&mut self, _: u16, _: &[u8]) -> Result<(), MailboxError> {
            Err(MailboxError::Io)
        }
        fn deliver_mail(&mut self, _: u16) -> Result<(), MailboxError> {
            Err(MailboxError::Io)
        }
        fn abandon_mail(&mut self, _: u16) {}
    }

    const START: Instant = Instant::from_millis(0);

    struct Office {
        config: Config,
        disk: MemoryDisk,
        queue: Queue,
        forwarder: Forwarder,
        now: Now,
    }

    impl Office {
        fn new() -> Office {
            let host = Host { hostname: "pi.test", home: "/home", is_embedded: false, run: None };
            let config = parse(b"relay = smtp://hub.test\nexpire = 1h\n", &host).unwrap();
            let mut disk = MemoryDisk::new(64);
            format(&mut disk, [9; 24], 0).unwrap();
            let (queue, _) = recover(&mut disk, START, 16, None).unwrap();
            let forwarder = Forwarder::new(&config, 0);
            Office { config, disk, queue, forwarder, now: Now::default() }
        }

        fn submit(&mut self) -> Ticket {
            self.submit_with(&[Record::Sender(b"a@b"), Record::Recipient(b"c@d")])
        }

        fn submit_with(&mut self, records: &[Record<'_>]) -> Ticket {
            let ticket = self.put(records);
            self.queue.commit(&mut self.disk, START, |_, receipt| assert!(receipt.is_ok()));
            ticket
        }

        /// On the batch.
        fn put(&mut self, records: &[Record<'_>]) -> Ticket {
            let Office { disk, queue, .. } = self;
            let mut buffer = new_block();
            let mut draft = queue.begin(disk, Origin::Client, None).unwrap();
            for record in records {
                queue.record(disk, &mut draft, &mut buffer, record).unwrap();
            }
            let summary = Summary::default();
            queue.finish(disk, draft, &mut buffer, 9, summary, START).unwrap()
        }

        fn schedule(&mut self) {
            let Office { config, disk, queue, forwarder, now } = self;
            let mut context = Context { config, queue, world: disk, now: *now };
            forwarder.schedule(&mut context);
        }

        fn commit(&mut self) {
            let Office { config, disk, queue, forwarder, now } = self;
            let mut verdicts = Vec::new();
            queue.commit(disk, now.instant, |owner, verdict| verdicts.push((owner, verdict)));
            for (owner, verdict) in verdicts {
                let mut context = Context { config, queue, world: disk, now: *now };
                forwarder.committed(owner, verdict, &mut context);
            }
        }
    }

    /// I7, for those who have it: the word of it first, then the mark; and no second delivery.
    #[test]
    fn whose_delivery_is_told_is_done_when_the_report_is_durable_or_never_will_be() {
        for is_durable in [true, false] {
            let mut office = Office::new();
            let ticket = office.submit_with(&[
                Record::Sender(b"a@b"),
                Record::Notify(1),
                Record::Recipient(b"c@d"),
            ]);
            let mut ledger = Ledger { mine: 1, success: 1, ..Ledger::default() };
            ledger.all_delivered();
            let settlement = Settlement {
                ticket,
                ledger: &ledger,
                relay: "hub",
                mechanism: None,
                protection: None,
                remote: Some("hub"),
                reason: "",
                cause: Cause::Refused,
                success: "sent",
            };
            let Office { config, disk, queue, forwarder, now } = &mut office;
            let mut context = Context { config, queue, world: disk, now: *now };
            forwarder.settle(&settlement, 0, Some(1), &mut context);
            assert_eq!(office.queue.batch_len(), 1);
            assert_eq!(office.queue.waiting(ticket).unwrap().done, 0);
            if is_durable {
                office.commit();
            } else {
                let Office { config, disk, queue, forwarder, now } = &mut office;
                let mut context = Context { config, queue, world: disk, now: *now };
                forwarder.committed(0, Err(NotDurable), &mut context);
            }
            assert_eq!(office.queue.waiting(ticket), None, "{is_durable}");
        }
    }

    /// RFC 4865: it was as if the time that a mail was held had been time in which it was tried.
    #[test]
    fn the_age_of_what_was_held_begins_when_it_may_go() {
        let mut office = Office::new();
        let hold = Hold { seconds: 7200, until: i64::MAX };
        let records = [Record::Sender(b"a@b"), Record::Hold(hold), Record::Recipient(b"c@d")];
        let ticket = office.submit_with(&records);
        let at = |seconds| START + Duration::from_secs(seconds);
        office.schedule();
        let waiting = office.queue.waiting(ticket).unwrap();
        // A recovery adds a minute.
        assert_eq!((waiting.later, waiting.ready, waiting.due), (Some(7260), 0, 660));
        office.now.instant = at(7199);
        office.forwarder.flush(&mut office.queue);
        office.schedule();
        let waiting = office.queue.waiting(ticket).unwrap();
        assert_eq!((waiting.later, waiting.ready, waiting.due), (Some(7260), 0, 7260));
        office.now.instant = at(7200);
        office.schedule();
        let waiting = office.queue.waiting(ticket).unwrap();
        assert_eq!((waiting.later, waiting.arrival), (None, 7260));
        assert!(waiting.ready != 0);
        // A reload changes nothing of that.
        office.now.instant = at(7200 + 3599);
        office.forwarder.flush(&mut office.queue);
        office.schedule();
        let waiting = office.queue.waiting(ticket).unwrap();
        assert!(waiting.ready != 0 && waiting.arrival == 7260);
        assert_eq!(office.queue.batch_len(), 0);
        office.now.instant = at(7200 + 3600);
        office.schedule();
        assert_eq!(office.queue.batch_len(), 1, "it has expired");
    }

    #[test]
    fn an_administrator_ends_a_hold_and_a_restart_does_not_know_it_better() {
        let mut office = Office::new();
        let hold = Hold { seconds: 7200, until: i64::MAX };
        let records = [Record::Sender(b"a@b"), Record::Hold(hold), Record::Recipient(b"c@d")];
        let ticket = office.submit_with(&records);
        office.now.instant = START + Duration::from_secs(5400);
        office.schedule();
        let now = office.now.instant;
        assert!(office.queue.set_flag(ticket, crate::queue::block::State::RELEASED, true, now));
        office.forwarder.retry(&mut office.queue, ticket);
        office.schedule();
        assert!(office.queue.waiting(ticket).unwrap().ready != 0);
        office.commit();
        let (queue, _) = recover(&mut office.disk, now, 16, None).unwrap();
        let run = queue.run(now);
        office.queue = queue;
        office.forwarder = Forwarder::new(&office.config, 0);
        office.schedule();
        let waiting = office.queue.waiting(ticket).unwrap();
        assert!(waiting.ready != 0 && waiting.released);
        // Older than the time in which it may be tried, but for the hold.
        assert!(run > 3600 && waiting.arrival == run, "{run} {}", waiting.arrival);
    }

    /// RFC 2852: what is late is returned with R, and only told of with N, once.
    #[test]
    fn what_is_late_is_returned_or_told_of() {
        for (flags, is_returned) in [(By::RETURN, true), (0, false)] {
            let mut office = Office::new();
            let by = Record::By(By { seconds: 600, flags });
            let records = [Record::Sender(b"a@b"), by, Record::Recipient(b"c@d")];
            let ticket = office.submit_with(&records);
            office.schedule();
            let waiting = office.queue.waiting(ticket).unwrap();
            assert!(waiting.ready != 0 && waiting.deadline == Some(660), "{waiting:?}");
            office.now.instant = START + Duration::from_secs(599);
            office.schedule();
            assert_eq!(office.queue.batch_len(), 0);
            let next = office.forwarder.deadline(&office.queue, office.now.instant).unwrap();
            assert!(next <= START + Duration::from_secs(600), "{next:?}");
            office.now.instant = START + Duration::from_secs(600);
            office.schedule();
            assert_eq!(office.queue.batch_len(), 1);
            assert!(!office.queue.waiting(ticket).unwrap().noticed, "before it is durable");
            office.commit();
            let waiting = office.queue.waiting(ticket);
            assert_eq!(waiting.is_none(), is_returned);
            if let Some(waiting) = waiting {
                assert!(waiting.noticed && waiting.ready != 0 && waiting.deadline.is_none());
                // Not twice, also not by a new process.
                office.queue.hurry();
                office.commit();
                let now = office.now.instant;
                office.queue = recover(&mut office.disk, now, 16, None).unwrap().0;
                office.forwarder = Forwarder::new(&office.config, 0);
                office.schedule();
                assert!(office.queue.waiting(ticket).unwrap().noticed);
                assert_eq!(office.queue.batch_len(), 0);
            }
        }
    }

    #[test]
    fn a_delay_is_told_to_those_who_asked_where_the_config_says_when() {
        for (notify, delay, count) in [(4, "10m", 1), (4, "0s", 0), (3, "10m", 0), (0, "10m", 0)] {
            let mut office = Office::new();
            let host = Host { hostname: "pi.test", home: "/home", is_embedded: false, run: None };
            let text = format!("relay = smtp://hub.test\ndelay-notice = {delay}\n");
            office.config = parse(text.as_bytes(), &host).unwrap();
            let notify = Record::Notify(notify);
            let records = [Record::Sender(b"a@b"), notify, Record::Recipient(b"c@d")];
            office.submit_with(&records);
            office.schedule();
            office.now.instant = START + Duration::from_secs(599);
            office.schedule();
            assert_eq!(office.queue.batch_len(), 0);
            for _ in 0..3 {
                office.now.instant = office.now.instant + Duration::from_secs(1);
                office.schedule();
                office.commit();
            }
            assert_eq!(office.queue.messages(), 1 + count);
        }
    }

    /// The copy that a failed sync took away would have been the only one.
    #[test]
    fn who_gets_it_by_a_copy_is_done_when_that_is_durable_and_never_otherwise() {
        let mut office = Office::new();
        let ticket = office.submit();
        let slot = office.forwarder.senders.len() + 1;
        for is_durable in [false, true] {
            let reported = Reported { copied: 1, ..Reported::nothing(ticket) };
            office.forwarder.reported[slot] = Some(reported);
            office.put(&[Record::Sender(b"a@b"), Record::Recipient(b"e@f")]);
            let mut verdict = Err(NotDurable);
            let Office { config, disk, queue, forwarder, now } = &mut office;
            queue.commit(disk, START, |_, receipt| verdict = receipt);
            let verdict = if is_durable { verdict } else { Err(NotDurable) };
            let mut context = Context { config, queue, world: disk, now: *now };
            forwarder.committed(slot as u32, verdict, &mut context);
            assert_eq!(office.queue.waiting(ticket).is_none(), is_durable);
        }
    }

    /// Each look through the index tried to write its report, and each report was counted.
    #[test]
    fn what_has_expired_waits_for_room_for_its_report_and_is_counted_when_that_is_durable() {
        let mut office = Office::new();
        let ticket = office.submit();
        let Office { disk, queue, .. } = &mut office;
        let mut buffer = new_block();
        let mut filling = queue.begin(disk, Origin::Report, None).unwrap();
        while queue.append(disk, &mut filling, &mut buffer, &[b'x'; 1000]).is_ok() {}
        office.now.instant = START + Duration::from_secs(2 * 3600);
        office.schedule();
        let due = office.queue.waiting(ticket).unwrap().due;
        assert!(due > office.queue.run(office.now.instant));
        let reads = office.disk.reads;
        for _ in 0..10 {
            office.forwarder.look();
            office.schedule();
        }
        assert_eq!(office.disk.reads, reads, "it is looked at again before it is due");
        let wait = due - office.queue.run(office.now.instant);
        let next = office.forwarder.deadline(&office.queue, office.now.instant);
        assert_eq!(next, Some(office.now.instant + Duration::from_secs(wait)));
        office.queue.abandon(filling);
        office.now.instant = office.now.instant + Duration::from_secs(wait);
        office.schedule();
        assert_eq!(office.queue.batch_len(), 1);
        assert_eq!(office.forwarder.counters().failed, 0);
        office.commit();
        assert_eq!(office.forwarder.counters().failed, 1);
        assert_eq!(office.queue.waiting(ticket), None);
    }
}
