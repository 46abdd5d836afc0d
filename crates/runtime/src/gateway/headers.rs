//! What of a head is passed on, and what the gateway adds (RFC 9110, section 7; RFC 7239).

use std::net::IpAddr;
use std::sync::Mutex;

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, StatusCode, Uri, Version};

use super::lock;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// Names that a `Connection` header lists at most; further ones are refused.
const MOST_NAMED: usize = 32;

/// What the gateway knows of a client's connection and tells replicas.
#[derive(Debug)]
pub(super) struct Origin {
    address: HeaderValue,
    /// The address as `Forwarded` wants it.
    node: String,
    scheme: &'static str,
    /// Whether what clients say of themselves is believed.
    trusted: bool,
    /// The last `Host` and the `Forwarded` made of it: most connections have one only.
    last: Mutex<Option<(HeaderValue, HeaderValue)>>,
}

/// A request that cannot be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unfit {
    pub(super) status: StatusCode,
    pub(super) why: &'static str,
}

/// What a request is, once its head is fit to be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// The client wants a WebSocket.
    pub(super) websocket: bool,
    pub(super) grpc: bool,
    /// Doing it twice is as good as once (RFC 9110, section 9.2.2).
    pub(super) idempotent: bool,
}

impl Origin {
    pub(super) fn new(ip: IpAddr, tls: bool, trusted: bool) -> Self {
        let ip = ip.to_canonical();
        let text = ip.to_string();
        let node = if ip.is_ipv6() { format!("\"[{text}]\"") } else { text.clone() };
        let address = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("unknown"));
        let scheme = if tls { "https" } else { "http" };
        Self { address, node, scheme, trusted, last: Mutex::new(None) }
    }

    /// Makes the head of a request fit to be passed on: without what concerns this connection only, with who asks, and with `Host`.
    ///
    /// # Errors
    /// When it cannot be passed on.
    pub(super) fn prepare(&self, parts: &mut Parts) -> Result<Kind, Unfit> {
        if parts.method == Method::CONNECT {
            return Err(Unfit {
                status: StatusCode::NOT_IMPLEMENTED,
                why: "tunnels are not opened by CONNECT",
            });
        }
        let host = host(parts)?;
        let websocket = wants_websocket(parts);
        strip(&mut parts.headers)?;
        parts.headers.remove(EXPECT);
        if websocket {
            parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        parts.uri = origin_form(&parts.uri, &parts.method);
        self.introduce(&mut parts.headers, &host);
        append_via(&mut parts.headers, parts.version);
        parts.headers.insert(HOST, host);
        let grpc = is_grpc(&parts.headers);
        Ok(Kind { websocket, grpc, idempotent: is_idempotent(&parts.method) })
    }

    /// Says who asks, of whom, by what.
    fn introduce(&self, headers: &mut HeaderMap, host: &HeaderValue) {
        let forwarded = self.forwarded(host);
        if self.trusted {
            extend(headers, X_FORWARDED_FOR, &self.address);
            extend(headers, FORWARDED, &forwarded);
            headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static(self.scheme));
            headers.entry(X_FORWARDED_HOST).or_insert_with(|| host.clone());
        } else {
            headers.insert(X_FORWARDED_FOR, self.address.clone());
            headers.insert(FORWARDED, forwarded);
            headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(self.scheme));
            headers.insert(X_FORWARDED_HOST, host.clone());
        }
    }

    fn forwarded(&self, host: &HeaderValue) -> HeaderValue {
        let mut last = lock(&self.last);
        if let Some((known, forwarded)) = &*last
            && known == host
        {
            return forwarded.clone();
        }
        // What is checked as an authority has no quote or backslash in it, so it may stand in quotes as it is.
        let host_text = host.to_str().unwrap_or_default();
        let text = format!("for={};host=\"{host_text}\";proto={}", self.node, self.scheme);
        let forwarded = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("for=unknown"));
        *last = Some((host.clone(), forwarded.clone()));
        forwarded
    }
}

