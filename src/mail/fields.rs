//! Header fields of a mail held in memory, and the addresses in them: what `sendmail -t` needs.
//!
//! [`Fields`] walks a header block, whichever line ends it has; [`recipients`] finds those whom
//! the mail is for; [`addresses`] reads one address list, by `mail::list`. What cannot be read is
//! told as an error and never left out silently, since that would be a mail sent to fewer people
//! than its writer thinks.
//!
//! Read first: RFC 5322 §2.2.3, §3.4, §3.6.3, §3.6.6 and §4.4.

use crate::mail::address::{Address, AddressError, Charset};
use crate::mail::list::{ListReader, Step};
use memchr::memchr;

/// One field of a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field<'a> {
    /// What stands before the colon.
    pub name: &'a [u8],
    /// What stands behind it, folds included, the last line end not.
    pub value: &'a [u8],
}

impl Field<'_> {
    /// True if this is the field `name`, in whatever case.
    pub fn name_is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// Walks the fields at the start of a text, up to the first empty line or the end of the text.
/// Lines that are no field are passed over.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of `block`.
    pub fn new(block: &'a [u8]) -> Fields<'a> {
        Fields { rest: block }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        loop {
            if self.rest.is_empty()
                || self.rest.starts_with(b"\n")
                || self.rest.starts_with(b"\r\n")
            {
                return None;
            }
            let (field, rest) = self.rest.split_at_checked(field_length(self.rest))?;
            self.rest = rest;
            if let Some(field) = parse_field(field) {
                return Some(field);
            }
        }
    }
}

/// How long the line at the start of `text` is, with the folded lines behind it.
fn field_length(text: &[u8]) -> usize {
    let mut length = 0;
    loop {
        let rest = text.get(length..).unwrap_or_default();
        let Some(end) = memchr(b'\n', rest) else { return text.len() };
        length += end + 1;
        if !matches!(text.get(length), Some(b' ' | b'\t')) {
            return length;
        }
    }
}

fn parse_field(text: &[u8]) -> Option<Field<'_>> {
    let colon = memchr(b':', text)?;
    // RFC 5322 §4.5: space ahead of the colon is obsolete, but must be understood.
    let name = text.get(..colon)?.trim_ascii_end();
    if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    Some(Field { name, value: text.get(colon + 1..)?.trim_ascii() })
}

