//! Plays the scripts of `tests/dialogues/` against the two protocol machines, without any socket.
//!
//! A script is a conversation as it would stand in an RFC, one line each:
//!
//!     C: text       the client's line, CRLF behind it          C~ text   without CRLF
//!     S: text       the server's, likewise                     S~ text
//!     E: text       what the machine tells its owner
//!     ! words       what the owner does, or what happens to it: see `Receiver` and `Sender`
//!     # words       a remark
//!
//! `C*20:` is that line twenty times (`E*20:` too); `{3000*x}` is three thousand x; and there are
//! `\r \n \0 \\ \xHH` as in Rust.
//!
//! Lines of the other side that follow one another come in one segment, and what stands between two
//! such groups is all that may be said in answer. Every script is played so, and again with every
//! byte in a segment of its own. The server's are also played with all that the client says (up to
//! the next event in the owner's life) in one segment, where only the two sums are compared; the
//! client's also with no more room for its commands than one of them needs.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a script that is not one fails the test"
)]

use mote::base::ascii::Base62;
use mote::base::buffer::Buffer;
use mote::base::time::Instant;
use mote::limits::{INPUT_BYTES, REPLIES_BYTES};
use mote::mail::address::{Address, ReversePath};
use mote::smtp::client::{COMMAND_BYTES_MAX, Client, ClientEvent, ClientTerms};
use mote::smtp::data::DotWriter;
use mote::smtp::reply::Reply;
use mote::smtp::server::{Event, Server, Terms};
use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

/// How a script is played.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Whole,
    ByteByByte,
    /// The server's scripts only.
    Pipelined,
    /// The client's scripts only.
    Cramped,
}

/// One line of a script.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Line {
    Client(Vec<u8>),
    Server(Vec<u8>),
    Event(String),
    Owner(String),
}

/// A machine with its owner.
trait Player {
    /// True for what the other side says.
    fn is_input(line: &Line) -> bool;
    /// Bytes come in.
    fn hear(&mut self, bytes: &[u8]);
    /// What can happen in the owner's life; the other words after `!` are known beforehand.
    const HAPPENINGS: &[&str];
    /// One of these happens.
    fn live(&mut self, words: &[&str]);
    /// What the machine has said, and told, since the last call.
    fn take(&mut self) -> (Vec<u8>, Vec<String>);
}

#[test]
fn server_dialogues() {
    let played =
        play_all("server", &[Mode::Whole, Mode::ByteByByte, Mode::Pipelined], |lines, _| {
            Receiver::new(lines)
        });
    assert!(played >= 25, "only {played}");
}

#[test]
fn client_dialogues() {
    let modes = [Mode::Whole, Mode::ByteByByte, Mode::Cramped];
    let played = play_all("client", &modes, Sender::new);
    assert!(played >= 15, "only {played}");
}

fn play_all<P: Player>(folder: &str, modes: &[Mode], begin: impl Fn(&[Line], Mode) -> P) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues").join(folder);
    let mut paths: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in &paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let lines = read_script(&std::fs::read_to_string(path).unwrap(), &name);
        for mode in modes {
            play(&lines, *mode, begin(&lines, *mode), &name);
        }
    }
    paths.len()
}

fn play<P: Player>(lines: &[Line], mode: Mode, mut player: P, name: &str) {
    let happens = |words: &str| P::HAPPENINGS.contains(&words.split(' ').next().unwrap());
    let is_played = |line: &&Line| !matches!(line, Line::Owner(words) if !happens(words));
    let mut lines = lines.iter().filter(is_played).peekable();
    while lines.peek().is_some() {
        let mut input = Vec::new();
        let mut said = Vec::new();
        let mut told = Vec::new();
        if let Some(Line::Owner(words)) = lines.peek() {
            player.live(&words.split(' ').collect::<Vec<_>>());
            player.hear(b"");
            lines.next();
        }
        let mut is_answered = false;
        while let Some(line) = lines.next_if(|line| !matches!(line, Line::Owner(_))) {
            match line {
                Line::Event(text) => told.push(text.clone()),
                Line::Client(bytes) | Line::Server(bytes) if P::is_input(line) => {
                    input.extend_from_slice(bytes);
                }
                Line::Client(bytes) | Line::Server(bytes) => said.extend_from_slice(bytes),
                Line::Owner(_) => unreachable!(),
            }
            is_answered |= !P::is_input(line);
            let is_next = lines.peek().is_some_and(|line| P::is_input(line));
            if is_answered && is_next && mode != Mode::Pipelined {
                break;
            }
        }
        match mode {
            Mode::ByteByByte => input.chunks(1).for_each(|byte| player.hear(byte)),
            _ => player.hear(&input),
        }
        let (said_now, told_now) = player.take();
        let context = format!("{name}, {mode:?}, after {:?}", input.escape_ascii().to_string());
        let shown = |bytes: &[u8]| bytes.escape_ascii().to_string().replace("\\r\\n", "\n");
        assert_eq!(shown(&said_now), shown(&said), "{context}");
        assert_eq!(told_now, told, "{context}");
    }
}

