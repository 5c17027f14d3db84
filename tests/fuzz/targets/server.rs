//! The receiving machine with an owner, who says yes to most things: everything that a peer can say
//! after connecting.

use super::{ALL_OFFERS, Cuts, assert_clean, assert_printable};
use mote::base::ascii::Base62;
use mote::base::buffer::Buffer;
use mote::base::time::Instant;
use mote::limits::{INPUT_BYTES, REPLIES_BYTES, REPLY_BYTES_MAX};
use mote::mail::address::ReversePath;
use mote::smtp::parameter::Body;
use mote::smtp::reply::Reply;
use mote::smtp::server::{Event, Server, Terms};
use std::time::Duration;

const TERMS: Terms<'static> = Terms {
    hostname: "mx.example",
    size_max: 100_000,
    recipients_max: 5,
    command_timeout: Duration::from_secs(300),
    data_timeout: Duration::from_secs(180),
    offers: ALL_OFFERS,
    lenient: false,
};

/// Takes the input for all that a peer says; what is said and told is the same, however it is cut.
pub(super) fn server(input: &[u8]) {
    let (cuts, text) = Cuts::read(input);
    for lenient in [false, true] {
        let terms = Terms { lenient, ..TERMS };
        let mut whole = Owner::new(cuts, terms);
        whole.hear_all(&[text]);
        let mut cut = Owner::new(cuts, terms);
        cut.hear_all(&{ cuts }.pieces(text));
        assert_eq!(whole.said.escape_ascii().to_string(), cut.said.escape_ascii().to_string());
        assert_eq!(whole.told, cut.told);
        whole.judge();
        // Time passes, and somebody else ends it: only that nothing breaks.
        let mut hurried = Owner::new(cuts, terms);
        hurried.is_hurried = true;
        hurried.hear_all(&{ cuts }.pieces(text));
        hurried.judge();
    }
}

struct Owner {
    server: Server,
    terms: Terms<'static>,
    input: Buffer,
    out: Buffer,
    now: Instant,
    chance: Cuts,
    is_hurried: bool,
    is_closed: bool,
    said: Vec<u8>,
    told: Vec<String>,
    message: Vec<u8>,
    /// Questions, and what the owner thinks that is open.
    messages: u64,
    recipients: Option<u8>,
    /// The message may hold a CR or LF on its own.
    is_binary: bool,
    /// It comes by DATA, and so in lines.
    is_data: bool,
}

impl Owner {
    fn new(chance: Cuts, terms: Terms<'static>) -> Owner {
        let mut owner = Owner {
            server: Server::new(false),
            terms,
            input: Buffer::new(INPUT_BYTES),
            out: Buffer::new(REPLIES_BYTES),
            now: Instant::from_millis(1000),
            chance,
            is_hurried: false,
            is_closed: false,
            said: Vec::new(),
            told: Vec::new(),
            message: Vec::new(),
            messages: 0,
            recipients: None,
            is_binary: false,
            is_data: false,
        };
        owner.server.greet(&owner.terms, &mut owner.out, owner.now);
        owner
    }

