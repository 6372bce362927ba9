//! What a box throws away when its neighbours hold it too, and how they learn of it.

mod common;

use common::*;
use kith_model::object::ObjectId;
use kith_model::shelf::precedence;
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

/// Files that both boxes have: two of which the first one comes first, and two of which the second one does.
fn common_files(den: &Home, attic: &Home) -> Vec<(bool, Vec<u8>)> {
    let order = |body: &[u8]| {
        let of = |home: &Home| precedence(&object_of(body), home.neighbours.id().as_bytes());
        of(den) > of(attic)
    };
    let bytes = sample(LENGTH + 64);
    let all = (0..64).map(|start| bytes[start..][..usize_of(LENGTH)].to_vec());
    let (mut first, mut second): (Vec<_>, Vec<_>) =
        all.map(|body| (order(&body), body)).partition(|(is_first, _)| *is_first);
    first.truncate(2);
    second.truncate(2);
    first.extend(second);
    assert_eq!(first.len(), 4, "of 64 files two at least are of each kind");
    first
}

#[tokio::test]
async fn of_two_copies_the_second_goes_and_the_next_filter_says_so() {
    let (den, attic) = (Home::start_small("den", SHELF), Home::start_small("attic", SHELF));
    let files = common_files(&den, &attic);
    for (number, (_, body)) in files.iter().enumerate() {
        den.put(&url(number), body, &[]).await;
        attic.put(&url(number), body, &[]).await;
    }
    join(&den, &attic, Role::Mine).await;
    attic.is_told(4).await;
    den.is_told(4).await;
    let bytes = sample(LENGTH + 1000);
    for number in 100..107 {
        attic.put(&url(number), &bytes[number..][..usize_of(LENGTH)], &[]).await;
    }
    den.is_told(9).await;
    for (is_first_there, body) in &files {
        assert!(holds(&den, &object_of(body)));
        assert_eq!(holds(&attic, &object_of(body)), !is_first_there);
    }
}
