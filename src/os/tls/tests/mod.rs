//! Whole TLS connections over a pipe in memory, with rustls's own client at the other end.
//!
//! The certificates and keys are in `tests/tls`: made for these tests, and known to everybody.

mod certificates;
mod hostile;
mod outgoing;

use super::certificate::Files;
use super::connection::Connection;
use super::{Tls, Wire, pool};
use crate::daemon::world::{Token, Transfer};
use rustls::SupportedProtocolVersion;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};
use std::collections::VecDeque;
use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tempfile::TempDir;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];
const TOKENS: u16 = 40;

/// Copies of the files of `tests/tls`, with the modes that they need.
fn files(folder: &TempDir, cert: &str, key: &str) -> Files {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls");
    let copy = |name: &str| {
        let to = folder.path().join(name);
        fs::copy(from.join(name), &to).unwrap();
        fs::set_permissions(&to, Permissions::from_mode(0o600)).unwrap();
        to
    };
    Files { listener: "test".into(), cert: copy(cert), key: copy(key) }
}

fn shared(cert: &str, key: &str) -> (TempDir, Tls) {
    let folder = tempfile::tempdir().unwrap();
    let files = [None, Some(files(&folder, cert, key))];
    let tls = Tls::open(&files, TOKENS, Instant::now()).unwrap().unwrap();
    (folder, tls)
}

fn p256() -> (TempDir, Tls) {
    shared("p256.crt", "p256.key")
}

