//! Maildirs on the file system: tmp → fsync → rename → fsync of the directory.
//!
//! The name in `new` is the caller's and the same on every attempt, so a mail that was delivered
//! just before a power cut replaces itself (as long as no reader has moved it to `cur`). The name
//! in `tmp` has the slot's number too, and what an earlier life left there is thrown away. The
//! bytes are written as they are given.
//!
//! What a power cut has left in `tmp` and nobody writes again is removed by [`tidy`], at a start.
//!
//! Limits: one mail a slot, names of 200 bytes. The directory is opened once a mail and everything
//! else is looked up in it. A device that is nearly full takes no mail ([`MailboxError::Full`]):
//! the queue, the log and the rest of a small machine want to live. Nothing is allocated, but for
//! making a Maildir that is not there and for paths of 384 bytes and more.

use crate::base::ascii::parse_base62;
use crate::base::buffer::Text;
use crate::os::folder::{Folder, Space, make_directory};
use crate::relay::mailbox::{Mailbox, MailboxError};
use core::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

const NAME_BYTES_MAX: usize = 200;
/// "tmp/", a name, "." and a slot's number.
const PATH_BYTES_MAX: usize = NAME_BYTES_MAX + 16;
/// Free blocks that are left alone however small the device is.
const SPARE_BLOCKS: u64 = 64;
/// A sixteenth of the device is left alone, but never more than this: large devices are not small.
const SPARE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How old a file in `tmp` is that nobody is writing any more, by the convention of Maildirs.
const LITTER_AGE: Duration = Duration::from_secs(36 * 60 * 60);
/// Files in a `tmp` that are looked at; those behind them come at a later start.
const LITTER_MAX: usize = 10_000;

/// Removes files of this program's from `directory`'s `tmp` that are old. Whatever cannot be looked
/// at or removed stays: it harms nobody.
pub fn tidy(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory.join("tmp")) else { return };
    let mut removed = 0;
    for entry in entries.take(LITTER_MAX).flatten() {
        let age = entry.metadata().and_then(|found| found.modified()).map(|time| time.elapsed());
        let is_ours = entry.file_name().to_str().is_some_and(is_temporary_name);
        if is_ours
            && matches!(age, Ok(Ok(age)) if age > LITTER_AGE)
            && std::fs::remove_file(entry.path()).is_ok()
        {
            removed += 1;
        }
    }
    if removed > 0 {
        ::log::info!("maildir {}: removed {removed} half-written files", directory.display());
    }
}

/// A name as `relay/filing.rs` makes them, and a slot's number: arrival, image, message, slot.
fn is_temporary_name(name: &str) -> bool {
    let mut parts = name.split('.');
    let [arrival, image, message, slot, more] = [(); 5].map(|()| parts.next());
    let is_number = |part: Option<&str>| part.is_some_and(|part| part.parse::<i64>().is_ok());
    let is_id = |part: Option<&str>| part.is_some_and(|part| parse_base62(part).is_some());
    is_number(arrival) && is_id(image) && is_id(message) && is_number(slot) && more.is_none()
}

/// The mails that are being written, one row a slot.
pub(crate) struct Maildirs {
    slots: Box<[Option<OpenMail>]>,
}

struct OpenMail {
    folder: Folder,
    file: File,
    temporary: Text<PATH_BYTES_MAX>,
    place: Text<PATH_BYTES_MAX>,
}

impl Maildirs {
    /// Rows for slots below `slots`.
    pub(crate) fn new(slots: u16) -> Maildirs {
        let rows = core::iter::repeat_with(|| None).take(usize::from(slots));
        Maildirs { slots: rows.collect() }
    }
}

impl Mailbox for Maildirs {
    fn open_mail(&mut self, slot: u16, directory: &str, name: &str) -> Result<(), MailboxError> {
        self.abandon_mail(slot);
        let row = self.slots.get_mut(usize::from(slot)).ok_or(MailboxError::Io)?;
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.starts_with('.') {
            return Err(MailboxError::Io);
        }
        // A mail's name names nothing but a file in `new`.
        if name.contains(['/', '\0']) {
            return Err(MailboxError::Io);
        }
        let open = open_mail(slot, Path::new(directory), name);
        *row = Some(open.map_err(|error| mailbox_error(&error, directory))?);
        Ok(())
    }

    fn append_mail(&mut self, slot: u16, bytes: &[u8]) -> Result<(), MailboxError> {
        let row = self.slots.get_mut(usize::from(slot)).and_then(Option::as_mut);
        let mail = row.ok_or(MailboxError::Io)?;
        mail.file.write_all(bytes).map_err(|error| mailbox_error(&error, mail.temporary.as_str()))
    }

    fn deliver_mail(&mut self, slot: u16) -> Result<(), MailboxError> {
        let row = self.slots.get_mut(usize::from(slot)).and_then(Option::take);
        let mail = row.ok_or(MailboxError::Io)?;
        mail.deliver().map_err(|error| {
            mail.remove();
            mailbox_error(&error, mail.place.as_str())
        })
    }

