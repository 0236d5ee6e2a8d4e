//! What happens after a token was accepted: its next generation, a suspected theft, and a session
//! that moved to another client or is shared with one.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{HAND_OVER_WITHIN, NextCookie, NextToken, RequestIdentity, Use};
use crate::account::Account;
use crate::api_key;
use crate::audit_log;
use crate::base::client::{same_browser_family, same_network};
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind, ROTATED, count};
use crate::base::jwt::Claims;
use crate::base::transaction::{Fault, transaction};
use crate::config::Binding;
use crate::identity::error::AuthError;
use crate::message::{MessageKind, Recipient, Values};
use crate::outbox::{self, Outgoing};
use crate::session::issue::token_lifetime;
use crate::session::judge::{ClientMark, Ended, Generation, SessionState};
use crate::session::store::Rotation;
use crate::session::{Transport, store as session_store, trusted};

/// An accepted token and its session, when the token may be replaced by its next generation.
pub(super) struct Turn<'a> {
    pub(super) state: &'a SessionState,
    pub(super) claims: &'a Claims,
    pub(super) generation: Generation,
    pub(super) transport: Transport,
    pub(super) purpose: Use,
    pub(super) now: Timestamp,
}

pub(super) enum Turned {
    Kept,
    /// The client gets this generation.
    HandedOver(i64),
    /// Another client was about to get the generation, and the binding policy does not allow that.
    Shared(Ended),
    /// Another request rotated first, or the session ended.
    Lost,
}

impl RequestIdentity {
    /// Rotates the token, hands out a generation that exists already, or records the first late
    /// use.
    pub(super) async fn turn(
        &self,
        turn: &Turn<'_>,
        idle: Option<Duration>,
    ) -> Result<Turned, AuthError> {
        let Turn { state, claims, now, .. } = *turn;
        let context = self.auth.context();
        let db = context.db();
        if state.ended.is_some() {
            // A step-up replaced this session. It is never renewed.
            return Ok(Turned::Kept);
        }
        let asks = turn.purpose != Use::Request;
        // A bearer client renews its token itself. An answer that has left, or leaves too late,
        // cannot carry a new cookie.
        let may_rotate = asks
            || turn.transport == Transport::Cookie
                && !self.sealed.load(Ordering::Acquire)
                && now.since(self.arrived_at) <= HAND_OVER_WITHIN;
        if turn.generation == Generation::Retired {
            if !may_rotate {
                return Ok(Turned::Kept);
            }
            // Rotation alone cannot tell a thief from another tab: both show a retired token and
            // get the present one. So the client is compared with the one that made the present
            // generation.
            let by = ClientMark::of(self.client());
            if context.config.session.binding != Binding::Off
                && state.rotated_by.is_elsewhere(by)
                && let Some(reason) =
                    Box::pin(self.source_changed(state, EventKind::SessionShared, now)).await?
            {
                return Ok(Turned::Shared(reason));
            }
            return Ok(self.hand_over(turn, state.generation, idle));
        }
        let replay_after = context.config.session.replay_after;
        let settled = state.is_settled(claims.issued_at, self.arrived_at, replay_after);
        let lifetime = i64::try_from(token_lifetime(context, idle).as_secs()).unwrap_or(i64::MAX);
        // The last condition is for a role that shortened the idle time after this token was
        // signed.
        let due = asks
            || now.as_secs() >= claims.expires_at
            || now.as_secs() >= claims.issued_at.saturating_add(lifetime);
        if due && may_rotate && context.config.session.refresh_window.is_some() {
            // A client that requests new tokens all the time always shows a copy that was just
            // handed out. So its generation is never settled, but the client is not idle either.
            // Half of the idle time after the last rotation, the token is replaced all the same.
            let idle_time = idle.map_or(state.idle, |idle| idle.min(state.idle));
            let half_idle = self.arrived_at >= state.rotated_at.plus(idle_time / 2);
            if !settled && !half_idle {
                return Ok(self.hand_over(turn, state.generation, idle));
            }
            let rotation = Rotation {
                id: state.id,
                generation: state.generation,
                digest: &context.session_digests[0].digest(&claims.sid),
                by: ClientMark::of(self.client()),
                arrived_at: self.arrived_at,
                now,
            };
            let executor = db.executor();
            let rotate = || session_store::rotate(&executor, &rotation);
            if !Box::pin(db.retry(rotate)).await? {
                return Ok(Turned::Lost);
            }
            tracing::debug!(
                target: "portcullis::event",
                event = ROTATED,
                session = %state.id,
                generation = state.generation + 1,
            );
            count(ROTATED);
            return Ok(self.hand_over(turn, state.generation + 1, idle));
        }
        // Generation 0 has no older one that could be replayed, so its late use is not recorded.
        if state.generation > 0 && state.late_use_at.is_none() && settled {
            let executor = db.executor();
            let (id, generation, at) = (state.id, state.generation, self.arrived_at);
            let mark = || session_store::mark_late_use(&executor, id, generation, at);
            Box::pin(db.retry(mark)).await?;
        }
        Ok(Turned::Kept)
    }

    /// Lets the answer carry this generation. A refresh gets its token in another way.
    fn hand_over(&self, turn: &Turn<'_>, generation: i64, idle: Option<Duration>) -> Turned {
        if turn.purpose == Use::Request {
            self.put(NextCookie::Token(NextToken {
                sid: turn.claims.sid,
                generation,
                end: turn.state.expires_at,
                persistent: turn.state.persistent,
                idle,
            }));
        }
        Turned::HandedOver(generation)
    }

