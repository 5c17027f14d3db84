//! Those who hand mail in: well-behaved, hasty, slow, rude.

use super::letter::Letter;
use super::net::{ConnId, Heard};
use super::shadow::Status;
use super::world::{Happening, World, note};
use std::collections::VecDeque;

/// A daemon that has had everything for so long and says nothing is stuck.
const PATIENCE: u64 = 240_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    Polite,
    /// Groups commands, and says the next thing right behind the final dot.
    Pipelined,
    /// Says everything at once and shuts its side.
    Blast,
    /// Does not wait for the answer to the dot.
    Leaves,
    /// Gone after so many bytes; `true`: by a reset.
    Drops(u64, bool),
    /// Silent after so many bytes, for ever.
    Stalls(u64),
    /// Bad commands, lines without end, other protocols.
    Rude,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expect {
    Greeting,
    Hello,
    Mail,
    Recipient(usize),
    Data,
    Verdict,
    Reset,
    Bye,
    Anything,
}

pub struct Client {
    pub conn: ConnId,
    actor: u32,
    style: Style,
    letters: VecDeque<Letter>,
    expects: VecDeque<Expect>,
    inbox: Vec<u8>,
    said: u64,
    /// What was said last is not all out.
    is_cut: bool,
    /// Its commands and the replies are out of step.
    is_lost: bool,
    /// Which recipients of the first letter are in.
    accepted: Vec<bool>,
    sender_ok: bool,
    data_ok: bool,
    /// It said HELO.
    is_plain: bool,
    watch: u32,
    /// In the last reply.
    queue_id: Option<String>,
}

impl Client {
    pub fn new(actor: u32, conn: ConnId, style: Style, letters: Vec<Letter>) -> Client {
        Client {
            conn,
            actor,
            style,
            letters: letters.into(),
            expects: VecDeque::from([Expect::Greeting]),
            inbox: Vec::new(),
            said: 0,
            is_cut: false,
            is_lost: false,
            accepted: Vec::new(),
            sender_ok: false,
            data_ok: false,
            is_plain: false,
            watch: 0,
            queue_id: None,
        }
    }

    /// False: it is gone.
    pub fn hears(&mut self, heard: Heard, world: &mut World) -> bool {
        match heard {
            Heard::Connected(_) => true,
            Heard::Closed => false,
            Heard::Wake(watch) => {
                if watch != self.watch {
                    return true;
                }
                let is_stuck = world.is_daemons_turn(self.conn, PATIENCE - 60_000);
                assert!(
                    !is_stuck || self.expects.is_empty() || matches!(self.style, Style::Stalls(_)),
                    "#{} waits for {:?} in vain: the daemon is stuck",
                    self.conn,
                    self.expects
                );
                world.tear(self.conn);
                false
            }
            Heard::Bytes(bytes) => {
                self.inbox.extend(bytes);
                while let Some(code) = self.next_reply() {
                    if !self.answered(code, world) {
                        return false;
                    }
                }
                true
            }
        }
    }

    /// The code of the next whole reply.
    fn next_reply(&mut self) -> Option<u16> {
        loop {
            let end = memchr::memmem::find(&self.inbox, b"\r\n")?;
            let line: Vec<u8> = self.inbox.drain(..end + 2).collect();
            let line = String::from_utf8(line).expect("a reply is ASCII");
            let code = line[..3].parse().unwrap_or_else(|_| panic!("no reply: {line:?}"));
            if line.as_bytes()[3] == b' ' {
                self.queue_id = line.split("queued as ").nth(1).map(|id| id.trim().to_owned());
                return Some(code);
            }
        }
    }

    /// False: the connection is over.
    fn say(&mut self, world: &mut World, bytes: &[u8]) -> bool {
        self.watch += 1;
        world.plan(PATIENCE, Happening::Wake(self.actor, self.watch));
        let room = match self.style {
            Style::Drops(limit, _) | Style::Stalls(limit) => limit.saturating_sub(self.said),
            _ => u64::MAX,
        };
        let count = bytes.len().min(room.min(usize::MAX as u64) as usize);
        self.said += count as u64;
        world.say(self.conn, &bytes[..count]);
        if count == bytes.len() {
            return true;
        }
        self.is_cut = true;
        match self.style {
            Style::Drops(_, true) => world.tear(self.conn),
            Style::Drops(..) => world.hang_up(self.conn, false),
            _ => world.mute(self.conn),
        }
        matches!(self.style, Style::Stalls(_))
    }

