//! Our side as a client, with rustls's own server at the other end.
//!
//! `ca.crt` has signed `good.crt`, and by one between `deep.crt`; both are for `localhost` and
//! `hop.test`. `early.crt` is valid from 2099 on.

use super::*;
use crate::base::time::UnixTime;
use crate::config::{RelayTls, TlsVersion};
use crate::daemon::world::{NetError, NextHop};
use crate::os::clock::RELEASE_DATE;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ServerConfig, ServerConnection};
use std::time::Duration;

fn path(name: &str) -> String {
    format!("{}/tests/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn server(name: &str, versions: &[&'static SupportedProtocolVersion]) -> ServerConnection {
    let chain = CertificateDer::pem_file_iter(path(&format!("{name}.crt"))).unwrap();
    let key = PrivateKeyDer::from_pem_file(path(&format!("{name}.key"))).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    ServerConnection::new(Arc::new(config)).unwrap()
}

fn tls() -> Tls {
    Tls::for_next_hops(TOKENS, Instant::now()).unwrap()
}

/// 2027-01-15.
const PRESENT: UnixTime = UnixTime { seconds: 1_800_000_000, trusted: true };

/// Our end of a connection to a next hop, with what it has read.
struct Hop {
    pipe: Pipe,
    connection: Connection,
    text: Vec<u8>,
}

impl Hop {
    fn new(tls: &mut Tls, terms: Option<&RelayTls>, time: UnixTime) -> Hop {
        Hop::at(tls, terms, time, 0)
    }

    fn at(tls: &mut Tls, terms: Option<&RelayTls>, time: UnixTime, number: u8) -> Hop {
        let mut pipe = Pipe::default();
        let ca = path("ca.crt");
        let next_hop = NextHop {
            name: "hop.test",
            address: [192, 0, 2, number].into(),
            is_implicit: true,
            terms,
            ca: Some(&ca),
            time,
        };
        let connection = tls.call(&next_hop, Token(number.into()), &mut pipe).unwrap();
        Hop { pipe, connection, text: Vec::new() }
    }

    /// Reads as the daemon does.
    fn read(&mut self, tls: &mut Tls) -> Transfer {
        loop {
            let mut into = [0; 1024];
            let transfer = self.connection.receive(&mut self.pipe, &mut into, tls);
            let Transfer::Bytes(count) = transfer else { return transfer };
            self.text.extend_from_slice(&into[..count]);
            if count < into.len() {
                return transfer;
            }
        }
    }

    /// Both talk, the server in segments of that size, until neither has anything to say.
    fn talk(&mut self, server: &mut ServerConnection, tls: &mut Tls, segment: usize) -> Vec<u8> {
        let mut heard = Vec::new();
        loop {
            let mut ours = &core::mem::take(&mut self.pipe.outgoing)[..];
            let is_quiet = ours.is_empty();
            while !ours.is_empty() {
                server.read_tls(&mut ours).unwrap();
                if server.process_new_packets().is_err() {
                    break;
                }
                // Also WouldBlock, when there is none.
                let _ = server.reader().read_to_end(&mut heard);
            }
            let mut theirs = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut theirs).unwrap();
            }
            if is_quiet && theirs.is_empty() {
                return heard;
            }
            for part in theirs.chunks(segment) {
                self.pipe.incoming.extend(part);
                self.read(tls);
                if self.connection.secured().is_some() {
                    self.read(tls);
                }
            }
        }
    }
}

fn strict() -> RelayTls {
    RelayTls::default()
}

fn is_all_free(tls: &mut Tls) -> bool {
    tls.pools.of(true).free() == 2
}

