//! What must be true of every mail, whatever happened: the shadow of the whole system.
//!
//! Each handing-in of a mail is a mail of its own here, with its number in every address
//! (`r0.m17@…`, sender `s.m17@…`) and in its text, so that whatever arrives anywhere says where it
//! came from. Outcomes of a recipient are deliveries and reports of failure. There may be one; one
//! more is excused for every outcome of which the daemon could not know, or not know any more: its
//! final reply was never read, or the power went before the next write of a state page. Reports of
//! success and of delay are no outcomes; who wants no word of a failure gets none.

use std::collections::BTreeMap;

/// A next hop's or mailbox's taking of a message.
pub type Delivery = usize;

/// What the client knows of its mail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Its end was never sent.
    Open,
    /// Its end was sent, and nothing is known.
    Sent,
    /// Answered 250.
    Taken,
    /// Answered 4xx or 5xx: it must never appear.
    Refused,
    /// Answered 451, and then the power went.
    Doubtful,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    Relay,
    Local,
    Box,
    Hold,
    Discard,
}

#[derive(Clone, Debug)]
pub struct Recipient {
    pub place: Place,
    pub address: String,
    /// None until RCPT is answered.
    pub accepted: Option<bool>,
    outcomes: u32,
    excused: u32,
    delivered: u32,
    bounced: u32,
    /// A next hop has refused it for good: when last.
    refused: Option<u64>,
    /// Its report was refused.
    report_lost: bool,
    /// Its sender wants no word of a failure.
    pub is_silent: bool,
}