/// Hands every recipient that the header block names to `each`: those of To, Cc and Bcc; if the
/// mail was sent on with Resent- fields (RFC 5322 §3.6.6), those of Resent-To, Resent-Cc and
/// Resent-Bcc instead.
pub fn recipients(block: &[u8], mut each: impl FnMut(Result<Address<'_>, AddressError>)) {
    const NAMES: [&str; 3] = ["To", "Cc", "Bcc"];
    const RESENT_NAMES: [&str; 3] = ["Resent-To", "Resent-Cc", "Resent-Bcc"];
    let prefix = b"Resent-";
    let is_resent = |field: Field<'_>| {
        field.name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    let names = if Fields::new(block).any(is_resent) { RESENT_NAMES } else { NAMES };
    for field in Fields::new(block) {
        if names.iter().any(|name| field.name_is(name)) {
            addresses(field.value, &mut each);
        }
    }
}

/// Hands every address of the address list `value` to `each`, and an error for every place of the
/// list that holds something else. Groups are their members; an empty list or group is nothing.
pub fn addresses(value: &[u8], mut each: impl FnMut(Result<Address<'_>, AddressError>)) {
    let mut reader = ListReader::new(Charset::Ascii);
    for byte in value {
        if reader.push(*byte) == Step::Ends {
            reader.address().into_iter().for_each(&mut each);
            reader.restart(0);
        }
    }
    reader.address().into_iter().for_each(each);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(value: &str) -> Vec<Result<String, AddressError>> {
        let mut found = Vec::new();
        addresses(value.as_bytes(), |address| {
            found.push(address.map(|address| address.as_str().to_owned()));
        });
        found
    }

    fn all_good(value: &str) -> Vec<String> {
        list(value).into_iter().map(|address| address.expect(value)).collect()
    }

    #[test]
    fn fields_of_either_line_end() {
        let text =
            "From: a\nTo: b,\n\tc\nno field\n\tfolded\nBad Name: x\n: y\nCC : d \nX:\n\nBcc: e\n";
        for text in [text.to_owned(), text.replace('\n', "\r\n")] {
            let fields: Vec<(String, String)> = Fields::new(text.as_bytes())
                .map(|field| {
                    let value = String::from_utf8_lossy(field.value).replace("\r\n", "\n");
                    (String::from_utf8_lossy(field.name).into_owned(), value)
                })
                .collect();
            let expected = [("From", "a"), ("To", "b,\n\tc"), ("CC", "d"), ("X", "")];
            assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        assert_eq!(Fields::new(b"A: b").count(), 1);
        assert_eq!(Fields::new(b"").count(), 0);
        assert_eq!(Fields::new(b"\r\nA: b\r\n").count(), 0);
    }

    #[test]
    fn lists() {
        for (value, expected) in [
            ("", &[][..]),
            (" , ,,", &[]),
            ("root", &["root"]),
            ("a@b", &["a@b"]),
            ("a@b, c@d,e", &["a@b", "c@d", "e"]),
            ("a@b;c@d", &["a@b", "c@d"]),
            ("John Doe <a@b>", &["a@b"]),
            ("J. \"D, o@e <x>;\" (c) <a@b> (d)", &["a@b"]),
            ("a@b (John (the, \\) \"one) Doe), c@d", &["a@b", "c@d"]),
            ("a@b <a@b>", &["a@b"]),
            ("=?utf-8?q?J=C3=B6rg?= <a@b>", &["a@b"]),
            ("Jörg <a@b>", &["a@b"]),
            ("\"john doe\"@b", &["\"john doe\"@b"]),
            ("<\"a\\\">,b\"@c>", &["\"a\\\">,b\"@c"]),
            ("john . doe @ b . c", &["john.doe@b.c"]),
            ("john(x).doe@\r\n\tb(y)", &["john.doe@b"]),
            ("< a @ b >", &["a@b"]),
            ("<@x,@y.z:a@b>", &["a@b"]),
            ("< @x , @y : a@b >", &["a@b"]),
            ("u@[1.2.3.4], v@[IPv6:::1]", &["u@[1.2.3.4]", "v@[IPv6:::1]"]),
            ("Us: a@b, You <c@d>;", &["a@b", "c@d"]),
            ("Us: a@b; c@d, \"Th: em\": e@f;", &["a@b", "c@d", "e@f"]),
            ("undisclosed-recipients:;", &[]),
            ("undisclosed-recipients: ;, a", &["a"]),
            ("\"a\r\n b\"@c", &["\"a b\"@c"]),
        ] {
            assert_eq!(all_good(value), expected, "{value:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        for value in [
            "John Doe",
            "a@b c@d",
            "<a@b> c@d",
            "<a@b> <c@d>",
            "<a@b",
            "<a@b, c@d",
            "\"a@b",
            "a@b (comment",
            "a@b (",
            "u@[1.2.3.4",
            "a@b: c@d",
            "<a b@c>",
        ] {
            assert_eq!(list(value), [Err(AddressError::List)], "{value:?}");
        }
        assert_eq!(list("<>"), [Err(AddressError::Empty)]);
        assert_eq!(
            list("a@b,,c d,e@f"),
            [Ok("a@b".to_owned()), Err(AddressError::List), Ok("e@f".to_owned())]
        );
        assert_eq!(list("jörg@b"), [Err(AddressError::EightBit)]);
        assert_eq!(list("a@b\0"), [Err(AddressError::Control)]);
        assert_eq!(list("\"a\rb\"@c"), [Err(AddressError::Control)]);
        assert_eq!(list(&"x".repeat(300)), [Err(AddressError::TooLong)]);
        assert_eq!(list(&format!("{} <a@b>", "x y ".repeat(300))), [Ok("a@b".to_owned())]);
    }

    #[test]
    fn recipients_of_a_mail() {
        let found = |block: &str| {
            let mut found = Vec::new();
            recipients(block.as_bytes(), |address| {
                found.push(
                    address.map_or("error".to_owned(), |address| address.as_str().to_owned()),
                );
            });
            found
        };
        let plain = "From: x\nTo: a\nReply-To: y\ncc: b,\n c\nBCC: d\nSubject: To: z\n\nTo: body\n";
        assert_eq!(found(plain), ["a", "b", "c", "d"]);
        assert_eq!(found("To: a\nresent-to: b\nResent-Bcc: c\n"), ["b", "c"]);
        assert_eq!(found("To: a\nResent-From: b\n"), [""; 0]);
        assert_eq!(found("To: a b\nTo: c\n"), ["error", "c"]);
    }

    /// Threats 4: each of the 256 bytes, put at and over every position of a header To.
    #[test]
    fn no_recipient_ever_holds_a_control_byte() {
        let seeds: [&[u8]; 4] = [
            b"To: a@b, \"c d\"@e (f\\)) <g@h>\r\n\t, i: j@[1.2.3.4];\r\n\r\n",
            b"To: <@a,@b:c@d>, \"e\\\"f\" <\"g h\"@i>\n\n",
            b"Resent-Bcc: a . b @ c\n",
            b"to:x",
        ];
        let check = |text: &[u8]| {
            recipients(text, |address| {
                let Ok(address) = address else { return };
                assert!(address.as_str().bytes().all(|byte| matches!(byte, b' '..=b'~')));
                assert_eq!(Address::parse(address.as_str().as_bytes()), Ok(address));
            });
        };
        for seed in seeds {
            for byte in 0..=255 {
                for at in 0..=seed.len() {
                    let mut text = seed.to_vec();
                    text.insert(at, byte);
                    check(&text);
                    if at < seed.len() {
                        text.remove(at + 1);
                        check(&text);
                    }
                }
            }
        }
    }
}