/// Makes the head of an answer fit to be passed on.
pub(super) fn prepare_answer(parts: &mut http::response::Parts) {
    // What a replica lists wrongly is removed as far as it can be read; an answer is not refused for it.
    let _too_many = strip(&mut parts.headers);
    append_via(&mut parts.headers, parts.version);
    parts.version = Version::HTTP_11;
}

/// Seconds that a replica keeps a connection without a request: `Keep-Alive: timeout=5`.
pub(super) fn keep_alive_seconds(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(KEEP_ALIVE)?.to_str().ok()?;
    let timeout = value.split(',').find_map(|part| part.trim().strip_prefix("timeout="))?;
    timeout.trim().parse().ok()
}

/// Whether it is gRPC itself, which needs HTTP/2; gRPC-Web does not.
fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE) else { return false };
    let rest = kind.as_bytes().strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// Whom the request is for. Two different answers to that are how requests are smuggled, so there must be one.
fn host(parts: &Parts) -> Result<HeaderValue, Unfit> {
    let unfit = |why| Unfit { status: StatusCode::BAD_REQUEST, why };
    let mut named = parts.headers.get_all(HOST).iter();
    let (first, second) = (named.next(), named.next());
    if second.is_some() {
        return Err(unfit("expected one `Host`, found several"));
    }
    // RFC 9112, section 3.2.2: a target in absolute form wins over `Host`.
    if let Some(authority) = parts.uri.authority() {
        return HeaderValue::try_from(host_and_port(authority)).map_err(|_| unfit("`:authority` is none"));
    }
    match first {
        Some(host) if host.is_empty() => Ok(host.clone()),
        Some(host) => {
            let authority = Authority::try_from(host.as_bytes()).map_err(|_| unfit("`Host` is none"))?;
            if authority.as_str().contains('@') {
                return Err(unfit("`Host` holds a user"));
            }
            Ok(host.clone())
        }
        None if parts.version < Version::HTTP_11 => Ok(HeaderValue::from_static("")),
        None => Err(unfit("expected a `Host`, found none")),
    }
}

/// The authority without a user.
fn host_and_port(authority: &Authority) -> &str {
    authority.as_str().rsplit('@').next().unwrap_or_default()
}

fn origin_form(uri: &Uri, method: &Method) -> Uri {
    if uri.scheme().is_none() && uri.authority().is_none() {
        return uri.clone();
    }
    let root = if method == Method::OPTIONS && uri.path().is_empty() { "*" } else { "/" };
    let path = uri.path_and_query().filter(|path| !path.as_str().is_empty()).cloned();
    let path = path.unwrap_or(PathAndQuery::from_static(root));
    // HTTP/2 sends a path that begins with `?` where there is a query only.
    Uri::from(path)
}

/// The target as HTTP/2 wants it; `Host` becomes its authority.
pub(super) fn for_http2(parts: &mut Parts) -> Result<(), Unfit> {
    let unfit = |why| Unfit { status: StatusCode::BAD_REQUEST, why };
    let host = parts.headers.remove(HOST).unwrap_or(HeaderValue::from_static(""));
    let authority = if host.is_empty() { b"localhost" } else { host.as_bytes() };
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(Authority::try_from(authority).map_err(|_| unfit("`Host` is none"))?);
    uri.path_and_query = parts.uri.path_and_query().cloned();
    parts.uri = Uri::from_parts(uri).map_err(|_| unfit("the target cannot be passed on"))?;
    parts.version = Version::HTTP_2;
    Ok(())
}

fn wants_websocket(parts: &Parts) -> bool {
    let is = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
    parts.version == Version::HTTP_11
        && parts.method == Method::GET
        && parts.headers.get(UPGRADE).is_some_and(is)
        && names(&parts.headers).any(|name| name.eq_ignore_ascii_case("upgrade"))
}

