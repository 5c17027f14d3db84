//! `queue ls|show|rm|retry|hold|release`: looking at the queue and changing it, by the daemon.
//!
//! The daemon decides and answers; this translates words to a request line and the answer to text.
//! An id is what the log and `mailq` print; `all` is every message, and must be written out.

use super::exit::{Exit, Failure, finish, print};
use super::json::Object;
use super::mailq::{self, clean, write_size, write_span};
use super::{Context, control};
use crate::base::ascii::parse_base62;
use std::ffi::OsString;
use std::fmt::Write;
use std::process::ExitCode;

/// The longest line of ids that is sent in one request; more are several requests.
const REQUEST_IDS_MAX: usize = 32;

/// Runs `queue` with the words after it.
pub fn run(context: &Context, words: Vec<OsString>) -> ExitCode {
    finish(context.program, act(context, &words))
}

fn act(context: &Context, words: &[OsString]) -> Result<Exit, Failure> {
    let Some((verb, words)) = words.split_first() else {
        return mailq::list(context, words);
    };
    match verb.to_str().unwrap_or_default() {
        "ls" | "--json" if verb == "--json" => mailq::list(context, &["--json".into()]),
        "ls" => mailq::list(context, words),
        "show" => show(context, &ids(words)?),
        verb @ ("rm" | "retry" | "hold" | "release") => change(context, verb, &ids(words)?),
        other => Err(Failure::usage(format!(
            "'queue {other}' is not known; there are ls, show, rm, retry, hold and release"
        ))),
    }
}

fn ids(words: &[OsString]) -> Result<Vec<&str>, Failure> {
    let id = |word: &OsString| match word.to_str().map(|text| (word, text)) {
        Some((_, "all")) => true,
        Some((_, text)) => parse_base62(text).is_some(),
        None => false,
    };
    if let Some(word) = words.iter().find(|word| !id(word)) {
        let word = word.to_string_lossy();
        return Err(Failure::usage(format!("'{word}' is not the id of a message; see 'mailq'")));
    }
    if words.is_empty() {
        return Err(Failure::usage("which message? Name its id, or 'all'"));
    }
    Ok(words.iter().filter_map(|word| word.to_str()).collect())
}

fn change(context: &Context, verb: &str, ids: &[&str]) -> Result<Exit, Failure> {
    let mut text = String::new();
    for some in ids.chunks(REQUEST_IDS_MAX) {
        control::ask(context, &format!("{verb} {}", some.join(" ")), |_, object| {
            let message = object.text("message");
            if !message.is_empty() {
                let _ = writeln!(text, "{}", clean(message));
            }
        })?;
    }
    print(&text)?;
    Ok(Exit::OK)
}

fn show(context: &Context, ids: &[&str]) -> Result<Exit, Failure> {
    let mut text = String::new();
    for id in ids {
        let request = match *id {
            "all" => "ls".to_owned(),
            id => format!("show {id}"),
        };
        control::ask(context, &request, |_, object| describe(&mut text, object))?;
    }
    print(&text)?;
    Ok(Exit::OK)
}

fn describe(text: &mut String, message: &Object) {
    if !text.is_empty() {
        text.push('\n');
    }
    let size = message.number("size").and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<8}{}", clean(value));
    };
    line("id", message.text("id"));
    line("from", &format!("<{}>", message.text("from")));
    line("size", &write_size(size));
    line("age", &write_span(message.number("age")));
    line("state", message.text("state"));
    line("next", &write_span(message.number("next")));
    for recipient in message.objects("recipients") {
        let (to, state) = (recipient.text("to"), recipient.text("state"));
        line("to", &format!("<{to}> {state}"));
        if !recipient.text("reply").is_empty() {
            line("", recipient.text("reply"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::json::parse;

    #[test]
    fn only_ids_pass() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(ids(&words(&["1kQ7d", "all"])).unwrap(), ["1kQ7d", "all"]);
        for bad in [&[][..], &["a b"], &["1", "-f"], &["a\nrm all"], &[""]] {
            assert_eq!(ids(&words(bad)).unwrap_err().exit, Exit::USAGE, "{bad:?}");
        }
    }

    #[test]
    fn a_message_described() {
        let line = r#"{"id":"7","from":"a@b","size":1,"age":1,"state":"held","next":null,
            "recipients":[{"to":"c@d","state":"pending","reply":"450 no"}]}"#;
        let mut text = String::new();
        describe(&mut text, &parse(line).unwrap());
        let expected = "id      7\nfrom    <a@b>\nsize    1B\nage     1s\nstate   held\nnext    -\n\
                        to      <c@d> pending\n        450 no\n";
        assert_eq!(text, expected);
    }
}
