use reqwest::Method;
use serde_json::{Value, json};
use sos_api::{Access, Role, routes};

use crate::server::{Server, problem};

/// A silence that can be ended, made for the answer.
const SILENCE: &str = "00000000-0000-4000-8000-000000000001";

fn filled(path: &str, fingerprint: &str) -> String {
    let name = match path {
        path if path.contains("/services/") => "adapter",
        path if path.contains("/channels/") => "orders",
        path if path.contains("/workflows/") => "offer",
        path if path.contains("/runs/") => "r1",
        path if path.starts_with("/runbooks/") => "home-down",
        _ => "fontana",
    };
    let query = match path {
        "/api/v1/query" | "/api/v1/format_query" => "?query=1",
        "/api/v1/query_range" => "?query=1&start=0&end=1&step=1",
        "/api/v1/series" => "?match[]=up",
        _ => "",
    };
    let path = path.replace("{kind}", "Site").replace("{name}", name).replace("{service}", "adapter");
    let path = path.replace("{group}", "billing");
    let id = if path.contains("/tasks/") { "1" } else { SILENCE };
    path.replace("{fingerprint}", fingerprint).replace("{id}", id) + query
}

fn body_for(path: &str) -> String {
    match path {
        "/api/v1/login" => json!({ "code": "never issued" }).to_string(),
        // An empty snappy block: an empty message.
        "/api/v1/write" => "\0".to_owned(),
        "/api/v1/silences" => {
            json!({ "matchers": ["home=\"home-1\""], "duration": "1h", "comment": "works" }).to_string()
        }
        "/api/v2/silences" => json!({ "matchers": [{ "name": "home", "value": "home-1", "isRegex": false }],
            "startsAt": "2016-08-02T21:00:00Z", "endsAt": "2016-08-02T22:00:00Z", "createdBy": "", "comment": "works" })
        .to_string(),
        p if p.ends_with("/call") => json!({ "operation": "echo" }).to_string(),
        p if p.ends_with("/events") || p.ends_with("/settle") => "[]".to_owned(),
        p if p.ends_with("/groups/{group}") => json!({ "from": "earliest" }).to_string(),
        "/api/v1/runs" => json!({ "order": "cancel", "names": ["r1"] }).to_string(),
        p if p.contains("/tasks/") => json!({ "action": "claim" }).to_string(),
        p if p.ends_with("/signal") => json!({ "type": "word" }).to_string(),
        p if p.ends_with("/rollout") => json!({ "order": "retry" }).to_string(),
        p if p.starts_with("/api/v1/assets/") => {
            json!({ "power_kw": -2.0, "order": { "for_seconds": 3600, "reason": "inspection" } }).to_string()
        }
        p if p.ends_with("/scale") => json!({ "replicas": 2 }).to_string(),
        _ => "{}".to_owned(),
    }
}

#[tokio::test]
async fn every_role_gets_exactly_the_routes_of_its_role() {
    let server = Server::start().await;
    let callers = [
        (None, None),
        (Some("unknown-token"), None),
        (Some("viewer-token"), Some(Role::Viewer)),
        (Some("operator-token"), Some(Role::Operator)),
        (Some("admin-token"), Some(Role::Admin)),
    ];
    let alarms = server.admin(Method::GET, "/api/v1/alarms").send().await.unwrap();
    let alarms: Value = alarms.json().await.unwrap();
    let fingerprint = alarms["alarms"][0]["fingerprint"].as_str().unwrap();
    for route in routes() {
        for (token, role) in callers {
            if route.path.contains("/silence") && route.path.ends_with("{id}") {
                let body = body_for("/api/v1/silences");
                server.admin(Method::POST, "/api/v1/silences").body(body).send().await.unwrap();
            }
            let path = filled(route.path, fingerprint);
            let mut request = server.ask(route.method.clone(), &path).body(body_for(route.path));
            if path.ends_with("v1/metrics") {
                request = request.header("content-type", "application/json");
            }
            if path.ends_with("/events") {
                request = request.header("content-type", "application/cloudevents-batch+json");
            }
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            let case = format!("{} {} as {token:?}: {status}", route.method, route.path);
            match (route.access, role) {
                (Access::Open, _) => assert!(status == 200 || route.path.ends_with("login"), "{case}"),
                (Access::Needs(_), None) => {
                    assert_eq!(response.headers()["www-authenticate"], "Bearer realm=\"sos\"");
                    assert!(problem(response, 401).await.detail.contains("token"), "{case}");
                }
                (Access::Needs(need), Some(role)) if role < need => {
                    let detail = problem(response, 403).await.detail;
                    assert!(detail.contains(&format!("needs {need}")), "{case}: {detail}");
                }
                _ => assert!((200..300).contains(&status), "{case}"),
            }
        }
    }
    let audited = server.fake.audited.lock().unwrap();
    assert!(
        audited.iter().all(|entry| entry.role > Role::Viewer),
        "nobody without the role got as far as a command"
    );
}

