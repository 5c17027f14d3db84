//! The style of the house, as a test: who may import whom, what has no place in pure code, sizes,
//! heads of files, and that everything that can be said to the program is documented.
//!
//! Reads the tree as text, in the shape that rustfmt leaves it in; comments and the insides of
//! strings are blanked first where only code counts. Each test tells every fault as `FILE:LINE`.
//! A file that has to be longer than the guide, or hold a longer function, says why in its head, on
//! a line that begins `//! Size:`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::{env, fs};

/// A room may import itself and the rows below its own; neighbours do not see each other.
const ROWS: &[&[&str]] = &[
    &["base", "limits"],
    &["mail", "dns"],
    &["smtp", "queue", "config"],
    &["intake", "relay"],
    &["daemon"],
    &["os"],
    &["cli"],
    &["main", "lib"],
];
/// The first row that may touch the system.
const FIRST_IMPURE_ROW: usize = 5;
/// What pure rooms do not name: the caller hands in what they need.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "mio",
    "rustls",
    "getopts",
    "Instant::now",
    "SystemTime::now",
];
const COLUMNS_MAX: usize = 100;
const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
const TOP_LEVEL: &[&str] = &[
    ".cargo",
    ".ci",
    ".git",
    ".gitignore",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "Makefile",
    "README.md",
    "clippy.toml",
    "cross",
    "deny.toml",
    "rustfmt.toml",
    "src",
    "tests",
];

/// A file of the tree.
struct Source {
    /// From the root of the repository.
    path: String,
    /// As it stands.
    lines: Vec<String>,
    /// The same lines, comments and the insides of strings and characters blanked.
    code: Vec<String>,
}

impl Source {
    /// The line, from 0, where the unit tests begin; else how many lines there are.
    fn tests_begin(&self) -> usize {
        let found = self.lines.iter().position(|line| line == "#[cfg(test)]");
        found.unwrap_or(self.lines.len())
    }

    /// The room of a file under src.
    fn room(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        Some(inside.split('/').next()?.trim_end_matches(".rs"))
    }

    fn argues_its_size(&self) -> bool {
        let head = self.lines.iter().take_while(|line| line.starts_with("//!"));
        head.into_iter().any(|line| line.starts_with("//! Size:"))
    }
}

fn root() -> PathBuf {
    let here = env::var("CARGO_MANIFEST_DIR");
    here.map_or_else(|_| Path::new(env!("CARGO_MANIFEST_DIR")).into(), PathBuf::from)
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in ["src", "tests"] {
        walk(&root().join(folder), &mut paths);
    }
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|_| panic!("{}", folder.display()));
    for entry in entries.map(|entry| entry.unwrap().path()) {
        if entry.is_dir() && !entry.ends_with("target") {
            walk(&entry, paths);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            paths.push(entry);
        }
    }
}

fn read(path: &Path) -> Source {
    let text = fs::read_to_string(path).unwrap();
    let lines = |text: &str| text.lines().map(str::to_string).collect();
    let path = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    Source { path, lines: lines(&text), code: lines(&blanked(&text)) }
}

/// `text` with comments, and the insides of strings and characters, replaced by blanks.
fn blanked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = foreign_length(rest).unwrap_or(0);
        let (foreign, after) = rest.split_at(length);
        out.extend(foreign.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = after;
        if length == 0 {
            // A word is taken whole, so that the r and b of strings stand alone.
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let is_raw = ["r\"", "r#", "b\"", "b'", "br\"", "br#", "c\""]
                .iter()
                .any(|start| rest[first.len_utf8()..].starts_with(start));
            let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let count = if is_raw || word == 0 { first.len_utf8() } else { word };
            let (own, after) = rest.split_at(count);
            out.push_str(own);
            rest = after;
        }
    }
    out
}

