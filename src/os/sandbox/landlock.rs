//! Which files may be opened from now on (threats 21): below some directories they may be read,
//! below others also made, written and removed, and nowhere may they be executed.
//!
//! A rule stands for a directory and all below it, by what it is and not by its name: a directory
//! that is removed and made again is another one. So a file that is replaced now and then (config,
//! certificates, resolv.conf) is covered by a rule for the directory that it is in. What the
//! kernel grants is still subject to the files' owners and modes.
//!
//! Kernels before 5.19 cannot allow a rename from one directory into another, which delivering
//! into a Maildir is: there the reason is told, and mote runs without.
//!
//! Read first: landlock(7).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

// The numbers are the same on all processors, but for where they begin on MIPS.
const BASE: libc::c_long = if cfg!(target_arch = "mips") { 4000 } else { 0 };
const CREATE_RULESET: libc::c_long = BASE + 444;
const ADD_RULE: libc::c_long = BASE + 445;
const RESTRICT_SELF: libc::c_long = BASE + 446;

// linux/landlock.h.
const TELL_VERSION: u32 = 1;
const RULE_BENEATH: u32 = 1;
const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIRECTORY: u64 = 1 << 3;
/// To remove directories and files, and to make character devices, directories, files, sockets,
/// FIFOs, block devices and symbolic links. It takes these to move what others have put into the
/// drop directory, whatever it is; the calls that make such things are not to be had (`seccomp`).
const REMOVE_AND_MAKE: u64 = 0x1ff0;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
/// All that version 2 knows.
const KNOWN_BY_2: u64 = (1 << 14) - 1;

const READ: u64 = READ_FILE | READ_DIRECTORY;
const WRITE: u64 = READ | WRITE_FILE | REMOVE_AND_MAKE | REFER | TRUNCATE;

/// A struct landlock_ruleset_attr, as version 1 has it.
#[repr(C)]
struct Ruleset {
    handled: u64,
}

/// A struct landlock_path_beneath_attr.
#[repr(C, packed)]
struct Beneath {
    allowed: u64,
    parent: i32,
}

/// Lets this thread and those that it makes read below `read` and write below `write`, and open
/// nothing else. What is not there is passed over. `no_new_privs` has been set.
#[allow(unsafe_code)]
pub(super) fn restrict<'a>(
    read: impl Iterator<Item = &'a Path>,
    write: impl Iterator<Item = &'a Path>,
) -> io::Result<()> {
    const NOTHING: *const Ruleset = core::ptr::null();
    // SAFETY: takes no memory.
    let version = unsafe { libc::syscall(CREATE_RULESET, NOTHING, 0usize, TELL_VERSION) };
    let handled = match version {
        ..0 => return Err(io::Error::last_os_error()),
        0 | 1 => return Err(io::ErrorKind::Unsupported.into()),
        2 => KNOWN_BY_2,
        _ => KNOWN_BY_2 | TRUNCATE,
    };
    debug_assert!(handled & EXECUTE != 0);
    let ruleset = Ruleset { handled };
    let (ruleset, size) = (&raw const ruleset, size_of::<Ruleset>());
    // SAFETY: the pointer is to a live record of that size; the kernel copies it.
    let made = unsafe { libc::syscall(CREATE_RULESET, ruleset, size, 0u32) };
    let made = i32::try_from(made).ok().filter(|made| *made >= 0);
    let made = made.ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the descriptor is new, so ours alone.
    let ruleset = unsafe { OwnedFd::from_raw_fd(made) };
    for (path, allowed) in read.map(|path| (path, READ)).chain(write.map(|path| (path, WRITE))) {
        if let Ok(place) = open(path) {
            allow(&ruleset, &place, allowed & handled)?;
        }
    }
    // SAFETY: takes no memory.
    match unsafe { libc::syscall(RESTRICT_SELF, ruleset.as_raw_fd(), 0u32) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

#[allow(unsafe_code)]
fn allow(ruleset: &OwnedFd, place: &File, allowed: u64) -> io::Result<()> {
    let rule = Beneath { allowed, parent: place.as_raw_fd() };
    let rule = &raw const rule;
    // SAFETY: the pointer is to a live record of that kind; the kernel copies it.
    match unsafe { libc::syscall(ADD_RULE, ruleset.as_raw_fd(), RULE_BENEATH, rule, 0u32) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
