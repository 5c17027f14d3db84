//! `mailq`, `queue`, `flush`, `status`: the clients of the control socket.

use crate::place::Step::{Hear, Say};
use crate::place::{Outcome, Place, failed, fine, run};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

const WAITING: &str = "{\"id\":\"1kQ7d\",\"from\":\"me@x\",\"size\":812,\"arrival\":1,\"age\":300,\
    \"state\":\"waiting\",\"next\":40,\"recipients\":[{\"to\":\"a@x\",\"state\":\"pending\",\
    \"reply\":\"450 \\\"busy\\\"\\u001b\"}]}\n";
const OK: &str = "{\"end\":\"ok\"}\n";

#[test]
fn the_queue_listed() {
    let place = Place::new();
    let answer = || vec![Hear("ls\n".to_owned()), Say(format!("{WAITING}{OK}"))];
    let empty = vec![Hear("ls\n".to_owned()), Say(OK.to_owned())];
    let daemon = place.serve("control", vec![answer(), answer(), answer(), empty]);
    let table = "\
ID     SIZE  AGE  STATE    NEXT  FROM    TO
1kQ7d  812B   5m  waiting   40s  <me@x>  a@x
                                         (450 \"busy\"?)
1 message, 812B
";
    let shown = |out: &str| Outcome { out: out.to_owned(), ..fine() };
    assert_eq!(place.run("mote", &["mailq"], b""), shown(table));
    assert_eq!(place.sendmail(&["-bp"], ""), shown(table));
    assert_eq!(place.run("mote", &["queue", "ls", "--json"], b""), shown(WAITING));
    assert_eq!(place.run("mote", &["queue"], b""), shown("The queue is empty.\n"));
    daemon.join().unwrap();
}

#[test]
fn the_queue_changed() {
    let place = Place::new();
    let request = |line: &str, answer: &str| vec![Hear(line.to_owned()), Say(answer.to_owned())];
    let missing = "{\"end\":\"error\",\"exit\":67,\"message\":\"no message 1kQ7d\"}\n";
    let daemon = place.serve(
        "control",
        vec![
            request("rm 1kQ7d 7\n", OK),
            request("retry all\n", OK),
            request("hold 1kQ7d\n", missing),
            request("flush\n", OK),
            request("flush\n", OK),
            request("show 1kQ7d\n", &format!("{WAITING}{OK}")),
            request("flush\n", ""),
        ],
    );
    assert_eq!(place.run("mote", &["queue", "rm", "1kQ7d", "7"], b""), fine());
    assert_eq!(place.run("mote", &["queue", "retry", "all"], b""), fine());
    let outcome = place.run("mote", &["queue", "hold", "1kQ7d"], b"");
    assert_eq!(outcome, failed(67, "mote: no message 1kQ7d"));
    assert_eq!(place.run("mote", &["flush"], b""), fine());
    assert_eq!(place.sendmail(&["-q"], ""), fine());
    let outcome = place.run("mote", &["queue", "show", "1kQ7d"], b"");
    assert!(outcome.out.contains("to      <a@x> pending\n"), "{outcome:?}");
    assert_eq!(place.run("mote", &["flush"], b"").code, Some(75));
    daemon.join().unwrap();
    for words in [&["queue", "rm"][..], &["queue", "burn", "1"], &["queue", "rm", "a b"], &["nix"]]
    {
        assert_eq!(place.run("mote", words, b"").code, Some(64), "{words:?}");
    }
}

#[test]
fn the_status_and_its_exit_code() {
    let place = Place::new();
    let status = |held: u8, free: u8| {
        format!(
            "{{\"version\":\"0.1.0\",\"hostname\":\"h\",\"spool\":\"/s\",\"volatile\":false,\
             \"blocks\":100,\"free\":{free},\"messages\":1,\"waiting\":0,\"held\":{held},\
             \"clock_trusted\":true,\"relays\":[]}}\n"
        )
    };
    let answer = |text: &str| vec![Hear("status\n".to_owned()), Say(format!("{text}{OK}"))];
    let daemon = place.serve(
        "control",
        vec![answer(&status(0, 90)), answer(&status(1, 90)), answer(&status(0, 0)), answer("")],
    );
    let outcome = place.run("mote", &["status", "--json"], b"");
    assert_eq!(outcome, Outcome { out: status(0, 90), ..fine() });
    let outcome = place.run("mote", &["status"], b"");
    assert!(outcome.code == Some(1) && outcome.out.contains("on hold"), "{outcome:?}");
    assert_eq!(place.run("mote", &["status"], b"").code, Some(2));
    assert_eq!(place.run("mote", &["status"], b"").code, Some(70));
    daemon.join().unwrap();
}

#[test]
fn nobody_to_ask() {
    let place = Place::new();
    for words in [&["mailq"][..], &["status"], &["flush"], &["queue", "show", "all"]] {
        let outcome = place.run("mote", words, b"");
        assert_eq!(outcome.code, Some(75), "{outcome:?}");
        assert!(outcome.err.contains("daemon is not running"), "{outcome:?}");
    }
}

#[test]
fn called_by_other_names() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mote"));
    command.arg0("newaliases").stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let outcome = run(command, b"");
    let said = outcome.out.trim_end();
    assert!(outcome.code == Some(0) && outcome.err.is_empty(), "{outcome:?}");
    assert_eq!(said, "no aliases: the config names no file");
    let place = Place::new();
    let outcome = place.run("mote", &["--version"], b"");
    assert!(outcome.code == Some(0) && outcome.out.starts_with("mote "), "{outcome:?}");
}
