//! Aliases, as mail comes in, as it goes out, and when they change in between.

use std::fs::{self, File};
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use crate::instance::{Mote, Place};
use crate::load::{shared, wait_for};
use crate::peers::maildir;
use crate::session::Session;

const LIMIT: Duration = Duration::from_secs(20);
const CONFIG: &str = "relay = hold\naliases = {dir}/aliases\n\
                      [route x.test]\nvia = maildir:{dir}/x\n\
                      [route y.test]\nvia = maildir:{dir}/y\n\
                      [route @]\nvia = maildir:{dir}/local\n\
                      [clients 127.0.0.9]\nrelay = no\n";

fn write(place: &Place, text: &str) {
    let path = place.path("aliases");
    fs::write(&path, text).unwrap();
    // What was written just now is left alone for a second.
    let before = SystemTime::now() - Duration::from_secs(5);
    File::options().write(true).open(path).unwrap().set_modified(before).unwrap();
}

fn sendmail(place: &Place, recipient: &str) {
    let mut command = place.command(&["sendmail", "-f", "cron", recipient]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"Subject: x\n\nx\n").unwrap();
    assert!(child.wait().unwrap().success());
}

#[track_caller]
fn filed(place: &Place, counts: [usize; 3]) {
    let now = || ["x", "y", "local"].map(|name| maildir(&place.path(name)).len());
    wait_for(&format!("{counts:?}"), LIMIT, || now() == counts);
}

#[track_caller]
fn logged(mote: &Mote, words: &str, count: usize) {
    wait_for(&format!("{count} times {words}"), LIMIT, || mote.logged(words) == count);
}

#[test]
fn mail_goes_where_the_aliases_lead() {
    let _running = shared();
    let place = Place::new(CONFIG);
    let crowd: Vec<String> = (0..99).map(|n| format!("u{n}@y.test")).collect();
    let text = "root: me@x.test, you@y.test, \\root\nadmin: one@x.test\ncron: admin\n\
                postmaster: root@localhost\n";
    write(&place, &format!("{text}crowd: {}\n", crowd.join(", ")));
    drop(place.serve());
    // Left for the daemon, which is down.
    sendmail(&place, "root");
    let mote = place.serve();
    filed(&place, [1, 1, 1]);
    logged(&mote, "to=<root>, ", 1);
    logged(&mote, "to=<me@x.test>, ", 1);
    sendmail(&place, "Admin@mote.test");
    filed(&place, [2, 1, 1]);
    logged(&mote, "to=<Admin@mote.test>, ", 1);
    sendmail(&place, "nobody");
    filed(&place, [2, 1, 2]);
    // A stranger may write to who has an alias, wherever it leads, and to nobody by it.
    let mut stranger = Session::connect_from("127.0.0.9", place.port).unwrap().0;
    stranger.ask("HELO x").unwrap();
    stranger.ask("MAIL FROM:<a@z.test>").unwrap();
    for (to, code) in [("admin", 250), ("postmaster@mote.test", 250), ("one@x.test", 550)] {
        assert_eq!(stranger.ask(&format!("RCPT TO:<{to}>")).unwrap().code, code, "{to}");
    }
    stranger.ask("DATA").unwrap();
    assert_eq!(stranger.ask("Subject: x\r\n\r\nx\r\n.").unwrap().code, 250);
    filed(&place, [3, 2, 3]);
    // Somebody who is too many for the message that he comes in gets one of his own.
    let more: Vec<String> = (0..20).map(|n| format!("v{n}@y.test")).collect();
    let mut recipients: Vec<&str> = more.iter().map(String::as_str).collect();
    recipients.push("crowd");
    let mut session = Session::open(place.port);
    session.ask("MAIL FROM:<cron@mote.test>").unwrap();
    for to in recipients {
        assert_eq!(session.ask(&format!("RCPT TO:<{to}>")).unwrap().code, 250, "{to}");
    }
    session.ask("DATA").unwrap();
    assert_eq!(session.ask("Subject: x\r\n\r\nx\r\n.").unwrap().code, 250);
    filed(&place, [3, 4, 3]);
    logged(&mote, "for 99 by the aliases as they are now", 1);
    logged(&mote, "@y.test>, relay=", 1 + 1 + 20 + 99);
}

