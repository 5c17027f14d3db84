//! What is due, and who sends it.
//!
//! One pass over the queue's index ([`Forwarder::schedule`]) finds what has become due or has
//! expired, tells its lanes from the present config, and makes it `ready`; lanes with ready mail get
//! sending slots, a slot takes one message after the other. Fresh mail takes the short way: its
//! receipt offers it to its lanes at once.
//!
//! After a start, a reload and a flush everything is due once. One destination holds at most half of
//! the slots while another waits. What a destination's trouble means (decisions 5 to 7): connecting,
//! greeting and login failures back the lane off and leave its mail ready; a refusal of one mail
//! delays or ends that mail. Nothing temporary ever ends one before it expires (LAW 7).

use super::lane::Lane;
use super::ledger::Ledger;
use super::mailbox::{Mailbox, MailboxError};
use super::network::{Addresses, NetError, ResolveError};
use super::report::Desk;
use super::route::{self, Destination, HOLD, LANES_MAX};
use super::sender::{Progress, Sender, State, scope};
use super::settle::{Settlement, next_due};
use crate::base::ascii::Base62;
use crate::base::buffer::Text;
use crate::base::time::{Instant, Now, earliest};
use crate::config::Config;
use crate::limits::{REMOTE_TEXT_BYTES_MAX, RESOLVE_TIMEOUT, TURN_BYTES_MAX};
use crate::mail::address::Address;
use crate::queue::block::State as MessageState;
use crate::queue::disk::{Block, Disk, new_block};
use crate::queue::envelope::Record;
use crate::queue::message::Message;
use crate::queue::reader::ReadError;
use crate::queue::waiting::Waiting;
use crate::queue::{NotDurable, Queue, Receipt, Ticket, all_recipients};
use crate::smtp::client::Stage;
use core::fmt::Write as _;
use core::net::SocketAddr;
use core::time::Duration;

/// Messages whose envelope is read in one turn to find their lanes.
const ROUTED_MAX: u32 = 32;
/// A due time that only a flush, a reload or an attempt's end brings forward.
const NEVER: u64 = u32::MAX as u64;

/// When a message is tried again that the disk failed to read.
const UNREAD_WAIT: Duration = Duration::from_secs(60);

/// Something that the daemon must do for a sending slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    /// Look up the lane's host; the ticket comes back with the answer.
    Resolve {
        /// Slot and generation.
        ticket: u32,
    },
    /// Connect.
    Connect(SocketAddr),
    /// Close the connection.
    Close,
}

/// What the forwarder needs of its surroundings for the length of a call.
pub struct Context<'a, W> {
    /// Settings.
    pub config: &'a Config,
    /// The queue.
    pub queue: &'a mut Queue,
    /// Disk and mailboxes.
    pub world: &'a mut W,
    /// Both clocks.
    pub now: Now,
}

/// Counters for `status`, since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Recipients delivered.
    pub delivered: u64,
    /// Attempts that left recipients for later.
    pub deferred: u64,
    /// Recipients that failed for good.
    pub failed: u64,
}

/// Recipients that are done once a report is durable.
#[derive(Clone, Copy)]
struct Reported {
    ticket: Ticket,
    failed: u128,
}

/// See the module's head.
pub struct Forwarder {
    lanes: Vec<Lane>,
    senders: Vec<Sender>,
    requests: Vec<Option<Request>>,
    /// One a sending slot, and one more for messages that expire.
    reported: Vec<Option<Reported>>,
    writing: Box<Block>,
    /// For envelopes read outside of attempts.
    reading: Box<Block>,
    /// Running time at which the index is to be looked through, and how far that is.
    scan_at: u64,
    scan_from: Option<u32>,
    scan_next: u64,
    owner_base: u32,
    counters: Counters,
    is_draining: bool,
}

impl Forwarder {
    /// With everything due. The batch knows its reports by `owner_base` and above.
    pub fn new(config: &Config, owner_base: u32) -> Forwarder {
        let count = usize::from(config.senders.max(1));
        let mut forwarder = Forwarder {
            lanes: Vec::with_capacity(LANES_MAX),
            senders: core::iter::repeat_with(Sender::new).take(count).collect(),
            requests: vec![None; count],
            reported: vec![None; count + 1],
            writing: new_block(),
            reading: new_block(),
            scan_at: 0,
            scan_from: None,
            scan_next: NEVER,
            owner_base,
            counters: Counters::default(),
            is_draining: false,
        };
        forwarder.make_lanes(config);
        forwarder
    }

