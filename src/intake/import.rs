//! Mail that `sendmail` left in the drop directory, brought into the queue.
//!
//! One file at a time, a piece a turn: envelope records are checked and written anew, the body's
//! line ends are made CRLF. The message is committed first, the file removed after, and nothing is
//! attempted before the removal is durable (I14); until then the message is marked as importing. A
//! power cut in between leaves both: the drop name in the envelope then tells at the next start
//! which files are imported already ([`Import::resume`]). Until they are surely gone nothing is
//! imported, for it might be one of them.
//!
//! A file that is not what `sendmail` writes, or whose owner is not the user it names, is set aside
//! by the world, which logs it; where it cannot be, nothing is looked at again for `PAUSE`. A full
//! or broken queue leaves everything lying until later, which is logged once; nothing is written
//! for a file before there is room for all of it.

use super::adopted::Adopted;
use super::drop_directory::{DropDirectory, DropFile, DropName};
use super::envelope::{add_recipient, named_max};
use super::session::Context;
use crate::base::ascii::Base62;
use crate::base::buffer::{Buffer, Text};
use crate::base::time::{Instant, Now};
use crate::limits::TURN_BYTES_MAX;
use crate::mail::address::Address;
use crate::mail::header::Scan;
use crate::mail::normal::Normalizer;
use crate::queue::block::Header;
use crate::queue::disk::{Block, Disk, new_block};
use crate::queue::draft::{Draft, Origin, QueueError, Summary};
use crate::queue::envelope::{Record, RecordReader, Said};
use crate::queue::message::Message;
use crate::queue::reader::ReadError;
use crate::queue::{NotDurable, Queue, Receipt, Ticket};
use core::time::Duration;

const LOOP: &str = "it has more Received fields than hops allows: it goes in circles";
/// The length of the envelope, little-endian: what a drop file begins with behind its magic, which
/// the drop directory has looked at.
const HEAD_BYTES: usize = 4;
/// When to look again after trouble.
const RETRY: Duration = Duration::from_secs(5);
/// When to look again where something lies that is no mail and cannot be set aside.
const PAUSE: Duration = Duration::from_secs(60);

#[expect(clippy::large_enum_variant, reason = "there is one import, and nothing is allocated")]
enum State {
    /// Nothing to do before the directory changes, or before that time.
    Rest { until: Option<Instant> },
    /// There may be files.
    Look,
    /// A file is open.
    Read(Incoming),
    /// The message is on the batch.
    AwaitCommit { name: DropName },
    /// It is durable; its file is not surely gone.
    Remove { name: DropName, ticket: Ticket, after: Instant },
}

/// A drop file on its way in.
struct Incoming {
    file: DropFile,
    draft: Draft,
    records: RecordReader,
    /// Bytes of the envelope still to come; none before the head has been read.
    envelope: Option<u32>,
    scan: Scan,
    lines: Normalizer,
    sender: Text<254>,
    /// An address is beyond ASCII, and the envelope says so.
    needs_utf8: bool,
    is_utf8: bool,
    /// The sender's record has come.
    has_sender: bool,
    /// Recipients named so far.
    asked: u8,
    /// Of the recipient that comes next.
    said: Said,
    /// Bytes that mended line ends have added so far.
    grown: u64,
    needs: u32,
    is_open_ended: bool,
}

/// Why a file is not imported.
pub(super) enum Fault {
    /// Not what `sendmail` writes: never.
    Bad(&'static str),
    /// Not now.
    Later(&'static str),
}

impl From<QueueError> for Fault {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::TooLarge => Fault::Bad("larger than the queue"),
            QueueError::Full => Fault::Later("no room in the queue"),
            QueueError::Disk | QueueError::Broken => Fault::Later("the spool cannot be written"),
        }
    }
}

/// See the module's head.
pub struct Import {
    state: State,
    owner: u32,
    block: Box<Block>,
    input: Buffer,
    /// Something was found in this walk that can neither be imported nor be set aside.
    has_left: bool,
    /// Something was in the last one: no walk before that time.
    quiet_until: Option<Instant>,
    /// A file for which there was no room, and how much it is known to need.
    wanted: Option<(DropName, u64)>,
    /// It has been said that files have to wait.
    has_complained: bool,
    /// A file may lie behind the place where this walk through the directory is: one more is due.
    again: bool,
    /// Files of messages imported earlier may still be there: when to try to remove them again.
    resume_at: Option<Instant>,
    /// A message may be attempted now that had to wait for its file to go.
    released: bool,
}

