//! A directory held open, and names in it.
//!
//! Every name is looked up from the open directory, never from the root again, so nobody who can
//! rename directories above can make two steps of one delivery end in two places. Files are opened
//! without following a link at the end. Names are copied onto the stack: nothing here allocates.
//! A directory that is made is made durable in the one above it, before anything in it can be: what
//! is synced in a directory that a power cut takes away is lost all the same.
//! Limits: a name (with at most a subfolder before it) of 300 bytes.

use crate::os::process::User;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

const NAME_BYTES_MAX: usize = 300;

/// An open directory.
pub(crate) struct Folder {
    file: File,
}

/// How full a file system is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Space {
    /// Blocks in all.
    pub(crate) blocks: u64,
    /// Blocks that an ordinary user may still take.
    pub(crate) free: u64,
    /// Bytes in a block.
    pub(crate) block_bytes: u64,
    /// The file system's magic number.
    pub(crate) kind: u32,
}

impl Folder {
    /// Opens the directory at `path`, links followed: the path is the administrator's.
    pub(crate) fn open(path: &Path) -> io::Result<Folder> {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path)?;
        Ok(Folder { file })
    }

    /// Opens a directory in this one, links not followed.
    pub(crate) fn open_folder(&self, name: &str) -> io::Result<Folder> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        Ok(Folder { file: self.open_at(name, flags, 0)? })
    }

    /// Opens a file to read. Neither a link nor the other end of a FIFO is waited for or followed.
    pub(crate) fn open_file(&self, name: &str) -> io::Result<File> {
        self.open_at(name, libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY, 0)
    }

    /// Makes a file that was not there, to write.
    pub(crate) fn create_file(&self, name: &str, mode: u32) -> io::Result<File> {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
        self.open_at(name, flags, mode)
    }

    /// Makes a directory in this one. `Ok(false)`: it was there.
    pub(crate) fn create_folder(&self, name: &str, mode: u32) -> io::Result<bool> {
        match on_name(name, |name| mkdir_at(self.file.as_raw_fd(), name, mode)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            result => result.map(|_| true),
        }
    }

    /// Renames `from` to `to`, replacing it.
    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let folder = self.file.as_raw_fd();
        on_name(from, |from| on_name(to, |to| rename_at(folder, from, folder, to)))
    }

    /// Renames `from` to what is called `to` in another directory, replacing it.
    pub(crate) fn move_to(&self, from: &[u8], other: &Folder, to: &str) -> io::Result<()> {
        let (here, there) = (self.file.as_raw_fd(), other.file.as_raw_fd());
        on_name(from, |from| on_name(to, |to| rename_at(here, from, there, to)))
    }

    /// Removes a file's name. `Ok(false)`: it was not there.
    pub(crate) fn remove(&self, name: &str) -> io::Result<bool> {
        match on_name(name, |name| remove_at(self.file.as_raw_fd(), name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            result => result.map(|()| true),
        }
    }

    /// Makes the names in it durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// What it is and whose.
    pub(crate) fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// Gives it to `user`.
    pub(crate) fn give(&self, user: &User) -> io::Result<()> {
        std::os::unix::fs::fchown(&self.file, Some(user.uid), Some(user.gid))
    }

    /// How full its file system is, and of what kind.
    pub(crate) fn space(&self) -> io::Result<Space> {
        space(self.file.as_raw_fd())
    }

    fn open_at(&self, name: &str, flags: libc::c_int, mode: u32) -> io::Result<File> {
        let flags = flags | libc::O_CLOEXEC | libc::O_LARGEFILE;
        on_name(name, |name| {
            loop {
                match open_at(self.file.as_raw_fd(), name, flags, mode) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                    result => return result.map(File::from),
                }
            }
        })
    }
}

