//! The states of a request, as its row and the time say.

use super::entity::Model;
use crate::base::clock::Timestamp;

/// Where a request stands. The guide has [the table](crate::guide::device_login#states) of what happens in
/// each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceRequestState {
    /// Nobody has decided yet.
    Pending,
    /// It was approved, and waits for the device.
    Approved,
    /// The device has its session.
    Redeemed,
    /// It was denied, or the device sent wrong digits too often.
    Denied,
    /// A person has reported it.
    Suspicious,
    /// The device took it back, or the approval did not count any more.
    Ended,
    /// Its time was over before anybody decided, or before the device came.
    Expired,
}

impl DeviceRequestState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Approved,
        Self::Redeemed,
        Self::Denied,
        Self::Suspicious,
        Self::Ended,
        Self::Expired,
    ];

    /// Returns the name in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Redeemed => "redeemed",
            Self::Denied => "denied",
            Self::Suspicious => "suspicious",
            Self::Ended => "ended",
            Self::Expired => "expired",
        }
    }

    /// The number in the row. `Expired` follows from the time, and is never written.
    pub(super) const fn number(self) -> i16 {
        match self {
            Self::Pending => 0,
            Self::Approved => 1,
            Self::Redeemed => 2,
            Self::Denied => 3,
            Self::Suspicious => 4,
            Self::Ended | Self::Expired => 5,
        }
    }

    /// Reads the state of a row. A number of a newer version counts as ended.
    pub(super) fn of(row: &Model, now: Timestamp) -> Self {
        let written =
            [Self::Pending, Self::Approved, Self::Redeemed, Self::Denied, Self::Suspicious];
        let state = written.into_iter().find(|state| state.number() == row.state);
        match state.unwrap_or(Self::Ended) {
            Self::Pending | Self::Approved if now >= row.expires_at => Self::Expired,
            state => state,
        }
    }
}
