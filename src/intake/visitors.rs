//! What is remembered of those who come over the network, beyond their sessions.

use super::devices::Devices;
use super::rates::Rates;
use super::throttle::Throttle;

/// One value, lent to the sessions.
#[derive(Default)]
pub struct Visitors {
    /// Messages of each address in the last hour.
    pub rates: Rates,
    /// What `status` tells of them.
    pub devices: Devices,
    /// Failed logins of each address.
    pub throttle: Throttle,
}