fn read_script(text: &str, name: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(words) = line.strip_prefix("! ") {
            lines.push(Line::Owner(words.to_string()));
        } else {
            let end = line.find([':', '~']).unwrap_or_else(|| panic!("{name}: {line}"));
            let text = line[end + 1..].strip_prefix(' ').unwrap_or_default();
            let ending: &[u8] = if line[end..].starts_with(':') { b"\r\n" } else { b"" };
            let bytes = [&unescape(text), ending].concat();
            let times = line[1..end].strip_prefix('*').map_or(1, |times| times.parse().unwrap());
            match &line[..1] {
                "C" => lines.push(Line::Client(bytes.repeat(times))),
                "S" => lines.push(Line::Server(bytes.repeat(times))),
                "E" => lines.extend(vec![Line::Event(text.to_string()); times]),
                _ => panic!("{name}: {line}"),
            }
        }
    }
    lines
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        match letter {
            '{' if rest.contains('*') && rest.contains('}') => {
                let (inside, behind) = rest.split_once('}').unwrap();
                let (times, what) = inside.split_once('*').unwrap();
                bytes.extend(unescape(what).repeat(times.parse().unwrap()));
                rest = behind;
            }
            '\\' => {
                let (letter, behind) = rest.split_at(1);
                rest = behind;
                match letter {
                    "r" => bytes.push(b'\r'),
                    "n" => bytes.push(b'\n'),
                    "0" => bytes.push(0),
                    "x" => {
                        bytes.push(u8::from_str_radix(&rest[..2], 16).unwrap());
                        rest = &rest[2..];
                    }
                    letter => bytes.extend_from_slice(letter.as_bytes()),
                }
            }
            letter => bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

fn find_reply(name: &str) -> Reply {
    match name {
        "ok" => Reply::OK,
        "sender-ok" => Reply::SENDER_OK,
        "recipient-ok" => Reply::RECIPIENT_OK,
        "go" => Reply::START_DATA,
        "no-room" => Reply::NO_ROOM,
        "local-error" => Reply::LOCAL_ERROR,
        "no-relaying" => Reply::NO_RELAYING,
        "no-such-user" => Reply::NO_SUCH_USER,
        "shutting-down" => Reply::SHUTTING_DOWN,
        "busy" => Reply::BUSY,
        "loop" => Reply::LOOP,
        name => panic!("no reply {name}"),
    }
}

/// The server machine with its owner, who says yes to all questions but for these words:
///
///     local               the peer is one of this machine
///     size N, recipients N, hostname TEXT    the terms
///     mail NAME, rcpt NAME, data NAME        the answer to the next such question (a queue each)
///     end NAME, end hold  the verdict on the next message, or none before `commit`
///     commit              the verdict on the held message: it is accepted
///     wait N              N seconds pass
///     dismiss NAME        this side ends the session
///
/// The first six stand at the beginning of a script, and are known before it is played.
struct Receiver {
    server: Server,
    terms: Terms<'static>,
    input: Buffer,
    out: Buffer,
    now: Instant,
    answers: [VecDeque<Reply>; 3],
    verdicts: VecDeque<Option<Reply>>,
    messages: u64,
    message: Vec<u8>,
    is_closed: bool,
    said: Vec<u8>,
    told: Vec<String>,
}

impl Receiver {
    fn new(script: &[Line]) -> Receiver {
        let mut receiver = Receiver {
            server: Server::new(script.contains(&Line::Owner("local".into()))),
            terms: Terms {
                hostname: "mx.example",
                size_max: 10_485_760,
                recipients_max: 100,
                command_timeout: Duration::from_secs(300),
                data_timeout: Duration::from_secs(180),
            },
            input: Buffer::new(INPUT_BYTES),
            out: Buffer::new(REPLIES_BYTES),
            now: Instant::from_millis(1_000_000),
            answers: Default::default(),
            verdicts: VecDeque::new(),
            messages: 0,
            message: Vec::new(),
            is_closed: false,
            said: Vec::new(),
            told: Vec::new(),
        };
        for line in script {
            let Line::Owner(words) = line else { continue };
            match words.split(' ').collect::<Vec<_>>()[..] {
                ["size", bytes] => receiver.terms.size_max = bytes.parse().unwrap(),
                ["recipients", count] => receiver.terms.recipients_max = count.parse().unwrap(),
                ["mail", name] => receiver.answers[0].push_back(find_reply(name)),
                ["rcpt", name] => receiver.answers[1].push_back(find_reply(name)),
                ["data", name] => receiver.answers[2].push_back(find_reply(name)),
                ["end", "hold"] => receiver.verdicts.push_back(None),
                ["end", name] => receiver.verdicts.push_back(Some(find_reply(name))),
                ["local"] | ["commit" | "wait" | "dismiss", ..] => (),
                _ => panic!("what is {words}?"),
            }
        }
        receiver.server.greet(&receiver.terms, &mut receiver.out, receiver.now);
        receiver
    }

    /// Steps until the machine waits, and replies were written out as often as it needed room.
    fn run(&mut self) {
        loop {
            let input = self.input.readable().to_vec();
            let (consumed, event) = self.server.step(&input, &mut self.out, &self.terms, self.now);
            self.server.check_invariants();
            self.input.consume(consumed);
            let is_closed = event == Event::Close;
            let is_waiting = event == Event::Wait && consumed == 0;
            self.handle(event);
            if is_closed || (is_waiting && self.out.is_empty()) {
                return;
            }
            if is_waiting {
                self.write();
            }
        }
    }

    fn write(&mut self) {
        self.said.extend_from_slice(self.out.readable());
        self.out.clear();
    }

    fn handle(&mut self, event: Event<'_>) {
        match event {
            Event::Wait | Event::Again => (),
            Event::Body(bytes) => self.message.extend_from_slice(bytes),
            Event::Hello { name, extended } => {
                let word = if extended { "EHLO" } else { "HELO" };
                self.told.push(format!("{word} {}", name.escape_ascii()));
            }
            Event::Mail { path, size, eight_bit } => {
                let path = match path {
                    ReversePath::Null => "",
                    ReversePath::Address(address) => address.as_str(),
                };
                let size = size.map_or(String::new(), |size| format!(" size={size}"));
                let eight_bit = if eight_bit { " 8bit" } else { "" };
                self.told.push(format!("MAIL <{path}>{size}{eight_bit}"));
                self.answer(0, Reply::SENDER_OK);
            }
            Event::Recipient(address) => {
                self.told.push(format!("RCPT <{}>", address.as_str()));
                self.answer(1, Reply::RECIPIENT_OK);
            }
            Event::Data => {
                self.told.push("DATA".into());
                self.answer(2, Reply::START_DATA);
            }
            Event::End { bare } => {
                let message = std::mem::take(&mut self.message);
                self.told
                    .push(format!("END {}", if bare { "bare".into() } else { show(&message) }));
                match self.verdicts.pop_front() {
                    None if bare => {
                        self.server.refused(Reply::BARE_IN_MESSAGE, &mut self.out, self.now)
                    }
                    None => self.accept(),
                    Some(None) => (),
                    Some(Some(reply)) => self.server.refused(reply, &mut self.out, self.now),
                }
            }
            Event::Reset => self.told.push("RESET".into()),
            Event::Close => self.close(),
        }
    }

    fn answer(&mut self, question: usize, usual: Reply) {
        let reply = self.answers[question].pop_front().unwrap_or(usual);
        self.server.answer(reply, &mut self.out, self.now);
    }

    fn accept(&mut self) {
        self.messages += 1;
        self.server.accepted(Base62(self.messages), &mut self.out, self.now);
    }

    fn close(&mut self) {
        self.write();
        if !self.is_closed {
            self.told.push("CLOSE".into());
            self.is_closed = true;
        }
    }
}

/// A message as a script shows it.
fn show(message: &[u8]) -> String {
    match message.len() {
        0 => "nothing".into(),
        1..=200 => message.escape_ascii().to_string(),
        len => format!("{len} bytes"),
    }
}

impl Player for Receiver {
    const HAPPENINGS: &[&str] = &["commit", "wait", "dismiss"];

    fn is_input(line: &Line) -> bool {
        matches!(line, Line::Client(_))
    }

    fn hear(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        loop {
            let room = self.input.space().min(rest.len());
            self.input.push(&rest[..room]).unwrap();
            rest = &rest[room..];
            self.run();
            if rest.is_empty() || self.is_closed {
                return;
            }
        }
    }

    fn live(&mut self, words: &[&str]) {
        match words {
            ["commit"] => self.accept(),
            ["wait", seconds] => {
                self.now = self.now + Duration::from_secs(seconds.parse().unwrap());
                let event = self.server.timed_out(&mut self.out, self.now);
                self.handle(event);
            }
            ["dismiss", name] => {
                if self.server.dismiss(find_reply(name), &mut self.out) {
                    self.close();
                }
            }
            words => panic!("what is {words:?}?"),
        }
    }

    fn take(&mut self) -> (Vec<u8>, Vec<String>) {
        self.write();
        (std::mem::take(&mut self.said), std::mem::take(&mut self.told))
    }
}

/// The client machine with its owner, who sends these mails one after the other, then leaves:
///
///     mail FROM TO,TO… TEXT               FROM may be <>
///     mail FROM SIZE 8bit TO,TO… TEXT     with that size declared, and 8-bit content
///     abandon FROM TO                     given up once it has been named
///     wait N                              N seconds pass
///     close                               the peer closes
///
/// Mails stand at the beginning of a script, and are known before it is played.
struct Sender {
    client: Client,
    terms: ClientTerms<'static>,
    mails: VecDeque<Mail>,
    mail: Option<Mail>,
    /// Recipients of `mail` that were named.
    asked: usize,
    input: Vec<u8>,
    out: Buffer,
    now: Instant,
    is_over: bool,
    said: Vec<u8>,
    told: Vec<String>,
}

struct Mail {
    from: String,
    size: Option<u64>,
    eight_bit: bool,
    to: Vec<String>,
    text: Vec<u8>,
    is_abandoned: bool,
}

impl Mail {
    fn read(words: &str) -> Option<Mail> {
        let (verb, rest) = words.split_once(' ')?;
        let words: Vec<&str> = rest.splitn(5, ' ').collect();
        let list = |to: &str| to.split(',').map(str::to_string).collect();
        let mail = |from: &str, to: &str, text: &str| Mail {
            from: from.to_string(),
            size: None,
            eight_bit: false,
            to: list(to),
            text: unescape(text),
            is_abandoned: false,
        };
        Some(match (verb, &words[..]) {
            ("mail", [from, size, "8bit", to, text]) => {
                Mail { size: size.parse().ok(), eight_bit: true, ..mail(from, to, text) }
            }
            ("mail", [from, to, ..]) => {
                let text = rest.splitn(3, ' ').nth(2).unwrap_or_default();
                mail(from, to, text)
            }
            ("abandon", [from, to]) => Mail { is_abandoned: true, ..mail(from, to, "") },
            _ => return None,
        })
    }
}

impl Sender {
    fn new(script: &[Line], mode: Mode) -> Sender {
        let mails = script.iter().filter_map(|line| match line {
            Line::Owner(words) => Mail::read(words),
            _ => None,
        });
        let room = if mode == Mode::Cramped { COMMAND_BYTES_MAX } else { 4096 };
        let mut sender = Sender {
            client: Client::new(),
            terms: ClientTerms {
                hostname: "relay.example",
                reply_timeout: Duration::from_secs(300),
            },
            mails: mails.collect(),
            mail: None,
            asked: 0,
            input: Vec::new(),
            out: Buffer::new(room),
            now: Instant::from_millis(1_000_000),
            is_over: false,
            said: Vec::new(),
            told: Vec::new(),
        };
        sender.client.start(&sender.terms, sender.now);
        sender
    }

    fn run(&mut self) {
        while !self.is_over {
            let (consumed, event) =
                self.client.step(&self.input, &mut self.out, &self.terms, self.now);
            self.client.check_invariants();
            self.input.drain(..consumed);
            let is_waiting = matches!(event, ClientEvent::Wait);
            self.handle(event);
            self.ask();
            if is_waiting && self.out.is_empty() {
                return;
            }
            if is_waiting {
                self.write();
            }
        }
    }

    fn write(&mut self) {
        self.said.extend_from_slice(self.out.readable());
        self.out.clear();
    }

    fn handle(&mut self, event: ClientEvent) {
        match &event {
            ClientEvent::Wait | ClientEvent::Again => return,
            ClientEvent::Greeted | ClientEvent::Ready => (),
            _ => self.told.push(format!("{event:?}")),
        }
        match event {
            ClientEvent::Greeted => {
                let size = self.client.size().map(|size| format!(" size={size}"));
                let eight_bit = self.client.eight_bit_mime().then_some(" 8bitmime");
                let pipelining = self.client.pipelining().then_some(" pipelining");
                self.told.push(format!(
                    "Greeted{}{}{}",
                    size.unwrap_or_default(),
                    eight_bit.unwrap_or_default(),
                    pipelining.unwrap_or_default()
                ));
                self.next();
            }
            ClientEvent::Ready => {
                self.told.push("Ready".into());
                self.next();
            }
            ClientEvent::Final(_) => self.next(),
            ClientEvent::Sender(reply) if reply.class() != 2 => {
                self.client.end_envelope(&mut self.out, self.now);
            }
            ClientEvent::Go => self.send_text(),
            ClientEvent::Bye | ClientEvent::Lost(..) => self.is_over = true,
            _ => (),
        }
    }

    /// Begins the next mail, or leaves. What is not ready will soon say so.
    fn next(&mut self) {
        self.write();
        self.mail = self.mails.pop_front();
        self.asked = 0;
        match &self.mail {
            _ if !self.client.is_ready() => (),
            Some(mail) => {
                let from = Address::parse(mail.from.as_bytes()).ok();
                let (size, eight_bit) = (mail.size, mail.eight_bit);
                self.client.begin_mail(&mut self.out, from, size, eight_bit, self.now);
            }
            None => self.client.quit(&mut self.out, self.now),
        }
    }

    fn ask(&mut self) {
        let Some(mail) = &self.mail else { return };
        while self.client.may_ask(&self.out) {
            match mail.to.get(self.asked) {
                Some(to) => {
                    let to = Address::parse(to.as_bytes()).unwrap();
                    self.client.ask_recipient(&mut self.out, to);
                    self.asked += 1;
                }
                None if mail.is_abandoned => self.client.reset(&mut self.out, self.now),
                None => self.client.end_envelope(&mut self.out, self.now),
            }
        }
    }

    fn send_text(&mut self) {
        let mut writer = DotWriter::new();
        let text = self.mail.as_ref().map(|mail| mail.text.clone()).unwrap_or_default();
        let mut rest = &text[..];
        while !rest.is_empty() {
            let (consumed, produced) = writer.push(rest, self.out.writable());
            self.out.produced(produced);
            rest = &rest[consumed..];
            self.write();
            self.client.progressed(self.now);
        }
        if text != b"never ends" {
            let produced = writer.finish(self.out.writable());
            self.out.produced(produced);
            self.client.end_data(self.now);
        }
    }
}

impl Player for Sender {
    const HAPPENINGS: &[&str] = &["wait", "close"];

    fn is_input(line: &Line) -> bool {
        matches!(line, Line::Server(_))
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.run();
    }

    fn live(&mut self, words: &[&str]) {
        match words {
            ["wait", seconds] => {
                self.now = self.now + Duration::from_secs(seconds.parse().unwrap());
                let event = self.client.timed_out(self.now);
                self.handle(event);
            }
            ["close"] => {
                let event = self.client.closed(self.now);
                self.handle(event);
            }
            words => panic!("what is {words:?}?"),
        }
    }

    fn take(&mut self) -> (Vec<u8>, Vec<String>) {
        self.write();
        (std::mem::take(&mut self.said), std::mem::take(&mut self.told))
    }
}
