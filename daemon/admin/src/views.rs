//! The house as JSON for people and programs.

use std::collections::BTreeMap;

use kith_fetch::running::JobView;
use kith_model::object::ObjectId;
use kith_model::representation::{ObjectInfo, Representation};
use kith_store::IndexError;
use serde::Serialize;

use crate::house::{Admin, NeighbourView};

/// Objects on one page.
pub(crate) const PAGE_OBJECTS_MAX: usize = 500;

/// How much is told. Without a session nobody learns which files the house downloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Everything, to the owner.
    Full,
    /// Hosts, not URLs, to anybody in the house.
    Hosts,
}

/// `GET /api/v1/status`.
#[derive(Debug, Serialize)]
pub(crate) struct Status<'a> {
    version: &'static str,
    name: &'a str,
    node_id: &'a str,
    key_words: &'a str,
    profile: &'static str,
    pid: u32,
    uptime_s: u64,
    clients: Vec<String>,
    apt: Vec<String>,
    admin: Vec<String>,
    neighbours: Vec<String>,
    paired: u64,
    connected: u64,
    jobs: u64,
    store: Shelf,
    served: Served,
    fetched: Fetched,
    groups_proven: u64,
    mismatches: u64,
    false_claims: u64,
    saved_ms: u64,
    memory_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Shelf {
    objects: u64,
    bytes: u64,
    bytes_max: u64,
    partial_bytes: u64,
    written_bytes: u64,
    evicted: u64,
}

/// Bytes given to clients since start, by source.
#[derive(Debug, Serialize)]
struct Served {
    store: u64,
    origin: u64,
    neighbour: u64,
}

/// What came in since start.
#[derive(Debug, Serialize)]
struct Fetched {
    asked: u64,
    origin: u64,
    neighbour: u64,
}

pub(crate) fn status(admin: &Admin) -> Status<'_> {
    let parts = admin.parts();
    let facts = &parts.facts;
    let counters = parts.fetcher.counters();
    let usage = parts.store.usage();
    let views = parts.neighbourhood.views();
    let texts = |addresses: &[std::net::SocketAddr]| addresses.iter().map(ToString::to_string).collect();
    Status {
        version: facts.version,
        name: &facts.name,
        node_id: &facts.node_id,
        key_words: &facts.key_words,
        profile: facts.profile,
        pid: std::process::id(),
        uptime_s: facts.started.elapsed().as_secs(),
        clients: texts(&facts.clients),
        apt: texts(&facts.apt),
        admin: texts(&facts.admin),
        neighbours: texts(&facts.neighbours),
        paired: views.iter().filter(|view| view.role != "none").count() as u64,
        connected: views.iter().filter(|view| view.state == "connected").count() as u64,
        jobs: parts.fetcher.jobs().len() as u64,
        store: Shelf {
            objects: usage.objects,
            bytes: usage.bytes,
            bytes_max: usage.bytes_max,
            partial_bytes: usage.partial_bytes,
            written_bytes: usage.written_bytes,
            evicted: usage.evicted,
        },
        served: Served {
            store: counters.served_store.count(),
            origin: counters.served_origin.count(),
            neighbour: counters.served_neighbour.count(),
        },
        fetched: Fetched {
            asked: counters.asked.count(),
            origin: counters.fetched_origin.count(),
            neighbour: counters.fetched_neighbour.count(),
        },
        groups_proven: counters.groups_proven.count(),
        mismatches: counters.mismatched_origin.count() + counters.mismatched_mirror.count(),
        false_claims: counters.false_claims.count(),
        saved_ms: counters.saved_ms.count(),
        memory_bytes: crate::metrics::resident_bytes().unwrap_or(0),
    }
}

/// `GET /api/v1/neighbours`.
#[derive(Debug, Serialize)]
pub(crate) struct Neighbours {
    neighbours: Vec<NeighbourView>,
}

