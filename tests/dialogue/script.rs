//! Scripts as text, read into lines; `main` says what may stand in one.

/// One line of a script.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Line {
    Client(Vec<u8>),
    Server(Vec<u8>),
    Event(String),
    Owner(String),
}

pub(crate) fn read_script(text: &str, name: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(words) = line.strip_prefix("! ") {
            lines.push(Line::Owner(words.to_string()));
        } else {
            let end = line.find([':', '~']).unwrap_or_else(|| panic!("{name}: {line}"));
            let text = line[end + 1..].strip_prefix(' ').unwrap_or_default();
            let ending: &[u8] = if line[end..].starts_with(':') { b"\r\n" } else { b"" };
            let bytes = || [&unescape(text), ending].concat();
            let times = line[1..end].strip_prefix('*').map_or(1, |times| times.parse().unwrap());
            match &line[..1] {
                "C" => lines.push(Line::Client(bytes().repeat(times))),
                "S" => lines.push(Line::Server(bytes().repeat(times))),
                "E" => lines.extend(vec![Line::Event(text.to_string()); times]),
                _ => panic!("{name}: {line}"),
            }
        }
    }
    lines
}

pub(crate) fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        match letter {
            '{' if rest.contains('*') && rest.contains('}') => {
                let (inside, behind) = rest.split_once('}').unwrap();
                let (times, what) = inside.split_once('*').unwrap();
                bytes.extend(unescape(what).repeat(times.parse().unwrap()));
                rest = behind;
            }
            '\\' => {
                let (letter, behind) = rest.split_at(1);
                rest = behind;
                match letter {
                    "r" => bytes.push(b'\r'),
                    "n" => bytes.push(b'\n'),
                    "0" => bytes.push(0),
                    "x" => {
                        bytes.push(u8::from_str_radix(&rest[..2], 16).unwrap());
                        rest = &rest[2..];
                    }
                    letter => bytes.extend_from_slice(letter.as_bytes()),
                }
            }
            letter => bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}