impl Import {
    /// `owner` is what the batch shall know it by.
    pub fn new(owner: u32) -> Import {
        Import {
            state: State::Look,
            owner,
            block: new_block(),
            input: Buffer::new(4096),
            has_left: false,
            quiet_until: None,
            wanted: None,
            has_complained: false,
            again: false,
            resume_at: None,
            released: false,
        }
    }

    /// The directory has changed, or someone asks for another look.
    pub fn look(&mut self) {
        match (&self.state, self.quiet_until) {
            (State::Rest { .. }, None) => self.state = State::Look,
            (State::Rest { .. }, until) => self.state = State::Rest { until },
            _ => self.again = true,
        }
    }

    /// True once after messages have become free to be attempted, later than their commit.
    pub fn take_released(&mut self) -> bool {
        core::mem::take(&mut self.released)
    }

    /// The config has changed: where the mail goes is to be found anew.
    pub fn reloaded(&mut self) {
        if let State::Read(incoming) = &mut self.state {
            incoming.is_open_ended = true;
        }
    }

    /// When to call [`Import::proceed`]; at once if it is in the middle of something.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        if self.resume_at.is_some() && !matches!(self.state, State::AwaitCommit { .. }) {
            return self.resume_at;
        }
        match &self.state {
            State::Rest { until } => *until,
            State::Look | State::Read(_) => Some(now),
            State::AwaitCommit { .. } => None,
            State::Remove { after, .. } => Some(*after),
        }
    }

    /// At start, and after a recovery: every message that is still marked as importing has its file
    /// removed, or stays marked until that can be done.
    pub fn resume<W: Disk + DropDirectory>(
        &mut self,
        queue: &mut Queue,
        world: &mut W,
        now: Instant,
    ) {
        self.resume_at = None;
        let mut has_removed = false;
        let mut from = 0;
        while let Some(waiting) = queue.next_waiting(from) {
            from = waiting.ticket.slot + 1;
            if !waiting.importing || !waiting.readable {
                continue;
            }
            match self.drop_name(queue, world, waiting.ticket) {
                Ok(Some(name)) if world.remove_drop(name).is_ok() => {
                    queue.import_is_removed(waiting.ticket);
                    has_removed = true;
                }
                Ok(None) => queue.import_is_over(waiting.ticket),
                // Not removed; or which file it was may be known later.
                Ok(Some(_)) | Err(ReadError::Disk) => self.resume_at = Some(now + RETRY),
                // It is held for that; what its file holds is better.
                Err(_) => {}
            }
        }
        // One sync for all of them: there may be as many as the queue has mail.
        if has_removed && world.sync_drops().is_ok() {
            queue.removed_imports_are_over();
        } else if has_removed {
            self.resume_at = Some(now + RETRY);
        }
    }

    fn drop_name<W: Disk>(
        &mut self,
        queue: &Queue,
        disk: &mut W,
        ticket: Ticket,
    ) -> Result<Option<DropName>, ReadError> {
        let mut message = Message::open(queue, disk, ticket, &mut self.block)?;
        loop {
            match message.record(queue, disk, &mut self.block)? {
                Some(Record::DropName(name)) => return Ok(Some(DropName(name))),
                Some(_) => continue,
                None => return Ok(None),
            }
        }
    }

    /// Goes on by a piece.
    pub fn proceed<W: Disk + DropDirectory>(&mut self, context: &mut Context<'_, W>) {
        let now = context.now.instant;
        if let (Some(at), false) = (self.resume_at, matches!(self.state, State::AwaitCommit { .. }))
        {
            if now >= at {
                self.resume(context.queue, context.disk, now);
                (self.again, self.released) = (true, true);
            }
            return;
        }
        match core::mem::replace(&mut self.state, State::Rest { until: None }) {
            State::Rest { until } => {
                let is_time = until.is_some_and(|until| now >= until);
                self.state = if is_time { State::Look } else { State::Rest { until } };
            }
            State::Look => self.open_next(context),
            State::Read(incoming) => self.read_on(incoming, context),
            state @ State::AwaitCommit { .. } => self.state = state,
            State::Remove { name, ticket, after } if now >= after => {
                self.remove(name, ticket, context.queue, context.disk, context.now);
                self.released = true;
            }
            state @ State::Remove { .. } => self.state = state,
        }
    }

    fn open_next<W: Disk + DropDirectory>(&mut self, context: &mut Context<'_, W>) {
        let Some(file) = context.disk.next_drop() else {
            if context.disk.is_looking() {
                self.state = State::Look;
                return;
            }
            let pause = || context.now.instant + PAUSE;
            self.quiet_until = core::mem::take(&mut self.has_left).then(pause);
            if core::mem::take(&mut self.again) {
                self.look();
            } else {
                self.has_complained = false;
            }
            return;
        };
        self.state = State::Look;
        self.input.clear();
        let wanted = self.wanted.filter(|(name, _)| *name == file.name);
        let size = wanted.map_or(file.bytes, |(_, wanted)| wanted);
        match context.queue.begin(context.disk, Origin::Client, Some(size)) {
            Ok(draft) => {
                self.state = State::Read(Incoming {
                    file,
                    draft,
                    records: RecordReader::new(),
                    envelope: None,
                    scan: Scan::new(),
                    lines: Normalizer::new(),
                    sender: Text::new(),
                    needs_utf8: false,
                    is_utf8: false,
                    has_sender: false,
                    asked: 0,
                    said: Said::default(),
                    grown: 0,
                    needs: 0,
                    is_open_ended: false,
                });
            }
            Err(error) => self.fail(file.name, error.into(), context.disk, context.now.instant),
        }
    }

    /// Nothing more now; what could not be taken is looked for again.
    fn rest(&mut self, now: Instant) {
        self.again = true;
        self.state = State::Rest { until: Some(now + RETRY) };
    }

    fn read_on<W: Disk + DropDirectory>(
        &mut self,
        mut incoming: Incoming,
        context: &mut Context<'_, W>,
    ) {
        let mut budget = TURN_BYTES_MAX;
        let fault = loop {
            let Ok(count) = context.disk.read_drop(self.input.writable()) else {
                break Fault::Later("it cannot be read");
            };
            self.input.produced(count);
            let step = incoming.take(&mut self.input, &mut self.block, context);
            if let Err(fault) = step {
                break fault;
            }
            if count == 0 {
                return self.end(incoming, context);
            }
            budget = budget.saturating_sub(count);
            if budget == 0 {
                self.state = State::Read(incoming);
                return;
            }
        };
        self.give_up(incoming, fault, context);
    }

    /// Nothing came of what has been read of it.
    fn give_up<W: DropDirectory>(
        &mut self,
        incoming: Incoming,
        fault: Fault,
        context: &mut Context<'_, W>,
    ) {
        let Incoming { file: DropFile { name, bytes, .. }, draft, grown, .. } = incoming;
        context.queue.abandon(draft);
        // It is not begun with again before there is room for what it has grown by.
        self.wanted = Some((name, bytes.saturating_add(grown)));
        self.fail(name, fault, context.disk, context.now.instant);
    }

    fn fail<W: DropDirectory>(
        &mut self,
        name: DropName,
        fault: Fault,
        drops: &mut W,
        now: Instant,
    ) {
        let text = core::str::from_utf8(&name.0).unwrap_or("?");
        match fault {
            Fault::Later(why) => {
                if !core::mem::replace(&mut self.has_complained, true) {
                    log::warn!("drop file {text}: {why}; it is tried again");
                }
                self.rest(now);
            }
            Fault::Bad(why) => {
                self.has_left |= !drops.reject_drop(name, why);
                self.state = State::Look;
            }
        }
    }

    fn end<W: Disk + DropDirectory>(
        &mut self,
        mut incoming: Incoming,
        context: &mut Context<'_, W>,
    ) {
        let now = context.now;
        let closed = incoming.close(&mut self.block, context);
        // RFC 5321 §6.3: a loop is told by counting.
        let is_loop = incoming.scan.traits().received > context.config.hops;
        let checked = closed.and(if is_loop { Err(Fault::Bad(LOOP)) } else { Ok(()) });
        if let Err(fault) = checked {
            return self.give_up(incoming, fault, context);
        }
        let Incoming { file, draft, sender, scan, needs, is_open_ended, .. } = incoming;
        let DropFile { name, uid, .. } = file;
        let (size, count) = (draft.message_len(), draft.recipients());
        let flags = u32::from(scan.traits().bits) | Header::SUBMITTED | Header::IMPORTED;
        let needs = if is_open_ended { 0 } else { needs };
        let summary = Summary { flags, arrival: now.unix.seconds, needs };
        let Context { queue, disk, .. } = context;
        match queue.finish(*disk, draft, &mut self.block, self.owner, summary, now.instant) {
            Ok(ticket) => {
                self.state = State::AwaitCommit { name };
                log::info!(
                    "{}: from=<{}>, client=drop uid={uid}, size={size}, nrcpt={count}, msgid={}",
                    Base62(ticket.seq),
                    sender.as_str(),
                    scan.message_id()
                );
            }
            Err(error) => self.fail(name, error.into(), *disk, now.instant),
        }
    }

    /// The verdict of the commit.
    pub fn committed<W: DropDirectory>(
        &mut self,
        verdict: Result<Receipt, NotDurable>,
        queue: &mut Queue,
        drops: &mut W,
        now: Now,
    ) {
        let State::AwaitCommit { name } = self.state else { return };
        match verdict {
            Ok(receipt) => self.remove(name, receipt.ticket(), queue, drops, now),
            Err(NotDurable) => self.rest(now.instant),
        }
    }

    /// The queue is broken: an open draft is no more (I11).
    pub fn queue_broke(&mut self, now: Instant) {
        if let State::Read(_) = self.state {
            self.rest(now);
        }
    }

    fn remove<W: DropDirectory>(
        &mut self,
        name: DropName,
        ticket: Ticket,
        queue: &mut Queue,
        drops: &mut W,
        now: Now,
    ) {
        if drops.remove_drop(name).is_ok() && drops.sync_drops().is_ok() {
            queue.import_is_over(ticket);
            self.state = State::Look;
        } else {
            self.state = State::Remove { name, ticket, after: now.instant + RETRY };
        }
    }
}

