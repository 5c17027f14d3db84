//! Plays the scripts of `tests/dialogues/` against the two protocol machines, without any socket.
//!
//! A script is a conversation as it would stand in an RFC, one line each:
//!
//!     C: text       the client's line, CRLF behind it          C~ text   without CRLF
//!     S: text       the server's, likewise                     S~ text
//!     E: text       what the machine tells its owner
//!     ! words       what the owner does, or what happens to it: see `receiver` and `sender`
//!     # words       a remark
//!
//! `C*20:` is that line twenty times (`E*20:` too); `{3000*x}` is three thousand x; and there are
//! `\r \n \0 \\ \xHH` as in Rust.
//!
//! Lines of the other side that follow one another come in one segment, and what stands between two
//! such groups is all that may be said in answer. Every script is played so, and again with every
//! byte in a segment of its own. The server's are also played with all that the client says (up to
//! the next event in the owner's life) in one segment, where only the two sums are compared; the
//! client's also with no more room for its commands than one of them needs.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a script that is not one fails the test"
)]

mod login;
mod receiver;
mod script;
mod sender;

use receiver::Receiver;
use script::{Line, read_script};
use sender::Sender;
use std::path::Path;

/// How a script is played.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Whole,
    ByteByByte,
    /// The server's scripts only.
    Pipelined,
    /// The client's scripts only.
    Cramped,
}

/// A machine with its owner.
pub(crate) trait Player {
    /// True for what the other side says.
    fn is_input(line: &Line) -> bool;
    /// Bytes come in.
    fn hear(&mut self, bytes: &[u8]);
    /// What can happen in the owner's life; the other words after `!` are known beforehand.
    const HAPPENINGS: &[&str];
    /// One of these happens.
    fn live(&mut self, words: &[&str]);
    /// What the machine has said, and told, since the last call.
    fn take(&mut self) -> (Vec<u8>, Vec<String>);
}

#[test]
fn server_dialogues() {
    let played =
        play_all("server", &[Mode::Whole, Mode::ByteByByte, Mode::Pipelined], |lines, _| {
            Receiver::new(lines)
        });
    assert!(played >= 25, "only {played}");
}

#[test]
fn client_dialogues() {
    let modes = [Mode::Whole, Mode::ByteByByte, Mode::Cramped];
    let played = play_all("client", &modes, Sender::new);
    assert!(played >= 15, "only {played}");
}

fn play_all<P: Player>(folder: &str, modes: &[Mode], begin: impl Fn(&[Line], Mode) -> P) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues").join(folder);
    let mut paths: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in &paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.contains("scram") && !cfg!(feature = "tls") {
            continue;
        }
        let lines = read_script(&std::fs::read_to_string(path).unwrap(), &name);
        for mode in modes {
            play(&lines, *mode, begin(&lines, *mode), &name);
        }
    }
    paths.len()
}

fn play<P: Player>(lines: &[Line], mode: Mode, mut player: P, name: &str) {
    let happens = |words: &str| P::HAPPENINGS.contains(&words.split(' ').next().unwrap());
    let is_played = |line: &&Line| !matches!(line, Line::Owner(words) if !happens(words));
    let mut lines = lines.iter().filter(is_played).peekable();
    while lines.peek().is_some() {
        let mut input = Vec::new();
        let mut said = Vec::new();
        let mut told = Vec::new();
        if let Some(Line::Owner(words)) = lines.peek() {
            player.live(&words.split(' ').collect::<Vec<_>>());
            player.hear(b"");
            lines.next();
        }
        let mut is_answered = false;
        while let Some(line) = lines.next_if(|line| !matches!(line, Line::Owner(_))) {
            match line {
                Line::Event(text) => told.push(text.clone()),
                Line::Client(bytes) | Line::Server(bytes) if P::is_input(line) => {
                    input.extend_from_slice(bytes);
                }
                Line::Client(bytes) | Line::Server(bytes) => said.extend_from_slice(bytes),
                Line::Owner(_) => unreachable!(),
            }
            is_answered |= !P::is_input(line);
            let is_next = lines.peek().is_some_and(|line| P::is_input(line));
            if is_answered && is_next && mode != Mode::Pipelined {
                break;
            }
        }
        match mode {
            Mode::ByteByByte => input.chunks(1).for_each(|byte| player.hear(byte)),
            _ => player.hear(&input),
        }
        let (said_now, told_now) = player.take();
        let context = format!("{name}, {mode:?}, after {:?}", input.escape_ascii().to_string());
        let shown = |bytes: &[u8]| bytes.escape_ascii().to_string().replace("\\r\\n", "\n");
        assert_eq!(shown(&said_now), shown(&said), "{context}");
        assert_eq!(told_now, told, "{context}");
    }
}
