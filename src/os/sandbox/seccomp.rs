//! Which system calls may be made from now on: those of the lists in `calls` (threats 21).
//!
//! What is not on them fails with EPERM. Nothing is killed for it: a libc may try a call that it
//! can do without. A call that is newer than the lists fails with ENOSYS, as does clone3, whose
//! arguments a filter cannot see: a libc then takes the older way. Of some calls the arguments are
//! looked at: threads may be made and processes not; sockets are of the Internet, local or netlink,
//! and never raw; signals go to this process; a static binary maps nothing that can be executed.
//!
//! Where a kernel or a processor has no filters the reason is told, and mote runs without.
//!
//! Read first: seccomp(2), and Linux's Documentation/userspace-api/seccomp_filter.rst.

use super::calls::{EVERYWHERE, MAPPING, NEWEST, OF_THIS_PROCESSOR, OLDER, WIDE};
use std::io;

/// AUDIT_ARCH_* (linux/audit.h) of the processor that this is built for: with another one's
/// numbers the calls are others.
const ARCHITECTURE: u32 = if cfg!(target_arch = "x86_64") {
    0xc000_003e
} else if cfg!(target_arch = "x86") {
    0x4000_0003
} else if cfg!(target_arch = "aarch64") {
    0xc000_00b7
} else if cfg!(all(target_arch = "arm", target_endian = "little")) {
    0x4000_0028
} else if cfg!(target_arch = "riscv64") {
    0xc000_00f3
} else if cfg!(all(target_arch = "mips", target_endian = "big")) {
    0x0000_0008
} else if cfg!(target_arch = "mips") {
    0x4000_0008
} else {
    0
};

// linux/filter.h, linux/bpf_common.h.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

// linux/seccomp.h.
const MODE_FILTER: libc::c_ulong = 2;
const ALLOW: u32 = 0x7fff_0000;
const FAIL: u32 = 0x0005_0000;
const NOT_PERMITTED: u32 = FAIL | libc::EPERM as u32;
const UNKNOWN_CALL: u32 = FAIL | libc::ENOSYS as u32;

/// Where `struct seccomp_data` has the call's number, and what it was made for.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;

/// Where it has the low half of argument `index`.
const fn argument_at(index: u32) -> u32 {
    16 + 8 * index + if cfg!(target_endian = "big") { 4 } else { 0 }
}

/// A struct sock_filter.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    value: u32,
}

/// A struct sock_fprog.
#[repr(C)]
struct Program {
    length: libc::c_ushort,
    instructions: *const Instruction,
}

