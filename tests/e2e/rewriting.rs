//! Everything to one, from one: what programs of this machine write, as it comes out at a next hop
//! that takes mail of one sender only, read by Python's email package.
//!
//! `samples/` has mail as cron, smartd, mdadm, unattended-upgrades, PHP and others hand it in: on
//! top the call, the name that a reader sees, and who gets it.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::instance::Place;
use crate::load::{shared, wait_for};
use crate::next_hop::NextHop;
use crate::peers::{maildir, script, skipped};

const LIMIT: Duration = Duration::from_secs(20);
const OFFERS: [&str; 3] = ["PIPELINING", "8BITMIME", "SIZE 0"];
const TWO_LINES: &str = "from = router@example.net\nto = me@example.net\naliases = off\n";

struct Sample {
    name: String,
    arguments: Vec<String>,
    from: String,
    to: String,
    text: String,
}

fn samples() -> Vec<Sample> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/samples");
    let mut found: Vec<Sample> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let all = fs::read_to_string(entry.path()).unwrap();
            let (top, text) = all.split_once("\n\n").unwrap();
            let mut top = top.lines();
            let mut next = |word| top.next().unwrap().strip_prefix(word).unwrap().trim();
            Sample {
                name: entry.file_name().into_string().unwrap(),
                arguments: next("sendmail").split(' ').map(str::to_owned).collect(),
                from: next("From:").to_owned(),
                to: next("To:").to_owned(),
                text: text.to_owned(),
            }
        })
        .collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

fn hand_in(place: &Place, arguments: &[&str], text: &str) {
    let mut command = place.command(&["sendmail"]);
    let mut child = command.args(arguments).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{arguments:?}");
}

/// What the next hop has heard of one mail: MAIL, RCPT and the message.
#[track_caller]
fn sent(hop: &NextHop, number: usize) -> (String, Vec<String>, String) {
    let messages = || -> Vec<String> {
        hop.heard().into_iter().filter(|entry| entry.starts_with("Received: ")).collect()
    };
    wait_for(&format!("mail {number}"), LIMIT, || messages().len() > number);
    let heard = hop.heard();
    let starts: Vec<usize> = (0..heard.len()).filter(|at| heard[*at].starts_with("MAIL")).collect();
    let own = &heard[starts[number]..];
    let recipients = own[1..].iter().take_while(|line| line.starts_with("RCPT"));
    (own[0].clone(), recipients.cloned().collect(), messages()[number].clone())
}

