//! What words, fields and records a text has. All of it is defined here and by nothing that changes with a library or its features, since two programs
//! must find the same in the same bytes.

use std::{collections::BTreeSet, fmt};

use serde::{
    Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{DEPTH_MAX, FIELDS_MAX, Field, JsonType, PATH_LEN_MAX_BYTES, WORD_LEN_MAX_BYTES, WORDS_MAX};

/// What was found in a text.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Its words; none when there are too many different ones.
    pub(super) words: Bounded<WORDS_MAX>,
    /// All words, repeated ones counted.
    pub(super) word_total: u64,
    /// Its fields, as [`Field::label`] writes them; none when there are too many or it is not JSON.
    pub(super) fields: Option<Bounded<FIELDS_MAX>>,
    /// Its records; none for JSON that is no array.
    pub(super) records: Option<u64>,
}

/// Up to so many different texts.
#[derive(Debug, Default)]
pub(super) struct Bounded<const MAX: usize> {
    items: BTreeSet<String>,
    is_full: bool,
}

impl<const MAX: usize> Bounded<MAX> {
    fn note(&mut self, item: &str) {
        if self.is_full || self.items.contains(item) {
            return;
        }
        if self.items.len() == MAX {
            self.give_up();
        } else {
            self.items.insert(item.to_owned());
        }
    }

    fn give_up(&mut self) {
        self.is_full = true;
        self.items.clear();
    }

    /// All of them, or `None` when there were more.
    pub(super) fn into_items(self) -> Option<BTreeSet<String>> {
        (!self.is_full).then_some(self.items)
    }
}

/// Reads a text: as JSON if it is that, else as it is.
pub(super) fn read(text: &str) -> Found {
    if let Some(found) = json(text) {
        return found;
    }
    let mut found = Found::default();
    found.note_words(text);
    let lines = text.split('\n').filter(|line| !line.bytes().all(|b| matches!(b, b' ' | b'\t' | b'\r')));
    found.records = Some(lines.count() as u64);
    found
}

impl Found {
    fn note_words(&mut self, text: &str) {
        for part in text.split(is_separator) {
            if is_word(part) {
                self.word_total += 1;
                self.words.note(&part.to_ascii_lowercase());
            }
        }
    }
}

/// What a word is committed to as, if this is one: with the letters A to Z small. A word is as many letters and digits as stand together, not digits
/// alone, at most 64 bytes.
pub fn word(text: &str) -> Option<String> {
    (is_word(text) && !text.contains(is_separator)).then(|| text.to_ascii_lowercase())
}

fn is_word(part: &str) -> bool {
    part.len() <= WORD_LEN_MAX_BYTES && part.bytes().any(|b| !b.is_ascii_digit())
}

/// What stands between words: of ASCII all but letters and digits, of the rest the usual punctuation and spaces.
fn is_separator(c: char) -> bool {
    match c {
        '\0'..='\u{7f}' => !c.is_ascii_alphanumeric(),
        '\u{aa}' | '\u{b5}' | '\u{ba}' => false,
        '\u{80}'..='\u{bf}' | '\u{d7}' | '\u{f7}' => true,
        '\u{2000}'..='\u{206f}' | '\u{3000}'..='\u{303f}' | '\u{feff}' => true,
        _ => false,
    }
}

impl Field {
    /// As it is committed to.
    pub(super) fn label(&self) -> String {
        label(self.json_type, &self.path)
    }
}

fn label(json_type: JsonType, path: &str) -> String {
    let name = match json_type {
        JsonType::Null => "null",
        JsonType::Boolean => "boolean",
        JsonType::Number => "number",
        JsonType::String => "string",
        JsonType::Array => "array",
        JsonType::Object => "object",
    };
    format!("{name} {path}")
}

/// What there is in JSON; `None` when it is none, or deeper than is read.
fn json(text: &str) -> Option<Found> {
    let all: &RawValue = serde_json::from_str(text).ok()?;
    let mut walk = Walk { found: Found { fields: Some(Bounded::default()), ..Found::default() }, path: String::new() };
    walk.value(all, 0).ok()?;
    Some(walk.found)
}

/// Goes through JSON without building it in memory. Numbers are never read, only told by how they begin: what a number may be depends on features of
/// the library.
struct Walk {
    found: Found,
    path: String,
}

impl Walk {
    fn value(&mut self, value: &RawValue, depth: usize) -> serde_json::Result<()> {
        let text = value.get();
        let json_type = match text.as_bytes().first() {
            Some(b'n') => JsonType::Null,
            Some(b't' | b'f') => JsonType::Boolean,
            Some(b'"') => JsonType::String,
            Some(b'[') => JsonType::Array,
            Some(b'{') => JsonType::Object,
            _ => JsonType::Number,
        };
        self.note_field(json_type);
        match json_type {
            JsonType::String => self.found.note_words(&serde_json::from_str::<String>(text)?),
            JsonType::Array | JsonType::Object if depth == DEPTH_MAX => return Err(serde_json::Error::custom("too deep")),
            JsonType::Array | JsonType::Object => {
                let (mut members, is_records) = (0, depth == 0 && json_type == JsonType::Array);
                let len = self.path.len();
                serde_json::Deserializer::from_str(text).deserialize_any(Members(|key: Option<String>, member: &RawValue| {
                    members += 1;
                    match key {
                        Some(key) => {
                            self.found.note_words(&key);
                            self.enter(&key);
                        }
                        None => self.path.push_str("/*"),
                    }
                    let done = self.value(member, depth + 1);
                    self.path.truncate(len);
                    done
                }))?;
                if is_records {
                    self.found.records = Some(members);
                }
            }
            JsonType::Null | JsonType::Boolean | JsonType::Number => {}
        }
        Ok(())
    }

    fn note_field(&mut self, json_type: JsonType) {
        if let Some(fields) = &mut self.found.fields {
            if self.path.len() > PATH_LEN_MAX_BYTES {
                fields.give_up();
            }
            if !fields.is_full {
                fields.note(&label(json_type, &self.path));
            }
        }
    }

    /// As RFC 6901 writes keys. A key that is longer than any path is cut: the path is too long either way.
    fn enter(&mut self, key: &str) {
        self.path.push('/');
        if key == "*" {
            self.path.push_str("~2");
            return;
        }
        for c in key.chars().take(PATH_LEN_MAX_BYTES + 1) {
            match c {
                '~' => self.path.push_str("~0"),
                '/' => self.path.push_str("~1"),
                c => self.path.push(c),
            }
        }
    }
}

/// Hands the members of an array or object to a function, those of an object with their keys.
struct Members<F>(F);

impl<'de, F: FnMut(Option<String>, &'de RawValue) -> serde_json::Result<()>> Visitor<'de> for Members<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array or an object")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        while let Some(member) = members.next_element()? {
            self.0(None, member).map_err(A::Error::custom)?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        while let Some((key, member)) = members.next_entry()? {
            self.0(Some(key), member).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}