    /// Gives every destination of `config` a lane; a lane that nobody needs gives its number away.
    fn make_lanes(&mut self, config: &Config) {
        let vias = config.routes.iter().map(|route| &route.via).chain([&config.via]);
        for via in vias {
            let Some(wanted) = route::destination(config, via) else { continue };
            if self.lanes.iter().any(|lane| lane.destination == wanted) {
                continue;
            }
            let idle = |lane: &&mut Lane| {
                lane.connections == 0 && !is_in_config(config, &lane.destination)
            };
            if let Some(lane) = self.lanes.iter_mut().find(idle) {
                *lane = Lane::new(lane.number, wanted);
            } else if self.lanes.len() < LANES_MAX {
                self.lanes.push(Lane::new(self.lanes.len() as u8, wanted));
            } else {
                let name = wanted.name();
                log::error!("{name}: more than {LANES_MAX} destinations; its mail is held");
            }
        }
    }

    /// A new config: routes are found anew, and everything is due.
    pub fn reload(&mut self, config: &Config, queue: &mut Queue) {
        self.make_lanes(config);
        self.flush(queue);
    }

    /// The queue was recovered, or someone wants everything tried now.
    pub fn flush(&mut self, queue: &mut Queue) {
        let mut from = 0;
        while let Some(waiting) = queue.next_waiting(from) {
            from = waiting.ticket.slot + 1;
            self.make_due(queue, waiting.ticket);
        }
        for lane in &mut self.lanes {
            lane.until = None;
        }
        self.look_at(0);
    }

    /// Messages may have become due that nobody has told of.
    pub fn look(&mut self) {
        self.look_at(0);
    }

    /// The index is to be looked through at `run`, also if it is being looked through now: what is
    /// due then may lie behind.
    fn look_at(&mut self, run: u64) {
        self.scan_at = self.scan_at.min(run);
        self.scan_next = self.scan_next.min(run);
    }

    /// One message is to be tried now, wherever it has to go.
    pub fn retry(&mut self, queue: &mut Queue, ticket: Ticket) {
        self.make_due(queue, ticket);
        self.look_at(0);
    }

    /// Its lanes are found anew when the index is next looked through. What is being attempted is
    /// left to its attempt, which sees the present config as it goes.
    fn make_due(&mut self, queue: &mut Queue, ticket: Ticket) {
        let under_way = self.is_under_way(ticket);
        if !under_way {
            queue.plan(ticket, 0, 0, 0);
        }
    }

    /// TERM: what is under way goes on, nothing new begins.
    pub fn drain(&mut self) {
        self.is_draining = true;
    }

    /// True when nothing is under way.
    pub fn is_quiet(&self) -> bool {
        let quiet = |sender: &Sender| sender.attempt.is_none();
        self.senders.iter().all(quiet) && self.reported.iter().all(Option::is_none)
    }

    /// The lanes that `recipient` needs, by the present config.
    pub fn lanes_of(&self, config: &Config, recipient: Address<'_>) -> u32 {
        let via = route::via(config, recipient);
        let found = |lane: &&Lane| route::leads_to(config, via, &lane.destination);
        self.lanes.iter().find(found).map_or(HOLD, Lane::bit)
    }

    /// A message has become durable: it may go at once.
    pub fn fresh<W: Disk>(&mut self, ticket: Ticket, expire: u64, context: &mut Context<'_, W>) {
        let Some(waiting) = context.queue.waiting(ticket) else { return };
        self.look_at(waiting.arrival + expire);
        if waiting.importing || waiting.held {
            return;
        }
        let known = (waiting.needs != 0).then_some(waiting.needs);
        let Some(needs) = known.or_else(|| self.route(ticket, context)) else { return };
        self.make_ready(ticket, needs, context.queue);
    }

