//! `help`: the manual, printed from the tables that the program itself works by.
//!
//! `mote help --markdown` is the table of keys as it stands in the README, where a test compares
//! the two. `--man` and `--completion` print what packages install ([`manual`]).

use super::exit::{Exit, Failure, finish, print};
use super::{Context, flags, manual};
use crate::config;
use core::fmt;
use std::ffi::OsString;
use std::process::ExitCode;

/// Prints the topic that `words` name, or the verbs.
pub fn run(context: &Context, words: Vec<OsString>) -> ExitCode {
    let text = match words.as_slice() {
        [] => write(flags::write_overview),
        [topic] => tell(&topic.to_string_lossy()),
        [what, which] => emit(&what.to_string_lossy(), &which.to_string_lossy()),
        _ => Err(Failure::usage("help takes one topic")),
    };
    finish(context.program, text.and_then(|text| print(&text)).map(|()| Exit::OK))
}

fn tell(topic: &str) -> Result<String, Failure> {
    match topic {
        "keys" => write(|out| config::write_plain(out, None)),
        "exit" => write(manual::write_exits),
        "--markdown" => write(config::write_markdown),
        "sendmail" => write(flags::write_sendmail),
        _ => match flags::VERBS.iter().find(|verb| verb.name == topic) {
            Some(verb) => write(|out| flags::write_verb(out, verb)),
            None if config::section_names().any(|name| name == topic) => {
                write(|out| config::write_plain(out, Some(topic)))
            }
            None => {
                let verbs = flags::VERBS.iter().map(|verb| verb.name);
                let topics = verbs.chain(config::section_names()).chain(["keys", "exit"]);
                let near = config::hint(topic, topics);
                Err(Failure::usage(format!("there is no help on '{topic}'{near}")))
            }
        },
    }
}

/// What a package installs.
fn emit(what: &str, which: &str) -> Result<String, Failure> {
    match (what, which) {
        ("--completion", "bash") => write(manual::write_completion),
        ("--completion", _) => {
            Err(Failure::usage(format!("there is no completion for '{which}'; there is: bash")))
        }
        ("--man", _) => match manual::PAGES.iter().find(|page| page.name == which) {
            Some(page) => write(|out| manual::write_page(out, page)),
            None => {
                let near = config::hint(which, manual::PAGES.iter().map(|page| page.name));
                Err(Failure::usage(format!("there is no page '{which}'{near}")))
            }
        },
        _ => Err(Failure::usage("help takes one topic")),
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
        for topic in verbs.chain(config::section_names()).chain(["keys", "exit", "--markdown"]) {
            assert!(tell(topic).unwrap().lines().count() > 2, "{topic}");
        }
        assert!(tell("route").unwrap().starts_with("[route PATTERN]\n"));
        assert!(emit("--man", "mote.con").unwrap_err().message.contains("'mote.conf'"));
        assert_eq!(emit("--completion", "fish").unwrap_err().exit, Exit::USAGE);
        let failure = tell("stauts").unwrap_err();
        assert_eq!(failure.exit, Exit::USAGE);
        assert!(failure.message.contains("did you mean 'status'?"));
    }
}
