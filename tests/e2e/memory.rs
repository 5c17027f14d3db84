//! The memory is fixed: neither a large message nor many connections add to it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use crate::instance::{Mote, Place};
use crate::load::{quiet, wait_for};
use crate::peers::Server;
use crate::session::{Session, message};

/// What counts as nothing: the odd page of code or stack that was not yet touched.
const NOTHING: u64 = 64 * 1024;
/// One slot: input, replies and block, with what describes the session.
const SLOT_BYTES: u64 = 12 * 1024;
const LARGE: usize = 100 * 1024 * 1024;

/// Most bytes that were resident while `work` ran.
fn peak(mote: &Mote, work: impl FnOnce()) -> u64 {
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !ended.load(Ordering::Relaxed) {
                most = most.max(mote.resident());
                sleep(Duration::from_millis(10));
            }
            most.max(mote.resident())
        });
        work();
        ended.store(true, Ordering::Relaxed);
        watcher.join().unwrap()
    })
}

/// Streams one message of so many bytes without holding it.
fn deliver_streamed(port: u16, bytes: usize) {
    let mut session = Session::open(port);
    session.begin("someone@example.net");
    session.write(&message(1, 0)).unwrap();
    let chunk = [b"0123456789abcdef".repeat(4), b"\r\n".to_vec()].concat().repeat(1000);
    for _ in 0..bytes / chunk.len() {
        session.write(&chunk).unwrap();
    }
    let reply = session.ask(".").unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
}

#[test]
fn a_hundred_megabytes_add_nothing() {
    let _alone = quiet();
    let Some(sink) = Server::smtp_sink(false) else { return };
    let place = Place::new(&format!(
        "message-size = 128M\nspool-size = 256M\nrelay = smtp://127.0.0.1:{}",
        sink.port
    ));
    let mote = place.serve();
    for _ in 0..3 {
        deliver_streamed(place.port, 2 * 1024 * 1024);
    }
    wait_for("the first", Duration::from_secs(30), || mote.logged("status=sent") == 3);
    let before = mote.resident();
    let most = peak(&mote, || {
        deliver_streamed(place.port, LARGE);
        wait_for("the large one", Duration::from_secs(120), || mote.logged("status=sent") == 4);
    });
    let added = most.saturating_sub(before);
    eprintln!("100 MB added {} KiB to {} KiB", added / 1024, before / 1024);
    assert!(added <= NOTHING, "{added} bytes were added to {before}");
}

#[test]
fn five_hundred_idle_connections_add_nothing_beyond_the_slot_table() {
    let _alone = quiet();
    let place = Place::new("sessions = 510\nrelay = hold");
    let mote = place.serve();
    drop(Session::open(place.port));
    let (allocated, resident) = (mote.allocated(), mote.resident());
    let open = || (0..500).map(|_| Session::open(place.port)).collect::<Vec<_>>();
    let sessions = open();
    assert!(mote.allocated() <= allocated + NOTHING, "{} became {}", allocated, mote.allocated());
    let first = mote.resident();
    eprintln!("500 connections touched {} KiB of their slots", (first - resident) / 1024);
    assert!(first <= resident + 500 * SLOT_BYTES + NOTHING, "{resident} became {first}");
    drop(sessions);
    // All slots have been touched: a second wave finds them there.
    let _sessions = open();
    assert!(mote.resident() <= first + NOTHING, "{first} became {}", mote.resident());
}
