//! What an attempt means for its message: the log, the marks, the next try, the report.
//!
//! The envelope is read once more, since an attempt keeps numbers and not addresses.

use super::ledger::{Ledger, Outcome};
use super::network::Protection;
use super::report::{Desk, Tale, Unwritten, Written};
use crate::base::ascii::Base62;
use crate::base::buffer::Text;
use crate::base::time::Instant;
use crate::mail::report::Cause;
use crate::queue::disk::Disk;
use crate::queue::envelope::Record;
use crate::queue::message::Message;
use crate::queue::reader::ReadError;
use crate::queue::schedule::next_try;
use crate::queue::{Queue, Ticket};
use crate::smtp::sasl::Mechanism;
use core::fmt::Write as _;
use core::time::Duration;

/// One attempt, over.
pub struct Settlement<'a> {
    /// The message.
    pub ticket: Ticket,
    /// How it went.
    pub ledger: &'a Ledger,
    /// What the log calls where it went.
    pub relay: &'a str,
    /// How the connection there was protected.
    pub protection: Option<Protection>,
    /// How we have logged in there.
    pub mechanism: Option<Mechanism>,
    /// The next hop's name, if it was one.
    pub remote: Option<&'a str>,
    /// Why nobody was asked, or what went wrong in the end; empty when replies tell.
    pub reason: &'a str,
    /// What a failure means.
    pub cause: Cause,
    /// What to call a success.
    pub success: &'static str,
}

/// What is still open after settling.
#[derive(Clone, Copy, Debug, Default)]
pub struct Open {
    /// A report is on the batch: those who failed are done when it is durable (I7), and so are
    /// these, of whose delivery it tells.
    pub is_reported: bool,
    /// See `is_reported`.
    pub told: u128,
    /// Nobody is to have a report: those who failed are done.
    pub is_over: bool,
    /// Some recipients need another attempt.
    pub is_deferred: bool,
}

impl<D: Disk> Desk<'_, D> {
    /// Settles an attempt. What was delivered is marked whatever else goes wrong.
    pub fn settle(&mut self, settlement: &Settlement<'_>, owner: u32) -> Result<Open, ReadError> {
        let Settlement { ticket, ledger, .. } = *settlement;
        let logged = self.log(settlement);
        let now = self.now.instant;
        let tale = Tale {
            ticket,
            ledger,
            remote: settlement.remote,
            cause: settlement.cause,
            notice: None,
            last_words: settlement.reason,
        };
        // Nothing may come between a report on the batch and its note.
        let told = if logged.is_ok() { ledger.told() } else { 0 };
        if ledger.delivered & !told != 0 {
            self.queue.mark_done(ticket, ledger.delivered & !told, now);
        }
        logged?;
        let is_reported = ledger.failed != 0 || told != 0;
        let written = if is_reported { self.write(&tale, owner) } else { Ok(Written::None) };
        let told = if let Ok(Written::Waiting) = written { told } else { 0 };
        if ledger.told() & !told != 0 {
            self.queue.mark_done(ticket, ledger.told(), now);
        }
        let mut open = Open { is_deferred: ledger.deferred() != 0, told, ..Open::default() };
        let id = Base62(ticket.seq);
        match written {
            Ok(Written::Waiting) => open.is_reported = true,
            Ok(Written::None) if ledger.failed == 0 => {}
            Ok(Written::None) => {
                self.queue.mark_done(ticket, ledger.failed, now);
                open.is_over = true;
                log::info!("{id}: no report is due; dropped");
            }
            // It is delivered; the word of it is not worth delivering it again.
            Err(_) if ledger.failed == 0 => {
                log::warn!("{id}: no report of its delivery could be made");
            }
            Err(Unwritten::Queue(error)) => {
                open.is_deferred = true;
                log::warn!("{id}: no room for a report ({error:?}); kept until there is");
            }
            Err(Unwritten::Read(error)) => return Err(error),
        }
        Ok(open)
    }

    fn log(&mut self, settlement: &Settlement<'_>) -> Result<(), ReadError> {
        let Settlement { ticket, ledger, relay, .. } = *settlement;
        if !log::log_enabled!(log::Level::Info) {
            return Ok(());
        }
        let mut message = Message::open(self.queue, self.disk, ticket, self.reading)?;
        let header = *message.header();
        let delay = self.queue.run(self.now.instant).saturating_sub(header.run);
        let mut auth = Text::<48>::new();
        if let Some(Protection { version, is_verified }) = settlement.protection {
            let word = if is_verified { "" } else { " unverified" };
            // A Text cuts what is too long, it never fails.
            let _ = write!(auth, ", tls={version}{word}");
        }
        if let Some(mechanism) = settlement.mechanism {
            // A Text cuts what is too long, it never fails.
            let _ = write!(auth, ", auth={}", mechanism.name());
        }
        let auth = auth.as_str();
        let mut number = 0u8;
        while let Some(record) = message.record(self.queue, self.disk, self.reading)? {
            let Record::Recipient(to) = record else { continue };
            if let Some(outcome) = ledger.outcome(number) {
                let status = match outcome {
                    Outcome::Delivered => settlement.success,
                    Outcome::Deferred => "deferred",
                    Outcome::Failed => match settlement.cause {
                        Cause::Refused => "bounced",
                        Cause::Expired | Cause::Late => "expired",
                        Cause::Returned => "returned",
                    },
                };
                let mut words = Text::<200>::from(settlement.reason);
                // Who was refused was refused in these words, however the connection ended then.
                let is_refused =
                    outcome == Outcome::Failed && matches!(settlement.cause, Cause::Refused);
                let tells = settlement.reason.is_empty() || is_refused;
                if let Some(reply) = ledger.reply(number).filter(|_| tells) {
                    words.clear();
                    // A Text cuts what is too long, it never fails.
                    let _ = write!(words, "{reply}");
                }
                log::info!(
                    "{}: to=<{}>, relay={relay}{auth}, delay={delay}, status={status} ({})",
                    Base62(ticket.seq),
                    core::str::from_utf8(to).unwrap_or("?"),
                    words.as_str()
                );
            }
            number += 1;
        }
        Ok(())
    }
}

/// When `ticket` is to be tried again, in seconds of running.
pub fn next_due(queue: &Queue, ticket: Ticket, retry: &[Duration], now: Instant) -> u64 {
    let Some(waiting) = queue.waiting(ticket) else { return 0 };
    let age = queue.run(now).saturating_sub(waiting.arrival);
    // The list is short: LIST_MAX of the config.
    let mut steps = [0u64; 32];
    let mut count = 0;
    for (place, step) in steps.iter_mut().zip(retry) {
        *place = step.as_secs();
        count += 1;
    }
    let steps = steps.get(..count).unwrap_or_default();
    waiting.arrival + next_try(age, steps, queue.seal(), ticket.seq)
}
