//! The command line of `sendmail`, as four decades of callers write it, and that of `msmtp`.
//!
//! Flags cluster (`-ti`), values stand attached or apart (`-FCron`, `-F Cron`), recipients and
//! flags mix until `--`, as with every sendmail on Linux. One table says of each flag whether it
//! takes a value and what it means; most mean nothing here and are accepted because callers give
//! them. No flag opens a file (threats 6): of -X, -D, -d, -O the value is thrown away. What is not
//! in the table is a usage error, never guessed.
//!
//! Under the name of `msmtp`, `-a` and the long options are taken too; its `-C` names a file of
//! another program, so it is ignored, and a line with a lone dot never ends the message.
//!
//! -N, -R and -V ask for reports (RFC 3461), as any client may; -h is taken and carried nowhere.

use crate::cli::exit::Failure;
use crate::smtp::parameter::{ENVELOPE_ID_BYTES_MAX, Notify, Return, Xtext};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// What a call asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Read a message and submit it (-bm).
    #[default]
    Submit,
    /// SMTP on stdin and stdout (-bs).
    Converse,
    /// List the queue (-bp).
    List,
    /// Try all that waits now (-q).
    Flush,
    /// Rebuild the alias database (-bi): there is none to rebuild.
    Aliases,
}

/// The caller's word on the body (-B, RFC 6152).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    /// 7BIT.
    SevenBit,
    /// 8BITMIME.
    EightBitMime,
}

/// Which program's command line it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// sendmail.
    Sendmail,
    /// msmtp.
    Msmtp,
}

