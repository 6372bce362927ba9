//! Boxes find each other however they are plugged in, forget who goes, and are back soon when the network or a box was
//! away for a while. Nobody tells them anything but once a pairing code.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kith_tests::MIB;
use kith_tests::avahi::Avahi;
use kith_tests::body::Body;
use kith_tests::kith::{Kith, Setup};
use kith_tests::lab::{House, Lab};
use kith_tests::origin::Origin;
use kith_tests::pairing::{Window, join, pair};
use kith_tests::patience::{until, until_true};
use kith_tests::resource::Resource;
use kith_tests::tool::succeed;

/// For boxes that start while tests keep the machine busy.
const FOUND_LIMIT: Duration = Duration::from_secs(15);

/// What "at once" means while tests keep the machine busy: far below every time-out and lifetime that would do the same.
const SOON: Duration = Duration::from_secs(12);

/// A session whose other end says nothing ends after 30 s.
const LOST_LIMIT: Duration = Duration::from_secs(50);

fn sees(kith: &Kith, name: &str) -> bool {
    kith.neighbour(name).is_ok_and(|found| found.is_some())
}

fn is_connected(kith: &Kith, name: &str) -> bool {
    kith.neighbour(name).ok().flatten().is_some_and(|view| view["state"] == "connected")
}

fn address(kith: &Kith, name: &str) -> String {
    let view = kith.neighbour(name).ok().flatten().unwrap_or_default();
    view["address"].as_str().unwrap_or_default().to_owned()
}

fn see_each_other(one: &Kith, other: &Kith) -> Result<()> {
    until_true("the boxes see each other", FOUND_LIMIT, || sees(one, other.name()) && sees(other, one.name()))
}

fn connect(one: &Kith, other: &Kith) -> Result<()> {
    see_each_other(one, other)?;
    pair(one, other)?;
    are_connected(one, other, FOUND_LIMIT)
}

fn are_connected(one: &Kith, other: &Kith, limit: Duration) -> Result<()> {
    until_true("the boxes are connected", limit, || {
        is_connected(one, other.name()) && is_connected(other, one.name())
    })
}

/// Two boxes on a LAN without anything else. Fields are dropped in this order.
struct Two {
    a: Kith,
    b: Kith,
    lab: Lab,
}

impl Two {
    fn with(prepare: impl FnOnce(&Lab) -> Result<()>) -> Result<Self> {
        let mut lab = Lab::new()?;
        let (a_spot, b_spot) = (lab.plug_bare("a")?, lab.plug_bare("b")?);
        prepare(&lab)?;
        let (a, b) = (Lab::setup("a", &a_spot).start()?, Lab::setup("b", &b_spot).start()?);
        Ok(Self { a, b, lab })
    }

    fn paired(prepare: impl FnOnce(&Lab) -> Result<()>) -> Result<Self> {
        let two = Self::with(prepare)?;
        connect(&two.a, &two.b)?;
        Ok(two)
    }
}

/// So that an address tells which cable it is on.
fn without_ipv6(lab: &Lab) -> Result<()> {
    for name in ["a", "b"] {
        let off = "net.ipv6.conf.all.disable_ipv6=1";
        succeed(lab.place(name).command("sysctl").args(["-qw", off]))?;
    }
    Ok(())
}

#[test]
fn two_boxes_of_one_name_are_both_found_and_paired() -> Result<()> {
    let mut lab = Lab::new()?;
    let spots = [lab.plug_bare("a")?, lab.plug_bare("b")?, lab.plug_bare("c")?];
    let dens = [Lab::setup("den", &spots[0]).start()?, Lab::setup("den", &spots[1]).start()?];
    let hall = Lab::setup("hall", &spots[2]).start()?;
    for den in &dens {
        let id = node_id(den)?;
        until_true("both are seen", FOUND_LIMIT, || sees(&hall, &id))?;
        let window = Window::open(den)?;
        let said = join(&hall, &id[..16], &window.code)?;
        ensure!(said.code == 0, "{said:?}");
        ensure!(window.ended()? == 0);
    }
    until_true("both are connected", FOUND_LIMIT, || {
        let views = hall.neighbours().unwrap_or_default();
        views.iter().filter(|view| view["state"] == "connected").count() == 2
    })
}

fn node_id(kith: &Kith) -> Result<String> {
    Ok(kith.status()?["node_id"].as_str().context("a node id")?.to_owned())
}