    fn answered(&mut self, code: u16, world: &mut World) -> bool {
        if self.is_lost {
            return true;
        }
        let Some(expect) = self.expects.pop_front() else {
            let may_be = code == 421 || self.style == Style::Blast;
            assert!(may_be, "#{}: {code} that nobody asked for", self.conn);
            return true;
        };
        note(|| format!("{:>10} client #{}: {expect:?} {code}", world.now, self.conn));
        if code == 421 && expect != Expect::Verdict {
            // It closes; nothing that was to come will.
            self.expects.clear();
            return true;
        }
        let is_good = (200..400).contains(&code);
        match expect {
            Expect::Greeting if self.style == Style::Blast => true,
            Expect::Greeting if is_good => self.hello(world),
            Expect::Hello if self.style == Style::Blast => true,
            Expect::Hello if is_good => self.next_letter(world),
            Expect::Greeting | Expect::Hello => self.bye(world),
            Expect::Mail => {
                self.sender_ok = is_good;
                self.is_ahead() || self.go_on(world, 0)
            }
            Expect::Recipient(number) => {
                let id = self.letters[0].id;
                let recipient = &mut world.shadow.mail(id).recipients[number];
                recipient.accepted = Some(is_good);
                self.accepted.push(is_good);
                self.is_ahead() || self.go_on(world, number + 1)
            }
            Expect::Data => {
                self.data_ok = code == 354;
                if self.style == Style::Blast {
                    return true;
                }
                if self.data_ok { self.text(world) } else { self.reset(world) }
            }
            Expect::Verdict => self.verdict(code, world),
            Expect::Reset => self.next_letter(world),
            Expect::Bye => true,
            Expect::Anything => self.rude(world),
        }
    }

    fn verdict(&mut self, code: u16, world: &mut World) -> bool {
        let letter = self.letters.pop_front().unwrap();
        if self.style == Style::Blast && !self.data_ok {
            // What followed was taken for commands.
            world.shadow.mail(letter.id).status = Status::Open;
            self.is_lost = true;
            return true;
        }
        assert!(!letter.is_bare || code != 250, "mail {}: a bare LF was taken", letter.id);
        world.shadow.answered(letter.id, code);
        if let Some(name) = self.queue_id.take() {
            world.shadow.queue_ids.insert(letter.id, name);
        }
        if code == 421 {
            return true;
        }
        self.data_ok = false;
        self.accepted.clear();
        let is_on_its_way = !self.expects.is_empty();
        is_on_its_way || self.next_letter(world)
    }

    fn is_ahead(&self) -> bool {
        matches!(self.style, Style::Pipelined | Style::Blast)
    }

    fn hello(&mut self, world: &mut World) -> bool {
        self.expects.push_back(Expect::Hello);
        let is_plain = world.rng.permille(200) && self.style != Style::Pipelined;
        let verb = if is_plain { "HELO" } else { "EHLO" };
        self.is_plain = is_plain;
        self.say(world, format!("{verb} sim.example\r\n").as_bytes())
    }

    fn next_letter(&mut self, world: &mut World) -> bool {
        self.accepted.clear();
        (self.sender_ok, self.data_ok) = (false, false);
        if self.style == Style::Rude && world.rng.permille(600) {
            return self.rude(world);
        }
        if self.letters.is_empty() {
            return self.bye(world);
        }
        if self.style == Style::Pipelined {
            let group = self.envelope(world);
            return self.say(world, &group);
        }
        self.expects.push_back(Expect::Mail);
        let line = self.mail_line(world);
        self.say(world, line.as_bytes())
    }

    fn mail_line(&self, world: &mut World) -> String {
        let letter = &self.letters[0];
        let size = match world.rng.below(6) {
            0 => format!(" SIZE={}", letter.text.len()),
            1 => " BODY=8BITMIME".to_owned(),
            _ => String::new(),
        };
        let wishes = if self.may_wish(world) { self.wishes(world) } else { String::new() };
        let letter = &self.letters[0];
        format!("MAIL FROM:<{}>{size}{wishes}\r\n", letter.sender)
    }

    /// Only who may relay is heard with wishes, and only after EHLO.
    fn may_wish(&self, world: &mut World) -> bool {
        let mail = world.shadow.mail(self.letters[0].id);
        !self.is_plain && !mail.is_stranger
    }

    /// HOLDFOR= and BY=, for a few.
    fn wishes(&self, world: &mut World) -> String {
        let kind = world.rng.below(24);
        let (hold, by) = (world.rng.range(1, 5400), world.rng.range(1, 7200));
        let mail = world.shadow.mail(self.letters[0].id);
        match kind {
            0 => {
                mail.held_for = hold * 1000;
                format!(" HOLDFOR={hold}")
            }
            1 => {
                mail.may_be_late = true;
                format!(" BY={};R", by + 60)
            }
            2 => format!(" BY={by};N"),
            3 => " BY=-5;NT RET=FULL".to_owned(),
            4 => " ENVID=QQ+2B1 RET=HDRS".to_owned(),
            _ => String::new(),
        }
    }

