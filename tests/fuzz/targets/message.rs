//! What is done to a message on its way: line ends, the header's measure, and what is taken out.

use super::Cuts;
use mote::mail::edit::Edit;
use mote::mail::fields::Fields;
use mote::mail::header::{Scan, Traits};
use mote::mail::normal::Normalizer;

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

fn edit(remove_bcc: bool, separate: bool, pieces: &[&[u8]], mut cuts: Cuts) -> Vec<u8> {
    let mut edit = Edit::new(remove_bcc, separate);
    let mut sent = Vec::new();
    let mut room = vec![0; 63 + cuts.next(512)];
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let (consumed, produced) = edit.push(rest, ADDITIONS, &mut room);
            assert!(consumed + produced > 0, "it stands still");
            sent.extend_from_slice(&room[..produced]);
            rest = &rest[consumed..];
        }
    }
    loop {
        let produced = edit.finish(ADDITIONS, &mut room);
        sent.extend_from_slice(&room[..produced]);
        if produced == 0 {
            return sent;
        }
    }
}
