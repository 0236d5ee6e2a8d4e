//! What a session's row says at a moment: the only place that decides whether a session lives.

use std::time::Duration;

use crate::account::Account;
use crate::base::clock::Timestamp;
use crate::base::factor::PassedFactors;
use crate::base::id::{AccountId, LineageId, SessionId};
use crate::session::stage::Stage;

/// A session as its row tells it.
#[derive(Debug, Clone)]
pub(crate) struct SessionState {
    pub(crate) id: SessionId,
    pub(crate) lineage_id: LineageId,
    pub(crate) account_id: Option<AccountId>,
    pub(crate) account_epoch: i64,
    pub(crate) stage: Stage,
    pub(crate) generation: i64,
    pub(crate) rotated_at: Timestamp,
    pub(crate) used_at: Option<Timestamp>,
    pub(crate) previous_used_at: Option<Timestamp>,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) idle: Duration,
    pub(crate) persistent: bool,
    pub(crate) factors: PassedFactors,
    pub(crate) ceiling: Option<String>,
    pub(crate) address: Option<String>,
    pub(crate) user_agent: Option<String>,
    pub(crate) ended: Option<Ended>,
    pub(crate) suspicious: bool,
}

/// Why a session does not count any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// Its owner signed out.
    LoggedOut,
    /// Another one took its place.
    Superseded,
    /// Its owner or the application ended it.
    Revoked,
    /// A retired token of it was used.
    TheftSuspected,
    /// It came from elsewhere, and the binding policy ended it.
    SourceChanged,
    /// The account had more sessions than it may have, and this was the oldest.
    Evicted,
    /// It was idle for too long or reached its end.
    Expired,
    /// The account is disabled, deleted or not verified, or its sessions were ended together.
    Account,
    /// It was marked suspicious.
    Suspicious,
}

impl Ended {
    /// The word in the row, for the reasons that are written there.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::LoggedOut => "logged_out",
            Self::Superseded => "superseded",
            Self::Revoked => "revoked",
            Self::TheftSuspected => "theft_suspected",
            Self::SourceChanged => "source_changed",
            Self::Evicted => "evicted",
            Self::Expired => "expired",
            Self::Account => "account",
            Self::Suspicious => "suspicious",
        }
    }

    pub(crate) fn from_column(text: Option<&str>) -> Self {
        [
            Self::LoggedOut,
            Self::Superseded,
            Self::TheftSuspected,
            Self::SourceChanged,
            Self::Evicted,
        ]
        .into_iter()
        .find(|reason| text == Some(reason.as_str()))
        .unwrap_or(Self::Revoked)
    }
}

/// How a token's generation stands to the row's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generation {
    /// The present one.
    Current,
    /// A retired one that is still good; its holder is handed the present one.
    Retired,
    /// A retired one whose successor was in use long enough: someone kept a copy.
    Replayed,
    /// One that was never issued.
    Unknown,
}

impl SessionState {
    /// Why the session does not count at `now`, if so. The predicate of requests, which tells the
    /// reason too; `store::live` is the same for lists, the cap, rotation and purge, and a test
    /// holds both against the same rows.
    pub(crate) fn ended(
        &self,
        now: Timestamp,
        account: Option<&Account>,
        require_verified: bool,
    ) -> Option<Ended> {
        if let Some(reason) = self.ended {
            return Some(reason);
        }
        if self.suspicious {
            return Some(Ended::Suspicious);
        }
        if now >= self.expires_at || now >= self.rotated_at.plus(self.idle) {
            return Some(Ended::Expired);
        }
        match (self.stage, self.account_id, account) {
            (Stage::Anonymous, None, None) => None,
            (Stage::Anonymous, ..) | (_, None, _) | (_, _, None) => Some(Ended::Account),
            (_, Some(_), Some(account)) => {
                let usable =
                    account.is_usable(now, require_verified) && account.epoch == self.account_epoch;
                (!usable).then_some(Ended::Account)
            }
        }
    }

