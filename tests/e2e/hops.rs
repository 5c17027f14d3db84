//! Real next hops: mixed mail through mote into each, told byte for byte apart from the fields that
//! it adds, while it is killed and started again in the middle. HOPS is how many messages each gets
//! (100; `make hops` takes 1000). In clear text: TLS and logins have their own tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::instance::{Place, free_port};
use crate::load::{shared, wait_for};
use crate::peers;
use crate::session::Session;

const LIMIT: Duration = Duration::from_secs(600);

/// How one is started on a port, to file what it gets into `Maildir` of the folder.
type Starter = fn(&TempDir, u16) -> Option<Command>;

struct Hop {
    child: Child,
    folder: TempDir,
    port: u16,
    starter: Starter,
}

impl Hop {
    fn start(folder: TempDir, port: u16, starter: Starter) -> Hop {
        let child = run(&folder, port, starter);
        Hop { child, folder, port, starter }
    }

    fn kill(&mut self) {
        let group = self.child.id();
        let command = format!("kill -s KILL -- -{group}");
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.child = run(&self.folder, self.port, self.starter);
    }

    /// Number and body of each file, with LF; how many files there are.
    fn received(&self) -> BTreeMap<usize, BTreeSet<Vec<u8>>> {
        let mut found: BTreeMap<usize, BTreeSet<Vec<u8>>> = BTreeMap::new();
        let entries = fs::read_dir(self.folder.path().join("Maildir/new")).unwrap();
        for entry in entries {
            let text = fs::read(entry.unwrap().path()).unwrap();
            let text: Vec<u8> = text.into_iter().filter(|byte| *byte != b'\r').collect();
            let end = text.windows(2).position(|pair| pair == b"\n\n").unwrap_or(text.len() - 1);
            let header = String::from_utf8_lossy(&text[..=end]).into_owned();
            let number = header.lines().find_map(|line| line.strip_prefix("X-Number: "));
            let number = number.unwrap_or_else(|| panic!("{header}")).trim().parse().unwrap();
            let body = text.get(end + 2..).unwrap_or_default().to_vec();
            found.entry(number).or_default().insert(body);
        }
        found
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        let command = format!("kill -s KILL -- -{}", self.child.id());
        let _ = Command::new("sh").args(["-c", &command]).stderr(Stdio::null()).status();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read(self.folder.path().join("log")).unwrap_or_default();
            let log = String::from_utf8_lossy(&log).into_owned();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- {}", lines[lines.len().saturating_sub(30)..].join("\n"));
        }
    }
}

fn run(folder: &TempDir, port: u16, starter: Starter) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.path().join("log"));
    let log = log.unwrap();
    let mut command = starter(folder, port).unwrap();
    command.process_group(0).stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log);
    let mut child = command.spawn().unwrap();
    wait_for("the next hop to listen", Duration::from_secs(60), || {
        let log = || fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        assert!(child.try_wait().unwrap().is_none(), "{}", log());
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    child
}

/// A body of one of ten kinds, some of a megabyte.
fn body(number: usize) -> Vec<u8> {
    let line = b"The quick brown fox jumps over the lazy dog, and so does this line.\r\n";
    let lines = |bytes: usize| line.iter().copied().cycle().take(bytes / line.len() * line.len());
    match number % 10 {
        0 => Vec::new(),
        1 => b".\r\n..\r\n.leading\r\n...\r\nin . between\r\n.\r\n".to_vec(),
        2 => (0..20).flat_map(|_| (0x80..=0xffu8).chain(*b"\r\n")).collect(),
        3 => [vec![b'x'; 998], b"\r\n".to_vec(), vec![b'.'; 997], b"\r\n".to_vec()].concat(),
        4 => lines(10_000).collect(),
        5 if number % 50 == 5 => lines(1_000_000).collect(),
        5 => lines(100_000).collect(),
        6 => b"\r\n\r\nbetween blank lines\r\n\r\n\r\n".to_vec(),
        7 => b"From me to you, at the start of a line\r\n>From quoted\r\n".to_vec(),
        8 => b"blanks at the end   \r\n\ttabs\t\r\n \r\n\x01\x1b\x7f\r\n".to_vec(),
        _ => lines(1024).collect(),
    }
}

/// What stands before the body, and for how many it is.
fn submit(session: &mut Session, number: usize) -> usize {
    let recipients = if number.is_multiple_of(7) { 5 } else { 1 };
    let told = session.ask("MAIL FROM:<me@client.test> BODY=8BITMIME").unwrap();
    assert_eq!(told.code, 250, "{told:?}");
    for who in 0..recipients {
        assert_eq!(session.ask(&format!("RCPT TO:<u{who}@example.net>")).unwrap().code, 250);
    }
    assert_eq!(session.ask("DATA").unwrap().code, 354);
    let mut text = format!(
        "From: me@client.test\r\nTo: u0@example.net\r\nSubject: {number}\r\n\
         Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <{number}@client.test>\r\n\
         X-Number: {number}\r\n\r\n"
    )
    .into_bytes();
    for line in body(number).split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            text.push(b'.');
        }
        text.extend_from_slice(line);
    }
    text.extend_from_slice(b".\r\n");
    session.write(&text).unwrap();
    assert_eq!(session.reply().unwrap().code, 250, "{number}");
    recipients
}

