//! What a service can be asked, and how it is called.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use sos_units::Energy;

use super::service::SecretKey;
use crate::declare::{choice, record, words};
use crate::field::Cx;
use crate::node::Node;
use crate::quantity::{Bytes, Fraction};
use crate::scalar::{PortRef, Switch};
use crate::schema::{ABOVE_ZERO, NOT_NEGATIVE, Range};

record! {
    /// What a service can be asked, told by a document.
    pub struct ContractSpec checked by check_contract {
        ..document: ContractDocument;
        /// Name of the service's port that is called, or a number. Default: its only port. An external service is
        /// called at its own address.
        port: Option<PortRef>;
        /// Path before that of every operation, such as `/api/v2`.
        path: String = String::new();
        /// Whether a port of the service speaks TLS. An external service tells by its address.
        tls: bool = false;
    }
}

choice! {
    /// The document that tells what a service can be asked. Files are relative to the manifest.
    pub enum ContractDocument {
        /// REST: file with OpenAPI 3.1, 3.0 or Swagger 2, in JSON or YAML.
        Openapi(String),
        /// gRPC: `.proto` files.
        Proto(ProtoSpec),
        /// gRPC: file with a compiled descriptor set, as `protoc --descriptor_set_out --include_imports` writes it.
        DescriptorSet(String),
        /// gRPC: the service is asked itself, by server reflection.
        Reflection(ReflectionSpec),
        /// SOAP 1.1 or 1.2: a WSDL 1.1.
        Wsdl(WsdlSpec),
    }
}

record! {
    /// `.proto` files.
    pub struct ProtoSpec checked by check_proto {
        /// The files with the services, relative to `root`.
        files: Vec<String>;
        /// Folder that imports are relative to, itself relative to the manifest.
        root: String = ".".to_owned();
    }
}

record! {
    /// A service that tells by server reflection what it can be asked.
    pub struct ReflectionSpec {
        /// How often it is asked again, 10 s or more.
        refresh: SignedDuration = SignedDuration::from_mins(10), in Range { min: Some(10.0), above: false, max: None };
    }
}

record! {
    /// A WSDL 1.1.
    pub struct WsdlSpec {
        /// The file; what it imports lies beside it.
        file: String;
        /// Name of its `service`. Default: the first.
        service: Option<String>;
        /// Name of the service's `port`. Default: the first that speaks SOAP.
        port: Option<String>;
    }
}

record! {
    /// How a service is called; the same for every operation.
    pub struct Calls checked by check_calls {
        /// Longest time of one attempt.
        timeout: SignedDuration = SignedDuration::from_secs(10), in ABOVE_ZERO;
        /// Longest time of a call with its waits and repetitions.
        deadline: SignedDuration = SignedDuration::from_secs(30), in ABOVE_ZERO;
        /// When a failed attempt is repeated. Only what cannot have taken effect, may be repeated by its contract or
        /// carries an idempotency key is.
        retries: Retries = Retries::default();
        /// Stops calling a service that fails; `false` never does.
        circuit_breaker: Switch<CircuitBreaker> = Switch(Some(CircuitBreaker::default()));
        /// Leaves out single replicas that fail; `false` never does.
        outlier_ejection: Switch<OutlierEjection> = Switch(Some(OutlierEjection::default()));
        /// Calls at the same time, 1 or more; others wait.
        concurrency: u32 = 100, in Range::between(1.0, 100_000.0);
        /// Calls that may wait for a place; with more a call is refused at once.
        queue: u32 = 1000, in Range::between(0.0, 1_000_000.0);
        /// Calls in a time. Default: no limit.
        rate_limit: Option<RateLimit>;
        /// The most bytes that are read of an answer.
        max_answer: Bytes = Bytes(16 << 20), in ABOVE_ZERO;
        /// Who calls.
        auth: Option<CallAuth>;
        /// Further headers (metadata of gRPC).
        headers: BTreeMap<String, String> = BTreeMap::new();
        /// Whom to trust, and the certificate of the caller. Default: the authorities of this machine.
        tls: Option<ClientTls>;
        /// A proxy on the way.
        proxy: Option<ProxySpec>;
        /// Energy of one call at the service, where it is known, such as `0.2 Wh`.
        energy_per_request: Option<Energy>, in NOT_NEGATIVE;
    }
}

