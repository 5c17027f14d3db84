//! Extensions of SMTP, taken in and handed on.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::instance::Place;
use crate::load::{shared, wait_for};
use crate::next_hop::NextHop;
use crate::peers::{Server, maildir};
use crate::session::{Session, message};

const ENVELOPE: &str = "MAIL FROM:<sender@client.test>\r\nRCPT TO:<someone@example.net>\r\n";

#[test]
fn a_mail_in_chunks_arrives_whole() {
    let _running = shared();
    let place = Place::new("relay = maildir:{dir}/Maildir");
    let _mote = place.serve();
    let (mut session, _) = Session::connect(place.port).unwrap();
    let hello = session.ask("EHLO client.test").unwrap();
    assert!(hello.text.contains("250-CHUNKING\r\n"), "{hello:?}");
    let mail = [message(1, 300_000), b"QUIT\r\n.\r\nlast line".to_vec()].concat();
    // All in one go: sizes that meet no border of anybody's buffers, then an empty last one.
    let mut wire = ENVELOPE.as_bytes().to_vec();
    let mut replies = vec![250, 250];
    for chunk in mail.chunks(4099) {
        wire.extend(format!("BDAT {}\r\n", chunk.len()).into_bytes());
        wire.extend(chunk);
        replies.push(250);
    }
    wire.extend(b"BDAT 0 LAST\r\n");
    session.write(&wire).unwrap();
    for code in replies {
        let reply = session.reply().unwrap();
        assert_eq!(reply.code, code, "{reply:?}");
    }
    assert!(session.reply().unwrap().text.contains("queued as"));
    let path = place.path("Maildir");
    wait_for("the mail", Duration::from_secs(20), || maildir(&path).len() == 1);
    let arrived = fs::read_to_string(&maildir(&path)[0]).unwrap();
    let sent = String::from_utf8(mail).unwrap().replace("\r\n", "\n");
    assert!(arrived.ends_with(&sent), "{} of {}", arrived.len(), sent.len());
}

#[test]
fn chunks_beyond_the_limit_are_read_on_and_refused() {
    let _running = shared();
    let place = Place::new("relay = hold\nmessage-size = 64K");
    let _mote = place.serve();
    let mut session = Session::open(place.port);
    session.write(ENVELOPE.as_bytes()).unwrap();
    for _ in 0..2 {
        assert_eq!(session.reply().unwrap().code, 250);
    }
    let chunk = b"x".repeat(50_000);
    for code in [250, 552, 552] {
        session.write(b"BDAT 50000\r\n").unwrap();
        session.write(&chunk).unwrap();
        assert_eq!(session.reply().unwrap().code, code);
    }
    assert_eq!(session.ask("BDAT 2 LAST\r\n").unwrap().code, 552);
    assert!(session.deliver("someone@example.net", &message(1, 500)).unwrap());
}

/// Says all of it, and wants these codes.
#[track_caller]
pub(crate) fn say(session: &mut Session, commands: &[&str], codes: &[u16]) {
    for (command, code) in commands.iter().zip(codes) {
        let reply = session.ask(command).unwrap();
        assert_eq!(reply.code, *code, "{command}: {reply:?}");
    }
}

/// A config with a next hop, and a Maildir for what comes back to client.test.
pub(crate) fn with_reports(port: u16) -> Place {
    Place::new(&format!(
        "relay = smtp://127.0.0.1:{port}\n[route client.test]\nvia = maildir:{{dir}}/Maildir"
    ))
}

/// The one mail that comes into the Maildir.
#[track_caller]
pub(crate) fn only_mail(path: &Path) -> String {
    wait_for("a mail", Duration::from_secs(20), || !maildir(path).is_empty());
    let mails = maildir(path);
    assert_eq!(mails.len(), 1);
    fs::read_to_string(&mails[0]).unwrap()
}

