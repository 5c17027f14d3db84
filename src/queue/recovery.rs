//! From an image on a medium to an open queue: at every start, and after every failed sync.
//!
//! Syncs, so that what it reads is durable (I6); reads everything from the medium, not from a cache
//! (I9); finds the messages that exist (I2); tells damage from what was never acknowledged (I10);
//! raises the epoch and syncs (I8); marks every slot without a live header dead below the new epoch
//! and syncs again; only then may anything be accepted. It writes nothing that it has not first
//! made harmless, so it may be cut anywhere and repeated. LAW 4: this is the only way in, there is
//! no clean shut-down to rely on.
//!
//! A block that the medium does not give back is kept, with what belongs to it, and shown as
//! damaged: it may come back. That is an error only when no superblock can be read.
//!
//! Size: one scan, its three passes and what they judge by share every field; apart they would not
//! be easier to hold against each other.
//!
//! After a failed sync the queue that broke is handed in: `recall` has what it still knows (I11).
//!
//! Age (I17). How long the run before lasted after its last write is not known, so a daemon's start
//! adds a minute: one that dies every thirty seconds ages its mail all the same, and by more than
//! it ran. A recovery while mote runs knows how long that was, and adds just this. An opening by
//! which an administrator changes something offline ([`recover_to_edit`]) adds nothing: nothing
//! runs, before it the same unknown time had passed as after it, and the daemon that starts next
//! adds its minute for it. So commands in a loop neither age mail (a hold of many ids must not make
//! it expire) nor keep it from ageing: what is on the disk never goes back, and every start counts.

use super::block::{self, Data, Foreign, Header, Seal, State, Superblock};
use super::disk::{Block, Disk, DiskError, new_block};
use super::fault::{Check, Fault, Subject};
use super::image::{Queue, Ticket};
use super::index::{Index, Use};
use super::layout::{self, GROUP_SLOTS, NO_SLOT};
use super::mutant::{self, Mutant};
use super::unread::Interrupted;
use crate::base::time::Instant;

/// Seconds of running that a daemon's start counts for, whatever ended the run before it.
const RUN_SECONDS_MIN: u64 = 60;

/// Why there is no queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecoverError {
    /// The disk failed; another try may work.
    Disk(DiskError),
    /// Not ours, or a later version's: left untouched.
    Foreign(Foreign),
    /// The file is shorter than its superblock says.
    Short {
        /// Blocks that the superblock speaks of.
        wanted: u32,
        /// Blocks that are there.
        found: u32,
    },
    /// Both superblocks are lost, and the file is larger than any image: nobody knows how large
    /// this one is.
    Long {
        /// Blocks that are there.
        found: u32,
    },
    /// There is not so much memory for an image of that size.
    Memory {
        /// Its blocks.
        blocks: u32,
        /// What they need.
        bytes: u64,
    },
}

impl From<DiskError> for RecoverError {
    fn from(error: DiskError) -> Self {
        RecoverError::Disk(error)
    }
}

/// What a recovery found, for the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// Messages that exist and are whole.
    pub messages: u32,
    /// Messages that were acknowledged and are not whole, and blocks that cannot be read: held.
    pub damaged: u32,
    /// Headers that were dropped: of messages that were never acknowledged and are not whole. After
    /// a failed sync also of those that had been answered 451, or were over in memory.
    pub dropped: u32,
    /// Groups whose state pages were both lost: their messages are held.
    pub blind_groups: u32,
    /// Of the opening; see FORMAT.md.
    pub epoch: u32,
    /// The latest wall time in the image.
    pub wall: i64,
}

/// Makes a fresh image of all of `disk`'s blocks, which hold zeros or noise. The caller sees to it
/// that nobody takes the file for an image before this has returned (I13).
pub fn format(disk: &mut dyn Disk, random: [u8; 24], created: i64) -> Result<(), DiskError> {
    let slots = layout::slots_in(disk.blocks());
    let seal = Seal::new(random);
    let mut block = new_block();
    block::write_identity(&mut block, &seal, created);
    disk.write(layout::IDENTITY, &block)?;
    for (generation, number) in (1..).zip(layout::SUPERBLOCKS) {
        let superblock = Superblock { generation, epoch: 0, slots, run: 0, wall: created };
        block::write_superblock(number, &mut block, &seal, &superblock);
        disk.write(number, &block)?;
    }
    let none = State { seq: 0, flags: State::DEAD, done: 0 };
    for group in 0..layout::groups_for(slots) {
        for copy in 0..2 {
            let number = layout::state_page(group, copy);
            let page = block::StatePage { generation: copy.into(), synced: 0, run: 0 };
            let entries = core::iter::repeat_n(none, GROUP_SLOTS as usize);
            block::write_state_page(number, &mut block, &seal, &page, entries);
            disk.write(number, &block)?;
        }
    }
    disk.sync()
}

/// Opens the image. `batch` is the most messages that ever wait for one commit.
pub fn recover(
    disk: &mut dyn Disk,
    now: Instant,
    batch: usize,
    broken: Option<&Queue>,
) -> Result<(Queue, Found), RecoverError> {
    open(disk, now, batch, broken, RUN_SECONDS_MIN)
}

/// Opens the image for an administrator's changes while no daemon runs. The same in all, but that
/// no mail ages by it: see the module's head.
pub fn recover_to_edit(disk: &mut dyn Disk, now: Instant) -> Result<(Queue, Found), RecoverError> {
    open(disk, now, 0, None, 0)
}

fn open(
    disk: &mut dyn Disk,
    now: Instant,
    batch: usize,
    broken: Option<&Queue>,
    unseen: u64,
) -> Result<(Queue, Found), RecoverError> {
    // What a process that was killed has written may be read below and still be lost to a power
    // cut: nothing is taken for the newest durable copy before it is durable (I6). After a failed
    // sync this one promises nothing of what came before it: the medium is read to know (I11).
    if !mutant::is(Mutant::RecoveryUnsynced) {
        disk.sync()?;
    }
    let roots = Roots::read(disk, &mut |_| {})?;
    let (Some(seal), Some((superblock, _))) = (roots.seal, roots.newest) else {
        return Err(roots.failure);
    };
    let slots = broken.map_or(superblock.slots, |queue| queue.index.slots());
    let wanted = layout::blocks_for(slots);
    if slots == 0 || wanted > disk.blocks() {
        return Err(RecoverError::Short { wanted, found: disk.blocks() });
    }
    ensure_memory(slots)?;
    let mut nobody = |_| {};
    let scan = Scan::new(&roots, Queue::new(seal, slots, 0, now, batch), &mut nobody);
    let Scan { mut queue, mut found, run, highest, is_settled, .. } = scan.all(disk, broken);
    if let Some(broken) = broken {
        found.epoch = found.epoch.max(broken.epoch);
    }
    // I8. No image of ours is opened four thousand million times.
    found.epoch = found.epoch.checked_add(1).ok_or(RecoverError::Foreign(Foreign::NotAnImage))?;
    queue.epoch = found.epoch;
    if mutant::is(Mutant::EpochNotRaised) {
        queue.epoch = superblock.epoch.max(1);
    }
    queue.run_base = run.saturating_add(unseen);
    if let Some(broken) = broken {
        queue.run_base = run.max(broken.run(now));
        queue.succeed(broken, &roots);
    }
    if mutant::is(Mutant::AgeForgotten) {
        queue.run_base = RUN_SECONDS_MIN;
    }
    queue.settle(disk, now, highest, is_settled)?;
    Ok((queue, found))
}

