//! Documents elsewhere: of services, schemas and functions.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use sos_call::{Address, Credentials, Documents, Secret, fetch};
use sos_workflow::machine::Fault;
use sos_workflow::program::{Program, Resources, Unbuilt};
use sos_workflow::template::data;
use sos_workflow::{Definition, ErrorType};

use super::authentication::{credentials, discovered};
use super::drive::now;
use super::executor::{Executor, MOST_BYTES, failed, wrong};
use super::http::transport;

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

/// The program of a definition, with what it needs from elsewhere. `secrets` are for who has to show himself there.
///
/// # Errors
/// When something in it cannot be used, or not be had.
pub async fn load(
    executor: &Executor,
    definition: &Definition,
    secrets: &Value,
) -> Result<(Program, Resources), Unloaded> {
    let secrets = data(secrets);
    let mut resources = Resources::new();
    for _ in 0..ROUNDS {
        let unbuilt = match Program::build(definition.clone(), &resources) {
            Ok(program) => return Ok((program, resources)),
            Err(unbuilt) => unbuilt,
        };
        if !unbuilt.refused.is_empty() || unbuilt.missing.is_empty() {
            return Err(Unloaded::Unbuilt(unbuilt));
        }
        for missing in unbuilt.missing {
            let address = missing.address.clone();
            let unfetched =
                |fault: Fault| Unloaded::Unfetched(address.clone(), fault.detail.unwrap_or_default());
            let who = missing.authentication(&secrets, now()).map_err(unfetched)?;
            let (_, text) = document(executor, &address, Some(&who)).await.map_err(unfetched)?;
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

/// A document with all that it refers to. Who asks is shown to no other origin.
pub(super) async fn documents(
    executor: &Executor,
    address: &str,
    authentication: Option<&Value>,
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
        let who = authentication.filter(|_| is_same_origin(&next, address));
        let (name, text) = document(executor, &next, who).await?;
        open.extend(references(&name, &text).map_err(|error| failed(&error))?);
        documents.all.push((name, text));
    }
    Ok(documents)
}

fn is_same_origin(one: &str, other: &str) -> bool {
    let origin = |address: &str| url::Url::parse(address).map(|url| url.origin());
    matches!((origin(one), origin(other)), (Ok(one), Ok(other)) if one == other)
}

fn is_on_the_web(address: &str) -> bool {
    address.starts_with("http://") || address.starts_with("https://")
}

/// What is at an address: on the web, or a file beside the workflow.
async fn document(
    executor: &Executor,
    address: &str,
    authentication: Option<&Value>,
) -> Result<(String, Vec<u8>), Fault> {
    let authentication = authentication.filter(|_| is_on_the_web(address));
    let who = credentials(discovered(executor, authentication).await?.as_ref())?;
    as_someone(executor, address, &who).await
}

/// The same, asked by someone.
async fn as_someone(
    executor: &Executor,
    address: &str,
    who: &Credentials,
) -> Result<(String, Vec<u8>), Fault> {
    if is_on_the_web(address) {
        return Ok((address.to_owned(), fetched(executor, address, who).await?));
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

/// What is on the web; asked for once more where a challenge is to be answered, or a token was no longer taken.
async fn fetched(executor: &Executor, address: &str, who: &Credentials) -> Result<Vec<u8>, Fault> {
    let parsed = Address::parse(address).map_err(wrong)?;
    let transport = transport(&executor.transport, who, address);
    let mut first = true;
    loop {
        let own: Vec<(String, Secret)> =
            executor.wallet.headers(who, &executor.transport).await.map_err(|error| failed(&error))?;
        let error = match fetch(&transport, &parsed, &own, MOST_BYTES, FETCH).await {
            Ok(fetched) => return Ok(fetched.bytes),
            Err(error) => error,
        };
        let again = std::mem::take(&mut first)
            && error.fault.as_ref().is_some_and(|fault| fault.status == 401)
            && (transport.answers_challenges() || executor.wallet.rejected(who, &own));
        if !again {
            return Err(failed(&error));
        }
    }
}

/// A document in JSON, for anybody.
pub(super) async fn json(executor: &Executor, address: &str) -> Result<Value, Fault> {
    let (_, text) = as_someone(executor, address, &Credentials::None).await?;
    serde_json::from_slice(&text).map_err(|error| wrong(format!("{address}: no JSON: {error}")))
}

/// The address of an external resource.
pub(super) fn address_of(resource: &Value) -> Result<String, Fault> {
    let endpoint = resource.get("endpoint").unwrap_or(resource);
    let uri = endpoint.get("uri").unwrap_or(endpoint).as_str();
    uri.map(str::to_owned).ok_or_else(|| wrong("expected the address of a document"))
}

/// Who asks for an external resource.
pub(super) fn authentication_of(resource: &Value) -> Option<&Value> {
    resource.get("endpoint").unwrap_or(resource).get("authentication")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn who_asks_is_shown_to_the_same_origin_only() {
        assert!(is_same_origin("https://a/x.json", "https://a:443/y.json"));
        for other in ["http://a/x.json", "https://b/x.json", "x.json"] {
            assert!(!is_same_origin("https://a/x.json", other), "{other}");
        }
    }

    #[test]
    fn a_resource_is_an_address_or_says_who_asks() {
        let with = json!({"endpoint": {"uri": "https://a/x", "authentication": {"bearer": {"token": "t"}}}});
        assert_eq!(address_of(&with).unwrap(), "https://a/x");
        assert_eq!(authentication_of(&with).unwrap()["bearer"]["token"], "t");
        assert_eq!(authentication_of(&json!({"endpoint": "https://a/x"})), None);
        assert_eq!(authentication_of(&json!("https://a/x")), None);
    }
}
