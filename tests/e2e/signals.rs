//! TERM drains, HUP takes a good config and keeps the old one instead of a bad one, and a faulty
//! config does not start.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::instance::Place;
use crate::load::{shared, wait_for};
use crate::session::{Session, message};

/// sysexits: the config is wrong.
const EX_CONFIG: i32 = 78;

#[test]
fn term_lets_a_message_under_way_be_finished() {
    let _running = shared();
    let place = Place::new("relay = hold");
    let mut mote = place.serve();
    let mut session = Session::open(place.port);
    session.begin("someone@example.net");
    session.write(&message(1, 2000)).unwrap();
    mote.signal("TERM");
    wait_for("the listener to close", Duration::from_secs(5), || {
        Session::connect(place.port).is_err()
    });
    let reply = session.ask(".").unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    assert!(mote.ended(Duration::from_secs(10)).success());
    let said = session.rest().unwrap();
    assert!(said.is_empty() || said.starts_with("421 "), "{said}");
}

/// The socket was closed with the others: `daemon is already working on it`, said `mailq`.
#[test]
fn while_it_stops_the_administrator_is_answered_and_sendmail_leaves_its_mail() {
    let _running = shared();
    let place = Place::new("relay = hold");
    let mut mote = place.serve();
    let mut session = Session::open(place.port);
    assert!(session.deliver("someone@example.net", &message(1, 2000)).unwrap());
    session.begin("someone@example.net");
    session.write(&message(2, 2000)).unwrap();
    mote.signal("TERM");
    wait_for("the listener to close", Duration::from_secs(5), || {
        Session::connect(place.port).is_err()
    });
    let status = place.run(&["status"]);
    let told = String::from_utf8(status.stdout).unwrap();
    assert!(status.status.code() == Some(1) && told.contains("the daemon is stopping"), "{told}");
    let queued = || {
        let listed = place.run(&["queue", "ls", "--json"]);
        assert!(listed.status.success(), "{listed:?}");
        String::from_utf8(listed.stdout).unwrap().lines().count()
    };
    assert_eq!(queued(), 1);
    let mut command = place.command(&["sendmail", "-i", "you@example.net"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"Subject: x\n\nx\n").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(fs::read_dir(place.path("spool/drop")).unwrap().count(), 1);
    assert!(place.run(&["queue", "rm", "all"]).status.success());
    assert_eq!(session.ask(".").unwrap().code, 250);
    assert!(mote.ended(Duration::from_secs(10)).success());
    assert_eq!(queued(), 1);
    let _mote = place.serve();
    wait_for("what sendmail left", Duration::from_secs(10), || queued() == 2);
}

#[test]
fn term_does_not_wait_for_idle_sessions() {
    let _running = shared();
    let place = Place::new("relay = hold");
    let mut mote = place.serve();
    let session = Session::open(place.port);
    mote.signal("TERM");
    assert!(mote.ended(Duration::from_secs(5)).success());
    assert!(session.rest().unwrap().starts_with("421 "));
}

fn size_offered(port: u16) -> String {
    let (mut session, _) = Session::connect(port).unwrap();
    let hello = session.ask("EHLO client.test").unwrap().text;
    hello.lines().find(|line| line.contains("SIZE")).unwrap_or_default().to_owned()
}

#[test]
fn no_more_is_offered_than_the_empty_spool_holds() {
    let _running = shared();
    let place = Place::new("relay = hold\nspool-size = 256K\nmessage-size = 1M");
    let _mote = place.serve();
    let offered = size_offered(place.port);
    let size: usize = offered.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(size > 200_000 && size < 256 << 10, "{offered}");
    let mut session = Session::open(place.port);
    session.begin("someone@example.net");
    session.write(&message(1, size + 200)).unwrap();
    let reply = session.ask(".").unwrap();
    assert!(reply.code == 552 && reply.text.contains("5.3.4"), "{reply:?}");
    assert!(session.deliver("someone@example.net", &message(2, size - 1000)).unwrap());
}

#[test]
fn hup_takes_a_good_config_and_refuses_a_bad_one() {
    let _running = shared();
    let place = Place::new("relay = hold\nmessage-size = 1M");
    let mote = place.serve();
    assert!(size_offered(place.port).ends_with(" 1048576"));

    place.configure("relay = hold\nmessage-size = 2M");
    mote.signal("HUP");
    wait_for("the new size", Duration::from_secs(5), || {
        size_offered(place.port).ends_with(" 2097152")
    });

    place.configure("relay = hold\nmesage-size = 3M");
    mote.signal("HUP");
    let fault = format!("{}:7:", place.config().display());
    wait_for("the fault in the log", Duration::from_secs(5), || mote.logged(&fault) > 0);
    assert!(size_offered(place.port).ends_with(" 2097152"));
    let mut session = Session::open(place.port);
    assert!(session.deliver("someone@example.net", &message(1, 500)).unwrap());
}

/// Signals that come before the daemon is up wait until they can be obeyed. It waits itself while
/// somebody reads its queue.
#[test]
fn hup_and_usr1_do_not_end_a_daemon_that_is_just_starting() {
    let _running = shared();
    let place = Place::new("relay = hold");
    place.serve().kill();
    let reader = fs::File::open(place.path("spool/queue")).unwrap();
    reader.lock_shared().unwrap();
    let log = fs::File::create(place.path("log")).unwrap();
    let mut mote = place.command(&["serve"]).stdin(Stdio::null()).stderr(log).spawn().unwrap();
    let status = format!("/proc/{}/status", mote.id());
    wait_for("signals that are held back", Duration::from_secs(5), || {
        let status = fs::read_to_string(&status).unwrap();
        let held = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
        u64::from_str_radix(held.trim(), 16).unwrap() & 1 == 1
    });
    for signal in ["HUP", "USR1"] {
        let kill = format!("kill -{signal} {}", mote.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }
    drop(reader);
    wait_for("the reload", Duration::from_secs(20), || {
        let log = fs::read_to_string(place.path("log")).unwrap();
        assert!(mote.try_wait().unwrap().is_none(), "{log}");
        log.contains("reloaded ")
    });
    assert!(Session::connect(place.port).is_ok());
    mote.kill().unwrap();
    mote.wait().unwrap();
}

/// Runs the verb on the place's config, which has a fault at some line.
#[track_caller]
fn assert_refused(place: &Place, verb: &str) {
    let output = place.run(&[verb]);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let text = String::from_utf8_lossy(&fs::read(place.config()).unwrap()).into_owned();
    assert_eq!(output.status.code(), Some(EX_CONFIG), "{verb} of\n{text}said\n{said}");
    let prefix = format!("{}:", place.config().display());
    let at_line = |rest: &str| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        digits > 0 && rest.as_bytes().get(digits) == Some(&b':')
    };
    let located = said.split(&prefix).skip(1).any(at_line);
    assert!(located, "{verb} of\n{text}names no line:\n{said}");
}

#[test]
fn faulty_lines_end_serve_and_check_with_78() {
    let _running = shared();
    for lines in [
        "relai = smtp://127.0.0.1:26",
        "relay = smpts://127.0.0.1",
        "relay = hold\nrelay = hold",
        "message-size = much",
        "[route *]\nvia = nowhere",
        "[nonsense]\nkey = value",
        "no equals sign",
    ] {
        let place = Place::new(lines);
        assert_refused(&place, "serve");
        assert_refused(&place, "check");
    }
}

#[test]
fn every_bad_config_is_refused_by_name_and_line() {
    let _running = shared();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs/bad");
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let configs = files.iter().filter(|path| path.extension().is_some_and(|end| end == "conf"));
    let mut count = 0;
    for path in configs {
        let place = Place::new("");
        fs::copy(path, place.config()).unwrap();
        assert_refused(&place, "serve");
        assert_refused(&place, "check");
        count += 1;
    }
    assert!(count >= 25, "only {count} bad configs");
}

#[test]
fn a_second_instance_says_so_and_ends_with_75() {
    let _running = shared();
    let place = Place::new("relay = hold");
    let _mote = place.serve();
    let other = Place::new("relay = hold");
    // The same image, a port of its own.
    let text = fs::read_to_string(place.config()).unwrap();
    let own = |port: u16| format!("127.0.0.1:{port}");
    fs::write(other.config(), text.replace(&own(place.port), &own(other.port))).unwrap();
    let output = other.run(&["serve"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(75), "{said}");
}
