//! The protocol: lines, commands, replies, dot-stuffing, and the two machines that speak it.
//!
//! Everything here is sans-I/O: bytes in, bytes and events out, `now` as an argument. Nothing here
//! knows of the queue, the config or a socket, and nothing here allocates: buffers are lent for the
//! length of a call. Start reading at [`server`], which receives, and [`client`], which sends.

pub mod chunk;
pub mod client;
mod client_event;
mod client_login;
mod client_state;
mod client_tls;
pub mod command;
pub mod data;
mod deadline;
pub mod deliver_by;
pub mod lenient;
pub mod line;
pub mod login;
pub mod offer;
mod pace;
pub mod parameter;
pub mod peer_offer;
pub mod proxy;
pub mod reply;
pub mod sasl;
pub mod server;
mod starttls;
mod state;
pub mod xclient;
