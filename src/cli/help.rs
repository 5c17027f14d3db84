//! `help`: the manual, printed from the tables that the program itself works by.
//!
//! `mote help --markdown` is the table of keys as it stands in the README, where a test compares
//! the two.

use super::exit::{Exit, Failure, finish, print};
use super::{Context, flags};
use crate::config;
use core::fmt;
use std::ffi::OsString;
use std::process::ExitCode;

/// Prints the topic that `words` name, or the verbs.
pub fn run(context: &Context, words: Vec<OsString>) -> ExitCode {
    let text = match words.as_slice() {
        [] => write(flags::write_overview),
        [topic] => tell(&topic.to_string_lossy()),
        _ => Err(Failure::usage("help takes one topic")),
    };
    finish(context.program, text.and_then(|text| print(&text)).map(|()| Exit::OK))
}

fn tell(topic: &str) -> Result<String, Failure> {
    match topic {
        "keys" => write(config::write_plain),
        "--markdown" => write(config::write_markdown),
        "sendmail" => write(flags::write_sendmail),
        _ => match flags::VERBS.iter().find(|verb| verb.name == topic) {
            Some(verb) => write(|out| flags::write_verb(out, verb)),
            None => {
                let topics = flags::VERBS.iter().map(|verb| verb.name).chain(["keys"]);
                let near = config::hint(topic, topics);
                Err(Failure::usage(format!("there is no help on '{topic}'{near}")))
            }
        },
    }
}

fn write(fill: impl FnOnce(&mut String) -> fmt::Result) -> Result<String, Failure> {
    let mut text = String::new();
    match fill(&mut text) {
        Ok(()) => Ok(text),
        Err(fmt::Error) => Err(Failure::new(Exit::SOFTWARE, "the manual cannot be written")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_says_something() {
        let verbs = flags::VERBS.iter().map(|verb| verb.name);
        for topic in verbs.chain(["keys", "--markdown"]) {
            assert!(tell(topic).unwrap().lines().count() > 2, "{topic}");
        }
        let failure = tell("stauts").unwrap_err();
        assert_eq!(failure.exit, Exit::USAGE);
        assert!(failure.message.contains("did you mean 'status'?"));
    }
}
