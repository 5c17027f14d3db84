//! The outside of the daemon: its traits over one seeded state, and the agenda that moves it.
//!
//! Time stands still while the daemon works, but for a slow sync; everything that others do is an
//! entry of the agenda. Every call of the daemon counts as an operation, and at a chosen one the
//! power is cut: the call unwinds with [`PowerCut`] and never returns.

use super::disk::SimDisk;
use super::mailbox::{Drops, Mailboxes};
use super::net::{ConnId, Heard, Net};
use super::rng::Rng;
use super::shadow::Shadow;
use super::weather::{Kinds, Weather};
use mote::base::time::{Instant, Now, UnixTime};
use mote::daemon::world::{Addresses, Clock, Event, Failure, MailHosts, ResolveError, Resolver};
use mote::dns::lookup::MailHost;
use mote::intake::users::{Keys, Vault};
use mote::limits::RESOLVE_TIMEOUT;
use mote::queue::disk::{Block, Disk, DiskError};
use mote::queue::layout;
use mote::relay::keyring::Keyring;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::panic::resume_unwind;

/// What a power cut unwinds with.
pub struct PowerCut;

/// 2027-01-15: the simulated present, later than the program.
pub const PRESENT: i64 = 1_800_000_000;
const TRUSTED_SINCE: i64 = mote::os::clock::RELEASE_DATE;
const TRACE_LINES: usize = 300_000;

/// What will happen.
#[derive(Clone, Debug)]
pub enum Happening {
    Arrive(ConnId, Vec<u8>),
    Fin(ConnId),
    Reset(ConnId),
    Take(ConnId),
    Ready(ConnId),
    Connected(ConnId),
    Refused(ConnId),
    Closed(ConnId),
    Wake(u32, u32),
    Resolved(u32, Result<Addresses, ResolveError>),
    MailResolved(u32),
    /// The office sends another mail, or several.
    Submit,
    Weather,
    Clock,
    /// An address has come or gone: the daemon is told, once or in a heap.
    Network,
    Fuse,
    Admin,
}

thread_local! {
    static TRACE: RefCell<Option<VecDeque<String>>> = const { RefCell::new(None) };
}

/// Begins to keep a trace on this thread, or stops and gives it.
pub fn trace(on: bool) -> Vec<String> {
    let old = TRACE.with(|trace| trace.replace(on.then(VecDeque::new)));
    old.into_iter().flatten().collect()
}

/// Adds a line to the trace, if there is one.
pub fn note(line: impl FnOnce() -> String) {
    TRACE.with(|trace| {
        if let Some(lines) = &mut *trace.borrow_mut() {
            if lines.len() == TRACE_LINES {
                lines.pop_front();
            }
            let line = line();
            if std::env::var_os("LIVE").is_some() {
                eprintln!("{line}");
            }
            lines.push_back(line);
        }
    });
}

/// Takes what the daemon logs into the trace.
struct Journal;

impl log::Log for Journal {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Info
    }

    fn log(&self, record: &log::Record<'_>) {
        note(|| format!("           log: {}", record.args()));
    }

    fn flush(&self) {}
}

/// The daemon logs as it would in life, so that all of its ways of logging are gone, too.
pub fn start_log() {
    static JOURNAL: Journal = Journal;
    // A second test of this process finds it done.
    if log::set_logger(&JOURNAL).is_ok() {
        log::set_max_level(log::LevelFilter::Info);
    }
}

pub struct World {
    pub rng: Rng,
    /// Milliseconds since the world began.
    pub now: u64,
    /// When the machine was switched on last.
    pub boot: u64,
    /// What the wall clock shows at `now` 0.
    pub wall: i64,
    pub zone_minutes: i16,
    pub kinds: Kinds,
    pub weather: Weather,
    pub disk: SimDisk,
    pub net: Net,
    pub mailboxes: Mailboxes,
    pub drops: Drops,
    pub shadow: Shadow,
    pub agenda: BTreeMap<(u64, u64), Happening>,
    pub events: VecDeque<Event>,
    pub names: BTreeMap<String, Vec<core::net::IpAddr>>,
    mail_hosts: BTreeMap<u32, Result<MailHosts, Failure>>,
    pub clients: BTreeMap<u32, super::client::Client>,
    pub servers: BTreeMap<u32, super::server::Server>,
    pub admins: BTreeMap<u32, super::admin::Admin>,
    pub surveyors: BTreeMap<u32, super::surveyor::Surveyor>,
    actors: u32,
    serial: u64,
    pub ops: u64,
    /// The power goes at this operation.
    pub fuse: Option<u64>,
    resolving: u32,
    state_pages_written: bool,
    state_page_failed: bool,
    digest: u64,
}

