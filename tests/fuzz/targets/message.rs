//! What is done to a message on its way: line ends, the header's measure, and what is taken out.

use super::Cuts;
use mote::mail::address::Address;
use mote::mail::edit::{Edit, Plan, With};
use mote::mail::fields::Fields;
use mote::mail::header::{Scan, Traits};
use mote::mail::normal::Normalizer;
use mote::mail::rewrite::{Change, Mailbox, Role, Rules};

const ADDITIONS: &str = "Received: by mx.example\r\n\tid 1\r\nDate: today\r\n";

/// Takes the input for a message of a local program's.
pub(super) fn message(input: &[u8]) {
    let (cuts, text) = Cuts::read(input);
    let pieces = { cuts }.pieces(text);
    // As it came: nothing is known of it but that cuts change nothing.
    assert_eq!(scan(&pieces), scan(&[text]));
    for field in Fields::new(text) {
        assert!(!field.name.is_empty() && field.name.iter().all(u8::is_ascii_graphic));
    }

    let stored = normalize(&pieces, &mut { cuts });
    assert_eq!(stored, normalize(&[text], &mut { Cuts::WHOLE }));
    assert_eq!(stored, normalize_slowly(text));
    let (traits, _) = scan(&[&stored]);
    let separate = traits.has(Traits::NO_HEADER);
    let pieces = { cuts }.pieces(&stored);

    let kept = edit(false, separate, &pieces, cuts);
    let middle: &[u8] = if separate { b"\r\n" } else { b"" };
    assert!(kept == [ADDITIONS.as_bytes(), middle, &stored].concat());

    let sent = edit(true, separate, &pieces, cuts);
    assert!(sent == edit(true, separate, &[&stored], Cuts::WHOLE));
    let (after, _) = scan(&[&sent]);
    assert!(!after.has(Traits::HAS_BCC), "{}", sent.escape_ascii());
    if !separate {
        assert!(sent == [ADDITIONS.as_bytes(), &without_bcc(&stored)].concat());
    }
}

/// Takes the input for a message whose addresses change on its way.
pub(super) fn rewrite(input: &[u8]) {
    let (cuts, text) = Cuts::read(input);
    let stored = normalize(&[text], &mut { Cuts::WHOLE });
    let (traits, _) = scan(&[&stored]);
    let separate = traits.has(Traits::NO_HEADER);
    let has_reply_to = traits.has(Traits::HAS_REPLY_TO);
    for (rewrite, claim) in [(true, false), (false, true), (true, true)] {
        let plan = Plan { remove_bcc: false, separate, rewrite, claim, has_reply_to };
        let pieces = { cuts }.pieces(&stored);
        let sent = edit_by(plan, &pieces, cuts);
        // Nothing depends on the cuts.
        assert!(sent == edit_by(plan, &[&stored], Cuts::WHOLE));
        // No bare CR or LF comes in, and nothing that is no text.
        let bare = |text: &[u8]| {
            let ends = text.windows(2).filter(|pair| *pair == b"\r\n").count();
            text.iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count() - 2 * ends
        };
        assert_eq!(bare(&sent), 0, "{}", sent.escape_ascii());
        let sent = sent.strip_prefix(ADDITIONS.as_bytes()).unwrap();
        if separate {
            assert!(sent == [b"\r\n", &stored[..]].concat());
            continue;
        }
        let (head, body) = split(&stored);
        let (new_head, new_body) = split(sent);
        assert!(body == new_body);
        let others = |text| {
            let is_other = |field: &&[u8]| !is_known(field);
            fields(text).into_iter().filter(is_other).map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        assert!(others(head) == others(new_head), "{}", sent.escape_ascii());
        if claim {
            for field in fields(new_head) {
                assert!(!name_is(field, "from") || is_legal(field), "{}", sent.escape_ascii());
                assert!(!name_is(field, "sender") || is_legal(field), "{}", sent.escape_ascii());
            }
            let count = |text, name| fields(text).iter().filter(|f| name_is(f, name)).count();
            for name in ["from", "sender"] {
                assert_eq!(count(new_head, name), count(head, name).min(1));
            }
            assert_eq!(count(new_head, "bcc"), count(head, "bcc"));
        }
        // What has changed stays as it is when it is edited again: another attempt, another mote.
        if rewrite && !claim {
            let again = edit_by(plan, &[sent], Cuts::WHOLE);
            let again = again.strip_prefix(ADDITIONS.as_bytes()).unwrap();
            let (told, again) = (fields(sent).len(), fields(again).len());
            assert_eq!(told, again);
        }
    }
}

/// The header, and what begins with the empty line.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    if text.starts_with(b"\r\n") {
        return text.split_at(0);
    }
    let end = text.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    text.split_at(end.map_or(text.len(), |at| at + 2))
}

/// Each line of a header, with the folded ones behind it.
fn fields(head: &[u8]) -> Vec<&[u8]> {
    let (mut found, mut start, mut at) = (Vec::new(), 0, 0);
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        if at > 0 && !matches!(line, [b' ' | b'\t', ..]) {
            found.push(&head[start..at]);
            start = at;
        }
        at += line.len();
    }
    found.push(&head[start..]);
    found
}

