//! To be written.
pub mod world;
