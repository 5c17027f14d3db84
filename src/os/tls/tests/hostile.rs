//! Peers that are slow, broken, or mean it.

use super::*;
use crate::daemon::world::NetError;
use rustls::ConnectionTrafficSecrets;
use std::time::Duration;

#[test]
fn the_first_byte_tells_whether_it_is_tls() {
    let (_folder, mut tls) = p256();
    for (is_implicit, bytes, expected) in [
        (true, &b"EHLO x\r\n"[..], NetError::NotTls),
        (true, b"Q", NetError::NotTls),
        (true, b"GET / HTTP/1.1\r\n", NetError::NotTls),
        // SSL 2.
        (true, b"\x80\x2e\x01\x00\x02", NetError::Tls),
        (true, b"\x00\x00", NetError::Tls),
        (false, b"EHLO x\r\n", NetError::Tls),
    ] {
        let mut server = Server::new(&mut tls);
        server.connection = tls.serve(1, is_implicit, Token(0), [192, 0, 2, 1].into()).unwrap();
        server.pipe.incoming.extend(bytes);
        assert_eq!(server.read(&mut tls, 10), Transfer::Failed(expected));
        assert_eq!(server.connection.is_plain(), expected == NetError::NotTls);
        assert!(server.pipe.outgoing.is_empty() && all_free(&tls));
    }
}

/// Threats 3 (ALPACA): who asks for another protocol was led here.
#[test]
fn only_smtp_may_be_asked_for() {
    let (_folder, mut tls) = p256();
    for version in VERSIONS {
        for (protocols, is_fine) in
            [(&["smtp"][..], true), (&["http/1.1", "smtp"], true), (&["http/1.1", "h2"], false)]
        {
            let mut config = client_config(version);
            config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
            let (mut server, mut client) = (Server::new(&mut tls), client(config));
            let talked = talk(&mut server, &mut client, &mut tls, usize::MAX);
            assert_eq!(talked.is_ok(), is_fine, "{protocols:?}: {talked:?}");
            if let Err(error) = talked {
                let alert = rustls::AlertDescription::NoApplicationProtocol;
                assert_eq!(error, Error::AlertReceived(alert));
                assert_eq!(server.read(&mut tls, 10), Transfer::Failed(NetError::Tls));
            }
            assert!(all_free(&tls));
        }
    }
}

/// What a client says in a whole conversation, one item for each answer that it waits for.
fn script(tls: &mut Tls, version: &'static SupportedProtocolVersion) -> Vec<u8> {
    let (mut server, mut client) = (Server::new(tls), client(client_config(version)));
    let mut all = Vec::new();
    while client.is_handshaking() || client.wants_write() {
        let bytes = said(&mut client);
        all.extend_from_slice(&bytes);
        server.pipe.incoming.extend(bytes);
        server.read(tls, 1000);
        hear(&mut client, &mut server.pipe).unwrap();
    }
    all
}

#[test]
fn a_handshake_may_end_at_any_byte() {
    let (_folder, mut tls) = p256();
    for (version, is_cramped) in
        VERSIONS.iter().flat_map(|version| [(version, false), (version, true)])
    {
        let length = script(&mut tls, version).len();
        for cut in 0..length {
            let hoarded = if is_cramped { hoard(&mut tls) } else { Vec::new() };
            let (mut server, mut client) = (Server::new(&mut tls), client(client_config(version)));
            let mut left = cut;
            while left > 0 {
                let bytes = said(&mut client);
                let part = left.min(bytes.len());
                left -= part;
                server.pipe.incoming.extend(&bytes[..part]);
                assert_eq!(server.read(&mut tls, 100), Transfer::NotReady, "{cut}");
                let _ = hear(&mut client, &mut server.pipe);
                if bytes.is_empty() {
                    break;
                }
            }
            server.pipe.is_ended = true;
            // Who waits for a buffer learns it when he gets one.
            hoarded.into_iter().for_each(|lease| tls.pools.incoming.give_back(lease));
            tls.serve_waiting();
            let end = server.read(&mut tls, 100);
            assert_eq!(end, Transfer::Closed, "{cut} of {length}");
            server.connection.close(&mut server.pipe, &mut tls);
            tls.begin_turn(tls.now);
            assert!(all_free(&tls));
        }
    }
}

