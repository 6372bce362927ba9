//! Layers of configuration: the text of a file, an override of the command line or of the environment, as a flat
//! list of keys with their values and the place where each stands.
//!
//! Pure: it opens nothing and knows no key by name. Whatever the text, it returns or says what is wrong with it.

use std::fmt;

use toml::de::{DeTable, DeValue};

/// A value as it was written, without places and spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string.
    Text(String),
    /// A whole number.
    Number(i64),
    /// `true` or `false`.
    Flag(bool),
    /// A list.
    List(Vec<Value>),
    /// Something that no key of Kith takes: a float, a date, a table.
    Other(&'static str),
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of a file; lines count from one.
    Line {
        /// The file as the user named it.
        file: String,
        /// The line.
        line: usize,
    },
    /// `--set` on the command line.
    CommandLine,
    /// A variable of the environment, by its name.
    Environment(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line { file, line } => write!(f, "{file}:{line}"),
            Place::CommandLine => f.write_str("--set"),
            Place::Environment(name) => write!(f, "environment {name}"),
        }
    }
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {}{message}", .key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default())]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// Which key, when the text could be read that far.
    pub key: Option<String>,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Section and key with a dot between; just the key at the top.
    pub key: String,
    /// As it reads.
    pub value: Value,
    /// For overrides, which may leave quotes out: the text itself, tried when `value` does not suit.
    pub raw: Option<String>,
    /// Where it was written.
    pub place: Place,
}

/// The entries of a TOML document, in the order of their keys.
pub fn document(file: &str, text: &str) -> Result<Vec<Entry>, Fault> {
    let at = |offset: usize| Place::Line { file: file.to_owned(), line: line_of(text, offset) };
    let table = DeTable::parse(text).map_err(|error| Fault {
        place: at(error.span().map_or(0, |span| span.start)),
        key: None,
        message: error.message().to_owned(),
    })?;
    let mut entries = Vec::new();
    for (name, item) in table.get_ref() {
        let DeValue::Table(section) = item.get_ref() else {
            let place = at(name.span().start);
            entries.push(Entry {
                key: name.get_ref().to_string(),
                value: value(item.get_ref()),
                raw: None,
                place,
            });
            continue;
        };
        for (key, item) in section {
            let key_path = format!("{}.{}", name.get_ref(), key.get_ref());
            let place = at(key.span().start);
            entries.push(Entry { key: key_path, value: value(item.get_ref()), raw: None, place });
        }
        if section.is_empty() {
            // An empty section sets nothing, but a misspelt one must not pass in silence.
            entries.push(Entry {
                key: format!("{}.", name.get_ref()),
                value: Value::Other("empty section"),
                raw: None,
                place: at(name.span().start),
            });
        }
    }
    Ok(entries)
}

/// An override: the value is TOML, or else a plain string.
pub fn assignment(key: &str, text: &str, place: Place) -> Entry {
    let parsed = DeValue::parse(text).map(|parsed| value(parsed.get_ref()));
    Entry {
        key: key.to_owned(),
        value: parsed.unwrap_or_else(|_| Value::Text(text.to_owned())),
        raw: Some(text.to_owned()),
        place,
    }
}

fn value(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix())
            .map_or(Value::Other("number out of range"), Value::Number),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Array(items) => Value::List(items.iter().map(|item| self::value(item.get_ref())).collect()),
        DeValue::Float(_) => Value::Other("fraction"),
        DeValue::Datetime(_) => Value::Other("date"),
        DeValue::Table(_) => Value::Other("table"),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_flat_and_know_their_lines() {
        let text = "name = \"box\"\n\n[clients]\nlisten = [\"[::]:1\"] # here\n[a]\nb.c = 1\nd = 1.5\n";
        let entries = document("k.toml", text).expect("valid TOML");
        let seen: Vec<_> =
            entries.iter().map(|entry| (entry.key.as_str(), entry.place.to_string())).collect();
        let expected =
            [("a.b", "k.toml:6"), ("a.d", "k.toml:7"), ("clients.listen", "k.toml:4"), ("name", "k.toml:1")];
        assert_eq!(seen.len(), expected.len());
        for (key, place) in expected {
            assert!(seen.contains(&(key, place.to_owned())), "{key} in {seen:?}");
        }
    }

    #[test]
    fn broken_text_names_its_line() {
        for (text, line) in [("a = \n", 1), ("a = 1\nb = [\n", 2), ("a = 1\na = 2\n", 2), ("\n\n]", 3)] {
            let fault = document("k.toml", text).expect_err(text);
            assert_eq!(fault.place, Place::Line { file: "k.toml".into(), line }, "{text:?}: {fault}");
        }
    }

    #[test]
    fn an_override_needs_no_quotes() {
        let text = |text: &str| assignment("k", text, Place::CommandLine).value;
        assert_eq!(text("20GiB"), Value::Text("20GiB".into()));
        assert_eq!(text("\"20GiB\""), Value::Text("20GiB".into()));
        assert_eq!(text("true"), Value::Flag(true));
        assert_eq!(text("[\"a\"]"), Value::List(vec![Value::Text("a".into())]));
        assert_eq!(text(""), Value::Text(String::new()));
    }
}
