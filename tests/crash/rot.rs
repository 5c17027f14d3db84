//! Media that rot: one bit of one block flips, or blocks cannot be read for a while.
//!
//! Damage must be told when it is there, be confined to its message, and not be cried when it is
//! not there; and what could not be read for once must be whole when it can be read again.

use super::disk::SimDisk;
use super::model::{Judgement, Model, Presence};
use super::verify::{Judge, NOW, Sight, open, owner};
use mote::queue::block::{self, Data, Seal, StatePage};
use mote::queue::disk::{BLOCK_BYTES, Block};
use mote::queue::draft::{Origin, Summary};
use mote::queue::envelope::Record;
use mote::queue::layout::{self, GROUP_SLOTS, HEAD_BYTES};
use mote::queue::{Queue, Ticket};

/// What a raw look at the image says about one message.
struct Victim {
    ticket: Ticket,
    /// The flip was in what tells that there was a header.
    is_hidden: bool,
}

/// Flips one bit anywhere.
pub fn one_bit(judge: &mut Judge, mut disk: SimDisk, model: &Model) -> Result<(), String> {
    let block = judge.random.below(disk.image().len()) as u32;
    let bit = judge.random.below(BLOCK_BYTES * 8);
    // Most blocks are nearly empty: look for trouble in the heads.
    let bit = if judge.random.chance(2, 3) { bit % (256 * 8) } else { bit };
    let Some(seal) = seal_of(&disk) else { return Err("no whole superblock".to_string()) };
    // A cut may have left one whole superblock; without any, no layout survives.
    let is_whole = |number: &u32| {
        block::read_superblock(*number, &disk.image()[*number as usize], Some(&seal)).is_some()
    };
    if layout::SUPERBLOCKS.contains(&block) && !layout::SUPERBLOCKS.iter().all(is_whole) {
        return Ok(());
    }
    let slot = slot_of(&disk, block);
    let victim = slot.and_then(|slot| victim(&disk, &seal, slot, bit / 8));
    disk.flip(block, bit);
    let raw = Raw::new(&disk, &seal);
    let (queue, found) = open(&mut disk, NOW)?;
    let Sight { seen, damaged } = judge.look(&queue, &mut disk, model)?;
    let is_state = slot.is_none() && block > layout::IDENTITY;
    let mut judgement = Judgement { marks_may_be_lost: is_state, ..Judgement::default() };
    let Some(victim) = victim else {
        if !is_state && damaged.iter().any(|ticket| Some(ticket.slot) != slot) {
            return Err(format!("a flip in block {block} damaged {damaged:?}: {found:?}"));
        }
        return model.judge(&seen, false, &judgement);
    };
    // The message may have been one that nobody acknowledged, or one that was over.
    judgement.damaged =
        model.messages.iter().find(|(_, m)| m.ticket == Some(victim.ticket)).map(|(id, _)| *id);
    model.judge(&seen, false, &judgement)?;
    let is_told = damaged.iter().any(|ticket| ticket.slot == victim.ticket.slot);
    if let Some(other) = damaged.iter().find(|ticket| ticket.slot != victim.ticket.slot) {
        return Err(format!("a flip in block {block} damaged {other:?} too"));
    }
    let message = judgement.damaged.and_then(|id| model.messages.get(&id));
    let must_be_told = message.is_some_and(|m| m.presence == Presence::There && !m.may_be_over())
        && victim.ticket.seq <= raw.synced
        && (!victim.is_hidden || raw.is_known_alive(victim.ticket));
    if must_be_told && !is_told {
        return Err(format!("damage of {:?} is not told: {found:?}", victim.ticket));
    }
    Ok(())
}

/// Some data blocks cannot be read during one recovery; the queue is used; then they can again.
pub fn unreadable_for_once(
    judge: &mut Judge,
    mut disk: SimDisk,
    model: &Model,
) -> Result<(), String> {
    let blocks = disk.image().len();
    for _ in 0..=judge.random.below(3) {
        let block = judge.random.below(blocks) as u32;
        if slot_of(&disk, block).is_some() {
            disk.faults.unreadable.insert(block);
        }
    }
    let (mut queue, _) = open(&mut disk, NOW)?;
    let Sight { seen, .. } = judge.look(&queue, &mut disk, model)?;
    for seen in seen {
        let message = model.messages.get(&seen.id).ok_or("nobody's")?;
        if message.is_over() || message.presence == Presence::Draft {
            return Err(format!("message {} is back", seen.id));
        }
    }
    // The space that seems free is used.
    let mut strangers = Vec::new();
    for _ in 0..judge.random.below(12) {
        strangers.extend(stranger(judge, &mut queue, &mut disk));
    }
    queue.commit(&mut disk, NOW, |_, _| {});
    for ticket in &strangers {
        queue.remove(*ticket, NOW);
    }
    queue.commit(&mut disk, NOW, |_, _| {});
    disk.faults.unreadable.clear();
    let (queue, found) = open(&mut disk, NOW)?;
    let Sight { seen, damaged } = judge.look(&queue, &mut disk, model)?;
    // What nobody acknowledged may be incomplete, and be kept since it could not be read once.
    let is_acknowledged = |ticket: &&Ticket| {
        owner(model, **ticket).is_some_and(|id| model.messages[&id].presence == Presence::There)
    };
    if let Some(ticket) = damaged.iter().find(is_acknowledged) {
        return Err(format!("{ticket:?} stays damaged though all can be read: {found:?}"));
    }
    let judgement = Judgement { may_be_held: true, ..Judgement::default() };
    model.judge(&seen, false, &judgement)
}

