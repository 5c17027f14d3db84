//! What name servers say to a whole lookup, and a packet that answers nothing we asked.

use super::assert_printable;
use mote::dns::lookup::{Lookup, Own};
use mote::dns::message::{
    Answer, CNAMES_MAX, HOSTS_MAX, Kind, QUESTION_BYTES_MAX, read_answer, write_question,
};
use std::net::IpAddr;

const ID: u16 = 0x6d6f;
/// Questions that one lookup may ask: for hosts, and for each host's two kinds of address, by every
/// alias.
const QUESTIONS_MAX: usize = (CNAMES_MAX as usize + 1) * (1 + 2 * HOSTS_MAX);

struct Nobody;

impl Own for Nobody {
    fn has_name(&self, name: &str) -> bool {
        name == "own.test"
    }

    fn has_address(&self, address: IpAddr) -> bool {
        address.is_loopback()
    }
}

/// Takes the input for answers to the questions that a lookup asks: of each a length, then what
/// stands behind the id, and behind the question.
pub(super) fn dns(input: &[u8]) {
    for kind in [Kind::Mx, Kind::A, Kind::Aaaa] {
        check(&read_answer(input, ID, "example.net", kind));
    }
    let mut lookup = Lookup::new("example.net", 7);
    let mut rest = input;
    let mut asked = 0;
    while let Some((name, kind)) = lookup.question() {
        asked += 1;
        assert!(asked <= QUESTIONS_MAX, "it asks without end");
        let mut question = [0; QUESTION_BYTES_MAX];
        let Some(len) = write_question(ID, name.as_str(), kind, &mut question) else {
            lookup.unaskable(&Nobody);
            continue;
        };
        let Some((&count, said)) = rest.split_first() else {
            lookup.answered(None, &Nobody);
            continue;
        };
        let (said, after) = said.split_at(usize::from(count).min(said.len()));
        rest = after;
        let Some((head, body)) = said.split_at_checked(8) else {
            lookup.answered(None, &Nobody);
            continue;
        };
        // Two bytes of flags; one question; three counts. The question is ours, without its OPT.
        let mut packet = ID.to_be_bytes().to_vec();
        packet.extend_from_slice(&head[..2]);
        packet.extend_from_slice(&[0, 1]);
        packet.extend_from_slice(&head[2..]);
        packet.extend_from_slice(&question[12..len - 11]);
        packet.extend_from_slice(body);
        let answer = read_answer(&packet, ID, name.as_str(), kind);
        check(&answer);
        // Another id is never taken, whatever else is right.
        let foreign = read_answer(&packet, ID ^ 1, name.as_str(), kind);
        assert!(matches!(foreign, Answer::Foreign));
        lookup.answered(Some(answer), &Nobody);
    }
    let outcome = lookup.outcome().expect("it asks nothing and has found nothing");
    for host in outcome.result.iter().flatten().flatten() {
        assert_printable(host.name.as_str().as_bytes());
        assert!(!host.address.is_loopback());
    }
}

fn check(answer: &Answer) {
    let Answer::Records(records) = answer else { return };
    for name in records.hosts.iter().flatten().map(|(_, name)| name).chain(&records.alias) {
        assert_printable(name.as_str().as_bytes());
    }
    let preferences: Vec<_> = records.hosts.iter().flatten().map(|(order, _)| *order).collect();
    assert!(preferences.is_sorted());
}
