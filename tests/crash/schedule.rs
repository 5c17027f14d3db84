//! A seeded life of a queue: several drafts open at once, commits, deliveries, reports, imports, an
//! administrator, failing disks, power cuts; and at every write and sync of it a cut to the side.
//!
//! Plays the daemon by its rules: nothing is acknowledged without a receipt, a report is committed
//! before its original is marked, a drop file is removed after its message is committed. [`Sins`]
//! are those rules broken on purpose.
//!
//! Size: every step reads and writes the same few fields, the queue's and the model's side by side.

use super::disk::{Cut, SimDisk};
use super::model::{Drop, Judgement, Model, Presence, Seen, drop_name};
use super::random::Random;
use super::verify::{BATCH, Judge, open, owner, space_adds_up};
use mote::base::time::Instant;
use mote::queue::block::{Header, State};
use mote::queue::disk::{Block, new_block};
use mote::queue::draft::{Draft, Origin, QueueError, Summary};
use mote::queue::envelope::Record;
use mote::queue::recovery::{format, recover, recover_to_edit};
use mote::queue::{NotDurable, Queue, Receipt, Ticket, all_recipients, layout};
use std::collections::BTreeSet;
use std::time::Duration;

/// Rules of the daemon to break.
#[derive(Clone, Copy, Default)]
pub struct Sins {
    /// The original is marked when its report is finished, not when that is committed.
    pub done_before_report: bool,
    /// The drop file is removed when its message is finished, not when that is committed.
    pub unlink_before_commit: bool,
    /// An imported message is attempted while its file may come back.
    pub attempt_before_unlink: bool,
}

/// Steps of one life.
const STEPS: usize = 160;

struct Open {
    draft: Draft,
    buffer: Box<Block>,
    id: u32,
    at: usize,
    purpose: Purpose,
}

#[derive(Clone, Copy)]
enum Purpose {
    Mail,
    Report { original: u32, bits: u128 },
    Import { drop: u32 },
}

struct Waiting {
    id: u32,
    purpose: Purpose,
}

/// See the module's head.
pub struct Schedule {
    random: Random,
    judge: Judge,
    disk: SimDisk,
    queue: Queue,
    model: Model,
    open: Vec<Open>,
    batch: Vec<Waiting>,
    now: Instant,
    /// Mostly messages of one block.
    short: bool,
    sins: Sins,
    /// Marks that wait, as I16 counts them: how many, since when, whether someone is in a hurry.
    notes: usize,
    since: Instant,
    hurry: bool,
    /// Since the marks were last durable a write has failed: when they are due is not foreseen.
    writes_failed: bool,
    refreshed: Instant,
    /// Drop files whose message somebody has got.
    attempted: BTreeSet<u32>,
    drops: u32,
    pub step: usize,
}

impl Schedule {
    pub fn new(seed: u64, sins: Sins) -> Schedule {
        let mut random = Random::new(seed);
        // Half of the seeds are biased towards what finds most.
        let is_biased = random.chance(1, 2);
        let blocks = match random.below(16) {
            0 => 174 + random.below(24),
            1..=8 if is_biased => 14 + random.below(26),
            _ => 32 + random.below(65),
        };
        let cut = Cut { torn: if is_biased { 6 } else { 4 } };
        let mut disk = SimDisk::new(SimDisk::zeros(blocks), Random::new(random.next()));
        let key = core::array::from_fn(|_| random.next() as u8);
        format(&mut disk, key, 0).expect("a good disk");
        let now = Instant::from_millis(1_000_000);
        let (queue, _) = recover(&mut disk, now, BATCH, None).expect("a fresh image");
        disk.is_recording = true;
        let judge = Judge::new(Random::new(random.next()), cut);
        Schedule {
            judge,
            disk,
            queue,
            model: Model::default(),
            open: Vec::new(),
            batch: Vec::new(),
            now,
            short: is_biased,
            sins,
            notes: 0,
            since: now,
            hurry: false,
            writes_failed: false,
            refreshed: now,
            attempted: BTreeSet::new(),
            drops: 0,
            step: 0,
            random,
        }
    }

