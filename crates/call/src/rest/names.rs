//! Names: of documents and the references between them, of places in them, of operations.

use url::Url;

/// One part of a JSON pointer, as text (RFC 6901 §4).
pub(super) fn unescaped(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// One part of a JSON pointer, as it is written.
pub(super) fn escaped(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}

/// A reference as it was resolved: the name of a document and a fragment, percent-decoded, without `#`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Target {
    pub(super) document: String,
    pub(super) fragment: String,
}

/// Resolves a `$ref` against the name of the document that holds it (RFC 3986 §5, also for relative names of files).
pub(super) fn resolve(base: &str, reference: &str) -> Target {
    let (name, fragment) = reference.split_once('#').unwrap_or((reference, ""));
    Target { document: document(base, name), fragment: decoded(fragment) }
}

fn document(base: &str, name: &str) -> String {
    if name.is_empty() {
        return base.to_owned();
    }
    if let Ok(absolute) = Url::parse(name) {
        return absolute.into();
    }
    // A name of one letter before a colon is a drive, not a scheme; such names are paths.
    if let Ok(base) = Url::parse(base)
        && base.scheme().len() > 1
        && let Ok(joined) = base.join(name)
    {
        return joined.into();
    }
    if name.starts_with('/') {
        return name.to_owned();
    }
    let folder = base.rsplit_once('/').map(|(folder, _)| folder);
    let rooted = base.starts_with('/');
    let mut parts: Vec<&str> =
        folder.unwrap_or_default().split('/').filter(|part| !part.is_empty()).collect();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    format!("{}{}", if rooted { "/" } else { "" }, parts.join("/"))
}

/// Percent-decoded; what decodes to no text stays as it is.
pub(super) fn decoded(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let pair = after.get(..2).filter(|_| *first == b'%').and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.filter(|pair| !pair.starts_with('+')).and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// A name for an operation that has none: `GET /offers/{id}` is `getOffersById`.
pub(super) fn operation(method: &str, path: &str) -> String {
    let mut name = method.to_ascii_lowercase();
    let begin = name.len();
    for segment in path.split('/') {
        let mut rest = segment;
        while let Some((before, after)) = rest.split_once('{') {
            let (inside, after) = after.split_once('}').unwrap_or((after, ""));
            push_words(&mut name, before);
            name.push_str("By");
            push_words(&mut name, inside);
            rest = after;
        }
        push_words(&mut name, rest);
    }
    if name.len() == begin {
        name.push_str("Root");
    }
    name
}

fn push_words(name: &mut String, text: &str) {
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let mut letters = word.chars();
        name.extend(letters.next().into_iter().flat_map(char::to_uppercase));
        name.push_str(letters.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_relative_to_the_document_that_holds_them() {
        let name = |base, reference| resolve(base, reference).document;
        assert_eq!(name("api/openapi.yaml", "schemas/pet.yaml#/Pet"), "api/schemas/pet.yaml");
        assert_eq!(name("api/v1/openapi.yaml", "../common.json"), "api/common.json");
        assert_eq!(name("openapi.yaml", "../x.yaml"), "../x.yaml");
        assert_eq!(name("/etc/a.yaml", "../../x.yaml"), "/x.yaml");
        assert_eq!(name("openapi.yaml", "./x.yaml"), "x.yaml");
        assert_eq!(name("https://h/a/b.json", "c.json#/x"), "https://h/a/c.json");
        assert_eq!(name("a.yaml", "https://h/c.json"), "https://h/c.json");
        assert_eq!(name("a.yaml", "#/components"), "a.yaml");
        assert_eq!(resolve("a", "#/paths/~1a%7Bid%7D").fragment, "/paths/~1a{id}");
    }

    #[test]
    fn percent_signs_that_encode_nothing_stay() {
        assert_eq!((decoded("100%"), decoded("%zz%2")), ("100%".to_owned(), "%zz%2".to_owned()));
        assert_eq!((decoded("%+1"), decoded("%ff")), ("%+1".to_owned(), "%ff".to_owned()));
    }

    #[test]
    fn operations_without_an_id_are_named_after_method_and_path() {
        assert_eq!(operation("GET", "/offers/{id}"), "getOffersById");
        assert_eq!(operation("POST", "/"), "postRoot");
        assert_eq!(
            operation("PUT", "/v2/meter-readings/{meterId}.{format}"),
            "putV2MeterReadingsByMeterIdByFormat"
        );
    }
}
