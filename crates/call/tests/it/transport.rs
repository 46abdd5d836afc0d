//! Connections: TLS with all that can be wrong, clients' certificates, versions of HTTP, proxies, egress, redirects.

use std::time::{Duration, Instant};

use serde_json::Value;
use sos_call::{
    Address, Auth, CallError, Egress, ErrorKind, Fetched, Identity, Proxy, Secret, Settings, Transport,
    Trust, Version, fetch,
};
use tempfile::TempDir;

use crate::support::{
    SHORT, Server, WAIT, app_server, certificates, closed_port, http_server, proxy_server, silent, trust,
};

async fn get(settings: Settings, address: &str) -> Result<Fetched, CallError> {
    let transport = Transport::new(&settings)?;
    let address = Address::parse(address).unwrap();
    fetch(&transport, &address, &[], 1 << 20, WAIT).await
}

async fn told(settings: Settings, address: &str) -> Value {
    let fetched = get(settings, address).await.unwrap();
    serde_json::from_slice(&fetched.bytes).unwrap()
}

fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_owned()
}

fn trusting(folder: &TempDir) -> Settings {
    Settings { trust: trust(folder, "authority.pem"), ..Settings::default() }
}

fn identity(folder: &TempDir, name: &str) -> Option<Identity> {
    let read = |file: String| std::fs::read_to_string(path(folder, &file)).unwrap();
    let key = Secret::new(read(format!("{name}-key.pem")));
    Some(Identity { certificates: read(format!("{name}.pem")).into_bytes(), key })
}

fn local(server: &Server, path: &str) -> String {
    format!("http://127.0.0.1:{}{path}", server.port)
}

fn local_tls(server: &Server) -> String {
    format!("https://localhost:{}/", server.port)
}

#[tokio::test]
async fn the_version_of_http_is_chosen_by_tls_or_known_before() {
    let Some(folder) = certificates() else { return };
    let certificate = path(&folder, "server.pem");
    let (Some(tls), Some(plain)) = (app_server(&["--certificate", &certificate]), app_server(&[])) else {
        return;
    };
    for (server, version, expected) in [
        (&tls, Version::Any, "2"),
        (&tls, Version::Http1, "1.1"),
        (&tls, Version::Http2, "2"),
        (&plain, Version::Any, "1.1"),
        (&plain, Version::Http1, "1.1"),
        (&plain, Version::Http2, "2"),
    ] {
        let address = if server.port == tls.port { local_tls(server) } else { local(server, "/") };
        let settings = Settings { version, ..trusting(&folder) };
        assert_eq!(told(settings, &address).await["version"], expected, "{address} {version:?}");
    }
    let one = app_server(&["--certificate", &certificate, "--protocols", "http/1.1"]).unwrap();
    assert_eq!(told(trusting(&folder), &local_tls(&one)).await["version"], "1.1");
    let only = Settings { version: Version::Http2, ..trusting(&folder) };
    let error = get(only, &local_tls(&one)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
}

#[tokio::test]
async fn a_certificate_that_is_wrong_in_any_way_is_refused_with_the_reason() {
    let Some(folder) = certificates() else { return };
    for (certificate, settings, expected) in [
        ("elsewhere.pem", trusting(&folder), "its certificate is for another name"),
        ("expired.pem", trusting(&folder), "its certificate has expired"),
        ("future.pem", trusting(&folder), "its certificate is not valid yet"),
        ("server.pem", Settings::default(), "an authority that is not trusted"),
        (
            "server.pem",
            Settings { trust: trust(&folder, "other.pem"), ..Settings::default() },
            "an authority that is not trusted",
        ),
    ] {
        let Some(server) = app_server(&["--certificate", &path(&folder, certificate)]) else { return };
        let error = get(settings, &local_tls(&server)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
        assert!(error.message.contains(&format!("localhost:{}", server.port)), "{error}");
        assert!(error.message.contains(expected), "{certificate}: {error}");
        assert!(server.log().is_empty());
    }
}

#[tokio::test]
async fn an_own_authority_is_trusted_alone_or_beside_those_of_the_machine() {
    let Some(folder) = certificates() else { return };
    let Some(server) = app_server(&["--certificate", &path(&folder, "server.pem")]) else { return };
    let Trust::Authorities(pem) = trust(&folder, "authority.pem") else { panic!() };
    for trust in [Trust::Authorities(pem.clone()), Trust::SystemAnd(pem)] {
        get(Settings { trust, ..Settings::default() }, &local_tls(&server)).await.unwrap();
    }
    let plain = http_server(&[]).unwrap();
    let error = get(trusting(&folder), &format!("https://localhost:{}/", plain.port)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.message.contains("it does not speak TLS"), "{error}");
}

#[tokio::test]
async fn a_server_that_asks_who_we_are_is_shown_our_certificate() {
    let Some(folder) = certificates() else { return };
    let more = ["--certificate", &path(&folder, "server.pem"), "--clients", &path(&folder, "authority.pem")];
    let Some(server) = app_server(&more) else { return };
    let as_client = |name| Settings { identity: identity(&folder, name), ..trusting(&folder) };
    for version in [Version::Http1, Version::Http2] {
        let told = told(Settings { version, ..as_client("client") }, &local_tls(&server)).await;
        assert_eq!(told["method"], "GET");
    }
    for stranger in [trusting(&folder), as_client("other-client")] {
        let error = get(stranger, &local_tls(&server)).await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Unreachable | ErrorKind::Broken), "{error}");
    }
    assert_eq!(server.log().len(), 2);
    let mut wrong = as_client("client");
    wrong.identity.as_mut().unwrap().key = identity(&folder, "other-client").unwrap().key;
    let error = Transport::new(&wrong).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoCredentials);
    assert!(error.message.contains("certificate and key"), "{error}");
}

