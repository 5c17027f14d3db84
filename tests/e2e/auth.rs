//! Clients that others wrote log in and hand their mail in; what they log in with stays nowhere.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::instance::{Mote, Place, free_port};
use crate::load::{shared, wait_for};
use crate::peers::{self, maildir};
use crate::session::{Reply, Session, message};

/// Odd enough to be found wherever it stands, and to need escapes in some mechanisms.
pub(crate) const PASSWORD: &str = "Marked=Pass,word%7+q";
const CONFIG: &str = "relay = maildir:{dir}/Maildir\nusers = {dir}/users\n\
                      [clients 127.0.0.0/8]\nrelay = no\nclear-auth = yes\n";
const MESSAGE: &str =
    "From: alice@client.test\nTo: someone@example.net\nSubject: hand-in\n\nHello.\n";

/// `command`, fed with `input`.
fn fed(mut command: Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

pub(crate) fn set_password(place: &Place, name: &str, password: &str) {
    let output = fed(place.command(&["passwd", name]), &format!("{password}\n"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn served() -> (Place, Mote) {
    let place = Place::new(CONFIG);
    set_password(&place, "alice", PASSWORD);
    let mote = place.serve();
    (place, mote)
}

fn plain(name: &str, password: &str) -> String {
    format!("AUTH PLAIN {}", base64(format!("\0{name}\0{password}").as_bytes()))
}

fn base64(bytes: &[u8]) -> String {
    let mut room = vec![0; bytes.len() * 2 + 8];
    mote::smtp::sasl::encode(bytes, &mut room).unwrap().to_owned()
}

#[track_caller]
fn expect(reply: std::io::Result<Reply>, words: &str) {
    let reply = reply.unwrap();
    assert!(reply.text.starts_with(words), "{reply:?}");
}

/// Runs the client against a mote that relays only for those who log in; `{port}` and `{dir}` in
/// its arguments are replaced.
fn submits(mut client: Command, arguments: &[&str], input: &str) {
    let _running = shared();
    let (place, mote) = served();
    let (port, folder) = (place.port.to_string(), place.path("").display().to_string());
    let replaced = |text: &&str| text.replace("{port}", &port).replace("{dir}", &folder);
    client.args(arguments.iter().map(replaced));
    client.env("HOME", place.path("")).env("MAILRC", "/dev/null");
    fs::write(place.path("password"), PASSWORD).unwrap();
    let output = fed(client, input);
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    let path = place.path("Maildir");
    wait_for("the mail", Duration::from_secs(10), || maildir(&path).len() == 1);
    let text = fs::read_to_string(&maildir(&path)[0]).unwrap();
    assert!(text.contains(" with ESMTPA id "), "{text}");
    assert_eq!(mote.logged(", client=127.0.0.1 login=alice, "), 1, "{}", mote.log());
    assert_unmarked(&mote, &place);
}

/// Threats 19: the password stands in no log, environment, argument, nor any more in memory.
#[track_caller]
pub(crate) fn assert_unmarked(mote: &Mote, place: &Place) {
    let held = |bytes: &[u8], mark: &[u8]| bytes.windows(mark.len()).any(|part| part == mark);
    let marks = [
        PASSWORD.as_bytes().to_vec(),
        base64(PASSWORD.as_bytes()).into_bytes(),
        base64(format!("\0alice\0{PASSWORD}").as_bytes()).into_bytes(),
    ];
    let mut seen = vec![("log".to_owned(), mote.log().into_bytes())];
    for file in ["environ", "cmdline"] {
        seen.push((file.into(), fs::read(format!("/proc/{}/{file}", mote.pid())).unwrap()));
    }
    // There is none where nobody logs in.
    seen.push(("users".into(), fs::read(place.path("users")).unwrap_or_default()));
    seen.extend(memory(mote.pid()));
    for (name, bytes) in seen {
        for mark in &marks {
            assert!(!held(&bytes, mark), "{name} holds {}", String::from_utf8_lossy(mark));
        }
    }
}

/// All that the process may write to; nothing where we may not look.
fn memory(pid: u32) -> Vec<(String, Vec<u8>)> {
    use std::os::unix::fs::FileExt;
    let Ok(memory) = fs::File::open(format!("/proc/{pid}/mem")) else { return Vec::new() };
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let mut found = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (range, _) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let (start, end) = (number(start), number(end));
        let mut bytes = vec![0; (end - start) as usize];
        if memory.read_exact_at(&mut bytes, start).is_ok() {
            found.push((line.to_owned(), bytes));
        }
    }
    found
}

#[test]
fn swaks() {
    let weak = cfg!(feature = "cram-md5").then_some("CRAM-MD5");
    for mechanism in ["PLAIN", "LOGIN"].into_iter().chain(weak) {
        let Some(swaks) = peers::command("swaks", "swaks") else { return };
        let arguments =
            ["--server", "127.0.0.1", "--port", "{port}", "--from", "alice@client.test"];
        let rest = ["--to", "someone@example.net", "--auth", mechanism, "--auth-user", "alice"];
        let password = ["--auth-password", PASSWORD, "--data", "-"];
        submits(swaks, &[&arguments[..], &rest[..], &password[..]].concat(), MESSAGE);
    }
}

#[test]
fn curl() {
    for options in
        [&["--login-options", "AUTH=PLAIN"][..], &["--login-options", "AUTH=LOGIN"], &["--sasl-ir"]]
    {
        let Some(curl) = peers::command("curl", "curl") else { return };
        let user = format!("alice:{PASSWORD}");
        let arguments = ["-sS", "smtp://127.0.0.1:{port}", "--mail-from", "alice@client.test"];
        let rest = ["--mail-rcpt", "someone@example.net", "--crlf", "--upload-file", "-", "--user"];
        submits(curl, &[&arguments[..], &rest[..], &[&*user], options].concat(), MESSAGE);
    }
}

#[test]
fn python_smtplib() {
    for choice in ["smtp.login", "smtp.user, smtp.password = ", "initial_response_ok=False"] {
        let Some(python) = peers::command("python3", "python3") else { return };
        // By what the server offers; by LOGIN alone; without an initial response.
        let login = match choice {
            "smtp.login" => format!("smtp.login('alice', '{PASSWORD}')"),
            "initial_response_ok=False" => {
                format!("smtp.login('alice', '{PASSWORD}', initial_response_ok=False)")
            }
            _ => format!(
                "smtp.ehlo(); smtp.user, smtp.password = 'alice', '{PASSWORD}'; \
                 print(smtp.auth('LOGIN', smtp.auth_login))"
            ),
        };
        let program = format!(
            "import smtplib, sys\nsmtp = smtplib.SMTP('127.0.0.1', int(sys.argv[1]))\n{login}\n\
             smtp.sendmail('alice@client.test', ['someone@example.net'], sys.stdin.read())\n\
             smtp.quit()"
        );
        submits(python, &["-c", &program, "{port}"], MESSAGE);
    }
}

#[test]
fn msmtp() {
    for mechanism in ["scram-sha-256", "plain", "login"] {
        let Some(msmtp) = peers::command("msmtp", "msmtp") else { return };
        let auth = format!("--auth={mechanism}");
        let arguments =
            ["--file=/dev/null", "--host=127.0.0.1", "--port={port}", "--tls=off", &auth];
        let rest =
            ["--user=alice", "--passwordeval=cat {dir}/password", "--from=alice@client.test"];
        submits(msmtp, &[&arguments[..], &rest[..], &["someone@example.net"]].concat(), MESSAGE);
    }
}

#[test]
fn s_nail() {
    for mechanism in ["plain", "login"] {
        let Some(s_nail) = peers::command("s-nail", "s-nail") else { return };
        let escaped = PASSWORD.replace('%', "%25").replace('=', "%3D").replace(',', "%2C");
        let mta = format!("mta=smtp://alice:{}@127.0.0.1:{{port}}", escaped.replace('+', "%2B"));
        let auth = format!("smtp-auth={mechanism}");
        let arguments = ["-:/", "-Sv15-compat", "-S", &mta, "-S", &auth, "-Snosmtp-use-starttls"];
        let rest = ["-Sfrom=alice@client.test", "-Shostname=client.test", "-s", "hand-in"];
        submits(
            s_nail,
            &[&arguments[..], &rest[..], &["someone@example.net"]].concat(),
            "Hello.\n",
        );
    }
}

/// A place with a listener for STARTTLS and one for TLS from the first byte on.
fn tls_place() -> (Place, u16, u16) {
    let (starttls, implicit) = (free_port(), free_port());
    let rest = "cert = {dir}/cert\nkey = {dir}/key\nauth = required\n";
    let place = Place::new(&format!(
        "relay = maildir:{{dir}}/Maildir\nusers = {{dir}}/users\n\
         [listen sub]\naddress = 127.0.0.1:{starttls}\ntls = starttls\n{rest}\
         [listen smtps]\naddress = 127.0.0.1:{implicit}\ntls = implicit\n{rest}"
    ));
    for (from, to, mode) in [("p256.crt", "cert", 0o644), ("p256.key", "key", 0o600)] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(from);
        fs::copy(from, place.path(to)).unwrap();
        chmod(&place.path(to), mode);
    }
    set_password(&place, "alice", PASSWORD);
    fs::write(place.path("password"), PASSWORD).unwrap();
    (place, starttls, implicit)
}

/// Runs clients by STARTTLS and by TLS from the first byte on, at listeners that take nothing
/// without a login; `{starttls}`, `{implicit}` and `{dir}` in their arguments are replaced.
fn submits_inside_tls(client: &str, variants: &[&[&str]]) {
    let _running = shared();
    let (place, starttls, implicit) = tls_place();
    let mote = place.serve();
    for (count, arguments) in variants.iter().enumerate() {
        let Some(mut command) = peers::command(client, client) else { return };
        let folder = place.path("").display().to_string();
        let ports = [("{starttls}", starttls), ("{implicit}", implicit)];
        let replaced = |text: &&str| {
            let text = text.replace("{dir}", &folder);
            ports.iter().fold(text, |text, (name, port)| text.replace(name, &port.to_string()))
        };
        command.args(arguments.iter().map(replaced)).env("HOME", place.path(""));
        let output = fed(command, MESSAGE);
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said));
        let path = place.path("Maildir");
        wait_for("the mail", Duration::from_secs(10), || maildir(&path).len() > count);
        let words = ", client=127.0.0.1 login=alice, tls=1.3, ";
        assert_eq!(mote.logged(words), count + 1, "{}", mote.log());
        assert_unmarked(&mote, &place);
    }
    for file in maildir(&place.path("Maildir")) {
        let text = fs::read_to_string(file).unwrap();
        assert!(text.contains(" with ESMTPSA id "), "{text}");
    }
}

