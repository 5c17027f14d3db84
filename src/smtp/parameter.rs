//! The parameters of MAIL and RCPT, read once into types that cannot lie.
//!
//! Keywords and values are those of the extensions offered ([`super::offer`]); any other is 555. A
//! malformed one, or one that comes twice, is 501; a value that is well known but not taken here is
//! 504 (RFC 5321 §4.2.3, §4.1.1.11). What is kept of a value are slices of the line: an [`Xtext`]
//! is known to decode to printable ASCII, so no CR, LF, NUL or any other control byte can come out
//! of it (threats 4). Nothing is allocated.
//!
//! Not here: the paths ahead of the parameters ([`crate::mail::address`]), what a parameter means
//! for the message (the rooms above).
//!
//! AUTH= is read and checked, and that is all: who is not trusted to name others, and nobody is,
//! shall be treated as if it had said `AUTH=<>` (RFC 4954 §5), which is what saying nothing means.
//!
//! Read first: RFC 5321 §4.1.2, RFC 3461 §4, RFC 6533 §3, RFC 4865 §3, RFC 6531 §3.4.

use super::command::CommandError;
use super::deliver_by::DeliverBy;
use super::offer::Offers;
use crate::base::ascii::parse_decimal;
use crate::mail::address::{Address, is_visible};
use crate::mail::timestamp::parse_timestamp;
use core::fmt::{self, Write as _};

/// RFC 3461 §4.4: of ENVID=.
pub const ENVELOPE_ID_BYTES_MAX: usize = 100;
/// RFC 3461 §4.2: of ORCPT=, with its type.
pub const ORIGINAL_BYTES_MAX: usize = 500;
/// RFC 4865 §4: of HOLDFOR=.
const HOLD_DIGITS_MAX: usize = 9;

/// What stands behind the path of MAIL.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MailParameters<'a> {
    /// SIZE= (RFC 1870), held at the greatest number when it is even greater.
    pub size: Option<u64>,
    /// BODY=.
    pub body: Option<Body>,
    /// SMTPUTF8.
    pub utf8: bool,
    /// RET=.
    pub ret: Option<Return>,
    /// ENVID=.
    pub envid: Option<Xtext<'a>>,
    /// HOLDFOR= or HOLDUNTIL=.
    pub hold: Option<Hold>,
    /// BY=.
    pub by: Option<DeliverBy>,
}

/// What stands behind the path of RCPT.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RcptParameters<'a> {
    /// NOTIFY=.
    pub notify: Option<Notify>,
    /// ORCPT=.
    pub orcpt: Option<OriginalRecipient<'a>>,
}

/// What a message is said to hold, RFC 6152 and RFC 3030.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    /// Only ASCII.
    SevenBit,
    /// Other bytes too.
    EightBitMime,
    /// Anything, CR and LF on their own included.
    BinaryMime,
}

/// How much of the message a report shall return, RFC 3461 §4.3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Return {
    /// All of it.
    Full,
    /// Its header.
    Headers,
}

impl Return {
    /// As SMTP spells it.
    pub const fn word(self) -> &'static str {
        match self {
            Return::Full => "FULL",
            Return::Headers => "HDRS",
        }
    }
}

/// Of what the sender wants reports, RFC 3461 §4.1. The numbers are kept with queued messages, so
/// they never change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Notify(u8);