    fn abandon_mail(&mut self, slot: u16) {
        if let Some(mail) = self.slots.get_mut(usize::from(slot)).and_then(Option::take) {
            mail.remove();
        }
    }
}

impl OpenMail {
    fn deliver(&self) -> io::Result<()> {
        self.file.sync_all()?;
        self.folder.rename(self.temporary.as_str(), self.place.as_str())?;
        self.folder.open_folder("new")?.sync()
    }

    /// What cannot be removed now is thrown away when the slot next writes a mail of that name.
    fn remove(&self) {
        let _ = self.folder.remove(self.temporary.as_str());
    }
}

fn open_mail(slot: u16, directory: &Path, name: &str) -> io::Result<OpenMail> {
    let folder = match Folder::open(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_maildir(directory)?,
        folder => folder?,
    };
    if is_nearly_full(folder.space()?) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    let (mut temporary, mut place) = (Text::new(), Text::new());
    // A Text takes what is written; both have room for the longest name.
    let _ = write!(temporary, "tmp/{name}.{slot}");
    let _ = write!(place, "new/{name}");
    let file = match create(&folder, temporary.as_str()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_folders(&folder)?;
            create(&folder, temporary.as_str())?
        }
        file => file?,
    };
    Ok(OpenMail { folder, file, temporary, place })
}

fn create(folder: &Folder, temporary: &str) -> io::Result<File> {
    match folder.create_file(temporary, 0o600) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            folder.remove(temporary)?;
            folder.create_file(temporary, 0o600)
        }
        file => file,
    }
}

fn make_maildir(directory: &Path) -> io::Result<Folder> {
    make_directory(directory, 0o700)?;
    Folder::open(directory)
}

/// Makes `directory` if it is not there. If it cannot be made, the first mail for it tells why.
pub(super) fn make_ready(directory: &Path) {
    if directory.symlink_metadata().is_err() {
        let _ = make_maildir(directory);
    }
}

/// Makes the Maildir `directory` with all that belongs into it.
pub(super) fn make_whole(directory: &Path) -> io::Result<Folder> {
    let folder = make_maildir(directory)?;
    make_folders(&folder)?;
    Ok(folder)
}

/// `tmp` comes last and behind the sync, so where it is, the others are and stay.
fn make_folders(folder: &Folder) -> io::Result<()> {
    for name in ["cur", "new"] {
        folder.create_folder(name, 0o700)?;
    }
    folder.sync()?;
    folder.create_folder("tmp", 0o700).map(drop)
}

fn is_nearly_full(space: Space) -> bool {
    let block_bytes = space.block_bytes.max(1);
    let sixteenth = (space.blocks / 16).min(SPARE_BYTES_MAX / block_bytes);
    // File systems that count no blocks (some of those over the network) say 0 of 0.
    space.blocks > 0 && space.free < sixteenth.max(SPARE_BLOCKS)
}

