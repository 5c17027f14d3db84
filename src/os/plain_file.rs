//! A file that somebody named, opened to be read, if it is one.
//!
//! A pipe without a writer would hold whoever opens it, and a device or a kernel file like
//! `/proc/kmsg` whoever reads it: nothing here waits. Secrets have [`super::secret_file`].

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The file at `path`, and what is known of it; the caller bounds how much is read.
pub fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a file"));
    }
    Ok((file, about))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn nothing_but_files_and_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "abc").unwrap();
        let (mut file, about) = open(&path).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), about.len()), ("abc", 3));
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for other in [pipe.as_path(), folder.path(), Path::new("/dev/zero")] {
            assert_eq!(open(other).unwrap_err().to_string(), "it is not a file");
        }
        assert_eq!(open(Path::new("/no/such")).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
