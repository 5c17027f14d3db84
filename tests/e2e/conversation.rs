//! `sendmail -bs`: SMTP on stdin and stdout, with a daemon and without one, and for inetd.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::instance::{Place, binary, free_port};
use crate::load::{shared, wait_for};
use crate::peers::{self, maildir};
use crate::session::{Session, message};

const CONFIG: &str = "relay = maildir:{dir}/Maildir\n";
const MAIL: &str = "MAIL FROM:<me@nas.test>\r\nRCPT TO:<you@example.net>\r\nDATA\r\n\
                    Subject: a talk\r\n\r\n..two dots\r\nlast\r\n.\r\n";

/// Says everything at once and then nothing more.
fn talk(place: &Place, words: &str) -> Output {
    let mut command = place.command(&["sendmail", "-bs"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(words.as_bytes());
    child.wait_with_output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn codes(output: &Output) -> Vec<String> {
    let told = told(output);
    let last = told.lines().filter(|line| line.as_bytes()[3] == b' ');
    last.map(|line| line[..3].to_owned()).collect()
}

/// Waits for so many mails in the Maildir; the text of one.
fn filed(place: &Place, count: usize) -> String {
    let path = place.path("Maildir");
    wait_for("the mail", Duration::from_secs(20), || maildir(&path).len() == count);
    fs::read_to_string(&maildir(&path)[0]).unwrap()
}

#[test]
fn a_conversation_with_the_daemon() {
    let _running = shared();
    let place = Place::in_memory(CONFIG);
    let mote = place.serve();
    let output = talk(&place, &format!("EHLO nas.test\r\n{MAIL}QUIT\r\n"));
    assert_eq!(codes(&output), ["220", "250", "250", "250", "354", "250", "221"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(told(&output).starts_with("220 mote.test ESMTP mote\r\n250-mote.test\r\n"));
    let mail = filed(&place, 1);
    assert!(mail.ends_with("\nSubject: a talk\n\n.two dots\nlast\n"), "{mail}");
    assert_eq!(mote.logged("client=local uid="), 1);
    // A script that prints lines as Unix ends them, and goes without QUIT.
    let output = talk(&place, &format!("HELO nas.test\n{}", MAIL.replace("\r\n", "\n")));
    assert_eq!(codes(&output), ["220", "250", "250", "250", "354", "250"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    // Whoever has spoken CRLF ends a message with CRLF.CRLF only: what a web page's visitor wrote
    // into one does not end it (threats 1), and is refused.
    let smuggled = MAIL.replace("last\r\n", "last\n.\nMAIL FROM:<x@y.test>\r\n");
    let output = talk(&place, &format!("EHLO nas.test\r\n{smuggled}QUIT\r\n"));
    assert_eq!(codes(&output), ["220", "250", "250", "250", "354", "550", "221"]);
    filed(&place, 2);
}

#[test]
fn a_conversation_that_breaks_off() {
    let _running = shared();
    let place = Place::in_memory(CONFIG);
    let mut mote = place.serve();
    let cut = &MAIL[..MAIL.len() - 3];
    let output = talk(&place, &format!("EHLO nas.test\r\n{cut}"));
    assert_eq!(codes(&output), ["220", "250", "250", "250", "354"]);
    assert_eq!(output.status.code(), Some(75), "{output:?}");

    // Somebody who thinks that this takes messages, as alpine may be told to, learns otherwise.
    let output = talk(&place, "From: me@nas.test\nTo: you@example.net\n\nHello.\n");
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert_eq!(talk(&place, "").status.code(), Some(0));

    let mut command = place.command(&["sendmail", "-bs"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut replies = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    replies.read_line(&mut line).unwrap();
    assert!(line.starts_with("220 "));
    mote.kill();
    let mut rest = String::new();
    replies.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "421 4.3.2 No mail is taken now; try again later\r\n");
    assert_eq!(child.wait().unwrap().code(), Some(75));
    let listing = String::from_utf8(place.run(&["queue", "ls"]).stdout).unwrap();
    assert!(!listing.contains("nas.test"), "{listing}");
}

#[test]
fn a_conversation_without_a_daemon() {
    let _running = shared();
    let place = Place::in_memory(CONFIG);
    // Nobody has made a drop directory yet.
    let output = talk(&place, "EHLO nas.test\r\nQUIT\r\n");
    assert_eq!(told(&output), "421 4.3.2 No mail is taken now; try again later\r\n");
    assert_eq!(output.status.code(), Some(75));
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);
    drop(place.serve());

    let refused = "MAIL FROM:<>\r\nRCPT TO:<not an address>\r\nDATA\r\nSTARTTLS\r\nBDAT 3\r\nabc\
                   RSET\r\nXCLIENT ADDR=1.2.3.4\r\n";
    let output = talk(&place, &format!("EHLO nas.test\r\n{refused}{MAIL}{MAIL}QUIT\r\n"));
    let expected = "220 250 250 501 554 500 500 250 550 250 250 354 250 250 250 354 250 221";
    assert_eq!(codes(&output).join(" "), expected, "{}", told(&output));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let script = MAIL.replace("\r\n", "\n").replace("<me@nas.test>", "<>");
    let output = talk(&place, &format!("HELO x\n{script}"));
    assert_eq!(codes(&output).join(" "), "220 250 250 250 354 250");
    assert_eq!(talk(&place, "To: you@example.net\n\nHello.\n").status.code(), Some(69));
    // One that does not end leaves nothing behind.
    let output = talk(&place, &format!("EHLO nas.test\r\n{}", &MAIL[..MAIL.len() - 3]));
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    // Nor does one that is too large, and the conversation goes on behind it.
    let large = format!("{}\r\n", "x".repeat(70)).repeat(500_000);
    let large = MAIL.replace("last\r\n", &large);
    let output = talk(&place, &format!("EHLO nas.test\r\n{large}NOOP\r\n"));
    assert_eq!(codes(&output).join(" "), "220 250 250 250 354 452 250");
    assert_eq!(fs::read_dir(place.path("spool/drop")).unwrap().count(), 3);

    let mote = place.serve();
    let mail = filed(&place, 3);
    assert!(mail.ends_with("\nSubject: a talk\n\n.two dots\nlast\n"), "{mail}");
    assert_eq!(mote.logged("from=<me@nas.test>"), 2);
    assert_eq!(mote.logged("from=<>"), 1);
}

#[test]
fn swaks_through_a_pipe() {
    let _running = shared();
    let place = Place::in_memory(CONFIG);
    let line = format!("{} -C {} sendmail -bs", binary().display(), place.config().display());
    let swaks = || {
        let mut swaks = peers::command("swaks", "swaks")?;
        swaks.args(["--pipe", &line, "--helo", "nas.test", "--from", "me@nas.test"]);
        Some(swaks.args(["--to", "you@example.net"]).output().unwrap())
    };
    let mote = place.serve();
    let Some(output) = swaks() else { return };
    assert!(told(&output).contains("queued as"), "{}", told(&output));
    drop(mote);
    let output = swaks().unwrap();
    assert!(told(&output).contains("250 2.0.0 Ok: left for the daemon"), "{}", told(&output));
    let _mote = place.serve();
    filed(&place, 2);
}

/// inetd with one service; it ends with the value, and so does what it has started.
struct Inetd {
    child: Child,
}

impl Inetd {
    fn start(place: &Place, port: u16, user: &str, way: &str, words: &str) -> Option<Inetd> {
        let mut command = peers::command("inetd", "inetd")?;
        let file = place.path("inetd.conf");
        let (binary, config) = (binary(), place.config());
        let line = format!(
            "127.0.0.1:{port} stream tcp {way} {user} {} mote -C {} {words}\n",
            binary.display(),
            config.display()
        );
        fs::write(&file, line).unwrap();
        command.args(["-d", "-i"]).arg(&file).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        Some(Inetd { child })
    }
}

impl Drop for Inetd {
    fn drop(&mut self) {
        // What it has started is in sessions of their own.
        let own = self.child.id();
        let file = format!("/proc/{own}/task/{own}/children");
        let started = fs::read_to_string(file).unwrap_or_default();
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = Command::new("sh").args(["-c", &format!("kill -KILL {started}")]).output();
    }
}

fn connect(source: &str, port: u16) -> Session {
    let mut found = None;
    wait_for("inetd", Duration::from_secs(20), || {
        found = Session::connect_from(source, port).ok().filter(|(_, told)| told.code == 220);
        found.is_some()
    });
    let (mut session, greeting) = found.unwrap();
    assert_eq!(greeting.text, "220 mote.test ESMTP mote\r\n");
    assert_eq!(session.ask("EHLO nas.test").unwrap().code, 250);
    session
}

const RANGES: &str = "[clients 127.0.0.0/8]\nrelay = no\n[clients 127.0.0.80]\nrelay = yes\n";

/// Each connection is a `sendmail -bs`, which tells whose it is.
#[test]
fn inetd_starts_one_for_each_connection() {
    let _running = shared();
    let place = Place::in_memory(&format!("{CONFIG}{RANGES}"));
    let mote = place.serve();
    let port = free_port();
    let Some(_inetd) = Inetd::start(&place, port, "root", "nowait", "sendmail -bs") else { return };
    let mut one = connect("127.0.0.80", port);
    assert!(one.deliver("you@example.net", &message(1, 200)).unwrap());
    let mail = filed(&place, 1);
    assert!(mail.contains("Received: from nas.test ([127.0.0.80])"), "{mail}");
    assert_eq!(mote.logged("client=127.0.0.80"), 1);
    let mut other = connect("127.0.0.81", port);
    other.ask("MAIL FROM:<a@nas.test>").unwrap();
    assert!(other.ask("RCPT TO:<you@example.net>").unwrap().text.starts_with("550 5.7.1"));
    assert_eq!(other.ask("XCLIENT ADDR=127.0.0.80").unwrap().code, 550);
    drop(mote);
    // Nothing of strangers lies in the drop directory.
    let (session, greeting) = Session::connect_from("127.0.0.80", port).unwrap();
    assert_eq!(greeting.text, "421 4.3.2 No mail is taken now; try again later\r\n");
    assert_eq!(session.rest().unwrap(), "");
}

/// Whom the daemon does not believe gets nothing from it, least of all a local user's rights.
#[test]
fn a_connection_of_a_user_who_is_not_believed() {
    let _running = shared();
    let place = Place::in_memory(CONFIG);
    fs::set_permissions(place.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    let mote = place.serve();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    let mut command = Command::new(binary());
    command.args(["sendmail", "-bs"]).env("MOTE_SOCKET", place.path("run/submit"));
    command.stdout(OwnedFd::from(server.try_clone().unwrap())).stdin(OwnedFd::from(server));
    let is_root = fs::metadata("/proc/self").unwrap();
    if std::os::unix::fs::MetadataExt::uid(&is_root) != 0 {
        peers::skipped("another user", "only root can be one");
        return;
    }
    let output = command.uid(65534).gid(65534).stderr(Stdio::piped()).spawn().unwrap();
    drop(command);
    let output = output.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(77), "{errors}");
    assert!(errors.contains("the daemon does not want to hear that this is 127.0.0.1"), "{errors}");
    let mut told = String::new();
    client.read_to_string(&mut told).unwrap();
    assert_eq!(told, "421 4.3.2 No mail is taken now; try again later\r\n");
    drop(mote);
}

/// The first connection starts the daemon, which takes over the socket.
#[test]
fn inetd_starts_the_daemon() {
    let _running = shared();
    let place = Place::in_memory(&format!("{CONFIG}listen = inherited\n{RANGES}"));
    let port = free_port();
    let Some(_inetd) = Inetd::start(&place, port, "root", "wait", "serve") else { return };
    for number in 0..3 {
        let mut session = connect("127.0.0.80", port);
        assert!(session.deliver("you@example.net", &message(number, 200)).unwrap());
    }
    filed(&place, 3);
}
