//! One sending slot: a connection to a next hop, the client machine on it, and the attempt under
//! way.
//!
//! The same five functions as a session has: [`Sender::input_mut`], [`Sender::received`],
//! [`Sender::output`], [`Sender::sent`], [`Sender::wants_read`]. [`Sender::proceed`] steps machine
//! and attempt and tells what came of it; what that means for lane and message is the forwarder's.
//! The slot's buffers are taken once and live through all its connections.

use super::attempt::{Attempt, Scope};
use super::ledger::Ledger;
use super::loss;
use super::network::{Addresses, NetWords, Protection};
use super::route::{self, Destination};
use crate::base::buffer::{Buffer, Emptiness, Text};
use crate::base::time::{Instant, Now, earliest};
use crate::config::{Config, Scheme};
use crate::dns::lookup::{MailHost, MailHosts};
use crate::limits::{OUTPUT_BYTES, REMOTE_LINE_BYTES_MAX, REMOTE_TEXT_BYTES_MAX};
use crate::queue::disk::{Block, Disk, new_block};
use crate::queue::reader::ReadError;
use crate::queue::{Queue, Ticket};
use crate::smtp::client::{
    Client, ClientEvent, ClientTerms, LoginLoss, LoginTerms, Loss, Stage, TlsTerms,
};
use crate::smtp::sasl::client::Login;
use crate::smtp::sasl::{Crypto, Mechanism};
use core::net::IpAddr;
use core::time::Duration;

/// How long a connection without mail is kept before QUIT.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// What a slot is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Nothing.
    Free,
    /// The key with which to log in is being got.
    AwaitKey,
    /// Its destination's name is being looked up.
    AwaitAddress,
    /// Its connection is being made.
    AwaitConnection,
    /// It speaks SMTP.
    Talking,
    /// It writes into a Maildir, or throws away.
    Filing,
}

/// What [`Sender::proceed`] came to.
#[expect(clippy::large_enum_variant, reason = "passed up once, and nothing is allocated")]
pub enum Progress {
    /// Waits for the peer, or for its output to be written.
    Waiting,
    /// A mail may begin.
    Idle,
    /// The attempt is over, by replies.
    Over(Ledger, Ticket),
    /// The connection is over; an attempt that was under way with it, and how far it had come.
    Lost(Option<(Ledger, Ticket)>, Stage, Text<REMOTE_TEXT_BYTES_MAX>),
    /// The message could not be read on; the connection must be closed.
    Unread(Ticket, ReadError),
    /// The key is to be lent for a step of the login.
    Login,
    /// The login came to nothing; the connection must be closed.
    NotLoggedIn(LoginLoss),
    /// Closed politely.
    Closed,
}

/// What a name was found to lead to.
#[expect(clippy::large_enum_variant, reason = "one for each sending slot, made at the start")]
pub enum Ways {
    /// A relay's addresses.
    Addresses(Addresses),
    /// A domain's mail hosts.
    Hosts(MailHosts),
}

impl Ways {
    /// The address number `index`, from 0.
    pub fn get(&self, index: u8) -> Option<IpAddr> {
        match self {
            Ways::Addresses(addresses) => addresses.get(index),
            Ways::Hosts(hosts) => Some(hosts.get(usize::from(index))?.as_ref()?.address),
        }
    }

    /// The mail host with that address.
    fn host(&self, index: u8) -> Option<&MailHost> {
        match self {
            Ways::Addresses(_) => None,
            Ways::Hosts(hosts) => hosts.get(usize::from(index))?.as_ref(),
        }
    }
}