impl Notify {
    /// Of nothing.
    pub const NEVER: Notify = Notify(0);
    /// That it is delivered.
    pub const SUCCESS: Notify = Notify(1);
    /// That it cannot be.
    pub const FAILURE: Notify = Notify(2);
    /// That it takes long.
    pub const DELAY: Notify = Notify(4);
    const WORDS: [(Notify, &'static str); 3] =
        [(Notify::SUCCESS, "SUCCESS"), (Notify::FAILURE, "FAILURE"), (Notify::DELAY, "DELAY")];

    /// True if `what` is wanted.
    pub const fn has(self, what: Notify) -> bool {
        self.0 & what.0 != 0
    }

    /// As a number.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// From that number; what a later version may have added is not known here.
    pub const fn from_bits(bits: u8) -> Notify {
        Notify(bits & 7)
    }

    /// Reads what stands behind `NOTIFY=`.
    pub fn parse(value: &[u8]) -> Option<Notify> {
        if value.eq_ignore_ascii_case(b"NEVER") {
            return Some(Notify::NEVER);
        }
        value.split(|byte| *byte == b',').try_fold(Notify::NEVER, |sum, word| {
            let is = |(_, known): &&(Notify, &str)| known.as_bytes().eq_ignore_ascii_case(word);
            let (found, _) = Notify::WORDS.iter().find(is)?;
            Some(Notify(sum.0 | found.0))
        })
    }
}

/// As SMTP spells it.
impl fmt::Display for Notify {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Notify::NEVER {
            return formatter.write_str("NEVER");
        }
        let mut comma = "";
        for (_, word) in Notify::WORDS.iter().filter(|(what, _)| self.has(*what)) {
            write!(formatter, "{comma}{word}")?;
            comma = ",";
        }
        Ok(())
    }
}

/// When a message is to go, RFC 4865 §4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hold {
    /// So many seconds from now.
    For(u32),
    /// At that time, seconds since 1970.
    Until(i64),
}

/// Text in the coding of RFC 3461 §4, which has been read and holds printable ASCII. Shown, it is
/// decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Xtext<'a>(&'a [u8]);

impl<'a> Xtext<'a> {
    /// Reads `text`, all of it.
    pub fn parse(text: &'a [u8]) -> Option<Xtext<'a>> {
        let mut rest = text;
        while let Some((_, behind)) = Xtext::next(rest)? {
            rest = behind;
        }
        Some(Xtext(text))
    }

    /// The first character, decoded, and what follows; an inner none at the end, an outer one if
    /// it is malformed.
    fn next(text: &[u8]) -> Option<Option<(char, &[u8])>> {
        let (byte, rest) = match text {
            [] => return Some(None),
            // RFC 3461 §4: hexadecimal digits in upper case; others are understood.
            [b'+', high, low, rest @ ..] => (hexadecimal(*high)? << 4 | hexadecimal(*low)?, rest),
            [b'!'..=b'*' | b','..=b'<' | b'>'..=b'~', rest @ ..] => (*text.first()?, rest),
            _ => return None,
        };
        matches!(byte, b' '..=b'~').then_some(Some((char::from(byte), rest)))
    }
}

impl fmt::Display for Xtext<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(Some((character, behind))) = Xtext::next(rest) {
            formatter.write_char(character)?;
            rest = behind;
        }
        Ok(())
    }
}

/// Shows printable ASCII in the coding of RFC 3461 §4.
#[derive(Clone, Copy, Debug)]
pub struct InXtext<'a>(pub &'a str);

