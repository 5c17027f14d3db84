//! Programs call `sendmail` each in its own way; the mail arrives, also while the daemon is down.

use std::fs;
use std::io::Write;
use std::process::{Output, Stdio};
use std::time::Duration;

use crate::instance::Place;
use crate::load::{shared, wait_for};
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
