//! What an attempt means for its message: the log, the marks, the next try, the report.
//!
//! The envelope is read once more, since an attempt keeps numbers and not addresses.

use super::ledger::{Ledger, Outcome};
use super::report::{Desk, Failure, Unwritten, Written};
use crate::base::ascii::Base62;
use crate::base::buffer::Text;
use crate::base::time::Instant;
use crate::queue::disk::Disk;
use crate::queue::envelope::Record;
use crate::queue::message::Message;
use crate::queue::reader::ReadError;
use crate::queue::schedule::next_try;
use crate::queue::{Queue, Ticket};
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
    /// The next hop's name, if it was one.
    pub remote: Option<&'a str>,
    /// Why nobody was asked, or what went wrong in the end; empty when replies tell.
    pub reason: &'a str,
    /// The message's time is up.
    pub expired: bool,
    /// What to call a success.
    pub success: &'static str,
}

/// What is still open after settling.
#[derive(Clone, Copy, Debug, Default)]
pub struct Open {
    /// Recipients who are done when the report is durable, and the report.
    pub reported: Option<(u128, Ticket)>,
    /// Some recipients need another attempt.
    pub deferred: bool,
}

impl<D: Disk> Desk<'_, D> {
    /// Settles an attempt. On a read error what was delivered is marked all the same: only the
    /// report needs the message.
    pub fn settle(&mut self, settlement: &Settlement<'_>, owner: u32) -> Result<Open, ReadError> {
        let Settlement { ticket, ledger, relay, .. } = *settlement;
        if let Err(error) = self.log(settlement) {
            let (id, delivered) = (Base62(ticket.seq), ledger.delivered.count_ones());
            log::warn!(
                "{id}: {delivered} delivered by {relay}; cannot be read to tell more ({error:?})"
            );
        }
        let now = self.now.instant;
        let mut done = ledger.delivered;
        let mut open = Open { reported: None, deferred: ledger.deferred() != 0 };
        if ledger.failed != 0 {
            let failure = Failure {
                ticket,
                ledger,
                remote: settlement.remote,
                expired: settlement.expired,
                last_words: settlement.reason,
            };
            match self.write(&failure, owner) {
                Ok(Written::Waiting(report)) => open.reported = Some((ledger.failed, report)),
                Ok(Written::None) => {
                    done |= ledger.failed;
                    log::info!("{}: no report is due; dropped", Base62(ticket.seq));
                }
                Err(Unwritten::Queue(error)) => {
                    open.deferred = true;
                    let id = Base62(ticket.seq);
                    log::warn!("{id}: no room for a report ({error:?}); kept until there is");
                }
                Err(Unwritten::Read(error)) => {
                    if done != 0 {
                        self.queue.mark_done(ticket, done, now);
                    }
                    return Err(error);
                }
            }
        }
        if done != 0 {
            self.queue.mark_done(ticket, done, now);
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
        let mut number = 0u8;
        while let Some(record) = message.record(self.queue, self.disk, self.reading)? {
            let Record::Recipient(to) = record else { continue };
            if let Some(outcome) = ledger.outcome(number) {
                let status = match outcome {
                    Outcome::Delivered => settlement.success,
                    Outcome::Deferred => "deferred",
                    Outcome::Failed if settlement.expired => "expired",
                    Outcome::Failed => "bounced",
                };
                let mut words = Text::<200>::from(settlement.reason);
                if let Some(reply) = ledger.reply(number).filter(|_| settlement.reason.is_empty()) {
                    // A Text cuts what is too long, it never fails.
                    let _ = write!(words, "{reply}");
                }
                log::info!(
                    "{}: to=<{}>, relay={relay}, delay={delay}, status={status} ({})",
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