#[test]
fn curl_inside_tls() {
    let user = format!("alice:{PASSWORD}");
    let common = ["-sS", "--ssl-reqd", "--cacert", "{dir}/cert", "--crlf", "--user", &user];
    let common = [&common[..], &["--mail-from", "alice@client.test"]].concat();
    let common = [&common[..], &["--mail-rcpt", "someone@example.net", "-T", "-"]].concat();
    let starttls = [&common[..], &["smtp://127.0.0.1:{starttls}"]].concat();
    let implicit = [&common[..], &["--login-options", "AUTH=LOGIN"]].concat();
    let implicit = [&implicit[..], &["smtps://127.0.0.1:{implicit}"]].concat();
    submits_inside_tls("curl", &[&starttls, &implicit]);
}

#[test]
fn python_smtplib_inside_tls() {
    let head = "import smtplib, ssl, sys\n\
        context = ssl.create_default_context(cafile='{dir}/cert')\n\
        def send(smtp):\n    smtp.login('alice', open('{dir}/password').read())\n    \
        smtp.sendmail('alice@client.test', ['someone@example.net'], sys.stdin.read())\n    \
        smtp.quit()\n";
    let starttls = format!(
        "{head}smtp = smtplib.SMTP('127.0.0.1', {{starttls}})\nsmtp.ehlo()\n\
         assert not smtp.has_extn('auth')\nsmtp.starttls(context=context)\nsend(smtp)\n"
    );
    let implicit =
        format!("{head}send(smtplib.SMTP_SSL('127.0.0.1', {{implicit}}, context=context))\n");
    submits_inside_tls("python3", &[&["-c", &starttls], &["-c", &implicit]]);
}

