//! A command line, read once into a type that cannot lie.
//!
//! Not here: where a line ends ([`super::line`]), whether a command may come now
//! ([`super::server`]), what an address is ([`crate::mail::address`]), what may stand behind it
//! ([`super::parameter`]). Commands that belong to extensions which are not offered are unknown
//! ones.
//!
//! Stricter than some servers: `MAIL FROM: <a@b>`, with a space behind the colon, is refused.
//! More tolerant: white space at the end of any line (RFC 5321 §4.1.1), an argument behind QUIT,
//! any printable name behind HELO and EHLO.
//!
//! Where a range is lenient ([`super::lenient`]) spaces may stand around each word, the angle
//! brackets may be missing, any name will do for HELO, and anything that begins like QUIT is one.
//! An address must be one all the same: it goes through the same parser.
//!
//! Read first: RFC 5321 §4.1.1, §4.1.2.

use super::chunk::{self, ChunkSize};
use super::offer::Offers;
use super::parameter::{
    MailParameters, RcptParameters, parse_mail_parameters, parse_rcpt_parameters,
};
use super::reply::Reply;
use super::sasl::Encoded;
use super::xclient::{self, ToldClient};
use crate::limits::DOMAIN_BYTES_MAX;
use crate::mail::address::{
    Address, AddressError, Charset, ForwardPath, ReversePath, parse_forward_path,
    parse_reverse_path,
};

