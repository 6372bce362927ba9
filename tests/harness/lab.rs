//! A home network made of network namespaces; nothing in them reaches the machine's own network.
//!
//! ```text
//!   box a .11   box b .12   box c .13   client .21          origin 203.0.113.10
//!      |           |           |           |                  |     |     |
//!   ===+===========+===========+===========+===  LAN          |     |     |
//!      bridge, 192.168.77.0/24, unshaped                      |     |     |
//!      a ------------------- 198.51.100.0/30 -----------------+     |     |
//!      b ------------------- 198.51.100.4/30 -----------------------+     |   each link shaped both ways
//!      c ------------------- 198.51.100.8/30 -----------------------------+
//! ```
//!
//! Every box has an uplink of its own instead of a router with NAT: what counts is that the LAN is fast and the way
//! to the origin is slow. The client has no way out but through a box. Needs root. Names begin with `kt` and the
//! process's number, so that runs don't collide; all is taken down when dropped, also by a panic.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::client::Request;
use crate::kith::{Kith, Setup};
use crate::origin::{Origin, Script};
use crate::pairing::pair;
use crate::patience::until_true;
use crate::place::Place;
use crate::tool;

/// Two boxes that are a pair, an origin, a client, and an unshaped network. Fields are dropped in this order.
#[derive(Debug)]
pub struct House {
    /// The first box.
    pub a: Kith,
    /// The second box.
    pub b: Kith,
    /// Serves both.
    pub origin: Origin,
    /// Where the first box stands.
    pub a_spot: Spot,
    /// Where the second box stands.
    pub b_spot: Spot,
    /// Where clients stand.
    pub client: Spot,
    /// All of it.
    pub lab: Lab,
}

impl House {
    /// Builds it; the boxes see each other and are not paired yet.
    pub fn with(script: Script) -> Result<Self> {
        Self::with_boxes(script, |setup| setup)
    }

    fn with_boxes(script: Script, adjusted: impl Fn(Setup) -> Setup) -> Result<Self> {
        let mut lab = Lab::new()?;
        let (a_spot, b_spot, client) = (lab.plug_box("a")?, lab.plug_box("b")?, lab.plug_client()?);
        let (place, address) = lab.origin();
        let origin = script.at(&place, address).start()?;
        let a = adjusted(Lab::setup("a", &a_spot)).start()?;
        let b = adjusted(Lab::setup("b", &b_spot)).start()?;
        for (one, other) in [(&a, "b"), (&b, "a")] {
            until_true("the boxes see each other", DISCOVERY_LIMIT, || {
                one.neighbour(other).is_ok_and(|found| found.is_some())
            })?;
        }
        Ok(Self { a, b, origin, a_spot, b_spot, client, lab })
    }

    /// As [`Self::with`], and the boxes are a pair.
    pub fn paired(script: Script) -> Result<Self> {
        Self::paired_as(script, |setup| setup)
    }

    /// As [`Self::paired`], with settings of their own for both boxes.
    pub fn paired_as(script: Script, adjusted: impl Fn(Setup) -> Setup) -> Result<Self> {
        let house = Self::with_boxes(script, adjusted)?;
        pair(&house.a, &house.b)?;
        house.wait_connected()?;
        Ok(house)
    }

    /// Waits until the boxes hold a connection.
    pub fn wait_connected(&self) -> Result<()> {
        for (one, other) in [(&self.a, "b"), (&self.b, "a")] {
            until_true("the boxes are connected", CONNECTION_LIMIT, || {
                let found = one.neighbour(other).ok().flatten();
                found.is_some_and(|view| view["state"] == "connected")
            })?;
        }
        Ok(())
    }

    /// A request of the client through a box.
    pub fn request(&self, kith: &Kith, path: &str) -> Request {
        Request::by_prefix(kith, &self.origin.url(path)).from(&self.client.place)
    }

    /// Lets the first box fetch a file, and waits until it lies on its shelf: only then can it be offered.
    pub fn fill_a(&self, path: &str) -> Result<()> {
        let before = self.a.metrics()?.count("kith_store_objects");
        let received = self.request(&self.a, path).fetch()?;
        ensure!(received.whole && received.status() == 200, "filling a: {:?}", received.head);
        self.a.wait_stored(before + 1)
    }

    /// What the origin sent to the second box.
    pub fn sent_to_b(&self) -> u64 {
        let uplink = self.b_spot.uplink.expect("a box has an uplink");
        self.origin.requests_from(uplink).iter().map(|seen| seen.sent).sum()
    }
}

/// Many boxes on one LAN, and nothing else. Fields are dropped in this order.
#[derive(Debug)]
pub struct Street {
    /// `box-0` and so on.
    pub boxes: Vec<Kith>,
    /// Where each of them stands.
    pub spots: Vec<Spot>,
    /// All of it.
    pub lab: Lab,
}

