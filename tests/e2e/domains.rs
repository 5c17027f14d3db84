//! `relay = mx`: straight to the mail hosts of each domain, as a name server on loopback tells.
//!
//! Mail hosts listen on port 25 of addresses in 127.9.0.0/16; who may not bind there is told so.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::instance::{Mote, Place};
use crate::load::{shared, wait_for};
use crate::session::Session;

const LIMIT: Duration = Duration::from_secs(30);

/// What the zone has for a name.
#[derive(Clone)]
pub(crate) enum Entry {
    /// Mail hosts with their preferences.
    Mx(Vec<(u16, &'static str)>),
    /// An address.
    A(Ipv4Addr),
    /// SERVFAIL for everything.
    Broken,
}

pub(crate) type Zone = BTreeMap<String, Vec<Entry>>;

fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).chain([0]).collect()
}

/// Answers one question (RFC 1035 §4.1) from the zone.
fn answer(question: &[u8], zone: &Zone) -> Vec<u8> {
    let mut name = Vec::new();
    let mut at = 12;
    while question[at] != 0 {
        let len = usize::from(question[at]);
        name.push(String::from_utf8(question[at + 1..at + 1 + len].to_vec()).unwrap());
        at += len + 1;
    }
    let kind = question[at + 2];
    let found = zone.get(&name.join("."));
    let mut records = Vec::new();
    for entry in found.into_iter().flatten() {
        match (entry, kind) {
            (Entry::Mx(hosts), 15) => {
                for (preference, host) in hosts {
                    records.push([&preference.to_be_bytes()[..], &wire(host)].concat());
                }
            }
            (Entry::A(address), 1) => records.push(address.octets().to_vec()),
            _ => (),
        }
    }
    let code = match found {
        None => 3,
        Some(entries) if entries.iter().any(|entry| matches!(entry, Entry::Broken)) => 2,
        Some(_) => 0,
    };
    let mut reply = question[..at + 5].to_vec();
    reply[2..4].copy_from_slice(&[0x81, 0x80 | code]);
    reply[6..12].copy_from_slice(&[0, records.len() as u8, 0, 0, 0, 0]);
    for record in records {
        reply.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 1, 0, 0, record.len() as u8]);
        reply.extend(record);
    }
    reply
}

/// A name server that knows `zone`; its port.
fn name_server(zone: Zone) -> u16 {
    name_server_at("127.0.0.1:0", zone)
}

/// The same at an address of the caller's.
pub(crate) fn name_server_at(address: &str, zone: Zone) -> u16 {
    let socket = UdpSocket::bind(address).unwrap();
    let port = socket.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut question = [0; 1500];
        while let Ok((len, peer)) = socket.recv_from(&mut question) {
            let _ = socket.send_to(&answer(&question[..len], &zone), peer);
        }
    });
    port
}

/// A mail host on `address`, and to whom it got mail; None if it may not listen there.
fn mail_host(address: &str) -> Option<Arc<Mutex<Vec<String>>>> {
    let listener = match TcpListener::bind((address, 25)) {
        Ok(listener) => listener,
        Err(error) => {
            println!("skipped: mail hosts on port 25: {error}");
            return None;
        }
    };
    let got = Arc::new(Mutex::new(Vec::new()));
    let noted = got.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let noted = noted.clone();
            thread::spawn(move || serve(stream, &noted));
        }
    });
    Some(got)
}

fn serve(stream: TcpStream, noted: &Mutex<Vec<String>>) -> Option<()> {
    let mut out = stream.try_clone().ok()?;
    let mut say = |text: &str| out.write_all(format!("{text}\r\n").as_bytes()).ok();
    let mut lines = BufReader::new(stream).lines();
    say("220 mail.host ESMTP")?;
    loop {
        let line = lines.next()?.ok()?;
        match line.get(..4)? {
            "EHLO" => say("250-mail.host\r\n250 PIPELINING")?,
            "RCPT" => {
                noted.lock().unwrap().push(line[8..].trim_matches(['<', '>']).to_owned());
                say("250 ok")?;
            }
            "DATA" => {
                say("354 go on")?;
                while lines.next()?.ok()? != "." {}
                say("250 ok")?;
            }
            "QUIT" => return say("221 bye"),
            _ => say("250 ok")?,
        }
    }
}