    pub fn points(&self) -> u64 {
        self.judge.points
    }

    pub fn trace(&self) -> u64 {
        self.judge.trace
    }

    /// Lives, until `points_max` cuts have been made.
    pub fn run(&mut self, points_max: u64) -> Result<(), String> {
        while self.step < STEPS && self.points() < points_max {
            self.step += 1;
            self.one_step()?;
            #[cfg(debug_assertions)]
            self.queue.check_invariants();
            if self.queue.is_broken() {
                self.live_broken()?;
            }
        }
        Ok(())
    }

    fn one_step(&mut self) -> Result<(), String> {
        if std::env::var("TRACE").is_ok() {
            eprintln!(
                "step {} queue {:?} space {:?} batch {} open {:?} notes {}",
                self.step,
                self.queue.counters(),
                self.queue.space(),
                self.batch.len(),
                self.open.iter().map(|o| o.id).collect::<Vec<_>>(),
                self.notes
            );
            for (id, m) in &self.model.messages {
                eprintln!(
                    "   {id}: {:?} {:?} done {:x}/{:x} of {} held {}/{} rem {}/{} refused {}",
                    m.presence,
                    m.ticket,
                    m.done.durable,
                    m.done.asked,
                    m.recipients,
                    m.held.durable,
                    m.held.asked,
                    m.removed.durable,
                    m.removed.asked,
                    m.is_refused
                );
            }
        }
        match self.random.below(100) {
            0..16 => self.begin(),
            16..30 => self.append(),
            30..45 => self.finish(),
            45..48 => self.abandon(),
            48..63 => self.commit(),
            63..76 => self.deliver(),
            76..79 => self.report(),
            79..83 => self.administer(),
            83..86 => self.import(),
            86..89 => self.tidy_drops(),
            89..91 => self.pass_time(),
            91..95 => self.arm_faults(),
            95..97 => self.kill().map_err(|what| format!("after a kill: {what}")),
            _ => self.cut().map_err(|what| format!("after a cut: {what}")),
        }
    }

    /// Judges a cut at every write and sync since the last call.
    fn judge_points(&mut self) -> Result<(), String> {
        for moment in self.disk.take_moments() {
            self.judge.point(&moment, &self.model, 0)?;
        }
        self.disk.outrage.map_or(Ok(()), |what| Err(what.to_string()))
    }

    fn begin(&mut self) -> Result<(), String> {
        let random = &mut self.random;
        let len = match random.below(if self.short { 10 } else { 8 }) {
            0 if random.chance(1, 6) => random.below(64 * 3968),
            0 => 8_000 + random.below(60_000),
            1..=2 => 3_000 + random.below(14_000),
            _ => 1 + random.below(2_500),
        };
        let origin = match random.below(4) {
            0 => Origin::Stranger,
            _ => Origin::Client,
        };
        self.begin_as(len, origin, Purpose::Mail)
    }

    fn begin_as(&mut self, len: usize, origin: Origin, purpose: Purpose) -> Result<(), String> {
        if self.open.len() >= 5 {
            return Ok(());
        }
        let drop = match purpose {
            Purpose::Import { drop } => Some(drop),
            _ => None,
        };
        let recipients = match self.random.below(12) {
            0 => 112,
            1..=5 => 1,
            _ => 2 + self.random.below(3),
        } as u8;
        let id = self.model.compose(len, recipients, drop, &mut self.random);
        let declared = self.random.chance(1, 2).then_some(len as u64);
        let mut buffer = new_block();
        self.disk.take_write_failed();
        let made = self.queue.begin(&mut self.disk, origin, declared).and_then(|mut draft| {
            let Schedule { queue, disk, .. } = self;
            let mut record =
                |record: Record<'_>| queue.record(disk, &mut draft, &mut buffer, &record);
            let result = write_envelope(id, recipients, drop, &mut record);
            match result {
                Ok(()) => Ok(draft),
                Err(error) => {
                    queue.abandon(draft);
                    Err(error)
                }
            }
        });
        self.judge_points()?;
        match made {
            Ok(draft) => {
                let at = self.model.get(id).envelope_len;
                self.open.push(Open { draft, buffer, id, at, purpose });
            }
            Err(error) => {
                self.model.messages.remove(&id);
                if error == QueueError::Full
                    && origin != Origin::Stranger
                    && !self.disk.has_write_failed()
                {
                    self.full_is_true(len)?;
                }
            }
        }
        self.note_space_was_made();
        Ok(())
    }