/// See the module's head.
pub struct Sender {
    /// What it is doing.
    pub state: State,
    /// The lane it works for.
    pub lane: u8,
    /// Changes with every connection, so that late answers find nobody.
    pub generation: u16,
    /// Where the destination's name leads, and how many of those have been tried.
    pub ways: Ways,
    /// See `ways`.
    pub tried: u8,
    /// It was the way that failed, no word of the next hop.
    pub is_cut_off: bool,
    /// When connecting takes too long.
    pub connect_deadline: Option<Instant>,
    input: Buffer,
    output: Buffer,
    /// The block that the attempt reads with.
    pub block: Box<Block>,
    client: Client,
    /// What is being sent.
    pub attempt: Option<Attempt>,
    idle_since: Option<Instant>,
    is_closed: bool,
    is_leaving: bool,
    /// It was made by a config that has changed: it takes no more mail.
    is_outdated: bool,
    /// There may be something in `output`, or left there, that nobody is to find (threats 19).
    has_secret: bool,
    /// What the last step of the login came to.
    pending: Option<ClientEvent>,
    /// How the connection is protected, once TLS stands.
    protection: Option<Protection>,
    /// TLS is to be begun.
    begins_tls: bool,
    /// What TLS has come to.
    tls_trouble: Option<NetWords>,
    /// TLS with this host has failed, where none has to be: no STARTTLS this time.
    is_clear: bool,
    /// Mails that have ended on this connection.
    mails: u32,
}

impl Sender {
    /// The memory of a slot.
    pub fn new() -> Sender {
        Sender {
            state: State::Free,
            lane: 0,
            generation: 0,
            ways: Ways::Addresses(Addresses::default()),
            tried: 0,
            is_cut_off: false,
            connect_deadline: None,
            input: Buffer::new(2 * REMOTE_LINE_BYTES_MAX),
            output: Buffer::new(OUTPUT_BYTES),
            block: new_block(),
            client: Client::new(),
            attempt: None,
            idle_since: None,
            is_closed: false,
            is_leaving: false,
            is_outdated: false,
            has_secret: false,
            pending: None,
            protection: None,
            begins_tls: false,
            tls_trouble: None,
            is_clear: false,
            mails: 0,
        }
    }

    /// Begins to work for `lane`.
    pub fn enter(&mut self, state: State, lane: u8) {
        debug_assert!(self.attempt.is_none());
        self.state = state;
        self.lane = lane;
        self.generation = self.generation.wrapping_add(1);
        self.tried = 0;
        self.is_cut_off = false;
        self.connect_deadline = None;
        self.idle_since = None;
        self.is_leaving = false;
        self.is_outdated = false;
        self.is_clear = false;
    }

    /// Goes on to the next address, if there is one.
    pub fn next_address(&mut self) -> Option<IpAddr> {
        let address = self.ways.get(self.tried)?;
        self.tried += 1;
        self.is_clear = false;
        Some(address)
    }

    /// The same address once more in the clear, if TLS has failed there and need not be.
    pub fn once_more_in_the_clear(&mut self) -> Option<IpAddr> {
        let is_free = matches!(self.ways, Ways::Hosts(_)) && !self.is_clear;
        if !is_free || self.tls_trouble.is_none() || self.protection.is_some() {
            return None;
        }
        self.is_clear = true;
        self.address()
    }

    /// The address that is spoken to.
    pub fn address(&self) -> Option<IpAddr> {
        self.ways.get(self.tried.checked_sub(1)?)
    }

    /// Room for what may have come with the connection, forgetting what an earlier one left.
    pub fn connecting_mut(&mut self) -> &mut [u8] {
        self.input.clear();
        self.input.writable()
    }

    /// Names the question that slot `slot` now asks.
    pub fn ticket(&self, slot: usize) -> u32 {
        u32::from(self.generation) << 16 | slot as u32
    }

    /// True if the answer to the question `ticket` is waited for, in that state.
    pub fn awaits(&self, state: State, ticket: u32) -> bool {
        self.state == state && u32::from(self.generation) == ticket >> 16
    }

    /// The mail host that is spoken to.
    pub fn mail_host(&self) -> Option<&MailHost> {
        self.ways.host(self.tried.checked_sub(1)?)
    }

    /// The connection stands.
    pub fn connected(&mut self, config: &Config, destination: &Destination, now: Instant) {
        self.state = State::Talking;
        self.connect_deadline = None;
        self.wipe();
        self.output.clear();
        self.is_closed = false;
        self.mails = 0;
        self.pending = None;
        (self.protection, self.begins_tls, self.tls_trouble) = (None, false, None);
        self.client = Client::new();
        self.client.start(&self.terms(config, destination), now);
    }

    /// TLS is to be begun on the connection.
    pub fn begins_tls(&mut self) -> Option<Emptiness> {
        core::mem::take(&mut self.begins_tls).then(|| self.input.emptiness())?
    }

