//! Images that somebody has made to hurt: fields changed and sealed again with the right key, and
//! bytes changed without it.
//!
//! Each image, of a few blocks, is inspected, listed, recovered, read to its end and recovered
//! again. Nothing may panic or go on for ever. Whoever has no key brings nothing into the queue
//! that was not put there, byte for byte. Whoever has it is bounded by what the format can say, and
//! no more messages come of it than there are slots. `make test` tries some hundred images of each
//! kind; `make hostile` a million, or HOSTILE=n, from SEED=s on. A violation names its seed, which
//! alone shows it again.

// A test may stop at the first surprise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use mote::base::time::{Instant, Now};
use mote::config::{self, Host};
use mote::daemon::control::{Admin, Circumstances, Control};
use mote::intake::devices::Devices;
use mote::queue::block::{self, BodyHead, Data, Header, Seal, State, StatePage, Superblock};
use mote::queue::disk::{self, BLOCK_BYTES, Block, Disk as _, new_block};
use mote::queue::draft::{Origin, Summary};
use mote::queue::envelope::Record;
use mote::queue::inspect::inspect;
use mote::queue::layout::{self, GROUP_SLOTS, HEAD_BYTES, NO_SLOT, PAYLOAD_BYTES};
use mote::queue::reader::Reader;
use mote::queue::recovery::{format, recover};
use mote::queue::{Queue, Ticket};
use mote::relay::forwarder::Forwarder;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

#[path = "crash/random.rs"]
#[allow(dead_code, unreachable_pub, missing_docs)]
mod random;
use random::Random;

#[path = "../src/queue/memory_disk.rs"]
#[allow(dead_code)]
mod memory_disk;
use memory_disk::MemoryDisk;

const BLOCKS: usize = 40;
const KEY: [u8; 24] = *b"a key that nobody knows.";
const NOW: Instant = Instant::from_millis(0);
/// Reads that a recovery of an image of this size may take, the walks along every chain included.
const READS_MAX: u64 = 10 * (BLOCKS * BLOCKS) as u64;

/// An image with some life behind it, and what was ever in its queue: number to stream.
struct Origins {
    disk: MemoryDisk,
    streams: BTreeMap<u64, Vec<u8>>,
}

fn origins() -> Origins {
    let mut disk = MemoryDisk { reads_max: READS_MAX, ..MemoryDisk::new(BLOCKS) };
    format(&mut disk, KEY, 0).unwrap();
    let (mut queue, _) = recover(&mut disk, NOW, 16, None).unwrap();
    let mut tickets = Vec::new();
    for len in [10, 9000, 300, 20_000, 0, 5000, 3000] {
        tickets.push(add(&mut disk, &mut queue, len));
        queue.commit(&mut disk, NOW, |_, receipt| assert!(receipt.is_ok()));
    }
    let streams = streams(&queue, &mut disk);
    assert_eq!(streams.len(), 7);
    queue.remove(tickets[1], NOW);
    queue.mark_done(tickets[3], 1, NOW);
    queue.set_flag(tickets[2], State::HELD, true, NOW);
    queue.commit(&mut disk, NOW, |_, _| {});
    disk.reads = 0;
    Origins { disk, streams }
}

fn add(disk: &mut MemoryDisk, queue: &mut Queue, len: usize) -> Ticket {
    let mut buffer = new_block();
    let mut draft = queue.begin(disk, Origin::Client, None).unwrap();
    let records = [
        Record::Sender(b"a@example.org"),
        Record::Client(b"[192.0.2.1] printer"),
        Record::Login(7),
        Record::Recipient(b"b@example.net"),
        Record::Recipient(b"c@example.net"),
    ];
    for record in records {
        queue.record(disk, &mut draft, &mut buffer, &record).unwrap();
    }
    let text: Vec<u8> = b"Subject: x\r\n\r\n".iter().copied().cycle().take(len).collect();
    queue.append(disk, &mut draft, &mut buffer, &text).unwrap();
    queue.finish(disk, draft, &mut buffer, 1, Summary::default(), NOW).unwrap()
}

