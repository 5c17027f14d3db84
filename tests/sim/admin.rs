//! The administrator at the control socket.

use super::net::{ConnId, Heard};
use super::world::{Happening, World, note};
use mote::daemon::world::Peer;

/// How long an answer may take.
const PATIENCE: u64 = 90_000;
const CONTROL: u8 = 2;

pub struct Admin {
    conn: ConnId,
    actor: u32,
    answer: Vec<u8>,
    is_rude: bool,
    /// It has been found waiting outside once.
    is_outside: bool,
}

impl World {
    /// One request; `text` without its end.
    pub fn administer(&mut self, text: &str, is_rude: bool) {
        let actor = self.new_actor();
        let conn = self.knock(actor, CONTROL, Peer::Unix { uid: 0 });
        note(|| format!("{:>10} admin #{conn}: {text:?}", self.now));
        self.say(conn, text.as_bytes());
        if is_rude {
            match self.rng.below(3) {
                0 => self.tear(conn),
                1 => self.mute(conn),
                _ => self.hang_up(conn, false),
            }
        } else {
            self.say(conn, b"\n");
        }
        let admin = Admin { conn, actor, answer: Vec::new(), is_rude, is_outside: false };
        self.plan(PATIENCE, Happening::Wake(actor, 0));
        self.admins.insert(actor, admin);
    }

    /// Somebody looks after the queue.
    pub fn draw_request(&mut self) {
        let taken: Vec<u32> = self.shadow.queue_ids.keys().copied().collect();
        let any = if taken.is_empty() { None } else { Some(self.rng.pick(&taken)) };
        let id = any.and_then(|mail| self.shadow.queue_ids.get(&mail).cloned());
        let id = id.unwrap_or_else(|| "4gf".to_owned());
        let is_rude = self.rng.permille(200);
        let text = match self.rng.below(12) {
            0..3 => "status".to_owned(),
            3 | 4 => "ls".to_owned(),
            5 => "flush".to_owned(),
            6 => "hold all".to_owned(),
            7 | 8 => "release all".to_owned(),
            9 => format!("show {id}"),
            10 if !is_rude => {
                if let Some(mail) = any {
                    self.shadow.mail(mail).removed = true;
                }
                format!("rm {id}")
            }
            10 => "rm".to_owned(),
            _ => "A".repeat(self.rng.range(1, 900) as usize),
        };
        self.administer(&text, is_rude);
    }
}

impl Admin {
    /// False: it is gone.
    pub fn hears(&mut self, heard: Heard, world: &mut World) -> bool {
        match heard {
            Heard::Connected(_) => true,
            Heard::Bytes(bytes) => {
                self.answer.extend(bytes);
                true
            }
            Heard::Closed => {
                let text = String::from_utf8_lossy(&self.answer);
                for line in text.split_inclusive('\n') {
                    assert!(line.starts_with('{'), "not an answer: {line:?}");
                }
                false
            }
            Heard::Wake(_) => {
                let is_stuck = world.is_daemons_turn(self.conn, PATIENCE - 30_000);
                assert!(!is_stuck || self.is_rude, "admin #{} is not answered", self.conn);
                let was_outside = self.is_outside;
                self.is_outside =
                    world.weather.accept_exhausted == 0 && world.is_outside(self.conn);
                let is_left_out = was_outside && self.is_outside;
                assert!(!is_left_out, "admin #{} is left outside", self.conn);
                if self.is_outside {
                    world.plan(PATIENCE, Happening::Wake(self.actor, 0));
                    return true;
                }
                world.tear(self.conn);
                false
            }
        }
    }
}
