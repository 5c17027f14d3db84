//! Who it is from and for: from the arguments, the header (-t), and the user database.
//!
//! All goes through the one parser of addresses, [`crate::mail::fields`]. An address that cannot be
//! read refuses the whole call before anything is sent: half a mailing is worse than none, and the
//! caller hears which it was. Nobody gets it twice because he is named twice.

use super::arguments::Arguments;
use crate::cli::exit::{Exit, Failure};
use crate::limits::LOCAL_PART_BYTES_MAX;
use crate::mail::address::{Address, AddressError};
use crate::mail::fields::{Fields, addresses, recipients};
use std::collections::BTreeSet;

/// What is taken of -F.
const NAME_LETTERS_MAX: usize = 200;

/// Who it is from and for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// Without brackets; empty is the null path.
    pub sender: String,
    /// In the order named, at least one.
    pub recipients: Vec<String>,
}

impl Envelope {
    /// What `arguments` and the fields of `header` say; `login` tells who calls, if nothing else
    /// names a sender.
    pub fn new(
        arguments: &Arguments,
        header: &[u8],
        login: impl FnOnce() -> String,
    ) -> Result<Envelope, Failure> {
        let sender = match &arguments.sender {
            Some(sender) => parse_sender(sender)?,
            None if arguments.header_sender => header_sender(header)?,
            None => quote(&login()),
        };
        let mut list = List::default();
        for word in &arguments.recipients {
            let context = || format!("recipient '{}'", word.escape_ascii());
            addresses(word, |found| list.add(found, context));
        }
        if arguments.header_recipients {
            recipients(header, |found| list.add(found, || "recipients in the header".to_owned()));
        }
        match list.failure {
            Some(failure) => return Err(failure),
            None if list.found.is_empty() && arguments.header_recipients => {
                let text = "no recipients: the header has no address in To, Cc or Bcc";
                return Err(Failure::new(Exit::DATA, text));
            }
            None if list.found.is_empty() => {
                let text = "no recipients: name them, or take them from the header with -t";
                return Err(Failure::usage(text));
            }
            None => {}
        }
        Ok(Envelope { sender, recipients: list.found })
    }
}

#[derive(Default)]
struct List {
    found: Vec<String>,
    known: BTreeSet<String>,
    failure: Option<Failure>,
}

impl List {
    fn add(&mut self, found: Result<Address, AddressError>, context: impl Fn() -> String) {
        match found {
            Ok(address) => {
                // RFC 5321 §2.4: case may matter in the local part, never in the domain.
                let domain = address.domain().unwrap_or_default().to_ascii_lowercase();
                if self.known.insert(format!("{}@{domain}", address.local())) {
                    self.found.push(address.as_str().to_owned());
                }
            }
            Err(error) => {
                let text = || format!("{}: {}", context(), error.text());
                self.failure.get_or_insert_with(|| Failure::new(Exit::DATA, text()));
            }
        }
    }
}

/// The value of -f: an address, perhaps with a name, or nothing.
fn parse_sender(value: &[u8]) -> Result<String, Failure> {
    // RFC 5321 §4.5.5: the null path is how reports and answers of machines are sent.
    if matches!(value.trim_ascii(), b"" | b"<>") {
        return Ok(String::new());
    }
    only_address(value, || format!("sender '{}'", value.escape_ascii()))
}

fn header_sender(header: &[u8]) -> Result<String, Failure> {
    match Fields::new(header).find(|field| field.name_is("From")) {
        Some(field) => only_address(field.value, || "From in the header".to_owned()),
        None => Err(Failure::new(Exit::DATA, "no From in the header to take the sender from")),
    }
}

fn only_address(value: &[u8], context: impl Fn() -> String) -> Result<String, Failure> {
    let mut list = List::default();
    addresses(value, |found| list.add(found, &context));
    match (list.failure, list.found.as_slice()) {
        (Some(failure), _) => Err(failure),
        (None, [address]) => Ok(address.clone()),
        (None, _) => Err(Failure::new(Exit::DATA, format!("{}: not one address", context()))),
    }
}