impl Street {
    /// Starts that many at once.
    pub fn of(count: usize) -> Result<Self> {
        let mut lab = Lab::new()?;
        let spots: Vec<Spot> =
            (0..count).map(|number| lab.plug_bare(&format!("b{number}"))).collect::<Result<_>>()?;
        let boxes = std::thread::scope(|scope| {
            let start =
                |(number, spot)| scope.spawn(move || Lab::setup(&format!("box-{number}"), spot).start());
            let starting: Vec<_> = spots.iter().enumerate().map(start).collect();
            starting.into_iter().map(|start| start.join().expect("it does not panic")).collect::<Result<_>>()
        })?;
        Ok(Self { boxes, spots, lab })
    }

    /// Waits until each sees all others.
    pub fn wait_seen(&self, limit: Duration) -> Result<()> {
        let others = self.boxes.len() - 1;
        until_true("all boxes see each other", limit, || {
            self.boxes.iter().all(|kith| kith.neighbours().is_ok_and(|views| views.len() == others))
        })
    }
}

/// For boxes that start while tests keep the machine busy; the promise itself is 3 s and has its own test.
const DISCOVERY_LIMIT: Duration = Duration::from_secs(15);

/// Boxes that are a pair hold a connection soon.
const CONNECTION_LIMIT: Duration = Duration::from_secs(15);

/// Where the origin is, seen from every box.
pub const ORIGIN: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

/// A place in the lab with its address on the LAN.
#[derive(Clone, Debug)]
pub struct Spot {
    /// Namespace.
    pub place: Place,
    /// On the LAN.
    pub address: Ipv4Addr,
    /// As the origin sees it; a client has none.
    pub uplink: Option<IpAddr>,
}

/// The network. Taken down when dropped.
#[derive(Debug)]
pub struct Lab {
    prefix: String,
    names: Vec<String>,
    /// Names of those with an uplink.
    boxes: Vec<String>,
}

