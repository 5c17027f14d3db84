//! The commands: one file a verb, and what they share.
//!
//! [`main`] looks at the name the program was called by, then at the first word, and hands the rest
//! to a verb's `run`, which answers with an exit code of sysexits ([`exit`]). Global options stand
//! before the verb. Commands that ask the daemon go through [`control`]; [`sendmail`] speaks SMTP
//! to it like everybody else. Only the administrator's open an image: `queue` while no daemon does
//! ([`offline`]), and [`spool`].
//!
//! Nothing here runs in the daemon's loop, so this room may block, allocate, and use the whole of
//! std.

pub mod check;
pub mod configuration;
mod confinement;
pub mod control;
pub mod exit;
pub mod export;
pub mod flags;
pub mod flush;
pub mod gencert;
pub mod help;
pub mod json;
pub mod listeners;
pub mod mailq;
pub mod manual;
pub mod memory;
pub mod newaliases;
pub mod offline;
pub mod passwd;
pub mod places;
pub mod queue;
pub mod sendmail;
pub mod serve;
pub mod spool;
pub mod status;
mod unopened;

use exit::{Exit, Failure, finish, print};
use places::Places;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What every verb is told besides its own words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Context {
    /// The name to speak under on stderr.
    pub program: &'static str,
    /// `-C FILE`.
    pub config: Option<PathBuf>,
    /// `-v`.
    pub verbose: bool,
    /// Whether `$MOTE_HOME` counts (decisions 19: to a program that others may start, called by
    /// the name of `sendmail`, only root's does).
    pub trust_home: bool,
}

impl Context {
    /// Where to look for a daemon to take mail: no config file is read but one that is named.
    pub fn places(&self) -> Result<Places, Failure> {
        if self.config.is_none() {
            return Ok(Places::usual(self.trust_home));
        }
        let config = configuration::load(self)?;
        Ok(Places::configured(Path::new(&config.run), Path::new(&config.spool)))
    }

    /// Where to look for a daemon to be asked and told: the one of the system's config file, if
    /// there is one and it can be read, before the others.
    pub fn control_places(&self) -> Result<Places, Failure> {
        let mut places = self.places()?;
        let is_named = self.config.is_some() || std::env::var_os("MOTE_SOCKET").is_some();
        if let Some(loaded) = (!is_named).then(|| configuration::read(self).ok()).flatten() {
            let (run, spool) = (Path::new(&loaded.config.run), Path::new(&loaded.config.spool));
            places.control.splice(0..0, Places::configured(run, spool).control);
        }
        Ok(places)
    }
}

/// Runs what `arguments`, the program's own name first, ask for.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut words = arguments.into_iter();
    let called = words.next().unwrap_or_default();
    let called = Path::new(&called).file_name().unwrap_or_default();
    let context = |program| Context { program, config: None, verbose: false, trust_home: true };
    match called.as_bytes() {
        b"sendmail" => sendmail::run_as_sendmail(context("sendmail"), words.collect()),
        b"msmtp" => sendmail::run_as_msmtp(context("msmtp"), words.collect()),
        b"mailq" => mailq::run(&context("mailq"), words.collect()),
        // Packages call it after an installation, with whatever options Sendmail's has.
        b"newaliases" => newaliases::run(&context("newaliases"), &[]),
        _ => match Call::parse(words, context("mote")) {
            Ok(call) => call.run(),
            Err(failure) => finish("mote", Err(failure)),
        },
    }
}

/// The words of `mote`, sorted.
struct Call {
    context: Context,
    verb: OsString,
    words: Vec<OsString>,
}

impl Call {
    fn parse(
        words: impl IntoIterator<Item = OsString>,
        mut context: Context,
    ) -> Result<Call, Failure> {
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            match word.as_bytes() {
                b"-v" => context.verbose = true,
                b"-h" | b"--help" => return Ok(Call::new(context, "help", words)),
                b"--version" => return Ok(Call::new(context, "--version", words)),
                b"-C" => {
                    let file = words.next().ok_or_else(|| Failure::usage("-C needs a file"))?;
                    context.config = Some(PathBuf::from(file));
                }
                [b'-', b'C', file @ ..] => {
                    context.config = Some(PathBuf::from(OsStr::from_bytes(file)));
                }
                [b'-', ..] => {
                    let text = format!(
                        "unknown option '{}'; before the verb there are -C FILE, -v, -h, --version",
                        word.to_string_lossy()
                    );
                    return Err(Failure::usage(text));
                }
                _ => return Ok(Call::new(context, word, words)),
            }
        }
        Err(Failure::usage("what shall it do? 'mote help' tells what there is"))
    }

    fn new(
        context: Context,
        verb: impl Into<OsString>,
        words: impl Iterator<Item = OsString>,
    ) -> Call {
        Call { context, verb: verb.into(), words: words.collect() }
    }

    fn run(self) -> ExitCode {
        let Call { context, verb, words } = self;
        match verb.as_bytes() {
            b"sendmail" => sendmail::run(context, words),
            b"mailq" => mailq::run(&context, words),
            b"newaliases" => newaliases::run(&context, &words),
            b"queue" => queue::run(&context, words),
            b"flush" => flush::run(&context, words),
            b"status" => status::run(&context, words),
            b"serve" => serve::run(&context, words),
            b"passwd" => passwd::run(&context, &words),
            b"spool" => spool::run(&context, words),
            b"gencert" => gencert::run(&context, words),
            b"check" => check::run(&context, words),
            b"help" => help::run(&context, words),
            b"--version" => {
                let version = concat!("mote ", env!("CARGO_PKG_VERSION"), "\n");
                finish(context.program, print(version).map(|()| Exit::OK))
            }
            _ => {
                let text = format!(
                    "'{}' is not a verb; 'mote help' tells what there is",
                    verb.to_string_lossy()
                );
                finish(context.program, Err(Failure::usage(text)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Call, Failure> {
        let context = Context { program: "mote", config: None, verbose: false, trust_home: true };
        Call::parse(line.split_whitespace().map(OsString::from), context)
    }

    #[test]
    fn global_options_stand_before_the_verb() {
        for line in ["-C a.conf -v queue ls -C", "-Ca.conf -v queue ls -C"] {
            let call = parse(line).unwrap();
            assert_eq!(call.context.config.as_deref(), Some(Path::new("a.conf")));
            assert!(call.context.verbose);
            assert_eq!((call.verb, call.words), ("queue".into(), vec!["ls".into(), "-C".into()]));
        }
        assert_eq!(parse("-h queue").unwrap().verb, "help");
        assert_eq!(parse("--version").unwrap().verb, "--version");
        for bad in ["", "-C", "-Z queue", "--", "--verbose"] {
            assert_eq!(parse(bad).err().map(|failure| failure.exit), Some(Exit::USAGE), "{bad}");
        }
    }
}