impl Incoming {
    /// Takes what can be taken of `input`.
    fn take<W: Disk>(
        &mut self,
        input: &mut Buffer,
        block: &mut Block,
        context: &mut Context<'_, W>,
    ) -> Result<(), Fault> {
        if self.envelope.is_none() {
            let Some((head, _)) = input.readable().split_first_chunk::<HEAD_BYTES>() else {
                return Ok(());
            };
            self.envelope = Some(u32::from_le_bytes(*head));
            input.consume(HEAD_BYTES);
        }
        while let Some(left) = self.envelope.filter(|left| *left > 0) {
            let bytes = input.readable();
            let bytes = bytes.get(..left as usize).unwrap_or(bytes);
            if bytes.is_empty() {
                return Ok(());
            }
            let unreadable = |_| Fault::Bad("its envelope is unreadable");
            let taken = self.records.step(bytes).map_err(unreadable)?;
            if self.records.is_complete() {
                let record = self.records.record().map_err(unreadable)?;
                // FORMAT.md: the sender comes first, and nobody sends without one.
                if matches!(record, Record::Sender(_)) == self.has_sender {
                    return Err(Fault::Bad("its envelope does not begin with its one sender"));
                }
                self.has_sender = true;
                let adopted = Adopted { uid: self.file.uid, name: self.file.name };
                adopted.record(record, &mut self.draft, block, context)?;
                match record {
                    Record::Notify(bits) => self.said.notify = Some(bits),
                    Record::Original(text) => {
                        let text = core::str::from_utf8(text).unwrap_or_default();
                        self.said.original = Text::from(text);
                    }
                    Record::Sender(text) => {
                        self.needs_utf8 |= !text.is_ascii();
                        self.sender = Text::from(core::str::from_utf8(text).unwrap_or_default());
                    }
                    Record::Utf8 => self.is_utf8 = true,
                    Record::Recipient(text) => {
                        self.needs_utf8 |= !text.is_ascii();
                        let to = Address::parse_utf8(text)
                            .map_err(|_| Fault::Bad("a recipient is no address"))?;
                        if self.asked >= named_max(context.config) {
                            return Err(Fault::Bad("too many recipients"));
                        }
                        let said = core::mem::take(&mut self.said);
                        let lanes = add_recipient(
                            &mut self.draft,
                            &mut self.asked,
                            to,
                            &said,
                            block,
                            context,
                        )?;
                        self.needs |= lanes.unwrap_or(0);
                        self.is_open_ended |= lanes.is_none();
                    }
                    _ => {}
                }
            }
            self.envelope = Some(left - taken as u32);
            input.consume(taken);
        }
        self.body(input, block, context)
    }