impl fmt::Display for InXtext<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            match byte {
                b'!'..=b'~' if byte != b'+' && byte != b'=' => {
                    formatter.write_char(char::from(byte))?;
                }
                _ => write!(formatter, "+{byte:02X}")?,
            }
        }
        Ok(())
    }
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// To whom the sender wrote, RFC 3461 §4.2. Shown, it is `type;address`, decoded, and all ASCII: in
/// an address of type utf-8, other characters stand as `\x{C0DE}` (RFC 6533 §3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OriginalRecipient<'a> {
    kind: &'a str,
    address: OriginalAddress<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum OriginalAddress<'a> {
    Xtext(Xtext<'a>),
    /// Raw UTF-8 without control characters.
    Unicode(&'a str),
}

impl<'a> OriginalRecipient<'a> {
    fn parse(value: &'a [u8]) -> Option<OriginalRecipient<'a>> {
        let text = core::str::from_utf8(value).ok()?;
        let (kind, address) = text.split_once(';')?;
        let is_type_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if kind.is_empty() || !kind.bytes().all(is_type_byte) || address.is_empty() {
            return None;
        }
        let is_utf8 = kind.eq_ignore_ascii_case("utf-8");
        let address = if address.is_ascii() {
            OriginalAddress::Xtext(Xtext::parse(address.as_bytes())?)
        } else if is_utf8 && address.chars().all(is_visible) {
            OriginalAddress::Unicode(address)
        } else {
            return None;
        };
        let original = OriginalRecipient { kind, address };
        if is_utf8 && !original.has_good_escapes() {
            return None;
        }
        let mut length = Length(0);
        // Counting does not fail.
        let _ = write!(length, "{original}");
        (length.0 <= ORIGINAL_BYTES_MAX).then_some(original)
    }

    /// True unless it holds raw UTF-8, which only a message with SMTPUTF8 may.
    pub const fn is_ascii(&self) -> bool {
        matches!(self.address, OriginalAddress::Xtext(_))
    }

    /// Every `\` begins a `\x{…}` that stands for a character fit for an address.
    fn has_good_escapes(&self) -> bool {
        let mut check = Escapes::Outside;
        write!(check, "{self}").is_ok() && matches!(check, Escapes::Outside)
    }
}

impl fmt::Display for OriginalRecipient<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{};", self.kind)?;
        match self.address {
            OriginalAddress::Xtext(address) => write!(formatter, "{address}"),
            OriginalAddress::Unicode(address) => {
                address.chars().try_for_each(|character| match character {
                    '!'..='~' => formatter.write_char(character),
                    other => write!(formatter, "\\x{{{:02X}}}", u32::from(other)),
                })
            }
        }
    }
}

/// Counts what is written.
struct Length(usize);

impl fmt::Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

/// RFC 6533 §3, EmbeddedUnicodeChar: reads what is written and fails at the first that is none.
#[derive(Clone, Copy)]
enum Escapes {
    Outside,
    /// Behind `\`, `\x`.
    Backslash,
    Letter,
    /// Behind `\x{` and so many digits, which spell this.
    Digits(u32, u32),
}

impl fmt::Write for Escapes {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            *self = match (*self, character) {
                (Escapes::Outside, '\\') => Escapes::Backslash,
                (Escapes::Outside, _) => Escapes::Outside,
                (Escapes::Backslash, 'x') => Escapes::Letter,
                (Escapes::Letter, '{') => Escapes::Digits(0, 0),
                (Escapes::Digits(2.., code), '}') => {
                    let decoded = char::from_u32(code).filter(|letter| is_visible(*letter));
                    decoded.map(|_| Escapes::Outside).ok_or(fmt::Error)?
                }
                (Escapes::Digits(count @ 0..=5, code), digit) => {
                    let value = digit.to_digit(16).ok_or(fmt::Error)?;
                    Escapes::Digits(count + 1, code << 4 | value)
                }
                _ => return Err(fmt::Error),
            };
        }
        Ok(())
    }
}

/// Reads what stands behind the path of MAIL.
pub fn parse_mail_parameters<'a>(
    rest: &'a [u8],
    offers: &Offers,
) -> Result<MailParameters<'a>, CommandError> {
    let mut seen = MailParameters::default();
    let mut auth = None;
    for parameter in parameters(rest, offers) {
        let (keyword, value) = parameter?;
        let is = |name: &[u8]| keyword.eq_ignore_ascii_case(name);
        if is(b"SIZE") && offers.basic {
            set_once(&mut seen.size, parse_size(value)?)?;
        } else if is(b"BODY") && offers.basic {
            set_once(&mut seen.body, parse_body(value, offers)?)?;
        } else if is(b"SMTPUTF8") && offers.utf8 {
            let is_alone = value.is_none() && !core::mem::replace(&mut seen.utf8, true);
            check(is_alone)?;
        } else if is(b"RET") && offers.dsn {
            set_once(&mut seen.ret, parse_return(value)?)?;
        } else if is(b"ENVID") && offers.dsn {
            let value = value.filter(|value| value.len() <= ENVELOPE_ID_BYTES_MAX);
            set_once(&mut seen.envid, wanted(value.and_then(Xtext::parse))?)?;
        } else if is(b"HOLDFOR") && offers.hold.is_some() {
            set_once(&mut seen.hold, parse_hold_for(value)?)?;
        } else if is(b"HOLDUNTIL") && offers.hold.is_some() {
            set_once(&mut seen.hold, wanted(value.and_then(parse_timestamp)).map(Hold::Until)?)?;
        } else if is(b"BY") && offers.deliver_by.is_some() {
            set_once(&mut seen.by, wanted(value.and_then(DeliverBy::parse))?)?;
        } else if is(b"AUTH") && offers.auth.is_told() {
            check(value.is_some_and(is_submitter))?;
            set_once(&mut auth, ())?;
        } else {
            // RFC 5321 §4.1.1.11.
            return Err(CommandError::UnknownParameter);
        }
    }
    Ok(seen)
}

