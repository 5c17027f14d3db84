//! What lay in the drop directory and is no mail: set aside beside it, in `rejected`, a directory
//! of the daemon's own.
//!
//! Nothing is thrown away: it may be mail that a newer `sendmail` left, or that is too large for
//! this config. The administrator looks at it, removes it, or moves it back. A rename moves a name,
//! whatever has it (threats 17): no link is followed, nothing is opened, and nothing that was set
//! aside is replaced. What cannot be moved (the directory is another's, or [`REJECTED_MAX`] lie
//! there) stays, and is known for an hour so that it is not opened at every look.
//!
//! Limits: [`REJECTED_MAX`] files, [`KNOWN_MAX`] known ones, [`LINES_MAX`] lines an hour in the log
//! and one of trouble.

use crate::os::folder::{Folder, make_directory};
use crate::os::process;
use std::ffi::OsStr;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Files that are set aside at one time.
pub(crate) const REJECTED_MAX: usize = 1000;
/// Files left lying that are known.
pub(crate) const KNOWN_MAX: usize = 1024;
/// Lines in the log an hour.
pub(crate) const LINES_MAX: u32 = 64;
const HOUR: Duration = Duration::from_secs(60 * 60);
const NAME_BYTES_MAX: usize = 64;

/// See the module's head.
pub(crate) struct Rejected {
    path: PathBuf,
    folder: Option<Folder>,
    /// How many lie there; none before they have been counted.
    count: Option<usize>,
    /// Hashes of what was left lying this hour.
    known: Box<[u64; KNOWN_MAX]>,
    next: usize,
    hasher: RandomState,
    hour: Instant,
    lines: u32,
    has_told_trouble: bool,
}

impl Rejected {
    /// For the drop directory at `drops`.
    pub(crate) fn new(drops: &Path) -> Rejected {
        Rejected {
            path: drops.with_file_name("rejected"),
            folder: None,
            count: None,
            known: Box::new([0; KNOWN_MAX]),
            next: 0,
            hasher: RandomState::new(),
            hour: Instant::now(),
            lines: 0,
            has_told_trouble: false,
        }
    }

    /// A walk through the drop directory begins.
    pub(crate) fn begin(&mut self) {
        if self.hour.elapsed() >= HOUR {
            self.known.fill(0);
            (self.hour, self.lines, self.has_told_trouble) = (Instant::now(), 0, false);
        }
        // The administrator may have made room.
        self.count = None;
    }

    /// How many lie there.
    pub(crate) fn count(&mut self) -> usize {
        let listed = std::fs::read_dir(&self.path);
        let count = listed.map_or(0, |listed| listed.take(REJECTED_MAX).count());
        self.count = Some(count);
        count
    }

    /// True for what was left lying in this hour.
    pub(crate) fn is_known(&self, name: &OsStr, inode: u64) -> bool {
        self.known.contains(&self.key(name, inode))
    }

    /// Moves `name` out of `folder`; false: it stays.
    pub(crate) fn set_aside(
        &mut self,
        folder: &Folder,
        name: &OsStr,
        inode: u64,
        why: &str,
    ) -> bool {
        match self.take(folder, name, inode) {
            Ok(()) => {
                if self.may_tell() {
                    let place = self.path.display();
                    ::log::error!("drop directory: {name:?}: {why}; moved to {place}");
                }
                true
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => {
                self.remember(name, inode);
                if !core::mem::replace(&mut self.has_told_trouble, true) {
                    let place = self.path.display();
                    ::log::error!(
                        "drop directory: {name:?}: {why}; left there, cannot be moved to {place}: \
                         {error}; no more of this for an hour"
                    );
                }
                false
            }
        }
    }

    /// It is left lying and not told again this hour.
    pub(crate) fn leave(&mut self, name: &OsStr, inode: u64, why: &str) {
        self.remember(name, inode);
        if self.may_tell() {
            ::log::warn!("drop directory: left {name:?} alone: {why}");
        }
    }

    fn take(&mut self, folder: &Folder, name: &OsStr, inode: u64) -> io::Result<()> {
        let count = self.count.unwrap_or_else(|| self.count());
        if count >= REJECTED_MAX {
            return Err(io::Error::other(format!("{REJECTED_MAX} files lie there")));
        }
        let to = self.name_for(name, inode);
        let moved = folder.move_to(name.as_bytes(), self.open()?, &to);
        if moved.is_err() {
            // Somebody may have removed the directory that is held open.
            self.folder = None;
            folder.move_to(name.as_bytes(), self.open()?, &to)?;
        }
        self.count = Some(count + 1);
        Ok(())
    }

    fn open(&mut self) -> io::Result<&Folder> {
        let folder = match self.folder.take() {
            Some(folder) => folder,
            None => {
                make_directory(&self.path, 0o700)?;
                let above = Folder::open(self.path.parent().unwrap_or(Path::new("/")))?;
                let folder = above.open_folder("rejected")?;
                let owner = folder.metadata()?.uid();
                if !process::is_trusted_owner(owner) {
                    return Err(io::Error::other(format!("it belongs to user {owner}")));
                }
                folder
            }
        };
        Ok(self.folder.insert(folder))
    }

    /// The name it had, if that is a plain one and free; nobody else makes names there.
    fn name_for(&self, name: &OsStr, inode: u64) -> String {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
        let plain = name.to_str().filter(|name| name.len() <= NAME_BYTES_MAX);
        let plain = plain.filter(|name| name.as_bytes().iter().all(is_plain)).unwrap_or("file");
        if self.path.join(plain).symlink_metadata().is_ok() {
            return format!("{plain}.{inode}");
        }
        plain.to_owned()
    }

    fn key(&self, name: &OsStr, inode: u64) -> u64 {
        self.hasher.hash_one((name, inode)).max(1)
    }

    fn remember(&mut self, name: &OsStr, inode: u64) {
        let key = self.key(name, inode);
        if let Some(place) = self.known.get_mut(self.next % KNOWN_MAX) {
            *place = key;
        }
        self.next = self.next.wrapping_add(1);
    }

    /// One who makes files by the thousand does not get a line for each.
    fn may_tell(&mut self) -> bool {
        self.lines += 1;
        if self.lines == LINES_MAX {
            ::log::warn!("drop directory: what else is unfit there is not told for an hour");
        }
        self.lines < LINES_MAX
    }
}
