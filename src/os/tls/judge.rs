//! Whether a next hop is who it should be: by its pinned key, or by its certificate, the CAs that
//! this machine trusts, the name and the time.
//!
//! The file of CAs is read when it is needed, certificate by certificate, and of two hundred only
//! those are kept that may have signed what the next hop shows: no list of CAs lies in memory. The
//! time is never before that of this program, or the newest that the spool knows (threats 24), so
//! a clock that stands at 1970 skips nothing; what is not valid *yet* by such a clock waits for the
//! time to be set. Revocation is not asked for: nobody staples it for mail.
//!
//! A pin is the SHA-256 of the next hop's certificate or of its public key. With pins alone they
//! decide, whoever has signed the certificate and whatever it says; with pins and `ca` both must
//! hold. Towards mail hosts of other people's domains the verdict is only noted: nearly all would
//! otherwise be spoken to in the clear.
//!
//! What is wrong is told with its cure, and with nothing of the certificate but its names, cleaned.
//!
//! Read first: RFC 5280 §6; RFC 9525; RFC 7672 §1.3 (why MX hosts are not verified).

use crate::base::time::UnixTime;
use crate::daemon::world::{NetWords, NextHop};
use crate::mail::stamp::civil_from_days;
use crate::os::clock::RELEASE_DATE;
use crate::os::plain_file;
use core::fmt::{self, Write as _};
use ring::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{self, CertificateDer, ServerName, TrustAnchor};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// Where systems have their CAs.
const SYSTEM_FILES: [&str; 7] = [
    // Debian, OpenWrt, Alpine, Arch.
    "/etc/ssl/certs/ca-certificates.crt",
    // Fedora and its kin.
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    // openSUSE.
    "/etc/ssl/ca-bundle.pem",
    // Alpine, the BSDs.
    "/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
    "/etc/openssl/certs/ca-certificates.crt",
];
/// Systems have some 250 KiB.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// CAs of one name, such as one that has been renewed.
const ANCHORS_MAX: usize = 16;

/// See the module's head.
#[derive(Debug)]
pub(super) struct Judge {
    algorithms: WebPkiSupportedAlgorithms,
    pins: Vec<[u8; 32]>,
    /// The file of CAs that the relay's section names.
    own_ca: Option<PathBuf>,
    /// The one for all relays.
    ca: Option<PathBuf>,
    is_strict: bool,
    time: UnixTime,
    verdict: OnceLock<Result<(), NetWords>>,
}

impl Judge {
    pub(super) fn new(next_hop: &NextHop<'_>, algorithms: WebPkiSupportedAlgorithms) -> Judge {
        let terms = next_hop.terms;
        Judge {
            algorithms,
            pins: terms.map(|terms| terms.pins.clone()).unwrap_or_default(),
            own_ca: terms.and_then(|terms| terms.ca.as_ref()).map(PathBuf::from),
            ca: next_hop.ca.map(PathBuf::from),
            is_strict: terms.is_some(),
            time: UnixTime { seconds: next_hop.time.seconds.max(RELEASE_DATE), ..next_hop.time },
            verdict: OnceLock::new(),
        }
    }

    /// What was found, once the next hop has shown its certificate.
    pub(super) fn verdict(&self) -> Option<&Result<(), NetWords>> {
        self.verdict.get()
    }

    /// Whether anything follows from it.
    pub(super) fn is_strict(&self) -> bool {
        self.is_strict
    }

