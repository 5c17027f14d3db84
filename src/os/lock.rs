//! The lock of an image: one writer, or any number of readers (I14).
//!
//! There are two locks, so that who has to wait knows for whom. A writer first takes the file's
//! first byte, which only writers take, and keeps it for life: who does not get it is told at once.
//! Then it takes flock(2), which readers share. They are done soon, or see that it waits
//! ([`is_wanted`]) and stop: so it waits for them, at most [`READERS_WAIT`], and then says that it
//! is they. Those who come meanwhile are told that a writer works on the image.
//!
//! Where the kernel (before 3.15) or the file system knows no lock of a byte that belongs to an
//! open file, flock alone decides, and nobody waits for readers.

use super::disk::{ImageError, failed};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

/// How long a writer waits for readers.
const READERS_WAIT: Duration = Duration::from_secs(2);
/// How long for another writer: one that is just ending. A second daemon is told within 100 ms.
const WRITER_WAIT: Duration = Duration::from_millis(40);
/// How often it asks.
const AGAIN: Duration = Duration::from_millis(20);

/// Takes the image for a writer, until `file` is closed.
pub(super) fn lock_to_write(file: &File, path: &Path) -> Result<(), ImageError> {
    let fd = file.as_raw_fd();
    let first_byte = with_patience(WRITER_WAIT, || byte_lock(fd, libc::F_OFD_SETLK, libc::F_WRLCK));
    let patience = match &first_byte {
        Err(error) if is_taken(error) => return Err(busy(file, path, Some("WRITE"))),
        Err(_) => WRITER_WAIT,
        Ok(_) => READERS_WAIT,
    };
    with_patience(patience, || flock(fd, libc::LOCK_EX)).map_err(|error| match error {
        error if is_taken(&error) && first_byte.is_ok() => {
            ImageError::Read { path: path.to_owned(), pid: holder(file, Some("READ")) }
        }
        error if is_taken(&error) => busy(file, path, None),
        error => failed(path, "lock it")(error),
    })
}

/// Tries `lock` until it is not taken any more, about so long.
fn with_patience<T>(patience: Duration, lock: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let mut waits = patience.as_millis() / AGAIN.as_millis();
    loop {
        match lock() {
            Err(error) if is_taken(&error) && waits > 0 => waits -= 1,
            result => return result,
        }
        std::thread::sleep(AGAIN);
    }
}

/// Takes the image for a reader, until `file` is closed. Where there are no locks (some read-only
/// network mounts) nobody can be writing under one either, and it is read without.
pub(super) fn lock_to_read(file: &File, path: &Path) -> Result<(), ImageError> {
    if is_wanted(file) {
        return Err(busy(file, path, Some("WRITE")));
    }
    match flock(file.as_raw_fd(), libc::LOCK_SH) {
        Err(error) if is_taken(&error) => Err(busy(file, path, None)),
        _ => Ok(()),
    }
}

/// True if a writer is at work, or waits for the readers of `file`.
pub(super) fn is_wanted(file: &File) -> bool {
    let found = byte_lock(file.as_raw_fd(), libc::F_OFD_GETLK, libc::F_RDLCK);
    found.is_ok_and(|kind| kind == libc::F_WRLCK)
}

fn is_taken(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES))
}

fn busy(file: &File, path: &Path, kind: Option<&str>) -> ImageError {
    ImageError::Busy { path: path.to_owned(), pid: holder(file, kind) }
}

/// Who has flock's lock, of `kind`, as /proc/locks tells it:
/// `1: FLOCK  ADVISORY  WRITE 431 08:02:1234 0 EOF`.
fn holder(file: &File, kind: Option<&str>) -> Option<u32> {
    let inode = file.metadata().ok()?.ino();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace().skip_while(|word| *word != "FLOCK");
        let is_kind = words.nth(2).is_some_and(|word| kind.is_none_or(|kind| kind == word));
        let pid = words.next()?.parse().ok()?;
        let place: u64 = words.next()?.rsplit(':').next()?.parse().ok()?;
        (is_kind && place == inode).then_some(pid)
    })
}

#[allow(unsafe_code)]
fn flock(file: RawFd, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: takes no memory.
    match unsafe { libc::flock(file, kind | libc::LOCK_NB) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Locks the first byte, or asks what lock is in the way: its kind, `F_UNLCK` for none.
#[allow(unsafe_code)]
fn byte_lock(file: RawFd, command: libc::c_int, kind: libc::c_int) -> io::Result<libc::c_int> {
    // SAFETY: flock is plain numbers, zeros are valid, and the pointer is to a live one.
    unsafe {
        let mut lock: libc::flock = core::mem::zeroed();
        lock.l_type = kind as libc::c_short;
        lock.l_whence = libc::SEEK_SET as libc::c_short;
        lock.l_len = 1;
        match libc::fcntl(file, command, &mut lock) {
            0 => Ok(libc::c_int::from(lock.l_type)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    struct Place {
        _directory: tempfile::TempDir,
        path: std::path::PathBuf,
    }

    impl Place {
        fn new() -> Place {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("queue");
            File::create(&path).unwrap();
            Place { _directory: directory, path }
        }

        fn open(&self) -> File {
            File::options().read(true).write(true).open(&self.path).unwrap()
        }

        fn write(&self, file: &File) -> Result<(), ImageError> {
            lock_to_write(file, &self.path)
        }

        fn read(&self, file: &File) -> Result<(), ImageError> {
            lock_to_read(file, &self.path)
        }
    }

    #[track_caller]
    fn assert_busy(result: Result<(), ImageError>) {
        match result {
            Err(ImageError::Busy { pid, .. }) => {
                assert!(pid.is_none_or(|pid| pid == std::process::id()), "{pid:?}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_writer_or_many_readers() {
        let place = Place::new();
        let (one, other) = (place.open(), place.open());
        place.read(&one).unwrap();
        place.read(&other).unwrap();
        drop((one, other));
        let (one, other) = (place.open(), place.open());
        place.write(&one).unwrap();
        assert_busy(place.write(&other));
        assert_busy(place.read(&other));
        drop(one);
        place.write(&other).unwrap();
    }

    #[test]
    fn a_writer_that_waits_in_vain_says_that_somebody_reads() {
        let place = Place::new();
        let (reader, writer) = (place.open(), place.open());
        place.read(&reader).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| lock_to_write(&writer, &place.path));
            while !is_wanted(&reader) {
                std::thread::yield_now();
            }
            let refused = waiting.join().unwrap().unwrap_err();
            assert!(matches!(refused, ImageError::Read { .. }), "{refused}");
            assert!(refused.to_string().contains("is reading it"), "{refused}");
        });
    }

    #[test]
    fn a_writer_waits_for_readers_and_another_is_told_at_once() {
        let place = Place::new();
        let (reader, writer, other) = (place.open(), place.open(), place.open());
        place.read(&reader).unwrap();
        let (told, hears) = mpsc::channel();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let taken = lock_to_write(&writer, &place.path);
                told.send("the writer has it").unwrap();
                taken
            });
            // It takes the first byte at once, and keeps it.
            while lock_to_read(&place.open(), &place.path).is_ok() {
                std::thread::yield_now();
            }
            assert_busy(place.write(&other));
            told.send("the other was told").unwrap();
            drop(reader);
            waiting.join().unwrap().unwrap();
        });
        assert_eq!(hears.recv().unwrap(), "the other was told");
    }
}
