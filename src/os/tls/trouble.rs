//! What can go wrong with TLS, in words for people: what it was, and the cure. What a client did is
//! told in the log, what a next hop did in `status`, too, so each has words of its own.
//!
//! Not here: what is wrong with a next hop's certificate (`judge`).
//!
//! Nothing of a peer's bytes is in them (threats 20).

use super::pool::Overdue;
use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible, PeerMisbehaved};

/// Why a connection is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    /// The first bytes are not TLS.
    NotTls,
    /// The peer left in the handshake.
    Left,
    /// We left in the handshake: nothing has come, or not enough.
    TooSlow {
        /// Not a single byte.
        is_silent: bool,
    },
    /// The rules of the record buffers.
    Overdue(Overdue),
    /// A message of the handshake in so many pieces that no buffer holds them.
    Scattered,
    /// Something else, by anybody.
    Protocol(&'static str),
    /// Something that rustls found.
    Session {
        /// What it means if the peer is a client.
        of_client: &'static str,
        /// And if it is a next hop.
        of_server: &'static str,
    },
}

impl Trouble {
    /// What a client did, and what to do about it.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Trouble::NotTls => {
                "it does not speak TLS; TLS begins with the first byte here, or right behind \
                 STARTTLS"
            }
            Trouble::Left => "it left in the middle of the handshake",
            Trouble::TooSlow { is_silent: true } => {
                "it said nothing; TLS begins with the first byte here, and a client that waits for \
                 a greeting needs a listener with tls = starttls or off"
            }
            Trouble::TooSlow { is_silent: false } => "the handshake takes too long",
            Trouble::Overdue(Overdue::Incomplete) => "it sent a part of a record, and no more",
            Trouble::Overdue(Overdue::Contended) => {
                "it sent a part of a record, and others have to wait for their turn"
            }
            Trouble::Scattered => "its handshake comes in too many pieces",
            Trouble::Protocol(words) | Trouble::Session { of_client: words, .. } => words,
        }
    }

    /// What a next hop did, and what to do about it.
    pub(super) const fn text_of_next_hop(self, is_implicit: bool) -> &'static str {
        match self {
            Trouble::NotTls if is_implicit => {
                "speaks no TLS from the first byte on; write starttls:// in url, or the port for \
                 smtps://, which is 465"
            }
            Trouble::NotTls => "answers STARTTLS with 220 and then speaks no TLS",
            Trouble::Left => "closed the connection in the middle of the TLS handshake",
            Trouble::TooSlow { .. } => "takes too long for the TLS handshake",
            Trouble::Overdue(Overdue::Incomplete) => "sent a part of a TLS record, and no more",
            Trouble::Overdue(Overdue::Contended) => {
                "sent a part of a TLS record, and other next hops have to wait for their turn"
            }
            Trouble::Scattered => "has more certificates than are read here, which is 18 KiB",
            Trouble::Protocol(words) | Trouble::Session { of_server: words, .. } => words,
        }
    }
}

impl From<&Error> for Trouble {
    fn from(error: &Error) -> Trouble {
        Trouble::Session { of_client: of_client(error), of_server: of_server(error) }
    }
}

fn of_client(error: &Error) -> &'static str {
    match error {
        Error::PeerIncompatible(why) => incompatible(why),
        Error::AlertReceived(alert) => complaint(*alert),
        Error::NoApplicationProtocol => {
            "it asks for another protocol than smtp by ALPN; was something meant for another \
                 server led here?"
        }
        Error::DecryptError => "a record was changed on the way, or its keys are wrong",
        Error::PeerSentOversizedRecord => "its record is larger than TLS allows",
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => "it does not speak TLS, or one that is older than TLS 1.2",
        Error::InvalidMessage(_) => "it sent something that is not a TLS message",
        Error::PeerMisbehaved(
            PeerMisbehaved::TooManyKeyUpdateRequests
            | PeerMisbehaved::TooManyRenegotiationRequests
            | PeerMisbehaved::TooManyWarningAlertsReceived
            | PeerMisbehaved::TooManyEmptyFragments,
        ) => "it sends the same message over and over",
        Error::PeerMisbehaved(_) => "it does not keep to the TLS protocol",
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "it sent a TLS message out of its turn"
        }
        Error::FailedToGetRandomBytes => "there are no random numbers here",
        _ => "the TLS protocol failed",
    }
}