    /// Full is only said when it is true (I15, I16).
    fn full_is_true(&self, len: usize) -> Result<(), String> {
        let (slots, free) = self.queue.space();
        let open = self.open.len() as u32 * 66;
        let wanted = len as u32 / 3968 + 3 + slots / 16 + 4 + open;
        if free > wanted { Err(format!("full, with {free} free for {wanted}")) } else { Ok(()) }
    }

    /// Allocation may have made the marks durable.
    fn note_space_was_made(&mut self) {
        self.writes_failed |= self.disk.has_write_failed();
        if !self.queue.is_broken() && !self.queue.has_marks_waiting() {
            self.model.settle();
            (self.notes, self.hurry) = (0, false);
            self.writes_failed = false;
        }
    }

    fn append(&mut self) -> Result<(), String> {
        if self.open.is_empty() {
            return self.begin();
        }
        let which = self.random.below(self.open.len());
        let count = 1 + self.random.below(9_000);
        self.append_to(which, count).map(|_| ())
    }

    /// False: it failed, and is abandoned.
    fn append_to(&mut self, which: usize, count: usize) -> Result<bool, String> {
        let Open { draft, buffer, id, at, .. } = &mut self.open[which];
        let stream = self.model.get(*id).stream.clone();
        let end = stream.len().min(at.saturating_add(count));
        let bytes = &stream[*at..end];
        let result = self.queue.append(&mut self.disk, draft, buffer, bytes);
        *at = end;
        self.judge_points()?;
        self.note_space_was_made();
        if result.is_err() {
            let open = self.open.swap_remove(which);
            self.queue.abandon(open.draft);
            self.model.messages.remove(&open.id);
        }
        Ok(result.is_ok())
    }

    fn finish(&mut self) -> Result<(), String> {
        if self.open.is_empty() {
            return self.begin();
        }
        let which = self.random.below(self.open.len());
        if !self.append_to(which, usize::MAX)? {
            return Ok(());
        }
        if self.batch.len() == BATCH {
            self.commit()?;
            if self.queue.is_broken() {
                return Ok(());
            }
        }
        let Open { draft, mut buffer, id, purpose, .. } = self.open.swap_remove(which);
        let flags = match purpose {
            Purpose::Mail => 0,
            Purpose::Report { .. } => Header::REPORT,
            Purpose::Import { .. } => Header::IMPORTED,
        };
        let summary = Summary { flags, ..Summary::default() };
        self.model.get(id).presence = Presence::Maybe;
        let Schedule { queue, disk, now, .. } = self;
        let result = queue.finish(disk, draft, &mut buffer, id, summary, *now);
        self.judge_points()?;
        match result {
            Ok(ticket) => {
                self.model.get(id).ticket = Some(ticket);
                self.batch.push(Waiting { id, purpose });
                self.sin_at_finish(purpose);
            }
            Err(_) => {
                // It may have landed, until it is dead on disk.
                self.model.get(id).is_refused = true;
                self.note(true);
            }
        }
        Ok(())
    }

    fn sin_at_finish(&mut self, purpose: Purpose) {
        match purpose {
            Purpose::Report { original, bits } if self.sins.done_before_report => {
                if let Some(ticket) = self.model.messages.get(&original).and_then(|m| m.ticket) {
                    self.queue.mark_done(ticket, bits, self.now);
                    self.queue.hurry();
                }
            }
            Purpose::Import { drop } if self.sins.unlink_before_commit => {
                self.model.drops.insert(drop, Drop::Unlinked);
            }
            _ => {}
        }
    }

