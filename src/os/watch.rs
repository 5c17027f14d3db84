//! Tells when something new lies in a directory: inotify(7), edge for edge.
//!
//! Not a list of what is new: whoever is told looks for itself. Kernels built without inotify are
//! common on small machines; there [`Watch::open`] fails, and the world looks once a minute
//! instead.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// A watched directory.
pub(crate) struct Watch {
    file: File,
}

impl Watch {
    /// Watches for names that appear in `directory` by rename, which is how they do when whole.
    pub(crate) fn open(directory: &Path) -> io::Result<Watch> {
        let path = CString::new(directory.as_os_str().as_bytes())?;
        Ok(Watch { file: File::from(open_watch(&path)?) })
    }

    /// Forgets what was told; true if anything was.
    pub(crate) fn drain(&mut self) -> bool {
        let mut told = false;
        let mut records = [0u8; 4096];
        loop {
            match self.file.read(&mut records) {
                Ok(count) if count > 0 => told = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                _ => return told,
            }
        }
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

#[allow(unsafe_code)]
fn open_watch(path: &CString) -> io::Result<OwnedFd> {
    let what = libc::IN_MOVED_TO | libc::IN_ONLYDIR;
    // SAFETY: the descriptor returned is new, so ours alone; the path is a live C string.
    unsafe {
        let file = match libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) {
            -1 => return Err(io::Error::last_os_error()),
            file => OwnedFd::from_raw_fd(file),
        };
        match libc::inotify_add_watch(file.as_raw_fd(), path.as_ptr(), what) {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(file),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_of_renames_only() {
        let directory = tempfile::tempdir().unwrap();
        let mut watch = Watch::open(directory.path()).unwrap();
        std::fs::write(directory.path().join(".part"), "x").unwrap();
        assert!(!watch.drain());
        std::fs::rename(directory.path().join(".part"), directory.path().join("whole")).unwrap();
        assert!(watch.drain());
        assert!(!watch.drain());
        assert!(Watch::open(&directory.path().join("whole")).is_err());
    }
}
