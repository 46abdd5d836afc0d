//! Versions of documents, and which of them is the latest (Semantic Versioning 2.0, section 11).

/// What stands for the greatest version that there is.
pub(super) const LATEST: &str = "latest";

/// By which versions are ordered: the numbers, then whether it is released, then what says how far it is before that.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Precedence<'a> {
    numbers: Vec<u64>,
    released: bool,
    before: Vec<Part<'a>>,
}

/// Numbers come before words.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part<'a> {
    Number(u64),
    Word(&'a str),
}

pub(super) fn precedence(version: &str) -> Precedence<'_> {
    let text = version.split('+').next().unwrap_or_default();
    let (core, before) = text.split_once('-').map_or((text, None), |(core, before)| (core, Some(before)));
    let part = |text| str::parse(text).map_or(Part::Word(text), Part::Number);
    Precedence {
        numbers: core.split('.').map(|number| number.parse().unwrap_or_default()).collect(),
        released: before.is_none(),
        before: before.into_iter().flat_map(|before| before.split('.')).map(part).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_their_specification_has_it() {
        let rising = [
            "0.1.0",
            "0.2.0",
            "0.10.0",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
        ];
        assert!(rising.windows(2).all(|two| precedence(two[0]) < precedence(two[1])));
        assert_eq!(precedence("1.0.0+a"), precedence("1.0.0+b"));
    }
}
