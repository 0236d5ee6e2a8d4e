//! The state of a session at a given time. This is the only place that decides whether one row is
//! alive.
//!
//! The attack behind most of this is a stolen copy of a token. A copy looks like the original, so
//! it is only noticed when two clients use the session. The idea is that of refresh token rotation
//! (RFC 9700, 4.14.2): each token is replaced, and the use of a replaced one reveals the copy. RFC
//! 9700 ends the old token at once. A browser cannot keep up with that: it sends requests in
//! parallel, loses answers, and writes its cookies to disk late. So an old token stays valid until
//! its successor is proved to be stored. ARCHITECTURE, "How a token is replaced", has the reasons
//! for each rule.
//!
//! Two different times are used, and mixing them up would be a fault:
//!
//! - [`SessionState::ended`] uses the time of the check. A request that waited must not outlive the
//!   end of its session.
//! - [`SessionState::generation`] and [`SessionState::is_settled`] use the time at which the
//!   request *arrived*. A client can only know what it was told before it sent the request.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::account::Account;
use crate::base::client::{ClientInfo, browser_family, network};
use crate::base::clock::Timestamp;
use crate::base::factor::{Factor, PassedFactors};
use crate::base::id::{AccountId, LineageId, SessionId};
use crate::base::jwk_thumbprint::JwkThumbprint;
use crate::session::stage::Stage;

/// A session as its row describes it.
#[derive(Debug, Clone)]
pub(crate) struct SessionState {
    pub(crate) id: SessionId,
    pub(crate) lineage_id: LineageId,
    pub(crate) account_id: Option<AccountId>,
    /// The epoch of the account to which the session belongs. If the account has another one, the
    /// session has ended.
    pub(crate) account_epoch: i64,
    pub(crate) stage: Stage,
    pub(crate) generation: i64,
    /// When the present generation was made. The idle time counts from here, and not from the last
    /// request: recording each request would be one write per request.
    pub(crate) rotated_at: Timestamp,
    /// When the present generation was first used late. From then on the previous one is a replay.
    pub(crate) late_use_at: Option<Timestamp>,
    /// The same for the previous generation.
    pub(crate) previous_late_use_at: Option<Timestamp>,
    /// The client that caused the present generation.
    pub(crate) rotated_by: ClientMark,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) idle: Duration,
    pub(crate) persistent: bool,
    /// The factors that were proved, and that count for this request.
    pub(crate) factors: PassedFactors,
    /// The factors that do not count, because the session has [moved](Self::move_away). `None` if it
    /// has not. It is not a column. Boxed, because it is rare.
    pub(crate) proved_elsewhere: Option<Box<PassedFactors>>,
    pub(crate) ceiling: Option<String>,
    pub(crate) address: Option<String>,
    pub(crate) user_agent: Option<String>,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) ended: Option<Ended>,
    /// The end of the time in which it keeps its old rights after a step-up replaced it.
    pub(crate) lingers_until: Option<Timestamp>,
    pub(crate) suspicious: bool,
    /// The session that approved it, if it is the session of a [device](crate::device_login).
    pub(crate) approved_in: Option<SessionId>,
    /// The key without which its token is worth nothing.
    pub(crate) bound_to: Option<JwkThumbprint>,
}

/// How long a session keeps its old rights after a step-up replaced it. This is enough for requests
/// that other tabs have already sent.
///
/// If it ended at once, these requests would get a 401, and their tabs would show the login page.
/// If it stayed until its own end, a thief who has a copy of it could go on after the owner has
/// proved a factor.
pub(crate) const LINGERS: Duration = Duration::from_secs(10);

/// The end reason in the row of a session that a step-up replaced.
pub(crate) const STEPPED_UP: &str = "stepped_up";

/// Why a session does not count any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// The owner signed out.
    LoggedOut,
    /// Another session replaced it.
    Superseded,
    /// The owner or the application ended it.
    Revoked,
    /// A retired token was used again.
    TheftSuspected,
    /// It was used from another client, and the binding policy ended it.
    SourceChanged,
    /// The account had too many sessions, and this was the oldest.
    Evicted,
    /// It was idle for too long, or it reached its absolute end.
    Expired,
    /// The account is disabled, deleted or not verified, or all its sessions were ended together.
    Account,
    /// It was marked suspicious.
    Suspicious,
}

impl Ended {
    /// The end reason in the row, for those reasons that are stored.
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

