//! What download tools are told: where else the bytes are, and the metalink of what is held.

use data_encoding::HEXLOWER;
use kith_gateway::Touch;

use crate::house::{House, Site, sample};

const URL: &str = "http://a.test/d/f%20g.iso";

#[tokio::test]
async fn a_held_file_is_linked_by_hash_and_described_by_a_metalink() {
    let body = sample(2_000_000);
    let hex = HEXLOWER.encode(ring::digest::digest(&ring::digest::SHA256, &body).as_ref());
    let house = House::start_with(Site::serving(body.clone()), |config| config.touch = Touch::Rfc9111);
    assert_eq!(house.get(&format!("{URL}?kith=meta4"), "").await.status, 404);
    let miss = house.get(URL, "").await;
    assert_eq!(miss.field("link"), None, "what is not held yet is not offered");
    house.stored(URL).await;

    let hit = house.get(URL, "Range: bytes=0-9\r\n").await;
    let link = hit.field("link").expect("a link").to_owned();
    let by_hash = format!("/sha256/{hex}?name=f%20g.iso");
    assert_eq!(link, format!("<http://attic{by_hash}>; rel=duplicate"));

    let described = house.get(&format!("{URL}?kith=meta4"), "").await;
    assert_eq!((described.status, described.field("content-type")), (200, Some("application/metalink4+xml")));
    let text = String::from_utf8(described.body).expect("text");
    assert!(text.contains(&format!("<hash type=\"sha-256\">{hex}</hash>")), "{text}");
    assert!(text.contains("<size>2000000</size>") && text.contains("<file name=\"f g.iso\">"), "{text}");
    assert!(text.contains(&format!("{by_hash}</url>")) && text.contains(&format!(">{URL}</url>")), "{text}");
    assert_eq!(house.questions(), 1, "the question about it is not the site's");

    let question = format!("GET {by_hash} HTTP/1.1\r\nHost: attic\r\nConnection: close\r\n\r\n");
    let bytes = house.say(&question).await;
    assert_eq!((bytes.status, bytes.body == body), (200, true));
    assert_eq!(bytes.field("accept-ranges"), Some("bytes"));
    assert!(bytes.field("etag").is_some_and(|tag| tag.starts_with("\"b3-")));
}

#[tokio::test]
async fn small_files_are_not_linked() {
    let house = House::start(Site::serving(sample(1000)));
    house.get(URL, "").await;
    house.stored(URL).await;
    assert_eq!(house.get(URL, "").await.field("link"), None);
}