record! {
    /// When a failed attempt is repeated.
    pub struct Retries checked by check_retries {
        /// Attempts of one call, the first among them, 1 … 20.
        attempts: u32 = 3, in Range::between(1.0, 20.0);
        /// Longest wait before the second attempt; the wait is random and its bound doubles with each further one.
        initial_backoff: SignedDuration = SignedDuration::from_millis(100), in ABOVE_ZERO;
        /// The bound does not grow beyond this.
        max_backoff: SignedDuration = SignedDuration::from_secs(10), in ABOVE_ZERO;
        /// The most repetitions of all calls together, as a share of the calls of the last seconds, so that a
        /// service in trouble is not drowned.
        budget: Fraction = Fraction::new(0.2);
    }
}

record! {
    /// Stops calling a service that fails, and tries again after a while.
    pub struct CircuitBreaker {
        /// Share of failed calls that opens the circuit.
        failures: Fraction = Fraction::new(0.5);
        /// Time over which the share is counted.
        window: SignedDuration = SignedDuration::from_secs(10), in ABOVE_ZERO;
        /// Calls that the window must have before anything is decided.
        minimum_calls: u32 = 20, in Range::between(1.0, 1_000_000.0);
        /// How long the circuit stays open.
        open_for: SignedDuration = SignedDuration::from_secs(5), in ABOVE_ZERO;
        /// Calls that try whether the service is well again.
        probes: u32 = 3, in Range::between(1.0, 1000.0);
    }
}

record! {
    /// Leaves out single replicas that fail.
    pub struct OutlierEjection {
        /// Failures in a row that eject a replica.
        consecutive_failures: u32 = 5, in Range::between(1.0, 1000.0);
        /// How long, the first time; each further time longer.
        eject_for: SignedDuration = SignedDuration::from_secs(30), in ABOVE_ZERO;
        /// The largest share of replicas that is left out; one always stays.
        max_ejected: Fraction = Fraction::new(0.5);
    }
}

record! {
    /// Calls in a time.
    pub struct RateLimit {
        /// Calls in the long run, 1 or more, in every `per`.
        calls: u32, in Range::between(1.0, 1_000_000_000.0);
        /// The time in which that many calls may be made.
        per: SignedDuration = SignedDuration::from_secs(1), in ABOVE_ZERO;
        /// Calls that may come at once, 1 or more.
        burst: u32 = 1, in Range::between(1.0, 1_000_000.0);
    }
}

choice! {
    /// Who calls.
    pub enum CallAuth {
        /// User and password in `Authorization`.
        Basic(PasswordAuth),
        /// User and password by HTTP digest.
        Digest(PasswordAuth),
        /// A token in `Authorization: Bearer`.
        Bearer(SecretKey),
        /// A key in a header, the query or a cookie.
        ApiKey(ApiKeyAuth),
        /// A token that an OAuth 2 server gives for the client's own credentials.
        Oauth2(Oauth2Auth),
        /// WS-Security UsernameToken of SOAP.
        UsernameToken(UsernameTokenAuth),
    }
}

record! {
    /// User and password.
    pub struct PasswordAuth {
        /// Name of the user.
        username: String;
        /// Its password.
        password: SecretKey;
    }
}

record! {
    /// A key that is sent with every call.
    pub struct ApiKeyAuth {
        /// Where it is sent.
        place: ApiKeyPlace = ApiKeyPlace::Header;
        /// Name of the header, query parameter or cookie.
        name: String;
        /// The key.
        value: SecretKey;
    }
}

words! {
    /// Where a key is sent.
    pub enum ApiKeyPlace as "place" {
        /// In a header.
        Header,
        /// In the query of the address.
        Query,
        /// In a cookie.
        Cookie,
    }
}

record! {
    /// OAuth 2.0 client credentials.
    pub struct Oauth2Auth checked by check_oauth {
        /// Address that gives tokens.
        token_url: String;
        /// Name of the client.
        client_id: String;
        /// Its secret.
        client_secret: SecretKey;
        /// What the token shall allow.
        scopes: Vec<String> = Vec::new();
        /// Whom the token is for.
        audience: Option<String>;
    }
}

record! {
    /// WS-Security UsernameToken.
    pub struct UsernameTokenAuth {
        /// Name of the user.
        username: String;
        /// Its password.
        password: SecretKey;
        /// Whether only a digest of the password is sent.
        digest: bool = true;
    }
}

