//! `queue ls|show|rm|retry|hold|release|bounce|export`: looking at the queue and changing it.
//!
//! The daemon decides and answers; this translates words to a request line and the answer to text
//! and files. While no daemon runs, the image answers to `ls`, `show`, `export`, `rm`, `hold` and
//! `release` (`super::offline`); `retry` and `bounce` need somebody who sends.
//! An id is what the log and `mailq` print; `all` is every message, and must be written out.

use super::Context;
use super::control::Asker;
use super::exit::{Exit, Failure, finish, print, tell};
use super::export::{Export, Exported, ensure_directory};
use super::json::Object;
use super::mailq::{self, clean, write_size, write_span};
use crate::base::ascii::parse_base62;
use std::ffi::OsString;
use std::fmt::Write;
use std::path::Path;
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
        "bounce" => bounce(context, &ids(words)?),
        "export" => export(context, words),
        other => Err(Failure::usage(format!(
            "'queue {other}' is not known; there are ls, show, rm, retry, hold, release, bounce \
             and export"
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
    if words.len() > 1 && words.iter().any(|word| word == "all") {
        return Err(Failure::usage("'all' and ids at once: which of them?"));
    }
    Ok(words.iter().filter_map(|word| word.to_str()).collect())
}

/// Changes as many at a time as a request holds. What is wrong with some of them does not keep the
/// others from being changed.
fn change(context: &Context, verb: &str, ids: &[&str]) -> Result<Exit, Failure> {
    let mut last: Option<Failure> = None;
    let mut asker = Asker::new(context)?;
    for some in ids.chunks(REQUEST_IDS_MAX) {
        let asked = asker.ask(&format!("{verb} {}", some.join(" ")), |_, object| {
            let (id, message) = (object.text("id"), object.text("message"));
            if !message.is_empty() {
                let name = if id.is_empty() { String::new() } else { format!("{id}: ") };
                tell(context.program, &clean(&format!("{name}{message}")));
            }
        });
        if let Err(failure) = asked
            && let Some(before) = last.replace(failure.clone())
            && before != failure
        {
            tell(context.program, &before.message);
        }
    }
    last.map_or(Ok(Exit::OK), Err)
}

/// The ids that were meant, with `all` written out.
fn each_id(asker: &mut Asker<'_>, ids: &[&str]) -> Result<Vec<String>, Failure> {
    if !ids.contains(&"all") {
        return Ok(ids.iter().map(|id| (*id).to_owned()).collect());
    }
    let mut all = Vec::new();
    asker.ask("ls", |_, object| all.push(object.text("id").to_owned()))?;
    Ok(all)
}

/// Does one thing with each; the failures of all but the last are told at once.
fn with_each(
    context: &Context,
    ids: &[&str],
    mut act: impl FnMut(&mut Asker<'_>, &str) -> Result<(), Failure>,
) -> Result<Exit, Failure> {
    let mut last: Option<Failure> = None;
    let mut asker = Asker::new(context)?;
    for id in each_id(&mut asker, ids)? {
        if let Err(Failure { exit, message }) = act(&mut asker, &id) {
            let failure = Failure::new(exit, format!("{id}: {message}"));
            if let Some(before) = last.replace(failure) {
                tell(context.program, &before.message);
            }
        }
    }
    last.map_or(Ok(Exit::OK), Err)
}

fn bounce(context: &Context, ids: &[&str]) -> Result<Exit, Failure> {
    with_each(context, ids, |asker, id| asker.ask(&format!("bounce {id}"), |_, _| {}))
}

fn export(context: &Context, words: &[OsString]) -> Result<Exit, Failure> {
    let (directory, words) = match words.split_last() {
        Some((directory, words)) if !words.is_empty() => (Path::new(directory), words),
        _ => return Err(Failure::usage("queue export ID… DIR, or queue export all DIR")),
    };
    let ids = ids(words)?;
    ensure_directory(directory)?;
    with_each(context, &ids, |asker, id| {
        let mut export = Export::new(directory, id);
        let asked = asker.ask(&format!("export {id}"), |_, object| export.take(object));
        if let Err(failure) = asked {
            export.discard();
            return Err(failure);
        }
        match export.finish("")? {
            Exported::Made => Ok(()),
            Exported::Before => {
                let text = format!("is in {} already", directory.display());
                Err(Failure::new(Exit::CANT_CREATE, text))
            }
        }
    })
}

fn show(context: &Context, ids: &[&str]) -> Result<Exit, Failure> {
    let mut text = String::new();
    let mut asker = Asker::new(context)?;
    for id in each_id(&mut asker, ids)? {
        asker.ask(&format!("show {id}"), |_, object| describe(&mut text, object))?;
    }
    // Whoever reads on at leisure keeps no daemon from starting.
    drop(asker);
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
    if !message.text("client").is_empty() {
        line("client", message.text("client"));
    }
    if let Some(uid) = message.number("login") {
        line("login", &uid.to_string());
    }
    if !message.text("account").is_empty() {
        line("account", message.text("account"));
    }
    for (number, field) in message.text("header").lines().enumerate() {
        line(if number == 0 { "header" } else { "" }, &field.replace('\t', "        "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::json::parse;

    #[test]
    fn only_ids_pass() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(ids(&words(&["1kQ7d", "2"])).unwrap(), ["1kQ7d", "2"]);
        assert_eq!(ids(&words(&["all"])).unwrap(), ["all"]);
        let mixed = [&["1kQ7d", "all"][..], &["all", "all"]];
        for bad in mixed.into_iter().chain([&[][..], &["a b"], &["1", "-f"], &["a\nrm all"], &[""]])
        {
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
