//! How an attempt went, recipient by recipient: sets of recipient numbers, and the words of a few
//! replies. Fixed memory, one per sending slot.

use crate::smtp::reply::RemoteReply;

/// Replies whose words are kept; further ones are told in the words of the last of their kind.
const NOTES_MAX: usize = 8;

/// What became of one recipient.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The next hop has it.
    Delivered,
    /// Later again.
    Deferred,
    /// Never.
    Failed,
}

#[derive(Clone, Copy)]
pub(super) struct Note {
    recipient: u8,
    reply: RemoteReply,
}

/// See the module's head.
#[derive(Default)]
pub struct Ledger {
    /// Recipients that the attempt is about.
    pub mine: u128,
    /// Of those, the ones that were named to the next hop, in order of their numbers.
    pub asked: u128,
    pub(super) answered: u128,
    pub(super) accepted: u128,
    /// The recipient under whose number the address of the key `to` was named, and those whose
    /// mail goes with it.
    pub shared: Option<u8>,
    /// See `shared`.
    pub twins: u128,
    pub(super) delivered: u128,
    pub(super) failed: u128,
    pub(super) notes: [Option<Note>; NOTES_MAX],
    /// The last refusals for which there was no note left: for now, for good.
    pub(super) crowd: [Option<RemoteReply>; 2],
    pub(super) last: Option<RemoteReply>,
    /// MAIL was refused: whatever is still answered to what was sent behind it means nothing.
    pub(super) is_refused: bool,
    /// Failed here, before the next hop was asked: the words are ours.
    pub(super) own: u128,
    /// Whoever of these is delivered: the sender has asked to be told, and nobody else will.
    pub success: u128,
    /// The next hop takes no more recipients at one time: there are others, to be asked at once.
    pub is_partial: bool,
    /// The next hop does not know us, or not any more: that is the lane's trouble, not the mail's.
    pub(super) login_trouble: Option<RemoteReply>,
}

/// Decisions 6: replies that say that we are not logged in, or may not be. They come as 5xx, and
/// would end every mail in the queue the day a password changes (LAW 7).
fn is_login_trouble(reply: &RemoteReply) -> bool {
    let by_status = reply.status.is_some_and(|status| {
        (status.class, status.subject) == (5, 7) && matches!(status.detail, 8 | 9 | 11 | 14)
    });
    matches!(reply.code, 530 | 534 | 535 | 538) || by_status
}

impl Ledger {
    /// A reply to the next recipient asked. RFC 5321 §4.5.3.1.10: 552 to RCPT means 452.
    pub fn recipient_answered(&mut self, reply: RemoteReply) {
        let open = self.asked & !self.answered;
        if open == 0 || self.is_refused {
            return;
        }
        let number = open.trailing_zeros() as u8;
        let mut bits = 1u128 << number;
        self.answered |= bits;
        if self.shared == Some(number) {
            bits |= self.twins;
        }
        match reply.class() {
            2 => self.accepted |= bits,
            5 if is_login_trouble(&reply) => {
                self.login_trouble = Some(reply);
                self.note(number, reply);
            }
            5 if reply.code != 552 => {
                self.failed |= bits;
                self.note(number, reply);
            }
            _ => self.note(number, reply),
        }
    }

    /// MAIL was refused: that concerns everyone.
    pub fn sender_refused(&mut self, reply: RemoteReply) {
        self.last = Some(reply);
        self.is_refused = true;
        if is_login_trouble(&reply) {
            self.login_trouble = Some(reply);
        } else if reply.class() == 5 {
            self.failed = self.mine;
        }
    }

    /// The verdict on the message, after the final dot or instead of the data: for all who were
    /// accepted.
    pub fn verdict(&mut self, reply: RemoteReply) {
        if self.is_refused {
            return;
        }
        self.last = Some(reply);
        match reply.class() {
            2 => self.delivered |= self.accepted,
            5 if is_login_trouble(&reply) => self.login_trouble = Some(reply),
            5 => self.failed |= self.accepted,
            _ => {}
        }
    }

    /// Recipient `number` cannot be handed to this next hop at all.
    pub fn refused_here(&mut self, number: u8, reply: RemoteReply) {
        let bit = 1u128.checked_shl(number.into()).unwrap_or(0);
        self.mine |= bit;
        self.own |= bit;
        self.failed |= bit;
        self.answered |= bit;
        self.note(number, reply);
    }

    /// Nobody of the recipients can be handed to this next hop.
    pub fn all_refused_here(&mut self, reply: RemoteReply) {
        self.own = self.mine;
        self.failed = self.mine;
        self.last = Some(reply);
    }

    /// True if the words for recipient `number` are ours.
    pub fn is_own(&self, number: u8) -> bool {
        1u128.checked_shl(number.into()).is_some_and(|bit| self.own & bit != 0)
    }

    /// Who is delivered and of whom the sender is to be told.
    pub fn told(&self) -> u128 {
        self.delivered & self.success
    }

    /// True if recipient `number` is one of them.
    pub fn is_told(&self, number: u8) -> bool {
        1u128.checked_shl(number.into()).is_some_and(|bit| self.told() & bit != 0)
    }

    /// Recipient `number`, the last one added, is left for another mail.
    pub fn leave_over(&mut self, number: u8) {
        let bit = 1u128.checked_shl(number.into()).unwrap_or(0);
        self.mine &= !bit;
        self.asked &= !bit;
        self.shared = self.shared.filter(|shared| *shared != number);
        self.is_partial = true;
    }

    /// True when nothing was refused yet, so that the same may be asked again at once.
    pub fn is_blank(&self) -> bool {
        self.answered & !self.accepted & !self.own == 0 && self.last.is_none()
    }