    /// Reads the end reason. An unknown text counts as [`Self::Revoked`], so that a session that
    /// has ended never counts again. A newer version may have written a reason that this one does
    /// not know.
    pub(crate) fn from_column(text: Option<&str>) -> Self {
        if text == Some(STEPPED_UP) {
            return Self::Superseded;
        }
        // `Expired`, `Account` and `Suspicious` are never stored as the reason. They follow from
        // other columns.
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

/// Returns until when a session keeps its old rights that ended at this time for this reason.
pub(crate) fn lingers_until(
    ended_at: Option<Timestamp>,
    reason: Option<&str>,
) -> Option<Timestamp> {
    ended_at.filter(|_| reason == Some(STEPPED_UP)).map(|at| at.plus(LINGERS))
}

/// How the generation of a token relates to the generation in the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generation {
    /// The present one.
    Current,
    /// A retired one that is still valid. Its holder gets the present one.
    Retired,
    /// A retired one whose successor was used late. Someone kept a copy.
    Replayed,
    /// A retired one, from a request that arrived too long ago to know whether it was valid then.
    /// It is refused, but it is not treated as a theft. Otherwise a long upload could sign out its
    /// own user. To know it, the row would need the history of all generations.
    Forgotten,
    /// One that was never issued.
    Unknown,
}

impl SessionState {
    /// Returns why the session does not count at `now`, or `None` if it counts. Requests use this
    /// check, because it also gives the reason. `store::live` is the same condition for lists, the
    /// session limit and rotation. A test compares both for the same rows. Purge uses neither: it
    /// compares only two times in the row.
    pub(crate) fn ended(
        &self,
        now: Timestamp,
        account: Option<&Account>,
        require_verified: bool,
    ) -> Option<Ended> {
        if let Some(reason) = self.ended
            && !self.lingers(now)
        {
            return Some(reason);
        }
        // From here on a session that lingers is checked like any other. Otherwise a suspicion or
        // the end of the account would not reach it for some seconds.
        if self.suspicious {
            return Some(Ended::Suspicious);
        }
        if now >= self.expires_at || now >= self.rotated_at.plus(self.idle) {
            return Some(Ended::Expired);
        }
        // Only an anonymous session has no account. Any other mixture is a broken row and never
        // counts.
        //
        // The epoch must be equal. Ending all sessions of an account raises its epoch, and does not
        // only update the rows of its sessions: a sign-in that is in progress has no row yet, so
        // such an UPDATE would miss it. A thief could sign in just then and stay.
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

    /// Lets no factor count that was proved before, because the request comes from another source than
    /// the session and [`Binding::StepUp`](crate::config::Binding::StepUp) applies.
    ///
    /// The factors are taken out of `factors`, and not only marked. So a place that forgets to ask if
    /// the session has moved refuses, and a session that replaces this one cannot inherit them.
    pub(crate) fn move_away(&mut self) {
        let none = self.factors.none_passed();
        self.proved_elsewhere = Some(Box::new(std::mem::replace(&mut self.factors, none)));
    }

    /// True if the request comes from another source and no factor counts for it.
    pub(crate) fn has_moved(&self) -> bool {
        self.proved_elsewhere.is_some()
    }

    /// True if the session has proved this factor at any time, from any source.
    pub(crate) fn has_proved(&self, factor: Factor) -> bool {
        let elsewhere = self.proved_elsewhere.iter();
        let mut passed = elsewhere.map(|passed| &**passed).chain([&self.factors]);
        passed.any(|passed| passed.passed_at(factor).is_some())
    }

    /// True if a sign-in began with this factor, so that it is not the second one. A sign-in may begin and end
    /// with factors that only the application tells apart.
    pub(crate) fn began_with(&self, factor: Factor) -> bool {
        factor != Factor::External && self.has_proved(factor)
    }

    /// True if it was idle for longer than a role allows. A role can shorten the idle time. The row
    /// does not know this, because roles change after it was written. So this is checked after the
    /// grants were read, and `ended` cannot check it.
    pub(crate) fn idles_longer_than(&self, most: Option<Duration>, now: Timestamp) -> bool {
        most.is_some_and(|idle| now >= self.rotated_at.plus(idle))
    }

    /// True if a step-up replaced it so recently that requests of other tabs may still arrive with
    /// it. This alone does not let a request through: the session that replaced it must still
    /// count, or its rights would outlive a sign-out.
    pub(crate) fn lingers(&self, now: Timestamp) -> bool {
        self.ended == Some(Ended::Superseded) && self.lingers_until.is_some_and(|until| now < until)
    }

    /// Returns whether `generation` was valid when the request *arrived*. A generation stays valid
    /// until its successor was used late: see [`is_settled`](Self::is_settled). The time of arrival
    /// counts, not the time of the check. A handler that first reads a long body would otherwise
    /// accuse a browser that has received a new token in the meantime.
    pub(crate) fn generation(&self, generation: i64, arrived_at: Timestamp) -> Generation {
        let before = |late_use_at: Timestamp| arrived_at < late_use_at;
        let before_the_last = self.previous_late_use_at.is_some_and(before);
        // This cannot overflow: a token with a negative generation is not accepted.
        match self.generation - generation {
            0 => Generation::Current,
            // When the request arrived, nothing had proved that the browser has stored the present
            // one. The answer that brought it may be lost, or the browser was killed before it
            // wrote its cookies to disk.
            1 if self.late_use_at.is_none_or(before) => Generation::Retired,
            // It was valid when the request arrived. The handler asks so late that the next two
            // generations were made in the meantime.
            2 if before_the_last => Generation::Retired,
            // It may have been valid when the request arrived. The row keeps only the times of the
            // last two late uses, so nobody knows.
            behind if behind > 2 && before_the_last => Generation::Forgotten,
            // The request arrived after a later generation was proved to be stored. A browser does
            // not go back, so two clients use this session. One of them is a thief, and nobody can
            // tell which one: the session ends for both.
            behind if behind > 0 => Generation::Replayed,
            // Our signature and a generation that the row never had, for example because the
            // database was restored from an older backup. This is no theft.
            _ => Generation::Unknown,
        }
    }

    /// True if a request with the present generation proves that its browser has stored it. It must
    /// have arrived at least `replay_after` after that generation was made, and after the shown
    /// copy was handed out (`issued_at`, in Unix seconds). A browser may write its cookies to disk
    /// 30 s after it got them, and the clocks of two nodes may differ by 30 s.
    ///
    /// Only then does the previous generation become a replay, and only then can the present one be
    /// replaced. Until then the present one is handed out again. So no more than two are valid at
    /// once.
    ///
    /// The simpler rule, a fixed grace period after the first use, was not taken. It mistakes a
    /// killed browser for a thief, and a longer period leaves a stolen copy valid for as long.
    pub(crate) fn is_settled(
        &self,
        issued_at: i64,
        arrived_at: Timestamp,
        replay_after: Duration,
    ) -> bool {
        // The client cannot choose this time: it is in the signed token. Without it, a page that
        // loads in parallel after a lost answer would look like a theft. Its first request gets the
        // present generation and uses it, while the others are still under way with the old one.
        let issued_at = Timestamp::from_millis(issued_at.saturating_mul(1000));
        arrived_at >= self.rotated_at.max(issued_at).plus(replay_after)
    }
}

/// Where a request came from, as numbers to compare. A part that is not known is `None`. The hashes
/// have no key, so they hide nothing: anyone can hash all IPv4 networks.
///
/// This detects what rotation cannot. A thief who sends requests all the time gets each new
/// generation in time, like another tab of the browser. But the thief usually has another network
/// and another browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ClientMark {
    pub(crate) network: Option<i64>,
    pub(crate) browser: Option<i64>,
}

impl ClientMark {
    pub(crate) fn of(client: &ClientInfo) -> Self {
        let number = |text: &str| {
            let digest = Sha256::digest(text.as_bytes());
            i64::from_be_bytes(digest[..8].try_into().expect("eight of thirty-two bytes"))
        };
        Self {
            network: client.address().map(|address| number(&network(address).to_string())),
            // A request without a user agent has a family of its own. A thief must not become
            // "unknown" by leaving out the header.
            browser: Some(number(&browser_family(client.user_agent().unwrap_or_default()))),
        }
    }

