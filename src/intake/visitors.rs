//! What is remembered of those who come over the network, beyond their sessions.

use super::rates::Rates;
use super::throttle::Throttle;

/// One value, lent to the sessions.
#[derive(Default)]
pub struct Visitors {
    /// Messages of each address in the last hour.
    pub rates: Rates,
    /// Failed logins of each address.
    pub throttle: Throttle,
}
