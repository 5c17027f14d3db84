//! Threats 25: next hops that misbehave, each kind of misbehaviour at each point of a conversation,
//! from one table. What is temporary waits in the queue; what is refused comes back; nothing hangs
//! beyond its deadline or grows, and a good next hop beside them gets its mail meanwhile.

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use crate::extensions::say;
use crate::instance::Place;
use crate::load::{shared, wait_for};
use crate::next_hop::NextHop;
use crate::peers::maildir;
use crate::session::Session;

/// Where in the conversation it happens.
const POINTS: [&str; 6] = ["greeting", "hello", "sender", "recipient", "go", "final"];

/// What the next hop does there.
#[derive(Clone, Copy)]
enum Deed {
    /// Says this, and goes on as if nothing had happened.
    Says(&'static str),
    /// Says this, and closes.
    SaysAndCloses(&'static str),
    /// Says this again and again, up to 10 MB.
    Repeats(&'static str),
    /// One byte of this a second.
    Dribbles(&'static str),
    /// Nothing, and never closes.
    IsSilent,
}

/// Name, deed, and the points at which the mail comes back to its sender; else it waits.
const TABLE: &[(&str, Deed, &[&str])] = &[
    ("refused", Deed::Says("554 5.3.0 No\r\n"), &["sender", "recipient", "go", "final"]),
    (
        "refused in many lines",
        Deed::Says("550-5.3.0 Now\r\n550-5.3.0 hear\r\n550 5.3.0 this\r\n"),
        &["sender", "recipient", "go", "final"],
    ),
    ("put off", Deed::Says("450 4.3.0 Later\r\n"), &[]),
    ("full", Deed::Says("452-4.3.1 No\r\n452 4.3.1 room\r\n"), &[]),
    ("closing", Deed::SaysAndCloses("421 4.3.2 Closing\r\n"), &[]),
    ("closing, but open", Deed::Says("421 4.3.2 Closing\r\n"), &[]),
    ("dropped", Deed::SaysAndCloses(""), &[]),
    ("half a line", Deed::SaysAndCloses("25"), &[]),
    ("half a reply", Deed::SaysAndCloses("250-half\r\n"), &[]),
    ("garbage", Deed::SaysAndCloses("\0\x01\u{ff}\u{fe} what?\r\n"), &[]),
    ("garbage, and open", Deed::Says("HTTP/1.1 400 Bad Request\r\n\r\n"), &[]),
    ("code out of range", Deed::Says("999 9.9.9 Evil\r\n"), &[]),
    ("code of another kind", Deed::Says("150 wait\r\n"), &[]),
    ("codes that differ", Deed::Says("250-a\r\n550 b\r\n"), &[]),
    ("bare line feeds", Deed::Repeats("\n"), &[]),
    (
        "a line without end",
        Deed::Repeats("250 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
        &[],
    ),
    (
        "lines without end",
        Deed::Repeats("250-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n"),
        &[],
    ),
    ("a byte a second", Deed::Dribbles("250-slow and slow and slow and slow and slow\r\n"), &[]),
    ("silence", Deed::IsSilent, &[]),
];

/// A next hop that does its deed at one point; how often it has come to it, and how many of its
/// connections are over.
struct Hostile {
    port: u16,
    met: Arc<AtomicUsize>,
    over: Arc<AtomicUsize>,
}

impl Hostile {
    fn start(point: &'static str, deed: Deed) -> Hostile {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let hop = Hostile { port, met: Arc::default(), over: Arc::default() };
        let (met, over) = (hop.met.clone(), hop.over.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (met, over) = (met.clone(), over.clone());
                thread::spawn(move || {
                    // How it ends is mote's affair.
                    let _ = talk(stream.unwrap(), point, deed, &met);
                    over.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        hop
    }

    fn is_through(&self) -> bool {
        self.met.load(Ordering::SeqCst) > 0 && self.over.load(Ordering::SeqCst) > 0
    }
}

fn talk(stream: TcpStream, point: &str, deed: Deed, met: &AtomicUsize) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    answer(&mut stream, point == "greeting", deed, met, "220 hop.test ESMTP\r\n")?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let (at, good) = match line.get(..4).unwrap_or_default() {
            "EHLO" | "HELO" => ("hello", "250 hop.test\r\n"),
            "MAIL" => ("sender", "250 2.1.0 Ok\r\n"),
            "RCPT" => ("recipient", "250 2.1.5 Ok\r\n"),
            "DATA" => ("go", "354 Go\r\n"),
            _ => ("", "250 2.0.0 Ok\r\n"),
        };
        if line.starts_with("QUIT") {
            return stream.get_mut().write_all(b"221 2.0.0 Bye\r\n");
        }
        answer(&mut stream, at == point, deed, met, good)?;
        if at == "go" && point != "go" {
            let mut text = String::new();
            while !text.ends_with("\r\n.\r\n") {
                if stream.read_line(&mut text)? == 0 {
                    return Ok(());
                }
            }
            answer(&mut stream, point == "final", deed, met, "250 2.0.0 Taken\r\n")?;
        }
    }
}

fn answer(
    stream: &mut BufReader<TcpStream>,
    is_there: bool,
    deed: Deed,
    met: &AtomicUsize,
    good: &str,
) -> std::io::Result<()> {
    let out = stream.get_mut();
    if !is_there {
        return out.write_all(good.as_bytes());
    }
    met.fetch_add(1, Ordering::SeqCst);
    match deed {
        Deed::Says(text) => out.write_all(text.as_bytes()),
        Deed::SaysAndCloses(text) => {
            out.write_all(text.as_bytes())?;
            Err(std::io::ErrorKind::ConnectionAborted.into())
        }
        Deed::Repeats(text) => {
            let piece = text.repeat(64 * 1024 / text.len());
            for _ in 0..160 {
                out.write_all(piece.as_bytes())?;
            }
            wait_for_the_end(stream)
        }
        Deed::Dribbles(text) => {
            for byte in text.as_bytes() {
                out.write_all(&[*byte])?;
                sleep(Duration::from_secs(1));
            }
            wait_for_the_end(stream)
        }
        Deed::IsSilent => wait_for_the_end(stream),
    }
}

/// Until mote closes.
fn wait_for_the_end(stream: &mut BufReader<TcpStream>) -> std::io::Result<()> {
    let mut rest = [0; 512];
    while stream.read(&mut rest)? > 0 {}
    Ok(())
}

fn listed(place: &Place) -> String {
    String::from_utf8(place.run(&["queue", "ls"]).stdout).unwrap()
}

fn play(name: &str, deed: Deed, returned: &[&str]) {
    let hops = POINTS.map(|point| Hostile::start(point, deed));
    let good = NextHop::start(&["PIPELINING"]);
    let mut lines = format!(
        "relay = smtp://127.0.0.1:{}\nreply-timeout = 2s\nretry = 1h\n\
         [route client.test]\nvia = maildir:{{dir}}/Maildir\n",
        good.port
    );
    for (point, hop) in POINTS.iter().zip(&hops) {
        lines += &format!(
            "[relay {point}]\n\
             url = smtp://127.0.0.1:{}\n[route {point}.test]\nvia = relay {point}\n",
            hop.port
        );
    }
    let place = Place::in_memory(&lines);
    let mote = place.serve();
    let before = mote.resident();
    let mut session = Session::open(place.port);
    for point in POINTS.iter().chain(&["good"]) {
        let recipient = format!("RCPT TO:<someone@{point}.test>");
        say(
            &mut session,
            &["MAIL FROM:<sender@client.test>", &recipient, "DATA"],
            &[250, 250, 354],
        );
        say(&mut session, &["Subject: one\r\n\r\nbody\r\n."], &[250]);
    }
    let limit = Duration::from_secs(60);
    let good_has_it = || !good.heard_of("DATA").is_empty();
    wait_for(&format!("{name}: the good one's mail"), limit, good_has_it);
    for (point, hop) in POINTS.iter().zip(&hops) {
        wait_for(&format!("{name}: the end at {point}"), limit, || hop.is_through());
    }
    let path = place.path("Maildir");
    let is_settled = || {
        let queue = listed(&place);
        let waits = |point: &&str| queue.contains(&format!("someone@{point}.test"));
        POINTS.iter().all(|point| waits(point) != returned.contains(point))
            && maildir(&path).len() == returned.len()
    };
    wait_for(&format!("{name}: what is to wait, and to come back"), limit, is_settled);
    // Pages that had not been needed before count, too; those who talk without end said 60 MB.
    let grown = mote.resident().saturating_sub(before);
    assert!(grown < 4 * 1024 * 1024, "{name}: {grown} bytes more");
}

#[test]
fn next_hops_that_misbehave_lose_nothing_and_hold_nobody_up() {
    let _running = shared();
    thread::scope(|scope| {
        for (name, deed, returned) in TABLE {
            scope.spawn(|| play(name, *deed, returned));
        }
    });
}
