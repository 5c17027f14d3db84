//! Files that hold secrets: read only if nobody else could have, and written so that nobody else
//! can (threats 19).
//!
//! The owner must be root, the daemon's user, or whoever runs this; others may have no right at
//! all, and the group none but to read, and only if it is root's, the daemon's or our own. All is
//! asked of the open file, so nobody can change it between the question and the reading. What was
//! read is wiped when it is dropped.

use crate::os::process;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Why a file's secrets are left alone.
#[derive(Debug)]
pub enum SecretError {
    /// It cannot be read.
    Read(io::Error),
    /// A directory, device, socket or pipe.
    NotAFile,
    /// It is somebody else's, who could change it.
    Owner(u32),
    /// Others can read or change it: its mode.
    Mode(u32),
    /// A group can read it that is neither root's, ours nor the daemon's.
    Group(u32),
    /// More bytes than may be.
    TooLarge(usize),
}

impl fmt::Display for SecretError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = process::daemon_name();
        match self {
            SecretError::Read(error) => write!(out, "cannot be read: {error}"),
            SecretError::NotAFile => write!(out, "is not a file"),
            SecretError::Owner(uid) => {
                write!(out, "it belongs to user {uid}, who can change it; chown root:{user}")
            }
            SecretError::Mode(mode) => write!(
                out,
                "others can read or change it; chmod 640, chown root:{user} (mode is {mode:04o})"
            ),
            SecretError::Group(gid) => {
                write!(out, "group {gid} can read it; chgrp {user}, or chmod 600")
            }
            SecretError::TooLarge(most) => write!(out, "is larger than {most} bytes"),
        }
    }
}

/// Its bytes, if they are a secret.
pub fn read(path: &Path, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    // A pipe without a writer would not let go of us.
    let open = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let mut file = open.map_err(SecretError::Read)?;
    let about = file.metadata().map_err(SecretError::Read)?;
    check(&about)?;
    let most = bytes_max as u64;
    if about.len() > most {
        return Err(SecretError::TooLarge(bytes_max));
    }
    // All at once, so that no half of it stays behind where the vector was before it grew.
    let mut bytes = Zeroizing::new(Vec::with_capacity(bytes_max + 1));
    (&mut file).take(most + 1).read_to_end(&mut bytes).map_err(SecretError::Read)?;
    if bytes.len() > bytes_max { Err(SecretError::TooLarge(bytes_max)) } else { Ok(bytes) }
}

/// Whether a file like that can hold a secret.
pub fn check(about: &Metadata) -> Result<(), SecretError> {
    if !about.is_file() {
        return Err(SecretError::NotAFile);
    }
    if !process::is_trusted_owner(about.uid()) {
        return Err(SecretError::Owner(about.uid()));
    }
    let mode = about.mode() & 0o7777;
    if mode & 0o037 != 0 {
        return Err(SecretError::Mode(mode));
    }
    if mode & 0o040 != 0 && !process::is_trusted_group(about.gid()) {
        return Err(SecretError::Group(about.gid()));
    }
    Ok(())
}

/// Puts `text` in place of the file at `path`, whole or not at all: with the owner, group and mode
/// that it had; a new one is 0640, and of the daemon's group where that can be.
pub fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    // Through a link, the file is replaced and not the link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let temporary = beside(&path);
    // Somebody else's attempt that was cut short.
    let _ = fs::remove_file(&temporary);
    let written = write(&path, &temporary, text);
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write(path: &Path, temporary: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    match fs::metadata(path) {
        Ok(about) => {
            fchown(&file, Some(about.uid()), Some(about.gid()))?;
            file.set_permissions(Permissions::from_mode(about.mode() & 0o7777))?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let daemon = process::daemon_user();
            let gid = daemon.filter(|_| process::user_id() == 0).map(|daemon| daemon.gid);
            fchown(&file, None, gid)?;
            file.set_permissions(Permissions::from_mode(0o640))?;
        }
        Err(error) => return Err(error),
    }
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(temporary, path)?;
    // The name, too, shall survive a power cut.
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn only_what_others_cannot_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "abc").unwrap();
        for (mode, is_good) in [
            (0o600, true),
            (0o400, true),
            (0o640, true),
            (0o440, true),
            (0o644, false),
            (0o604, false),
            (0o660, false),
            (0o602, false),
            (0o620, false),
            (0o641, false),
        ] {
            set_mode(&path, mode);
            let read = read(&path, 3);
            assert_eq!(read.is_ok(), is_good, "{mode:o}");
            assert!(read.is_ok() || matches!(read, Err(SecretError::Mode(found)) if found == mode));
        }
        set_mode(&path, 0o600);
        assert!(matches!(read(&path, 2), Err(SecretError::TooLarge(2))));
        assert!(matches!(read(folder.path(), 2), Err(SecretError::NotAFile)));
        assert!(matches!(read(Path::new("/dev/null"), 2), Err(SecretError::NotAFile)));
        assert!(matches!(read(Path::new("/no/such"), 2), Err(SecretError::Read(_))));
        if process::user_id() == 0 {
            fchown(File::open(&path).unwrap(), Some(4_000_000_001), None).unwrap();
            assert!(matches!(read(&path, 3), Err(SecretError::Owner(4_000_000_001))));
            fchown(File::open(&path).unwrap(), Some(0), Some(4_000_000_001)).unwrap();
            assert!(read(&path, 3).is_ok(), "the group can do nothing");
            set_mode(&path, 0o640);
            assert!(matches!(read(&path, 3), Err(SecretError::Group(4_000_000_001))));
        }
    }

    #[test]
    fn replaced_whole_and_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        replace(&path, b"one").unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"one".to_vec(), 0o640));
        set_mode(&path, 0o600);
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        fs::write(beside(&path), "left behind").unwrap();
        replace(&link, b"two").unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"two".to_vec(), 0o600));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        assert!(replace(Path::new("/no/such/folder/users"), b"x").is_err());
    }
}