/// What a peer asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command<'a> {
    /// HELO with the name the peer gives itself: printable ASCII.
    Helo(&'a [u8]),
    /// EHLO, likewise.
    Ehlo(&'a [u8]),
    /// MAIL.
    Mail {
        /// Where reports go.
        path: ReversePath<'a>,
        /// What stands behind that.
        parameters: MailParameters<'a>,
    },
    /// RCPT.
    Rcpt {
        /// Where the mail goes.
        path: Address<'a>,
        /// What stands behind that.
        parameters: RcptParameters<'a>,
    },
    /// DATA.
    Data,
    /// BDAT, offered or not: its bytes follow.
    Bdat(ChunkSize),
    /// AUTH (RFC 4954), where it is offered, even if only behind TLS.
    Auth {
        /// What stands for the mechanism's name.
        mechanism: &'a [u8],
        /// All that stands behind it.
        initial: Option<Encoded<'a>>,
    },
    /// RSET.
    Rset,
    /// NOOP, with anything behind it.
    Noop,
    /// QUIT, with anything behind it.
    Quit,
    /// VRFY of something.
    Vrfy,
    /// EXPN of something.
    Expn,
    /// HELP, with anything behind it.
    Help,
    /// XCLIENT, and what it tells.
    Xclient(ToldClient<'a>),
    /// STARTTLS (RFC 3207).
    StartTls,
}

/// Why a line is not a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandError {
    /// No such verb here.
    Unknown,
    /// A verb of some RFC that does nothing here.
    Unimplemented,
    /// No name behind HELO or EHLO, or not one to log.
    Hello,
    /// An argument where there must be none.
    Argument,
    /// No argument where there must be one.
    NoArgument,
    /// Not `MAIL FROM:`.
    Mail,
    /// Not `RCPT TO:`.
    Rcpt,
    /// The reverse path.
    Sender(AddressError),
    /// No size behind BDAT: how many bytes follow cannot be told.
    Chunk,
    /// The forward path.
    Recipient(AddressError),
    /// An address beyond ASCII without SMTPUTF8.
    NeedsUtf8,
    /// Behind the path stands something that is not a parameter, or one that misses its value.
    Parameter,
    /// A parameter that is not offered.
    UnknownParameter,
    /// One twice.
    RepeatedParameter,
    /// One with a value that is not known.
    Value,
    /// XCLIENT of whom nobody believes.
    Untrusted,
}

impl CommandError {
    /// What to answer.
    pub const fn reply(self) -> Reply {
        match self {
            CommandError::Unknown => Reply::UNKNOWN_COMMAND,
            CommandError::Unimplemented => Reply::NOT_IMPLEMENTED,
            CommandError::Hello => Reply::BAD_HELLO,
            CommandError::Argument => Reply::NO_ARGUMENT,
            CommandError::NoArgument => Reply::NEEDS_ARGUMENT,
            CommandError::Mail => Reply::BAD_MAIL,
            CommandError::Rcpt => Reply::BAD_RCPT,
            CommandError::Chunk => Reply::BAD_CHUNK,
            CommandError::Sender(error) => Reply::BAD_SENDER.with_text(error.text()),
            CommandError::Recipient(error) => Reply::BAD_RECIPIENT.with_text(error.text()),
            CommandError::NeedsUtf8 => Reply::NEEDS_UTF8,
            CommandError::Parameter => Reply::BAD_PARAMETER,
            CommandError::UnknownParameter => Reply::UNKNOWN_PARAMETER,
            CommandError::RepeatedParameter => Reply::REPEATED_PARAMETER,
            CommandError::Value => Reply::BAD_VALUE,
            CommandError::Untrusted => Reply::NO_XCLIENT,
        }
    }
}

/// RFC 5321 §4.2.4: 502 for what is known to RFC 1985 and RFC 821, and not done.
const UNIMPLEMENTED: [&[u8]; 5] = [b"ETRN", b"TURN", b"SEND", b"SOML", b"SAML"];

/// Reads `line`, which has no CRLF any more, by the extensions that are offered.
pub fn parse<'a>(
    line: &'a [u8],
    offers: &Offers,
    is_lenient: bool,
) -> Result<Command<'a>, CommandError> {
    // RFC 5321 §4.1.1: white space at the end SHOULD be tolerated.
    let line = if is_lenient { trim_junk(line) } else { line.trim_ascii_end() };
    let is_space = |byte: &u8| *byte == b' ' || is_lenient && *byte == b'\t';
    let end = line.iter().position(is_space).unwrap_or(line.len());
    let (verb, argument) = line.split_at_checked(end).unwrap_or((line, &[]));
    let argument = match is_lenient {
        true => argument.trim_ascii_start(),
        false => argument.strip_prefix(b" ").unwrap_or(argument),
    };
    let is = |name: &[u8]| verb.eq_ignore_ascii_case(name);
    if is(b"HELO") {
        parse_name(argument, is_lenient).map(Command::Helo)
    } else if is(b"EHLO") {
        parse_name(argument, is_lenient).map(Command::Ehlo)
    } else if is(b"MAIL") {
        parse_mail(argument, offers, is_lenient)
    } else if is(b"RCPT") {
        parse_rcpt(argument, offers, is_lenient)
    } else if is(b"DATA") {
        alone(Command::Data, argument)
    } else if is(b"BDAT") {
        chunk::parse_size(argument).map(Command::Bdat).ok_or(CommandError::Chunk)
    } else if is(b"AUTH") && !offers.auth.mechanisms.is_empty() {
        parse_auth(argument)
    } else if is(b"RSET") {
        alone(Command::Rset, argument)
    } else if is(b"NOOP") {
        Ok(Command::Noop)
    } else if is(b"QUIT") || is_lenient && strip_word(verb, b"QUIT").is_some() {
        // RFC 5321 §4.1.1 would have a 501; whoever wants to go is let go.
        Ok(Command::Quit)
    } else if is(b"VRFY") {
        behind(Command::Vrfy, argument)
    } else if is(b"EXPN") {
        behind(Command::Expn, argument)
    } else if is(b"HELP") {
        Ok(Command::Help)
    } else if is(b"STARTTLS") && offers.starttls {
        alone(Command::StartTls, argument)
    } else if is(b"XCLIENT") {
        let told = || xclient::parse(argument).map(Command::Xclient);
        if offers.xclient { told() } else { Err(CommandError::Untrusted) }
    } else if UNIMPLEMENTED.iter().any(|name| is(name)) {
        Err(CommandError::Unimplemented)
    } else {
        Err(CommandError::Unknown)
    }
}

