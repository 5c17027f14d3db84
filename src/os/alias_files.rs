//! The file of aliases and those that it includes, as they are now, and whether they have changed.
//!
//! Whoever can write such a file gets other people's mail, so one that anybody can write, or that
//! belongs to neither root, the daemon's user nor whoever runs this, is not used. A file that
//! cannot be used is a fault like one in a line; the usual place may be empty.
//!
//! Whether anything has changed is asked of the file system (size, times, inode), at most once in
//! [`ALIASES_LOOK`]: no signal is needed. A file that was written just now may be half written: it
//! counts when it has stayed as it is for a second.

use crate::base::time::Instant;
use crate::config::{ALIASES_FILE, Config};
use crate::limits::{ALIASES_FILE_BYTES_MAX, ALIASES_LOOK};
use crate::mail::aliases::{AliasFault, Aliases, Surroundings};
use crate::os::process;
use crate::os::vault::{Stamp, stamp};
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// See the module's head.
#[derive(Default)]
pub struct AliasFiles {
    /// Each with what it was like when it was read; the first is the one of the config.
    files: Vec<(String, Option<Stamp>)>,
    next_look: Instant,
    /// One has changed and may be half written.
    is_awaited: bool,
}

impl AliasFiles {
    /// Which they are.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(path, _)| path.as_str())
    }

    /// Reads those of `config`.
    pub fn read(config: &Config) -> Reading {
        let mut files = AliasFiles::default();
        let Some(path) = &config.aliases_file else {
            return Reading { files, aliases: Ok(Aliases::default()), faults: Vec::new() };
        };
        files.note(path);
        let text = match read_file(Path::new(path)) {
            Ok(text) => text,
            Err(Unusable::Read(error))
                if path == ALIASES_FILE && error.kind() == io::ErrorKind::NotFound =>
            {
                Vec::new()
            }
            Err(why) => {
                let aliases = Err(format!("{path}: {why}"));
                return Reading { files, aliases, faults: Vec::new() };
            }
        };
        let mut include = |path: &str| {
            files.note(path);
            read_file(Path::new(path)).map_err(|why| why.to_string())
        };
        let is_local = |address: crate::mail::address::Address<'_>| config.is_local(address);
        let mut around = Surroundings { is_local: &is_local, include: &mut include };
        let (aliases, faults) = Aliases::parse(&text, &mut around);
        let line = |fault: &AliasFault| {
            let file = if fault.file.is_empty() { path } else { &fault.file };
            format!("{file}:{}: {}", fault.line, fault.message)
        };
        let faults = faults.iter().map(line).collect();
        Reading { files, aliases: Ok(aliases), faults }
    }

    /// True if one of them is not what it was when it was read; asked of the file system only now
    /// and then. `wall` is now, in seconds since 1970.
    pub fn have_changed(&mut self, now: Instant, wall: i64) -> bool {
        if self.files.is_empty() || now < self.next_look {
            return false;
        }
        self.next_look = now + ALIASES_LOOK;
        self.is_awaited = false;
        let mut has_changed = false;
        for (path, before) in &self.files {
            let stamp = stamp(Path::new(path));
            let is_new = stamp.is_some_and(|(_, _, _, (written, _), _)| wall - written == 0);
            if stamp != *before && is_new {
                self.is_awaited = true;
                return false;
            }
            has_changed |= stamp != *before;
        }
        has_changed
    }

    /// When to ask again, if a change waits for that.
    pub fn deadline(&self) -> Option<Instant> {
        self.is_awaited.then_some(self.next_look)
    }

    /// What is known of them now is all there is to be known: they are not to be read again before
    /// they change once more.
    pub fn settle(&mut self) {
        self.files.iter_mut().for_each(|(path, known)| *known = stamp(Path::new(path)));
    }

    /// True if the file of the config can be read at all.
    pub fn is_there(&self) -> bool {
        self.files.first().is_some_and(|(path, _)| stamp(Path::new(path)).is_some())
    }

    fn note(&mut self, path: &str) {
        if self.files.iter().all(|(known, _)| known != path) {
            self.files.push((path.into(), stamp(Path::new(path))));
        }
    }
}