    fn make_ready(&mut self, ticket: Ticket, needs: u32, queue: &mut Queue) {
        queue.plan(ticket, needs, needs & !HOLD, NEVER);
        for lane in &mut self.lanes {
            if needs & lane.bit() != 0 {
                lane.offer(ticket);
            }
        }
    }

    /// Reads the envelope to find the lanes of the recipients who are not done. None: it cannot be
    /// read, and what that means is settled.
    fn route<W: Disk>(&mut self, ticket: Ticket, context: &mut Context<'_, W>) -> Option<u32> {
        match self.read_route(ticket, context) {
            Ok((needs, _)) => Some(needs),
            Err(error) => {
                self.hold_unread(context.queue, ticket, error, context.now.instant);
                None
            }
        }
    }

    /// The lanes, and the unfinished recipients whose mail is to stay.
    fn read_route<W: Disk>(
        &mut self,
        ticket: Ticket,
        context: &mut Context<'_, W>,
    ) -> Result<(u32, u128), ReadError> {
        let Context { config, queue, world, .. } = context;
        let mut message = Message::open(queue, *world, ticket, &mut self.reading)?;
        let mut needs = 0;
        let mut held = 0;
        let mut number = 0u32;
        loop {
            match message.record(queue, *world, &mut self.reading)? {
                None => return Ok((if needs == 0 { HOLD } else { needs }, held)),
                Some(Record::Recipient(text)) => {
                    let recipient = Address::parse(text).map_err(|_| ReadError::Unreadable)?;
                    let bit = 1u128.checked_shl(number).ok_or(ReadError::Unreadable)?;
                    if !queue.is_done(ticket, bit) {
                        let via = route::via(config, recipient);
                        let found = |lane: &&Lane| route::leads_to(config, via, &lane.destination);
                        let lane = self.lanes.iter().find(found).map_or(HOLD, Lane::bit);
                        needs |= lane;
                        held |= if lane == HOLD { bit } else { 0 };
                    }
                    number += 1;
                }
                Some(_) => {}
            }
        }
    }

    /// Looks through the index when something may have become due or expired; then starts senders.
    pub fn schedule<W: Disk + Mailbox>(&mut self, context: &mut Context<'_, W>) {
        self.scan(context);
        if self.is_draining {
            return;
        }
        self.give_mail(context);
        self.start_senders(context);
    }

