//! aliases(5): whose mail goes to whom instead, as text and as a table.
//!
//! A line is a name of this machine, a colon, and targets separated by commas; lines that begin
//! with a blank go on with the one before, and those that begin with `#` are remarks.
//!
//! ```text
//! root:     admin, \root
//! admin:    me@example.net
//! "j. doe": :include:/etc/mail/doe
//! *:        postmaster
//! ```
//!
//! A target is an address, a name of this machine, or `:include:` and the path of a file of
//! targets. A name with `\` before it, and a name among its own targets, is the user himself.
//! `*` is everybody who is not listed. Commands (`|`) and files (`/`) are refused: no mail here
//! starts a program (threats 5), and a route leads into a Maildir.
//!
//! All is followed through when the text is read, so a look-up is one step and finds every fault
//! there can be: [`Aliases::find`] gives the last targets, whom no alias changes any more. What a
//! fault concerns is kept as [`Found::Broken`]: mail for it waits, nobody else's does.
//!
//! Limits: those of `limits` that begin with ALIAS, and threats 15: depth 10, and 100 targets of
//! one name. Not here: reading files (`cli::configuration`), what a target's route is.

use crate::limits::{
    ALIAS_DEPTH_MAX, ALIAS_TARGETS_MAX, ALIASES_FILE_BYTES_MAX, ALIASES_MAX, ALIASES_TARGETS_MAX,
};
use crate::mail::address::Address;

/// Targets looked at for one name, those that are there already included.
const STEPS_MAX: usize = ALIAS_DEPTH_MAX * ALIAS_TARGETS_MAX;
/// The name of everybody who is not listed.
const CATCH_ALL: &str = "*";
const INCLUDE: &str = ":include:";

/// All aliases, sorted by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Aliases {
    aliases: Vec<Alias>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Alias {
    /// In lower case, without quotes.
    name: String,
    line: u32,
    /// None: broken.
    targets: Option<Vec<String>>,
}

/// What is known of a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found<'a> {
    /// It has no alias.
    Nothing,
    /// Who gets its mail: at least one.
    Targets(&'a [String]),
    /// It has one that cannot be used; the line.
    Broken(u32),
}

/// Something wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AliasFault {
    /// The included file, if it is there; empty: the file itself.
    pub file: String,
    /// The line, from 1; 0: the whole file.
    pub line: u32,
    /// What is wrong, what was expected, and what to do.
    pub message: String,
}

/// What the text is read with.
pub struct Surroundings<'a> {
    /// Whether an address is one of this machine.
    pub is_local: &'a dyn Fn(Address<'_>) -> bool,
    /// The text of the file at a path; else what is wrong with it.
    pub include: &'a mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
}

/// A recipient, as the queue has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addressee<'a> {
    /// Where to.
    pub address: Address<'a>,
    /// An alias has led here: none is looked for any more.
    pub is_final: bool,
}

impl<'a> Addressee<'a> {
    /// As somebody has named it.
    pub const fn new(address: Address<'a>) -> Addressee<'a> {
        Addressee { address, is_final: false }
    }
}

enum Target {
    /// No alias is looked for any more.
    Final(String),
    /// A user of this machine: as a name, and as it was written.
    Local(String, String),
}

/// A line, before it is followed through.
struct Entry {
    name: String,
    line: u32,
    /// None: there is a fault in the line.
    targets: Option<Vec<Target>>,
}

impl Aliases {
    /// Reads the text of a file. The aliases are those without a fault, and the names of those with
    /// one.
    pub fn parse(text: &[u8], around: &mut Surroundings<'_>) -> (Aliases, Vec<AliasFault>) {
        let mut reading = Reading { around, faults: Vec::new() };
        if text.len() > ALIASES_FILE_BYTES_MAX {
            reading.fault(1, format!("the file is larger than {ALIASES_FILE_BYTES_MAX} bytes"));
            return (Aliases::default(), reading.faults);
        }
        let mut entries: Vec<Entry> = Vec::new();
        for (line, text) in reading.logical_lines(text) {
            let Some(entry) = reading.entry(line, &text) else { continue };
            if entries.len() == ALIASES_MAX {
                reading.fault(line, format!("there are more than {ALIASES_MAX} aliases"));
                break;
            }
            entries.push(entry);
        }
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        let mut faults = reading.faults;
        entries.dedup_by(|later, first| {
            let is_twin = later.name == first.name;
            if is_twin {
                let message = format!("{} is there already, line {}", later.name, first.line);
                faults.push(AliasFault { file: String::new(), line: later.line, message });
            }
            is_twin
        });
        let aliases = follow_all(&entries, &mut faults);
        faults.sort_by_key(|fault| fault.line);
        (Aliases { aliases }, faults)
    }

