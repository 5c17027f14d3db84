//! A reader of the lines that the control socket answers with: one JSON object a line.
//!
//! Not a JSON library: it knows what the daemon writes (RFC 8259: objects, arrays of objects,
//! strings, numbers, true, false, null) to a depth of `DEPTH_MAX`, refuses anything else, and
//! keeps the members in their order. It never panics on what it is given.

/// How deep objects and arrays may nest: an object, its array, the objects in there.
const DEPTH_MAX: u8 = 4;

/// A value.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// null
    Null,
    /// true or false
    Truth(bool),
    /// A number, as it was spelled.
    Number(String),
    /// A string, unescaped.
    Text(String),
    /// An array.
    List(Vec<Value>),
    /// An object.
    Object(Object),
}

/// An object: its members in order.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Object(Vec<(String, Value)>);

impl Object {
    /// The first member of that name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(member, _)| member == name).map(|(_, value)| value)
    }

    /// That member, if it is a string; else nothing.
    pub fn text(&self, name: &str) -> &str {
        match self.get(name) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }

    /// That member, if it is a whole number that fits.
    pub fn number(&self, name: &str) -> Option<i64> {
        match self.get(name) {
            Some(Value::Number(digits)) => digits.parse().ok(),
            _ => None,
        }
    }

    /// That member, if it is true or false.
    pub fn truth(&self, name: &str) -> Option<bool> {
        match self.get(name) {
            Some(Value::Truth(truth)) => Some(*truth),
            _ => None,
        }
    }

    /// The objects in that member, if it is an array.
    pub fn objects(&self, name: &str) -> impl Iterator<Item = &Object> {
        let list = match self.get(name) {
            Some(Value::List(list)) => list.as_slice(),
            _ => &[],
        };
        list.iter().filter_map(|value| match value {
            Value::Object(object) => Some(object),
            _ => None,
        })
    }
}

/// The object that `line` spells; none if it spells anything else.
pub fn parse(line: &str) -> Option<Object> {
    let mut reader = Reader { rest: line };
    let value = reader.value(0)?;
    reader.skip_space();
    match value {
        Value::Object(object) if reader.rest.is_empty() => Some(object),
        _ => None,
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
    }

    fn take(&mut self, token: &str) -> Option<()> {
        self.skip_space();
        self.rest = self.rest.strip_prefix(token)?;
        Some(())
    }

    fn value(&mut self, depth: u8) -> Option<Value> {
        self.skip_space();
        match self.rest.bytes().next()? {
            b'{' if depth < DEPTH_MAX => self.object(depth).map(Value::Object),
            b'[' if depth < DEPTH_MAX => self.list(depth).map(Value::List),
            b'"' => self.string().map(Value::Text),
            b'-' | b'0'..=b'9' => self.number().map(Value::Number),
            b't' => self.take("true").map(|()| Value::Truth(true)),
            b'f' => self.take("false").map(|()| Value::Truth(false)),
            b'n' => self.take("null").map(|()| Value::Null),
            _ => None,
        }
    }

    fn object(&mut self, depth: u8) -> Option<Object> {
        let mut object = Object::default();
        self.take("{")?;
        if self.take("}").is_some() {
            return Some(object);
        }
        loop {
            self.skip_space();
            let name = self.string()?;
            self.take(":")?;
            object.0.push((name, self.value(depth + 1)?));
            if self.take(",").is_none() {
                return self.take("}").map(|()| object);
            }
        }
    }

    fn list(&mut self, depth: u8) -> Option<Vec<Value>> {
        let mut list = Vec::new();
        self.take("[")?;
        if self.take("]").is_some() {
            return Some(list);
        }
        loop {
            list.push(self.value(depth + 1)?);
            if self.take(",").is_none() {
                return self.take("]").map(|()| list);
            }
        }
    }

    fn number(&mut self) -> Option<String> {
        let part = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
        let end = self.rest.find(|c| !part(c)).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        digits.parse::<f64>().is_ok().then(|| digits.to_owned())
    }

    fn string(&mut self) -> Option<String> {
        let mut text = String::new();
        self.rest = self.rest.strip_prefix('"')?;
        loop {
            let mut letters = self.rest.chars();
            match letters.next()? {
                '"' => {
                    self.rest = letters.as_str();
                    return Some(text);
                }
                '\\' => {
                    let escape = letters.next()?;
                    self.rest = letters.as_str();
                    text.push(self.escaped(escape)?);
                }
                letter if letter < ' ' => return None,
                letter => {
                    self.rest = letters.as_str();
                    text.push(letter);
                }
            }
        }
    }

    fn escaped(&mut self, escape: char) -> Option<char> {
        match escape {
            '"' | '\\' | '/' => Some(escape),
            'b' => Some('\u{8}'),
            'f' => Some('\u{c}'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'u' => {
                let first = self.unit()?;
                if !(0xD800..0xDC00).contains(&first) {
                    return char::from_u32(first);
                }
                // RFC 8259 §7: beyond the basic plane there are two of them.
                self.rest = self.rest.strip_prefix("\\u")?;
                let second = self.unit()?.checked_sub(0xDC00).filter(|low| *low < 0x400)?;
                char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + second)
            }
            _ => None,
        }
    }

    fn unit(&mut self) -> Option<u32> {
        let (digits, rest) = self.rest.split_at_checked(4)?;
        self.rest = rest;
        let valid = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        valid.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_daemon_writes() {
        let line = r#" {"id":"1kQ7d", "size":812,"next":null,"volatile":false,
            "recipients":[{"to":"me@x","reply":"450 \"busy\"\\\u00e9\ud83d\ude00"},{}],
            "none":[]} "#;
        let object = parse(line).unwrap();
        assert_eq!(object.text("id"), "1kQ7d");
        assert_eq!(object.number("size"), Some(812));
        assert_eq!(object.get("next"), Some(&Value::Null));
        assert_eq!(object.number("next"), None);
        assert_eq!(object.truth("volatile"), Some(false));
        let recipients: Vec<_> = object.objects("recipients").collect();
        assert_eq!(recipients.len(), 2);
        assert_eq!(recipients[0].text("reply"), "450 \"busy\"\\é😀");
        assert_eq!(object.objects("none").count(), 0);
        assert_eq!(object.objects("size").count(), 0);
        assert_eq!(parse("{}"), Some(Object::default()));
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "[]",
            "1",
            "{",
            "{}x",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":tru}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\ud83d\"}",
            "{\"a\":\"\\u+123\"}",
            "{\"a\":\"\n\"}",
            "{\"a\":1-}",
            "{\"a\":[[[[[[]]]]]]}",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_cut_is_refused() {
        let line = r#"{"a":[{"b":"\u00e9é"},true,null,-1.5e3]}"#;
        assert!(parse(line).is_some());
        for end in (0..line.len()).filter(|end| line.is_char_boundary(*end)) {
            assert_eq!(parse(&line[..end]), None);
        }
    }
}