impl Lab {
    /// A LAN and an origin, nothing else.
    pub fn new() -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "the lab makes network namespaces: run the tests as root, or leave the lab out"
        );
        let mut lab =
            Self { prefix: format!("kt{}", std::process::id()), names: Vec::new(), boxes: Vec::new() };
        lab.namespace("lan")?;
        lab.namespace("origin")?;
        lab.ip("lan", "link add lan type bridge mcast_snooping 0 forward_delay 0 stp_state 0")?;
        lab.ip("lan", "link set lan up")?;
        lab.ip("origin", &format!("addr add {ORIGIN}/32 dev lo"))?;
        Ok(lab)
    }

    /// Plugs a box into the LAN and gives it an uplink, as fast as the machine for now.
    pub fn plug_box(&mut self, name: &str) -> Result<Spot> {
        let index = u8::try_from(self.boxes.len())?;
        self.boxes.push(name.to_owned());
        let mut spot = self.plug(name, Ipv4Addr::new(192, 168, 77, 11 + index))?;
        let (theirs, ours) = (4 * index + 1, 4 * index + 2);
        let port = format!("up-{name}");
        self.wire((name, "wan0"), ("origin", &port))?;
        self.ip(name, &format!("addr add 198.51.100.{ours}/30 dev wan0"))?;
        self.ip("origin", &format!("addr add 198.51.100.{theirs}/30 dev {port}"))?;
        self.ip(name, &format!("route add default via 198.51.100.{theirs}"))?;
        spot.uplink = Some(Ipv4Addr::new(198, 51, 100, ours).into());
        Ok(spot)
    }

    /// Gives every uplink that many Mbit/s, each way, from now on.
    pub fn shape_uplinks(&self, mbit: u32) -> Result<()> {
        for name in &self.boxes {
            self.shape("origin", &format!("up-{name}"), mbit)?;
            self.shape(name, "wan0", mbit)?;
        }
        Ok(())
    }

    /// Gives a place's cable to the LAN that many Mbit/s towards the others, from now on.
    pub fn shape_cable(&self, name: &str, mbit: u32) -> Result<()> {
        self.shape(name, "lan0", mbit)
    }

    /// As fast as the machine again.
    pub fn unshape_cable(&self, name: &str) -> Result<()> {
        let mut command = self.place(name).command("tc");
        tool::succeed(command.args(["qdisc", "delete", "dev", "lan0", "root"])).map(drop)
    }

    /// The largest packet of the LAN, on every cable in it.
    pub fn lan_mtu(&self, bytes: u16) -> Result<()> {
        for name in self.names.iter().filter(|name| !["lan", "origin"].contains(&name.as_str())) {
            self.ip("lan", &format!("link set p-{name} mtu {bytes}"))?;
            self.ip(name, &format!("link set lan0 mtu {bytes}"))?;
        }
        Ok(())
    }

    /// Lets hardly anything through one uplink, each way, from now on: 200 kbit/s.
    pub fn choke_uplink(&self, name: &str) -> Result<()> {
        self.shape_to("origin", &format!("up-{name}"), "200kbit")?;
        self.shape_to(name, "wan0", "200kbit")
    }

    /// Plugs a client into the LAN.
    pub fn plug_client(&mut self) -> Result<Spot> {
        self.plug("client", Ipv4Addr::new(192, 168, 77, 21))
    }

    /// Plugs in something that has neither an uplink nor a way out.
    pub fn plug_bare(&mut self, name: &str) -> Result<Spot> {
        let index = u8::try_from(self.names.len())?;
        self.plug(name, Ipv4Addr::new(192, 168, 77, 100 + index))
    }

    /// A second LAN, 192.168.78.0/24, beside the first.
    pub fn second_lan(&self) -> Result<()> {
        self.ip("lan", "link add lan2 type bridge mcast_snooping 0 forward_delay 0 stp_state 0")?;
        self.ip("lan", "link set lan2 up")
    }

    /// Plugs a place into the second LAN as well.
    pub fn plug_second(&self, name: &str, host: u8) -> Result<()> {
        let port = format!("q-{name}");
        self.wire((name, "lan1"), ("lan", &port))?;
        self.ip("lan", &format!("link set {port} master lan2"))?;
        self.ip(name, &format!("addr add 192.168.78.{host}/24 brd + dev lan1"))
    }

    /// Where the origin stands.
    pub fn origin(&self) -> (Place, SocketAddr) {
        (self.place("origin"), SocketAddr::from((ORIGIN, 8000)))
    }

    /// A box there, with the settings it needs to fetch from the lab's origin.
    pub fn setup(name: &str, spot: &Spot) -> Setup {
        Kith::named(name).at(&spot.place, spot.address).set("origins.allow_private", "[\"203.0.113.0/24\"]")
    }

    /// Cuts a place's cable to the LAN.
    pub fn unplug(&self, name: &str) -> Result<()> {
        self.ip("lan", &format!("link set p-{name} down"))
    }

    /// Plugs a place's cable in again.
    pub fn replug(&self, name: &str) -> Result<()> {
        self.ip("lan", &format!("link set p-{name} up"))
    }

    /// The bridge's end of a place's cable, in the namespace of the bridge.
    pub fn port(&self, name: &str) -> (Place, String) {
        (self.place("lan"), format!("p-{name}"))
    }

    fn plug(&mut self, name: &str, address: Ipv4Addr) -> Result<Spot> {
        self.namespace(name)?;
        let port = format!("p-{name}");
        self.wire((name, "lan0"), ("lan", &port))?;
        self.ip("lan", &format!("link set {port} master lan"))?;
        self.ip(name, &format!("addr add {address}/24 brd + dev lan0"))?;
        Ok(Spot { place: self.place(name), address, uplink: None })
    }

    /// A cable between two namespaces, both ends up.
    fn wire(&self, (name, end): (&str, &str), (other, other_end): (&str, &str)) -> Result<()> {
        let (ours, theirs) = (self.full(name), self.full(other));
        ip(&format!("link add {end} netns {ours} type veth peer name {other_end} netns {theirs}"))?;
        self.ip(name, &format!("link set {end} up"))?;
        self.ip(other, &format!("link set {other_end} up"))
    }

    /// `tbf`: a burst of at least rate / HZ, a queue of 50 ms.
    fn shape(&self, name: &str, end: &str, mbit: u32) -> Result<()> {
        self.shape_to(name, end, &format!("{mbit}mbit"))
    }

    fn shape_to(&self, name: &str, end: &str, rate: &str) -> Result<()> {
        let mut command = self.place(name).command("tc");
        command.args([
            "qdisc", "replace", "dev", end, "root", "tbf", "rate", rate, "burst", "64kb", "latency", "50ms",
        ]);
        tool::succeed(&mut command).map(drop)
    }

    fn namespace(&mut self, name: &str) -> Result<()> {
        ip(&format!("netns add {}", self.full(name)))?;
        self.names.push(name.to_owned());
        // Link-local addresses at once, without asking around first: a box would otherwise start before it has any.
        let mut command = self.place(name).command("sysctl");
        tool::succeed(command.args([
            "-qw",
            "net.ipv6.conf.default.accept_dad=0",
            "net.ipv6.conf.all.accept_dad=0",
        ]))?;
        self.ip(name, "link set lo up")
    }

    /// `ip` in the namespace of that name.
    pub fn ip(&self, name: &str, words: &str) -> Result<()> {
        ip(&format!("-n {} {words}", self.full(name)))
    }

    /// The namespace of that name.
    pub fn place(&self, name: &str) -> Place {
        Place::Namespace(self.full(name))
    }

    fn full(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Processes of the lab are children of their own owners, which are dropped before; cables go with their ends.
        for name in &self.names {
            let _ = ip(&format!("netns del {}", self.full(name)));
        }
    }
}

fn ip(words: &str) -> Result<()> {
    tool::succeed(std::process::Command::new("ip").args(words.split(' '))).map(drop)
}
