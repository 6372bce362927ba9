//! Turns in virtual time, over boxes that always have something more to be sent.

use proptest::prelude::*;

use super::*;

/// One slice.
const SLICE: u32 = 256 * 1024;

const RATE: u32 = 4 * 1024 * 1024;

fn id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

/// A box, its transfers, and when they come and go.
#[derive(Clone, Debug)]
struct Asker {
    id: NodeId,
    role: Role,
    transfers: usize,
    /// Each transfer gives its place up after every slice and takes it again.
    hops: bool,
    comes: Duration,
    goes: Duration,
}

impl Asker {
    fn new(number: u8, role: Role, transfers: usize) -> Self {
        let goes = Duration::from_secs(3600);
        Self { id: id(number), role, transfers, hops: false, comes: Duration::ZERO, goes }
    }

    fn hopping(self) -> Self {
        Self { hops: true, ..self }
    }

    fn between(self, comes: u64, goes: u64) -> Self {
        Self { comes: Duration::from_secs(comes), goes: Duration::from_secs(goes), ..self }
    }
}

struct Street {
    turns: Turns,
    askers: Vec<Asker>,
    /// Tickets of each box.
    tickets: Vec<Vec<u64>>,
    sent: Vec<u64>,
    start: Instant,
    now: Duration,
}

impl Street {
    fn new(rates: Rates, askers: Vec<Asker>) -> Self {
        let start = Instant::now();
        let (tickets, sent) = (vec![Vec::new(); askers.len()], vec![0; askers.len()]);
        Self { turns: Turns::new(rates, start), askers, tickets, sent, start, now: Duration::ZERO }
    }

    /// Goes on until then, and says what each was sent meanwhile.
    fn run_until(&mut self, seconds: u64) -> Vec<u64> {
        let before = self.sent.clone();
        while self.now < Duration::from_secs(seconds) {
            self.come_and_go();
            self.serve();
            self.now += Duration::from_millis(5);
        }
        self.sent.iter().zip(before).map(|(sent, before)| sent - before).collect()
    }

    fn come_and_go(&mut self) {
        for (asker, tickets) in self.askers.iter().zip(&mut self.tickets) {
            let is_there = (asker.comes..asker.goes).contains(&self.now);
            if !is_there {
                for ticket in tickets.drain(..) {
                    self.turns.give_up(ticket);
                    self.turns.leave(&asker.id);
                }
            }
            while is_there && tickets.len() < asker.transfers && self.turns.admit(asker.id, asker.role) {
                tickets.push(self.turns.ask(asker.id, SLICE));
            }
        }
    }

    /// Nobody knows of the others: each asks for itself until nobody is lucky.
    fn serve(&mut self) {
        let now = self.start + self.now;
        let mut is_moving = true;
        let mut rounds = 0;
        while is_moving && rounds < 1000 {
            is_moving = false;
            rounds += 1;
            for (index, asker) in self.askers.iter().enumerate() {
                let (turns, sent) = (&mut self.turns, &mut self.sent[index]);
                self.tickets[index].retain_mut(|ticket| {
                    if turns.turn(*ticket, now) != Turn::Now {
                        return true;
                    }
                    is_moving = true;
                    *sent += u64::from(SLICE);
                    if asker.hops {
                        turns.leave(&asker.id);
                    }
                    let stays = !asker.hops || turns.admit(asker.id, asker.role);
                    if stays {
                        *ticket = turns.ask(asker.id, SLICE);
                    }
                    stays
                });
            }
        }
    }
}

fn capped(all: u32) -> Rates {
    Rates { all: Some(all), others: None }
}

#[test]
fn a_box_with_many_transfers_gets_no_more_than_one_with_one() {
    use Role::{Mine, Neighbour};
    for role in [Mine, Neighbour] {
        let askers = vec![
            Asker::new(1, role, 6),
            Asker::new(2, role, 1),
            Asker::new(3, role, 1).hopping(),
            Asker::new(4, role, 2),
        ];
        let sent = Street::new(capped(RATE), askers).run_until(60);
        let (least, most) = (sent.iter().min().expect("four"), sent.iter().max().expect("four"));
        assert!(most - least <= 2 * u64::from(SLICE), "{sent:?}");
    }
}

#[test]
fn who_comes_later_gets_its_share_from_then_on_and_no_more() {
    let askers = vec![
        Asker::new(1, Role::Neighbour, 4),
        Asker::new(2, Role::Neighbour, 4).between(30, 90),
        Asker::new(3, Role::Neighbour, 1).between(60, 3600),
    ];
    let mut street = Street::new(capped(RATE), askers);
    let alone = street.run_until(30);
    assert!(alone[0] >= u64::from(RATE) * 29, "{alone:?}");
    let two = street.run_until(60);
    assert!(two[0].abs_diff(two[1]) <= 2 * u64::from(SLICE), "{two:?}");
    let three = street.run_until(90);
    assert!(three[0].abs_diff(three[2]) <= 2 * u64::from(SLICE), "{three:?}");
    let last = street.run_until(120);
    assert!(last[1] == 0 && last[0].abs_diff(last[2]) <= 2 * u64::from(SLICE), "{last:?}");
}

