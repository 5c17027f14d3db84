//! What is due, and who sends it.
//!
//! One pass over the queue's index ([`Forwarder::schedule`]) finds what has become due or has
//! expired, tells its lanes from the present config, and makes it `ready`; lanes with ready mail
//! get sending slots, a slot takes one message after the other. Fresh mail takes the short way: its
//! receipt offers it to its lanes at once.
//!
//! After a start, a reload and a flush everything is due once. One destination holds at most half
//! of the slots while another waits. What a destination's trouble means (decisions 5 to 7):
//! connecting, greeting and login failures back the lane off and leave its mail ready; a refusal of
//! one mail delays or ends that mail. Nothing temporary ever ends one before it expires (LAW 7).

use super::domains;
use super::keyring::Keyring;
use super::lane::Lane;
use super::mailbox::Mailbox;
use super::network::NetError;
pub use super::plan::GivenBack;
use super::release::Release;
use super::route::{self, Destination, HOLD, LANES_MAX};
use super::sender::{Progress, Sender, State, scope};
use super::ways;
use super::words::LastWords;
use crate::base::time::{Instant, Now, earliest};
use crate::config::Config;
use crate::mail::aliases::Addressee;
use crate::queue::disk::{Block, Disk, new_block};
use crate::queue::{Queue, Ticket};
use core::net::SocketAddr;

/// A due time that only a flush, a reload or an attempt's end brings forward.
pub(super) const NEVER: u64 = u32::MAX as u64;

