//! To be written.
pub mod disk;
