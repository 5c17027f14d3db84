//! One question and several servers: whom to ask next, and how.
//!
//! The owner of the sockets makes each [`Try`] with a new socket, a new random port and a new
//! random id (threats 22), and tells what came of it. Over UDP the first packet that is not our
//! answer ends the try: whoever guesses ids gets one guess, and the question is put again to the
//! same server over TCP, as it is when the answer was cut off. A server that refuses, talks
//! nonsense or says nothing is followed by the next; each is asked as often as `attempts` says.

use super::message::Answer;
use super::servers::Servers;
use core::time::Duration;

/// How a question travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// One datagram each way.
    Udp,
    /// A connection, each message behind its length (RFC 7766).
    Tcp,
}

/// What to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Try {
    /// The server's number in [`Servers`].
    pub server: u8,
    /// How.
    pub transport: Transport,
    /// How long it may take in all.
    pub timeout: Duration,
}

/// See the module's head.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    servers: u8,
    first: u8,
    /// Tries with another server or in another round that are over.
    turns: u8,
    turns_max: u8,
    transport: Transport,
    only_tcp: bool,
    timeout: Duration,
}

impl Exchange {
    /// A question that nobody was asked yet. `scatter` is any number, for `rotate`.
    pub fn new(servers: &Servers, scatter: u64) -> Exchange {
        let count = servers.count();
        let first = if servers.rotate { (scatter % u64::from(count)) as u8 } else { 0 };
        let transport = if servers.only_tcp { Transport::Tcp } else { Transport::Udp };
        Exchange {
            servers: count,
            first,
            turns: 0,
            turns_max: count.saturating_mul(servers.attempts),
            transport,
            only_tcp: servers.only_tcp,
            timeout: servers.timeout,
        }
    }

    /// What to try; None when all have been asked in vain.
    pub fn next_try(&self) -> Option<Try> {
        let server = (self.first + self.turns % self.servers) % self.servers;
        let (transport, timeout) = (self.transport, self.timeout);
        (self.turns < self.turns_max).then_some(Try { server, transport, timeout })
    }

    /// Something came. Gives it back if it is the answer; else there is another try to be made.
    pub fn heard(&mut self, answer: Answer) -> Option<Answer> {
        match (answer, self.transport) {
            (Answer::NoSuchName(_) | Answer::Records(_), _) => return Some(answer),
            (Answer::Foreign | Answer::Cut, Transport::Udp) => self.transport = Transport::Tcp,
            _ => self.missed(),
        }
        None
    }

    /// Nothing came in time, or nothing could be sent.
    pub fn missed(&mut self) {
        self.turns = self.turns.saturating_add(1);
        self.transport = if self.only_tcp { Transport::Tcp } else { Transport::Udp };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::message::Records;

    fn tries(text: &str, mut each: impl FnMut(&mut Exchange)) -> Vec<(u8, Transport)> {
        let mut exchange = Exchange::new(&Servers::parse(text.as_bytes()), 4);
        let mut tries = Vec::new();
        while let Some(next) = exchange.next_try() {
            tries.push((next.server, next.transport));
            assert!(tries.len() < 100);
            each(&mut exchange);
        }
        tries
    }

    const TWO: &str = "nameserver 10.0.0.1\nnameserver 10.0.0.2\noptions attempts:2\n";

    #[test]
    fn each_server_as_often_as_configured() {
        use Transport::Udp;
        let order = tries(TWO, Exchange::missed);
        assert_eq!(order, [(0, Udp), (1, Udp), (0, Udp), (1, Udp)]);
        let order =
            tries(&format!("{TWO}options rotate attempts:1\nnameserver 10.0.0.3\n"), |exchange| {
                assert!(exchange.heard(Answer::Refused).is_none());
            });
        assert_eq!(order, [(1, Udp), (2, Udp), (0, Udp)]);
    }

    #[test]
    fn a_wrong_id_gets_no_second_guess() {
        use Transport::{Tcp, Udp};
        let order = tries(TWO, |exchange| assert!(exchange.heard(Answer::Foreign).is_none()));
        let once = [(0, Udp), (0, Tcp), (1, Udp), (1, Tcp)];
        assert_eq!(order, [once, once].concat());
    }

    #[test]
    fn an_answer_is_an_answer() {
        let mut exchange = Exchange::new(&Servers::parse(b"options use-vc"), 0);
        assert_eq!(exchange.next_try().map(|next| next.transport), Some(Transport::Tcp));
        assert!(exchange.heard(Answer::Cut).is_none());
        assert!(exchange.heard(Answer::NoSuchName(5)).is_some());
        assert!(exchange.heard(Answer::Records(Records::default())).is_some());
    }
}