/// Whatever comes, nothing panics, nothing is kept, and what has failed fails for ever.
#[test]
fn any_bytes_at_all() {
    let (_folder, mut tls) = p256();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for round in 0..4000 {
        let hoarded = if round % 4 < 2 { Vec::new() } else { hoard(&mut tls) };
        let config = client_config(VERSIONS[round % 2]);
        let (mut server, mut client) = (Server::new(&mut tls), client(config));
        let mut is_secured = false;
        for _ in 0..4 {
            let mut bytes = said(&mut client);
            if is_secured {
                client.writer().write_all(b"NOOP\r\n").unwrap();
                bytes = said(&mut client);
            }
            for _ in 0..random(3) {
                let at = random(bytes.len() + 1);
                match random(4) {
                    0 if at < bytes.len() => bytes[at] ^= 1 << random(8),
                    1 => bytes.truncate(at),
                    2 => bytes.insert(at, random(256) as u8),
                    _ => {
                        let again: Vec<u8> =
                            bytes[at..].iter().take(random(600)).copied().collect();
                        bytes.splice(at..at, again);
                    }
                }
            }
            for part in bytes.chunks(1 + random(700)) {
                server.pipe.incoming.extend(part);
                if let Transfer::Failed(error) = server.read(&mut tls, 1 + random(300)) {
                    assert_eq!(server.read(&mut tls, 10), Transfer::Failed(error));
                    assert!(!matches!(
                        server.connection.send(&mut server.pipe, b"250", &mut tls),
                        Transfer::Bytes(_)
                    ));
                }
            }
            is_secured = server.connection.secured().is_some();
            if is_secured {
                let _ = server.connection.send(&mut server.pipe, b"250 ok\r\n", &mut tls);
            }
            if hear(&mut client, &mut server.pipe).is_err() {
                break;
            }
        }
        server.connection.close(&mut server.pipe, &mut tls);
        hoarded.into_iter().for_each(|lease| tls.pools.incoming.give_back(lease));
        assert!(all_free(&tls));
    }
}

/// A first flight in many small records: rustls keeps the pieces in the buffer until all are there.
#[test]
fn a_hello_in_many_records() {
    let (_folder, mut tls) = p256();
    for size in [1, 3, 100] {
        let (mut server, mut client) =
            (Server::new(&mut tls), client(client_config(&rustls::version::TLS13)));
        let hello = said(&mut client);
        for part in hello[5..].chunks(size) {
            server.pipe.incoming.extend([22, 3, 1, 0, part.len() as u8]);
            server.pipe.incoming.extend(part);
            assert_eq!(server.read(&mut tls, 100), Transfer::NotReady);
        }
        talk(&mut server, &mut client, &mut tls, usize::MAX).unwrap();
        assert!(!client.is_handshaking() && all_free(&tls));
    }
    // One that would not end fits into no buffer.
    let mut server = Server::new(&mut tls);
    server.pipe.incoming.extend([22, 3, 1, 0, 4, 1, 0, 255, 255]);
    let failed = (0..4000).any(|_| {
        server.pipe.incoming.extend([22, 3, 1, 0, 1, 0]);
        server.read(&mut tls, 100) == Transfer::Failed(NetError::Tls)
    });
    assert!(failed && all_free(&tls));
}

/// A message of TLS's own, half of it, between two replies: what rustls keeps of it must be there
/// when it is asked to seal the next one.
#[test]
fn half_a_key_update_and_then_a_reply() {
    let (_folder, mut tls) = p256();
    let mut config = client_config(&rustls::version::TLS13);
    let mut provider = rustls::crypto::ring::default_provider();
    let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    provider.cipher_suites = vec![suite];
    config = ClientConfig::builder_with_provider(Arc::new(provider.clone()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map(|builder| {
            let verifier = Arc::new(Trusting(Arc::new(provider)));
            let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
            let mut new = builder.with_no_client_auth();
            new.enable_secret_extraction = config.enable_secret_extraction;
            new
        })
        .unwrap();
    let (mut server, client) = connected(&mut tls, config);
    let secrets = client.dangerous_extract_secrets().unwrap();
    let (sequence, ConnectionTrafficSecrets::Aes128Gcm { key, iv }) = secrets.tx else {
        panic!("another cipher");
    };
    // KeyUpdate, not requested, as two records of 3 and 2 bytes.
    for (sequence, part) in (sequence..).zip([&[24, 0, 0][..], &[1, 0]]) {
        let record = seal(key.as_ref(), iv.as_ref(), sequence, part);
        server.pipe.incoming.extend(record);
        assert_eq!(server.read(&mut tls, 100), Transfer::NotReady);
        server.write(&mut tls, b"250 ok\r\n");
    }
    assert!(all_free(&tls));
    server.connection.close(&mut server.pipe, &mut tls);
}

/// A record of TLS 1.3 (RFC 8446 §5.2) with a piece of a handshake message in it.
fn seal(key: &[u8], iv: &[u8], sequence: u64, piece: &[u8]) -> Vec<u8> {
    use ring::aead;
    let mut nonce = [0; 12];
    nonce.copy_from_slice(iv);
    for (byte, part) in nonce[4..].iter_mut().zip(sequence.to_be_bytes()) {
        *byte ^= part;
    }
    let mut text = [piece, &[22]].concat();
    let head = [23, 3, 3, 0, (text.len() + 16) as u8];
    let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_128_GCM, key).unwrap());
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce, aead::Aad::from(head), &mut text).unwrap();
    [&head[..], &text].concat()
}

