//! `flush`, and `sendmail -q`: everything that waits is due now, back-offs included.

use super::exit::{Exit, Failure, finish};
use super::{Context, control};
use std::ffi::OsString;
use std::process::ExitCode;

/// Runs `flush` with the words after it.
pub fn run(context: &Context, words: Vec<OsString>) -> ExitCode {
    let result = match words.first() {
        Some(word) => {
            let text = format!(
                "flush takes no '{}'; one message is 'queue retry ID'",
                word.to_string_lossy()
            );
            Err(Failure::usage(text))
        }
        None => control::ask(context, "flush", |_, _| {}).map(|()| Exit::OK),
    };
    finish(context.program, result)
}
