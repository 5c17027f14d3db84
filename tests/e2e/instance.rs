//! One instance of mote: its folder, its config, and the process that serves them.
//!
//! The process ends with the value, also when the test panics; its log is printed then.

use std::fmt::Write as _;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::load::wait_for;

/// The binary that is tested: this build's, or the one named, such as a release.
pub(crate) fn binary() -> PathBuf {
    let named = std::env::var_os("TESTED_BINARY").filter(|name| !name.is_empty());
    named.map_or_else(|| env!("CARGO_BIN_EXE_mote").into(), PathBuf::from)
}

const SYNCS: &str = "trace=fsync,fdatasync,sync,syncfs,sync_file_range,msync";

/// A free port below the range from which the kernel takes ports for outgoing connections.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + (std::process::id() % 1_000) as u16 * 20;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A folder with a config, which outlives the processes that serve it.
pub(crate) struct Place {
    folder: TempDir,
    pub(crate) port: u16,
}

impl Place {
    /// A place on disk. The config is made of the needful and of the lines given; `{dir}` in them
    /// stands for the folder, `{port}` for the port.
    pub(crate) fn new(lines: &str) -> Place {
        Place::within(&std::env::temp_dir(), lines)
    }

    /// A place whose syncs cost nothing.
    pub(crate) fn in_memory(lines: &str) -> Place {
        Place::within(Path::new("/dev/shm"), lines)
    }

    fn within(parent: &Path, lines: &str) -> Place {
        let folder = tempfile::Builder::new().prefix("mote-e2e-").tempdir_in(parent).unwrap();
        let place = Place { folder, port: free_port() };
        place.configure(lines);
        place
    }

    /// Writes the config anew; the process does not know yet.
    pub(crate) fn configure(&self, lines: &str) {
        let folder = self.folder.path().display();
        let mut text = String::from("hostname = mote.test\n");
        if !lines.contains("listen = ") {
            writeln!(text, "listen = 127.0.0.1:{}", self.port).unwrap();
        }
        writeln!(text, "spool = {folder}/spool\nrun = {folder}/run").unwrap();
        if !lines.contains("spool-size") {
            text.push_str("spool-size = 32M\n");
        }
        let port = self.port.to_string();
        text.push_str(&lines.replace("{dir}", &folder.to_string()).replace("{port}", &port));
        text.push('\n');
        fs::write(self.config(), text).unwrap();
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("mote.conf")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// One verb, not yet run.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.arg("-C").arg(self.config()).args(arguments).env_remove("MOTE_SOCKET");
        command
    }

    /// Runs one verb to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(crate) fn serve(&self) -> Mote {
        self.spawn(Command::new(binary()))
    }

    /// Serves with every sync it makes written to `syncs`.
    pub(crate) fn serve_traced(&self) -> Mote {
        // -D makes strace the child's tracer instead of its parent: signals reach mote itself.
        let mut command = Command::new("strace");
        command.args(["-D", "-f", "--seccomp-bpf", "-qq", "-e", "signal=none", "-e", SYNCS, "-o"]);
        command.arg(self.path("syncs")).arg(binary());
        self.spawn(command)
    }

    /// The names of the syncs traced so far.
    pub(crate) fn syncs(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("syncs")).unwrap_or_default();
        let name = |line: &str| Some(line.split_once('(')?.0.rsplit(' ').next()?.to_owned());
        text.lines().filter(|line| !line.contains("resumed>")).filter_map(name).collect()
    }

    /// Serves with two sockets handed over, as systemd does it, by these names.
    pub(crate) fn serve_inheriting(&self, names: &str, sockets: [OwnedFd; 2]) -> Mote {
        let mut command = Command::new("sh");
        let script = "exec 3<&0 4<&1 </dev/null >&2; \
                      LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=\"$0\" exec \"$@\"";
        command.args(["-c", script, names]).arg(binary());
        let [one, other] = sockets;
        command.stdin(one).stdout(other).stderr(self.log_file());
        self.start(command)
    }

    /// Serves through a program that runs what is behind its words.
    pub(crate) fn serve_by(&self, command: Command) -> Mote {
        self.spawn(command)
    }

    fn spawn(&self, mut command: Command) -> Mote {
        command.stdin(Stdio::null()).stdout(self.log_file()).stderr(self.log_file());
        self.start(command)
    }

    fn log_file(&self) -> fs::File {
        fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap()
    }

    fn start(&self, mut command: Command) -> Mote {
        command.arg("-C").arg(self.config()).arg("serve");
        let mut mote = Mote { child: command.spawn().unwrap(), log: self.path("log") };
        wait_for("mote to listen", Duration::from_secs(20), || {
            let ended = mote.child.try_wait().unwrap();
            assert!(ended.is_none(), "mote ended at start: {ended:?}\n{}", mote.log());
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
        mote
    }
}

/// A running `mote serve`.
pub(crate) struct Mote {
    child: Child,
    log: PathBuf,
}

impl Mote {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// How often the log has a line with these words.
    pub(crate) fn logged(&self, words: &str) -> usize {
        self.log().lines().filter(|line| line.contains(words)).count()
    }

    pub(crate) fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.pid());
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the end that something else has asked for.
    #[track_caller]
    pub(crate) fn ended(&mut self, limit: Duration) -> ExitStatus {
        let mut status = None;
        wait_for("mote to end", limit, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Resident bytes, counted page by page (VmRSS is off by what each thread has not yet added).
    pub(crate) fn resident(&self) -> u64 {
        self.kilobytes("smaps_rollup", "Rss:") * 1024
    }

    /// Bytes of address space that can be written: what was allocated, touched or not.
    pub(crate) fn allocated(&self) -> u64 {
        self.kilobytes("status", "VmData:") * 1024
    }

    fn kilobytes(&self, file: &str, field: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/{file}", self.pid())).unwrap();
        let line = text.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Mote {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            eprintln!("--- the last of mote's log");
            for line in lines.iter().skip(lines.len().saturating_sub(40)) {
                eprintln!("{line}");
            }
        }
    }
}