#[tokio::test]
async fn a_name_that_was_rebound_to_this_machine_is_refused_everywhere() {
    let server = Server::start().await;
    for path in ["/", "/healthz", "/api/v1/sites", "/metrics"] {
        for host in ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "192.168.1.7"] {
            let request = server.admin(Method::GET, path).header("host", host);
            assert!(
                problem(request.send().await.unwrap(), 421).await.detail.contains("Host"),
                "{host}{path}"
            );
        }
    }
    let port = server.address.port();
    let local = server.admin(Method::GET, "/api/v1/sites").header("host", format!("localhost:{port}"));
    assert_eq!(local.send().await.unwrap().status(), 200);
    let none = server.raw("GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    assert!(none.starts_with("HTTP/1.1 4"), "{none}");
    let two = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert!(server.raw(two).await.starts_with("HTTP/1.1 421"));
}

#[tokio::test]
async fn a_command_with_a_cookie_needs_this_servers_origin() {
    let server = Server::start().await;
    let scale = |origin: Option<String>, site: Option<&str>| {
        let mut request = server
            .ask(Method::PUT, "/api/v1/services/adapter/scale")
            .header("cookie", server.cookie())
            .body("{\"replicas\":2}");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        if let Some(site) = site {
            request = request.header("sec-fetch-site", site);
        }
        request.send()
    };
    let own = format!("http://{}", server.address);
    for (origin, site) in [
        (None, None),
        (Some("null".to_owned()), None),
        (Some("http://evil.example".to_owned()), None),
        (Some(format!("http://127.0.0.1:{}", server.address.port() ^ 1)), None),
        (Some(format!("{own}.evil.example")), None),
        (Some(own.clone()), Some("cross-site")),
    ] {
        let response = scale(origin.clone(), site).await.unwrap();
        assert_eq!(response.status(), 403, "{origin:?} {site:?}");
    }
    assert!(server.fake.audited.lock().unwrap().is_empty());
    assert_eq!(scale(Some(own), Some("same-origin")).await.unwrap().status(), 200);
    let read = server.get("/api/v1/sites").header("cookie", server.cookie()).send().await.unwrap();
    assert_eq!(read.status(), 200, "reading needs no origin: other sites cannot see the answer");
}

#[tokio::test]
async fn a_login_link_works_once_and_its_cookie_is_out_of_scripts_reach() {
    let server = Server::start().await;
    let login = |body: Value| server.ask(Method::POST, "/api/v1/login").body(body.to_string()).send();
    let first = login(json!({ "code": "once" })).await.unwrap();
    assert_eq!(first.status(), 200);
    let cookie = first.headers()["set-cookie"].to_str().unwrap().to_owned();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!first.text().await.unwrap().contains("admin-token"), "the token is not in the body");
    let pair = cookie.split(';').next().unwrap();
    let own = format!("http://{}", server.address);
    let session = server.get("/api/v1/session").header("cookie", pair).send().await.unwrap();
    assert_eq!(session.json::<Value>().await.unwrap(), json!({ "name": "admin", "role": "admin" }));

    assert!(
        problem(login(json!({ "code": "once" })).await.unwrap(), 401).await.detail.contains("used already")
    );
    assert_eq!(login(json!({ "token": "viewer-token" })).await.unwrap().status(), 200);
    problem(login(json!({ "token": "wrong" })).await.unwrap(), 401).await;
    for bad in [json!({}), json!({ "code": "a", "token": "b" }), json!({ "cod": "a" }), json!([1])] {
        problem(login(bad).await.unwrap(), 400).await;
    }
    let ended = server.ask(Method::DELETE, "/api/v1/session").header("cookie", pair).header("origin", &own);
    assert_eq!(ended.send().await.unwrap().status(), 204);
    let after = server.get("/api/v1/session").header("cookie", pair).send().await.unwrap();
    assert_eq!(after.status(), 401, "a copy of the cookie is of no use after logging out");
    let token = || server.ask(Method::DELETE, "/api/v1/session").bearer_auth("viewer-token").send();
    for _ in 0..2 {
        assert_eq!(token().await.unwrap().status(), 204, "a token that no login made stays valid");
    }
    let foreign = server.ask(Method::POST, "/api/v1/login").header("origin", "http://evil.example");
    problem(foreign.body("{\"token\":\"viewer-token\"}").send().await.unwrap(), 403).await;
}

#[tokio::test]
async fn behind_https_the_cookie_is_secure() {
    let server = Server::with(|options| options.https = true).await;
    let request = server.ask(Method::POST, "/api/v1/login").body("{\"code\":\"once\"}");
    let cookie = request.send().await.unwrap().headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.ends_with("; Secure"), "{cookie}");
}