/// Makes the directory at `path`, durably, and before it those above it that are missing (0755).
/// `Ok(false)`: it was there.
pub(crate) fn make_directories(path: &Path, mode: u32) -> io::Result<bool> {
    if path.is_dir() {
        return Ok(false);
    }
    let above = parent(path);
    if above != path {
        make_directories(above, 0o755)?;
    }
    // What came into being meanwhile will do, if it is one.
    let made = make_directory(path, mode)?;
    if made || path.is_dir() { Ok(made) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

/// Makes the directory at `path` in one that is there, durably. `Ok(false)`: something of that name
/// was there.
pub fn make_directory(path: &Path, mode: u32) -> io::Result<bool> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        result => result?,
    }
    match Folder::open(parent(path)).and_then(|above| above.sync()) {
        Ok(()) => Ok(true),
        // The one above may be written and not read; and some file systems sync no directories.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput
            ) =>
        {
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

/// The directory that `path` is in.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

/// Hands `name` over as C wants it. It is not empty, holds no NUL, and is bounded.
fn on_name<T>(
    name: impl AsRef<[u8]>,
    call: impl FnOnce(&core::ffi::CStr) -> io::Result<T>,
) -> io::Result<T> {
    let name = name.as_ref();
    let mut bytes = [0; NAME_BYTES_MAX + 1];
    match bytes.get_mut(..name.len()) {
        Some(room) if name.len() <= NAME_BYTES_MAX => room.copy_from_slice(name),
        _ => return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG)),
    }
    match core::ffi::CStr::from_bytes_until_nul(&bytes) {
        Ok(text) if text.count_bytes() == name.len() && !name.is_empty() => call(text),
        _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
    }
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[allow(unsafe_code)]
fn open_at(
    folder: RawFd,
    name: &core::ffi::CStr,
    flags: libc::c_int,
    mode: u32,
) -> io::Result<OwnedFd> {
    // SAFETY: the name is a live C string; the descriptor returned is new, so ours alone.
    unsafe {
        let file = checked(libc::openat(folder, name.as_ptr(), flags, mode as libc::c_uint))?;
        Ok(OwnedFd::from_raw_fd(file))
    }
}

#[allow(unsafe_code)]
fn mkdir_at(folder: RawFd, name: &core::ffi::CStr, mode: u32) -> io::Result<()> {
    // SAFETY: the name is a live C string.
    checked(unsafe { libc::mkdirat(folder, name.as_ptr(), mode as libc::mode_t) }).map(drop)
}

#[allow(unsafe_code)]
fn rename_at(
    folder: RawFd,
    from: &core::ffi::CStr,
    other: RawFd,
    to: &core::ffi::CStr,
) -> io::Result<()> {
    // SAFETY: both names are live C strings.
    checked(unsafe { libc::renameat(folder, from.as_ptr(), other, to.as_ptr()) }).map(drop)
}

#[allow(unsafe_code)]
fn remove_at(folder: RawFd, name: &core::ffi::CStr) -> io::Result<()> {
    // SAFETY: the name is a live C string.
    checked(unsafe { libc::unlinkat(folder, name.as_ptr(), 0) }).map(drop)
}

#[allow(unsafe_code)]
pub(super) fn space(file: RawFd) -> io::Result<Space> {
    // SAFETY: statfs is plain numbers, zeros are valid, and the pointer is to a live variable.
    let found = unsafe {
        let mut found: libc::statfs = core::mem::zeroed();
        checked(libc::fstatfs(file, &mut found))?;
        found
    };
    Ok(Space {
        blocks: found.f_blocks as u64,
        free: found.f_bavail as u64,
        block_bytes: found.f_bsize as u64,
        kind: found.f_type as u32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    fn open(directory: &tempfile::TempDir) -> Folder {
        Folder::open(directory.path()).unwrap()
    }

    #[test]
    fn names_are_bounded_and_hold_no_nul() {
        let directory = tempfile::tempdir().unwrap();
        let folder = open(&directory);
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for name in ["", "a\0b", long.as_str(), &long[1..]] {
            let error = folder.create_file(name, 0o600).unwrap_err().raw_os_error().unwrap();
            assert!([libc::EINVAL, libc::ENAMETOOLONG, libc::ENOENT].contains(&error), "{error}");
        }
    }

    #[test]
    fn makes_renames_removes() {
        let directory = tempfile::tempdir().unwrap();
        let folder = open(&directory);
        assert!(folder.create_folder("new", 0o700).unwrap());
        assert!(!folder.create_folder("new", 0o700).unwrap());
        let mut file = folder.create_file("one", 0o600).unwrap();
        file.write_all(b"text").unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(folder.create_file("one", 0o600).is_err());
        folder.rename("one", "new/two").unwrap();
        folder.sync().unwrap();
        assert_eq!(std::fs::read(directory.path().join("new/two")).unwrap(), b"text");
        assert!(folder.remove("new/two").unwrap());
        assert!(!folder.remove("new/two").unwrap());
        assert_eq!(folder.metadata().unwrap().uid(), crate::os::process::user_id());
    }

    #[test]
    fn a_link_is_neither_read_nor_written_through() {
        let directory = tempfile::tempdir().unwrap();
        let folder = open(&directory);
        let target = directory.path().join("target");
        std::fs::write(&target, "kept").unwrap();
        symlink(&target, directory.path().join("link")).unwrap();
        symlink(directory.path(), directory.path().join("folder")).unwrap();
        let error = folder.open_file("link").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
        assert!(folder.create_file("link", 0o600).is_err());
        assert!(folder.open_folder("folder").is_err());
        assert_eq!(std::fs::read(&target).unwrap(), b"kept");
    }

    #[test]
    fn directories_are_made_on_the_way_down() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("one/two/three");
        assert!(make_directory(&deep, 0o700).is_err());
        assert!(make_directories(&deep, 0o700).unwrap());
        assert!(!make_directories(&deep, 0o750).unwrap());
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&deep), 0o700);
        assert!(!make_directory(&deep, 0o750).unwrap());
        std::fs::write(directory.path().join("file"), "").unwrap();
        assert!(make_directories(&directory.path().join("file/below"), 0o700).is_err());
        assert_eq!(parent(Path::new("name")), Path::new("."));
        assert_eq!(parent(Path::new("/")), Path::new("/"));
    }

    #[test]
    fn space_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let space = open(&directory).space().unwrap();
        assert!(space.block_bytes >= 512 && space.free <= space.blocks);
        assert_ne!(space.kind, 0);
    }
}
