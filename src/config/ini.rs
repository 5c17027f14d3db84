//! Ini text, line by line: sections, keys and values as they stand, and what is not one of them.
//!
//! Not here: what any of it means. A line is blank, a comment (`#` or `;` first), a section
//! `[kind name]`, or `key = value`. After a section or a value a blank and `#` begin a comment,
//! unless the value stands in double quotes; inside quotes every byte stands for itself, and there
//! is no escape. Nothing continues on the next line. CRLF ends a line as LF does, and a byte order
//! mark at the start is passed over: files come from Windows editors too.
//!
//! Limits: [`FILE_BYTES_MAX`], [`LINE_BYTES_MAX`]. A bad line is a fault of its own and never hides
//! the next one.

/// A larger file is no configuration.
pub const FILE_BYTES_MAX: usize = 256 * 1024;
/// A longer line is no setting.
pub(super) const LINE_BYTES_MAX: usize = 4096;

/// One line that says something.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Line<'a> {
    /// `[kind name]`; the name may be missing.
    Section { kind: &'a str, name: &'a str },
    /// Begins like a section and is none; whose keys follow, nobody knows.
    BadSection,
    /// `key = value`; neither is empty.
    Pair { key: &'a str, value: &'a str },
}

/// The lines of `text` that say something, with their numbers from 1.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = (u32, Result<Line<'_>, String>)> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    (1..).zip(text.split(|byte| *byte == b'\n')).filter_map(|(number, line)| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        read(line).transpose().map(|read| (number, read))
    })
}

fn read(line: &[u8]) -> Result<Option<Line<'_>>, String> {
    if line.len() > LINE_BYTES_MAX {
        return Err(format!("the line is longer than {LINE_BYTES_MAX} bytes"));
    }
    if let Some(control) = line.iter().find(|byte| byte.is_ascii_control() && **byte != b'\t') {
        return Err(format!("a control character (byte {control}) does not belong in here"));
    }
    let line = core::str::from_utf8(line).map_err(|_| "the line is not UTF-8 text")?.trim();
    match line.as_bytes().first() {
        None | Some(b'#' | b';') => Ok(None),
        Some(b'[') => Ok(Some(read_section(line).unwrap_or(Line::BadSection))),
        Some(_) => read_pair(line).map(Some),
    }
}

fn read_section(line: &str) -> Option<Line<'_>> {
    let inside = without_comment(line).strip_prefix('[')?.strip_suffix(']')?.trim();
    let (kind, name) = inside.split_once(char::is_whitespace).unwrap_or((inside, ""));
    (!kind.is_empty()).then_some(Line::Section { kind, name: name.trim() })
}

fn read_pair(line: &str) -> Result<Line<'_>, String> {
    let expected = "expected 'key = value', '[section]' or a comment that begins with '#'";
    let (key, value) = line.split_once('=').ok_or(expected)?;
    let (key, value) = (key.trim(), value.trim());
    if key.is_empty() {
        return Err(expected.into());
    }
    let value = match value.strip_prefix('"') {
        Some(quoted) => {
            let (value, rest) = quoted
                .split_once('"')
                .ok_or_else(|| format!("{key}: the quote that begins the value never ends"))?;
            if !without_comment(rest).is_empty() {
                return Err(format!("{key}: only a comment may follow the closing quote"));
            }
            value
        }
        None => without_comment(value),
    };
    if value.is_empty() {
        return Err(format!("{key}: no value; remove the line to get the default"));
    }
    Ok(Line::Pair { key, value })
}

/// `text` up to a `#` that stands first or after a blank.
fn without_comment(text: &str) -> &str {
    let mut blank_before = true;
    for (place, character) in text.char_indices() {
        if character == '#' && blank_before {
            return text.get(..place).unwrap_or_default().trim_end();
        }
        blank_before = character.is_whitespace();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> Result<Line<'_>, String> {
        lines(text.as_bytes()).next().unwrap().1
    }

    #[test]
    fn sections_and_pairs() {
        let text = b"\xef\xbb\xbf# x\r\n\r\n ; y\na=b\r\n[relay  office ] # main\n\tc = d e # f\n";
        let found: Vec<_> = lines(text).map(|(number, line)| (number, line.unwrap())).collect();
        let expected = vec![
            (4, Line::Pair { key: "a", value: "b" }),
            (5, Line::Section { kind: "relay", name: "office" }),
            (6, Line::Pair { key: "c", value: "d e" }),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn comments_and_quotes() {
        assert_eq!(only("a = b#c"), Ok(Line::Pair { key: "a", value: "b#c" }));
        assert_eq!(only("a = \"b #c\" # d"), Ok(Line::Pair { key: "a", value: "b #c" }));
        assert_eq!(only("a = b = c"), Ok(Line::Pair { key: "a", value: "b = c" }));
        assert!(only("a = \"b").unwrap_err().contains("never ends"));
        assert!(only("a = \"b\" c").unwrap_err().contains("closing quote"));
        assert!(only("a = # b").unwrap_err().contains("no value"));
    }

    #[test]
    fn no_byte_is_fatal() {
        for byte in 0..=255u8 {
            for text in [[b'a', byte, b'=', b'b'], [b'[', b'a', byte, b']'], [byte, 0, byte, 1]] {
                lines(&text).for_each(drop);
            }
        }
        for bad in ["[", "[]", "[ ]", "[relay a", "[relay a] b"] {
            assert_eq!(only(bad), Ok(Line::BadSection), "{bad}");
        }
        assert!(only("a\0 = b").is_err());
        assert!(lines(b"a = \xff").next().unwrap().1.is_err());
        assert!(only(&"x".repeat(LINE_BYTES_MAX + 1)).is_err());
    }
}
