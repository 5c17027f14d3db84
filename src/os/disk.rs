//! The queue's image as a file: one writer, whole blocks, reads that can get past the cache.
//!
//! [`ImageFile`] holds the file's lock for life (I14, `lock`). It is filled once when it is made
//! (I13): under a temporary name that is locked too, so that of two daemons that start together one
//! makes the image and the other is told [`ImageError::Busy`]. What stands in the blocks is the
//! queue's.
//!
//! Nothing is synced but by [`Disk::sync`], when the image is made, and where reading from the
//! medium is only to be had that way. After it has been opened nothing here allocates. Failures of
//! single blocks are [`DiskError`]s; the log has the system's own words, once per kind.

use crate::daemon::world::Random as _;
use crate::os::folder::{Folder, Space, parent, space};
use crate::os::lock::lock_to_write;
use crate::os::process::{self, User};
use crate::os::random::SystemRandom;
use crate::queue::disk::{BLOCK_BYTES, Block, Disk, DiskError};
use crate::queue::resize::Extent;
use core::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The default image.
const DEFAULT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The least that is a queue.
pub const IMAGE_BYTES_MIN: u64 = 256 * 1024;

const TMPFS: u32 = 0x0102_1994;
const RAMFS: u32 = 0x8584_58f6;
const JFFS2: u32 = 0x72b6;
const UBIFS: u32 = 0x2405_1905;
const BTRFS: u32 = 0x9123_683e;
const ZFS: u32 = 0x2fc1_2fc1;
/// Says nothing of what lies below; on routers that is jffs2 or UBIFS.
const OVERLAYFS: u32 = 0x794c_7630;

/// Why there is no image to work on. Each names the file.
#[derive(Debug)]
pub enum ImageError {
    /// There is none.
    Missing(PathBuf),
    /// Another process works on it.
    Busy {
        /// The image.
        path: PathBuf,
        /// Whose lock it is, where /proc tells.
        pid: Option<u32>,
    },
    /// Somebody only looks at it, and does not come to an end.
    Read {
        /// The image.
        path: PathBuf,
        /// Whose lock it is, where /proc tells.
        pid: Option<u32>,
    },
    /// It is too short for any image.
    Stump {
        /// The file.
        path: PathBuf,
        /// What it has.
        bytes: u64,
    },
    /// It belongs to somebody who might write it at any time.
    Stranger {
        /// The image.
        path: PathBuf,
        /// His number.
        uid: u32,
        /// The mode.
        mode: u32,
    },
    /// It could not be laid out.
    Format {
        /// The image.
        path: PathBuf,
        /// What the disk said.
        error: DiskError,
    },
    /// The system refused.
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

impl fmt::Display for ImageError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageError::Missing(path) => write!(formatter, "{}: no such queue", path.display()),
            ImageError::Busy { path, pid: Some(pid) } => {
                write!(formatter, "{}: process {pid} is already working on it", path.display())
            }
            ImageError::Busy { path, pid: None } => {
                write!(formatter, "{}: another process is already working on it", path.display())
            }
            ImageError::Read { path, pid } => {
                let who = pid.map_or("a process".to_owned(), |pid| format!("process {pid}"));
                write!(
                    formatter,
                    "{}: {who} is reading it ('queue' or 'spool', while no daemon ran): try again \
                     when it is done",
                    path.display()
                )
            }
            ImageError::Stump { path, bytes } => {
                let what = match bytes {
                    0 => "is empty".to_owned(),
                    1 => "has 1 byte".to_owned(),
                    bytes => format!("has {bytes} bytes"),
                };
                write!(
                    formatter,
                    "{}: the file {what}: a spool that was never made, or one that was cut off; if \
                     it had mail, restore it from a copy; if not, remove it, and the next start \
                     makes a new one",
                    path.display()
                )
            }
            ImageError::Stranger { path, uid, mode } => write!(
                formatter,
                "{0}: belongs to user {uid} (mode {mode:04o}), who could read and forge all mail: \
                 'chown {1} {0}' if it is yours, or move it away",
                path.display(),
                process::user_id()
            ),
            ImageError::Format { path, error: DiskError::Full } => {
                write!(formatter, "{}: no space left for the queue", path.display())
            }
            ImageError::Format { path, error } => {
                write!(formatter, "{}: cannot be laid out: {error:?}", path.display())
            }
            ImageError::Io { path, action, error } => {
                write!(formatter, "{}: cannot {action}: {error}", path.display())
            }
        }
    }
}