#[test]
fn msmtp_inside_tls() {
    let common =
        ["--file=/dev/null", "--host=127.0.0.1", "--tls=on", "--tls-trust-file={dir}/cert"];
    let user = ["--user=alice", "--passwordeval=cat {dir}/password", "--from=alice@client.test"];
    let common = [&common[..], &user].concat();
    let starttls = ["--port={starttls}", "--auth=on", "someone@example.net"];
    let implicit = ["--port={implicit}", "--tls-starttls=off", "--auth=scram-sha-256"];
    let implicit = [&implicit[..], &["someone@example.net"]].concat();
    let (starttls, implicit) =
        ([&common[..], &starttls].concat(), [&common[..], &implicit].concat());
    submits_inside_tls("msmtp", &[&starttls, &implicit]);
}

#[test]
fn who_has_not_logged_in_may_not_relay() {
    let _running = shared();
    let (place, mote) = served();
    let mut session = Session::open(place.port);
    expect(session.ask("MAIL FROM:<a@client.test>"), "250");
    expect(session.ask("RCPT TO:<someone@example.net>"), "550 5.7.1");
    expect(session.ask("RSET"), "250");
    expect(session.ask(&plain("alice", PASSWORD)), "235 2.7.0");
    assert!(session.deliver("someone@example.net", &message(1, 500)).unwrap());
    let path = place.path("Maildir");
    wait_for("the mail", Duration::from_secs(10), || maildir(&path).len() == 1);
    drop(mote);
}

