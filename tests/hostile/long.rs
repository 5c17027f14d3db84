//! Lines that do not end, and headers of a million lines, through the real binary: streamed or
//! refused, and nothing of them stays in memory (threats 8).

use crate::budget::assert_within_budget;
use crate::instance::{Mote, Place};
use crate::session::{Session, message};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What counts as nothing: the odd page of code or stack that was not yet touched.
const NOTHING: u64 = 64 * 1024;
const MEGABYTE: usize = 1024 * 1024;

/// What one test is about.
struct Flood {
    what: &'static str,
    settings: String,
    /// Whether it comes in a message, and how that begins.
    begin: Option<&'static str>,
    /// Sent so many times, without an answer in between.
    piece: Vec<u8>,
    times: usize,
    /// Sent last, and what must be said then.
    end: &'static str,
    verdict: &'static str,
}

impl Flood {
    /// Sends it, and holds that the process did not grow.
    fn send(self) {
        let place = Place::in_memory(&self.settings);
        let mote = place.serve();
        // Whatever is touched only once has been touched.
        for number in 0..2 {
            let mut session = Session::open(place.port);
            assert!(session.deliver("to@y.test", &message(number, 2 * MEGABYTE)).unwrap());
            session.ask("RSET").unwrap();
        }
        let before = mote.resident();
        let most = peak(&mote, || self.converse(&place));
        let (bytes, added) = (self.piece.len() * self.times, most.saturating_sub(before));
        let (megabytes, added) = (bytes / MEGABYTE, added / 1024);
        println!("{}: {megabytes} MiB added {added} KiB", self.what);
        assert!(most <= before + NOTHING, "{}: {before} bytes became {most}", self.what);
        assert_within_budget(&place, &mote);
        // The process is as well as before.
        assert!(Session::open(place.port).deliver("to@y.test", &message(1, 100)).unwrap());
    }

    fn converse(&self, place: &Place) {
        let mut session = Session::open(place.port);
        if let Some(begin) = self.begin {
            session.begin("to@y.test");
            session.write(begin.as_bytes()).unwrap();
        }
        for _ in 0..self.times {
            session.write(&self.piece).unwrap();
        }
        session.write(self.end.as_bytes()).unwrap();
        let reply = session.reply().unwrap();
        assert!(reply.text.starts_with(self.verdict), "{}: {reply:?}", self.what);
        assert_eq!(session.ask("NOOP").unwrap().code, 250, "{}", self.what);
    }
}

/// Most bytes that were resident while `work` ran.
fn peak(mote: &Mote, work: impl FnOnce()) -> u64 {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = mote.resident();
            while !is_over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(10));
                most = most.max(mote.resident());
            }
            most
        });
        work();
        is_over.store(true, Ordering::Relaxed);
        watcher.join().unwrap()
    })
}

/// Room for messages of so many megabytes.
fn roomy(megabytes: usize) -> String {
    format!("message-size = 2G\nspool-size = {}M\nrelay = hold", 2 * megabytes.min(512) + 160)
}

/// A line of so many megabytes as a message, where it is welcome and where it is not, and as a
/// command.
fn one_line(megabytes: usize) {
    let line = |what, settings: &str, verdict| Flood {
        what,
        settings: String::from(settings),
        begin: Some("Subject: long\r\n\r\n"),
        piece: vec![b'x'; MEGABYTE],
        times: megabytes,
        end: "\r\n.\r\n",
        verdict,
    };
    if megabytes > 10 {
        line("a line that is too large", "relay = hold", "552 5.3.4 ").send();
    }
    let roomy = roomy(megabytes);
    line("a line in a message", &roomy, "250 2.0.0 Ok: queued as ").send();
    let header = Flood { begin: Some("X: "), ..line("a line in a header", &roomy, "250 2.0.0 ") };
    header.send();
    let command = line("a command line", "relay = hold", "500 5.5.2 ");
    Flood { begin: None, end: "\r\n", ..command }.send();
}

/// Headers of so many lines.
fn lines(count: usize) {
    let header = |what, line: &str, verdict| Flood {
        what,
        settings: roomy(128),
        begin: Some("Subject: many\r\n"),
        piece: line.repeat(count / 100).into_bytes(),
        times: 100,
        end: "\r\nhello\r\n.\r\n",
        verdict,
    };
    header("header lines", "X-Line: one of many lines\r\n", "250 2.0.0 Ok: queued as ").send();
    header("folded lines", "\tone of many folded lines\r\n", "250 2.0.0 Ok: queued as ").send();
    header("lines of Bcc", "Bcc: one@x.test,\r\n two@x.test\r\n", "250 2.0.0 ").send();
    // RFC 5321 §6.3: that is a loop.
    header("lines of Received", "Received: again\r\n", "554 5.4.6 ").send();
}

#[test]
fn long_lines_leave_nothing_behind() {
    one_line(16);
}

#[test]
fn many_lines_leave_nothing_behind() {
    lines(100_000);
}

#[test]
#[ignore = "a gibibyte four times takes long; make hostile runs it"]
fn a_line_of_a_gibibyte_leaves_nothing_behind() {
    one_line(1024);
}

#[test]
#[ignore = "make hostile runs it"]
fn a_million_lines_leave_nothing_behind() {
    lines(1_000_000);
}
