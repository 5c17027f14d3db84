//! The users files, read when they are asked for and again when they have changed.
//!
//! Whether a file has changed is asked of the file system each time somebody logs in, so a new
//! password counts at once, without a signal. If what is new cannot be used the old users stay, and
//! the log says once why; a file that never could be used has no users at all.

use crate::intake::users::{Keys, Users, Vault};
use crate::limits::USERS_FILE_BYTES_MAX;
use crate::os::secret_file;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

#[cfg(feature = "tls")]
const CRYPTO: Option<&dyn crate::smtp::sasl::Crypto> = Some(&crate::os::crypto::RingCrypto);
#[cfg(not(feature = "tls"))]
const CRYPTO: Option<&dyn crate::smtp::sasl::Crypto> = None;

/// All of them.
#[derive(Default)]
pub struct UsersFiles {
    files: Vec<UsersFile>,
}

struct UsersFile {
    path: String,
    stamp: Option<Stamp>,
    users: Option<Users>,
}

/// What changes when a file does: device, inode, size, both times.
pub(super) type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

/// The users in the file at `path`; else what is wrong, each line with the file's name before it.
pub fn read_users(path: &Path) -> Result<Users, Vec<String>> {
    let name = path.display();
    let text = secret_file::read(path, USERS_FILE_BYTES_MAX)
        .map_err(|error| vec![format!("{name}: {error}")])?;
    Users::parse(&text).map_err(|faults| {
        faults.iter().map(|fault| format!("{name}:{}: {}", fault.line, fault.message)).collect()
    })
}

impl Vault for UsersFiles {
    fn users(&mut self, path: &str) -> Option<Keys<'_>> {
        let known = self.files.iter().position(|file| file.path == path);
        let place = known.unwrap_or_else(|| {
            self.files.push(UsersFile { path: path.into(), stamp: None, users: None });
            self.files.len() - 1
        });
        let file = self.files.get_mut(place)?;
        file.refresh();
        Some(Keys { users: file.users.as_ref()?, crypto: CRYPTO? })
    }
}

impl UsersFile {
    fn refresh(&mut self) {
        let path = Path::new(&self.path);
        let stamp = stamp(path);
        if self.stamp == stamp && (stamp.is_some() || self.users.is_some()) {
            return;
        }
        let is_first = self.stamp.is_none();
        self.stamp = stamp;
        match read_users(path) {
            Ok(users) => {
                if !is_first {
                    log::info!("{}: read again, {} users", self.path, users.count());
                }
                self.users = Some(users);
            }
            Err(lines) => {
                lines.iter().for_each(|line| log::error!("{line}"));
                if self.users.is_some() {
                    log::error!("{}: the users as they were stay in effect", self.path);
                }
            }
        }
    }
}

pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    let about = fs::metadata(path).ok()?;
    let modified = (about.mtime(), about.mtime_nsec());
    Some((about.dev(), about.ino(), about.size(), modified, (about.ctime(), about.ctime_nsec())))
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const HASH: &str = "PBKDF2-SHA256$10000:W22ZaJ0SNY7soEsUEjb6gQ==$\
                        AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn read_again_when_changed_and_kept_when_spoiled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        let name = path.to_str().unwrap();
        let mut files = UsersFiles::default();
        let mut count = || files.users(name).map(|keys| keys.users.count());
        assert_eq!(count(), None);
        secret_file::replace(&path, format!("a:{HASH}\n").as_bytes()).unwrap();
        assert_eq!((count(), count()), (Some(1), Some(1)));
        secret_file::replace(&path, format!("a:{HASH}\nb:{HASH}\n").as_bytes()).unwrap();
        assert_eq!(count(), Some(2));
        secret_file::replace(&path, b"nonsense\n").unwrap();
        assert_eq!(count(), Some(2));
        secret_file::replace(&path, format!("a:{HASH}\n").as_bytes()).unwrap();
        assert_eq!(count(), Some(1));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(count(), Some(1));
        fs::remove_file(&path).unwrap();
        assert_eq!(count(), Some(1));
        let faults = read_users(&path).err().unwrap();
        assert!(faults[0].starts_with(&format!("{name}: cannot be read: ")), "{faults:?}");
        secret_file::replace(&path, b"a:b\n:x\n").unwrap();
        let faults = read_users(&path).err().unwrap();
        assert!(faults[1].starts_with(&format!("{name}:2: ")), "{faults:?}");
    }
}
