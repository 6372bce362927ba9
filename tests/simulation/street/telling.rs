//! What neighbours are told of a shelf, and when: `daemon/neighbour/src/telling.rs` without QUIC. Filters and the rule of
//! gathering are the real ones.

use std::time::Duration;

use kith_model::limits::FILTER_INTERVAL;
use kith_model::object::ObjectId;
use kith_neighbour::claim::Subject;
use kith_neighbour::filter::{self, Heard, Hearing, Told};
use kith_neighbour::gathering::{Gathering, News};

use super::{Happening, LIES, Street};

impl Street<'_> {
    /// Lets what is new wait for company (`daemon/neighbour/src/telling.rs`).
    pub(super) fn gather(&mut self, house: usize, news: News) {
        let here = &self.houses[house];
        let rule = Gathering::among(here.peers.len());
        let gathering = Gathering {
            file: self.setting.gather_file.unwrap_or(rule.file),
            minor: self.setting.gather_minor.unwrap_or(rule.minor),
        };
        let ms = |time: Duration| u64::try_from(time.as_millis()).expect("hours at most");
        let told_again_ms = here.told_ms + ms(FILTER_INTERVAL);
        let due_ms = told_again_ms.max(self.now_ms + ms(gathering.pause(news)));
        if here.tell_due_ms.is_none_or(|before| due_ms < before) {
            self.houses[house].tell_due_ms = Some(due_ms);
            self.later(due_ms, Happening::Tell { house });
        }
    }

    /// Tells all neighbours what has changed.
    pub(super) fn tell(&mut self, house: usize) {
        let here = &mut self.houses[house];
        (here.tell_due_ms, here.told_ms) = (None, self.now_ms);
        if !here.is_up {
            return;
        }
        let wares = &self.trace.wares;
        let subjects: Vec<_> = if here.is_liar {
            wares.iter().filter(|ware| ware.is_shared).take(LIES).map(|ware| ware.subject).collect()
        } else {
            self.told_subjects(house)
        };
        for at in 0..self.houses[house].peers.len() {
            let other = self.houses[house].peers[at].house;
            if self.houses[other].is_up {
                self.tell_one(house, at, &subjects);
            }
        }
    }

    pub(super) fn told_subjects(&self, house: usize) -> Vec<Subject> {
        let here = &self.houses[house];
        let held = here.shelf.ids().filter(|id| here.gives(id)).map(|id| &self.trace.wares[self.by_id[id]]);
        held.filter(|ware| ware.is_shared).map(|ware| ware.subject).collect()
    }

    pub(super) fn tell_one(&mut self, house: usize, at: usize, subjects: &[Subject]) {
        let (other, back) = (self.houses[house].peers[at].house, self.houses[house].peers[at].back);
        let secret = pair_secret(house.min(other), house.max(other));
        let before = self.houses[house].peers[at].told.take();
        let changed = before.and_then(|mut told| {
            let change = told.change(subjects.iter()).ok()?;
            Some((told, change))
        });
        let (told, message) = changed.unwrap_or_else(|| {
            let mut salt = [0; 16];
            salt[..8].copy_from_slice(&self.now_ms.to_be_bytes());
            salt[8..].copy_from_slice(&(house as u64).to_be_bytes());
            let neighbours = self.houses[house].peers.len();
            let (told, filter, bytes) = Told::whole(&secret, salt, neighbours, subjects.iter());
            (told, Some((filter, bytes)))
        });
        self.houses[house].peers[at].told = Some(told);
        let Some((filter, bytes)) = message else { return };
        let ear = &mut self.houses[other].peers[back];
        let heard = Heard::hear(ear.heard.take(), &secret, &filter, &bytes).expect("an honest code");
        let Hearing::Heard(heard) = heard else { panic!("changes follow each other") };
        ear.heard = Some(heard);
        ear.heard_ms = self.now_ms;
        if self.is_counted() {
            self.report.filters += 1;
            self.report.messages += 1;
            self.report.filter_bytes += filter::wire_bytes(&filter);
        }
    }
}

fn pair_secret(low: usize, high: usize) -> [u8; 32] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&low.to_be_bytes());
    bytes[8..].copy_from_slice(&high.to_be_bytes());
    *ObjectId::of(&bytes).as_bytes()
}
