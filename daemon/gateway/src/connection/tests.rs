use std::future::poll_fn;

use hyper::rt::{Read as _, Write as _};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::strict::HeadError;
use kith_model::limits::{REQUEST_HEAD_TIMEOUT, SLOWEST_WINDOW};
use std::time::Duration;
use tokio::time::Instant;

async fn read(connection: &mut Connection<DuplexStream>) -> String {
    let mut space = [0; 64];
    let mut text = Vec::new();
    // One head, in as many pieces as hyper's buffer happens to need.
    loop {
        let mut room = hyper::rt::ReadBuf::new(&mut space);
        poll_fn(|cx| Pin::new(&mut *connection).poll_read(cx, room.unfilled())).await.expect("no error");
        text.extend_from_slice(room.filled());
        if room.filled().is_empty() || text.ends_with(b"\r\n\r\n") {
            return String::from_utf8(text).expect("ASCII");
        }
    }
}

async fn write(connection: &mut Connection<DuplexStream>, bytes: &[u8]) -> io::Result<usize> {
    poll_fn(|cx| Pin::new(&mut *connection).poll_write(cx, bytes)).await
}

const HEAD: &str =
    "GET /a HTTP/1.1\r\nHost: a\r\nX: 01234567890123456789012345678901234567890123456789\r\n\r\n";

#[tokio::test]
async fn heads_come_one_at_a_time_however_they_were_sent() {
    let (mut client, server) = duplex(4096);
    let mut connection = Connection::new(server, Switch::default());
    client.write_all(format!("{HEAD}\r\n{HEAD}{}", &HEAD[..20]).as_bytes()).await.expect("room");
    assert_eq!(read(&mut connection).await, HEAD);
    assert_eq!(read(&mut connection).await, HEAD);
    client.write_all(&HEAD.as_bytes()[20..]).await.expect("room");
    assert_eq!(read(&mut connection).await, HEAD);
    drop(client);
    assert_eq!(read(&mut connection).await, "");
}

#[tokio::test]
async fn a_refused_head_becomes_its_reason_and_nothing_comes_after_it() {
    let (mut client, server) = duplex(4096);
    let mut connection = Connection::new(server, Switch::default());
    client.write_all(format!("{HEAD}GET / HTTP/1.1\r\n\r\n{HEAD}").as_bytes()).await.expect("room");
    assert_eq!(read(&mut connection).await, HEAD);
    let refused = read(&mut connection).await;
    assert!(refused.starts_with(&format!("{REFUSED} /{} HTTP/1.1\r\n", HeadError::HostMissing.number())));
    let more = tokio::time::timeout(Duration::ZERO, read(&mut connection)).await;
    assert!(more.is_err());
}