    fn abandon(&mut self) -> Result<(), String> {
        if !self.open.is_empty() {
            let which = self.random.below(self.open.len());
            let open = self.open.swap_remove(which);
            self.queue.abandon(open.draft);
            self.model.messages.remove(&open.id);
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), String> {
        let before = self.queue.counters();
        self.disk.take_write_failed();
        let waits = Duration::from_secs(5);
        let is_due = self.notes > 0
            && (self.hurry
                || (!self.batch.is_empty() && self.notes >= 16)
                || self.now >= self.since + waits);
        let is_hour = self.now.since(self.refreshed) >= Duration::from_secs(3600);
        let mut answers: Vec<(u32, Result<Receipt, NotDurable>)> = Vec::new();
        let Schedule { queue, disk, now, .. } = self;
        queue.commit(disk, *now, |owner, answer| answers.push((owner, answer)));
        self.judge_points()?;
        let after = self.queue.counters();
        let groups = layout::groups_for(self.queue.space().0);
        let writes_max = if is_due { groups } else { 0 } + u32::from(is_hour);
        self.writes_failed |= self.disk.has_write_failed();
        if after.writes - before.writes > writes_max.into() && !self.writes_failed {
            let (notes, hurry, batch) = (self.notes, self.hurry, self.batch.len());
            return Err(format!(
                "a commit wrote more than its bound (I16): {before:?}, {after:?}, {notes} notes, \
                 hurry {hurry}, batch of {batch}"
            ));
        }
        let must_sync = !self.batch.is_empty() || is_due;
        let may_differ = self.queue.is_broken() || self.writes_failed;
        if !may_differ && after.syncs - before.syncs > u64::from(must_sync || is_hour) {
            return Err("a commit synced more than once (I1)".to_string());
        }
        let expected: Vec<u32> = self.batch.iter().map(|waiting| waiting.id).collect();
        let answered: Vec<u32> = answers.iter().map(|(owner, _)| *owner).collect();
        if expected != answered {
            return Err(format!("{expected:?} waited, {answered:?} were answered"));
        }
        if is_due && !may_differ && self.queue.has_marks_waiting() {
            return Err("marks that were due still wait (I16)".to_string());
        }
        self.note_space_was_made();
        if is_hour && after.syncs > before.syncs && !self.queue.is_broken() {
            self.refreshed = self.now;
            if !self.disk.has_write_failed() {
                self.judge.run_least = self.queue.run(self.now);
            }
        }
        for (waiting, (_, answer)) in std::mem::take(&mut self.batch).into_iter().zip(answers) {
            match answer {
                Ok(receipt) => self.committed(waiting, receipt)?,
                Err(NotDurable) if self.queue.is_broken() => {
                    self.model.get(waiting.id).is_refused = true;
                }
                Err(NotDurable) => return Err("refused, and not broken".to_string()),
            }
        }
        Ok(())
    }

    fn committed(&mut self, waiting: Waiting, receipt: Receipt) -> Result<(), String> {
        let message = self.model.get(waiting.id);
        if message.ticket != Some(receipt.ticket()) {
            return Err(format!("message {} got somebody else's receipt", waiting.id));
        }
        message.presence = Presence::There;
        match waiting.purpose {
            Purpose::Mail => {}
            Purpose::Report { original, bits } => self.mark_done(original, bits),
            Purpose::Import { drop } => {
                self.model.drops.insert(drop, Drop::Unlinked);
            }
        }
        Ok(())
    }

    /// Tells queue and model that `bits` of message `id` need nothing more.
    fn mark_done(&mut self, id: u32, bits: u128) {
        let Some(message) = self.model.messages.get_mut(&id) else { return };
        let Some(ticket) = message.ticket.filter(|_| message.presence == Presence::There) else {
            return;
        };
        if self.queue.mark_done(ticket, bits, self.now) {
            message.done.asked |= bits & all_recipients(message.recipients);
            self.note(false);
        }
    }

    fn note(&mut self, hurry: bool) {
        if self.notes == 0 {
            self.since = self.now;
        }
        self.notes += 1;
        self.hurry |= hurry;
    }

    /// A message that exists and has something left to be done.
    fn pick(&mut self) -> Option<(u32, Ticket)> {
        let alive: Vec<(u32, Ticket)> = self
            .model
            .messages
            .iter()
            .filter(|(_, m)| m.presence == Presence::There && !m.may_be_over())
            .filter_map(|(id, m)| Some((*id, m.ticket?)))
            .collect();
        (!alive.is_empty()).then(|| alive[self.random.below(alive.len())])
    }

    /// Reads a message out and marks some of its recipients, or all.
    fn deliver(&mut self) -> Result<(), String> {
        for _ in 0..=self.random.below(4) {
            let Some((id, ticket)) = self.pick() else { return self.commit() };
            let Some(waiting) = self.queue.waiting(ticket) else {
                return Err(format!("message {id} is gone while the queue is open"));
            };
            if waiting.held || (waiting.importing && !self.sins.attempt_before_unlink) {
                continue;
            }
            let Schedule { queue, disk, model, judge, .. } = self;
            if judge.read(queue, disk, model, ticket)?.is_none_or(|(read, _)| read != id) {
                return Err(format!("message {id} cannot be read"));
            }
            self.attempted.extend(self.model.get(id).drop);
            let all = all_recipients(waiting.recipients);
            let bits = match self.random.below(3) {
                0 => self.some_of(all),
                _ => all,
            };
            self.mark_done(id, bits);
        }
        Ok(())
    }

    fn some_of(&mut self, all: u128) -> u128 {
        let bits = u128::from(self.random.next()) << 64 | u128::from(self.random.next());
        bits & all
    }

    /// Begins the report of a failure.
    fn report(&mut self) -> Result<(), String> {
        let Some((original, _)) = self.pick() else { return self.begin() };
        let recipients = self.model.get(original).recipients;
        let bits = match self.random.below(2) {
            0 => all_recipients(recipients),
            _ => self.some_of(all_recipients(recipients)),
        };
        if bits == 0 || self.model.get(original).drop.is_some() {
            return Ok(());
        }
        let len = 300 + self.random.below(3_000);
        self.begin_as(len, Origin::Report, Purpose::Report { original, bits })
    }

    fn administer(&mut self) -> Result<(), String> {
        let Some((id, ticket)) = self.pick() else { return self.begin() };
        let message = self.model.get(id);
        let held = message.held.asked;
        let is_done = if self.random.chance(1, 4) {
            message.removed.asked = true;
            self.queue.remove(ticket, self.now)
        } else {
            message.held.asked = !held;
            message.held_both = true;
            self.queue.set_flag(ticket, State::HELD, !held, self.now)
        };
        self.note(true);
        if is_done { Ok(()) } else { Err(format!("message {id} is not there to be administered")) }
    }

    /// Leaves a drop file, and begins to import one that lies there.
    fn import(&mut self) -> Result<(), String> {
        if self.random.chance(1, 2) {
            self.drops += 1;
            self.model.drops.insert(self.drops, Drop::Left);
        }
        let drops = &self.model.drops;
        let mut left = drops.iter().filter(|(_, drop)| **drop == Drop::Left).map(|(n, _)| *n);
        let is_taken = |number: &u32| self.model.messages.values().any(|m| m.drop == Some(*number));
        let Some(drop) = left.find(|number| !is_taken(number)) else { return Ok(()) };
        let len = 1 + self.random.below(5_000);
        self.begin_as(len, Origin::Client, Purpose::Import { drop })
    }

    /// Removes the files of what is committed; perhaps syncs the directory and lets them go.
    fn tidy_drops(&mut self) -> Result<(), String> {
        let there = self.model.messages.values().filter(|m| m.presence == Presence::There);
        let imported: Vec<(u32, Option<Ticket>)> =
            there.filter_map(|m| Some((m.drop?, m.ticket))).collect();
        for (drop, _) in &imported {
            if self.model.drops.get(drop) == Some(&Drop::Left) {
                self.model.drops.insert(*drop, Drop::Unlinked);
            }
        }
        if self.random.chance(1, 2) {
            for drop in self.model.drops.values_mut().filter(|drop| **drop == Drop::Unlinked) {
                *drop = Drop::Gone;
            }
            for (drop, ticket) in imported {
                let is_gone = self.model.drops.get(&drop) == Some(&Drop::Gone);
                if let Some(ticket) = ticket.filter(|_| is_gone) {
                    self.queue.import_is_over(ticket);
                }
            }
        }
        Ok(())
    }

    fn pass_time(&mut self) -> Result<(), String> {
        let seconds = match self.random.below(10) {
            0 => 3600,
            _ => 1 + self.random.below(6) as u64,
        };
        self.now = self.now + Duration::from_secs(seconds);
        if self.queue.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.commit()?;
            if self.queue.deadline().is_some_and(|deadline| deadline <= self.now)
                && !self.disk.has_write_failed()
            {
                return Err("a commit left its deadline in the past".to_string());
            }
        }
        Ok(())
    }

