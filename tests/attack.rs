//! What an attacker found: one test for each, named after what was wrong, through the real binary.
//!
//! Next hops are threads that follow a table of answers; nothing here waits for a time to pass.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
#[path = "e2e/instance.rs"]
mod instance;
#[allow(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
#[path = "e2e/load.rs"]
mod load;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use instance::{Mote, Place};
use load::wait_for;

const LIMIT: Duration = Duration::from_secs(20);

/// What a next hop says to a line, `.` for a whole message; nothing: it closes.
type Answer = dyn Fn(&str, usize) -> Option<&'static str> + Send + Sync;

/// A next hop that notes what it is told. `answer` gets the line and how many mails this connection
/// has taken; what it leaves to chance is answered as usual.
struct Hop {
    port: u16,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Hop {
    fn new(answer: impl Fn(&str, usize) -> Option<&'static str> + Send + Sync + 'static) -> Hop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (answer, noted): (Arc<Answer>, _) = (Arc::new(answer), lines.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, noted) = (answer.clone(), noted.clone());
                std::thread::spawn(move || converse(stream, &*answer, &noted));
            }
        });
        Hop { port, lines }
    }

    fn heard(&self, words: &str) -> usize {
        self.lines.lock().unwrap().iter().filter(|line| line.starts_with(words)).count()
    }
}

/// As usual, for [`Hop`]'s answers.
fn usual(line: &str) -> Option<&'static str> {
    Some(match line.get(..4).unwrap_or(line) {
        "220 " => "220 hop ESMTP",
        "EHLO" => "250-hop\r\n250 PIPELINING",
        "DATA" => "354 go on",
        "QUIT" => "221 bye",
        _ => "250 ok",
    })
}

fn converse(stream: TcpStream, answer: &Answer, noted: &Mutex<Vec<String>>) -> Option<()> {
    let mut out = stream.try_clone().ok()?;
    let mut lines = BufReader::new(stream).lines();
    let mut say = |text: &str| out.write_all(format!("{text}\r\n").as_bytes()).ok();
    let mut mails = 0;
    say(answer("220 ", mails)?)?;
    loop {
        let line = lines.next()?.ok()?;
        noted.lock().unwrap().push(line.clone());
        let reply = answer(&line, mails)?;
        say(reply)?;
        if reply.starts_with("354") {
            while lines.next()?.ok()? != "." {}
            let reply = answer(".", mails)?;
            noted.lock().unwrap().push(".".to_owned());
            mails += 1;
            say(reply)?;
        }
    }
}

/// A client of mote's.
struct Peer {
    lines: std::io::Lines<BufReader<TcpStream>>,
    out: TcpStream,
}

impl Peer {
    fn new(place: &Place) -> Peer {
        let out = TcpStream::connect(("127.0.0.1", place.port)).unwrap();
        out.set_read_timeout(Some(LIMIT)).unwrap();
        let lines = BufReader::new(out.try_clone().unwrap()).lines();
        let mut peer = Peer { lines, out };
        assert!(peer.reply().starts_with("220"));
        assert!(peer.ask("EHLO attacker").starts_with("250"));
        peer
    }

    fn reply(&mut self) -> String {
        loop {
            let line = self.lines.next().unwrap().unwrap();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line;
            }
        }
    }

    fn ask(&mut self, line: &str) -> String {
        self.out.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        self.reply()
    }

    fn send(&mut self, recipients: &[&str]) {
        assert_eq!(&self.ask("MAIL FROM:<sender@x.test>")[..3], "250");
        for recipient in recipients {
            assert_eq!(&self.ask(&format!("RCPT TO:<{recipient}>"))[..3], "250");
        }
        assert_eq!(&self.ask("DATA")[..3], "354");
        assert_eq!(&self.ask("Subject: attack\r\n\r\nhello\r\n.")[..3], "250");
    }
}

fn relay_to(hop: &Hop) -> (Place, Mote) {
    let place = Place::in_memory(&format!("relay = smtp://127.0.0.1:{}", hop.port));
    let mote = place.serve();
    (place, mote)
}

