//! One seed: a daemon in its world, bad days, then good ones, then the judgement.

use super::client::{Client, Style};
use super::letter::{From, Letter, Taste};
use super::shadow::{Counts, parse_address};
use super::weather::{Kinds, Weather};
use super::world::{Happening, PRESENT, PowerCut, World, note, start_log, trace};
use core::net::{IpAddr, SocketAddr};
use mote::base::time::Instant;
use mote::config::{Config, Host, parse};
use mote::daemon::turn::{Daemon, Door, batch_max, tokens};
use mote::daemon::world::{Clock as _, Event, Peer};
use mote::queue::disk::new_block;
use mote::queue::envelope::Record;
use mote::queue::message::Message;
use mote::queue::recovery::{format, recover};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
/// Turns at one moment, and of those without any call to the world in a row.
const TURNS_MAX: u32 = 5000;
const IDLE_TURNS_MAX: u32 = 40;

/// What a run is made from.
#[derive(Clone, Debug)]
pub struct Plan {
    pub kinds: Kinds,
    pub taste: Taste,
    pub blocks: u32,
    /// How long mail is handed in, and how long between two clients on average.
    pub hours: u64,
    pub gap: u64,
    /// Between two power cuts, on average.
    pub cut_gap: u64,
    pub settings: String,
    /// Longest wait of a mail for its next try, milliseconds.
    pub retry_max: u64,
}

pub struct Run {
    world: World,
    daemon: Option<Daemon>,
    config: Config,
    plan: Plan,
    is_over: bool,
}

/// Runs a seed; Err: why it failed, with its trace.
pub fn check(seed: u64, plan: &Plan) -> Result<(Counts, u64), String> {
    start_log();
    match attempt(seed, plan, false) {
        Ok(done) => Ok(done),
        Err(why) => {
            trace(true);
            let again = attempt(seed, plan, true).err().unwrap_or_default();
            let lines = trace(false);
            let shown =
                std::env::var("LINES").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
            let from = lines.len().saturating_sub(shown);
            let told = lines[from..].join("\n");
            Err(format!("{told}\n\nSEED={seed}: {why}\n(again: {again})\n{plan:?}"))
        }
    }
}

fn attempt(seed: u64, plan: &Plan, _traced: bool) -> Result<(Counts, u64), String> {
    let done = catch_unwind(AssertUnwindSafe(|| {
        let mut run = Run::new(seed, plan.clone());
        run.live();
        (run.world.shadow.counts, run.world.digest())
    }));
    done.map_err(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        text.unwrap_or_else(|| "unwound with something".to_owned())
    })
}

impl Run {
    fn new(seed: u64, plan: Plan) -> Run {
        let text = format!(
            "hostname = mote.test\nlisten = 127.0.0.1:25\nrelay = smtp://hub.test\n{}\n\
             [relay two]\nurl = smtp://two.test:26\n\
             [route @]\nvia = maildir:/m/local\n\
             [route box.test]\nvia = maildir:/m/box\n\
             [route two.test]\nvia = {}\n\
             [route hold.test]\nvia = hold\n\
             [route gone.test]\nvia = discard\n\
             [clients 192.168.1.0/24]\nrelay = yes\n",
            plan.settings,
            // Half of the worlds find the way to two.test by its mail hosts.
            if seed.is_multiple_of(2) { "relay two" } else { "mx" }
        );
        let host = Host { hostname: "mote.test", home: "/home", is_embedded: false, run: None };
        let config = parse(text.as_bytes(), &host).unwrap_or_else(|faults| panic!("{faults:?}"));
        let mut world = World::new(seed, plan.blocks, plan.kinds);
        world.shadow.expire = config.expire.as_millis() as u64;
        world.shadow.clock_jumps = plan.kinds.clock;
        let hub = vec![IpAddr::from([192, 0, 2, 1])];
        let two = [9, 2, 3].map(|last| IpAddr::from([192, 0, 2, last])).to_vec();
        world.names.insert("hub.test".to_owned(), hub);
        world.names.insert("two.test".to_owned(), two);
        let mut key = [0; 24];
        for chunk in key.chunks_mut(8) {
            chunk.copy_from_slice(&world.rng.next().to_le_bytes());
        }
        format(&mut world, key, PRESENT).unwrap();
        Run { world, daemon: None, config, plan, is_over: false }
    }