record! {
    /// Whom to trust, and who calls.
    pub struct ClientTls checked by check_tls {
        /// File with certificates of the authorities that are trusted instead of this machine's, relative to the manifest.
        ca_file: Option<String>;
        /// The caller's certificate with those of its authorities, in PEM.
        certificate: Option<SecretKey>;
        /// The private key of that certificate, in PEM.
        key: Option<SecretKey>;
    }
}

record! {
    /// A proxy on the way.
    pub struct ProxySpec checked by check_proxy {
        /// Its address, `http://HOST:PORT`.
        url: String;
        /// Name to log in with.
        username: Option<String>;
        /// Password to log in with.
        password: Option<SecretKey>;
        /// Hosts that are reached without it: names, `*.example.org`, addresses.
        bypass: Vec<String> = Vec::new();
    }
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            timeout: SignedDuration::from_secs(10),
            deadline: SignedDuration::from_secs(30),
            retries: Retries::default(),
            circuit_breaker: Switch(Some(CircuitBreaker::default())),
            outlier_ejection: Switch(Some(OutlierEjection::default())),
            concurrency: 100,
            queue: 1000,
            rate_limit: None,
            max_answer: Bytes(16 << 20),
            auth: None,
            headers: BTreeMap::new(),
            tls: None,
            proxy: None,
            energy_per_request: None,
        }
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 3,
            initial_backoff: SignedDuration::from_millis(100),
            max_backoff: SignedDuration::from_secs(10),
            budget: Fraction::new(0.2),
        }
    }
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            failures: Fraction::new(0.5),
            window: SignedDuration::from_secs(10),
            minimum_calls: 20,
            open_for: SignedDuration::from_secs(5),
            probes: 3,
        }
    }
}

impl Default for OutlierEjection {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            eject_for: SignedDuration::from_secs(30),
            max_ejected: Fraction::new(0.5),
        }
    }
}

impl ContractDocument {
    /// The file that is read, when there is one.
    #[must_use]
    pub const fn file_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Openapi(file) | Self::DescriptorSet(file) => Some(file),
            Self::Proto(proto) => Some(&mut proto.root),
            Self::Wsdl(wsdl) => Some(&mut wsdl.file),
            Self::Reflection(_) => None,
        }
    }

    /// Whether the service speaks gRPC.
    #[must_use]
    pub const fn is_grpc(&self) -> bool {
        matches!(self, Self::Proto(_) | Self::DescriptorSet(_) | Self::Reflection(_))
    }
}

impl Calls {
    /// Every secret it uses, by the path of its key in `calls`.
    #[must_use]
    pub fn secrets(&self) -> Vec<(&'static str, &SecretKey)> {
        let mut found = Vec::new();
        found.extend(self.auth.as_ref().map(|auth| match auth {
            CallAuth::Basic(login) => ("auth.basic.password", &login.password),
            CallAuth::Digest(login) => ("auth.digest.password", &login.password),
            CallAuth::Bearer(token) => ("auth.bearer", token),
            CallAuth::ApiKey(key) => ("auth.apiKey.value", &key.value),
            CallAuth::Oauth2(oauth) => ("auth.oauth2.clientSecret", &oauth.client_secret),
            CallAuth::UsernameToken(login) => ("auth.usernameToken.password", &login.password),
        }));
        if let Some(tls) = &self.tls {
            found.extend(tls.certificate.as_ref().map(|key| ("tls.certificate", key)));
            found.extend(tls.key.as_ref().map(|key| ("tls.key", key)));
        }
        found
            .extend(self.proxy.as_ref().and_then(|p| p.password.as_ref()).map(|key| ("proxy.password", key)));
        found
    }
}

/// An `http` or `https` address with a host.
pub(super) fn is_web_address(text: &str) -> bool {
    let rest = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', ':']))
        && !text.contains(char::is_whitespace)
}

fn place(node: &Node, key: &str) -> crate::problem::Position {
    node.get(key).map_or(node.position, |n| n.position)
}

fn check_contract(contract: &ContractSpec, node: &Node, cx: &mut Cx<'_>) {
    if !contract.path.is_empty() && (!contract.path.starts_with('/') || contract.path.ends_with('/')) {
        let help = "expected a path such as /api/v2, without / at the end";
        cx.report(place(node, "path"), "path cannot stand before others", help);
    }
}

fn check_proto(proto: &ProtoSpec, node: &Node, cx: &mut Cx<'_>) {
    if proto.files.is_empty() {
        cx.report(place(node, "files"), "files is empty", "expected at least one .proto file");
    }
    if proto.files.iter().any(|file| file.starts_with('/') || file.split('/').any(|part| part == "..")) {
        let help = "imports are relative to root; set root to the folder that holds all files";
        cx.report(place(node, "files"), "a file lies outside root", help);
    }
}

