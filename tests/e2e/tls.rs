//! TLS through the real binary: clients that others wrote, those that fail, new certificates, and
//! what a session costs.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::instance::{Mote, Place, free_port};
use crate::load::{quiet, shared, wait_for};
use crate::peers::{self, maildir, script};
use crate::session::Session;

const MESSAGE: &str = "From: sender@client.test\nTo: someone@example.net\nSubject: sealed\n\n\
    The body.\n";

/// A place with a listener of each kind.
struct TlsPlace {
    place: Place,
    starttls: u16,
    implicit: u16,
}

impl TlsPlace {
    fn new(lines: &str) -> TlsPlace {
        let (starttls, implicit) = (free_port(), free_port());
        let files = "cert = {dir}/cert.pem\nkey = {dir}/key.pem";
        let place = Place::new(&format!(
            "listen = 127.0.0.1:{{port}}\nrelay = maildir:{{dir}}/Maildir\n{lines}\n\
             [listen sub]\naddress = 127.0.0.1:{starttls}\ntls = starttls\n{files}\n\
             [listen smtps]\naddress = 127.0.0.1:{implicit}\ntls = implicit\n{files}"
        ));
        let place = TlsPlace { place, starttls, implicit };
        place.install("p256");
        place
    }

    /// Puts a certificate and its key where they belong.
    fn install(&self, name: &str) {
        install(&self.place, name);
    }

    fn cert(&self) -> String {
        self.place.path("cert.pem").display().to_string()
    }

    /// The certificate that is shown to who connects; none without python.
    fn shown(&self) -> Option<String> {
        let output = Peer::command("shown", self.implicit, 1)?.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8(output.stdout).unwrap())
    }
}

pub(crate) fn install(place: &Place, name: &str) {
    for (from, to, mode) in [("crt", "cert.pem", 0o644), ("key", "key.pem", 0o600)] {
        let from = fixture(&format!("{name}.{from}"));
        let new = place.path("new.pem");
        fs::copy(from, &new).unwrap();
        fs::set_permissions(&new, Permissions::from_mode(mode)).unwrap();
        fs::rename(&new, place.path(to)).unwrap();
    }
}

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

/// The text of a certificate without what may stand around it.
fn pem(name: &str) -> String {
    fs::read_to_string(fixture(name)).unwrap()
}

/// `tls.py`, until it is dropped.
struct Peer {
    child: Child,
    _stdin: ChildStdin,
}

impl Peer {
    fn command(what: &str, port: u16, count: usize) -> Option<Command> {
        let mut python = peers::command("python3", "python3")?;
        python.arg(script("tls.py")).args([what, &port.to_string(), &count.to_string()]);
        Some(python)
    }

