//! What it costs to look at a request's head twice: our strict check, beside the parser that the HTTP crate uses after
//! it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kith_gateway::strict::{self, Scanner};

use crate::figures::{Table, figure, median};

const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(200);

/// Heads as real clients send them.
const HEADS: [(&str, &str); 3] = [
    (
        "curl",
        "GET /https://example.org/a.iso HTTP/1.1\r\nHost: 192.168.1.1:8480\r\nUser-Agent: curl/8.14.1\r\n\
         Accept: */*\r\n\r\n",
    ),
    (
        "apt",
        "GET http://deb.debian.org/debian/pool/main/h/hello/hello_2.10-5_amd64.deb HTTP/1.1\r\n\
         Host: deb.debian.org\r\nUser-Agent: Debian APT-HTTP/1.3 (3.0.3)\r\nAccept: text/*\r\n\
         Cache-Control: max-age=0\r\nIf-Modified-Since: Sat, 01 Nov 2025 10:00:00 GMT\r\n\r\n",
    ),
    (
        "browser",
        "GET /https://example.org/a.iso HTTP/1.1\r\nHost: 192.168.1.1:8480\r\nConnection: keep-alive\r\n\
         sec-ch-ua: \"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\"\r\nsec-ch-ua-mobile: ?0\r\n\
         sec-ch-ua-platform: \"Linux\"\r\nUpgrade-Insecure-Requests: 1\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 \
         Safari/537.36\r\n\
         Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
         Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\nSec-Fetch-Dest: document\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9,ar;q=0.8\r\n\r\n",
    ),
];

/// Times both on each head.
pub(crate) fn measure() -> Result<()> {
    let table =
        Table::titled("request heads", &["head", "bytes", "strict ns", "httparse ns", "strict/httparse"]);
    for (name, head) in HEADS {
        let head = head.as_bytes();
        ensure!(is_accepted(head) && is_parsed(head), "{name}: a good head was refused");
        let (mut strict, mut parser) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            strict.push(nanoseconds(|| is_accepted(black_box(head))));
            parser.push(nanoseconds(|| is_parsed(black_box(head))));
        }
        let (strict, parser) = (median(strict), median(parser));
        table.row(&[
            name.to_owned(),
            head.len().to_string(),
            format!("{strict:.0}"),
            format!("{parser:.0}"),
            format!("{:.2}", strict / parser),
        ]);
    }
    Ok(())
}

fn is_accepted(head: &[u8]) -> bool {
    Scanner::default().advance(head) == Ok(Some(head.len())) && strict::check(head).is_ok()
}

fn is_parsed(head: &[u8]) -> bool {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    httparse::Request::new(&mut fields).parse(head).is_ok_and(|status| status.is_complete())
}

/// Nanoseconds that one call takes.
fn nanoseconds(work: impl Fn() -> bool) -> f64 {
    let began = Instant::now();
    let mut calls = 0;
    while began.elapsed() < ROUND {
        for _ in 0..1000 {
            black_box(work());
        }
        calls += 1000;
    }
    began.elapsed().as_secs_f64() * 1e9 / figure(calls)
}
