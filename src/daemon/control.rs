//! The administrator's socket: one request line, JSON lines back, then it is closed.
//!
//! `ls`, `show ID`, `export ID`, `bounce ID`, `status`, `flush`, and `rm`, `retry`, `hold`,
//! `release` with IDs or `all`. `export` sends the message to the caller, who writes files by his
//! own rights: the daemon writes none for anybody. The last line is `{"end":"ok"}` or
//! `{"end":"error","exit":N,"message":"…"}`. A change is answered when it is durable: the answer
//! waits for the commit that has it. What is just being imported is not removed: its file would
//! bring it in again. A listing of any length goes out in pieces of a fixed buffer;
//! messages that come or go meanwhile may or may not be in it.
//!
//! Limits: a request of `REQUEST_BYTES`, `CONTROL_TIMEOUT` for the peer to send it or to take
//! what is answered.

use super::listing::{Depth, Listing, StatusLine, Step, write_device};
use crate::base::ascii::{Base62, parse_base62};
use crate::base::buffer::Buffer;
use crate::base::time::{Instant, Now};
use crate::config::Config;
use crate::intake::devices::Devices;
use crate::queue::block::State as MessageState;
use crate::queue::disk::{Block, Disk, new_block};
use crate::queue::{Queue, Ticket};
use crate::relay::forwarder::{Context, Forwarder, GivenBack};
use core::fmt::Write as _;
use core::time::Duration;

/// A request line with its LF: 32 ids.
pub const REQUEST_BYTES: usize = 512;
/// The status of 31 lanes with their names and last errors.
pub const OUTPUT_BYTES: usize = 16 * 1024;
/// How long the peer may do nothing.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(30);
/// sysexits(3).
const EX_USAGE: u8 = 64;
const EX_DATAERR: u8 = 65;

/// What the administrator's requests are about.
pub struct Admin<'a> {
    /// Settings.
    pub config: &'a Config,
    /// The queue.
    pub queue: &'a mut Queue,
    /// Who sends.
    pub forwarder: &'a mut Forwarder,
    /// What the queue lies on.
    pub disk: &'a mut dyn Disk,
    /// Both clocks.
    pub now: Now,
    /// Sessions, and how many there may be.
    pub sessions: (u16, u16),
    /// What else is told of the whole.
    pub circumstances: Circumstances,
    /// Who has come over the network lately.
    pub devices: &'a Devices,
}

/// What only the daemon and its world know.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Circumstances {
    /// The spool does not survive a reboot.
    pub is_volatile: bool,
    /// The daemon finishes what is under way, and leaves.
    pub is_stopping: bool,
    /// Files that were no mail, set aside out of the drop directory.
    pub rejected: u32,
    /// What the daemon could do if somebody took it over.
    pub confinement: Confinement,
}

/// Who the daemon runs as, and what it has given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Confinement {
    /// Its user.
    pub uid: u32,
    /// Programs that it runs get no rights that it has not.
    pub no_new_privileges: bool,
    /// It opens only what it has to do with.
    pub landlock: bool,
    /// It makes only the system calls of a mail server.
    pub seccomp: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    AwaitRequest,
    List,
    /// The status is told, up to this device.
    Devices {
        next: usize,
    },
    /// A report is written; the message is gone when it is durable.
    AwaitReturn {
        ticket: Ticket,
    },
    /// A change is made; it is told when it is durable.
    AwaitCommit {
        missing: u16,
        busy: bool,
        /// There is something to be made durable.
        marked: bool,
    },
    Closing,
}

/// One connection.
pub struct Control {
    state: State,
    input: Buffer,
    output: Buffer,
    block: Box<Block>,
    listing: Listing,
    last_moved: Instant,
    is_deserted: bool,
}

impl Control {
    /// A slot's memory.
    pub fn new() -> Control {
        Control {
            state: State::AwaitRequest,
            input: Buffer::new(REQUEST_BYTES),
            output: Buffer::new(OUTPUT_BYTES),
            block: new_block(),
            listing: Listing::default(),
            last_moved: Instant::default(),
            is_deserted: false,
        }
    }

    /// A new connection.
    pub fn open(&mut self, now: Instant) {
        self.state = State::AwaitRequest;
        self.input.clear();
        self.output.clear();
        self.last_moved = now;
        self.is_deserted = false;
    }

    /// Room for input.
    pub fn input_mut(&mut self) -> &mut [u8] {
        self.input.writable()
    }

    /// `count` bytes have come.
    pub fn received(&mut self, count: usize) {
        self.input.produced(count);
    }

