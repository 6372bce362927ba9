//! Who is asked, in which order, and what it costs: `daemon/neighbour/src/source.rs` without QUIC.

use std::collections::VecDeque;

use kith_model::limits::{FIND_AT_ONCE_MAX, STRIKES_MAX};

use super::{Asking, Peer, Street};
use crate::shelf::Cache as _;
use crate::trace::Ware;

/// A search for who holds something.
#[derive(Default)]
pub(super) struct Search {
    /// Who is not asked yet, the most promising first.
    pub(super) waiting: VecDeque<usize>,
    pub(super) found: Vec<usize>,
    questions: u64,
}

impl Street<'_> {
    /// Who may be asked, by the rules of the room (`daemon/neighbour/src/source.rs`).
    pub(super) fn search(&self, house: usize, ware: &Ware) -> Search {
        let is_there = |peer: &Peer| self.houses[peer.house].is_up && peer.strikes < STRIKES_MAX;
        let all = self.houses[house].peers.iter().enumerate().filter(|(_, peer)| is_there(peer));
        let waiting = match self.setting.asking {
            Asking::Nobody => VecDeque::new(),
            Asking::Everybody => all.map(|(at, _)| at).collect(),
            Asking::Filters => {
                let may_hold =
                    |peer: &Peer| peer.heard.as_ref().is_none_or(|heard| heard.may_hold(&[ware.subject]));
                all.filter(|(_, peer)| may_hold(peer)).map(|(at, _)| at).collect()
            }
        };
        Search { waiting, ..Search::default() }
    }

    /// Asks one after the other until so many have it; all of them, where everybody is asked.
    pub(super) fn ask_on(&self, house: usize, ware: &Ware, search: &mut Search, count: usize) {
        let count = if self.setting.asking == Asking::Everybody { usize::MAX } else { count };
        while search.found.len() < count
            && let Some(at) = search.waiting.pop_front()
        {
            let other = &self.houses[self.houses[house].peers[at].house];
            search.questions += 1;
            if other.is_liar || other.gives(&ware.id) {
                search.found.push(at);
            }
        }
    }

    /// Counts what a search cost. Returns who is fetched from.
    pub(super) fn close(&mut self, house: usize, ware: &Ware, mut search: Search) -> Vec<usize> {
        // A neighbour reads what it gives: that is a use too.
        let hour = self.hour();
        let givers: Vec<usize> = search.found.iter().map(|at| self.houses[house].peers[*at].house).collect();
        for giver in givers {
            self.houses[giver].shelf.uses(&ware.id, hour);
        }
        if self.is_counted() {
            self.report.questions += search.questions;
            self.report.messages += 2 * search.questions;
            self.report.false_hits += search.questions - search.found.len() as u64;
        }
        search.found.truncate(FIND_AT_ONCE_MAX);
        search.found
    }
}
