//! How often the disk is made to wait: the syncs of the receiving path, counted by strace.

use std::time::Duration;

use crate::instance::Place;
use crate::load::quiet;
use crate::peers;
use crate::receive::smtp_source;
use crate::session::{Session, message};

const HOLD: &str = "spool-size = 64M\nsessions = 40\n[route *]\nvia = hold";

/// What was traced between two moments: (fdatasync, all others).
fn counted(syncs: &[String]) -> (usize, usize) {
    let data = syncs.iter().filter(|name| *name == "fdatasync").count();
    (data, syncs.len() - data)
}

#[test]
fn a_message_alone_costs_one_fdatasync_and_nothing_else() {
    let _alone = quiet();
    if peers::command("strace", "strace").is_none() {
        return;
    }
    let place = Place::new(HOLD);
    let _mote = place.serve_traced();
    let mut session = Session::open(place.port);
    assert!(session.deliver("someone@example.net", &message(0, 1024)).unwrap());
    let before = place.syncs().len();
    for number in 1..=100 {
        assert!(session.deliver("someone@example.net", &message(number, 1024)).unwrap());
    }
    std::thread::sleep(Duration::from_millis(100));
    let (data, others) = counted(&place.syncs()[before..]);
    assert_eq!(others, 0, "something else than fdatasync was called");
    assert!((1..=100).contains(&data), "{data} fdatasync for 100 messages");
}

#[test]
fn thirty_two_sessions_share_their_fdatasync() {
    let _alone = quiet();
    if peers::command("strace", "strace").is_none() {
        return;
    }
    let place = Place::new(HOLD);
    let _mote = place.serve_traced();
    let before = place.syncs().len();
    if !smtp_source(place.port, 32, 3200, 1024) {
        return;
    }
    std::thread::sleep(Duration::from_millis(100));
    let (data, others) = counted(&place.syncs()[before..]);
    eprintln!("{data} fdatasync for 3200 messages of 32 sessions");
    assert_eq!(others, 0, "something else than fdatasync was called");
    assert!((1..=480).contains(&data), "{data} fdatasync for 3200 messages");
}