/// A limit that somebody has set, or a small machine, is told and not died of.
pub(super) fn ensure_memory(slots: u32) -> Result<(), RecoverError> {
    let (blocks, bytes) = (layout::blocks_for(slots), Index::bytes_for(slots));
    if Index::has_memory(slots) { Ok(()) } else { Err(RecoverError::Memory { blocks, bytes }) }
}

/// I9: what the medium has, not what a cache says it has.
pub(super) fn read_medium(
    disk: &mut dyn Disk,
    number: u32,
    into: &mut Block,
) -> Result<(), DiskError> {
    if mutant::is(Mutant::RecoveryFromCache) {
        return disk.read(number, into);
    }
    disk.read_medium(number, into)
}

/// What the first three blocks say.
pub(super) struct Roots {
    pub(super) seal: Option<Seal>,
    /// The newest superblock, and which copy that is.
    pub(super) newest: Option<(Superblock, usize)>,
    /// Why one of them is missing, if it is.
    pub(super) failure: RecoverError,
}

impl Roots {
    /// Reads them. One of the three may be unreadable; the others say the same.
    pub(super) fn read(
        disk: &mut dyn Disk,
        faults: &mut dyn FnMut(Fault),
    ) -> Result<Roots, RecoverError> {
        let mut block = new_block();
        let failure = RecoverError::Foreign(Foreign::NotAnImage);
        let mut roots = Roots { seal: None, newest: None, failure };
        let mut fault = |block, subject, check| faults(Fault { block, subject, check });
        match read_medium(disk, layout::IDENTITY, &mut block).map(|()| block::read_identity(&block))
        {
            Ok(Ok(seal)) => roots.seal = Some(seal),
            Ok(Err(Foreign::NotAnImage)) => fault(layout::IDENTITY, Subject::Identity, Check::Seal),
            Ok(Err(later)) => return Err(RecoverError::Foreign(later)),
            Err(error) => {
                fault(layout::IDENTITY, Subject::Identity, Check::Medium);
                roots.failure = RecoverError::Disk(error);
            }
        }
        let known = roots.seal;
        for (copy, number) in layout::SUPERBLOCKS.into_iter().enumerate() {
            if let Err(error) = read_medium(disk, number, &mut block) {
                fault(number, Subject::Superblock, Check::Medium);
                roots.failure = RecoverError::Disk(error);
            } else if let Some((seal, superblock)) =
                block::read_superblock(number, &block, known.as_ref())
            {
                let newer =
                    roots.newest.is_none_or(|(other, _)| superblock.generation > other.generation);
                if newer {
                    roots.seal = Some(seal);
                    roots.newest = Some((superblock, copy));
                }
            } else {
                fault(number, Subject::Superblock, Check::Seal);
            }
        }
        Ok(roots)
    }
}

/// Everything that the medium says, on the way to a queue in memory; nothing is written. What
/// comes of it is a recovery's, or [`super::inspect`]'s, who both read by this and no other way.
pub(super) struct Scan<'a> {
    pub(super) queue: Queue,
    block: Box<Block>,
    pub(super) chain: Box<Block>,
    /// Its `epoch` is the highest seen in any whole block: the newest superblock may be spoiled,
    /// and no number comes twice for that (I8).
    pub(super) found: Found,
    pub(super) run: u64,
    /// The highest seq of a whole message.
    pub(super) highest: u64,
    /// Nothing that may be on the medium was dropped, so no page need say that it is dead.
    pub(super) is_settled: bool,
    /// Body blocks that the present walk has claimed.
    claimed: u32,
    /// Messages whose chain leads to a block that cannot be read.
    pub(super) interrupted: Vec<Interrupted>,
    /// Who is told what is not whole.
    faults: &'a mut dyn FnMut(Fault),
}

/// What a walk along a chain found.
enum Walk {
    Whole(Header),
    /// At which block, which part of the message, and by which check.
    Broken(u32, u32, Check),
    /// The medium did not give a block back, so nothing is known of it: never dropped. With the
    /// message's draft, unless it was the header that could not be read.
    Unreadable(Option<u64>),
}