    /// What becomes of the mail for a user of this machine, whose local part that is.
    pub fn find(&self, local: &str) -> Found<'_> {
        let at = |name: &str| {
            self.aliases.binary_search_by(|alias| alias.name.bytes().cmp(plain(name))).ok()
        };
        let Some(alias) = at(local).or_else(|| at(CATCH_ALL)).and_then(|at| self.aliases.get(at))
        else {
            return Found::Nothing;
        };
        match &alias.targets {
            Some(targets) => Found::Targets(targets),
            None => Found::Broken(alias.line),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.aliases.len()
    }
}

/// The bytes of a local part as names are compared: without quotes, in lower case.
fn plain(local: &str) -> impl Iterator<Item = u8> {
    let inner = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let is_quoted = inner.is_some();
    let mut is_escaped = false;
    inner.unwrap_or(local).bytes().filter_map(move |byte| {
        if is_quoted && byte == b'\\' && !is_escaped {
            is_escaped = true;
            return None;
        }
        is_escaped = false;
        Some(byte.to_ascii_lowercase())
    })
}

/// The name of a local part.
fn name_of(local: &str) -> String {
    String::from_utf8(plain(local).collect()).unwrap_or_default()
}

struct Reading<'a, 'b> {
    around: &'a mut Surroundings<'b>,
    faults: Vec<AliasFault>,
}

impl Reading<'_, '_> {
    fn fault(&mut self, line: u32, message: impl Into<String>) {
        self.faults.push(AliasFault { file: String::new(), line, message: message.into() });
    }

    /// Lines put together with those that go on with them.
    fn logical_lines(&mut self, text: &[u8]) -> Vec<(u32, String)> {
        let mut lines: Vec<(u32, String)> = Vec::new();
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let line = match readable(line) {
                Ok(line) => line,
                Err(why) => {
                    self.fault(number, why);
                    continue;
                }
            };
            let content = line.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            match lines.last_mut() {
                _ if !line.starts_with([' ', '\t']) => lines.push((number, content.into())),
                Some((_, before)) => before.extend([" ", content]),
                None => self.fault(number, "the line begins with a blank, but goes on with none"),
            }
        }
        lines
    }

    /// A line; none if not even its name can be told.
    fn entry(&mut self, line: u32, text: &str) -> Option<Entry> {
        let read = split_name(text).and_then(|(name, rest)| Ok((self.name(name)?, rest)));
        let (name, rest) = match read {
            Ok(read) => read,
            Err(why) => {
                self.fault(line, why);
                return None;
            }
        };
        let before = self.faults.len();
        let mut targets = Vec::new();
        for value in split_values(rest) {
            if let Err(why) = self.value(value, line, &mut targets) {
                self.fault(line, format!("{name}: {why}"));
            }
        }
        if targets.is_empty() && self.faults.len() == before {
            self.fault(line, format!("{name}: has no target; expected NAME: ADDRESS, ADDRESS"));
        }
        let is_whole = self.faults.len() == before;
        Some(Entry { name, line, targets: is_whole.then_some(targets) })
    }

    fn name(&self, name: &str) -> Result<String, String> {
        if name == CATCH_ALL {
            return Ok(name.into());
        }
        let address = Address::parse(name.as_bytes())
            .map_err(|error| format!("'{}' is no name: {}", shown(name), error.text()))?;
        if !(self.around.is_local)(address) {
            return Err(format!(
                "{name} is not of this machine, and only its own users have aliases; a route \
                 leads others elsewhere"
            ));
        }
        Ok(name_of(address.local()))
    }

    /// One of the targets in `line`.
    fn value(&mut self, value: &str, line: u32, into: &mut Vec<Target>) -> Result<(), String> {
        match strip_prefix_without_case(value.trim_matches('"'), INCLUDE) {
            Some(path) => self.include(path.trim().trim_matches('"'), line, into),
            None => {
                into.push(self.target(value)?);
                Ok(())
            }
        }
    }

    fn target(&self, value: &str) -> Result<Target, String> {
        let bare = value.trim_matches('"');
        if bare.starts_with('|') {
            return Err("a command cannot get mail here; expected an address".into());
        }
        if bare.starts_with('/') {
            return Err(
                "a file cannot get mail here; expected an address, and for /dev/null or a Maildir \
                 a [route …] with via = discard or maildir:/PATH"
                    .into(),
            );
        }
        let (bare, is_final) = match bare.strip_prefix('\\') {
            Some(rest) => (rest, true),
            None => (inside_brackets(value).unwrap_or(value), false),
        };
        let address = Address::parse(bare.as_bytes())
            .map_err(|error| format!("'{}' is no address: {}", shown(bare), error.text()))?;
        let text = address.as_str().to_owned();
        Ok(match (self.around.is_local)(address) && !is_final {
            true => Target::Local(name_of(address.local()), text),
            false => Target::Final(text),
        })
    }

