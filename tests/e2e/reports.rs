//! Reports as Python's email package reads them, whatever they are about; and a storm of them,
//! which ends (threats 14).

use std::fs;
use std::time::Duration;

use crate::extensions::{assert_holds, say, with_reports};
use crate::instance::Place;
use crate::load::{shared, wait_for};
use crate::next_hop::NextHop;
use crate::peers::{self, maildir, script};
use crate::session::Session;

/// What a mail program learns of the reports in the Maildir, `count` of them.
#[track_caller]
fn read(place: &Place, count: usize) -> Option<String> {
    let path = place.path("Maildir");
    wait_for("the reports", Duration::from_secs(60), || maildir(&path).len() >= count);
    let mut python = peers::command("python3", "python3")?;
    let output = python.arg(script("reports.py")).args(maildir(&path)).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert_eq!(maildir(&path).len(), count);
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn reports_say_to_programs_what_was_asked_and_answered() {
    let _running = shared();
    let hop = NextHop::start(&["PIPELINING"]);
    let place = with_reports(hop.port);
    let _mote = place.serve();
    let mut session = Session::open(place.port);
    let envelope = [
        "MAIL FROM:<sender@client.test> RET=FULL ENVID=QQ+2B314",
        "RCPT TO:<refused@example.net> ORCPT=rfc822;some+2Bone@lists.test",
        "RCPT TO:<refused-never@example.net> NOTIFY=NEVER",
        "RCPT TO:<taken@example.net> NOTIFY=SUCCESS",
        "RCPT TO:<refused-two@example.net>",
        "DATA",
    ];
    say(&mut session, &envelope, &[250, 250, 250, 250, 250, 354]);
    say(&mut session, &["Subject: one\r\n\r\nbody\r\n--=_\r\n."], &[250]);
    let Some(told) = read(&place, 1) else { return };
    let words = [
        "REPORT\tMail delivered to some, and not to others\tsender@client.test\n",
        "ENVELOPE\tQQ+314\n",
        "RECIPIENT\trfc822; refused@example.net\trfc822; some+one@lists.test\tfailed\t5.1.1\t\
         smtp; 550 5.1.1 refused\n",
        "RECIPIENT\trfc822; taken@example.net\t-\trelayed\t2.",
        "RECIPIENT\trfc822; refused-two@example.net\t-\tfailed\t5.1.1\tsmtp; 550 5.1.1 refused\n",
        "RETURNED\tmessage/rfc822\t",
    ];
    assert_holds(&told, &words);
    assert!(!told.contains("never"), "{told}");
}

/// Messages that would break a report that trusts them.
fn hostile() -> Vec<Vec<u8>> {
    let long_line = format!("Subject: {}\r\n\r\nbody", "x".repeat(5_000));
    let many = "X-Field: and its value\r\n".repeat(2_700) + "\r\nbody";
    let folded = format!("Subject: a\r\n{}\r\nbody", " more\r\n".repeat(5_000));
    let boundaries = "--=_1_2\r\nContent-Type: text/plain\r\n--=_1_2--\r\n\r\n--=_1_2--";
    let types = "Content-Type: multipart/mixed; boundary=x\r\nMIME-Version: 1.0\r\n\r\n--x\r\n\r\n";
    [
        "Subject: J\u{f6}rg\r\nFrom: \u{1f4e7}\r\n\r\nbody".as_bytes(),
        b"Subject: \xff\xfe\x80\r\n\r\nbody",
        b"\r\nno header at all",
        b"",
        b"no header, and no empty line",
        b": no name\r\nnor here\r\n  : \r\n\r\nbody",
        b"Subject: \x01\x1b[31m\x7f\r\n\r\nbody",
        long_line.as_bytes(),
        many.as_bytes(),
        folded.as_bytes(),
        boundaries.as_bytes(),
        types.as_bytes(),
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

#[test]
fn whatever_is_returned_a_report_is_one() {
    let _running = shared();
    let hop = NextHop::start(&["PIPELINING", "8BITMIME", "SMTPUTF8"]);
    let place = with_reports(hop.port);
    let _mote = place.serve();
    let mut session = Session::open(place.port);
    for full in [false, true] {
        for message in hostile() {
            let ret = if full { "RET=FULL" } else { "RET=HDRS" };
            let sender = format!("MAIL FROM:<sender@client.test> BODY=8BITMIME {ret}");
            say(&mut session, &[&sender, "RCPT TO:<refused@example.net>"], &[250, 250]);
            say(&mut session, &["DATA"], &[354]);
            session.write(&message).unwrap();
            say(&mut session, &["\r\n."], &[250]);
        }
    }
    let Some(told) = read(&place, 2 * hostile().len()) else { return };
    let line =
        "RECIPIENT\trfc822; refused@example.net\t-\tfailed\t5.1.1\tsmtp; 550 5.1.1 refused\n";
    assert_eq!(told.matches(line).count(), 2 * hostile().len(), "{told}");
}

#[test]
fn addresses_beyond_ascii_are_told_in_ascii() {
    let _running = shared();
    let hop = NextHop::start(&["PIPELINING", "8BITMIME", "SMTPUTF8"]);
    let place = with_reports(hop.port);
    let _mote = place.serve();
    let mut session = Session::open(place.port);
    let recipient = "RCPT TO:<refused-j\u{f6}rg@example.net> ORCPT=utf-8;j\\x{F6}rg@lists.test";
    say(&mut session, &["MAIL FROM:<sender@client.test> SMTPUTF8", recipient], &[250, 250]);
    say(&mut session, &["DATA", "Subject: one\r\n\r\nbody\r\n."], &[354, 250]);
    let Some(told) = read(&place, 1) else { return };
    assert_holds(&told, &["RECIPIENT\tutf-8; refused-j\\x{F6}rg@example.net\tutf-8; "]);
}

/// Bytes of everything in the spool.
fn spool_bytes(place: &Place) -> u64 {
    let entries = fs::read_dir(place.path("spool")).unwrap();
    entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn a_storm_of_mails_whose_reports_fail_too_ends_with_nothing_left() {
    const MAILS: usize = 1_000;
    let _running = shared();
    let hop = NextHop::start(&[]);
    let place = Place::in_memory(&format!("relay = smtp://127.0.0.1:{}", hop.port));
    let mote = place.serve();
    let before = spool_bytes(&place);
    let mut session = Session::open(place.port);
    for number in 0..MAILS {
        let sender = format!("MAIL FROM:<refused-{number}@client.test>");
        say(&mut session, &[&sender, "RCPT TO:<refused@example.net>", "DATA"], &[250, 250, 354]);
        say(&mut session, &["Subject: one\r\n\r\nbody\r\n."], &[250]);
    }
    let bounced = || mote.logged("status=bounced");
    wait_for("all to fail, and the reports", Duration::from_secs(120), || bounced() == 2 * MAILS);
    let is_empty =
        || String::from_utf8_lossy(&place.run(&["queue", "ls"]).stdout).contains("empty");
    wait_for("an empty queue", Duration::from_secs(20), is_empty);
    assert_eq!(spool_bytes(&place), before);
    // Each was tried once, and so was its report; nobody was told of a report.
    assert_eq!(hop.heard_of("MAIL FROM:<>").len(), MAILS);
    assert_eq!(hop.heard_of("MAIL").len(), 2 * MAILS);
    assert!(hop.heard_of("DATA").is_empty());
    say(&mut session, &["MAIL FROM:<a@client.test>", "RCPT TO:<b@example.net>"], &[250, 250]);
}