#[track_caller]
fn wait_for_log(mote: &Mote, words: &str) -> String {
    wait_for(words, LIMIT, || mote.logged(words) > 0);
    mote.log().lines().find(|line| line.contains(words)).unwrap().to_owned()
}

/// A greylisting relay that pipelines says 451 to MAIL and then 503 to the RCPT and the DATA that
/// were under way already.
#[test]
fn mail_refused_for_now_was_returned_for_the_503s_behind_it() {
    let hop = Hop::new(|line, _| match &line[..4] {
        "MAIL" => Some("451 4.7.1 greylisted"),
        "RCPT" => Some("503 5.5.1 need MAIL"),
        "DATA" => Some("503 5.5.1 need RCPT"),
        _ => usual(line),
    });
    let (place, mote) = relay_to(&hop);
    Peer::new(&place).send(&["one@y.test", "two@y.test"]);
    let line = wait_for_log(&mote, "to=<two@y.test>");
    assert!(line.contains("status=deferred (451 4.7.1 greylisted)"), "{line}");
}

/// Notes are kept for eight replies only; the ninth refusal was told in the words of the 250 that
/// ended the message.
#[test]
fn the_ninth_refusal_was_reported_as_250() {
    let hop = Hop::new(|line, _| match line {
        "RCPT TO:<good@y.test>" => usual(line),
        "." => Some("250 2.6.0 taken"),
        _ if line.starts_with("RCPT") => Some("550 5.1.1 no such user"),
        _ => usual(line),
    });
    let (place, mote) = relay_to(&hop);
    let bad: Vec<_> = (0..12).map(|number| format!("u{number}@y.test")).collect();
    let mut recipients: Vec<_> = bad.iter().map(String::as_str).collect();
    recipients.push("good@y.test");
    Peer::new(&place).send(&recipients);
    let line = wait_for_log(&mote, "to=<u11@y.test>");
    assert!(line.contains("status=bounced (550 5.1.1 no such user)"), "{line}");
}

/// There are two slots for administrators; nobody looked at the third when one of them left.
#[test]
fn the_third_administrator_waited_for_ever() {
    let place = Place::in_memory("relay = hold");
    let _mote = place.serve();
    let connect = || UnixStream::connect(place.path("run/control")).unwrap();
    let mut early = [connect(), connect()];
    for stream in &mut early {
        // Half a request, so that it is sure to be inside.
        stream.write_all(b"sta").unwrap();
    }
    let mut third = connect();
    third.set_read_timeout(Some(LIMIT)).unwrap();
    third.write_all(b"status\n").unwrap();
    let [first, _second] = early;
    (&first).write_all(b"tus\n").unwrap();
    let mut answer = String::new();
    (&first).read_to_string(&mut answer).unwrap();
    drop(first);
    answer.clear();
    third.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"end\":\"ok\""), "{answer}");
}

/// A relay that has enough after each mail: by 421 to the next MAIL, or by closing. Each time the
/// lane was backed off for a minute, and the mail as well.
#[test]
fn a_relay_that_takes_one_mail_a_connection_got_one_a_minute() {
    let tired: fn(&str, usize) -> Option<&'static str> = |line, mails| match &line[..1] {
        "M" if mails > 0 => Some("421 4.7.0 enough"),
        _ => usual(line),
    };
    let leaving: fn(&str, usize) -> Option<&'static str> = |line, mails| match &line[..1] {
        "M" if mails > 0 => None,
        _ => usual(line),
    };
    let late: fn(&str, usize) -> Option<&'static str> = |line, mails| match &line[..1] {
        "R" if mails > 0 => Some("421 4.7.0 enough"),
        _ => usual(line),
    };
    for manner in [tired, leaving, late] {
        let hop = Hop::new(manner);
        let (place, _mote) = relay_to(&hop);
        let mut peer = Peer::new(&place);
        for number in 1..=4 {
            peer.send(&["one@y.test"]);
            wait_for("the next mail", LIMIT, || hop.heard(".") == number);
        }
    }
}