    /// All targets in the file at `path`.
    fn include(&mut self, path: &str, line: u32, into: &mut Vec<Target>) -> Result<(), String> {
        if !path.starts_with('/') {
            return Err(format!("{INCLUDE} needs the absolute path of a file"));
        }
        if path.contains('\t') {
            return Err(format!("{INCLUDE} takes a path without blanks like that"));
        }
        let text = (self.around.include)(path).map_err(|why| format!("{path}: {why}"))?;
        if text.len() > ALIASES_FILE_BYTES_MAX {
            return Err(format!("{path}: is larger than {ALIASES_FILE_BYTES_MAX} bytes"));
        }
        for (number, text) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let read = readable(text).and_then(|text| {
                let text = text.trim();
                let values = if text.starts_with('#') { "" } else { text };
                split_values(values).try_for_each(|value| {
                    if strip_prefix_without_case(value, INCLUDE).is_some() {
                        return Err(format!("{INCLUDE} cannot stand in a file that is included"));
                    }
                    into.push(self.target(value)?);
                    Ok(())
                })
            });
            if let Err(message) = read {
                self.faults.push(AliasFault { file: path.into(), line: number, message });
            }
            if into.len() > STEPS_MAX {
                return Err(format!("line {line} has more than {STEPS_MAX} targets"));
            }
        }
        Ok(())
    }
}

/// What of a bad text goes into a message.
fn shown(text: &str) -> String {
    text.chars().take(64).collect::<String>().replace('\t', " ")
}

fn readable(line: &[u8]) -> Result<&str, String> {
    let line = core::str::from_utf8(line).map_err(|_| "the line is not UTF-8".to_string())?;
    let line = line.strip_suffix('\r').unwrap_or(line);
    match line.contains(|letter: char| letter.is_control() && letter != '\t') {
        true => Err("the line holds a control character".into()),
        false => Ok(line),
    }
}

fn strip_prefix_without_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Where the first of `separators` stands outside of quotes.
fn find_outside_quotes(text: &str, separator: char) -> Option<usize> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.char_indices().find_map(|(at, letter)| {
        let was_escaped = core::mem::take(&mut is_escaped);
        match letter {
            _ if was_escaped => {}
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ if letter == separator && !is_quoted => return Some(at),
            _ => {}
        }
        None
    })
}

fn split_name(text: &str) -> Result<(&str, &str), String> {
    let at = find_outside_quotes(text, ':').ok_or("expected NAME: ADDRESS, ADDRESS")?;
    let (name, rest) = text.split_at(at);
    Ok((name.trim(), rest.get(1..).unwrap_or_default()))
}

/// What stands between commas, without what is empty.
fn split_values(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    core::iter::from_fn(move || {
        let text = rest?;
        let (value, behind) = match find_outside_quotes(text, ',') {
            Some(at) => (text.get(..at)?, text.get(at + 1..)),
            None => (text, None),
        };
        rest = behind;
        Some(value.trim())
    })
    .filter(|value| !value.is_empty())
}

/// `addr` of `Some Body <addr>`.
fn inside_brackets(value: &str) -> Option<&str> {
    let at = find_outside_quotes(value, '<')?;
    value.get(at + 1..)?.strip_suffix('>')
}

/// Follows every entry to its last targets.
fn follow_all(entries: &[Entry], faults: &mut Vec<AliasFault>) -> Vec<Alias> {
    let mut sum = 0;
    let mut aliases = Vec::with_capacity(entries.len());
    for (at, entry) in entries.iter().enumerate() {
        let mut walk = Walk { entries, way: Vec::new(), steps: 0, found: Vec::new() };
        let mut followed = walk.follow(at).map(|()| walk.found);
        if let Ok(found) = &followed {
            sum += found.len();
            if sum > ALIASES_TARGETS_MAX {
                let most = ALIASES_TARGETS_MAX;
                followed = Err(format!("all aliases together have more than {most} targets"));
            }
        }
        if let (Err(why), Some(_)) = (&followed, &entry.targets) {
            let message = format!("{}: {why}", entry.name);
            faults.push(AliasFault { file: String::new(), line: entry.line, message });
        }
        let (name, line) = (entry.name.clone(), entry.line);
        aliases.push(Alias { name, line, targets: followed.ok() });
    }
    aliases
}

