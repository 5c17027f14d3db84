//! mote, a mail system for machines that are too small, too old or too unattended for any other.
//!
//! One process with one loop takes mail by SMTP and from local programs, keeps it in one file of
//! fixed size, and sends it on to a smarthost or files it into a Maildir. 250 means on disk, every
//! limit is known when it starts, and pulling the plug is the ordinary way to stop it.
//!
//! This is the map. What each file is, and what it promises, stands at its head.
//!
//! # The flow
//!
//! ```text
//! bytes → line → command → server machine → queue (one sync a turn) → 250
//!                                             ↓ due
//!         route → resolve → connect → client machine → next hop → outcome per recipient
//!           ↓                                                        ↓
//!         Maildir                                        queue: done, later, or a report
//! ```
//!
//! Left to right is [`intake`], the second line is [`relay`], and they meet only in [`queue`].
//! `sendmail` enters at the left like any other client, `sendmail -bs` with its caller's own words;
//! what it left in the drop directory while the daemon was down enters at the queue.
//!
//! # Layers
//!
//! A room imports only rows below its own, and neighbours on a row do not see each other.
//! `tests/tidy.rs` holds everyone to it.
//!
//! | row | rooms                           | what is there                                        |
//! |-----|---------------------------------|------------------------------------------------------|
//! | 7   | `main`                          | arguments in, exit code out                          |
//! | 6   | [`cli`]                         | one file a verb                                      |
//! | 5   | [`os`]                          | the only door: sockets, files, clocks, threads       |
//! | 4   | [`daemon`]                      | the whole machine: one turn of the loop              |
//! | 3   | [`intake`], [`relay`]           | from a peer into the queue; from there to a next hop |
//! | 2   | [`smtp`], [`queue`], [`config`] | the protocol; the spool; the settings                |
//! | 1   | [`mail`], [`dns`]               | addresses, headers, stamps, reports; mail hosts      |
//! | 0   | [`base`], [`limits`]            | buffers, slots, time as numbers; every maximum       |
//!
//! Rows 0 to 4 are pure: no socket, file, clock, randomness or thread. What they need of the world
//! is a trait in the room that needs it (`daemon/world.rs`, `queue/disk.rs`, `relay/mailbox.rs`,
//! `relay/keyring.rs`, `intake/drop_directory.rs`, `intake/users.rs`). `os/world.rs` implements
//! them all for a real machine; tests implement them again for a simulated one. Every machine there
//! has the same shape: it is lent bytes and `now`, and gives events, output and a deadline.
//!
//! # The laws
//!
//! Comments cite them as LAW n.
//!
//! 1. 250 means on disk: the reply needs a `Receipt`, which only a finished sync makes.
//! 2. A limit on everything. Full is an answer (421, 452), never a growing buffer; on the plain
//!    path nothing is allocated after the start.
//! 3. Bytes from a peer, a file or a disk never panic.
//! 4. Stopping is crashing, and starting is recovery.
//! 5. Parse once, into types that cannot lie.
//! 6. CRLF is CRLF: no bare CR or LF ends anything, and none is passed on. The one exception has
//!    its argument in `smtp/lenient.rs`.
//! 7. What is temporary stays queued: nothing temporary ends a message before it expires.
//! 8. `unsafe` only around a system call, with the reason beside it.
//!
//! # Numbers in comments
//!
//! I1 to I18 are the queue's invariants; `queue/FORMAT.md` lists them. The others are:
//!
//! | decisions | what was decided                                                               |
//! |-----------|--------------------------------------------------------------------------------|
//! | 1         | stored is what was submitted; fields are added and removed at each attempt     |
//! | 2         | an alias that leads to one acts at each attempt, to several when mail comes in |
//! | 4         | after the final dot a session parses nothing until the verdict of the sync     |
//! | 5         | a host's trouble delays its lane, a recipient's 4xx delays that message        |
//! | 6         | what each failure of a next hop means: another host, later, or never           |
//! | 7         | trouble with a login holds the lane, it never ends a message                   |
//! | 13        | TLS records are put together in few buffers, and who may hold one how long     |
//! | 15        | full slots: the last stranger waits in a spare one, the idlest gives way; a    |
//! |           | crowd waits for nothing, and who was slow in it gets half of the slots         |
//! | 18        | no password in clear text, but to this machine itself                          |
//! | 19        | without a config file everything lies under one home                           |
//! | 20        | no secret stands in a file that everyone can read                              |
//!
//! | threats | what is refused                                                                  |
//! |---------|----------------------------------------------------------------------------------|
//! | 1       | an end of message that is not CRLF.CRLF (SMTP smuggling)                         |
//! | 2       | what comes behind STARTTLS in the clear, and what was said before it             |
//! | 3       | a web browser's or a TLS client's first bytes taken for commands                 |
//! | 4       | control bytes in addresses                                                       |
//! | 5       | a shell, and whatever it would expand                                            |
//! | 6       | files opened for whoever calls sendmail with a clever option                     |
//! | 7       | relaying for strangers, also by `%`, `!` and source routes                       |
//! | 10      | clients that are slow on purpose                                                 |
//! | 14      | reports about reports, and reports to strangers                                  |
//! | 15      | aliases that lead round in circles, or to more and more                          |
//! | 16      | retries that all come back together                                              |
//! | 17      | links, devices and races in the drop directory                                   |
//! | 18, 19  | sockets, files and secrets that are open to others for a moment, or for ever     |
//! | 20      | a peer's bytes that forge a log line                                             |
//! | 23      | a relay spoken to without the login, or without the protection, that it needs    |
//! | 24      | a clock that is wrong, and what it would expire or let pass                      |
//! | 25      | a next hop that talks without end                                                |
//! | 26      | passwords and users' names that are guessed                                      |
//!
//! # Where to start reading
//!
//! - `cli/serve.rs`: the loop; `daemon/turn.rs`, [`daemon::turn::Daemon::take`] and
//!   [`daemon::turn::Daemon::settle`]: the two halves of a turn, before its sync and from it on
//! - `smtp/server.rs`: what a session is, with the scripts of `tests/dialogues/server` beside it
//! - `queue/image.rs`: the life of a message as a table; then `queue/recovery.rs`
//! - `relay/forwarder.rs`: what is due, and who sends it
//! - `limits.rs` and `config/table.rs`: every number, and every key
//!
//! # One message, from socket to delivery
//!
//! 1. `os/reactor.rs` sees bytes, `os/world.rs` tells an event, and `cli/serve.rs` calls
//!    `daemon/turn.rs`, whose `daemon/service.rs` reads the socket straight into the session's
//!    buffer (`intake/session.rs`), through `os/tls/connection.rs` where there is TLS around it.
//!    Who gets a session at all is decided in `daemon/doors.rs`. A load balancer tells first whom
//!    it speaks for (`smtp/proxy.rs`), a mail proxy by XCLIENT (`smtp/xclient.rs`); what that
//!    counts for stands in `intake/told.rs`.
//! 2. The session steps `smtp/server.rs` over the buffer: `smtp/line.rs` finds lines,
//!    `smtp/command.rs` reads them, with `mail/address.rs` for what stands in angle brackets and
//!    `smtp/parameter.rs` for what stands behind; `smtp/offer.rs` tells which extensions there are.
//!    Whoever logs in (`smtp/login.rs`, `intake/login.rs`) does so by a mechanism of `smtp/sasl`,
//!    as one of `intake/users.rs`.
//! 3. MAIL asks the queue for room, RCPT asks `intake/admission.rs`. `relay/route.rs` tells,
//!    through the daemon, which lanes each recipient needs, or each of those whom his alias leads
//!    to (`mail/aliases.rs`). The envelope goes into a draft as records (`intake/envelope.rs`,
//!    `queue/draft.rs`, `queue/envelope.rs`).
//! 4. DATA: `smtp/data.rs` takes the dots out (BDAT: `smtp/chunk.rs` counts bytes),
//!    `mail/header.rs` measures what streams by, and the draft writes full blocks
//!    (`queue/block.rs`) through `os/disk.rs`.
//! 5. The final dot: `Queue::finish` writes the header block and puts the message on the batch. At
//!    the end of the turn `Queue::commit` syncs once for all of them (`queue/commit.rs`), and the
//!    session says 250.
//! 6. In the same turn the receipt goes to `relay/forwarder.rs`, which offers the message to its
//!    lanes (`relay/lane.rs`); a free sending slot takes it (`relay/sender.rs`).
//! 7. The sender asks for a name (`os/resolver.rs`; for a domain's mail hosts
//!    `os/mail_hosts.rs`, by the order of `dns/lookup.rs`) and a connection (`os/reactor.rs`),
//!    unless one is still open, and steps `smtp/client.rs`. Where it has to log in it asks for the
//!    key first (`relay/entry.rs`, `os/keyring.rs`), and says it by `smtp/client_login.rs`. TLS
//!    is begun by `smtp/client_tls.rs` and `os/tls/outgoing.rs`; whether the next hop is who it
//!    should be tells `os/tls/judge.rs`.
//!    `relay/attempt.rs` reads the message back block by block (`queue/message.rs`,
//!    `queue/reader.rs`), puts Received and what is missing before it (`mail/stamp.rs`,
//!    `mail/edit.rs`), puts other addresses into it (`relay/rewriting.rs`, `mail/list.rs`,
//!    `mail/rewrite.rs`), and dots. Into a Maildir it is `relay/filing.rs` and
//!    `os/mailbox.rs` instead.
//! 8. Replies are noted in `relay/ledger.rs`. Every attempt ends in `relay/conclude.rs`:
//!    `relay/settle.rs` logs it and marks recipients as done (`queue/commit.rs`), to be written
//!    with a later commit (`queue/marks.rs`). What failed for good becomes a report
//!    (`relay/report.rs`, `mail/report.rs`), a message of its own. What is deferred is due again by
//!    its age (`queue/schedule.rs`).
//!    What had no way goes when the network changes (`os/links.rs`, `relay/release.rs`).
//! 9. When all are done the message dies, and once its state page is synced its slots are free.
//!    What a sender wants held goes later (`intake/later.rs`, `relay/hold.rs`), and what is late is
//!    returned or told of (`relay/late.rs`).
//! 10. After a power cut `queue/recovery.rs` finds it, and `relay/plan.rs` finds its lanes anew.
//!     After a failed sync it is the same, and memory helps (`queue/recall.rs`); what the medium
//!     does not give back is kept (`queue/unread.rs`).
//!
//! Before all of this the daemon opens what it needs (`os/world.rs`), becomes its user
//! (`os/handover.rs`) and gives up the rest (`os/sandbox/`, by `cli/confinement.rs`).
//!
//! Mail of `sendmail` (`cli/sendmail/`) begins at 1 through the submit socket. While the daemon is
//! down (for `-bs` with `smtp/server.rs` in `cli/sendmail/deputy.rs`) `os/drops.rs` leaves it in
//! the drop directory, and `intake/import.rs` brings it in at 3; what is no mail there goes by
//! `os/rejected.rs`.
//!
//! # Lexicon
//!
//! Coming in:
//! - **session**: one conversation with a peer that hands in mail, and the memory for it
//! - **source**: what is counted as one peer: an IPv4 address, or an IPv6 /64; **device**: a source
//!   as `status` tells of it
//! - **transaction**: what a session holds from MAIL to the verdict; RSET frees exactly this
//! - **draft**: a message on its way into the queue, which no header names yet
//! - **batch**: the finished drafts that wait for the turn's sync; **commit**: that sync
//! - **receipt**: proof that a message is durable; without it there is no 250
//! - **listener**: places to listen and what holds there; a session knows its number in the config
//! - **drop**: a message that `sendmail` left as a file; **import**: bringing it into the queue
//!
//! In the queue:
//! - **image**: the one file; **slot**: one of its data blocks; **group**: 168 slots and the two
//!   copies of their **state page**, which tells who is done, what is dead and what is held
//! - **seal**: the image's id and random key, with which every block is hashed
//! - **epoch**: raised by every opening of the image, the high part of every number below
//! - **seq**: a message's number, never used twice; logs and `mailq` print it as the queue id
//! - **ticket**: slot and seq, which name a message in the queue
//! - **mark**: a change of state in memory, such as a recipient who is done, not yet written
//! - **run**: seconds that the daemon has run, over all boots, a machine's sleep included; ages are
//!   measured in it
//! - **recovery**: from a medium to an open queue, at every start and after every failed sync
//!
//! Going out:
//! - **route**: which destination a recipient's mail goes to, by the present config, never stored
//! - **lane**: one destination, with its back-off; **needs** and **ready** are sets of lanes
//! - **sender**: a sending slot, one connection to a next hop and the buffers for it
//! - **attempt**: one message × one lane; **ledger**: how that went, recipient by recipient
//! - **forwarder**: all of it: what is due, and who sends it
//! - **key**: the password or token with which to log in at a relay
//! - **report**: the message that tells a sender what failed, or what he asked (RFC 3464)
//! - **wishes**: what a sender asks for beside delivery (RFC 3461)
//!
//! Everywhere:
//! - **slot**, **handle**: a place made at the start; a handle also names who lives there now
//! - **token**: a socket's number for its slot, for ever
//! - **turn**: once round the loop: events in, one commit, replies out, the next deadline

pub mod base;
pub mod config;
pub mod daemon;
pub mod dns;
pub mod intake;
pub mod limits;
pub mod mail;
pub mod os;
pub mod queue;
pub mod relay;
pub mod smtp;

pub mod cli;