/// HUP between RCPT and the final dot: the message kept the lane it was meant for before.
#[test]
fn mail_that_came_in_across_a_reload_went_the_old_way() {
    let hop = Hop::new(|line, _| usual(line));
    let (place, mote, dead) = with_a_dead_relay(&hop, "old");
    let mut peer = Peer::new(&place);
    assert_eq!(&peer.ask("MAIL FROM:<sender@x.test>")[..3], "250");
    assert_eq!(&peer.ask("RCPT TO:<one@y.test>")[..3], "250");
    place.configure(&two_relays(dead, hop.port, "new"));
    mote.signal("HUP");
    wait_for_log(&mote, "reloaded");
    assert_eq!(&peer.ask("DATA")[..3], "354");
    assert_eq!(&peer.ask("Subject: attack\r\n\r\nhello\r\n.")[..3], "250");
    wait_for("the mail", LIMIT, || hop.heard(".") == 1);
}

/// HUP while a message is being sent to one destination, and waits for another: it kept waiting for
/// the old one.
#[test]
fn mail_that_was_under_way_at_a_reload_kept_its_other_routes() {
    let (go, gate) = std::sync::mpsc::channel();
    let gate = Mutex::new(gate);
    let slow = Hop::new(move |line, _| {
        if line == "." {
            gate.lock().unwrap().recv().unwrap();
        }
        usual(line)
    });
    let hop = Hop::new(|line, _| usual(line));
    let dead = instance::free_port();
    let lines = |via| {
        let relay = format!("[relay slow]\nurl = smtp://127.0.0.1:{}\n", slow.port);
        format!("{}{relay}[route z.test]\nvia = relay slow\n", two_relays(dead, hop.port, via))
    };
    let place = Place::in_memory(&lines("old"));
    let mote = place.serve();
    Peer::new(&place).send(&["one@z.test", "two@y.test"]);
    wait_for_log(&mote, "connection refused");
    wait_for("the data", LIMIT, || slow.heard("DATA") == 1);
    place.configure(&lines("new"));
    mote.signal("HUP");
    wait_for_log(&mote, "reloaded");
    go.send(()).unwrap();
    wait_for("the mail", LIMIT, || hop.heard(".") == 1);
    assert_eq!(slow.heard("."), 1);
}

/// Mail for y.test goes to a relay that is down, or to one that is up.
fn two_relays(dead: u16, port: u16, via: &str) -> String {
    format!(
        "relay = hold\nretry = 1h\n[relay old]\nurl = smtp://127.0.0.1:{dead}\n\
         [relay new]\nurl = smtp://127.0.0.1:{port}\n[route w.test]\nvia = relay old\n\
         [route y.test]\nvia = relay {via}\n"
    )
}

fn with_a_dead_relay(hop: &Hop, via: &str) -> (Place, Mote, u16) {
    let dead = instance::free_port();
    let place = Place::in_memory(&two_relays(dead, hop.port, via));
    let mote = place.serve();
    (place, mote, dead)
}

/// Commands that wait behind a final dot are obeyed with its verdict, behind the commit; a message
/// that ended there waited for the next event.
#[test]
fn the_third_message_of_a_batch_of_commands_waited_for_an_event() {
    let place = Place::in_memory("relay = hold");
    let _mote = place.serve();
    let mut peer = Peer::new(&place);
    let mail = "MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\nA: b\r\n\r\nhello\r\n.\r\n";
    peer.out.write_all(mail.repeat(20).as_bytes()).unwrap();
    let mut queued = 0;
    while queued < 20 {
        queued += usize::from(peer.reply().contains("queued as"));
    }
}

/// TERM waited its whole ten seconds for the next superblock as soon as any mail was waiting.
#[test]
fn a_drain_took_ten_seconds_when_mail_was_waiting() {
    let place = Place::in_memory("relay = hold");
    let mut mote = place.serve();
    Peer::new(&place).send(&["one@y.test"]);
    mote.signal("TERM");
    assert!(mote.ended(Duration::from_secs(8)).success());
}

