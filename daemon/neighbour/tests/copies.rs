//! What a box throws away when its neighbours hold it too, and how they learn of it.

mod common;

use common::*;
use kith_model::object::ObjectId;
use kith_model::trust::Role;

const LENGTH: u64 = 4 * MIB;

/// Nine tenths of it are ten files and a little.
const SHELF: u64 = 48 * MIB;

fn url(number: usize) -> String {
    format!("https://example.org/{number}.iso")
}

fn holds(home: &Home, object: &ObjectId) -> bool {
    home.store.object(object).expect("index").is_some()
}

#[tokio::test]
async fn of_two_copies_the_second_goes_and_the_next_filter_says_so() {
    let (den, attic) = (Home::start_small("den", SHELF), Home::start_small("attic", SHELF));
    let bytes = sample(LENGTH + 1000);
    let body = |number: usize| &bytes[number..][..usize_of(LENGTH)];
    let (mut common, mut own) = (Vec::new(), Vec::new());
    for number in 0..4 {
        common.push(den.put(&url(number), body(number), &[]).await.id);
    }
    join(&den, &attic, Role::Mine).await;
    attic.is_told(4).await;
    for (number, id) in common.iter().enumerate() {
        assert_eq!(attic.fetch(&url(number), LENGTH).await.id, *id);
    }
    for number in 4..11 {
        own.push(attic.put(&url(number), body(number), &[]).await.id);
    }
    // Two had to go.
    den.is_told(9).await;
    assert!(own.iter().all(|id| holds(&attic, id)), "of these there is one copy");
    assert_eq!(common.iter().filter(|id| holds(&attic, id)).count(), 2);
    assert!(common.iter().all(|id| holds(&den, id)));
}