impl World {
    pub fn new(seed: u64, blocks: u32, kinds: Kinds) -> World {
        World {
            rng: Rng::new(seed),
            now: 5000,
            boot: 0,
            wall: PRESENT,
            zone_minutes: 60,
            kinds,
            weather: Weather::default(),
            disk: SimDisk::new(blocks),
            net: Net::default(),
            mailboxes: Mailboxes::default(),
            drops: Drops::default(),
            shadow: Shadow::default(),
            agenda: BTreeMap::new(),
            events: VecDeque::new(),
            names: BTreeMap::new(),
            mail_hosts: BTreeMap::new(),
            clients: BTreeMap::new(),
            servers: BTreeMap::new(),
            admins: BTreeMap::new(),
            surveyors: BTreeMap::new(),
            actors: 0,
            serial: 0,
            ops: 0,
            fuse: None,
            resolving: 0,
            state_pages_written: false,
            state_page_failed: false,
            digest: 0xcbf2_9ce4_8422_2325,
        }
    }

    /// `what` happens in `after` milliseconds.
    pub fn plan(&mut self, after: u64, what: Happening) {
        self.serial += 1;
        self.agenda.insert((self.now + after, self.serial), what);
    }

    /// A call of the daemon.
    pub fn op(&mut self, kind: u8, value: u64) {
        self.ops += 1;
        self.mix(u64::from(kind) << 56 ^ value ^ self.now << 20);
        if self.fuse.is_some_and(|fuse| self.ops >= fuse) {
            self.fuse = None;
            note(|| format!("{:>10} power cut at operation {}", self.now, self.ops));
            resume_unwind(Box::new(PowerCut));
        }
    }

    pub fn mix(&mut self, value: u64) {
        self.digest = (self.digest ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    /// Equal for two runs that went the same way.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    pub fn new_actor(&mut self) -> u32 {
        self.actors += 1;
        self.actors
    }

    pub fn pass(&mut self, until: u64) {
        let span = until.saturating_sub(self.now);
        self.now += span;
    }

    /// The machine is switched off: what it held is gone, what others know of it stays.
    pub fn power_off(&mut self, kill: bool) {
        self.resolving = 0;
        self.events.clear();
        let is_answer =
            |what: &Happening| matches!(what, Happening::Resolved(..) | Happening::MailResolved(_));
        self.agenda.retain(|_, what| !is_answer(what));
        self.mail_hosts.clear();
        (self.state_pages_written, self.state_page_failed) = (false, false);
        let World { disk, rng, .. } = self;
        if kill {
            disk.kill();
        } else {
            disk.cut(rng);
        }
        self.drops.power_off(kill, rng);
        self.mailboxes.power_off();
        self.net_power_off();
        self.shadow.power_off();
    }
}

fn is_state_page(number: u32) -> bool {
    number >= 3 && (number - 3) % (layout::GROUP_SLOTS + 2) < 2
}

impl Disk for World {
    fn blocks(&self) -> u32 {
        self.disk.blocks()
    }

