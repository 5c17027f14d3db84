//! mote, a mail system for machines that are too small, too old or too unattended for any other.

pub mod base;
pub mod config;
pub mod daemon;
pub mod intake;
pub mod limits;
pub mod mail;
pub mod os;
pub mod queue;
pub mod relay;
pub mod smtp;

pub mod cli;