/// Puts the filter on this thread, and on those that it makes. `no_new_privs` has been set.
#[allow(unsafe_code)]
pub(super) fn restrict() -> io::Result<()> {
    if ARCHITECTURE == 0 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let instructions = filter();
    let length = libc::c_ushort::try_from(instructions.len()).unwrap_or(0);
    let program = Program { length, instructions: instructions.as_ptr() };
    const NONE: libc::c_ulong = 0;
    let program = &raw const program;
    // SAFETY: the program is as long as it says and alive during the call; the kernel copies it.
    match unsafe { libc::prctl(libc::PR_SET_SECCOMP, MODE_FILTER, program, NONE, NONE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn filter() -> Vec<Instruction> {
    let mut filter = Filter(Vec::with_capacity(320));
    filter.push(LOAD, ARCHITECTURE_AT);
    filter.unless(IF_EQUAL, ARCHITECTURE, NOT_PERMITTED);
    filter.push(LOAD, NUMBER_AT);
    for call in [EVERYWHERE, OLDER, OF_THIS_PROCESSOR, WIDE].concat() {
        filter.when(IF_EQUAL, call as u32, ALLOW);
    }
    // Each of these leaves the filter, so the number need not be loaded again behind it.
    filter.of_call(libc::SYS_socket, |filter| {
        filter.push(LOAD, argument_at(1));
        // SOCK_NONBLOCK and SOCK_CLOEXEC stand above.
        filter.push(AND, 0xf);
        filter.when(IF_EQUAL, libc::SOCK_RAW as u32, NOT_PERMITTED);
        filter.when(IF_EQUAL, SOCK_PACKET, NOT_PERMITTED);
        filter.push(LOAD, argument_at(0));
        filter.when(IF_EQUAL, libc::AF_NETLINK as u32, ALLOW);
        for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6] {
            filter.when(IF_EQUAL, family as u32, ALLOW);
        }
        filter.push(RETURN, NOT_PERMITTED);
    });
    filter.of_call(libc::SYS_clone, |filter| {
        filter.push(LOAD, argument_at(0));
        filter.when(IF_ANY_BIT, libc::CLONE_THREAD as u32, ALLOW);
        filter.push(RETURN, NOT_PERMITTED);
    });
    for call in MAPPING {
        filter.of_call(*call, |filter| {
            if cfg!(target_feature = "crt-static") {
                filter.push(LOAD, argument_at(2));
                filter.when(IF_ANY_BIT, libc::PROT_EXEC as u32, NOT_PERMITTED);
            }
            filter.push(RETURN, ALLOW);
        });
    }
    filter.of_call(libc::SYS_prlimit64, |filter| {
        // Zero or this process.
        filter.is_own(0);
    });
    for call in [libc::SYS_tgkill, libc::SYS_tkill, libc::SYS_kill] {
        filter.of_call(call, |filter| filter.is_own(0));
    }
    filter.of_call(libc::SYS_prctl, |filter| {
        filter.push(LOAD, argument_at(0));
        for option in [libc::PR_SET_NAME, libc::PR_GET_DUMPABLE, libc::PR_GET_NO_NEW_PRIVS] {
            filter.when(IF_EQUAL, option as u32, ALLOW);
        }
        filter.push(RETURN, NOT_PERMITTED);
    });
    filter.of_call(libc::SYS_ioctl, |filter| {
        filter.push(LOAD, argument_at(1));
        // The last is asked for an interface's number.
        filter.when(IF_EQUAL, libc::FIONBIO as u32, ALLOW);
        filter.when(IF_EQUAL, libc::FIOCLEX as u32, ALLOW);
        filter.when(IF_EQUAL, libc::FIONREAD as u32, ALLOW);
        filter.when(IF_EQUAL, INTERFACE_NUMBER, ALLOW);
        filter.push(RETURN, NOT_PERMITTED);
    });
    filter.when(IF_EQUAL, libc::SYS_clone3 as u32, UNKNOWN_CALL);
    filter.when(IF_GREATER, NEWEST as u32, UNKNOWN_CALL);
    filter.push(RETURN, NOT_PERMITTED);
    filter.0
}

/// SIOCGIFINDEX, whose type differs from libc to libc.
const INTERFACE_NUMBER: u32 = 0x8933;
/// SOCK_PACKET, which the kernel still has.
const SOCK_PACKET: u32 = 10;

struct Filter(Vec<Instruction>);

impl Filter {
    fn push(&mut self, code: u16, value: u32) {
        self.0.push(Instruction { code, if_true: 0, if_false: 0, value });
    }

    /// Ends with `verdict` if what was loaded compares so with `value`.
    fn when(&mut self, compare: u16, value: u32, verdict: u32) {
        self.0.push(Instruction { code: compare, if_true: 0, if_false: 1, value });
        self.push(RETURN, verdict);
    }

    /// Ends with `verdict` unless it does.
    fn unless(&mut self, compare: u16, value: u32, verdict: u32) {
        self.0.push(Instruction { code: compare, if_true: 1, if_false: 0, value });
        self.push(RETURN, verdict);
    }

    /// What `looks` adds is for `call` alone, and ends with a verdict.
    fn of_call(&mut self, call: libc::c_long, looks: impl FnOnce(&mut Filter)) {
        let at = self.0.len();
        self.0.push(Instruction { code: IF_EQUAL, if_true: 0, if_false: 0, value: call as u32 });
        looks(self);
        let skipped = self.0.len() - at - 1;
        if let Some(jump) = self.0.get_mut(at) {
            jump.if_false = u8::try_from(skipped).unwrap_or(u8::MAX);
        }
    }

    /// Argument `index` must be this process, or zero, which stands for it.
    fn is_own(&mut self, index: u32) {
        self.push(LOAD, argument_at(index));
        for process in [0, std::process::id()] {
            self.when(IF_EQUAL, process, ALLOW);
        }
        self.push(RETURN, NOT_PERMITTED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the filter says to a call, as the kernel would run it.
    fn verdict(call: libc::c_long, arguments: [u64; 3]) -> u32 {
        let filter = filter();
        let load = |at: u32| match at {
            NUMBER_AT => call as u32,
            ARCHITECTURE_AT => ARCHITECTURE,
            at => arguments[(at as usize - 16) / 8] as u32,
        };
        let (mut at, mut held) = (0, 0);
        loop {
            let Instruction { code, if_true, if_false, value } = filter[at];
            let jump = match code {
                LOAD => {
                    held = load(value);
                    0
                }
                AND => {
                    held &= value;
                    0
                }
                IF_EQUAL => {
                    if held == value {
                        if_true
                    } else {
                        if_false
                    }
                }
                IF_GREATER => {
                    if held > value {
                        if_true
                    } else {
                        if_false
                    }
                }
                IF_ANY_BIT => {
                    if held & value != 0 {
                        if_true
                    } else {
                        if_false
                    }
                }
                _ => return value,
            };
            at += 1 + usize::from(jump);
        }
    }

    #[test]
    fn what_serving_needs_and_nothing_else() {
        let none = [0; 3];
        for call in [libc::SYS_read, libc::SYS_fdatasync, libc::SYS_accept4, libc::SYS_futex] {
            assert_eq!(verdict(call, none), ALLOW, "{call}");
        }
        for call in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_mount,
            libc::SYS_setuid,
            libc::SYS_setresuid,
            libc::SYS_chroot,
            libc::SYS_bpf,
            libc::SYS_init_module,
            libc::SYS_process_vm_readv,
            libc::SYS_io_uring_setup,
            libc::SYS_unshare,
        ] {
            assert_eq!(verdict(call, none), NOT_PERMITTED, "{call}");
        }
        assert_eq!(verdict(libc::SYS_clone3, none), UNKNOWN_CALL);
        assert_eq!(verdict(NEWEST + 1, none), UNKNOWN_CALL);
    }

    #[test]
    fn arguments_count() {
        let socket =
            |family: i32, kind: i32| verdict(libc::SYS_socket, [family as u64, kind as u64, 0]);
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        assert_eq!(socket(libc::AF_INET6, libc::SOCK_STREAM | flags), ALLOW);
        assert_eq!(socket(libc::AF_UNIX, libc::SOCK_DGRAM), ALLOW);
        assert_eq!(socket(libc::AF_INET, libc::SOCK_RAW | flags), NOT_PERMITTED);
        assert_eq!(socket(libc::AF_PACKET, libc::SOCK_DGRAM), NOT_PERMITTED);
        let thread = (libc::CLONE_THREAD | libc::CLONE_VM) as u64;
        assert_eq!(verdict(libc::SYS_clone, [thread, 0, 0]), ALLOW);
        assert_eq!(verdict(libc::SYS_clone, [libc::SIGCHLD as u64, 0, 0]), NOT_PERMITTED);
        let own = u64::from(std::process::id());
        assert_eq!(verdict(libc::SYS_tgkill, [own, own, 6]), ALLOW);
        assert_eq!(verdict(libc::SYS_kill, [1, 15, 0]), NOT_PERMITTED);
        assert_eq!(verdict(libc::SYS_prctl, [libc::PR_SET_NAME as u64, 0, 0]), ALLOW);
        assert_eq!(verdict(libc::SYS_prctl, [libc::PR_SET_DUMPABLE as u64, 1, 0]), NOT_PERMITTED);
        assert_eq!(verdict(libc::SYS_ioctl, [0, 0x5412, 0]), NOT_PERMITTED);
    }
}