    /// NOTIFY=, for some.
    fn notify(&self, number: usize, world: &mut World) -> &'static str {
        if !self.may_wish(world) {
            return "";
        }
        let kind = world.rng.below(12);
        let mail = world.shadow.mail(self.letters[0].id);
        let recipient = &mut mail.recipients[number];
        recipient.is_silent = kind < 2;
        match kind {
            0 => " NOTIFY=NEVER",
            1 => " NOTIFY=SUCCESS,DELAY",
            2 => " NOTIFY=SUCCESS,FAILURE",
            3 => " NOTIFY=FAILURE,DELAY",
            _ => "",
        }
    }

    /// MAIL, RCPT and DATA in one group.
    fn envelope(&mut self, world: &mut World) -> Vec<u8> {
        let mut group = self.mail_line(world);
        self.expects.push_back(Expect::Mail);
        for (number, address) in self.letters[0].recipients.clone().iter().enumerate() {
            self.expects.push_back(Expect::Recipient(number));
            let notify = self.notify(number, world);
            group += &format!("RCPT TO:<{address}>{notify}\r\n");
        }
        self.expects.push_back(Expect::Data);
        group += "DATA\r\n";
        group.into_bytes()
    }

    /// One at a time: the next recipient, or DATA.
    fn go_on(&mut self, world: &mut World, number: usize) -> bool {
        if !self.sender_ok {
            return self.reset(world);
        }
        if let Some(address) = self.letters[0].recipients.get(number).cloned() {
            self.expects.push_back(Expect::Recipient(number));
            let notify = self.notify(number, world);
            let line = format!("RCPT TO:<{address}>{notify}\r\n");
            return self.say(world, line.as_bytes());
        }
        if !self.accepted.contains(&true) {
            return self.reset(world);
        }
        self.expects.push_back(Expect::Data);
        self.say(world, b"DATA\r\n")
    }

    fn text(&mut self, world: &mut World) -> bool {
        let id = self.letters[0].id;
        if !self.accepted.contains(&true) {
            // RFC 2920 §3.1: 354 without recipients; a lone dot.
            self.expects.push_back(Expect::Reset);
            self.letters.pop_front();
            return self.say(world, b".\r\n");
        }
        let mut wire = self.letters[0].wire();
        self.expects.push_back(Expect::Verdict);
        if self.style == Style::Pipelined && world.rng.permille(500) {
            // Behind the dot comes more at once: the next mail, or QUIT.
            let first = self.letters.pop_front().unwrap();
            self.follow(world, &mut wire);
            self.letters.push_front(first);
        }
        let whole = self.say(world, &wire);
        if !self.is_cut {
            world.shadow.mail(id).status = Status::Sent;
        }
        if self.style == Style::Leaves && whole {
            match world.rng.below(3) {
                0 => world.tear(self.conn),
                1 => world.hang_up(self.conn, true),
                _ => world.hang_up(self.conn, false),
            }
            return true;
        }
        whole
    }

    fn follow(&mut self, world: &mut World, wire: &mut Vec<u8>) {
        if self.letters.is_empty() {
            self.expects.push_back(Expect::Bye);
            wire.extend_from_slice(b"QUIT\r\n");
        } else if world.rng.permille(500) {
            self.expects.push_back(Expect::Anything);
            wire.extend_from_slice(b"NOOP\r\n");
        }
    }

    fn reset(&mut self, world: &mut World) -> bool {
        self.letters.pop_front();
        self.expects.push_back(Expect::Reset);
        self.say(world, b"RSET\r\n")
    }

    fn bye(&mut self, world: &mut World) -> bool {
        self.expects.push_back(Expect::Bye);
        self.say(world, b"QUIT\r\n")
    }

    /// Everything in one go, before the greeting.
    pub fn blast(&mut self, world: &mut World) {
        let mut all = b"EHLO sim.example\r\n".to_vec();
        self.expects.push_back(Expect::Hello);
        for _ in 0..self.letters.len() {
            all.extend(self.envelope(world));
            all.extend(self.letters[0].wire());
            self.expects.push_back(Expect::Verdict);
            world.shadow.mail(self.letters[0].id).status = Status::Sent;
            self.letters.rotate_left(1);
        }
        self.expects.push_back(Expect::Bye);
        all.extend_from_slice(b"QUIT\r\n");
        self.say(world, &all);
        if world.rng.permille(500) {
            world.hang_up(self.conn, true);
        }
    }

    fn rude(&mut self, world: &mut World) -> bool {
        if self.style != Style::Rude {
            return self.next_letter(world);
        }
        let line: Vec<u8> = match world.rng.below(9) {
            0 => b"XYZZY\r\n".to_vec(),
            1 => b"\x00\xff\x01\r\n".to_vec(),
            2 => std::iter::repeat_n(b'A', 9000).chain(*b"\r\n").collect(),
            3 => b"MAIL FROM:<@@@>\r\n".to_vec(),
            4 => b"RCPT TO:<nobody\n@hub.test>\r\n".to_vec(),
            5 => b"DATA\r\n".to_vec(),
            6 => b"NOOP\n\r\n".to_vec(),
            7 => b"VRFY root\r\n".to_vec(),
            _ => return self.honest(world),
        };
        self.expects.push_back(Expect::Anything);
        self.say(world, &line)
    }

    fn honest(&mut self, world: &mut World) -> bool {
        if self.letters.is_empty() {
            return self.bye(world);
        }
        self.expects.push_back(Expect::Mail);
        let line = self.mail_line(world);
        self.say(world, line.as_bytes())
    }
}