#[tokio::test]
async fn a_proxy_connects_for_us_and_sees_nothing_that_is_encrypted() {
    let Some(folder) = certificates() else { return };
    let tls = app_server(&["--certificate", &path(&folder, "server.pem")]);
    let (Some(tls), Some(plain), Some(proxy)) =
        (tls, app_server(&[]), proxy_server(&["--login", "ops:hunter2"]))
    else {
        return;
    };
    let via = |login: &str| {
        let address = Address::parse(&format!("http://{login}127.0.0.1:{}", proxy.port)).unwrap();
        let proxy = Some(Proxy { address, auth: Auth::None, bypass: vec![] });
        Settings { proxy, ..trusting(&folder) }
    };
    let error = get(via(""), &local_tls(&tls)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    assert!(
        error.message.starts_with(&format!("the proxy http://127.0.0.1:{} did not", proxy.port)),
        "{error}"
    );
    assert!(error.message.contains("proxy authorization required"), "{error}");
    assert_eq!(get(via(""), &local(&plain, "/x")).await.unwrap_err().fault.unwrap().status, 407);
    assert!(tls.log().is_empty() && plain.log().is_empty());

    let login = "ops:hunter2@";
    assert_eq!(told(via(login), &local_tls(&tls)).await["version"], "2");
    let forwarded = told(via(login), &local(&plain, "/x?y=1")).await;
    assert_eq!((&forwarded["version"], &forwarded["path"]), (&"1.1".into(), &"/x?y=1".into()));
    let tunnelled = told(Settings { version: Version::Http2, ..via(login) }, &local(&plain, "/z")).await;
    assert_eq!(tunnelled["version"], "2");
    let seen: Vec<_> = proxy.log().iter().map(|line| line.as_str().unwrap().to_owned()).collect();
    for port in [tls.port, plain.port] {
        assert!(seen.iter().any(|line| line.contains(&port.to_string())), "{seen:?}");
    }

    let before = proxy.log().len();
    let mut past = via(login);
    past.proxy.as_mut().unwrap().bypass = vec!["localhost".to_owned(), "127.0.0.0/8".to_owned()];
    get(past.clone(), &local_tls(&tls)).await.unwrap();
    get(past, &local(&plain, "/past")).await.unwrap();
    assert_eq!(proxy.log().len(), before);
}

#[tokio::test]
async fn a_proxy_opens_no_way_to_what_is_not_allowed() {
    let Some(proxy) = proxy_server(&[]) else { return };
    let address = Address::parse(&format!("http://127.0.0.1:{}", proxy.port)).unwrap();
    let via = Some(Proxy { address, auth: Auth::None, bypass: vec![] });
    let open = Settings { proxy: via.clone(), ..Settings::default() };
    let listed =
        Settings { proxy: via, egress: Egress::listed().allow("10.0.0.0/8").unwrap(), ..open.clone() };
    for (settings, address) in [
        (open, "http://169.254.169.254/latest/meta-data/"),
        (listed.clone(), "https://[::ffff:169.254.169.254]/"),
        (listed, "https://nobody.invalid/"),
    ] {
        let error = get(settings, address).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotAllowed, "{error}");
    }
    assert!(proxy.log().is_empty());
}

#[tokio::test]
async fn a_name_that_leads_to_an_address_that_is_not_allowed_is_refused() {
    let Some(server) = app_server(&[]) else { return };
    let address = format!("http://meter.example:{}/", server.port);
    let resolving = |ips: &[&str], egress: Egress| {
        let ips = ips.iter().map(|ip| ip.parse().unwrap()).collect();
        Settings { resolve: vec![("meter.example".to_owned(), ips)], egress, ..Settings::default() }
    };
    assert_eq!(told(resolving(&["127.0.0.1"], Egress::open()), &address).await["method"], "GET");
    let mixed = ["169.254.169.254", "127.0.0.1"];
    assert_eq!(told(resolving(&mixed, Egress::open()), &address).await["method"], "GET");
    let listed = || Egress::listed().allow("meter.example").unwrap();
    for (ips, egress) in [
        (&["169.254.169.254"], Egress::open()),
        (&["169.254.169.254"], listed()),
        (&["::ffff:127.0.0.1"], listed()),
        (&["0.0.0.0"], listed()),
        (&["fe80::1"], Egress::listed().allow("fe80::/9").unwrap()),
        (&["127.0.0.1"], Egress::listed().allow("10.0.0.0/8").unwrap()),
        (&["127.0.0.1"], Egress::listed()),
        (&["127.0.0.1"], Egress::listed().declare(&Address::parse("http://meter.example:1/").unwrap())),
    ] {
        let error = get(resolving(ips, egress), &address).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotAllowed, "{ips:?}: {error}");
        assert!(error.message.contains("in the egress rules"), "{error}");
    }
    assert_eq!(server.log().len(), 2);
}