/// How much of the front of `text` is a comment, a string or a character.
fn foreign_length(text: &str) -> Option<usize> {
    let until = |from: usize, end: &str| {
        text[from..].find(end).map_or(text.len(), |place| from + place + end.len())
    };
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(until(2, "*/"));
    }
    let bare = text.trim_start_matches(['b', 'c']);
    let prefix = text.len() - bare.len();
    if let Some(raw) = bare.strip_prefix('r').filter(|_| prefix <= 1) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            return Some(until(prefix + 1 + hashes + 1, &end));
        }
    }
    let quote = bare.chars().next().filter(|c| prefix <= 1 && (*c == '"' || *c == '\''))?;
    let inside = &bare[1..];
    // A lifetime has no closing quote behind its first character.
    let is_character = inside.starts_with('\\') || inside.chars().nth(1) == Some('\'');
    if quote == '\'' && !is_character {
        return None;
    }
    let mut escaped = false;
    for (place, c) in inside.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(prefix + 1 + place + 1),
            _ => {}
        }
    }
    Some(text.len())
}

/// Where `word` stands in `line` as a word of its own, with what follows it.
fn after_word<'a>(line: &'a str, word: &str) -> impl Iterator<Item = &'a str> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let length = word.len();
    line.match_indices(word).filter_map(move |(place, _)| {
        let (before, rest) = (&line[..place], &line[place + length..]);
        (!before.ends_with(is_part) && !rest.starts_with(is_part)).then_some(rest)
    })
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

fn row(room: &str) -> Option<usize> {
    ROWS.iter().position(|rooms| rooms.contains(&room))
}

/// The first names behind `prefix::` in code, groups in braces taken apart.
fn names_behind(code: &str, prefix: &str) -> Vec<(usize, String)> {
    let name = |text: &str| -> String {
        text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let start = format!("{prefix}::");
    let mut found = Vec::new();
    for (place, _) in code.match_indices(&start) {
        if code[..place].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let line = code[..place].matches('\n').count() + 1;
        let rest = &code[place + start.len()..];
        match rest.strip_prefix('{') {
            Some(group) => {
                let mut depth = 1;
                let mut at_name = true;
                for (place, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                    if at_name && !c.is_whitespace() {
                        found.push((line, name(&group[place..])));
                    }
                    at_name = (depth == 1 && c == ',') || (at_name && c.is_whitespace());
                }
            }
            None => found.push((line, name(rest))),
        }
    }
    found
}

#[test]
fn rooms_import_only_rows_below() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| source.room().is_some()) {
        let room = source.room().unwrap();
        let Some(own) = row(room) else {
            faults.push(format!("{}: the room '{room}' has no row in this test", source.path));
            continue;
        };
        let code = source.code.join("\n");
        let inside = names_behind(&code, "crate").into_iter();
        let outside = names_behind(&code, "mote").into_iter();
        for (line, name) in inside.chain(outside).filter(|(_, name)| name != room) {
            // A name that is no room is an item of lib.rs, which has none.
            if row(&name).is_none_or(|other| other >= own) {
                faults.push(format!("{}:{line}: {room} must not know {name}", source.path));
            }
        }
        faults.extend(climbing_out(source));
    }
    report(&faults);
}

/// `super::` chains that reach the top, past the rule above.
fn climbing_out(source: &Source) -> Vec<String> {
    let module = source.path.trim_start_matches("src/").trim_end_matches(".rs");
    let depth = module.trim_end_matches("/mod").split('/').count();
    let tests_begin = source.tests_begin();
    let climbs = |(number, line): (usize, &String)| {
        let depth = depth + usize::from(number >= tests_begin);
        let up = "super::".repeat(depth);
        line.contains(&up).then(|| format!("{}:{}: {up} is the top", source.path, number + 1))
    };
    match source.path.as_str() {
        "src/lib.rs" | "src/main.rs" => Vec::new(),
        _ => source.code.iter().enumerate().filter_map(climbs).collect(),
    }
}

#[test]
fn pure_rooms_do_not_touch_the_system() {
    let mut faults = Vec::new();
    for source in sources() {
        let Some(own) = source.room().and_then(row) else { continue };
        let code = source.code.join("\n");
        for (line, name) in names_behind(&code, "std") {
            let name = format!("std::{name}");
            if own < FIRST_IMPURE_ROW && IMPURE.contains(&name.as_str()) {
                faults.push(format!("{}:{line}: {name} in a pure room", source.path));
            }
        }
        for (number, line) in source.code.iter().enumerate() {
            let names = |word: &&&str| after_word(line, word).next().is_some();
            let words = IMPURE.iter().filter(|word| !word.starts_with("std::")).filter(names);
            for word in words.filter(|_| own < FIRST_IMPURE_ROW) {
                faults.push(format!("{}:{}: {word} in a pure room", source.path, number + 1));
            }
            // Sockets and TLS have one door.
            let door = ["mio", "rustls"].iter().filter(names).filter(|_| own > FIRST_IMPURE_ROW);
            faults.extend(
                door.map(|word| format!("{}:{}: {word} outside os", source.path, number + 1)),
            );
        }
    }
    report(&faults);
}

