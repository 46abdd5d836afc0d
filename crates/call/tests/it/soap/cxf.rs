//! Apache CXF, which validates what it gets and what it gives against its schemas.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use sos_call::soap::{Choice, Client, Password};
use sos_call::{Documents, ErrorKind};

use super::sample::sample;
use super::{call_at, document, output, peer, security};
use crate::support::Server;

/// CXF with our services, and more by lines on its input.
fn cxf() -> Option<Server> {
    let mut command = Command::new("java");
    command.arg("-cp").arg(peer("cxf")?).arg("Server").stderr(Stdio::null());
    let (server, line) = Server::start(command, tempfile::tempdir().unwrap());
    assert!(line.parse::<u16>().is_ok(), "{line}");
    Some(server)
}

async fn client(server: &Server, name: &str) -> Client {
    Client::read(&document(server, &format!("/{name}?wsdl")).await, &Choice::default()).unwrap()
}

#[tokio::test]
#[ignore = "slow: starts a Java process, fetches its packages the first time"]
async fn all_styles_of_cxf_are_called() {
    let Some(server) = cxf() else { return };
    let battery = json!({"@xsi:type": "Battery", "@id": -1, "name": "b<1", "capacity": "0.12345678901234567890123", "levels": [0.5, null, "NaN"]});
    let panel = json!({"@xsi:type": "Panel", "@id": 2, "name": "p", "side": "SOUTH", "picture": "AAEC"});
    for name in ["wrapped", "wrapped12"] {
        let (client, at) = (client(&server, name).await, server.address(&format!("/{name}")));
        for asset in [&battery, &panel] {
            let out = output(&client, &at, "echo", json!({"asset": asset})).await;
            assert_eq!(out, json!({"asset": asset}), "{name}");
        }
        let out = output(&client, &at, "echo", json!({})).await;
        assert_eq!(out, json!({}));
    }
    let (bare, at) = (client(&server, "bare").await, server.address("/bare"));
    assert_eq!(output(&bare, &at, "echo", battery.clone()).await, battery);
    assert_eq!(output(&bare, &at, "twice", json!(21)).await, json!(42));
    let (rpc, at) = (client(&server, "rpc").await, server.address("/rpc"));
    let out = output(&rpc, &at, "echo", json!({"second": "x", "first": panel})).await;
    assert_eq!(out, json!({"asset": panel}));
}

#[tokio::test]
#[ignore = "slow: starts a Java process, fetches its packages the first time"]
async fn lists_headers_and_faults_of_cxf() {
    let Some(server) = cxf() else { return };
    for (name, code) in [("wrapped", "soap:Server"), ("wrapped12", "soap:Receiver")] {
        let (client, at) = (client(&server, name).await, server.address(&format!("/{name}")));
        let out = output(&client, &at, "all", json!({"count": 3})).await;
        let list = out["assets"].as_array().unwrap();
        assert_eq!(
            (list.len(), &list[2]),
            (
                3,
                &json!({"@xsi:type": "Battery", "@id": 2, "name": "b2", "capacity": 13.5, "levels": [0.5, null]})
            )
        );
        let input = json!({"$headers": {"session": "s"}, "suffix": "1"});
        assert_eq!(output(&client, &at, "who", input).await, json!({"who": "s1"}));
        let nobody = json!({"asset": {"@xsi:type": "Panel", "@id": 1, "name": "nobody"}});
        let error = call_at(&client, &at, "echo", &nobody).await.unwrap_err();
        let fault = error.fault.clone().unwrap();
        assert_eq!(
            (error.kind, fault.code.as_str(), fault.status),
            (ErrorKind::Fault, code, 500),
            "{error:?}"
        );
        assert_eq!(fault.detail, json!({"UnknownAsset": {"asset": "nobody", "code": "9007199254740993"}}));
        assert!(error.message.contains("there is no such asset"), "{error}");
    }
}

