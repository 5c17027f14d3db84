//! What is remembered of those who come over the network, beyond their sessions.

use super::rates::Rates;

/// One value, lent to the sessions.
#[derive(Default)]
pub struct Visitors {
    /// Messages of each address in the last hour.
    pub rates: Rates,
}
