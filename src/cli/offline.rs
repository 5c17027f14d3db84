//! The queue while no daemon runs.
//!
//! The machine that answers on the control socket is asked here without a socket, so that what is
//! told is the same. All requests of a command are asked of one opening: the image is scanned once,
//! and a change of any number of messages is one recovery. Looking (`ls`, `show`, `export`) reads
//! the image under a shared lock and writes nothing; between two requests it gives way to a daemon
//! that starts, which is asked from then on. Changing (`rm`, `hold`, `release`) is a recovery like
//! a daemon's own start, under the lock that a daemon holds for life, and what it answers is
//! durable; no mail ages by it (I17). Drop files whose mail is in the queue go first, or who is
//! removed would come in again with the next daemon. Whatever else there is to ask needs a daemon.

use super::control::{Trouble, read_answer};
use super::exit::{Exit, Failure};
use super::json::Object;
use super::unopened::{closed, unopened};
use crate::base::buffer::Buffer;
use crate::base::time::Now;
use crate::config::Config;
use crate::daemon::control::{Admin, Circumstances, Control};
use crate::daemon::listing::{Depth, Listing, Step};
use crate::daemon::world::Clock as _;
use crate::intake::devices::Devices;
use crate::intake::drop_directory::{DropDirectory, DropError, DropFile, DropName};
use crate::intake::import::Import;
use crate::os::clock::SystemClock;
use crate::os::disk::{ImageError, ImageFile};
use crate::os::drops::Drops;
use crate::os::image_reader::ImageReader;
use crate::os::world::{drop_path, image_path};
use crate::queue::disk::{Block, Disk, DiskError, new_block};
use crate::queue::inspect::inspect;
use crate::queue::recovery::recover_to_edit;
use crate::queue::{Queue, Ticket};
use crate::relay::forwarder::Forwarder;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// The image of a spool, opened for as long as a command runs.
pub struct Offline {
    config: Config,
    now: Now,
    image: Image,
}

enum Image {
    Looked { disk: ImageReader, queue: Queue },
    Changed { spool: Box<Spool>, queue: Queue },
}

impl Offline {
    /// Opens the image of `config`'s spool for requests like this one. None: there is no image, or
    /// the request needs a daemon.
    pub fn open(config: Config, request: &str) -> Result<Option<Offline>, Failure> {
        let path = image_path(Path::new(&config.spool));
        let now = SystemClock::new().now();
        let image = match verb(request) {
            "ls" | "show" | "export" => {
                let mut disk = match ImageReader::open(&path) {
                    Err(ImageError::Missing(_)) => return Ok(None),
                    result => result.map_err(closed)?,
                };
                let found = inspect(&mut disk, now.instant, |_| {});
                let queue = found.map_err(|error| unopened(&path, error))?.queue;
                Image::Looked { disk, queue }
            }
            "rm" | "hold" | "release" => {
                let disk = match ImageFile::open(&path) {
                    Err(ImageError::Missing(_)) => return Ok(None),
                    result => result.map_err(closed)?,
                };
                let drops = Drops::open(&drop_path(Path::new(&config.spool)), 0);
                let mut spool = Box::new(Spool { disk, drops });
                let recovered = recover_to_edit(&mut *spool, now.instant);
                let (mut queue, _) = recovered.map_err(|error| unopened(&path, error))?;
                Import::new(0).resume(&mut queue, &mut *spool, now.instant);
                Image::Changed { spool, queue }
            }
            _ => return Ok(None),
        };
        Ok(Some(Offline { config, now, image }))
    }

    /// True if it was opened for requests like this one.
    pub fn can(&self, request: &str) -> bool {
        match self.image {
            Image::Looked { .. } => matches!(verb(request), "ls" | "show" | "export"),
            Image::Changed { .. } => matches!(verb(request), "rm" | "hold" | "release"),
        }
    }

    /// True if a daemon that starts waits for it.
    pub fn is_wanted(&self) -> bool {
        matches!(&self.image, Image::Looked { disk, .. } if disk.is_wanted())
    }

    /// Asks it.
    pub fn ask(&mut self, request: &str, each: impl FnMut(&str, &Object)) -> Result<(), Failure> {
        let (config, now) = (&self.config, self.now);
        match &mut self.image {
            Image::Looked { disk, queue } => talk(config, queue, disk, now, request, each),
            Image::Changed { spool, queue } => {
                talk(config, queue, &mut **spool, now, request, each)
            }
        }
    }
}

fn verb(request: &str) -> &str {
    request.split(' ').next().unwrap_or_default()
}

fn talk(
    config: &Config,
    queue: &mut Queue,
    disk: &mut dyn Disk,
    now: Now,
    request: &str,
    each: impl FnMut(&str, &Object),
) -> Result<(), Failure> {
    let mut control = Control::new();
    control.open(now.instant);
    for (place, byte) in control.input_mut().iter_mut().zip(request.bytes().chain([b'\n'])) {
        *place = byte;
    }
    control.received(request.len() + 1);
    let forwarder = Forwarder::asleep(config);
    let talk = Talk { config, queue, disk, now, forwarder, control };
    read_answer(BufReader::new(talk), each).map_err(|trouble| match trouble {
        Trouble::Io(error) => Failure::new(Exit::SOFTWARE, format!("no answer: {error}")),
        Trouble::Told(failure) => failure,
    })
}

