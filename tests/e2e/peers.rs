//! The programs of others: where they are, and those that receive.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::instance::free_port;
use crate::load::wait_for;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers")
}

/// The path of a script of these tests.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e").join(name)
}

/// Said past the test harness, which would keep it to itself when the test passes.
pub(crate) fn skipped(name: &str, reason: &str) {
    let _ = std::io::stderr().write_all(format!("skipped: {name}: {}\n", reason.trim()).as_bytes());
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// The peer's command, or a word about its absence.
pub(crate) fn command(peer: &str, command: &str) -> Option<Command> {
    let unpacked = folder().join("bin").join(command);
    if unpacked.exists() {
        return Some(Command::new(unpacked));
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    if let Some(path) =
        std::env::split_paths(&paths).map(|path| path.join(command)).find(|path| path.exists())
    {
        return Some(Command::new(path));
    }
    let reason = fs::read_to_string(folder().join(format!("{peer}.missing")));
    skipped(peer, reason.as_deref().unwrap_or("not fetched, run tests/e2e/peers.sh"));
    None
}

/// The folder of a peer that is no command, or a word about its absence.
pub(crate) fn unpacked(peer: &str) -> Option<PathBuf> {
    let unpacked = folder().join(peer);
    if unpacked.join(".ready").exists() {
        return Some(unpacked);
    }
    let reason = fs::read_to_string(folder().join(format!("{peer}.missing")));
    skipped(peer, reason.as_deref().unwrap_or("not fetched, run tests/e2e/peers.sh"));
    None
}

/// Python with a package of that name, or a word about its absence.
pub(crate) fn python(package: &str) -> Option<Command> {
    let unpacked = unpacked(package)?;
    let mut python = command("python3", "python3")?;
    python.env("PYTHONPATH", unpacked.join("usr/lib/python3/dist-packages"));
    Some(python)
}

/// A server of somebody else's, on a port of its own. It ends with the value.
pub(crate) struct Server {
    child: Child,
    folder: TempDir,
    pub(crate) port: u16,
}

impl Server {
    fn start(mut command: Command, folder: TempDir, port: u16) -> Server {
        let log = File::create(folder.path().join("log")).unwrap();
        // A group of its own: Postfix's master ends its daemons by signalling its group.
        command.process_group(0).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let mut server = Server { child: command.spawn().unwrap(), folder, port };
        wait_for("the next hop to listen", Duration::from_secs(20), || {
            let ended = server.child.try_wait().unwrap();
            let log = || fs::read_to_string(server.path("log")).unwrap_or_default();
            assert!(ended.is_none(), "the next hop ended at start: {ended:?}\n{}", log());
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        server
    }

    /// An aiosmtpd that notes number and hash of each body it gets.
    pub(crate) fn aiosmtpd() -> Option<Server> {
        let (mut python, folder, port) =
            (python("aiosmtpd")?, TempDir::new().unwrap(), free_port());
        python.arg(script("sink.py")).arg(port.to_string()).arg(folder.path().join("received"));
        Some(Server::start(python, folder, port))
    }

    /// One where nobody sends mail without logging in by one of these mechanisms, as the line
    /// `user password` in its file `accounts` has it at the time.
    pub(crate) fn aiosmtpd_with_logins(line: &str, mechanisms: &[&str]) -> Option<Server> {
        let (mut python, folder, port) =
            (python("aiosmtpd")?, TempDir::new().unwrap(), free_port());
        fs::write(folder.path().join("accounts"), line).unwrap();
        python.arg(script("sink.py")).arg(port.to_string()).arg(folder.path().join("received"));
        python.arg(folder.path().join("accounts")).args(mechanisms);
        Some(Server::start(python, folder, port))
    }

    /// A next hop that speaks TLS with that certificate, as `tls_hop.py` describes.
    pub(crate) fn tls_hop(
        cert: &Path,
        key: &Path,
        how: &str,
        options: &[String],
    ) -> Option<Server> {
        let (mut python, folder, port) =
            (command("python3", "python3")?, TempDir::new().unwrap(), free_port());
        python.arg(script("tls_hop.py")).arg(port.to_string()).arg(folder.path().join("heard"));
        python.arg(cert).arg(key).arg(how).args(options);
        Some(Server::start(python, folder, port))
    }

    /// What `tls_hop.py` has written down.
    pub(crate) fn heard(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("heard")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Its logins so far: mechanism, and good or bad.
    pub(crate) fn logins(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("received.logins")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Postfix's smtp-sink, which swallows everything; with `dump` each message becomes a file.
    pub(crate) fn smtp_sink(dump: bool) -> Option<Server> {
        let (mut sink, folder, port) =
            (command("postfix", "smtp-sink")?, TempDir::new().unwrap(), free_port());
        fs::create_dir(folder.path().join("dump")).unwrap();
        if is_root() {
            // It insists on another user, who must be able to write there.
            sink.args(["-u", "nobody"]);
            for (path, mode) in [("", 0o755), ("dump", 0o777)] {
                let mode = fs::Permissions::from_mode(mode);
                fs::set_permissions(folder.path().join(path), mode).unwrap();
            }
        }
        if dump {
            sink.arg("-d").arg(folder.path().join("dump/%M."));
        }
        sink.arg(format!("127.0.0.1:{port}")).arg("256");
        Some(Server::start(sink, folder, port))
    }

    /// A real Postfix that delivers into a Maildir.
    pub(crate) fn postfix() -> Option<Server> {
        command("postfix", "postfix-master")?;
        if !is_root() {
            skipped("postfix", "it must be started as root");
            return None;
        }
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let mut postfix = Command::new("sh");
        postfix.arg(script("postfix.sh")).arg(folder.path()).arg(port.to_string());
        Some(Server::start(postfix, folder, port))
    }

    /// One where alice logs in with that password, by Cyrus SASL and one of these mechanisms.
    pub(crate) fn postfix_with_logins(password: &str, mechanisms: &[&str]) -> Option<Server> {
        command("postfix", "postfix-master")?;
        command("sasl", "saslpasswd2")?;
        if !is_root() {
            skipped("postfix", "it must be started as root");
            return None;
        }
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        fs::write(folder.path().join("password"), password).unwrap();
        let mut postfix = Command::new("sh");
        postfix.args(["-c", "exec sh \"$0\" \"$@\" <\"$1/password\""]);
        postfix.arg(script("postfix.sh")).arg(folder.path()).arg(port.to_string());
        postfix.args(mechanisms);
        Some(Server::start(postfix, folder, port))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The lines that `sink.py` wrote: number and hash.
    pub(crate) fn received(&self) -> Vec<(usize, String)> {
        let text = fs::read_to_string(self.path("received")).unwrap_or_default();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let parse = |line: &str| {
            let (number, hash) = line.split_once(' ').unwrap();
            (number.parse().unwrap(), hash.to_owned())
        };
        whole.lines().map(parse).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let group = self.child.id();
        let command =
            format!("kill -s TERM -- -{group}; sleep 0.1; kill -s KILL -- -{group} 2>/dev/null");
        let _ = Command::new("sh").args(["-c", &command]).status();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read(self.path("log")).unwrap_or_default();
            eprintln!("--- the next hop's log\n{}", String::from_utf8_lossy(&log));
        }
    }
}

/// The files in `new` of a Maildir.
pub(crate) fn maildir(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path.join("new")) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}