    fn start(what: &str, port: u16, count: usize) -> Option<Peer> {
        let mut command = Peer::command(what, port, count)?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        let stdin = child.stdin.take().unwrap();
        Some(Peer { child, _stdin: stdin })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(mut client: Command, input: &str) -> Output {
    let mut child =
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Runs a client for each kind of listener; `{starttls}`, `{implicit}` and `{cert}` in its
/// arguments are replaced. Its mail arrives, and log and Received say how.
fn submits(client: &str, variants: &[&[&str]], input: &str, version: &str) {
    let _running = shared();
    let place = TlsPlace::new("");
    let mote = place.place.serve();
    for (count, arguments) in variants.iter().enumerate() {
        let Some(mut command) = peers::command(client, client) else { return };
        let fill = |argument: &&str| {
            let argument = argument.replace("{starttls}", &place.starttls.to_string());
            let argument = argument.replace("{implicit}", &place.implicit.to_string());
            argument.replace("{cert}", &place.cert())
        };
        command.args(arguments.iter().map(fill)).env("HOME", place.place.path(""));
        let output = run(command, input);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success(), "{arguments:?}: {said}");
        let path = place.place.path("Maildir");
        wait_for("the mail", Duration::from_secs(10), || maildir(&path).len() > count);
        let tls = format!("client=127.0.0.1, tls={version}");
        assert_eq!(mote.logged(&tls), count + 1, "{arguments:?}: {said}");
    }
    for file in maildir(&place.place.path("Maildir")) {
        let text = fs::read_to_string(file).unwrap();
        assert!(text.contains(" with ESMTPS id ") && text.contains("Subject: sealed"), "{text}");
    }
}

#[test]
fn openssl_with_both_versions() {
    let talk = "EHLO client.test\nMAIL FROM:<sender@client.test>\nRCPT TO:<someone@example.net>\n\
                DATA\nSubject: sealed\n\nThe body.\n.\nQUIT\n";
    let common = ["s_client", "-quiet", "-crlf", "-CAfile", "{cert}", "-verify_return_error"];
    let common = [&common[..], &["-verify_hostname", "mote.test"]].concat();
    for (option, version) in [("-tls1_2", "1.2"), ("-tls1_3", "1.3")] {
        let starttls = ["-starttls", "smtp", "-connect", "127.0.0.1:{starttls}", option];
        let implicit = ["-alpn", "smtp", "-connect", "127.0.0.1:{implicit}", option];
        let variants = [[&common[..], &starttls].concat(), [&common[..], &implicit].concat()];
        submits("openssl", &[&variants[0], &variants[1]], talk, version);
    }
}

#[test]
fn swaks() {
    let Some(mut command) = peers::command("swaks", "swaks") else { return };
    let support = command.arg("--support").output().unwrap();
    if !String::from_utf8_lossy(&support.stdout).contains("TLS supported") {
        return peers::skipped("swaks", "it was unpacked without TLS; remove target/peers/swaks");
    }
    let common = ["--server", "127.0.0.1", "--from", "sender@client.test"];
    let common = [&common[..], &["--to", "someone@example.net", "--data", "-"]].concat();
    let starttls = [&common[..], &["--port", "{starttls}", "--tls"]].concat();
    let implicit = [&common[..], &["--port", "{implicit}", "--tls-on-connect"]].concat();
    submits("swaks", &[&starttls, &implicit], MESSAGE, "1.3");
}

#[test]
fn curl() {
    let common = ["-sS", "--ssl-reqd", "--cacert", "{cert}", "--crlf", "--upload-file", "-"];
    let common = [&common[..], &["--mail-from", "sender@client.test"]].concat();
    let common = [&common[..], &["--mail-rcpt", "someone@example.net"]].concat();
    let starttls = [&common[..], &["smtp://127.0.0.1:{starttls}"]].concat();
    let implicit = [&common[..], &["smtps://127.0.0.1:{implicit}"]].concat();
    submits("curl", &[&starttls, &implicit], MESSAGE, "1.3");
}

#[test]
fn python_smtplib() {
    let head = "import smtplib, ssl, sys\n\
        context = ssl.create_default_context(cafile='{cert}')\n\
        mail = ('sender@client.test', ['someone@example.net'], sys.stdin.read())\n";
    let starttls = format!(
        "{head}with smtplib.SMTP('127.0.0.1', {{starttls}}) as smtp:\n    \
         smtp.starttls(context=context)\n    smtp.ehlo()\n    \
         assert not smtp.has_extn('starttls')\n    smtp.sendmail(*mail)\n"
    );
    let implicit = format!(
        "{head}with smtplib.SMTP_SSL('127.0.0.1', {{implicit}}, context=context) as smtp:\n    \
         smtp.sendmail(*mail)\n"
    );
    submits("python3", &[&["-c", &starttls], &["-c", &implicit]], MESSAGE, "1.3");
}

#[test]
fn msmtp() {
    let common = ["--host=127.0.0.1", "--auth=off", "--tls=on", "--tls-trust-file={cert}"];
    let common = [&common[..], &["--from=sender@client.test", "someone@example.net"]].concat();
    let starttls = [&["--port={starttls}", "--tls-starttls=on"], &common[..]].concat();
    let implicit = [&["--port={implicit}", "--tls-starttls=off"], &common[..]].concat();
    submits("msmtp", &[&starttls, &implicit], MESSAGE, "1.3");
}

/// Writes `text`, and reads until the other side closes.
fn exchange(port: u16, parts: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    for part in parts {
        stream.write_all(part).unwrap();
        sleep(Duration::from_millis(100));
    }
    let mut said = Vec::new();
    // It may be reset when it is closed.
    let _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn what_fails_is_told_with_its_cure() {
    let _running = shared();
    let place = TlsPlace::new("");
    let mote = place.place.serve();
    let hello = b"\x16\x03\x01\x00\x02\x01\x00";
    let told = exchange(place.place.port, &[hello]);
    assert!(told.ends_with("421 4.7.0 TLS does not come first here; closing\r\n"), "{told}");
    let told = exchange(place.implicit, &[b"EHLO client.test\r\n"]);
    assert_eq!(told, "554 5.7.0 TLS comes first here: SMTP is inside it\r\n");
    for (words, count) in [("client=127.0.0.1: it began with TLS", 1), ("does not speak TLS", 1)] {
        assert_eq!(mote.logged(words), count, "{words}");
    }
    // Threats 2: in one segment, and behind the answer.
    let start = b"EHLO client.test\r\nSTARTTLS\r\n";
    let inject = b"MAIL FROM:<mallory@client.test>\r\nRCPT TO:<someone@example.net>\r\n";
    let told = exchange(place.starttls, &[&[&start[..], inject].concat()]);
    assert!(
        told.ends_with(
            "220 2.0.0 Ready to start TLS\r\n554 5.5.1 Nothing may follow \
        STARTTLS; closing\r\n"
        ),
        "{told}"
    );
    let told = exchange(place.starttls, &[start, inject]);
    assert!(told.ends_with("220 2.0.0 Ready to start TLS\r\n"), "{told}");
    assert_eq!(mote.logged("listen sub: TLS with 127.0.0.1 failed: it does not speak TLS"), 1);
    assert_eq!(mote.logged("mallory"), 0);

    let connect = format!("127.0.0.1:{}", place.implicit);
    for (options, words) in [
        (&["-tls1_1", "-cipher", "ALL@SECLEVEL=0"][..], "neither TLS 1.2 nor 1.3"),
        (&["-alpn", "h2"], "another protocol than smtp"),
        (&["-verify_return_error"], "does not trust the certificate"),
    ] {
        let Some(mut openssl) = peers::command("openssl", "openssl") else { return };
        openssl.args(["s_client", "-connect", &connect]).args(options);
        assert!(!run(openssl, "").status.success(), "{options:?}");
        wait_for(words, Duration::from_secs(5), || mote.logged(words) == 1);
    }
    // And it still serves.
    Session::open(place.place.port);
}

#[test]
fn who_leaves_or_says_nothing_in_the_handshake_is_let_go() {
    let _running = shared();
    let place = TlsPlace::new("command-timeout = 2s");
    let mote = place.place.serve();
    let half: &[u8] = b"\x16\x03\x01\x01\x00\x01\x00\x00";
    for count in 1..=half.len() {
        let mut stream = TcpStream::connect(("127.0.0.1", place.implicit)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let begin = Instant::now();
        stream.write_all(&half[..count]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
        assert!(begin.elapsed() < Duration::from_millis(1500), "{count}: {:?}", begin.elapsed());
    }
    assert_eq!(mote.logged("it left in the middle of the handshake"), half.len());
    // It waits for a greeting.
    let told = exchange(place.implicit, &[]);
    assert_eq!(told, "");
    assert_eq!(mote.logged("it said nothing; TLS begins with the first byte here"), 1);
    let told = exchange(place.implicit, &[&half[..6]]);
    assert_eq!(told, "");
    assert_eq!(mote.logged("the handshake takes too long"), 1);
}

#[test]
fn new_certificates_are_taken_into_use() {
    let _running = shared();
    let place = TlsPlace::new("");
    let mote = place.place.serve();
    let Some(shown) = place.shown() else { return };
    assert_eq!(shown, pem("p256.crt"));
    // By themselves, after a few seconds.
    place.install("p384");
    let is_new = || place.shown().unwrap() == pem("p384.crt");
    wait_for("the new certificate", Duration::from_secs(20), is_new);
    // At once, by HUP.
    place.install("rsa");
    mote.signal("HUP");
    wait_for("the reload", Duration::from_secs(10), || mote.logged("reloaded") == 1);
    assert_eq!(place.shown().unwrap(), pem("rsa.crt"));
    // What cannot be used leaves the old one in use.
    fs::set_permissions(place.place.path("key.pem"), Permissions::from_mode(0o644)).unwrap();
    mote.signal("HUP");
    wait_for("the reload", Duration::from_secs(10), || mote.logged("reloaded") == 2);
    assert_eq!(mote.logged("the old certificate stays in use"), 2);
    assert_eq!(mote.logged("others can read or change it; chmod 640"), 2);
    assert_eq!(place.shown().unwrap(), pem("rsa.crt"));
    place.install("p256");
    mote.signal("HUP");
    wait_for("the reload", Duration::from_secs(10), || mote.logged("reloaded") == 3);
    assert_eq!(place.shown().unwrap(), pem("p256.crt"));
}

#[test]
fn a_certificate_that_cannot_be_used_is_told_with_its_line() {
    let place = TlsPlace::new("");
    fs::set_permissions(place.place.path("key.pem"), Permissions::from_mode(0o644)).unwrap();
    let config = place.place.config();
    let text = fs::read_to_string(&config).unwrap();
    let line = text.lines().position(|line| line.starts_with("key = ")).unwrap() + 1;
    for verb in ["check", "serve"] {
        let output = place.place.run(&[verb]);
        assert_eq!(output.status.code(), Some(78), "{verb}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains(&format!("{}:{line}: key: ", config.display())), "{told}");
        assert!(told.contains("others can read or change it; chmod 640"), "{told}");
    }
    place.install("p256");
    fs::remove_file(place.place.path("cert.pem")).unwrap();
    let output = place.place.run(&["check"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains(": cert: ") && told.contains("cannot be read: "), "{told}");
}

#[test]
fn a_certificate_for_the_lan() {
    let place = TlsPlace::new("");
    let folder = place.place.path("made");
    fs::create_dir(&folder).unwrap();
    let make = || {
        place.place.run(&["gencert", &folder.display().to_string(), "mail.lan", "127.0.0.1", "::1"])
    };
    let output = make();
    let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    if !cfg!(feature = "gencert") {
        assert_eq!(output.status.code(), Some(69), "{told}");
        assert!(told.contains("openssl req -x509") && told.lines().count() == 1, "{told}");
        // What it says is what openssl takes.
        let (_, command) = told.split_once("openssl does: ").unwrap();
        let made = Command::new("sh").args(["-c", command]).output();
        if !made.is_ok_and(|output| output.status.success()) {
            return peers::skipped("openssl", "it is not installed, or cannot make certificates");
        }
    } else {
        assert!(output.status.success(), "{told}");
        // Not a second time over the first.
        assert_eq!(make().status.code(), Some(73));
    }
    fs::rename(folder.join("cert.pem"), place.place.path("cert.pem")).unwrap();
    fs::rename(folder.join("key.pem"), place.place.path("key.pem")).unwrap();
    let output = place.place.run(&["check"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let _mote = place.place.serve();
    let Some(mut curl) = peers::command("curl", "curl") else { return };
    curl.args(["-sS", "--cacert", &place.cert()]);
    let output = curl.arg(format!("smtps://127.0.0.1:{}", place.implicit)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A 421 in clear text looked to it like broken TLS.
#[test]
fn who_expects_tls_is_not_told_in_clear_text_that_there_is_no_room() {
    let _running = shared();
    let place = TlsPlace::new("[clients 127.0.0.1]\nconnections = 1\n");
    let _mote = place.place.serve();
    let connect = || std::net::TcpStream::connect(("127.0.0.1", place.implicit)).unwrap();
    let _first = connect();
    wait_for("the second to be closed", Duration::from_secs(20), || {
        let mut told = Vec::new();
        let mut second = connect();
        second.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let ended = std::io::Read::read_to_end(&mut second, &mut told);
        assert!(told.is_empty(), "{}", String::from_utf8_lossy(&told));
        ended.is_ok()
    });
}

/// Decisions 13: more peers with half a record than there are buffers.
#[test]
fn half_records_do_not_stop_a_good_client() {
    let _alone = quiet();
    let place = TlsPlace::new("sessions = 40");
    let mote = place.place.serve();
    let Some(_bad) = Peer::start("half", place.implicit, 30) else { return };
    let begin = Instant::now();
    let Some(_good) = Peer::start("hold", place.implicit, 1) else { return };
    let took = begin.elapsed();
    eprintln!("among 30 peers with half a record a good client was served in {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    wait_for("the others to go", Duration::from_secs(30), || {
        mote.logged("sent a part of a record") == 30
    });
    assert!(mote.logged("sent a part of a record, and others have to wait") >= 1);
}

/// Bytes that are resident when `what` is held so often.
fn resident_with(mote: &Mote, what: &str, port: u16, count: usize) -> Option<u64> {
    let _peer = Peer::start(what, port, count)?;
    Some(mote.resident())
}

#[test]
fn an_idle_session_costs_what_its_keys_cost() {
    const COUNT: u64 = 100;
    let _alone = quiet();
    let place = TlsPlace::new("sessions = 110");
    let mote = place.place.serve();
    let count = COUNT as usize;
    // All slots are touched once, and so is the code.
    let Some(_) = resident_with(&mote, "hold", place.implicit, 1) else { return };
    let Some(_) = resident_with(&mote, "greet", place.place.port, count) else { return };
    let Some(plain) = resident_with(&mote, "greet", place.place.port, count) else { return };
    let Some(hello) = resident_with(&mote, "hello", place.implicit, count) else { return };
    let Some(held) = resident_with(&mote, "hold", place.implicit, count) else { return };
    let Some(again) = resident_with(&mote, "hold", place.implicit, count) else { return };
    let each = |bytes: u64| bytes.saturating_sub(plain) / COUNT;
    eprintln!(
        "beyond a plain session: {} bytes in the handshake, {} idle inside TLS, {} the second time",
        each(hello),
        each(held),
        each(again)
    );
    assert!(each(held) <= 8 * 1024, "{plain} became {held}");
    assert!(each(hello) <= 16 * 1024, "{plain} became {hello}");
    assert!(again <= held + 128 * 1024, "{held} became {again}");
}

/// A printer that begins TLS as soon as it sees STARTTLS, and knows only TLS 1.0.
#[test]
fn status_tells_whose_tls_is_too_old() {
    let _running = shared();
    let place = TlsPlace::new("[clients 127.0.0.70]\nrelay = yes");
    let _mote = place.place.serve();
    let (mut printer, _) = Session::connect_from("127.0.0.70", place.starttls).unwrap();
    assert!(printer.ask("EHLO printer").unwrap().text.contains("250-STARTTLS\r\n"));
    assert_eq!(printer.ask("STARTTLS").unwrap().code, 220);
    // A ClientHello of TLS 1.0: one cipher, no extensions.
    let hello = [&[3, 1], &[7; 32][..], &[0, 0, 2, 0, 0x2f, 1, 0]].concat();
    let message = [&[1, 0, 0, hello.len() as u8], &hello[..]].concat();
    let record = [&[22, 3, 1, 0, message.len() as u8], &message[..]].concat();
    printer.write(&record).unwrap();
    let _ = printer.rest();
    let mut told = String::new();
    wait_for("the status", Duration::from_secs(10), || {
        told = String::from_utf8(place.place.run(&["status"]).stdout).unwrap();
        told.contains("what would help: [clients 127.0.0.70] relay = yes, starttls = no\n")
    });
    assert!(told.contains("device    127.0.0.70 (printer): no mail yet\n"), "{told}");
}
