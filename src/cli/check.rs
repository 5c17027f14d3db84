//! `check`: what the configuration comes to, what in it deserves a thought, and what is wrong.
//!
//! The effective configuration goes to stdout, as a file that could stand in its place, and behind
//! it, as comments, the most memory that serving it takes; warnings and faults go to stderr, one a
//! line, each with its file and line first. Exit 0, with warnings too, or 78. Nothing is opened but
//! the file, and certificates that it names.

use super::Context;
use super::configuration::{self, Broken};
use super::exit::{Exit, Failure, finish, print};
use super::memory;
use crate::config;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

/// Checks the file that `context` names, or the system's.
pub fn run(context: &Context, words: Vec<OsString>) -> ExitCode {
    finish(context.program, check(context, &words))
}

fn check(context: &Context, words: &[OsString]) -> Result<Exit, Failure> {
    if !words.is_empty() {
        return Err(Failure::usage(
            "check takes no words; the file is named before: -C FILE check",
        ));
    }
    let examined = configuration::read(context)
        .and_then(|loaded| configuration::examine(&loaded).map(|()| loaded));
    let loaded = match examined {
        Ok(loaded) => loaded,
        Err(Broken(lines)) => {
            lines.iter().for_each(|line| complain(line));
            return Ok(Exit::CONFIG);
        }
    };
    let name = match &loaded.file {
        Some(file) => file.display().to_string(),
        None => format!("no {}", configuration::SYSTEM_FILE),
    };
    let mut text = format!("# {name}, and the defaults\n");
    config::write_effective(&mut text, &loaded.config)
        .map_err(|_| Failure::new(Exit::SOFTWARE, "the configuration cannot be written"))?;
    let program = std::env::current_exe().and_then(std::fs::metadata);
    text += &memory::write(&loaded.config, program.map_or(0, |program| program.len()));
    print(&text)?;
    for warning in config::warnings(&loaded.config) {
        complain(&format!("{name}: warning: {warning}"));
    }
    Ok(Exit::OK)
}

/// A line on stderr without the program's name before it: editors look for FILE:LINE at the start.
fn complain(line: &str) {
    let line: String = line.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    // Nobody is left to be told that stderr is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}
