//! XML that is sent. Each namespace gets one prefix, declared where it is first needed.

use super::super::names::{QName, XML, is_char};

/// Writes elements; what is opened is closed by [`Writer::end`].
#[derive(Debug, Default)]
pub(crate) struct Writer {
    text: String,
    /// Namespaces with the prefixes that hold here, the outermost first.
    prefixes: Vec<(Box<str>, String)>,
    /// Open elements: their written names and how many prefixes held before them.
    open: Vec<(String, usize)>,
    /// Whether the last start tag still lacks its `>`.
    unfinished: bool,
    number: usize,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self { text: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned(), ..Self::default() }
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }

    fn finish_tag(&mut self) {
        if std::mem::take(&mut self.unfinished) {
            self.text.push('>');
        }
    }

    /// Opens an element whose namespace gets this prefix where it has none.
    pub(crate) fn start_as(&mut self, prefix: &str, namespace: &str, local: &str) {
        self.finish_tag();
        let before = self.prefixes.len();
        let declare = self.prefix_of(namespace).is_none() && !namespace.is_empty();
        if declare {
            self.prefixes.push((namespace.into(), prefix.to_owned()));
        }
        let name = self.written(namespace, local);
        self.text.push('<');
        self.text.push_str(&name);
        self.open.push((name, before));
        self.unfinished = true;
        if declare {
            self.declare(prefix, namespace);
        }
    }

    pub(crate) fn start(&mut self, name: &QName) {
        let known = name.namespace.is_empty() || self.prefix_of(&name.namespace).is_some();
        let prefix = if known { String::new() } else { self.fresh() };
        self.start_as(&prefix, &name.namespace, &name.local);
    }

    /// Declares a prefix on the element just opened.
    pub(crate) fn also(&mut self, prefix: &str, namespace: &str) {
        self.prefixes.push((namespace.into(), prefix.to_owned()));
        self.declare(prefix, namespace);
    }

    /// An attribute of the element just opened.
    pub(crate) fn attribute(&mut self, name: &QName, value: &str) {
        let name = self.name(name);
        self.text.push_str(&format!(" {name}=\""));
        escape(&mut self.text, value, true);
        self.text.push('"');
    }

    /// Text within the element just opened.
    pub(crate) fn text(&mut self, text: &str) {
        if !text.is_empty() {
            self.finish_tag();
            escape(&mut self.text, text, false);
        }
    }

    pub(crate) fn end(&mut self) {
        let Some((name, before)) = self.open.pop() else { return };
        self.prefixes.truncate(before);
        if std::mem::take(&mut self.unfinished) {
            self.text.push_str("/>");
        } else {
            self.text.push_str(&format!("</{name}>"));
        }
    }

    pub(crate) fn leaf(&mut self, prefix: &str, namespace: &str, local: &str, text: &str) {
        self.start_as(prefix, namespace, local);
        self.text(text);
        self.end();
    }

    /// A name as it is written here, its prefix declared on the element just opened where it has none.
    pub(crate) fn name(&mut self, name: &QName) -> String {
        if self.prefix_of(&name.namespace).is_none() && !name.namespace.is_empty() {
            let prefix = self.fresh();
            self.prefixes.push((name.namespace.as_ref().into(), prefix.clone()));
            self.declare(&prefix, &name.namespace);
        }
        self.written(&name.namespace, &name.local)
    }

    fn fresh(&mut self) -> String {
        loop {
            self.number += 1;
            let prefix = format!("n{}", self.number);
            if self.prefixes.iter().all(|(_, used)| *used != prefix) {
                return prefix;
            }
        }
    }

    fn declare(&mut self, prefix: &str, namespace: &str) {
        self.text.push_str(&format!(" xmlns:{prefix}=\""));
        escape(&mut self.text, namespace, true);
        self.text.push('"');
    }

    fn prefix_of(&self, namespace: &str) -> Option<&str> {
        if namespace == XML {
            return Some("xml");
        }
        self.prefixes.iter().rev().find(|(known, _)| **known == *namespace).map(|(_, prefix)| prefix.as_str())
    }

    fn written(&self, namespace: &str, local: &str) -> String {
        // The default namespace is never declared, so a name without prefix is in none.
        self.prefix_of(namespace).map_or_else(|| local.to_owned(), |prefix| format!("{prefix}:{local}"))
    }
}

/// Writes text so that it is read back the same. Callers refuse what XML cannot hold; here it becomes U+FFFD.
fn escape(to: &mut String, text: &str, attribute: bool) {
    for char in text.chars() {
        match char {
            '&' => to.push_str("&amp;"),
            '<' => to.push_str("&lt;"),
            '>' => to.push_str("&gt;"),
            '"' if attribute => to.push_str("&quot;"),
            '\t' | '\n' if attribute => to.push_str(&format!("&#{};", char as u32)),
            '\r' => to.push_str("&#13;"),
            _ if is_char(char) => to.push(char),
            _ => to.push(char::REPLACEMENT_CHARACTER),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Bounds, parse};
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut writer = Writer::new();
        writer.start_as("soap", "urn:soap", "Envelope");
        writer.start(&QName::new("urn:a&b", "x"));
        writer.attribute(&QName::new("", "plain"), "a\"<&\n\r\tb");
        writer.attribute(&QName::new("urn:c", "far"), "1");
        writer.attribute(&QName::new(XML, "lang"), "de");
        writer.text("1 < 2 ]]> & \r\n ü");
        writer.start(&QName::new("", "none"));
        writer.end();
        writer.end();
        writer.start(&QName::new("urn:c", "y"));
        writer.end();
        writer.end();
        let text = writer.finish();
        let tree = parse(&text, &Bounds::DOCUMENT).unwrap();
        let x = tree.root().child("urn:a&b", "x").unwrap();
        assert_eq!(x.attribute("plain"), Some("a\"<&\n\r\tb"));
        assert_eq!((x.attribute_of("urn:c", "far"), x.attribute_of(XML, "lang")), (Some("1"), Some("de")));
        assert_eq!(x.text(), "1 < 2 ]]> & \r\n ü");
        assert!(x.child("", "none").is_some() && tree.root().child("urn:c", "y").is_some());
    }
}
