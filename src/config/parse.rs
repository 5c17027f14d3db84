//! From a file's text, and the environment over it, to a [`Config`], or to every fault.
//!
//! A fault never hides the next one: a bad line is passed over, and the keys of a section whose
//! head is bad are left alone. At most [`FAULTS_MAX`] are kept. In the environment the key
//! `spool-size` is `MOTE_SPOOL_SIZE`, and `url` of `[relay office]` is `MOTE_RELAY__OFFICE__URL`;
//! without a name, `MOTE_RELAY__URL`, it is the relay named default. What the environment says goes
//! before what the file says; an empty variable says nothing.

use super::draft::{DEFAULT_RELAY, Draft, Given};
use super::ini::{self, Line};
use super::nearest::{hint, nearest};
use super::table::{Key, Section, keys};
use super::{Config, Fault, Host};

/// Faults told at once.
const FAULTS_MAX: usize = 50;
/// How a variable begins that is a setting.
pub const ENVIRONMENT_PREFIX: &str = "MOTE_";

/// What `text` says, over the defaults for `host`.
pub fn parse(text: &[u8], host: &Host<'_>) -> Result<Config, Vec<Fault>> {
    parse_with_environment(text, &[], host)
}

/// What `environment` says over what `text` says over the defaults. The pairs are names, with
/// [`ENVIRONMENT_PREFIX`], and values.
pub fn parse_with_environment(
    text: &[u8],
    environment: &[(String, String)],
    host: &Host<'_>,
) -> Result<Config, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut draft = Draft::new(host);
    read_file(text, &mut draft, &mut faults);
    for (name, value) in environment.iter().filter(|(_, value)| !value.is_empty()) {
        if let Err(message) = read_variable(name, value, &mut draft) {
            faults.push(Fault { line: 0, message: format!("{name}: {message}") });
        }
    }
    let config = draft.finish(&mut faults);
    if faults.is_empty() {
        return Ok(config);
    }
    faults.sort_by_key(|fault| fault.line);
    if faults.len() > FAULTS_MAX {
        let rest = faults.len() - FAULTS_MAX;
        faults.truncate(FAULTS_MAX);
        let line = faults.last().map_or(0, |fault| fault.line);
        faults.push(Fault { line, message: format!("{rest} more faults follow") });
    }
    Err(faults)
}

/// The configuration where there is no file and no environment.
pub fn embedded(host: &Host<'_>) -> Config {
    Draft::new(&Host { is_embedded: true, ..*host }).finish(&mut Vec::new())
}

/// The line in which `text` gives `key` in the section of that kind and name (no kind: above all
/// sections), for a fault that only
/// shows outside the text.
pub fn find_line(text: &[u8], kind: &str, name: &str, key: &str) -> Option<u32> {
    let mut is_there = kind.is_empty();
    ini::lines(text).find_map(|(line, read)| match read.ok()? {
        Line::Section { kind: other, name: named } => {
            is_there = other == kind && named == name;
            None
        }
        Line::Pair { key: other, .. } => (is_there && other == key).then_some(line),
        Line::BadSection => None,
    })
}

/// Where the reader of a file is, and what it has seen.
struct Place<'a> {
    section: Section,
    /// The number of the section in the file; keys may come back in another.
    number: u32,
    /// The head of this section was bad: its keys mean nothing.
    is_lost: bool,
    /// The line of the first section.
    first_section: u32,
    seen: Vec<(u32, &'a str, u32)>,
}

fn read_file(text: &[u8], draft: &mut Draft, faults: &mut Vec<Fault>) {
    if text.len() > ini::FILE_BYTES_MAX {
        let message = format!("the file is larger than {} bytes", ini::FILE_BYTES_MAX);
        faults.push(Fault { line: 1, message });
        return;
    }
    let mut place = Place {
        section: Section::Global,
        number: 0,
        is_lost: false,
        first_section: 0,
        seen: Vec::new(),
    };
    for (line, read) in ini::lines(text) {
        let done = match read {
            Ok(Line::Section { kind, name }) => place.enter(kind, name, line, draft),
            Ok(Line::BadSection) => {
                place.is_lost = true;
                Err("a section is a line like [relay office], with nothing behind it".into())
            }
            Ok(Line::Pair { .. }) if place.is_lost => Ok(()),
            Ok(Line::Pair { key, value }) => place.take(key, value, line, draft),
            Err(message) => Err(message),
        };
        if let Err(message) = done {
            faults.push(Fault { line, message });
        }
    }
}