    /// True if both the network and the browser family are known, and both differ. One difference
    /// is everyday life: a phone that leaves the house, or a page that is opened in the view of an
    /// app. So a thief in the same network, or with the same browser family, is not detected.
    pub(crate) fn is_elsewhere(self, other: Self) -> bool {
        let differ = |a: Option<i64>, b: Option<i64>| a.zip(b).is_some_and(|(a, b)| a != b);
        differ(self.network, other.network) && differ(self.browser, other.browser)
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
            late_use_at: None,
            previous_late_use_at: None,
            rotated_by: ClientMark::default(),
            created_at: at(0),
            expires_at: at(1000),
            idle: Duration::from_secs(100),
            persistent: true,
            factors: PassedFactors::default(),
            proved_elsewhere: None,
            ceiling: None,
            address: None,
            user_agent: None,
            ended_at: None,
            ended: None,
            lingers_until: None,
            suspicious: false,
            approved_in: None,
            bound_to: None,
        }
    }

    #[test]
    fn a_generation_is_good_for_what_arrived_before_its_successor_was_used_late() {
        use Generation::{Current, Forgotten, Replayed, Retired, Unknown};
        for (generation, late, previous, arrived, expected) in [
            (5, None, None, 1, Current),
            (5, Some(0), Some(0), 1, Current),
            (4, None, None, 90_000, Retired),
            (4, Some(100), None, 99, Retired),
            (4, Some(100), None, 100, Replayed),
            (4, None, Some(0), 90_000, Retired),
            (3, None, Some(100), 99, Retired),
            (3, None, Some(100), 100, Replayed),
            (3, Some(500), Some(100), 99, Retired),
            (3, Some(500), Some(100), 100, Replayed),
            (3, None, None, 0, Replayed),
            (2, None, Some(100), 99, Forgotten),
            (2, None, Some(100), 100, Replayed),
            (0, None, Some(100), 99, Forgotten),
            (0, None, None, 0, Replayed),
            (6, None, None, 0, Unknown),
            (i64::MAX, None, None, 0, Unknown),
        ] {
            let state = SessionState {
                late_use_at: late.map(at),
                previous_late_use_at: previous.map(at),
                ..session()
            };
            let verdict = state.generation(generation, at(arrived));
            assert_eq!(verdict, expected, "{generation} {late:?} {previous:?} {arrived}");
        }
    }

