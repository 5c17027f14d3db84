//! To be written.
pub mod drop_directory;