/// The image, open and locked.
pub struct ImageFile {
    file: File,
    blocks: u32,
    medium: Medium,
    /// What was read from the medium last, until something is written: only recovery reads so, and
    /// it reads everything in order.
    window: Option<Box<Window>>,
    logged: u8,
}

/// How the medium itself is read.
enum Medium {
    /// Past the cache.
    Direct(File),
    /// The file system knows no O_DIRECT: what is cached is written and dropped first.
    /// `dropped`: it was, and nothing was written since.
    Cached { dropped: bool },
}

/// Blocks that were read at once: a medium asked for single ones takes ten times as long.
struct Window {
    bytes: Aligned,
    /// The first of them, and how many are valid.
    first: u32,
    count: u32,
}

const WINDOW_BLOCKS: usize = 16;

/// O_DIRECT wants memory aligned as the device's blocks are.
#[repr(C, align(4096))]
struct Aligned([u8; WINDOW_BLOCKS * BLOCK_BYTES]);

impl ImageFile {
    /// Opens the image at `path` and takes its lock.
    pub fn open(path: &Path) -> Result<ImageFile, ImageError> {
        let file = match open_file(path, OpenOptions::new().read(true).write(true)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ImageError::Missing(path.to_owned()));
            }
            result => result.map_err(failed(path, "open it"))?,
        };
        judge_owner(&file, path)?;
        lock_to_write(&file, path)?;
        let image = ImageFile::new(file, path)?;
        judge_length(&image.file, path)?;
        Ok(image)
    }

    /// Makes an image of `blocks` blocks at `path`, laid out by `format`, open and locked. One that
    /// has come into being meanwhile is somebody's who is just starting: [`ImageError::Busy`].
    pub fn create(
        path: &Path,
        blocks: u32,
        format: impl FnOnce(&mut ImageFile) -> Result<(), DiskError>,
    ) -> Result<ImageFile, ImageError> {
        let parent = parent(path);
        let folder = Folder::open(parent).map_err(failed(parent, "open the directory"))?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let temporary = path.with_file_name(name);
        let file = lock_temporary(&temporary)?;
        if path.symlink_metadata().is_ok() {
            let _ = std::fs::remove_file(&temporary);
            return Err(ImageError::Busy { path: path.to_owned(), pid: None });
        }
        let made = fill_and_format(file, &temporary, &folder, blocks, format);
        let image = made.inspect_err(|_| {
            let _ = std::fs::remove_file(&temporary);
        })?;
        std::fs::rename(&temporary, path).map_err(failed(path, "put it into place"))?;
        folder.sync().map_err(failed(parent, "sync the directory"))?;
        Ok(image)
    }

    /// Gives it to `user`, if it is root's.
    pub(super) fn give(&self, user: &User) -> io::Result<()> {
        match self.file.metadata()?.uid() {
            0 => std::os::unix::fs::fchown(&self.file, Some(user.uid), Some(user.gid)),
            _ => Ok(()),
        }
    }

    fn new(file: File, path: &Path) -> Result<ImageFile, ImageError> {
        let found = file.metadata().map_err(failed(path, "examine it"))?;
        if !found.is_file() {
            let error = io::Error::other("not a regular file");
            return Err(ImageError::Io { path: path.to_owned(), action: "use it", error });
        }
        // Not by its name again: the lock is on this file, whatever its name is by now.
        let again = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(again);
        let medium = match direct {
            Ok(direct) => Medium::Direct(direct),
            Err(_) => Medium::Cached { dropped: false },
        };
        let blocks = u32::try_from(found.size() / BLOCK_BYTES as u64).unwrap_or(u32::MAX);
        Ok(ImageFile { file, blocks, medium, window: None, logged: 0 })
    }

    fn read_direct(&mut self, number: u32, into: &mut Block) -> io::Result<()> {
        let Medium::Direct(direct) = &self.medium else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let window = self.window.get_or_insert_with(|| {
            let bytes = Aligned([0; WINDOW_BLOCKS * BLOCK_BYTES]);
            Box::new(Window { bytes, first: 0, count: 0 })
        });
        let at = number.wrapping_sub(window.first);
        if at >= window.count {
            window.fill(direct, number, self.blocks.saturating_sub(number))?;
        }
        let at = number.wrapping_sub(window.first) as usize * BLOCK_BYTES;
        let rest = window.bytes.0.get(at..).and_then(|rest| rest.first_chunk());
        *into = *rest.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(())
    }

    fn note_write(&mut self) {
        self.window = None;
        if let Medium::Cached { dropped } = &mut self.medium {
            *dropped = false;
        }
    }

    /// What the queue is told; the log has the rest, once per kind so that a dying disk does not
    /// fill another.
    fn failed(&mut self, action: &str, error: &io::Error) -> DiskError {
        let (kind, bit) = match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => (DiskError::Full, 1),
            Some(libc::EROFS) => (DiskError::ReadOnly, 2),
            _ => (DiskError::Io, 4),
        };
        if self.logged & bit == 0 {
            self.logged |= bit;
            ::log::error!("queue image: cannot {action}: {error}");
        }
        kind
    }
}