/// Decisions 2: who becomes several while his mail waits is served as several, once; and a fault in
/// the file holds only the mail that it concerns.
#[test]
fn aliases_that_change_while_mail_waits() {
    let _running = shared();
    let place = Place::new(CONFIG);
    write(&place, "list: |/bin/false\nroot: one@x.test\n");
    let mote = place.serve();
    sendmail(&place, "list");
    let mut session = Session::open(place.port);
    session.ask("MAIL FROM:<cron@mote.test> RET=HDRS").unwrap();
    for to in ["list", "root", "two@y.test"] {
        assert_eq!(session.ask(&format!("RCPT TO:<{to}>")).unwrap().code, 250);
    }
    session.ask("DATA").unwrap();
    session.ask("Subject: y\r\n\r\ny\r\n.").unwrap();
    filed(&place, [1, 1, 0]);
    logged(&mote, "aliases:1: list: a command cannot get mail here", 1);
    let mut stranger = Session::connect_from("127.0.0.9", place.port).unwrap().0;
    stranger.ask("HELO x").unwrap();
    stranger.ask("MAIL FROM:<a@z.test>").unwrap();
    assert_eq!(stranger.ask("RCPT TO:<list>").unwrap().code, 451);
    // Half of it: nothing more is wrong, and nobody is forgotten.
    let checked = place.run(&["newaliases"]);
    assert_eq!(checked.status.code(), Some(65));
    assert!(String::from_utf8_lossy(&checked.stderr).contains("aliases:1: list: a command"));
    write(&place, "list: a@x.test, b@y.test, \\list\nroot: one@x.test\n");
    let checked = place.run(&["newaliases"]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success() && said.ends_with("aliases: 2 aliases\n"), "{said}");
    filed(&place, [3, 3, 2]);
    logged(&mote, "for 3 by the aliases as they are now", 2);
    wait_for("an empty queue", LIMIT, || {
        String::from_utf8_lossy(&place.run(&["mailq"]).stdout).contains("is empty")
    });
    logged(&mote, "to=<a@x.test>, ", 2);
    logged(&mote, "to=<list>, ", 2);
}

/// aliases(5), all of it in one file.
#[test]
fn every_form_of_an_alias_file_leads_where_it_says() {
    let _running = shared();
    let place = Place::new(CONFIG);
    fs::write(place.path("list"), "# those of the list\nthree@x.test, Four <four@y.test>\n")
        .unwrap();
    let list = place.path("list");
    write(&place, "# a comment\n\nroot:\n    one@x.test,   # no comment here\n");
    // What is behind a target is part of it.
    assert_eq!(place.run(&["newaliases"]).status.code(), Some(65));
    write(
        &place,
        &format!(
            "# a comment\n\nROOT:\n\tone@x.test,\n    \"quoted name\"@y.test\n\
             \"j. doe\" : one@x.test\nlist: :include:{}, \\root\nchain: chain2\nchain2: chain3\n\
             chain3: one@y.test\n*: all@x.test\npostmaster: chain\n",
            list.display()
        ),
    );
    let said = place.run(&["newaliases"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let mote = place.serve();
    let mut counts = [0; 3];
    for (to, added) in [
        ("root", [1, 1, 0]),
        ("Root@localhost", [1, 1, 0]),
        ("root@MOTE.test", [1, 1, 0]),
        ("root@localhost.localdomain", [1, 1, 0]),
        ("\"j. doe\"", [1, 0, 0]),
        ("list", [1, 1, 1]),
        ("chain", [0, 1, 0]),
        ("nobody-in-particular", [1, 0, 0]),
        ("postmaster", [0, 1, 0]),
    ] {
        sendmail(&place, to);
        counts = [0, 1, 2].map(|at| counts[at] + added[at]);
        filed(&place, counts);
    }
    drop(mote);
    // A circle is told with its line, and its mail waits for the cure.
    write(&place, "a: b\nb: c\nc: a\nok: one@x.test\n");
    let said = place.run(&["newaliases"]);
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(65), "{text}");
    assert!(text.contains("aliases:1: a: goes in a circle: a → b → c → a"), "{text}");
}

/// Who has neither an alias nor `to` is filed, held or refused, as the route says; whatever was
/// taken is still there.
#[test]
fn users_without_an_alias_are_never_silently_lost() {
    let _running = shared();
    let lines = |via: &str| {
        format!(
            "relay = hold\naliases = {{dir}}/aliases\n[route @]\nvia = {via}\n\
             [route x.test]\nvia = maildir:{{dir}}/x\n\
             [route y.test]\nvia = maildir:{{dir}}/local\n[clients 127.0.0.9]\nrelay = no\n"
        )
    };
    let place = Place::new(&lines("reject"));
    write(&place, "root: one@x.test\n");
    let exit = |to: &str| {
        let mut command = place.command(&["sendmail", to]);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"Subject: x\n\nx\n").unwrap();
        child.wait().unwrap().code()
    };
    let mote = place.serve();
    assert_eq!([exit("nobody"), exit("nobody@localhost")], [Some(67); 2]);
    assert_eq!([exit("root"), exit("postmaster")], [Some(0); 2]);
    let mut stranger = Session::connect_from("127.0.0.9", place.port).unwrap().0;
    stranger.ask("HELO x").unwrap();
    stranger.ask("MAIL FROM:<a@z.test>").unwrap();
    for (to, code) in [("nobody", 550), ("root@mote.test", 250), ("Postmaster", 250)] {
        assert_eq!(stranger.ask(&format!("RCPT TO:<{to}>")).unwrap().code, code, "{to}");
    }
    wait_for("root's mail", LIMIT, || maildir(&place.path("x")).len() == 1);
    drop(mote);
    // Nobody could be asked while the daemon was down: it is kept.
    assert_eq!(exit("nobody"), Some(0));
    let mote = place.serve();
    let listed = || String::from_utf8_lossy(&place.run(&["queue", "ls"]).stdout).into_owned();
    wait_for("the held ones", LIMIT, || listed().contains("nobody"));
    assert!(listed().contains("postmaster"), "{}", listed());
    place.configure(&lines("maildir:{dir}/local"));
    mote.signal("HUP");
    wait_for("their Maildir", LIMIT, || maildir(&place.path("local")).len() == 2);
}
