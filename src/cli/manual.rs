//! Manual pages and the completion for bash, printed from the tables that the program works by.
//!
//! Not here: the texts of flags ([`flags`]) and keys ([`config::entries`]). A page is mdoc, in
//! lines of at most 78 columns, a sentence a line, ASCII only, so that `mandoc -Tlint` has nothing
//! to say; whatever stands in a table is text to it, never a macro or an escape.
//!
//! Read first: mdoc(7).

use super::flags::{self, Flag, Verb};
use crate::config;
use core::fmt::{self, Write};

/// The day that stands in the pages. It is written down, because a page is to have the same bytes
/// whenever it is printed.
const DATE: &str = "December 1, 2026";
const LINE_COLUMNS: usize = 72;

/// A manual page.
pub struct Page {
    /// Its name.
    pub name: &'static str,
    section: u8,
    about: &'static str,
    body: fn(&mut String) -> fmt::Result,
}

/// All pages.
pub const PAGES: [Page; 4] = [
    Page { name: "mote", section: 8, about: "mail system for small machines", body: mote },
    Page { name: "mote.conf", section: 5, about: "configuration of mote", body: mote_conf },
    Page { name: "sendmail", section: 8, about: "submits a message to mote", body: sendmail },
    Page { name: "mailq", section: 1, about: "lists the mail that waits in mote", body: mailq },
];

/// What the exit codes mean, as `mote help exit` has them.
const EXITS: [(&str, &str); 13] = [
    ("0", "All is well; of a message: it is as safe as promised."),
    ("1", "status: it works, but somebody should look. spool: damage was found."),
    ("2", "status: mail does not move."),
    ("64", "The command line is wrong."),
    ("65", "The message or an address in it is wrong."),
    ("66", "There is no such file to read."),
    ("67", "There is no such recipient."),
    ("69", "The service refuses for good."),
    ("70", "An answer makes no sense."),
    ("71", "The system failed: reading stdin, writing stdout."),
    ("73", "A file cannot be made."),
    ("75", "Not now; try again."),
    ("77, 78", "Not allowed; the configuration is wrong."),
];

/// Writes one page.
pub fn write_page(out: &mut String, page: &Page) -> fmt::Result {
    let Page { name, section, about, body } = page;
    writeln!(out, ".Dd {DATE}\n.Dt {} {section}\n.Os mote", name.to_uppercase())?;
    writeln!(out, ".Sh NAME\n.Nm {name}\n.Nd {about}")?;
    body(out)?;
    writeln!(out, ".Sh SEE ALSO")?;
    let mut others: Vec<&Page> = PAGES.iter().filter(|other| other.name != *name).collect();
    others.sort_by_key(|other| (other.section, other.name));
    for (place, other) in others.iter().enumerate() {
        let comma = if place + 1 < others.len() { " ," } else { "" };
        writeln!(out, ".Xr {} {}{comma}", other.name, other.section)?;
    }
    Ok(())
}

/// Writes what the exit codes mean.
pub fn write_exits(out: &mut String) -> fmt::Result {
    writeln!(out, "mote leaves with the codes of sysexits:\n")?;
    EXITS.iter().try_for_each(|(code, means)| writeln!(out, "  {code:<7} {means}"))
}

/// Writes the completion for bash.
pub fn write_completion(out: &mut String) -> fmt::Result {
    let verbs: Vec<&str> = flags::VERBS.iter().map(|verb| verb.name).collect();
    let mut options: Vec<&str> = flags::GLOBAL.iter().map(|flag| flag.name).collect();
    options.extend(&verbs);
    out.push_str(
        "_mote() {\n  local current=${COMP_WORDS[COMP_CWORD]} verb= words= i\n  \
         for ((i = 1; i < COMP_CWORD; i++)); do\n    case ${COMP_WORDS[i]} in\n      \
         -C) ((i++)) ;;\n      -*) ;;\n      *) verb=${COMP_WORDS[i]}; break ;;\n    esac\n  \
         done\n  COMPREPLY=()\n  [ \"${COMP_WORDS[COMP_CWORD-1]}\" != -C ] || return 0\n  \
         case $verb in\n",
    );
    writeln!(out, "    '') words='{}' ;;", options.join(" "))?;
    for verb in flags::VERBS {
        let mut words = words_of(verb);
        if verb.name == "help" {
            words.extend(verbs.iter().copied().chain(config::section_names()));
        }
        words.sort_unstable();
        words.dedup();
        if !words.is_empty() {
            writeln!(out, "    {}) words='{}' ;;", verb.name, words.join(" "))?;
        }
    }
    out.push_str(
        "  esac\n  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n}\n\
         complete -o default -F _mote mote\n",
    );
    Ok(())
}

