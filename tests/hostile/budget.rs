//! The sum that `mote check` prints is the most memory that the process has, whatever comes
//! (threats 9).

use crate::instance::{Mote, Place};
use crate::load::wait_for;
use crate::session::{Session, message};
use std::fs;
use std::time::Duration;

/// What `check` prints, in bytes: of the program itself, and in all.
fn budget(place: &Place) -> (u64, u64) {
    let told = String::from_utf8(place.run(&["check"]).stdout).unwrap();
    let line = |what: &str| -> u64 {
        let line = told.lines().find(|line| line.starts_with("# ") && line.contains(what)).unwrap();
        line[1..].split('K').next().unwrap().trim().parse::<u64>().unwrap() * 1024
    };
    (line("the program and its libraries"), line("in all"))
}

/// Holds that the process was never larger than is printed, and that what it has of its own is no
/// more than what is printed beside the program.
#[track_caller]
pub(crate) fn assert_within_budget(place: &Place, mote: &Mote) {
    let (program, sum) = budget(place);
    let status = fs::read_to_string(format!("/proc/{}/status", mote.pid())).unwrap();
    let field = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    };
    let (most, own) = (field("VmHWM:"), field("RssAnon:"));
    println!(
        "  budget {} KiB, at most {} KiB; without the program {} KiB, {} KiB",
        sum / 1024,
        most / 1024,
        (sum - program) / 1024,
        own / 1024
    );
    assert!(most <= sum, "{most} bytes at most, {sum} printed");
    assert!(own <= sum - program, "{own} bytes of its own, {} printed", sum - program);
}

/// Every slot has filled its buffers, the queue is full of small mails, and all deliveries wait for
/// a next hop.
#[test]
fn everything_in_use_at_once_is_within_the_budget() {
    // A next hop that says nothing keeps every sender.
    let hop = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = hop.local_addr().unwrap().port();
    let place = Place::in_memory(&format!(
        "spool-size = 16M\nrelay = smtp://127.0.0.1:{port}\n[relay two]\nurl = \
         smtp://localhost:{port}\n[route *.two.test]\nvia = relay two"
    ));
    let mote = place.serve();
    let mut open: Vec<Session> = (0..18).map(|_| Session::open(place.port)).collect();
    let mut filler = open.pop().unwrap();
    let mut queued = 0;
    while filler.deliver("to@a.two.test", &message(queued, 200)).unwrap() {
        queued += 1;
    }
    assert!(queued > 3000, "{queued} mails fill a queue of 16M");
    for session in &mut open {
        session.write(b"NOOP\r\n".repeat(300).as_slice()).unwrap();
        (0..300).for_each(|_| assert_eq!(session.reply().unwrap().code, 250));
    }
    wait_for("connections", Duration::from_secs(20), || {
        hop.set_nonblocking(true).is_ok() && hop.accept().is_ok()
    });
    for words in ["status", "mailq"] {
        assert!(place.run(&[words]).status.code().is_some());
    }
    assert_within_budget(&place, &mote);
}
