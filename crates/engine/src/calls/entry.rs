//! One service, ready to be called.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use sos_call::{
    Address, CallError, Caller, Contract, Documents, Egress, ErrorKind, Speak as _, Speaker, Transport, grpc,
    rest, soap,
};
use sos_model::{ContractDocument, ContractSpec, ServiceSpec};

use super::Registered;
use super::documents::{CATALOG, Notation, read_file, read_files};
use super::settings::{self, Values};
use crate::relock;
use crate::services::board::Board;

/// What an entry is made of. While it is the same, so is the entry.
#[derive(Clone, Debug)]
pub(super) struct Basis {
    pub(super) service: String,
    pub(super) spec: ServiceSpec,
    pub(super) contract: ContractSpec,
    pub(super) values: Result<Values, String>,
    /// What reflection told last.
    pub(super) reflected: Option<Vec<u8>>,
}

/// When a file was last changed, and how long it is.
type Stamp = Option<(SystemTime, u64)>;

/// One service.
pub(super) struct Entry {
    basis: Basis,
    files: Vec<(PathBuf, Stamp)>,
    ready: Result<Ready, CallError>,
    endpoints: Mutex<Vec<Address>>,
    /// Why the service did not tell, when it was asked last, what it can be asked.
    untold: Mutex<Option<String>>,
}

struct Ready {
    caller: Arc<Caller<Speaker>>,
    contract: Arc<Contract>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("service", &self.basis.service).finish_non_exhaustive()
    }
}

impl Entry {
    /// Reads the contract and prepares the calls; what is wrong is kept and told to whoever calls.
    pub(super) fn new(basis: Basis, egress: &Egress, seed: u64) -> Self {
        let documents = documents(&basis.contract.document, basis.reflected.as_deref());
        let files = files(&basis.contract.document, documents.as_ref().ok());
        let made = documents.and_then(|documents| Ready::new(&basis, &documents, egress, seed));
        let ready = made.map_err(|error| error.of(&basis.service, ""));
        Self { basis, files, ready, endpoints: Mutex::default(), untold: Mutex::default() }
    }

    /// Whether it is made of the same, files included.
    pub(super) fn is_of(&self, basis: &Basis) -> bool {
        self.basis.spec == basis.spec
            && self.basis.values == basis.values
            && self.basis.reflected == basis.reflected
            && self.files.iter().all(|(path, before)| stamp(path) == *before)
    }

    /// Calls go where the replicas are now.
    pub(super) fn follow(&self, board: &Board) {
        let basis = &self.basis;
        let now = settings::endpoints(&basis.spec, &basis.contract, &basis.service, board);
        let mut known = relock(&self.endpoints);
        if *known != now {
            known.clone_from(&now);
            if let Ok(ready) = &self.ready {
                ready.caller.set_endpoints(now);
            }
        }
    }

    /// Whether there is somewhere to go.
    pub(super) fn has_endpoint(&self) -> bool {
        !relock(&self.endpoints).is_empty()
    }

    pub(super) fn basis(&self) -> &Basis {
        &self.basis
    }

    pub(super) fn caller(&self) -> Result<Arc<Caller<Speaker>>, CallError> {
        self.ready.as_ref().map(|ready| Arc::clone(&ready.caller)).map_err(|error| self.explained(error))
    }

    /// Notes why the service does not tell what it can be asked.
    pub(super) fn note_untold(&self, why: &str) {
        *relock(&self.untold) = Some(why.to_owned());
    }

    /// The problem with what was seen when the service was asked.
    fn explained(&self, error: &CallError) -> CallError {
        let mut error = error.clone();
        if let Some(why) = relock(&self.untold).as_deref() {
            error.message = format!("{}: {why}", error.message);
        }
        error
    }

    pub(super) fn contract(&self) -> Option<Arc<Contract>> {
        self.ready.as_ref().ok().map(|ready| Arc::clone(&ready.contract))
    }

    pub(super) fn problem(&self) -> Option<&CallError> {
        self.ready.as_ref().err()
    }

    pub(super) fn registered(&self, name: &str, board: &Board) -> Registered {
        let spec = &self.basis.spec;
        let status = board.services.get(name).map(|view| &view.status);
        let probed = spec.external.is_none() || spec.probes.iter().next().is_some();
        Registered {
            service: name.to_owned(),
            contract: self.contract(),
            owner: spec.owner.clone(),
            external: spec.external.is_some(),
            endpoints: relock(&self.endpoints).iter().map(ToString::to_string).collect(),
            ready: status.filter(|_| probed).map(|status| status.ready > 0),
            circuit: self.ready.as_ref().ok().and_then(|ready| ready.caller.measures().circuit),
            energy_per_request_kwh: spec.calls.energy_per_request.map(|energy| energy.as_kwh()),
            problem: self.problem().map(|error| self.explained(error).of("", "").to_string()),
        }
    }
}

