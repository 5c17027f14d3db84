//! The next hops: good ones, and ones that fail in every way at every point.

use super::net::{ConnId, Heard};
use super::shadow::parse_address;
use super::world::{Happening, World, note};
use core::net::IpAddr;

/// The connection's silence, broken later.
const LATE: u32 = 1;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Command,
    Data,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Point {
    Greeting,
    Hello,
    Mail,
    Recipient,
    Data,
    InData,
    Verdict,
    Reset,
}

/// What a server does instead of serving.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Whim {
    Temporary,
    Permanent,
    Closing,
    Garbage,
    Silence,
    Close,
    Tear,
    Late,
}

pub struct Server {
    actor: u32,
    conn: ConnId,
    /// In thousandths, at each point.
    trouble: u32,
    has_pipelining: bool,
    knows_ehlo: bool,
    is_wordy: bool,
    /// It has refused a message in its middle: what follows means nothing.
    is_over: bool,
    state: State,
    inbox: Vec<u8>,
    looked: usize,
    from: Option<String>,
    to: Vec<String>,
    pending: Vec<u8>,
}

impl World {
    /// A server that answers at `address`, if one does.
    pub fn answer(&mut self, address: IpAddr) -> Option<u32> {
        let is_there = self.names.values().flatten().any(|known| *known == address);
        // 192.0.2.9 is where two.test was once.
        let is_dead = address == IpAddr::from([192, 0, 2, 9]);
        if !is_there || is_dead || self.rng.permille(self.weather.server_down) {
            return None;
        }
        let actor = self.new_actor();
        let server = Server {
            actor,
            conn: 0,
            trouble: self.weather.server_trouble,
            has_pipelining: self.rng.permille(700),
            knows_ehlo: self.rng.permille(900),
            is_wordy: self.rng.permille(200),
            is_over: false,
            state: State::Command,
            inbox: Vec::new(),
            looked: 0,
            from: None,
            to: Vec::new(),
            pending: Vec::new(),
        };
        self.servers.insert(actor, server);
        Some(actor)
    }
}

impl Server {
    /// False: it is gone.
    pub fn hears(&mut self, heard: Heard, world: &mut World) -> bool {
        match heard {
            Heard::Closed => false,
            Heard::Connected(conn) => {
                self.conn = conn;
                self.at(Point::Greeting, world)
            }
            Heard::Wake(_) => {
                let bytes = std::mem::take(&mut self.pending);
                world.say(self.conn, &bytes);
                true
            }
            Heard::Bytes(bytes) => {
                self.inbox.extend(bytes);
                self.read(world)
            }
        }
    }

    fn read(&mut self, world: &mut World) -> bool {
        while !self.is_over {
            if self.state == State::Data {
                match self.end_of_data() {
                    Some(end) => {
                        let wire: Vec<u8> = self.inbox.drain(..end).collect();
                        self.state = State::Command;
                        if !self.message(&wire, world) {
                            return false;
                        }
                        continue;
                    }
                    None if self.inbox.len() > 2000 && world.rng.permille(self.trouble / 4) => {
                        return self.at(Point::InData, world);
                    }
                    None => return true,
                }
            }
            let Some(end) = memchr::memmem::find(&self.inbox, b"\r\n") else {
                return true;
            };
            let line: Vec<u8> = self.inbox.drain(..end + 2).take(end).collect();
            let line = String::from_utf8(line).expect("a command is ASCII");
            assert!(!line.contains(['\r', '\n', '\0']), "a command with a bare CR or LF: {line:?}");
            if !self.command(&line, world) {
                return false;
            }
        }
        true
    }

    fn end_of_data(&mut self) -> Option<usize> {
        if self.inbox.starts_with(b".\r\n") {
            return Some(3);
        }
        // Where the last look ended, less what may be the beginning of the end.
        let from = self.looked.min(self.inbox.len()).saturating_sub(4);
        let found = memchr::memmem::find(&self.inbox[from..], b"\r\n.\r\n");
        self.looked = if found.is_some() { 0 } else { self.inbox.len() };
        Some(from + found? + 5)
    }

