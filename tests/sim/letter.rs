//! Mails of every shape, each with its number written all over it.

use super::rng::Rng;
use super::shadow::{Place, Recipient};
use super::world::World;

/// A mail as a client has it.
pub struct Letter {
    pub id: u32,
    /// Without its end, dots not doubled.
    pub text: Vec<u8>,
    pub sender: String,
    pub recipients: Vec<String>,
    /// A CR or LF stands alone in it.
    pub is_bare: bool,
}

/// Who sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum From {
    Client,
    Stranger,
    /// A local program, whose Bcc fields are taken out.
    Program,
}

/// What a run's mails are like.
#[derive(Clone, Copy, Debug)]
pub struct Taste {
    pub recipients_max: u64,
    pub bytes_max: u64,
    pub odd: bool,
}

impl Letter {
    pub fn draw(world: &mut World, from: From, taste: Taste) -> Letter {
        let id = world.shadow.next();
        let rng = &mut world.rng;
        let sender = match rng.below(20) {
            0 if taste.odd => String::new(),
            1..6 => format!("s.m{id}@hub.test"),
            6..9 => format!("s.m{id}@two.test"),
            9..13 => format!("s.m{id}@box.test"),
            13..16 => format!("s.m{id}@mote.test"),
            _ => format!("s.m{id}"),
        };
        let many = taste.odd && rng.permille(30);
        let count = if many { rng.range(90, 118) } else { rng.range(1, taste.recipients_max) };
        let recipients = (0..count).map(|number| address(rng, from, number, id)).collect();
        let (text, has_header, bcc) = draw_text(rng, from, id, taste);
        let mut expected = text.clone();
        if from == From::Program && has_header {
            for line in bcc {
                let at = expected.windows(line.len()).position(|window| window == line).unwrap();
                expected.drain(at..at + line.len());
            }
        }
        let is_bare = taste.odd && from != From::Program && rng.permille(15);
        let recipients: Vec<Recipient> = recipients;
        let names = recipients.iter().map(|recipient| recipient.address.clone()).collect();
        let added = world.shadow.add(&sender, expected, has_header);
        assert_eq!(added, id);
        let mail = world.shadow.mail(id);
        mail.recipients = recipients;
        mail.is_stranger = from == From::Stranger;
        Letter { id, text, sender, recipients: names, is_bare }
    }

    /// As it goes over the wire, dots doubled and with its end.
    pub fn wire(&self) -> Vec<u8> {
        let mut wire = Vec::new();
        for line in self.text.split_inclusive(|byte| *byte == b'\n') {
            if line.starts_with(b".") {
                wire.push(b'.');
            }
            wire.extend_from_slice(line);
        }
        if self.is_bare {
            wire.extend_from_slice(b"bare\n.\nline\r\n");
        }
        wire.extend_from_slice(b".\r\n");
        wire
    }
}

fn address(rng: &mut Rng, from: From, number: u64, id: u32) -> Recipient {
    let kind = match rng.below(20) {
        _ if from == From::Stranger => 13,
        // Held for ever: too many of them would fill the queue.
        17 if id % 64 > 1 => 0,
        kind => kind,
    };
    let (place, domain) = match kind {
        0..7 => (Place::Relay, "@hub.test"),
        7..11 => (Place::Relay, "@two.test"),
        11 | 12 => (Place::Box, "@box.test"),
        13 => (Place::Local, "@mote.test"),
        14..17 => (Place::Local, ""),
        17 => (Place::Hold, "@hold.test"),
        18 => (Place::Discard, "@gone.test"),
        _ => (Place::Relay, "@nowhere.test"),
    };
    Recipient::new(place, format!("r{number}.m{id}{domain}"))
}

fn draw_text(
    rng: &mut Rng,
    from: From,
    id: u32,
    taste: Taste,
) -> (Vec<u8>, bool, Vec<&'static [u8]>) {
    let mut text = Vec::new();
    let mut bcc: Vec<&[u8]> = Vec::new();
    let has_header = !(taste.odd && rng.permille(60));
    if has_header {
        if rng.permille(700) {
            text.extend_from_slice(b"From: somebody@example.net\r\n");
        }
        if rng.permille(300) {
            text.extend_from_slice(b"Date: Fri, 15 Jan 2027 08:00:00 +0000\r\n");
        }
        text.extend_from_slice(format!("Subject: sim-id-{id}-\r\n").as_bytes());
        if from == From::Program && rng.permille(300) {
            bcc.push(b"Bcc: secret@example.net,\r\n\tother@example.net\r\n");
            text.extend_from_slice(bcc[0]);
        }
        if rng.permille(300) {
            text.extend_from_slice(b"X-Folded: one\r\n two\r\n");
        }
        text.extend_from_slice(b"\r\n");
    } else {
        text.extend_from_slice(format!("sim-id-{id}- without a header\r\n").as_bytes());
    }
    let size = match rng.below(12) {
        0 => 0,
        1 if taste.odd => rng.range(0, taste.bytes_max),
        2 => rng.range(3800, 4300),
        _ => rng.range(1, 2500.min(taste.bytes_max)),
    };
    while (text.len() as u64) < size {
        match rng.below(8) {
            0 => text.extend_from_slice(b".\r\n"),
            1 => text.extend_from_slice(b"..dots\r\n"),
            2 => text.extend_from_slice(b"\r\n"),
            3 => text.extend_from_slice("Grüße aus Köln\r\n".as_bytes()),
            4 => {
                let count = rng.range(1, 990) as usize;
                text.extend(std::iter::repeat_n(b'x', count));
                text.extend_from_slice(b"\r\n");
            }
            _ => text.extend_from_slice(format!("line {} of mail {id}\r\n", rng.next()).as_bytes()),
        }
    }
    (text, has_header, bcc)
}
