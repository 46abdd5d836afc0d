//! A declared service → how it is called: addresses, connections, credentials, policy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use sos_call::policy::{Balance, Circuit, Concurrency, Outliers, Policy, Rate, Retries};
use sos_call::soap::{Password, Security};
use sos_call::{
    Address, ApiKey, Auth, ClientAuth, Credentials, Egress, Identity, KeyPlace, Limits, Login, Proxy, Secret,
    Settings, TokenRequest, Trust, Version,
};
use sos_model::{
    self as model, CallAuth, Calls, ContractDocument, ContractSpec, PortRef, Runtime, SecretKey, ServiceSpec,
};
use sos_store::Store;

use crate::clock::wall_now;
use crate::services::board::{Board, ServiceView};
use crate::services::secrets;

/// How long a message with WS-Security is valid.
const VALID: Duration = Duration::from_mins(5);

/// Networks that pods have addresses of: private ones (RFC 1918, RFC 4193), and those shared within a provider (RFC 6598).
const PRIVATE: [&str; 5] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];

/// The secret values that a service's calls need, by the path of the key in `calls`.
pub(super) type Values = BTreeMap<&'static str, String>;

/// All secret values, or the first that cannot be had.
pub(super) fn secret_values(store: &Store, calls: &Calls) -> Result<Values, String> {
    let needed = |(path, key): (&'static str, &SecretKey)| {
        secrets::needed(store, key).map(|value| (path, value)).map_err(|why| format!("calls.{path}: {why}"))
    };
    calls.secrets().into_iter().map(needed).collect()
}

fn secret(values: &Values, path: &str) -> Secret {
    Secret::new(values.get(path).cloned().unwrap_or_default())
}

/// Where the copies of a service are called now.
pub(super) fn endpoints(
    spec: &ServiceSpec,
    contract: &ContractSpec,
    name: &str,
    board: &Board,
) -> Vec<Address> {
    let path = &contract.path;
    if let Some(external) = &spec.external {
        let base = external.url.trim_end_matches('/');
        return Address::parse(&format!("{base}{path}")).into_iter().collect();
    }
    let Some(view) = board.services.get(name) else { return Vec::new() };
    let scheme = if contract.tls { "https" } else { "http" };
    sockets(spec, contract, view)
        .filter_map(|socket| Address::parse(&format!("{scheme}://{socket}{path}")).ok())
        .collect()
}

/// Address and called port of every replica that runs. One that is not ready is left out by its failures, when it has any.
fn sockets<'a>(
    spec: &'a ServiceSpec,
    contract: &'a ContractSpec,
    view: &'a ServiceView,
) -> impl Iterator<Item = SocketAddr> + 'a {
    let live = view.replicas.iter().filter(|replica| replica.live);
    let first = || spec.ports.first().map(|port| PortRef::Name(port.name.clone()));
    let port = contract.port.clone().or_else(first);
    live.filter_map(move |replica| replica.socket(port.as_ref()?))
}

/// Which addresses the calls of a service may reach: its own, those it names, and what the operator allows for all.
pub(super) fn egress(spec: &ServiceSpec, allowed: &Egress) -> Result<Egress, String> {
    let mut egress = allowed.clone();
    let mut declared: Vec<&str> = spec.external.iter().map(|external| external.url.as_str()).collect();
    if let Some(CallAuth::Oauth2(oauth)) = &spec.calls.auth {
        declared.push(&oauth.token_url);
    }
    if let Some(proxy) = &spec.calls.proxy {
        declared.push(&proxy.url);
    }
    for url in declared {
        egress = egress.declare(&Address::parse(url)?);
    }
    match (&spec.external, spec.runtime) {
        (Some(_), _) => Ok(egress),
        // The addresses of pods are told by the cluster, never by a caller; they are of a private network.
        (None, Runtime::Kubernetes) => {
            PRIVATE.iter().try_fold(egress, |egress, network| egress.allow(network))
        }
        // Replicas listen on this machine.
        (None, _) => egress.allow("127.0.0.1"),
    }
}

/// How connections are made.
pub(super) fn connections(
    spec: &ServiceSpec,
    contract: &ContractSpec,
    values: &Values,
    allowed: &Egress,
) -> Result<Settings, String> {
    let tls = spec.calls.tls.as_ref();
    let certificate = tls.and_then(|tls| tls.certificate.as_ref());
    let identity = certificate.map(|_| Identity {
        certificates: values.get("tls.certificate").cloned().unwrap_or_default().into_bytes(),
        key: secret(values, "tls.key"),
    });
    let version = if contract.document.is_grpc() { Version::Http2 } else { Version::Any };
    Ok(Settings {
        trust: trust(tls.and_then(|tls| tls.ca_file.as_deref()))?,
        identity,
        proxy: spec.calls.proxy.as_ref().map(|proxy| self::proxy(proxy, values)).transpose()?,
        egress: egress(spec, allowed)?,
        version,
        ..Settings::default()
    })
}