    fn command(&mut self, line: &str, world: &mut World) -> bool {
        let upper = line.to_ascii_uppercase();
        let path = |line: &str| -> String {
            let begin = line.find('<').expect("no path") + 1;
            let end = line[begin..].find('>').expect("no path") + begin;
            line[begin..end].to_owned()
        };
        if upper.starts_with("EHLO") {
            if !self.knows_ehlo {
                return self.reply(world, "502 5.5.1 what?\r\n");
            }
            return self.at(Point::Hello, world);
        }
        if upper.starts_with("HELO") {
            return self.reply(world, "250 sim.test\r\n");
        }
        if upper.starts_with("MAIL FROM:") {
            assert!(self.from.is_none(), "MAIL inside of a mail");
            self.from = Some(path(line));
            self.to.clear();
            return self.at(Point::Mail, world);
        }
        if upper.starts_with("RCPT TO:") {
            if self.from.is_none() {
                return self.reply(world, "503 5.5.1 MAIL first\r\n");
            }
            self.to.push(path(line));
            return self.at(Point::Recipient, world);
        }
        match upper.as_str() {
            "DATA" => {
                if self.to.is_empty() {
                    let kind = world.rng.permille(500);
                    let none = "554 5.5.1 no recipients\r\n";
                    return match kind {
                        true => self.reply(world, none),
                        false => self.begin_data(world),
                    };
                }
                self.at(Point::Data, world)
            }
            "RSET" => {
                self.from = None;
                self.to.clear();
                self.at(Point::Reset, world)
            }
            "QUIT" => {
                self.reply(world, "221 2.0.0 bye\r\n");
                world.hang_up(self.conn, false);
                false
            }
            _ => panic!("a command that no server knows: {line:?}"),
        }
    }

    fn begin_data(&mut self, world: &mut World) -> bool {
        self.state = State::Data;
        self.reply(world, "354 go on\r\n")
    }

    fn message(&mut self, wire: &[u8], world: &mut World) -> bool {
        let body = &wire[..wire.len() - 3];
        let mut text = Vec::new();
        for line in body.split_inclusive(|byte| *byte == b'\n') {
            assert!(line.ends_with(b"\r\n"), "a bare LF in DATA");
            assert!(!line[..line.len() - 2].contains(&b'\r'), "a bare CR in DATA");
            text.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        }
        self.pending = text;
        let goes_on = self.at(Point::Verdict, world);
        (self.from, self.to) = (None, Vec::new());
        goes_on
    }

    /// Serves, or does something else.
    fn at(&mut self, point: Point, world: &mut World) -> bool {
        if !world.rng.permille(self.trouble) {
            return self.serve(point, world);
        }
        let whim = world.rng.pick(&[
            Whim::Temporary,
            Whim::Temporary,
            Whim::Permanent,
            Whim::Permanent,
            Whim::Closing,
            Whim::Garbage,
            Whim::Silence,
            Whim::Close,
            Whim::Tear,
            Whim::Late,
        ]);
        note(|| format!("{:>10} server #{}: {whim:?} at {point:?}", world.now, self.conn));
        self.indulge(whim, point, world)
    }