    fn live(&mut self) {
        self.boot();
        self.world.plan(1000, Happening::Submit);
        if self.plan.kinds.has_weather() {
            self.world.plan(MINUTE, Happening::Weather);
            self.world.plan(MINUTE, Happening::Network);
        }
        if self.plan.kinds.clock {
            self.world.plan(10 * MINUTE, Happening::Clock);
        }
        if self.plan.kinds.cuts {
            self.world.plan(self.plan.cut_gap, Happening::Fuse);
        }
        if self.plan.kinds.admin {
            self.world.plan(5 * MINUTE, Happening::Admin);
        }
        let end = self.world.now + self.plan.hours * HOUR;
        self.go(end);
        self.heal();
        self.judge();
    }

    /// A machine is switched on: recovery, again and again if need be.
    fn boot(&mut self) {
        let batch = batch_max(&self.config);
        loop {
            let world = &mut self.world;
            let config = &self.config;
            world.shadow.now = world.now;
            world.shadow.aged += 61_000;
            let booted = catch_unwind(AssertUnwindSafe(|| {
                let now = world.now().instant;
                let (queue, found) = recover(world, now, batch, None).ok()?;
                note(|| format!("{:>10} booted: {found:?}", world.now));
                let doors = [Door::Smtp(0), Door::Submit, Door::Control];
                Some(Daemon::new(config.clone(), queue, &doors, world))
            }));
            match booted {
                Ok(Some(daemon)) => return self.daemon = Some(daemon),
                Ok(None) => {
                    let later = self.world.now + 10_000;
                    self.world.pass(later);
                    if self.world.rng.permille(100) {
                        self.world.weather = Weather::default();
                    }
                }
                Err(payload) => self.fall(payload),
            }
        }
    }

    /// The power is gone; anything else that unwinds is a failure.
    fn fall(&mut self, payload: Box<dyn std::any::Any + Send>) {
        if !payload.is::<PowerCut>() {
            resume_unwind(payload);
        }
        self.daemon = None;
        let world = &mut self.world;
        let kill = world.rng.permille(400);
        world.shadow.now = world.now;
        world.power_off(kill);
        let off = world.rng.range(100, 5 * MINUTE);
        if kill {
            world.pass(world.now + 100);
        } else {
            world.pass(world.now + off);
            world.boot = world.now - world.rng.range(1000, 20_000);
            if world.kinds.clock && world.rng.permille(300) {
                // No battery.
                world.wall = -((world.now / 1000) as i64);
            }
        }
        note(|| format!("{:>10} the machine comes back (kill: {kill})", world.now));
    }

    /// Lives until `end`.
    fn go(&mut self, end: u64) {
        let mut at = (self.world.now, 0, 0, self.world.ops);
        while self.world.now < end {
            self.happenings();
            if self.daemon.is_none() {
                self.boot();
            }
            let deadline = self.turn();
            let world = &mut self.world;
            let (moment, mut turns, mut idle, ops) = at;
            if moment != world.now {
                at = (world.now, 0, 0, world.ops);
            } else {
                turns += 1;
                idle = if ops == world.ops && world.events.is_empty() { idle + 1 } else { 0 };
                assert!(turns < TURNS_MAX, "{turns} turns at {moment}: a busy loop");
                assert!(idle < IDLE_TURNS_MAX, "{idle} turns without a call: a busy loop");
                at = (moment, turns, idle, world.ops);
            }
            let agenda = world.agenda.first_key_value().map(|((at, _), _)| *at);
            let deadline = deadline.map(|deadline| world.boot + deadline.as_millis());
            let next = match world.events.is_empty() {
                true => agenda.into_iter().chain(deadline).min().unwrap_or(end),
                false => world.now,
            };
            world.pass(next.min(end));
        }
    }

