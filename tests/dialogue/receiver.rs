//! The server machine with its owner, who says yes to all questions but for these words:
//!
//!     local               the peer is one of this machine
//!     implicit            TLS begins with the first byte
//!     secured             TLS is on
//!     lenient             its range is lenient
//!     size N, recipients N                   the terms
//!     offer WORD …        extensions: starttls limits chunking binary utf8 dsn hold by auth
//!                         xclient;
//!                         auth-required, and auth-behind-tls, which is auth not yet
//!     mail NAME, rcpt NAME, data NAME, chunk NAME
//!                         the answer to the next such question (a queue each)
//!     auth NAME           the answer to the next step of a login, whatever it is
//!     end NAME, end hold  the verdict on the next message, or none before `commit`
//!     commit              the verdict on the held message: it is accepted
//!     wait N              N seconds pass
//!     dismiss NAME        this side ends the session
//!
//! One user may log in: `user`, with the password `pencil`. Inside TLS he may even if behind-tls.
//!
//! Those but for `secured`, `commit` and what follows it stand at the beginning of a script, and
//! are known before it is played.

use crate::Player;
use crate::login::{Login, show_auth};
use crate::script::Line;
use mote::base::ascii::Base62;
use mote::base::buffer::Buffer;
use mote::base::time::{Instant, UnixTime};
use mote::limits::{INPUT_BYTES, REPLIES_BYTES};
use mote::mail::address::ReversePath;
use mote::smtp::offer::{HoldMax, Offers};
use mote::smtp::parameter::{Body, Hold, MailParameters, RcptParameters};
use mote::smtp::reply::Reply;
use mote::smtp::sasl::server::OFFERED;
use mote::smtp::server::{Event, Server, Terms};
use mote::smtp::xclient::ToldClient;
use std::collections::VecDeque;
use std::time::Duration;

/// See the module's head.
pub(crate) struct Receiver {
    server: Server,
    terms: Terms<'static>,
    input: Buffer,
    out: Buffer,
    now: Instant,
    answers: [VecDeque<Reply>; 5],
    login: Login,
    verdicts: VecDeque<Option<Reply>>,
    messages: u64,
    message: Vec<u8>,
    is_closed: bool,
    said: Vec<u8>,
    told: Vec<String>,
}