impl Recipient {
    pub fn new(place: Place, address: String) -> Recipient {
        Recipient {
            place,
            address,
            accepted: None,
            outcomes: 0,
            excused: 0,
            delivered: 0,
            bounced: 0,
            refused: None,
            report_lost: false,
            is_silent: false,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Mail {
    pub sender: String,
    pub recipients: Vec<Recipient>,
    /// As it must arrive, CRLF, without what mote adds.
    pub expected: Vec<u8>,
    pub has_header: bool,
    /// Nobody is told when it fails.
    pub is_stranger: bool,
    /// Its sender wants it to go later, by so many milliseconds.
    pub held_for: u64,
    /// Its sender wants it back when it is late.
    pub may_be_late: bool,
    pub status: Status,
    pub since: u64,
    answered: u64,
    /// An administrator took it out.
    pub removed: bool,
}

#[derive(Default)]
pub struct Shadow {
    pub mails: BTreeMap<u32, Mail>,
    next: u32,
    deliveries: Vec<Vec<(u32, usize)>>,
    /// Known to the daemon, not surely on its disk; with the turn.
    recent: Vec<(u64, Delivery)>,
    pub turn: u64,
    pub now: u64,
    /// Running time that recoveries have added, milliseconds.
    pub aged: u64,
    pub expire: u64,
    pub clock_jumps: bool,
    pub counts: Counts,
    /// When the bad days were over.
    pub healed_at: u64,
    /// By what name the queue knows a mail.
    pub queue_ids: BTreeMap<u32, String>,
    broken_since: Option<u64>,
}

/// For the closing line of a sweep.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    pub taken: u64,
    pub refused: u64,
    pub delivered: u64,
    pub reported: u64,
    pub repeated: u64,
    pub cuts: u64,
    pub turns: u64,
}

impl Counts {
    pub fn add(&mut self, other: Counts) {
        self.taken += other.taken;
        self.refused += other.refused;
        self.delivered += other.delivered;
        self.reported += other.reported;
        self.repeated += other.repeated;
        self.cuts += other.cuts;
        self.turns += other.turns;
    }
}

/// The number in an address of ours, and what stands before it.
pub fn parse_address(address: &str) -> Option<(&str, u32)> {
    let local = address.split('@').next()?;
    let (who, number) = local.split_once(".m")?;
    Some((who, number.parse().ok()?))
}

impl Shadow {
    pub fn add(&mut self, sender: &str, expected: Vec<u8>, has_header: bool) -> u32 {
        let mail = Mail {
            sender: sender.to_owned(),
            recipients: Vec::new(),
            expected,
            has_header,
            is_stranger: false,
            held_for: 0,
            may_be_late: false,
            status: Status::Open,
            since: self.now,
            answered: 0,
            removed: false,
        };
        self.mails.insert(self.next, mail);
        self.next += 1;
        self.next - 1
    }

    pub fn next(&self) -> u32 {
        self.next
    }

    pub fn mail(&mut self, id: u32) -> &mut Mail {
        self.mails.get_mut(&id).unwrap()
    }

    pub fn answered(&mut self, id: u32, code: u16) {
        let now = self.now;
        let mail = self.mail(id);
        mail.answered = now;
        if code == 250 {
            mail.status = Status::Taken;
            self.counts.taken += 1;
        } else {
            let has_come = mail.recipients.iter().any(|recipient| recipient.outcomes > 0);
            assert!(!has_come, "mail {id} was answered {code}, and yet it was delivered");
            mail.status = Status::Refused;
            self.counts.refused += 1;
        }
    }

    fn recipient(&mut self, address: &str) -> (u32, usize) {
        let found = parse_address(address).and_then(|(who, id)| {
            let number: usize = who.strip_prefix('r')?.parse().ok()?;
            self.mails.get(&id)?.recipients.get(number)?;
            Some((id, number))
        });
        found.unwrap_or_else(|| panic!("<{address}> was never anybody's recipient"))
    }

    /// A next hop has refused `address` for good.
    pub fn refused(&mut self, address: &str) {
        let now = self.now;
        if address.starts_with("s.m") {
            return;
        }
        let (id, number) = self.recipient(address);
        self.mail(id).recipients[number].refused = Some(now);
    }

    /// A next hop takes a message.
    pub fn relayed(&mut self, from: &str, to: &[String], bytes: &[u8]) -> Delivery {
        let mut targets = Vec::new();
        for address in to {
            if address.starts_with("s.m") {
                targets.extend(self.report(from, address, bytes));
            } else {
                let (id, number) = self.recipient(address);
                self.check_mail(id, from, bytes, "\r\n");
                self.check_hold(id);
                self.mail(id).recipients[number].delivered += 1;
                targets.push((id, number));
                self.counts.delivered += 1;
            }
        }
        self.outcome(targets, false)
    }

    /// A next hop refuses a report for good, having read it.
    pub fn report_refused(&mut self, bytes: &[u8]) {
        for (id, number, action) in self.reported_recipients(bytes) {
            self.mail(id).recipients[number].report_lost |= action == "failed";
        }
    }

    /// A Maildir has a message.
    pub fn filed(&mut self, directory: &str, bytes: &[u8], is_known: bool) {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.lines();
        let field = |line: Option<&str>, name: &str| {
            let line = line.unwrap_or_default().to_owned();
            line.strip_prefix(name).unwrap_or_else(|| panic!("{line:?} is no {name}")).to_owned()
        };
        let from = field(lines.next(), "Return-Path: ");
        let from = from.trim_matches(['<', '>']).to_owned();
        let to = field(lines.next(), "Delivered-To: ");
        let top = bytes.split_inclusive(|byte| *byte == b'\n').take(2).map(<[u8]>::len).sum();
        let bytes = &bytes[top..];
        let targets = if to.starts_with("s.m") {
            self.report(&from, &to, bytes)
        } else {
            let (id, _) = self.recipient(&to);
            self.check_mail(id, &from, bytes, "\n");
            self.check_hold(id);
            let place = if directory == "/m/local" { Place::Local } else { Place::Box };
            let mut targets = Vec::new();
            for (number, recipient) in self.mail(id).recipients.iter_mut().enumerate() {
                if recipient.place == place && recipient.accepted != Some(false) {
                    recipient.delivered += 1;
                    targets.push((id, number));
                }
            }
            self.counts.delivered += targets.len() as u64;
            targets
        };
        let delivery = self.outcome(targets, true);
        if is_known {
            self.confirmed(delivery);
        }
    }

    fn outcome(&mut self, targets: Vec<(u32, usize)>, _is_filed: bool) -> Delivery {
        for (id, number) in targets.iter().copied() {
            let recipient = &mut self.mails.get_mut(&id).unwrap().recipients[number];
            let is_repeated = recipient.outcomes > 0;
            assert!(
                recipient.outcomes <= recipient.excused,
                "mail {id}, recipient {number}: an outcome that nothing excuses: {recipient:?}"
            );
            recipient.outcomes += 1;
            recipient.excused += 1;
            self.counts.repeated += u64::from(is_repeated);
        }
        self.deliveries.push(targets);
        self.deliveries.len() - 1
    }

    /// The daemon has read the final reply.
    pub fn confirmed(&mut self, delivery: Delivery) {
        for (id, number) in self.deliveries[delivery].clone() {
            let recipient = &mut self.mail(id).recipients[number];
            recipient.excused -= 1;
            assert!(
                recipient.outcomes <= recipient.excused + 1,
                "mail {id}, recipient {number}: an outcome too many: {recipient:?}"
            );
        }
        self.recent.push((self.turn, delivery));
    }

    /// All marks made in earlier turns are on the disk.
    pub fn state_written(&mut self) {
        let turn = self.turn;
        self.recent.retain(|(at, _)| *at >= turn);
    }

    /// Refused and perhaps on the disk all the same, until a recovery has seen to it.
    pub fn sync_failed(&mut self) {
        self.broken_since.get_or_insert(self.now);
    }

    pub fn recovered(&mut self) {
        self.broken_since = None;
    }

    pub fn power_off(&mut self) {
        let now = self.now;
        self.counts.cuts += 1;
        for (_, delivery) in std::mem::take(&mut self.recent) {
            for (id, number) in self.deliveries[delivery].clone() {
                self.mail(id).recipients[number].excused += 1;
            }
        }
        let (expire, aged) = (self.expire, self.aged);
        for mail in self.mails.values_mut() {
            // The failure may have become a report without becoming a mark.
            let is_old = now + aged >= mail.since + expire;
            for recipient in &mut mail.recipients {
                let is_fresh = recipient.refused.is_some_and(|at| now < at + 600_000);
                recipient.excused += u32::from(is_fresh || is_old || mail.may_be_late);
            }
            let is_open = self.broken_since.is_some_and(|since| mail.answered >= since);
            if mail.status == Status::Refused && (is_open || now < mail.answered + 150_000) {
                mail.status = Status::Doubtful;
            }
        }
    }

    /// Whom a report tells of, and what.
    fn reported_recipients(&mut self, bytes: &[u8]) -> Vec<(u32, usize, String)> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let of = |name| text.lines().filter_map(move |line| line.strip_prefix(name)).map(str::trim);
        let found: Vec<_> = of("Final-Recipient: rfc822; ")
            .zip(of("Action: "))
            .map(|(address, action)| {
                let (id, number) = self.recipient(address);
                (id, number, action.to_owned())
            })
            .collect();
        assert!(!found.is_empty(), "a report about nobody:\n{text}");
        found
    }

    fn report(&mut self, from: &str, to: &str, bytes: &[u8]) -> Vec<(u32, usize)> {
        assert_eq!(from, "", "a report from somebody");
        let top = String::from_utf8_lossy(bytes).replace('\r', "");
        assert!(top.starts_with("Received: by mote.test\n\t(mote) id "), "a report's top: {top}");
        let targets = self.reported_recipients(bytes);
        let sender = parse_address(to).unwrap().1;
        let mut failed = Vec::new();
        for (id, number, action) in targets {
            let (now, aged, expire) = (self.now, self.aged, self.expire);
            let mail = self.mail(id);
            assert_eq!(id, sender, "a report about somebody else's mail");
            assert!(!mail.sender.is_empty(), "<> was answered: mail {id}");
            assert!(!mail.is_stranger, "a stranger was answered: mail {id}");
            assert!(
                matches!(mail.status, Status::Taken | Status::Sent | Status::Doubtful),
                "mail {id} is {:?}, and yet it was returned",
                mail.status
            );
            let recipient = &mut mail.recipients[number];
            assert!(recipient.accepted != Some(false), "mail {id}: {recipient:?} was refused");
            match &action[..] {
                "failed" => assert!(!recipient.is_silent, "mail {id}, {number}: {action}"),
                "delivered" | "relayed" => {
                    assert!(recipient.delivered > 0, "mail {id}, {number}: {action}");
                    continue;
                }
                "delayed" => continue,
                _ => panic!("mail {id}, {number}: {action}"),
            }
            let is_old = now + aged + 61_000 >= mail.since + expire;
            assert!(
                recipient.refused.is_some() || is_old || mail.may_be_late,
                "mail {id}, recipient {number}: returned for something temporary"
            );
            recipient.bounced += 1;
            failed.push((id, number));
        }
        self.counts.reported += failed.len() as u64;
        failed
    }

    /// Running time goes faster than the world's at each recovery, and clocks jump.
    fn check_hold(&mut self, id: u32) {
        let now = self.now + self.aged + 1000;
        let may_jump = self.clock_jumps;
        let mail = self.mail(id);
        let is_early = now < mail.since + mail.held_for;
        assert!(!is_early || may_jump, "mail {id} was to go later: {mail:?}");
    }

    fn check_mail(&mut self, id: u32, from: &str, bytes: &[u8], end: &str) {
        let mail = self.mail(id);
        assert!(
            matches!(mail.status, Status::Taken | Status::Sent | Status::Doubtful),
            "mail {id} is {:?}, and yet it was delivered",
            mail.status
        );
        let sender = match mail.sender.contains('@') || mail.sender.is_empty() {
            true => mail.sender.clone(),
            false => format!("{}@mote.test", mail.sender),
        };
        assert_eq!(from, sender, "mail {id}: another sender");
        let mut expected = mail.expected.clone();
        if end == "\n" {
            expected.retain(|byte| *byte != b'\r');
        }
        let shown = || String::from_utf8_lossy(&bytes[..bytes.len().min(900)]).into_owned();
        assert!(
            bytes.ends_with(&expected),
            "mail {id}: {} bytes arrived, not the {} that were sent:\n{}",
            bytes.len(),
            expected.len(),
            shown()
        );
        let added = &bytes[..bytes.len() - expected.len()];
        let added = std::str::from_utf8(added).expect("8-bit additions");
        let added = match mail.has_header {
            true => added,
            false => added.strip_suffix(end).expect("no empty line before a text without header"),
        };
        let mut seen = Vec::new();
        for line in added.split_inclusive(end) {
            assert!(line.ends_with(end), "mail {id}: {line:?} has no end");
            if line.starts_with(['\t', ' ']) {
                continue;
            }
            let name = line.split(':').next().unwrap_or_default();
            let is_ours = ["Received", "Date", "Message-ID", "From"].contains(&name);
            assert!(
                is_ours && !seen.contains(&name),
                "mail {id}: {line:?} was added:\n{}",
                shown()
            );
            seen.push(name);
        }
        assert_eq!(seen.first(), Some(&"Received"), "mail {id}");
    }

    /// At the end, with every healthy peer served: where is each recipient? `queued` are those that
    /// the queue holds.
    pub fn settle(&self, queued: &[(u32, usize)]) {
        for (id, mail) in &self.mails {
            for (number, recipient) in mail.recipients.iter().enumerate() {
                let is_queued = queued.contains(&(*id, number));
                let is_taken = mail.status == Status::Taken && recipient.accepted == Some(true);
                let what = || format!("mail {id}, recipient {number}: {mail:#?}");
                // A clock that went back by years holds it a day longer.
                let is_later = mail.held_for > 0 && self.clock_jumps;
                let is_held = recipient.place == Place::Hold || is_later;
                assert!(!is_queued || is_held, "still queued: {}", what());
                assert!(recipient.outcomes == recipient.delivered + recipient.bounced);
                assert!(
                    recipient.delivered == 0 || recipient.place != Place::Discard,
                    "discarded and yet delivered: {}",
                    what()
                );
                let is_old = self.now + self.aged >= mail.since + self.expire;
                let is_silent = mail.sender.is_empty() || mail.is_stranger || recipient.report_lost;
                let is_silent = is_silent || recipient.is_silent;
                let has_failed = is_old || mail.may_be_late || recipient.refused.is_some();
                let may_vanish = is_silent && has_failed;
                // Its report had time to expire while the weather was bad.
                let failed = recipient.refused.unwrap_or(mail.since + self.expire);
                let may_vanish = may_vanish || self.healed_at + self.aged >= failed + self.expire;
                let is_there = match recipient.place {
                    Place::Discard => true,
                    Place::Hold => is_queued,
                    _ => recipient.outcomes > 0 || may_vanish || is_queued && is_later,
                };
                assert!(!is_taken || is_there || mail.removed, "lost: {}", what());
            }
        }
    }
}
