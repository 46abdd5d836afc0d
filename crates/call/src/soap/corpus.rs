//! WSDL documents that others wrote: each is read, and small values of each operation go to XML and back.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Choice, Client, imports};
use crate::contract::Documents;

#[path = "../../tests/it/soap/sample.rs"]
mod sample;
#[path = "../../../../scripts/skipped.rs"]
mod skipped;

/// Why a document or an operation cannot be used, by the end of its path and of the message. Each was looked at: the
/// document is broken, refers to what is not there, or asks for what is not supported.
const EXPECTED: [(&str, &str); 30] = [
    ("catalog/hello_world_messages.wsdl", "has neither services nor bindings"),
    ("catalog/hello_world_wsdl_import.wsdl", "has neither services nor bindings"),
    ("others/hello_world_messages_catalog.wsdl", "has neither services nor bindings"),
    ("others/hello_world_wsdl_import_catalog.wsdl", "has neither services nor bindings"),
    ("type_test/type_test_doclit.wsdl", "has neither services nor bindings"),
    ("type_test/type_test_rpclit.wsdl", "has neither services nor bindings"),
    ("type_test/type_test_xml_inc.wsdl", "has neither services nor bindings"),
    ("wsdl_files/soap_import_2.wsdl", "has neither services nor bindings"),
    ("catalog/hello_world_port_type.wsdl", "the prefix of `x1:sayHiRequest` is declared nowhere"),
    ("catalog/hello_world_services.wsdl", "not among the documents"),
    ("wsdl/factory_pattern.wsdl", "not among the documents"),
    ("wsdl/hello_world_services.wsdl", "not among the documents"),
    ("wsdl/hello_world_soap_action_rpc.wsdl", "a part of an rpc message needs a `type`"),
    ("wsdl/hello_world_xml_bare.wsdl", "is no SOAP binding"),
    ("wsdl/hello_world_xml_mixed.wsdl", "is no SOAP binding"),
    ("wsdl/hello_world_xml_wrapped.wsdl", "is no SOAP binding"),
    ("wsdl/soapheader2.wsdl", "is no SOAP binding"),
    ("type_test/type_test_xml.wsdl", "is no SOAP binding"),
    ("integration/test_http_post.wsdl", "is no SOAP binding"),
    ("wsdl_files/http.wsdl", "is no SOAP binding"),
    ("wsdl/jms_spec_test.wsdl", "has the transport `http://www.w3.org/2010/soapjms/`"),
    ("wsdl/jms_spec_testsuite.wsdl", "has the transport `http://www.w3.org/2010/soapjms/`"),
    ("wsdl/jms_test.wsdl", "has the transport `http://www.w3.org/2010/soapjms/`"),
    ("wsdl/jms_test_mtom.wsdl", "has the transport `http://www.w3.org/2010/soapjms/`"),
    ("wsdl/no_body_parts.wsdl", "requests have attachments"),
    ("wsdl/swa-mime-nomime.wsdl", "requests have attachments"),
    ("wsdl/swa-mime.wsdl", "requests have attachments"),
    (
        "integration/recursive_schema_main.wsdl",
        "port type `{http://schemas.xmlsoap.org/wsdl/}portje` is declared nowhere",
    ),
    ("wsdl_files/claim.wsdl", "rpc/encoded messages"),
    ("wsdl_files/soap_transport_err.wsdl", "is declared differently"),
];

fn folder() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/soap_peers.sh");
    let output = Command::new("bash").arg(script).arg("wsdls").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.code() {
        Some(0) => Some(String::from_utf8(output.stdout).unwrap().lines().last().unwrap().into()),
        Some(77) => {
            skipped::skipped(told.lines().last().unwrap_or("no documents"));
            None
        }
        _ => panic!("soap_peers.sh: {told}"),
    }
}

fn files(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "wsdl") {
            all.push(path);
        }
    }
}

/// A document and those that it refers to, as far as they are in the folder.
fn documents(folder: &Path, file: &Path) -> Documents {
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

/// What became of an operation: how its value went to XML and back.
fn operation(client: &Client, name: &str) -> Result<(), String> {
    let offered = client.contract().operation(name).unwrap();
    let judge =
        jsonschema::draft202012::new(&offered.input).map_err(|error| format!("input schema: {error}"))?;
    jsonschema::draft202012::new(&offered.output).map_err(|error| format!("output schema: {error}"))?;
    for rich in [0, 1, 4] {
        let input = sample::sample(&offered.input, rich);
        if let Err(error) = judge.validate(&input) {
            return Err(format!("the sample {input} does not fit the schema: {error}"));
        }
        let text = client.write_request(name, &input).map_err(|error| format!("{input}: {error}"))?;
        let back = client.read_back(name, &text).map_err(|error| format!("{text}: {error}"))?;
        if !alike(&input, &back) {
            return Err(format!("{input} came back as {back}"));
        }
    }
    Ok(())
}

/// Whether two values are the same but for attributes that the second has by default.
fn alike(one: &serde_json::Value, two: &serde_json::Value) -> bool {
    use serde_json::Value;
    match (one, two) {
        (Value::Object(one), Value::Object(two)) => {
            // A list of nothing is not there.
            let same = |key: &String, value: &Value| {
                two.get(key).map_or(*value == Value::Array(vec![]), |other| alike(value, other))
            };
            one.iter().all(|(key, value)| same(key, value))
                && two.keys().all(|key| one.contains_key(key) || key.starts_with('@'))
        }
        (Value::Array(one), Value::Array(two)) => {
            one.len() == two.len() && one.iter().zip(two).all(|(a, b)| alike(a, b))
        }
        _ => one == two,
    }
}

#[test]
#[ignore = "slow: fetches packages, reads and compiles the schemas of many documents"]
fn documents_of_others_are_read_and_values_go_there_and_back() {
    let Some(folder) = folder() else { return };
    let mut all = vec![];
    files(&folder, &mut all);
    all.sort();
    let (mut read, mut operations, mut refused, mut problems) = (0, 0, vec![], vec![]);
    for file in &all {
        let told = file.strip_prefix(&folder).unwrap().display().to_string();
        let documents = documents(&folder, file);
        match Client::read(&documents, &Choice::default()) {
            Ok(client) => {
                read += 1;
                for (name, error) in client.refused() {
                    refused.push(format!("{told} {name}: {}", error.message));
                }
                for offered in &client.contract().operations {
                    operations += 1;
                    if let Err(error) = operation(&client, &offered.name) {
                        problems.push(format!("{told} {}: {error}", offered.name));
                    }
                }
            }
            Err(error) => refused.push(format!("{told}: {error}")),
        }
    }
    println!("{} documents, {read} read, {operations} operations", all.len());
    for line in &refused {
        println!("refused: {line}");
    }
    let unexpected: Vec<&String> = refused
        .iter()
        .filter(|line| !EXPECTED.iter().any(|(name, why)| line.contains(name) && line.contains(why)))
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    assert!(read >= 20, "only {read} documents were read");
}