/// What came of reading.
pub struct Reading {
    /// The files.
    pub files: AliasFiles,
    /// What they say; else why the file cannot be used at all.
    pub aliases: Result<Aliases, String>,
    /// What is wrong in single lines, each with its file before it.
    pub faults: Vec<String>,
}

impl Reading {
    /// Everything that is wrong.
    pub fn all_faults(self) -> Vec<String> {
        let unusable = self.aliases.err();
        unusable.into_iter().chain(self.faults).collect()
    }
}

/// Why a file is not used.
enum Unusable {
    Read(io::Error),
    NotAFile,
    Owner(u32),
    Mode(u32),
    TooLarge,
}

impl core::fmt::Display for Unusable {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Unusable::Read(error) => write!(out, "cannot be read: {error}"),
            Unusable::NotAFile => write!(out, "is not a file"),
            Unusable::Owner(uid) => write!(
                out,
                "it belongs to user {uid}, who could get everybody's mail by it; chown root"
            ),
            Unusable::Mode(mode) => write!(
                out,
                "anybody can change it, and get everybody's mail by it; chmod 644 (mode is \
                 {mode:04o})"
            ),
            Unusable::TooLarge => write!(out, "is larger than {ALIASES_FILE_BYTES_MAX} bytes"),
        }
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, Unusable> {
    // A pipe without a writer would not let go of us.
    let open = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let mut file = open.map_err(Unusable::Read)?;
    let about = file.metadata().map_err(Unusable::Read)?;
    if !about.is_file() {
        return Err(Unusable::NotAFile);
    }
    if !process::is_trusted_owner(about.uid()) {
        return Err(Unusable::Owner(about.uid()));
    }
    if about.mode() & 0o002 != 0 {
        return Err(Unusable::Mode(about.mode() & 0o7777));
    }
    let mut text = Vec::new();
    let most = ALIASES_FILE_BYTES_MAX as u64;
    (&mut file).take(most + 1).read_to_end(&mut text).map_err(Unusable::Read)?;
    if text.len() as u64 > most { Err(Unusable::TooLarge) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Host, parse};
    use crate::mail::aliases::Found;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    fn config(path: &Path) -> Config {
        let host = Host { hostname: "pi.lan", home: "/h", is_embedded: false, run: None };
        parse(format!("aliases = {}\n", path.display()).as_bytes(), &host).unwrap()
    }

    #[test]
    fn a_change_is_seen_and_whoever_may_not_write_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let (path, list) = (folder.path().join("aliases"), folder.path().join("list"));
        let config = config(&path);
        let later = |seconds: u64| Instant::from_millis(seconds * 1000);
        let Reading { mut files, aliases, .. } = AliasFiles::read(&config);
        assert!(aliases.unwrap_err().contains("cannot be read"));
        assert!(!files.is_there() && !files.have_changed(later(1), 0));
        fs::write(&list, "me@x.test\n").unwrap();
        fs::write(&path, format!("root: :include:{}\nb@elsewhere: c\n", list.display())).unwrap();
        let wall = fs::metadata(&path).unwrap().mtime();
        assert!(!files.have_changed(later(2), wall), "it may be half written");
        assert!(!files.have_changed(later(2), 0) && files.have_changed(later(3), 0));
        let Reading { mut files, aliases, faults } = AliasFiles::read(&config);
        let fault = format!("{}:2: b@elsewhere is not of this machine", path.display());
        assert!(faults[0].starts_with(&fault), "{faults:?}");
        assert_eq!(aliases.unwrap().find("root"), Found::Targets(&["me@x.test".into()]));
        assert!(!files.have_changed(later(4), 0));
        fs::write(&list, "me@x.test\nyou@x.test\n").unwrap();
        assert!(files.have_changed(later(5), 0));
        files.settle();
        assert!(!files.have_changed(later(6), 0));
        fs::set_permissions(&list, fs::Permissions::from_mode(0o666)).unwrap();
        let faults = AliasFiles::read(&config).all_faults();
        assert!(faults[0].contains(":1: root: ") && faults[0].contains("anybody"), "{faults:?}");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(AliasFiles::read(&config).all_faults()[0].ends_with("is not a file"));
    }
}
