//! What lies on disk and was written by others: envelope records, and files in the drop directory.

use super::{Cuts, assert_printable};
use mote::base::time::{Instant, Now};
use mote::config::{Config, Host, parse};
use mote::intake::drop_directory::{DropDirectory, DropError, DropFile, DropName};
use mote::intake::import::Import;
use mote::intake::session::Context;
use mote::intake::visitors::Visitors;
use mote::mail::address::is_visible;
use mote::queue::Queue;
use mote::queue::disk::{Block, Disk, DiskError, new_block};
use mote::queue::envelope::{Record, RecordReader, Unreadable};
use mote::queue::message::Message;
use mote::queue::recovery::{format, recover};
use std::cell::RefCell;

/// Takes the input for records; the same ones are read, however it is cut.
pub(super) fn envelope(input: &[u8]) {
    let (mut cuts, text) = Cuts::read(input);
    let whole = records(&[text]);
    assert_eq!(records(&cuts.pieces(text)), whole);
}

fn records(pieces: &[&[u8]]) -> Result<(Vec<String>, bool), Unreadable> {
    let mut reader = RecordReader::new();
    let mut found = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let taken = reader.step(rest)?;
            assert!(taken > 0 && taken <= rest.len());
            rest = &rest[taken..];
            if reader.is_complete() {
                assert!(reader.is_between());
                let record = reader.record()?;
                assert_eq!(reader.is_recipient(), matches!(record, Record::Recipient(_)));
                assert_reads_again(record);
                found.push(format!("{record:?}"));
            }
        }
    }
    Ok((found, reader.is_between()))
}

fn assert_reads_again(record: Record<'_>) {
    let mut bytes = Vec::new();
    let _: Result<(), ()> = record.encode(|piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    });
    let mut reader = RecordReader::new();
    let mut at = 0;
    while at < bytes.len() || !reader.is_complete() {
        at += reader.step(&bytes[at..]).unwrap();
    }
    assert_eq!(reader.record(), Ok(record));
}

/// Blocks in memory, and a drop directory with one file.
#[derive(Clone)]
struct World {
    blocks: Vec<Block>,
    file: Vec<u8>,
    read: usize,
    cuts: Cuts,
    is_shown: bool,
    is_removed: bool,
}