/// A login name as a local part, which not every one is: some domain controllers put a backslash
/// into it.
fn quote(login: &str) -> String {
    if Address::parse(login.as_bytes()).is_ok_and(|address| address.domain().is_none()) {
        return login.to_owned();
    }
    let mut quoted = String::from("\"");
    for letter in login.chars().filter(|letter| matches!(letter, ' '..='~')) {
        if quoted.len() > LOCAL_PART_BYTES_MAX - 3 {
            break;
        }
        if matches!(letter, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push('"');
    quoted
}

/// The field for a From that is missing: the name of -F, and the sender's address.
pub fn from_field(full_name: &[u8], sender: &str) -> String {
    let name: String =
        String::from_utf8_lossy(full_name).trim().chars().take(NAME_LETTERS_MAX).collect();
    let name = name.as_str();
    match name.is_ascii() {
        true => format!("From: {} <{sender}>\r\n", quote_phrase(name)),
        false => format!("From: {} <{sender}>\r\n", encode_phrase(name)),
    }
}

/// RFC 5322 §3.2.4.
fn quote_phrase(name: &str) -> String {
    let mut phrase = String::from("\"");
    for letter in name.chars().filter(|letter| !letter.is_control()) {
        if matches!(letter, '"' | '\\') {
            phrase.push('\\');
        }
        phrase.push(letter);
    }
    phrase.push('"');
    phrase
}

/// RFC 2047 §4.2 and §5 (3): encoded words, each of whole characters and at most 75 bytes, on lines
/// of their own.
fn encode_phrase(name: &str) -> String {
    const WORD_BYTES_MAX: usize = 75;
    let mut phrase = String::new();
    let mut word = String::new();
    for letter in name.chars().filter(|letter| !letter.is_control()) {
        let mut encoded = String::new();
        let mut bytes = [0; 4];
        for byte in letter.encode_utf8(&mut bytes).bytes() {
            match byte {
                b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => encoded.push(char::from(byte)),
                b' ' => encoded.push('_'),
                _ => encoded.push_str(&format!("={byte:02X}")),
            }
        }
        if "=?UTF-8?Q?".len() + word.len() + encoded.len() + "?=".len() > WORD_BYTES_MAX {
            phrase.push_str(&format!("=?UTF-8?Q?{word}?=\r\n "));
            word.clear();
        }
        word.push_str(&encoded);
    }
    phrase.push_str(&format!("=?UTF-8?Q?{word}?="));
    phrase
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(words: &[&str]) -> Arguments {
        let words = words.iter().map(std::ffi::OsString::from);
        super::super::arguments::parse(super::super::arguments::Dialect::Msmtp, words).unwrap()
    }

    fn envelope(words: &[&str], header: &str) -> Result<Envelope, Failure> {
        Envelope::new(&arguments(words), header.as_bytes(), || "root".to_owned())
    }

    #[test]
    fn recipients_from_everywhere_once() {
        let header =
            "To: A <a@Example.org>,\r\n b@x\r\nBcc: c@x, a@example.ORG\r\nSubject: d@x\r\n";
        let found = envelope(&["-t", "B@x, root", "b@x"], header).unwrap();
        assert_eq!(found.recipients, ["B@x", "root", "b@x", "a@Example.org", "c@x"]);
        assert_eq!(found.sender, "root");
        let found = envelope(&["a@x"], header).unwrap();
        assert_eq!(found.recipients, ["a@x"]);
        let resent = "To: a@x\r\nResent-To: b@x\r\nResent-Bcc: c@x\r\n";
        assert_eq!(envelope(&["-t"], resent).unwrap().recipients, ["b@x", "c@x"]);
    }

    #[test]
    fn senders() {
        let sender = |words: &[&str]| envelope(words, "From: Me <me@h>\r\n").unwrap().sender;
        assert_eq!(sender(&["-f", "me@x", "a"]), "me@x");
        assert_eq!(sender(&["-f", "Me Myself <me@x>", "a"]), "me@x");
        assert_eq!(sender(&["-f", "", "a"]), "");
        assert_eq!(sender(&["-f<>", "a"]), "");
        assert_eq!(sender(&["--read-envelope-from", "a"]), "me@h");
        assert_eq!(quote("EXAMPLE\\joe user"), "\"EXAMPLE\\\\joe user\"");
        assert!(Address::parse(quote(&"\\".repeat(100)).as_bytes()).is_ok());
        assert!(Address::parse(quote("a@b\n").as_bytes()).is_ok());
    }

    #[test]
    fn refused() {
        for (words, header, exit) in [
            (&["-f", "a, b", "c"][..], "", Exit::DATA),
            (&["-f", "a b", "c"], "", Exit::DATA),
            (&["a b"], "", Exit::DATA),
            (&["a\r\nRCPT TO <b"], "", Exit::DATA),
            (&["-t"], "To: undisclosed-recipients:;\r\n", Exit::DATA),
            (&["-t"], "To: a@x, b@\r\n", Exit::DATA),
            (&["--read-envelope-from", "a"], "", Exit::DATA),
            (&[], "To: a@x\r\n", Exit::USAGE),
            (&[""], "", Exit::USAGE),
        ] {
            assert_eq!(envelope(words, header).unwrap_err().exit, exit, "{words:?}");
        }
    }

    #[test]
    fn names_for_from() {
        let from = |name: &str| from_field(name.as_bytes(), "root");
        assert_eq!(from("CronDaemon"), "From: \"CronDaemon\" <root>\r\n");
        assert_eq!(from("A \"B\" \\ \r\nBcc: x"), "From: \"A \\\"B\\\" \\\\ Bcc: x\" <root>\r\n");
        assert_eq!(from("Jürgen B."), "From: =?UTF-8?Q?J=C3=BCrgen_B=2E?= <root>\r\n");
        let long = from(&"ü".repeat(40));
        assert!(long.lines().all(|line| line.len() < 100) && long.lines().count() > 2);
        assert_eq!(from_field(b"\xFF", "a@x"), "From: =?UTF-8?Q?=EF=BF=BD?= <a@x>\r\n");
    }
}
