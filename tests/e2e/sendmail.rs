//! Programs call `sendmail` each in its own way; the mail arrives, also while the daemon is down.

use std::fs;
use std::io::Write;
use std::process::{Output, Stdio};
use std::time::Duration;

use crate::instance::Place;
use crate::load::{shared, wait_for};
use crate::next_hop::NextHop;
use crate::peers::maildir;

const HEADER: &str = "From: sender@client.test\nTo: someone@example.net\nSubject: hand-in\n\n";
const TO_MAILDIR: &str = "relay = maildir:{dir}/Maildir";

fn sendmail(place: &Place, arguments: &[&str], input: &str) -> Output {
    let mut command = place.command(&["sendmail"]);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// The only mail that arrived, with the line ends of Unix.
#[track_caller]
fn arrived(place: &Place) -> String {
    let path = place.path("Maildir");
    wait_for("the mail", Duration::from_secs(10), || !maildir(&path).is_empty());
    let files = maildir(&path);
    assert_eq!(files.len(), 1);
    fs::read_to_string(&files[0]).unwrap().replace("\r\n", "\n")
}

#[test]
fn every_caller_is_served() {
    let _running = shared();
    // Debian's cron, busybox crond, dcron, mailutils, unattended-upgrades, mdadm, PHP.
    for arguments in [
        &["-i", "-FCronDaemon", "-B8BITMIME", "-oem", "someone@example.net"][..],
        &["-ti"],
        &["-t", "-oem", "-i"],
        &["-oi", "-f", "sender@client.test", "-t"],
        &["-oi", "-t"],
        &["-t"],
        &["-t", "-i"],
    ] {
        let place = Place::new(TO_MAILDIR);
        let _mote = place.serve();
        let output = sendmail(&place, arguments, &format!("{HEADER}The body.\n"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        let text = arrived(&place);
        assert!(text.contains("\nSubject: hand-in\n"), "{arguments:?}: {text}");
        assert!(text.ends_with("\n\nThe body.\n"), "{arguments:?}: {text}");
    }
}

#[test]
fn a_lone_dot_ends_the_message_but_not_with_i() {
    let _running = shared();
    let input = format!("{HEADER}before\n.\nafter\n");
    for (option, end) in [("-t", "\n\nbefore\n"), ("-ti", "\n\nbefore\n.\nafter\n")] {
        let place = Place::new(TO_MAILDIR);
        let _mote = place.serve();
        assert!(sendmail(&place, &[option], &input).status.success());
        let text = arrived(&place);
        assert!(text.ends_with(end), "{option}: {text}");
    }
}

#[test]
fn bcc_is_served_but_not_shown() {
    let _running = shared();
    let place = Place::new(TO_MAILDIR);
    let _mote = place.serve();
    let input = "From: sender@client.test\nBcc: someone@example.net\nSubject: blind\n\nHidden.\n";
    assert!(sendmail(&place, &["-t"], input).status.success());
    let text = arrived(&place);
    assert!(!text.to_lowercase().contains("\nbcc:"), "{text}");
}

#[test]
fn mail_handed_in_while_the_daemon_is_down_arrives_later() {
    let _running = shared();
    let place = Place::new(TO_MAILDIR);
    // The daemon makes the drop directory when it first starts.
    drop(place.serve());
    let output = sendmail(&place, &["-t"], &format!("{HEADER}Later.\n"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let _mote = place.serve();
    let text = arrived(&place);
    assert!(text.ends_with("\n\nLater.\n"), "{text}");
}

#[test]
fn no_recipient_is_a_fault_of_the_caller() {
    let _running = shared();
    let place = Place::new(TO_MAILDIR);
    let _mote = place.serve();
    let output = sendmail(&place, &["-t"], "Subject: nobody\n\nText.\n");
    assert!(matches!(output.status.code(), Some(64 | 65)), "{output:?}");
}

/// RFC 3461: what -N, -R and -V ask for is handed on, also by the drop directory.
#[test]
fn reports_that_are_asked_for_are_asked_of_the_next_hop() {
    let _running = shared();
    let words =
        ["-N", "success,Delay", "-R", "hdrs", "-V", "job+2B17", "-f", "me@h.test", "a@b.test"];
    for is_up in [true, false] {
        let hop = NextHop::start(&["DSN"]);
        let place = Place::new(&format!("relay = smtp://127.0.0.1:{}", hop.port));
        // It makes the drop directory.
        let mote = Some(place.serve()).filter(|_| is_up);
        assert!(sendmail(&place, &words, HEADER).status.success());
        let _mote = mote.unwrap_or_else(|| place.serve());
        wait_for("the mail", Duration::from_secs(20), || hop.heard_of("Received").len() == 1);
        assert_eq!(hop.heard_of("MAIL"), ["MAIL FROM:<me@h.test> RET=HDRS ENVID=job+2B17"]);
        assert_eq!(hop.heard_of("RCPT"), ["RCPT TO:<a@b.test> NOTIFY=SUCCESS,DELAY"]);
    }
}

/// Every mix of line ends comes out as whole lines, and all other bytes as they are.
#[test]
fn bodies_of_every_kind() {
    let _running = shared();
    let place = Place::in_memory(TO_MAILDIR);
    let _mote = place.serve();
    let bodies = [
        ("", ""),
        ("a\r\nb\rc\nd\r\r\n\n\re", "a\nb\nc\nd\n\n\n\ne\n"),
        ("nul \0 and \u{fc}", "nul \0 and \u{fc}\n"),
        ("From x\n.\n..\n", "From x\n.\n..\n"),
    ];
    for (body, _) in bodies {
        assert!(sendmail(&place, &["-i", "a@b"], &format!("{HEADER}{body}")).status.success());
    }
    let path = place.path("Maildir");
    wait_for("the mails", Duration::from_secs(20), || maildir(&path).len() == bodies.len());
    let body = |file: &std::path::PathBuf| {
        let mail = fs::read_to_string(file).unwrap();
        mail.split_once("\n\n").unwrap().1.to_owned()
    };
    let mut found: Vec<String> = maildir(&path).iter().map(body).collect();
    let mut expected: Vec<&str> = bodies.iter().map(|(_, expected)| *expected).collect();
    found.sort();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

/// 50 MB go through a few buffers, with the daemon and without.
#[test]
fn a_large_mail_needs_no_more_memory_than_a_small_one() {
    let _running = shared();
    let place = Place::in_memory(&format!("{TO_MAILDIR}\nspool-size = 128M\nmessage-size = 60M"));
    let peak = |lines: usize| {
        let mut command = place.command(&["sendmail", "-i", "a@b"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(HEADER.as_bytes()).unwrap();
        for _ in 0..lines {
            input.write_all(&[b"x".repeat(63), b"\n".to_vec()].concat().repeat(1024)).unwrap();
        }
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        drop(input);
        assert!(child.wait().unwrap().success());
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    for is_up in [false, true] {
        let mote = place.serve();
        let _mote = is_up.then_some(mote);
        let (small, large) = (peak(4), peak(800));
        assert!(large <= small + 512, "{small} and {large} KiB");
    }
}

/// -odi comes back when the mail has been tried, and without it at once; queued is no fault.
#[test]
fn who_wants_to_wait_waits_for_the_first_outcome() {
    let _running = shared();
    let hop = NextHop::start(&[]);
    let place = Place::new(&format!("relay = smtp://127.0.0.1:{}", hop.port));
    let _mote = place.serve();
    for (to, seen) in [("a@b.test", "it has left the queue"), ("later@b.test", "it waits in the")] {
        let output = sendmail(&place, &["-odi", "-v", to], HEADER);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.contains(seen), "{said}");
    }
    assert_eq!(hop.heard_of("Received: ").len(), 1);
    assert!(hop.heard_of("RCPT").contains(&"RCPT TO:<later@b.test>".to_owned()));
}