    fn indulge(&mut self, whim: Whim, point: Point, world: &mut World) -> bool {
        let is_report = self.from.as_deref() == Some("")
            && self.to.last().is_none_or(|address| address.starts_with("s.m"));
        match whim {
            Whim::Temporary => {
                let code = world.rng.pick(&[450, 451, 452, 421 + 10]);
                self.refuse(point);
                self.reply(world, &format!("{code} 4.3.0 not now\r\n"))
            }
            Whim::Permanent if point == Point::Recipient && world.rng.permille(200) => {
                self.refuse(point);
                self.reply(world, "552 5.5.3 too many\r\n")
            }
            Whim::Permanent if is_report && point != Point::Verdict => self.serve(point, world),
            Whim::Permanent => {
                self.condemn(point, world);
                self.refuse(point);
                self.reply(world, "550 5.7.1 never\r\n")
            }
            Whim::Closing => {
                self.reply(world, "421 4.3.2 closing\r\n");
                world.hang_up(self.conn, false);
                false
            }
            Whim::Garbage => {
                let garbage = world.rng.pick(&[
                    "HTTP/1.1 400 Bad Request\r\n",
                    "250\n",
                    "\r\n",
                    "999 no\r\n",
                    "250-one\r\n354 two\r\n250 ok\r\n",
                ]);
                self.is_over = true;
                self.reply(world, garbage)
            }
            Whim::Silence => {
                world.mute(self.conn);
                true
            }
            Whim::Close | Whim::Tear => {
                // It may have the message all the same, and leave without a word.
                if point == Point::Verdict && world.rng.permille(600) && !self.to.is_empty() {
                    self.accept(world);
                }
                match whim {
                    Whim::Close => world.hang_up(self.conn, false),
                    _ => world.tear(self.conn),
                }
                false
            }
            Whim::Late if point == Point::Verdict && !self.to.is_empty() => {
                self.accept(world);
                self.pending = b"250 2.0.0 late\r\n".to_vec();
                let after = world.rng.range(1000, 1_500_000);
                world.plan(after, Happening::Wake(self.actor, LATE));
                true
            }
            Whim::Late => self.serve(point, world),
        }
    }

    /// Takes back what a refusal at `point` takes back.
    fn refuse(&mut self, point: Point) {
        match point {
            Point::Mail => self.from = None,
            Point::Recipient => {
                self.to.pop();
            }
            Point::Data => (self.from, self.to) = (None, Vec::new()),
            Point::InData => self.is_over = true,
            _ => {}
        }
    }

    /// A refusal for good at `point` is one of whom?
    fn condemn(&self, point: Point, world: &mut World) {
        match point {
            Point::Mail => {
                let from = self.from.as_deref().unwrap_or_default();
                let Some((_, id)) = parse_address(from) else { return };
                let mail = world.shadow.mail(id);
                let all: Vec<_> = mail.recipients.iter().map(|r| r.address.clone()).collect();
                all.iter().for_each(|address| world.shadow.refused(address));
            }
            Point::Recipient => world.shadow.refused(self.to.last().unwrap()),
            Point::Data | Point::InData | Point::Verdict => {
                self.to.iter().for_each(|address| world.shadow.refused(address));
                if point == Point::Verdict && self.to.iter().any(|to| to.starts_with("s.m")) {
                    world.shadow.report_refused(&self.pending);
                }
            }
            _ => {}
        }
    }

    fn accept(&mut self, world: &mut World) -> super::shadow::Delivery {
        let from = self.from.clone().unwrap_or_default();
        let text = std::mem::take(&mut self.pending);
        world.shadow.relayed(&from, &self.to, &text)
    }

    fn serve(&mut self, point: Point, world: &mut World) -> bool {
        match point {
            Point::Greeting => self.reply(world, "220 sim.test ESMTP\r\n"),
            Point::Hello => {
                let pipelining = if self.has_pipelining { "250-PIPELINING\r\n" } else { "" };
                let text =
                    format!("250-sim.test\r\n{pipelining}250-SIZE 10000000\r\n250 8BITMIME\r\n");
                self.reply(world, &text)
            }
            Point::Mail | Point::Recipient | Point::Reset => {
                let text =
                    if self.is_wordy { "250-2.1.0 well\r\n250 2.1.0 ok\r\n" } else { "250 ok\r\n" };
                self.reply(world, text)
            }
            Point::Data => self.begin_data(world),
            Point::InData => true,
            Point::Verdict if self.to.is_empty() => {
                assert!(self.pending.is_empty(), "a message for nobody");
                self.reply(world, "554 5.5.1 no recipients\r\n")
            }
            Point::Verdict => {
                let delivery = self.accept(world);
                self.reply(world, "250 2.0.0 taken\r\n");
                world.confirm(self.conn, delivery);
                true
            }
        }
    }

    fn reply(&mut self, world: &mut World, text: &str) -> bool {
        note(|| format!("{:>10} server #{}: {text:?}", world.now, self.conn));
        world.say(self.conn, text.as_bytes());
        true
    }
}

impl Server {
    pub fn heal(&mut self) {
        self.trouble = 0;
    }
}
