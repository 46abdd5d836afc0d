//! Services from OpenAPI, WSDL and `.proto`.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use serde_json::{Value, json};
use sos_call::{
    Address, CallError, Contract, Documents, Settings, Version, compare_contracts, grpc, rest, soap,
};
use sos_engine::calls::contract_of;
use sos_engine::calls::documents::{Notation, files};
use sos_model::{ContractDocument, ContractSpec, Declared, Kind, Name};

use super::report::{Report, finish, name_of};
use super::{Common, fetch};
use crate::commands::block_on;
use crate::outcome::{Failure, Outcome};

/// Longest time for a service to tell what it can be asked.
const REFLECTION: Duration = Duration::from_secs(20);
/// Folder of the documents, beside the manifests.
const CONTRACTS: &str = "contracts";

/// Arguments of an import of a service.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// Name of the service [default: made of the document's title]
    #[arg(long)]
    name: Option<String>,
    /// Address at which the service is called [default: what the document says]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// Arguments of `sos import wsdl`.
#[derive(Debug, clap::Args)]
pub(crate) struct WsdlArgs {
    #[command(flatten)]
    args: Args,
    /// Name of the WSDL's service [default: the first]
    #[arg(long)]
    service: Option<String>,
    /// Name of the service's port [default: the first that speaks SOAP]
    #[arg(long)]
    port: Option<String>,
}

/// Arguments of `sos import proto`.
#[derive(Debug, clap::Args)]
pub(crate) struct ProtoArgs {
    #[command(flatten)]
    args: Args,
    /// Folder or address that imports are relative to [default: that of the file]
    #[arg(long, value_name = "DIR")]
    root: Option<String>,
}

/// What was read, ready to be written.
struct Found {
    contract: Contract,
    /// What the document says of its address.
    address: Option<String>,
    /// Files below the folder of the documents.
    files: Vec<(PathBuf, Vec<u8>)>,
    /// The `contract` of a new manifest, given the path of the file that is named.
    manifest: Box<dyn Fn(&str) -> Value>,
    named: PathBuf,
}

pub(super) fn openapi(args: &Args) -> Outcome {
    block_on(async {
        let documents = args.common.from.documents(Notation::OpenApi, &args.common.source).await?;
        let client = rest::Client::read(&documents).map_err(|error| wrong(args, &error))?;
        let address = client.servers().into_iter().find_map(|server| absolute(&args.common.source, &server));
        let manifest = Box::new(|file: &str| json!({ "openapi": file }));
        import(args, documents, client.contract().clone(), address, manifest)
    })
}

pub(super) fn wsdl(args: &WsdlArgs) -> Outcome {
    block_on(async {
        let WsdlArgs { args, service, port } = args;
        let documents = args.common.from.documents(Notation::Wsdl, &args.common.source).await?;
        let choice = soap::Choice { service: service.clone(), port: port.clone() };
        let client = soap::Client::read(&documents, &choice).map_err(|error| wrong(args, &error))?;
        let address = client.address().and_then(|address| absolute(&args.common.source, address));
        let manifest = Box::new(move |file: &str| {
            let mut wsdl = json!({ "file": file });
            for (key, value) in [("service", &choice.service), ("port", &choice.port)] {
                if let Some(value) = value {
                    wsdl[key] = json!(value);
                }
            }
            json!({ "wsdl": wsdl })
        });
        import(args, documents, client.contract().clone(), address, manifest)
    })
}