/// Reads what stands behind the path of RCPT.
pub fn parse_rcpt_parameters<'a>(
    rest: &'a [u8],
    offers: &Offers,
) -> Result<RcptParameters<'a>, CommandError> {
    let mut seen = RcptParameters::default();
    for parameter in parameters(rest, offers) {
        let (keyword, value) = parameter?;
        let is = |name: &[u8]| keyword.eq_ignore_ascii_case(name);
        if is(b"NOTIFY") && offers.dsn {
            set_once(&mut seen.notify, wanted(value.and_then(Notify::parse))?)?;
        } else if is(b"ORCPT") && offers.dsn {
            let value = value.filter(|value| value.len() <= ORIGINAL_BYTES_MAX);
            set_once(&mut seen.orcpt, wanted(value.and_then(OriginalRecipient::parse))?)?;
        } else {
            return Err(CommandError::UnknownParameter);
        }
    }
    Ok(seen)
}

impl RcptParameters<'_> {
    /// True unless a value holds raw UTF-8, which only a message with SMTPUTF8 may.
    pub fn is_ascii(&self) -> bool {
        self.orcpt.is_none_or(|original| original.is_ascii())
    }
}

type Parameter<'a> = (&'a [u8], Option<&'a [u8]>);

/// Keywords and values, RFC 5321 §4.1.2: each behind a space, the keyword of letters, digits and
/// hyphens, the value of printable characters without `=`, and beyond ASCII by RFC 6531 §3.3.
fn parameters<'a>(
    rest: &'a [u8],
    offers: &Offers,
) -> impl Iterator<Item = Result<Parameter<'a>, CommandError>> {
    let utf8 = offers.utf8;
    let behind_space = match rest {
        [] | [b' ', ..] => Ok(()),
        _ => Err(CommandError::Parameter),
    };
    let words = rest.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    words.map(move |word| {
        behind_space?;
        let mut halves = word.splitn(2, |byte| *byte == b'=');
        let (keyword, value) = (halves.next().unwrap_or_default(), halves.next());
        let named = |keyword: &[u8]| match keyword {
            [first, rest @ ..] => {
                first.is_ascii_alphanumeric()
                    && rest.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
            }
            [] => false,
        };
        let is_text = |byte: &u8| match *byte {
            b'=' => false,
            0x80.. => utf8,
            byte => byte.is_ascii_graphic(),
        };
        let valued = |value: &[u8]| !value.is_empty() && value.iter().all(is_text);
        match named(keyword) && value.is_none_or(valued) {
            true => Ok((keyword, value)),
            false => Err(CommandError::Parameter),
        }
    })
}

fn set_once<T>(place: &mut Option<T>, value: T) -> Result<(), CommandError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(CommandError::RepeatedParameter),
    }
}

fn wanted<T>(value: Option<T>) -> Result<T, CommandError> {
    value.ok_or(CommandError::Parameter)
}

fn check(is_good: bool) -> Result<(), CommandError> {
    is_good.then_some(()).ok_or(CommandError::Parameter)
}

/// RFC 1870 §3: one to twenty digits, so a few values are beyond 64 bits.
fn parse_size(value: Option<&[u8]>) -> Result<u64, CommandError> {
    let value = wanted(value)?;
    check(value.len() <= 20 && value.iter().all(u8::is_ascii_digit))?;
    Ok(parse_decimal(value).unwrap_or(u64::MAX))
}