    fn turn(&mut self) -> Option<Instant> {
        let world = &mut self.world;
        world.shadow.now = world.now;
        world.shadow.turn += 1;
        world.shadow.counts.turns += 1;
        world.spurious(tokens(&self.config));
        let count = world.events.len().min(64);
        let events: Vec<Event> = world.events.drain(..count).collect();
        let daemon = self.daemon.as_mut().unwrap();
        let turned = catch_unwind(AssertUnwindSafe(|| daemon.turn(world, &events)));
        match turned {
            Ok(deadline) => {
                if !daemon.queue().is_broken() {
                    world.shadow.recovered();
                }
                let now = Instant::from_millis(world.now - world.boot);
                let waits = daemon.queue().batch_len() > 0 && deadline.is_none_or(|at| at > now);
                assert!(!waits, "a message waits for a commit that nobody will make");
                deadline
            }
            Err(payload) => {
                self.fall(payload);
                Some(Instant::from_millis(0))
            }
        }
    }

    fn happenings(&mut self) {
        loop {
            let world = &mut self.world;
            let Some(((at, serial), _)) = world.agenda.first_key_value() else { return };
            let (at, serial) = (*at, *serial);
            if at > world.now {
                return;
            }
            let what = world.agenda.remove(&(at, serial)).unwrap();
            world.shadow.now = world.now;
            world.mix(serial);
            match what {
                Happening::Submit => self.submit(),
                Happening::Weather => {
                    let kinds = world.kinds;
                    world.weather = Weather::draw(&mut world.rng, kinds);
                    note(|| format!("{:>10} {:?}", world.now, world.weather));
                    let span = world.rng.range(MINUTE, 30 * MINUTE);
                    world.plan(span, Happening::Weather);
                }
                Happening::Clock => self.jump(),
                Happening::Network => {
                    // A link that flaps, or one change in a day.
                    world.events.push_back(Event::Network);
                    let longest = world.rng.pick(&[200, 5000, MINUTE, 2 * HOUR]);
                    let span = world.rng.range(1, longest);
                    world.plan(span, Happening::Network);
                }
                Happening::Fuse => {
                    let fuse = world.ops + world.rng.range(1, 600);
                    world.fuse = Some(fuse);
                    let span = world.rng.range(1, 2 * self.plan.cut_gap);
                    world.plan(span, Happening::Fuse);
                }
                Happening::Admin => {
                    world.draw_request();
                    let span = world.rng.range(1, 20 * MINUTE);
                    world.plan(span, Happening::Admin);
                }
                other => world.happens(other),
            }
        }
    }

    /// The wall clock goes wherever it likes; nothing else does.
    fn jump(&mut self) {
        let world = &mut self.world;
        let years = 56 * 365 * 86_400;
        let now = (world.now / 1000) as i64;
        world.wall = match world.rng.below(5) {
            0 => -now,
            1 => world.wall + years,
            2 => world.wall - years,
            3 => world.wall + world.rng.range(0, 7200) as i64 - 3600,
            _ => PRESENT,
        };
        world.zone_minutes = world.rng.range(0, 1600) as i16 - 800;
        note(|| format!("{:>10} the clock shows {}", world.now, world.wall + now));
        let span = world.rng.range(MINUTE, 3 * HOUR);
        world.plan(span, Happening::Clock);
    }