impl Disk for World {
    fn blocks(&self) -> u32 {
        self.blocks.len() as u32
    }
    fn read(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError> {
        *into = *self.blocks.get(number as usize).ok_or(DiskError::Io)?;
        Ok(())
    }
    fn read_medium(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError> {
        self.read(number, into)
    }
    fn write(&mut self, number: u32, from: &Block) -> Result<(), DiskError> {
        *self.blocks.get_mut(number as usize).ok_or(DiskError::Io)? = *from;
        Ok(())
    }
    fn sync(&mut self) -> Result<(), DiskError> {
        Ok(())
    }
}

impl DropDirectory for World {
    fn next_drop(&mut self) -> Option<DropFile> {
        let is_first = !self.is_shown;
        self.is_shown = true;
        let bytes = self.file.len() as u64;
        is_first.then_some(DropFile { name: DropName([b'7'; 32]), uid: 1000, bytes })
    }
    fn read_drop(&mut self, into: &mut [u8]) -> Result<usize, DropError> {
        let rest = &self.file[self.read..];
        let count = self.cuts.next(rest.len()).min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        self.read += count;
        Ok(count)
    }
    fn reject_drop(&mut self, name: DropName, _: &str) -> bool {
        assert_eq!(name, DropName([b'7'; 32]));
        true
    }
    fn rejected_drops(&mut self) -> u32 {
        0
    }
    fn remove_drop(&mut self, name: DropName) -> Result<(), DropError> {
        assert_eq!(name, DropName([b'7'; 32]));
        self.is_removed = true;
        Ok(())
    }
    fn sync_drops(&mut self) -> Result<(), DropError> {
        Ok(())
    }
}

thread_local! {
    /// An empty queue; made once, since that takes longer than reading a file into it.
    static FRESH: RefCell<World> = RefCell::new(fresh());
}

fn fresh() -> World {
    let mut world = World {
        blocks: vec![[0; 4096]; 24],
        file: Vec::new(),
        read: 0,
        cuts: Cuts::WHOLE,
        is_shown: false,
        is_removed: false,
    };
    format(&mut world, [9; 24], 0).unwrap();
    world
}

fn config() -> Config {
    let host = Host { hostname: "pi.test", home: "/home", is_embedded: false, run: None };
    parse(b"relay = hold\n", &host).unwrap()
}

/// Takes the input for a drop file: it becomes one whole message, or stays where it is.
pub(super) fn drop_file(input: &[u8]) {
    let (cuts, file) = Cuts::read(input);
    let mut world = FRESH.with(|fresh| fresh.borrow().clone());
    (world.file, world.cuts) = (file.to_vec(), cuts);
    let now = Now::default();
    let (mut queue, _) = recover(&mut world, now.instant, 16, None).unwrap();
    let (_, free) = queue.space();
    let mut visitors = Visitors::default();
    let (mut import, config) = (Import::new(0), config());
    // Each turn reads so many bytes at least; and then come the end, and the walk behind it.
    for _ in 0..file.len() + 8 {
        let (queue, disk, lookout) = (&mut queue, &mut world, &());
        let visitors = &mut visitors;
        import.proceed(&mut Context { config: &config, queue, disk, lookout, visitors, now });
        let mut verdicts = Vec::new();
        queue.commit(disk, now.instant, |owner, verdict| verdicts.push((owner, verdict)));
        for (owner, verdict) in verdicts {
            assert_eq!(owner, 0);
            import.committed(verdict, queue, disk, now);
        }
        if import.deadline(now.instant).is_none_or(|next| next > Instant::from_millis(0)) {
            break;
        }
    }
    let Some(waiting) = queue.next_waiting(0) else {
        assert!(!world.is_removed, "it is in no queue, and its file is gone");
        assert_eq!(queue.space().1, free, "blocks are lost");
        return;
    };
    assert!(world.is_removed && queue.next_waiting(waiting.ticket.slot + 1).is_none());
    assert_is_mail(&queue, &mut world, waiting.ticket, file);
}

/// The message holds what the file does: addresses, and lines with one kind of end.
fn assert_is_mail(queue: &Queue, world: &mut World, ticket: mote::queue::Ticket, file: &[u8]) {
    let mut block = new_block();
    let mut message = Message::open(queue, world, ticket, &mut block).unwrap();
    let mut recipients = 0;
    while let Some(record) = message.record(queue, world, &mut block).unwrap() {
        match record {
            Record::Sender(text) | Record::Recipient(text) | Record::Client(text) => {
                match std::str::from_utf8(text).unwrap() {
                    text if text.is_ascii() => assert_printable(text.as_bytes()),
                    text => assert!(text.chars().all(is_visible)),
                }
                recipients += usize::from(matches!(record, Record::Recipient(_)));
            }
            Record::Login(uid) => assert_eq!(uid, 1000),
            Record::DropName(name) => assert_eq!(name, [b'7'; 32]),
            Record::EnvelopeId(text) | Record::Original(text) => assert_printable(text),
            Record::Return(what) => assert!((1..=2).contains(&what)),
            Record::Notify(what) => assert!(what < 8),
            Record::Utf8 => (),
            Record::Account(_)
            | Record::Binary
            | Record::Hold(_)
            | Record::Final
            | Record::By(_) => {
                panic!("no file asks that")
            }
        }
    }
    assert!(recipients > 0);
    let mut body = Vec::new();
    while let Some(piece) = message.bytes(queue, world, &mut block).unwrap() {
        let count = piece.len();
        body.extend_from_slice(piece);
        message.consume(count);
    }
    let envelope = u32::from_le_bytes(file[..4].try_into().unwrap()) as usize;
    let text = String::from_utf8_lossy(&body).replace("\r\n", "");
    assert!(!text.contains(['\r', '\n']) && envelope <= file.len());
    assert!(body.len() >= file[4 + envelope..].iter().filter(|byte| **byte != b'\n').count());
}