impl Receiver {
    pub(crate) fn new(script: &[Line]) -> Receiver {
        let mut receiver = Receiver {
            server: Server::new(script.contains(&Line::Owner("local".into()))),
            terms: Terms {
                hostname: "mx.example",
                size_max: 10_485_760,
                recipients_max: 100,
                command_timeout: Duration::from_secs(300),
                data_timeout: Duration::from_secs(180),
                offers: Offers::BASIC,
                lenient: script.contains(&Line::Owner("lenient".into())),
            },
            input: Buffer::new(INPUT_BYTES),
            out: Buffer::new(REPLIES_BYTES),
            now: Instant::from_millis(1_000_000),
            answers: Default::default(),
            login: Login::new(),
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
                ["offer", ref words @ ..] => {
                    words.iter().for_each(|word| offer(&mut receiver.terms.offers, word));
                }
                ["mail", name] => receiver.answers[0].push_back(find_reply(name)),
                ["rcpt", name] => receiver.answers[1].push_back(find_reply(name)),
                ["data", name] => receiver.answers[2].push_back(find_reply(name)),
                ["chunk", name] => receiver.answers[3].push_back(find_reply(name)),
                ["auth", name] => receiver.answers[4].push_back(find_reply(name)),
                ["end", "hold"] => receiver.verdicts.push_back(None),
                ["end", name] => receiver.verdicts.push_back(Some(find_reply(name))),
                ["local" | "implicit" | "lenient"]
                | ["secured" | "commit" | "wait" | "dismiss", ..] => (),
                _ => panic!("what is {words}?"),
            }
        }
        let Receiver { server, terms, out, now, .. } = &mut receiver;
        match script.contains(&Line::Owner("implicit".into())) {
            true => server.await_tls(terms, *now),
            false => server.greet(terms, out, *now),
        }
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
            Event::Mail { path, parameters } => {
                let path = match path {
                    ReversePath::Null => "",
                    ReversePath::Address(address) => address.as_str(),
                };
                self.told.push(format!("MAIL <{path}>{}", show_mail(&parameters)));
                self.answer(0, Reply::SENDER_OK);
            }
            Event::Recipient { path, parameters } => {
                self.told.push(format!("RCPT <{}>{}", path.as_str(), show_rcpt(&parameters)));
                self.answer(1, Reply::RECIPIENT_OK);
            }
            Event::Xclient(told) => {
                self.told.push(show_client(&told));
                // Whoever was told of may not tell of others.
                self.terms.offers.xclient = told.address.is_none();
                self.server = self.server.anew(false, told.login.is_some());
                self.server.greet(&self.terms, &mut self.out, self.now);
            }
            Event::Chunk { bare } => {
                let bare = if bare { " bare" } else { "" };
                self.told.push(format!("CHUNK {}{bare}", self.message.len()));
                self.answer(3, Reply::CHUNK_OK);
            }
            Event::Auth(auth) => {
                self.told.push(show_auth(&auth));
                match (self.answers[4].pop_front(), self.login.step(auth)) {
                    (Some(reply), _) | (None, Err(reply)) => {
                        self.server.answer(reply, &mut self.out, self.now);
                    }
                    (None, Ok(raw)) => self.server.challenge(&raw, &mut self.out, self.now),
                }
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
            Event::Reset => {
                self.message.clear();
                self.told.push("RESET".into());
            }
            Event::StartTls => self.told.push("STARTTLS".into()),
            Event::EarlyTls => self.told.push("EARLYTLS".into()),
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

fn offer(offers: &mut Offers, word: &str) {
    match word {
        "starttls" => offers.starttls = true,
        "limits" => offers.limits = true,
        "chunking" => offers.chunking = true,
        "binary" => offers.binary = true,
        "utf8" => offers.utf8 = true,
        "auth" => offers.auth.mechanisms = OFFERED,
        "auth-behind-tls" => {
            offers.auth.mechanisms = OFFERED;
            offers.auth.needs_tls = true;
        }
        "auth-required" => offers.auth.is_required = true,
        "xclient" => offers.xclient = true,
        "dsn" => offers.dsn = true,
        "hold" => {
            let until = UnixTime { seconds: 1_900_000_000, trusted: true };
            offers.hold = Some(HoldMax { seconds: 604_800, until });
        }
        "by" => offers.deliver_by = Some(60),
        word => panic!("no extension {word}"),
    }
}

/// Whom a proxy speaks for.
fn show_client(told: &ToldClient<'_>) -> String {
    let address = told.address.map(|address| match address {
        Some(address) => format!(" {address}"),
        None => " nowhere".into(),
    });
    let port = told.port.map(|port| format!(" port={port}"));
    let hello = told.hello.map(|hello| format!(" hello={hello}"));
    let login = told.login.map(|login| format!(" login={login}"));
    let words = [address, port, hello, login].map(Option::unwrap_or_default);
    format!("XCLIENT{}", words.concat())
}

/// What is said of a message, as a script shows it.
fn show_mail(parameters: &MailParameters<'_>) -> String {
    let MailParameters { size, body, utf8, ret, envid, hold, by } = parameters;
    let body = body.as_ref().and_then(|body| match body {
        Body::SevenBit => None,
        Body::EightBitMime => Some(" 8bit".to_string()),
        Body::BinaryMime => Some(" binary".to_string()),
    });
    let hold = hold.map(|hold| match hold {
        Hold::For(seconds) => format!(" for={seconds}"),
        Hold::Until(time) => format!(" until={time}"),
    });
    let words = [
        size.map(|size| format!(" size={size}")),
        body,
        utf8.then(|| " utf8".to_string()),
        ret.map(|ret| format!(" ret={}", ret.word())),
        envid.map(|envid| format!(" envid={envid}")),
        hold,
        by.map(|by| format!(" by={by}")),
    ];
    words.into_iter().flatten().collect()
}

/// What is said of a recipient, as a script shows it.
fn show_rcpt(parameters: &RcptParameters<'_>) -> String {
    let RcptParameters { notify, orcpt } = parameters;
    let notify = notify.map(|notify| format!(" notify={notify}"));
    let orcpt = orcpt.map(|orcpt| format!(" orcpt={orcpt}"));
    [notify, orcpt].into_iter().flatten().collect()
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
    const HAPPENINGS: &[&str] = &["secured", "commit", "wait", "dismiss"];

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
            ["secured"] => {
                self.server.secured(&self.terms, &mut self.out, self.now);
            }
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

fn find_reply(name: &str) -> Reply {
    match name {
        "ok" => Reply::OK,
        "login-unavailable" => Reply::LOGIN_UNAVAILABLE,
        "too-many-logins" => Reply::TOO_MANY_LOGINS,
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
        "bare" => Reply::BARE_IN_MESSAGE,
        "too-big" => Reply::TOO_BIG,
        "too-soon" => Reply::TOO_SOON,
        "hold-too-long" => Reply::HOLD_TOO_LONG,
        name => panic!("no reply {name}"),
    }
}
