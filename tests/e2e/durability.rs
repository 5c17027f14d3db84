//! 250 means on disk: SIGKILL in the middle of a load loses nothing that was acknowledged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use crate::instance::{Mote, Place};
use crate::load::{shared, wait_for};
use crate::peers::Server;
use crate::session::{Session, message};

const SESSIONS: usize = 8;

/// Loads the place with messages of 1–64 KB until the server is gone, and kills it as soon as so
/// many were acknowledged. Returns the numbers of those that were.
fn load_and_kill(
    place: &Place,
    mote: &mut Mote,
    kill_after: usize,
    next: &AtomicUsize,
) -> Vec<usize> {
    let acknowledged = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        for _ in 0..SESSIONS {
            let (tell, acknowledged) = (tell.clone(), &acknowledged);
            scope.spawn(move || {
                let Ok((mut session, _)) = Session::connect(place.port) else { return };
                if session.ask("EHLO client.test").is_err() {
                    return;
                }
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let text = message(number, 1024 + number * 7919 % (63 * 1024));
                    let Ok(true) = session.deliver("someone@example.net", &text) else { return };
                    acknowledged.lock().unwrap().push(number);
                    let _ = tell.send(());
                }
            });
        }
        drop(tell);
        let reached = told.iter().take(kill_after).count();
        mote.kill();
        assert_eq!(reached, kill_after, "the load ended by itself");
    });
    acknowledged.into_inner().unwrap()
}

#[test]
fn nothing_acknowledged_is_lost_by_sigkill() {
    let _running = shared();
    let Some(sink) = Server::aiosmtpd() else { return };
    let place = Place::new(&format!("spool-size = 64M\nrelay = smtp://127.0.0.1:{}", sink.port));
    let next = AtomicUsize::new(1);
    let mut acknowledged = Vec::new();
    for kill_after in [1, 40, 150, 300] {
        let mut mote = place.serve();
        acknowledged.extend(load_and_kill(&place, &mut mote, kill_after, &next));
    }
    let _mote = place.serve();
    let arrived = || {
        let mut times = BTreeMap::new();
        for (number, _) in sink.received() {
            *times.entry(number).or_insert(0_usize) += 1;
        }
        times
    };
    wait_for("all that was acknowledged", Duration::from_secs(120), || {
        let times = arrived();
        acknowledged.iter().all(|number| times.contains_key(number))
    });
    let twice = arrived().values().filter(|times| **times > 1).count();
    eprintln!("{} acknowledged, none lost, {twice} arrived twice", acknowledged.len());
}
