//! `kith group` and `kith rotate-key`: what a box is to all the others at once.

use http::Method;
use serde_json::{Value, json};

use super::control::{Control, Wait};
use super::exit::Failure;
use super::grammar::{Group, GroupAct, Output};
use super::{print_json, say, text};

const PATH: &str = "/api/v1/group";

/// Shows, founds, joins or leaves a group.
pub(super) async fn group(control: &Control, command: &Group) -> Result<(), Failure> {
    let role = command.role.as_str();
    let (method, body) = match &command.act {
        GroupAct::Show => (Method::GET, None),
        GroupAct::New => (Method::POST, Some(json!({"role": role}))),
        GroupAct::Join(words) => (Method::POST, Some(json!({"role": role, "words": words}))),
        GroupAct::Leave => (Method::DELETE, None),
    };
    let group = control.ask(method, PATH, body, Wait::Briefly).await?;
    if command.format.json {
        print_json("group", &group);
        return Ok(());
    }
    match (&command.act, &group["words"], &group["role"]) {
        (GroupAct::New, Value::String(words), _) => {
            let words = words.replace('-', " ");
            say!("{words}");
            eprintln!("On each box of the group: kith group join {words}");
            eprintln!("They are shown only now. Whoever knows them can come in.");
        }
        (_, _, Value::String(role)) => say!("in a group, as {role}; see `kith neighbours`"),
        _ => say!("in no group"),
    }
    Ok(())
}

/// Makes the key that the box takes at its next start.
pub(super) async fn rotate_key(control: &Control, format: Output) -> Result<(), Failure> {
    let next = control.ask(Method::POST, "/api/v1/identity", None, Wait::Briefly).await?;
    if format.json {
        print_json("identity", &next);
    } else {
        say!("new node id {}", text(&next, "node_id"));
        say!("key words   {}", text(&next, "key_words"));
        eprintln!("It counts from the next start of the box on; paired boxes are told then.");
    }
    Ok(())
}