impl Window {
    /// Reads block `number` and those behind it, of which there are `left`; only it, where the
    /// medium does not give all of them.
    fn fill(&mut self, direct: &File, number: u32, left: u32) -> io::Result<()> {
        self.count = 0;
        self.first = number;
        for count in [left.clamp(1, WINDOW_BLOCKS as u32), 1] {
            let room = self.bytes.0.get_mut(..count as usize * BLOCK_BYTES).unwrap_or_default();
            match direct.read_exact_at(room, offset(number)) {
                Ok(()) => {
                    self.count = count;
                    return Ok(());
                }
                Err(error) if count == 1 => return Err(error),
                Err(_) => {}
            }
        }
        Ok(())
    }
}

impl Disk for ImageFile {
    fn blocks(&self) -> u32 {
        self.blocks
    }

    fn read(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError> {
        let result = self.file.read_exact_at(into, offset(number));
        result.map_err(|error| self.failed("read", &error))
    }

    fn read_medium(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError> {
        if matches!(self.medium, Medium::Direct(_)) {
            match self.read_direct(number, into) {
                Ok(()) => return Ok(()),
                // Some file systems take the flag and then refuse the read.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    self.medium = Medium::Cached { dropped: false };
                }
                Err(error) => return Err(self.failed("read", &error)),
            }
        }
        if let Medium::Cached { dropped: false } = self.medium {
            let result = self.file.sync_data();
            result.map_err(|error| self.failed("sync", &error))?;
            drop_cache(self.file.as_raw_fd());
            self.medium = Medium::Cached { dropped: true };
        }
        self.read(number, into)
    }

    fn write(&mut self, number: u32, from: &Block) -> Result<(), DiskError> {
        if number >= self.blocks {
            return Err(DiskError::Full);
        }
        self.note_write();
        let result = self.file.write_all_at(from, offset(number));
        result.map_err(|error| self.failed("write", &error))
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        self.window = None;
        let result = self.file.sync_data();
        result.map_err(|error| {
            self.note_write();
            self.failed("sync", &error)
        })
    }
}

impl Extent for ImageFile {
    fn set_blocks(&mut self, blocks: u32) -> Result<(), DiskError> {
        let before = self.blocks;
        self.note_write();
        let changed = if blocks > before {
            space(self.file.as_raw_fd())
                .and_then(|space| extend(&self.file, space.kind, before, blocks))
        } else {
            self.file.set_len(offset(blocks))
        };
        match changed {
            Ok(()) => {
                self.blocks = blocks;
                Ok(())
            }
            Err(error) => {
                // Best effort: what stays behind its end is in nobody's way.
                let _ = self.file.set_len(offset(before));
                Err(self.failed("change its size", &error))
            }
        }
    }
}

/// How large an image is made in `directory` if nothing is said: a quarter of what is free, at most
/// 16 MiB; in memory also at most a sixteenth of that.
pub fn default_size(directory: &Path) -> io::Result<u64> {
    let space = Folder::open(directory)?.space()?;
    Ok(size_for(space, memory_bytes()))
}

fn size_for(space: Space, memory_bytes: u64) -> u64 {
    let mut size = DEFAULT_BYTES_MAX.min(space.free.saturating_mul(space.block_bytes) / 4);
    if matches!(space.kind, TMPFS | RAMFS) {
        size = size.min(memory_bytes / 16);
    }
    let size = size.max(IMAGE_BYTES_MIN);
    size - size % BLOCK_BYTES as u64
}

/// True when what is in `directory` does not survive a reboot.
pub fn is_volatile(directory: &Path) -> io::Result<bool> {
    Ok(matches!(Folder::open(directory)?.space()?.kind, TMPFS | RAMFS))
}

/// False when writing over blocks of a file in `directory` may need new space, since the file
/// system compresses, logs or copies on write.
pub fn is_space_guaranteed(directory: &Path) -> io::Result<bool> {
    Ok(!wants_random_fill(Folder::open(directory)?.space()?.kind))
}

fn wants_random_fill(kind: u32) -> bool {
    matches!(kind, JFFS2 | UBIFS | BTRFS | ZFS | OVERLAYFS)
}

pub(super) fn offset(number: u32) -> u64 {
    u64::from(number) * BLOCK_BYTES as u64
}

pub(super) fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> ImageError {
    let path = path.to_owned();
    move |error| ImageError::Io { path, action, error }
}

fn open_file(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options.mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

/// Refuses what has not even the three blocks that every image begins with.
pub(super) fn judge_length(mut file: &File, path: &Path) -> Result<(), ImageError> {
    // A partition's length is told by this only.
    let bytes = file.seek(SeekFrom::End(0)).map_err(failed(path, "examine it"))?;
    if bytes >= 3 * BLOCK_BYTES as u64 {
        return Ok(());
    }
    Err(ImageError::Stump { path: path.to_owned(), bytes })
}

/// Refuses an image that a stranger owns: he could have written it, and may at any time. One that
/// others may write by its mode is told of and no more, since there are file systems that have one
/// mode for all files (vfat), and a machine whose spool lies there must start.
fn judge_owner(file: &File, path: &Path) -> Result<(), ImageError> {
    let found = file.metadata().map_err(failed(path, "examine it"))?;
    let (uid, mode) = (found.uid(), found.mode() & 0o7777);
    if !process::is_trusted_owner(uid) {
        return Err(ImageError::Stranger { path: path.to_owned(), uid, mode });
    }
    let trusted = if process::is_trusted_group(found.gid()) { 0o060 } else { 0 };
    let open = mode & 0o066 & !trusted;
    if open != 0 {
        let what = if open & 0o022 != 0 { "forge and read" } else { "read" };
        ::log::warn!(
            "{0}: others may {what} mail (mode {mode:04o}, user {uid}, group {1}): 'chmod 600 \
             {0}', or mount its file system with umask=077",
            path.display(),
            found.gid()
        );
    }
    Ok(())
}

/// The temporary file, locked and certainly the one that has the name.
fn lock_temporary(temporary: &Path) -> Result<File, ImageError> {
    loop {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = open_file(temporary, &mut options).map_err(failed(temporary, "make it"))?;
        lock_to_write(&file, temporary)?;
        let held = file.metadata().map_err(failed(temporary, "examine it"))?;
        match temporary.symlink_metadata() {
            Ok(named) if (named.dev(), named.ino()) == (held.dev(), held.ino()) => return Ok(file),
            // Whoever had it was just done with it.
            _ => (),
        }
    }
}

fn fill_and_format(
    file: File,
    temporary: &Path,
    folder: &Folder,
    blocks: u32,
    format: impl FnOnce(&mut ImageFile) -> Result<(), DiskError>,
) -> Result<ImageFile, ImageError> {
    let kind = folder.space().map_err(failed(temporary, "examine it"))?.kind;
    fill(&file, kind, blocks).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => {
            ImageError::Format { path: temporary.to_owned(), error: DiskError::Full }
        }
        _ => failed(temporary, "fill it")(error),
    })?;
    let mut image = ImageFile::new(file, temporary)?;
    let formatted = format(&mut image);
    formatted.map_err(|error| ImageError::Format { path: temporary.to_owned(), error })?;
    image.file.sync_all().map_err(failed(temporary, "sync it"))?;
    Ok(image)
}