fn alone<'a>(command: Command<'a>, argument: &[u8]) -> Result<Command<'a>, CommandError> {
    if argument.is_empty() { Ok(command) } else { Err(CommandError::Argument) }
}

fn behind<'a>(command: Command<'a>, argument: &[u8]) -> Result<Command<'a>, CommandError> {
    if argument.is_empty() { Err(CommandError::NoArgument) } else { Ok(command) }
}

/// RFC 5321 §4.1.4 forbids to refuse mail because of this name, and devices have names with
/// underscores, without dots, with spaces. Only what cannot stand in a log line is refused.
fn parse_name(argument: &[u8], is_lenient: bool) -> Result<&[u8], CommandError> {
    let name = argument.trim_ascii_start();
    let is_fit = |byte: &u8| matches!(byte, b' '..=b'~');
    let fitting = name.iter().take(DOMAIN_BYTES_MAX).take_while(|byte| is_fit(byte)).count();
    match name.get(..fitting) {
        Some(whole @ [_, ..]) if whole.len() == name.len() || is_lenient => Ok(whole),
        _ if is_lenient => Ok(b"?"),
        _ => Err(CommandError::Hello),
    }
}

fn parse_auth(argument: &[u8]) -> Result<Command<'_>, CommandError> {
    let end = argument.iter().position(|byte| *byte == b' ').unwrap_or(argument.len());
    let (mechanism, rest) = argument.split_at_checked(end).unwrap_or((argument, &[]));
    let initial = rest.strip_prefix(b" ").map(Encoded);
    behind(Command::Auth { mechanism, initial }, mechanism)
}

fn parse_mail<'a>(
    argument: &'a [u8],
    offers: &Offers,
    is_lenient: bool,
) -> Result<Command<'a>, CommandError> {
    let path = strip_keyword(argument, b"FROM", is_lenient).ok_or(CommandError::Mail)?;
    let charset = charset(offers);
    let (path, rest) = match parse_reverse_path(path, charset) {
        Err(AddressError::Brackets) if is_lenient => parse_bare_path(path, charset)
            .map(|(address, rest)| (ReversePath::Address(address), rest)),
        read => read,
    }
    .map_err(CommandError::Sender)?;
    let parameters = parse_mail_parameters(rest, offers)?;
    let is_ascii = match path {
        ReversePath::Null => true,
        ReversePath::Address(address) => address.is_ascii(),
    };
    if !is_ascii && !parameters.utf8 {
        return Err(CommandError::NeedsUtf8);
    }
    Ok(Command::Mail { path, parameters })
}

fn parse_rcpt<'a>(
    argument: &'a [u8],
    offers: &Offers,
    is_lenient: bool,
) -> Result<Command<'a>, CommandError> {
    let path = strip_keyword(argument, b"TO", is_lenient).ok_or(CommandError::Rcpt)?;
    let charset = charset(offers);
    let (path, rest) = match parse_forward_path(path, charset) {
        Err(AddressError::Brackets) if is_lenient => parse_bare_path(path, charset),
        read => read.map(|(ForwardPath::Address(address), rest)| (address, rest)),
    }
    .map_err(CommandError::Recipient)?;
    let parameters = parse_rcpt_parameters(rest, offers)?;
    Ok(Command::Rcpt { path, parameters })
}

/// Whether the mail at hand may have such a recipient is seen later.
const fn charset(offers: &Offers) -> Charset {
    if offers.utf8 { Charset::Utf8 } else { Charset::Ascii }
}

/// What stands behind `FROM:` or `TO:`.
fn strip_keyword<'a>(text: &'a [u8], word: &[u8], is_lenient: bool) -> Option<&'a [u8]> {
    let text = strip_word(text, word)?;
    match is_lenient {
        true => text.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start),
        false => text.strip_prefix(b":"),
    }
}

