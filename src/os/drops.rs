//! The drop directory: where `sendmail` leaves mail while the daemon is down, and where the daemon
//! finds it. Both sides are here, since one reads what the other writes.
//!
//! A drop file is [`MAGIC`], the length of the envelope (u32, little-endian), the envelope's
//! records (`queue::envelope`), and the message's raw bytes to the end. [`leave`] writes it under a
//! name with a dot, syncs, renames, and syncs the directory: what has a name without a dot is
//! whole.
//!
//! Anybody may put anything into a directory of mode 3777, so the reading side (threats 17) looks
//! names up in one open directory, follows no link, waits for no FIFO, and then examines what it
//! holds open, not what has the name: a regular file, one link, of bounded size (of which no more
//! is read than it had then), with the magic, behind which reading begins. The owner is told with
//! the file; whether he may say what the envelope says of him is judged by whoever reads the
//! envelope. What will never be fit is set aside (`os/rejected.rs`), what cannot be read now or has
//! another link is left lying: it may be fit tomorrow. Only half-written files of [`leave`] are
//! removed, after a day.
//!
//! Limits: [`FILES_MAX`] files of one user and as many bytes of his as the caller says, on the
//! writing side, so that nobody is shut out by what others leave; names of 32 hex digits,
//! `NAMES_A_TURN` names a turn on the reading side.

use crate::daemon::world::Random as _;
use crate::intake::drop_directory::{DropDirectory, DropError, DropFile, DropName};
use crate::os::folder::{Folder, make_directory};
use crate::os::process;
use crate::os::random::SystemRandom;
use crate::os::rejected::Rejected;
use core::fmt;
use std::ffi::OsStr;
use std::fs::{DirEntry, File, Permissions, ReadDir};
use std::io::{self, Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a drop file of this version begins with.
pub const MAGIC: &[u8; 10] = b"motedrop1\n";
/// Files of one user that lie in the directory at one time.
pub const FILES_MAX: usize = 1000;

/// Names looked at before the others get their turn.
const NAMES_A_TURN: u32 = 64;
const HALF_WRITTEN_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The reading side.
pub(crate) struct Drops {
    path: PathBuf,
    folder: Folder,
    file_bytes_max: u64,
    scan: Option<ReadDir>,
    open: Option<OpenDrop>,
    rejected: Rejected,
    /// No removal has succeeded since one was complained of.
    has_complained: bool,
}

struct OpenDrop {
    file: File,
    /// What is left of the bytes that it had when it was opened.
    left: u64,
}

impl Drops {
    /// Opens the directory; files over `file_bytes_max` are not fit.
    pub(crate) fn open(path: &Path, file_bytes_max: u64) -> io::Result<Drops> {
        Ok(Drops {
            path: path.to_owned(),
            folder: Folder::open(path)?,
            file_bytes_max,
            scan: None,
            open: None,
            rejected: Rejected::new(path),
            has_complained: false,
        })
    }

    fn next_entry(&mut self) -> Option<DirEntry> {
        let scan = match &mut self.scan {
            Some(scan) => scan,
            scan => {
                self.rejected.begin();
                scan.insert(std::fs::read_dir(&self.path).ok()?)
            }
        };
        let entry = scan.next().and_then(Result::ok);
        if entry.is_none() {
            self.scan = None;
        }
        entry
    }

    /// Opens what has that name, if it is fit.
    fn examine(&self, name: &str) -> Result<(OpenDrop, u32), Unfit> {
        let file = self.folder.open_file(name).map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT) => Unfit::Gone,
            Some(libc::ELOOP) => Unfit::NotRegular,
            Some(libc::ENXIO | libc::ENODEV) => Unfit::NotRegular,
            Some(libc::EACCES | libc::EPERM) => Unfit::Denied,
            _ => Unfit::Unreadable,
        })?;
        let found = file.metadata().map_err(|_| Unfit::Unreadable)?;
        if !found.is_file() {
            return Err(Unfit::NotRegular);
        }
        match found.nlink() {
            0 => return Err(Unfit::Gone),
            1 => (),
            _ => return Err(Unfit::Linked),
        }
        if found.size() > self.file_bytes_max {
            return Err(Unfit::TooLarge);
        }
        let mut magic = [0; MAGIC.len()];
        match (&file).read_exact(&mut magic) {
            Ok(()) if magic == *MAGIC => (),
            Ok(()) => return Err(Unfit::NoMagic),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Unfit::NoMagic);
            }
            Err(_) => return Err(Unfit::Unreadable),
        }
        let left = found.size().saturating_sub(MAGIC.len() as u64);
        Ok((OpenDrop { file, left }, found.uid()))
    }

    fn turn_away(&mut self, entry: &DirEntry, unfit: Unfit) {
        let (name, inode) = (entry.file_name(), entry.ino());
        match unfit {
            Unfit::Gone => {}
            Unfit::Unreadable | Unfit::Denied | Unfit::Linked => {
                self.rejected.leave(&name, inode, unfit.text());
            }
            Unfit::Name | Unfit::NotRegular | Unfit::TooLarge | Unfit::NoMagic => {
                self.rejected.set_aside(&self.folder, &name, inode, unfit.text());
            }
        }
    }

    /// Removes what a `sendmail` that was killed has left.
    fn remove_half_written(&self, entry: &DirEntry, name: &str) {
        let age = entry.metadata().and_then(|found| found.modified()).map(|time| time.elapsed());
        if matches!(age, Ok(Ok(age)) if age > HALF_WRITTEN_AGE) {
            // It is tried again at the next scan.
            let _ = self.folder.remove(name);
        }
    }
}