pub(super) fn proto(args: &ProtoArgs) -> Outcome {
    block_on(async {
        let ProtoArgs { args, root } = args;
        let source = &args.common.source;
        let at = fetch::address(source);
        let is_set = [".binpb", ".pb", ".protoset"].iter().any(|end| source.ends_with(end));
        if let Some(url) = at.clone().filter(|url| !url.path().ends_with(".proto") && !is_set) {
            let transport = args
                .common
                .from
                .transport(&url, Settings { version: Version::Http2, ..Settings::default() })?;
            let endpoint = Address::parse(source).map_err(Failure::input)?;
            let told = grpc::Client::reflect(&transport, &endpoint, &[], REFLECTION).await;
            let client = told.map_err(|error| Failure::Unreachable(format!("{source}: {error}")))?;
            let documents = Documents::one("reflection.binpb", client.descriptor_set());
            let manifest = Box::new(|_: &str| json!({ "reflection": {} }));
            // The service goes on telling by itself; what it told now is kept to be looked at.
            return import(args, documents, client.contract().clone(), Some(source.clone()), manifest);
        }
        if is_set {
            let bytes = args.common.from.bytes(source).await?;
            let documents = Documents::one("descriptors.binpb", bytes);
            let client = grpc::Client::read(&documents).map_err(|error| wrong(args, &error))?;
            let manifest = Box::new(|file: &str| json!({ "descriptorSet": file }));
            return import(args, documents, client.contract().clone(), None, manifest);
        }
        let (documents, name) = match at {
            Some(url) => {
                let (root, name) = rooted_address(&url, root.as_deref())?;
                (args.common.from.protos(&root, &name).await?, name)
            }
            None => {
                let (root, name) = rooted(source, root.as_deref().map(Path::new))?;
                let names = [name.clone()];
                let read = sos_engine::calls::documents::read_files(Notation::Proto, &root, &names);
                (read.map_err(Failure::input)?, name)
            }
        };
        let client = grpc::Client::read(&documents).map_err(|error| wrong(args, &error))?;
        let manifest = Box::new(move |folder: &str| json!({ "proto": { "files": [name], "root": folder } }));
        import(args, documents, client.contract().clone(), None, manifest)
    })
}

/// The root of imports, and the file relative to it.
fn rooted(source: &str, root: Option<&Path>) -> Result<(PathBuf, String), Failure> {
    let path = Path::new(source);
    let root = root.unwrap_or_else(|| path.parent().unwrap_or(Path::new("")));
    let inside = path.strip_prefix(root).map_err(|_| {
        Failure::input(format!(
            "{source} is not below --root {}; expected the folder of all imports",
            root.display()
        ))
    })?;
    let root = if root.as_os_str().is_empty() { Path::new(".") } else { root };
    Ok((root.to_owned(), inside.display().to_string()))
}

/// The same for an address.
fn rooted_address(source: &Url, root: Option<&str>) -> Result<(Url, String), Failure> {
    let root = match root {
        None => source.join(".").ok(),
        Some(root) => fetch::address(&format!("{}/", root.trim_end_matches('/'))),
    };
    let name = root.as_ref().and_then(|root| source.as_str().strip_prefix(root.as_str()));
    root.clone().zip(name.map(ToOwned::to_owned)).ok_or_else(|| {
        Failure::input(format!(
            "{source} is not below --root {}; expected the address of the folder of all imports",
            root.as_ref().map_or("", Url::as_str)
        ))
    })
}

fn wrong(args: &Args, error: &CallError) -> Failure {
    Failure::input(format!("{}: {error}", args.common.source))
}

/// An address as a document writes it, which may be relative to where the document was.
fn absolute(source: &str, address: &str) -> Option<String> {
    let url = match fetch::address(source) {
        Some(base) => base.join(address).ok()?,
        None => fetch::address(address)?,
    };
    // Variables of servers that are not filled in lead nowhere.
    (!url.as_str().contains(['{', '}'])).then(|| url.as_str().trim_end_matches('/').to_owned())
}

fn import(
    args: &Args,
    documents: Documents,
    contract: Contract,
    address: Option<String>,
    manifest: Box<dyn Fn(&str) -> Value>,
) -> Outcome {
    let name = name(args, &contract)?;
    let old = declared(&args.common.dir, &name)?;
    let is_proto = documents.all.iter().any(|(name, _)| name.ends_with(".proto"));
    let (files, named) = if is_proto {
        let outside =
            |path: &&String| Path::new(path).components().any(|part| !matches!(part, Component::Normal(_)));
        if let Some(path) = documents.all.iter().map(|(path, _)| path).find(outside) {
            return Err(Failure::input(format!(
                "{}: it imports `{path}`; expected paths below the root, without `..`",
                args.common.source
            )));
        }
        let folder = PathBuf::from(&name);
        let files = documents.all.iter().map(|(path, text)| (folder.join(path), text.clone())).collect();
        (files, folder)
    } else {
        files(&documents, &name)
    };
    write(args, &name, Found { contract, address, files, manifest, named }, old.as_ref())
}

