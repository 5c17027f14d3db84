//! Sessions by the hundred thousand that are opened and dropped, in every state that a session can
//! be in: afterwards there are as many descriptors as before (threats 11), the queue has as much
//! room, and the next client is served.

use crate::budget::assert_within_budget;
use crate::instance::{Mote, Place};
use crate::load::wait_for;
use crate::session::{Session, message};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// What is sent, how many replies are read, before the connection is dropped.
const STATES: [(&str, &str, usize); 16] = [
    ("at once", "", 0),
    ("greeted", "", 1),
    ("half a command", "EHLO cli", 1),
    ("hello", "EHLO c.test\r\n", 2),
    ("a flawed line", "EHLO c.test\nMAIL", 1),
    ("sender", "EHLO c.test\r\nMAIL FROM:<one@c.test> SIZE=100000\r\n", 3),
    ("recipient", "EHLO c.test\r\nMAIL FROM:<one@c.test>\r\nRCPT TO:<to@y.test>\r\n", 4),
    ("data", "HELO c\r\nMAIL FROM:<one@c.test>\r\nRCPT TO:<to@y.test>\r\nDATA\r\n", 5),
    ("a text", "HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<to@y.test>\r\nDATA\r\nA: b\r\n\r\nhello", 5),
    ("a bare one", "HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<to@y.test>\r\nDATA\r\nA: b\n", 5),
    ("half a dot", "HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<to@y.test>\r\nDATA\r\nA: b\r\n.\r", 5),
    ("a chunk", "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<to@y.test>\r\nBDAT 99\r\nA: b\r\n", 4),
    ("two chunks", "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<to@y.test>\r\nBDAT 2\r\n\r\nBDAT 9", 5),
    ("quit", "EHLO c.test\r\nQUIT\r\n", 3),
    ("foreign", "GET / HTTP/1.1\r\n\r\n", 1),
    ("unread replies", "EHLO c\r\nNOOP\r\nNOOP\r\nHELP\r\nNOOP\r\nRSET\r\nVRFY x\r\n", 0),
];

/// Opens a session, brings it there, and leaves without a word; by turns with unread bytes, which
/// is a reset, with its own side shut, and in between.
fn drop_one(port: u16, number: usize) {
    let (name, text, replies) = STATES[number % STATES.len()];
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return };
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // Who is sent away because all slots are taken may find the connection reset.
    let _ = stream.write_all(text.as_bytes());
    let mut read = 0;
    let mut held = Vec::new();
    while read < replies {
        let mut bytes = [0; 1024];
        match stream.read(&mut bytes) {
            Ok(0) | Err(_) => break,
            Ok(count) => held.extend_from_slice(&bytes[..count]),
        }
        let is_last = |line: &&[u8]| line.len() > 3 && line[3] == b' ' && line.ends_with(b"\n");
        read = held.split_inclusive(|byte| *byte == b'\n').filter(is_last).count();
        if held.starts_with(b"421") {
            break;
        }
    }
    assert!(read >= replies.min(1), "{name}: {}", held.escape_ascii());
    if number / STATES.len() % 2 == 1 {
        let _ = stream.shutdown(Shutdown::Write);
    }
}

fn descriptors(mote: &Mote) -> usize {
    fs::read_dir(format!("/proc/{}/fd", mote.pid())).unwrap().count()
}

/// Free and taken, as `status` tells.
fn room(place: &Place) -> String {
    let told = String::from_utf8(place.run(&["status", "--json"]).stdout).unwrap();
    let is_room = |part: &&str| part.contains("\"free") || part.contains("\"blocks");
    told.split(',').filter(is_room).collect()
}

fn drop_sessions(count: usize) {
    let place = Place::in_memory("[route *]\nvia = discard");
    let mote = place.serve();
    let deliver = || {
        let mut session = Session::open(place.port);
        assert!(session.deliver("to@y.test", &message(1, 1000)).unwrap());
        session.ask("QUIT").unwrap();
    };
    (0..STATES.len()).for_each(|number| drop_one(place.port, number));
    deliver();
    let settled = |what: &str, expected: usize| {
        wait_for(what, Duration::from_secs(20), || descriptors(&mote) == expected);
    };
    std::thread::sleep(Duration::from_millis(200));
    let (before, resident) = (descriptors(&mote), mote.resident());
    let room_before = room(&place);
    (0..count).for_each(|number| drop_one(place.port, number));
    settled("as many descriptors as before", before);
    deliver();
    settled("as many descriptors as before", before);
    let grown = mote.resident().saturating_sub(resident) / 1024;
    println!(
        "{count} sessions dropped in {} states: {before} descriptors as before, {grown} KiB more",
        STATES.len()
    );
    // A slot that was never in use before has its pages touched.
    assert!(grown <= 256, "{grown} KiB");
    assert_within_budget(&place, &mote);
    wait_for("the queue to be empty", Duration::from_secs(20), || room(&place) == room_before);
}

#[test]
fn sessions_dropped_in_every_state_leave_no_descriptor() {
    drop_sessions(1000);
}

#[test]
#[ignore = "a hundred thousand sessions take long; make hostile runs it"]
fn a_hundred_thousand_sessions_leave_no_descriptor() {
    drop_sessions(100_000);
}
