//! The network comes and goes, and so does the right time: mail waits, nothing is given up, and it
//! leaves soon after it can. Each test that changes a network has one of its own.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::domains::{Entry, Zone, name_server_at};
use crate::instance::{Mote, Place, binary, free_port};
use crate::listeners::{Neighbour, is_outside, sh};
use crate::load::{shared, wait_for};
use crate::next_hop::NextHop;
use crate::peers;
use crate::session::{Session, message};

const SOON: Duration = Duration::from_secs(20);
const YEARS: i64 = 56 * 365 * 86_400;

fn send(place: &Place) {
    let mut session = Session::open(place.port);
    assert!(session.deliver("you@example.net", &message(1, 300)).unwrap());
}

/// Waits until the mail is put off for an hour.
#[track_caller]
fn put_off(mote: &Mote, why: &str) {
    wait_for("the back-off", Duration::from_secs(60), || {
        let log = mote.log();
        log.lines().any(|line| line.contains(why) && line.contains("next try in "))
    });
}

#[test]
fn mail_leaves_soon_after_an_address_appears() {
    let _running = shared();
    if is_outside("network::mail_leaves_soon_after_an_address_appears") {
        return;
    }
    let neighbour = Neighbour::new();
    let hop = NextHop::by(neighbour.listen("0.0.0.0:2526"), &[]);
    let place = Place::in_memory("relay = smtp://10.77.0.2:2526\nretry = 1h");
    let mote = place.serve();
    send(&place);
    put_off(&mote, "no route there");
    let start = Instant::now();
    neighbour.join("10.77.0.1/24", "10.77.0.2/24");
    wait_for("the mail", SOON, || mote.logged("status=sent") == 1);
    println!("sent {:?} after the address", start.elapsed());
    assert!(mote.logged("the network has changed") > 0);
    assert_eq!(hop.heard_of("DATA").len(), 1);
}

/// An address and a route come and go ten times a second: a relay that refuses is not asked each
/// time.
#[test]
fn a_flapping_link_is_no_storm() {
    let _running = shared();
    if is_outside("network::a_flapping_link_is_no_storm") {
        return;
    }
    let port = free_port();
    let place = Place::in_memory(&format!("relay = smtp://127.0.0.1:{port}\nretry = 1h"));
    let mote = place.serve();
    send(&place);
    put_off(&mote, "connection refused");
    let end = Instant::now() + Duration::from_secs(12);
    while Instant::now() < end {
        sh("ip addr add 10.99.0.1/24 dev lo; ip addr del 10.99.0.1/24 dev lo");
        std::thread::sleep(Duration::from_millis(80));
    }
    let tries = mote.logged("next try in");
    // The first, one soon after the first change, and each later one after twice as long.
    assert!((2..=4).contains(&tries), "{tries}");
    assert_eq!(mote.logged("status=bounced") + mote.logged("status=expired"), 0);
}

/// The file's own place: a mount of this test's.
#[test]
fn mail_leaves_soon_after_the_name_servers_have_changed() {
    let _running = shared();
    if is_outside("network::mail_leaves_soon_after_the_name_servers_have_changed") {
        return;
    }
    let hop = NextHop::start(&[]);
    let zone = Zone::from([("hub.test".into(), vec![Entry::A([127, 0, 0, 1].into())])]);
    name_server_at("127.0.0.3:53", zone);
    let place = Place::in_memory(&format!("relay = smtp://hub.test:{}\nretry = 1h", hop.port));
    let file = place.path("resolv.conf");
    let options = "options timeout:1 attempts:1";
    fs::write(&file, format!("nameserver 127.0.0.2\n{options}\n")).unwrap();
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    command.args(["-m", "sh", "-c", script]).arg(&file).arg(binary());
    let mote = place.serve_by(command);
    send(&place);
    put_off(&mote, "");
    fs::write(&file, format!("# by DHCP\nnameserver 127.0.0.3\n{options}\n")).unwrap();
    wait_for("the mail", SOON, || mote.logged("status=sent") == 1);
    assert!(mote.logged("the network has changed") > 0);
}