/// An address without its angle brackets, or with one of them, up to a space or the end.
fn parse_bare_path(text: &[u8], charset: Charset) -> Result<(Address<'_>, &[u8]), AddressError> {
    let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end).unwrap_or((text, &[]));
    let word = word.strip_prefix(b"<").unwrap_or(word);
    let word = word.strip_suffix(b">").unwrap_or(word);
    Ok((Address::parse_in(word, charset)?, rest))
}

/// `line` without what some devices have around their strings.
pub(super) fn trim_junk(line: &[u8]) -> &[u8] {
    let is_junk = |byte: &u8| *byte == 0 || byte.is_ascii_whitespace();
    let start = line.iter().position(|byte| !is_junk(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !is_junk(byte)).map_or(start, |last| last + 1);
    line.get(start..end).unwrap_or_default()
}

fn strip_word<'a>(text: &'a [u8], word: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = text.split_at_checked(word.len())?;
    head.eq_ignore_ascii_case(word).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::parameter::Body;

    fn parse(line: &[u8]) -> Result<Command<'_>, CommandError> {
        super::parse(line, &Offers { starttls: true, ..Offers::BASIC }, false)
    }

    #[test]
    fn verbs_in_any_case_with_space_behind() {
        assert_eq!(parse(b"data"), Ok(Command::Data));
        assert_eq!(parse(b"DATA \t "), Ok(Command::Data));
        assert_eq!(parse(b"rSeT"), Ok(Command::Rset));
        assert_eq!(parse(b"NOOP whatever"), Ok(Command::Noop));
        assert_eq!(parse(b"QUIT now"), Ok(Command::Quit));
        assert_eq!(parse(b"VRFY postmaster"), Ok(Command::Vrfy));
        assert_eq!(parse(b"EXPN staff"), Ok(Command::Expn));
        assert_eq!(parse(b"HELP"), Ok(Command::Help));
        assert_eq!(parse(b"StartTLS "), Ok(Command::StartTls));
        assert_eq!(parse(b"EHLO my_printer"), Ok(Command::Ehlo(b"my_printer")));
        assert_eq!(parse(b"helo [IPv6:::1] "), Ok(Command::Helo(b"[IPv6:::1]")));
        assert_eq!(parse(b"HELO My Printer"), Ok(Command::Helo(b"My Printer")));
    }

    #[test]
    fn lines_that_are_not_commands() {
        let long = [&b"EHLO "[..], &[b'x'; DOMAIN_BYTES_MAX + 1]].concat();
        for (line, code) in [
            (&b""[..], 500),
            (b" NOOP", 500),
            (b"MAILFROM:<a@b>", 500),
            (b"STARTTLS now", 501),
            (b"EHLO", 501),
            (b"EHLO  ", 501),
            (b"EHLO a\x00b", 501),
            (b"EHLO a\x7f", 501),
            (b"EHLO a\xe4", 501),
            (&long, 501),
            (b"DATA now", 501),
            (b"RSET x", 501),
            (b"VRFY", 501),
            (b"EXPN", 501),
            (b"MAIL", 501),
            (b"MAIL TO:<a@b.c>", 501),
            (b"MAIL FROM: <a@b.c>", 501),
            (b"MAIL FROM:a@b.c", 501),
            (b"MAIL FROM:<a@b.c>SIZE=1", 501),
            (b"MAIL FROM:<a@b.c> SIZE=1 SIZE=1", 501),
            (b"MAIL FROM:<a@b.c> BODY=BINARYMIME", 504),
            (b"MAIL FROM:<a@b.c> RET=HDRS", 555),
            (b"MAIL FROM:<a@b.c> SMTPUTF8", 555),
            (b"RCPT TO:<>", 501),
            (b"RCPT FROM:<a@b.c>", 501),
            (b"RCPT TO:<a@b.c> NOTIFY=NEVER", 555),
            (b"RCPT TO:<a@b.c> NOTIFY=\x01", 501),
        ] {
            let code_found = parse(line).map_err(|error| error.reply().code);
            assert_eq!(code_found, Err(code), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn what_is_mended() {
        fn parse(line: &[u8]) -> Result<Command<'_>, CommandError> {
            super::parse(line, &Offers::BASIC, true)
        }
        for name in [&b"printer"[..], b" \tprinter", b"printer\xe4\x01x", b"printer\0"] {
            let line = [b"EHLO ", name].concat();
            assert_eq!(parse(&line), Ok(Command::Ehlo(b"printer")));
        }
        for junk in [&b"HELO"[..], b"HELO ", b"HELO \xff\xfe", b"\0HELO \0"] {
            assert_eq!(parse(junk), Ok(Command::Helo(b"?")), "{}", junk.escape_ascii());
        }
        let long = [&b"HELO "[..], &[b'x'; 2 * DOMAIN_BYTES_MAX]].concat();
        assert_eq!(parse(&long), Ok(Command::Helo(&[b'x'; DOMAIN_BYTES_MAX])));
        for quit in [&b"QUIT"[..], b" quit", b"QUIT.", b"QUIT\0", b"QUITTING", b"\tQUIT now"] {
            assert_eq!(parse(quit), Ok(Command::Quit), "{}", quit.escape_ascii());
        }
        assert_eq!(parse(b"QUI"), Err(CommandError::Unknown));
        for sender in ["<a@b.c>", " <a@b.c>", " a@b.c", "a@b.c", "<a@b.c", "a@b.c>", "\t<a@b.c>"] {
            for colon in [":", " :"] {
                let line = format!("MAIL  FROM{colon}{sender} SIZE=9");
                let Ok(Command::Mail { path, parameters }) = parse(line.as_bytes()) else {
                    panic!("{line}");
                };
                let expected = Address::parse(b"a@b.c").unwrap();
                assert_eq!((path, parameters.size), (ReversePath::Address(expected), Some(9)));
                let line = format!("rcpt\tto{colon}{sender}");
                let Ok(Command::Rcpt { path, .. }) = parse(line.as_bytes()) else {
                    panic!("{line}");
                };
                assert_eq!(path, expected);
            }
        }
        assert!(matches!(
            parse(b"MAIL FROM: <>"),
            Ok(Command::Mail { path: ReversePath::Null, .. })
        ));
        for line in [
            &b"MAIL FROM:"[..],
            b"MAIL FROM a@b.c",
            b"MAIL FROM:a@b.c,d@e.f",
            b"MAIL FROM:a@b.c>SIZE=1",
            b"MAIL FROM:a@@b",
            b"MAIL FROM:a\x01@b",
            b"RCPT TO:a b@c",
            b"RCPT TO:@a:b@c",
            b"RCPT TO:<>",
            b"RCPT TO:<<a@b>>",
        ] {
            assert_eq!(parse(line).unwrap_err().reply().code, 501, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn envelopes() {
        let from = |text| Address::parse(text).map(ReversePath::Address).unwrap();
        let mail = |path, size, body| {
            let parameters = MailParameters { size, body, ..MailParameters::default() };
            Ok(Command::Mail { path, parameters })
        };
        let rcpt = |path| {
            let path = Address::parse(path).unwrap();
            Ok(Command::Rcpt { path, parameters: RcptParameters::default() })
        };
        assert_eq!(parse(b"MAIL FROM:<>"), mail(ReversePath::Null, None, None));
        assert_eq!(
            parse(b"mail from:<a@b.c> body=8bitmime size=500 "),
            mail(from(b"a@b.c"), Some(500), Some(Body::EightBitMime))
        );
        assert_eq!(
            parse(b"MAIL FROM:<a@b.c> SIZE=99999999999999999999  BODY=7BIT"),
            mail(from(b"a@b.c"), Some(u64::MAX), Some(Body::SevenBit))
        );
        let quoted = b"\"a> b\"@[127.0.0.1]";
        assert_eq!(parse(b"RCPT TO:<\"a> b\"@[127.0.0.1]>"), rcpt(quoted));
        assert_eq!(parse(b"RCPT TO:<Postmaster>"), rcpt(b"Postmaster"));
    }
}
