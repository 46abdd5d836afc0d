//! Who may do what: tokens and roles, the session cookie, and the checks that keep other web sites out.

use std::net::{IpAddr, Ipv6Addr};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{Identity, Options, Problem, Role, server::App};

/// What a route asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// No token: `/healthz` and the login itself.
    Open,
    /// A token with at least this role.
    Needs(Role),
}

/// The token a request came with, kept so that a long stream can check that it is still valid.
#[derive(Clone)]
pub(crate) struct Credential(pub(crate) String);

/// Checks token and role, and for commands that came with a cookie the origin.
pub(crate) async fn guard(
    State((app, access)): State<(App, Access)>,
    mut request: Request,
    next: Next,
) -> Response {
    let Access::Needs(need) = access else { return next.run(request).await };
    match admit(&app, need, request.method(), request.headers()) {
        Ok((identity, token)) => {
            request.extensions_mut().insert(identity);
            request.extensions_mut().insert(Credential(token));
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

fn admit(app: &App, need: Role, method: &Method, headers: &HeaderMap) -> Result<(Identity, String), Problem> {
    let Some((token, from_cookie)) = token_of(headers) else {
        return Err(Problem::unauthorized(
            "this needs a token: send `Authorization: Bearer TOKEN` (the file `token` in the data directory holds \
             the admin's), or open the login link that `sos up` printed",
        ));
    };
    let Some(identity) = app.platform.check_token(&token) else {
        return Err(Problem::unauthorized(
            "the token is not known here or was revoked: use the one in this server's data directory, or open a new \
             login link",
        ));
    };
    if identity.role < need {
        return Err(Problem::forbidden(&identity.name, identity.role, need));
    }
    if from_cookie && !(method == Method::GET || method == Method::HEAD) {
        same_origin(headers, true)?;
    }
    Ok((identity, token))
}

/// The bearer token, else the session cookie; whether it was the cookie.
fn token_of(headers: &HeaderMap) -> Option<(String, bool)> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| (token.trim().to_owned(), false));
    }
    let wanted = cookie_name(headers);
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == wanted).map(|(_, token)| (token.to_owned(), true))
}

/// Browsers share cookies between all ports of a host, so the port is part of the name: two servers on one machine keep
/// apart.
pub(crate) fn cookie_name(headers: &HeaderMap) -> String {
    let port = host_of(headers).and_then(|host| split_port(host).1).unwrap_or("0");
    format!("sos_session_{port}")
}

/// A command sent by another site's page is refused. `required`: a cookie came along, so a browser sent it and it must
/// say from where.
pub(crate) fn same_origin(headers: &HeaderMap, required: bool) -> Result<(), Problem> {
    let refuse = |detail: &str| Err(Problem::new(StatusCode::FORBIDDEN, detail));
    if let Some(site) = headers.get("sec-fetch-site")
        && site != "same-origin"
        && site != "none"
    {
        return refuse(
            "the request was started by another web site: open the dashboard itself and repeat it there",
        );
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        if required {
            return refuse(
                "a command with a session cookie must carry an `Origin` header: use a browser, or send the token as \
                 `Authorization: Bearer`",
            );
        }
        return Ok(());
    };
    let from = origin.to_str().unwrap_or("");
    let from = from.strip_prefix("http://").or_else(|| from.strip_prefix("https://"));
    if from.is_some_and(|from| Some(from) == host_of(headers)) {
        return Ok(());
    }
    refuse("the `Origin` of the request is another web site: open the dashboard itself and repeat it there")
}

fn host_of(headers: &HeaderMap) -> Option<&str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next()?.to_str().ok();
    if hosts.next().is_some() { None } else { host }
}

/// `name:port` → (`name`, `port`); brackets of an IPv6 address stay.
fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    }
}

/// Whether a request to this `Host` is meant for this server. A page of an attacker can point its own name at
/// 127.0.0.1 (DNS rebinding) and would then share its origin with this server; its name in `Host` gives it away.
/// Addresses cannot be rebound, names can: on loopback only loopback's own are taken, elsewhere every address, and
/// besides the names in [`Options::allowed_hosts`].
pub(crate) fn host_is_ours(headers: &HeaderMap, options: &Options) -> bool {
    let Some(host) = host_of(headers) else { return false };
    let (name, _) = split_port(host);
    let name = name.trim_end_matches('.');
    if options.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(name)) {
        return true;
    }
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    let address = match bare {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => name.parse::<IpAddr>().ok(),
    };
    address.is_some_and(|address| !options.listen.ip().is_loopback() || address.is_loopback())
}

/// Refuses requests whose `Host` is not ours.
pub(crate) async fn host_check(State(app): State<App>, request: Request, next: Next) -> Response {
    if host_is_ours(request.headers(), &app.options) {
        return next.run(request).await;
    }
    let detail = "the `Host` of the request is not a name of this server: use the address that `sos up` printed, or \
                  add the name to the allowed hosts";
    Problem::new(StatusCode::MISDIRECTED_REQUEST, detail).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[test]
    fn only_names_of_this_server_are_hosts() {
        let loopback = Options::new("127.0.0.1:7600".parse().unwrap());
        let ok = ["127.0.0.1:7600", "localhost:7600", "LOCALHOST", "[::1]:7600", "127.0.0.1", "localhost.:1"];
        for host in ok {
            assert!(host_is_ours(&with("host", host), &loopback), "{host}");
        }
        let bad =
            ["evil.example:7600", "127.0.0.1.evil.example", "192.168.1.5", "localhost.evil", "", "[::1", ":"];
        for host in bad {
            assert!(!host_is_ours(&with("host", host), &loopback), "{host}");
        }
        let mut open = Options::new("0.0.0.0:7600".parse().unwrap());
        open.allowed_hosts = vec!["gateway.lan".into()];
        for host in ["192.168.1.5:7600", "Gateway.lan:7600", "[fe80::1]:7600"] {
            assert!(host_is_ours(&with("host", host), &open), "{host}");
        }
        assert!(!host_is_ours(&with("host", "evil.example"), &open));
        let mut two = with("host", "localhost");
        two.append(header::HOST, "evil.example".parse().unwrap());
        assert!(!host_is_ours(&two, &loopback), "two hosts are ambiguous");
    }

    #[test]
    fn the_cookie_of_another_port_is_not_read() {
        let mut headers = with("host", "localhost:81");
        headers.insert(header::COOKIE, "a=b; sos_session_80=old; sos_session_81=mine".parse().unwrap());
        assert_eq!(token_of(&headers), Some(("mine".into(), true)));
        headers.insert(header::AUTHORIZATION, "bearer its".parse().unwrap());
        assert_eq!(token_of(&headers), Some(("its".into(), false)), "the header wins");
        headers.insert(header::AUTHORIZATION, "Basic eDp5".parse().unwrap());
        assert_eq!(token_of(&headers), None, "another scheme is not quietly replaced by the cookie");
    }
}
