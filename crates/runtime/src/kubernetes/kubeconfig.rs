//! Reading a kubeconfig: which cluster, as whom, and all that may be wrong with it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use kube::config::{
    AuthInfo, Config, KubeConfigOptions, Kubeconfig, KubeconfigError, LoadDataError, NamedContext,
};

use super::error::{KubernetesError, shortened};

/// The largest kubeconfig that is read, bytes.
const MAX_FILE: u64 = 4 << 20;
/// Names that are listed when one is unknown.
const MAX_NAMES: usize = 20;
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a connection may be silent. Watches are asked to end before.
pub(super) const SILENCE: Duration = Duration::from_secs(75);

/// Which cluster is spoken with, and as whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubeconfigSource {
    /// Files in the format of `kubectl`; of several the first one that says something counts, as `KUBECONFIG` has it.
    pub files: Vec<PathBuf>,
    /// The context; by default the current one of the files.
    pub context: Option<String>,
    /// Whether a program that the kubeconfig names may be run for credentials (`exec`). It runs once with each connection, as
    /// this user, at most 30 s. Whoever writes the kubeconfig decides what is run.
    pub allow_exec: bool,
}

/// What a kubeconfig says about one context.
pub(super) struct Chosen {
    pub(super) config: Config,
    pub(super) context: String,
    /// When the credentials expire, where it says so.
    pub(super) expires_at: Option<Timestamp>,
}