impl<'a> Scan<'a> {
    /// Before anything is read. `queue` is an empty one.
    pub(super) fn new(
        roots: &Roots,
        mut queue: Queue,
        faults: &'a mut dyn FnMut(Fault),
    ) -> Scan<'a> {
        let (superblock, copy) = roots.newest.unwrap_or_default();
        queue.superblock = superblock;
        queue.superblock_copy = copy;
        Scan {
            queue,
            block: new_block(),
            chain: new_block(),
            found: Found { epoch: superblock.epoch, wall: superblock.wall, ..Found::default() },
            run: superblock.run,
            highest: 0,
            is_settled: true,
            claimed: 0,
            interrupted: Vec::new(),
            faults,
        }
    }

    /// All passes.
    pub(super) fn all(mut self, disk: &mut dyn Disk, broken: Option<&Queue>) -> Scan<'a> {
        self.read_groups(disk, broken);
        self.judge(disk, broken);
        self.keep_unread(broken);
        self.queue.counters.damaged = self.found.damaged;
        self.queue.messages = self.found.messages + self.found.damaged;
        self
    }

    pub(super) fn fault(&mut self, block: u32, subject: Subject, check: Check) {
        (self.faults)(Fault { block, subject, check });
    }

    /// First pass: every state page and every data block, once. Whole headers that are not dead
    /// become candidates: `Use::Damaged` with their seq, until the second pass has judged them.
    fn read_groups(&mut self, disk: &mut dyn Disk, broken: Option<&Queue>) {
        for group in 0..self.queue.marks.groups() {
            let is_blind = !self.read_state(disk, group, broken);
            let first = group * GROUP_SLOTS;
            for slot in first..(first + GROUP_SLOTS).min(self.queue.index.slots()) {
                self.read_slot(disk, slot, is_blind);
            }
        }
    }

    /// Takes the newest whole copy of a group's state page into the index. False: both are lost,
    /// and nobody remembers what they said.
    fn read_state(&mut self, disk: &mut dyn Disk, group: u32, broken: Option<&Queue>) -> bool {
        let mut newest: Option<(block::StatePage, u8)> = None;
        let mut is_unread = false;
        for copy in 0..2u8 {
            let number = layout::state_page(group, copy.into());
            if read_medium(disk, number, &mut self.block).is_err() {
                self.fault(number, Subject::StatePage { group }, Check::Medium);
                is_unread = true;
                continue;
            }
            let Some(page) = block::read_state_page(number, &self.block, &self.queue.seal) else {
                self.fault(number, Subject::StatePage { group }, Check::Seal);
                continue;
            };
            self.note_number(page.generation);
            if newest.is_some_and(|(other, _)| other.generation > page.generation) {
                continue;
            }
            newest = Some((page, copy));
            let first = group * GROUP_SLOTS;
            for slot in first..(first + GROUP_SLOTS).min(self.queue.index.slots()) {
                self.queue.index.set_state(slot, block::state_entry(&self.block, slot - first));
            }
        }
        let mut copy = newest.map_or(0, |(_, copy)| copy);
        if let Some(broken) = broken.filter(|_| is_unread || newest.is_none())
            && !mutant::is(Mutant::UnreadOverwritten)
        {
            copy = broken.marks.newest(group);
        }
        self.queue.marks.set_newest(group, copy);
        let Some((page, _)) = newest else {
            if broken.is_some() {
                return true;
            }
            self.found.blind_groups += 1;
            let number = layout::state_page(group, 0);
            self.fault(number, Subject::StatePage { group }, Check::BothLost);
            return false;
        };
        self.queue.synced = self.queue.synced.max(page.synced);
        self.run = self.run.max(page.run);
        true
    }

    fn read_slot(&mut self, disk: &mut dyn Disk, slot: u32, is_blind: bool) {
        let number = layout::block_of(slot);
        self.queue.index.link.set(slot, NO_SLOT);
        if read_medium(disk, number, &mut self.block).is_err() {
            // Its state stays as it was read: if the medium comes back, so does the message.
            self.queue.index.set_use(slot, Use::Unread);
            return;
        }
        let state = self.queue.index.state(slot);
        let is_alive = state.seq != 0 && state.flags & State::DEAD == 0;
        let shown = match block::read_data(number, &self.block, &self.queue.seal) {
            Some((Data::Header { header, .. }, _)) => {
                self.queue.synced = self.queue.synced.max(header.synced);
                self.run = self.run.max(header.run);
                self.note_number(header.seq.max(header.draft));
                Some(header.seq)
            }
            Some((Data::Body { draft, next, .. }, _)) => {
                self.note_number(draft);
                self.queue.index.link.set(slot, next);
                None
            }
            // Noise may look like one too; a seq of an epoch that has not been is no seq.
            None => block::spoiled_header_seq(&self.block)
                .filter(|seq| !is_alive && seq >> 32 <= u64::from(self.found.epoch)),
        };
        // Number 0 is nobody's: a state that bears it knows of nothing.
        match shown.filter(|seq| *seq != 0 && (is_blind || !state.is_dead(*seq))) {
            // Until it is judged. A state that speaks of an older message says nothing of this.
            Some(seq) => {
                let mut state = if state.seq == seq { state } else { State::default() };
                state.seq = seq;
                if is_blind {
                    state.flags |= State::HELD;
                }
                self.queue.index.set_state(slot, state);
                self.queue.index.set_use(slot, Use::Damaged);
            }
            // The state bears witness of a message that the block does not show: judged last, since
            // the block may belong to another (I10).
            None if is_alive => {}
            None => self.queue.index.set_state(slot, State::default()),
        }
    }

    fn note_number(&mut self, number: u64) {
        let epoch = u32::try_from(number >> 32).unwrap_or(u32::MAX);
        self.found.epoch = self.found.epoch.max(epoch);
    }

    /// Second pass: a candidate is a message if its chain is whole; if not, it is damage when it
    /// had been acknowledged (I10), and nothing when not.
    fn judge(&mut self, disk: &mut dyn Disk, broken: Option<&Queue>) {
        let mut from = 0;
        while let Some(slot) = self.queue.index.find(from, Use::Damaged) {
            from = slot + 1;
            let state = self.queue.index.state(slot);
            let ticket = Ticket { slot, seq: state.seq };
            // What the queue that broke had answered 451, or had finished, is not there (I11).
            let is_over = broken.is_some_and(|queue| queue.is_over(ticket))
                && !mutant::is(Mutant::RefusedStays);
            self.claimed = 0;
            self.queue.index.link.set(slot, slot);
            let known = broken.and_then(|queue| queue.known_state(ticket));
            if let Some(state) = known.filter(|_| !mutant::is(Mutant::MarksForgotten)) {
                self.queue.index.set_state(slot, state);
            }
            if is_over {
                self.forget(slot);
                continue;
            }
            let is_acknowledged = known.is_some() || state.seq <= self.queue.synced;
            match self.walk(disk, ticket) {
                Walk::Whole(header) => self.keep(slot, &header),
                Walk::Broken(..) if !is_acknowledged => self.forget(slot),
                Walk::Broken(..) if mutant::is(Mutant::DamageDropped) => self.forget(slot),
                Walk::Broken(block, part, check) => {
                    self.fault(block, Subject::Message { ticket, part }, check);
                    self.keep_damaged(slot);
                }
                Walk::Unreadable(_) if mutant::is(Mutant::UnreadableDropped) => self.forget(slot),
                // Memory may know better.
                Walk::Unreadable(_) if known.is_some() => {
                    self.unclaim(slot);
                    self.queue.index.set_use(slot, Use::Unread);
                }
                Walk::Unreadable(Some(draft)) => {
                    let last = self.claimed;
                    let subject = Subject::Message { ticket, part: last };
                    let unread = self.queue.index.chain(self.queue.index.link.get(slot), slot);
                    let unread = unread.take(last as usize).last().unwrap_or(slot);
                    self.fault(layout::block_of(unread), subject, Check::Medium);
                    self.interrupted.push(Interrupted { draft, header: slot, last: unread });
                    self.keep_damaged(slot);
                }
                Walk::Unreadable(None) => self.queue.index.set_use(slot, Use::Unread),
            }
        }
        self.claim_drafts(disk);
        self.judge_missing(broken);
    }

    /// What only a state knows of, and nobody else's chain has claimed.
    fn judge_missing(&mut self, broken: Option<&Queue>) {
        let mut from = 0;
        while let Some(slot) = self.queue.index.find(from, Use::Free) {
            from = slot + 1;
            let state = self.queue.index.state(slot);
            if state.seq == 0 || state.flags & State::DEAD != 0 {
                continue;
            }
            let ticket = Ticket { slot, seq: state.seq };
            self.claimed = 0;
            self.queue.index.link.set(slot, slot);
            let known = broken.and_then(|queue| queue.known_state(ticket));
            let is_acknowledged = known.is_some() || state.seq <= self.queue.synced;
            if broken.is_some_and(|queue| queue.is_over(ticket)) || !is_acknowledged {
                self.forget(slot);
            } else {
                self.queue.index.set_state(slot, known.unwrap_or(state));
                let subject = Subject::Message { ticket, part: 0 };
                self.fault(layout::block_of(slot), subject, Check::Replaced);
                self.keep_damaged(slot);
            }
        }
    }

    fn forget(&mut self, slot: u32) {
        self.unclaim(slot);
        let index = &mut self.queue.index;
        index.set_use(slot, Use::Free);
        index.link.set(slot, NO_SLOT);
        index.set_state(slot, State::default());
        self.found.dropped += 1;
        self.is_settled = false;
    }

    /// Gives back what the present walk has claimed for the header in `slot`.
    fn unclaim(&mut self, slot: u32) {
        let index = &mut self.queue.index;
        let mut claimed = index.link.get(slot);
        for _ in 0..core::mem::take(&mut self.claimed) {
            index.set_use(claimed, Use::Free);
            claimed = index.link.get(claimed);
        }
    }

    /// Keeps the header's slot, and what was claimed for it.
    pub(super) fn keep_damaged(&mut self, slot: u32) {
        let index = &mut self.queue.index;
        index.set_use(slot, Use::Damaged);
        let mut state = index.state(slot);
        if state.seq == 0 {
            // The lowest there is, so that it kills nothing that may come back (I4).
            (state.seq, state.flags) = (1, State::DEAD);
        }
        index.set_state(slot, State { flags: state.flags | State::DAMAGED | State::HELD, ..state });
        self.found.damaged += 1;
    }

    fn keep(&mut self, slot: u32, header: &Header) {
        self.queue.index.set_use(slot, Use::Message);
        self.queue.adopt(slot, header, 0);
        self.highest = self.highest.max(header.seq);
        self.found.messages += 1;
    }

    /// Walks the chain of the header in `ticket`'s slot, claiming its body blocks.
    fn walk(&mut self, disk: &mut dyn Disk, ticket: Ticket) -> Walk {
        let number = layout::block_of(ticket.slot);
        if read_medium(disk, number, &mut self.block).is_err() {
            return Walk::Unreadable(None);
        }
        let seal = self.queue.seal;
        let (header, len) = match block::read_data(number, &self.block, &seal) {
            Some((Data::Header { header, len }, _)) if header.seq == ticket.seq => (header, len),
            Some(_) => return Walk::Broken(number, 0, Check::Replaced),
            None => return Walk::Broken(number, 0, Check::Seal),
        };
        let mut binding = seal.binding();
        let mut bytes = len as u64;
        let mut last = ticket.slot;
        let mut slot = header.first;
        for index in 1..header.count {
            if slot >= self.queue.index.slots() {
                return Walk::Broken(layout::block_of(last), index - 1, Check::Link);
            }
            let number = layout::block_of(slot);
            let is_unread = match self.queue.index.used_as(slot) {
                Use::Free => read_medium(disk, number, &mut self.chain).is_err(),
                Use::Unread => true,
                _ => return Walk::Broken(layout::block_of(last), index - 1, Check::Taken),
            };
            if is_unread {
                self.claim(ticket.slot, last, slot);
                return Walk::Unreadable(Some(header.draft));
            }
            let (draft, at, next, len, tag) = match block::read_data(number, &self.chain, &seal) {
                Some((Data::Body { draft, index, next, len }, tag)) => {
                    (draft, index, next, len, tag)
                }
                _ if mutant::is(Mutant::BodyNotBound) => return Walk::Whole(header),
                Some(_) => return Walk::Broken(number, index, Check::Replaced),
                None => return Walk::Broken(number, index, Check::Seal),
            };
            if draft != header.draft && !mutant::is(Mutant::BodyNotBound) {
                return Walk::Broken(number, index, Check::Replaced);
            }
            if at != index - 1 && !mutant::is(Mutant::BodyNotBound) {
                return Walk::Broken(number, index, Check::Order);
            }
            binding.add(number, tag);
            bytes += len as u64;
            self.claim(ticket.slot, last, slot);
            (last, slot) = (slot, next);
        }
        let lengths = u64::from(header.envelope_len).saturating_add(header.message_len);
        let is_unbound_mutant = mutant::is(Mutant::BodyNotBound);
        let check = if slot != ticket.slot && !is_unbound_mutant {
            Check::Link
        } else if header.count == 0 || bytes != lengths {
            Check::Length
        } else if binding.digest() != header.digest && !is_unbound_mutant {
            Check::Digest
        } else if usize::from(header.recipients) > crate::limits::RECIPIENTS_MAX {
            Check::Recipients
        } else {
            return Walk::Whole(header);
        };
        Walk::Broken(number, header.count, check)
    }

    /// Appends a block to what the message at `header` holds, of which `last` was the last.
    pub(super) fn claim(&mut self, header: u32, last: u32, claimed: u32) {
        let index = &mut self.queue.index;
        index.set_use(claimed, Use::Body);
        index.set_state(claimed, State::default());
        index.link.set(last, claimed);
        index.link.set(claimed, header);
        self.claimed += 1;
    }
}