fn check_calls(calls: &Calls, node: &Node, cx: &mut Cx<'_>) {
    if calls.deadline < calls.timeout {
        let key = if node.get("deadline").is_some() { "deadline" } else { "timeout" };
        cx.report(place(node, key), "deadline is shorter than timeout", "expected timeout or longer");
    }
}

fn check_retries(retries: &Retries, node: &Node, cx: &mut Cx<'_>) {
    if retries.max_backoff < retries.initial_backoff {
        let key = if node.get("maxBackoff").is_some() { "maxBackoff" } else { "initialBackoff" };
        cx.report(
            place(node, key),
            "maxBackoff is shorter than initialBackoff",
            "expected initialBackoff or longer",
        );
    }
}

fn check_oauth(oauth: &Oauth2Auth, node: &Node, cx: &mut Cx<'_>) {
    if !is_web_address(&oauth.token_url) {
        cx.report(place(node, "tokenUrl"), "tokenUrl is not an address", "expected https://… or http://…");
    }
}

fn check_tls(tls: &ClientTls, node: &Node, cx: &mut Cx<'_>) {
    if tls.certificate.is_some() != tls.key.is_some() {
        cx.report(node.position, "certificate and key belong together", "expected both or none");
    }
}

fn check_proxy(proxy: &ProxySpec, node: &Node, cx: &mut Cx<'_>) {
    if !proxy.url.starts_with("http://") || !is_web_address(&proxy.url) {
        cx.report(place(node, "url"), "url is not the address of a proxy", "expected http://HOST:PORT");
    }
    if proxy.username.is_some() != proxy.password.is_some() {
        cx.report(node.position, "username and password belong together", "expected both or none");
    }
}

/// What the contract and the calls of a service ask of each other and of the rest.
pub(super) fn check_service_contract(service: &super::service::ServiceSpec, node: &Node, cx: &mut Cx<'_>) {
    let Some(contract) = &service.contract else {
        return;
    };
    let inner = node.get("contract");
    let at = |key: &str| inner.and_then(|n| n.get(key)).or(inner).map_or(node.position, |n| n.position);
    match &service.external {
        Some(external) if external.url.starts_with("tcp://") => {
            cx.report(
                at("contract"),
                "a contract of a service that does not speak HTTP",
                "expected external: {url: http…}",
            );
        }
        Some(_) if contract.port.is_some() || contract.tls => {
            let key = if contract.port.is_some() { "port" } else { "tls" };
            cx.report(
                at(key),
                format!("{key} of an external service"),
                "it is called at its own address; remove it",
            );
        }
        None if contract.port.is_none() && service.ports.len() != 1 => {
            let message = format!("contract without a port, and the service has {}", service.ports.len());
            cx.report(at("port"), message, "expected the name of one of its ports");
        }
        _ => {}
    }
    let soap = matches!(contract.document, ContractDocument::Wsdl(_));
    if matches!(service.calls.auth, Some(CallAuth::UsernameToken(_))) && !soap {
        let position = node.get("calls").and_then(|n| n.get("auth")).map_or(node.position, |n| n.position);
        cx.report(
            position,
            "usernameToken without a WSDL",
            "expected basic, digest, bearer, apiKey or oauth2",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Field;
    use crate::node::Value;
    use crate::problem::Position;

    #[test]
    fn the_defaults_of_a_group_are_those_of_its_keys() {
        fn of_an_empty_map<T: Field>() -> Option<T> {
            T::read(&Node { position: Position::NONE, value: Value::Map(Vec::new()) }, &mut Cx::new("test"))
        }
        assert_eq!(of_an_empty_map(), Some(Calls::default()));
        assert_eq!(of_an_empty_map(), Some(Retries::default()));
        assert_eq!(of_an_empty_map(), Some(CircuitBreaker::default()));
        assert_eq!(of_an_empty_map(), Some(OutlierEjection::default()));
    }

    #[test]
    fn web_addresses_have_a_host() {
        for (text, right) in [
            ("https://a", true),
            ("http://a:1/x", true),
            ("http://", false),
            ("http:///x", false),
            ("a", false),
        ] {
            assert_eq!(is_web_address(text), right, "{text}");
        }
    }
}