impl DropDirectory for Drops {
    fn next_drop(&mut self) -> Option<DropFile> {
        self.open = None;
        for _ in 0..NAMES_A_TURN {
            let entry = self.next_entry()?;
            let name = entry.file_name();
            if self.rejected.is_known(&name, entry.ino()) {
                continue;
            }
            let name = name.to_str().unwrap_or_default();
            if let Some(rest) = name.strip_prefix('.') {
                if drop_name(rest).is_some() {
                    self.remove_half_written(&entry, name);
                }
                continue;
            }
            let Some(drop_name) = drop_name(name) else {
                self.turn_away(&entry, Unfit::Name);
                continue;
            };
            match self.examine(name) {
                Ok((open, uid)) => {
                    let bytes = open.left;
                    self.open = Some(open);
                    return Some(DropFile { name: drop_name, uid, bytes });
                }
                Err(unfit) => self.turn_away(&entry, unfit),
            }
        }
        None
    }

    fn is_looking(&self) -> bool {
        self.scan.is_some()
    }

    fn reject_drop(&mut self, name: DropName, why: &str) -> bool {
        let inode = self.open.take().and_then(|open| Some(open.file.metadata().ok()?.ino()));
        let name = OsStr::from_bytes(&name.0);
        self.rejected.set_aside(&self.folder, name, inode.unwrap_or_default(), why)
    }

    fn rejected_drops(&mut self) -> u32 {
        self.rejected.count() as u32
    }

    fn read_drop(&mut self, into: &mut [u8]) -> Result<usize, DropError> {
        let open = self.open.as_mut().ok_or(DropError)?;
        let count = loop {
            match (&open.file).take(open.left).read(into) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                result => break result.map_err(|_| DropError)?,
            }
        };
        open.left = open.left.saturating_sub(count as u64);
        Ok(count)
    }

    fn remove_drop(&mut self, name: DropName) -> Result<(), DropError> {
        let name = core::str::from_utf8(&name.0).map_err(|_| DropError)?;
        let removed = self.folder.remove(name);
        let had_complained = core::mem::replace(&mut self.has_complained, removed.is_err());
        removed.map(drop).map_err(|error| {
            // It is tried every few seconds.
            if !had_complained {
                ::log::warn!("drop directory: cannot remove {name:?}: {error}; it is tried again");
            }
            DropError
        })
    }

    fn sync_drops(&mut self) -> Result<(), DropError> {
        self.folder.sync().map_err(|_| DropError)
    }
}