#[tokio::test]
async fn nobody_can_send_the_method_of_refused_heads() {
    let (mut client, server) = duplex(4096);
    let mut connection = Connection::new(server, Switch::default());
    client.write_all(format!("{REFUSED} /1 HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.expect("room");
    let expected = format!("{REFUSED} /{} HTTP/1.1\r\n", HeadError::Method.number());
    assert!(read(&mut connection).await.starts_with(&expected));
}

#[tokio::test]
async fn content_ends_where_its_framing_says_and_the_next_head_is_checked_as_all_are() {
    let by_length = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nGET / \r\n\r";
    let in_chunks = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for post in [by_length, in_chunks] {
        let (mut client, server) = duplex(4096);
        let mut connection = Connection::new(server, Switch::default());
        client.write_all(format!("{post}{HEAD}GET / HTTP/1.1\r\n\r\n").as_bytes()).await.expect("room");
        let mut read_so_far = String::new();
        while read_so_far.len() < post.len() {
            let mut space = [0; 64];
            let mut room = hyper::rt::ReadBuf::new(&mut space);
            poll_fn(|cx| Pin::new(&mut connection).poll_read(cx, room.unfilled())).await.expect("no error");
            read_so_far.push_str(std::str::from_utf8(room.filled()).expect("ASCII"));
        }
        assert_eq!(read_so_far, post);
        assert_eq!(read(&mut connection).await, HEAD);
        assert!(read(&mut connection).await.starts_with(REFUSED));
    }
}

#[tokio::test]
async fn content_in_malformed_chunks_is_an_error_and_nothing_comes_after_it() {
    let (mut client, server) = duplex(4096);
    let mut connection = Connection::new(server, Switch::default());
    let post = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.write_all(format!("{post}3\nabc\r\n0\r\n\r\n{HEAD}").as_bytes()).await.expect("room");
    assert_eq!(read(&mut connection).await, post);
    let mut space = [0; 64];
    let mut room = hyper::rt::ReadBuf::new(&mut space);
    let error = poll_fn(|cx| Pin::new(&mut connection).poll_read(cx, room.unfilled())).await;
    assert_eq!(error.expect_err("malformed").kind(), io::ErrorKind::InvalidData);
    assert!(tokio::time::timeout(Duration::ZERO, read(&mut connection)).await.is_err());
}

#[tokio::test]
async fn bytes_behind_a_switch_wait_until_it_is_decided_what_they_are() {
    let asked = "GET http://a/ HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n";
    for (opened, behind, expected) in [(true, "\0no head\r\n\r\n", "\0no head\r\n\r\n"), (false, HEAD, HEAD)]
    {
        let (mut client, server) = duplex(4096);
        let switch = Switch::default();
        let mut connection = Connection::new(server, switch.clone());
        client.write_all(format!("{asked}{behind}").as_bytes()).await.expect("room");
        assert_eq!(read(&mut connection).await, asked);
        assert!(tokio::time::timeout(Duration::ZERO, read(&mut connection)).await.is_err());
        if opened {
            switch.open();
        } else {
            switch.decline();
        }
        assert_eq!(read(&mut connection).await, expected);
    }
}

/// Time stands still until everybody waits: the flood has come as far as it can.
#[tokio::test(start_paused = true)]
async fn few_bytes_are_kept_behind_a_switch_and_a_client_that_leaves_is_noticed() {
    let asked = "GET http://a/ HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n";
    let (mut client, server) = duplex(4096);
    let mut connection = Connection::new(server, Switch::default());
    client.write_all(asked.as_bytes()).await.expect("room");
    assert_eq!(read(&mut connection).await, asked);
    let flood = async {
        let mut sent = 0;
        loop {
            client.write_all(&[b'x'; 512]).await.expect("open");
            sent += 512;
            assert!(sent <= 2 * kith_model::limits::EARLY_BYTES_MAX, "{sent} bytes were taken");
        }
    };
    tokio::select! {
        () = flood => unreachable!("it is checked within"),
        head = read(&mut connection) => panic!("{head}"),
        () = tokio::time::sleep(Duration::from_millis(50)) => {}
    }
    let (mut client, server) = duplex(4096);
    let mut connection = Connection::new(server, Switch::default());
    client.write_all(asked.as_bytes()).await.expect("room");
    assert_eq!(read(&mut connection).await, asked);
    drop(client);
    assert_eq!(read(&mut connection).await, "");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_is_given_up_after_ten_seconds() {
    for sent in ["", "GET / HT"] {
        let (mut client, server) = duplex(4096);
        let mut connection = Connection::new(server, Switch::default());
        let started = Instant::now();
        client.write_all(sent.as_bytes()).await.expect("room");
        let trickle = async {
            loop {
                tokio::time::sleep(Duration::from_secs(4)).await;
                if client.write_all(b"x").await.is_err() {
                    return;
                }
            }
        };
        let head = tokio::select! { head = read(&mut connection) => head, () = trickle => unreachable!() };
        assert_eq!(head, "");
        assert_eq!(started.elapsed(), REQUEST_HEAD_TIMEOUT);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_cut_off_after_a_minute() {
    let (_client, server) = duplex(1024);
    let mut connection = Connection::new(server, Switch::default());
    let started = Instant::now();
    let error = loop {
        if let Err(error) = write(&mut connection, &[0; 512]).await {
            break error;
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(started.elapsed(), SLOWEST_WINDOW);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_enough_to_be_useful_is_served_and_a_slower_one_is_not() {
    for (bytes_a_second, served) in [(2048usize, true), (512, false)] {
        let (mut client, server) = duplex(1024);
        let mut connection = Connection::new(server, Switch::default());
        let reading = async {
            let mut buffer = vec![0; bytes_a_second];
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let _ = client.read_exact(&mut buffer).await;
            }
        };
        let writing = async {
            let mut written = 0;
            while written < 300 * 1024 {
                match write(&mut connection, &[0; 4096]).await {
                    Ok(count) => written += count,
                    Err(_) => return false,
                }
            }
            true
        };
        let finished = tokio::select! { finished = writing => finished, () = reading => unreachable!() };
        assert_eq!(finished, served, "{bytes_a_second} bytes a second");
    }
}

#[tokio::test(start_paused = true)]
async fn time_in_which_the_client_waits_for_us_does_not_count() {
    let (mut client, server) = duplex(1024);
    let mut connection = Connection::new(server, Switch::default());
    for _ in 0..10 {
        write(&mut connection, b"x").await.expect("the client reads all there is");
        assert_eq!(client.read_u8().await.expect("one byte"), b'x');
        tokio::time::sleep(Duration::from_secs(100)).await;
    }
}