#[test]
fn whoever_asks_for_it_has_all_tried_now() {
    let _running = shared();
    for by_signal in [true, false] {
        let port = free_port();
        let place = Place::in_memory(&format!("relay = smtp://127.0.0.1:{port}\nretry = 1h"));
        let mote = place.serve();
        send(&place);
        put_off(&mote, "connection refused");
        let hop = NextHop::by(TcpListener::bind(("127.0.0.1", port)).unwrap(), &[]);
        if by_signal {
            mote.signal("USR1");
        } else {
            assert!(place.run(&["flush"]).status.success());
        }
        wait_for("the mail", SOON, || mote.logged("status=sent") == 1);
        assert_eq!(hop.heard_of("DATA").len(), 1);
    }
}

/// `clock.c`, compiled into the place.
fn shim(place: &Place) -> Option<PathBuf> {
    let library = place.path("clock.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(peers::script("clock.c"));
    if compiler.arg("-ldl").status().is_ok_and(|status| status.success()) {
        return Some(library);
    }
    peers::skipped("a clock of its own", "no C compiler (cc) to make it with");
    None
}

/// Serves with the shim, if the binary takes it; a static one does not.
fn serve_shimmed(place: &Place, library: &Path, variable: (&str, PathBuf)) -> Mote {
    let mut command = Command::new("env");
    command.arg(format!("LD_PRELOAD={}", library.display()));
    command.arg(format!("{}={}", variable.0, variable.1.display())).arg(binary());
    place.serve_by(command)
}

/// Threats 24: the clock of a machine without a battery, and jumps of 56 years each way, between
/// attempts and between runs.
#[test]
fn no_jump_of_the_clock_expires_or_stops_anything() {
    let _running = shared();
    let port = free_port();
    let lines = format!("relay = smtp://127.0.0.1:{port}\nretry = 1s\nexpire = 2h\nsessions = 4");
    let place = Place::new(&lines);
    let Some(library) = shim(&place) else { return };
    let shift = place.path("shift");
    let set = |seconds: i64| {
        let part = place.path("shift.part");
        fs::write(&part, seconds.to_string()).unwrap();
        fs::rename(&part, &shift).unwrap();
    };
    set(-YEARS);
    let mut mote = serve_shimmed(&place, &library, ("SHIFT", shift.clone()));
    send(&place);
    let go_on = |mote: &Mote, what: &str| {
        let before = mote.logged("next try in");
        wait_for(what, SOON, || mote.logged("next try in") >= before + 3);
    };
    go_on(&mote, "retries in 1970");
    for (seconds, what) in [(0, "now"), (YEARS, "2082"), (-YEARS, "1970 again"), (0, "now again")] {
        set(seconds);
        go_on(&mote, what);
        let waiting = String::from_utf8(place.run(&["mailq"]).stdout).unwrap();
        assert!(waiting.contains("you@example.net"), "{what}: {waiting}");
    }
    for seconds in [YEARS, -YEARS] {
        mote.kill();
        set(seconds);
        mote = serve_shimmed(&place, &library, ("SHIFT", shift.clone()));
        go_on(&mote, "another run");
    }
    for word in ["status=expired", "status=bounced"] {
        assert_eq!(mote.logged(word), 0);
    }
    let hop = NextHop::by(TcpListener::bind(("127.0.0.1", port)).unwrap(), &[]);
    wait_for("the mail", SOON, || mote.logged("status=sent") == 1);
    assert_eq!(hop.heard_of("DATA").len(), 1);
}

/// A sandbox that knows no netlink: it is said once, and all else goes on.
#[test]
fn without_netlink_all_else_goes_on() {
    let _running = shared();
    let hop = NextHop::start(&[]);
    let place = Place::in_memory(&format!("relay = smtp://127.0.0.1:{}", hop.port));
    let Some(library) = shim(&place) else { return };
    let mote = serve_shimmed(&place, &library, ("NO_NETLINK", "1".into()));
    send(&place);
    wait_for("the mail", SOON, || mote.logged("status=sent") == 1);
    assert_eq!(mote.logged("does not tell when the network changes"), 1);
}