/// RFC 4865 and RFC 2852 for those who hand in their own mail: offered, and kept, behind the login.
#[test]
fn wishes_of_time_need_a_login() {
    let _running = shared();
    let (place, _mote) = served();
    let mut session = Session::open(place.port);
    let hello = session.ask("EHLO client.test").unwrap().text;
    assert!(hello.contains("250-FUTURERELEASE ") && hello.contains("250-DELIVERBY 60"), "{hello}");
    for wish in ["HOLDFOR=60", "BY=600;R"] {
        expect(session.ask(&format!("MAIL FROM:<alice@client.test> {wish}")), "530 5.7.0 ");
    }
    expect(session.ask(&plain("alice", PASSWORD)), "235 ");
    for wish in ["HOLDFOR=60", "BY=600;R"] {
        expect(session.ask(&format!("MAIL FROM:<alice@client.test> {wish}")), "250 ");
        expect(session.ask("RSET"), "250 ");
    }
}

#[test]
fn show_tells_who_had_logged_in() {
    let _running = shared();
    let place = Place::new(&CONFIG.replace("maildir:{dir}/Maildir", "hold"));
    set_password(&place, "alice", PASSWORD);
    let _mote = place.serve();
    let mut session = Session::open(place.port);
    expect(session.ask(&plain("alice", PASSWORD)), "235");
    assert!(session.deliver("someone@example.net", &message(1, 500)).unwrap());
    let shown = String::from_utf8(place.run(&["queue", "show", "all"]).stdout).unwrap();
    assert!(shown.contains("account") && shown.contains("alice\n"), "{shown}");
    assert!(shown.contains("ESMTPA 127.0.0.1 client.test"), "{shown}");
}

