//! `sendmail`, in every state a daemon can be in.

use crate::place::Step::{self, Drain, Drip, Say, Wait};
use crate::place::{Outcome, Place, failed, fine, hear, hello, run, say, script, uid};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread::spawn;
use std::time::{Duration, Instant};

#[test]
fn a_mail_byte_for_byte() {
    let place = Place::new();
    let daemon = place.serve(
        "submit",
        vec![script(vec![
            hear("MAIL FROM:<me@x> SIZE=45\nRCPT TO:<a@y>\nRCPT TO:<root>\nDATA\n"),
            say("250 2.1.0 Ok\n250 2.1.5 Ok\n250 2.1.5 Ok\n354 Go\n"),
            hear("Subject: hi\n\n..\n..dot\nno\nend\nlone\nlast\n.\nQUIT\n"),
            say("250 2.0.0 Ok: queued as 1kQ7d\n221 2.0.0 Bye\n"),
            Drain,
        ])],
    );
    let text = "Subject: hi\n\n.\n.dot\r\nno\rend\nlone\r\nlast";
    assert_eq!(place.sendmail(&["-i", "-f", "me@x", "a@y, Root <root>"], text), fine());
    daemon.join().unwrap();
}

#[test]
fn recipients_from_the_header() {
    let place = Place::new();
    let message = "To: A <a@x>,\n b@x\nCc: g: c@x;\nBcc: d@x\n\nhello\n";
    let daemon = place.serve(
        "submit",
        vec![script(vec![
            hear("MAIL FROM:<> SIZE=52 BODY=8BITMIME\n"),
            hear(
                "RCPT TO:<e@x>\nRCPT TO:<a@X>\nRCPT TO:<b@x>\nRCPT TO:<c@x>\nRCPT TO:<d@x>\nDATA\n",
            ),
            say("250 Ok\n250 Ok\n250 Ok\n250 Ok\n250 Ok\n250 Ok\n354 Go\n"),
            hear(message),
            hear(".\nQUIT\n"),
            say("250 2.0.0 Ok\n"),
        ])],
    );
    let outcome = place.sendmail(&["-tv", "-f<>", "-B8BITMIME", "e@x", "a@X"], message);
    assert_eq!(outcome, Outcome { err: "sendmail: 250 2.0.0 Ok\n".to_owned(), ..fine() });
    daemon.join().unwrap();
}

#[test]
fn as_debian_cron_calls_it() {
    let place = Place::new();
    let daemon = place.serve(
        "submit",
        vec![script(vec![
            hear("MAIL FROM:<me@x> SIZE=52 BODY=8BITMIME\nRCPT TO:<user>\nDATA\n"),
            say("250 Ok\n250 Ok\n354 Go\n"),
            hear("From: \"CronDaemon\" <me@x>\nSubject: Cron\n\noutput\n.\nQUIT\n"),
            say("250 Ok\n"),
        ])],
    );
    let words = ["-i", "-FCronDaemon", "-B8BITMIME", "-oem", "-fme@x", "user"];
    // The empty line behind the header is missing.
    assert_eq!(place.sendmail(&words, "Subject: Cron\noutput\n"), fine());
    daemon.join().unwrap();
}

#[test]
fn a_lone_dot_ends_the_message() {
    let place = Place::new();
    let daemon = place.serve(
        "submit",
        vec![script(vec![
            hear("MAIL FROM:<me@x> SIZE=14\nRCPT TO:<root>\nDATA\n"),
            say("250 Ok\n250 Ok\n354 Go\n"),
            hear("A: b\n\nbody\n.\nQUIT\n"),
            say("250 Ok\n"),
        ])],
    );
    // nut
    assert_eq!(place.sendmail(&["-fme@x", "root"], "A: b\n\nbody\n.\nnot this\n"), fine());
    daemon.join().unwrap();
}