/// The image, and the drop files whose mail may be in it.
struct Spool {
    disk: ImageFile,
    drops: io::Result<Drops>,
}

impl Disk for Spool {
    fn blocks(&self) -> u32 {
        self.disk.blocks()
    }

    fn read(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError> {
        self.disk.read(number, into)
    }

    fn read_medium(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError> {
        self.disk.read_medium(number, into)
    }

    fn write(&mut self, number: u32, from: &Block) -> Result<(), DiskError> {
        self.disk.write(number, from)
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        self.disk.sync()
    }
}

impl DropDirectory for Spool {
    /// Nothing is imported here.
    fn next_drop(&mut self) -> Option<DropFile> {
        None
    }

    fn read_drop(&mut self, _: &mut [u8]) -> Result<usize, DropError> {
        Err(DropError)
    }

    fn reject_drop(&mut self, _: DropName, _: &str) -> bool {
        false
    }

    fn rejected_drops(&mut self) -> u32 {
        0
    }

    fn remove_drop(&mut self, name: DropName) -> Result<(), DropError> {
        match &mut self.drops {
            Ok(drops) => drops.remove_drop(name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(_) => Err(DropError),
        }
    }

    fn sync_drops(&mut self) -> Result<(), DropError> {
        self.drops.as_mut().map_or(Ok(()), Drops::sync_drops)
    }
}

/// The other end of the socket that is not there.
struct Talk<'a> {
    config: &'a Config,
    queue: &'a mut Queue,
    disk: &'a mut dyn Disk,
    now: Now,
    forwarder: Forwarder,
    control: Control,
}

impl Read for Talk<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.control.output().is_empty() {
            let Talk { config, queue, disk, now, forwarder, control } = self;
            let sessions = (0, config.sessions);
            let (now, disk) = (*now, &mut **disk);
            let (circumstances, devices) = (Circumstances::default(), &Devices::new());
            let mut admin =
                Admin { config, queue, forwarder, disk, now, sessions, circumstances, devices };
            let has_moved = control.proceed(&mut admin);
            if control.awaits_commit() {
                // What a daemon does once a turn.
                queue.commit(disk, now.instant, |_, _| {});
            } else if !has_moved && control.output().is_empty() {
                return Ok(0);
            }
        }
        let output = self.control.output();
        let count = output.len().min(into.len());
        for (place, byte) in into.iter_mut().zip(output) {
            *place = *byte;
        }
        self.control.sent(count, self.now.instant);
        Ok(count)
    }
}

/// Messages of a queue that was only looked at, one after the other, as `export` tells them.
pub struct Teller<'a> {
    config: &'a Config,
    queue: &'a mut Queue,
    disk: &'a mut dyn Disk,
    now: Now,
    forwarder: Forwarder,
    output: Buffer,
    block: Box<Block>,
}

/// As much as a daemon's control connection has.
const OUTPUT_BYTES: usize = 16 * 1024;

impl<'a> Teller<'a> {
    /// For `queue`, which lies on `disk`.
    pub fn new(config: &'a Config, queue: &'a mut Queue, disk: &'a mut dyn Disk, now: Now) -> Self {
        let forwarder = Forwarder::asleep(config);
        let (output, block) = (Buffer::new(OUTPUT_BYTES), new_block());
        Teller { config, queue, disk, now, forwarder, output, block }
    }

    /// The next message at or after a slot.
    pub fn next(&self, from: u32) -> Option<crate::queue::waiting::Waiting> {
        self.queue.next_waiting(from)
    }

    /// Gives `each` the lines of `export`. False: it cannot be read to its end.
    pub fn tell(&mut self, ticket: Ticket, mut each: impl FnMut(&Object)) -> bool {
        let mut listing = Listing::one(ticket, Depth::Whole);
        let mut line = Vec::new();
        loop {
            let sessions = (0, 0);
            let Teller { config, queue, disk, now, forwarder, output, block } = self;
            let (circumstances, devices) = (Circumstances::default(), &Devices::new());
            let (disk, now) = (&mut **disk, *now);
            let mut admin =
                Admin { config, queue, forwarder, disk, now, sessions, circumstances, devices };
            let step = listing.step(output, block, &mut admin);
            for byte in output.readable() {
                if *byte != b'\n' {
                    line.push(*byte);
                    continue;
                }
                // What the listing writes is ASCII, and JSON.
                let text = core::str::from_utf8(&line).unwrap_or_default();
                super::json::parse(text).iter().for_each(&mut each);
                line.clear();
            }
            output.clear();
            match step {
                Step::More => {}
                Step::Over => return true,
                Step::Damaged => return false,
            }
        }
    }
}