/// Something that the daemon must do for a sending slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    /// Look up the lane's host; the ticket comes back with the answer.
    Resolve {
        /// Slot and generation.
        ticket: u32,
    },
    /// Look up the mail hosts of the lane's domain, likewise.
    ResolveMail {
        /// Slot and generation.
        ticket: u32,
    },
    /// Get the key of the lane's relay ready; [`Forwarder::ask_again`] with the ticket when it may
    /// be asked for again.
    Unlock {
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
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported {
    pub(super) ticket: Ticket,
    pub(super) failed: u128,
    /// They have got it, and only the word of it is not durable yet.
    pub(super) told: u128,
    /// They get it by the message that has been made instead.
    pub(super) copied: u128,
    /// That it takes long, and nothing else.
    pub(super) is_notice: bool,
}

impl Reported {
    /// About nobody.
    pub(super) const fn nothing(ticket: Ticket) -> Reported {
        Reported { ticket, failed: 0, told: 0, copied: 0, is_notice: false }
    }
}

/// See the module's head.
pub struct Forwarder {
    pub(super) lanes: Vec<Lane>,
    pub(super) senders: Vec<Sender>,
    pub(super) requests: Vec<Option<Request>>,
    /// One a sending slot, one for messages that expire, and one for those whose recipients have
    /// become several.
    pub(super) reported: Vec<Option<Reported>>,
    pub(super) writing: Box<Block>,
    /// For envelopes read outside of attempts.
    pub(super) reading: Box<Block>,
    /// Running time at which the index is to be looked through, and how far that is.
    pub(super) scan_at: u64,
    pub(super) scan_from: Option<u32>,
    pub(super) scan_next: u64,
    pub(super) owner_base: u32,
    pub(super) counters: Counters,
    pub(super) words: LastWords,
    pub(super) network: Release,
    is_draining: bool,
    is_asleep: bool,
}

impl Forwarder {
    /// With everything due. The batch knows its reports by `owner_base` and above.
    pub fn new(config: &Config, owner_base: u32) -> Forwarder {
        let count = usize::from(config.senders.max(1));
        let mut forwarder = Forwarder {
            lanes: Vec::with_capacity(LANES_MAX),
            senders: core::iter::repeat_with(Sender::new).take(count).collect(),
            requests: vec![None; count],
            reported: vec![None; count + 2],
            writing: new_block(),
            reading: new_block(),
            scan_at: 0,
            scan_from: None,
            scan_next: NEVER,
            owner_base,
            counters: Counters::default(),
            words: LastWords::new(),
            network: Release::default(),
            is_draining: false,
            is_asleep: false,
        };
        forwarder.make_lanes(config);
        forwarder
    }

    /// Of a daemon that does not run: for telling what waits, and nothing will be tried.
    pub fn asleep(config: &Config) -> Forwarder {
        Forwarder { is_asleep: true, ..Forwarder::new(config, 0) }
    }

    /// True if nothing is tried.
    pub fn is_asleep(&self) -> bool {
        self.is_asleep
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

    /// Relays have changed, or how they are verified: what was agreed on with them counts no more.
    pub fn outdate(&mut self) {
        self.senders.iter_mut().for_each(Sender::outdate);
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
            make_due(queue, waiting.ticket);
        }
        for lane in &mut self.lanes {
            lane.until = None;
            lane.again = lane.connections > 0;
        }
        self.scan_at = 0;
    }

    /// Messages may have become due that nobody has told of.
    pub fn look(&mut self) {
        self.scan_by(0);
    }

    /// One message is to be tried now, wherever it has to go.
    pub fn retry(&mut self, queue: &mut Queue, ticket: Ticket) {
        make_due(queue, ticket);
        self.scan_at = 0;
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

    /// The lanes that `recipient` needs, by the present config; 0 if that is not known before its
    /// mail is in the queue.
    pub fn lanes_of(&self, config: &Config, recipient: Addressee<'_>) -> u32 {
        domains::lane_ahead(&self.lanes, config, recipient).unwrap_or(0)
    }

    /// A message has become durable: it may go at once.
    pub fn fresh<W: Disk>(&mut self, ticket: Ticket, context: &mut Context<'_, W>) {
        let Some(waiting) = context.queue.waiting(ticket) else { return };
        self.scan_by(waiting.arrival + context.config.expire.as_secs());
        if waiting.importing || waiting.held {
            return;
        }
        let needs = if waiting.needs == 0 { self.route(ticket, context) } else { waiting.needs };
        if needs == 0 {
            return;
        }
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

    /// Looks through the index when something may have become due or expired; then starts senders.
    pub fn schedule<W: Disk + Mailbox + Keyring>(&mut self, context: &mut Context<'_, W>) {
        self.let_go(context.queue, context.now.instant);
        self.scan(context);
        self.look_for_keys(context);
        if self.is_draining {
            return;
        }
        self.give_mail(context);
        self.start_senders(context);
    }

    /// Idle connections get the next mail of their lane.
    fn give_mail<W: Disk + Mailbox + Keyring>(&mut self, context: &mut Context<'_, W>) {
        for at in 0..self.senders.len() {
            if self.senders.get(at).is_some_and(|sender| sender.is_idle()) {
                self.proceed(at, context);
            }
        }
    }

    fn start_senders<W: Disk + Mailbox + Keyring>(&mut self, context: &mut Context<'_, W>) {
        let now = context.now.instant;
        let half = (self.senders.len() as u16 / 2).max(1);
        for at in 0..self.lanes.len() {
            let others_wait = self.lanes.iter().enumerate().any(|(number, lane)| {
                number != at && lane.has_work() && lane.connections == 0 && is_up(lane, now)
            });
            let Some(lane) = self.lanes.get(at) else { return };
            let most = match (lane.destination.is_remote(), lane.failures) {
                (true, 0) if others_wait => half,
                (true, 0) => self.senders.len() as u16,
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

    fn start<W: Disk + Mailbox + Keyring>(
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
        if lane.destination.is_remote() {
            lane.offer(ticket);
            let relay = route::relay(context.config, &lane.destination);
            let has_key = relay.is_some_and(|relay| relay.login.is_some());
            let state = if has_key { State::AwaitKey } else { State::AwaitAddress };
            sender.enter(state, lane.number);
            let ticket = sender.ticket(slot);
            *request = Some(match lane.destination {
                Destination::Domain(_) => Request::ResolveMail { ticket },
                _ if has_key => Request::Unlock { ticket },
                _ => Request::Resolve { ticket },
            });
            return;
        }
        self.file_one(slot, lane_at, ticket, context);
    }

    /// Begins to deal with `ticket` without a next hop.
    pub(super) fn file_one<W: Disk + Mailbox + Keyring>(
        &mut self,
        slot: usize,
        lane_at: usize,
        ticket: Ticket,
        context: &mut Context<'_, W>,
    ) {
        let Some(lane) = self.lanes.get(lane_at) else { return };
        let Some(sender) = self.senders.get_mut(slot) else { return };
        sender.enter(State::Filing, lane.number);
        let Context { config, queue, world, now } = context;
        let mut scope = scope(config, queue, *world, *now, &lane.destination);
        if let Err(error) = sender.begin(ticket, &mut scope) {
            self.release(slot);
            return self.unread(ticket, error, context);
        }
        self.proceed(slot, context);
    }

    /// The next message for a lane that nobody is sending there.
    pub(super) fn next_for(&mut self, lane_at: usize, queue: &Queue) -> Option<Ticket> {
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

    /// True while it is being attempted, or a report on it waits to be durable.
    pub fn is_under_way(&self, ticket: Ticket) -> bool {
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
            Destination::Domain(domain) => Some((domain.as_str(), ways::MX_PORT)),
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

    /// What the messages that were put off lately were told.
    pub fn last_words(&self) -> &LastWords {
        &self.words
    }

    /// The counters.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Asks the daemon to close the slot's socket.
    pub(super) fn close(&mut self, slot: usize) {
        if let Some(request) = self.requests.get_mut(slot) {
            *request = Some(Request::Close);
        }
    }

    pub(super) fn lane_failed<W>(&mut self, slot: usize, why: &str, context: &mut Context<'_, W>) {
        let now = context.now.instant;
        let is_cut_off = self.senders.get(slot).is_some_and(|sender| sender.is_cut_off);
        if is_cut_off {
            self.network.watch(now);
        }
        let number = self.senders.get(slot).map_or(0, |sender| usize::from(sender.lane));
        let Some(lane) = self.lanes.get_mut(number) else { return };
        let waits = lane.until.is_some_and(|until| now < until);
        lane.awaits_network = is_cut_off || (waits && lane.awaits_network);
        if is_cut_off && lane.again && !waits {
            let again = self.network.once_more(now);
            lane.failed_by_the_old_way(why, again);
            log::info!("{}: {why}; the network has changed meanwhile", lane.destination.name());
            return self.release(slot);
        }
        let scatter = context.queue.seal().scatter(lane.number.into(), now.as_millis());
        lane.failed(why, &context.config.retry, scatter, now);
        let wait = lane.until.map_or(0, |until| until.since(now).as_secs());
        let name = lane.destination.name();
        if let Destination::Relay { host, port, .. } = &lane.destination {
            log::warn!("relay {name} ({host}:{port}): {why}; next try in {wait} s");
        } else {
            log::warn!("{name}: {why}; next try in {wait} s");
        }
        self.release(slot);
    }

    pub(super) fn release(&mut self, slot: usize) {
        if let Some(lane) = self.lane_of_slot(slot) {
            lane.connections = lane.connections.saturating_sub(1);
        }
        if let Some(sender) = self.senders.get_mut(slot) {
            sender.leave();
        }
    }

    pub(super) fn lane_of_slot(&mut self, slot: usize) -> Option<&mut Lane> {
        let number = self.senders.get(slot)?.lane;
        self.lanes.get_mut(usize::from(number))
    }

    /// Goes on with slot `slot` after its socket has moved, or its deadline has passed.
    pub fn proceed<W: Disk + Mailbox + Keyring>(
        &mut self,
        slot: usize,
        context: &mut Context<'_, W>,
    ) {
        let now = context.now.instant;
        loop {
            let Some(sender) = self.senders.get_mut(slot) else { return };
            match sender.state {
                State::Free => return,
                State::AwaitKey | State::AwaitAddress => return,
                State::AwaitConnection => {
                    if sender.connect_deadline.is_some_and(|deadline| now >= deadline) {
                        self.connect_failed(slot, NetError::TimedOut, context);
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
                    if self.is_draining {
                        if let Some(sender) = self.senders.get_mut(slot) {
                            sender.quit(now);
                        }
                        return;
                    }
                    let Some(ticket) = self.next_for(lane_at, context.queue) else { return };
                    self.begin(slot, ticket, context);
                }
                Progress::Login => {
                    if !self.log_in(slot, context) {
                        return;
                    }
                }
                Progress::NotLoggedIn(loss) => return self.not_logged_in(slot, &loss, context),
                Progress::Over(ledger, ticket) => {
                    self.over(slot, ticket, &ledger, "", context);
                }
                Progress::Lost(under_way, stage, why) => {
                    return self.lost(slot, under_way, stage, why.as_str(), context);
                }
                Progress::Unread(ticket, error) => {
                    self.unread(ticket, error, context);
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
            self.unread(ticket, error, context);
        }
    }

    /// When [`Forwarder::schedule`] has something to do, if nothing else happens.
    pub fn deadline(&self, queue: &Queue, now: Instant) -> Option<Instant> {
        if self.scan_from.is_some() {
            return Some(now);
        }
        let run = queue.run(now);
        let until_scan = self.scan_at.saturating_sub(run);
        let scan =
            (self.scan_at < NEVER).then(|| now + core::time::Duration::from_secs(until_scan));
        let lanes = self.lanes.iter().filter(|lane| lane.has_work() && lane.connections == 0);
        let lanes = lanes.map(|lane| lane.wakes_at().unwrap_or(now)).min();
        let lanes = if self.is_draining || self.all_taken() { None } else { lanes };
        let senders = self.senders.iter().filter_map(Sender::deadline).min();
        let filing = self.senders.iter().any(|sender| sender.state == State::Filing);
        let filing = filing.then_some(now);
        let network = if self.is_draining { None } else { self.network.deadline() };
        earliest(earliest(earliest(scan, lanes), earliest(senders, filing)), network)
    }

    fn all_taken(&self) -> bool {
        self.senders.iter().all(|sender| sender.state != State::Free)
    }
}

/// Its lanes are found anew when the index is next looked through; for what is being attempted that
/// is after its attempt, which sees the present config as it goes.
pub(super) fn make_due(queue: &mut Queue, ticket: Ticket) {
    queue.plan(ticket, 0, 0, 0);
}

fn is_up(lane: &Lane, now: Instant) -> bool {
    lane.until.is_none_or(|until| now >= until)
}

fn is_in_config(config: &Config, destination: &Destination) -> bool {
    let mut vias = config.routes.iter().map(|route| &route.via).chain([&config.via]);
    vias.any(|via| route::leads_to(config, via, destination))
}