/// The words of a verb's arguments that are typed as they stand.
fn words_of(verb: &Verb) -> Vec<&'static str> {
    let words = verb.arguments.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words.filter(|word| word.bytes().any(|byte| byte.is_ascii_lowercase())).collect()
}

fn mote(out: &mut String) -> fmt::Result {
    out.push_str(".Sh SYNOPSIS\n.Nm\n.Op Ar option ...\n.Ar verb ...\n.Sh DESCRIPTION\n");
    text(
        out,
        "mote takes mail by SMTP and from programs on this machine, keeps it in a file of fixed \
         size, and sends it on. Mail that was acknowledged is on disk.",
    )?;
    out.push_str(".Pp\nOptions before the verb:\n");
    list(out, flags::GLOBAL)?;
    out.push_str(".Pp\nVerbs:\n.Bl -tag -width Ds\n");
    for verb in flags::VERBS {
        writeln!(out, ".It Cm {}{}", word(verb.name), argument(verb.arguments))?;
        text(out, verb.help)?;
    }
    out.push_str(".El\n");
    files(out)?;
    exits(out)
}

fn mote_conf(out: &mut String) -> fmt::Result {
    out.push_str(".Sh DESCRIPTION\n");
    text(
        out,
        "A line is a key, an equals sign and a value; a section begins with its name in brackets. \
         Sizes are written 256K, 10M; times 30s, 5m, 2h, 5d. A comment is # or ; at the start of \
         a line, or # behind a blank. An unknown key, a wrong value or a key that comes twice is \
         a fault with its line and the nearest key.",
    )?;
    let mut heading = None;
    for entry in config::entries() {
        if heading != Some(entry.heading) {
            if heading.is_some() {
                out.push_str(".El\n");
            }
            let title = if entry.heading.is_empty() { "Global keys" } else { entry.heading };
            writeln!(out, ".Ss {}", words(title))?;
            text(out, entry.about)?;
            out.push_str(".Bl -tag -width Ds\n");
            heading = Some(entry.heading);
        }
        writeln!(out, ".It Cm {} = {}", words(entry.name), words(&entry.takes))?;
        text(out, entry.help)?;
        if !entry.default.is_empty() {
            text(out, &format!("Default: {}.", entry.default))?;
        }
    }
    out.push_str(".El\n");
    files(out)
}

fn sendmail(out: &mut String) -> fmt::Result {
    out.push_str(".Sh SYNOPSIS\n.Nm\n.Op Ar flag ...\n.Op Ar address ...\n.Sh DESCRIPTION\n");
    text(
        out,
        "Reads a message from standard input and hands it to the daemon; while that is down, \
         leaves it where the daemon finds it. Flags of one letter cluster, and their values may \
         be attached.",
    )?;
    list(out, flags::SENDMAIL)?;
    exits(out)
}

fn mailq(out: &mut String) -> fmt::Result {
    out.push_str(".Sh SYNOPSIS\n.Nm\n.Op Fl -json\n.Sh DESCRIPTION\n");
    text(
        out,
        "Lists the mail that waits, a line a message and recipient, with the last words of the \
         next hop below the recipient they were about. With --json it prints an object a line.",
    )?;
    exits(out)
}

fn files(out: &mut String) -> fmt::Result {
    out.push_str(".Sh FILES\n.Bl -tag -width Ds\n.It Pa /etc/mote.conf\n");
    text(out, "The configuration. Without it mote listens on 127.0.0.1:2525 only.")?;
    out.push_str(".It Pa /etc/aliases\n");
    text(out, "Who gets the mail of local names.")?;
    out.push_str(".El\n");
    Ok(())
}

fn exits(out: &mut String) -> fmt::Result {
    out.push_str(".Sh EXIT STATUS\n.Bl -tag -width Ds\n");
    for (code, means) in EXITS {
        writeln!(out, ".It {}", words(code))?;
        text(out, means)?;
    }
    out.push_str(".El\n");
    Ok(())
}

