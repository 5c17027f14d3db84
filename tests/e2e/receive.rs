//! Servers that others wrote take what mote forwards.

use std::fs;
use std::time::Duration;

use crate::instance::Place;
use crate::load::{shared, wait_for};
use crate::peers::{self, Server, maildir};
use crate::session::{Session, message};

/// Hands in so many messages with smtp-source; false when there is none.
pub(crate) fn smtp_source(port: u16, sessions: usize, messages: usize, bytes: usize) -> bool {
    let Some(mut source) = peers::command("postfix", "smtp-source") else { return false };
    // -d: the connections are kept.
    source.args(["-d", "-f", "sender@client.test", "-t", "someone@example.net", "-s"]);
    source.args([&sessions.to_string(), "-m", &messages.to_string(), "-l", &bytes.to_string()]);
    let output = source.arg(format!("127.0.0.1:{port}")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    true
}

#[test]
fn smtp_sink_takes_all_that_smtp_source_sends() {
    let _running = shared();
    let Some(sink) = Server::smtp_sink(true) else { return };
    let place = Place::new(&format!("relay = smtp://127.0.0.1:{}", sink.port));
    let mote = place.serve();
    if !smtp_source(place.port, 8, 200, 2000) {
        return;
    }
    let count = || fs::read_dir(sink.path("dump")).unwrap().count();
    wait_for("200 messages", Duration::from_secs(60), || mote.logged("status=sent") >= 200);
    assert_eq!(count(), 200);
}

#[test]
fn postfix_takes_mail_and_its_name_is_in_the_log() {
    let _running = shared();
    let Some(postfix) = Server::postfix() else { return };
    let place = Place::new(&format!("relay = smtp://127.0.0.1:{}", postfix.port));
    let mote = place.serve();
    let mut session = Session::open(place.port);
    assert!(session.deliver("someone@example.net", &message(1, 500)).unwrap());
    let path = postfix.path("Maildir");
    wait_for("the mail", Duration::from_secs(20), || maildir(&path).len() == 1);
    wait_for("the log", Duration::from_secs(5), || mote.logged("status=sent (250 2.0.0 Ok") == 1);
}

#[test]
fn what_postfix_refuses_for_good_comes_back_as_a_report() {
    let _running = shared();
    let Some(postfix) = Server::postfix() else { return };
    let place = Place::new(&format!(
        "relay = smtp://127.0.0.1:{}\n[route client.test]\nvia = maildir:{{dir}}/Maildir",
        postfix.port
    ));
    let _mote = place.serve();
    let mut session = Session::open(place.port);
    assert!(session.deliver("nobody@elsewhere.test", &message(1, 500)).unwrap());
    let path = place.path("Maildir");
    wait_for("the report", Duration::from_secs(20), || maildir(&path).len() == 1);
    let report = fs::read_to_string(&maildir(&path)[0]).unwrap();
    for words in
        ["multipart/report", "nobody@elsewhere.test", "Status: 5.7.1", "Relay access denied"]
    {
        assert!(report.contains(words), "no {words:?} in {report}");
    }
}
