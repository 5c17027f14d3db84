//! A certificate and its key, from their files to what rustls signs with: a listener's, or our own
//! as a client.
//!
//! A listener's files are looked at again by whoever begins a handshake, at most every
//! [`LOOK_EVERY`], and at HUP; what has changed is taken into use by the next handshake. If it
//! cannot be used, the old pair stays in use and a warning names the file and the reason; a pair of
//! which one file is new already and the other not yet is such a case, over with the next look.
//!
//! A key that others can read is refused (threats 19). Certificates: RSA, ECDSA with P-256 or
//! P-384, Ed25519; keys in PKCS#8, SEC1 or PKCS#1. What was read of a key is overwritten.

use crate::os::{plain_file, secret_file};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::fmt;
use std::fs::Metadata;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zeroize::Zeroize as _;

/// How soon the files are looked at again.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// Of one file; a chain has two or three certificates of 1 to 2 KiB.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Of a chain, so that the handshake's answer is bounded.
const CHAIN_BYTES_MAX: usize = 16 * 1024;

/// Where a listener's certificate lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Files {
    /// What the log calls the listener.
    pub listener: String,
    /// The certificates.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// A file that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unusable {
    /// Which.
    pub path: PathBuf,
    /// Why not, and the cure.
    pub reason: String,
}

impl Unusable {
    /// Whether it is that file.
    pub fn is_about(&self, path: &Path) -> bool {
        self.path == path
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.path.display(), self.reason)
    }
}

/// A certificate in use.
pub(super) struct Identity {
    files: Files,
    config: Arc<ServerConfig>,
    stamp: [Stamp; 2],
    looked: Instant,
}

impl Identity {
    pub(super) fn open(files: &Files, now: Instant) -> Result<Identity, Unusable> {
        // Before reading: what changes meanwhile is seen by the next look.
        let stamp = stamps(files);
        let config = load(files)?;
        Ok(Identity { files: files.clone(), config, stamp, looked: now })
    }

    /// What the next handshake is made with.
    pub(super) fn config(&mut self, now: Instant) -> Arc<ServerConfig> {
        if now.saturating_duration_since(self.looked) >= LOOK_EVERY {
            self.looked = now;
            if stamps(&self.files) != self.stamp {
                self.reload();
            }
        }
        Arc::clone(&self.config)
    }

    /// The config was read again, and names these files.
    pub(super) fn replace(&mut self, files: &Files) {
        let old = core::mem::replace(&mut self.files, files.clone());
        if self.reload() {
            return;
        }
        if old != *files {
            // The old files are watched on, as they are in use.
            self.files = old;
            self.stamp = stamps(&self.files);
        }
    }

    /// The name of the listener.
    pub(super) fn listener(&self) -> &str {
        &self.files.listener
    }

    fn reload(&mut self) -> bool {
        self.stamp = stamps(&self.files);
        let listener = &self.files.listener;
        match load(&self.files) {
            Ok(config) => {
                self.config = config;
                log::info!("listen {listener}: took {} into use", self.files.cert.display());
                true
            }
            Err(unusable) => {
                log::warn!("listen {listener}: the old certificate stays in use: {unusable}");
                false
            }
        }
    }
}

/// What tells whether a file is still the same: where it lies, how long it is, when it changed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp(Option<[i64; 5]>);

fn stamps(files: &Files) -> [Stamp; 2] {
    [&files.cert, &files.key].map(|path| {
        let stamp = |found: Metadata| {
            let (mtime, ctime) = (found.mtime_nsec(), found.ctime_nsec());
            let times = found.ctime().wrapping_mul(1_000_000_000).wrapping_add(ctime);
            [found.ino() as i64, found.size() as i64, found.mtime(), mtime, times]
        };
        Stamp(std::fs::metadata(path).ok().map(stamp))
    })
}

/// Whether the files can be used, for `mote check` and the start; a listener's or our own.
pub fn examine(files: &Files) -> Result<(), Unusable> {
    load(files).map(drop)
}

fn load(files: &Files) -> Result<Arc<ServerConfig>, Unusable> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certified = certified(&files.cert, &files.key)?;
    server_config(certified, provider)
        .map_err(|error| unusable(&files.cert, &format!("cannot be used: {error}")))
}

/// What to sign with.
pub(super) fn certified(cert: &Path, key_file: &Path) -> Result<CertifiedKey, Unusable> {
    let chain = read_chain(cert)?;
    let mut key = read_key(key_file)?;
    let signing = any_supported_type(&key);
    key.zeroize();
    let signing = signing.map_err(|_| {
        let reason = "a key of this kind cannot be used; RSA (2048 bits or more), ECDSA (P-256, \
                      P-384) and Ed25519 can";
        unusable(key_file, reason)
    })?;
    let certified = CertifiedKey::new(chain, signing);
    certified.keys_match().map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            unusable(key_file, "this is not the key of that certificate")
        }
        _ => unusable(cert, "the certificate is damaged; make or fetch it again"),
    })?;
    Ok(certified)
}

/// TLS 1.2 and 1.3, no tickets, no sessions to resume: nothing is kept of a connection that is
/// over. The one protocol spoken here is smtp, which a client need not say, but if it asks for
/// another by ALPN, its bytes were led here from elsewhere (threats 3).
fn server_config(
    certified: CertifiedKey,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![b"smtp".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn unusable(path: &Path, reason: &str) -> Unusable {
    Unusable { path: path.into(), reason: reason.into() }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let (_, text) = read(path)?;
    let chain: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|_| unusable(path, "its PEM is damaged; make or fetch it again"))?;
    if chain.is_empty() {
        return Err(unusable(path, "there is no certificate in it; it must be PEM"));
    }
    if chain.iter().map(|certificate| certificate.len()).sum::<usize>() > CHAIN_BYTES_MAX {
        let reason = "there are too many certificates in it; leave the server's own, and those \
                      between it and its root";
        return Err(unusable(path, reason));
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Unusable> {
    let (found, mut text) = read(path)?;
    let checked = secret_file::check(&found).map_err(|error| unusable(path, &error.to_string()));
    let key = checked.and_then(|()| parse_key(path, &text));
    text.zeroize();
    key
}

fn parse_key(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, Unusable> {
    let holds = |word: &[u8]| text.windows(word.len()).any(|window| window == word);
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound if holds(b"ENCRYPTED PRIVATE KEY") => {
            let plain = "openssl pkey -in OLD -out NEW";
            unusable(
                path,
                &format!("the key has a passphrase, which nobody is there to type: {plain}"),
            )
        }
        pem::Error::NoItemsFound => unusable(path, "there is no private key in it; it must be PEM"),
        _ if holds(b"Proc-Type: 4,ENCRYPTED") => {
            unusable(path, "the key has a passphrase, which nobody is there to type")
        }
        _ => unusable(path, "its PEM is damaged"),
    })
}

fn read(path: &Path) -> Result<(Metadata, Vec<u8>), Unusable> {
    let read = || -> io::Result<(Metadata, Vec<u8>)> {
        let (file, found) = plain_file::open(path)?;
        let mut text = Vec::with_capacity(found.len().min(FILE_BYTES_MAX) as usize + 1);
        file.take(FILE_BYTES_MAX).read_to_end(&mut text)?;
        Ok((found, text))
    };
    read().map_err(|error| unusable(path, &format!("cannot be read: {error}")))
}
