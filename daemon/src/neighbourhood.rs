//! The neighbours' room as the admin room sees it: the one place where the two meet.

use data_encoding::HEXLOWER;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kith_admin::house::{
    CrowdMessages, EvidenceView, FilterView, GroupChange, GroupView, Join, NeighbourTotals, NeighbourView,
    Neighbourhood, NextKey, Outcome, PairingError, StrikeView, Window,
};
use kith_model::trust::Role;
use kith_neighbour::group::{Group, Words};
use kith_neighbour::peers::Evidence;
use kith_neighbour::{FindError, JoinError, PairingOutcome, RotateError, State, UnpairError, View};
use ring::rand::SystemRandom;

/// The running room.
pub(crate) struct Neighbours(pub(crate) kith_neighbour::Neighbourhood);

/// A box without neighbours: `neighbours.enabled = false`.
pub(crate) struct NoNeighbours;

impl Neighbourhood for Neighbours {
    fn views(&self) -> Vec<NeighbourView> {
        self.0.list().into_iter().map(view).collect()
    }

    fn totals(&self) -> NeighbourTotals {
        let totals = self.0.totals();
        NeighbourTotals {
            received_bytes: totals.received_bytes,
            sent_bytes: totals.sent_bytes,
            verify_failures: totals.verify_failures,
            strikes: totals.strikes,
            connections: totals.sessions_mine + totals.sessions_neighbour,
            asked: totals.asked,
            spared: totals.spared,
            false_hits: totals.false_hits,
            filter_received_bytes: totals.filter_received_bytes,
            filter_sent_bytes: totals.filter_sent_bytes,
            filters_received: totals.filters_received,
            filters_sent: totals.filters_sent,
            crowd_received: CrowdMessages {
                gathers: totals.gathers_received,
                reports: totals.reports_received,
                takes: totals.takes_received,
            },
            crowd_sent: CrowdMessages {
                gathers: totals.gathers_sent,
                reports: totals.reports_sent,
                takes: totals.takes_sent,
            },
        }
    }

    fn open_pairing(&self, role: Role) -> BoxFuture<'_, Result<Window, PairingError>> {
        async move {
            let opened = self.0.open_pairing(role).map_err(|_| PairingError::LockedOut)?;
            let room = self.0.clone();
            let outcome = opened.outcome.map(move |outcome| ended(&room, outcome)).boxed();
            Ok(Window { code: opened.code, open_for: opened.open_for, outcome })
        }
        .boxed()
    }

    fn join(&self, join: Join) -> BoxFuture<'_, Result<NeighbourView, PairingError>> {
        async move {
            let joined = self.0.join(&join.neighbour, &join.code, join.role).await;
            joined.map(view).map_err(unjoined)
        }
        .boxed()
    }

    fn unpair<'a>(&'a self, neighbour: &'a str) -> BoxFuture<'a, Result<NeighbourView, PairingError>> {
        async move { self.0.unpair(neighbour).await.map(view).map_err(still_paired) }.boxed()
    }

    fn group(&self) -> GroupView {
        GroupView { role: self.0.group().map(Role::as_str), words: None }
    }

    fn change_group(&self, change: GroupChange) -> BoxFuture<'_, Result<GroupView, PairingError>> {
        async move {
            let (group, words) = match change {
                GroupChange::Found(role) => {
                    let words = Words::draw(&SystemRandom::new())
                        .ok_or_else(|| PairingError::Failed("no random numbers".to_owned()))?;
                    (Some(Group::new(&words, role)), Some(words.text().to_owned()))
                }
                GroupChange::Join(typed, role) => {
                    let words = Words::parse(&typed).ok_or(PairingError::Words)?;
                    (Some(Group::new(&words, role)), None)
                }
                GroupChange::Leave => (None, None),
            };
            let role = group.as_ref().map(|group| group.role().as_str());
            let kept = self.0.set_group(group).await;
            kept.map(|()| GroupView { role, words }).map_err(|error| PairingError::Failed(error.to_string()))
        }
        .boxed()
    }

    fn rotate_key(&self) -> BoxFuture<'_, Result<NextKey, PairingError>> {
        async move {
            let prepared = self.0.rotate_key().await;
            prepared.map(|id| NextKey { node_id: id.to_string(), key_words: id.words() }).map_err(|error| {
                match error {
                    RotateError::Owed(_) => PairingError::Owed(error.to_string()),
                    _ => PairingError::Failed(error.to_string()),
                }
            })
        }
        .boxed()
    }
}