    /// True while the handshake of TLS is under way: reading brings it forward.
    pub fn is_securing(&self) -> bool {
        self.state == State::Talking && self.client.awaits_tls() && !self.begins_tls
    }

    /// The handshake is over.
    pub fn secured(
        &mut self,
        protection: Protection,
        config: &Config,
        destination: &Destination,
        now: Instant,
    ) {
        self.protection = Some(protection);
        let terms = self.terms(config, destination);
        self.client.secured(&mut self.output, &terms, now);
    }

    /// TLS has failed, in the handshake or behind it: the connection is of no more use.
    pub fn tls_failed(&mut self, why: NetWords) {
        self.tls_trouble.get_or_insert(why);
        self.is_closed = true;
    }

    /// How the connection is protected.
    pub fn protection(&self) -> Option<Protection> {
        self.protection
    }

    /// Free again.
    pub fn leave(&mut self) {
        self.wipe();
        self.pending = None;
        self.state = State::Free;
        self.attempt = None;
        self.connect_deadline = None;
        self.idle_since = None;
        self.generation = self.generation.wrapping_add(1);
    }

    /// True when a mail may begin on the connection.
    pub fn is_idle(&self) -> bool {
        let talks = self.state == State::Talking && self.client.is_ready();
        talks && self.attempt.is_none() && !self.is_leaving && !self.is_outdated
    }

    /// What its connection was made by has changed: it ends with the mail that is under way.
    pub fn outdate(&mut self) {
        self.is_outdated = self.state != State::Free;
    }

    /// True when the connection has served: that it ends now is nobody's fault.
    pub fn has_served(&self) -> bool {
        self.mails > 0
    }

    /// Nothing is under way, and leave has not been taken.
    fn may_quit(&self) -> bool {
        self.attempt.is_none() && !self.is_leaving
    }

    /// Another mail goes by another connection.
    fn has_no_more(&self) -> bool {
        self.client.is_spent() || (self.is_outdated && self.client.is_ready())
    }

    /// Takes leave of the next hop.
    pub fn quit(&mut self, now: Instant) {
        if self.state == State::Talking && !self.is_leaving {
            self.is_leaving = true;
            self.idle_since = None;
            self.client.quit(&mut self.output, now);
        }
    }

    /// Begins with `ticket`.
    pub fn begin<D: Disk>(
        &mut self,
        ticket: Ticket,
        scope: &mut Scope<'_, D>,
    ) -> Result<(), ReadError> {
        self.idle_since = None;
        self.attempt = Some(Attempt::open(ticket, &mut self.block, scope)?);
        Ok(())
    }

    /// Room for input.
    pub fn input_mut(&mut self) -> &mut [u8] {
        self.input.writable()
    }

    /// `count` bytes have come.
    pub fn received(&mut self, count: usize) {
        self.input.produced(count);
    }

    /// The peer has closed.
    pub fn closed(&mut self) {
        self.is_closed = true;
    }

    /// What waits to be written.
    pub fn output(&self) -> &[u8] {
        self.output.readable()
    }

    /// `count` bytes have been written.
    pub fn sent(&mut self, count: usize, now: Instant) {
        self.output.consume(count);
        if self.has_secret {
            self.output.wipe_consumed();
            self.has_secret = !self.output.is_empty();
        }
        if count > 0 {
            self.client.progressed(now);
        }
    }

    /// True while reading makes sense.
    pub fn wants_read(&self) -> bool {
        self.state == State::Talking && !self.is_closed && self.input.space() > 0
    }

    /// When to call [`Sender::proceed`].
    pub fn deadline(&self) -> Option<Instant> {
        let idle = self.idle_since.map(|since| since + IDLE_MAX);
        let client = if self.state == State::Talking { self.client.deadline() } else { None };
        earliest(self.connect_deadline, earliest(client, idle))
    }

