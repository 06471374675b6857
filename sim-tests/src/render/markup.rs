//! Text as it may stand in HTML.

use std::fmt::{self, Write};

/// Text that means nothing but itself in HTML and SVG, in an attribute, too.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            '\n' => f.write_char('\n'),
            _ if character.is_control() => f.write_char(char::REPLACEMENT_CHARACTER),
            _ => f.write_char(character),
        })
    }
}

/// The first characters of a text, on one line.
pub(super) fn shortened(text: &str, length_max: usize) -> String {
    let line: Vec<char> = text
        .chars()
        .map(|character| if character == '\n' { ' ' } else { character })
        .take(length_max + 1)
        .collect();
    match line.get(..length_max) {
        Some(start) if line.len() > length_max => start.iter().chain(&['…']).collect(),
        _ => line.iter().collect(),
    }
}

/// The first bytes of several, as text of about this length, with `…` for what is left out.
pub(super) fn first_bytes(bytes: &[u8], length_max: usize) -> String {
    let mut text = String::new();
    for (index, byte) in bytes.iter().enumerate() {
        let escaped = byte.escape_ascii().to_string();
        if text.len() + escaped.len() > length_max && index > 0 {
            text.push('…');
            break;
        }
        text += &escaped;
    }
    text
}

/// The last bytes of several, as text of about this length, with `…` for what is left out.
pub(super) fn last_bytes(bytes: &[u8], length_max: usize) -> String {
    let mut length = 0;
    let left_out = bytes.iter().rposition(|byte| {
        length += byte.escape_ascii().len();
        length > length_max
    });
    let start = left_out.map_or(0, |last| last + 1);
    let dots = if start > 0 { "…" } else { "" };
    format!("{dots}{}", bytes[start..].escape_ascii())
}