impl KubeconfigSource {
    /// The named file, else those of `KUBECONFIG`, else `~/.kube/config`, else none: then it is the account of the pod that
    /// this runs in. Programs that give credentials may be run, as `kubectl` does.
    #[must_use]
    pub fn usual(file: Option<PathBuf>, context: Option<String>) -> Self {
        let named = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty());
        let declared = || named("KUBECONFIG").map(|all| std::env::split_paths(&all).collect::<Vec<_>>());
        let home = || {
            let file = PathBuf::from(named("HOME")?).join(".kube/config");
            file.exists().then(|| vec![file])
        };
        let files = file.map(|file| vec![file]).or_else(declared).or_else(home).unwrap_or_default();
        Self { files, context, allow_exec: true }
    }

    /// Names of the contexts in the files.
    ///
    /// # Errors
    /// When a file cannot be read or is no kubeconfig.
    pub fn contexts(&self) -> Result<Vec<String>, KubernetesError> {
        Ok(self.read()?.contexts.into_iter().map(|context| context.name).collect())
    }

    fn read(&self) -> Result<Kubeconfig, KubernetesError> {
        if self.files.is_empty() {
            let advice = "name a file, such as ~/.kube/config, set KUBECONFIG, or run sos in a pod with a service account";
            return Err(self.wrong("there is none", advice));
        }
        let mut merged = Kubeconfig::default();
        for file in &self.files {
            let one = read_file(file)?;
            merged = merged.merge(one).map_err(|error| self.wrong(error.to_string(), OF_ONE_KIND))?;
        }
        if merged.kind.as_deref().is_some_and(|kind| kind != "Config") {
            return Err(self.wrong("its kind is not Config", OF_ONE_KIND));
        }
        Ok(merged)
    }

    /// Reads the files and picks the context.
    pub(super) async fn choose(&self) -> Result<Chosen, KubernetesError> {
        if let Some(chosen) = self.of_pod()? {
            return Ok(chosen);
        }
        let file = self.read()?;
        let context = self.pick(&file)?.clone();
        let inner = context.context.clone().unwrap_or_default();
        let user = inner.user.clone().unwrap_or_default();
        self.check_cluster(&file, &inner.cluster)?;
        self.check_user(&file, &user)?;
        let proxy = file.clusters.iter().find(|cluster| cluster.name == inner.cluster);
        let proxy = proxy.and_then(|cluster| cluster.cluster.as_ref()?.proxy_url.clone());
        let options =
            KubeConfigOptions { context: Some(context.name.clone()), ..KubeConfigOptions::default() };
        let mut config =
            Config::from_custom_kubeconfig(file, &options).await.map_err(|error| self.unusable(&error))?;
        be_patient(&mut config);
        // What is declared is what holds, not a variable of the environment.
        config.proxy_url = match proxy.filter(|proxy| !proxy.is_empty()) {
            None => None,
            Some(proxy) => Some(proxy.parse().map_err(|_| {
                self.wrong(
                    format!("the proxy-url of cluster {:?} is no address", inner.cluster),
                    "write it as http://HOST:PORT",
                )
            })?),
        };
        let mut expires_at = expiry(&config.auth_info);
        if let Some(exec) = config.auth_info.exec.take() {
            let fetched = super::exec::credentials(&exec).await;
            let advice = "run the program by hand, or give a token of a service account";
            let (user, until) =
                fetched.map_err(|why| self.wrong(format!("its user has no credentials: {why}"), advice))?;
            expires_at = until.or_else(|| expiry(&user));
            config.auth_info = user;
        }
        Ok(Chosen { config, context: context.name, expires_at })
    }

    /// The account of the pod that this runs in, where no file is named.
    fn of_pod(&self) -> Result<Option<Chosen>, KubernetesError> {
        if !self.files.is_empty() || std::env::var_os("KUBERNETES_SERVICE_HOST").is_none() {
            return Ok(None);
        }
        if let Some(context) = &self.context {
            let why =
                format!("context {:?} is asked for, and there is no kubeconfig", shortened(context, 100));
            return Err(self.wrong(why, "name the kubeconfig that has it"));
        }
        let mut config = Config::incluster().map_err(|error| {
            self.wrong(
                format!("the account of this pod cannot be used: {error}"),
                "let the pod have a service account (automountServiceAccountToken)",
            )
        })?;
        be_patient(&mut config);
        Ok(Some(Chosen { config, context: "in-cluster".into(), expires_at: None }))
    }

    fn pick<'a>(&self, file: &'a Kubeconfig) -> Result<&'a NamedContext, KubernetesError> {
        let known = names(file.contexts.iter().map(|context| context.name.as_str()));
        let wanted = self.context.as_ref().or(file.current_context.as_ref()).filter(|name| !name.is_empty());
        let Some(wanted) = wanted else {
            return Err(self.wrong(
                "no context is chosen and it has no current one",
                format!("choose a context; known: {known}"),
            ));
        };
        let found = file.contexts.iter().find(|context| context.name == *wanted && context.context.is_some());
        found.ok_or_else(|| {
            self.wrong(
                format!("it has no context {:?}", shortened(wanted, 100)),
                format!("choose one of these: {known}"),
            )
        })
    }

    fn check_cluster(&self, file: &Kubeconfig, name: &str) -> Result<(), KubernetesError> {
        let known = names(file.clusters.iter().map(|cluster| cluster.name.as_str()));
        let found = file.clusters.iter().find(|cluster| cluster.name == name);
        let Some(cluster) = found.and_then(|cluster| cluster.cluster.as_ref()) else {
            return Err(self.wrong(
                format!("its context names a cluster {name:?} that it does not describe"),
                format!("clusters in the file: {known}"),
            ));
        };
        let server = cluster.server.as_deref().unwrap_or_default();
        let address = server.parse::<http::Uri>().ok();
        let host = address.as_ref().and_then(http::Uri::host);
        match address.as_ref().and_then(http::Uri::scheme_str).zip(host) {
            Some(("https", _)) => {}
            Some(("http", host)) if is_loopback(host) => {}
            Some(("http", _)) => {
                return Err(self.wrong(
                    format!("the server {server:?} of cluster {name:?} is not encrypted"),
                    "use https; plain http is taken on this machine only",
                ));
            }
            _ => {
                return Err(self.wrong(
                    format!("the server {:?} of cluster {name:?} is no address", shortened(server, 200)),
                    "expected https://HOST:PORT",
                ));
            }
        }
        if cluster.insecure_skip_tls_verify == Some(true) {
            return Err(self.wrong(
                format!("cluster {name:?} turns the check of certificates off (insecure-skip-tls-verify)"),
                "give the cluster's authority as certificate-authority-data instead",
            ));
        }
        Ok(())
    }

    fn check_user(&self, file: &Kubeconfig, name: &str) -> Result<(), KubernetesError> {
        let known = names(file.auth_infos.iter().map(|user| user.name.as_str()));
        let Some(user) = file.auth_infos.iter().find(|user| user.name == name) else {
            return Err(self.wrong(
                format!("its context names a user {name:?} that it does not describe"),
                format!("users in the file: {known}"),
            ));
        };
        let none = AuthInfo::default();
        let info = user.auth_info.as_ref().unwrap_or(&none);
        if let Some(exec) = info.exec.as_ref().filter(|_| !self.allow_exec) {
            let program = shortened(exec.command.as_deref().unwrap_or("a program"), 100);
            return Err(self.wrong(
                format!("user {name:?} gets its credentials by running {program:?}, which was not allowed"),
                SERVICE_ACCOUNT,
            ));
        }
        if let Some(provider) = &info.auth_provider {
            return Err(self.wrong(
                format!(
                    "user {name:?} uses the log-in plug-in {:?}, which sos does not run",
                    shortened(&provider.name, 100)
                ),
                SERVICE_ACCOUNT,
            ));
        }
        let certificate = info.client_certificate.is_some() || info.client_certificate_data.is_some();
        let key = info.client_key.is_some() || info.client_key_data.is_some();
        if certificate != key {
            return Err(self.wrong(
                format!("user {name:?} has a client certificate or its key, but not both"),
                "give client-certificate-data and client-key-data",
            ));
        }
        let some = info.exec.is_some()
            || certificate
            || info.token.is_some()
            || info.token_file.is_some()
            || info.username.is_some();
        if some {
            Ok(())
        } else {
            Err(self.wrong(format!("user {name:?} has no credentials"), SERVICE_ACCOUNT))
        }
    }

    fn wrong(&self, why: impl Into<String>, advice: impl Into<String>) -> KubernetesError {
        KubernetesError::kubeconfig(&self.files, why, advice)
    }

    fn unusable(&self, error: &KubeconfigError) -> KubernetesError {
        self.wrong(safe(error), "fetch the kubeconfig of the cluster again")
    }
}

