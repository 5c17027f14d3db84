//! To be written.
pub mod disk;
pub mod envelope;
