//! FORMAT.md holds: a second reader, in Python and by that text alone, finds in an image exactly
//! what the queue finds.
//!
//! Skipped, with a word, where there is no `python3`.

// A test may stop at the first surprise.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use mote::base::time::Instant;
use mote::queue::block::State;
use mote::queue::disk::{self, new_block};
use mote::queue::draft::{Origin, Summary};
use mote::queue::envelope::{By, Hold, Record};
use mote::queue::layout;
use mote::queue::reader::Reader;
use mote::queue::{Queue, Ticket, recovery};
use std::process::Command;

#[path = "../src/queue/memory_disk.rs"]
#[allow(dead_code, clippy::expect_used)]
mod memory_disk;
use memory_disk::MemoryDisk;

const NOW: Instant = Instant::from_millis(0);

/// One of each, as FORMAT.md numbers them, and how the Python reader writes them down.
const RECORDS: [(Record<'_>, &str); 17] = [
    (Record::Sender(b"a@example.org"), "1 1 61406578616d706c652e6f7267"),
    (Record::Client(b"x"), "3 0 78"),
    (Record::Login(7), "4 0 07000000"),
    (Record::Utf8, "7 1 "),
    (Record::Binary, "6 1 "),
    (Record::Return(2), "8 0 02"),
    (Record::EnvelopeId(b"QQ"), "9 0 5151"),
    (Record::Final, "14 1 "),
    (Record::Hold(Hold { seconds: 60, until: -1 }), "12 1 3c000000ffffffffffffffff"),
    (Record::Account(b"al"), "13 0 616c"),
    (Record::By(By { seconds: -2, flags: 3 }), "15 0 feffffff03"),
    (Record::Notify(3), "10 1 03"),
    (Record::Original(b"rfc822;b@x"), "11 0 7266633832323b624078"),
    (Record::Recipient(b"b@x"), "2 1 624078"),
    (Record::Notify(0), "10 1 00"),
    (Record::Recipient(b"c"), "2 1 63"),
    (
        Record::DropName([b'0'; 32]),
        "5 1 3030303030303030303030303030303030303030303030303030303030303030",
    ),
];

/// An image of a given shape, and the queue on it.
struct Spool {
    disk: MemoryDisk,
    queue: Queue,
}

impl Spool {
    fn new(blocks: usize) -> Spool {
        let mut disk = MemoryDisk::new(blocks);
        recovery::format(&mut disk, core::array::from_fn(|at| (at * 37 + blocks) as u8), 0)
            .unwrap();
        let (queue, _) = recovery::recover(&mut disk, NOW, 64, None).unwrap();
        Spool { disk, queue }
    }

    fn add(&mut self, len: usize) -> Ticket {
        let Spool { disk, queue } = self;
        let mut buffer = new_block();
        let mut draft = queue.begin(disk, Origin::Client, Some(len as u64)).unwrap();
        for (record, _) in &RECORDS {
            queue.record(disk, &mut draft, &mut buffer, record).unwrap();
        }
        let body: Vec<u8> = (0..len).map(|at| (at * 7 + len) as u8).collect();
        queue.append(disk, &mut draft, &mut buffer, &body).unwrap();
        queue.finish(disk, draft, &mut buffer, 1, Summary::default(), NOW).unwrap()
    }

    fn commit(&mut self) {
        self.queue.hurry();
        self.queue.commit(&mut self.disk, NOW, |_, receipt| assert!(receipt.is_ok()));
    }

    fn spoil(&mut self, block: u32, at: usize) {
        self.disk.block(block)[at] ^= 0x10;
    }

    /// What the Python reader says, and what a recovery says, as the same lines.
    fn compare(mut self) {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        let bytes: Vec<u8> = self.disk.blocks.iter().flat_map(|block| block.to_vec()).collect();
        std::fs::write(&image, bytes).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/format_reader.py");
        let output = Command::new("python3").arg(script).arg(&image).arg(directory.path()).output();
        let output = match output {
            Ok(output) => output,
            Err(error) => return eprintln!("skipped: python3 does not run: {error}"),
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (queue, _) = recovery::recover(&mut self.disk, NOW, 64, None).unwrap();
        let mut lines = String::new();
        let mut from = 0;
        while let Some(waiting) = queue.next_waiting(from) {
            let Ticket { slot, seq } = waiting.ticket;
            from = slot + 1;
            let mut stream = Vec::new();
            let mut buffer = new_block();
            if let Ok(mut reader) =
                Reader::open(&queue, &mut self.disk, waiting.ticket, &mut buffer)
            {
                while let Some(part) = reader.next(&queue, &mut self.disk, &mut buffer).unwrap() {
                    stream.extend_from_slice(part);
                }
                let theirs = std::fs::read(directory.path().join(seq.to_string())).unwrap();
                assert!(stream == theirs, "message {seq} reads otherwise");
                let records = directory.path().join(format!("{seq}.records"));
                let records = std::fs::read_to_string(records).unwrap();
                assert!(records.lines().eq(RECORDS.iter().map(|(_, line)| *line)), "{records}");
            }
            let (held, damaged) = (u8::from(waiting.held), u8::from(waiting.damaged));
            let (done, len) = (waiting.done, stream.len());
            lines.push_str(&format!("{seq} {slot} {done} {held} {damaged} {len}\n"));
        }
        assert_eq!(String::from_utf8(output.stdout).unwrap(), lines);
        assert!(!lines.is_empty());
    }
}

#[test]
fn the_smallest_image() {
    let mut spool = Spool::new(16);
    spool.add(1);
    spool.commit();
    spool.compare();
}

#[test]
fn messages_of_all_sizes_and_states() {
    let mut spool = Spool::new(96);
    let sizes = [0, 1, 3900, 3929, 3930, 3968, 8000, 60_000];
    let tickets: Vec<Ticket> = sizes.iter().map(|len| spool.add(*len)).collect();
    spool.commit();
    assert!(spool.queue.mark_done(tickets[1], 2, NOW));
    assert!(spool.queue.mark_done(tickets[2], 3, NOW));
    assert!(spool.queue.set_flag(tickets[3], State::HELD, true, NOW));
    spool.commit();
    // Synced by nobody, but it is there.
    spool.add(5000);
    let mut buffer = new_block();
    let mut draft = spool.queue.begin(&mut spool.disk, Origin::Client, None).unwrap();
    spool.queue.append(&mut spool.disk, &mut draft, &mut buffer, &[b'x'; 9000]).unwrap();
    spool.compare();
}

#[test]
fn several_groups_and_openings() {
    let mut spool = Spool::new(400);
    for round in 0..6 {
        let tickets: Vec<Ticket> = (0..20).map(|size| spool.add(size * 900)).collect();
        spool.commit();
        for ticket in tickets.iter().skip(2) {
            assert!(spool.queue.mark_done(*ticket, 3, NOW));
        }
        if round % 2 == 0 {
            spool.commit();
            let (queue, _) = recovery::recover(&mut spool.disk, NOW, 64, None).unwrap();
            spool.queue = queue;
        }
    }
    spool.compare();
}

#[test]
fn damage_everywhere() {
    let mut spool = Spool::new(400);
    let tickets: Vec<Ticket> = (0..20).map(|_| spool.add(30_000)).collect();
    spool.commit();
    assert!(spool.queue.mark_done(tickets[4], 1, NOW));
    spool.add(1);
    spool.commit();
    for (ticket, at) in [(tickets[0], 3), (tickets[1], 16), (tickets[2], 140)] {
        spool.spoil(layout::block_of(ticket.slot), at);
    }
    spool.spoil(layout::block_of(tickets[3].slot - 2), 2000);
    assert!(spool.queue.mark_done(tickets[5], 1, NOW));
    spool.commit();
    spool.spoil(layout::block_of(tickets[5].slot), 20);
    *spool.disk.block(layout::block_of(tickets[4].slot)) = [0xFF; 4096];
    spool.spoil(layout::IDENTITY, 40);
    spool.spoil(layout::SUPERBLOCKS[0], 100);
    spool.spoil(layout::state_page(1, 0), 500);
    spool.spoil(layout::state_page(1, 1), 500);
    spool.compare();
}