impl<'a> Place<'a> {
    fn enter(
        &mut self,
        kind: &str,
        name: &str,
        line: u32,
        draft: &mut Draft,
    ) -> Result<(), String> {
        self.number += 1;
        self.is_lost = true;
        if self.first_section == 0 {
            self.first_section = line;
        }
        let section = section(kind)?;
        if section == Section::Rewrite {
            if !name.is_empty() {
                return Err(format!("[{kind}] takes no name; expected [rewrite]"));
            }
            self.section = section;
            self.is_lost = false;
            return Ok(());
        }
        if name.is_empty() {
            return Err(format!("[{kind}] needs a name; expected {}", section.heading()));
        }
        let before = draft.enter(section, name, line).map_err(|why| format!("[{kind}]: {why}"))?;
        if let Some(before) = before {
            if section == Section::Relay && name == DEFAULT_RELAY && before < self.first_section {
                return Err(format!("[relay default] is what the key relay makes, line {before}"));
            }
            return Err(format!("[{kind} {name}] is there already, line {before}"));
        }
        self.section = section;
        self.is_lost = false;
        Ok(())
    }

    fn take(
        &mut self,
        key: &'a str,
        text: &str,
        line: u32,
        draft: &mut Draft,
    ) -> Result<(), String> {
        // A section of lines that each name themselves.
        let is_free = self.section == Section::Rewrite;
        let row = keys(self.section)
            .find(|row| is_free || row.name == key)
            .ok_or_else(|| unknown_key(key, self.section, self.first_section))?;
        // `to` and `to!` are two ways to say one thing.
        let base = |key: &'a str| key.trim_end_matches('!');
        let same = |(number, other, _): &&(u32, &'a str, u32)| {
            *number == self.number && base(other) == base(key)
        };
        if let Some((_, other, before)) = self.seen.iter().find(same) {
            return Err(if *other == key {
                format!("{key} is there already, line {before}")
            } else {
                format!("{key} excludes {other}, line {before}")
            });
        }
        self.seen.push((self.number, key, line));
        let given = Given { key: row, text, line };
        if is_free {
            return draft.set_rewrite(key, &given).map_err(|why| format!("{key}: {why}"));
        }
        (row.set)(draft, &given).map_err(|why| format!("{key}: {why}"))
    }
}

fn section(kind: &str) -> Result<Section, String> {
    Section::NAMED.into_iter().find(|section| section.kind() == kind).ok_or_else(|| {
        let known = || Section::NAMED.into_iter().map(Section::kind);
        let near = nearest(kind, known())
            .and_then(|near| Section::NAMED.into_iter().find(|section| section.kind() == near));
        match near {
            Some(near) => format!("unknown section '{kind}'; did you mean '{}'?", near.heading()),
            None => {
                let all: Vec<&str> = Section::NAMED.into_iter().map(Section::heading).collect();
                format!("unknown section '{kind}'; there are {}", all.join(", "))
            }
        }
    })
}

fn unknown_key(key: &str, section: Section, first_section: u32) -> String {
    let all = || Section::NAMED.into_iter().chain([Section::Global]);
    let home = all().find(|other| keys(*other).any(|row| row.name == key));
    match home {
        Some(Section::Global) => format!(
            "{key} does not belong in {}; move it above the first section, line {first_section}",
            section.heading()
        ),
        Some(home) if section == Section::Global => {
            format!("{key} belongs in a section {}", home.heading())
        }
        Some(home) => format!(
            "{key} does not belong in {}; it belongs in {}",
            section.heading(),
            home.heading()
        ),
        None => {
            let here: Vec<&str> = keys(section).map(|row| row.name).collect();
            let near = nearest(key, here.iter().copied()).map(str::to_string).map_or_else(
                || match nearest(key, Section::NAMED.into_iter().map(Section::kind)) {
                    Some(kind) => format!("; did you mean a section '[{kind} …]'?"),
                    None if section == Section::Global => "; mote help keys lists them all".into(),
                    None => format!("; expected {}", here.join(", ")),
                },
                |near| format!("; did you mean '{near}'?"),
            );
            format!("unknown key '{key}'{near}")
        }
    }
}

fn read_variable(name: &str, text: &str, draft: &mut Draft) -> Result<(), String> {
    let bare = name.strip_prefix(ENVIRONMENT_PREFIX).unwrap_or(name);
    let lower = bare.to_ascii_lowercase();
    let mut words = lower.split("__").map(|word| word.replace('_', "-"));
    let words = (words.next(), words.next(), words.next(), words.next());
    let (section, key) = match words {
        (Some(key), None, None, None) => (Section::Global, key),
        (Some(kind), Some(key), None, None) if kind == Section::Relay.kind() => {
            draft.enter(Section::Relay, DEFAULT_RELAY, 0)?;
            (Section::Relay, key)
        }
        (Some(kind), Some(section_name), Some(key), None) => {
            let section = section(&kind)?;
            draft.enter(section, &section_name, 0)?;
            (section, key)
        }
        _ => return Err("expected a name like MOTE_KEY or MOTE_RELAY__NAME__KEY".into()),
    };
    let row: &'static Key = keys(section).find(|row| row.name == key).ok_or_else(|| {
        let near = hint(&key, keys(section).map(|row| row.name));
        format!("there is no key '{key}'{near}")
    })?;
    (row.set)(draft, &Given { key: row, text, line: 0 })
}
