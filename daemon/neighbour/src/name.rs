//! Names that boxes give themselves, made harmless: shown to people, never trusted.

use kith_model::limits::NAME_BYTES_MAX;

/// What is left of a name when control, direction and invisible characters are taken out, cut to
/// [`NAME_BYTES_MAX`] bytes. May be empty.
pub(crate) fn cleaned(name: &str) -> String {
    let mut clean = String::new();
    for character in name.trim().chars().filter(|character| is_harmless(*character)) {
        if clean.len() + character.len_utf8() > NAME_BYTES_MAX {
            break;
        }
        clean.push(character);
    }
    clean.trim().to_owned()
}

fn is_harmless(character: char) -> bool {
    let is_invisible = matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{ffff}' | '\u{e0000}'..='\u{e0fff}');
    !character.is_control() && !is_invisible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_inert() {
        for (name, expected) in [
            ("den", "den"),
            ("  Lina's box ", "Lina's box"),
            ("a\u{202e}b\u{200b}c\n\u{7}", "abc"),
            ("\u{1b}[31mred", "[31mred"),
            ("\u{2066}", ""),
        ] {
            assert_eq!(cleaned(name), expected);
        }
        assert_eq!(cleaned(&"é".repeat(40)).len(), 62, "cut between characters");
    }
}