#[test]
fn a_sender_is_bound_to_his_login() {
    let _running = shared();
    let (place, _mote) = served();
    let users = fs::read_to_string(place.path("users")).unwrap();
    rewrite(&place, &format!("{} alice@client.test *.alice.test\n", users.trim_end()));
    let mut session = Session::open(place.port);
    expect(session.ask(&plain("alice", PASSWORD)), "235");
    for (sender, code) in [
        ("bob@client.test", "553 5.7.1"),
        ("Alice@Client.test", "250"),
        ("x@alice.test", "553"),
        ("x@home.alice.test", "250"),
        ("", "250"),
    ] {
        expect(session.ask(&format!("MAIL FROM:<{sender}>")), code);
        expect(session.ask("RSET"), "250");
    }
    // A new password keeps them.
    set_password(&place, "alice", "another");
    let users = fs::read_to_string(place.path("users")).unwrap();
    assert!(users.ends_with(" alice@client.test *.alice.test\n"), "{users}");
    expect(session.ask("MAIL FROM:<bob@client.test>"), "553");
    // He is not a user any more: his session ends being his.
    rewrite(&place, "");
    expect(session.ask("MAIL FROM:<alice@client.test>"), "530 5.7.0");
}

fn rewrite(place: &Place, text: &str) {
    mote::os::secret_file::replace(&place.path("users"), text.as_bytes()).unwrap();
}

#[test]
fn a_changed_file_counts_at_once_and_a_spoiled_one_never() {
    let _running = shared();
    let (place, mote) = served();
    let ask = |command: &str| Session::open(place.port).ask(command);
    expect(ask(&plain("bob", "b's")), "535");
    set_password(&place, "bob", "b's");
    expect(ask(&plain("bob", "b's")), "235");
    set_password(&place, "bob", "new");
    expect(ask(&plain("bob", "b's")), "535");
    expect(ask(&plain("bob", "new")), "235");
    let path = place.path("users");
    chmod(&path, 0o644);
    expect(ask(&plain("bob", "new")), "235");
    assert_eq!(mote.logged("others can read or change it; chmod 640"), 1, "{}", mote.log());
    let mut refused = place.command(&["serve"]);
    let output = refused.output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(&format!("{}: others can read", path.display())), "{said}");
    chmod(&path, 0o640);
    rewrite(&place, "bob\n");
    expect(ask(&plain("bob", "new")), "235");
    let said = place.run(&["check"]);
    assert_eq!(said.status.code(), Some(78));
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains(&format!("{}:1: expected NAME:HASH", path.display())), "{said}");
}

fn chmod(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn guessing_is_slow_and_then_over() {
    let _running = shared();
    let (place, mote) = served();
    let mut session = Session::open(place.port);
    let mut other = Session::open(place.port);
    let start = Instant::now();
    for _ in 0..2 {
        expect(session.ask(&plain("alice", "wrong")), "535 5.7.8");
    }
    session.write(format!("{}\r\n", plain("nobody", "wrong")).as_bytes()).unwrap();
    // Whoever else is there does not wait.
    expect(other.ask("NOOP"), "250");
    expect(session.reply(), "535 5.7.8");
    assert!(start.elapsed() >= Duration::from_secs(2), "the third failure was told at once");
    drop(session);
    assert_eq!(mote.logged("login failed: client=127.0.0.1, user=alice, by=PLAIN"), 2);
    assert_eq!(mote.logged("login failed: client=127.0.0.1, user=?, by=PLAIN"), 1);
}

#[test]
fn passwd_says_what_is_wrong() {
    let place = Place::new(CONFIG);
    for (words, input, code) in [
        (&["passwd"][..], "x\n", 64),
        (&["passwd", "a", "b", "c"], "x\n", 64),
        (&["passwd", "a b"], "x\n", 64),
        (&["passwd", "alice"], "\n", 65),
        (&["passwd", "alice"], "a\0b\n", 65),
        (&["passwd", "alice"], &"x".repeat(257), 65),
        (&["passwd", "/no/such/folder/users", "alice"], "x\n", 73),
    ] {
        let output = fed(place.command(words), input);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
    }
    assert!(!place.path("users").exists());
    set_password(&place, "alice", PASSWORD);
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(place.path("users")).unwrap().mode() & 0o7777, 0o640);
    chmod(&place.path("users"), 0o666);
    assert_eq!(fed(place.command(&["passwd", "alice"]), "x\n").status.code(), Some(78));
}