pub(crate) fn neighbours(admin: &Admin, detail: Detail) -> Neighbours {
    let mut neighbours = admin.parts().neighbourhood.views();
    if detail == Detail::Hosts {
        for evidence in neighbours.iter_mut().filter_map(|one| one.evidence.as_mut()) {
            evidence.claim = None;
        }
    }
    Neighbours { neighbours }
}

/// `GET /api/v1/jobs`.
#[derive(Debug, Serialize)]
pub(crate) struct Jobs {
    jobs: Vec<Job>,
    /// The latest first.
    ended: Vec<Job>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Job {
    host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    length: Option<u64>,
    sources: Sources,
    readers: u64,
}

/// Bytes from each.
#[derive(Debug, Serialize)]
struct Sources {
    mirror: u64,
    neighbour: u64,
    origin: u64,
}

pub(crate) fn jobs(admin: &Admin, detail: Detail) -> Jobs {
    let fetcher = &admin.parts().fetcher;
    let tell = |jobs: Vec<JobView>| jobs.into_iter().map(|job| self::job(job, detail)).collect();
    Jobs { jobs: tell(fetcher.jobs()), ended: tell(fetcher.ended()) }
}

pub(crate) fn job(job: JobView, detail: Detail) -> Job {
    Job {
        host: job.host,
        url: (detail == Detail::Full).then_some(job.url),
        length: job.length,
        sources: Sources { mirror: job.mirror, neighbour: job.neighbour, origin: job.origin },
        readers: job.readers as u64,
    }
}

/// `GET /api/v1/objects`.
#[derive(Debug, Serialize)]
pub(crate) struct Objects {
    objects: Vec<Object>,
    /// Ask for what comes behind it; absent on the last page.
    next: Option<String>,
}

#[derive(Debug, Serialize)]
struct Object {
    id: String,
    length: u64,
    digests: BTreeMap<&'static str, String>,
    stored_at_ms: u64,
    pinned: bool,
    hosts: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    urls: Option<Vec<String>>,
}

pub(crate) fn objects(admin: &Admin, after: Option<ObjectId>, detail: Detail) -> Result<Objects, IndexError> {
    let store = &admin.parts().store;
    let page = store.objects(after, PAGE_OBJECTS_MAX)?;
    let full = page.len() == PAGE_OBJECTS_MAX;
    let next = page.last().filter(|_| full).map(|info| info.id.to_string());
    let objects = page
        .into_iter()
        .map(|info| {
            let representations = store.representations_of(&info.id)?;
            Ok(object(&info, &representations, detail))
        })
        .collect::<Result<_, IndexError>>()?;
    Ok(Objects { objects, next })
}

fn object(info: &ObjectInfo, representations: &[Representation], detail: Detail) -> Object {
    let targets = || representations.iter().map(|representation| &representation.key.target);
    let mut hosts: Vec<_> = targets().map(|target| target.host().to_owned()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let digest = |rung: &kith_model::ladder::Rung| {
        (rung.digest.algorithm().as_str(), data_encoding::HEXLOWER.encode(rung.digest.bytes()))
    };
    let mut digests = BTreeMap::new();
    digests.extend(info.ladder.rungs().iter().map(digest));
    Object {
        id: info.id.to_string(),
        length: info.length,
        digests,
        stored_at_ms: info.stored_at.0,
        pinned: info.pinned,
        hosts,
        urls: (detail == Detail::Full).then(|| targets().map(ToString::to_string).collect()),
    }
}

/// `GET /healthz`.
#[derive(Debug, Serialize)]
pub(crate) struct Health {
    pub(crate) status: &'static str,
    pub(crate) reasons: Vec<String>,
}

pub(crate) fn health(admin: &Admin) -> Health {
    let shelf = admin.parts().store.objects(None, 1).err();
    let reasons: Vec<_> = shelf.map(|error| format!("shelf: {error}")).into_iter().collect();
    Health { status: if reasons.is_empty() { "ok" } else { "failing" }, reasons }
}
