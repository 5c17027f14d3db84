//! The system calls that the daemon makes, by processor: see `seccomp`.
//!
//! libc names the numbers; those that it does not name for all of our targets stand here as
//! numbers, from the kernel's tables (arch/*/kernel/syscalls, unistd.h).
//!
//! Not on the lists, among others: execve, fork, ptrace, mount, setuid, chown by name, chroot, bpf,
//! the calls for modules and keys, process_vm_*, perf_event_open, io_uring, userfaultfd.

use libc::*;

/// Where the numbers of the o32 calls of MIPS begin.
const BASE: c_long = if cfg!(target_arch = "mips") { 4000 } else { 0 };

/// The newest call that these lists know of, cachestat of Linux 6.5: what is newer is unknown here.
pub(super) const NEWEST: c_long = BASE + 451;

/// Calls of every processor.
#[rustfmt::skip]
pub(super) const EVERYWHERE: &[c_long] = &[
    // Files.
    SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_preadv, SYS_pwritev, SYS_openat, SYS_close,
    SYS_fstat, SYS_statx, SYS_lseek, SYS_fsync, SYS_fdatasync, SYS_ftruncate, SYS_fallocate,
    SYS_renameat2, SYS_linkat, SYS_unlinkat, SYS_mkdirat, SYS_fchmod, SYS_fchmodat, SYS_fchown,
    SYS_faccessat, SYS_faccessat2, SYS_getdents64, SYS_readlinkat, SYS_statfs, SYS_fstatfs,
    SYS_flock, SYS_fcntl, SYS_dup, SYS_dup3, SYS_pipe2, SYS_utimensat,
    // Waiting.
    SYS_eventfd2, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_ppoll,
    SYS_pselect6, SYS_signalfd4, SYS_inotify_add_watch, SYS_inotify_rm_watch,
    // Sockets that are open; making one is looked at.
    SYS_connect, SYS_bind, SYS_listen, SYS_accept4, SYS_getsockname, SYS_getpeername, SYS_sendto,
    SYS_recvfrom, SYS_sendmsg, SYS_recvmsg, SYS_sendmmsg, SYS_recvmmsg, SYS_setsockopt,
    SYS_getsockopt, SYS_shutdown,
    // Memory; mapping it is looked at.
    SYS_munmap, SYS_mremap, SYS_madvise, SYS_brk,
    // Threads; making one is looked at.
    SYS_futex, SYS_set_robust_list, SYS_get_robust_list, SYS_sched_yield, SYS_sched_getaffinity,
    SYS_gettid, SYS_exit, SYS_exit_group, SYS_membarrier, SYS_restart_syscall,
    // About itself.
    SYS_getpid, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_getrusage, SYS_umask,
    SYS_uname, SYS_sysinfo,
    // Time and chance.
    SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday,
    SYS_getrandom,
    // Signals; sending one is looked at.
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_rt_sigtimedwait, SYS_sigaltstack,
];

/// Calls that newer processors have under another name only.
#[cfg(any(target_arch = "x86_64", target_arch = "x86", target_arch = "arm", target_arch = "mips"))]
#[rustfmt::skip]
pub(super) const OLDER: &[c_long] = &[
    SYS_open, SYS_stat, SYS_lstat, SYS_access, SYS_poll, SYS_epoll_wait, SYS_pipe, SYS_dup2,
    SYS_unlink, SYS_rename, SYS_renameat, SYS_mkdir, SYS_rmdir, SYS_link, SYS_readlink,
    SYS_getdents,
];
#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "x86",
    target_arch = "arm",
    target_arch = "mips"
)))]
pub(super) const OLDER: &[c_long] = &[];