/// Why a file is left lying.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unfit {
    /// It is no longer there: nothing to complain of.
    Gone,
    Name,
    NotRegular,
    Linked,
    TooLarge,
    NoMagic,
    /// Not by us.
    Denied,
    /// Not now.
    Unreadable,
}

impl Unfit {
    fn text(self) -> &'static str {
        match self {
            Unfit::Gone => "it is gone",
            Unfit::Name => "not the name of a mail",
            Unfit::NotRegular => "not a regular file",
            Unfit::Linked => "it has more than one link",
            Unfit::TooLarge => "larger than a message may be",
            Unfit::NoMagic => "not a mail that sendmail left",
            Unfit::Denied => "the daemon may not read it",
            Unfit::Unreadable => "it cannot be read",
        }
    }
}

fn drop_name(name: &str) -> Option<DropName> {
    let bytes: [u8; 32] = name.as_bytes().try_into().ok()?;
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    bytes.iter().all(is_digit).then_some(DropName(bytes))
}

/// Why a mail could not be left; for all of them: try again later (exit 75).
#[derive(Debug)]
pub enum LeaveError {
    /// The directory belongs to this user, who is neither root nor the daemon nor the caller.
    Untrusted(u32),
    /// As many files or bytes lie there as may.
    Full,
    /// The disk is full, or the user's part of it.
    NoSpace,
    /// The message could not be read.
    Message(io::Error),
    /// The system refused.
    Io(io::Error),
}

impl fmt::Display for LeaveError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LeaveError::Untrusted(uid) => write!(formatter, "it belongs to user {uid}"),
            LeaveError::Full => write!(formatter, "too much mail waits there already"),
            LeaveError::NoSpace => write!(formatter, "the disk is full"),
            LeaveError::Message(error) => write!(formatter, "the message cannot be read: {error}"),
            LeaveError::Io(error) => write!(formatter, "{error}"),
        }
    }
}

/// Leaves a mail in `directory`, at most `bytes_max` bytes with all that lies there. When this
/// returns Ok it is durable.
pub fn leave(
    directory: &Path,
    bytes_max: u64,
    envelope: &[u8],
    message: &mut impl Read,
) -> Result<DropName, LeaveError> {
    let folder = Folder::open(directory).map_err(LeaveError::Io)?;
    let owner = folder.metadata().map_err(LeaveError::Io)?.uid();
    if !process::is_trusted_owner(owner) {
        return Err(LeaveError::Untrusted(owner));
    }
    let room = room_left(directory, bytes_max).map_err(LeaveError::Io)?.ok_or(LeaveError::Full)?;
    let (name, temporary) = new_name().map_err(LeaveError::Io)?;
    let file = folder.create_file(&temporary, 0o640).map_err(leave_error)?;
    let written = write_drop(&file, room, envelope, message).and_then(|()| {
        let final_name = temporary.trim_start_matches('.');
        folder.rename(&temporary, final_name).map_err(leave_error)
    });
    if let Err(error) = written {
        // If it stays, the daemon removes it after a day.
        let _ = folder.remove(&temporary);
        return Err(error);
    }
    folder.sync().map_err(LeaveError::Io)?;
    Ok(name)
}

fn write_drop(
    mut file: &File,
    room: u64,
    envelope: &[u8],
    message: &mut impl Read,
) -> Result<(), LeaveError> {
    // The umask may have taken the group's right to read, which the daemon needs.
    file.set_permissions(Permissions::from_mode(0o640)).map_err(LeaveError::Io)?;
    let envelope_len = u32::try_from(envelope.len()).map_err(|_| LeaveError::Full)?;
    let head = (MAGIC.len() + 4 + envelope.len()) as u64;
    let mut room = room.checked_sub(head).ok_or(LeaveError::Full)?;
    for piece in [MAGIC.as_slice(), &envelope_len.to_le_bytes(), envelope] {
        file.write_all(piece).map_err(leave_error)?;
    }
    let mut buffer = [0; 16 * 1024];
    loop {
        let count = match message.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(LeaveError::Message(error)),
        };
        room = room.checked_sub(count as u64).ok_or(LeaveError::Full)?;
        file.write_all(buffer.get(..count).unwrap_or_default()).map_err(leave_error)?;
    }
    file.sync_all().map_err(leave_error)
}