    fn arm_faults(&mut self) -> Result<(), String> {
        let count = self.random.below(6) as u32;
        if self.random.chance(2, 3) {
            self.disk.faults.sync_in = Some(count / 2);
        } else {
            self.disk.faults.write_in = Some(count);
            self.disk.faults.write_fails = 1 + self.random.below(4) as u32;
        }
        Ok(())
    }

    /// A sync has failed: what was committed may still be delivered, then someone recovers.
    fn live_broken(&mut self) -> Result<(), String> {
        for _ in 0..self.random.below(3) {
            self.deliver()?;
        }
        self.commit()?;
        self.forget_drafts();
        if self.queue.begin(&mut self.disk, Origin::Client, None).is_ok() {
            return Err("a broken queue takes mail".to_string());
        }
        let (how, result) = match self.random.below(5) {
            0 => ("cut", self.cut()),
            1 => ("killed", self.kill()),
            _ => ("recovered", self.recover_broken()),
        };
        result.map_err(|what| format!("a broken queue was {how}: {what}"))
    }

    fn forget_drafts(&mut self) {
        for open in self.open.drain(..) {
            self.queue.abandon(open.draft);
            self.model.messages.remove(&open.id);
        }
    }

    /// A recovery that knows the queue that broke; it may itself fail, and be tried again. Blocks
    /// that cannot be read for that long are no matter: memory knows what stands on them.
    fn recover_broken(&mut self) -> Result<(), String> {
        if self.random.chance(1, 3) {
            self.arm_faults()?;
        }
        if self.random.chance(2, 3) {
            self.hide_blocks();
        }
        for _ in 0..3 {
            self.disk.reopen();
            let result = recover(&mut self.disk, self.now, BATCH, Some(&self.queue));
            self.disk.faults.unreadable.clear();
            self.judge_points()?;
            if let Ok((queue, found)) = result {
                let Schedule { disk, model, judge, .. } = self;
                let seen = judge.sound(&queue, disk, model, &found)?;
                self.model.judge(&seen, true, &Judgement::default())?;
                self.go_on(queue, &seen);
                return Ok(());
            }
            self.disk.faults = Default::default();
        }
        Err("recovery does not succeed on a disk that is good again".to_string())
    }

