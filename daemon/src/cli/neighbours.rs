//! `kith neighbours`, `pair`, `unpair`.

use http::Method;
use serde_json::{Value, json};

use super::control::{Control, Wait};
use super::exit::{Exit, Failure};
use super::explain::ago;
use super::grammar::{Output, Pair};
use super::human::Bytes;
use super::{count, print_json, print_table, query_value, say, text};

/// Prints the boxes next door, paired or only seen.
pub(super) async fn list(control: &Control, format: Output) -> Result<(), Failure> {
    let answer = control.get("/api/v1/neighbours").await?;
    let neighbours = answer["neighbours"].as_array().cloned().unwrap_or_default();
    if format.json {
        for neighbour in &neighbours {
            print_json("neighbour", neighbour);
        }
    } else {
        let rows: Vec<_> = neighbours.iter().map(row).collect();
        print_table(
            &["BOX", "NODE ID", "ROLE", "STATE", "ADDRESS", "RECEIVED", "SENT", "TOLD", "STRIKES"],
            &rows,
        );
        neighbours.iter().for_each(tell_misdeeds);
    }
    Ok(())
}

fn row(neighbour: &Value) -> Vec<String> {
    let id = text(neighbour, "node_id");
    vec![
        text(neighbour, "name").to_owned(),
        id.get(..16).unwrap_or(id).to_owned(),
        text(neighbour, "role").to_owned(),
        text(neighbour, "state").to_owned(),
        text(neighbour, "address").to_owned(),
        Bytes(count(neighbour, "received_bytes")).to_string(),
        Bytes(count(neighbour, "sent_bytes")).to_string(),
        told(&neighbour["filter"]),
        count(neighbour, "strikes").to_string(),
    ]
}

/// How much it has told of its shelf, and when it did so last.
fn told(filter: &Value) -> String {
    if filter.is_null() {
        return "-".to_owned();
    }
    format!(
        "{} in {}, {} s ago",
        count(filter, "names"),
        Bytes(count(filter, "bytes")),
        count(filter, "age_s")
    )
}

/// Why a box stands as it does: what it did wrong, and what proves it.
fn tell_misdeeds(neighbour: &Value) {
    let name = text(neighbour, "name");
    for strike in neighbour["struck"].as_array().into_iter().flatten() {
        say!("{name}: strike {} ago: {}", ago(count(strike, "at_ms")), text(strike, "reason"));
    }
    let evidence = &neighbour["evidence"];
    if evidence.is_object() {
        say!("{name}: quarantined {} ago: {}", ago(count(evidence, "found_at_ms")), text(evidence, "said"));
        say!("    but {}", text(evidence, "truth"));
        say!("    signature {}", text(evidence, "signature"));
        say!("    `kith unpair {name}` forgets the box; pairing it anew gives it another chance");
    }
}

/// Shows a code and waits, or uses the code of another box.
pub(super) async fn pair(control: &Control, command: &Pair) -> Result<(), Failure> {
    match &command.guest {
        Some((neighbour, code)) => join(control, command, neighbour, code).await,
        None => show_code(control, command).await,
    }
}

async fn join(control: &Control, command: &Pair, neighbour: &str, code: &str) -> Result<(), Failure> {
    let digits: String = code.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
    if digits.len() != 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Failure::new(Exit::Usage, "a pairing code has eight digits"));
    }
    let body = json!({"box": neighbour, "code": digits, "role": command.role.as_str()});
    let paired = control.ask(Method::POST, "/api/v1/neighbours", Some(body), Wait::ForPeople).await?;
    tell_paired(&paired, command.format);
    Ok(())
}

/// The window closes with the command: the code that nobody sees any more is of no use.
async fn show_code(control: &Control, command: &Pair) -> Result<(), Failure> {
    let format = command.format;
    let body = json!({"role": command.role.as_str()});
    let window = control.ask(Method::POST, "/api/v1/pairing", Some(body), Wait::Briefly).await?;
    let (code, expires_s) = (text(&window, "code"), count(&window, "expires_s"));
    if format.json {
        say!("{}", json!({"type": "code", "code": code, "expires_s": expires_s}));
    } else {
        let (front, back) = code.split_at_checked(4).unwrap_or((code, ""));
        say!("{front} {back}");
        eprintln!("On the other box, within {expires_s} seconds: kith pair {} {code}", text(&window, "name"));
    }
    let outcome = tokio::select! {
        outcome = control.ask(Method::GET, "/api/v1/pairing", None, Wait::ForPeople) => outcome?,
        _ = tokio::signal::ctrl_c() => {
            control.ask(Method::DELETE, "/api/v1/pairing", None, Wait::Briefly).await?;
            return Err(Failure::new(Exit::Interrupted, "the pairing window is closed"));
        }
    };
    match text(&outcome, "state") {
        "paired" => {
            tell_paired(&outcome["neighbour"], format);
            Ok(())
        }
        "refused" => Err(Failure::new(Exit::Temporary, text(&outcome, "reason"))
            .fix("run `kith pair` again for a new code")),
        _ => Err(Failure::new(Exit::Temporary, "the pairing window closed without a guest")),
    }
}

fn tell_paired(neighbour: &Value, format: Output) {
    if format.json {
        print_json("paired", neighbour);
    } else {
        let (name, id) = (text(neighbour, "name"), text(neighbour, "node_id"));
        say!("paired with {name} ({id}) as {}", text(neighbour, "role"));
    }
}

/// Forgets a box.
pub(super) async fn unpair(control: &Control, neighbour: &str) -> Result<(), Failure> {
    let path = format!("/api/v1/neighbours?box={}", query_value(neighbour));
    let gone = control.ask(Method::DELETE, &path, None, Wait::Briefly).await?;
    eprintln!("{} is forgotten", text(&gone, "name"));
    Ok(())
}
