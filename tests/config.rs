//! Every faulty configuration in `tests/configs/bad` is told with its line and its cure, by the
//! parser and by `mote check`; every one in `tests/configs/good` is taken.
//!
//! Beside each `NAME.conf` of the bad ones stands `NAME.faults`: all of its faults, one a line, as
//! `LINE: message`. To add a case write the `.conf`, run the test, and copy what it prints, if that
//! is what a person with five minutes needs to read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use mote::config::{self, Host};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

/// A folder that fewer cases than this would not fill.
const BAD_MIN: usize = 25;

fn configs(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs").join(folder);
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().unwrap() == "conf").collect();
    paths.sort();
    paths
}

fn host() -> Host<'static> {
    Host { hostname: "router", home: "/home/me", is_embedded: false, run: Some("/run/mote") }
}

fn faults(text: &[u8]) -> String {
    let line = |fault: &config::Fault| format!("{}: {}\n", fault.line, fault.message);
    match config::parse(text, &host()) {
        Ok(_) => String::new(),
        Err(faults) => faults.iter().map(line).collect(),
    }
}

/// `mote -C path check`, without settings from the environment of whoever runs the test.
fn check(path: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mote"));
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MOTE_"))
    {
        command.env_remove(name);
    }
    command.arg("-C").arg(path).arg("check").output().unwrap()
}

#[test]
fn each_bad_one_is_told_exactly() {
    let paths = configs("bad");
    assert!(paths.len() >= BAD_MIN, "{} bad configurations", paths.len());
    let mut wrong = String::new();
    for path in paths {
        let expected = fs::read_to_string(path.with_extension("faults")).unwrap_or_default();
        let found = faults(&fs::read(&path).unwrap());
        assert!(!found.is_empty(), "{} is taken", path.display());
        if found != expected {
            let name = path.display();
            wrong += &format!("== {name}\nexpected:\n{expected}found:\n{found}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn each_bad_one_exits_78_with_file_and_line() {
    for path in configs("bad") {
        let expected: String = fs::read_to_string(path.with_extension("faults"))
            .unwrap()
            .lines()
            .map(|line| format!("{}:{line}\n", path.display()))
            .collect();
        let output = check(&path);
        assert_eq!(output.status.code(), Some(78), "{}", path.display());
        assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
        assert!(output.stdout.is_empty(), "{}", path.display());
    }
}

#[test]
fn each_good_one_comes_to_what_check_prints() {
    for path in configs("good") {
        let config = config::parse(&fs::read(&path).unwrap(), &host()).unwrap();
        let mut text = String::new();
        config::write_effective(&mut text, &config).unwrap();
        assert_eq!(config::parse(text.as_bytes(), &host()), Ok(config), "{}", path.display());

        let output = check(&path);
        assert_eq!(output.status.code(), Some(0), "{}", path.display());
        config::parse(&output.stdout, &host()).unwrap();
    }
}

/// Only the file itself was named, and nobody knew which line to mend.
#[test]
#[cfg(feature = "tls")]
fn lists_that_cannot_be_read_are_told_with_the_line_that_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mote.conf");
    let at = path.display();
    let text = "relay = hold\nusers = /no/u\naliases = /no/a\n[clients 127.0.0.1]\n\
                [listen lan]\naddress = ::1\nusers = /no/l\n[listen all]\naddress = 127.0.0.1\n";
    fs::write(&path, text).unwrap();
    let output = check(&path);
    let why = "cannot be read: No such file or directory (os error 2)";
    let expected = format!(
        "{at}:7: users: /no/l: {why}\n{at}:2: users: /no/u: {why}\n{at}:3: aliases: /no/a: {why}\n"
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
    assert_eq!(output.status.code(), Some(78));
}

/// A pipe that nobody writes to held whoever opened it, the daemon at HUP too.
#[test]
fn a_pipe_is_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mote.conf");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let output = check(&path);
    assert_eq!(output.status.code(), Some(78));
    let expected = format!("{}: cannot be read: it is not a file\n", path.display());
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
}

#[test]
fn a_file_that_is_not_there_is_no_default() {
    let output = check(Path::new("/no/such/mote.conf"));
    assert_eq!(output.status.code(), Some(78));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.starts_with("/no/such/mote.conf: cannot be read: "), "{stderr}");
}

#[test]
fn the_environment_is_told_by_its_name() {
    let path = configs("good").remove(0);
    let mut command = Command::new(env!("CARGO_BIN_EXE_mote"));
    command.env("MOTE_SESSION", "3").arg("-C").arg(path).arg("check");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let expected =
        "environment: MOTE_SESSION: there is no key 'session'; did you mean 'sessions'?\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
}

#[test]
fn no_bytes_make_the_parser_panic() {
    let seeds: Vec<Vec<u8>> =
        configs("bad").iter().chain(&configs("good")).map(|path| fs::read(path).unwrap()).collect();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(below).unwrap()).unwrap()
    };
    for _ in 0..20_000 {
        let mut text = seeds[random(seeds.len())].clone();
        text.truncate(600);
        for _ in 0..=random(4) {
            let other = &seeds[random(seeds.len())];
            let (from, at) = (random(other.len() + 1), random(text.len() + 1));
            match random(3) {
                0 if at < text.len() => text[at] = u8::try_from(random(256)).unwrap(),
                1 => drop(text.splice(at.., other[from..].iter().take(80).copied())),
                _ => text.insert(at, b"\n=[]#\"/:@*. -"[random(13)]),
            }
        }
        faults(&text);
    }
}