fn view(view: View) -> NeighbourView {
    let (standing, reason) = match view.state {
        State::Banned { until } => {
            (Some("banned"), format!("too many bad groups; until {} s after 1970", until.seconds()))
        }
        State::Quarantined { reason } => (Some("quarantined"), reason),
        State::Good | State::Struck(_) => (None, String::new()),
    };
    let presence = match (view.connected, view.seen) {
        (true, _) => "connected",
        (false, true) => "seen",
        (false, false) => "away",
    };
    NeighbourView {
        name: view.name,
        node_id: view.id.to_string(),
        key_words: view.key_words,
        role: view.role.map_or("none", Role::as_str),
        state: standing.unwrap_or(presence),
        address: view.address.map(|address| address.to_string()).unwrap_or_default(),
        received_bytes: view.received_bytes,
        sent_bytes: view.sent_bytes,
        groups_verified: view.groups_verified,
        filter: view.filter.map(|filter| FilterView {
            names: filter.names as u64,
            bytes: filter.bytes,
            age_s: filter.age.as_secs(),
        }),
        strikes: view.strikes as u64,
        reason,
        struck: view
            .struck
            .into_iter()
            .map(|one| StrikeView { at_ms: one.at_ms, reason: one.reason })
            .collect(),
        evidence: view
            .evidence
            .zip(view.key)
            .map(|(evidence, key)| Box::new(shown(evidence, key.as_bytes()))),
    }
}

fn shown(evidence: Evidence, key: &[u8]) -> EvidenceView {
    EvidenceView {
        found_at_ms: evidence.found_at_ms,
        known_at_ms: evidence.known_at_ms,
        said: evidence.summary,
        truth: evidence.truth,
        claim: Some(HEXLOWER.encode(&evidence.claim)),
        signature: HEXLOWER.encode(&evidence.signature),
        key: HEXLOWER.encode(key),
    }
}

fn ended(room: &kith_neighbour::Neighbourhood, outcome: PairingOutcome) -> Outcome {
    match outcome {
        PairingOutcome::Paired(id) => {
            let found = room.list().into_iter().find(|view| view.id == id);
            let unknown =
                || NeighbourView { node_id: id.to_string(), role: "none", ..NeighbourView::default() };
            Outcome::Paired(Box::new(found.map_or_else(unknown, view)))
        }
        PairingOutcome::WrongCode => {
            Outcome::Refused("a wrong code was tried; this one is used up".to_owned())
        }
        PairingOutcome::Closed => Outcome::Closed,
        PairingOutcome::Failed(reason) => Outcome::Refused(reason),
    }
}

fn unjoined(error: JoinError) -> PairingError {
    match error {
        JoinError::BadCode | JoinError::WrongCode => PairingError::WrongCode,
        JoinError::Role => PairingError::Role,
        JoinError::Find(error) => unfound(&error),
        JoinError::Unreachable(_) => PairingError::Unreachable,
        JoinError::NotOpen => PairingError::NotOpen,
        JoinError::LockedOut => PairingError::LockedOut,
        JoinError::Failed(reason) => PairingError::Failed(reason),
    }
}

fn still_paired(error: UnpairError) -> PairingError {
    match error {
        UnpairError::Find(error) => unfound(&error),
        UnpairError::Disk(error) => PairingError::Failed(error.to_string()),
    }
}

fn unfound(error: &FindError) -> PairingError {
    match error {
        FindError::NotFound => PairingError::NotFound,
        FindError::Ambiguous => PairingError::Ambiguous,
        FindError::Ourselves => PairingError::Ourselves,
    }
}

impl Neighbourhood for NoNeighbours {
    fn views(&self) -> Vec<NeighbourView> {
        Vec::new()
    }

    fn totals(&self) -> NeighbourTotals {
        NeighbourTotals::default()
    }

    fn open_pairing(&self, _role: Role) -> BoxFuture<'_, Result<Window, PairingError>> {
        async { Err(PairingError::Off) }.boxed()
    }

    fn join(&self, _join: Join) -> BoxFuture<'_, Result<NeighbourView, PairingError>> {
        async { Err(PairingError::Off) }.boxed()
    }

    fn unpair<'a>(&'a self, _neighbour: &'a str) -> BoxFuture<'a, Result<NeighbourView, PairingError>> {
        async { Err(PairingError::Off) }.boxed()
    }

    fn group(&self) -> GroupView {
        GroupView::default()
    }

    fn change_group(&self, _change: GroupChange) -> BoxFuture<'_, Result<GroupView, PairingError>> {
        async { Err(PairingError::Off) }.boxed()
    }

    fn rotate_key(&self) -> BoxFuture<'_, Result<NextKey, PairingError>> {
        async { Err(PairingError::Off) }.boxed()
    }
}
