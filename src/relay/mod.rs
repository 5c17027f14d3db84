//! From a message in the queue to its next hop, and what is said when that fails.
//!
//! - `route` which lane a recipient needs, by the present config
//! - `lane` one destination: its waiting mail, its connections, its back-off
//! - `additions` the fields that are put before a message
//! - `attempt` one message × one lane: envelope and body as streams · `ledger` how it went
//! - `sender` one sending slot: a connection, the client machine, an attempt
//! - `settle` what an attempt means for its message: marks, next try, report, log
//! - `report` the report itself, written into the queue
//! - `filing` into a Maildir
//! - `forwarder` all of it: who sends what · `plan` what is due · `conclude` how attempts end
//! - `expand` recipients who have become several by their alias
//! - `wishes` what the sender asked for beside delivery
//! - `entry` from a key to a connection that knows us
//! - `domains` lanes that come and go · `ways` from a name to a connection
//! - `loss` how connections are lost, in words
//! - `release` what waits for the network goes when that has changed
//! - `words` what waiting messages were told last
//! - `network`, `mailbox`, `keyring` what is needed of the world
//!
//! Pure. The daemon moves bytes between sockets and senders, and carries out
//! [`forwarder::Request`]s. Meets `intake` only in the queue.

mod additions;
pub mod attempt;
mod conclude;
mod domains;
mod entry;
mod expand;
pub mod filing;
pub mod forwarder;
mod hold;
mod hop;
pub mod keyring;
pub mod lane;
mod late;
pub mod ledger;
mod loss;
pub mod mailbox;
pub mod network;
mod plan;
mod release;
pub mod report;
mod rewriting;
pub mod route;
pub mod sender;
pub mod settle;
mod survey;
mod ways;
pub mod wishes;
pub mod words;
