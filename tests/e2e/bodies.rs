//! What was sent is what arrives: hashes of bodies of every size, at both ends.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::instance::Place;
use crate::load::{shared, wait_for};
use crate::peers::{self, Server, maildir, script};

const RECIPIENT: &str = "someone@example.net";

fn sums(command: &mut Command) -> BTreeMap<usize, String> {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let parse = |line: &str| {
        let (number, hash) = line.split_once(' ').unwrap();
        (number.parse().unwrap(), hash.to_owned())
    };
    text.lines().map(parse).collect()
}

fn send(port: u16, count: usize) -> Option<BTreeMap<usize, String>> {
    let mut python = peers::command("python3", "python3")?;
    python.arg(script("bodies.py")).args([
        "send",
        &port.to_string(),
        &count.to_string(),
        RECIPIENT,
    ]);
    let sent = sums(&mut python);
    assert_eq!(sent.len(), count);
    Some(sent)
}

fn compare(sent: &BTreeMap<usize, String>, arrived: &BTreeMap<usize, String>) {
    let differ: Vec<_> =
        sent.iter().filter(|(number, hash)| arrived.get(number) != Some(hash)).collect();
    assert!(differ.is_empty(), "bodies that arrived changed or not at all: {differ:?}");
    assert_eq!(sent.len(), arrived.len());
}

fn compare_maildir(sent: &BTreeMap<usize, String>, path: &Path) {
    wait_for("the Maildir", Duration::from_secs(120), || maildir(path).len() >= sent.len());
    let mut python = peers::command("python3", "python3").unwrap();
    compare(sent, &sums(python.arg(script("bodies.py")).arg("sums").arg(path.join("new"))));
    assert_eq!(maildir(path).len(), sent.len(), "something arrived twice");
}

#[test]
fn thousand_bodies_arrive_unchanged_at_aiosmtpd() {
    let _running = shared();
    let Some(sink) = Server::aiosmtpd() else { return };
    let place = Place::new(&format!("spool-size = 128M\nrelay = smtp://127.0.0.1:{}", sink.port));
    let _mote = place.serve();
    let Some(sent) = send(place.port, 1000) else { return };
    wait_for("all bodies", Duration::from_secs(180), || sink.received().len() >= sent.len());
    let received = sink.received();
    assert_eq!(received.len(), sent.len(), "something arrived twice");
    compare(&sent, &received.into_iter().collect());
}

#[test]
fn bodies_arrive_unchanged_at_postfix() {
    let _running = shared();
    let Some(postfix) = Server::postfix() else { return };
    let place = Place::new(&format!("relay = smtp://127.0.0.1:{}", postfix.port));
    let _mote = place.serve();
    let Some(sent) = send(place.port, 100) else { return };
    compare_maildir(&sent, &postfix.path("Maildir"));
}

#[test]
fn bodies_arrive_unchanged_in_the_maildir() {
    let _running = shared();
    let place = Place::new("relay = maildir:{dir}/Maildir");
    let _mote = place.serve();
    let Some(sent) = send(place.port, 100) else { return };
    compare_maildir(&sent, &place.path("Maildir"));
}