fn parse_body(value: Option<&[u8]>, offers: &Offers) -> Result<Body, CommandError> {
    let value = wanted(value)?;
    if value.eq_ignore_ascii_case(b"7BIT") {
        Ok(Body::SevenBit)
    } else if value.eq_ignore_ascii_case(b"8BITMIME") {
        Ok(Body::EightBitMime)
    } else if value.eq_ignore_ascii_case(b"BINARYMIME") && offers.binary {
        Ok(Body::BinaryMime)
    } else {
        // RFC 5321 §4.2.3: 504, parameter not implemented.
        Err(CommandError::Value)
    }
}

/// RFC 3461 §5.1: a value that is none of these is 501.
fn parse_return(value: Option<&[u8]>) -> Result<Return, CommandError> {
    let value = wanted(value)?;
    let is = |ret: &Return| value.eq_ignore_ascii_case(ret.word().as_bytes());
    wanted([Return::Full, Return::Headers].into_iter().find(is))
}

fn parse_hold_for(value: Option<&[u8]>) -> Result<Hold, CommandError> {
    let value = value.filter(|value| value.len() <= HOLD_DIGITS_MAX);
    let seconds = value.and_then(parse_decimal).and_then(|seconds| u32::try_from(seconds).ok());
    wanted(seconds.filter(|seconds| *seconds > 0)).map(Hold::For)
}