#[test]
fn every_file_says_what_it_is() {
    let mut faults = Vec::new();
    for source in sources() {
        let head: Vec<&String> =
            source.lines.iter().take_while(|line| line.starts_with("//!")).collect();
        let first = head.first().map_or("", |line| line.trim_start_matches("//!").trim());
        if first.len() < 20 {
            faults
                .push(format!("{}:1: opens without a //! head that says what it is", source.path));
        }
    }
    report(&faults);
}

#[test]
fn lines_and_files_are_short() {
    let mut faults = Vec::new();
    for source in sources() {
        for (number, line) in source.lines.iter().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX {
                faults.push(format!("{}:{}: {columns} columns", source.path, number + 1));
            }
        }
        let lines = source.tests_begin();
        if lines > FILE_LINES_MAX && !source.argues_its_size() {
            faults.push(format!("{}: {lines} lines without its tests", source.path));
        }
    }
    report(&faults);
}

#[test]
fn functions_are_short() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| !source.argues_its_size()) {
        let code = &source.code[..source.tests_begin()];
        for (number, line) in code.iter().enumerate() {
            let indent = &line[..line.len() - line.trim_start().len()];
            let is_item = line.trim_end().ends_with(['(', '{', ',', '>'])
                || line.contains('(')
                || line.trim_end().ends_with('<');
            if after_word(line, "fn").next().is_none_or(|rest| !rest.starts_with(' ')) || !is_item {
                continue;
            }
            let end = format!("{indent}}}");
            let lines = code[number..].iter().take_while(|line| **line != end).count() + 1;
            let declared =
                code[number..].iter().find(|line| line.trim_end().ends_with([';', '{', '}']));
            let has_body = declared.is_some_and(|line| line.trim_end().ends_with('{'));
            if has_body && lines > FUNCTION_LINES_MAX {
                faults.push(format!("{}:{}: {lines} lines of function", source.path, number + 1));
            }
        }
    }
    report(&faults);
}

#[test]
fn ignored_tests_say_why() {
    let mut faults = Vec::new();
    for source in sources() {
        for (number, line) in source.code.iter().enumerate() {
            if line.contains("#[ignore]") {
                faults.push(format!("{}:{}: #[ignore] without a reason", source.path, number + 1));
            }
        }
    }
    report(&faults);
}

#[test]
fn unsafe_code_has_one_place_and_a_reason() {
    let mut faults = Vec::new();
    for source in sources() {
        for (number, line) in source.code.iter().enumerate() {
            let Some(rest) = after_word(line, "unsafe").next() else { continue };
            if source.room().is_some_and(|room| room != "os") {
                faults.push(format!("{}:{}: unsafe outside os", source.path, number + 1));
            }
            // A call under way may stand between the reason and the block.
            let before = &source.lines[number.saturating_sub(4)..number];
            let is_argued = before.iter().any(|line| line.trim_start().starts_with("// SAFETY:"));
            let needs_it = !rest.trim_start().starts_with("fn ");
            if needs_it && !is_argued {
                faults.push(format!("{}:{}: unsafe without // SAFETY:", source.path, number + 1));
            }
        }
    }
    report(&faults);
}

#[test]
fn no_word_of_unfinished_work() {
    let words = ["todo", "unimplemented", "TODO", "FIXME", "XXX", "HACK"];
    let mut faults = Vec::new();
    // This file alone must name them.
    for source in sources().iter().filter(|source| source.path != "tests/tidy.rs") {
        for (number, line) in source.lines.iter().enumerate() {
            let found = words.iter().filter(|word| after_word(line, word).next().is_some());
            faults.extend(found.map(|word| format!("{}:{}: {word}", source.path, number + 1)));
        }
    }
    report(&faults);
}

