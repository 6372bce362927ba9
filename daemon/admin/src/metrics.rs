//! Numbers for collectors: one snapshot a scrape, written as `OpenMetrics` text, which Prometheus reads.
//!
//! The names are those of the contract. A room that is not in this build counts nothing; its names are there all
//! the same, so that a dashboard need not change when it comes.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::house::{Admin, NeighbourTotals};

/// Media type of [`text`].
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All numbers at one moment.
#[derive(Debug)]
struct Snapshot {
    served_store: u64,
    served_origin: u64,
    served_neighbour: u64,
    served_mirror: u64,
    fetched_origin: u64,
    mismatched_origin: u64,
    mismatched_mirror: u64,
    requests: Vec<(&'static str, u64)>,
    neighbours: Vec<(&'static str, u64)>,
    totals: NeighbourTotals,
    store_bytes: u64,
    store_objects: u64,
    store_written_bytes: u64,
    jobs: u64,
    saved_seconds: f64,
    resident_bytes: u64,
}

/// The text of one scrape.
pub(crate) fn text(admin: &Admin) -> String {
    encoded(snapshot(admin))
}

fn encoded(snapshot: Snapshot) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
    text
}

fn snapshot(admin: &Admin) -> Snapshot {
    let parts = admin.parts();
    let counters = parts.fetcher.counters();
    let usage = parts.store.usage();
    let views = parts.neighbourhood.views();
    let of_role = |role: &'static str| (role, views.iter().filter(|view| view.role == role).count() as u64);
    Snapshot {
        served_store: counters.served_store.count(),
        served_origin: counters.served_origin.count(),
        served_neighbour: counters.served_neighbour.count(),
        served_mirror: counters.served_mirror.count(),
        fetched_origin: counters.fetched_origin.count(),
        mismatched_origin: counters.mismatched_origin.count(),
        mismatched_mirror: counters.mismatched_mirror.count(),
        requests: parts.clients.requests(),
        neighbours: vec![of_role("mine"), of_role("neighbour")],
        totals: parts.neighbourhood.totals(),
        store_bytes: usage.bytes,
        store_objects: usage.objects,
        store_written_bytes: usage.written_bytes,
        jobs: parts.fetcher.jobs().len() as u64,
        saved_seconds: seconds(counters.saved_ms.count()),
        resident_bytes: resident_bytes().unwrap_or(0),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of saved seconds needs no 53 bits")]
fn seconds(millis: u64) -> f64 {
    millis as f64 / 1000.0
}

/// Resident memory of this process; Linux tells it in pages of 4 KiB on every machine that Kith is built for.
pub fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(4096)
}

/// Writes families of numbers; the label of a family may be absent.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn counter<N>(&mut self, name: &str, help: &str, value: N) -> fmt::Result
    where
        N: EncodeCounterValue + Clone + fmt::Debug,
        ConstCounter<N>: EncodeMetric,
    {
        let counter = ConstCounter::new(value);
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        counter.encode(encoder)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let gauge = ConstGauge::new(value);
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        gauge.encode(encoder)
    }

    fn counters(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (value, count) in values {
            ConstCounter::new(*count).encode(encoder.encode_family(&[(label, *value)])?)?;
        }
        Ok(())
    }

    fn gauges(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (value, count) in values {
            ConstGauge::new(*count).encode(encoder.encode_family(&[(label, *value)])?)?;
        }
        Ok(())
    }
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut all = Families(encoder);
        let served = [
            ("store", self.served_store),
            ("origin", self.served_origin),
            ("neighbour", self.served_neighbour),
            ("mirror", self.served_mirror),
            ("swarm", 0),
        ];
        let directions = |inward, outward| [("in", inward), ("out", outward)];
        let NeighbourTotals { received_bytes, sent_bytes, verify_failures, strikes, connections, .. } =
            self.totals;
        let NeighbourTotals { asked, spared, false_hits, filter_received_bytes, filter_sent_bytes, .. } =
            self.totals;
        all.counters("kith_bytes_served", "Bytes given to clients, by source", "source", &served)?;
        all.counter("kith_origin_bytes", "Body bytes that origins delivered", self.fetched_origin)?;
        all.counters("kith_requests", "Requests of clients, by result", "result", &self.requests)?;
        all.gauges("kith_neighbours", "Paired boxes, by role", "role", &self.neighbours)?;
        let transfers = directions(received_bytes, sent_bytes);
        all.counters("kith_neighbour_bytes", "Body bytes between boxes", "direction", &transfers)?;
        let finds = [("asked", asked), ("spared", spared), ("false_hit", false_hits)];
        all.counters("kith_neighbour_finds", "Questions to neighbours, by outcome", "outcome", &finds)?;
        let filters = directions(self.totals.filters_received, self.totals.filters_sent);
        all.counters("kith_neighbour_filters", "Filters and changes of them", "direction", &filters)?;
        let filters = directions(filter_received_bytes, filter_sent_bytes);
        all.counters("kith_neighbour_filter_bytes", "Bytes of filters", "direction", &filters)?;
        let (heard, said) = (self.totals.crowd_received, self.totals.crowd_sent);
        let gathers = directions(heard.gathers, said.gathers);
        all.counters("kith_neighbour_gathers", "Questions about a fetch", "direction", &gathers)?;
        let reports = directions(heard.reports, said.reports);
        all.counters("kith_neighbour_reports", "Reports how far a fetch is", "direction", &reports)?;
        let takes = directions(heard.takes, said.takes);
        all.counters("kith_neighbour_takes", "Questions for a part of a fetch", "direction", &takes)?;
        let swarm = directions(0, 0);
        all.counters("kith_swarm_bytes", "Body bytes from and to swarms", "direction", &swarm)?;
        all.gauge("kith_store_bytes", "Bytes of stored objects", self.store_bytes)?;
        all.gauge("kith_store_objects", "Stored objects", self.store_objects)?;
        all.counter("kith_store_written_bytes", "Bytes written to the disk", self.store_written_bytes)?;
        let failures = [
            ("origin", self.mismatched_origin),
            ("neighbour", verify_failures),
            ("mirror", self.mismatched_mirror),
            ("swarm", 0),
        ];
        all.counters("kith_verify_failures", "What did not match its object", "source", &failures)?;
        all.counter("kith_strikes", "Strikes dealt out to neighbours", strikes)?;
        all.gauge("kith_flows", "Connections to other boxes and the world", connections)?;
        all.gauge("kith_jobs", "Objects being fetched", self.jobs)?;
        let saved = self.served_store.saturating_add(self.served_neighbour);
        all.counter("kith_saved_bytes", "Bytes that origins need not send", saved)?;
        all.counter("kith_saved_seconds", "Seconds that clients were spared", self.saved_seconds)?;
        all.gauge("process_resident_memory_bytes", "Resident memory", self.resident_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::house::CrowdMessages;

    #[test]
    fn every_name_of_the_contract_is_there() {
        let text = encoded(Snapshot {
            served_store: 1,
            served_origin: 2,
            served_neighbour: 3,
            served_mirror: 5,
            fetched_origin: 4,
            mismatched_origin: 17,
            mismatched_mirror: 18,
            requests: vec![("hit", 5)],
            neighbours: vec![("mine", 6), ("neighbour", 0)],
            totals: NeighbourTotals {
                received_bytes: 7,
                sent_bytes: 8,
                verify_failures: 14,
                strikes: 9,
                connections: 10,
                asked: 17,
                spared: 18,
                false_hits: 19,
                filter_received_bytes: 20,
                filter_sent_bytes: 21,
                filters_received: 22,
                filters_sent: 23,
                crowd_received: CrowdMessages { gathers: 24, reports: 25, takes: 26 },
                crowd_sent: CrowdMessages { gathers: 27, reports: 28, takes: 29 },
            },
            store_bytes: 11,
            store_objects: 12,
            store_written_bytes: 13,
            jobs: 15,
            saved_seconds: 1.5,
            resident_bytes: 16,
        });
        for line in [
            "kith_bytes_served_total{source=\"store\"} 1",
            "kith_bytes_served_total{source=\"origin\"} 2",
            "kith_bytes_served_total{source=\"neighbour\"} 3",
            "kith_bytes_served_total{source=\"swarm\"} 0",
            "kith_origin_bytes_total 4",
            "kith_requests_total{result=\"hit\"} 5",
            "kith_neighbours{role=\"mine\"} 6",
            "kith_neighbour_bytes_total{direction=\"in\"} 7",
            "kith_neighbour_bytes_total{direction=\"out\"} 8",
            "kith_neighbour_finds_total{outcome=\"asked\"} 17",
            "kith_neighbour_finds_total{outcome=\"spared\"} 18",
            "kith_neighbour_finds_total{outcome=\"false_hit\"} 19",
            "kith_neighbour_filters_total{direction=\"in\"} 22",
            "kith_neighbour_filters_total{direction=\"out\"} 23",
            "kith_neighbour_filter_bytes_total{direction=\"in\"} 20",
            "kith_neighbour_filter_bytes_total{direction=\"out\"} 21",
            "kith_neighbour_gathers_total{direction=\"in\"} 24",
            "kith_neighbour_gathers_total{direction=\"out\"} 27",
            "kith_neighbour_reports_total{direction=\"in\"} 25",
            "kith_neighbour_reports_total{direction=\"out\"} 28",
            "kith_neighbour_takes_total{direction=\"in\"} 26",
            "kith_neighbour_takes_total{direction=\"out\"} 29",
            "kith_swarm_bytes_total{direction=\"in\"} 0",
            "kith_store_bytes 11",
            "kith_store_objects 12",
            "kith_store_written_bytes_total 13",
            "kith_verify_failures_total{source=\"origin\"} 17",
            "kith_verify_failures_total{source=\"neighbour\"} 14",
            "kith_verify_failures_total{source=\"mirror\"} 18",
            "kith_strikes_total 9",
            "kith_flows 10",
            "kith_jobs 15",
            "kith_saved_bytes_total 4",
            "kith_saved_seconds_total 1.5",
            "process_resident_memory_bytes 16",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn a_process_has_some_memory() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 100_000));
    }
}
