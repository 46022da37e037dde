//! Tags: what operators note beside objects. Nothing else reads them.

use super::walk::Section;

/// Key `tags` of an object: text by text, by the rules of the API (NLB "Tag restrictions").
pub(super) fn check(section: &Section<'_>) -> Option<()> {
    let Some(tags) = section.optional_section("tags")? else { return Some(()) };
    let values = tags.values();
    if values.len() > TAGS {
        let found = format!("{} tags", values.len());
        section.errors().report(&tags.place, found, format!("at most {TAGS}"));
        return None;
    }
    for (key, value) in values {
        if !(1..=KEY_CHARACTERS).contains(&key.chars().count()) {
            return value.refuse(format!("a key of 1 to {KEY_CHARACTERS} characters"));
        }
        let text = value.text(VALUE_EXPECTED)?;
        if text.chars().count() > VALUE_CHARACTERS {
            return value.refuse(VALUE_EXPECTED);
        }
    }
    Some(())
}

/// Most tags of one object.
pub const TAGS: usize = 50;

const KEY_CHARACTERS: usize = 128;
const VALUE_CHARACTERS: usize = 256;
const VALUE_EXPECTED: &str = "text of at most 256 characters";
