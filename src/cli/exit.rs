//! Exit codes and the one line on stderr that goes with them.
//!
//! The codes are those of sysexits.h, because the callers of `sendmail` decide by them: 75 is
//! tried again, the others are not. What went wrong is told once, in one line, by [`finish`]; the
//! rooms below hand a [`Failure`] up and print nothing.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// What a process leaves with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exit(pub u8);

impl Exit {
    /// All is well.
    pub const OK: Exit = Exit(0);
    /// `status`: it works, but somebody should look. `spool`: damage was found.
    pub const DEGRADED: Exit = Exit(1);
    /// `status`: mail does not move.
    pub const STUCK: Exit = Exit(2);
    /// The command line is wrong.
    pub const USAGE: Exit = Exit(64);
    /// The message or an address in it is wrong.
    pub const DATA: Exit = Exit(65);
    /// There is no such file to read.
    pub const NO_INPUT: Exit = Exit(66);
    /// There is no such recipient.
    pub const NO_USER: Exit = Exit(67);
    /// The service refuses for good.
    pub const UNAVAILABLE: Exit = Exit(69);
    /// The answer of the daemon makes no sense.
    pub const SOFTWARE: Exit = Exit(70);
    /// The system failed: reading stdin, writing stdout.
    pub const SYSTEM: Exit = Exit(71);
    /// A file cannot be made.
    pub const CANT_CREATE: Exit = Exit(73);
    /// Not now; try again.
    pub const TEMPORARY: Exit = Exit(75);
    /// Not allowed.
    pub const PERMISSION: Exit = Exit(77);
    /// The configuration is wrong.
    pub const CONFIG: Exit = Exit(78);
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.0)
    }
}

/// Why a verb gives up: what to exit with, and the line for stderr.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// What is wrong and, where there is one, the cure; without the program's name.
    pub message: String,
}

impl Failure {
    /// A failure that says `message`.
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into() }
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::USAGE, message)
    }
}

/// Tells a failure on stderr under the name of `program`, and turns the result into the exit code.
pub fn finish(program: &str, result: Result<Exit, Failure>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            tell(program, &failure.message);
            failure.exit.into()
        }
    }
}

/// One line on stderr, in one write; control characters, which may come from a peer, are masked.
pub fn tell(program: &str, message: &str) {
    let mut line = String::with_capacity(program.len() + message.len() + 3);
    line.push_str(program);
    line.push_str(": ");
    line.extend(message.chars().map(|c| if c.is_control() { '?' } else { c }));
    line.push('\n');
    // Nobody is left to be told that stderr is closed.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Writes the whole of `text` to stdout.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        // `mailq | head`: the reader has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new(Exit::SYSTEM, format!("cannot write to stdout: {error}"))),
    }
}