    /// Some blocks cannot be read for a while; one of the superblocks can.
    fn hide_blocks(&mut self) {
        let blocks = self.disk.image().len();
        let root = layout::SUPERBLOCKS[self.random.below(2)];
        let (pages, others) = match self.random.below(3) {
            0 => (1, 0),
            1 => (0, 1),
            _ => (2, blocks / 4),
        };
        for at in 0..pages + others {
            let block = match self.random.below(4) {
                _ if at < pages => layout::state_page(0, self.random.below(2) as u32),
                0 => self.random.below(3) as u32,
                _ => self.random.below(blocks) as u32,
            };
            if block != root {
                self.disk.faults.unreadable.insert(block);
            }
        }
    }

    /// The process is killed: what the system has been given stays.
    fn kill(&mut self) -> Result<(), String> {
        self.forget_drafts();
        self.disk.faults = Default::default();
        if self.random.chance(1, 3) {
            // An administrator was there before the next start.
            self.disk.reopen();
            let edited = recover_to_edit(&mut self.disk, self.now);
            let (queue, _) = edited.map_err(|error| format!("no edit: {error:?}"))?;
            if queue.run(self.now) < self.judge.run_least {
                return Err("running time went back in an edit (I17)".to_string());
            }
        }
        let (queue, found) = open(&mut self.disk, self.now)?;
        self.judge_points()?;
        self.resolve_drops(false)?;
        let Schedule { disk, model, judge, .. } = self;
        let seen = judge.sound(&queue, disk, model, &found)?;
        judge.has_aged(&queue)?;
        self.model.judge(&seen, false, &Judgement::default())?;
        self.go_on(queue, &seen);
        Ok(())
    }

