//! Our side of TLS as a client: what a handshake with a next hop is made with, and what came of it.
//!
//! All of it is made anew for each connection and gone with it: certificates and keys that have
//! changed count at the next one, and nothing is kept of a session that is over. No ticket is used,
//! and no protocol asked for by ALPN: mail servers know of none.
//!
//! Not here: whether the next hop is who it should be (`judge`), the records (`connection`).
//!
//! Read first: RFC 8446 §4.1.2, §4.4.2; RFC 6066 §3; RFC 8314 §4.4.

use super::certificate::certified;
use super::judge::Judge;
use crate::config::TlsVersion;
use crate::daemon::world::{NetWords, NextHop};
use core::fmt::Write as _;
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, SupportedProtocolVersion};
use std::path::Path;
use std::sync::Arc;

const NEW: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
const ALL: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// What is known of a next hop.
pub(super) struct Outgoing {
    judge: Arc<Judge>,
    trouble: Option<NetWords>,
}

impl Outgoing {
    /// True when it has shown that it is who it should be.
    pub(super) fn is_verified(&self) -> bool {
        matches!(self.judge.verdict(), Some(Ok(())))
    }

    /// What went wrong.
    pub(super) fn trouble(&self) -> Option<NetWords> {
        self.trouble
    }

    /// Something went wrong: the first word counts, and the judge's before any.
    pub(super) fn complain(&mut self, words: &str) {
        self.trouble.get_or_insert_with(|| match self.judge.verdict() {
            Some(Err(why)) if self.judge.is_strict() => *why,
            _ => words.into(),
        });
    }
}

/// What the handshake is made with.
pub(super) fn open(
    next_hop: &NextHop<'_>,
) -> Result<(UnbufferedClientConnection, Outgoing), NetWords> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let judge = Arc::new(Judge::new(next_hop, algorithms));
    let versions = match next_hop.terms.map(|terms| terms.least) {
        Some(TlsVersion::V13) => NEW,
        _ => ALL,
    };
    let refused = |_| NetWords::from("TLS cannot be begun here");
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(refused)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::<Judge>::clone(&judge));
    let mut config = match next_hop.terms.and_then(|terms| terms.client.as_ref()) {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let certified =
                certified(Path::new(&files.cert), Path::new(&files.key)).map_err(|unusable| {
                    let mut words = NetWords::new();
                    // A Text cuts what is too long, it never fails.
                    let _ =
                        write!(words, "the certificate to show there cannot be used: {unusable}");
                    words
                })?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
        }
    };
    config.resumption = Resumption::disabled();
    // RFC 6066 §3: of an address there is no name to be sent, and rustls knows that.
    let name = ServerName::try_from(next_hop.name.to_owned())
        .map_err(|_| NetWords::from("no certificate can bear the name that url has"))?;
    let session = UnbufferedClientConnection::new(Arc::new(config), name).map_err(refused)?;
    Ok((session, Outgoing { judge, trouble: None }))
}