/// Names that `Connection` lists.
fn names(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|name| !name.is_empty())
}

/// Removes what concerns one connection only.
fn strip(headers: &mut HeaderMap) -> Result<(), Unfit> {
    let mut too_many = false;
    if headers.contains_key(CONNECTION) {
        let usual = |name: &&str| {
            !["close", "keep-alive", "upgrade"].iter().any(|usual| name.eq_ignore_ascii_case(usual))
        };
        let named: Vec<HeaderName> = names(headers)
            .filter(usual)
            .take(MOST_NAMED + 1)
            .filter_map(|name| HeaderName::try_from(name).ok())
            .collect();
        too_many = named.len() > MOST_NAMED;
        for name in named {
            // How long a body is belongs to the message, whatever the client says.
            if name != CONTENT_LENGTH && name != TE {
                headers.remove(name);
            }
        }
        headers.remove(CONNECTION);
    }
    // One look at each name: most heads have none of these.
    let (mut te, mut others) = (false, false);
    for name in headers.keys() {
        te |= *name == TE;
        others |= concerns_one_connection(name);
    }
    // gRPC sends `te: trailers`; nothing else of it is for the next one.
    if te {
        let trailers = headers.get_all(TE).iter().flat_map(|te| te.as_bytes().split(|byte| *byte == b','));
        let trailers = trailers.map(<[u8]>::trim_ascii).any(|part| part.eq_ignore_ascii_case(b"trailers"));
        if trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        } else {
            headers.remove(TE);
        }
    }
    if others {
        let names: Vec<HeaderName> =
            headers.keys().filter(|name| concerns_one_connection(name)).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
    if too_many {
        return Err(Unfit {
            status: StatusCode::BAD_REQUEST,
            why: "`Connection` names more than 32 headers",
        });
    }
    Ok(())
}

fn concerns_one_connection(name: &HeaderName) -> bool {
    match *name {
        PROXY_AUTHENTICATE | PROXY_AUTHORIZATION | TRANSFER_ENCODING | UPGRADE => true,
        _ => *name == KEEP_ALIVE || *name == PROXY_CONNECTION,
    }
}

fn append_via(headers: &mut HeaderMap, version: Version) {
    let via = match version {
        Version::HTTP_2 => HeaderValue::from_static("2.0 sos"),
        Version::HTTP_10 => HeaderValue::from_static("1.0 sos"),
        _ => HeaderValue::from_static("1.1 sos"),
    };
    headers.append(VIA, via);
}