/// How long what may take.
fn be_patient(config: &mut Config) {
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(SILENCE);
    config.write_timeout = Some(SILENCE);
    // The caller's loop decides when something is tried again.
    config.default_retry = false;
}

const OF_ONE_KIND: &str = "each file needs kind: Config and apiVersion: v1";
const SERVICE_ACCOUNT: &str = "make a service account for sos with the role that it prints, and put its token into the kubeconfig \
     (kubectl create token ACCOUNT --duration …)";

fn read_file(path: &Path) -> Result<Kubeconfig, KubernetesError> {
    let wrong = |why: String, advice: &str| KubernetesError::kubeconfig(&[path.to_path_buf()], why, advice);
    let metadata =
        std::fs::metadata(path).map_err(|error| wrong(error.to_string(), "check the path of the file"))?;
    if !metadata.is_file() {
        return Err(wrong("it is no file".into(), "check the path of the file"));
    }
    if metadata.len() > MAX_FILE {
        return Err(wrong(format!("it is larger than {MAX_FILE} bytes"), "check the path of the file"));
    }
    let parsed = Kubeconfig::read_from(path).map_err(|error| wrong(safe(&error), OF_ONE_KIND))?;
    if parsed.contexts.is_empty() && parsed.clusters.is_empty() && parsed.auth_infos.is_empty() {
        return Err(wrong("it holds neither contexts nor clusters nor users".into(), OF_ONE_KIND));
    }
    Ok(parsed)
}

/// What a reader objects to, without what is written there: that may be a key.
fn safe(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(parse) => match parse.location() {
            Some(at) => format!("line {}, column {} is not as a kubeconfig has it", at.line(), at.column()),
            None => "it is no kubeconfig".into(),
        },
        KubeconfigError::ReadConfig(error, _) => error.to_string(),
        KubeconfigError::LoadCertificateAuthority(error)
        | KubeconfigError::LoadClientCertificate(error)
        | KubeconfigError::LoadClientKey(error) => load_error(error),
        KubeconfigError::ParseProxyUrl(_) => "its proxy-url is no address".into(),
        KubeconfigError::ParseCertificates(_) => "its certificate-authority is not in the format PEM".into(),
        other => shortened(&other.to_string(), 200),
    }
}

fn load_error(error: &LoadDataError) -> String {
    match error {
        LoadDataError::DecodeBase64(_) => "a certificate or key in it is not in base64".into(),
        LoadDataError::ReadFile(error, path) => format!("{}: {error}", path.display()),
        LoadDataError::NoBase64DataOrFile => "a certificate or key is missing".into(),
    }
}

fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let mut all: Vec<_> = all.map(|name| shortened(name, 100)).collect();
    if all.is_empty() {
        return "none".into();
    }
    let more = all.len().saturating_sub(MAX_NAMES);
    all.truncate(MAX_NAMES);
    let all = all.join(", ");
    if more > 0 { format!("{all} and {more} more") } else { all }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// When a token expires: JSON Web Tokens (RFC 7519) say so in `exp`, seconds since 1970. Its signature is the server's business.
fn expiry(user: &AuthInfo) -> Option<Timestamp> {
    let json = serde_json::to_value(user).ok()?;
    token_expiry(json.get("token")?.as_str()?)
}