#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
pub(super) const OF_THIS_PROCESSOR: &[c_long] = &[
    SYS_pread64, SYS_pwrite64, SYS_newfstatat, SYS_fadvise64, SYS_accept, SYS_getrlimit,
    SYS_select, SYS_time, SYS_rseq,
];
#[cfg(any(target_arch = "aarch64", target_arch = "riscv64"))]
#[rustfmt::skip]
pub(super) const OF_THIS_PROCESSOR: &[c_long] = &[
    SYS_pread64, SYS_pwrite64, SYS_newfstatat, SYS_fadvise64, SYS_accept, SYS_getrlimit, SYS_rseq,
];
/// By number: fadvise64_64, socketcall, set_thread_area, rseq.
#[cfg(target_arch = "x86")]
#[rustfmt::skip]
pub(super) const OF_THIS_PROCESSOR: &[c_long] = &[
    SYS_pread64, SYS_pwrite64, SYS_fstatat64, SYS__newselect, SYS_ugetrlimit, SYS_getuid32,
    SYS_geteuid32, SYS_getgid32, SYS_getegid32, SYS_fchown32, SYS_time, SYS_sigreturn,
    272, 102, 243, 386,
];
/// By number: arm_fadvise64_64, rseq, and ARM's own cacheflush and set_tls.
#[cfg(target_arch = "arm")]
#[rustfmt::skip]
pub(super) const OF_THIS_PROCESSOR: &[c_long] = &[
    SYS_pread64, SYS_pwrite64, SYS_fstatat64, SYS__newselect, SYS_ugetrlimit, SYS_getuid32,
    SYS_geteuid32, SYS_getgid32, SYS_getegid32, SYS_fchown32, SYS_accept, SYS_send, SYS_recv,
    SYS_sigreturn, 270, 398, 0x0f_0002, 0x0f_0005,
];
/// By number: pread64, pwrite64, fstatat64, fadvise64, _newselect, rseq.
#[cfg(target_arch = "mips")]
#[rustfmt::skip]
pub(super) const OF_THIS_PROCESSOR: &[c_long] = &[
    SYS_accept, SYS_send, SYS_recv, SYS_getrlimit, SYS_time, SYS_sigreturn, SYS_cacheflush,
    SYS_set_thread_area,
    BASE + 200, BASE + 201, BASE + 293, BASE + 254, BASE + 142, BASE + 367,
];
#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "x86",
    target_arch = "aarch64",
    target_arch = "arm",
    target_arch = "riscv64",
    target_arch = "mips"
)))]
pub(super) const OF_THIS_PROCESSOR: &[c_long] = &[];

/// What 32-bit processors have for files and times that 32 bits do not hold. The times have one
/// number on all of them: clock_gettime64, clock_getres_time64, clock_nanosleep_time64,
/// utimensat_time64, pselect6_time64, ppoll_time64, recvmmsg_time64, rt_sigtimedwait_time64,
/// futex_time64.
#[cfg(target_pointer_width = "32")]
#[rustfmt::skip]
pub(super) const WIDE: &[c_long] = &[
    SYS_fcntl64, SYS__llseek, SYS_fstat64, SYS_stat64, SYS_lstat64, SYS_statfs64, SYS_fstatfs64,
    SYS_ftruncate64,
    BASE + 403, BASE + 406, BASE + 407, BASE + 412, BASE + 413, BASE + 414, BASE + 417, BASE + 421,
    BASE + 422,
];
#[cfg(not(target_pointer_width = "32"))]
pub(super) const WIDE: &[c_long] = &[];

/// What maps memory, and changes what it may be used for.
#[cfg(any(target_arch = "x86", target_arch = "arm"))]
pub(super) const MAPPING: &[c_long] = &[SYS_mmap2, SYS_mprotect];
#[cfg(target_arch = "mips")]
pub(super) const MAPPING: &[c_long] = &[SYS_mmap, SYS_mmap2, SYS_mprotect];
#[cfg(not(any(target_arch = "x86", target_arch = "arm", target_arch = "mips")))]
pub(super) const MAPPING: &[c_long] = &[SYS_mmap, SYS_mprotect];
