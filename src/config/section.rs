//! The sections of a configuration: how each is headed, and what stands under it.

/// Which lines a key may stand under.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Section {
    /// Above the first section.
    Global,
    /// `[listen NAME]`.
    Listen,
    /// `[relay NAME]`.
    Relay,
    /// `[route PATTERN]`.
    Route,
    /// `[clients RANGE]`.
    Clients,
    /// `[rewrite]`, which has no name, and keys of its own.
    Rewrite,
}

impl Section {
    /// Those with a head, as they are written.
    pub(super) const NAMED: [Section; 5] =
        [Section::Listen, Section::Relay, Section::Route, Section::Clients, Section::Rewrite];

    /// The first word in the brackets.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Section::Global => "",
            Section::Listen => "listen",
            Section::Relay => "relay",
            Section::Route => "route",
            Section::Clients => "clients",
            Section::Rewrite => "rewrite",
        }
    }

    /// As the manual writes it.
    pub(super) fn heading(self) -> &'static str {
        match self {
            Section::Global => "",
            Section::Listen => "[listen NAME]",
            Section::Relay => "[relay NAME]",
            Section::Route => "[route PATTERN]",
            Section::Clients => "[clients RANGE]",
            Section::Rewrite => "[rewrite]",
        }
    }

    /// What stands under it, for the manual.
    pub(super) fn about(self) -> &'static str {
        match self {
            Section::Global => "Above the first section:",
            Section::Listen => {
                "Where mail comes in, too, with TLS or other rules than the key listen has."
            }
            Section::Relay => "A next hop, for routes; the one named default is the key relay.",
            Section::Route => {
                "Where recipients go, the first match: * (all), @ (local users), example.net, \
                 *.example.net, me@example.net."
            }
            Section::Clients => {
                "Who may do what, the longest prefix: lan (all private networks), an address, \
                 192.168.1.0/24."
            }
            Section::Rewrite => {
                "Who is called what: senders and recipients, in the envelope and in the header, \
                 after the aliases and before to and from. One line each, the most exact counts, \
                 and what comes out is not looked up again."
            }
        }
    }
}