    /// The power is cut, and life goes on; perhaps it is cut again in the recovery.
    fn cut(&mut self) -> Result<(), String> {
        self.forget_drafts();
        let mut moment = self.disk.moment();
        self.resolve_drops(true)?;
        let depth = self.random.below(4);
        for again in 0..=depth {
            self.disk = SimDisk::after_cut(&moment, self.judge.cut, self.judge.fork());
            self.disk.is_recording = true;
            let (queue, found) = open(&mut self.disk, self.now)?;
            let moments = self.disk.take_moments();
            for moment in &moments {
                self.judge.point(moment, &self.model, 1)?;
            }
            if again < depth {
                moment = moments[self.random.below(moments.len())].clone();
                continue;
            }
            let Schedule { disk, model, judge, .. } = self;
            let seen = judge.sound(&queue, disk, model, &found)?;
            judge.has_aged(&queue)?;
            self.model.judge(&seen, false, &Judgement::default())?;
            self.go_on(queue, &seen);
            break;
        }
        Ok(())
    }

    /// What was unlinked and not synced is there again, or not.
    fn resolve_drops(&mut self, is_cut: bool) -> Result<(), String> {
        for (number, drop) in &mut self.model.drops {
            if *drop == Drop::Unlinked && is_cut {
                *drop = if self.random.chance(1, 2) { Drop::Left } else { Drop::Gone };
            }
            if *drop == Drop::Left && self.attempted.contains(number) {
                return Err(format!("drop file {number} was delivered and lies there again"));
            }
        }
        Ok(())
    }

    fn go_on(&mut self, queue: Queue, seen: &[Seen]) {
        debug_assert!(space_adds_up(&queue, seen).is_ok());
        debug_assert!(
            seen.iter().all(|seen| {
                owner(&self.model, seen.ticket).is_none_or(|owner| owner == seen.id)
            })
        );
        self.judge.run_least = queue.run(self.now);
        self.queue = queue;
        self.model.adopt(seen);
        self.batch.clear();
        (self.notes, self.hurry, self.writes_failed) = (0, false, false);
        self.refreshed = self.now;
        self.disk.is_recording = true;
        self.disk.take_moments();
    }
}

fn write_envelope<E>(
    id: u32,
    recipients: u8,
    drop: Option<u32>,
    each: &mut impl FnMut(Record<'_>) -> Result<(), E>,
) -> Result<(), E> {
    each(Record::Sender(format!("m{id:07}@x").as_bytes()))?;
    for number in 0..recipients {
        each(Record::Recipient(format!("r{number}@example.net").as_bytes()))?;
    }
    drop.map_or(Ok(()), |drop| each(Record::DropName(drop_name(drop))))
}
