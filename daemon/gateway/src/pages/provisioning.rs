//! The same as the PAC for systems that read provisioning domains (RFC 8801 section 4.3, with the keys for proxies of
//! draft-ietf-intarea-proxy-config).
//!
//! The registry of that draft names CONNECT and SOCKS proxies only. This box opens no tunnels for http, so it does not
//! call itself one of them: a system that does not know `http` leaves the proxy out, as the draft has it.

use kith_model::time::UnixMillis;
use serde_json::json;

/// How long an answer may be relied on, in seconds: as long as an address may change hands in a house.
const VALID_S: u64 = 60 * 60;

/// For the box at `authority`. The identifier is the proxy's host, and no prefixes go with one that no router has
/// announced (section 2 of the draft).
pub(super) fn domain(authority: &str, now: UnixMillis) -> String {
    let host = crate::house::without_port(authority);
    json!({
        "identifier": host,
        "expires": date(now.seconds() + VALID_S),
        "prefixes": [],
        "proxies": [{ "protocol": "http", "proxy": authority, "identifier": "kith" }],
        "proxy-match": [
            { "domains": ["local", "lan", "home", "internal", "localdomain", "localhost", "home.arpa"], "proxies": [] },
            {
                "subnets": [
                    "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
                    "192.168.0.0/16", "::1/128", "fc00::/7", "fe80::/10",
                ],
                "proxies": [],
            },
            { "ports": ["80"], "proxies": ["kith"] },
        ],
    })
    .to_string()
}

/// RFC 3339, in UTC. The days since 1970 become a date as in the calendar of 400 years that begins in March, so that
/// a leap day is the last of its year.
fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468; // days from 0000-03-01 to 1970-01-01
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_795_391_999, "2026-11-22T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(date(seconds), expected);
        }
    }

    #[test]
    fn the_domain_is_that_of_the_proxy() {
        let text = domain("[fd00::2]:8480", UnixMillis(1000));
        let domain: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(domain["identifier"], "[fd00::2]");
        assert_eq!(domain["expires"], "1970-01-01T01:00:01Z");
        assert_eq!(domain["prefixes"], json!([]));
        assert_eq!(domain["proxies"][0]["proxy"], "[fd00::2]:8480");
        let rules = domain["proxy-match"].as_array().expect("rules");
        assert!(rules.iter().all(|rule| rule["proxies"].is_array()));
    }
}