fn leave_error(error: io::Error) -> LeaveError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LeaveError::NoSpace,
        _ => LeaveError::Io(error),
    }
}

/// Bytes that the caller may still leave; none if what he has left is as much as may be. What
/// others left takes nothing of that, or one of them could keep everybody's mail out. Two who look
/// at the same time may both go in: the bound is against filling up, not to the byte.
fn room_left(directory: &Path, bytes_max: u64) -> io::Result<Option<u64>> {
    let (mut files, mut bytes) = (0, 0u64);
    let caller = process::user_id();
    for entry in std::fs::read_dir(directory)? {
        // What is gone meanwhile takes no room; a link to a file of his is not his doing.
        let Ok(found) = entry?.metadata() else { continue };
        if found.is_file() && found.uid() == caller && found.nlink() == 1 {
            files += 1;
            bytes = bytes.saturating_add(found.size());
        }
    }
    let room = bytes_max.checked_sub(bytes).filter(|room| *room > 0);
    Ok(room.filter(|_| files < FILES_MAX))
}

/// 128 random bits, as a name and as the name it has until it is whole.
fn new_name() -> io::Result<(DropName, String)> {
    let mut bits = [0; 16];
    SystemRandom::open()?.fill(&mut bits);
    let text = format!(".{:032x}", u128::from_ne_bytes(bits));
    let name = text.strip_prefix('.').and_then(drop_name);
    Ok((name.ok_or(io::ErrorKind::InvalidData)?, text))
}