/// Adds to a list that may stand in several lines.
fn extend(headers: &mut HeaderMap, name: HeaderName, last: &HeaderValue) {
    let mut all: Vec<u8> = vec![];
    for value in headers.get_all(&name) {
        all.extend_from_slice(value.as_bytes());
        all.extend_from_slice(b", ");
    }
    all.extend_from_slice(last.as_bytes());
    headers.insert(name, HeaderValue::try_from(all).unwrap_or_else(|_| last.clone()));
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn origin(trusted: bool) -> Origin {
        Origin::new("192.0.2.7".parse().unwrap(), true, trusted)
    }

    fn head(target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn all(parts: &Parts, name: &str) -> Vec<String> {
        parts.headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn what_concerns_one_connection_is_not_passed_on() {
        let mut parts = head(
            "/a?b",
            &[
                ("host", "web"),
                ("connection", "close, X-Secret, content-length"),
                ("x-secret", "1"),
                ("content-length", "3"),
                ("keep-alive", "timeout=5"),
                ("te", "gzip, trailers"),
                ("transfer-encoding", "chunked"),
                ("upgrade", "h2c"),
                ("proxy-authorization", "x"),
                ("expect", "100-continue"),
                ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ],
        );
        let kind = origin(false).prepare(&mut parts).unwrap();
        assert_eq!(kind, Kind { websocket: false, grpc: false, idempotent: true });
        let mut names: Vec<&str> = parts.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "content-length",
                "forwarded",
                "host",
                "te",
                "traceparent",
                "via",
                "x-forwarded-for",
                "x-forwarded-host",
                "x-forwarded-proto"
            ]
        );
        assert_eq!(all(&parts, "te"), ["trailers"]);
        assert_eq!(all(&parts, "via"), ["1.1 sos"]);
        assert_eq!(parts.uri, "/a?b");
    }

    #[test]
    fn what_clients_say_of_themselves_counts_only_where_they_are_trusted() {
        let said = [
            ("host", "web"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("forwarded", "for=10.0.0.1"),
        ];
        let mut parts = head("/", &said);
        origin(false).prepare(&mut parts).unwrap();
        assert_eq!(all(&parts, "x-forwarded-for"), ["192.0.2.7"]);
        assert_eq!(all(&parts, "x-forwarded-proto"), ["https"]);
        assert_eq!(all(&parts, "forwarded"), ["for=192.0.2.7;host=\"web\";proto=https"]);
        let mut parts = head("/", &said);
        origin(true).prepare(&mut parts).unwrap();
        assert_eq!(all(&parts, "x-forwarded-for"), ["10.0.0.1, 192.0.2.7"]);
        assert_eq!(all(&parts, "x-forwarded-proto"), ["http"]);
        assert_eq!(all(&parts, "forwarded"), ["for=10.0.0.1, for=192.0.2.7;host=\"web\";proto=https"]);
        let six = Origin::new("2001:db8::1".parse().unwrap(), false, false);
        assert_eq!(
            six.forwarded(&HeaderValue::from_static("w")),
            "for=\"[2001:db8::1]\";host=\"w\";proto=http"
        );
    }

    #[test]
    fn whom_a_request_is_for_must_be_clear() {
        let refused = |target: &str, headers: &[(&str, &str)]| {
            origin(false).prepare(&mut head(target, headers)).unwrap_err().why
        };
        assert!(refused("/", &[]).contains("found none"));
        assert!(refused("/", &[("host", "a"), ("host", "b")]).contains("several"));
        assert!(refused("/", &[("host", "a b")]).contains("`Host` is none"));
        assert!(refused("/", &[("host", "me@a")]).contains("user"));
        let mut parts = head("http://me@right:1/x", &[("host", "wrong")]);
        origin(false).prepare(&mut parts).unwrap();
        assert_eq!(
            (all(&parts, "host"), parts.uri.to_string()),
            (vec!["right:1".to_owned()], "/x".to_owned())
        );
        for_http2(&mut parts).unwrap();
        assert_eq!((all(&parts, "host").len(), parts.uri.to_string()), (0, "http://right:1/x".to_owned()));
        let long = (0..40).map(|at| format!("x-{at}")).collect::<Vec<_>>().join(",");
        assert!(refused("/", &[("host", "a"), ("connection", &long)]).contains("more than 32"));
    }

    #[test]
    fn websockets_and_grpc_are_recognised() {
        let kind = |headers: &[(&str, &str)]| origin(false).prepare(&mut head("/", headers)).unwrap();
        let host = ("host", "a");
        assert!(kind(&[host, ("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")]).websocket);
        assert!(!kind(&[host, ("upgrade", "websocket")]).websocket, "not named in `Connection`");
        assert!(!kind(&[host, ("connection", "upgrade"), ("upgrade", "h2c")]).websocket);
        for (kind_of, grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=x", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(kind(&[host, ("content-type", kind_of)]).grpc, grpc, "{kind_of}");
        }
    }

    #[test]
    fn the_time_that_a_connection_is_kept_is_read() {
        let read = |value: &'static str| {
            keep_alive_seconds(&HeaderMap::from_iter([(KEEP_ALIVE, HeaderValue::from_static(value))]))
        };
        assert_eq!(
            [read("timeout=5"), read("max=100, timeout=72"), read("max=1"), read("timeout=x")],
            [Some(5), Some(72), None, None]
        );
    }
}
