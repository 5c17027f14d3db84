//! What the daemon gives up once it serves: its user, new privileges, files, system calls.
//!
//! Where a kernel has one of them not, or the tests do not run as root, that is said and the rest
//! is looked at.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::instance::{Mote, Place, binary};
use crate::load::{shared, wait_for};

const NOBODY: u32 = 65534;

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A field of the process's status.
fn field(mote: &Mote, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{}/status", mote.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

fn submit(place: &Place, subject: &str) {
    let script = format!("printf 'Subject: {subject}\\n\\nx\\n' | \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh"]).arg(binary()).arg("-C").arg(place.config());
    command.args(["sendmail", "-f", "me@example.net", "you@example.net"]);
    assert!(command.status().unwrap().success());
}

fn mails(directory: &Path) -> usize {
    fs::read_dir(directory.join("new")).map_or(0, Iterator::count)
}

/// It can be connected to before it gives up anything.
fn wait_until_it_serves(mote: &Mote, times: usize) {
    wait_for("mote to serve", Duration::from_secs(20), || mote.logged("mail goes into") >= times);
}

/// A place that others than root get into.
fn place(lines: &str) -> Place {
    let place = Place::new(lines);
    fs::set_permissions(place.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    place
}

#[test]
fn whoever_takes_it_over_gets_nowhere() {
    let _load = shared();
    let place = place("relay = maildir:{dir}/Maildir");
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("foreign"), "not for mote").unwrap();
    let mut command = Command::new(binary());
    command.env("TEST_ESCAPE_FROM_MOTE", elsewhere.path().join("foreign"));
    let mote = place.serve_by(command);
    wait_until_it_serves(&mote, 1);
    assert_eq!(mote.logged("went well"), 0, "{}", mote.log());
    if mote.logged("goes on without") > 0 {
        eprintln!("skipped: the sandbox: this kernel has not all of it");
        return;
    }
    for what in ["a foreign open", "a foreign file", "an exec", "a ptrace"] {
        assert_eq!(mote.logged(&format!("escape: {what} failed: ")), 1, "{}", mote.log());
    }
    assert_eq!((field(&mote, "NoNewPrivs"), field(&mote, "Seccomp")), ("1".into(), "2".into()));
    // And it serves.
    submit(&place, "inside");
    let maildir = place.path("Maildir");
    wait_for("the mail", Duration::from_secs(20), || mails(&maildir) == 1);
    let told = String::from_utf8(place.run(&["status"]).stdout).unwrap();
    assert!(told.contains(", no new privileges, landlock, seccomp\n"), "{told}");
}

#[test]
fn root_becomes_somebody_else_and_gives_him_the_spool() {
    let _load = shared();
    if !is_root() {
        eprintln!("skipped: becoming another user: only root can");
        return;
    }
    let place = place("relay = maildir:{dir}/Maildir\nuser = nobody");
    let maildir = place.path("Maildir");
    for round in 1..=2 {
        let mote = place.serve();
        wait_until_it_serves(&mote, 2 * round - 1);
        assert!(field(&mote, "Uid").split_whitespace().all(|id| id == "65534"), "{round}");
        for capabilities in ["CapPrm", "CapEff"] {
            assert_eq!(field(&mote, capabilities), "0000000000000000", "{capabilities}");
        }
        submit(&place, "up");
        wait_for("the mail", Duration::from_secs(20), || mails(&maildir) == 2 * round - 1);
        // While it is down the mail waits where its user finds it.
        mote.signal("TERM");
        drop(mote);
        submit(&place, "down");
        let mote = place.serve();
        wait_for("the mail", Duration::from_secs(20), || mails(&maildir) == 2 * round);
        mote.signal("HUP");
        wait_for("the reload", Duration::from_secs(20), || mote.logged("reloaded") == round);
        assert_eq!(mote.logged("out of reach"), 0, "{}", mote.log());
    }
    for (name, owner) in [("spool", NOBODY), ("spool/queue", NOBODY), ("run/submit", 0)] {
        assert_eq!(fs::metadata(place.path(name)).unwrap().uid(), owner, "{name}");
    }
}

#[test]
fn a_spool_with_other_files_in_it_is_not_given_away() {
    let _load = shared();
    if !is_root() {
        eprintln!("skipped: becoming another user: only root can");
        return;
    }
    let place = place("user = nobody");
    fs::create_dir(place.path("spool")).unwrap();
    fs::write(place.path("spool/accounts"), "root's").unwrap();
    let refused = place.run(&["serve"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("/spool: ") && told.contains("for mote alone"), "{told}");
    assert_eq!(fs::metadata(place.path("spool")).unwrap().uid(), 0);
    let place = self::place("user = no-such-user");
    let refused = place.run(&["serve"]);
    assert_eq!(refused.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("there is no user no-such-user"));
}