    /// The peer is gone.
    pub fn deserted(&mut self) {
        self.is_deserted = true;
    }

    /// What waits to be written.
    pub fn output(&self) -> &[u8] {
        self.output.readable()
    }

    /// `count` bytes were written.
    pub fn sent(&mut self, count: usize, now: Instant) {
        self.output.consume(count);
        self.last_moved = now;
    }

    /// True while a request is awaited.
    pub fn wants_read(&self) -> bool {
        self.state == State::AwaitRequest && !self.is_deserted && self.input.space() > 0
    }

    /// True while a change of its waits to be durable.
    pub fn awaits_commit(&self) -> bool {
        matches!(self.state, State::AwaitCommit { .. } | State::AwaitReturn { .. })
    }

    /// Nothing is asked or answered just now.
    pub fn is_quiet(&self) -> bool {
        self.is_deserted || (self.state == State::AwaitRequest && self.output.is_empty())
    }

    /// When to look at it though nothing has moved.
    pub fn deadline(&self) -> Option<Instant> {
        Some(self.last_moved + CONTROL_TIMEOUT)
    }

    /// To be closed.
    pub fn is_over(&self, now: Instant) -> bool {
        let is_told = self.state == State::Closing && self.output.is_empty();
        is_told || self.is_deserted || now >= self.last_moved + CONTROL_TIMEOUT
    }

    /// Goes on; true if it got on.
    pub fn proceed(&mut self, admin: &mut Admin<'_>) -> bool {
        match self.state {
            State::AwaitRequest => {
                let input = self.input.readable();
                let Some(end) = memchr::memchr(b'\n', input) else {
                    if self.input.space() == 0 {
                        self.end_with(EX_USAGE, "the request is too long");
                    }
                    return false;
                };
                let mut line = [0u8; REQUEST_BYTES];
                let text = input.get(..end).unwrap_or_default();
                for (to, from) in line.iter_mut().zip(text) {
                    *to = *from;
                }
                let text = core::str::from_utf8(line.get(..end).unwrap_or_default());
                match text {
                    Ok(text) => self.request(text.trim_end(), admin),
                    Err(_) => self.end_with(EX_USAGE, "the request is not text"),
                }
                true
            }
            State::List => {
                let mut has_moved = false;
                while self.output.space() >= OUTPUT_BYTES / 2 {
                    has_moved = true;
                    let step = self.listing.step(&mut self.output, &mut self.block, admin);
                    match step {
                        Step::More => continue,
                        Step::Over => self.end(),
                        Step::Damaged => {
                            self.end_with(EX_DATAERR, "it is damaged and cannot be read");
                        }
                    }
                    break;
                }
                has_moved
            }
            State::Devices { next } => self.tell_devices(next, admin),
            State::AwaitReturn { ticket } => {
                if admin.queue.waiting(ticket).is_none() {
                    // Its report is durable; now its end must be.
                    admin.queue.hurry();
                    self.state = State::AwaitCommit { missing: 0, busy: false, marked: true };
                    return true;
                }
                if !admin.forwarder.is_under_way(ticket) {
                    self.end_with(75, "its report could not be written; it stays in the queue");
                }
                self.state == State::Closing
            }
            State::AwaitCommit { missing, busy, marked } => {
                // The turn after the change: its commit has come back, or the queue is broken.
                if !admin.queue.is_broken() && admin.queue.is_hurried() {
                    return false;
                }
                if admin.queue.is_broken() || (marked && admin.queue.are_marks_stuck()) {
                    self.end_with(75, "the spool cannot be written; the change may be lost");
                } else if busy {
                    self.end_with(75, "some of these messages are just being imported; try again");
                } else if missing > 0 {
                    self.end_with(EX_DATAERR, "some of these messages are not in the queue");
                } else {
                    self.end();
                }
                true
            }
            State::Closing => false,
        }
    }

    /// Some that come or go meanwhile may or may not be told.
    fn tell_devices(&mut self, mut next: usize, admin: &Admin<'_>) -> bool {
        let first = next;
        while self.output.space() >= OUTPUT_BYTES / 2 {
            let Some(device) = admin.devices.iter().nth(next) else {
                let _ = self.output.write_str("]}\n");
                self.end();
                return true;
            };
            write_device(&mut self.output, next, device, admin);
            next += 1;
        }
        self.state = State::Devices { next };
        next > first
    }

