//! `newaliases`, `sendmail -bi`: checks the file of aliases.
//!
//! There is no database to rebuild: the daemon reads the file itself when it has changed, the next
//! time that there is anything to do, and this gives it something. So this tells what is wrong in
//! it, a line each on stderr, file and line first, and exits 65; or how many aliases there are, as
//! other systems do, and exits 0.

use super::exit::{Exit, Failure, finish, print};
use super::{Context, configuration, control};
use crate::os::alias_files::{AliasFiles, Reading};
use std::ffi::OsString;
use std::process::ExitCode;

/// Checks the file that the configuration names.
pub fn run(context: &Context, words: &[OsString]) -> ExitCode {
    finish(context.program, examine(context, words))
}

fn examine(context: &Context, words: &[OsString]) -> Result<Exit, Failure> {
    if !words.is_empty() {
        let text =
            "newaliases takes no words; the file is the one that aliases names in the config";
        return Err(Failure::usage(text));
    }
    let config = configuration::load(context)?;
    let Reading { files, aliases, faults } = AliasFiles::read(&config);
    let aliases = aliases.map_err(|why| Failure::new(Exit::CONFIG, why))?;
    if !faults.is_empty() {
        faults.iter().for_each(|line| configuration::complain(line));
        return Ok(Exit::DATA);
    }
    let text = match &config.aliases_file {
        None => "no aliases: the config names no file\n".into(),
        Some(path) if !files.is_there() => format!("{path}: not there, so no aliases\n"),
        Some(path) => format!("{path}: {} aliases\n", aliases.count()),
    };
    print(&text)?;
    control::wake(context);
    Ok(Exit::OK)
}