impl Queue {
    /// I8, then the rest of I9.
    fn settle(
        &mut self,
        disk: &mut dyn Disk,
        now: Instant,
        highest: u64,
        is_settled: bool,
    ) -> Result<(), RecoverError> {
        if !self.write_superblock(disk) {
            return Err(RecoverError::Disk(DiskError::Io));
        }
        disk.sync()?;
        self.superblock_copy = 1 - self.superblock_copy;
        // I10: all that was found is durable, so its damage would be damage from now on. But what
        // was dropped must be dead on disk before a page may bear witness of anything above it.
        let synced = self.synced.max(highest);
        if is_settled {
            self.synced = synced;
        }
        if mutant::is(Mutant::NoSettling) {
            return Ok(());
        }
        self.marks.set_all_dirty(now);
        self.marks.hurry();
        if !self.sync(disk, true, false) || self.marks.deadline().is_some() {
            return Err(RecoverError::Disk(DiskError::Io));
        }
        self.synced = synced;
        // Wear is level across boots too.
        let slots = u64::from(self.index.slots());
        self.index.set_cursor((self.seal.scatter(self.epoch.into(), 0) % slots) as u32);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::draft::{Origin, QueueError, Summary};
    use crate::queue::envelope::Record;
    use crate::queue::memory_disk::MemoryDisk;
    use crate::queue::reader::{ReadError, Reader};
    use core::time::Duration;

    const NOW: Instant = Instant::from_millis(0);

    fn open(disk: &mut MemoryDisk) -> (Queue, Found) {
        recover(disk, NOW, 16, None).unwrap()
    }

    fn fresh(blocks: usize) -> (MemoryDisk, Queue) {
        let mut disk = MemoryDisk::new(blocks);
        format(&mut disk, [9; 24], 0).unwrap();
        let (queue, _) = open(&mut disk);
        (disk, queue)
    }

    fn body(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * 7 + len) as u8).collect()
    }

    fn add(disk: &mut MemoryDisk, queue: &mut Queue, len: usize) -> Result<Ticket, QueueError> {
        let mut buffer = new_block();
        let mut draft = queue.begin(disk, Origin::Client, Some(len as u64))?;
        queue.record(disk, &mut draft, &mut buffer, &Record::Sender(b"a@b"))?;
        for to in [&b"c@d"[..], b"e@f"] {
            queue.record(disk, &mut draft, &mut buffer, &Record::Recipient(to))?;
        }
        for part in body(len).chunks(1000) {
            queue.append(disk, &mut draft, &mut buffer, part)?;
        }
        queue.finish(disk, draft, &mut buffer, 7, Summary::default(), NOW)
    }

    fn commit(disk: &mut MemoryDisk, queue: &mut Queue) -> usize {
        let mut receipts = 0;
        queue.commit(disk, NOW, |owner, receipt| {
            assert!(owner == 7 && receipt.is_ok());
            receipts += 1;
        });
        receipts
    }

    fn read(disk: &mut MemoryDisk, queue: &Queue, ticket: Ticket) -> Result<Vec<u8>, ReadError> {
        let mut buffer = new_block();
        let mut reader = Reader::open(queue, disk, ticket, &mut buffer)?;
        let mut bytes = Vec::new();
        while let Some(part) = reader.next(queue, disk, &mut buffer)? {
            bytes.extend_from_slice(part);
        }
        Ok(bytes.split_off(reader.header().envelope_len as usize))
    }

    #[test]
    fn messages_of_all_sizes_survive() {
        let (mut disk, mut queue) = fresh(256);
        let sizes = [0, 1, 3900, 3968, 3969, 8000, 100_000];
        let tickets: Vec<_> =
            sizes.iter().map(|len| add(&mut disk, &mut queue, *len).unwrap()).collect();
        assert_eq!(commit(&mut disk, &mut queue), sizes.len());
        let (queue, found) = open(&mut disk);
        assert_eq!((found.messages, found.damaged, found.epoch), (7, 0, 2));
        for (ticket, len) in tickets.iter().zip(sizes) {
            assert_eq!(read(&mut disk, &queue, *ticket), Ok(body(len)));
        }
    }

    #[test]
    fn an_unfinished_draft_is_nothing_and_space_comes_back() {
        let (mut disk, mut queue) = fresh(64);
        let free = queue.space().1;
        let mut buffer = new_block();
        let mut draft = queue.begin(&mut disk, Origin::Client, None).unwrap();
        queue.append(&mut disk, &mut draft, &mut buffer, &body(20_000)).unwrap();
        queue.abandon(draft);
        assert_eq!(queue.space().1, free);
        for round in 0..200 {
            let ticket = add(&mut disk, &mut queue, 9000).unwrap();
            assert_eq!(commit(&mut disk, &mut queue), 1);
            assert!(queue.mark_done(ticket, 1, NOW));
            assert_eq!(read(&mut disk, &queue, ticket), Ok(body(9000)));
            assert!(queue.mark_done(ticket, 2, NOW));
            assert_eq!(read(&mut disk, &queue, ticket), Err(ReadError::Gone), "{round}");
        }
        assert_eq!((queue.space().1, queue.messages()), (free, 0));
        let (queue, found) = open(&mut disk);
        assert!(found.messages <= 17 && found.damaged == 0, "{found:?}");
        assert!(queue.space().1 >= free - 17 * 3);
    }

    #[test]
    fn full_is_an_answer_and_marks_are_written_before_it() {
        let (mut disk, mut queue) = fresh(64);
        let first = add(&mut disk, &mut queue, 100_000).unwrap();
        assert_eq!(add(&mut disk, &mut queue, 150_000), Err(QueueError::Full));
        assert_eq!(add(&mut disk, &mut queue, 1 << 20), Err(QueueError::TooLarge));
        commit(&mut disk, &mut queue);
        assert!(queue.mark_done(first, 3, NOW));
        assert!(add(&mut disk, &mut queue, 150_000).is_ok(), "the dead made room");
        let mut report = queue.begin(&mut disk, Origin::Report, None).unwrap();
        let mut buffer = new_block();
        queue.append(&mut disk, &mut report, &mut buffer, &body(8000)).unwrap();
        let mut strange = queue.begin(&mut disk, Origin::Stranger, None).unwrap();
        let spent = queue.append(&mut disk, &mut strange, &mut buffer, &body(150_000));
        assert_eq!(spent, Err(QueueError::Full));
    }

    #[test]
    fn what_the_empty_image_cannot_hold_is_too_large_declared_or_not() {
        let (mut disk, mut queue) = fresh(64);
        let mut buffer = new_block();
        for origin in [Origin::Stranger, Origin::Client] {
            let most = queue.message_bytes_max(origin);
            let begun = queue.begin(&mut disk, origin, Some(most + 1)).map(|_| ());
            assert_eq!(begun, Err(QueueError::TooLarge));
            for size in [Some(most), None] {
                let mut draft = queue.begin(&mut disk, origin, size).unwrap();
                let text = body(most as usize);
                assert_eq!(queue.append(&mut disk, &mut draft, &mut buffer, &text), Ok(()));
                let more = queue.append(&mut disk, &mut draft, &mut buffer, &body(4096));
                assert_eq!(more, Err(QueueError::TooLarge));
                queue.abandon(draft);
            }
        }
    }

    #[test]
    fn damage_is_told_from_what_was_never_acknowledged() {
        let (mut disk, mut queue) = fresh(64);
        let tickets: Vec<_> = (0..3).map(|_| add(&mut disk, &mut queue, 9000).unwrap()).collect();
        commit(&mut disk, &mut queue);
        // Only what a later message bears witness of is known to have been acknowledged.
        add(&mut disk, &mut queue, 10).unwrap();
        commit(&mut disk, &mut queue);
        let unsynced = add(&mut disk, &mut queue, 9000).unwrap();
        for slot in [tickets[0].slot, unsynced.slot - 1] {
            disk.block(layout::block_of(slot))[300] ^= 1;
        }
        let (queue, found) = open(&mut disk);
        assert_eq!((found.messages, found.damaged, found.dropped), (3, 1, 1));
        let waiting = queue.waiting(tickets[0]).unwrap();
        assert!(waiting.held && waiting.damaged && !waiting.readable);
        assert_eq!(read(&mut disk, &queue, tickets[1]), Ok(body(9000)));
    }

    #[test]
    fn holds_and_marks_last() {
        let (mut disk, mut queue) = fresh(64);
        let ticket = add(&mut disk, &mut queue, 10).unwrap();
        commit(&mut disk, &mut queue);
        queue.mark_done(ticket, 1, NOW);
        assert!(queue.set_flag(ticket, State::HELD, true, NOW));
        commit(&mut disk, &mut queue);
        let (mut queue, _) = open(&mut disk);
        let waiting = queue.waiting(ticket).unwrap();
        assert!(waiting.held && waiting.done == 1);
        queue.mark_done(ticket, 2, NOW);
        let later = NOW + Duration::from_secs(5);
        queue.commit(&mut disk, later, |_, _| {});
        assert_eq!(open(&mut disk).1.messages, 0);
    }

    #[test]
    fn a_killed_process_leaves_nothing_that_is_taken_for_durable() {
        let (mut disk, _) = fresh(64);
        disk.is_strict = true;
        let (mut queue, _) = recover(&mut disk, NOW, 16, None).unwrap();
        // A superblock that no sync has followed.
        assert!(queue.write_superblock(&mut disk));
        recover(&mut disk, NOW, 16, None).unwrap();
    }

    #[test]
    fn a_spoiled_superblock_brings_no_epoch_back() {
        let (mut disk, mut queue) = fresh(64);
        add(&mut disk, &mut queue, 10).unwrap();
        commit(&mut disk, &mut queue);
        let newest = layout::SUPERBLOCKS[queue.superblock_copy];
        disk.block(newest)[200] ^= 1;
        let (_, found) = open(&mut disk);
        assert_eq!((found.messages, found.epoch), (1, queue.epoch + 1));
    }

    #[test]
    fn a_superblock_of_any_size_is_an_answer() {
        let (mut disk, queue) = fresh(64);
        let mut block = new_block();
        for slots in [0, 60, u32::MAX - 1, u32::MAX] {
            let superblock =
                Superblock { generation: u64::MAX, epoch: u32::MAX, slots, run: 0, wall: 0 };
            block::write_superblock(1, &mut block, &queue.seal, &superblock);
            disk.write(1, &block).unwrap();
            assert!(matches!(recover(&mut disk, NOW, 16, None), Err(RecoverError::Short { .. })));
        }
        let superblock =
            Superblock { generation: u64::MAX, epoch: u32::MAX, slots: 59, run: u64::MAX, wall: 0 };
        block::write_superblock(1, &mut block, &queue.seal, &superblock);
        disk.write(1, &block).unwrap();
        assert!(recover(&mut disk, NOW, 16, None).is_err(), "no epoch is left");
        let superblock = Superblock { epoch: 7, ..superblock };
        block::write_superblock(1, &mut block, &queue.seal, &superblock);
        disk.write(1, &block).unwrap();
        let (queue, _) = open(&mut disk);
        assert_eq!(queue.run(NOW + Duration::from_secs(9)), u64::MAX);
    }

    #[test]
    fn what_cannot_be_read_for_once_is_neither_dropped_nor_written_over() {
        let (mut memory, mut queue) = fresh(64);
        let ticket = add(&mut memory, &mut queue, 20_000).unwrap();
        commit(&mut memory, &mut queue);
        let blocks = 20_000 / layout::PAYLOAD_BYTES as u32 + 1;
        for back in 0..blocks {
            let bad = layout::block_of(ticket.slot - back);
            let mut disk = memory.clone();
            disk.unreadable.push(bad);
            let (mut queue, found) = recover(&mut disk, NOW, 16, None).unwrap();
            assert_eq!((found.messages, found.damaged), (0, 1), "block {back} from the end");
            assert_eq!(queue.messages(), 1);
            let mut buffer = new_block();
            let mut draft = queue.begin(&mut disk, Origin::Report, None).unwrap();
            let full = queue.append(&mut disk, &mut draft, &mut buffer, &body(250_000));
            assert_eq!(full, Err(QueueError::Full));
            queue.abandon(draft);
            disk.unreadable.clear();
            let (queue, found) = recover(&mut disk, NOW, 16, None).unwrap();
            assert_eq!((found.messages, found.damaged), (1, 0), "block {back} from the end");
            assert_eq!(read(&mut disk, &queue, ticket), Ok(body(20_000)));
        }
    }

    #[test]
    fn what_is_removed_unread_does_not_come_back_when_it_can_be_read() {
        let (mut disk, mut queue) = fresh(64);
        let ticket = add(&mut disk, &mut queue, 9000).unwrap();
        commit(&mut disk, &mut queue);
        disk.unreadable.push(layout::block_of(ticket.slot));
        let (mut queue, found) = recover(&mut disk, NOW, 16, None).unwrap();
        assert_eq!((found.messages, found.damaged), (0, 1));
        let shown = queue.next_waiting(0).unwrap().ticket;
        // Whatever else is done to it, nothing of it goes.
        assert!(queue.mark_done(shown, 1, NOW));
        assert!(queue.set_flag(shown, State::HELD, false, NOW));
        assert!(queue.waiting(shown).is_some_and(|waiting| waiting.damaged));
        assert!(queue.remove(shown, NOW));
        queue.commit(&mut disk, NOW, |_, _| {});
        disk.unreadable.clear();
        let (_, found) = open(&mut disk);
        assert_eq!((found.messages, found.damaged), (0, 0));
    }

    /// One is finished in memory only when a sync fails, and one is not; then some block or other
    /// cannot be read while the image is recovered.
    #[test]
    fn memory_knows_better_than_a_medium_that_fails() {
        let (mut whole, mut queue) = fresh(64);
        let first = add(&mut whole, &mut queue, 9000).unwrap();
        let second = add(&mut whole, &mut queue, 9000).unwrap();
        commit(&mut whole, &mut queue);
        queue.hurry();
        commit(&mut whole, &mut queue);
        assert!(queue.mark_done(second, 1, NOW) && queue.mark_done(first, 3, NOW));
        let refused = add(&mut whole, &mut queue, 3000).unwrap();
        queue.broken = true;
        let one = (0..64).map(|block| vec![block]);
        let both_pages = [0, 1].map(|copy| layout::state_page(0, copy)).to_vec();
        for bad in one.chain([both_pages]) {
            let mut disk = MemoryDisk { unreadable: bad, ..whole.clone() };
            let (mut queue, found) = recover(&mut disk, NOW, 16, Some(&queue)).unwrap();
            let numbers = (found.messages, found.damaged, found.blind_groups);
            assert_eq!(numbers, (1, 0, 0), "without {:?}", disk.unreadable);
            assert_eq!(queue.waiting(first), None);
            assert_eq!(queue.waiting(refused), None);
            let waiting = queue.waiting(second).unwrap();
            assert!(waiting.done == 1 && waiting.recipients == 2 && !waiting.held);
            disk.unreadable.clear();
            assert_eq!(read(&mut disk, &queue, second), Ok(body(9000)));
            let (slots, free) = queue.space();
            assert_eq!(free, slots - 3);
            assert!(queue.mark_done(second, 2, NOW));
            queue.hurry();
            queue.commit(&mut disk, NOW, |_, _| {});
            assert_eq!(queue.space(), (slots, slots));
            let (_, found) = recover(&mut disk, NOW, 16, None).unwrap();
            assert_eq!((found.messages, found.damaged, found.dropped), (0, 0, 0));
        }
    }

    #[test]
    fn what_was_counted_outlives_a_failed_sync() {
        let (mut disk, mut queue) = fresh(64);
        for count in 1..4 {
            add(&mut disk, &mut queue, 10).unwrap();
            commit(&mut disk, &mut queue);
            queue.broken = true;
            let before = queue.counters();
            queue = recover(&mut disk, NOW, 16, Some(&queue)).unwrap().0;
            assert_eq!(queue.counters().committed, count);
            assert!(queue.counters().syncs >= before.syncs);
        }
    }

    #[test]
    fn a_release_outlives_a_failed_sync() {
        let (mut disk, mut queue) = fresh(64);
        let tickets: Vec<_> = (0..2).map(|_| add(&mut disk, &mut queue, 10).unwrap()).collect();
        commit(&mut disk, &mut queue);
        for ticket in &tickets {
            assert!(queue.set_flag(*ticket, State::HELD, true, NOW));
            assert!(queue.mark_done(*ticket, 1, NOW));
        }
        commit(&mut disk, &mut queue);
        assert!(queue.set_flag(tickets[0], State::HELD, false, NOW));
        // A spoiled message keeps its marks too.
        assert!(queue.mark_done(tickets[1], 2, NOW));
        queue.broken = true;
        let (queue, _) = recover(&mut disk, NOW, 16, Some(&queue)).unwrap();
        let waiting = queue.waiting(tickets[0]).unwrap();
        assert!(!waiting.held && waiting.done == 1);
        assert_eq!(queue.waiting(tickets[1]), None, "finished in memory");
    }

    #[test]
    fn a_header_that_is_all_noise_is_missed() {
        let (mut disk, mut queue) = fresh(64);
        let ticket = add(&mut disk, &mut queue, 10).unwrap();
        commit(&mut disk, &mut queue);
        let (_, found) = open(&mut disk);
        assert_eq!((found.messages, found.damaged), (1, 0));
        *disk.block(layout::block_of(ticket.slot)) = [0xFF; 4096];
        for _ in 0..2 {
            let (queue, found) = open(&mut disk);
            assert_eq!((found.messages, found.damaged, found.dropped), (0, 1, 0));
            assert!(queue.waiting(ticket).unwrap().damaged);
        }
    }

    #[test]
    fn age_is_kept_while_mail_waits_and_nothing_else_happens() {
        let (mut disk, mut queue) = fresh(64);
        assert_eq!(queue.deadline(), None, "nothing waits");
        add(&mut disk, &mut queue, 10).unwrap();
        commit(&mut disk, &mut queue);
        let hour = Duration::from_secs(3600);
        let mut now = NOW;
        for _ in 0..5 {
            now = now + hour;
            assert_eq!(queue.deadline(), Some(now));
            queue.commit(&mut disk, now, |_, _| {});
        }
        let run = queue.run(now);
        let (queue, _) = open(&mut disk);
        assert_eq!(queue.run(NOW), run + RUN_SECONDS_MIN);
    }

    #[test]
    fn changes_while_nothing_runs_age_no_mail_and_every_start_does() {
        let (mut disk, mut queue) = fresh(64);
        let ticket = add(&mut disk, &mut queue, 10).unwrap();
        commit(&mut disk, &mut queue);
        let mut run = queue.run(NOW);
        for round in 0..40 {
            let is_held = round % 2 == 0;
            let (mut queue, _) = recover_to_edit(&mut disk, NOW).unwrap();
            assert_eq!(queue.run(NOW), run);
            assert!(queue.set_flag(ticket, State::HELD, is_held, NOW));
            queue.commit(&mut disk, NOW, |_, _| {});
            if round % 8 == 7 {
                // A daemon that dies before it writes anything, among them.
                let (queue, _) = open(&mut disk);
                assert!(!queue.waiting(ticket).unwrap().held);
                run += RUN_SECONDS_MIN;
                assert_eq!(queue.run(NOW), run);
            }
        }
    }

    #[test]
    fn a_refused_header_that_landed_in_part_is_no_damage() {
        let (mut disk, _) = fresh(64);
        let pages = (0..2).map(|copy| layout::state_page(0, copy));
        let (mut queue, _) = recover(&mut disk, NOW, 16, None).unwrap();
        let mut buffer = new_block();
        let mut bad = queue.begin(&mut disk, Origin::Client, None).unwrap();
        queue.append(&mut disk, &mut bad, &mut buffer, &body(3000)).unwrap();
        disk.unwritable = pages.chain([layout::block_of(bad.first)]).collect();
        let refused = queue.finish(&mut disk, bad, &mut buffer, 7, Summary::default(), NOW);
        assert_eq!(refused, Err(QueueError::Disk));
        for _ in 0..2 {
            let mut draft = queue.begin(&mut disk, Origin::Client, None).unwrap();
            queue.append(&mut disk, &mut draft, &mut buffer, &body(10)).unwrap();
            queue.finish(&mut disk, draft, &mut buffer, 7, Summary::default(), NOW).unwrap();
            queue.commit(&mut disk, NOW, |_, receipt| assert!(receipt.is_ok()));
            assert!(queue.has_marks_waiting(), "no page can be written");
        }
        disk.unwritable.clear();
        let (_, found) = open(&mut disk);
        assert_eq!((found.messages, found.damaged, found.dropped), (2, 0, 1));
    }

    #[test]
    fn numbers_that_run_out_end_in_a_new_epoch() {
        let (mut disk, mut queue) = fresh(64);
        queue.drafts = u32::MAX - (1 << 24);
        assert!(matches!(queue.begin(&mut disk, Origin::Client, None), Err(QueueError::Broken)));
        assert!(queue.is_broken());
        let (mut queue, _) = recover(&mut disk, NOW, 16, Some(&queue)).unwrap();
        assert!(queue.begin(&mut disk, Origin::Client, None).is_ok());
    }

    #[test]
    fn strangers_together_hold_half_of_what_is_free_and_no_more() {
        let (mut disk, mut queue) = fresh(165);
        let free = queue.space().1;
        let mut begun = Vec::new();
        while let Ok(draft) = queue.begin(&mut disk, Origin::Stranger, Some(4 * 3968 - 1024)) {
            begun.push(draft);
        }
        assert_eq!(begun.len() as u32 * 4, free / 2 / 4 * 4);
        for draft in begun {
            queue.abandon(draft);
        }
        // What clients have reserved is not free.
        let client = queue.begin(&mut disk, Origin::Client, Some(80 * 3968 - 1024)).unwrap();
        let mut blocks = 0;
        while queue.begin(&mut disk, Origin::Stranger, None).is_ok() {
            blocks += 1;
        }
        assert_eq!(blocks, (free - 80) / 2);
        queue.abandon(client);
    }

    #[test]
    fn a_stale_state_page_takes_no_block_from_another_message() {
        let (mut disk, mut queue) = fresh(12);
        // Slot by slot: headers that die, then a body where they were.
        let small: Vec<_> = (0..2).map(|_| add(&mut disk, &mut queue, 10).unwrap()).collect();
        commit(&mut disk, &mut queue);
        queue.mark_done(small[0], 1, NOW);
        queue.hurry();
        commit(&mut disk, &mut queue);
        for ticket in &small {
            queue.mark_done(*ticket, 3, NOW);
        }
        queue.hurry();
        commit(&mut disk, &mut queue);
        queue.index.set_cursor(small[0].slot);
        let mut buffer = new_block();
        let mut draft = queue.begin(&mut disk, Origin::Report, None).unwrap();
        queue.append(&mut disk, &mut draft, &mut buffer, &body(9000)).unwrap();
        let large =
            queue.finish(&mut disk, draft, &mut buffer, 7, Summary::default(), NOW).unwrap();
        assert_eq!(commit(&mut disk, &mut queue), 1);
        assert!(large.slot != small[0].slot);
        let pages = [0, 1].map(|copy| layout::state_page(0, copy));
        let generation = |page: u32| disk.blocks[page as usize][8..16].try_into().unwrap();
        let by_number = |page: &u32| u64::from_le_bytes(generation(*page));
        let newest = pages.into_iter().max_by_key(by_number).unwrap();
        disk.block(newest)[100] ^= 1;
        let (queue, _) = open(&mut disk);
        assert_eq!(read(&mut disk, &queue, large), Ok(body(9000)));
    }

    #[test]
    fn more_recipients_than_bits_are_refused() {
        let (mut disk, mut queue) = fresh(64);
        let mut buffer = new_block();
        let mut draft = queue.begin(&mut disk, Origin::Client, None).unwrap();
        let mut add = |record| queue.record(&mut disk, &mut draft, &mut buffer, &record);
        add(Record::Sender(b"")).unwrap();
        for _ in 0..crate::limits::RECIPIENTS_MAX {
            add(Record::Recipient(b"a@b")).unwrap();
        }
        assert_eq!(add(Record::Recipient(b"a@b")), Err(QueueError::TooLarge));
        add(Record::DropName([b'0'; 32])).unwrap();
        assert_eq!(usize::from(draft.recipients()), crate::limits::RECIPIENTS_MAX);
    }

    #[test]
    fn a_draft_from_before_a_recovery_takes_and_frees_nothing() {
        let (mut disk, mut queue) = fresh(64);
        let mut buffer = new_block();
        let old = |queue: &mut Queue, disk: &mut MemoryDisk| {
            let mut draft = queue.begin(disk, Origin::Stranger, Some(9000)).unwrap();
            let mut buffer = new_block();
            queue.append(disk, &mut draft, &mut buffer, &body(5000)).unwrap();
            draft
        };
        let drafts: Vec<_> = (0..3).map(|_| old(&mut queue, &mut disk)).collect();
        queue.broken = true;
        let (mut queue, _) = recover(&mut disk, NOW, 16, Some(&queue)).unwrap();
        queue.index.set_cursor(drafts[0].first);
        let tickets: Vec<_> = (0..9).map(|_| add(&mut disk, &mut queue, 3000).unwrap()).collect();
        commit(&mut disk, &mut queue);
        let free = queue.space();
        let mut drafts = drafts.into_iter();
        queue.abandon(drafts.next().unwrap());
        let mut second = drafts.next().unwrap();
        let result = queue.append(&mut disk, &mut second, &mut buffer, &body(5000));
        assert_eq!(result, Err(QueueError::Broken));
        let third = drafts.next().unwrap();
        let result = queue.finish(&mut disk, third, &mut buffer, 7, Summary::default(), NOW);
        assert_eq!(result, Err(QueueError::Broken));
        assert_eq!(queue.space(), free);
        for ticket in tickets {
            assert_eq!(read(&mut disk, &queue, ticket), Ok(body(3000)));
        }
    }

    #[test]
    fn noise_is_not_dropped_at_every_start() {
        let (mut disk, _) = fresh(64);
        *disk.block(20) = [2; 4096];
        for _ in 0..2 {
            let (_, found) = open(&mut disk);
            assert_eq!((found.messages, found.damaged, found.dropped), (0, 0, 0));
        }
    }
}
