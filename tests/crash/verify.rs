//! What is asked of every recovered queue.

use super::disk::{Cut, Moment, SimDisk};
use super::model::{Drop, Judgement, Model, Presence, Seen, id_of};
use super::random::Random;
use mote::base::time::Instant;
use mote::queue::disk::{Block, new_block};
use mote::queue::reader::{ReadError, Reader};
use mote::queue::recovery::{Found, recover};
use mote::queue::{Queue, Ticket, all_recipients};

/// The most messages that wait for one commit.
pub const BATCH: usize = 8;
/// Cuts inside a recovery after a cut: so deep.
const DEPTH_MAX: u32 = 3;
/// When everything to the side of the schedule happens.
pub const NOW: Instant = Instant::from_millis(0);

/// What a queue shows.
#[derive(Default)]
pub struct Sight {
    /// Whole messages, by number.
    pub seen: Vec<Seen>,
    /// Those that cannot be read.
    pub damaged: Vec<Ticket>,
}

/// Counts points, and owns what judging them needs.
pub struct Judge {
    pub random: Random,
    pub points: u64,
    /// Folds everything that was seen: two runs that are the same have the same.
    pub trace: u64,
    pub cut: Cut,
    /// Running time that is known to be durable (I17).
    pub run_least: u64,
    buffer: Box<Block>,
}

impl Judge {
    pub fn new(random: Random, cut: Cut) -> Judge {
        Judge { random, points: 0, trace: 0, cut, run_least: 0, buffer: new_block() }
    }

    pub fn fork(&mut self) -> Random {
        Random::new(self.random.next())
    }