/// A message of somebody else, in the space that seems free.
fn stranger(judge: &mut Judge, queue: &mut Queue, disk: &mut SimDisk) -> Option<Ticket> {
    let mut buffer = mote::queue::disk::new_block();
    let mut draft = queue.begin(disk, Origin::Client, None).ok()?;
    let bytes = vec![0; judge.random.below(20_000)];
    let written = queue
        .record(disk, &mut draft, &mut buffer, &Record::Sender(b"stranger"))
        .and_then(|()| queue.append(disk, &mut draft, &mut buffer, &bytes));
    if written.is_err() {
        queue.abandon(draft);
        return None;
    }
    queue.finish(disk, draft, &mut buffer, 0, Summary::default(), NOW).ok()
}

fn seal_of(disk: &SimDisk) -> Option<Seal> {
    block::read_identity(&disk.image()[layout::IDENTITY as usize]).ok()
}

fn slot_of(disk: &SimDisk, block: u32) -> Option<u32> {
    let slots = layout::slots_in(disk.image().len() as u32);
    (0..slots).find(|slot| layout::block_of(*slot) == block)
}

/// Whose bytes stand at `byte` of `slot`.
fn victim(disk: &SimDisk, seal: &Seal, slot: u32, byte: usize) -> Option<Victim> {
    let bytes = |slot: u32| -> &Block { &disk.image()[layout::block_of(slot) as usize] };
    let (data, _) = block::read_data(layout::block_of(slot), bytes(slot), seal)?;
    match data {
        Data::Header { header, len } => (byte < HEAD_BYTES + len).then(|| Victim {
            ticket: Ticket { slot, seq: header.seq },
            is_hidden: byte == 8 || (10..12).contains(&byte) || (16..24).contains(&byte),
        }),
        Data::Body { draft: number, len, .. } if byte < HEAD_BYTES + len => {
            let slots = layout::slots_in(disk.image().len() as u32);
            (0..slots).find_map(|slot| {
                match block::read_data(layout::block_of(slot), bytes(slot), seal)?.0 {
                    Data::Header { header, .. } if header.draft == number => {
                        let ticket = Ticket { slot, seq: header.seq };
                        Some(Victim { ticket, is_hidden: false })
                    }
                    _ => None,
                }
            })
        }
        Data::Body { .. } => None,
    }
}

/// What the image says of what is durable.
struct Raw {
    synced: u64,
    alive: Vec<Ticket>,
}

impl Raw {
    fn new(disk: &SimDisk, seal: &Seal) -> Raw {
        let image = disk.image().clone();
        let slots = layout::slots_in(image.len() as u32);
        let mut synced = 0;
        let mut alive = Vec::new();
        for group in 0..layout::groups_for(slots) {
            let mut newest: Option<(StatePage, &Block)> = None;
            for copy in 0..2 {
                let number = layout::state_page(group, copy);
                let bytes: &Block = &disk.image()[number as usize];
                if let Some(page) = block::read_state_page(number, bytes, seal)
                    && newest.is_none_or(|(other, _)| other.generation < page.generation)
                {
                    newest = Some((page, bytes));
                }
            }
            let Some((page, bytes)) = newest else { continue };
            synced = synced.max(page.synced);
            for at in 0..GROUP_SLOTS {
                let state = block::state_entry(bytes, at);
                if state.flags & block::State::DEAD == 0 {
                    alive.push(Ticket { slot: group * GROUP_SLOTS + at, seq: state.seq });
                }
            }
        }
        for slot in 0..slots {
            let number = layout::block_of(slot);
            if let Some((Data::Header { header, .. }, _)) =
                block::read_data(number, &image[number as usize], seal)
            {
                synced = synced.max(header.synced);
            }
        }
        Raw { synced, alive }
    }

    fn is_known_alive(&self, ticket: Ticket) -> bool {
        self.alive.contains(&ticket)
    }
}