    /// Somebody hands mail in.
    fn submit(&mut self) {
        if self.is_over {
            return;
        }
        let world = &mut self.world;
        let gap = world.rng.range(1, 2 * self.plan.gap);
        world.plan(gap, Happening::Submit);
        let taste = self.plan.taste;
        let (from, listener, peer) = draw_peer(world);
        if from == From::Program && world.rng.permille(300) {
            return leave_drop(world, taste);
        }
        let style = if self.plan.kinds.hostile { draw_style(world) } else { Style::Pipelined };
        let style =
            if !self.plan.kinds.hostile && world.rng.permille(500) { Style::Polite } else { style };
        let count = world.rng.range(1, 3);
        let letters = (0..count).map(|_| Letter::draw(world, from, taste)).collect();
        let actor = world.new_actor();
        let conn = world.knock(actor, listener, peer);
        let mut client = Client::new(actor, conn, style, letters);
        if self.plan.kinds.hostile && world.rng.permille(100) {
            let gap = world.rng.pick(&[0, 1, 5, 200]);
            world.trickle(conn, gap);
        }
        if style == Style::Blast {
            client.blast(world);
        }
        note(|| format!("{:>10} client #{conn}: {style:?}, {count} mails, {from:?}", world.now));
        world.clients.insert(actor, client);
    }

    fn heal(&mut self) {
        self.is_over = true;
        self.world.shadow.healed_at = self.world.now;
        let world = &mut self.world;
        world.weather = Weather::default();
        world.kinds = Kinds::default();
        world.fuse = None;
        world.net_heal();
        world.agenda.retain(|_, what| {
            let is_trouble = matches!(
                what,
                Happening::Weather
                    | Happening::Clock
                    | Happening::Network
                    | Happening::Fuse
                    | Happening::Admin
            );
            !is_trouble
        });
        for server in world.servers.values_mut() {
            server.heal();
        }
        note(|| format!("{:>10} everything is well from now on", world.now));
        if self.plan.kinds.admin {
            // What the administrator had held, once the queue is there again.
            let next = self.world.now + 5 * MINUTE;
            self.go(next);
            self.world.administer("release all", false);
        }
        let retry = self.plan.retry_max;
        let until = self.world.now + 3 * HOUR + 3 * retry;
        while self.world.now < until && !(self.is_done() && self.world.clients.is_empty()) {
            let next = self.world.now + 10 * MINUTE;
            self.go(next);
        }
        let next = self.world.now + MINUTE;
        self.go(next);
    }

    /// Nothing in the queue but what is to be held.
    fn is_done(&mut self) -> bool {
        let is_free = self.world.drops.is_empty() && self.world.mailboxes.is_idle();
        is_free && self.queued().iter().all(|address| address.ends_with("@hold.test"))
    }

    /// The unfinished recipients in the queue.
    fn queued(&mut self) -> Vec<String> {
        let Run { daemon, world, .. } = self;
        let Some(daemon) = daemon else { return vec!["?".to_owned()] };
        let queue = daemon.queue();
        let mut block = new_block();
        let mut found = Vec::new();
        let mut from = 0;
        while let Some(waiting) = queue.next_waiting(from) {
            from = waiting.ticket.slot + 1;
            let Ok(mut message) = Message::open(queue, world, waiting.ticket, &mut block) else {
                found.push("unreadable".to_owned());
                continue;
            };
            let mut number = 0;
            while let Ok(Some(record)) = message.record(queue, world, &mut block) {
                let Record::Recipient(text) = record else { continue };
                if waiting.done & (1 << number) == 0 {
                    found.push(String::from_utf8_lossy(text).into_owned());
                }
                number += 1;
            }
        }
        found
    }

    fn judge(&mut self) {
        assert!(self.world.clients.is_empty(), "clients that never got an end");
        assert!(self.world.drops.is_empty(), "drop files that nobody imports");
        assert!(self.world.mailboxes.is_idle(), "mailbox slots that nobody gave back");
        let queued: Vec<(u32, usize)> = self
            .queued()
            .iter()
            .map(|address| {
                let (who, id) =
                    parse_address(address).unwrap_or_else(|| panic!("queued for {address:?}"));
                let number = who.strip_prefix('r').and_then(|number| number.parse().ok());
                (id, number.unwrap_or_else(|| panic!("a report for {address} is still queued")))
            })
            .collect();
        self.world.shadow.now = self.world.now;
        self.world.shadow.settle(&queued);
        self.survey();
        self.leave();
    }