    fn read(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError> {
        self.op(1, number.into());
        if self.rng.permille(self.weather.read_error) {
            note(|| format!("{:>10} disk: read {number} fails", self.now));
            return Err(DiskError::Io);
        }
        self.disk.read(number, into);
        Ok(())
    }

    fn read_medium(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError> {
        self.op(2, number.into());
        if self.rng.permille(self.weather.medium_error) {
            note(|| format!("{:>10} disk: medium read {number} fails", self.now));
            return Err(DiskError::Io);
        }
        self.disk.read_medium(number, into);
        Ok(())
    }

    fn write(&mut self, number: u32, from: &Block) -> Result<(), DiskError> {
        self.op(3, number.into());
        let error = if self.rng.permille(self.weather.write_full) {
            Some(DiskError::Full)
        } else if self.rng.permille(self.weather.write_error) {
            // It may be on its way all the same.
            if self.rng.permille(300) {
                self.disk.write(number, from);
            }
            Some(DiskError::Io)
        } else {
            None
        };
        if is_state_page(number) {
            self.state_pages_written |= error.is_none();
            self.state_page_failed |= error.is_some();
        }
        if let Some(error) = error {
            note(|| format!("{:>10} disk: write {number} fails: {error:?}", self.now));

            return Err(error);
        }
        self.disk.write(number, from);
        self.op(4, number.into());
        Ok(())
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        self.op(5, 0);
        let slow = self.rng.permille(self.weather.sync_slow);
        let takes = if slow { self.rng.range(1000, 20_000) } else { self.rng.range(0, 12) };
        self.pass(self.now + takes);
        if self.rng.permille(self.weather.sync_error) {
            note(|| format!("{:>10} disk: sync fails", self.now));
            let World { disk, rng, .. } = self;
            disk.fail_sync(rng);
            (self.state_pages_written, self.state_page_failed) = (false, false);
            self.shadow.sync_failed();
            return Err(DiskError::Io);
        }
        self.disk.sync();
        if self.state_pages_written && !self.state_page_failed {
            self.shadow.state_written();
        }
        (self.state_pages_written, self.state_page_failed) = (false, false);
        note(|| format!("{:>10} disk: sync", self.now));
        self.op(6, 0);
        Ok(())
    }
}

impl Clock for World {
    fn now(&mut self) -> Now {
        let seconds = self.wall + (self.now / 1000) as i64;
        Now {
            instant: Instant::from_millis(self.now - self.boot),
            unix: UnixTime { seconds, trusted: seconds >= TRUSTED_SINCE },
            zone_minutes: self.zone_minutes,
        }
    }
}

impl Resolver for World {
    fn resolve(&mut self, ticket: u32, host: &str) -> bool {
        if !self.may_resolve(ticket) {
            return false;
        }
        let limit = RESOLVE_TIMEOUT.as_millis() as u64;
        let (after, answer) = if self.rng.permille(self.weather.resolve_error) {
            match self.rng.below(3) {
                0 => (self.rng.below(limit), Err(ResolveError::NoSuchName)),
                1 => (self.rng.below(limit), Err(ResolveError::Unavailable)),
                _ => (limit, Err(ResolveError::TimedOut)),
            }
        } else {
            let mut addresses = Addresses::default();
            for address in self.names.get(host).into_iter().flatten() {
                addresses.push(*address);
            }
            (self.rng.range(0, 40), Ok(addresses))
        };
        note(|| format!("{:>10} resolver: {host} ticket {ticket:x} in {after} ms", self.now));
        self.plan(after, Happening::Resolved(ticket, answer));
        true
    }

    fn resolve_mail(&mut self, ticket: u32, domain: &str) -> bool {
        if !self.may_resolve(ticket) {
            return false;
        }
        let limit = RESOLVE_TIMEOUT.as_millis() as u64;
        let (after, answer) = if self.rng.permille(self.weather.resolve_error) {
            // A domain that does not exist is a verdict, which no weather may make.
            (self.rng.below(limit + 1), Err(Failure::Temporary))
        } else {
            let mut hosts = MailHosts::default();
            let known = self.names.get(domain).into_iter().flatten();
            for (place, address) in hosts.iter_mut().zip(known) {
                *place = Some(MailHost { name: domain.into(), address: *address });
            }
            (self.rng.range(0, 40), Ok(hosts))
        };
        note(|| format!("{:>10} resolver: mail for {domain} {ticket:x} in {after} ms", self.now));
        self.mail_hosts.insert(ticket, answer);
        self.plan(after, Happening::MailResolved(ticket));
        true
    }

    fn mail_hosts(&mut self, ticket: u32) -> Option<Result<MailHosts, Failure>> {
        self.mail_hosts.remove(&ticket)
    }

    fn has_changed(&mut self) -> bool {
        self.rng.permille(100)
    }
}

impl World {
    /// False: too many questions are under way.
    fn may_resolve(&mut self, ticket: u32) -> bool {
        self.op(7, ticket.into());
        let is_busy = self.resolving >= 8
            || (self.resolving > 0 && self.rng.permille(self.weather.resolve_busy));
        self.resolving += u32::from(!is_busy);
        !is_busy
    }
}

impl World {
    /// An entry of the agenda that concerns one actor or socket.
    pub fn happens(&mut self, what: Happening) {
        let heard = match what {
            Happening::Resolved(ticket, answer) => {
                return self.resolved(Event::Resolved { ticket, answer });
            }
            Happening::MailResolved(ticket) => {
                return self.resolved(Event::MailResolved { ticket });
            }
            Happening::Wake(actor, what) => Some((actor, Heard::Wake(what))),
            other => self.net_happens(other),
        };
        let Some((actor, heard)) = heard else { return };
        if let Some(mut client) = self.clients.remove(&actor) {
            if client.hears(heard, self) {
                self.clients.insert(actor, client);
            }
        } else if let Some(mut surveyor) = self.surveyors.remove(&actor) {
            if surveyor.hears(heard, self) {
                self.surveyors.insert(actor, surveyor);
            }
        } else if let Some(mut admin) = self.admins.remove(&actor) {
            if admin.hears(heard, self) {
                self.admins.insert(actor, admin);
            }
        } else if let Some(mut server) = self.servers.remove(&actor)
            && server.hears(heard, self)
        {
            self.servers.insert(actor, server);
        }
    }

    fn resolved(&mut self, event: Event) {
        self.resolving = self.resolving.saturating_sub(1);
        self.events.push_back(event);
    }
}

impl Keyring for World {}

/// Nobody logs in.
impl Vault for World {
    fn users(&mut self, _: &str) -> Option<Keys<'_>> {
        None
    }
}
