//! This process and the users of this system: descriptors, dumps, the umask, names and numbers.
//!
//! Called at the start and by commands, so these may allocate. User lookups go through libc, which
//! asks what the system is configured to ask.

use std::ffi::{CStr, CString};
use std::io;
use std::sync::OnceLock;

/// A user of this system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Home directory.
    pub home: String,
}

/// The user that the daemon runs as on a full system, unless the config names another.
const DAEMON_USER: &str = "mote";

/// Who that is, once it is known.
static DAEMON: OnceLock<User> = OnceLock::new();

/// The user that the daemon runs as; none, if there is no such user.
pub fn daemon_user() -> Option<User> {
    DAEMON.get().cloned().or_else(|| user_by_name(DAEMON_USER))
}

/// What that user is called.
pub fn daemon_name() -> &'static str {
    DAEMON.get().map_or(DAEMON_USER, |user| user.name.as_str())
}

/// The config names `user`: once, and before anybody has been asked whom to trust.
pub fn set_daemon_user(user: User) {
    // The first one stays; nobody sets a second.
    let _ = DAEMON.set(user);
}

const ENTRY_BYTES_MAX: usize = 64 * 1024;

/// What every daemon does first: files are nobody else's unless said otherwise, and neither a core
/// nor a debugger of the same user sees what mail went through (threats 19).
#[allow(unsafe_code)]
pub fn prepare() -> io::Result<()> {
    // SAFETY: takes no memory, and cannot fail.
    unsafe { libc::umask(0o077) };
    forbid_dumps()
}

#[allow(unsafe_code)]
fn forbid_dumps() -> io::Result<()> {
    // prctl takes what it is given as longs.
    const NONE: libc::c_ulong = 0;
    // SAFETY: takes no memory.
    checked(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, NONE, NONE, NONE, NONE) })
}

/// From root to `user`, with all of its groups, for good. Of what root may do, using any network
/// interface stays if `keeps_interfaces`: a listener that is bound to one has to be bound again
/// when that is made anew. The caller has one thread, and has opened what only root can.
#[allow(unsafe_code)]
pub fn become_user(user: &User, keeps_interfaces: bool) -> io::Result<()> {
    const NONE: libc::c_ulong = 0;
    const YES: libc::c_ulong = 1;
    let name = CString::new(user.name.as_str())?;
    // SAFETY: the name is alive; the others take no memory.
    unsafe {
        checked(libc::prctl(libc::PR_SET_KEEPCAPS, YES, NONE, NONE, NONE))?;
        // The group is an int on some systems.
        checked(libc::initgroups(name.as_ptr(), user.gid as _))?;
        checked(libc::setresgid(user.gid, user.gid, user.gid))?;
        checked(libc::setresuid(user.uid, user.uid, user.uid))?;
    }
    keep_capabilities(if keeps_interfaces { 1 << CAP_NET_RAW } else { 0 })?;
    // SAFETY: takes no memory.
    if user.uid != 0 && unsafe { libc::setresuid(0, 0, 0) } == 0 {
        return Err(io::Error::other("the way back to root is open"));
    }
    // It was allowed again with the change.
    forbid_dumps()
}

/// Asks to be traced by the process that has started this one: what nobody in here ever does.
#[cfg(debug_assertions)]
#[allow(unsafe_code)]
pub fn trace_me() -> io::Result<()> {
    // SAFETY: this request takes no memory.
    let result = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// linux/capability.h.
const CAP_NET_RAW: u32 = 13;
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Gives up all capabilities but those.
#[allow(unsafe_code)]
fn keep_capabilities(kept: u32) -> io::Result<()> {
    // Structs cap_user_header and cap_user_data: effective, permitted, inheritable, twice.
    let header = [CAPABILITY_VERSION_3, 0];
    let data = [kept, kept, 0, 0, 0, 0];
    // SAFETY: both pointers are to live records of the length that this version has.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sees to it that `needed` descriptors can be open, raising the soft limit if the hard one lets
/// it. Err: the limit there is.
// The casts: these are 32 bits on some systems.
#[allow(unsafe_code, clippy::unnecessary_cast)]
pub fn ensure_descriptors(needed: u64) -> Result<(), u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live, writable rlimit.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Ok(());
    }
    if limit.rlim_cur as u64 >= needed {
        return Ok(());
    }
    if (limit.rlim_max as u64) < needed {
        return Err(limit.rlim_max as u64);
    }
    limit.rlim_cur = needed as libc::rlim_t;
    // SAFETY: the pointer is to a live rlimit.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } {
        0 => Ok(()),
        _ => Err(limit.rlim_max as u64),
    }
}

