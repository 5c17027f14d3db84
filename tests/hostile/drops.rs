//! A drop directory full of what is no mail: the mail among it comes in, clients are served, the
//! log stays short, and nobody is kept from leaving more.

use crate::budget::assert_within_budget;
use crate::instance::Place;
use crate::load::wait_for;
use crate::session::{Session, message};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

const MAGIC: &str = "motedrop1\n";
/// What is set aside of one flood.
const REJECTED_MAX: usize = 1000;
/// Between two looks at what cannot be set aside, and some.
const PATIENCE: Duration = Duration::from_secs(90);

fn send(place: &Place) {
    let mut command = place.command(&["sendmail", "-i", "-f", "me@mote.test", "you@example.net"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"Subject: x\n\nhello\n").unwrap();
    assert!(child.wait().unwrap().success(), "sendmail is shut out");
}

fn queued(place: &Place) -> usize {
    let listed = place.run(&["queue", "ls", "--json"]);
    assert!(listed.status.success(), "{listed:?}");
    String::from_utf8(listed.stdout).unwrap().lines().count()
}

fn names(directory: &Path) -> usize {
    fs::read_dir(directory).map_or(0, Iterator::count)
}

/// Makes one, of every kind in turn, and not by root where that can be.
fn make(drops: &Path, number: usize) {
    let path = drops.join(format!("{number:032x}"));
    match number % 6 {
        0 => fs::write(&path, "").unwrap(),
        1 => fs::write(&path, format!("{MAGIC}\u{4}\0\0\0evil")).unwrap(),
        2 => fs::write(&path, format!("{MAGIC}\0\0\0\0Subject: nobody\n\nx\n")).unwrap(),
        3 => fs::write(&path, format!("{MAGIC}\u{7f}\u{7f}\0\0")).unwrap(),
        4 => return symlink("/etc/passwd", &path).unwrap(),
        _ => fs::write(drops.join(format!("not a mail's name {number}")), MAGIC).unwrap(),
    }
    let _ = chown(&path, Some(12_345), None);
    let _ = chown(drops.join(format!("not a mail's name {number}")), Some(12_345), None);
}

fn flood(count: usize) {
    let place = Place::new("relay = hold");
    let mut mote = place.serve();
    mote.kill();
    let (drops, rejected) = (place.path("spool/drop"), place.path("spool/rejected"));
    send(&place);
    (0..count).for_each(|number| make(&drops, number));
    let is_root = fs::metadata(drops.join(format!("{:032x}", 0))).unwrap().uid_is(12_345);
    if is_root || count < REJECTED_MAX {
        send(&place);
    }
    let mails = names(&drops) - count;
    let mut mote = place.serve();
    let mut session = Session::open(place.port);
    assert!(session.deliver("someone@example.net", &message(1, 1000)).unwrap());
    wait_for("the mail between them", PATIENCE, || queued(&place) == mails + 1);
    let set_aside = count.min(REJECTED_MAX);
    wait_for("the rest to be set aside", PATIENCE, || names(&rejected) == set_aside);
    wait_for("nothing else to be taken away", PATIENCE, || names(&drops) == count - set_aside);
    let lines = mote.log().lines().count();
    assert!(lines < 100, "{lines} lines in the log");
    let status = place.run(&["status"]);
    let told = String::from_utf8(status.stdout).unwrap();
    let words = format!("{set_aside} files left for sendmail are no mail");
    assert!(status.status.code() == Some(1) && told.contains(&words), "{told}");
    // Another one, while all of that lies there.
    let mail = place.path("mail");
    mote.kill();
    if is_root || count < REJECTED_MAX {
        send(&place);
        let is_new = |path: &Path| fs::metadata(path).is_ok_and(|found| !found.uid_is(12_345));
        let left = fs::read_dir(&drops).unwrap().map(|entry| entry.unwrap().path());
        let new = left.filter(|path| !path.is_symlink()).find(|path| is_new(path)).unwrap();
        fs::rename(&new, &mail).unwrap();
        mote = place.serve();
        for number in count..count + 5 {
            make(&drops, number);
        }
        fs::rename(&mail, drops.join("f".repeat(32))).unwrap();
        wait_for("the last mail", PATIENCE, || queued(&place) == mails + 2);
        let more = mote.log().lines().count() - lines;
        assert!(more < 100, "{more} lines in the log of the second start");
        assert_within_budget(&place, &mote);
    }
    println!("{count} files that are no mail: {set_aside} set aside, {lines} lines in the log");
}

trait Owned {
    fn uid_is(&self, uid: u32) -> bool;
}

impl Owned for fs::Metadata {
    fn uid_is(&self, uid: u32) -> bool {
        std::os::unix::fs::MetadataExt::uid(self) == uid
    }
}

#[test]
fn some_hundred_files_that_are_no_mail() {
    flood(600);
}

#[test]
#[ignore = "takes minutes, whole by make hostile"]
fn ten_thousand_files_that_are_no_mail() {
    flood(10_000);
}