    /// Every slot, and every block, is there for those who come now.
    fn survey(&mut self) {
        self.world.survey_slots(self.config.sessions);
        self.satisfy("a slot");
        for stranger in [false, true] {
            let (slots, free) = self.daemon.as_ref().unwrap().queue().space();
            self.world.survey_space(stranger, slots, free);
            self.satisfy("room");
        }
    }

    fn satisfy(&mut self, what: &str) {
        let next = self.world.now + MINUTE;
        self.go(next);
        let satisfied = self.world.surveyors.values().all(|surveyor| surveyor.is_satisfied);
        assert!(satisfied, "{what} has not come back");
        self.world.surveyors.clear();
        // Those who only looked are timed out.
        let next = self.world.now + 10 * MINUTE;
        self.go(next);
    }

    /// TERM, when nothing is under way.
    fn leave(&mut self) {
        self.world.events.push_back(Event::Drain);
        let until = self.world.now + 8000;
        loop {
            let next = self.world.now + 100;
            self.go(next);
            let now = self.world.now().instant;
            if self.daemon.as_ref().unwrap().is_finished(now) {
                return;
            }
            assert!(self.world.now < until, "told to leave, and stays with nothing to do");
        }
    }
}

fn draw_peer(world: &mut World) -> (From, u8, Peer) {
    let port = world.rng.range(1024, 60_000) as u16;
    let tcp = |last: [u8; 4]| Peer::Tcp(SocketAddr::new(IpAddr::from(last), port));
    match world.rng.below(10) {
        0 | 1 => (From::Program, 1, Peer::Unix { uid: world.rng.range(0, 2000) as u32 }),
        2..5 => (From::Client, 0, tcp([127, 0, 0, 1])),
        5..8 => (From::Client, 0, tcp([192, 168, 1, world.rng.range(2, 9) as u8])),
        _ => (From::Stranger, 0, tcp([203, 0, 113, world.rng.range(1, 20) as u8])),
    }
}

fn draw_style(world: &mut World) -> Style {
    let cut = world.rng.range(1, 3000);
    match world.rng.below(20) {
        0 => Style::Blast,
        1 => Style::Leaves,
        2 => Style::Drops(cut, true),
        3 => Style::Drops(cut, false),
        4 => Style::Stalls(cut),
        5 => Style::Rude,
        6..13 => Style::Pipelined,
        _ => Style::Polite,
    }
}

fn leave_drop(world: &mut World, taste: Taste) {
    let letter = Letter::draw(world, From::Program, taste);
    let mut records = Vec::new();
    let sender = Record::Sender(letter.sender.as_bytes());
    let recipients = letter.recipients.iter().take(100).map(|to| Record::Recipient(to.as_bytes()));
    let uid = world.rng.range(0, 2000) as u32;
    for record in [sender, Record::Login(uid)].into_iter().chain(recipients) {
        let _: Result<(), ()> = record.encode(|bytes| {
            records.extend_from_slice(bytes);
            Ok(())
        });
    }
    let mut bytes = (records.len() as u32).to_le_bytes().to_vec();
    bytes.extend(records);
    // As a program writes it.
    bytes.extend(letter.text.iter().filter(|byte| **byte != b'\r'));
    let mail = world.shadow.mail(letter.id);
    for (number, recipient) in mail.recipients.iter_mut().enumerate() {
        recipient.accepted = Some(number < 100);
    }
    world.shadow.answered(letter.id, 250);
    let mut name = [0; 32];
    for place in &mut name {
        *place = world.rng.pick(b"0123456789abcdef");
    }
    note(|| format!("{:>10} sendmail leaves mail {}", world.now, letter.id));
    world.drops.leave(name, uid, bytes);
    world.events.push_back(Event::Drop);
}