    /// Lists and reads everything that waits, and holds it against what was handed in.
    pub fn look(
        &mut self,
        queue: &Queue,
        disk: &mut SimDisk,
        model: &Model,
    ) -> Result<Sight, String> {
        let mut sight = Sight::default();
        let mut from = 0;
        while let Some(waiting) = queue.next_waiting(from) {
            let ticket = waiting.ticket;
            from = ticket.slot + 1;
            if !waiting.readable {
                if !waiting.damaged || !waiting.held {
                    return Err(format!("{ticket:?} cannot be read and is not held as damaged"));
                }
                sight.damaged.push(ticket);
                continue;
            }
            let seen = self.read(queue, disk, model, ticket)?;
            let Some((id, blocks)) = seen else {
                sight.damaged.push(ticket);
                continue;
            };
            let arrival_is_past = waiting.arrival <= queue.run(NOW);
            let bits = all_recipients(waiting.recipients);
            if !arrival_is_past || waiting.done & !bits != 0 || waiting.done == bits {
                return Err(format!("message {id} is not a thing that waits: {waiting:?}"));
            }
            let Some(message) = model.messages.get(&id) else {
                return Err(format!("message {id} is nobody's"));
            };
            // Memory may know that the file is gone.
            let drop = message.drop.and_then(|drop| model.drops.get(&drop));
            let may_import = drop.is_some();
            let must_import = drop.is_some_and(|drop| *drop != Drop::Gone);
            if waiting.recipients != message.recipients
                || (waiting.importing && !may_import)
                || (!waiting.importing && must_import)
            {
                return Err(format!("message {id} shows other recipients or flags"));
            }
            sight.seen.push(Seen {
                id,
                ticket,
                done: waiting.done,
                held: waiting.held,
                damaged: waiting.damaged,
                importing: waiting.importing,
                blocks,
            });
        }
        sight.seen.sort_unstable_by_key(|seen| seen.id);
        for seen in &sight.seen {
            let word = u64::from(seen.id) ^ seen.ticket.seq ^ seen.done as u64;
            self.trace = (self.trace ^ word).wrapping_mul(0x0100_0000_01B3).rotate_left(7);
        }
        if let Some(pair) = sight.seen.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(format!("message {} is there twice", pair[0].id));
        }
        if queue.messages() as usize != sight.seen.len() + sight.damaged.len() {
            return Err(format!("counts {} messages", queue.messages()));
        }
        Ok(sight)
    }

    /// Reads a message; none if it is damaged.
    pub fn read(
        &mut self,
        queue: &Queue,
        disk: &mut SimDisk,
        model: &Model,
        ticket: Ticket,
    ) -> Result<Option<(u32, u32)>, String> {
        let damage = |error| match error {
            ReadError::Damaged | ReadError::Disk => Ok(None),
            ReadError::Gone => Err(format!("{ticket:?} is gone while it is read")),
            ReadError::Unreadable => Err(format!("{ticket:?} has no envelope")),
        };
        let mut reader = match Reader::open(queue, disk, ticket, &mut self.buffer) {
            Ok(reader) => reader,
            Err(error) => return damage(error),
        };
        let mut known = None;
        let mut at = 0;
        loop {
            let part = match reader.next(queue, disk, &mut self.buffer) {
                Ok(Some(part)) => part,
                Ok(None) => break,
                Err(error) => return damage(error),
            };
            let (id, message) = match known {
                Some(known) => known,
                None => {
                    let found = id_of(part)
                        .and_then(|id| Some((id, model.messages.get(&id)?)))
                        .ok_or_else(|| format!("{ticket:?} is nobody's message"))?;
                    *known.insert(found)
                }
            };
            if message.stream.get(at..at + part.len()) != Some(part) {
                return Err(format!("message {id} reads otherwise from byte {at}"));
            }
            at += part.len();
        }
        let Some((id, message)) = known else { return Err(format!("{ticket:?} is empty")) };
        let header = reader.header();
        let envelope_len = header.envelope_len as usize;
        if at != message.stream.len() || envelope_len != message.envelope_len {
            return Err(format!("message {id} is not as long as it was"));
        }
        Ok(Some((id, header.count)))
    }

    /// Cuts the power at `moment`, recovers, and asks everything that is asked; then cuts inside
    /// that recovery too.
    pub fn point(&mut self, moment: &Moment, model: &Model, depth: u32) -> Result<(), String> {
        self.points += 1;
        let result = self.point_inside(moment, model, depth);
        result.map_err(|what| format!("cut {depth} deep: {what}"))
    }

    fn point_inside(&mut self, moment: &Moment, model: &Model, depth: u32) -> Result<(), String> {
        let cut = self.cut;
        let random = self.fork();
        if depth == 0 && self.random.chance(1, 12) {
            let disk = SimDisk::after_cut(moment, cut, random);
            return self.point_on_bad_medium(disk, model);
        }
        let mut disk = match depth < DEPTH_MAX && self.random.chance(1, 5) {
            true => SimDisk::after_kill(moment, random),
            false => SimDisk::after_cut(moment, cut, random),
        };
        let goes_deeper = depth < DEPTH_MAX && self.random.chance(2, 3);
        disk.is_recording = goes_deeper;
        let (queue, found) = open(&mut disk, NOW)?;
        disk.is_recording = false;
        let moments = disk.take_moments();
        let seen = self.sound(&queue, &mut disk, model, &found)?;
        self.has_aged(&queue)?;
        model.judge(&seen, false, &Judgement::default())?;
        if let Some(moment) = moments.get(self.random.below(moments.len().max(1))) {
            self.point(moment, model, depth + 1)?;
        }
        self.again_and_empty(queue, disk, model, &seen)
    }

    /// What is asked of a recovery of a medium that has not rotted.
    pub fn sound(
        &mut self,
        queue: &Queue,
        disk: &mut SimDisk,
        model: &Model,
        found: &Found,
    ) -> Result<Vec<Seen>, String> {
        if found.damaged != 0 || found.blind_groups != 0 {
            return Err(format!("false alarm: {found:?}"));
        }
        let Sight { seen, damaged } = self.look(queue, disk, model)?;
        if let Some(ticket) = damaged.first() {
            return Err(format!("{ticket:?} was kept by recovery and cannot be read"));
        }
        if found.messages as usize != seen.len() {
            return Err(format!("{found:?}, but {} are there", seen.len()));
        }
        if let Some(seen) = seen.iter().find(|seen| seen.damaged) {
            return Err(format!("message {} is called damaged", seen.id));
        }
        if queue.run(NOW) < self.run_least {
            return Err("running time went back (I17)".to_string());
        }
        space_adds_up(queue, &seen)?;
        Ok(seen)
    }

    /// A start counts for a minute at least, however often it is cut off (I17).
    pub fn has_aged(&self, queue: &Queue) -> Result<(), String> {
        let has_aged = queue.run(NOW) >= self.run_least + 60;
        if has_aged { Ok(()) } else { Err("a start that counts for nothing (I17)".to_string()) }
    }

    /// A second recovery changes nothing; with a good next hop the queue empties.
    fn again_and_empty(
        &mut self,
        queue: Queue,
        mut disk: SimDisk,
        model: &Model,
        seen: &[Seen],
    ) -> Result<(), String> {
        let before = queue.run(NOW);
        drop(queue);
        let (mut queue, found) =
            open(&mut disk, NOW).map_err(|what| format!("second recovery: {what}"))?;
        let again = self.sound(&queue, &mut disk, model, &found)?;
        if again != seen || found.dropped != 0 {
            return Err(format!("a second recovery changed something: {found:?}"));
        }
        if queue.run(NOW) < before + 60 {
            return Err("running time went back (I17)".to_string());
        }
        for seen in seen {
            queue.import_is_over(seen.ticket);
            if !queue.mark_done(seen.ticket, all_recipients(u8::MAX), NOW) {
                return Err(format!("message {} cannot be finished", seen.id));
            }
        }
        queue.hurry();
        queue.commit(&mut disk, NOW, |_, _| {});
        let (slots, free) = queue.space();
        if queue.messages() != 0 || free != slots || queue.next_waiting(0).is_some() {
            return Err(format!("the queue does not empty: {free} of {slots} slots are free"));
        }
        if self.random.chance(1, 8) {
            let (queue, found) = open(&mut disk, NOW)?;
            if queue.messages() != 0 || found.dropped != 0 {
                return Err(format!("what was finished came back: {found:?}"));
            }
        }
        disk.outrage.map_or(Ok(()), |what| Err(what.to_string()))
    }

    /// The same where the medium itself is bad: a bit flipped, or blocks that cannot be read.
    fn point_on_bad_medium(&mut self, disk: SimDisk, model: &Model) -> Result<(), String> {
        if self.random.chance(1, 2) {
            super::rot::one_bit(self, disk, model).map_err(|what| format!("a bit flipped: {what}"))
        } else {
            let result = super::rot::unreadable_for_once(self, disk, model);
            result.map_err(|what| format!("blocks unreadable for once: {what}"))
        }
    }
}

/// Recovers as at a start.
pub fn open(disk: &mut SimDisk, now: Instant) -> Result<(Queue, Found), String> {
    disk.reopen();
    let result = recover(disk, now, BATCH, None);
    let (queue, found) = result.map_err(|error| format!("the image does not open: {error:?}"))?;
    if let Some(what) = disk.outrage {
        return Err(what.to_string());
    }
    Ok((queue, found))
}

/// Live and free blocks are disjoint and complete.
pub fn space_adds_up(queue: &Queue, seen: &[Seen]) -> Result<(), String> {
    let held: u32 = seen.iter().map(|seen| seen.blocks).sum();
    let (slots, free) = queue.space();
    if held + free != slots {
        return Err(format!("{held} slots are held and {free} free, of {slots}"));
    }
    Ok(())
}

/// The message whose ticket this is.
pub fn owner(model: &Model, ticket: Ticket) -> Option<u32> {
    let mut messages = model.messages.iter();
    let found = messages.find(|(_, m)| m.ticket == Some(ticket) && m.presence != Presence::Draft);
    found.map(|(id, _)| *id)
}