    fn body<W: Disk>(
        &mut self,
        input: &mut Buffer,
        block: &mut Block,
        context: &mut Context<'_, W>,
    ) -> Result<(), Fault> {
        let mut output = [0; 1024];
        while !input.is_empty() {
            let (taken, made) = self.lines.push(input.readable(), &mut output);
            input.consume(taken);
            self.grown = (self.grown + made as u64).saturating_sub(taken as u64);
            self.append(output.get(..made).unwrap_or_default(), block, context)?;
        }
        Ok(())
    }

    /// The file has ended: is what has been read a whole message?
    fn close<W: Disk>(
        &mut self,
        block: &mut Block,
        context: &mut Context<'_, W>,
    ) -> Result<(), Fault> {
        if self.envelope != Some(0) || !self.records.is_between() || self.draft.recipients() == 0 {
            return Err(Fault::Bad("cut short"));
        }
        if self.needs_utf8 && !self.is_utf8 {
            return Err(Fault::Bad("an address is beyond ASCII"));
        }
        let mut output = [0; 16];
        let made = self.lines.finish(&mut output);
        self.append(output.get(..made).unwrap_or_default(), block, context)
    }

    fn append<W: Disk>(
        &mut self,
        bytes: &[u8],
        block: &mut Block,
        context: &mut Context<'_, W>,
    ) -> Result<(), Fault> {
        if self.draft.message_len() + bytes.len() as u64 > context.config.message_size {
            return Err(Fault::Bad("larger than message-size"));
        }
        self.scan.feed(bytes);
        Ok(context.queue.append(context.disk, &mut self.draft, block, bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::visitors::Visitors;
    use super::*;
    use crate::base::time::Now;
    use crate::config::{Config, Host, parse};
    use crate::intake::drop_directory::DropError;
    use crate::queue::memory_disk::MemoryDisk;
    use crate::queue::recovery::{format, recover};

    const RECIPIENT: Record<'_> = Record::Recipient(b"c@d");
    const SENDER: Record<'_> = Record::Sender(b"a@b");

    /// A directory with files that are shown once in each pass.
    #[derive(Default)]
    struct Directory {
        files: Vec<Vec<u8>>,
        is_unreadable: bool,
        shown: usize,
        read: usize,
        passes: u32,
        removals: u32,
        syncs: u32,
        /// What was set aside is no longer shown.
        rejected: Vec<DropName>,
        /// Nothing can be set aside.
        is_fixed: bool,
        /// Bodies that were begun with.
        reads: u32,
    }

    impl DropDirectory for MemoryDisk<Directory> {
        fn next_drop(&mut self) -> Option<DropFile> {
            let Directory { files, shown, read, passes, rejected, .. } = &mut self.beside;
            let numbered = |shown: usize| {
                let mut name = [b'0'; 32];
                name[..8].copy_from_slice(&(shown as u64).to_le_bytes());
                DropName(name)
            };
            while *shown < files.len() && rejected.contains(&numbered(*shown)) {
                *shown += 1;
            }
            let file = files.get(*shown);
            *passes += u32::from(file.is_none());
            let name = numbered(*shown);
            *shown = if file.is_none() { 0 } else { *shown + 1 };
            *read = 0;
            Some(DropFile { name, uid: 7, bytes: file?.len() as u64 })
        }
        fn read_drop(&mut self, into: &mut [u8]) -> Result<usize, DropError> {
            let Directory { files, is_unreadable, shown, read, .. } = &mut self.beside;
            if *is_unreadable {
                return Err(DropError);
            }
            let rest = &files[*shown - 1][*read..];
            let count = rest.len().min(into.len());
            into[..count].copy_from_slice(&rest[..count]);
            self.beside.reads += u32::from(*read == 0);
            self.beside.read += count;
            Ok(count)
        }
        fn reject_drop(&mut self, name: DropName, _: &str) -> bool {
            let Directory { rejected, is_fixed, .. } = &mut self.beside;
            if !*is_fixed {
                rejected.push(name);
            }
            !*is_fixed
        }
        fn rejected_drops(&mut self) -> u32 {
            self.beside.rejected.len() as u32
        }
        fn remove_drop(&mut self, _: DropName) -> Result<(), DropError> {
            self.beside.removals += 1;
            Ok(())
        }
        fn sync_drops(&mut self) -> Result<(), DropError> {
            self.beside.syncs += 1;
            Ok(())
        }
    }

    struct Office {
        config: Config,
        world: MemoryDisk<Directory>,
        queue: Queue,
        import: Import,
        now: Now,
    }

    impl Office {
        fn new(files: Vec<Vec<u8>>) -> Office {
            let host = Host { hostname: "pi.test", home: "/home", is_embedded: false, run: None };
            let config = parse(b"relay = hold\n", &host).unwrap();
            let mut world = MemoryDisk::with(64, Directory { files, ..Directory::default() });
            format(&mut world, [9; 24], 0).unwrap();
            let (queue, _) = recover(&mut world, Instant::from_millis(0), 16, None).unwrap();
            Office { config, world, queue, import: Import::new(0), now: Now::default() }
        }

        /// A turn, at the next time at which there is something to do.
        fn turn(&mut self) {
            let Office { config, world, queue, import, now } = self;
            now.instant = import.deadline(now.instant).unwrap_or(now.instant);
            let (lookout, visitors) = (&(), &mut Visitors::default());
            let (disk, both) = (&mut *world, *now);
            import.proceed(&mut Context { config, queue, disk, lookout, visitors, now: both });
            let mut verdicts = Vec::new();
            queue.commit(world, now.instant, |_, verdict| verdicts.push(verdict));
            for verdict in verdicts {
                import.committed(verdict, queue, world, *now);
            }
        }

        fn turns(&mut self, count: u32) {
            for _ in 0..count {
                self.turn();
            }
        }
    }

    fn file(records: &[Record<'_>], body: &[u8]) -> Vec<u8> {
        let mut envelope = Vec::new();
        for record in records {
            let taken: Result<(), ()> = record.encode(|bytes| {
                envelope.extend_from_slice(bytes);
                Ok(())
            });
            taken.unwrap();
        }
        [&(envelope.len() as u32).to_le_bytes(), envelope.as_slice(), body].concat()
    }

    #[test]
    fn what_could_not_be_taken_is_looked_at_again() {
        let mut office = Office::new(vec![file(&[SENDER, RECIPIENT], b"x")]);
        office.world.beside.is_unreadable = true;
        while office.world.beside.passes < 4 {
            office.turn();
            let at = office.now.instant;
            assert!(at <= Instant::from_millis(0) + 8 * RETRY, "a file has been forgotten");
        }
    }

    /// Without a sender nothing is begun at a next hop, whose slot then waited for ever.
    #[test]
    fn an_envelope_begins_with_its_one_sender() {
        for (records, messages) in [
            (&[SENDER, RECIPIENT][..], 1),
            (&[SENDER, Record::Login(7), RECIPIENT], 1),
            (&[RECIPIENT], 0),
            (&[RECIPIENT, SENDER], 0),
            (&[Record::Login(7), SENDER, RECIPIENT], 0),
            (&[SENDER, SENDER, RECIPIENT], 0),
            (&[SENDER, RECIPIENT, SENDER], 0),
            (&[SENDER], 0),
            (&[], 0),
        ] {
            let mut office = Office::new(vec![file(records, b"Subject: x\n\nx\n")]);
            office.turns(5);
            assert_eq!(office.queue.messages(), messages, "{records:?}");
            assert_eq!(office.world.beside.removals, messages, "{records:?}");
        }
    }

    /// The queue was written full and emptied again every five seconds.
    #[test]
    fn a_file_is_not_begun_with_before_there_is_room_for_it() {
        // With CRLF it is twice as long.
        let long = file(&[SENDER, RECIPIENT], &[b'\n'; 40_000]);
        let mut office = Office::new(vec![long]);
        let mut fill = |blocks: u64| {
            let size = blocks * 3968 - 1024;
            office.queue.begin(&mut office.world, Origin::Client, Some(size)).unwrap()
        };
        let (most, some) = (fill(35), fill(10));
        let before = office.queue.counters().writes;
        office.turns(20);
        assert_eq!(office.queue.counters().writes, before, "there is no room for its bytes");
        office.queue.abandon(some);
        office.turns(5);
        let written = office.queue.counters().writes;
        assert!(written > before + 5, "there is, but not for what they become");
        office.turns(40);
        assert_eq!(office.queue.counters().writes, written);
        office.queue.abandon(most);
        office.turns(20);
        assert_eq!((office.queue.messages(), office.world.beside.removals), (1, 1));
    }

    /// Hundreds of them were synced one by one at every start.
    #[test]
    fn files_of_mail_that_is_in_the_queue_are_removed_by_one_sync() {
        let mut office = Office::new(vec![file(&[SENDER, RECIPIENT], b"x\n"); 5]);
        office.turns(20);
        assert_eq!((office.queue.messages(), office.world.beside.syncs), (5, 5));
        let Office { world, import, now, .. } = &mut office;
        let (mut queue, _) = recover(world, now.instant, 16, None).unwrap();
        let importing = |queue: &Queue| queue.next_waiting(0).unwrap().importing;
        assert!(importing(&queue));
        import.resume(&mut queue, world, now.instant);
        assert!(!importing(&queue));
        assert_eq!((world.beside.removals, world.beside.syncs), (10, 6));
    }

    /// Sixteen were remembered: behind that they were read, and told, at every look for ever.
    #[test]
    fn what_is_no_mail_is_read_once_and_keeps_no_mail_from_coming_in() {
        let mut files = vec![file(&[RECIPIENT], b"x\n"); 100];
        files.push(file(&[SENDER, RECIPIENT], b"x\n"));
        let mut office = Office::new(files);
        for _ in 0..5 {
            office.import.look();
            office.turns(250);
        }
        let Directory { rejected, removals, reads, .. } = &office.world.beside;
        // What it has removed is shown again, and imported again.
        assert!(rejected.len() == 100 && *removals >= 5, "{removals}");
        assert_eq!(*reads, 100 + removals);
    }

    #[test]
    fn what_cannot_be_set_aside_is_not_read_at_every_look() {
        let mut files = vec![file(&[RECIPIENT], b"x\n"); 100];
        files.push(file(&[SENDER, RECIPIENT], b"x\n"));
        let mut office = Office::new(files);
        office.world.beside.is_fixed = true;
        office.turns(250);
        assert_eq!((office.world.beside.removals, office.world.beside.passes), (1, 1));
        for _ in 0..5 {
            office.import.look();
            let deadline = office.import.deadline(office.now.instant);
            assert_eq!(deadline, Some(Instant::from_millis(0) + PAUSE));
        }
        assert_eq!(office.world.beside.reads, 101);
        office.turns(250);
        assert_eq!((office.world.beside.removals, office.world.beside.passes), (2, 2));
    }

    /// `records` brought in, where `names` of this machine lead to so many.
    fn import_with_aliases(text: &str, records: &[Record<'_>], body: &[u8]) -> Office {
        let mut office = Office::new(vec![file(records, body)]);
        let mut around = crate::mail::aliases::Surroundings {
            is_local: &|address| address.domain().is_none(),
            include: &mut |_| Err(String::new()),
        };
        let (aliases, faults) = crate::mail::aliases::Aliases::parse(text.as_bytes(), &mut around);
        assert!(faults.is_empty(), "{faults:?}");
        office.config.aliases = aliases;
        office.turns(6);
        office
    }

    /// `sendmail` had said 0, and `-bs` 250: a list of 20 among 100 recipients, whom it puts into
    /// one file, and the mail of all of them was set aside.
    #[test]
    fn an_alias_among_many_recipients_does_not_lose_their_mail() {
        let list: Vec<String> = (0..20).map(|number| format!("m{number}@list.example")).collect();
        let text = format!("staff: {}\n", list.join(", "));
        let others: Vec<String> = (0..99).map(|number| format!("r{number}@b.example")).collect();
        let mut records = vec![SENDER, Record::Recipient(b"staff")];
        records.extend(others.iter().map(|other| Record::Recipient(other.as_bytes())));
        let office = import_with_aliases(&text, &records, b"Subject: x\n\nx\n");
        let Directory { rejected, removals, .. } = &office.world.beside;
        assert_eq!((rejected.len(), *removals), (0, 1), "set aside, imported");
        assert!(office.queue.messages() >= 1);
    }

    /// The key `hops`; here nobody counted.
    #[test]
    fn a_loop_through_the_drop_directory_is_told() {
        let body = [b"Received: x\n".repeat(251), b"\nx\n".to_vec()].concat();
        let office = import_with_aliases("", &[SENDER, RECIPIENT], &body);
        assert_eq!(office.queue.messages(), 0);
    }
}