/// On the way from one name to its last targets.
struct Walk<'a> {
    entries: &'a [Entry],
    /// The entries that are being followed, from the first on.
    way: Vec<usize>,
    steps: usize,
    found: Vec<String>,
}

impl Walk<'_> {
    fn follow(&mut self, at: usize) -> Result<(), String> {
        let entries = self.entries;
        let entry = entries.get(at).ok_or("is lost")?;
        if self.way.len() == ALIAS_DEPTH_MAX {
            return Err(format!("leads through more than {ALIAS_DEPTH_MAX} aliases"));
        }
        let targets = entry.targets.as_ref().ok_or_else(|| {
            format!("leads to {}, line {}, which is wrong", entry.name, entry.line)
        })?;
        self.way.push(at);
        for target in targets {
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return Err(format!("leads to more than {STEPS_MAX} targets"));
            }
            match target {
                Target::Final(text) => self.add(text)?,
                Target::Local(name, text) => match self.next(entry, name) {
                    None => self.add(text)?,
                    Some(next) if self.way.contains(&next) => return Err(self.circle(next)),
                    Some(next) => self.follow(next)?,
                },
            }
        }
        self.way.pop();
        Ok(())
    }

    /// The entry that a target of `entry` leads to; none: to the user himself.
    fn next(&self, entry: &Entry, name: &str) -> Option<usize> {
        let at = |name: &str| self.entries.binary_search_by(|other| other.name.as_str().cmp(name));
        if name == entry.name {
            return None;
        }
        // Who is meant by everybody else is not everybody else.
        let catch_all = || at(CATCH_ALL).ok().filter(|_| entry.name != CATCH_ALL);
        at(name).ok().or_else(catch_all)
    }

    fn add(&mut self, text: &str) -> Result<(), String> {
        if self.found.iter().any(|other| other.eq_ignore_ascii_case(text)) {
            return Ok(());
        }
        if self.found.len() == ALIAS_TARGETS_MAX {
            return Err(format!("leads to more than {ALIAS_TARGETS_MAX} addresses"));
        }
        self.found.push(text.into());
        Ok(())
    }

    fn circle(&self, again: usize) -> String {
        let round = self.way.iter().skip_while(|at| **at != again).chain([&again]);
        let names: Vec<&str> =
            round.filter_map(|at| Some(self.entries.get(*at)?.name.as_str())).collect();
        format!("goes in a circle: {}", names.join(" → "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Aliases, Vec<AliasFault>) {
        let mut include = |path: &str| match path {
            "/list" => Ok(b"# all of us\none@x, Two <two@y>\n\n \\root\n".to_vec()),
            "/bad" => Ok(b"one@x\n:include:/list\ntwo@\n".to_vec()),
            _ => Err("cannot be read".to_string()),
        };
        let is_local =
            |address: Address<'_>| address.domain().is_none() || address.domain_is("pi.lan");
        Aliases::parse(
            text.as_bytes(),
            &mut Surroundings { is_local: &is_local, include: &mut include },
        )
    }

    fn targets(text: &str, name: &str) -> String {
        let (aliases, faults) = read(text);
        assert_eq!(faults, [], "{text}");
        match aliases.find(name) {
            Found::Targets(targets) => targets.join(" "),
            Found::Nothing => "nothing".into(),
            Found::Broken(line) => format!("broken {line}"),
        }
    }

    #[test]
    fn the_forms_of_aliases_5() {
        for (text, name, expected) in [
            ("root: me@x", "root", "me@x"),
            ("root: me@x", "ROOT", "me@x"),
            ("root: me@x", "\"ro\\ot\"", "me@x"),
            ("Root: me@x", "root", "me@x"),
            ("root: me@x", "admin", "nothing"),
            ("root@pi.lan : me@x", "root", "me@x"),
            ("root: a@x,b@x ,\n\t c@x,\n# d@x\n\n  e@x,\r\nx: y", "root", "a@x b@x c@x e@x"),
            ("\"j. doe\": me@x", "\"j. doe\"", "me@x"),
            ("a: Me <me@x>, \"a, b\" <b@x>, <c@x>", "a", "me@x b@x c@x"),
            ("a: b\nb: c, d@x\nc: e@x", "a", "e@x d@x"),
            ("a: b@PI.lan\nb: e@x", "a", "e@x"),
            ("a: a, b@x", "a", "a b@x"),
            ("a: A@pi.lan, b@x", "a", "A@pi.lan b@x"),
            ("a: \\b\nb: c", "a", "b"),
            ("a: b@x, B@X", "a", "b@x"),
            ("*: me@x\nb: c@x", "a", "me@x"),
            ("*: me@x\nb: c@x", "b", "c@x"),
            ("*: me@x\nb: d", "b", "me@x"),
            ("*: me\nb: d", "b", "me"),
            ("*: me\nme: \\me", "anybody", "me"),
            ("a: :include:/list, b@x", "a", "one@x two@y root b@x"),
            ("a: \":Include:/list\"", "a", "one@x two@y root"),
            ("a: \"b c\"@x", "a", "\"b c\"@x"),
        ] {
            assert_eq!(targets(text, name), expected, "{text:?} {name}");
        }
    }

    #[test]
    fn every_fault_by_its_line_and_the_others_stay() {
        for (text, line, words) in [
            ("ok: a@x\nnonsense", 2, "expected NAME"),
            ("ok: a@x\n: b", 2, "no name"),
            ("ok: a@x\nb:", 2, "b: has no target"),
            ("ok: a@x\nb: ,,", 2, "has no target"),
            ("ok: a@x\nb: |/bin/mail", 2, "a command"),
            ("ok: a@x\nb: \"|/bin/mail b\"", 2, "a command"),
            ("ok: a@x\nb: /dev/null", 2, "a file"),
            ("ok: a@x\nb: a@", 2, "'a@' is no address"),
            ("ok: a@x\nb: a b", 2, "no address"),
            ("ok: a@x\nb: :include:list", 2, "absolute"),
            ("ok: a@x\nb: :include:/none", 2, "/none: cannot be read"),
            ("ok: a@x\nb@elsewhere: a", 2, "only its own users"),
            ("ok: a@x\nOK: b@x", 2, "ok is there already, line 1"),
            ("ok: a@x\nb: c\nc: d\nd: b", 2, "circle: b → c → d → b"),
            (" b: a@x\nok: a@x", 1, "goes on with none"),
            ("ok: a@x\nb: \u{1}", 2, "control"),
        ] {
            let (aliases, faults) = read(text);
            let fault = faults.first().unwrap();
            assert_eq!((fault.line, fault.file.as_str()), (line, ""), "{text:?}");
            assert!(fault.message.contains(words), "{text:?}: {}", fault.message);
            assert_eq!(aliases.find("ok"), Found::Targets(&["a@x".into()]), "{text:?}");
        }
        let (aliases, _) = read("b: |x\nc: b");
        assert_eq!([aliases.find("b"), aliases.find("c")], [Found::Broken(1), Found::Broken(2)]);
        let (aliases, faults) = read("a: :include:/bad");
        let told: Vec<_> = faults.iter().map(|fault| (fault.file.as_str(), fault.line)).collect();
        assert_eq!(told, [("/bad", 2), ("/bad", 3)]);
        assert_eq!(aliases.find("a"), Found::Broken(1));
    }

    #[test]
    fn what_grows_without_end_is_refused() {
        let chain: String = (0..=ALIAS_DEPTH_MAX).map(|n| format!("a{n}: a{}\n", n + 1)).collect();
        let (aliases, faults) = read(&chain);
        assert!(faults[0].message.contains("more than 10 aliases"), "{faults:?}");
        assert_eq!(aliases.find("a0"), Found::Broken(1));
        assert!(matches!(aliases.find("a1"), Found::Targets(_)));
        let many: Vec<String> = (0..=ALIAS_TARGETS_MAX).map(|n| format!("u{n}@x")).collect();
        assert!(read(&format!("a: {}", many.join(","))).1[0].message.contains("100 addresses"));
        // Each leads to all of the next: 30 ^ 9 ways.
        let level = |n: usize| {
            let all: Vec<String> = (0..30).map(|k| format!("n{}k{k}", n + 1)).collect();
            (0..30).map(|k| format!("n{n}k{k}: {}\n", all.join(","))).collect::<String>()
        };
        let bush: String = (0..8).map(level).collect();
        assert!(read(&bush).1[0].message.contains("1000 targets"));
        let crowd: String = (0..=ALIASES_MAX).map(|n| format!("u{n}: a@x\n")).collect();
        assert_eq!(read(&crowd).1[0].line as usize, ALIASES_MAX + 1);
        let large = "#".repeat(ALIASES_FILE_BYTES_MAX + 1);
        assert!(read(&large).1[0].message.contains("larger than"));
        let targets = many[..100].join(",");
        let total: String = (0..60).map(|n| format!("u{n}: {targets}\n")).collect();
        assert!(read(&total).1[0].message.contains("all aliases together"));
    }
}