#[track_caller]
pub(crate) fn assert_holds(text: &str, words: &[&str]) {
    for words in words {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
}

const ENVELOPE_WITH_WISHES: [&str; 3] = [
    "MAIL FROM:<sender@client.test> RET=FULL ENVID=QQ+2B314",
    "RCPT TO:<someone@example.net> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;some+2Bone@lists.test",
    "DATA",
];

pub(crate) fn message_text(number: usize) -> String {
    String::from_utf8(message(number, 400)).unwrap() + "."
}

#[test]
fn wishes_are_handed_on_to_who_knows_them() {
    let _running = shared();
    let hop = NextHop::start(&["PIPELINING", "DSN"]);
    let place = with_reports(hop.port);
    let mote = place.serve();
    let mut session = Session::open(place.port);
    say(&mut session, &ENVELOPE_WITH_WISHES, &[250, 250, 354]);
    say(&mut session, &[&message_text(1)], &[250]);
    wait_for("the delivery", Duration::from_secs(20), || mote.logged("status=sent") == 1);
    let mail = hop.heard_of("MAIL");
    assert!(mail[0].ends_with("> RET=FULL ENVID=QQ+2B314"), "{mail:?}");
    let to = "RCPT TO:<someone@example.net> NOTIFY=SUCCESS,FAILURE \
        ORCPT=rfc822;some+2Bone@lists.test";
    assert_eq!(hop.heard_of("RCPT"), [to]);
    // Success is the next hop's to tell.
    assert!(maildir(&place.path("Maildir")).is_empty());
}

#[test]
fn success_is_told_where_the_next_hop_does_not() {
    let _running = shared();
    let hop = NextHop::start(&["PIPELINING"]);
    let place = with_reports(hop.port);
    let _mote = place.serve();
    let mut session = Session::open(place.port);
    say(&mut session, &ENVELOPE_WITH_WISHES, &[250, 250, 354]);
    say(&mut session, &[&message_text(1)], &[250]);
    let report = only_mail(&place.path("Maildir"));
    assert_holds(
        &report,
        &[
            "Subject: Mail delivered\n",
            "127.0.0.1 has taken it:\n    250 2.0.0 taken\n",
            "Original-Envelope-Id: QQ+314\n",
            "Original-Recipient: rfc822; some+one@lists.test\n",
            "Final-Recipient: rfc822; someone@example.net\nAction: relayed\nStatus: 2.0.0\n",
            "Content-Type: text/rfc822-headers",
        ],
    );
    assert!(hop.heard_of("RCPT")[0].ends_with("<someone@example.net>"));
}

#[test]
fn success_is_told_of_a_mailbox() {
    let _running = shared();
    let place = Place::new(
        "relay = maildir:{dir}/Others\n[route client.test]\nvia = maildir:{dir}/Maildir",
    );
    let _mote = place.serve();
    let mut session = Session::open(place.port);
    say(&mut session, &ENVELOPE_WITH_WISHES, &[250, 250, 354]);
    say(&mut session, &[&message_text(1)], &[250]);
    let report = only_mail(&place.path("Maildir"));
    let words = "Final-Recipient: rfc822; someone@example.net\nAction: delivered\nStatus: 2.0.0\n";
    assert_holds(&report, &[words, "it lies in the mailbox"]);
}

#[test]
fn failures_are_told_as_asked() {
    let _running = shared();
    let hop = NextHop::start(&["PIPELINING"]);
    let place = with_reports(hop.port);
    let mote = place.serve();
    let mut session = Session::open(place.port);
    // Nobody wants to hear of these.
    let silent = [
        "MAIL FROM:<sender@client.test>",
        "RCPT TO:<refused-1@example.net> NOTIFY=NEVER",
        "RCPT TO:<refused-2@example.net> NOTIFY=SUCCESS,DELAY",
        "DATA",
    ];
    say(&mut session, &silent, &[250, 250, 250, 354]);
    say(&mut session, &[&message_text(1)], &[250]);
    wait_for("both refusals", Duration::from_secs(20), || mote.logged("status=bounced") == 2);
    assert_eq!(mote.logged("no report is due"), 1);
    // One failure, one silent one, one success; the whole mail comes back.
    let mixed = [
        "MAIL FROM:<sender@client.test> RET=FULL",
        "RCPT TO:<refused-3@example.net>",
        "RCPT TO:<refused-4@example.net> NOTIFY=NEVER",
        "RCPT TO:<someone@example.net> NOTIFY=SUCCESS",
        "DATA",
    ];
    say(&mut session, &mixed, &[250, 250, 250, 250, 354]);
    say(&mut session, &[&message_text(2)], &[250]);
    let report = only_mail(&place.path("Maildir"));
    assert_holds(
        &report,
        &[
            "Subject: Mail delivered to some, and not to others\n",
            "Final-Recipient: rfc822; refused-3@example.net\nAction: failed\nStatus: 5.1.1\n",
            "Final-Recipient: rfc822; someone@example.net\nAction: relayed\n",
            "Content-Type: message/rfc822\n\nFrom: sender@client.test\n",
            "Subject: 2\n",
            "The quick brown fox",
        ],
    );
    assert!(!report.contains("refused-4"));
}

#[test]
fn postfix_hears_what_was_asked_and_answers_it() {
    let _running = shared();
    let Some(postfix) = Server::postfix() else { return };
    let place = Place::new(&format!("relay = smtp://127.0.0.1:{}", postfix.port));
    let _mote = place.serve();
    let mut session = Session::open(place.port);
    let envelope = [
        "MAIL FROM:<boss@example.net> RET=HDRS ENVID=QQ+2B314",
        "RCPT TO:<someone@example.net> NOTIFY=SUCCESS ORCPT=rfc822;other@example.net",
        "DATA",
    ];
    say(&mut session, &envelope, &[250, 250, 354]);
    say(&mut session, &[&message_text(1)], &[250]);
    let path = postfix.path("Maildir");
    wait_for("the mail and its report", Duration::from_secs(20), || maildir(&path).len() == 2);
    let texts: Vec<String> =
        maildir(&path).iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let report = texts.iter().find(|text| text.contains("delivery-status")).unwrap();
    assert_holds(
        report,
        &["Original-Envelope-Id: QQ+314\n", "other@example.net", "Action: delivered\n"],
    );
}

const UTF8_MESSAGE: &str = "From: Jörg <jörg@bücher.example>\r\nSubject: Größe\r\n\r\nsoweit\r\n.";

#[test]
fn international_mail_reaches_postfix() {
    let _running = shared();
    let Some(postfix) = Server::postfix() else { return };
    let place = Place::new(&format!("relay = smtp://127.0.0.1:{}", postfix.port));
    let mote = place.serve();
    let mut session = Session::open(place.port);
    let envelope = [
        "MAIL FROM:<jörg@bücher.example> SMTPUTF8 BODY=8BITMIME",
        "RCPT TO:<用户@example.net>",
        "DATA",
    ];
    say(&mut session, &envelope, &[250, 250, 354]);
    say(&mut session, &[UTF8_MESSAGE], &[250]);
    let mail = only_mail(&postfix.path("Maildir"));
    assert_holds(
        &mail,
        &[
            "Return-Path: <jörg@bücher.example>",
            "Subject: Größe\n",
            "by mote.test with UTF8SMTP id ",
            "with UTF8SMTP",
            "用户@example.net",
        ],
    );
    assert_eq!(mote.logged("status=sent"), 1);
}

#[test]
fn international_mail_for_a_next_hop_that_knows_none() {
    let _running = shared();
    let hop = NextHop::start(&["PIPELINING", "8BITMIME"]);
    let place = with_reports(hop.port);
    let mote = place.serve();
    let mut session = Session::open(place.port);
    // In fact all of it is ASCII: it goes. Of two recipients one is not.
    let plain = [
        "MAIL FROM:<sender@client.test> SMTPUTF8",
        "RCPT TO:<someone@example.net>",
        "RCPT TO:<用户@example.net>",
        "DATA",
    ];
    say(&mut session, &plain, &[250, 250, 250, 354]);
    say(&mut session, &[&message_text(1)], &[250]);
    let report = only_mail(&place.path("Maildir"));
    assert_holds(
        &report,
        &[
            "What happened: 554 5.6.7 The next server takes no international addresses",
            "Final-Recipient: utf-8; \\x{7528}\\x{6237}@example.net\n",
            "Action: failed\nStatus: 5.6.7\n",
        ],
    );
    assert_eq!(hop.heard_of("RCPT"), ["RCPT TO:<someone@example.net>"]);
    assert!(!hop.heard_of("MAIL")[0].contains("SMTPUTF8"));
    // A header beyond ASCII: nobody is asked, and the report goes to an address that can be told.
    let header = ["MAIL FROM:<jörg@client.test> SMTPUTF8", "RCPT TO:<b@example.net>", "DATA"];
    say(&mut session, &header, &[250, 250, 354]);
    say(&mut session, &[UTF8_MESSAGE], &[250]);
    let path = place.path("Maildir");
    wait_for("another report", Duration::from_secs(20), || maildir(&path).len() == 2);
    assert_eq!(hop.heard_of("MAIL").len(), 1);
    let mut texts = maildir(&path).into_iter().map(|path| fs::read_to_string(path).unwrap());
    let report = texts.find(|text| text.contains("international mail")).unwrap();
    assert_holds(&report, &["To: <jörg@client.test>\n", "Status: 5.6.7\n"]);
    assert_eq!(mote.logged("status=bounced (554 5.6.7"), 2);
    // And one that is no UTF-8 is not taken at all.
    let broken = ["MAIL FROM:<sender@client.test> SMTPUTF8", "RCPT TO:<b@example.net>", "DATA"];
    say(&mut session, &broken, &[250, 250, 354]);
    session.write(b"Subject: Gr\xf6\xdfe\r\n\r\nx\r\n.\r\n").unwrap();
    assert_eq!(session.reply().unwrap().code, 554);
}

const BINARY: &[u8] =
    b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: binary\r\n\r\n\0\n.\r\r\n.\n\xff";

fn send_binary(session: &mut Session) {
    let envelope =
        ["MAIL FROM:<sender@client.test> BODY=BINARYMIME", "RCPT TO:<b@example.net>", "DATA"];
    say(session, &envelope, &[250, 250, 503]);
    session.write(format!("BDAT {} LAST\r\n", BINARY.len()).as_bytes()).unwrap();
    session.write(BINARY).unwrap();
    assert_eq!(session.reply().unwrap().code, 250);
}

#[test]
fn binary_mail_goes_in_one_chunk_or_comes_back() {
    let _running = shared();
    let hop = NextHop::start(&["PIPELINING", "CHUNKING", "BINARYMIME"]);
    let other = NextHop::start(&["PIPELINING", "CHUNKING", "8BITMIME"]);
    let place = with_reports(hop.port);
    let mote = place.serve();
    let mut session = Session::open(place.port);
    send_binary(&mut session);
    wait_for("the delivery", Duration::from_secs(20), || mote.logged("status=sent") == 1);
    let heard = hop.heard();
    let at = heard.iter().position(|line| line.starts_with("BDAT ")).unwrap();
    assert!(heard[at + 1].starts_with("Received: "), "{heard:?}");
    assert!(heard[at + 1].ends_with(&*String::from_utf8_lossy(BINARY)), "{heard:?}");
    assert!(hop.heard_of("MAIL")[0].contains(" BODY=BINARYMIME"));
    place.configure(&format!(
        "relay = smtp://127.0.0.1:{}\n[route client.test]\nvia = maildir:{{dir}}/Maildir",
        other.port
    ));
    mote.signal("HUP");
    wait_for("the reload", Duration::from_secs(20), || mote.logged("reload") > 0);
    send_binary(&mut session);
    let report = only_mail(&place.path("Maildir"));
    assert_holds(&report, &["takes no binary mail", "Status: 5.6.1\n"]);
    assert_eq!(other.heard_of("MAIL").len() + other.heard_of("DATA").len(), 0);
}

#[test]
fn binary_mail_lies_in_the_maildir_as_it_came() {
    let _running = shared();
    let place = Place::new("relay = maildir:{dir}/Maildir");
    let _mote = place.serve();
    let mut session = Session::open(place.port);
    send_binary(&mut session);
    let path = place.path("Maildir");
    wait_for("the mail", Duration::from_secs(20), || maildir(&path).len() == 1);
    assert!(fs::read(&maildir(&path)[0]).unwrap().ends_with(BINARY));
}

#[test]
fn the_limits_of_a_next_hop_are_kept() {
    let _running = shared();
    let hop = NextHop::start(&["PIPELINING", "LIMITS RCPTMAX=2 MAILMAX=2"]);
    // One connection at a time, so that what was heard can be told apart.
    let place = Place::new(&format!(
        "senders = 1\nrelay = smtp://127.0.0.1:{}\n\
         [route client.test]\nvia = maildir:{{dir}}/Maildir",
        hop.port
    ));
    let mote = place.serve();
    let mut session = Session::open(place.port);
    let mut envelope = vec!["MAIL FROM:<sender@client.test>".to_string()];
    envelope.extend((0..7).map(|number| format!("RCPT TO:<r{number}@example.net>")));
    envelope.push("RCPT TO:<later@example.net>".into());
    envelope.push("RCPT TO:<refused@example.net>".into());
    let envelope: Vec<&str> = envelope.iter().map(String::as_str).collect();
    say(&mut session, &envelope, &[250; 10]);
    say(&mut session, &["DATA", &message_text(1)], &[354, 250]);
    wait_for("seven deliveries", Duration::from_secs(20), || mote.logged("status=sent (250") == 7);
    only_mail(&place.path("Maildir"));
    let heard = hop.heard();
    for mail in heard.split(|line| line.starts_with("MAIL")).skip(1) {
        let asked = mail.iter().filter(|line| line.starts_with("RCPT")).count();
        assert!((1..=2).contains(&asked), "{heard:?}");
    }
    for connection in heard.split(|line| line.starts_with("EHLO")).skip(1) {
        assert!(connection.iter().filter(|line| line.starts_with("MAIL")).count() <= 2);
    }
    for number in 0..7 {
        let to = format!("RCPT TO:<r{number}@example.net>");
        assert_eq!(heard.iter().filter(|line| **line == to).count(), 1, "{heard:?}");
    }
    assert!(mote.logged("status=deferred (450 4.2.1 later") >= 1);
}
