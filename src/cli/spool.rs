//! `spool check` and `spool salvage`: an image that no daemon serves, be it whole, damaged or what
//! a dead machine left. Neither ever writes to it.
//!
//! `check` names each block that is not as it was written: block, slot, message where it is known,
//! and the check that failed. A power cut may leave one superblock or state page torn; that is told
//! too, and the next start of the daemon repairs it. `salvage` writes every message that is whole
//! into a directory, those with a lost state included: then the envelope says that they may have
//! been delivered before. One that was cut off is done again into the same directory, and goes on
//! where it was (`export`). Exit 0 if all is well, 1 if damage was found, 65 if it is no image of
//! ours.
//!
//! A config is needed only to find the image when none is named: on the machine that rescues a disk
//! there may be none.

use super::exit::{Exit, Failure, finish, print, tell};
use super::export::{Export, Exported, ensure_directory};
use super::offline::Teller;
use super::unopened::{closed, unreadable};
use super::{Context, configuration};
use crate::base::ascii::Base62;
use crate::config::{self, Config, Host};
use crate::daemon::world::Clock as _;
use crate::os::clock::SystemClock;
use crate::os::image_reader::ImageReader;
use crate::os::world::image_path;
use crate::queue::disk::{Disk, new_block};
use crate::queue::inspect::{Inspection, inspect};
use crate::queue::message::Message;
use crate::queue::{Queue, Ticket};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What the envelope of a message says whose state is lost.
const BLIND_NOTE: &str = "its state is lost: recipients may have got it already";

/// Text that is kept before it is printed.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// Runs `spool` with the words after it.
pub fn run(context: &Context, words: Vec<OsString>) -> ExitCode {
    finish(context.program, act(context, &words))
}

fn act(context: &Context, words: &[OsString]) -> Result<Exit, Failure> {
    let (verb, words) = words.split_first().ok_or_else(usage)?;
    match (verb.to_str().unwrap_or_default(), words) {
        ("check", []) => check(&default_image(context)?),
        ("check", [image]) => check(Path::new(image)),
        ("salvage", [directory]) => {
            salvage(context, &default_image(context)?, Path::new(directory))
        }
        ("salvage", [image, directory]) => salvage(context, Path::new(image), Path::new(directory)),
        _ => Err(usage()),
    }
}

fn usage() -> Failure {
    Failure::usage("spool check [IMAGE], or spool salvage [IMAGE] DIR")
}

fn default_image(context: &Context) -> Result<PathBuf, Failure> {
    Ok(image_path(Path::new(&configuration::load(context)?.spool)))
}

/// A look at the image, and how many faults were found; they are in `text`, a line each, or printed
/// already.
fn look(path: &Path, text: &mut String) -> Result<(ImageReader, Inspection, u32), Failure> {
    let mut disk = ImageReader::open(path).map_err(closed)?;
    let mut faults = 0u32;
    let now = SystemClock::new().now().instant;
    let looked = inspect(&mut disk, now, |fault| {
        faults += 1;
        let _ = writeln!(text, "{fault}");
        if text.len() >= TEXT_BYTES_MAX {
            // A large image may have millions; whoever does not read them has seen enough.
            let _ = print(text);
            text.clear();
        }
    });
    let inspection = looked.map_err(|error| unreadable(path, error))?;
    Ok((disk, inspection, faults))
}

fn check(path: &Path) -> Result<Exit, Failure> {
    let mut text = String::new();
    let (mut disk, inspection, mut faults) = look(path, &mut text)?;
    let queue = &inspection.queue;
    let (mut held, mut from) = (0u32, 0);
    while let Some(waiting) = queue.next_waiting(from) {
        from = waiting.ticket.slot + 1;
        held += u32::from(waiting.held && waiting.readable);
        let id = Base62(waiting.ticket.seq);
        if waiting.readable && !has_envelope(queue, &mut disk, waiting.ticket) {
            faults += 1;
            let _ = writeln!(
                text,
                "message {id}, slot {}: its envelope is of a later version, or none",
                waiting.ticket.slot
            );
        } else if waiting.readable && waiting.damaged {
            let _ = writeln!(text, "message {id}: was held for damage; it is whole now");
        }
    }
    // Whoever reads on at leisure keeps no daemon from starting.
    drop(disk);
    let found = inspection.found;
    let (slots, free) = queue.space();
    let _ = writeln!(
        text,
        "image {}: {slots} slots, {free} free, epoch {}",
        Base62(queue.image()),
        found.epoch
    );
    let _ = writeln!(
        text,
        "{} messages whole, {held} of them held; {} damaged; {} never acknowledged",
        found.messages, found.damaged, found.dropped
    );
    print(&text)?;
    let is_well = faults == 0 && found.damaged == 0 && found.blind_groups == 0;
    Ok(if is_well { Exit::OK } else { Exit::DEGRADED })
}

fn has_envelope(queue: &Queue, disk: &mut dyn Disk, ticket: Ticket) -> bool {
    let mut block = new_block();
    let Ok(mut message) = Message::open(queue, disk, ticket, &mut block) else { return false };
    loop {
        match message.record(queue, disk, &mut block) {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

fn salvage(context: &Context, path: &Path, directory: &Path) -> Result<Exit, Failure> {
    let mut text = String::new();
    let (mut disk, mut inspection, mut faults) = look(path, &mut text)?;
    ensure_directory(directory)?;
    let blind = blind_messages(&inspection);
    let config = any_config();
    let now = SystemClock::new().now();
    let mut teller = Teller::new(&config, &mut inspection.queue, &mut disk, now);
    let (mut saved, mut before, mut lost, mut from) = (0u32, 0u32, 0u32, 0);
    while let Some(waiting) = teller.next(from) {
        from = waiting.ticket.slot + 1;
        let id = Base62(waiting.ticket.seq);
        let mut export = Export::new(directory, &id.to_string());
        if !teller.tell(waiting.ticket, |object| export.take(object)) {
            export.discard();
            lost += 1;
            let _ = writeln!(text, "message {id}: not whole, not saved");
            continue;
        }
        let is_blind = blind.binary_search(&waiting.ticket.slot).is_ok();
        match export.finish(if is_blind { BLIND_NOTE } else { "" }) {
            Ok(Exported::Made) => saved += 1,
            Ok(Exported::Before) => before += 1,
            Err(failure) => {
                faults += 1;
                tell(context.program, &failure.message);
            }
        }
    }
    // The names are durable too; a file system that cannot do that has done what it can.
    let _ = std::fs::File::open(directory).and_then(|folder| folder.sync_all());
    let place = directory.display();
    let _ = write!(text, "{saved} messages saved in {place}, {lost} not whole");
    let _ = match before {
        0 => writeln!(text),
        _ => writeln!(text, ", {before} were there already"),
    };
    print(&text)?;
    Ok(if faults == 0 && lost == 0 { Exit::OK } else { Exit::DEGRADED })
}

/// Slots of the messages whose state is lost, in order.
fn blind_messages(inspection: &Inspection) -> Vec<u32> {
    let (mut blind, mut from) = (Vec::new(), 0);
    while let Some(waiting) = inspection.queue.next_waiting(from) {
        from = waiting.ticket.slot + 1;
        if inspection.is_blind(waiting.ticket) {
            blind.push(waiting.ticket.slot);
        }
    }
    blind
}

/// The embedded one: nothing of it is told.
fn any_config() -> Config {
    config::embedded(&Host { hostname: "localhost", home: "/", is_embedded: true, run: None })
}