/// More peers with half a record than there are buffers.
fn crowd(tls: &mut Tls) -> Vec<Server> {
    let buffers = tls.pools.incoming.free() as u8;
    let mut bad: Vec<Server> = (0..=buffers).map(|number| Server::numbered(tls, number)).collect();
    for server in &mut bad {
        server.pipe.incoming.extend([22, 3, 1, 1, 0, 1]);
        assert_eq!(server.read(tls, 10), Transfer::NotReady);
    }
    assert_eq!(tls.pools.incoming.free(), 0);
    bad
}

/// Decisions 13: peers with half a record do not stop a good client. Whose records have come as a
/// whole needs none of the buffers that others hold.
#[test]
fn half_records_do_not_stop_others() {
    let (_folder, mut tls) = p256();
    let _bad = crowd(&mut tls);
    for version in VERSIONS {
        for segment in [1, 100, usize::MAX] {
            let mut good = Server::numbered(&mut tls, 39);
            let mut client = client(client_config(version));
            talk(&mut good, &mut client, &mut tls, segment).unwrap();
            assert!(!client.is_handshaking(), "{segment}");
            client.writer().write_all(&[b'x'; 50_000]).unwrap();
            talk(&mut good, &mut client, &mut tls, segment).unwrap();
            // Unless there is less room than its text may need.
            assert_eq!(good.text.len(), 0);
            good.read(&mut tls, 16_384);
            while tls.next_event().is_some() {
                good.read(&mut tls, 16_384);
            }
            assert_eq!(good.text.len(), 50_000);
            client.send_close_notify();
            good.pipe.incoming.extend(said(&mut client));
            assert_eq!(good.read(&mut tls, 20_000), Transfer::Closed);
            good.write(&mut tls, b"221");
            good.connection.close(&mut good.pipe, &mut tls);
        }
    }
}

/// Whose record comes in pieces waits until one of the others has had his time.
#[test]
fn who_waits_is_served_in_two_seconds() {
    let (_folder, mut tls) = p256();
    let begin = tls.now;
    let mut bad = crowd(&mut tls);
    let turn = |tls: &mut Tls, bad: &mut Vec<Server>, after| {
        tls.begin_turn(begin + Duration::from_secs(after));
        while let Some(token) = tls.overdue() {
            let server = &mut bad[usize::from(token.0)];
            tls.end(&mut server.connection, &mut server.pipe);
            assert_eq!(server.read(tls, 10), Transfer::Failed(NetError::Tls));
        }
        tls.serve_waiting();
        core::iter::from_fn(|| tls.next_event()).collect::<Vec<_>>()
    };
    assert_eq!(turn(&mut tls, &mut bad, 1), []);
    let mut good = Server::numbered(&mut tls, 39);
    let mut client = client(client_config(VERSIONS[1]));
    let hello = said(&mut client);
    good.pipe.incoming.extend(&hello[..100]);
    assert_eq!(good.read(&mut tls, 10), Transfer::NotReady);
    let events = turn(&mut tls, &mut bad, 3);
    assert!(events.contains(&(Token(39), false)), "{events:?}");
    good.read(&mut tls, 10);
    assert!(good.connection.lease.is_some());
    good.pipe.incoming.extend(&hello[100..]);
    good.read(&mut tls, 10);
    hear(&mut client, &mut good.pipe).unwrap();
    talk(&mut good, &mut client, &mut tls, usize::MAX).unwrap();
    assert!(!client.is_handshaking());
}

#[test]
fn with_nobody_waiting_a_record_has_ten_seconds() {
    let (_folder, mut tls) = p256();
    let mut late = Server::numbered(&mut tls, 1);
    late.pipe.incoming.extend([22, 3, 1, 1, 0, 1]);
    assert_eq!(late.read(&mut tls, 10), Transfer::NotReady);
    let since = tls.now;
    tls.begin_turn(since + Duration::from_secs(9));
    assert_eq!(tls.overdue(), None);
    tls.begin_turn(since + Duration::from_secs(10));
    assert_eq!(tls.overdue(), Some(Token(1)));
    tls.end(&mut late.connection, &mut late.pipe);
    assert!(all_free(&tls));
}

/// Records without text, one after the other: the others get their turn.
#[test]
fn a_flood_is_taken_in_portions() {
    let (_folder, mut tls) = p256();
    let (mut server, mut client) = connected(&mut tls, client_config(VERSIONS[1]));
    let mut sent = 0;
    while server.pipe.incoming.len() < 300_000 {
        client.writer().write_all(&[b'x'; 16]).unwrap();
        sent += 16;
        server.pipe.incoming.extend(said(&mut client));
    }
    let mut into = vec![0; 1 << 20];
    let mut calls = 0;
    while server.text.len() < sent {
        calls += 1;
        let Transfer::Bytes(count) =
            server.connection.receive(&mut server.pipe, &mut into, &mut tls)
        else {
            panic!("stopped at {}", server.text.len());
        };
        server.text.extend_from_slice(&into[..count]);
        // There may be more, and no socket will tell.
        assert_eq!(tls.next_event().is_some(), server.text.len() < sent);
    }
    assert!((3..=5).contains(&calls), "{calls}");
    assert_eq!(server.text.len(), sent);
}