    fn hear_all(&mut self, pieces: &[&[u8]]) {
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() && !self.is_closed {
                let room = self.input.space().min(rest.len());
                assert!(room > 0, "the input is full, and nothing is taken of it");
                self.input.push(&rest[..room]).unwrap();
                rest = &rest[room..];
                self.run();
            }
            if self.is_hurried {
                self.hurry();
            }
        }
        // How much waits to be written depends on the cuts.
        self.write();
    }

    /// Minutes pass, or the daemon has enough of it.
    fn hurry(&mut self) {
        let chance = self.chance.chance();
        self.now = self.now + Duration::from_secs(u64::from(chance % 97));
        if let Event::Close = self.server.timed_out(&mut self.out, self.now) {
            self.close();
        }
        if chance.is_multiple_of(61) && self.server.dismiss(Reply::BUSY, &mut self.out) {
            self.close();
        }
    }

    fn close(&mut self) {
        self.write();
        self.is_closed = true;
        self.recipients = None;
        assert!(self.server.deadline().is_none());
    }

    fn run(&mut self) {
        let mut idle = 0;
        while !self.is_closed {
            let input = self.input.readable().to_vec();
            let (consumed, event) = self.server.step(&input, &mut self.out, &self.terms, self.now);
            self.server.check_invariants();
            assert!(consumed <= input.len());
            self.input.consume(consumed);
            let is_waiting = event == Event::Wait && consumed == 0;
            idle = if consumed == 0 { idle + 1 } else { 0 };
            assert!(idle < 4, "it goes on for ever without any input");
            self.handle(event);
            if is_waiting && self.out.space() >= REPLY_BYTES_MAX {
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
            Event::Wait | Event::Again => return,
            Event::Body(bytes) => {
                assert!(!bytes.is_empty() && self.recipients > Some(0));
                return self.message.extend_from_slice(bytes);
            }
            Event::Hello { name, .. } => {
                assert_printable(name);
                self.recipients = None;
            }
            Event::Mail { path, parameters } => {
                assert!(self.recipients.is_none() && parameters.size <= Some(TERMS.size_max));
                if let ReversePath::Address(address) = path {
                    assert_clean(address.as_str().as_bytes());
                }
                self.is_binary = parameters.body == Some(Body::BinaryMime);
                let reply = self.answer(Reply::SENDER_OK, Reply::NO_ROOM);
                self.recipients = (reply.code == 250).then_some(0);
                self.message.clear();
            }
            Event::Recipient { path, .. } => {
                assert_clean(path.as_str().as_bytes());
                assert!(self.recipients < Some(TERMS.recipients_max));
                let reply = self.answer(Reply::RECIPIENT_OK, Reply::NO_RELAYING);
                let count = self.recipients.as_mut().expect("a recipient without a sender");
                *count += u8::from(reply.code == 250);
            }
            Event::Data => {
                assert!(self.recipients > Some(0) && !self.is_binary);
                let reply = self.answer(Reply::START_DATA, Reply::LOCAL_ERROR);
                self.is_data = reply.code == 354;
            }
            Event::Chunk { .. } => {
                assert!(self.recipients > Some(0));
                self.answer(Reply::OK, Reply::NO_ROOM);
            }
            Event::Auth(_) => {
                assert!(self.recipients.is_none());
                match self.chance.chance() % 4 {
                    0 => self.server.answer(Reply::LOGGED_IN, &mut self.out, self.now),
                    1 => self.server.answer(Reply::LOGIN_FAILED, &mut self.out, self.now),
                    _ => self.server.challenge(b"more", &mut self.out, self.now),
                }
            }
            Event::Xclient(told) => {
                assert!(self.recipients.is_none());
                for text in [told.hello, told.login].into_iter().flatten() {
                    assert_printable(text.to_string().as_bytes());
                }
                self.server = self.server.anew(false, told.login.is_some());
                self.server.greet(&self.terms, &mut self.out, self.now);
            }
            Event::End { bare } => self.end(bare),
            Event::Reset => self.recipients = None,
            // No handshake follows here: whatever comes behind it came in the clear.
            Event::StartTls | Event::EarlyTls => assert!(self.recipients.is_none()),
            Event::Close => self.close(),
        }
        self.told.push(format!("{event:?}"));
    }

    fn answer(&mut self, yes: Reply, no: Reply) -> Reply {
        // Asked again, the same is answered, however the input was cut.
        let reply = if self.chance.chance().is_multiple_of(8) { no } else { yes };
        self.server.answer(reply, &mut self.out, self.now);
        reply
    }

    fn end(&mut self, bare: bool) {
        assert!(self.recipients > Some(0));
        let message = std::mem::take(&mut self.message);
        self.told.push(message.escape_ascii().to_string());
        // It parses nothing before the verdict (decisions 4).
        let stands = self.server.step(b"QUIT\r\n", &mut self.out, &self.terms, self.now);
        assert!(stands == (0, Event::Wait) && self.server.deadline().is_none());
        assert!(!self.server.dismiss(Reply::BUSY, &mut self.out));
        if bare {
            self.server.refused(Reply::BARE_IN_MESSAGE, &mut self.out, self.now);
        } else {
            let text = String::from_utf8_lossy(&message).replace("\r\n", "");
            assert!(self.is_binary || !text.contains(['\r', '\n']), "{text:?}");
            assert!(!self.is_data || message.is_empty() || message.ends_with(b"\r\n"));
            self.messages += 1;
            self.server.accepted(Base62(self.messages), &mut self.out, self.now);
        }
        (self.recipients, self.is_data) = (None, false);
    }

    /// What was said is replies and nothing else.
    fn judge(&mut self) {
        self.write();
        let said = &self.said[..];
        assert!(said.starts_with(b"220 mx.example ") && said.ends_with(b"\r\n"));
        let text = &said[..said.len() - 2];
        for line in String::from_utf8(text.to_vec()).unwrap().split("\r\n") {
            assert_printable(line.as_bytes());
            assert!((5..=510).contains(&line.len()) && matches!(&line[3..4], " " | "-"), "{line}");
            assert!(
                line[..3].parse::<u16>().is_ok_and(|code| (211..=555).contains(&code)),
                "{line}"
            );
        }
    }
}