    /// Ends the session after a replay, records the event and notifies the owner.
    pub(super) async fn end_for_theft(
        &self,
        state: &SessionState,
        account: Option<&Account>,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let mut event = Event::new(EventKind::SessionTheftSuspected, now)
            .session(state.id)
            .from_client(self.client());
        if let Some(account) = account {
            event = event.account(account.id);
        }
        let notice = account.map(|account| {
            let to = account.email.as_deref().and_then(Recipient::email);
            Outgoing::new(MessageKind::SessionTheftSuspected, to)
                .account(account.id)
                .values(Values::new().with_some("address", self.client().address()))
        });
        self.end(state, Ended::TheftSuspected, &event, notice.as_ref(), now).await
    }

    async fn end(
        &self,
        state: &SessionState,
        reason: Ended,
        event: &Event,
        notice: Option<&Outgoing>,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let (context, id) = (self.auth.context().clone(), state.id);
        let (event, notice) = (event.clone(), notice.cloned());
        // A client that has a copy of one cookie may have all of them.
        let theft = state.account_id.filter(|_| reason == Ended::TheftSuspected);
        let (copied, lineage) = (trusted::of_copied(&context, theft), state.lineage_id);
        // A task of its own: a thief must not prevent the end of the session by closing the
        // connection.
        let ending = async move {
            transaction!(context.db(), |txn| {
                if let Some(account) = theft {
                    session_store::lock_account(txn, account).await?;
                }
                // Of several replays at once, only the one that ended the session writes the event
                // and the notice.
                let ended = session_store::end(txn, id, reason, now).await?;
                if ended {
                    audit_log::record(txn, &event).await?;
                    if let Some(notice) = &notice {
                        outbox::put(txn, &context, notice).await?;
                    }
                    if let Some(account) = copied {
                        trusted::end_copied(txn, account, &event, "theft").await?;
                    }
                    if let Some(account) = theft {
                        api_key::end_made_in(txn, (account, lineage), "theft", now).await?;
                    }
                }
                Ok(())
            })
        };
        self.auth.run_to_end(ending).await
    }

    /// True if the request comes from the network and the browser family from which the session was
    /// started. A part that is not known counts as the same.
    pub(super) fn same_source(&self, state: &SessionState) -> bool {
        if self.auth.context().config.session.binding == Binding::Off {
            return true;
        }
        let from = state.address.as_deref().and_then(|text| text.parse().ok());
        let network = match (from, self.client().address()) {
            (Some(from), Some(now)) => same_network(from, now),
            _ => true,
        };
        let browser = match (state.user_agent.as_deref(), self.client().user_agent()) {
            (Some(from), Some(now)) => from == now || same_browser_family(from, now),
            _ => true,
        };
        network && browser
    }

    /// Applies the binding policy after the source of a session changed, or before another client
    /// gets a generation that it did not make. Returns a reason if the session must not continue.
    pub(super) async fn source_changed(
        &self,
        state: &SessionState,
        kind: EventKind,
        now: Timestamp,
    ) -> Result<Option<Ended>, Fault> {
        let context = self.auth.context();
        let mut event = Event::new(kind, now).session(state.id).from_client(self.client());
        if let Some(account) = state.account_id {
            event = event.account(account);
        }
        match context.config.session.binding {
            Binding::Off => Ok(None),
            Binding::End => {
                self.end(state, Ended::SourceChanged, &event, None, now).await?;
                Ok(Some(Ended::SourceChanged))
            }
            Binding::Suspect => {
                event.kind = EventKind::SessionSuspected;
                let shared = kind == EventKind::SessionShared;
                let event = event.detail(if shared { "shared" } else { "source_changed" });
                transaction!(context.db(), |txn| {
                    let marked = session_store::mark_suspicious(txn, None, state.id, now).await?;
                    if marked == session_store::Marked::Now {
                        audit_log::record(txn, &event).await?;
                    }
                    Ok::<_, Fault>(())
                })?;
                Ok(Some(Ended::Suspicious))
            }
            Binding::Log | Binding::StepUp if kind == EventKind::SessionShared => {
                // Rare and worth keeping: it is recorded in the audit log, once per generation and
                // process.
                let seen = (state.id, state.generation);
                let shared = &self.resolver.shared;
                if shared.get(&seen).is_none() {
                    shared.insert(seen, ());
                    transaction!(context.db(), |txn| {
                        Ok::<_, Fault>(audit_log::record(txn, &event).await?)
                    })?;
                }
                Ok(None)
            }
            Binding::StepUp => {
                let from = (state.id, ClientMark::of(self.client()).network);
                let known = &self.resolver.must_step_up;
                if known.get(&from).is_none() {
                    known.insert(from, ());
                    transaction!(context.db(), |txn| {
                        Ok::<_, Fault>(audit_log::record(txn, &event).await?)
                    })?;
                }
                Ok(None)
            }
            Binding::Log => {
                let moved = &self.resolver.moved;
                if moved.get(&state.id).is_none_or(|known| known != *self.client()) {
                    moved.insert(state.id, self.client().clone());
                    // Only traced, not recorded: otherwise every request of a person on a train
                    // would add a row.
                    event.trace();
                }
                Ok(None)
            }
        }
    }
}