/// What a reader sees, a line each; none where there is no Python.
fn read(place: &Place, message: &str) -> Option<Vec<String>> {
    let path = place.path("sent.eml");
    fs::write(&path, message.strip_suffix(".\r\n").unwrap()).unwrap();
    let output = Command::new("python3").arg(script("headers.py")).arg(path).output();
    let Ok(output) = output else {
        skipped("python3", "it is not there");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
}

#[test]
fn what_programs_write_is_legal_and_tells_where_it_is_from() {
    let _running = shared();
    let hop = NextHop::start(&OFFERS);
    let place = Place::new(&format!("relay = smtp://127.0.0.1:{}\n{TWO_LINES}", hop.port));
    let _mote = place.serve();
    let samples = samples();
    assert!(samples.len() >= 14);
    for (number, sample) in samples.iter().enumerate() {
        let Sample { name, arguments, from, to, text } = sample;
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        hand_in(&place, &arguments, text);
        let (mail, recipients, message) = sent(&hop, number);
        assert!(mail.starts_with("MAIL FROM:<router@example.net>"), "{name}: {mail}");
        let envelope = if to.is_empty() { "me@example.net" } else { to };
        assert_eq!(recipients, [format!("RCPT TO:<{envelope}>")], "{name}");
        // The body is what it was: dots, 8 bits and all; but a lone dot ended it, without -i.
        let (head, body) = message.split_once("\r\n\r\n").unwrap();
        let (old_head, old_body) = text.split_once("\n\n").unwrap();
        let takes_dots = arguments.iter().any(|word| word.contains('i') && word.starts_with('-'));
        let old_body = match old_body.split_once("\n.\n") {
            Some((before, _)) if !takes_dots => format!("{before}\n"),
            _ => old_body.to_owned(),
        };
        let stuffed = old_body.replace("\n.", "\n..").replace('\n', "\r\n");
        assert_eq!(body, format!("{stuffed}.\r\n"), "{name}");
        // Fields that nobody asked to change are there byte for byte.
        let address_fields = ["From", "To", "Cc", "Sender", "Reply-To"];
        let mut is_kept = false;
        for line in old_head.lines() {
            if !line.starts_with([' ', '\t']) {
                let field = line.split(':').next().unwrap();
                is_kept = !address_fields.contains(&field);
            }
            assert!(!is_kept || head.lines().any(|other| other == line), "{name}: {line}");
        }
        let original = old_head.lines().find(|line| line.starts_with("From:"));
        if let Some(line) = original {
            assert!(message.contains(&format!("\r\nX-Original-{line}\r\n")), "{name}: {head}");
        }
        let Some(seen) = read(&place, &message) else { continue };
        let seen_of = |field: &str| -> Vec<&str> {
            seen.iter().filter_map(|line| line.strip_prefix(field)?.strip_prefix(": ")).collect()
        };
        assert_eq!(seen_of("defect"), [""; 0], "{name}: {message}");
        assert_eq!(seen_of("From"), [format!("{from}|router@example.net")], "{name}: {head}");
        assert!(seen_of("Sender").iter().all(|line| line.ends_with("|router@example.net")));
        assert_eq!([seen_of("Date"), seen_of("Message-ID")], [["1"], ["1"]], "{name}");
        for line in ["To", "Cc", "Reply-To"].iter().flat_map(|field| seen_of(field)) {
            let address = line.split_once('|').unwrap().1;
            assert!(
                address.contains(".net")
                    || address.contains(".org")
                    || address.contains(".com")
                    || address.contains(".example"),
                "{name}: {line}"
            );
        }
        let named = seen_of("To");
        assert!(
            named.iter().all(|line| to.is_empty() || line.ends_with(&format!("|{to}"))),
            "{name}: {head}"
        );
        // Two who became one are named once.
        assert!(named.len() <= 1, "{name}: {named:?}");
    }
}

#[test]
fn who_is_legal_already_passes_untouched() {
    let _running = shared();
    let hop = NextHop::start(&OFFERS);
    let place = Place::new(&format!("relay = smtp://127.0.0.1:{}\n{TWO_LINES}", hop.port));
    let _mote = place.serve();
    let head = "DKIM-Signature: v=1; d=example.net;\r\n\tb=x\r\n\
                from:  The Router <Router@Example.NET> (x)\r\n\
                To: A <a@example.org>,\r\n\t\"B, C\" <b@example.org>\r\n\
                Date: Tue, 1 Dec 2026 10:00:00 +0000\r\n\
                Message-ID: <x@y>\r\nX-Odd :  folded\r\n  so\r\n\r\nx\r\n";
    hand_in(&place, &["-t"], &head.replace("\r\n", "\n"));
    let (_, _, message) = sent(&hop, 0);
    assert!(message.ends_with(&format!("{head}.\r\n")), "{message}");
}

#[test]
fn the_size_told_is_the_size_sent() {
    let _running = shared();
    let hop = NextHop::start(&OFFERS);
    let place = Place::new(&format!("relay = smtp://127.0.0.1:{}\n{TWO_LINES}", hop.port));
    let _mote = place.serve();
    let text = format!(
        "To: root, admin\nFrom: cron\nBcc: x@example.org\n\n{}",
        "0123456789\n".repeat(20_000)
    );
    hand_in(&place, &["-t"], &text);
    let (mail, recipients, message) = sent(&hop, 0);
    assert_eq!(recipients.len(), 2);
    let told: usize =
        mail.split("SIZE=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert_eq!(told, message.len() - 3);
    assert!(!message.contains("Bcc"));
    // A small one is taken by everyone, and not told.
    hand_in(&place, &["root"], "Subject: x\n\nx\n");
    assert!(!sent(&hop, 1).0.contains("SIZE"));
}

#[test]
fn old_names_become_new_ones_for_senders_and_recipients() {
    let _running = shared();
    let hop = NextHop::start(&OFFERS);
    let lines = format!(
        "relay = smtp://127.0.0.1:{}\naliases = {{dir}}/aliases\norigin = home.example\n\
         [route @]\nvia = maildir:{{dir}}/local\n[route nobody.example]\nvia = discard\n\
         [rewrite]\n@old.example = @new.example\nchief@old.example = boss@new.example\n\
         admin = me@new.example\n",
        hop.port
    );
    let place = Place::new(&lines);
    fs::write(place.path("aliases"), "crowd: a@old.example, admin, b@x.example\nroot: admin\n")
        .unwrap();
    let _mote = place.serve();
    let text = "From: chief@old.example\nReply-To: cron, x@OLD.example\n\
                To: admin@localhost, jo, a@old.example\n\
                Cc: root, crowd\nX: a@old.example\n\nx\n";
    hand_in(&place, &["-t", "-f", "chief@old.example"], text);
    let (mail, recipients, message) = sent(&hop, 0);
    assert!(mail.starts_with("MAIL FROM:<boss@new.example>"), "{mail}");
    let to = [
        "me@new.example",
        "a@new.example",
        "me@new.example",
        "a@new.example",
        "me@new.example",
        "b@x.example",
    ];
    let mut expected: Vec<String> = to.iter().map(|to| format!("RCPT TO:<{to}>")).collect();
    let mut recipients = recipients;
    expected.sort();
    recipients.sort();
    assert_eq!(recipients, expected);
    for line in [
        "From: boss@new.example",
        "Reply-To: cron@home.example, x@new.example",
        "To: me@new.example, jo@home.example, a@new.example",
        "Cc: me@new.example, crowd@home.example",
        "X: a@old.example",
    ] {
        assert!(message.contains(&format!("\r\n{line}\r\n")), "{line}: {message}");
    }
    // The local one has the same header, and Return-Path is the new name.
    wait_for("the Maildir", LIMIT, || maildir(&place.path("local")).len() == 1);
    let filed = fs::read_to_string(&maildir(&place.path("local"))[0]).unwrap();
    assert!(
        filed.starts_with("Return-Path: <boss@new.example>\nDelivered-To: jo@home.example\n"),
        "{filed}"
    );
}

/// Decisions are made at each attempt.
#[test]
fn what_waits_is_mended_by_a_better_config() {
    let _running = shared();
    let hop = NextHop::start(&OFFERS);
    let place = Place::new("relay = hold\naliases = off\n");
    let mote = place.serve();
    hand_in(&place, &["root"], "From: root\nTo: root\n\nx\n");
    wait_for("it is held", LIMIT, || mote.logged("from=<root>") == 1);
    place.configure(&format!("relay = smtp://127.0.0.1:{}\n{TWO_LINES}", hop.port));
    mote.signal("HUP");
    mote.signal("USR1");
    let (mail, recipients, message) = sent(&hop, 0);
    assert!(mail.starts_with("MAIL FROM:<router@example.net>"));
    assert_eq!(recipients, ["RCPT TO:<me@example.net>"]);
    assert!(
        message.contains("From: \"root on mote.test\"\r\n <router@example.net>\r\n"),
        "{message}"
    );
    assert!(message.contains("\r\nTo: me@example.net\r\n"), "{message}");
}

#[test]
fn a_stranger_s_header_is_his_own() {
    let _running = shared();
    let hop = NextHop::start(&OFFERS);
    let relay = format!("relay = smtp://127.0.0.1:{}\n", hop.port);
    let clients = "[clients 127.0.0.9]\nrelay = no\n";
    let place = Place::new(&format!("{relay}to = me@example.net\naliases = off\n{clients}"));
    let mote = place.serve();
    let head = "To: root, x@mote.test\r\nFrom: Jo <jo@far.example>\r\nSubject: x\r\n";
    let say = || {
        let mut stranger =
            crate::session::Session::connect_from("127.0.0.9", place.port).unwrap().0;
        for line in ["HELO x", "MAIL FROM:<jo@far.example>", "RCPT TO:<root@mote.test>", "DATA"] {
            stranger.ask(line).unwrap();
        }
        assert_eq!(stranger.ask(&format!("{head}\r\nx\r\n.")).unwrap().code, 250);
    };
    say();
    let (_, recipients, message) = sent(&hop, 0);
    assert_eq!(recipients, ["RCPT TO:<me@example.net>"]);
    assert!(message.contains(&format!("\r\n{head}\r\nx")), "{message}");
    drop(mote);
    // Only where the next server takes one sender has he to be named.
    place.configure(&format!("{relay}{TWO_LINES}{clients}"));
    let _mote = place.serve();
    say();
    let message = sent(&hop, 1).2;
    let from = "From: \"Jo on far.example\"\r\n <router@example.net>\r\n\
                Reply-To: jo@far.example\r\n\
                X-Original-From: Jo <jo@far.example>\r\n";
    assert!(message.contains(from), "{message}");
    assert!(message.contains("\r\nTo: root, x@mote.test\r\n"), "{message}");
}

/// Reports are from nobody, and go through the same next hop.
#[test]
fn a_report_goes_out_by_the_one_sender_too() {
    let _running = shared();
    let hop = NextHop::start(&OFFERS);
    let place = Place::new(&format!("relay = smtp://127.0.0.1:{}\n{TWO_LINES}", hop.port));
    let _mote = place.serve();
    hand_in(&place, &["refused@example.org"], "Subject: x\n\nx\n");
    wait_for("the report", LIMIT, || hop.heard_of("MAIL FROM:<>").len() == 1);
    wait_for("its text", LIMIT, || hop.heard_of("Received: ").len() == 1);
    let heard = hop.heard();
    let at = heard.iter().position(|line| line.starts_with("MAIL FROM:<>")).unwrap();
    assert_eq!(heard[at + 1], "RCPT TO:<me@example.net>");
    let message = hop.heard_of("Received: ").remove(0);
    assert!(message.contains("<router@example.net>\r\n"), "{message}");
    assert!(message.contains("\r\nX-Original-From: "), "{message}");
    assert!(message.contains("\r\nTo: <me@example.net>\r\n"), "{message}");
}