impl Ready {
    fn new(basis: &Basis, documents: &Documents, egress: &Egress, seed: u64) -> Result<Self, CallError> {
        let wrong = |why: String| CallError::new(ErrorKind::BadDocument, "", why);
        let missing = |why: String| CallError::new(ErrorKind::NoCredentials, "", why);
        let values = basis.values.clone().map_err(missing)?;
        let calls = &basis.spec.calls;
        let connections =
            settings::connections(&basis.spec, &basis.contract, &values, egress).map_err(wrong)?;
        let transport = Transport::new(&connections)?;
        let credentials = settings::credentials(calls, &values).map_err(wrong)?;
        let speaker =
            match (speaker(&basis.contract.document, documents)?, settings::security(calls, &values)) {
                (Speaker::Soap(client), security) => {
                    let client = client.with_random(std::sync::Arc::new(settings::random));
                    Speaker::Soap(match security {
                        Some(security) => client.with_security(security),
                        None => client,
                    })
                }
                (speaker, _) => speaker,
            };
        let contract = Arc::new(speaker.contract().clone());
        let policy = settings::policy(calls);
        let caller = Caller::new(&basis.service, speaker, transport, policy, credentials, seed)?;
        Ok(Self { caller: Arc::new(caller), contract })
    }
}

pub(super) fn speaker(document: &ContractDocument, documents: &Documents) -> Result<Speaker, CallError> {
    Ok(match document {
        ContractDocument::Openapi(_) => Speaker::Rest(rest::Client::read(documents)?),
        ContractDocument::Proto(_) | ContractDocument::DescriptorSet(_) | ContractDocument::Reflection(_) => {
            Speaker::Grpc(grpc::Client::read(documents)?)
        }
        ContractDocument::Wsdl(wsdl) => {
            let choice = soap::Choice { service: wsdl.service.clone(), port: wsdl.port.clone() };
            Speaker::Soap(soap::Client::read(documents, &choice)?)
        }
    })
}

/// The documents of a contract; `reflected` is what the service told of itself.
pub(super) fn documents(
    document: &ContractDocument,
    reflected: Option<&[u8]>,
) -> Result<Documents, CallError> {
    let read = match document {
        ContractDocument::Openapi(file) => read_file(Notation::OpenApi, Path::new(file)),
        ContractDocument::Wsdl(wsdl) => read_file(Notation::Wsdl, Path::new(&wsdl.file)),
        ContractDocument::Proto(proto) => read_files(Notation::Proto, Path::new(&proto.root), &proto.files),
        ContractDocument::DescriptorSet(file) => std::fs::read(file)
            .map(|bytes| Documents::one("descriptors.binpb", bytes))
            .map_err(|error| format!("cannot read {file}: {error}")),
        ContractDocument::Reflection(_) => match reflected {
            Some(bytes) => Ok(Documents::one("reflection.binpb", bytes)),
            None => {
                let message = "it has not answered yet what it can be asked (server reflection)";
                return Err(CallError::new(ErrorKind::Unreachable, "", message));
            }
        },
    };
    read.map_err(|why| CallError::new(ErrorKind::BadDocument, "", why))
}

/// The files that an entry depends on, as they are.
fn files(document: &ContractDocument, documents: Option<&Documents>) -> Vec<(PathBuf, Stamp)> {
    let named = match document {
        ContractDocument::Openapi(file) | ContractDocument::DescriptorSet(file) => PathBuf::from(file),
        ContractDocument::Wsdl(wsdl) => PathBuf::from(&wsdl.file),
        ContractDocument::Proto(proto) => Path::new(&proto.root).join("."),
        ContractDocument::Reflection(_) => return Vec::new(),
    };
    let folder = named.parent().unwrap_or(Path::new(".")).to_owned();
    // What a catalog names are no paths.
    let beside = documents.filter(|_| named.file_name().is_none_or(|name| name != CATALOG));
    let beside = beside.into_iter().flat_map(|documents| &documents.all).map(|(name, _)| folder.join(name));
    std::iter::once(named.clone()).chain(beside).map(|path| (path.clone(), stamp(&path))).collect()
}

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