/// Makes the drop directory if it is missing. `is_shared`: for every user of the system (mode 3777:
/// whoever leaves a file cannot touch another's), else for the caller alone (0700). An existing one
/// must belong to somebody to be trusted.
pub fn ensure_directory(directory: &Path, is_shared: bool) -> io::Result<()> {
    make_directory(directory, 0o700)?;
    let found = directory.symlink_metadata()?;
    if !found.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    if !process::is_trusted_owner(found.uid()) {
        return Err(io::Error::other(format!("it belongs to user {}", found.uid())));
    }
    let mode = if is_shared { 0o3777 } else { 0o700 };
    if found.permissions().mode() & 0o7777 == mode {
        return Ok(());
    }
    let set = std::fs::set_permissions(directory, Permissions::from_mode(mode));
    // vfat has no such modes: how it is mounted decides. Where nobody else can write, other users'
    // sendmail has to wait for the daemon, and nothing is open to anyone.
    let is_closed = || found.permissions().mode() & 0o022 == 0;
    let refused = set.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EPERM));
    if refused && found.uid() == process::user_id() && is_closed() { Ok(()) } else { set }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const BYTES_MAX: u64 = 1000;

    struct Spool {
        _directory: tempfile::TempDir,
        path: PathBuf,
        drops: Drops,
    }

    impl Spool {
        fn new() -> Spool {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("drop");
            ensure_directory(&path, false).unwrap();
            let drops = Drops::open(&path, BYTES_MAX).unwrap();
            Spool { _directory: directory, path, drops }
        }

        fn leave(&self, message: &str) -> Result<DropName, LeaveError> {
            leave(&self.path, BYTES_MAX, b"envelope", &mut message.as_bytes())
        }

        /// A name that is fit, for a file that perhaps is not.
        fn name(&self, digit: char) -> PathBuf {
            self.path.join(digit.to_string().repeat(32))
        }

        fn read(&mut self) -> Vec<u8> {
            let (mut all, mut piece) = (Vec::new(), [0; 7]);
            loop {
                match self.drops.read_drop(&mut piece).unwrap() {
                    0 => return all,
                    count => all.extend(&piece[..count]),
                }
            }
        }

        fn rejected(&self) -> PathBuf {
            self.path.with_file_name("rejected")
        }

        fn names(&self) -> usize {
            std::fs::read_dir(&self.path).unwrap().count()
        }
    }

    fn file(message: &str) -> Vec<u8> {
        [MAGIC, message.as_bytes()].concat()
    }

    #[test]
    fn a_full_disk_is_no_crowd() {
        for code in [libc::ENOSPC, libc::EDQUOT] {
            let error = leave_error(io::Error::from_raw_os_error(code));
            assert_eq!(error.to_string(), "the disk is full");
        }
    }

    #[test]
    fn what_is_left_is_found_read_and_removed() {
        let mut spool = Spool::new();
        assert_eq!(spool.drops.next_drop(), None);
        let name = spool.leave("From: x\n\nbody").unwrap();
        let path = spool.path.join(core::str::from_utf8(&name.0).unwrap());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o640);
        let expected = DropFile { name, uid: process::user_id(), bytes: 4 + 8 + 13 };
        assert_eq!(spool.drops.next_drop(), Some(expected));
        assert_eq!(spool.read(), b"\x08\0\0\0envelopeFrom: x\n\nbody");
        assert_eq!(spool.drops.next_drop(), None);
        assert_eq!(spool.drops.read_drop(&mut [0; 1]), Err(DropError));
        // Not removed: it is found again, in the next scan.
        assert_eq!(spool.drops.next_drop(), Some(expected));
        for _ in 0..2 {
            spool.drops.remove_drop(name).unwrap();
        }
        spool.drops.sync_drops().unwrap();
        assert_eq!(spool.drops.next_drop(), None);
        assert_eq!(spool.names(), 0);
    }

    #[test]
    fn many_are_found_each_once() {
        let mut spool = Spool::new();
        let mut left: Vec<_> = (0..20).map(|_| spool.leave("x").unwrap()).collect();
        let mut found: Vec<_> =
            core::iter::from_fn(|| spool.drops.next_drop()).map(|file| file.name).collect();
        left.sort();
        found.sort();
        assert_eq!(left, found);
    }

    #[test]
    fn nothing_but_a_plain_file_of_one_link_is_fit() {
        let mut spool = Spool::new();
        let outside = spool.path.parent().unwrap().join("outside");
        std::fs::write(&outside, file("somebody else's secret")).unwrap();
        symlink(&outside, spool.name('1')).unwrap();
        std::fs::hard_link(&outside, spool.name('2')).unwrap();
        symlink("nowhere", spool.name('3')).unwrap();
        let fifo = std::process::Command::new("mkfifo").arg(spool.name('4')).status().unwrap();
        assert!(fifo.success());
        std::fs::create_dir(spool.name('5')).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(spool.path.join("s")).unwrap();
        std::fs::rename(spool.path.join("s"), spool.name('6')).unwrap();
        assert_eq!(spool.drops.next_drop(), None);
        // Set aside by their names: what a link leads to is not touched.
        assert_eq!((spool.drops.rejected_drops(), spool.names()), (5, 1));
        let aside = spool.rejected();
        assert!(aside.join("1".repeat(32)).symlink_metadata().unwrap().is_symlink());
        assert!(std::fs::read(&outside).unwrap() == file("somebody else's secret"));
        // The second link is taken away: now it is one user's own file, as is seen in an hour.
        std::fs::remove_file(&outside).unwrap();
        assert_eq!(spool.drops.next_drop(), None);
        spool.drops.rejected = Rejected::new(&spool.path);
        assert!(spool.drops.next_drop().is_some());
    }

    #[test]
    fn size_magic_and_name_are_looked_at() {
        let mut spool = Spool::new();
        let sparse = File::create(spool.name('1')).unwrap();
        (&sparse).write_all(MAGIC).unwrap();
        sparse.set_len(1 << 40).unwrap();
        std::fs::write(spool.name('2'), file(&"x".repeat(1000))).unwrap();
        std::fs::write(spool.name('3'), "").unwrap();
        std::fs::write(spool.name('4'), "motedrop2\nmail").unwrap();
        for name in ["a", "letter", &"G".repeat(32), &"0".repeat(33), &"A".repeat(32)] {
            std::fs::write(spool.path.join(name), file("x")).unwrap();
        }
        for name in [&b"\xff\xfe"[..], b"a\nb", b"%s"] {
            std::fs::write(spool.path.join(OsStr::from_bytes(name)), "").unwrap();
        }
        assert_eq!(spool.drops.next_drop(), None);
        assert_eq!((spool.drops.rejected_drops(), spool.names()), (12, 0));
        assert!(spool.rejected().join("letter").exists());
        let limit = usize::try_from(BYTES_MAX).unwrap() - MAGIC.len();
        std::fs::write(spool.name('5'), file(&"x".repeat(limit))).unwrap();
        assert!(spool.drops.next_drop().is_some());
        assert_eq!(spool.read().len(), limit);
    }

    #[test]
    fn what_is_set_aside_replaces_nothing() {
        let mut spool = Spool::new();
        for text in ["one", "two", "three"] {
            std::fs::write(spool.name('1'), text).unwrap();
            assert_eq!(spool.drops.next_drop(), None);
        }
        assert_eq!((spool.drops.rejected_drops(), spool.names()), (3, 0));
        std::fs::write(spool.name('1'), file("fit, but not for the import")).unwrap();
        let found = spool.drops.next_drop().unwrap();
        assert!(spool.drops.reject_drop(found.name, "its envelope is unreadable"));
        assert_eq!((spool.drops.next_drop(), spool.drops.rejected_drops()), (None, 4));
        // Whoever removes the whole place gets it made again.
        std::fs::remove_dir_all(spool.rejected()).unwrap();
        std::fs::write(spool.name('2'), "").unwrap();
        assert_eq!((spool.drops.next_drop(), spool.drops.rejected_drops()), (None, 1));
    }

    /// They were opened and read at every look, behind the first few told each time, and shut
    /// everybody out.
    #[test]
    fn a_flood_is_bounded_and_shuts_nobody_out() {
        let mut spool = Spool::new();
        for number in 0..2500 {
            std::fs::write(spool.path.join(format!("n{number}")), "").unwrap();
        }
        let mail = spool.path.join("f".repeat(32));
        std::fs::write(&mail, file("mail")).unwrap();
        let (mut found, mut turns) = (0, 0);
        for _ in 0..2 {
            loop {
                found += usize::from(spool.drops.next_drop().is_some());
                turns += 1;
                if !spool.drops.is_looking() {
                    break;
                }
            }
        }
        assert_eq!(found, 2);
        assert!(turns >= 2500 / 64 + 1500 / 64, "{turns} turns");
        assert_eq!(spool.drops.rejected_drops() as usize, crate::os::rejected::REJECTED_MAX);
        assert_eq!(spool.names(), 2501 - crate::os::rejected::REJECTED_MAX);
        for entry in std::fs::read_dir(spool.rejected()).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        for entry in std::fs::read_dir(&spool.path).unwrap() {
            // Only root can give files away.
            if std::os::unix::fs::chown(entry.unwrap().path(), Some(12_345), None).is_err() {
                return;
            }
        }
        spool.leave("what others left does not count").unwrap();
    }

    #[test]
    fn what_cannot_be_set_aside_is_known_and_left() {
        let mut spool = Spool::new();
        std::fs::write(spool.rejected(), "a file where the directory should be").unwrap();
        std::fs::write(spool.name('1'), file("bad")).unwrap();
        std::fs::write(spool.name('2'), "bad too").unwrap();
        let found = spool.drops.next_drop().unwrap();
        assert!(!spool.drops.reject_drop(found.name, "cut short"));
        for _ in 0..3 {
            assert_eq!((spool.drops.next_drop(), spool.names()), (None, 2));
        }
        // In its place there is another now.
        std::fs::remove_file(spool.name('1')).unwrap();
        let new = spool.path.join(".new");
        std::fs::write(&new, file("good")).unwrap();
        std::fs::rename(new, spool.name('3')).unwrap();
        assert!(spool.drops.next_drop().is_some());
    }

    #[test]
    fn what_was_examined_is_what_is_read_whatever_has_the_name_now() {
        let mut spool = Spool::new();
        std::fs::write(spool.name('1'), file("examined")).unwrap();
        assert!(spool.drops.next_drop().is_some());
        std::fs::rename(spool.name('1'), spool.path.join(".away")).unwrap();
        std::fs::write(spool.name('1'), file("put in its place")).unwrap();
        assert_eq!(spool.read(), b"examined");
    }

    #[test]
    fn what_grows_or_shrinks_after_the_look_gives_no_more_than_it_had() {
        let mut spool = Spool::new();
        std::fs::write(spool.name('1'), file("examined")).unwrap();
        assert!(spool.drops.next_drop().is_some());
        std::fs::write(spool.name('1'), file(&"x".repeat(100_000))).unwrap();
        assert_eq!(spool.read(), b"xxxxxxxx");
        spool.drops.next_drop();
        std::fs::write(spool.name('1'), file("examined")).unwrap();
        assert!(spool.drops.next_drop().is_some());
        File::options().write(true).open(spool.name('1')).unwrap().set_len(13).unwrap();
        assert_eq!(spool.read(), b"exa");
    }

    #[test]
    fn the_owner_is_the_files_not_the_envelopes() {
        let mut spool = Spool::new();
        std::fs::write(spool.name('1'), file("mail")).unwrap();
        if std::os::unix::fs::chown(spool.name('1'), Some(12_345), None).is_err() {
            return; // Only root can give files away.
        }
        assert_eq!(spool.drops.next_drop().map(|file| file.uid), Some(12_345));
    }

    #[test]
    fn a_directory_of_a_stranger_gets_no_mail() {
        let spool = Spool::new();
        if std::os::unix::fs::chown(&spool.path, Some(12_345), None).is_err() {
            return; // Only root can give directories away.
        }
        assert!(matches!(spool.leave("secret"), Err(LeaveError::Untrusted(12_345))));
        assert!(ensure_directory(&spool.path, true).is_err());
        assert_eq!(spool.names(), 0);
    }

    #[test]
    fn a_full_directory_takes_no_more_and_nothing_half_stays() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let spool = Spool::new();
        assert!(matches!(spool.leave(&"x".repeat(1000)), Err(LeaveError::Full)));
        let broken = leave(&spool.path, BYTES_MAX, b"", &mut Broken);
        assert!(matches!(broken, Err(LeaveError::Message(_))));
        let missing = leave(&spool.path.join("none"), BYTES_MAX, b"", &mut Broken);
        assert!(matches!(missing, Err(LeaveError::Io(_))));
        assert_eq!(spool.names(), 0);
        spool.leave(&"x".repeat(900)).unwrap();
        assert!(matches!(spool.leave(&"x".repeat(100)), Err(LeaveError::Full)));
        assert_eq!(spool.names(), 1);
        for number in 1..FILES_MAX {
            File::create(spool.path.join(format!("n{number}"))).unwrap();
        }
        let one_more = leave(&spool.path, u64::MAX, b"", &mut io::empty());
        assert!(matches!(one_more, Err(LeaveError::Full)));
    }

    #[test]
    fn half_written_files_are_removed_when_they_are_old() {
        let mut spool = Spool::new();
        let (old, young) = (format!(".{}", "a".repeat(32)), format!(".{}", "b".repeat(32)));
        for name in [&old, &young, ".keep"] {
            File::create(spool.path.join(name)).unwrap();
        }
        let past = std::time::SystemTime::now() - 2 * HALF_WRITTEN_AGE;
        for name in [&old, ".keep"] {
            let file = File::open(spool.path.join(name)).unwrap();
            file.set_modified(past).unwrap();
        }
        assert_eq!(spool.drops.next_drop(), None);
        assert!(!spool.path.join(old).exists());
        assert!(spool.path.join(young).exists() && spool.path.join(".keep").exists());
    }

    #[test]
    fn the_directory_is_made_as_its_kind_wants() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("drop");
        for (is_shared, mode) in [(false, 0o700), (true, 0o3777), (true, 0o3777), (false, 0o700)] {
            ensure_directory(&path, is_shared).unwrap();
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, mode);
        }
        let link = directory.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(ensure_directory(&link, false).is_err());
    }
}