fn name_is(field: &[u8], name: &str) -> bool {
    let (start, rest) = field.split_at(name.len().min(field.len()));
    let rest: Vec<u8> = rest.iter().copied().skip_while(|b| matches!(b, b' ' | b'\t')).collect();
    start.eq_ignore_ascii_case(name.as_bytes()) && rest.first() == Some(&b':')
}

fn is_known(field: &[u8]) -> bool {
    let names = ["from", "sender", "reply-to", "to", "cc", "apparently-to"];
    names.iter().any(|name| {
        let resent = format!("resent-{name}");
        let kept = [format!("x-original-{name}"), format!("x-original-{resent}")];
        name_is(field, name) || name_is(field, &resent) || kept.iter().any(|n| name_is(field, n))
    })
}

fn is_legal(field: &[u8]) -> bool {
    let value = field.splitn(2, |byte| *byte == b':').nth(1).unwrap_or_default();
    let mut found = Vec::new();
    mote::mail::fields::addresses(value, |address| {
        found.push(address.map(|address| address.as_str().to_ascii_lowercase()));
    });
    !found.is_empty() && found.iter().all(|one| one.as_deref() == Ok(CLAIM))
}

const CLAIM: &str = "pi@isp.test";

/// A machine that sends as `CLAIM`, and where root is me@home.test.
struct House;

impl Rules for House {
    fn change(&self, role: Role, address: Address<'_>) -> Change {
        super::assert_clean(address.as_str().as_bytes());
        match (role, address.local(), address.domain()) {
            (Role::Recipient, "root", None) | (_, "me", Some("home.test")) => {
                Change::Merges(Mailbox::from("me@home.test"))
            }
            (_, local, None) => {
                let whole = format!("{local}@router1");
                match Address::parse_utf8(whole.as_bytes()) {
                    Ok(_) => Change::Becomes(Mailbox::from(whole.as_str())),
                    Err(_) => Change::Stays,
                }
            }
            _ => Change::Stays,
        }
    }

    fn claim(&self) -> Option<Address<'_>> {
        Address::parse(CLAIM.as_bytes()).ok()
    }

    fn origin<'a>(&'a self, address: Option<Address<'a>>) -> (&'a str, bool) {
        address.and_then(|address| address.domain()).map_or(("router1", false), |d| (d, true))
    }
}

fn scan(pieces: &[&[u8]]) -> (Traits, String) {
    let mut scan = Scan::new();
    pieces.iter().for_each(|piece| scan.feed(piece));
    let id = scan.message_id().to_owned();
    super::assert_printable(id.as_bytes());
    (scan.traits(), id)
}

fn normalize(pieces: &[&[u8]], cuts: &mut Cuts) -> Vec<u8> {
    let mut normalizer = Normalizer::new();
    let mut whole = Vec::new();
    let mut room = [0; 4096];
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let room = &mut room[..cuts.next(4094) + 1];
            let (consumed, produced) = normalizer.push(rest, room);
            assert!(consumed + produced > 0, "room for two is always enough");
            whole.extend_from_slice(&room[..produced]);
            rest = &rest[consumed..];
        }
    }
    let produced = normalizer.finish(&mut room);
    whole.extend_from_slice(&room[..produced]);
    whole
}

fn normalize_slowly(text: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        match first {
            b'\r' => {
                rest = rest.strip_prefix(b"\n").unwrap_or(rest);
                whole.extend_from_slice(b"\r\n");
            }
            b'\n' => whole.extend_from_slice(b"\r\n"),
            byte => whole.push(*byte),
        }
    }
    if !whole.is_empty() && !whole.ends_with(b"\r\n") {
        whole.extend_from_slice(b"\r\n");
    }
    whole
}

/// Rather a line too few than a secret told: whatever follows the name and a blank goes, too.
fn without_bcc(stored: &[u8]) -> Vec<u8> {
    let (mut kept, mut is_dropped, mut is_body) = (Vec::new(), false, false);
    for line in stored.split_inclusive(|byte| *byte == b'\n') {
        is_body |= line == b"\r\n";
        if !(is_dropped && matches!(line, [b' ' | b'\t', ..])) {
            let lower = line.to_ascii_lowercase();
            let behind = lower.strip_prefix(b"bcc").or(lower.strip_prefix(b"resent-bcc"));
            is_dropped = matches!(behind, Some([b':' | b' ' | b'\t', ..])) && !is_body;
        }
        if !is_dropped {
            kept.extend_from_slice(line);
        }
    }
    kept
}

fn edit(remove_bcc: bool, separate: bool, pieces: &[&[u8]], cuts: Cuts) -> Vec<u8> {
    edit_by(Plan { remove_bcc, separate, ..Plan::default() }, pieces, cuts)
}

fn edit_by(plan: Plan, pieces: &[&[u8]], mut cuts: Cuts) -> Vec<u8> {
    let mut edit = Edit::new(plan);
    let with = With { additions: ADDITIONS, rules: &House };
    let mut sent = Vec::new();
    let mut room = vec![0; 63 + cuts.next(512)];
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let (consumed, produced) = edit.push(rest, with, &mut room);
            assert!(consumed + produced > 0, "it stands still");
            sent.extend_from_slice(&room[..produced]);
            rest = &rest[consumed..];
        }
    }
    loop {
        let produced = edit.finish(with, &mut room);
        sent.extend_from_slice(&room[..produced]);
        if produced == 0 {
            return sent;
        }
    }
}