    /// Steps the machine as far as it goes.
    pub fn proceed<D: Disk>(&mut self, scope: &mut Scope<'_, D>) -> Progress {
        if self.state != State::Talking {
            return Progress::Waiting;
        }
        let now = scope.now.instant;
        let terms = self.terms(scope.config, scope.destination);
        loop {
            if let Err(error) = self.feed(scope) {
                return self.unread(error);
            }
            if let Some(attempt) = self.attempt.take_if(|attempt| attempt.is_refused()) {
                let ticket = attempt.ticket();
                return Progress::Over(attempt.ledger, ticket);
            }
            let input = self.input.readable();
            let (consumed, mut event) = match self.pending.take() {
                Some(event) => (0, event),
                None => self.client.step(input, &mut self.output, &terms, now),
            };
            self.input.consume(consumed);
            if let ClientEvent::Wait = event {
                if self.is_closed && consumed == 0 {
                    event = self.client.closed(now);
                } else if self.client.deadline().is_some_and(|deadline| now >= deadline) {
                    event = self.client.timed_out(now);
                }
            }
            match self.take(event, scope) {
                Some(progress) => return progress,
                None => continue,
            }
        }
    }

    fn terms<'a>(&self, config: &'a Config, destination: &Destination) -> ClientTerms<'a> {
        let (tls, login) =
            (self.tls_terms(config, destination), self.login_terms(config, destination));
        let (hostname, reply_timeout) = (&config.hostname, config.reply_timeout);
        ClientTerms { hostname, reply_timeout, tls, login }
    }

    /// Whether to speak TLS. A relay is what its URL says, and nothing less (threats 23).
    fn tls_terms(&self, config: &Config, destination: &Destination) -> TlsTerms {
        match destination {
            Destination::Domain(_) if self.is_clear || !cfg!(feature = "tls") => TlsTerms::None,
            Destination::Domain(_) => TlsTerms::IfOffered,
            _ => match route::relay(config, destination).map(|relay| relay.scheme) {
                Some(Scheme::Smtp) => TlsTerms::None,
                Some(Scheme::Smtps) => TlsTerms::Implicit,
                // Of one that is gone from the config nothing is known: it gets no mail.
                Some(Scheme::Starttls) | None => TlsTerms::Starttls,
            },
        }
    }

    /// Whether to log in there. A password is told to who has shown that he is the relay; in clear
    /// text only to this machine itself (decisions 18), whatever its name has led to.
    fn login_terms(&self, config: &Config, destination: &Destination) -> LoginTerms {
        let relay = route::relay(config, destination);
        let Some(login) = relay.and_then(|relay| relay.login.as_ref()) else {
            return LoginTerms::None;
        };
        let is_verified = self.protection.is_some_and(|protection| protection.is_verified);
        let is_here = self.address().is_some_and(|address| address.to_canonical().is_loopback());
        match login.is_token {
            _ if !is_verified && !is_here => LoginTerms::Exposed,
            true => LoginTerms::Token,
            false => LoginTerms::Password,
        }
    }

    /// The next step of the login, after [`Progress::Login`].
    pub fn log_in(&mut self, login: &Login<'_>, crypto: &dyn Crypto, now: Instant) {
        self.has_secret = true;
        self.pending = Some(self.client.log_in(&mut self.output, login, crypto, now));
    }

    /// How we have logged in.
    pub fn mechanism(&self) -> Option<Mechanism> {
        self.client.mechanism()
    }

    fn wipe(&mut self) {
        if core::mem::take(&mut self.has_secret) {
            self.output.wipe();
        }
    }

    /// Gives the machine what it may send.
    fn feed<D: Disk>(&mut self, scope: &mut Scope<'_, D>) -> Result<(), ReadError> {
        let Some(attempt) = &mut self.attempt else { return Ok(()) };
        let (client, out, block) = (&mut self.client, &mut self.output, &mut self.block);
        attempt.send_envelope(client, out, block, scope)?;
        if attempt.is_streaming() && attempt.send_body(out, block, scope)? {
            client.end_data(scope.now.instant);
        }
        Ok(())
    }

    fn take<D: Disk>(&mut self, event: ClientEvent, scope: &mut Scope<'_, D>) -> Option<Progress> {
        let now = scope.now.instant;
        match event {
            ClientEvent::Wait if self.has_no_more() && self.may_quit() => {
                self.quit(now);
                None
            }
            ClientEvent::Wait => {
                // Nothing would wake it: this state of the machine has no deadline.
                debug_assert!(self.attempt.is_none() || !self.client.is_ready());
                if !self.is_idle() {
                    return Some(Progress::Waiting);
                }
                let since = *self.idle_since.get_or_insert(now);
                if now < since + IDLE_MAX {
                    return Some(Progress::Idle);
                }
                self.idle_since = None;
                self.quit(now);
                None
            }
            ClientEvent::Again | ClientEvent::Greeted => None,
            ClientEvent::BeginTls => Some(self.wait_for_tls()),
            ClientEvent::Login => Some(Progress::Login),
            ClientEvent::Lost(Loss::Login(loss), _) => Some(Progress::NotLoggedIn(loss)),
            ClientEvent::Sender(reply) => {
                if let Some(attempt) = &mut self.attempt
                    && reply.class() != 2
                {
                    if let Err(error) = attempt.read_refused(&mut self.block, scope) {
                        return Some(self.unread(error));
                    }
                    attempt.ledger.sender_refused(reply);
                    self.client.reset(&mut self.output, now);
                }
                None
            }
            ClientEvent::Recipient(reply) => {
                if let Some(attempt) = &mut self.attempt {
                    attempt.ledger.recipient_answered(reply);
                }
                None
            }
            ClientEvent::Go => {
                if let Some(attempt) = &mut self.attempt {
                    attempt.go();
                }
                None
            }
            ClientEvent::NoData(reply) => {
                self.attempt.as_mut()?.ledger.verdict(reply);
                None
            }
            ClientEvent::Final(reply) => {
                self.attempt.as_mut()?.ledger.verdict(reply);
                self.over()
            }
            ClientEvent::Ready => self.over(),
            ClientEvent::Bye => Some(Progress::Closed),
            ClientEvent::Lost(loss, stage) => {
                let under_way = self.attempt.take().map(|attempt| {
                    let ticket = attempt.ticket();
                    (attempt.ledger, ticket)
                });
                self.is_cut_off |= matches!(loss, Loss::Closed | Loss::TimedOut | Loss::Silent);
                let why = self.tls_trouble.unwrap_or_else(|| loss::words(&loss));
                Some(Progress::Lost(under_way, stage, why))
            }
        }
    }

    fn wait_for_tls(&mut self) -> Progress {
        self.begins_tls = true;
        Progress::Waiting
    }

    /// The attempt has ended by replies.
    fn over(&mut self) -> Option<Progress> {
        let attempt = self.attempt.take()?;
        let ticket = attempt.ticket();
        self.mails = self.mails.saturating_add(1);
        Some(Progress::Over(attempt.ledger, ticket))
    }

    fn unread(&mut self, error: ReadError) -> Progress {
        match self.attempt.take() {
            Some(attempt) => Progress::Unread(attempt.ticket(), error),
            None => Progress::Closed,
        }
    }

    /// For the one that files into a Maildir: the attempt, and the block it reads with.
    pub fn filing_parts(&mut self) -> (Option<&mut Attempt>, &mut Block) {
        (self.attempt.as_mut(), &mut self.block)
    }
}

impl Default for Sender {
    fn default() -> Self {
        Self::new()
    }
}

/// What a [`Scope`] is made from, for callers that own the parts.
pub fn scope<'a, D>(
    config: &'a Config,
    queue: &'a Queue,
    disk: &'a mut D,
    now: Now,
    destination: &'a Destination,
) -> Scope<'a, D> {
    Scope { config, queue, disk, now, destination }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    /// It was waited for again and again, without rest, until the next hop had answered QUIT.
    #[test]
    fn who_was_told_to_leave_is_idle_no_more() {
        let now = Instant::from_millis(0) + 4 * IDLE_MAX;
        let mut sender = Sender::new();
        sender.enter(State::Talking, 0);
        let reply_timeout = Duration::from_secs(300);
        let (tls, login) = (TlsTerms::None, LoginTerms::None);
        sender.client.start(&ClientTerms { hostname: "a", reply_timeout, tls, login }, now);
        sender.idle_since = Some(Instant::from_millis(0));
        sender.quit(now);
        assert!(sender.deadline() > Some(now));
    }
}