/// Everything that can be read to its end.
fn streams(queue: &Queue, disk: &mut MemoryDisk) -> BTreeMap<u64, Vec<u8>> {
    let (mut found, mut from, mut buffer) = (BTreeMap::new(), 0, new_block());
    while let Some(waiting) = queue.next_waiting(from) {
        from = waiting.ticket.slot + 1;
        let Ok(mut reader) = Reader::open(queue, disk, waiting.ticket, &mut buffer) else {
            continue;
        };
        let mut stream = Vec::new();
        let whole = loop {
            match reader.next(queue, disk, &mut buffer) {
                Ok(Some(bytes)) => stream.extend_from_slice(bytes),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        if whole {
            let header = reader.header();
            let said = u64::from(header.envelope_len) + header.message_len;
            assert_eq!(stream.len() as u64, said, "other bytes than the header says");
            found.insert(waiting.ticket.seq, stream);
        }
    }
    found
}

/// Asks the control machine, which lists, shows and exports whatever is there.
fn ask(queue: &mut Queue, disk: &mut MemoryDisk, config: &config::Config, request: &str) {
    let mut control = Control::new();
    control.open(NOW);
    let line = format!("{request}\n");
    control.input_mut()[..line.len()].copy_from_slice(line.as_bytes());
    control.received(line.len());
    let mut forwarder = Forwarder::new(config, 0);
    let now = Now { instant: NOW, ..Now::default() };
    let mut text = Vec::new();
    for _ in 0..1000 {
        let sessions = (0, 1);
        let forwarder = &mut forwarder;
        let circumstances = Circumstances::default();
        let devices = &Devices::new();
        let mut admin =
            Admin { config, queue, forwarder, disk, now, sessions, circumstances, devices };
        control.proceed(&mut admin);
        let count = control.output().len();
        text.extend_from_slice(control.output());
        control.sent(count, NOW);
        if control.is_over(NOW) {
            assert!(text.ends_with(b"}\n"));
            let text = String::from_utf8(text).unwrap();
            for line in text.lines() {
                assert!(mote::cli::json::parse(line).is_some(), "{line}");
            }
            return;
        }
    }
    panic!("'{request}' is never answered");
}

/// Everything that anybody does with an image; what was found whole.
fn use_up(
    disk: &mut MemoryDisk,
    config: &config::Config,
    is_forged: bool,
) -> BTreeMap<u64, Vec<u8>> {
    let before = disk.blocks.clone();
    let mut faults = 0;
    let seen = inspect(disk, NOW, |fault| {
        faults += 1;
        assert!(!fault.to_string().is_empty());
    });
    assert!(faults <= 3 * BLOCKS, "{faults} faults");
    disk.reads = 0;
    let shown = seen.map(|mut inspection| {
        ask(&mut inspection.queue, disk, config, "ls");
        disk.reads = 0;
        let shown = streams(&inspection.queue, disk);
        if let Some(seq) = shown.keys().next() {
            let id = mote::base::ascii::Base62(*seq);
            ask(&mut inspection.queue, disk, config, &format!("show {id}"));
            ask(&mut inspection.queue, disk, config, &format!("export {id}"));
        }
        shown
    });
    assert!(disk.blocks.iter().zip(&before).all(|(now, before)| Rc::ptr_eq(now, before)));
    disk.reads = 0;
    let Ok((queue, found)) = recover(disk, NOW, 16, None) else { return BTreeMap::new() };
    #[cfg(debug_assertions)]
    queue.check_invariants();
    assert!(found.messages + found.damaged <= queue.space().0);
    disk.reads = 0;
    let recovered = streams(&queue, disk);
    assert!(shown.as_ref().is_ok_and(|shown| *shown == recovered), "inspected otherwise");
    disk.reads = 0;
    if found.epoch == u32::MAX {
        // Somebody with the key said so; there is no other after it.
        return recovered;
    }
    let (again, found_again) = recover(disk, NOW, 16, None).unwrap();
    disk.reads = 0;
    let streams = streams(&again, disk);
    // Made up states may hold up a message once, and are then settled.
    let is_stable = found_again.messages == found.messages && streams == recovered;
    let is_kept = recovered.iter().all(|(seq, stream)| streams.get(seq) == Some(stream));
    assert!(is_stable || (is_forged && is_kept), "recovered otherwise");
    recovered
}

/// Without the key: bits, runs of noise, blocks moved and copied, the end cut off.
fn spoil(disk: &mut MemoryDisk, random: &mut Random) {
    for _ in 0..1 + random.below(6) {
        let (at, other) = (random.below(disk.blocks.len()), random.below(disk.blocks.len()));
        match random.below(8) {
            0..3 => {
                let end = if random.chance(1, 2) { 160 } else { BLOCK_BYTES };
                let byte = random.below(end);
                Rc::make_mut(&mut disk.blocks[at])[byte] ^= 1 << random.below(8);
            }
            3 => {
                let start = random.below(BLOCK_BYTES);
                for byte in &mut Rc::make_mut(&mut disk.blocks[at])[start..] {
                    *byte = random.next() as u8;
                }
            }
            4 => disk.blocks[at] = disk.blocks[other].clone(),
            5 => disk.blocks.swap(at, other),
            6 => Rc::make_mut(&mut disk.blocks[at])[..512].fill(0),
            _ if random.chance(1, 4) => disk.blocks.truncate(at.max(1)),
            // Somebody who has a key of his own, which is not this image's.
            _ => {
                let seal = Seal::new([random.next() as u8; 24]);
                forge(disk, at as u32, &seal, random);
            }
        }
    }
}

/// A number that somebody would try.
fn odd(random: &mut Random, near: u64) -> u64 {
    match random.below(8) {
        0 => 0,
        1 => u64::MAX,
        2 => u32::MAX.into(),
        3 => near.wrapping_add(1),
        4 => near.wrapping_sub(1),
        5 => random.below(BLOCKS) as u64,
        6 => random.next(),
        _ => near,
    }
}

/// With a key: one block as it might be, or never should, sealed.
fn forge(disk: &mut MemoryDisk, number: u32, seal: &Seal, random: &mut Random) {
    let mut block = *disk.blocks[number as usize];
    match number {
        layout::IDENTITY => block::write_identity(&mut block, seal, random.next().cast_signed()),
        0 | 1 => {
            let known = block::read_superblock(number, &block, None);
            let was = known.map(|(_, superblock)| superblock).unwrap_or_default();
            let superblock = Superblock {
                generation: odd(random, was.generation),
                epoch: odd(random, was.epoch.into()) as u32,
                slots: odd(random, was.slots.into()) as u32,
                run: odd(random, was.run),
                wall: odd(random, was.wall.cast_unsigned()).cast_signed(),
            };
            block::write_superblock(number, &mut block, seal, &superblock);
        }
        3 | 4 => {
            let page = block::read_state_page(number, &block, seal).unwrap_or_default();
            let page = StatePage {
                generation: odd(random, page.generation),
                synced: odd(random, page.synced),
                run: odd(random, page.run),
            };
            let mut entries: Vec<State> =
                (0..GROUP_SLOTS).map(|index| block::state_entry(&block, index)).collect();
            for _ in 0..random.below(5) {
                let entry = &mut entries[random.below(BLOCKS)];
                entry.seq = odd(random, entry.seq);
                entry.flags = random.next() as u16 & 15;
                entry.done = u128::from(random.next()) << random.below(64);
            }
            block::write_state_page(number, &mut block, seal, &page, entries.into_iter());
        }
        _ => forge_data(number, &mut block, seal, random),
    }
    disk.blocks[number as usize] = Rc::new(block);
}

fn forge_data(number: u32, block: &mut Block, seal: &Seal, random: &mut Random) {
    let data = block::read_data(number, block, seal).map(|(data, _)| data);
    let slot = |random: &mut Random| {
        if random.chance(1, 8) { NO_SLOT } else { random.below(BLOCKS) as u32 }
    };
    if random.chance(1, 3) {
        // An envelope, or a text, that is none.
        for _ in 0..1 + random.below(8) {
            let end = if random.chance(2, 3) { 100 } else { PAYLOAD_BYTES };
            let at = random.below(end);
            block[HEAD_BYTES + at] = random.next() as u8;
        }
    }
    match data {
        Some(Data::Header { mut header, mut len }) => {
            for _ in 0..random.below(3) {
                match random.below(10) {
                    0 => header.seq = odd(random, header.seq),
                    1 => header.draft = odd(random, header.draft),
                    2 => header.first = slot(random),
                    3 => header.count = odd(random, header.count.into()) as u32,
                    4 => header.envelope_len = odd(random, header.envelope_len.into()) as u32,
                    5 => header.message_len = odd(random, header.message_len),
                    6 => header.run = odd(random, header.run),
                    7 => header.synced = odd(random, header.synced),
                    8 => header.recipients = random.next() as u8,
                    _ => len = random.below(PAYLOAD_BYTES + 1),
                }
            }
            block::write_header(number, block, seal, &header, len);
        }
        Some(Data::Body { mut draft, mut index, mut next, mut len }) => {
            match random.below(5) {
                0 => draft = odd(random, draft),
                1 => index = odd(random, index.into()) as u32,
                2 => next = slot(random),
                3 => len = random.below(PAYLOAD_BYTES + 1),
                _ => {}
            }
            block::write_body(number, block, seal, BodyHead { draft, index, next, len });
        }
        None if random.chance(1, 2) => {
            let (draft, next) = (odd(random, 1 << 32), slot(random));
            let head = BodyHead { draft, index: random.below(4) as u32, next, len: PAYLOAD_BYTES };
            block::write_body(number, block, seal, head);
        }
        None => {
            let header = Header { seq: odd(random, 1 << 32), count: 1, ..Header::default() };
            block::write_header(number, block, seal, &header, random.below(200));
        }
    }
}

/// A whole message made up with the right key: lengths and digest fit, and its envelope is what
/// somebody likes.
fn invent(disk: &mut MemoryDisk, seal: &Seal, random: &mut Random) {
    let slots = layout::slots_in(disk.blocks()) as usize;
    let bodies = random.below(4);
    let mut chain: Vec<u32> = (0..=bodies).map(|_| random.below(slots) as u32).collect();
    if random.chance(1, 4) {
        // In a circle.
        let first = chain[0];
        chain.push(first);
    }
    let (draft, seq) = (odd(random, 7 << 32), odd(random, 7 << 32));
    let mut binding = seal.binding();
    let header_slot = chain.pop().unwrap();
    let payload = |block: &mut Block, random: &mut Random| {
        let mut at = HEAD_BYTES;
        while at + 40 < BLOCK_BYTES {
            let len = random.below(30);
            let kind = random.below(8) as u8;
            let flags = random.below(2) as u8;
            block[at..at + 4].copy_from_slice(&[kind, flags, len as u8, 0]);
            block[at + 4..at + 4 + len].fill(random.next() as u8);
            at += 4 + len;
        }
    };
    for (index, slot) in chain.iter().enumerate() {
        let next = chain.get(index + 1).copied().unwrap_or(header_slot);
        let number = layout::block_of(*slot);
        let mut block = [0; BLOCK_BYTES];
        payload(&mut block, random);
        let head = BodyHead { draft, index: index as u32, next, len: PAYLOAD_BYTES };
        let tag = block::write_body(number, &mut block, seal, head);
        binding.add(number, tag);
        disk.blocks[number as usize] = Rc::new(block);
    }
    let len = random.below(PAYLOAD_BYTES + 1);
    let all = (chain.len() * PAYLOAD_BYTES + len) as u64;
    let envelope_len = random.below(all as usize + 1) as u32;
    let header = Header {
        seq,
        draft,
        first: chain.first().copied().unwrap_or(header_slot),
        count: chain.len() as u32 + 1,
        envelope_len,
        message_len: all - u64::from(envelope_len),
        recipients: random.below(130) as u8,
        digest: binding.digest(),
        ..Header::default()
    };
    let number = layout::block_of(header_slot);
    let mut block = [0; BLOCK_BYTES];
    payload(&mut block, random);
    block::write_header(number, &mut block, seal, &header, len);
    disk.blocks[number as usize] = Rc::new(block);
}

fn config() -> config::Config {
    config::embedded(&Host { hostname: "h", home: "/", is_embedded: true, run: None })
}

fn each_seed(first: u64, count: u64, try_one: impl Fn(&mut Random)) {
    for seed in first..first + count {
        let tried = catch_unwind(AssertUnwindSafe(|| try_one(&mut Random::new(seed))));
        assert!(tried.is_ok(), "SEED={seed} HOSTILE=1");
    }
}

fn without_key(first: u64, count: u64) {
    let (origins, config) = (origins(), config());
    each_seed(first, count, |random| {
        let mut disk = origins.disk.clone();
        spoil(&mut disk, random);
        for (seq, stream) in use_up(&mut disk, &config, false) {
            // The removed one may come back, if the page that knew of its death is gone: FORMAT.md.
            assert!(origins.streams.get(&seq) == Some(&stream), "message {seq} was invented");
        }
    });
}

fn with_key(first: u64, count: u64) {
    let (origins, config) = (origins(), config());
    let seal = Seal::new(KEY);
    each_seed(first, count, |random| {
        let mut disk = origins.disk.clone();
        for _ in 0..1 + random.below(4) {
            let at = random.below(disk.blocks.len()) as u32;
            match random.below(6) {
                0 => invent(&mut disk, &seal, random),
                1 => spoil_one(&mut disk, at, random),
                _ => forge(&mut disk, at, &seal, random),
            }
        }
        use_up(&mut disk, &config, true);
    });
}

fn spoil_one(disk: &mut MemoryDisk, at: u32, random: &mut Random) {
    let byte = random.below(BLOCK_BYTES);
    Rc::make_mut(&mut disk.blocks[at as usize])[byte] ^= 1 << random.below(8);
}

#[test]
fn a_sample_without_the_key() {
    without_key(1, 800);
}

#[test]
fn a_sample_with_the_key() {
    with_key(1, 800);
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn many(kind: &str, try_all: impl Fn(u64, u64)) {
    let (seed, count) = (number("SEED", 1), number("HOSTILE", 1_000_000));
    try_all(seed, count);
    println!("{kind}: images={count} from seed {seed}, violations=0");
}

#[test]
#[ignore = "a million images take minutes; the samples above are of them"]
fn all_without_the_key() {
    many("without the key", without_key);
}

#[test]
#[ignore = "a million images take minutes; the samples above are of them"]
fn all_with_the_key() {
    many("with the key", with_key);
}
