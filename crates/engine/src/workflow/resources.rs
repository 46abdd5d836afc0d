//! Documents elsewhere: of services, schemas and functions.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use sos_call::{Address, Documents, fetch};
use sos_workflow::machine::Fault;
use sos_workflow::program::{Program, Resources, Unbuilt};
use sos_workflow::{Definition, ErrorType};

use super::executor::{Executor, MOST_BYTES, failed, wrong};

/// The time for one document.
const FETCH: Duration = Duration::from_secs(30);
/// The most documents that one refers to, by way of others too.
const MOST_DOCUMENTS: usize = 200;
/// How often functions may need further functions.
const ROUNDS: usize = 16;

/// Why a document cannot run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unloaded {
    /// What it says cannot be used.
    Unbuilt(Unbuilt),
    /// What it needs cannot be had: its address and why.
    Unfetched(String, String),
}

/// The program of a definition, with what it needs from elsewhere.
///
/// # Errors
/// When something in it cannot be used, or not be had.
pub async fn load(executor: &Executor, definition: &Definition) -> Result<(Program, Resources), Unloaded> {
    let mut resources = Resources::new();
    for _ in 0..ROUNDS {
        let unbuilt = match Program::build(definition.clone(), &resources) {
            Ok(program) => return Ok((program, resources)),
            Err(unbuilt) => unbuilt,
        };
        if !unbuilt.refused.is_empty() || unbuilt.missing.is_empty() {
            return Err(Unloaded::Unbuilt(unbuilt));
        }
        for address in unbuilt.missing {
            let unfetched =
                |fault: Fault| Unloaded::Unfetched(address.clone(), fault.detail.unwrap_or_default());
            let (_, text) = document(executor, &address).await.map_err(unfetched)?;
            let text = String::from_utf8_lossy(&text);
            let read =
                sos_workflow::read(&text).map_err(|problems| unfetched(wrong(problems.to_string())))?;
            resources.insert(address, read.root().to_json());
        }
    }
    Err(Unloaded::Unfetched(
        String::new(),
        format!("functions need further functions more than {ROUNDS} times"),
    ))
}

/// A document with all that it refers to.
pub(super) async fn documents(
    executor: &Executor,
    address: &str,
    references: fn(&str, &[u8]) -> Result<Vec<String>, sos_call::CallError>,
) -> Result<Documents, Fault> {
    let mut documents = Documents::default();
    let mut open = vec![address.to_owned()];
    while let Some(next) = open.pop() {
        if documents.get(&next).is_some() {
            continue;
        }
        if documents.all.len() >= MOST_DOCUMENTS {
            return Err(wrong(format!("{address} refers to more than {MOST_DOCUMENTS} documents")));
        }
        let (name, text) = document(executor, &next).await?;
        open.extend(references(&name, &text).map_err(|error| failed(&error))?);
        documents.all.push((name, text));
    }
    Ok(documents)
}

/// What is at an address: on the web, or a file beside the workflow.
async fn document(executor: &Executor, address: &str) -> Result<(String, Vec<u8>), Fault> {
    if address.starts_with("http://") || address.starts_with("https://") {
        let parsed = Address::parse(address).map_err(wrong)?;
        let fetched = fetch(&executor.transport, &parsed, &[], MOST_BYTES, FETCH).await;
        let fetched = fetched.map_err(|error| failed(&error))?;
        return Ok((address.to_owned(), fetched.bytes));
    }
    let path = address.strip_prefix("file://").unwrap_or(address);
    let inside = !Path::new(path).is_absolute() && !path.split('/').any(|part| part == "..");
    if !inside {
        let detail = format!("{address} is outside of the folder of the workflow");
        return Err(Fault::of(ErrorType::Authorization, "Not allowed", detail));
    }
    let read = tokio::fs::read(executor.base.join(path)).await;
    let text = read.map_err(|error| wrong(format!("{address} cannot be read: {error}")))?;
    Ok((path.to_owned(), text))
}

/// A document in JSON.
pub(super) async fn json(executor: &Executor, address: &str) -> Result<Value, Fault> {
    let (_, text) = document(executor, address).await?;
    serde_json::from_slice(&text).map_err(|error| wrong(format!("{address}: no JSON: {error}")))
}

/// The address of an external resource.
pub(super) fn address_of(resource: &Value) -> Result<String, Fault> {
    let endpoint = resource.get("endpoint").unwrap_or(resource);
    let uri = endpoint.get("uri").unwrap_or(endpoint).as_str();
    uri.map(str::to_owned).ok_or_else(|| wrong("expected the address of a document"))
}
