//! A world in which the whole daemon lives: seeded, so that all of it happens again the same.
//!
//! - `world` time, the agenda, the daemon's traits · `weather` how bad it is · `rng` chance
//! - `disk` writes that are not synced · `net` sockets · `mailbox` Maildirs and the drop directory
//! - `letter` mails · `client` who hands them in · `server` next hops
//! - `admin` the control socket · `surveyor` who looks whether all came back
//! - `shadow` what must be true · `run` one seed from its beginning to its judgement

pub mod admin;
pub mod client;
pub mod disk;
pub mod letter;
pub mod mailbox;
pub mod net;
pub mod rng;
pub mod run;
pub mod server;
pub mod shadow;
pub mod surveyor;
pub mod weather;
pub mod world;
