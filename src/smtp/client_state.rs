//! Where a sending connection stands, and what belongs to the mail under way; see
//! [`super::client`].

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::enum_variant_names, reason = "a state is named by what it awaits")]
pub(super) enum State {
    AwaitConnection,
    AwaitGreeting,
    AwaitEhlo,
    AwaitHelo,
    /// The answer to STARTTLS.
    AwaitStarttls,
    /// The caller's handshake.
    AwaitTls,
    /// The caller's key, for the next step of a login.
    AwaitKey,
    /// The answer to a step of a login.
    AwaitAuth,
    /// The caller's next mail.
    AwaitMail,
    AwaitEnvelope(Envelope),
    /// The caller's bytes.
    AwaitData,
    AwaitFinal,
    /// The answer to a lone dot.
    AwaitNothing,
    AwaitReset,
    AwaitBye,
    AwaitClose,
}

/// From MAIL to the answer to DATA.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Envelope {
    /// What MAIL was answered with.
    pub(super) sender_accepted: Option<bool>,
    pub(super) asked: u16,
    pub(super) answered: u16,
    pub(super) accepted: u16,
    pub(super) end: End,
    /// In place of DATA: the message's bytes.
    pub(super) chunk: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// More recipients may come.
    Open,
    /// DATA is to be sent as soon as it may.
    Wanted,
    /// DATA is sent.
    Asked,
    /// RSET is to be sent as soon as nothing is outstanding.
    Reset,
}

impl Envelope {
    /// No answer is due.
    pub(super) fn is_settled(&self) -> bool {
        self.sender_accepted.is_some() && self.answered == self.asked && self.end != End::Asked
    }

    /// Somebody may get the message.
    pub(super) fn is_worth_data(&self) -> bool {
        self.sender_accepted == Some(true) && self.accepted > 0
    }
}

impl State {
    /// For the trace.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            State::AwaitConnection => "AwaitConnection",
            State::AwaitGreeting => "AwaitGreeting",
            State::AwaitEhlo => "AwaitEhlo",
            State::AwaitHelo => "AwaitHelo",
            State::AwaitStarttls => "AwaitStarttls",
            State::AwaitTls => "AwaitTls",
            State::AwaitKey => "AwaitKey",
            State::AwaitAuth => "AwaitAuth",
            State::AwaitMail => "AwaitMail",
            State::AwaitEnvelope(_) => "AwaitEnvelope",
            State::AwaitData => "AwaitData",
            State::AwaitFinal => "AwaitFinal",
            State::AwaitNothing => "AwaitNothing",
            State::AwaitReset => "AwaitReset",
            State::AwaitBye => "AwaitBye",
            State::AwaitClose => "AwaitClose",
        }
    }
}
