//! Finds out from outside, when all is over, whether every slot and every reserved block came back.

use super::net::{ConnId, Heard};
use super::world::World;
use core::net::{IpAddr, SocketAddr};
use mote::daemon::world::Peer;
use mote::queue::layout::PAYLOAD_BYTES;
use std::collections::VecDeque;

/// What the queue adds to a declared size for the envelope.
const ALLOWANCE: u64 = 1024;

/// Says one line after the other and knows the answer to each.
pub struct Surveyor {
    conn: ConnId,
    lines: VecDeque<(String, u16)>,
    expected: u16,
    inbox: String,
    pub is_satisfied: bool,
}

impl World {
    /// `lines` come after the greeting, each with its answer.
    fn survey(&mut self, stranger: bool, lines: Vec<(String, u16)>) {
        let last = self.rng.range(1, 250) as u8;
        let address = if stranger { [198, 51, 100, last] } else { [127, 0, 0, 1] };
        let peer = Peer::Tcp(SocketAddr::new(IpAddr::from(address), 1025));
        let actor = self.new_actor();
        let conn = self.knock(actor, 0, peer);
        let lines = lines.into();
        let inbox = String::new();
        let surveyor = Surveyor { conn, lines, expected: 220, inbox, is_satisfied: false };
        self.surveyors.insert(actor, surveyor);
    }

    /// As many strangers as there may be, at one time.
    pub fn survey_slots(&mut self, sessions: u16) {
        for _ in 0..sessions {
            self.survey(true, Vec::new());
        }
    }

    /// The largest mail that there must be room for, and one byte more.
    pub fn survey_space(&mut self, stranger: bool, slots: u32, free: u32) {
        let kept = free.saturating_sub((slots / 16).max(4));
        let capacity = slots - (slots / 16).max(4);
        let capacity = if stranger { capacity / 2 } else { capacity };
        let blocks = if stranger { kept.min(free / 2).min(capacity) } else { kept };
        if blocks > 0 {
            let size = u64::from(blocks) * PAYLOAD_BYTES as u64 - ALLOWANCE;
            let too_much = if blocks < capacity { 452 } else { 552 };
            let mail = |size: u64| format!("MAIL FROM:<> SIZE={size}\r\n");
            self.survey(
                stranger,
                vec![
                    ("EHLO sim.example\r\n".to_owned(), 250),
                    (mail(size + 1), too_much),
                    (mail(size), 250),
                    ("RSET\r\n".to_owned(), 250),
                    (mail(size), 250),
                    ("QUIT\r\n".to_owned(), 221),
                ],
            );
        }
    }
}

impl Surveyor {
    /// False: it is gone.
    pub fn hears(&mut self, heard: Heard, world: &mut World) -> bool {
        let Heard::Bytes(bytes) = heard else { return self.is_satisfied };
        self.inbox.push_str(std::str::from_utf8(&bytes).unwrap());
        while let Some((line, rest)) = self.inbox.split_once("\r\n") {
            let (line, rest) = (line.to_owned(), rest.to_owned());
            self.inbox = rest;
            if line.as_bytes().get(3) == Some(&b'-') {
                continue;
            }
            let expected = self.expected.to_string();
            assert!(line.starts_with(&expected), "not {expected} but {line:?}: what is missing?");
            let Some((next, answer)) = self.lines.pop_front() else {
                self.is_satisfied = true;
                return true;
            };
            self.expected = answer;
            world.say(self.conn, next.as_bytes());
        }
        true
    }
}