#[test]
fn two_boxes_at_one_address_are_both_found_and_paired() -> Result<()> {
    let mut lab = Lab::new()?;
    let (spot, elsewhere) = (lab.plug_bare("a")?, lab.plug_bare("b")?);
    let den = Lab::setup("den", &spot).start()?;
    let attic = Lab::setup("attic", &spot)
        .set("clients.listen", "[\"[::]:9480\"]")
        .set("admin.listen", "[\"[::]:9481\"]")
        .set("neighbours.listen", "\"[::]:9482\"")
        .start()?;
    let hall = Lab::setup("hall", &elsewhere).start()?;
    for (one, other) in [(&hall, &den), (&hall, &attic), (&den, &attic)] {
        connect(one, other)?;
    }
    Ok(())
}

#[test]
fn a_box_on_two_networks_is_found_on_both() -> Result<()> {
    let mut lab = Lab::new()?;
    let spots = [lab.plug_bare("a")?, lab.plug_bare("b")?, lab.plug_bare("c")?];
    lab.second_lan()?;
    lab.plug_second("b", 12)?;
    lab.plug_second("c", 13)?;
    lab.unplug("c")?;
    let start = |name, spot| Lab::setup(name, spot).start();
    let (a, b, c) = (start("a", &spots[0])?, start("b", &spots[1])?, start("c", &spots[2])?);
    connect(&a, &b)?;
    connect(&b, &c)?;
    ensure!(!sees(&a, "c") && !sees(&c, "a"), "nothing is passed from one network to the other");
    Ok(())
}

#[test]
fn a_pair_with_two_cables_stays_one_when_a_cable_is_pulled() -> Result<()> {
    let two = Two::paired(|lab| {
        lab.second_lan()?;
        lab.plug_second("a", 11)?;
        lab.plug_second("b", 12)?;
        without_ipv6(lab)
    })?;
    let before = address(&two.a, "b");
    let cables = if before.starts_with("192.168.78") { ["q-a", "p-a"] } else { ["p-a", "q-a"] };
    for cable in cables {
        two.lab.ip("lan", &format!("link set {cable} down"))?;
        until_true("the boxes are connected by the other cable", SOON, || {
            let network = if cable == "p-a" { "192.168.78" } else { "192.168.77" };
            is_connected(&two.b, "a")
                && address(&two.a, "b").starts_with(network)
                && is_connected(&two.a, "b")
        })
        .with_context(|| format!("without {cable}: {:?} {:?}", two.a.neighbours(), two.b.neighbours()))?;
        two.lab.ip("lan", &format!("link set {cable} up"))?;
        until_true("the cable is in use again", FOUND_LIMIT, || sees(&two.a, "b") && sees(&two.b, "a"))?;
    }
    Ok(())
}

#[test]
fn boxes_without_ipv4_find_and_keep_each_other() -> Result<()> {
    let two = Two::paired(|lab| {
        for name in ["a", "b"] {
            lab.ip(name, "-4 addr flush dev lan0")?;
        }
        Ok(())
    })?;
    for (one, other) in [(&two.a, "b"), (&two.b, "a")] {
        let at = address(one, other);
        ensure!(at.starts_with("[fe80:"), "{at}");
    }
    Ok(())
}

/// As a router does that was told another network, or a lease that ended.
#[test]
fn a_box_whose_address_changes_is_soon_found_at_the_new_one() -> Result<()> {
    let two = Two::paired(without_ipv6)?;
    let old = address(&two.a, "b");
    let (ip, _) = old.split_once(':').context("a port")?;

    two.lab.ip("b", &format!("addr del {ip}/24 dev lan0"))?;
    two.lab.ip("b", "addr add 192.168.77.200/24 brd + dev lan0")?;

    until_true("b is connected at its new address", SOON, || {
        is_connected(&two.a, "b")
            && is_connected(&two.b, "a")
            && address(&two.a, "b") == "192.168.77.200:8482"
    })
    .with_context(|| format!("{:?}", two.a.neighbours()))
}

#[test]
fn a_box_that_stops_is_forgotten_at_once() -> Result<()> {
    let mut two = Two::with(|_| Ok(()))?;
    see_each_other(&two.a, &two.b)?;
    two.a.terminate()?;
    until_true("a is forgotten", SOON, || !sees(&two.b, "a"))?;
    two.a.start()?;
    see_each_other(&two.a, &two.b)
}

