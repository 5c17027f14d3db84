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
//! Read first: RFC 5321 §4.1.1, §4.1.2.

use super::chunk::{self, ChunkSize};
use super::offer::Offers;
use super::parameter::{
    MailParameters, RcptParameters, parse_mail_parameters, parse_rcpt_parameters,
};
use super::reply::Reply;
use super::sasl::Encoded;
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
    /// STARTTLS (RFC 3207).
    StartTls,
}

/// Why a line is not a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandError {
    /// No such verb here.
    Unknown,
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
}

impl CommandError {
    /// What to answer.
    pub const fn reply(self) -> Reply {
        match self {
            CommandError::Unknown => Reply::UNKNOWN_COMMAND,
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
        }
    }
}

/// Reads `line`, which has no CRLF any more, by the extensions that are offered.
pub fn parse<'a>(line: &'a [u8], offers: &Offers) -> Result<Command<'a>, CommandError> {
    // RFC 5321 §4.1.1: white space at the end SHOULD be tolerated.
    let line = line.trim_ascii_end();
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let (verb, argument) = line.split_at_checked(end).unwrap_or((line, &[]));
    let argument = argument.strip_prefix(b" ").unwrap_or(argument);
    let is = |name: &[u8]| verb.eq_ignore_ascii_case(name);
    if is(b"HELO") {
        parse_name(argument).map(Command::Helo)
    } else if is(b"EHLO") {
        parse_name(argument).map(Command::Ehlo)
    } else if is(b"MAIL") {
        parse_mail(argument, offers)
    } else if is(b"RCPT") {
        parse_rcpt(argument, offers)
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
    } else if is(b"QUIT") {
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
fn parse_name(argument: &[u8]) -> Result<&[u8], CommandError> {
    let name = argument.trim_ascii_start();
    let printable = name.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let fits = !name.is_empty() && name.len() <= DOMAIN_BYTES_MAX;
    if printable && fits { Ok(name) } else { Err(CommandError::Hello) }
}

fn parse_auth(argument: &[u8]) -> Result<Command<'_>, CommandError> {
    let end = argument.iter().position(|byte| *byte == b' ').unwrap_or(argument.len());
    let (mechanism, rest) = argument.split_at_checked(end).unwrap_or((argument, &[]));
    let initial = rest.strip_prefix(b" ").map(Encoded);
    behind(Command::Auth { mechanism, initial }, mechanism)
}

fn parse_mail<'a>(argument: &'a [u8], offers: &Offers) -> Result<Command<'a>, CommandError> {
    let path = strip_word(argument, b"FROM:").ok_or(CommandError::Mail)?;
    let (path, rest) = parse_reverse_path(path, charset(offers)).map_err(CommandError::Sender)?;
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

fn parse_rcpt<'a>(argument: &'a [u8], offers: &Offers) -> Result<Command<'a>, CommandError> {
    let path = strip_word(argument, b"TO:").ok_or(CommandError::Rcpt)?;
    let (path, rest) =
        parse_forward_path(path, charset(offers)).map_err(CommandError::Recipient)?;
    let ForwardPath::Address(path) = path;
    let parameters = parse_rcpt_parameters(rest, offers)?;
    Ok(Command::Rcpt { path, parameters })
}

/// Whether the mail at hand may have such a recipient is seen later.
const fn charset(offers: &Offers) -> Charset {
    if offers.utf8 { Charset::Utf8 } else { Charset::Ascii }
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
        super::parse(line, &Offers { starttls: true, ..Offers::BASIC })
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