    /// Whether `generation` of a token is good at `now`. A generation stays good until its
    /// successor has been *used* and the grace is over: a lost answer is no theft.
    pub(crate) fn generation(
        &self,
        generation: i64,
        now: Timestamp,
        grace: Duration,
    ) -> Generation {
        let within = |used_at: Timestamp| now < used_at.plus(grace);
        match self.generation - generation {
            0 => Generation::Current,
            1 if self.used_at.is_none_or(within) => Generation::Retired,
            2 if self.previous_used_at.is_some_and(within) => Generation::Retired,
            behind if behind > 0 => Generation::Replayed,
            _ => Generation::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: i64 = 1_790_000_000_000;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(T + secs * 1000)
    }

    fn session() -> SessionState {
        SessionState {
            id: SessionId::new(at(0)),
            lineage_id: LineageId::new(at(0)),
            account_id: Some(AccountId::new(at(0))),
            account_epoch: 3,
            stage: Stage::Full,
            generation: 5,
            rotated_at: at(0),
            used_at: None,
            previous_used_at: None,
            created_at: at(0),
            expires_at: at(1000),
            idle: Duration::from_secs(100),
            persistent: true,
            factors: PassedFactors::default(),
            ceiling: None,
            address: None,
            user_agent: None,
            ended: None,
            suspicious: false,
        }
    }

    #[test]
    fn a_generation_is_good_until_its_successor_was_used_and_the_grace_is_over() {
        use Generation::{Current, Replayed, Retired, Unknown};
        for (generation, used_at, previous_used_at, now, expected) in [
            (5, None, None, 1, Current),
            (4, None, None, 90_000, Retired),
            (4, Some(0), None, 9, Retired),
            (4, Some(0), None, 10, Replayed),
            (3, None, Some(0), 9, Retired),
            (3, None, Some(0), 10, Replayed),
            (3, None, None, 0, Replayed),
            (2, None, Some(0), 0, Replayed),
            (6, None, None, 0, Unknown),
            (i64::MAX, None, None, 0, Unknown),
            (0, None, None, 0, Replayed),
        ] {
            let state = SessionState {
                used_at: used_at.map(at),
                previous_used_at: previous_used_at.map(at),
                ..session()
            };
            let verdict = state.generation(generation, at(now), Duration::from_secs(10));
            assert_eq!(verdict, expected, "{generation} {used_at:?} {previous_used_at:?} {now}");
        }
    }

    #[test]
    fn a_session_ends_at_its_exact_moments_and_with_its_account() {
        let account = Account {
            id: AccountId::new(at(0)),
            username: None,
            email: None,
            phone: None,
            superuser: false,
            epoch: 3,
            grants_version: 0,
            enrolled: Default::default(),
            verified_at: None,
            disabled_at: None,
            deleted_at: None,
            rate_limit: None,
        };
        let live = |state: SessionState, account: &Account, now: i64| {
            state.ended(at(now), Some(account), false)
        };
        assert_eq!(live(session(), &account, 99), None);
        assert_eq!(live(session(), &account, 100), Some(Ended::Expired));
        let busy = SessionState { rotated_at: at(950), ..session() };
        assert_eq!(live(busy.clone(), &account, 999), None);
        assert_eq!(live(busy, &account, 1000), Some(Ended::Expired));
        for changed in [
            Account { epoch: 4, ..account.clone() },
            Account { disabled_at: Some(at(1)), ..account.clone() },
            Account { deleted_at: Some(at(0)), ..account.clone() },
        ] {
            assert_eq!(live(session(), &changed, 1), Some(Ended::Account));
        }
        let tomorrow = Account { disabled_at: Some(at(2)), ..account.clone() };
        assert_eq!(live(session(), &tomorrow, 1), None);
        assert_eq!(session().ended(at(1), Some(&account), true), Some(Ended::Account));
        assert_eq!(session().ended(at(1), None, false), Some(Ended::Account));
        let marked = SessionState { suspicious: true, ..session() };
        assert_eq!(live(marked, &account, 1), Some(Ended::Suspicious));
    }
}