#[tokio::test]
#[ignore = "slow: starts a Java process, fetches its packages the first time"]
async fn cxf_wants_addresses_and_users() {
    let Some(server) = cxf() else { return };
    let (addressed, at) = (client(&server, "addressed").await, server.address("/addressed"));
    assert_eq!(output(&addressed, &at, "all", json!({"count": 0})).await, json!({}));
    let error =
        call_at(&addressed.with_addressing(false), &at, "all", &json!({"count": 0})).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fault, "{error:?}");
    assert!(error.fault.clone().unwrap().code.contains("MessageAddressingHeaderRequired"), "{error:?}");
    let (secured, at) = (client(&server, "secured").await, server.address("/secured"));
    for must_understand in [true, false] {
        let right = sos_call::soap::Security { must_understand, ..security(Password::Digest, "hunter2") };
        assert_eq!(
            output(&secured.clone().with_security(right), &at, "all", json!({"count": 0})).await,
            json!({})
        );
    }
    for wrong in [security(Password::Digest, "hunter3"), security(Password::Text, "hunter2")] {
        let error = call_at(&secured.clone().with_security(wrong), &at, "all", &json!({"count": 0}))
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Fault, "{error:?}");
    }
    let error = call_at(&secured, &at, "all", &json!({"count": 0})).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fault, "{error:?}");
}

/// A port of a document: the document, its service and the port.
struct Port {
    file: PathBuf,
    documents: Documents,
    service: String,
    port: String,
}

/// All documents of CXF's own tests that have a service, with its first port that we would choose.
fn ports(folder: &Path) -> Vec<Port> {
    let mut all = vec![];
    let mut files = super::corpus::files(folder);
    files.sort();
    for file in files {
        let documents = super::corpus::documents(folder, &file);
        for (service, port) in super::corpus::soap_ports(&documents.all[0].1) {
            all.push(Port { file: file.clone(), documents: documents.clone(), service, port });
        }
    }
    all
}

#[tokio::test]
#[ignore = "slow: starts a Java process, fetches its packages the first time"]
async fn cxf_takes_the_messages_of_documents_of_others() {
    let Some(folder) = peer("wsdls").map(PathBuf::from) else { return };
    let Some(mut server) = cxf() else { return };
    let (mut calls, mut taken_calls, mut served, mut not_served, mut problems) =
        (0, 0, std::collections::BTreeSet::new(), vec![], vec![]);
    for (number, port) in ports(&folder).into_iter().enumerate() {
        let told = format!("{} {}", port.file.strip_prefix(&folder).unwrap().display(), port.port);
        let local = |name: &str| name.rsplit('}').next().unwrap().to_owned();
        let choice = Choice { service: Some(local(&port.service)), port: Some(local(&port.port)) };
        let Ok(client) = Client::read(&port.documents, &choice) else { continue };
        let rpc = port.documents.all.iter().any(|(_, text)| {
            let text = String::from_utf8_lossy(text);
            text.contains("style=\"rpc\"") || text.contains("style='rpc'")
        });
        let style = if rpc { "\trpc" } else { "" };
        server.say(&format!("c{number}\t{}\t{}\t{}{style}\n", port.file.display(), port.service, port.port));
        let line = server.line();
        if line != "runs" {
            not_served.push(format!("{told}: {line}"));
            continue;
        }
        let at = server.address(&format!("/c{number}"));
        for offered in &client.contract().operations {
            for rich in [0, 3] {
                let input: Value = sample(&offered.input, rich);
                calls += 1;
                let ended = call_at(&client, &at, &offered.name, &input).await;
                let taken = match &ended {
                    // One-way messages are acknowledged before they are looked at.
                    Ok(answer) => answer.output.is_null(),
                    // WS-ReliableMessaging is not spoken; the server says that it insists on it.
                    Err(error) if error.message.contains("}RMAssertion") => {
                        not_served.push(format!("{told} {}: needs reliable messaging", offered.name));
                        continue;
                    }
                    // Its validator knows only the prefixes that the payload's outermost element declares.
                    Err(error) if error.message.contains("does not satisfy the \"QName\" type") => {
                        not_served.push(format!(
                            "{told} {}: a QName that its validator does not read",
                            offered.name
                        ));
                        continue;
                    }
                    Err(error) => error.message.contains("taken"),
                };
                if taken {
                    taken_calls += 1;
                    served.insert(port.file.clone());
                } else {
                    problems.push(format!("{told} {} {input}: {ended:?}", offered.name));
                }
            }
        }
    }
    println!("{calls} calls, {taken_calls} taken, {} documents served", served.len());
    for line in not_served {
        println!("not served: {line}");
    }
    assert!(problems.is_empty(), "{} of {calls}:\n{}", problems.len(), problems.join("\n"));
    assert!(served.len() >= 20);
}