/// The user on whose behalf this process acts (effective id).
#[allow(unsafe_code)]
pub fn user_id() -> u32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::geteuid() }
}

/// The group on whose behalf this process acts (effective id).
#[allow(unsafe_code)]
pub fn group_id() -> u32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::getegid() }
}

/// The user who started this process (real id).
#[allow(unsafe_code)]
pub fn real_user_id() -> u32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::getuid() }
}

/// The user with that number.
#[allow(unsafe_code)]
pub fn user_by_id(uid: u32) -> Option<User> {
    look_up(|entry, buffer, found| {
        // SAFETY: every pointer is to live memory of the length given with it.
        unsafe { libc::getpwuid_r(uid, entry, buffer.as_mut_ptr().cast(), buffer.len(), found) }
    })
}

/// The user with that login name.
#[allow(unsafe_code)]
pub fn user_by_name(name: &str) -> Option<User> {
    let name = CString::new(name).ok()?;
    look_up(|entry, buffer, found| {
        let (buffer, len) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: every pointer is to live memory of the length given with it.
        unsafe { libc::getpwnam_r(name.as_ptr(), entry, buffer, len, found) }
    })
}

/// True for the owners whose sockets and directories a local program may trust with mail: root,
/// the daemon's user, and itself (decisions: a socket of anybody else could be a trap).
pub fn is_trusted_owner(uid: u32) -> bool {
    uid == 0 || uid == user_id() || daemon_user().is_some_and(|daemon| daemon.uid == uid)
}

/// True for the groups that may read secrets: root's, the daemon's, and our own.
pub fn is_trusted_group(gid: u32) -> bool {
    gid == 0 || gid == group_id() || daemon_user().is_some_and(|daemon| daemon.gid == gid)
}

/// What the system calls itself; "localhost" if it has no name.
#[allow(unsafe_code)]
pub fn hostname() -> String {
    let mut bytes = [0u8; 256];
    // SAFETY: the pointer and the length are those of one live array, less its last byte, which so
    // stays zero.
    unsafe { libc::gethostname(bytes.as_mut_ptr().cast(), bytes.len() - 1) };
    match CStr::from_bytes_until_nul(&bytes).map(CStr::to_str) {
        Ok(Ok(name)) if !name.is_empty() => name.to_owned(),
        _ => "localhost".to_owned(),
    }
}

type Found = *mut libc::passwd;

#[allow(unsafe_code)]
fn look_up(call: impl Fn(Found, &mut [u8], *mut Found) -> libc::c_int) -> Option<User> {
    let mut buffer = vec![0u8; 1024];
    loop {
        // SAFETY: passwd is numbers and pointers; zeros are valid.
        let mut entry: libc::passwd = unsafe { core::mem::zeroed() };
        let mut found: Found = core::ptr::null_mut();
        match call(&mut entry, &mut buffer, &mut found) {
            0 if found.is_null() => return None,
            0 => {
                return Some(User {
                    name: text(entry.pw_name),
                    uid: entry.pw_uid,
                    gid: entry.pw_gid,
                    home: text(entry.pw_dir),
                });
            }
            libc::EINTR => (),
            libc::ERANGE if buffer.len() < ENTRY_BYTES_MAX => buffer.resize(buffer.len() * 4, 0),
            _ => return None,
        }
    }
}

/// The text at `pointer`, which a successful lookup has put into its buffer.
#[allow(unsafe_code)]
fn text(pointer: *const libc::c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: a lookup that succeeded leaves NUL-ended text in the buffer, which is still alive.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_both_ways() {
        let root = user_by_id(0).unwrap();
        assert_eq!(user_by_name(&root.name), Some(root));
        assert_eq!(user_by_name("no-such-user-here"), None);
        assert_eq!(user_by_name("a\0b"), None);
    }

    #[test]
    fn descriptors_are_raised_or_refused() {
        assert_eq!(ensure_descriptors(16), Ok(()));
        assert!(ensure_descriptors(u64::MAX >> 1).is_err());
    }

    #[test]
    fn this_machine_has_a_name() {
        assert!(!hostname().is_empty());
        assert!(is_trusted_owner(user_id()) && is_trusted_owner(0));
        assert!(!is_trusted_owner(4_000_000_001));
    }
}
