//! A place of its own for a call, a daemon that follows a script, and what came of the call.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use Step::{Drain, Drip, Hear, Say, Wait};

pub(crate) enum Step {
    /// Write this.
    Say(String),
    /// Read exactly this.
    Hear(String),
    /// Do nothing for so long.
    Wait(Duration),
    /// Write this, a byte at a time, so long apart.
    Drip(String, Duration),
    /// Read to the end, whatever comes.
    Drain,
}

pub(crate) fn say(text: &str) -> Step {
    Say(text.replace('\n', "\r\n"))
}

pub(crate) fn hear(text: &str) -> Step {
    Hear(text.replace('\n', "\r\n"))
}

/// What every session begins with.
pub(crate) fn hello() -> Vec<Step> {
    vec![
        say("220 test ESMTP\n"),
        hear("EHLO localhost\n"),
        say("250-test\n250-PIPELINING\n250-SIZE 10485760\n250-8BITMIME\n250 ENHANCEDSTATUSCODES\n"),
    ]
}

pub(crate) fn script(steps: Vec<Step>) -> Vec<Step> {
    hello().into_iter().chain(steps).collect()
}

fn play(mut stream: UnixStream, steps: Vec<Step>) {
    for step in steps {
        match step {
            Say(text) => stream.write_all(text.as_bytes()).unwrap(),
            Hear(text) => {
                let mut found = Vec::new();
                (&stream).take(text.len() as u64).read_to_end(&mut found).unwrap();
                assert_eq!(String::from_utf8_lossy(&found), text);
            }
            Wait(time) => std::thread::sleep(time),
            Drip(text, pause) => {
                for byte in text.as_bytes() {
                    // The other side may have given up.
                    let _ = stream.write_all(&[*byte]);
                    std::thread::sleep(pause);
                }
            }
            Drain => {
                let _ = stream.read_to_end(&mut Vec::new());
            }
        }
    }
}

/// A run and a spool directory, and the config that names them.
pub(crate) struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        let place = Place { directory: tempfile::tempdir().unwrap() };
        for name in ["run", "spool", "spool/drop"] {
            std::fs::create_dir(place.path(name)).unwrap();
        }
        std::fs::set_permissions(place.path(""), PermissionsExt::from_mode(0o755)).unwrap();
        let text = format!(
            "relay = hold\nrun = {}\nspool = {}\n",
            place.path("run").display(),
            place.path("spool").display()
        );
        std::fs::write(place.path("mote.conf"), text).unwrap();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Plays one script a connection on that socket.
    pub(crate) fn serve(&self, socket: &str, scripts: Vec<Vec<Step>>) -> JoinHandle<()> {
        let listener = UnixListener::bind(self.path("run").join(socket)).unwrap();
        spawn(move || {
            for steps in scripts {
                play(listener.accept().unwrap().0, steps);
            }
        })
    }

    pub(crate) fn command(&self, program: &str, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mote"));
        let config: OsString = self.path("mote.conf").into();
        command.arg0(program).env_clear().arg("-C").arg(config).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, program: &str, words: &[&str], input: &[u8]) -> Outcome {
        run(self.command(program, words), input)
    }

    pub(crate) fn sendmail(&self, words: &[&str], input: &str) -> Outcome {
        self.run("sendmail", words, input.as_bytes())
    }

    /// The one file in the drop directory: its envelope records, and its message.
    pub(crate) fn dropped(&self) -> (Vec<(u8, String)>, String) {
        let files: Vec<_> = std::fs::read_dir(self.path("spool/drop")).unwrap().collect();
        assert_eq!(files.len(), 1);
        read_drop(&files[0].as_ref().unwrap().path())
    }

    pub(crate) fn drops(&self) -> usize {
        std::fs::read_dir(self.path("spool/drop")).unwrap().count()
    }
}

pub(crate) fn read_drop(path: &std::path::Path) -> (Vec<(u8, String)>, String) {
    let bytes = std::fs::read(path).unwrap();
    let rest = bytes.strip_prefix(b"motedrop1\n").unwrap();
    let (length, rest) = rest.split_first_chunk().unwrap();
    let (mut envelope, message) = rest.split_at(u32::from_le_bytes(*length) as usize);
    let mut records = Vec::new();
    while let Some(([kind, _, low, high], rest)) = envelope.split_first_chunk() {
        let (value, rest) = rest.split_at(usize::from(u16::from_le_bytes([*low, *high])));
        records.push((*kind, String::from_utf8_lossy(value).into_owned()));
        envelope = rest;
    }
    (records, String::from_utf8(message.to_vec()).unwrap())
}

#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn run(mut command: Command, input: &[u8]) -> Outcome {
    let mut child = command.spawn().unwrap();
    // It may end before it has read all of it.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

pub(crate) fn fine() -> Outcome {
    Outcome { code: Some(0), out: String::new(), err: String::new() }
}

pub(crate) fn failed(code: i32, err: &str) -> Outcome {
    Outcome { code: Some(code), out: String::new(), err: format!("{err}\n") }
}

/// The user these tests run as.
pub(crate) fn uid() -> u32 {
    std::fs::metadata("/proc/self").unwrap().uid()
}