    fn scan<W: Disk + Mailbox>(&mut self, context: &mut Context<'_, W>) {
        let run = context.queue.run(context.now.instant);
        if self.scan_from.is_none() && run < self.scan_at {
            return;
        }
        let mut from = self.scan_from.take().unwrap_or_else(|| {
            self.scan_next = NEVER;
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
        self.scan_at = self.scan_next;
    }

    /// One message of the scan; true if its envelope had to be read.
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
        let expires = waiting.arrival + context.config.expire.as_secs();
        let is_for_ever = waiting.needs == HOLD;
        if run >= expires && !is_for_ever {
            if self.is_under_way(ticket) {
                // Its attempt may end without a word of its next try.
                self.scan_next = self.scan_next.min(run + UNREAD_WAIT.as_secs());
            } else {
                self.expire(ticket, context);
            }
            return true;
        }
        if !is_for_ever {
            self.scan_next = self.scan_next.min(expires);
        }
        if waiting.due > run {
            self.scan_next = self.scan_next.min(waiting.due);
            return false;
        }
        let reads = waiting.needs == 0;
        let known = (!reads).then_some(waiting.needs);
        let Some(needs) = known.or_else(|| self.route(ticket, context)) else { return true };
        context.queue.plan(ticket, needs, needs & !HOLD, NEVER);
        for lane in &mut self.lanes {
            if needs & lane.bit() != 0 {
                lane.look();
            }
        }
        reads
    }

    fn expiry_slot_is_taken(&self) -> bool {
        self.reported.last().is_some_and(Option::is_some)
    }

    /// The time of `ticket` is up: everyone who has not got it gets no more tries, but for those
    /// whose mail is to stay.
    fn expire<W: Disk + Mailbox>(&mut self, ticket: Ticket, context: &mut Context<'_, W>) {
        let Some(waiting) = context.queue.waiting(ticket) else { return };
        let (needs, held) = match self.read_route(ticket, context) {
            Ok(route) => route,
            Err(error) => {
                return self.hold_unread(context.queue, ticket, error, context.now.instant);
            }
        };
        if needs == HOLD {
            return context.queue.plan(ticket, HOLD, 0, NEVER);
        }
        let mut ledger = Ledger::default();
        ledger.mine = all_recipients(waiting.recipients) & !waiting.done & !held;
        ledger.all_expired();
        let lane = self.lanes.iter().find(|lane| needs & lane.bit() != 0);
        let words = lane.map_or(Text::new(), |lane| lane.last_error);
        let relay = lane.map_or("none", |lane| lane.destination.name());
        let relay = Text::<128>::from(relay);
        let mut reason = Text::<256>::new();
        // A Text cuts what is too long, it never fails.
        let _ = match words.is_empty() {
            true => write!(reason, "delivery time expired"),
            false => write!(reason, "delivery time expired; last: {}", words.as_str()),
        };
        let settlement = Settlement {
            ticket,
            ledger: &ledger,
            relay: relay.as_str(),
            remote: None,
            reason: reason.as_str(),
            expired: true,
            success: "sent",
        };
        let slot = self.senders.len();
        self.settle(&settlement, slot, None, context);
    }

    /// Idle connections get the next mail of their lane.
    fn give_mail<W: Disk + Mailbox>(&mut self, context: &mut Context<'_, W>) {
        for at in 0..self.senders.len() {
            if self.senders.get(at).is_some_and(|sender| sender.is_idle()) {
                self.proceed(at, context);
            }
        }
    }

    fn start_senders<W: Disk + Mailbox>(&mut self, context: &mut Context<'_, W>) {
        let now = context.now.instant;
        let half = (self.senders.len() as u16 / 2).max(1);
        for at in 0..self.lanes.len() {
            let others_wait = self.lanes.iter().enumerate().any(|(number, lane)| {
                number != at && lane.has_work() && lane.connections == 0 && is_up(lane, now)
            });
            let Some(lane) = self.lanes.get(at) else { return };
            let most = match (&lane.destination, lane.failures) {
                (Destination::Relay { .. }, 0) if others_wait => half,
                (Destination::Relay { .. }, 0) => half.max(1),
                // One probe; and one pen to a mailbox.
                _ => 1,
            };
            let wanted = lane.demand().min(most);
            if !lane.has_work() || !is_up(lane, now) || lane.connections >= wanted {
                continue;
            }
            let Some(slot) = self.free_slot(now) else { return };
            self.start(slot, at, context);
        }
    }

    /// A free slot; an idle connection of somebody else's is asked to leave for the next turn.
    fn free_slot(&mut self, now: Instant) -> Option<usize> {
        let is_free = |(at, sender): &(usize, &Sender)| {
            sender.state == State::Free && self.reported.get(*at).is_some_and(Option::is_none)
        };
        let free = self.senders.iter().enumerate().find(is_free).map(|(at, _)| at);
        if free.is_none()
            && let Some(idle) = self.senders.iter_mut().find(|sender| sender.is_idle())
        {
            idle.quit(now);
        }
        free
    }

    fn start<W: Disk + Mailbox>(
        &mut self,
        slot: usize,
        lane_at: usize,
        context: &mut Context<'_, W>,
    ) {
        // An empty look costs no connection.
        let Some(ticket) = self.next_for(lane_at, context.queue) else { return };
        let Some(lane) = self.lanes.get_mut(lane_at) else { return };
        let Some(sender) = self.senders.get_mut(slot) else { return };
        let Some(request) = self.requests.get_mut(slot) else { return };
        lane.connections += 1;
        if let Destination::Relay { .. } = lane.destination {
            lane.offer(ticket);
            sender.enter(State::AwaitAddress, lane.number);
            let generation = u32::from(sender.generation);
            *request = Some(Request::Resolve { ticket: generation << 16 | slot as u32 });
            return;
        }
        sender.enter(State::Filing, lane.number);
        let mut scope =
            scope(context.config, context.queue, context.world, context.now, &lane.destination);
        if let Err(error) = sender.begin(ticket, &mut scope) {
            sender.leave();
            lane.connections -= 1;
            self.hold_unread(context.queue, ticket, error, context.now.instant);
            return;
        }
        self.proceed(slot, context);
    }

    /// The next message for a lane that nobody is sending there.
    fn next_for(&mut self, lane_at: usize, queue: &Queue) -> Option<Ticket> {
        let senders = &self.senders;
        let lane = self.lanes.get_mut(lane_at)?;
        let number = lane.number;
        lane.next(queue, |ticket| {
            senders.iter().any(|sender| {
                let same = |attempt: &super::attempt::Attempt| attempt.ticket() == ticket;
                sender.lane == number && sender.attempt.as_ref().is_some_and(same)
            })
        })
    }

    fn is_under_way(&self, ticket: Ticket) -> bool {
        let same = |attempt: &super::attempt::Attempt| attempt.ticket() == ticket;
        let sending = self.senders.iter().any(|s| s.attempt.as_ref().is_some_and(same));
        sending || self.reported.iter().flatten().any(|reported| reported.ticket == ticket)
    }

    /// What the daemon is to do for slot `slot`.
    pub fn take_request(&mut self, slot: usize) -> Option<Request> {
        self.requests.get_mut(slot)?.take()
    }

    /// The resolver takes no more questions: again next turn.
    pub fn postpone(&mut self, slot: usize, request: Request) {
        if let Some(place) = self.requests.get_mut(slot) {
            *place = Some(request);
        }
    }

    /// The host and port of the slot's lane.
    pub fn host(&self, slot: usize) -> Option<(&str, u16)> {
        let lane = self.lanes.get(usize::from(self.senders.get(slot)?.lane))?;
        match &lane.destination {
            Destination::Relay { host, port, .. } => Some((host, *port)),
            _ => None,
        }
    }

    /// How many sending slots there are.
    pub fn slots(&self) -> usize {
        self.senders.len()
    }

    /// A slot.
    pub fn sender(&mut self, slot: usize) -> Option<&mut Sender> {
        self.senders.get_mut(slot)
    }

    /// The lanes, for `status`.
    pub fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// The counters.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// A name has been looked up.
    pub fn resolved(
        &mut self,
        ticket: u32,
        answer: Result<Addresses, ResolveError>,
        config: &Config,
        now: Instant,
    ) {
        let slot = (ticket & 0xffff) as usize;
        let Some(sender) = self.senders.get_mut(slot) else { return };
        let is_asked = u32::from(sender.generation) == ticket >> 16;
        if !is_asked || sender.state != State::AwaitAddress {
            return;
        }
        match answer {
            Ok(addresses) => {
                sender.addresses = addresses;
                self.try_next_address(slot, "has no address", config, now);
            }
            Err(error) => self.lane_failed(slot, error.text(), config, now),
        }
    }

    /// The connection stands.
    pub fn connected(&mut self, slot: usize, config: &Config, now: Instant) {
        if let Some(sender) = self.senders.get_mut(slot) {
            sender.connected(config, now);
        }
    }

    /// The connection could not be made.
    pub fn connect_failed(&mut self, slot: usize, error: NetError, config: &Config, now: Instant) {
        self.close(slot);
        self.try_next_address(slot, error.text(), config, now);
    }

    fn try_next_address(&mut self, slot: usize, why: &str, config: &Config, now: Instant) {
        let port = self.host(slot).map_or(25, |(_, port)| port);
        let Some(sender) = self.senders.get_mut(slot) else { return };
        let Some(address) = sender.addresses.get(sender.tried) else {
            return self.lane_failed(slot, why, config, now);
        };
        sender.tried += 1;
        sender.connecting(now + config.connect_timeout);
        if let Some(request) = self.requests.get_mut(slot) {
            *request = Some(Request::Connect(SocketAddr::new(address, port)));
        }
    }

    /// Asks the daemon to close the slot's socket.
    fn close(&mut self, slot: usize) {
        if let Some(request) = self.requests.get_mut(slot) {
            *request = Some(Request::Close);
        }
    }

    fn lane_failed(&mut self, slot: usize, why: &str, config: &Config, now: Instant) {
        let Some(lane) = self.lane_of_slot(slot) else { return };
        lane.failed(why, &config.retry, now);
        let wait = lane.until.map_or(0, |until| until.since(now).as_secs());
        let name = lane.destination.name();
        if let Destination::Relay { host, port, .. } = &lane.destination {
            log::warn!("relay {name} ({host}:{port}): {why}; next try in {wait} s");
        } else {
            log::warn!("{name}: {why}; next try in {wait} s");
        }
        self.release(slot);
    }

    fn release(&mut self, slot: usize) {
        if let Some(lane) = self.lane_of_slot(slot) {
            lane.connections = lane.connections.saturating_sub(1);
        }
        if let Some(sender) = self.senders.get_mut(slot) {
            sender.leave();
        }
    }

    fn lane_of_slot(&mut self, slot: usize) -> Option<&mut Lane> {
        let number = self.senders.get(slot)?.lane;
        self.lanes.get_mut(usize::from(number))
    }

    /// Goes on with slot `slot` after its socket has moved, or its deadline has passed.
    pub fn proceed<W: Disk + Mailbox>(&mut self, slot: usize, context: &mut Context<'_, W>) {
        let now = context.now.instant;
        loop {
            let Some(sender) = self.senders.get_mut(slot) else { return };
            match sender.state {
                State::Free => return,
                State::AwaitAddress => return,
                State::AwaitConnection => {
                    if sender.connect_deadline.is_some_and(|deadline| now >= deadline) {
                        self.connect_failed(slot, NetError::TimedOut, context.config, now);
                    }
                    return;
                }
                State::Filing => return self.file(slot, context),
                State::Talking => {}
            }
            if self.reported.get(slot).is_some_and(Option::is_some) {
                // The report of the last mail waits for its sync.
                return;
            }
            let lane_at = usize::from(sender.lane);
            let Some(lane) = self.lanes.get_mut(lane_at) else { return };
            let Context { config, queue, world, now: both } = context;
            let mut scope = scope(config, queue, *world, *both, &lane.destination);
            match sender.proceed(&mut scope) {
                Progress::Waiting => return,
                Progress::Idle => {
                    lane.serves();
                    if self.is_draining {
                        if let Some(sender) = self.senders.get_mut(slot) {
                            sender.quit(now);
                        }
                        return;
                    }
                    let Some(ticket) = self.next_for(lane_at, context.queue) else { return };
                    self.begin(slot, ticket, context);
                }
                Progress::Over(ledger, ticket) => {
                    self.over(slot, ticket, &ledger, "", context);
                }
                Progress::Lost(under_way, stage, why) => {
                    return self.lost(slot, under_way, stage, why.as_str(), context);
                }
                Progress::Unread(ticket, error) => {
                    self.hold_unread(context.queue, ticket, error, now);
                    self.close(slot);
                    return self.release(slot);
                }
                Progress::Closed => {
                    self.close(slot);
                    return self.release(slot);
                }
            }
        }
    }

    fn begin<W: Disk + Mailbox>(
        &mut self,
        slot: usize,
        ticket: Ticket,
        context: &mut Context<'_, W>,
    ) {
        let Some(sender) = self.senders.get_mut(slot) else { return };
        let Some(lane) = self.lanes.get(usize::from(sender.lane)) else { return };
        let Context { config, queue, world, now } = context;
        let mut scope = scope(config, queue, *world, *now, &lane.destination);
        if let Err(error) = sender.begin(ticket, &mut scope) {
            self.hold_unread(context.queue, ticket, error, context.now.instant);
        }
    }

    /// The connection is gone (decisions 6).
    fn lost<W: Disk + Mailbox>(
        &mut self,
        slot: usize,
        under_way: Option<(Ledger, Ticket)>,
        stage: Stage,
        why: &str,
        context: &mut Context<'_, W>,
    ) {
        let now = context.now.instant;
        let was_kept = self.senders.get(slot).is_some_and(Sender::is_kept);
        if let Some((ledger, ticket)) = under_way {
            self.over(slot, ticket, &ledger, why, context);
        }
        self.close(slot);
        match stage {
            // It served, and had nothing to do: to close then is no failure.
            Stage::BeforeMail if was_kept => self.release(slot),
            // Nothing was begun: the next address, if there is one, may do better.
            Stage::BeforeMail => self.try_next_address(slot, why, context.config, now),
            // The peer may have the mail or not: nobody else is asked now.
            Stage::Final => self.release(slot),
            Stage::Envelope | Stage::Data => self.lane_failed(slot, why, context.config, now),
        }
    }

    /// An attempt has ended.
    fn over<W: Disk + Mailbox>(
        &mut self,
        slot: usize,
        ticket: Ticket,
        ledger: &Ledger,
        why: &str,
        context: &mut Context<'_, W>,
    ) {
        let Some(lane) = self.lane_of_slot(slot) else { return };
        let bit = lane.bit();
        let name = Text::<128>::from(lane.destination.name());
        let mut remote = Text::<128>::new();
        if let Destination::Relay { host, port, .. } = &lane.destination {
            // A Text cuts what is too long, it never fails.
            let _ = write!(remote, "{host}:{port}");
        }
        let is_next_hop = !remote.is_empty();
        let success = if lane.destination == Destination::Discard { "discarded" } else { "sent" };
        if ledger.delivered != 0 {
            lane.succeeded(context.now.unix);
        } else if !why.is_empty() {
            lane.last_error = Text::from(why);
        }
        let relay = if is_next_hop { remote.as_str() } else { name.as_str() };
        let host = remote.as_str().rsplit_once(':').map(|(host, _)| host);
        let settlement = Settlement {
            ticket,
            ledger,
            relay,
            remote: host,
            reason: why,
            expired: false,
            success,
        };
        self.settle(&settlement, slot, Some(bit), context);
    }

    /// `bit`: the lane; none when the message has expired.
    fn settle<W: Disk + Mailbox>(
        &mut self,
        settlement: &Settlement<'_>,
        slot: usize,
        bit: Option<u32>,
        context: &mut Context<'_, W>,
    ) {
        let Settlement { ticket, ledger, .. } = *settlement;
        let Context { config, queue, world, now } = context;
        self.counters.delivered += u64::from(ledger.delivered.count_ones());
        self.counters.failed += u64::from(ledger.failed.count_ones());
        let mut desk = Desk {
            config,
            queue,
            disk: *world,
            now: *now,
            reading: &mut self.reading,
            writing: &mut self.writing,
        };
        let open = match desk.settle(settlement, self.owner_base + slot as u32) {
            Ok(open) => open,
            Err(error) => return self.hold_unread(context.queue, ticket, error, now.instant),
        };
        if let Some((failed, _)) = open.reported
            && let Some(place) = self.reported.get_mut(slot)
        {
            *place = Some(Reported { ticket, failed });
        }
        let Some(waiting) = context.queue.waiting(ticket) else { return };
        let mut needs = waiting.needs;
        let mut ready = waiting.ready;
        let mut due = waiting.due;
        if let Some(bit) = bit {
            ready &= !bit;
            if !open.deferred {
                needs &= !bit;
            }
        }
        if open.deferred {
            self.counters.deferred += 1;
            due = next_due(context.queue, ticket, &config.retry, now.instant);
            self.look_at(due);
        }
        if needs == 0 && waiting.done != all_recipients(waiting.recipients) {
            // The config has changed since it was planned: its lanes are found anew when due.
            due = if due == NEVER {
                next_due(context.queue, ticket, &config.retry, now.instant)
            } else {
                due
            };
            self.look_at(due);
        }
        context.queue.plan(ticket, needs, ready, due);
    }

    /// A message that cannot be read is held and reported; one that is gone is nobody's concern, and
    /// a disk that failed once is asked again a little later.
    fn hold_unread(&mut self, queue: &mut Queue, ticket: Ticket, error: ReadError, now: Instant) {
        let id = Base62(ticket.seq);
        match error {
            ReadError::Gone => {}
            ReadError::Damaged => {
                log::error!("{id}: damaged in the queue; held");
                queue.mark_damaged(ticket, now);
            }
            ReadError::Unreadable => {
                log::error!("{id}: its envelope is of a later version or no envelope; held");
                queue.set_flag(ticket, MessageState::HELD, true, now);
            }
            ReadError::Disk => {
                log::error!("{id}: the disk fails to read it; tried again later");
                let due = queue.run(now) + UNREAD_WAIT.as_secs();
                queue.plan(ticket, 0, 0, due);
                self.look_at(due);
            }
        }
    }

    /// Writes on into a Maildir, or throws away.
    fn file<W: Disk + Mailbox>(&mut self, slot: usize, context: &mut Context<'_, W>) {
        let Some(sender) = self.senders.get_mut(slot) else { return };
        let Some(lane) = self.lanes.get(usize::from(sender.lane)) else { return };
        let Context { config, queue, world, now } = context;
        let filed = match &lane.destination {
            Destination::Maildir(path) => {
                let mut scope = scope(config, queue, *world, *now, &lane.destination);
                super::filing::file(slot as u16, sender, path, TURN_BYTES_MAX, &mut scope)
            }
            _ => {
                let (attempt, block, _) = sender.filing_parts();
                let Some(attempt) = attempt else { return };
                let mut scope = scope(config, queue, *world, *now, &lane.destination);
                attempt
                    .read_envelope(block, &mut scope)
                    .map(|()| true)
                    .map_err(super::filing::Fault::Message)
            }
        };
        let instant = now.instant;
        match filed {
            Ok(false) => {}
            Ok(true) => {
                let Some(attempt) = sender.attempt.take() else { return };
                let ticket = attempt.ticket();
                let mut ledger = attempt.ledger;
                ledger.all_delivered();
                self.over(slot, ticket, &ledger, "filed", context);
                self.release(slot);
            }
            Err(super::filing::Fault::Message(error)) => {
                if let Some(attempt) = sender.attempt.take() {
                    self.hold_unread(context.queue, attempt.ticket(), error, instant);
                }
                self.release(slot);
            }
            Err(super::filing::Fault::Mailbox(error)) => {
                // The mail stays ready; the mailbox is tried again when its lane is.
                sender.attempt = None;
                self.lane_failed(slot, mailbox_text(error), config, instant);
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
        let now = context.now.instant;
        match verdict {
            Ok(receipt) => {
                context.queue.mark_done(reported.ticket, reported.failed, now);
                let expire = context.config.expire.as_secs();
                self.fresh(receipt.ticket(), expire, context);
            }
            // They fail again at the next attempt, and are reported then.
            Err(NotDurable) => self.retry(context.queue, reported.ticket),
        }
    }

    /// When [`Forwarder::schedule`] has something to do, if nothing else happens.
    pub fn deadline(&self, queue: &Queue, now: Instant) -> Option<Instant> {
        if self.scan_from.is_some() {
            return Some(now);
        }
        let run = queue.run(now);
        let until_scan = self.scan_at.saturating_sub(run);
        let scan = (self.scan_at < NEVER).then(|| now + Duration::from_secs(until_scan));
        let lanes = self.lanes.iter().filter(|lane| lane.has_work() && lane.connections == 0);
        let lanes = lanes.map(|lane| lane.until.unwrap_or(now)).min();
        let lanes = if self.is_draining || self.all_taken() { None } else { lanes };
        let senders = self.senders.iter().filter_map(Sender::deadline).min();
        let filing = self.senders.iter().any(|sender| sender.state == State::Filing);
        let filing = filing.then_some(now);
        earliest(earliest(scan, lanes), earliest(senders, filing))
    }

    fn all_taken(&self) -> bool {
        self.senders.iter().all(|sender| sender.state != State::Free)
    }
}

fn is_up(lane: &Lane, now: Instant) -> bool {
    lane.until.is_none_or(|until| now >= until)
}

fn is_in_config(config: &Config, destination: &Destination) -> bool {
    let mut vias = config.routes.iter().map(|route| &route.via).chain([&config.via]);
    vias.any(|via| route::leads_to(config, via, destination))
}

fn mailbox_text(error: MailboxError) -> &'static str {
    match error {
        MailboxError::Full => "no room in the mailbox",
        MailboxError::Denied => "the mailbox cannot be written: look at owner and mode",
        MailboxError::Io => "the mailbox's disk fails",
    }
}

const _: () = assert!(RESOLVE_TIMEOUT.as_secs() < 60 && REMOTE_TEXT_BYTES_MAX < 256);