fn play(name: &str, starter: Starter) {
    let _running = shared();
    let (folder, port) = (TempDir::new().unwrap(), free_port());
    if starter(&folder, port).is_none() {
        return;
    }
    let count = std::env::var("HOPS").ok().and_then(|text| text.parse().ok()).unwrap_or(100);
    let place = Place::in_memory(&format!(
        "relay = smtp://127.0.0.1:{port}\nretry = 1s\nspool-size = 256M"
    ));
    let mote = place.serve();
    let mut session = Session::open(place.port);
    let total: usize = (0..count).map(|number| submit(&mut session, number)).sum();
    drop(session);
    let mut hop = Hop::start(folder, port, starter);
    let sent = || mote.logged("status=sent (250 ");
    wait_for("a third of it", LIMIT, || sent() >= total / 3);
    hop.kill();
    let before = sent();
    std::thread::sleep(Duration::from_millis(300));
    hop.restart();
    wait_for("the rest", LIMIT, || sent() >= total);
    wait_for("all of it there", LIMIT, || hop.received().len() >= count);
    for (number, bodies) in hop.received() {
        let mut expected = body(number);
        expected.retain(|byte| *byte != b'\r');
        let lengths: Vec<usize> = bodies.iter().map(Vec::len).collect();
        assert!(bodies.len() == 1, "{name}: message {number} in several shapes: {lengths:?}");
        assert!(bodies.contains(&expected), "{name}: {number}: {lengths:?}");
    }
    let relay = format!("relay=127.0.0.1:{port}, ");
    assert_eq!(sent(), total, "{name}: one line for each recipient");
    assert_eq!(mote.logged(&relay) - mote.logged("status=deferred"), total);
    assert_eq!(mote.logged("status=bounced") + mote.logged("status=expired"), 0);
    println!("{name}: {count} messages, {total} recipients; killed after {before}");
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// By `hop.sh`, which needs to mount.
fn mounted(name: &str, folder: &TempDir, port: u16) -> Option<Command> {
    let package = peers::unpacked(name)?;
    let script =
        format!("mount -t overlay overlay -o lowerdir={}/usr:/usr /usr", package.display());
    let probe = Command::new("unshare").args(["-m", "sh", "-c", &script]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        peers::skipped(name, "it needs root, unshare and overlayfs");
        return None;
    }
    let mut command = Command::new("sh");
    command.arg(peers::script("hop.sh")).arg(name).arg(folder.path()).arg(port.to_string());
    Some(command)
}

#[test]
fn postfix_takes_it_all() {
    play("Postfix", |folder, port| {
        peers::command("postfix", "postfix-master")?;
        if !is_root() {
            peers::skipped("postfix", "it must be started as root");
            return None;
        }
        // Its queue may be there already.
        let mut command = Command::new("sh");
        command.arg(peers::script("postfix.sh")).arg(folder.path()).arg(port.to_string());
        Some(command)
    });
}

#[test]
fn exim_takes_it_all() {
    play("Exim", |folder, port| mounted("exim", folder, port));
}

#[test]
fn opensmtpd_takes_it_all() {
    play("OpenSMTPD", |folder, port| mounted("opensmtpd", folder, port));
}

#[test]
fn aiosmtpd_takes_it_all() {
    play("aiosmtpd", |folder, port| {
        let mut python = peers::python("aiosmtpd")?;
        python.arg(peers::script("hop.py")).arg(folder.path()).arg(port.to_string());
        Some(python)
    });
}

#[test]
fn smtp_server_takes_it_all() {
    play("nodemailer's smtp-server", |folder, port| {
        let package = peers::unpacked("smtp-server")?;
        let mut node = peers::command("smtp-server", "node")?;
        node.env("NODE_PATH", package.join("node_modules"));
        node.arg(peers::script("hop.js")).arg(folder.path()).arg(port.to_string());
        Some(node)
    });
}
