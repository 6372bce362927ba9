//! `kith objects`, `pin`, `unpin`, `purge`: care of the shelf.

use http::Method;
use serde_json::Value;

use super::control::{Control, Wait};
use super::exit::Failure;
use super::grammar::Output;
use super::human::Bytes;
use super::{count, print_json, print_table, query_value, text};

/// Prints everything on the shelf, page by page.
pub(super) async fn list(control: &Control, format: Output) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut path = "/api/v1/objects".to_owned();
    loop {
        let page = control.get(&path).await?;
        for object in page["objects"].as_array().into_iter().flatten() {
            if format.json {
                print_json("object", object);
            } else {
                rows.push(row(object));
            }
        }
        match page["next"].as_str() {
            Some(next) => path = format!("/api/v1/objects?after={}", query_value(next)),
            None => break,
        }
    }
    if !format.json {
        print_table(&["OBJECT", "SIZE", "PINNED", "URL"], &rows);
    }
    Ok(())
}

fn row(object: &Value) -> Vec<String> {
    let id = text(object, "id");
    let urls = object["urls"].as_array();
    let url = urls.and_then(|urls| urls.first()).and_then(Value::as_str).unwrap_or_default();
    let pinned = if object["pinned"].as_bool() == Some(true) { "yes" } else { "" };
    vec![id.to_owned(), Bytes(count(object, "length")).to_string(), pinned.to_owned(), url.to_owned()]
}

/// Keeps an object.
pub(super) async fn pin(control: &Control, what: &str) -> Result<(), Failure> {
    act(control, Method::PUT, &format!("/api/v1/objects/pin?of={}", query_value(what))).await?;
    eprintln!("pinned");
    Ok(())
}

/// Lets it go again.
pub(super) async fn unpin(control: &Control, what: &str) -> Result<(), Failure> {
    act(control, Method::DELETE, &format!("/api/v1/objects/pin?of={}", query_value(what))).await?;
    eprintln!("unpinned");
    Ok(())
}

/// Throws it away.
pub(super) async fn purge(control: &Control, what: &str) -> Result<(), Failure> {
    let answer = act(control, Method::DELETE, &format!("/api/v1/objects?of={}", query_value(what))).await?;
    eprintln!("{} freed", Bytes(count(&answer, "freed")));
    Ok(())
}

async fn act(control: &Control, method: Method, path: &str) -> Result<Value, Failure> {
    control.ask(method, path, None, Wait::Briefly).await
}