/// RFC 4954 §5: an address in xtext, or `<>`.
fn is_submitter(value: &[u8]) -> bool {
    if value == b"<>" {
        return true;
    }
    let Some(xtext) = Xtext::parse(value) else { return false };
    let mut address = crate::base::buffer::Text::<{ ORIGINAL_BYTES_MAX }>::new();
    // A Text cuts what is too long; the parser then refuses it.
    let _ = write!(address, "{xtext}");
    Address::parse(address.as_str().as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::UnixTime;
    use crate::smtp::login::AuthOffer;
    use crate::smtp::offer::HoldMax;
    use crate::smtp::sasl::server::OFFERED;

    const ALL: Offers = Offers {
        basic: true,
        starttls: true,
        limits: true,
        chunking: true,
        binary: true,
        utf8: true,
        dsn: true,
        hold: Some(HoldMax { seconds: 1000, until: UnixTime { seconds: 1000, trusted: true } }),
        deliver_by: Some(60),
        auth: AuthOffer { mechanisms: OFFERED, ..AuthOffer::NONE },
        xclient: true,
    };

    fn mail(text: &str) -> Result<MailParameters<'_>, CommandError> {
        parse_mail_parameters(text.as_bytes(), &ALL)
    }

    fn rcpt(text: &str) -> Result<RcptParameters<'_>, CommandError> {
        parse_rcpt_parameters(text.as_bytes(), &ALL)
    }

    #[test]
    fn everything_behind_mail() {
        let seen = mail(
            " size=99999999999999999999 body=binarymime smtputf8 RET=hdrs ENVID=a+2Bb+20c \
             HOLDFOR=60 BY=-5;nt AUTH=e+3Dmc2@example.com",
        );
        let seen = seen.unwrap();
        assert_eq!(seen.size, Some(u64::MAX));
        assert_eq!((seen.body, seen.utf8), (Some(Body::BinaryMime), true));
        assert_eq!(seen.ret, Some(Return::Headers));
        assert_eq!(seen.envid.unwrap().to_string(), "a+b c");
        assert_eq!(seen.hold, Some(Hold::For(60)));
        assert_eq!(seen.by.unwrap().to_string(), "-5;NT");
        let seen = mail(" RET=FULL AUTH=<> HOLDUNTIL=1970-01-01T01:00:00Z").unwrap();
        assert_eq!((seen.ret, seen.hold), (Some(Return::Full), Some(Hold::Until(3600))));
        assert_eq!(mail(""), Ok(MailParameters::default()));
    }

    #[test]
    fn what_is_not_taken_behind_mail() {
        use CommandError::*;
        let long = format!(" ENVID={}", "x".repeat(ENVELOPE_ID_BYTES_MAX + 1));
        for (text, error) in [
            ("SIZE=1", Parameter),
            (" SIZE", Parameter),
            (" SIZE=", Parameter),
            (" SIZE=1k", Parameter),
            (" SIZE=123456789012345678901", Parameter),
            (" SIZE=1 SIZE=1", RepeatedParameter),
            (" -=1", Parameter),
            (" X=a=b", Parameter),
            (" X-NEW=1", UnknownParameter),
            (" BODY=9BIT", Value),
            (" BODY", Parameter),
            (" SMTPUTF8=1", Parameter),
            (" SMTPUTF8 SMTPUTF8", Parameter),
            (" RET=ALL", Parameter),
            (" RET=FULL RET=FULL", RepeatedParameter),
            (" ENVID=", Parameter),
            (" ENVID=+", Parameter),
            (" ENVID=+4", Parameter),
            (" ENVID=+G0", Parameter),
            (" ENVID=a+0Ab", Parameter),
            (" ENVID=a+7F", Parameter),
            (" ENVID=a+C3+A9", Parameter),
            (" ENVID=é", Parameter),
            (&long, Parameter),
            (" HOLDFOR=0", Parameter),
            (" HOLDFOR=1234567890", Parameter),
            (" HOLDFOR=-1", Parameter),
            (" HOLDFOR=1 HOLDUNTIL=1970-01-01T00:00:00Z", RepeatedParameter),
            (" HOLDUNTIL=tomorrow", Parameter),
            (" BY=0;R", Parameter),
            (" BY", Parameter),
            (" BY=60;R BY=60;R", RepeatedParameter),
            (" AUTH", Parameter),
            (" AUTH=<", Parameter),
            (" AUTH=a+0D@b", Parameter),
            (" AUTH=<> AUTH=<>", RepeatedParameter),
            (" NOTIFY=NEVER", UnknownParameter),
        ] {
            assert_eq!(mail(text), Err(error), "{text}");
        }
    }

    #[test]
    fn what_is_not_offered_is_unknown() {
        for text in [
            " SIZE=1",
            " BODY=7BIT",
            " SMTPUTF8",
            " RET=FULL",
            " ENVID=a",
            " HOLDFOR=1",
            " BY=60;R",
            " AUTH=<>",
        ] {
            let seen = parse_mail_parameters(text.as_bytes(), &Offers::NONE);
            assert_eq!(seen, Err(CommandError::UnknownParameter), "{text}");
        }
        for text in [" NOTIFY=NEVER", " ORCPT=rfc822;a"] {
            let seen = parse_rcpt_parameters(text.as_bytes(), &Offers::BASIC);
            assert_eq!(seen, Err(CommandError::UnknownParameter), "{text}");
        }
        let seen = parse_mail_parameters(b" BODY=BINARYMIME", &Offers::BASIC);
        assert_eq!(seen, Err(CommandError::Value));
    }

    #[test]
    fn notify() {
        for (text, shown) in [
            ("never", "NEVER"),
            ("SUCCESS", "SUCCESS"),
            ("delay,success", "SUCCESS,DELAY"),
            ("FAILURE,DELAY,SUCCESS,DELAY", "SUCCESS,FAILURE,DELAY"),
        ] {
            let text = format!(" NOTIFY={text}");
            let notify = rcpt(&text).unwrap().notify.unwrap();
            assert_eq!(notify.to_string(), shown);
            assert_eq!(Notify::from_bits(notify.bits()), notify);
        }
        for text in ["", ",", "NEVER,DELAY", "SUCCESS,", "ALWAYS"] {
            let text = format!(" NOTIFY={text}");
            assert_eq!(rcpt(&text), Err(CommandError::Parameter), "{text}");
        }
        let twice = rcpt(" NOTIFY=DELAY NOTIFY=DELAY");
        assert_eq!(twice, Err(CommandError::RepeatedParameter));
    }

    #[test]
    fn original_recipients() {
        for (text, shown) in [
            ("rfc822;bob@example.net", "rfc822;bob@example.net"),
            ("RFC822;a+2Bb@c+3Dd", "RFC822;a+b@c=d"),
            ("x400;/c=us/", ""),
            ("rfc822;a+20b", "rfc822;a b"),
            ("utf-8;J\\x{F6}rg@x", "utf-8;J\\x{F6}rg@x"),
            ("utf-8;Jörg@x", "utf-8;J\\x{F6}rg@x"),
            ("UTF-8;\u{1F600}\\x{5C}", "UTF-8;\\x{1F600}\\x{5C}"),
            ("utf-8;a\\x{9}", ""),
            ("utf-8;a\\x{0A}", ""),
            ("utf-8;a\\x{85}", ""),
            ("utf-8;a\\x{D800}", ""),
            ("utf-8;a\\x{1234567}", ""),
            ("utf-8;a\\x{41", ""),
            ("utf-8;a\\", ""),
            ("utf-8;a\\n", ""),
            ("utf-8;a\u{85}", ""),
            ("rfc822;Jörg@x", ""),
            ("rfc822;a+0D+0Ab", ""),
            ("rfc822;", ""),
            (";a", ""),
            ("rfc 822;a", ""),
            ("r.f;a", ""),
            ("bob@example.net", ""),
        ] {
            let text = format!(" ORCPT={text}");
            let seen = rcpt(&text).ok().and_then(|seen| seen.orcpt);
            let seen = seen.map_or(String::new(), |original| original.to_string());
            assert_eq!(seen, shown, "{text}");
        }
        assert!(!rcpt(" ORCPT=utf-8;ö").unwrap().is_ascii());
        assert!(rcpt(" ORCPT=utf-8;\\x{F6}").unwrap().is_ascii());
        let longest = format!(" ORCPT=rfc822;{}", "x".repeat(ORIGINAL_BYTES_MAX - 7));
        assert!(rcpt(&longest).is_ok());
        assert_eq!(rcpt(&format!("{longest}x")), Err(CommandError::Parameter));
        // What is shown of it is longer.
        let longest = format!(" ORCPT=utf-8;{}", "ö".repeat(90));
        assert_eq!(rcpt(&longest), Err(CommandError::Parameter));
    }

    #[test]
    fn xtext_there_and_back() {
        let every: String = (b' '..=b'~').map(char::from).collect();
        let coded = InXtext(&every).to_string();
        assert_eq!(Xtext::parse(coded.as_bytes()).unwrap().to_string(), every);
        assert!(coded.starts_with("+20!\"#$%&'()*+2B,") && coded.contains("<+3D>"));
    }

    /// Threats 4: every byte at every place; whatever is taken shows printable ASCII only.
    #[test]
    fn no_control_byte_gets_through() {
        let seeds: [&[u8]; 6] = [
            b" ENVID=a+2Bb",
            b" AUTH=a+40b RET=FULL",
            b" ORCPT=rfc822;a+2Bb@c NOTIFY=DELAY",
            b" ORCPT=utf-8;\\x{F6}\xc3\xb6@c",
            b" HOLDUNTIL=2027-01-01T00:00:00Z",
            b" SIZE=10 BODY=7BIT SMTPUTF8",
        ];
        for seed in seeds {
            for at in 0..=seed.len() {
                for byte in 0..=255 {
                    let mut text = seed.to_vec();
                    text.insert(at, byte);
                    let mail = parse_mail_parameters(&text, &ALL).ok();
                    let rcpt = parse_rcpt_parameters(&text, &ALL).ok();
                    let envid = mail.and_then(|seen| seen.envid).map(|envid| envid.to_string());
                    let orcpt = rcpt.and_then(|seen| seen.orcpt).map(|orcpt| orcpt.to_string());
                    for shown in [envid, orcpt].into_iter().flatten() {
                        assert!(shown.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{shown}");
                    }
                }
            }
        }
    }
}