#[test]
fn nothing_else_lies_on_top() {
    let ignored = fs::read_to_string(root().join(".gitignore")).unwrap_or_default();
    let ignored: Vec<&str> = ignored.lines().map(|line| line.trim_matches('/')).collect();
    let names = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name());
    let faults: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| !TOP_LEVEL.contains(&name.as_str()) && !ignored.contains(&name.as_str()))
        .map(|name| format!("{name}: has no place at the top of the repository"))
        .collect();
    report(&faults);
}

#[test]
fn the_readme_holds_the_table_of_keys() {
    let (begin, end) = ("<!-- keys -->\n", "<!-- /keys -->");
    let readme = fs::read_to_string(root().join("README.md")).unwrap_or_default();
    let table = readme
        .split_once(begin)
        .and_then(|(_, rest)| rest.split_once(end))
        .map(|(table, _)| table.trim());
    let mut expected = String::new();
    mote::config::write_markdown(&mut expected).unwrap();
    assert!(
        table == Some(expected.trim()),
        "put what 'mote help --markdown' prints into README.md, between {begin}and {end}"
    );
}

#[test]
fn every_key_is_documented() {
    let (mut plain, mut markdown) = (String::new(), String::new());
    mote::config::write_plain(&mut plain, None).unwrap();
    mote::config::write_markdown(&mut markdown).unwrap();
    assert!(mote::config::key_names().count() > 20);
    for (_, key) in mote::config::key_names() {
        assert!(plain.contains(&format!("\n  {key} = ")), "{key}");
        assert!(markdown.contains(&format!("\n| `{key}` | ")), "{key}");
    }
}

/// The words that `source` matches on as `b"word"`.
fn byte_words(source: &str) -> Vec<String> {
    let words = source.split("b\"").skip(1).filter_map(|rest| rest.split('"').next());
    words.map(str::to_string).collect()
}

#[test]
fn every_verb_and_flag_is_documented() {
    use mote::cli::flags::{GLOBAL, SENDMAIL, VERBS};
    let product = |path: &str| {
        let text = fs::read_to_string(root().join(path)).unwrap();
        text.split("#[cfg(test)]").next().unwrap().to_string()
    };
    let main = product("src/cli/mod.rs");
    let taken = byte_words(&main);
    for verb in VERBS {
        assert!(taken.iter().any(|word| word == verb.name), "verb {} is not taken", verb.name);
    }
    for flag in GLOBAL {
        assert!(taken.iter().any(|word| word == flag.name), "option {} is not taken", flag.name);
    }
    for word in taken.iter().filter(|word| word.starts_with('-')) {
        assert!(GLOBAL.iter().any(|flag| flag.name == word), "option {word} is not documented");
    }
    let arguments = product("src/cli/sendmail/arguments.rs");
    let table = arguments.split("const SENDMAIL_FLAGS").nth(1).unwrap().split("];").next().unwrap();
    let letters = table.split("(b'").skip(1).filter_map(|rest| rest.chars().next());
    let letters: Vec<String> = letters.map(|letter| format!("-{letter}")).collect();
    let documented: Vec<&str> = SENDMAIL.iter().map(|flag| flag.name).collect();
    for letter in &letters {
        assert!(documented.contains(&letter.as_str()), "sendmail {letter} is not documented");
    }
    for flag in documented {
        assert!(letters.iter().any(|letter| letter == flag), "sendmail {flag} is not taken");
    }
}

#[test]
fn blanking_leaves_code() {
    let text = r####"a("x // y", 'q', b'"', r#"z"w"#, "\"") /* c */ + br"d" // e
fn f<'a>(x: &'a str) -> char { '\'' }"####;
    let code = blanked(text);
    assert_eq!(code.len(), text.len());
    for gone in ["x //", "q", "z", "c */", "d", "e\n"] {
        assert!(!code.contains(gone), "{gone}: {code}");
    }
    assert!(code.contains("fn f<'a>(x: &'a str) -> char {"), "{code}");
    let groups = names_behind("use crate::{a::{b, c}, d};\ncrate::e::f", "crate");
    assert_eq!(groups, [(1, "a".into()), (1, "d".into()), (2, "e".into())]);
}
