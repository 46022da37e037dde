//! Names that are nearest to one that does not exist: what a person may have meant.

/// Names in the order of their likeness to another.
pub(crate) fn nearest_first<'n>(name: &str, mut known: Vec<&'n str>) -> Vec<&'n str> {
    known.sort_by_key(|known| edits(name, known));
    known
}

/// Fewest characters to insert, remove or replace that make one text the other (Levenshtein).
pub(crate) fn edits(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, a) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, b) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likest_name_comes_first() {
        assert_eq!(nearest_first("bleu", vec!["green", "blue", "black"]), ["blue", "black", "green"]);
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!((edits("", "abc"), edits("abc", ""), edits("abc", "abc")), (3, 3, 0));
    }
}