/// The server's end of a connection.
#[derive(Default)]
struct Pipe {
    incoming: VecDeque<u8>,
    outgoing: Vec<u8>,
    /// How much more the other end takes; none: anything.
    window: Option<usize>,
    is_ended: bool,
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        // As of a socket, all that is there.
        self.incoming.make_contiguous();
        match self.incoming.read(into)? {
            0 if self.is_ended => Ok(0),
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let count = self.window.map_or(from.len(), |window| window.min(from.len()));
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.window = self.window.map(|window| window - count);
        self.outgoing.extend_from_slice(&from[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Wire for Pipe {
    fn peek(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let there: Vec<u8> = self.incoming.iter().copied().take(into.len()).collect();
        into[..there.len()].copy_from_slice(&there);
        Ok(there.len())
    }
}

/// Trusts everybody.
#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn client_config(version: &'static SupportedProtocolVersion) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(provider)))
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    config
}

fn client(config: ClientConfig) -> ClientConnection {
    ClientConnection::new(Arc::new(config), ServerName::try_from("mote.test").unwrap()).unwrap()
}

/// What the client has to say now.
fn said(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// The client hears what the server said; what text was in it.
fn hear(client: &mut ClientConnection, pipe: &mut Pipe) -> Result<Vec<u8>, Error> {
    let mut bytes = &core::mem::take(&mut pipe.outgoing)[..];
    let mut text = Vec::new();
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).unwrap();
        client.process_new_packets()?;
        // Also WouldBlock, when there is none.
        let _ = client.reader().read_to_end(&mut text);
    }
    Ok(text)
}

/// The server's end, with what it has read.
struct Server {
    pipe: Pipe,
    connection: Connection,
    text: Vec<u8>,
}

impl Server {
    fn new(tls: &mut Tls) -> Server {
        Server::numbered(tls, 0)
    }

    fn numbered(tls: &mut Tls, number: u8) -> Server {
        let address = [192, 0, 2, number].into();
        let connection = tls.serve(1, true, Token(number.into()), address).unwrap();
        Server { pipe: Pipe::default(), connection, text: Vec::new() }
    }

    /// Reads as the daemon does: until a read is not full. Gives the last answer.
    fn read(&mut self, tls: &mut Tls, room: usize) -> Transfer {
        loop {
            let mut into = vec![0; room];
            let transfer = self.connection.receive(&mut self.pipe, &mut into, tls);
            match transfer {
                Transfer::Bytes(count) => {
                    self.text.extend_from_slice(&into[..count]);
                    if count < room {
                        return transfer;
                    }
                }
                other => return other,
            }
        }
    }

    fn write(&mut self, tls: &mut Tls, text: &[u8]) {
        let sent = self.connection.send(&mut self.pipe, text, tls);
        assert_eq!(sent, Transfer::Bytes(text.len()));
    }
}

/// Both ends talk, in segments of at most `segment` bytes, until neither has anything to say.
fn talk(
    server: &mut Server,
    client: &mut ClientConnection,
    tls: &mut Tls,
    segment: usize,
) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    loop {
        let bytes = said(client);
        let is_quiet = bytes.is_empty();
        for part in bytes.chunks(segment) {
            server.pipe.incoming.extend(part);
            server.read(tls, 1000);
            if server.connection.secured().is_some() {
                server.read(tls, 1000);
            }
        }
        let heard = hear(client, &mut server.pipe)?;
        if is_quiet && heard.is_empty() {
            return Ok(text);
        }
        text.extend(heard);
    }
}

fn connected(tls: &mut Tls, config: ClientConfig) -> (Server, ClientConnection) {
    let (mut server, mut client) = (Server::new(tls), client(config));
    talk(&mut server, &mut client, tls, usize::MAX).unwrap();
    assert!(!client.is_handshaking());
    (server, client)
}

/// All record buffers, in the hands of others for as long as that is kept.
fn hoard(tls: &mut Tls) -> Vec<pool::Lease> {
    let take = |at: u8| tls.pools.incoming.take(Token(200), [198, 51, 100, at].into(), tls.now);
    (0..u8::MAX).map_while(take).collect()
}

fn all_free(tls: &Tls) -> bool {
    tls.pools.incoming.free() == usize::from(TOKENS) / 4
}

/// GnuTLS sends EHLO in one segment with the end of the handshake.
#[test]
fn text_right_behind_the_handshake() {
    let (_folder, mut tls) = p256();
    for version in VERSIONS {
        for segment in [1, usize::MAX] {
            let (mut server, mut client) = (Server::new(&mut tls), client(client_config(version)));
            client.writer().write_all(b"EHLO client.test\r\n").unwrap();
            talk(&mut server, &mut client, &mut tls, segment).unwrap();
            assert_eq!(server.text, b"EHLO client.test\r\n");
            assert!(all_free(&tls));
        }
    }
}

#[test]
fn text_of_any_length_in_segments_of_any_length() {
    let (_folder, mut tls) = p256();
    for version in VERSIONS {
        for segment in [1, 7, 1460, usize::MAX] {
            let (mut server, mut client) = (Server::new(&mut tls), client(client_config(version)));
            talk(&mut server, &mut client, &mut tls, segment).unwrap();
            let secured = server.connection.secured().unwrap();
            let is_13 = version.version == rustls::ProtocolVersion::TLSv1_3;
            assert_eq!(secured.version, if is_13 { "1.3" } else { "1.2" });
            assert!(secured.cipher.starts_with("TLS"), "{}", secured.cipher);
            assert!(all_free(&tls));
            for length in [1, 5, 999, 1000, 1001, 16_384, 40_000] {
                let sent: Vec<u8> = (0..length).map(|at| at as u8).collect();
                client.writer().write_all(&sent).unwrap();
                talk(&mut server, &mut client, &mut tls, segment).unwrap();
                assert_eq!(core::mem::take(&mut server.text), sent);
                assert!(all_free(&tls));
                server.write(&mut tls, &sent);
                let heard = talk(&mut server, &mut client, &mut tls, segment).unwrap();
                assert_eq!(heard, sent);
            }
            client.send_close_notify();
            server.pipe.incoming.extend(said(&mut client));
            assert_eq!(server.read(&mut tls, 10), Transfer::Closed);
            // Its side is ended, ours is not.
            server.write(&mut tls, b"221");
            server.connection.close(&mut server.pipe, &mut tls);
            assert_eq!(hear(&mut client, &mut server.pipe).unwrap(), b"221");
            assert!(all_free(&tls));
        }
    }
}

/// Bytes count as sent when the socket has taken all of their record.
#[test]
fn a_peer_that_does_not_read() {
    let (_folder, mut tls) = p256();
    for version in VERSIONS {
        let (mut server, mut client) = connected(&mut tls, client_config(version));
        let text: Vec<u8> = (0..10_000).map(|at| at as u8).collect();
        server.pipe.window = Some(0);
        let (mut sent, mut calls) = (0, 0);
        while sent < text.len() {
            match server.connection.send(&mut server.pipe, &text[sent..], &mut tls) {
                Transfer::Bytes(count) => sent += count,
                Transfer::NotReady => server.pipe.window = Some(100),
                other => panic!("{other:?}"),
            }
            calls += 1;
        }
        assert!(calls > 100);
        assert_eq!(hear(&mut client, &mut server.pipe).unwrap(), text);
    }
    // The handshake's answer waits, too, and is brought forward without anybody sending.
    let (mut server, mut client) = (Server::new(&mut tls), client(client_config(VERSIONS[1])));
    server.pipe.window = Some(10);
    server.pipe.incoming.extend(said(&mut client));
    assert_eq!(server.read(&mut tls, 10), Transfer::NotReady);
    assert_eq!(server.pipe.outgoing.len(), 10);
    server.pipe.window = None;
    assert!(server.connection.flush(&mut server.pipe).unwrap());
    talk(&mut server, &mut client, &mut tls, usize::MAX).unwrap();
    assert!(!client.is_handshaking());
}

#[test]
fn buffers_are_few_and_only_for_those_who_need_them() {
    assert!(Tls::open(&[None, None], TOKENS, Instant::now()).unwrap().is_none());
    let (_folder, mut tls) = p256();
    let mut idle: Vec<_> =
        (0..30).map(|_| connected(&mut tls, client_config(VERSIONS[1]))).collect();
    for (server, _) in &mut idle {
        assert_eq!(server.read(&mut tls, 100), Transfer::NotReady);
    }
    assert!(all_free(&tls));
    assert_eq!(pool::RECORD_BYTES_MAX, 18_437);
}