    #[test]
    fn a_generation_is_settled_a_while_after_it_was_made_and_after_its_copy_was_handed_out() {
        let made = SessionState { rotated_at: at(100), ..session() };
        for (issued, arrived, expected) in [
            (100, 189, false),
            (100, 190, true),
            // Handed out again, because the first answer was lost.
            (150, 190, false),
            (150, 240, true),
            // It was handed out by a node whose clock is slow.
            (70, 189, false),
            (70, 190, true),
        ] {
            let issued_at = at(issued).as_secs();
            let settled = made.is_settled(issued_at, at(arrived), Duration::from_secs(90));
            assert_eq!(settled, expected, "{issued} {arrived}");
        }
        assert!(!made.is_settled(i64::MAX, at(190), Duration::from_secs(90)));
    }

    #[test]
    fn a_session_that_a_step_up_replaced_lingers_and_no_other_does() {
        let lingering = |ended, until: i64| SessionState {
            ended: Some(ended),
            lingers_until: Some(at(until)),
            ..session()
        };
        assert!(lingering(Ended::Superseded, 10).lingers(at(9)));
        assert!(!lingering(Ended::Superseded, 10).lingers(at(10)));
        assert!(!lingering(Ended::Revoked, 10).lingers(at(9)));
        assert!(!SessionState { ended: Some(Ended::Superseded), ..session() }.lingers(at(0)));
        assert!(!session().lingers(at(0)));
    }

    #[test]
    fn a_source_is_elsewhere_only_if_network_and_browser_are_known_and_others() {
        let source = |network: Option<i64>, browser: Option<i64>| ClientMark { network, browser };
        let here = source(Some(1), Some(1));
        for (there, expected) in [
            (source(Some(2), Some(2)), true),
            (source(Some(1), Some(2)), false),
            (source(Some(2), Some(1)), false),
            (source(None, Some(2)), false),
            (source(Some(2), None), false),
        ] {
            assert_eq!(here.is_elsewhere(there), expected, "{there:?}");
            assert_eq!(there.is_elsewhere(here), expected, "{there:?}");
        }
    }

    #[test]
    fn a_session_that_moved_has_proved_its_factors_but_none_counts() {
        let passed =
            PassedFactors::one(Factor::Password, at(1)).by_trusted_device(at(2), Factor::Totp);
        let mut state = SessionState { factors: passed, ..session() };
        assert!(!state.has_moved() && state.has_proved(Factor::Password));
        state.move_away();
        assert!(state.has_moved() && state.has_proved(Factor::Password));
        assert!(!state.has_proved(Factor::Totp));
        assert_eq!(state.factors.passed_at(Factor::Password), None);
        assert_eq!(state.factors.trusted_device_at(), Some(at(2)));
        // What is proved afterwards counts.
        state.factors = state.factors.with(Factor::Totp, at(3));
        assert!(state.has_proved(Factor::Totp) && state.has_proved(Factor::Password));
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
            version: 0,
            enrolled: Default::default(),
            verified_at: None,
            disabled_at: None,
            deleted_at: None,
            rate_limit: None,
            mailed_code_at: None,
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