/// What is known of a next hop that has shown that certificate at that time.
fn verdict(certificate: &str, terms: Option<&RelayTls>, time: UnixTime) -> Result<bool, String> {
    let mut tls = tls();
    let mut hop = Hop::new(&mut tls, terms, time);
    hop.talk(&mut server(certificate, &VERSIONS), &mut tls, usize::MAX);
    assert!(is_all_free(&mut tls));
    match (hop.connection.protection(), hop.connection.trouble()) {
        (Some(protection), None) => Ok(protection.is_verified),
        (None, Some(words)) => {
            assert_eq!(hop.read(&mut tls), Transfer::Failed(NetError::Tls));
            Err(words.as_str().into())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn text_of_any_length_in_segments_of_any_length() {
    let mut tls = tls();
    for version in VERSIONS {
        for segment in [1, 7, 1460, usize::MAX] {
            let terms = strict();
            let mut hop = Hop::new(&mut tls, Some(&terms), PRESENT);
            let mut server = server("deep", &[version]);
            server.writer().write_all(b"220 hop.test\r\n").unwrap();
            hop.talk(&mut server, &mut tls, segment);
            let protection = hop.connection.protection().unwrap();
            let is_13 = version.version == rustls::ProtocolVersion::TLSv1_3;
            assert_eq!(protection.version, if is_13 { "1.3" } else { "1.2" });
            assert!(protection.is_verified);
            assert_eq!(core::mem::take(&mut hop.text), b"220 hop.test\r\n");
            for length in [1, 999, 1000, 1024, 16_384, 40_000] {
                let sent: Vec<u8> = (0..length).map(|at| at as u8).collect();
                server.writer().write_all(&sent).unwrap();
                hop.talk(&mut server, &mut tls, segment);
                assert_eq!(core::mem::take(&mut hop.text), sent);
                let done = hop.connection.send(&mut hop.pipe, &sent, &mut tls);
                assert_eq!(done, Transfer::Bytes(length));
                assert_eq!(hop.talk(&mut server, &mut tls, segment), sent);
            }
            hop.connection.close(&mut hop.pipe, &mut tls);
            assert!(is_all_free(&mut tls));
        }
    }
}

/// The next hop's words may end at any byte, also where no buffer is free.
#[test]
fn a_handshake_may_end_at_any_byte() {
    let mut tls = tls();
    for version in VERSIONS {
        let mut cut = 0;
        loop {
            let terms = strict();
            let mut hop = Hop::new(&mut tls, Some(&terms), PRESENT);
            let mut server = server("good", &[version]);
            let mut left = cut;
            loop {
                let mut ours = &core::mem::take(&mut hop.pipe.outgoing)[..];
                while !ours.is_empty() {
                    server.read_tls(&mut ours).unwrap();
                    server.process_new_packets().unwrap();
                }
                let mut theirs = Vec::new();
                while server.wants_write() {
                    server.write_tls(&mut theirs).unwrap();
                }
                let part = left.min(theirs.len());
                left -= part;
                hop.pipe.incoming.extend(&theirs[..part]);
                hop.read(&mut tls);
                if theirs.is_empty() || left == 0 || hop.connection.secured().is_some() {
                    break;
                }
            }
            if hop.connection.secured().is_some() {
                break;
            }
            hop.pipe.is_ended = true;
            assert_eq!(hop.read(&mut tls), Transfer::Closed, "{cut}");
            let words = hop.connection.trouble().unwrap();
            assert!(words.as_str().contains("in the middle of the TLS handshake"));
            hop.connection.close(&mut hop.pipe, &mut tls);
            assert!(is_all_free(&mut tls));
            cut += 1;
        }
        assert!(cut > 500, "{cut}");
    }
}

/// Threats 24: the time is never before that of this program, and what is not valid yet by a clock
/// that is not set waits for the time.
#[test]
fn a_clock_that_is_not_set() {
    let terms = strict();
    let at = |seconds, trusted| UnixTime { seconds, trusted };
    for (certificate, time, words) in [
        ("good", at(0, false), ""),
        ("good", at(i64::MIN, false), ""),
        ("good", PRESENT, ""),
        ("early", at(0, false), "waiting for time sync: the clock here is not set"),
        ("early", at(RELEASE_DATE + 1, false), "waiting for time sync"),
        ("early", PRESENT, "valid only from 2099-01-01 on; the clock here is at 2027-01-15"),
        ("early", at(4_080_000_000, true), ""),
        ("good", at(4_200_000_000, true), "expired on 2100-01-01; it has to be renewed there"),
        ("good", at(i64::MAX, true), "expired on 2100-01-01"),
    ] {
        match verdict(certificate, Some(&terms), time) {
            Ok(is_verified) => assert!(is_verified && words.is_empty(), "{certificate} {time:?}"),
            Err(told) => assert!(!words.is_empty() && told.contains(words), "{told}"),
        }
    }
}

/// Somebody's mail host is spoken to whatever it shows, and nobody takes it for verified.
#[test]
fn who_is_held_to_nothing() {
    assert_eq!(verdict("good", None, PRESENT), Ok(true));
    for certificate in ["early", "p256", "rsa"] {
        assert_eq!(verdict(certificate, None, PRESENT), Ok(false), "{certificate}");
        let terms = strict();
        assert!(verdict(certificate, Some(&terms), PRESENT).is_err(), "{certificate}");
    }
}

#[test]
fn the_oldest_version() {
    let terms = RelayTls { least: TlsVersion::V13, ..strict() };
    let mut tls = tls();
    let mut hop = Hop::new(&mut tls, Some(&terms), PRESENT);
    hop.talk(&mut server("good", &[&rustls::version::TLS12]), &mut tls, usize::MAX);
    let words = hop.connection.trouble().unwrap();
    assert!(words.as_str().contains("as new as tls-min"), "{}", words.as_str());
}

/// Decisions 13: a part of a record of one next hop never blocks another one, nor a client.
#[test]
fn half_records_do_not_stop_others() {
    let (_folder, mut tls) = p256();
    let terms = strict();
    let mut stuck: Vec<Hop> =
        [1, 2].map(|number| Hop::at(&mut tls, Some(&terms), PRESENT, number)).into();
    for (token, hop) in (20..).zip(&mut stuck) {
        hop.connection.token = Token(token);
        hop.pipe.incoming.extend([22, 3, 3, 4, 0, 2]);
        assert_eq!(hop.read(&mut tls), Transfer::NotReady);
    }
    assert_eq!(tls.pools.of(true).free(), 0);
    assert!(all_free(&tls));
    connected(&mut tls, client_config(VERSIONS[1]));
    // Whose records come as a whole needs none of the buffers that others hold.
    let mut good = Hop::at(&mut tls, Some(&terms), PRESENT, 3);
    good.talk(&mut server("good", &VERSIONS), &mut tls, 100);
    assert!(good.connection.secured().is_some());
    // And those others have ten seconds.
    let since = tls.now;
    tls.begin_turn(since + Duration::from_secs(10));
    for hop in &mut stuck {
        assert!(tls.overdue().is_some());
        tls.end(&mut hop.connection, &mut hop.pipe);
        let words = hop.connection.trouble().unwrap();
        assert!(words.as_str().contains("a part of a TLS record, and no more"));
    }
    assert!(is_all_free(&mut tls));
}

/// Several connections to one slow relay wait for each other, and none is closed for that before
/// its record is late.
#[test]
fn nobody_closes_his_own_by_waiting() {
    let mut tls = tls();
    let terms = strict();
    let mut hops = [1, 1].map(|number| Hop::at(&mut tls, Some(&terms), PRESENT, number));
    for (token, hop) in (20..).zip(&mut hops) {
        hop.connection.token = Token(token);
        hop.pipe.incoming.extend([22, 3, 3, 4, 0, 2]);
        hop.read(&mut tls);
    }
    let since = tls.now;
    tls.begin_turn(since + Duration::from_secs(9));
    assert_eq!(tls.overdue(), None);
    tls.begin_turn(since + Duration::from_secs(10));
    assert_eq!(tls.overdue(), Some(Token(20)));
}

/// New keys again and again, and nothing to say: it ends, or takes no more than its share.
#[test]
fn new_keys_without_end() {
    let mut tls = tls();
    let terms = strict();
    let mut hop = Hop::new(&mut tls, Some(&terms), PRESENT);
    let mut server = server("good", &[&rustls::version::TLS13]);
    hop.talk(&mut server, &mut tls, usize::MAX);
    assert!(hop.connection.secured().is_some());
    let mut failed = false;
    for _ in 0..5000 {
        server.refresh_traffic_keys().unwrap();
        let mut theirs = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut theirs).unwrap();
        }
        hop.pipe.incoming.extend(theirs);
        hop.pipe.outgoing.clear();
        failed |= matches!(hop.read(&mut tls), Transfer::Failed(_));
        if failed {
            break;
        }
    }
    assert!(failed, "it goes on for ever");
    let words = hop.connection.trouble().unwrap();
    assert!(words.as_str().contains("over and over"), "{}", words.as_str());
    assert!(is_all_free(&mut tls));
}

/// Whatever comes, nothing panics, and nothing is kept.
#[test]
fn any_bytes_at_all() {
    let mut tls = tls();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for round in 0..1500 {
        let terms = strict();
        let mut hop = Hop::new(&mut tls, Some(&terms), PRESENT);
        let mut server = server("good", &[VERSIONS[round % 2]]);
        for _ in 0..4 {
            let mut ours = &core::mem::take(&mut hop.pipe.outgoing)[..];
            while !ours.is_empty() && server.read_tls(&mut ours).is_ok() {
                let _ = server.process_new_packets();
            }
            let mut bytes = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
            let at = random(bytes.len() + 1);
            match random(5) {
                0 if at < bytes.len() => bytes[at] ^= 1 << random(8),
                1 => bytes.truncate(at),
                2 => bytes.insert(at, random(256) as u8),
                3 => bytes.extend_from_within(at..),
                _ => {}
            }
            for part in bytes.chunks(1 + random(700)) {
                hop.pipe.incoming.extend(part);
                if let Transfer::Failed(error) = hop.read(&mut tls) {
                    assert_eq!(hop.read(&mut tls), Transfer::Failed(error));
                    assert!(hop.connection.trouble().is_some());
                }
            }
        }
        hop.connection.close(&mut hop.pipe, &mut tls);
        tls.begin_turn(tls.now);
        assert!(is_all_free(&mut tls));
    }
}
