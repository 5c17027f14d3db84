//! Nobody waits without need: for Nagle, for a delayed ACK, for a slot or in the backlog.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::instance::{Place, free_port};
use crate::load::{median, quiet, shared};
use crate::session::{Session, message};

/// A round trip of a kept session, without the sync.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(1);
/// Linux delays an ACK by 40 ms; whatever waits for one shows at this height.
const WAITED: Duration = Duration::from_millis(30);

/// The middle round trip is short, and none waited for an ACK.
#[track_caller]
fn assert_prompt(what: &str, times: &mut [Duration]) {
    let middle = median(times);
    let waited = times.iter().filter(|time| **time >= WAITED).count();
    eprintln!("{what} takes {middle:?}, at most {:?}", times.last().unwrap());
    assert!(middle < ROUND_TRIP_MAX, "{what} takes {middle:?}");
    // A busy machine may hold up one or two.
    assert!(waited * 50 <= times.len(), "{what} took over {WAITED:?} {waited} times");
}

#[test]
fn a_kept_session_answers_within_a_millisecond() {
    let _alone = quiet();
    let place = Place::in_memory("[route *]\nvia = hold");
    let _mote = place.serve();
    let mut session = Session::open(place.port);
    let (mut commands, mut bodies) = (Vec::new(), Vec::new());
    for number in 0..200 {
        let envelope =
            ["MAIL FROM:<sender@client.test>", "RCPT TO:<someone@example.net>", "NOOP", "DATA"];
        for command in envelope {
            let start = Instant::now();
            assert!(session.ask(command).unwrap().code < 400);
            commands.push(start.elapsed());
        }
        let text = [&message(number, 1024)[..], b".\r\n"].concat();
        let start = Instant::now();
        session.write(&text).unwrap();
        assert_eq!(session.reply().unwrap().code, 250);
        bodies.push(start.elapsed());
    }
    assert_prompt("a command", &mut commands);
    assert_prompt("a message", &mut bodies);
}

#[test]
fn pipelined_commands_are_answered_in_one_round_trip() {
    let _alone = quiet();
    let place = Place::in_memory("[route *]\nvia = hold");
    let _mote = place.serve();
    let mut session = Session::open(place.port);
    let mut times = Vec::new();
    for number in 0..200 {
        let text = message(number, 1024);
        let start = Instant::now();
        assert!(session.deliver("someone@example.net", &text).unwrap());
        times.push(start.elapsed() / 2);
    }
    assert_prompt("half a pipelined message", &mut times);
}

/// A next hop without PIPELINING that measures how long each command lets it wait.
fn next_hop(messages: usize) -> (u16, Receiver<Duration>) {
    let port = free_port();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let (gaps, measured) = channel();
    std::thread::spawn(move || {
        let mut left = messages;
        while left > 0 {
            let stream = listener.accept().unwrap().0;
            stream.set_nodelay(true).unwrap();
            let mut output = stream.try_clone().unwrap();
            let mut input = BufReader::new(stream);
            let (mut line, mut in_data) = (String::new(), false);
            output.write_all(b"220 hop.test ESMTP\r\n").unwrap();
            let mut replied = Instant::now();
            while input.read_line(&mut line).is_ok_and(|count| count > 0) {
                let reply = match line.get(..4).unwrap_or(&line) {
                    ".\r\n" if in_data => {
                        in_data = false;
                        left -= 1;
                        "250 2.0.0 Ok\r\n"
                    }
                    _ if in_data => "",
                    "DATA" => {
                        in_data = true;
                        "354 Go\r\n"
                    }
                    "EHLO" => "250-hop.test\r\n250 8BITMIME\r\n",
                    "QUIT" => "221 2.0.0 Bye\r\n",
                    _ => "250 2.0.0 Ok\r\n",
                };
                // From the reply to the next command the time is the client's own; between messages
                // it may have had nothing to send.
                if !reply.is_empty() && !line.starts_with("MAIL") && !line.starts_with("QUIT") {
                    let _ = gaps.send(replied.elapsed());
                }
                line.clear();
                if !reply.is_empty() {
                    output.write_all(reply.as_bytes()).unwrap();
                    replied = Instant::now();
                }
            }
        }
    });
    (port, measured)
}

#[test]
fn a_next_hop_is_not_kept_waiting() {
    let _alone = quiet();
    let (port, measured) = next_hop(100);
    let place = Place::in_memory(&format!("relay = smtp://127.0.0.1:{port}"));
    let _mote = place.serve();
    let mut session = Session::open(place.port);
    for number in 0..100 {
        assert!(session.deliver("someone@example.net", &message(number, 20_000)).unwrap());
    }
    // RCPT, DATA and the dot of each.
    let mut times: Vec<_> =
        (0..300).map(|_| measured.recv_timeout(Duration::from_secs(60)).unwrap()).collect();
    assert_prompt("the next command to a next hop", &mut times);
}

#[test]
fn at_least_128_connections_wait_in_the_backlog() {
    let _alone = quiet();
    let place = Place::new("relay = hold");
    let mote = place.serve();
    mote.signal("STOP");
    let address = SocketAddr::from(([127, 0, 0, 1], place.port));
    // Beyond the backlog the kernel drops the SYN, and the connection takes a second or more.
    let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(900));
    let waiting: Vec<_> = (0..128).map_while(|number| connect(number).ok()).collect();
    mote.signal("CONT");
    assert_eq!(waiting.len(), 128);
}

#[test]
fn a_closed_session_frees_its_slot_at_once() {
    let _running = shared();
    let place = Place::new("sessions = 4\nrelay = hold");
    let _mote = place.serve();
    let _others = [Session::open(place.port), Session::open(place.port)];
    let start = Instant::now();
    for number in 0..200 {
        let mut session = Session::open(place.port);
        if number % 2 == 0 {
            assert_eq!(session.ask("QUIT").unwrap().code, 221);
        }
    }
    assert!(start.elapsed() < Duration::from_secs(2), "200 sessions took {:?}", start.elapsed());
}