/// Any user of the machine could hold all slots but one through the submit socket.
#[test]
fn one_local_user_could_shut_out_the_network() {
    let place = Place::in_memory("relay = hold");
    let _mote = place.serve();
    let submit = || UnixStream::connect(place.path("run/submit")).unwrap();
    let _crowd: Vec<_> = (0..30).map(|_| submit()).collect();
    let mut peers: Vec<_> = (0..8).map(|_| Peer::new(&place)).collect();
    for peer in &mut peers {
        peer.send(&["one@y.test"]);
    }
}

/// A release takes the hold and leaves the mark of damage; as long as that stood the mail was not
/// held again, and went out up to the same block over and over, a connection each time.
#[test]
fn a_damaged_mail_that_was_released_was_sent_for_ever() {
    let mails = AtomicU32::new(0);
    let hop = Hop::new(move |line, _| match &line[..1] {
        "M" if mails.fetch_add(1, Ordering::Relaxed) == 0 => Some("451 4.7.1 later"),
        _ => usual(line),
    });
    let place = Place::in_memory(&format!("relay = smtp://127.0.0.1:{}\nretry = 1h", hop.port));
    let mote = place.serve();
    let mut peer = Peer::new(&place);
    for (line, code) in [("MAIL FROM:<a@x.test>", "250"), ("RCPT TO:<b@y.test>", "250")] {
        assert_eq!(&peer.ask(line)[..3], code);
    }
    assert_eq!(&peer.ask("DATA")[..3], "354");
    let text = format!("A: b\r\n\r\n{}MARK\r\n", "0123456789\r\n".repeat(1000));
    let answer = peer.ask(&format!("{text}{}.", "0123456789\r\n".repeat(1000)));
    let id = answer.rsplit(' ').next().unwrap();
    wait_for_log(&mote, "status=deferred");
    let image = place.path("spool/queue");
    let at = fs::read(&image).unwrap().windows(4).position(|part| part == b"MARK").unwrap();
    let image = fs::OpenOptions::new().write(true).open(image).unwrap();
    image.write_all_at(b"mark", at as u64).unwrap();
    let ask = |words: &[&str]| assert!(place.run(words).status.success(), "{words:?}");
    for times in 1..5 {
        // The envelope is whole, so it takes a connection to see.
        ask(&["queue", if times == 1 { "retry" } else { "release" }, id]);
        wait_for("the damage", LIMIT, || mote.logged("damaged in the queue; held") >= times);
        // Its answer comes turns later.
        place.run(&["status"]);
        assert_eq!(mote.logged("damaged in the queue; held"), times);
    }
}

/// What did not fit into a lane's ring was looked for in the queue, but only as far as messages had
/// been counted on an earlier look: with others waiting for somebody else, the rest stood still.
#[test]
fn mail_beyond_the_ring_stood_still() {
    let gate = Arc::new(Mutex::new(()));
    let door = gate.clone();
    let hop = Hop::new(move |line, _| {
        if line == "EHLO mote.test" {
            drop(door.lock().unwrap());
        }
        usual(line)
    });
    let dead = instance::free_port();
    let place = Place::in_memory(&format!(
        "relay = smtp://127.0.0.1:{}\n[relay dead]\nurl = smtp://127.0.0.1:{dead}\n\
         [route dead.test]\nvia = relay dead",
        hop.port
    ));
    let _mote = place.serve();
    let mut peer = Peer::new(&place);
    for _ in 0..300 {
        peer.send(&["one@dead.test"]);
    }
    for round in 1..=2 {
        // No connection is let in while the mail comes.
        let shut = gate.lock().unwrap();
        for _ in 0..80 {
            peer.send(&["one@y.test"]);
        }
        drop(shut);
        wait_for("all mails", LIMIT, || hop.heard(".") == 80 * round);
        wait_for("leave to be taken", LIMIT, || hop.heard("QUIT") == hop.heard("EHLO"));
        // The second look has fewer messages to count.
        assert!(place.run(&["queue", "rm", "all"]).status.success());
    }
}