fn token_expiry(token: &str) -> Option<Timestamp> {
    let payload = token.split('.').nth(1)?;
    let json = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&json).ok()?;
    Timestamp::from_second(claims.get("exp")?.as_i64()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "apiVersion: v1
kind: Config
current-context: a
contexts:
- { name: a, context: { cluster: c, user: u } }
- { name: elsewhere, context: { cluster: nowhere, user: u } }
- { name: nobody, context: { cluster: c, user: who } }
clusters:
- { name: c, cluster: { server: 'https://127.0.0.1:1' } }
users:
- { name: u, user: { token: hunter2 } }
";

    fn read(text: &str, context: Option<&str>) -> Result<Chosen, KubernetesError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        std::fs::write(&file, text).unwrap();
        let source =
            KubeconfigSource { files: vec![file], context: context.map(String::from), allow_exec: false };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(source.choose())
    }

    fn refusal(text: &str, context: Option<&str>) -> String {
        let error = read(text, context).err().expect("it was taken");
        let said = format!("{error} | {}", error.advice());
        assert!(!said.contains("hunter2"), "a secret is printed: {said}");
        assert_eq!(error.reason(), "KubeconfigUnusable");
        said
    }

    #[test]
    fn the_current_context_or_a_named_one_is_taken() {
        let chosen = read(GOOD, None).unwrap();
        assert_eq!(
            (chosen.context.as_str(), chosen.config.cluster_url.to_string().as_str()),
            ("a", "https://127.0.0.1:1/")
        );
        assert!(!chosen.config.default_retry && chosen.config.read_timeout.is_some());
        let said = refusal(GOOD, Some("b"));
        assert!(said.contains("\"b\"") && said.contains("a, elsewhere, nobody"), "{said}");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secrets_beside_it() {
        let wrong = [
            ("", "neither contexts"),
            ("just a text", "line 1"),
            ("kind: Config\nusers:\n- { name: u, user: { token: [hunter2] } }\n", "line 3"),
            ("users:\n- { name: u, user: { token: hunter2 }\n", "line"),
            (&GOOD.replace("kind: Config", "kind: Deployment"), "kind is not Config"),
            (&GOOD.replace("current-context: a", ""), "no context is chosen"),
            (&GOOD.replace("https://127.0.0.1:1", "http://10.0.0.1:80"), "not encrypted"),
            (&GOOD.replace("https://127.0.0.1:1", "hunter"), "is no address"),
            (&GOOD.replace("server:", "insecure-skip-tls-verify: true, server:"), "insecure-skip-tls-verify"),
            (&GOOD.replace("server:", "certificate-authority-data: '%%', server:"), "base64"),
            (&GOOD.replace("server:", "proxy-url: 'a b', server:"), "proxy-url"),
            (&GOOD.replace("token: hunter2", ""), "no credentials"),
            (&GOOD.replace("token: hunter2", "client-key-data: hunter2"), "not both"),
            (&GOOD.replace("token: hunter2", "exec: { command: aws, apiVersion: v1 }"), "\"aws\""),
            (&GOOD.replace("token: hunter2", "auth-provider: { name: gcp }"), "plug-in \"gcp\""),
        ];
        for (text, expected) in wrong {
            let said = refusal(text, None);
            assert!(said.contains(expected), "{expected:?} is not in {said}");
        }
        assert!(refusal(GOOD, Some("elsewhere")).contains("\"nowhere\""));
        assert!(refusal(GOOD, Some("nobody")).contains("\"who\""));
    }

    #[test]
    fn a_file_that_is_missing_or_none_is_named() {
        let source =
            KubeconfigSource { files: vec!["/nonexistent/config".into()], ..KubeconfigSource::default() };
        assert!(source.contexts().unwrap_err().to_string().contains("/nonexistent/config"));
        let source = KubeconfigSource { files: vec!["/dev/zero".into()], ..KubeconfigSource::default() };
        assert!(source.contexts().unwrap_err().to_string().contains("no file"));
        assert!(KubeconfigSource::default().contexts().is_err());
    }

    #[test]
    fn the_expiry_of_a_token_is_read_where_it_has_one() {
        // {"exp":1700000000}
        assert_eq!(token_expiry("h.eyJleHAiOjE3MDAwMDAwMDB9.s"), Timestamp::from_second(1_700_000_000).ok());
        for token in ["", "abc", "a.b.c", "a..", "h.eyJleHAiOiJ4In0.s"] {
            assert_eq!(token_expiry(token), None, "{token}");
        }
    }
}