fn of_server(error: &Error) -> &'static str {
    match error {
        Error::PeerIncompatible(why) => incompatible_next_hop(why),
        Error::AlertReceived(alert) => complaint_of_next_hop(*alert),
        // `judge` has told the reason.
        Error::InvalidCertificate(_) => "has a certificate that is not trusted",
        Error::NoCertificatesPresented => "shows no certificate",
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => "does not speak TLS, or one that is older than TLS 1.2",
        _ => of_client(error),
    }
}

fn incompatible_next_hop(why: &PeerIncompatible) -> &'static str {
    match why {
        PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig => {
            "speaks an older TLS than tls-min allows"
        }
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::SupportedVersionsExtensionRequired => {
            "speaks neither TLS 1.2 nor 1.3; it has to be updated"
        }
        PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => {
            "takes no signature that client-key can make; try another kind of key"
        }
        _ => "has nothing in common with us for TLS; it has to be updated",
    }
}

/// What a next hop's fatal alert says of us.
fn complaint_of_next_hop(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::ProtocolVersion => {
            "speaks no TLS that is as new as tls-min; it has to be updated"
        }
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            "found nothing in common with us for TLS; it may be too old, or want a client-cert"
        }
        AlertDescription::CertificateRequired => {
            "wants a certificate of ours; add client-cert and client-key to its [relay]"
        }
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::AccessDenied => "does not take our client-cert",
        AlertDescription::CertificateExpired => {
            "says that our client-cert has expired; renew it, or look at the clocks"
        }
        AlertDescription::CertificateRevoked => "says that our client-cert was revoked; renew it",
        AlertDescription::UnrecognisedName => "does not know the name that url calls it by",
        AlertDescription::DecryptError | AlertDescription::BadRecordMac => {
            "says that a TLS record was changed on the way"
        }
        _ => "gave TLS up",
    }
}

fn incompatible(why: &PeerIncompatible) -> &'static str {
    match why {
        PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::SupportedVersionsExtensionRequired
        // TLS 1.1 and older have no such extension.
        | PeerIncompatible::SignatureAlgorithmsExtensionRequired
        | PeerIncompatible::ServerDoesNotSupportTls12Or13 => {
            "it speaks neither TLS 1.2 nor 1.3; update it, or write starttls = no in its \
             [clients], or give it a listener with tls = off"
        }
        PeerIncompatible::NoSignatureSchemesInCommon => {
            "it cannot check signatures of this certificate's kind; try an RSA certificate"
        }
        PeerIncompatible::NoCipherSuitesInCommon => {
            "it has no cipher in common with us; if it is old it may need an RSA certificate, or a \
             listener with tls = off"
        }
        PeerIncompatible::NoKxGroupsInCommon
        | PeerIncompatible::KeyShareExtensionRequired
        | PeerIncompatible::NamedGroupsExtensionRequired
        | PeerIncompatible::UncompressedEcPointsRequired => {
            "it knows none of the curves X25519, P-256 and P-384; update it, or give it a listener \
             with tls = off"
        }
        _ => "it lacks something that TLS needs here; update it",
    }
}

/// What the peer's fatal alert says of us.
fn complaint(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::UnknownPSKIdentity => {
            "it does not trust the certificate; install that one (or its root) there, or use one \
             that it trusts"
        }
        AlertDescription::CertificateExpired => {
            "it says that the certificate has expired; renew it, or look at the clocks"
        }
        AlertDescription::CertificateRevoked => {
            "it says that the certificate was revoked; renew it"
        }
        AlertDescription::ProtocolVersion => "it wants another version of TLS than 1.2 or 1.3",
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            "it found no common ground for TLS; if it is old it may need an RSA certificate"
        }
        AlertDescription::UnrecognisedName => "it wants a certificate with another name",
        AlertDescription::DecryptError | AlertDescription::BadRecordMac => {
            "it says that a record was changed on the way"
        }
        AlertDescription::UserCanceled => "its user broke it off",
        _ => "it gave up",
    }
}