/// Also where nothing comes behind it that would have overwritten it.
#[test]
fn what_was_secret_is_wiped() {
    let _running = shared();
    let (place, mote) = served();
    let mut first = Session::open(place.port);
    expect(first.ask(&plain("alice", PASSWORD)), "235");
    let mut second = Session::open(place.port);
    expect(second.ask("AUTH LOGIN"), "334");
    expect(second.ask(&base64(b"alice")), "334");
    expect(second.ask(&base64(format!("{PASSWORD}-").as_bytes())), "535");
    expect(second.ask("AUTH LOGIN YWxpY2U="), "334");
    expect(second.ask(&base64(PASSWORD.as_bytes())), "235");
    assert_unmarked(&mote, &place);
    // Too late, and then gone.
    expect(first.ask(&plain("alice", PASSWORD)), "503");
    first.write(b"QUIT\r\n").unwrap();
    first.rest().unwrap();
    let mut third = Session::open(place.port);
    expect(third.ask("AUTH PLAIN"), "334");
    let late = base64(format!("\0alice\0{PASSWORD}").as_bytes());
    third.write(format!("*\r\nNOOP {}\r\n{late}\r\n", "-".repeat(50)).as_bytes()).unwrap();
    ["501", "250", "500"].iter().for_each(|code| expect(third.reply(), code));
    third.write(b"QUIT\r\n").unwrap();
    third.rest().unwrap();
    assert_unmarked(&mote, &place);
}

/// What TLS has taken out of its records is not left in its buffers either.
#[test]
fn what_was_secret_is_wiped_inside_tls() {
    let _running = shared();
    let (place, starttls, implicit) = tls_place();
    let mote = place.serve();
    let program = "import smtplib, ssl, sys\n\
        context = ssl.create_default_context(cafile=sys.argv[1] + '/cert')\n\
        smtp = smtplib.SMTP('127.0.0.1', int(sys.argv[2]))\nsmtp.starttls(context=context)\n\
        other = smtplib.SMTP_SSL('127.0.0.1', int(sys.argv[3]), context=context)\n\
        for each in (smtp, other):\n    \
        each.login('alice', open(sys.argv[1] + '/password').read())\n\
        print('in', flush=True)\nsys.stdin.read()\n";
    let Some(mut python) = peers::command("python3", "python3") else { return };
    python.args(["-c", program, &place.path("").display().to_string()]);
    python.args([starttls.to_string(), implicit.to_string()]);
    let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut told = [0; 3];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut told).unwrap();
    assert_unmarked(&mote, &place);
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn passwd_at_a_terminal_asks_twice_and_shows_nothing() {
    let place = Place::new(CONFIG);
    let program = "import os, pty, sys\n\
        pid, tty = pty.fork()\n\
        if pid == 0:\n    os.execv(sys.argv[1], sys.argv[1:6])\n\
        seen = b''\n\
        for line in sys.argv[6:]:\n    \
            while not seen.endswith(b': '):\n        seen += os.read(tty, 100)\n    \
            seen += b'|'\n    os.write(tty, line.encode() + b'\\n')\n\
        try:\n    \
            while True:\n        seen += os.read(tty, 100)\n\
        except OSError:\n    pass\n\
        sys.stdout.buffer.write(seen)\n\
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n";
    let ask = |words: [&str; 2]| {
        let mut python = peers::command("python3", "python3")?;
        let mote = place.command(&[]);
        python.args(["-c", program]).arg(mote.get_program()).args(mote.get_args());
        let output = python.arg("passwd").arg("alice").args(words).output().unwrap();
        Some((output.status.code(), String::from_utf8(output.stdout).unwrap()))
    };
    let Some((code, seen)) = ask([PASSWORD, "other"]) else { return };
    assert_eq!(code, Some(65), "{seen}");
    assert!(!place.path("users").exists());
    let (code, seen) = ask([PASSWORD, PASSWORD]).unwrap();
    assert_eq!(code, Some(0), "{seen}");
    assert!(seen.contains("Password for alice: |") && seen.contains("The same again: |"), "{seen}");
    assert!(!seen.contains(PASSWORD), "{seen}");
    let mote = place.serve();
    let told = Session::open(place.port).ask(&plain("alice", PASSWORD));
    expect(told, "235");
    drop(mote);
}
