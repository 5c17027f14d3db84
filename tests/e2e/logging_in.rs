//! Logging in at next hops that others wrote, and at mote itself: by each mechanism, with what is
//! refused held and not bounced, and what one logs in with nowhere to be found.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use crate::auth::{PASSWORD, assert_unmarked, set_password};
use crate::instance::{Mote, Place};
use crate::load::{shared, wait_for};
use crate::peers::{Server, maildir};
use crate::session::{Session, message};

const LONG: Duration = Duration::from_secs(20);

fn place(port: u16, rest: &str) -> Place {
    let place = Place::new(&format!("relay = smtp://alice@127.0.0.1:{port}\n{rest}"));
    write_secret(&place.path("secret"), PASSWORD);
    place
}

fn place_with(port: u16, secret: &str) -> Place {
    let place = place(port, "password = file:{dir}/secret\nretry = 1h");
    write_secret(&place.path("secret"), secret);
    place
}

fn write_secret(path: &Path, text: &str) {
    // Whole or not at all, as everybody should.
    let new = path.with_extension("new");
    fs::write(&new, format!("{text}\n")).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(new, path).unwrap();
}

fn send(place: &Place, number: usize) {
    let mut session = Session::open(place.port);
    assert!(session.deliver("you@example.net", &message(number, 500)).unwrap());
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn status(place: &Place) -> (Option<i32>, String) {
    let output = place.run(&["status"]);
    (output.status.code(), said(&output))
}

/// By each mechanism of passwords at a server that is not ours.
#[test]
fn aiosmtpd_by_each_mechanism() {
    let _running = shared();
    for (offered, best) in [(&["LOGIN"][..], "LOGIN"), (&["LOGIN", "PLAIN"], "PLAIN")] {
        let accounts = format!("alice {PASSWORD}");
        let Some(sink) = Server::aiosmtpd_with_logins(&accounts, offered) else { return };
        let place = place(sink.port, "password = file:{dir}/secret");
        let mote = place.serve();
        send(&place, 1);
        wait_for("the mail", LONG, || sink.received().len() == 1);
        assert_eq!(sink.logins(), [format!("{best} good")]);
        let words = format!(", relay=127.0.0.1:{}, auth={best}, delay=", sink.port);
        wait_for("the line", LONG, || mote.logged(&words) == 1);
        assert_unmarked(&mote, &place);
        assert_eq!(status(&place).0, Some(0));
    }
}

/// By the best mechanism of each list at a Postfix with Cyrus SASL, many mails each.
#[test]
fn postfix_by_each_mechanism() {
    let _running = shared();
    for (offered, best) in [
        (&["PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-1"][..], "SCRAM-SHA-256"),
        (&["LOGIN", "PLAIN"], "PLAIN"),
        (&["LOGIN"], "LOGIN"),
    ] {
        let Some(postfix) = Server::postfix_with_logins(PASSWORD, offered) else { return };
        let place = place(postfix.port, "password = file:{dir}/secret");
        let mote = place.serve();
        (0..20).for_each(|number| send(&place, number));
        wait_for("the mails", LONG, || maildir(&postfix.path("Maildir")).len() == 20);
        let words = format!(", auth={best}, delay=");
        wait_for("the lines", LONG, || mote.logged(&words) == 20);
        assert_unmarked(&mote, &place);
        let wrong = place_with(postfix.port, "wrong");
        let mote = wrong.serve();
        send(&wrong, 1);
        wait_for("the refusal", LONG, || mote.logged("does not let us in (") > 0);
        assert_eq!((mote.logged("status=bounced"), status(&wrong).0), (0, Some(1)));
    }
}

/// A token, which a program prints: it is asked once, and once more when what it printed is
/// refused.
#[test]
fn tokens_of_a_program() {
    let _running = shared();
    for (mechanism, length) in [("XOAUTH2", 40), ("OAUTHBEARER", 600)] {
        let token = |letter: &str| letter.repeat(length);
        let accounts = format!("alice {}", token("a"));
        let Some(sink) = Server::aiosmtpd_with_logins(&accounts, &["PLAIN", mechanism]) else {
            return;
        };
        let place = place(sink.port, "token = cmd:{dir}/get {dir}/secret\nretry = 1h");
        write_secret(&place.path("secret"), &token("a"));
        let get = place.path("get");
        let runs = place.path("runs");
        fs::write(&get, format!("#!/bin/sh\necho x >>{}\ncat $1\n", runs.display())).unwrap();
        fs::set_permissions(&get, fs::Permissions::from_mode(0o700)).unwrap();
        let mote = place.serve();
        send(&place, 1);
        wait_for("the mail", LONG, || sink.received().len() == 1);
        // A connection without mail is closed after five seconds; by now nobody needs the next.
        wait_for("the end of the connection", LONG, || {
            status(&place).1.contains("relay     default: idle")
        });
        fs::write(sink.path("accounts"), format!("alice {}", token("b"))).unwrap();
        write_secret(&place.path("secret"), &token("b"));
        send(&place, 2);
        wait_for("the second mail", LONG, || sink.received().len() == 2);
        let tries = [" good", " bad", " good"].map(|how| format!("{mechanism}{how}"));
        assert_eq!(sink.logins(), tries, "{}", mote.log());
        assert_eq!(fs::read_to_string(&runs).unwrap().lines().count(), 2);
        let why = if mechanism == "XOAUTH2" { "400" } else { "invalid_token" };
        assert_eq!(mote.logged(&format!("({mechanism}, {why}; ")), 1, "{}", mote.log());
        assert!(!mote.log().contains(&token("a")) && !mote.log().contains(&token("b")));
    }
}

/// The wrong password holds the mail, shows in `status` with what to look at, and is not said
/// twice; the right one counts at once, long before the next try.
#[test]
fn a_wrong_password_is_mended() {
    let _running = shared();
    let accounts = format!("alice {PASSWORD}");
    let Some(sink) = Server::aiosmtpd_with_logins(&accounts, &["PLAIN"]) else { return };
    let place = place_with(sink.port, "wrong");
    let mote = place.serve();
    send(&place, 1);
    wait_for("the refusal", LONG, || mote.logged("does not let us in (PLAIN; look at the ") > 0);
    let (code, text) = status(&place);
    assert_eq!(code, Some(1), "{text}");
    let words = format!("look at the user and file:{}", place.path("secret").display());
    assert!(text.contains(&words) && text.contains("): 535 "), "{text}");
    assert_eq!(sink.logins(), ["PLAIN bad"]);
    write_secret(&place.path("secret"), PASSWORD);
    wait_for("the mail", LONG, || sink.received().len() == 1);
    assert_eq!(sink.logins(), ["PLAIN bad", "PLAIN good"]);
    assert_eq!((mote.logged("status=bounced"), mote.logged("status=sent")), (0, 1));
    assert_eq!(status(&place).0, Some(0));
    assert_unmarked(&mote, &place);
}

/// A secret that others can read, or that is not there, is not used: `check` says so, and the mail
/// waits without a connection.
#[test]
fn a_secret_that_cannot_be_had() {
    let _running = shared();
    let accounts = format!("alice {PASSWORD}");
    let Some(sink) = Server::aiosmtpd_with_logins(&accounts, &["PLAIN"]) else { return };
    let place = place(sink.port, "password = file:{dir}/secret\nretry = 1h");
    fs::set_permissions(place.path("secret"), fs::Permissions::from_mode(0o644)).unwrap();
    let check = place.run(&["check"]);
    assert_eq!(check.status.code(), Some(78));
    let line = format!("mote.conf:7: password: {}: others ", place.path("secret").display());
    assert!(said(&check).contains(&line), "{}", said(&check));
    let mote = place.serve();
    send(&place, 1);
    wait_for("the reason", LONG, || mote.logged("others can read or change it") >= 2);
    assert!(sink.logins().is_empty());
    assert!(status(&place).1.contains("others can read"), "{}", status(&place).1);
    fs::set_permissions(place.path("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    wait_for("the mail", LONG, || sink.received().len() == 1);
}

/// A next hop that offers no login, or none that fits, gets no mail.
#[test]
fn never_without() {
    let _running = shared();
    let accounts = format!("alice {PASSWORD}");
    let Some(open) = Server::aiosmtpd() else { return };
    let Some(other) = Server::aiosmtpd_with_logins(&accounts, &["XOAUTH2"]) else { return };
    for (sink, words) in [
        (open, "offers no login; another port"),
        (other, "offers no login that fits, only XOAUTH2"),
    ] {
        let place = place(sink.port, "password = file:{dir}/secret\nretry = 1h");
        let mote = place.serve();
        send(&place, 1);
        wait_for(words, LONG, || mote.logged(words) > 0);
        assert!(status(&place).1.contains(words));
        assert!(sink.received().is_empty() && sink.logins().is_empty());
        assert_unmarked(&mote, &place);
    }
}

/// By SCRAM at another mote: neither of them has the password afterwards.
#[test]
fn mote_by_scram() {
    let _running = shared();
    let hub = Place::new(
        "relay = maildir:{dir}/Maildir\nusers = {dir}/users\n\
         [clients 127.0.0.0/8]\nrelay = no\nclear-auth = yes\n",
    );
    set_password(&hub, "alice", PASSWORD);
    let hub_mote = hub.serve();
    let place = place(hub.port, "password = file:{dir}/secret");
    let mote = place.serve();
    send(&place, 1);
    wait_for("the mail", LONG, || maildir(&hub.path("Maildir")).len() == 1);
    wait_for("the line", LONG, || mote.logged(", auth=SCRAM-SHA-256, ") == 1);
    assert_unmarked(&mote, &place);
    assert_unmarked(&hub_mote, &hub);
}

/// Programs that fail, print nothing, or print too much hold the mail with their words.
#[test]
fn programs_that_fail() {
    let _running = shared();
    let accounts = format!("alice {PASSWORD}");
    let Some(sink) = Server::aiosmtpd_with_logins(&accounts, &["PLAIN"]) else { return };
    for (script, words) in [
        ("echo no entry mail >&2; exit 3", "exit 3: no entry mail"),
        ("kill -9 $$", "killed by signal 9"),
        ("echo", "its first line is empty"),
        ("head -c 100000 /dev/zero", "it printed more than 4096 bytes"),
    ] {
        let place = place(sink.port, "password = cmd:{dir}/get\nretry = 1h");
        fs::write(place.path("get"), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(place.path("get"), fs::Permissions::from_mode(0o700)).unwrap();
        let mote = place.serve();
        send(&place, 1);
        wait_for(words, LONG, || mote.logged(words) > 0);
        assert!(status(&place).1.contains(words));
    }
    assert!(sink.logins().is_empty());
}

/// A password in the config itself: only if nobody else can read that, and nothing shows it.
#[test]
fn a_password_in_the_config() {
    let _running = shared();
    let accounts = format!("alice {PASSWORD}");
    let Some(sink) = Server::aiosmtpd_with_logins(&accounts, &["PLAIN"]) else { return };
    let place = place(sink.port, &format!("password = {PASSWORD}"));
    fs::set_permissions(place.config(), fs::Permissions::from_mode(0o644)).unwrap();
    let check = place.run(&["check"]);
    assert_eq!(check.status.code(), Some(78));
    assert!(said(&check).contains("mote.conf:7: password: others can read"), "{}", said(&check));
    assert!(!said(&check).contains(PASSWORD));
    fs::set_permissions(place.config(), fs::Permissions::from_mode(0o600)).unwrap();
    let check = place.run(&["check"]);
    assert_eq!(check.status.code(), Some(0), "{}", said(&check));
    assert!(said(&check).contains("# password is not shown") && !said(&check).contains(PASSWORD));
    let mote: Mote = place.serve();
    send(&place, 1);
    wait_for("the mail", LONG, || sink.received().len() == 1);
    assert!(!mote.log().contains(PASSWORD));
}
