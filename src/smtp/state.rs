//! Where a receiving session stands: its states, each named by what it awaits, and its transaction.
//!
//! What is valid only in a state lives in that state. Which may follow which is [`super::server`]'s
//! matter.

use super::chunk::{Chunk, ChunkReader};
use super::lenient::MessageReader;
use super::pace::Pace;

/// From an accepted MAIL to the end of the message, or to RSET.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Transaction {
    pub(super) recipients: u8,
    /// BODY=BINARYMIME.
    pub(super) is_binary: bool,
    /// SMTPUTF8.
    pub(super) is_utf8: bool,
    /// A chunk was refused: what is left of the message is no message.
    pub(super) is_spoilt: bool,
    /// Chunks have come.
    pub(super) chunks: Option<(ChunkReader, Pace)>,
}

impl Transaction {
    /// True if a chunk has come, taken or not.
    pub(super) fn has_chunks(&self) -> bool {
        self.is_spoilt || self.chunks.is_some()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::enum_variant_names, reason = "a state is named by what it awaits")]
pub(super) enum State {
    AwaitConnection,
    AwaitTls,
    AwaitHello,
    AwaitMail,
    AwaitRecipient,
    AwaitAnswer(Question),
    AwaitResponse,
    AwaitDot(MessageReader, Pace),
    AwaitChunk(Chunk),
    AwaitCommit,
    AwaitClose,
}

/// What the caller was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Question {
    Mail { is_binary: bool, is_utf8: bool },
    Recipient,
    Data,
    Chunk,
    Auth,
}

impl State {
    /// For the trace.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            State::AwaitConnection => "AwaitConnection",
            State::AwaitTls => "AwaitTls",
            State::AwaitHello => "AwaitHello",
            State::AwaitMail => "AwaitMail",
            State::AwaitRecipient => "AwaitRecipient",
            State::AwaitAnswer(Question::Mail { .. }) => "AwaitAnswer(Mail)",
            State::AwaitAnswer(Question::Recipient) => "AwaitAnswer(Recipient)",
            State::AwaitAnswer(Question::Data) => "AwaitAnswer(Data)",
            State::AwaitAnswer(Question::Chunk) => "AwaitAnswer(Chunk)",
            State::AwaitAnswer(Question::Auth) => "AwaitAnswer(Auth)",
            State::AwaitResponse => "AwaitResponse",
            State::AwaitDot(..) => "AwaitDot",
            State::AwaitChunk(_) => "AwaitChunk",
            State::AwaitCommit => "AwaitCommit",
            State::AwaitClose => "AwaitClose",
        }
    }

    /// Asserts what must hold of the transaction, told by its recipients; none: there is none.
    pub(super) fn check(&self, recipients: Option<u8>) {
        match self {
            State::AwaitConnection | State::AwaitTls | State::AwaitHello | State::AwaitMail => {
                assert!(recipients.is_none());
            }
            State::AwaitAnswer(Question::Mail { .. } | Question::Auth)
            | State::AwaitResponse
            | State::AwaitClose => assert!(recipients.is_none()),
            State::AwaitRecipient | State::AwaitAnswer(Question::Recipient) => {
                assert!(recipients.is_some());
            }
            State::AwaitAnswer(Question::Data | Question::Chunk)
            | State::AwaitDot(..)
            | State::AwaitCommit => assert!(recipients > Some(0)),
            State::AwaitChunk(chunk) => assert!(chunk.refusal.is_some() || recipients > Some(0)),
        }
    }
}