/// As a laptop whose lid is closed.
#[test]
fn a_box_that_stood_still_is_soon_back() -> Result<()> {
    let two = Two::paired(|_| Ok(()))?;
    two.a.freeze()?;
    until_true("b has given a up", LOST_LIMIT, || !is_connected(&two.b, "a"))?;
    two.a.thaw()?;
    are_connected(&two.a, &two.b, SOON)
}

#[test]
fn a_box_whose_cable_was_pulled_for_long_is_soon_back() -> Result<()> {
    let two = Two::paired(|_| Ok(()))?;
    two.lab.unplug("a")?;
    until_true("a has noticed", SOON, || !is_connected(&two.a, "b"))?;
    until_true("b has given a up", LOST_LIMIT, || !is_connected(&two.b, "a"))?;
    two.lab.replug("a")?;
    are_connected(&two.a, &two.b, SOON)
}

/// Who answers a question for an address of `name`, from a port that is not mDNS's own, so that the answers come to
/// us alone.
fn answers(socket: &UdpSocket, name: &str) -> Result<usize> {
    let mut question = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        question.push(u8::try_from(label.len())?);
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    socket.send_to(&question, (Ipv4Addr::new(224, 0, 0, 251), 5353))?;
    let mut answers = 0;
    let mut buffer = [0; 2048];
    while let Ok((length, _)) = socket.recv_from(&mut buffer) {
        answers += usize::from(length > 12 && buffer[6..8] != [0, 0]);
    }
    Ok(answers)
}

#[test]
fn beside_avahi_each_answers_for_its_own_name_only() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut lab = Lab::new()?;
    let (spot, elsewhere, client) = (lab.plug_bare("a")?, lab.plug_bare("b")?, lab.plug_client()?);
    let avahi = Avahi::start(folder.path(), &spot.place, "den")?;
    let den = Lab::setup("den", &spot).start()?;
    let attic = Lab::setup("attic", &elsewhere).start()?;
    connect(&den, &attic)?;
    let found = until("avahi finds both boxes", FOUND_LIMIT, || {
        avahi.browse("_kith._udp").ok().filter(|found| found.matches(";8482;").count() >= 2)
    })?;
    ensure!(found.contains("attic") && found.contains("den"), "{found}");

    let socket = client.place.enter(|| UdpSocket::bind(SocketAddr::new(client.address.into(), 0)))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    for name in ["den.local".to_owned(), format!("kith-{}.local", &node_id(&den)?[..12])] {
        until_true(&name, FOUND_LIMIT, || answers(&socket, &name).is_ok_and(|count| count > 0))?;
        assert_eq!(answers(&socket, &name)?, 1, "{name}");
    }
    Ok(())
}

/// Keys have no dates, questions tell their day, and what is signed is dated by who signed it.
#[test]
fn a_box_whose_clock_is_off_by_weeks_is_a_good_neighbour() -> Result<()> {
    let (first, second) = (Body::seeded(95, 8 * MIB), Body::seeded(96, 8 * MIB));
    let ahead = |setup: Setup| setup.days_ahead(40);
    let mut lab = Lab::new()?;
    let (a_spot, b_spot, client) = (lab.plug_box("a")?, lab.plug_box("b")?, lab.plug_client()?);
    let (place, at) = lab.origin();
    let script = Origin::serving("first", &first).and("second", Resource::of(second.clone()));
    let origin = script.at(&place, at).start()?;
    let a = Lab::setup("a", &a_spot).start()?;
    let b = ahead(Lab::setup("b", &b_spot))?.start()?;
    let house = House { a, b, origin, a_spot, b_spot, client, lab };
    connect(&house.a, &house.b)?;
    let given = |kith: &Kith| Ok::<_, anyhow::Error>(kith.metrics()?.served("neighbour"));

    for (giver, taker, path, body) in
        [(&house.a, &house.b, "first", &first), (&house.b, &house.a, "second", &second)]
    {
        ensure!(house.request(giver, path).fetch()?.sha256 == body.sha256());
        let names = if path == "first" { 1 } else { 2 };
        giver.wait_stored(names)?;
        until_true("the other box is told", Duration::from_secs(30), || {
            let view = taker.neighbour(giver.name()).ok().flatten().unwrap_or_default();
            view["filter"]["names"].as_u64() >= Some(1)
        })?;
        ensure!(house.request(taker, path).fetch()?.sha256 == body.sha256());
        ensure!(given(taker)? > 0, "{path}: {:?}", taker.metrics()?);
        taker.wait_stored(names)?;
    }
    Ok(())
}