#[test]
fn as_msmtp() {
    let place = Place::new();
    let daemon = place.serve(
        "submit",
        vec![script(vec![
            hear("MAIL FROM:<me@x> SIZE=30\nRCPT TO:<a@x>\nDATA\n"),
            say("250 Ok\n250 Ok\n354 Go\n"),
            hear("From: Me <me@x>\n\n..\nbody\n\n.\nQUIT\n"),
            say("250 Ok\n"),
        ])],
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_mote"));
    command.arg0("/usr/bin/msmtp").env_clear().stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    // Here -C is somebody else's file, and the socket is found by its name.
    command.env("MOTE_SOCKET", place.path("run/submit"));
    command.args([
        "--timeout=10",
        "-a",
        "adb_notify",
        "-C",
        "/etc/msmtprc",
        "--read-envelope-from",
    ]);
    command.arg("a@x");
    assert_eq!(run(command, b"From: Me <me@x>\n\n.\nbody\n\n"), fine());
    daemon.join().unwrap();
}

#[test]
fn many_recipients_are_several_transactions() {
    let place = Place::new();
    let recipients: Vec<String> = (0..250).map(|number| format!("r{number}@x")).collect();
    // More than is held, so it must be read again from elsewhere.
    let body = "0123456789\n".repeat(10_000);
    let mut steps = hello();
    for group in recipients.chunks(100) {
        let asked: String = group.iter().map(|name| format!("RCPT TO:<{name}>\n")).collect();
        steps.push(hear(&format!("MAIL FROM:<me@x>\n{asked}DATA\n")));
        steps.push(say(&"250 Ok\n".repeat(group.len() + 1)));
        steps.push(say("354 Go\n"));
        steps.push(hear(&format!("A: b\n\n{body}.\n")));
        if group.len() < 100 {
            steps.push(hear("QUIT\n"));
        }
        steps.push(say("250 Ok\n"));
    }
    let daemon = place.serve("submit", vec![steps]);
    let words: Vec<&str> =
        ["-i", "-fme@x"].into_iter().chain(recipients.iter().map(String::as_str)).collect();
    assert_eq!(place.sendmail(&words, &format!("A: b\n\n{body}")), fine());
    daemon.join().unwrap();
}

#[test]
fn many_recipients_go_on_in_the_drop_directory() {
    let place = Place::new();
    let recipients: Vec<String> = (0..150).map(|number| format!("r{number}@x")).collect();
    let asked = |group: &[String]| -> String {
        group.iter().map(|name| format!("RCPT TO:<{name}>\n")).collect()
    };
    let daemon = place.serve(
        "submit",
        vec![script(vec![
            hear(&format!("MAIL FROM:<me@x> SIZE=11\n{}DATA\n", asked(&recipients[..100]))),
            say(&"250 Ok\n".repeat(101)),
            say("354 Go\n"),
            hear("A: b\n\nc\n.\n"),
            say("250 Ok\n"),
            // The daemon is stopped.
        ])],
    );
    let words: Vec<&str> =
        ["-fme@x"].into_iter().chain(recipients.iter().map(String::as_str)).collect();
    assert_eq!(place.sendmail(&words, "A: b\n\nc\n"), fine());
    daemon.join().unwrap();
    let (records, message) = place.dropped();
    assert_eq!(records.iter().filter(|(kind, _)| *kind == 2).count(), 50);
    assert_eq!((records[1].1.as_str(), message.as_str()), ("r100@x", "A: b\r\n\r\nc\r\n"));
}

#[test]
fn refused_recipients_are_named_and_the_others_served() {
    let place = Place::new();
    let daemon = place.serve(
        "submit",
        vec![
            script(vec![
                hear("MAIL FROM:<me@x> SIZE=11\nRCPT TO:<a>\nRCPT TO:<b>\nRCPT TO:<c>\nDATA\n"),
                say("250 Ok\n550 5.7.1 no relaying\n250 Ok\n550 5.1.1 nobody\n354 Go\n"),
                hear("A: b\n\nc\n.\nQUIT\n"),
                say("250 Ok\n"),
            ]),
            script(vec![
                hear("MAIL FROM:<me@x> SIZE=11\nRCPT TO:<a>\nDATA\n"),
                say("250 Ok\n501 5.1.3 malformed\n554 5.5.1 no recipients\n"),
                Drain,
            ]),
        ],
    );
    let outcome = place.sendmail(&["-fme@x", "a", "b", "c"], "A: b\n\nc\n");
    let first = "sendmail: <a> was refused: 550 5.7.1 no relaying";
    let last = "sendmail: <c> was refused: 550 5.1.1 nobody";
    assert_eq!(outcome, failed(67, &format!("{first}\n{last}")));
    let outcome = place.sendmail(&["-fme@x", "a"], "A: b\n\nc\n");
    assert_eq!(outcome, failed(65, "sendmail: <a> was refused: 501 5.1.3 malformed"));
    daemon.join().unwrap();
    assert_eq!(place.drops(), 0);
}

#[test]
fn refused_mail() {
    let place = Place::new();
    let envelope = || hear("MAIL FROM:<me@x> SIZE=11\nRCPT TO:<a>\nDATA\n");
    let accepted = || say("250 Ok\n250 Ok\n354 Go\n");
    let body = || hear("A: b\n\nc\n.\nQUIT\n");
    let daemon = place.serve(
        "submit",
        vec![
            script(vec![envelope(), say("552 5.3.4 too large\n503 no\n503 no\n"), Drain]),
            script(vec![envelope(), accepted(), body(), say("554 5.4.6 loop\n")]),
            script(vec![envelope(), accepted(), body(), say("451 4.3.0 disk\n")]),
            script(vec![envelope(), accepted(), body()]),
            script(vec![envelope(), accepted(), body(), say("nonsense\n"), Drain]),
        ],
    );
    let send = || place.sendmail(&["-fme@x", "a"], "A: b\n\nc\n");
    assert_eq!(send(), failed(65, "sendmail: the mail was refused: 552 5.3.4 too large"));
    assert_eq!(send(), failed(65, "sendmail: the mail was refused: 554 5.4.6 loop"));
    let lost =
        |why| failed(75, &format!("sendmail: lost the daemon while it took the mail: {why}"));
    assert_eq!(send(), lost("451 4.3.0 disk"));
    assert_eq!(send(), lost("closed the connection"));
    assert_eq!(send(), lost("what it says is not SMTP"));
    daemon.join().unwrap();
    assert_eq!(place.drops(), 0);
}

#[test]
fn without_a_daemon_it_is_left() {
    let place = Place::new();
    let outcome =
        place.sendmail(&["-v", "-ti", "-f", "me@x"], "To: a@x, root\nBcc: b@x\nhello\n.\n");
    let told = format!("daemon is not running; left in {}", place.path("spool/drop").display());
    assert_eq!(outcome, Outcome { err: format!("sendmail: {told}\n"), ..fine() });
    let (records, message) = place.dropped();
    let login = String::from_utf8_lossy(&uid().to_le_bytes()).into_owned();
    let expected = [(1, "me@x"), (2, "a@x"), (2, "root"), (2, "b@x"), (4, login.as_str())];
    assert_eq!(records, expected.map(|(kind, value)| (kind, value.to_owned())));
    assert_eq!(message, "To: a@x, root\r\nBcc: b@x\r\n\r\nhello\r\n.\r\n");
    // A socket that nobody listens on any more is no daemon.
    drop(UnixListener::bind(place.path("run/submit")).unwrap());
    assert_eq!(place.sendmail(&["root"], "A: b\n\n"), fine());
    assert_eq!(place.drops(), 2);
}

#[test]
fn half_a_daemon_is_none() {
    let envelope = || hear("MAIL FROM:<me@x> SIZE=11\nRCPT TO:<a>\nRCPT TO:<b>\nDATA\n");
    let scripts: Vec<Vec<Step>> = vec![
        vec![],
        vec![say("421 4.3.2 busy\n")],
        vec![say("hello\n")],
        vec![say("220 test\n"), hear("EHLO localhost\n"), say("421 4.3.2 leaving\n")],
        hello(),
        script(vec![envelope()]),
        script(vec![envelope(), say("452 4.3.1 full\n503 no\n503 no\n503 no\n"), Drain]),
        script(vec![envelope(), say("250 Ok\n250 Ok\n452 4.5.3 too many\n354 Go\n"), Drain]),
        script(vec![
            envelope(),
            say("250 Ok\n250 Ok\n250 Ok\n"),
            Drip("4".to_owned(), Duration::ZERO),
        ]),
        script(vec![envelope(), say("250 Ok\n250 Ok\n250 Ok\n451 4.3.0 disk\n"), Drain]),
    ];
    for (number, steps) in scripts.into_iter().enumerate() {
        let place = Place::new();
        let daemon = place.serve("submit", vec![steps]);
        assert_eq!(place.sendmail(&["-fme@x", "a", "b"], "A: b\n\nc\n"), fine(), "{number}");
        daemon.join().unwrap();
        let (records, message) = place.dropped();
        assert_eq!(records.iter().filter(|(kind, _)| *kind == 2).count(), 2, "{number}");
        assert_eq!(message, "A: b\r\n\r\nc\r\n", "{number}");
    }
}

#[test]
fn a_silent_daemon_is_left_after_three_seconds() {
    let envelope = || hear("MAIL FROM:<me@x> SIZE=11\nRCPT TO:<a>\nDATA\n");
    let slow = Duration::from_millis(700);
    let scripts = [
        vec![Drain],
        script(vec![envelope(), say("250 Ok\n"), Drain]),
        vec![Drip("220 a daemon that is slow\r\n".to_owned(), slow)],
        // Every line in time, the reply never.
        vec![Say("220-a\r\n".to_owned()), Wait(slow * 3), Drip("220-a\r\n".repeat(4), slow)],
    ];
    let runs = scripts.map(|steps| {
        spawn(move || {
            let place = Place::new();
            let _daemon = place.serve("submit", vec![steps]);
            let start = Instant::now();
            assert_eq!(place.sendmail(&["-fme@x", "a"], "A: b\n\nc\n"), fine());
            assert_eq!(place.drops(), 1);
            let time = start.elapsed();
            assert!(time > Duration::from_secs(2) && time < Duration::from_secs(6), "{time:?}");
        })
    });
    for run in runs {
        run.join().unwrap();
    }
}

#[test]
fn nowhere_to_leave_it() {
    let place = Place::new();
    std::fs::remove_dir(place.path("spool/drop")).unwrap();
    let told =
        "sendmail: daemon is not running, and there is no drop directory to leave the mail in";
    assert_eq!(place.sendmail(&["root"], "A: b\n"), failed(75, told));
    // A link to one is none.
    std::fs::create_dir(place.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(place.path("elsewhere"), place.path("spool/drop")).unwrap();
    assert_eq!(place.sendmail(&["root"], "A: b\n"), failed(75, told));
}

#[test]
fn what_belongs_to_others_is_not_used() {
    if uid() != 0 {
        return; // only root can give files away
    }
    let place = Place::new();
    let _daemon = place.serve("submit", vec![vec![Drain]]);
    std::os::unix::fs::chown(place.path("run/submit"), Some(54_321), None).unwrap();
    assert_eq!(place.sendmail(&["root"], "A: b\n"), fine());
    assert_eq!(place.drops(), 1);
    std::os::unix::fs::chown(place.path("spool/drop"), Some(54_321), None).unwrap();
    assert_eq!(place.sendmail(&["root"], "A: b\n").code, Some(75));
    assert_eq!(place.drops(), 1);
}

#[test]
fn a_big_mail_in_little_memory() {
    let place = Place::new();
    let line = "0123456789 0123456789 0123456789 0123456789 0123456789 012345\n";
    let body = line.repeat(50 * 1024 * 1024 / line.len());
    let daemon = place.serve(
        "submit",
        vec![script(vec![
            hear("MAIL FROM:<me@x>\nRCPT TO:<a>\nDATA\n"),
            say("250 Ok\n250 Ok\n354 Go\n"),
            hear("A: b\n\n"),
            hear(&body),
            hear(".\nQUIT\n"),
            say("250 Ok\n"),
        ])],
    );
    let mut command = Command::new("/bin/sh");
    // All of it: program, libraries, stack.
    command.args(["-c", "ulimit -v 24000; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_mote"), "-C"]);
    command.arg(place.path("mote.conf")).args(["sendmail", "-i", "-fme@x", "a"]).env_clear();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    assert_eq!(run(command, format!("A: b\n\n{body}").as_bytes()), fine());
    daemon.join().unwrap();
}

#[test]
fn calls_that_are_wrong() {
    let place = Place::new();
    for (words, input, code, part) in [
        (&["-Z", "root"][..], "", 64, "unknown flag -Z"),
        (&[], "", 64, "no recipients"),
        (&["-t"], "Subject: x\n\nTo: a@x\n", 65, "no recipients"),
        (&["-t"], "To: a@x, b@@x\n\n", 65, "the domain is malformed"),
        (&["a b@x"], "", 65, "recipient 'a b@x'"),
        (&["-f", "a@x, b@x", "c"], "", 65, "sender 'a@x, b@x'"),
        (&["-bd"], "", 64, "mote serve"),
    ] {
        let outcome = place.sendmail(words, input);
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
        assert!(outcome.err.contains(part) && outcome.err.lines().count() == 1, "{outcome:?}");
    }
    let outcome = place.sendmail(&["-t"], &"To: a@x\n".repeat(10_000));
    assert_eq!(outcome, failed(65, "sendmail: the header is longer than 65536 bytes"));
    assert_eq!(place.drops(), 0);
}

#[test]
fn a_stdin_that_cannot_be_read() {
    let place = Place::new();
    let mut command = place.command("sendmail", &["root"]);
    command.stdin(std::fs::File::open(place.path("run")).unwrap());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(71));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot read the message"));
    assert_eq!(place.drops(), 0);
}