/// Writes every block once, so that all of them are the file's from now on.
fn fill(file: &File, kind: u32, blocks: u32) -> io::Result<()> {
    file.set_len(0)?;
    if kind == BTRFS {
        // Best effort: without it the image is as safe, only slower and fragmented.
        let _ = forbid_copy_on_write(file.as_raw_fd());
    }
    extend(file, kind, 0, blocks)
}

/// Writes the blocks from number `from` on to before number `to`.
fn extend(file: &File, kind: u32, from: u32, to: u32) -> io::Result<()> {
    let mut random = if wants_random_fill(kind) { Some(SystemRandom::open()?) } else { None };
    let mut block = [0; BLOCK_BYTES];
    for number in from..to {
        if let Some(random) = &mut random {
            random.fill(&mut block);
        }
        file.write_all_at(&block, offset(number))?;
    }
    Ok(())
}

/// Has the kernel forget what it holds of the file, so that the next read asks the medium.
#[allow(unsafe_code)]
fn drop_cache(file: RawFd) {
    // SAFETY: takes no memory.
    unsafe { libc::posix_fadvise(file, 0, 0, libc::POSIX_FADV_DONTNEED) };
}

#[allow(unsafe_code)]
fn forbid_copy_on_write(file: RawFd) -> io::Result<()> {
    const NO_COPY_ON_WRITE: libc::c_int = 0x0080_0000;
    let mut flags: libc::c_int = 0;
    // SAFETY: both requests read or write one int, and the pointers are to a live one.
    let result = unsafe {
        match libc::ioctl(file, libc::FS_IOC_GETFLAGS, &mut flags) {
            0 => {
                flags |= NO_COPY_ON_WRITE;
                libc::ioctl(file, libc::FS_IOC_SETFLAGS, &flags)
            }
            error => error,
        }
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[allow(unsafe_code)]
fn memory_bytes() -> u64 {
    // SAFETY: sysinfo is plain numbers, zeros are valid, and the pointer is to a live variable.
    let found = unsafe {
        let mut found: libc::sysinfo = core::mem::zeroed();
        if libc::sysinfo(&mut found) != 0 {
            return 0;
        }
        found
    };
    (found.totalram as u64).saturating_mul(u64::from(found.mem_unit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::disk::new_block;

    fn error(result: Result<ImageFile, ImageError>) -> ImageError {
        match result {
            Ok(_) => panic!("it went well"),
            Err(error) => error,
        }
    }

    fn create(path: &Path) -> ImageFile {
        ImageFile::create(path, 4, |_| Ok(())).unwrap()
    }

    #[test]
    fn a_made_image_is_filled_laid_out_locked_and_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("queue");
        assert!(matches!(error(ImageFile::open(&path)), ImageError::Missing(_)));
        let image = ImageFile::create(&path, 4, |image| {
            assert!(!path.exists());
            assert_eq!(image.blocks(), 4);
            image.write(1, &[7; BLOCK_BYTES])
        });
        let mut image = image.unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        let found = path.metadata().unwrap();
        assert_eq!((found.size(), found.mode() & 0o777), (4 * BLOCK_BYTES as u64, 0o600));
        assert!(found.blocks() * 512 >= found.size());
        let mut block = new_block();
        for (number, byte) in [(0, 0), (1, 7), (2, 0), (3, 0)] {
            image.read(number, &mut block).unwrap();
            assert_eq!(*block, [byte; BLOCK_BYTES]);
        }
    }

    #[test]
    fn the_second_is_told_that_it_is_busy_and_by_whom() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("queue");
        let image = create(&path);
        for error in [error(ImageFile::open(&path)), error(ImageFile::create(&path, 4, |_| Ok(())))]
        {
            match error {
                ImageError::Busy { pid, .. } => {
                    assert!(pid.is_none_or(|pid| pid == std::process::id()), "{pid:?}");
                }
                other => panic!("{other}"),
            }
        }
        drop(image);
        assert_eq!(ImageFile::open(&path).unwrap().blocks(), 4);
    }

    #[test]
    fn a_strangers_image_is_refused_and_an_open_one_is_not() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("queue");
        drop(create(&path));
        for mode in [0o666, 0o777, 0o755, 0o640] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert!(ImageFile::open(&path).is_ok(), "vfat has one mode for all");
        }
        if process::user_id() != 0 {
            // Only root can give a file away.
            return;
        }
        std::os::unix::fs::chown(&path, Some(4_000_000_001), None).unwrap();
        let refused = error(ImageFile::open(&path));
        assert!(matches!(refused, ImageError::Stranger { uid: 4_000_000_001, .. }), "{refused}");
        assert!(refused.to_string().contains("user 4000000001 (mode 0640)"), "{refused}");
        assert!(refused.to_string().contains("chown"), "{refused}");
    }

    #[test]
    fn of_two_that_make_it_one_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("queue");
        let image = ImageFile::create(&path, 4, |_| {
            let other = error(ImageFile::create(&path, 4, |_| panic!("both make it")));
            assert!(matches!(other, ImageError::Busy { .. }), "{other}");
            Ok(())
        });
        assert_eq!(image.unwrap().blocks(), 4);
        // What a crash left of an earlier try is no obstacle.
        let path = directory.path().join("other");
        std::fs::write(directory.path().join("other.new"), "x".repeat(100_000)).unwrap();
        create(&path);
        assert_eq!(path.metadata().unwrap().size(), 4 * BLOCK_BYTES as u64);
    }

    #[test]
    fn an_image_that_cannot_be_laid_out_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("queue");
        let failed = error(ImageFile::create(&path, 4, |_| Err(DiskError::Full)));
        assert!(matches!(failed, ImageError::Format { error: DiskError::Full, .. }));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        let nowhere = directory.path().join("none/queue");
        let failed = error(ImageFile::create(&nowhere, 4, |_| Ok(())));
        assert!(failed.to_string().contains("none: cannot open the directory"), "{failed}");
    }

    #[test]
    fn both_ways_to_the_medium_give_what_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("queue");
        let mut image = create(&path);
        let mut block = new_block();
        for round in 1..4 {
            image.write(2, &[round; BLOCK_BYTES]).unwrap();
            image.read_medium(2, &mut block).unwrap();
            assert_eq!(*block, [round; BLOCK_BYTES]);
            image.read_medium(3, &mut block).unwrap();
            assert_eq!(*block, [0; BLOCK_BYTES]);
        }
        image.medium = Medium::Cached { dropped: false };
        for round in 4..7 {
            image.write(2, &[round; BLOCK_BYTES]).unwrap();
            assert!(matches!(image.medium, Medium::Cached { dropped: false }));
            image.read_medium(2, &mut block).unwrap();
            assert!(matches!(image.medium, Medium::Cached { dropped: true }));
            assert_eq!(*block, [round; BLOCK_BYTES]);
        }
        image.sync().unwrap();
        drop(image);
        let mut image = ImageFile::open(&path).unwrap();
        image.read_medium(2, &mut block).unwrap();
        assert_eq!(*block, [6; BLOCK_BYTES]);
    }

    #[test]
    fn blocks_beyond_the_end_are_errors_and_never_grow_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("queue");
        let mut image = create(&path);
        let mut block = new_block();
        assert_eq!(image.write(4, &block), Err(DiskError::Full));
        assert_eq!(image.read(4, &mut block), Err(DiskError::Io));
        assert_eq!(image.read_medium(u32::MAX, &mut block), Err(DiskError::Io));
        assert_eq!(path.metadata().unwrap().size(), 4 * BLOCK_BYTES as u64);
    }

    #[test]
    fn its_length_can_be_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("queue");
        let mut image = create(&path);
        image.write(3, &[7; BLOCK_BYTES]).unwrap();
        let mut block = new_block();
        for blocks in [9, 4, 6] {
            image.set_blocks(blocks).unwrap();
            image.sync().unwrap();
            assert_eq!(image.blocks(), blocks);
            let found = path.metadata().unwrap();
            assert_eq!(found.size(), u64::from(blocks) * BLOCK_BYTES as u64);
            assert!(found.blocks() * 512 >= found.size(), "all of it is the file's");
            image.read_medium(3, &mut block).unwrap();
            assert_eq!(*block, [7; BLOCK_BYTES]);
            image.write(blocks - 1, &block).unwrap();
            assert_eq!(image.write(blocks, &block), Err(DiskError::Full));
            image.write(3, &[7; BLOCK_BYTES]).unwrap();
        }
    }

    #[test]
    fn what_is_no_plain_file_is_no_image() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("queue");
        drop(create(&path));
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let fifo = directory.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        for path in [link.as_path(), &fifo, directory.path(), Path::new("/dev/null")] {
            let error = error(ImageFile::open(path));
            assert!(matches!(error, ImageError::Io { .. }), "{error}");
            assert!(error.to_string().starts_with(path.to_str().unwrap()));
        }
    }

    #[test]
    fn where_space_is_not_guaranteed_the_fill_is_random() {
        let directory = tempfile::tempdir().unwrap();
        let file = File::create(directory.path().join("file")).unwrap();
        fill(&file, BTRFS, 3).unwrap();
        let bytes = std::fs::read(directory.path().join("file")).unwrap();
        assert_eq!(bytes.len(), 3 * BLOCK_BYTES);
        assert_ne!(bytes[..BLOCK_BYTES], bytes[BLOCK_BYTES..2 * BLOCK_BYTES]);
        assert_ne!(bytes[2 * BLOCK_BYTES..], [0; BLOCK_BYTES]);
    }

    #[test]
    fn the_default_size_is_modest() {
        const MIB: u64 = 1024 * 1024;
        let size = |free, kind| {
            let space = Space { blocks: free, free, block_bytes: 1024, kind };
            size_for(space, 64 * MIB)
        };
        assert_eq!(size(1 << 30, 0), 16 * MIB);
        assert_eq!(size(8 * 1024, 0), 2 * MIB);
        assert_eq!(size(8 * 1024 + 7, 0), 2 * MIB);
        assert_eq!(size(10, 0), IMAGE_BYTES_MIN);
        assert_eq!(size(1 << 30, TMPFS), 4 * MIB);
        let directory = tempfile::tempdir().unwrap();
        assert!(default_size(directory.path()).unwrap() >= IMAGE_BYTES_MIN);
        assert!(default_size(Path::new("/nowhere")).is_err());
        assert!(memory_bytes() > MIB);
    }

    #[test]
    fn memory_is_volatile_and_disks_are_not_all_alike() {
        let shared_memory = Path::new("/dev/shm");
        if shared_memory.is_dir() {
            assert!(is_volatile(shared_memory).unwrap());
            assert!(is_space_guaranteed(shared_memory).unwrap());
        }
        assert!(!is_volatile(Path::new("/proc")).unwrap());
    }
}
