//! Boxes of two households: what one holds helps the other as far as the website's own word proves it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use kith_tests::MIB;
use kith_tests::body::Body;
use kith_tests::client::Request;
use kith_tests::dns::Dns;
use kith_tests::lab::{House, Lab, ORIGIN};
use kith_tests::origin::Origin;
use kith_tests::pairing::Window;
use kith_tests::patience::until_true;
use kith_tests::resource::Resource;

const LENGTH: u64 = 32 * MIB;

/// Of each uplink.
const UPLINK_MBIT: u32 = 20;

/// A public name at the usual port: what lies elsewhere is nothing for other households.
const HOST: &str = "files.example.org";

/// The digest in the URL is the website's word, also over plain http; one other household alone is not believed before
/// it was checked. Until then the client gets what the website sends.
#[test]
fn what_another_household_holds_fills_the_back_of_a_file_that_its_url_names_by_digest() -> Result<()> {
    let body = Body::seeded(91, LENGTH);
    let path = format!("pool/by-hash/SHA256/{}", body.sha256());
    let mut lab = Lab::new()?;
    let (a_spot, b_spot, client) = (lab.plug_box("a")?, lab.plug_box("b")?, lab.plug_client()?);
    let (place, _) = lab.origin();
    let resolver = SocketAddr::from((ORIGIN, 53));
    let _dns = Dns::start_at(&place, resolver, [(HOST.to_owned(), vec![ORIGIN.into()])].into())?;
    let script = Origin::empty().and(&path, Resource::of(body.clone()));
    let origin = script.at(&place, SocketAddr::from((ORIGIN, 80))).start()?;
    let setup = |name, spot| Lab::setup(name, spot).set("origins.resolver", &format!("\"{resolver}\""));
    let (a, b) = (setup("a", &a_spot).start()?, setup("b", &b_spot).start()?);
    until_true("the boxes see each other", Duration::from_secs(15), || {
        b.neighbour("a").is_ok_and(|found| found.is_some())
    })?;
    let house = House { a, b, origin, a_spot, b_spot, client, lab };
    let window = Window::open(&house.a)?;
    let said = house.b.cli(["pair", "a", &window.code, "--role", "neighbour"])?;
    ensure!(said.code == 0, "{said:?}");
    house.wait_connected()?;
    let url = format!("http://{HOST}/{path}");
    let get = |kith| Request::by_prefix(kith, &url).from(&house.client.place).fetch();
    ensure!(get(&house.a)?.sha256 == body.sha256());
    until_true("b was told what a holds", Duration::from_secs(30), || {
        house.b.neighbour("a").ok().flatten().is_some_and(|view| view["filter"]["names"].as_u64() >= Some(1))
    })?;
    house.lab.shape_uplinks(UPLINK_MBIT)?;

    let received = get(&house.b)?;

    ensure!(received.whole && received.sha256 == body.sha256(), "{} bytes", received.bytes);
    let metrics = house.b.metrics()?;
    ensure!(metrics.served("neighbour") >= LENGTH / 2, "{metrics:?}");
    ensure!(house.sent_to_b() <= LENGTH / 2, "the origin sent {} bytes to b", house.sent_to_b());
    Ok(())
}