fn zone() -> Zone {
    let a = |last| Entry::A(Ipv4Addr::new(127, 9, 0, last));
    let mut zone = Zone::from([
        ("a.test".into(), vec![Entry::Mx(vec![(20, "mx.a.test"), (10, "dead.a.test")])]),
        ("dead.a.test".into(), vec![a(9)]),
        ("mx.a.test".into(), vec![a(2)]),
        ("b.test".into(), vec![a(3)]),
        ("null.test".into(), vec![Entry::Mx(vec![(0, "")])]),
        ("loop.test".into(), vec![Entry::Mx(vec![(10, "Mote.Test"), (20, "mx.a.test")])]),
        ("broken.test".into(), vec![Entry::Broken]),
        ("bounced.test".into(), vec![a(3)]),
    ]);
    for number in 0..60 {
        zone.insert(format!("d{number}.test"), vec![Entry::Mx(vec![(1, "mx.a.test")])]);
    }
    zone
}

fn send(place: &Place, recipients: &[&str]) {
    let mut session = Session::open(place.port);
    assert_eq!(session.ask("MAIL FROM:<sender@bounced.test>").unwrap().code, 250);
    for recipient in recipients {
        assert_eq!(session.ask(&format!("RCPT TO:<{recipient}>")).unwrap().code, 250);
    }
    assert_eq!(session.ask("DATA").unwrap().code, 354);
    assert_eq!(session.ask("Subject: x\r\n\r\nx\r\n.").unwrap().code, 250);
}

#[track_caller]
fn logged(mote: &Mote, words: &[&str]) {
    let is_there = |line: &str| words.iter().all(|word| line.contains(word));
    wait_for(&words.join(" … "), LIMIT, || mote.log().lines().any(is_there));
}

#[test]
fn mail_goes_straight_to_each_domain() {
    let _running = shared();
    let Some(two) = mail_host("127.9.0.2") else { return };
    let three = mail_host("127.9.0.3").unwrap();
    let port = name_server(zone());
    let place = Place::new(&format!("relay = mx\nresolver = 127.0.0.1:{port}"));
    let mote = place.serve();
    send(&place, &["one@A.test", "two@b.test", "three@[127.9.0.3]", "four@null.test"]);
    send(&place, &["five@loop.test", "six@broken.test", "seven@gone.test", "root"]);
    logged(&mote, &["to=<one@A.test>", "relay=mx.a.test[127.9.0.2]:25", "status=sent"]);
    logged(&mote, &["to=<two@b.test>", "relay=b.test[127.9.0.3]:25", "status=sent"]);
    logged(&mote, &["to=<three@[127.9.0.3]>", "relay=[127.9.0.3][127.9.0.3]:25", "status=sent"]);
    logged(&mote, &["to=<four@null.test>", "status=bounced (556 5.1.10"]);
    logged(&mote, &["to=<five@loop.test>", "status=bounced (554 5.4.6"]);
    logged(&mote, &["broken.test: no name server knows the domain"]);
    logged(&mote, &["gone.test: the domain does not exist", "next try in"]);
    // Both reports, by the sender's domain.
    wait_for("reports", LIMIT, || {
        let got = three.lock().unwrap();
        got.iter().filter(|to| *to == "sender@bounced.test").count() == 2
    });
    assert_eq!(*two.lock().unwrap(), ["one@A.test"]);
    assert_eq!(mote.logged("to=<root>"), 0);
}

/// More domains than there are lanes for: each waits for its turn, none for ever.
#[test]
fn many_domains_share_the_lanes() {
    let _running = shared();
    let Some(got) = mail_host("127.9.0.12") else { return };
    let mut zone = zone();
    zone.insert("mx.a.test".into(), vec![Entry::A(Ipv4Addr::new(127, 9, 0, 12))]);
    let port = name_server(zone);
    let place = Place::new(&format!("relay = mx\nresolver = 127.0.0.1:{port}"));
    let _mote = place.serve();
    let all: Vec<String> = (0..60).map(|number| format!("u@d{number}.test")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    for recipient in &all {
        send(&place, &[recipient]);
    }
    send(&place, &all[..20]);
    wait_for("all of them", LIMIT, || got.lock().unwrap().len() >= 80);
    let mut got = got.lock().unwrap().clone();
    let mut expected: Vec<&str> = all.iter().chain(&all[..20]).copied().collect();
    got.sort_unstable();
    expected.sort_unstable();
    assert_eq!(got, expected);
}
