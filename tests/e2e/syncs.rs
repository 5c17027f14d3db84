//! How often the disk is made to wait: the syncs of the receiving path, counted by strace.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::instance::Place;
use crate::load::{quiet, wait_for};
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

/// A power cut right behind the first 250 could take the whole spool with it.
#[test]
fn every_directory_that_is_made_is_synced_into_the_one_above_it() {
    let _alone = quiet();
    if peers::command("strace", "strace").is_none() {
        return;
    }
    let place = Place::new("relay = maildir:{dir}/Maildir");
    let trace = place.path("trace");
    let mut command = std::process::Command::new("strace");
    command.args(["-D", "-f", "-y", "-qq", "-e", "signal=none", "-o"]).arg(&trace);
    command.args(["-e", "trace=mkdir,mkdirat,fsync,fdatasync,sendto,write,writev"]);
    command.arg(crate::instance::binary()).env("MOTE_SPOOL", place.path("a/b/spool"));
    let _mote = place.serve_by(command);
    let mut session = Session::open(place.port);
    assert!(session.deliver("someone@example.net", &message(0, 1024)).unwrap());
    let new = place.path("Maildir/new");
    wait_for("the mail", Duration::from_secs(10), || {
        fs::read_dir(&new).is_ok_and(|mut new| new.next().is_some())
    });
    let text = fs::read_to_string(trace).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let made: Vec<_> =
        lines.iter().enumerate().filter(|(_, line)| line.contains(" mkdir")).collect();
    let mut names = Vec::new();
    for (at, line) in made {
        let path = line.split('"').nth(1).unwrap();
        // mkdirat(5</the/folder>, "name", …)
        let folder = line.split(['<', '>']).nth(1).filter(|_| line.contains(" mkdirat("));
        let path = folder.map_or(Path::new(path).into(), |folder| Path::new(folder).join(path));
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        if path.ends_with("tmp") {
            continue; // What is lost with it is not delivered yet, and it is made again.
        }
        let above = format!("<{}>", path.parent().unwrap().display());
        let is_sync = |line: &&&str| line.contains(" fsync(") && line.contains(&above);
        let sync = lines[at..].iter().position(|line| is_sync(&line));
        let used =
            lines[at..].iter().position(|line| line.contains("\"250 ") && line.contains("queued"));
        assert!(sync.is_some_and(|sync| used.is_none_or(|used| sync < used)), "{path:?}\n{text}");
    }
    names.sort();
    assert_eq!(names, ["Maildir", "a", "b", "cur", "drop", "new", "run", "spool", "tmp"]);
}