    /// Everyone has it: a mailbox, or nowhere.
    pub fn all_delivered(&mut self) {
        self.delivered = self.mine;
    }

    /// Everyone who has not got it has failed: the message has expired, or goes back.
    pub fn all_given_up(&mut self) {
        self.failed = self.mine & !self.delivered;
    }

    /// True if somebody needs no other attempt.
    pub fn has_progressed(&self) -> bool {
        (self.delivered | self.failed) != 0
    }

    /// Recipients who need another attempt.
    pub fn deferred(&self) -> u128 {
        self.mine & !self.delivered & !self.failed
    }

    /// What became of recipient `number`; none if the attempt was not about it.
    pub fn outcome(&self, number: u8) -> Option<Outcome> {
        let bit = 1u128.checked_shl(number.into())?;
        if self.mine & bit == 0 {
            None
        } else if self.delivered & bit != 0 {
            Some(Outcome::Delivered)
        } else if self.failed & bit != 0 {
            Some(Outcome::Failed)
        } else {
            Some(Outcome::Deferred)
        }
    }

    /// The words for recipient `number`.
    pub fn reply(&self, number: u8) -> Option<&RemoteReply> {
        let bit = 1u128.checked_shl(number.into())?;
        let number = self.shared.filter(|_| self.twins & bit != 0).unwrap_or(number);
        let own = self.notes.iter().flatten().find(|note| note.recipient == number);
        let [deferred, failed] = &self.crowd;
        let crowd = match (self.answered & !self.accepted) >> number & 1 {
            0 => None,
            _ if self.failed & bit != 0 => failed.as_ref(),
            _ => deferred.as_ref(),
        };
        own.map(|note| &note.reply).or(crowd).or(self.last.as_ref())
    }

    fn note(&mut self, recipient: u8, reply: RemoteReply) {
        match self.notes.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(Note { recipient, reply }),
            None => {
                let [deferred, failed] = &mut self.crowd;
                let is_final = self.failed >> recipient & 1 == 1;
                *if is_final { failed } else { deferred } = Some(reply);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::buffer::Text;

    fn reply(code: u16) -> RemoteReply {
        RemoteReply { code, status: None, text: Text::new() }
    }

    #[test]
    fn replies_come_in_the_order_asked() {
        let mut ledger = Ledger { mine: 0b11110, asked: 0b01110, ..Ledger::default() };
        (ledger.shared, ledger.twins) = (Some(2), 0b10000);
        for code in [550, 250, 552] {
            ledger.recipient_answered(reply(code));
        }
        ledger.verdict(reply(250));
        let outcomes: Vec<_> = (0..6).map(|number| ledger.outcome(number)).collect();
        let (delivered, failed) = (Some(Outcome::Delivered), Some(Outcome::Failed));
        assert_eq!(outcomes, [None, failed, delivered, Some(Outcome::Deferred), delivered, None]);
        assert_eq!(ledger.reply(1).unwrap().code, 550);
        assert_eq!(ledger.reply(2).unwrap().code, 250);
        assert_eq!(ledger.deferred(), 0b01000);
    }

    #[test]
    fn login_trouble_is_not_the_mail_s() {
        let mut ledger = Ledger { mine: 1, asked: 1, ..Ledger::default() };
        ledger.sender_refused(reply(530));
        assert_eq!(ledger.outcome(0), Some(Outcome::Deferred));
        assert!(ledger.login_trouble.is_some());
        let status = crate::smtp::reply::Status { class: 5, subject: 7, detail: 8 };
        let mut ledger = Ledger { mine: 1, asked: 1, ..Ledger::default() };
        ledger.recipient_answered(RemoteReply { status: Some(status), ..reply(554) });
        assert_eq!(ledger.outcome(0), Some(Outcome::Deferred));
        // The answer to a lone dot is nobody's.
        ledger.verdict(reply(250));
        assert_eq!(ledger.reply(0).map(|reply| reply.code), Some(554));
    }

    #[test]
    fn what_is_refused_here_is_not_the_next_hop_s() {
        let mut ledger = Ledger { mine: 0b011, asked: 0b011, ..Ledger::default() };
        ledger.refused_here(2, reply(553));
        ledger.success = 0b101;
        ledger.recipient_answered(reply(250));
        ledger.recipient_answered(reply(550));
        ledger.verdict(reply(250));
        let outcomes: Vec<_> = (0..3).map(|number| ledger.outcome(number)).collect();
        let (delivered, failed) = (Some(Outcome::Delivered), Some(Outcome::Failed));
        assert_eq!(outcomes, [delivered, failed, failed]);
        assert_eq!((ledger.is_own(1), ledger.is_own(2)), (false, true));
        assert_eq!(ledger.reply(2).unwrap().code, 553);
        assert_eq!(ledger.told(), 0b001);
    }

    #[test]
    fn who_is_left_over_is_not_deferred() {
        let mut ledger = Ledger { mine: 0b11, asked: 0b11, ..Ledger::default() };
        ledger.leave_over(1);
        ledger.recipient_answered(reply(250));
        ledger.verdict(reply(250));
        assert_eq!((ledger.deferred(), ledger.outcome(1)), (0, None));
        assert!(ledger.is_partial);
    }

    #[test]
    fn a_refusal_after_the_dot_is_for_the_accepted_only() {
        let mut ledger = Ledger { mine: 3, asked: 3, ..Ledger::default() };
        ledger.recipient_answered(reply(250));
        ledger.recipient_answered(reply(451));
        ledger.verdict(reply(554));
        assert_eq!(ledger.outcome(0), Some(Outcome::Failed));
        assert_eq!(ledger.outcome(1), Some(Outcome::Deferred));
        ledger.all_given_up();
        assert_eq!(ledger.deferred(), 0);
    }
}
