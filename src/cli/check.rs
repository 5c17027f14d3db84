//! `check`: what the configuration comes to, what in it deserves a thought, and what is wrong.
//!
//! The effective configuration goes to stdout, as a file that could stand in its place, and behind
//! it, as comments, the most memory that serving it takes; warnings and faults go to stderr, one a
//! line, each with its file and line first. Exit 0, with warnings too, or 78. Nothing is opened but
//! the file, and those that it names; a program that prints a password is not run.

use super::Context;
use super::configuration::{self, Broken};
use super::exit::{Exit, Failure, finish, print};
use super::memory;
use crate::config;
use crate::os::alias_files::AliasFiles;
use std::ffi::OsString;
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
    // Those in a line keep no daemon from starting, but somebody who looks is to see them.
    let examined = examined.and_then(|loaded| {
        let mut faults = AliasFiles::read(&loaded.config).faults;
        faults.extend(configuration::key_faults(&loaded));
        faults.extend(configuration::protection_faults(&loaded));
        if faults.is_empty() { Ok(loaded) } else { Err(Broken(faults)) }
    });
    let loaded = match examined {
        Ok(loaded) => loaded,
        Err(Broken(lines)) => {
            lines.iter().for_each(|line| configuration::complain(line));
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
        configuration::complain(&format!("{name}: warning: {warning}"));
    }
    Ok(Exit::OK)
}