    fn judge(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
    ) -> Result<(), NetWords> {
        let unreadable = |_| NetWords::from("has a certificate that cannot be read");
        let certificate = EndEntityCert::try_from(shown).map_err(unreadable)?;
        if !self.pins.is_empty() {
            let key = sha256(&certificate.subject_public_key_info());
            if !self.pins.contains(&key) && !self.pins.contains(&sha256(shown)) {
                let mut words = NetWords::from("has another key than the pinned one: sha256:");
                write_hex(&mut words, &key);
                return Err(words);
            }
            if self.own_ca.is_none() {
                return Ok(());
            }
        }
        let given = self.own_ca.as_deref().or(self.ca.as_deref());
        let file = given.or_else(system_file).ok_or_else(|| {
            NetWords::from(
                "its certificate cannot be verified: there is no file of CAs here; install \
                 ca-certificates (on OpenWrt ca-bundle), or name a file by ca, or pin its key",
            )
        })?;
        let anchors = anchors(file, &certificate, between).map_err(|error| unread(file, &error))?;
        let time = Duration::from_secs(u64::try_from(self.time.seconds).unwrap_or(0));
        let time = pki_types::UnixTime::since_unix_epoch(time);
        let algorithms = self.algorithms.all;
        let usage = KeyUsage::server_auth();
        certificate
            .verify_for_usage(algorithms, &anchors, between, time, usage, None, None)
            .map(drop)
            .and_then(|()| certificate.verify_is_valid_for_subject_name(name))
            .map_err(|error| self.words(&error, &certificate, name, file))
    }