    fn request(&mut self, line: &str, admin: &mut Admin<'_>) {
        let (verb, words) = line.split_once(' ').unwrap_or((line, ""));
        match (verb, words) {
            ("ls", "") => {
                self.listing = Listing::all();
                self.state = State::List;
            }
            ("show", id) => match parse_base62(id).and_then(|seq| admin.queue.find(seq)) {
                Some(ticket) => {
                    self.listing = Listing::one(ticket, Depth::Full);
                    self.state = State::List;
                }
                None => self.end_with(EX_DATAERR, "no such message in the queue"),
            },
            ("export", id) => match parse_base62(id).and_then(|seq| admin.queue.find(seq)) {
                Some(ticket) => {
                    self.listing = Listing::one(ticket, Depth::Whole);
                    self.state = State::List;
                }
                None => self.end_with(EX_DATAERR, "no such message in the queue"),
            },
            ("bounce", id) => match parse_base62(id).and_then(|seq| admin.queue.find(seq)) {
                Some(ticket) => self.give_back(ticket, admin),
                None => self.end_with(EX_DATAERR, "no such message in the queue"),
            },
            ("status", "") => {
                // It fits: the names and words of lanes are cut.
                let _ = write!(self.output, "{}", StatusLine::new(admin));
                self.state = State::Devices { next: 0 };
            }
            ("flush", "") => {
                admin.forwarder.flush(admin.queue);
                self.end();
            }
            ("rm" | "retry" | "hold" | "release", ids) if !ids.is_empty() => {
                self.change(verb, ids, admin);
            }
            _ => self.end_with(EX_USAGE, "not a request"),
        }
    }

    fn give_back(&mut self, ticket: Ticket, admin: &mut Admin<'_>) {
        let Admin { config, queue, forwarder, disk, now, .. } = admin;
        let mut context = Context { config, queue, world: disk, now: *now };
        match forwarder.give_back(ticket, &mut context) {
            GivenBack::Reported | GivenBack::Gone => self.state = State::AwaitReturn { ticket },
            GivenBack::Busy => self.end_with(75, "it is being attempted just now; try again"),
            GivenBack::Failed => self.end_with(75, "it cannot be returned now; see the log"),
        }
    }

    fn change(&mut self, verb: &str, ids: &str, admin: &mut Admin<'_>) {
        let (mut missing, mut busy) = (0, false);
        if ids == "all" {
            let mut from = 0;
            while let Some(waiting) = admin.queue.next_waiting(from) {
                from = waiting.ticket.slot + 1;
                busy |= !change_one(verb, waiting.ticket, true, admin);
            }
        } else {
            for id in ids.split(' ').filter(|id| !id.is_empty()) {
                match parse_base62(id).and_then(|seq| admin.queue.find(seq)) {
                    Some(ticket) => busy |= !change_one(verb, ticket, false, admin),
                    None => {
                        missing += 1;
                        // Ids are at most a request long, and so is their echo.
                        let id = parse_base62(id).map(Base62);
                        let _ = match id {
                            Some(id) => writeln!(
                                self.output,
                                "{{\"id\":\"{id}\",\"message\":\"not in the queue\"}}"
                            ),
                            None => writeln!(self.output, "{{\"message\":\"not an id\"}}"),
                        };
                    }
                }
            }
        }
        let marked = admin.queue.is_hurried();
        self.state = State::AwaitCommit { missing, busy, marked };
    }

    fn end(&mut self) {
        // There is always room: a piece of a listing leaves half of the buffer free.
        let _ = self.output.write_str("{\"end\":\"ok\"}\n");
        self.state = State::Closing;
    }

    fn end_with(&mut self, exit: u8, message: &str) {
        let _ = writeln!(
            self.output,
            "{{\"end\":\"error\",\"exit\":{exit},\"message\":\"{message}\"}}"
        );
        self.state = State::Closing;
    }
}

impl Default for Control {
    fn default() -> Self {
        Self::new()
    }
}

