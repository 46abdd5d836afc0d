//! Getting documents, with all that they refer to, from files and addresses.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use sos_call::{Address, Documents, Egress, Resolved, Secret, Settings, Transport, Trust, fetch};
use sos_engine::calls::documents::{Notation, collect};

use crate::outcome::Failure;

/// Most bytes of one document.
const MAX_BYTES: usize = 64 << 20;
/// Longest time for one document.
const TIME: Duration = Duration::from_secs(30);
/// What is asked for: documents of every kind, as servers call them.
const ACCEPT: &str = "application/json, application/yaml, text/xml, application/xml, */*";

/// How documents are fetched.
#[derive(Debug, clap::Args)]
pub(crate) struct FetchArgs {
    /// Certificates of authorities that are trusted beside this machine's, in PEM
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Token to present to the server of the document
    #[arg(long, value_name = "TOKEN", env = "SOS_IMPORT_TOKEN", hide_env_values = true)]
    bearer: Option<String>,
    /// Reach a host at this address instead of asking the DNS, also several times
    #[arg(long, value_name = "HOST=ADDR")]
    resolve: Vec<String>,
    /// Also follow references to these hosts: HOST, HOST:PORT, *.DOMAIN or a network; the document's own is allowed
    #[arg(long, value_name = "HOST")]
    allow: Vec<String>,
}

impl FetchArgs {
    /// Connections to the document's own host and what is allowed beside.
    pub(super) fn transport(&self, source: &Url, settings: Settings) -> Result<Transport, Failure> {
        let address = Address::parse(source.as_str()).map_err(Failure::input)?;
        let mut egress = Egress::listed().declare(&address);
        for rule in &self.allow {
            egress = egress.allow(rule).map_err(|why| Failure::input(format!("--allow {rule}: {why}")))?;
        }
        let trust = match &self.ca_file {
            None => Trust::System,
            Some(path) => Trust::SystemAnd(
                std::fs::read(path)
                    .map_err(|error| Failure::input(format!("cannot read {}: {error}", path.display())))?,
            ),
        };
        let resolve = self.resolve.iter().map(|text| resolved(text)).collect::<Result<_, _>>()?;
        let settings = Settings { trust, egress, resolve, ..settings };
        Transport::new(&settings).map_err(|error| Failure::input(error.to_string()))
    }

    /// What is asked for, and who asks. Only the document's own server is told who.
    fn headers(&self, own: bool) -> Vec<(String, Secret)> {
        let accept = ("accept".to_owned(), Secret::new(ACCEPT));
        let token = self.bearer.as_ref().filter(|_| own);
        let token = token.map(|token| ("authorization".to_owned(), Secret::new(format!("Bearer {token}"))));
        std::iter::once(accept).chain(token).collect()
    }

    /// The documents of a file or an address.
    pub(super) async fn documents(&self, notation: Notation, source: &str) -> Result<Documents, Failure> {
        match address(source) {
            Some(url) => self.fetched(notation, &url).await,
            None => read(notation, Path::new(source)).await,
        }
    }

    async fn fetched(&self, notation: Notation, source: &Url) -> Result<Documents, Failure> {
        self.collected(notation, source, source.as_str(), |name| Url::parse(name).ok()).await
    }

    /// A `.proto` file and its imports, which are named from `root` on.
    pub(super) async fn protos(&self, root: &Url, name: &str) -> Result<Documents, Failure> {
        // The well-known types are there already.
        let place = |name: &str| root.join(name).ok().filter(|_| !name.starts_with("google/protobuf/"));
        self.collected(Notation::Proto, root, name, place).await
    }

    /// One document, as it is.
    pub(super) async fn bytes(&self, source: &str) -> Result<Vec<u8>, Failure> {
        let Some(url) = address(source) else {
            return std::fs::read(source)
                .map_err(|error| Failure::input(format!("cannot read {source}: {error}")));
        };
        let transport = self.transport(&url, Settings::default())?;
        let address = Address::parse(source).map_err(Failure::input)?;
        let fetched = fetch(&transport, &address, &self.headers(true), MAX_BYTES, TIME).await;
        fetched.map(|fetched| fetched.bytes).map_err(|error| failed(format!("{source}: {error}"), error.kind))
    }

    /// `first` and what it refers to, from where `place` says that they are.
    async fn collected(
        &self,
        notation: Notation,
        source: &Url,
        first: &str,
        place: impl Fn(&str) -> Option<Url>,
    ) -> Result<Documents, Failure> {
        let transport = self.transport(source, Settings::default())?;
        let mut trouble = None;
        let collected = collect(notation, &[first.to_owned()], async |name: &str| {
            let Some(url) = place(name) else { return Ok(None) };
            let Ok(address) = Address::parse(url.as_str()) else { return Ok(None) };
            let own = url.origin() == source.origin();
            match fetch(&transport, &address, &self.headers(own), MAX_BYTES, TIME).await {
                Ok(fetched) => Ok(Some(fetched.bytes)),
                Err(error) => {
                    trouble = Some(error.kind);
                    Err(format!("{url}: {error}"))
                }
            }
        })
        .await;
        collected.map_err(|why| match trouble {
            Some(kind) => failed(why, kind),
            None => Failure::input(why),
        })
    }
}

fn failed(why: String, kind: sos_call::ErrorKind) -> Failure {
    match kind {
        sos_call::ErrorKind::NotAllowed => {
            Failure::NotPermitted(format!("{why}; allow the host with --allow"))
        }
        _ => Failure::Unreachable(why),
    }
}

/// The address that a source is, when it is one.
pub(super) fn address(source: &str) -> Option<Url> {
    Url::parse(source).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
}

async fn read(notation: Notation, path: &Path) -> Result<Documents, Failure> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let collected = collect(notation, std::slice::from_ref(&name), async |wanted: &str| {
        if address(wanted).is_some() {
            return Ok(None);
        }
        let path = folder.join(wanted);
        // What a document refers to may never be needed; whoever needs it says where it is missing.
        if wanted != name && !path.exists() {
            return Ok(None);
        }
        let size =
            std::fs::metadata(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        if size.len() > MAX_BYTES as u64 {
            return Err(format!("{} is larger than {} MiB", path.display(), MAX_BYTES >> 20));
        }
        std::fs::read(&path).map(Some).map_err(|error| format!("cannot read {}: {error}", path.display()))
    });
    collected.await.map_err(Failure::input)
}

/// The authorities of a file beside those of this machine.
pub(crate) fn trust(ca_file: Option<&Path>) -> Result<Trust, Failure> {
    let Some(path) = ca_file else { return Ok(Trust::System) };
    let read = std::fs::read(path);
    let read = read.map_err(|error| Failure::input(format!("cannot read {}: {error}", path.display())))?;
    Ok(Trust::SystemAnd(read))
}

pub(crate) fn resolved(text: &str) -> Result<(String, Vec<Resolved>), Failure> {
    let parts = text.split_once('=').and_then(|(host, ip)| Some((host.to_owned(), vec![ip.parse().ok()?])));
    parts.ok_or_else(|| {
        Failure::input(format!(
            "--resolve {text}: expected HOST=ADDRESS such as meters=10.0.0.7, also with a port"
        ))
    })
}
