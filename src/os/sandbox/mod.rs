//! What the daemon gives up once everything is open (threats 21): new privileges, system calls that
//! it never makes, and files that it has no business with.
//!
//! Each of the three is had where the kernel has it, and told by `status` and in the log where it
//! has not: an old kernel is no reason not to carry mail. All of it holds for this thread and those
//! that it makes, so it comes before any thread.

mod calls;
mod landlock;
mod seccomp;

use std::io;
use std::path::{Path, PathBuf};

/// Where files may be opened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Places {
    /// Directories below which files may be read.
    pub read: Vec<PathBuf>,
    /// Directories below which they may also be made, written and removed.
    pub write: Vec<PathBuf>,
}

/// Directories that the libc reads when it looks up names, users and times.
const OF_THE_SYSTEM: [&str; 8] = [
    "/etc",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/zoneinfo",
    // Where the certificates in /etc/ssl/certs lead to.
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
];
/// Whose directory is read, wherever the link leads: on routers it leads into /tmp.
const RESOLVER_FILE: &str = "/etc/resolv.conf";

impl Places {
    /// Nothing but what the system needs.
    pub fn new() -> Places {
        let mut places = Places::default();
        places.read.extend(OF_THE_SYSTEM.map(PathBuf::from));
        places.add_file(Path::new(RESOLVER_FILE));
        places
    }

    /// The file at `path` may be read, and whatever replaces it: its directory, and that of what it
    /// leads to.
    pub fn add_file(&mut self, path: &Path) {
        let led = std::fs::canonicalize(path).ok();
        for path in [Some(path), led.as_deref()].into_iter().flatten() {
            // A file in the root directory must not open all of the others.
            let directory = path.parent().filter(|parent| parent.parent().is_some());
            if let Some(directory) = directory.filter(|directory| !self.may_read(directory)) {
                self.read.push(directory.to_owned());
            }
        }
    }

    /// Files below `path` may be made.
    pub fn add_tree(&mut self, path: &Path) {
        self.write.push(path.to_owned());
    }

    /// True if what is in `directory` may be read.
    fn may_read(&self, directory: &Path) -> bool {
        self.read.iter().chain(&self.write).any(|place| directory.starts_with(place))
    }

    /// The places of `self` that `held` does not cover.
    pub fn beyond<'a>(&'a self, held: &'a Places) -> impl Iterator<Item = &'a Path> {
        let read = self.read.iter().filter(|place| !held.may_read(place));
        let write = self
            .write
            .iter()
            .filter(|place| !held.write.iter().any(|held| place.starts_with(held)));
        read.chain(write).map(PathBuf::as_path)
    }
}

/// What holds; else why not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sandbox {
    /// No program that is executed gets more than this process has.
    pub no_new_privileges: Result<(), String>,
    /// Files.
    pub landlock: Result<(), String>,
    /// System calls.
    pub seccomp: Result<(), String>,
}

/// Gives it all up. The caller has one thread.
pub fn enter(places: &Places) -> Sandbox {
    let no_new_privileges = no_new_privileges();
    // Without the first the kernel wants to see root for the others.
    let landlock = landlock::restrict(
        places.read.iter().map(PathBuf::as_path),
        places.write.iter().map(PathBuf::as_path),
    );
    let seccomp = seccomp::restrict();
    Sandbox {
        no_new_privileges: no_new_privileges.map_err(|error| words(&error)),
        landlock: landlock.map_err(|error| words(&error)),
        seccomp: seccomp.map_err(|error| words(&error)),
    }
}

/// No program that this process executes gets rights that it has not, by set-user-ID or otherwise.
#[allow(unsafe_code)]
pub(super) fn no_new_privileges() -> io::Result<()> {
    const NONE: libc::c_ulong = 0;
    const YES: libc::c_ulong = 1;
    // SAFETY: takes no memory.
    match unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, YES, NONE, NONE, NONE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn words(error: &io::Error) -> String {
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::Unsupported, None) | (_, Some(libc::ENOSYS | libc::EOPNOTSUPP)) => {
            "this kernel has none".to_owned()
        }
        (_, Some(libc::EINVAL)) => "this kernel has none".to_owned(),
        _ => error.to_string(),
    }
}