#[tokio::test]
async fn redirects_are_checked_as_the_first_address_was() {
    let (Some(server), Some(other)) = (http_server(&[]), http_server(&[])) else { return };
    let to = |location: &str| local(&server, &format!("/redirect?to={location}"));
    let ok = get(Settings::default(), &to(&local(&other, "/metrics"))).await.unwrap();
    assert_eq!(ok.address.to_string(), format!("http://127.0.0.1:{}", other.port));
    let own = Egress::listed().declare(&server.address("/"));
    let asked = other.log().len();
    for (egress, location) in [
        (own.clone(), local(&other, "/metrics")),
        (Egress::open(), "http://169.254.169.254/latest/".to_owned()),
        (Egress::open(), "http://0xa9fea9fe/latest/".to_owned()),
        (own, format!("http://localhost:{}/metrics", other.port)),
    ] {
        let error = get(Settings { egress, ..Settings::default() }, &to(&location)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotAllowed, "{location}: {error}");
    }
    assert_eq!(other.log().len(), asked);
    let error = get(Settings::default(), &local(&server, "/loop")).await.unwrap_err();
    assert!(error.message.ends_with("redirects more than 5 times"), "{error}");
}

#[tokio::test]
async fn a_redirect_takes_no_login_to_another_origin() {
    let (Some(server), Some(other)) = (http_server(&[]), http_server(&[])) else { return };
    let transport = Transport::new(&Settings::default()).unwrap();
    let address = server.address(&format!("/redirect?to={}", local(&other, "/metrics")));
    let headers = [("Authorization", "Bearer token"), ("x-key", "k"), ("accept", "text/plain")];
    let headers = headers.map(|(name, value)| (name.to_owned(), Secret::new(value)));
    fetch(&transport, &address, &headers, 1 << 20, WAIT).await.unwrap();
    let log = server.log();
    let headers = &log[0]["headers"];
    assert!(headers["authorization"] == "Bearer token" && headers["x-key"] == "k", "{headers}");
    let log = other.log();
    let headers = &log[0]["headers"];
    assert!(headers["authorization"].is_null() && headers["x-key"].is_null(), "{headers}");
    assert_eq!(headers["accept"], "text/plain");
}

#[tokio::test]
async fn a_redirect_never_leads_out_of_encryption() {
    let Some(folder) = certificates() else { return };
    let Some(server) = app_server(&["--certificate", &path(&folder, "server.pem")]) else { return };
    let plain = http_server(&[]).unwrap();
    let address = format!("{}redirect?to={}", local_tls(&server), local(&plain, "/metrics"));
    let error = get(trusting(&folder), &address).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadAnswer);
    assert!(error.message.contains("redirects from https to http://127.0.0.1"), "{error}");
    assert!(plain.log().is_empty());
}

#[tokio::test]
async fn whoever_cannot_be_reached_is_told_apart() {
    let (_listener, silent) = silent();
    let limited = Settings { connect_timeout: SHORT, ..Settings::default() };
    for (address, expected) in [
        (format!("http://127.0.0.1:{}/SECRET", closed_port()), "refused"),
        ("http://nobody.invalid/SECRET".to_owned(), "the name `nobody.invalid` was not found"),
        (format!("https://127.0.0.1:{silent}/SECRET"), "within 0.3 s"),
    ] {
        let start = Instant::now();
        let error = get(limited.clone(), &address).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
        assert!(error.message.contains(expected), "{error}");
        assert!(!error.to_string().contains("SECRET"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn heads_without_end_and_answers_that_are_no_http_are_refused() {
    let Some(server) = http_server(&[]) else { return };
    let error = get(Settings::default(), &local(&server, "/big-head")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooLarge, "{error}");
    let error = get(Settings::default(), &local(&server, "/huge")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooLarge, "{error}");
    let error = get(Settings::default(), &local(&server, "/gone")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Broken, "{error}");
    let error =
        get(Settings { version: Version::Http2, ..Settings::default() }, &local(&server, "/metrics")).await;
    assert!(matches!(error.unwrap_err().kind, ErrorKind::Broken | ErrorKind::BadAnswer));
    let error = get(Settings::default(), &local(&server, "/status?code=503")).await.unwrap_err();
    let fault = error.fault.unwrap();
    assert_eq!((fault.status, fault.temporary), (503, true));
}