/// False: not now.
fn change_one(verb: &str, ticket: Ticket, is_all: bool, admin: &mut Admin<'_>) -> bool {
    let now = admin.now.instant;
    match verb {
        "rm" if admin.queue.waiting(ticket).is_some_and(|waiting| waiting.importing) => {
            return false;
        }
        "rm" => {
            if admin.queue.remove(ticket, now) {
                log::info!("{}: removed by the administrator", Base62(ticket.seq));
            }
        }
        "hold" => {
            admin.queue.set_flag(ticket, MessageState::HELD, true, now);
        }
        "release" => {
            // A sender's wish to have it held is ended by name only: `all` is what administrators
            // hold. Whether there is one is not known here if nobody has read the envelope.
            let is_held = admin.queue.waiting(ticket).is_none_or(|waiting| waiting.held);
            if !is_held && !is_all {
                admin.queue.set_flag(ticket, MessageState::RELEASED, true, now);
            }
            admin.queue.set_flag(ticket, MessageState::HELD, false, now);
            admin.forwarder.retry(admin.queue, ticket);
        }
        _ => admin.forwarder.retry(admin.queue, ticket),
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Host, parse};
    use crate::queue::block::Header;
    use crate::queue::draft::{Origin, Summary};
    use crate::queue::envelope::Record;
    use crate::queue::layout;
    use crate::queue::memory_disk::MemoryDisk;
    use crate::queue::recovery::{format, recover};

    /// A queue with one message in it, and who asks for it.
    struct Office {
        config: Config,
        disk: MemoryDisk,
        queue: Queue,
        forwarder: Forwarder,
        ticket: Ticket,
    }

    impl Office {
        fn new(flags: u32) -> Office {
            let start = Instant::default();
            let host = Host { hostname: "pi.test", home: "/home", is_embedded: false, run: None };
            let config = parse(b"relay = hold\n", &host).unwrap();
            let mut disk = MemoryDisk::new(64);
            format(&mut disk, [9; 24], 0).unwrap();
            let (mut queue, _) = recover(&mut disk, start, 16, None).unwrap();
            let mut buffer = new_block();
            let mut draft = queue.begin(&mut disk, Origin::Client, None).unwrap();
            for record in [Record::Sender(b"a@b"), Record::Recipient(b"c@d")] {
                queue.record(&mut disk, &mut draft, &mut buffer, &record).unwrap();
            }
            let summary = Summary { flags, ..Summary::default() };
            let ticket = queue.finish(&mut disk, draft, &mut buffer, 1, summary, start).unwrap();
            queue.commit(&mut disk, start, |_, _| {});
            let forwarder = Forwarder::new(&config, 0);
            Office { config, disk, queue, forwarder, ticket }
        }

        /// What is said to a request, turn by turn as in a daemon.
        fn ask(&mut self, verb: &str) -> String {
            let now = Now::default();
            let mut control = Control::new();
            control.open(now.instant);
            let line = format!("{verb} {}\n", Base62(self.ticket.seq));
            control.input_mut()[..line.len()].copy_from_slice(line.as_bytes());
            control.received(line.len());
            for _ in 0..2 {
                let Office { config, disk, queue, forwarder, .. } = self;
                let (sessions, circumstances) = ((0, 1), Circumstances::default());
                let devices = &Devices::new();
                let mut admin =
                    Admin { config, queue, forwarder, disk, now, sessions, circumstances, devices };
                control.proceed(&mut admin);
                queue.commit(disk, now.instant, |_, _| {});
            }
            core::str::from_utf8(control.output()).unwrap().to_owned()
        }
    }

    #[test]
    fn what_is_just_being_imported_is_not_removed() {
        let mut office = Office::new(Header::IMPORTED);
        for (verb, end) in [("rm", "\"exit\":75"), ("hold", "ok"), ("rm", "ok")] {
            let told = office.ask(verb);
            assert!(told.contains(end), "{verb}: {told}");
            if verb == "hold" {
                // Its file is durably gone.
                office.queue.import_is_over(office.ticket);
            }
        }
        assert_eq!(office.queue.waiting(office.ticket), None);
    }

    /// Hold, release and rm were answered `ok` though the page that says so was not written: after
    /// a cut the mail was back.
    #[test]
    fn a_change_whose_page_cannot_be_written_is_not_said_to_last() {
        let mut office = Office::new(0);
        for (verb, end) in [("hold", "\"exit\":75"), ("retry", "ok"), ("release", "\"exit\":75")] {
            office.disk.unwritable = (0..2).map(|copy| layout::state_page(0, copy)).collect();
            let told = office.ask(verb);
            assert!(told.contains(end), "{verb}: {told}");
        }
        office.disk.unwritable.clear();
        let told = office.ask("hold");
        assert!(told.contains("ok"), "{told}");
        office.disk.unwritable = (0..2).map(|copy| layout::state_page(0, copy)).collect();
        let told = office.ask("rm");
        assert!(told.contains("\"exit\":75"), "{told}");
        office.disk.unwritable.clear();
        let (queue, _) = recover(&mut office.disk, Instant::default(), 0, None).unwrap();
        assert!(queue.waiting(office.ticket).is_some(), "then it was durable after all");
    }
}