/// The authorities of a file, or those of this machine.
pub(crate) fn trust(ca_file: Option<&str>) -> Result<Trust, String> {
    let Some(path) = ca_file else { return Ok(Trust::System) };
    std::fs::read(path).map(Trust::Authorities).map_err(|error| format!("cannot read {path}: {error}"))
}

fn proxy(proxy: &model::ProxySpec, values: &Values) -> Result<Proxy, String> {
    let login =
        |user: &String| Auth::Basic(Login { user: user.clone(), password: secret(values, "proxy.password") });
    Ok(Proxy {
        address: Address::parse(&proxy.url)?,
        auth: proxy.username.as_ref().map_or(Auth::None, login),
        bypass: proxy.bypass.clone(),
    })
}

/// Who calls, but for WS-Security, which is part of the message.
pub(super) fn credentials(calls: &Calls, values: &Values) -> Result<Credentials, String> {
    let login = |user: &str, path: &str| Login { user: user.to_owned(), password: secret(values, path) };
    Ok(match &calls.auth {
        None | Some(CallAuth::UsernameToken(_)) => Credentials::None,
        Some(CallAuth::Basic(auth)) => Credentials::Basic(login(&auth.username, "auth.basic.password")),
        Some(CallAuth::Digest(auth)) => Credentials::Digest(login(&auth.username, "auth.digest.password")),
        Some(CallAuth::Bearer(_)) => Credentials::Bearer(secret(values, "auth.bearer")),
        Some(CallAuth::ApiKey(key)) => Credentials::Key(ApiKey {
            place: match key.place {
                model::ApiKeyPlace::Header => KeyPlace::Header,
                model::ApiKeyPlace::Query => KeyPlace::Query,
                model::ApiKeyPlace::Cookie => KeyPlace::Cookie,
            },
            name: key.name.clone(),
            value: secret(values, "auth.apiKey.value"),
        }),
        Some(CallAuth::Oauth2(oauth)) => Credentials::OAuth(Box::new(TokenRequest {
            client_id: oauth.client_id.clone(),
            client_auth: ClientAuth::Basic(secret(values, "auth.oauth2.clientSecret")),
            scopes: oauth.scopes.clone(),
            audiences: oauth.audience.iter().cloned().collect(),
            ..TokenRequest::new(Address::parse(&oauth.token_url)?)
        })),
    })
}

/// WS-Security of a service's messages.
pub(super) fn security(calls: &Calls, values: &Values) -> Option<Security> {
    let Some(CallAuth::UsernameToken(token)) = &calls.auth else { return None };
    let password = secret(values, "auth.usernameToken.password");
    let login = Login { user: token.username.clone(), password };
    Some(Security {
        login,
        password: if token.digest { Password::Digest } else { Password::Text },
        timestamp: Some(VALID),
        must_understand: true,
        clock: Arc::new(wall_now),
    })
}

/// What holds on every call.
pub(super) fn policy(calls: &Calls) -> Policy {
    Policy {
        timeout: duration(calls.timeout),
        deadline: duration(calls.deadline),
        retries: Retries {
            attempts: calls.retries.attempts,
            initial_backoff: duration(calls.retries.initial_backoff),
            max_backoff: duration(calls.retries.max_backoff),
            budget_share: calls.retries.budget.get(),
            ..Retries::default()
        },
        circuit: calls.circuit_breaker.get().map(|circuit| Circuit {
            failure_share: circuit.failures.get(),
            minimum_calls: circuit.minimum_calls,
            window: duration(circuit.window),
            open_for: duration(circuit.open_for),
            probes: circuit.probes,
        }),
        outliers: calls.outlier_ejection.get().map(|outliers| Outliers {
            consecutive_failures: Some(outliers.consecutive_failures),
            ejected_for: duration(outliers.eject_for),
            ejected_at_most_percent: (outliers.max_ejected.get() * 100.0).round() as u8,
            ..Outliers::default()
        }),
        concurrency: Concurrency {
            in_flight: calls.concurrency as usize,
            queue: calls.queue as usize,
            // How long a call waits is what its deadline leaves.
            queue_wait: duration(calls.deadline),
        },
        rate: calls.rate_limit.as_ref().map(|rate| Rate {
            per_second: f64::from(rate.calls) / rate.per.as_secs_f64(),
            burst: rate.burst,
        }),
        balance: Balance::LeastOfTwo,
        limits: Limits {
            bytes: usize::try_from(calls.max_answer.0).unwrap_or(usize::MAX),
            ..Limits::default()
        },
    }
}

/// Whether a document tells of gRPC, and which one it is.
pub(super) const fn needs_reflection(contract: &ContractSpec) -> bool {
    matches!(contract.document, ContractDocument::Reflection(_))
}

/// A declared duration, which is never negative.
pub(crate) fn duration(duration: SignedDuration) -> Duration {
    Duration::try_from(duration).unwrap_or_default()
}

/// What makes nonces and ids of messages: the randomness of this machine.
pub(crate) fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    // A machine without randomness could not have made the key of its store either.
    if getrandom::fill(&mut bytes).is_err() {
        tracing::error!("this machine has no randomness; ids of messages repeat");
    }
    bytes
}