/// A command line, understood.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Arguments {
    /// What to do.
    pub mode: Mode,
    /// -t: recipients are in the header.
    pub header_recipients: bool,
    /// -i, -oi: a line with a lone dot is text.
    pub dots_are_text: bool,
    /// -f, -r: the envelope sender as given.
    pub sender: Option<Vec<u8>>,
    /// --read-envelope-from: the envelope sender is in the header.
    pub header_sender: bool,
    /// -F: the name for a From that is missing.
    pub full_name: Option<Vec<u8>>,
    /// -B.
    pub body: Option<Body>,
    /// -N: of what the sender wants reports.
    pub notify: Option<Notify>,
    /// -R: how much a report returns.
    pub returns: Option<Return>,
    /// -V: what reports call this mail, in xtext.
    pub envelope_id: String,
    /// -odi: wait for the first outcome.
    pub waits: bool,
    /// -v: tell what became of it.
    pub verbose: bool,
    /// -C: a config file.
    pub config: Option<PathBuf>,
    /// The other words: each an address or a list of them.
    pub recipients: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Value {
    None,
    /// The rest of the word or, if that is empty, the next word.
    Needed,
    /// The rest of the word, which may be empty.
    Attached,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Flag {
    Ignored,
    HeaderRecipients,
    DotsAreText,
    Sender,
    HeaderSender,
    FullName,
    Body,
    Verbose,
    Config,
    Mode,
    Option,
    Flush,
    Aliases,
    Notify,
    Return,
    EnvelopeId,
}

const SENDMAIL_FLAGS: &[(u8, Value, Flag)] = &[
    (b't', Value::None, Flag::HeaderRecipients),
    (b'i', Value::None, Flag::DotsAreText),
    (b'f', Value::Needed, Flag::Sender),
    (b'r', Value::Needed, Flag::Sender),
    (b'F', Value::Needed, Flag::FullName),
    (b'B', Value::Needed, Flag::Body),
    (b'v', Value::None, Flag::Verbose),
    (b'C', Value::Needed, Flag::Config),
    (b'b', Value::Needed, Flag::Mode),
    (b'o', Value::Needed, Flag::Option),
    (b'q', Value::Attached, Flag::Flush),
    (b'I', Value::None, Flag::Aliases),
    (b'N', Value::Needed, Flag::Notify),
    (b'R', Value::Needed, Flag::Return),
    (b'V', Value::Needed, Flag::EnvelopeId),
    (b'h', Value::Needed, Flag::Ignored),
    (b'A', Value::Needed, Flag::Ignored),
    (b'D', Value::Needed, Flag::Ignored),
    (b'd', Value::Attached, Flag::Ignored),
    (b'e', Value::Needed, Flag::Ignored),
    (b'G', Value::None, Flag::Ignored),
    (b'L', Value::Needed, Flag::Ignored),
    (b'm', Value::None, Flag::Ignored),
    (b'n', Value::None, Flag::Ignored),
    (b'O', Value::Needed, Flag::Ignored),
    (b'U', Value::None, Flag::Ignored),
    (b'X', Value::Needed, Flag::Ignored),
];

/// Looked up first under the name of msmtp.
const MSMTP_FLAGS: &[(u8, Value, Flag)] = &[
    (b'a', Value::Needed, Flag::Ignored),
    (b'C', Value::Needed, Flag::Ignored),
    (b'd', Value::None, Flag::Verbose),
];

const MSMTP_OPTIONS: &[(&[u8], Value, Flag)] = &[
    (b"account", Value::Needed, Flag::Ignored),
    (b"timeout", Value::Needed, Flag::Ignored),
    (b"file", Value::Needed, Flag::Ignored),
    (b"debug", Value::None, Flag::Verbose),
    (b"from", Value::Needed, Flag::Sender),
    (b"read-recipients", Value::None, Flag::HeaderRecipients),
    (b"read-envelope-from", Value::None, Flag::HeaderSender),
];

/// Understands the words after the program's name.
pub fn parse(
    dialect: Dialect,
    words: impl IntoIterator<Item = OsString>,
) -> Result<Arguments, Failure> {
    let mut arguments = Arguments::default();
    let mut words = words.into_iter().map(OsString::into_vec);
    while let Some(word) = words.next() {
        match word.as_slice() {
            b"--" => arguments.recipients.extend(words.by_ref()),
            [b'-', b'-', option @ ..] if dialect == Dialect::Msmtp => {
                take_option(&mut arguments, option, &mut words)?;
            }
            [b'-', cluster @ ..] if !cluster.is_empty() => {
                take_cluster(&mut arguments, dialect, cluster, &mut words)?;
            }
            _ => arguments.recipients.push(word),
        }
    }
    // msmtp reads to the end, whatever stands on a line.
    arguments.dots_are_text |= dialect == Dialect::Msmtp;
    Ok(arguments)
}

fn take_cluster(
    arguments: &mut Arguments,
    dialect: Dialect,
    mut cluster: &[u8],
    words: &mut impl Iterator<Item = Vec<u8>>,
) -> Result<(), Failure> {
    while let Some((letter, rest)) = cluster.split_first() {
        let own: &[_] = if dialect == Dialect::Msmtp { MSMTP_FLAGS } else { &[] };
        let known = own.iter().chain(SENDMAIL_FLAGS).find(|(known, ..)| known == letter);
        let name = format!("-{}", letter.escape_ascii());
        let Some((_, value, flag)) = known else {
            return Err(Failure::usage(format!("unknown flag {name}")));
        };
        let (value, rest): (Vec<u8>, &[u8]) = match value {
            Value::None => (Vec::new(), rest),
            Value::Attached => (rest.to_vec(), &[]),
            Value::Needed if rest.is_empty() => (next_word(&name, words)?, &[]),
            Value::Needed => (rest.to_vec(), &[]),
        };
        cluster = rest;
        arguments.set(*flag, value)?;
    }
    Ok(())
}

fn take_option(
    arguments: &mut Arguments,
    option: &[u8],
    words: &mut impl Iterator<Item = Vec<u8>>,
) -> Result<(), Failure> {
    let mut parts = option.splitn(2, |byte| *byte == b'=');
    let word = parts.next().unwrap_or_default();
    let attached = parts.next().map(<[u8]>::to_vec);
    let name = format!("--{}", word.escape_ascii());
    let Some((_, value, flag)) = MSMTP_OPTIONS.iter().find(|(known, ..)| *known == word) else {
        return Err(Failure::usage(format!("unknown option {name}")));
    };
    let value = match (value, attached) {
        (Value::Needed, None) => next_word(&name, words)?,
        (Value::Needed, Some(attached)) => attached,
        (_, None) => Vec::new(),
        (_, Some(_)) => return Err(Failure::usage(format!("{name} takes no value"))),
    };
    arguments.set(*flag, value)
}

fn next_word(flag: &str, words: &mut impl Iterator<Item = Vec<u8>>) -> Result<Vec<u8>, Failure> {
    words.next().ok_or_else(|| Failure::usage(format!("{flag} needs a value")))
}

impl Arguments {
    fn set(&mut self, flag: Flag, value: Vec<u8>) -> Result<(), Failure> {
        match flag {
            Flag::Ignored => {}
            Flag::HeaderRecipients => self.header_recipients = true,
            Flag::DotsAreText => self.dots_are_text = true,
            Flag::Sender => self.sender = Some(value),
            Flag::HeaderSender => self.header_sender = true,
            Flag::FullName => self.full_name = Some(value),
            Flag::Body if value.eq_ignore_ascii_case(b"7BIT") => self.body = Some(Body::SevenBit),
            Flag::Body if value.eq_ignore_ascii_case(b"8BITMIME") => {
                self.body = Some(Body::EightBitMime);
            }
            // As sendmail does: a type it does not know tells it nothing.
            Flag::Body => self.body = None,
            Flag::Verbose => self.verbose = true,
            Flag::Config => self.config = Some(PathBuf::from(OsString::from_vec(value))),
            Flag::Mode => self.mode = mode(&value)?,
            Flag::Option if value.first() == Some(&b'd') => self.waits = value == b"di",
            Flag::Option => self.dots_are_text |= value == b"i",
            Flag::Flush => self.mode = Mode::Flush,
            Flag::Aliases => self.mode = Mode::Aliases,
            Flag::Notify => self.notify = Some(notify(&value)?),
            Flag::Return if value.eq_ignore_ascii_case(b"full") => {
                self.returns = Some(Return::Full);
            }
            Flag::Return if value.eq_ignore_ascii_case(b"hdrs") => {
                self.returns = Some(Return::Headers);
            }
            Flag::Return => return Err(Failure::usage("-R takes full or hdrs")),
            Flag::EnvelopeId => self.envelope_id = envelope_id(value)?,
        }
        Ok(())
    }
}

fn mode(value: &[u8]) -> Result<Mode, Failure> {
    match value {
        b"m" => Ok(Mode::Submit),
        b"p" => Ok(Mode::List),
        b"s" => Ok(Mode::Converse),
        b"i" => Ok(Mode::Aliases),
        b"d" | b"D" => Err(Failure::usage("-bd is not for this program: run 'mote serve'")),
        _ => Err(Failure::usage(format!("-b{} is not supported", value.escape_ascii()))),
    }
}

/// RFC 3461 §4.1; blanks around the commas are a shell's.
fn notify(value: &[u8]) -> Result<Notify, Failure> {
    let bare: Vec<u8> = value.iter().copied().filter(|byte| *byte != b' ').collect();
    Notify::parse(&bare)
        .ok_or_else(|| Failure::usage("-N takes never, or a list of success, failure, delay"))
}

/// RFC 3461 §4.4.
fn envelope_id(value: Vec<u8>) -> Result<String, Failure> {
    let is_fit = (1..=ENVELOPE_ID_BYTES_MAX).contains(&value.len());
    if !is_fit || Xtext::parse(&value).is_none() {
        let text = "-V takes up to 100 letters, digits and signs, others as +XX in hexadecimal";
        return Err(Failure::usage(text));
    }
    String::from_utf8(value).map_err(|_| Failure::usage("-V takes ASCII"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sendmail(line: &str) -> Result<Arguments, Failure> {
        parse(Dialect::Sendmail, line.split_whitespace().map(OsString::from))
    }

    fn msmtp(line: &str) -> Result<Arguments, Failure> {
        parse(Dialect::Msmtp, line.split_whitespace().map(OsString::from))
    }

    fn words(words: &[&str]) -> Vec<Vec<u8>> {
        words.iter().map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn debian_cron() {
        let cron = sendmail("-i -FCronDaemon -B8BITMIME -oem user").unwrap();
        let expected = Arguments {
            dots_are_text: true,
            full_name: Some(b"CronDaemon".to_vec()),
            body: Some(Body::EightBitMime),
            recipients: words(&["user"]),
            ..Arguments::default()
        };
        assert_eq!(cron, expected);
    }

    #[test]
    fn header_callers() {
        let expected =
            Arguments { dots_are_text: true, header_recipients: true, ..Arguments::default() };
        // busybox crond, dcron, unattended-upgrades, PHP.
        for line in ["-ti", "-t -oem -i", "-oi -t", "-t -i", "-i -t", "-it", "-oit -t -oi"] {
            assert_eq!(sendmail(line).unwrap(), expected, "{line}");
        }
        // mdadm
        let mdadm = sendmail("-t").unwrap();
        assert_eq!(mdadm, Arguments { dots_are_text: false, ..expected.clone() });
        // mailutils
        let mailutils = sendmail("-oi -f user@host -t").unwrap();
        assert_eq!(mailutils, Arguments { sender: Some(b"user@host".to_vec()), ..expected });
    }

    #[test]
    fn plain_recipients() {
        // nut
        assert_eq!(sendmail("root").unwrap().recipients, words(&["root"]));
        // git send-email, with and without an envelope sender
        let git = sendmail("-f me@example.org -i a@example.org b@example.org").unwrap();
        assert_eq!(git.recipients, words(&["a@example.org", "b@example.org"]));
        assert!(git.dots_are_text);
        let mixed = sendmail("a@b -i -- -f c@d").unwrap();
        assert_eq!(mixed.recipients, words(&["a@b", "-f", "c@d"]));
        assert!(mixed.dots_are_text && mixed.sender.is_none());
        assert_eq!(sendmail("- a").unwrap().recipients, words(&["-", "a"]));
    }

    #[test]
    fn ignored_flags() {
        let line = "-oee -oem -om -odi -odb -odq -O DeliveryMode=b -oX -o s -Am -A c -G -L tag -m \
                    -n -U -X /tmp/x -D /tmp/y -d8.8 -em -V id -h 3 -N never -N success,DELAY \
                    -R hdrs -R full -bm root";
        let expected = Arguments {
            recipients: words(&["root"]),
            notify: Notify::parse(b"SUCCESS,DELAY"),
            returns: Some(Return::Full),
            envelope_id: "id".into(),
            ..Arguments::default()
        };
        assert_eq!(sendmail(line).unwrap(), expected);
    }

    #[test]
    fn values_attached_or_apart() {
        for line in ["-fme@x -Fme", "-f me@x -F me", "-r me@x -F me", "-vfme@x -Fme"] {
            let found = sendmail(line).unwrap();
            assert_eq!(found.sender.as_deref(), Some(&b"me@x"[..]), "{line}");
            assert_eq!(found.full_name.as_deref(), Some(&b"me"[..]), "{line}");
        }
        let empty = parse(Dialect::Sendmail, ["-f", "", "a"].map(OsString::from)).unwrap();
        assert_eq!(empty.sender, Some(Vec::new()));
    }

    #[test]
    fn modes() {
        assert_eq!(sendmail("-bp").unwrap().mode, Mode::List);
        assert_eq!(sendmail("-bi").unwrap().mode, Mode::Aliases);
        assert_eq!(sendmail("-I").unwrap().mode, Mode::Aliases);
        assert_eq!(sendmail("-q").unwrap().mode, Mode::Flush);
        assert!(sendmail("-bd -q15m").unwrap_err().message.contains("mote serve"));
    }

    #[test]
    fn usage_errors() {
        for line in [
            "-Z",
            "-tZ",
            "--version",
            "-f",
            "-bx",
            "-N sometimes",
            "-N never,delay",
            "-R all",
            "-V a=b",
            "-V +zz",
            "-t -F",
        ] {
            let exit = sendmail(line).unwrap_err().exit;
            assert_eq!(exit, crate::cli::exit::Exit::USAGE, "{line}");
        }
    }

    #[test]
    fn openwrt_calls_msmtp() {
        // adblock, banIP, travelmate
        let expected = Arguments {
            dots_are_text: true,
            recipients: words(&["me@example.org"]),
            ..Arguments::default()
        };
        for line in [
            "--timeout=10 -a adb_notify me@example.org",
            "--timeout 10 -a adb_notify -C /etc/msmtprc me@example.org",
            "me@example.org --account=x --file=/etc/msmtprc",
        ] {
            assert_eq!(msmtp(line).unwrap(), expected, "{line}");
        }
        let debugging = msmtp("--debug -a trm_notify -f me@x -t").unwrap();
        assert!(debugging.verbose && debugging.header_recipients);
        assert_eq!(debugging.sender.as_deref(), Some(&b"me@x"[..]));
        assert!(msmtp("-t --read-envelope-from").unwrap().header_sender);
        for line in ["--timeout", "--debug=1", "--frobnicate", "-Z"] {
            assert_eq!(msmtp(line).unwrap_err().exit, crate::cli::exit::Exit::USAGE, "{line}");
        }
    }
}