    fn words(
        &self,
        error: &webpki::Error,
        certificate: &EndEntityCert<'_>,
        name: &ServerName<'_>,
        file: &Path,
    ) -> NetWords {
        use webpki::Error as E;
        let mut words = NetWords::new();
        let today = Day(self.time.seconds.unsigned_abs());
        // A Text cuts what is too long, it never fails.
        let _ = match error {
            E::CertExpired { not_after, .. } => write!(
                words,
                "has a certificate that expired on {}; it has to be renewed there, unless the \
                 clock here, at {today}, is wrong",
                Day(not_after.as_secs())
            ),
            E::CertNotValidYet { not_before, .. } => {
                let from = Day(not_before.as_secs());
                match self.time.trusted {
                    true => write!(
                        words,
                        "has a certificate that is valid only from {from} on; the clock here is at \
                         {today}"
                    ),
                    false => write!(
                        words,
                        "waiting for time sync: the clock here is not set, and the certificate \
                         there is valid from {from} on"
                    ),
                }
            }
            E::CertNotValidForName(context) => {
                let _ = write!(words, "has a certificate for ");
                write_names(&mut words, &context.presented);
                let wanted = name.to_str();
                write!(words, ", not for {wanted}; write its name in url, or pin its key")
            }
            E::UnknownIssuer if certificate.issuer() == certificate.subject() => {
                self_signed(&mut words, certificate, "signed by itself")
            }
            E::CaUsedAsEndEntity => self_signed(&mut words, certificate, "a CA's own"),
            E::UnknownIssuer => {
                let file = NetWords::from(file.display().to_string().as_str());
                write!(
                    words,
                    "has a certificate that no CA in {} has signed, or leaves out one between; \
                     name its CA's file by ca, or pin its key",
                    file.as_str()
                )
            }
            _ => words.write_str(of_chain(error)),
        };
        words
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        _: pki_types::UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.verdict.get_or_init(|| self.judge(shown, between, name));
        match verdict {
            Err(_) if self.is_strict => {
                Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// What is wrong with certificates that nobody here could put right.
fn of_chain(error: &webpki::Error) -> &'static str {
    use webpki::Error as E;
    match error {
        E::RequiredEkuNotFoundContext(_) => {
            "has a certificate that is not for servers (its extended key usage); it needs another \
             one"
        }
        E::UnsupportedSignatureAlgorithmContext(_)
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            "has a certificate that is signed in a way that is no longer safe; it needs another one"
        }
        E::InvalidSignatureForPublicKey => {
            "has a certificate that was not signed by the CA that it names"
        }
        E::MaximumPathBuildCallsExceeded
        | E::MaximumPathDepthExceeded
        | E::MaximumSignatureChecksExceeded => {
            "has more certificates between its own and a CA than are looked at"
        }
        _ => "has a certificate that breaks the rules; it needs another one",
    }
}

fn system_file<'a>() -> Option<&'a Path> {
    SYSTEM_FILES.iter().map(Path::new).find(|file| file.exists())
}

/// Those CAs of the file that may have signed one of these certificates.
fn anchors(
    file: &Path,
    certificate: &EndEntityCert<'_>,
    between: &[CertificateDer<'_>],
) -> io::Result<Vec<TrustAnchor<'static>>> {
    let between: Vec<EndEntityCert<'_>> =
        between.iter().filter_map(|other| EndEntityCert::try_from(other).ok()).collect();
    let mut kept = Vec::new();
    each_certificate(file, |ca| {
        let Ok(anchor) = anchor_from_trusted_cert(ca) else { return };
        let may_sign = |other: &EndEntityCert<'_>| other.issuer() == anchor.subject.as_ref();
        let is_needed = may_sign(certificate) || between.iter().any(may_sign);
        if is_needed && kept.len() < ANCHORS_MAX {
            kept.push(anchor.to_owned());
        }
    })?;
    Ok(kept)
}

/// Reads the file certificate by certificate; of those that are damaged nothing is seen. How many
/// there are.
fn each_certificate(file: &Path, mut each: impl FnMut(&CertificateDer<'_>)) -> io::Result<usize> {
    let (file, about) = plain_file::open(file)?;
    if about.len() > FILE_BYTES_MAX {
        return Err(io::Error::new(ErrorKind::InvalidData, "it is larger than 4 MiB"));
    }
    let mut count = 0;
    for certificate in CertificateDer::pem_reader_iter(file.take(FILE_BYTES_MAX)) {
        match certificate {
            Ok(certificate) => {
                count += 1;
                each(&certificate);
            }
            Err(pem::Error::Io(error)) => return Err(error),
            Err(_) => {}
        }
    }
    match count {
        0 => Err(io::Error::new(ErrorKind::InvalidData, "there is no certificate in it (PEM)")),
        count => Ok(count),
    }
}

/// Whether a file of CAs can be used, for `mote check`; none: the system's.
pub fn examine_ca(file: Option<&Path>) -> Result<(), String> {
    let Some(file) = file.or_else(system_file) else {
        return Err(
            "there is no file of CAs here; install ca-certificates (on OpenWrt ca-bundle), \
                    or name a file by ca"
                .into(),
        );
    };
    each_certificate(file, |_| {}).map(drop).map_err(|error| unread(file, &error).as_str().into())
}

fn unread(file: &Path, error: &io::Error) -> NetWords {
    let mut words = NetWords::new();
    // A Text cuts what is too long, it never fails.
    let _ = write!(words, "the file of CAs, {}, cannot be used: {error}", file.display());
    words
}

/// What to do about a certificate that its owner has made himself.
fn self_signed(words: &mut NetWords, certificate: &EndEntityCert<'_>, what: &str) -> fmt::Result {
    write!(words, "has a certificate that is {what}; if it is yours: pin = sha256:")?;
    write_hex(words, &sha256(&certificate.subject_public_key_info()));
    Ok(())
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    // A SHA-256 always has 32 bytes.
    digest(&SHA256, bytes).as_ref().try_into().unwrap_or_default()
}

fn write_hex(words: &mut NetWords, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(words, "{byte:02x}");
    }
}

/// A day in UTC, by its seconds since 1970, as people write it.
struct Day(u64);

impl fmt::Display for Day {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(i64::try_from(self.0 / 86_400).unwrap_or(0));
        write!(out, "{year}-{month:02}-{day:02}")
    }
}

/// The first few names of a certificate, cleaned: they are a stranger's.
fn write_names(words: &mut NetWords, presented: &[String]) {
    const NAMES_MAX: usize = 3;
    if presented.is_empty() {
        let _ = write!(words, "no name");
    }
    for (place, name) in presented.iter().take(NAMES_MAX).enumerate() {
        let _ = write!(words, "{}", if place > 0 { ", " } else { "" });
        // As in DnsName("a.example").
        let bare = name.split_once('(').map_or(name.as_str(), |(_, rest)| rest);
        let inside = |c: &char| c.is_ascii_graphic() && !matches!(c, '"' | '(' | ')');
        bare.chars().filter(inside).take(40).for_each(|c| {
            let _ = words.write_char(c);
        });
    }
    if presented.len() > NAMES_MAX {
        let _ = write!(words, " and {} more", presented.len() - NAMES_MAX);
    }
}
