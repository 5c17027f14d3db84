//! The drop directory: where `sendmail` leaves mail while the daemon is down, and where the daemon
//! finds it. Both sides are here, since one reads what the other writes.
//!
//! A drop file is [`MAGIC`], the length of the envelope (u32, little-endian), the envelope's records
//! (`queue::envelope`), and the message's raw bytes to the end. [`leave`] writes it under a name with a
//! dot, syncs, renames, and syncs the directory: what has a name without a dot is whole.
//!
//! Anybody may put anything into a directory of mode 3777, so the reading side (threats 17) looks names
//! up in one open directory, follows no link, waits for no FIFO, and then examines what it holds open,
//! not what has the name: a regular file, one link, of bounded size (of which no more is read than it
//! had then), with the magic. The owner is told with the file; whether he may say what the envelope
//! says of him is judged by whoever reads the envelope. What is not fit is logged once and left lying,
//! since it may be somebody's; only half-written files of [`leave`] are removed, after a day.
//!
//! Limits: [`FILES_MAX`] files and as many bytes as the caller says, on the writing side; names of 32
//! hex digits, 64 complaints between restarts on the reading side.

use crate::daemon::world::Random as _;
use crate::intake::drop_directory::{DropDirectory, DropError, DropName};
use crate::os::folder::Folder;
use crate::os::process;
use crate::os::random::SystemRandom;
use core::fmt;
use std::fs::{DirBuilder, DirEntry, File, Permissions, ReadDir};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a drop file of this version begins with.
pub const MAGIC: &[u8; 10] = b"motedrop1\n";
/// Files that lie in the directory at one time.
pub const FILES_MAX: usize = 1000;

const COMPLAINTS_MAX: usize = 64;
const HALF_WRITTEN_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The reading side.
pub(crate) struct Drops {
    path: PathBuf,
    folder: Folder,
    file_bytes_max: u64,
    scan: Option<ReadDir>,
    open: Option<OpenDrop>,
    /// Inodes that were complained of.
    complaints: [u64; COMPLAINTS_MAX],
    complaints_len: usize,
}

struct OpenDrop {
    file: File,
    /// What is left of the bytes it had when it was opened.
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
            complaints: [0; COMPLAINTS_MAX],
            complaints_len: 0,
        })
    }

    fn next_entry(&mut self) -> Option<DirEntry> {
        let scan = match &mut self.scan {
            Some(scan) => scan,
            scan => scan.insert(std::fs::read_dir(&self.path).ok()?),
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
        match file.read_exact_at(&mut magic, 0) {
            Ok(()) if magic == *MAGIC => (),
            Ok(()) => return Err(Unfit::NoMagic),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Unfit::NoMagic);
            }
            Err(_) => return Err(Unfit::Unreadable),
        }
        Ok((OpenDrop { file, left: found.size() }, found.uid()))
    }

    fn complain(&mut self, entry: &DirEntry, unfit: Unfit) {
        let inode = std::os::unix::fs::DirEntryExt::ino(entry);
        let known = self.complaints.get(..self.complaints_len).unwrap_or_default();
        if unfit == Unfit::Gone || known.contains(&inode) {
            return;
        }
        // Full: one who makes files by the thousand does not get a line for each.
        let Some(place) = self.complaints.get_mut(self.complaints_len) else { return };
        *place = inode;
        self.complaints_len += 1;
        let name = entry.file_name();
        ::log::warn!("drop directory: left {name:?} alone: {}", unfit.text());
        if self.complaints_len == COMPLAINTS_MAX {
            ::log::warn!("drop directory: what else is unfit there is not told");
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
    fn next_drop(&mut self) -> Option<(DropName, u32)> {
        self.open = None;
        while let Some(entry) = self.next_entry() {
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            if let Some(rest) = name.strip_prefix('.') {
                if drop_name(rest).is_some() {
                    self.remove_half_written(&entry, name);
                }
                continue;
            }
            let Some(drop_name) = drop_name(name) else {
                self.complain(&entry, Unfit::Name);
                continue;
            };
            match self.examine(name) {
                Ok((open, owner)) => {
                    self.open = Some(open);
                    return Some((drop_name, owner));
                }
                Err(unfit) => self.complain(&entry, unfit),
            }
        }
        None
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
        self.folder.remove(name).map(drop).map_err(|error| {
            ::log::warn!("drop directory: cannot remove {name:?}: {error}");
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
    let file = folder.create_file(&temporary, 0o640).map_err(LeaveError::Io)?;
    let written = write_drop(&file, room, envelope, message).and_then(|()| {
        let final_name = temporary.trim_start_matches('.');
        folder.rename(&temporary, final_name).map_err(LeaveError::Io)
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
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LeaveError::Full,
        _ => LeaveError::Io(error),
    }
}

/// Bytes that may still come; none if the directory is full. Two who look at the same time may both
/// go in: the bound is against filling up, not to the byte.
fn room_left(directory: &Path, bytes_max: u64) -> io::Result<Option<u64>> {
    let (mut files, mut bytes) = (0, 0u64);
    for entry in std::fs::read_dir(directory)? {
        files += 1;
        // What is gone meanwhile takes no room.
        bytes = bytes.saturating_add(entry?.metadata().map_or(0, |found| found.size()));
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
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (),
        result => result?,
    }
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
    if is_shared && process::user_id() == 0 {
        if let Some(user) = process::user_by_name(process::DAEMON_USER) {
            std::os::unix::fs::chown(directory, Some(user.uid), Some(user.gid))?;
        }
    }
    std::fs::set_permissions(directory, Permissions::from_mode(mode))
}
