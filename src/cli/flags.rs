//! Every verb and every flag, once, with its text: `mote help` and the README print these tables.
//!
//! Not here: what a verb or flag does; that is its file's. A test (`tests/tidy.rs`) holds these
//! tables against the words that `cli` and `cli::sendmail` really take.

use core::fmt;

/// A first word of `mote`.
#[derive(Clone, Copy, Debug)]
pub struct Verb {
    /// The word.
    pub name: &'static str,
    /// What may follow, as a reader would write it.
    pub arguments: &'static str,
    /// What it does.
    pub help: &'static str,
}

/// An option.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// As it is written, with its dash.
    pub name: &'static str,
    /// What its value is called; empty: it takes none.
    pub value: &'static str,
    /// What it does.
    pub help: &'static str,
}

const fn verb(name: &'static str, arguments: &'static str, help: &'static str) -> Verb {
    Verb { name, arguments, help }
}

const fn flag(name: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag { name, value, help }
}

const QUEUE_WORDS: &str =
    "ls [--json] | show|rm|retry|hold|release|bounce ID…|all | export ID…|all DIR";

const HELP_WORDS: &str =
    "[keys | exit | VERB | SECTION | --markdown | --man PAGE | --completion bash]";

/// All verbs.
pub const VERBS: &[Verb] = &[
    verb("serve", "", "the daemon, in the foreground; HUP reloads, USR1 flushes, TERM leaves"),
    verb("sendmail", "[FLAG…] [ADDRESS…]", "submits a message from standard input"),
    verb("mailq", "", "lists the queue"),
    verb("queue", QUEUE_WORDS, "looks after the queue; bounce returns mail to its sender"),
    verb(
        "spool",
        "check [IMAGE] | salvage [IMAGE] DIR",
        "examines a dead image, writing nothing to it",
    ),
    verb("passwd", "[FILE] USER", "sets the password of somebody who may log in"),
    verb("flush", "", "tries all mail that waits now"),
    verb("status", "[--json]", "how the daemon is; exit 0 fine, 1 degraded, 2 stuck"),
    verb("newaliases", "", "reads the file of aliases and tells every fault in it"),
    verb("check", "", "reads the configuration and tells its effect and every fault in it"),
    verb("gencert", "DIR NAME…", "makes a certificate for machines that you can install it on"),
    verb(
        "help",
        HELP_WORDS,
        "this, the configuration's keys, a verb, a section, what the codes mean",
    ),
];

/// Options before the verb.
pub const GLOBAL: &[Flag] = &[
    flag("-C", "FILE", "reads FILE instead of /etc/mote.conf"),
    flag("-v", "", "tells more"),
    flag("-h", "", "help"),
    flag("--help", "", "help"),
    flag("--version", "", "the version"),
];

const IGNORED: &str = "ignored";

/// Options of `sendmail`. Those of one letter cluster, and their values may be attached.
pub const SENDMAIL: &[Flag] = &[
    flag("-t", "", "takes recipients from To, Cc and Bcc"),
    flag("-i", "", "a line with a lone dot does not end the message"),
    flag("-f", "ADDRESS", "the envelope's sender"),
    flag("-r", "ADDRESS", "the same"),
    flag("-F", "NAME", "the sender's full name, for a From that is missing"),
    flag("-B", "TYPE", "7BIT or 8BITMIME"),
    flag("-b", "MODE", "m: submits; s: speaks SMTP; p: lists the queue; i: checks the aliases"),
    flag("-I", "", "does nothing, as newaliases"),
    flag(
        "-o",
        "OPTION",
        "i: as -i; di: waits, up to a minute, for the first try; others are ignored",
    ),
    flag("-q", "[TIME]", "tries all mail that waits now"),
    flag("-v", "", "tells what became of the message"),
    flag("-C", "FILE", "reads FILE; only for root"),
    flag("-N", "WHEN", "never, or of what you want reports: success,failure,delay"),
    flag("-R", "WHAT", "how much of the mail they return: full or hdrs"),
    flag("-V", "ID", "what they call the mail, in xtext"),
    flag("-h", "HOPS", IGNORED),
    flag("-A", "FILE", IGNORED),
    flag("-D", "FILE", IGNORED),
    flag("-d", "LEVEL", IGNORED),
    flag("-e", "MODE", IGNORED),
    flag("-G", "", IGNORED),
    flag("-L", "TAG", IGNORED),
    flag("-m", "", IGNORED),
    flag("-n", "", IGNORED),
    flag("-O", "OPTION", IGNORED),
    flag("-U", "", IGNORED),
    flag("-X", "FILE", IGNORED),
];

/// Writes what `mote help` says.
pub fn write_overview(out: &mut impl fmt::Write) -> fmt::Result {
    writeln!(out, "usage: mote [OPTION…] VERB …\n\nverbs:")?;
    VERBS.iter().try_for_each(|verb| {
        writeln!(out, "  {}{}\n      {}", verb.name, arguments(verb), verb.help)
    })?;
    writeln!(out, "\noptions before the verb:")?;
    write_flags(out, GLOBAL)?;
    writeln!(
        out,
        "\nThe configuration is /etc/mote.conf; mote help keys tells what may stand in it."
    )
}

/// Writes what `mote help sendmail` says.
pub fn write_sendmail(out: &mut impl fmt::Write) -> fmt::Result {
    writeln!(out, "usage: sendmail [FLAG…] [ADDRESS…], or mote sendmail …\n")?;
    write_flags(out, SENDMAIL)
}

/// Writes one verb's line.
pub fn write_verb(out: &mut impl fmt::Write, verb: &Verb) -> fmt::Result {
    writeln!(out, "usage: mote {}{}\n\n  {}", verb.name, arguments(verb), verb.help)
}

/// A verb's arguments with a blank before them, if it has any.
fn arguments(verb: &Verb) -> String {
    let blank = if verb.arguments.is_empty() { "" } else { " " };
    format!("{blank}{}", verb.arguments)
}

fn write_flags(out: &mut impl fmt::Write, flags: &[Flag]) -> fmt::Result {
    flags.iter().try_for_each(|flag| {
        let name = format!("{} {}", flag.name, flag.value);
        writeln!(out, "  {name:<12} {}", flag.help)
    })
}
