//! Documents in folders.

use std::path::{Path, PathBuf};

use sos_call::Documents;
use sos_call::soap::imports;

pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "wsdl") {
            all.push(path);
        }
    }
    all
}

/// A document and those that it refers to, as far as they are in the folder.
pub(super) fn documents(folder: &Path, file: &Path) -> Documents {
    let name = file.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
    let mut all = vec![(name, std::fs::read(file).unwrap())];
    let mut next = 0;
    while next < all.len() {
        let (name, text) = all[next].clone();
        for more in imports(&name, &text).unwrap_or_default() {
            if let (false, Ok(text)) =
                (all.iter().any(|(known, _)| *known == more), std::fs::read(folder.join(&more)))
            {
                all.push((more, text));
            }
        }
        next += 1;
    }
    Documents { all }
}

/// `{namespace}service` and `{namespace}port` of each port in a document.
pub(super) fn soap_ports(text: &[u8]) -> Vec<(String, String)> {
    use quick_xml::events::Event;
    let text = String::from_utf8_lossy(text).into_owned();
    let mut reader = quick_xml::reader::Reader::from_str(&text);
    let (mut target, mut service, mut all) = (String::new(), String::new(), vec![]);
    while let Ok(event) = reader.read_event() {
        let start = match event {
            Event::Start(start) | Event::Empty(start) => start,
            Event::Eof => break,
            _ => continue,
        };
        let value = |name: &str| {
            let found = start.attributes().flatten().find(|attribute| attribute.key.0 == name);
            found.map(|attribute| attribute.value.into_owned()).unwrap_or_default()
        };
        match start.local_name().into_inner() {
            "definitions" => target = value("targetNamespace"),
            "service" => service = format!("{{{target}}}{}", value("name")),
            "port" => all.push((service.clone(), format!("{{{target}}}{}", value("name")))),
            _ => {}
        }
    }
    all
}