fn list(out: &mut String, flags: &[Flag]) -> fmt::Result {
    out.push_str(".Bl -tag -width Ds\n");
    for flag in flags {
        let name = flag.name.strip_prefix('-').unwrap_or(flag.name);
        writeln!(out, ".It Fl {}{}", word(name), argument(flag.value))?;
        text(out, flag.help)?;
    }
    out.push_str(".El\n");
    Ok(())
}

fn argument(value: &str) -> String {
    if value.is_empty() { String::new() } else { format!(" Ar {}", words(value)) }
}

/// Words of a macro's line.
fn words(text: &str) -> String {
    text.split_whitespace().map(word).collect::<Vec<String>>().join(" ")
}

/// One word, that is neither a macro, a delimiter nor an escape.
fn word(text: &str) -> String {
    let mut word = String::from("\\&");
    for c in text.chars() {
        match c {
            '\\' => word.push_str("\\e"),
            '-' => word.push_str("\\-"),
            '"' => word.push_str("\\(dq"),
            c if c.is_ascii() => word.push(c),
            c => word.push_str(&format!("\\[u{:04X}]", c as u32)),
        }
    }
    // A delimiter at the end would be moved out of the macro.
    word + "\\&"
}

/// A paragraph: lines that are short, a sentence each.
fn text(out: &mut String, text: &str) -> fmt::Result {
    let mut column = 0;
    for piece in text.split_whitespace() {
        let plain = piece.is_ascii() && !piece.contains('\\');
        let plain = plain && !(column == 0 && piece.starts_with(['.', '\'']));
        let piece_text = if plain { piece.to_string() } else { word(piece) };
        if column > 0 && column + 1 + piece_text.len() > LINE_COLUMNS {
            out.push('\n');
            column = 0;
        }
        if column > 0 {
            out.push(' ');
        }
        out.push_str(&piece_text);
        column += piece_text.len() + 1;
        if piece.ends_with(['.', '?', '!']) {
            out.push('\n');
            column = 0;
        }
    }
    if column > 0 { writeln!(out) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_name_every_key_and_flag_and_hold_no_bare_macro() {
        for page in &PAGES {
            let mut out = String::new();
            write_page(&mut out, page).unwrap();
            assert!(out.is_ascii() && !out.contains("\n\n"), "{}", page.name);
            assert!(out.contains(".Sh NAME\n") && out.contains(".Sh SEE ALSO\n"));
        }
        let page = |index: usize| {
            let mut out = String::new();
            write_page(&mut out, &PAGES[index]).unwrap();
            out
        };
        let (verbs, keys, sendmail) = (page(0), page(1), page(2));
        for verb in flags::VERBS {
            assert!(verbs.contains(&format!("\n.It Cm {}", word(verb.name))), "{}", verb.name);
        }
        for entry in config::entries() {
            assert!(keys.contains(&format!("\n.It Cm {} = ", words(entry.name))), "{}", entry.name);
        }
        for flag in flags::SENDMAIL {
            assert!(sendmail.contains(&format!("\n.It Fl {}", word(&flag.name[1..]))));
        }
    }

    #[test]
    fn words_of_a_table_are_text() {
        assert_eq!(word("Ar"), "\\&Ar\\&");
        assert_eq!(word("a\\b\u{2026}"), "\\&a\\eb\\[u2026]\\&");
        let mut out = String::new();
        text(&mut out, ".Sh is no macro. Nor 'x at\\all").unwrap();
        assert_eq!(out, "\\&.Sh\\& is no macro.\nNor 'x \\&at\\eall\\&\n");
    }

    #[test]
    fn exit_codes_are_those_that_the_program_has() {
        use crate::cli::exit::Exit;
        let all = [
            Exit::OK,
            Exit::DEGRADED,
            Exit::STUCK,
            Exit::USAGE,
            Exit::DATA,
            Exit::NO_INPUT,
            Exit::NO_USER,
            Exit::UNAVAILABLE,
            Exit::SOFTWARE,
            Exit::SYSTEM,
            Exit::CANT_CREATE,
            Exit::TEMPORARY,
            Exit::PERMISSION,
            Exit::CONFIG,
        ];
        let codes: Vec<&str> = EXITS.iter().flat_map(|(code, _)| code.split(", ")).collect();
        let theirs: Vec<String> = all.iter().map(|exit| exit.0.to_string()).collect();
        assert_eq!(codes, theirs);
    }
}
