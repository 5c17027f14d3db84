//! Clients that others wrote hand their mail in, and it stands in the Maildir.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::instance::Place;
use crate::load::{shared, wait_for};
use crate::peers::{self, maildir};

const MESSAGE: &str = "From: sender@client.test\nTo: someone@example.net\nSubject: hand-in\n\n\
    The body.\n.\n..two dots\nThe end.\n";
/// As it must stand in the Maildir, whatever ends its lines.
const BODY: &str = "\n\nThe body.\n.\n..two dots\nThe end.";

/// Runs the client against a fresh mote; `{port}` in its arguments is replaced.
fn submits(mut client: Command, arguments: &[&str], input: &str) {
    let _running = shared();
    let place = Place::new("relay = maildir:{dir}/Maildir");
    let _mote = place.serve();
    let port = place.port.to_string();
    client.args(arguments.iter().map(|argument| argument.replace("{port}", &port)));
    client.env("HOME", place.path("")).env("MAILRC", "/dev/null");
    let mut child =
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));

    let path = place.path("Maildir");
    wait_for("the mail", Duration::from_secs(10), || !maildir(&path).is_empty());
    let files = maildir(&path);
    assert_eq!(files.len(), 1);
    let text = fs::read_to_string(&files[0]).unwrap().replace("\r\n", "\n");
    assert!(text.contains("\nReceived: ") || text.starts_with("Received: "), "{text}");
    assert!(text.contains("Subject: hand-in\n"), "{text}");
    // Some clients end with an empty line more.
    assert!(text.trim_end().ends_with(BODY), "{text}");
}

#[test]
fn swaks() {
    let Some(swaks) = peers::command("swaks", "swaks") else { return };
    let arguments = ["--server", "127.0.0.1", "--port", "{port}", "--from", "sender@client.test"];
    let rest = ["--to", "someone@example.net", "--pipeline", "--data", "-"];
    submits(swaks, &[&arguments[..], &rest[..]].concat(), MESSAGE);
}

#[test]
fn curl() {
    let Some(curl) = peers::command("curl", "curl") else { return };
    let arguments = ["-sS", "smtp://127.0.0.1:{port}", "--mail-from", "sender@client.test"];
    let rest = ["--mail-rcpt", "someone@example.net", "--crlf", "--upload-file", "-"];
    submits(curl, &[&arguments[..], &rest[..]].concat(), MESSAGE);
}

#[test]
fn python_smtplib() {
    let Some(python) = peers::command("python3", "python3") else { return };
    let program = "import smtplib, sys\n\
        with smtplib.SMTP('127.0.0.1', {port}) as smtp:\n    \
        smtp.sendmail('sender@client.test', ['someone@example.net'], sys.stdin.read())\n";
    submits(python, &["-c", program], MESSAGE);
}

#[test]
fn msmtp() {
    let Some(msmtp) = peers::command("msmtp", "msmtp") else { return };
    let arguments = ["--host=127.0.0.1", "--port={port}", "--auth=off", "--tls=off"];
    let rest = ["--from=sender@client.test", "someone@example.net"];
    submits(msmtp, &[&arguments[..], &rest[..]].concat(), MESSAGE);
}

#[test]
fn s_nail() {
    let Some(s_nail) = peers::command("s-nail", "s-nail") else { return };
    let arguments = ["-:/", "-S", "v15-compat", "-S", "mta=smtp://127.0.0.1:{port}", "-S"];
    let rest = ["smtp-auth=none", "-S", "from=sender@client.test", "-S", "sendwait", "-s"];
    let last = ["hand-in", "someone@example.net"];
    let body = MESSAGE.split_once("\n\n").unwrap().1;
    submits(s_nail, &[&arguments[..], &rest[..], &last[..]].concat(), body);
}
