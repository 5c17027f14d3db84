//! The ground floor: fixed buffers, slot handles, time as plain numbers, ASCII.
//!
//! Nothing here knows about mail. Nothing here allocates after it has been made.

pub mod ascii;
pub mod buffer;
pub mod secret;
pub mod slots;
pub mod time;