#[test]
fn the_household_goes_first_and_others_go_on_when_it_is_through() {
    let askers = vec![
        Asker::new(1, Role::Neighbour, 6),
        Asker::new(2, Role::Mine, 1).between(10, 20),
        Asker::new(3, Role::Neighbour, 1),
    ];
    let mut street = Street::new(capped(RATE), askers);
    street.run_until(10);
    let during = street.run_until(20);
    assert!(during[1] >= u64::from(RATE) * 9, "{during:?}");
    assert_eq!((during[0], during[2]), (0, 0));
    let after = street.run_until(30);
    assert!(after[0].abs_diff(after[2]) <= 2 * u64::from(SLICE), "{after:?}");
    assert!(after[0] + after[2] >= u64::from(RATE) * 9, "{after:?}");
}

#[test]
fn without_a_cap_the_household_waits_for_nothing_and_others_are_capped_all_the_same() {
    let rates = Rates { all: None, others: Some(RATE) };
    let mut turns = Turns::new(rates, Instant::now());
    let now = Instant::now();
    assert!(turns.admit(id(1), Role::Mine) && turns.admit(id(2), Role::Neighbour));
    for _ in 0..1000 {
        let ticket = turns.ask(id(1), SLICE);
        assert_eq!(turns.turn(ticket, now), Turn::Now);
    }
    let askers = vec![Asker::new(1, Role::Neighbour, 3), Asker::new(2, Role::Neighbour, 3)];
    let sent: u64 = Street::new(rates, askers).run_until(60).iter().sum();
    let (least, most) = (u64::from(RATE) * 59, u64::from(RATE) * 60 + u64::from(RATE / 4 + SLICE));
    assert!((least..=most).contains(&sent), "{sent}");
}

#[test]
fn nobody_takes_the_last_places() {
    let mut turns = Turns::new(Rates::default(), Instant::now());
    let take_all = |turns: &mut Turns, number| {
        std::iter::repeat_with(|| turns.admit(id(number), Role::Mine)).take_while(|is_in| *is_in).count()
    };
    let taken: Vec<usize> = (0..8).map(|number| take_all(&mut turns, number)).collect();
    assert_eq!(taken, [8, 4, 2, 1, 1, 0, 0, 0]);
    turns.leave(&id(0));
    assert_eq!((take_all(&mut turns, 0), take_all(&mut turns, 7)), (0, 1));
}

proptest! {
    /// Whoever comes and goes: the rate holds, nobody who waits is passed over by more than its turn, and nothing is
    /// remembered of who is gone for long.
    #[test]
    fn the_rate_and_the_shares_hold_whoever_comes_and_goes(
        askers in proptest::collection::vec(
            (any::<bool>(), 1usize..6, any::<bool>(), 0u64..10, 1u64..20), 1..8),
    ) {
        let askers: Vec<Asker> = askers.into_iter().enumerate().map(|(number, (mine, transfers, hops, comes, stays))| {
            let role = if mine { Role::Mine } else { Role::Neighbour };
            let number = u8::try_from(number).expect("few");
            Asker { hops, ..Asker::new(number, role, transfers).between(comes, comes + stays) }
        }).collect();
        let mut street = Street::new(capped(RATE), askers);
        let sent: u64 = street.run_until(40).iter().sum();
        prop_assert!(sent <= u64::from(RATE) * 40 + u64::from(RATE / 4 + SLICE), "{}", sent);
        prop_assert!(street.turns.waiting.is_empty());
        let places: usize = street.turns.guests.iter().map(|guest| guest.places).sum();
        prop_assert_eq!(places, 0);
        prop_assert!(street.turns.guests.len() <= 8);
    }
}

#[tokio::test]
async fn a_transfer_that_ends_while_it_waits_holds_nobody_up() {
    let uploads = Uploads::new(capped(RATE));
    let first = uploads.admit(id(1), Role::Mine).expect("room");
    let second = uploads.admit(id(2), Role::Mine).expect("room");
    first.turn(RATE).await;
    let waiting = tokio::time::timeout(Duration::from_millis(1), first.turn(SLICE)).await;
    assert!(waiting.is_err(), "the rate is used up for a while");
    second.turn(SLICE).await;
    drop((first, second));
    assert!(uploads.turns().waiting.is_empty());
}