fn name(args: &Args, contract: &Contract) -> Result<String, Failure> {
    let Some(name) = &args.name else {
        return name_of(&contract.title).ok_or_else(|| {
            Failure::input("the document has no title to make a name of; give one with --name")
        });
    };
    Name::new(name).map(|name| name.to_string()).ok_or_else(|| {
        Failure::input(format!(
            "--name {name}: expected lower-case letters, digits and -, at most 63 characters"
        ))
    })
}

/// The service as it is declared in the folder, with its contract.
fn declared(dir: &Path, name: &str) -> Result<Option<(Declared, ContractSpec)>, Failure> {
    if !dir.exists() {
        return Ok(None);
    }
    let manifests = sos_engine::folder::manifests(dir);
    if manifests.is_empty() {
        return Ok(None);
    }
    let declared = sos_engine::folder::read_leniently(&manifests);
    let found = declared.into_iter().find(|one| one.kind() == Kind::Service && one.name.as_str() == name);
    Ok(found.and_then(|one| {
        let contract = one.service()?.contract.clone()?;
        Some((one, contract))
    }))
}

fn write(args: &Args, name: &str, found: Found, old: Option<&(Declared, ContractSpec)>) -> Outcome {
    let mut report = Report {
        resources: vec![format!("Service/{name}")],
        found: found.contract.operations.iter().map(|one| one.name.clone()).collect(),
        ..Report::default()
    };
    let below = |path: &Path| Path::new(CONTRACTS).join(path);
    let mut files: Vec<_> = found.files.iter().map(|(path, text)| (below(path), text.clone())).collect();
    match old {
        Some((_, contract)) => {
            // What cannot be read any more is no reason to keep it.
            match contract_of(&contract.document) {
                Ok(Some(before)) => {
                    report.differences =
                        compare_contracts(&before, &found.contract).into_iter().map(Into::into).collect();
                }
                Ok(None) => {}
                Err(error) => report.notes.push(format!("what was there cannot be compared: {error}")),
            }
            report.notes.extend(elsewhere(&args.common.dir, contract, &below(&found.named)));
        }
        None => {
            let address = args.url.clone().or(found.address);
            let address = address.ok_or_else(|| {
                Failure::input(
                    "the document names no address to call; give one with --url http://HOST:PORT/PATH",
                )
            })?;
            let file = below(&found.named).display().to_string();
            let manifest = json!({
                "apiVersion": sos_model::API_VERSION,
                "kind": "Service",
                "metadata": { "name": name },
                "spec": { "external": { "url": address }, "contract": (found.manifest)(&file) },
            });
            let path = PathBuf::from(format!("{name}.yaml"));
            if args.common.dir.join(&path).exists() {
                return Err(Failure::input(format!(
                    "{} is there already and declares no Service/{name} with a contract; rename it, or give another --name",
                    args.common.dir.join(&path).display()
                )));
            }
            files.push((path, crate::yaml::to_yaml(&manifest).into_bytes()));
        }
    }
    report.files = files.iter().map(|(path, _)| path.clone()).collect();
    finish(&args.common, &report, &files)
}

/// A manifest that names another file than the one that is written goes on using that one.
fn elsewhere(dir: &Path, contract: &ContractSpec, written: &Path) -> Option<String> {
    let mut document = contract.document.clone();
    if matches!(document, ContractDocument::Reflection(_)) {
        return None;
    }
    let named = PathBuf::from(document.file_mut()?.clone());
    let same = |a: &Path, b: &Path| match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a.ends_with(b) || b.ends_with(a),
    };
    let new = dir.join(written);
    (!same(&named, &new)).then(|| {
        format!(
            "the manifest names {}; let it name {} to use what was imported",
            named.display(),
            new.display()
        )
    })
}