fn mailbox_error(error: &io::Error, place: &str) -> MailboxError {
    ::log::warn!("maildir {place}: {error}");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => MailboxError::Full,
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::NotFound => MailboxError::Denied,
        _ if error.raw_os_error() == Some(libc::ELOOP) => MailboxError::Denied,
        _ => MailboxError::Io,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::PathBuf;

    struct Home {
        _directory: tempfile::TempDir,
        maildir: PathBuf,
        mailbox: Maildirs,
    }

    impl Home {
        fn new() -> Home {
            let directory = tempfile::tempdir().unwrap();
            let maildir = directory.path().join("Maildir");
            Home { _directory: directory, maildir, mailbox: Maildirs::new(2) }
        }

        fn open(&mut self, slot: u16, name: &str) -> Result<(), MailboxError> {
            self.mailbox.open_mail(slot, self.maildir.to_str().unwrap(), name)
        }

        fn names(&self, folder: &str) -> Vec<String> {
            let entries = std::fs::read_dir(self.maildir.join(folder)).unwrap();
            let name = |entry: io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
            let mut names: Vec<_> =
                entries.map(|entry| name(entry).into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    #[test]
    fn makes_the_maildir_and_delivers_into_new() {
        let mut home = Home::new();
        home.open(0, "17.host").unwrap();
        home.mailbox.append_mail(0, b"Subject: x\n\n").unwrap();
        home.mailbox.append_mail(0, b"body\r\n.\r\n").unwrap();
        assert!(home.names("new").is_empty());
        home.mailbox.deliver_mail(0).unwrap();
        assert_eq!(home.names("new"), ["17.host"]);
        assert!(home.names("tmp").is_empty() && home.names("cur").is_empty());
        let path = home.maildir.join("new/17.host");
        assert_eq!(std::fs::read(&path).unwrap(), b"Subject: x\n\nbody\r\n.\r\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mode = std::fs::metadata(&home.maildir).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(home.mailbox.deliver_mail(0), Err(MailboxError::Io));
    }

    #[test]
    fn a_mail_delivered_again_replaces_itself() {
        let mut home = Home::new();
        for _ in 0..2 {
            home.open(0, "same").unwrap();
            home.mailbox.append_mail(0, b"once").unwrap();
            home.mailbox.deliver_mail(0).unwrap();
        }
        assert_eq!(home.names("new"), ["same"]);
        assert_eq!(std::fs::read(home.maildir.join("new/same")).unwrap(), b"once");
    }

    #[test]
    fn what_a_crash_left_in_tmp_is_no_obstacle_nor_part_of_the_mail() {
        let mut home = Home::new();
        home.open(0, "name").unwrap();
        home.mailbox.append_mail(0, b"longer than the second time").unwrap();
        home.mailbox = Maildirs::new(2);
        assert_eq!(home.names("tmp"), ["name.0"]);
        home.open(0, "name").unwrap();
        home.mailbox.append_mail(0, b"whole").unwrap();
        home.mailbox.deliver_mail(0).unwrap();
        assert_eq!(std::fs::read(home.maildir.join("new/name")).unwrap(), b"whole");
        assert!(home.names("tmp").is_empty());
    }

    #[test]
    fn litter_is_removed_when_it_is_old_and_ours() {
        let mut home = Home::new();
        tidy(&home.maildir);
        home.open(0, "17.a0.Zz").unwrap();
        let names = ["17.a0.Zz.1", "17.a0.Zz.2", "-5.0.1.16", "1700.M2P9.host", "17.a0.Zz.1.1"];
        let past = std::time::SystemTime::now() - 2 * LITTER_AGE;
        for name in names {
            let file = File::create(home.maildir.join("tmp").join(name)).unwrap();
            if name != "17.a0.Zz.2" {
                file.set_modified(past).unwrap();
            }
        }
        tidy(&home.maildir);
        assert_eq!(
            home.names("tmp"),
            ["17.a0.Zz.0", "17.a0.Zz.1.1", "17.a0.Zz.2", "1700.M2P9.host"]
        );
    }

    #[test]
    fn two_slots_do_not_meet_and_abandoned_mail_is_gone() {
        let mut home = Home::new();
        home.open(0, "name").unwrap();
        home.open(1, "name").unwrap();
        home.mailbox.append_mail(0, b"one").unwrap();
        home.mailbox.append_mail(1, b"two").unwrap();
        home.mailbox.abandon_mail(0);
        home.mailbox.abandon_mail(0);
        home.mailbox.deliver_mail(1).unwrap();
        assert_eq!(std::fs::read(home.maildir.join("new/name")).unwrap(), b"two");
        assert!(home.names("tmp").is_empty());
        assert_eq!(home.mailbox.append_mail(0, b"x"), Err(MailboxError::Io));
        assert_eq!(home.open(2, "name"), Err(MailboxError::Io));
    }

    #[test]
    fn a_planted_link_is_replaced_not_followed() {
        let mut home = Home::new();
        home.open(0, "first").unwrap();
        home.mailbox.deliver_mail(0).unwrap();
        let victim = home.maildir.join("victim");
        std::fs::write(&victim, "kept").unwrap();
        symlink(&victim, home.maildir.join("tmp/name.0")).unwrap();
        symlink(&victim, home.maildir.join("new/name")).unwrap();
        home.open(0, "name").unwrap();
        home.mailbox.append_mail(0, b"mail").unwrap();
        home.mailbox.deliver_mail(0).unwrap();
        assert_eq!(std::fs::read(&victim).unwrap(), b"kept");
        let found = home.maildir.join("new/name").symlink_metadata().unwrap();
        assert!(found.is_file());
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let mut home = Home::new();
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for name in ["", ".", "..", ".x", "a/b", "../x", "a\0", long.as_str()] {
            assert_eq!(home.open(0, name), Err(MailboxError::Io));
        }
        home.open(0, &long[1..]).unwrap();
        home.mailbox.deliver_mail(0).unwrap();
        assert_eq!(home.names("new"), [&long[1..]]);
    }

    #[test]
    fn a_maildir_that_is_none_is_denied() {
        let mut home = Home::new();
        std::fs::write(&home.maildir, "a file").unwrap();
        assert_eq!(home.open(0, "name"), Err(MailboxError::Denied));
        home.maildir = home.maildir.join("below");
        assert_eq!(home.open(0, "name"), Err(MailboxError::Denied));
        home.maildir = "/proc/none/Maildir".into();
        assert_eq!(home.open(0, "name"), Err(MailboxError::Denied));
    }

    #[test]
    fn nearly_full_is_full() {
        let space = |blocks, free| Space { blocks, free, block_bytes: 4096, kind: 0 };
        assert!(!is_nearly_full(space(16_000, 1000)));
        assert!(is_nearly_full(space(16_000, 999)));
        assert!(is_nearly_full(space(100, 63)));
        assert!(!is_nearly_full(space(1 << 30, 16 * 1024)));
        assert!(is_nearly_full(space(1 << 30, 16 * 1024 - 1)));
        assert!(!is_nearly_full(space(0, 0)));
    }
}
