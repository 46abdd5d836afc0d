//! Host and port, as Go's `net` splits them.

use core::net::IpAddr;

/// None when there is no port, or the text is no host with a port.
fn split(text: &str) -> Option<(&str, &str)> {
    let colon = text.rfind(':')?;
    let port = &text[colon + 1..];
    if let Some(inside) = text.strip_prefix('[') {
        let end = inside.find(']')?;
        let host = &inside[..end];
        let tidy =
            inside[end + 1..].len() == port.len() + 1 && !host.contains('[') && !port.contains(['[', ']']);
        return tidy.then_some((host, port));
    }
    let host = &text[..colon];
    (!host.contains([':', '[', ']']) && !port.contains(['[', ']'])).then_some((host, port))
}

/// `host:80` → `host`.
pub(super) fn strip_port(text: &str) -> String {
    split(text).map_or(text, |(host, _)| host).to_owned()
}

/// `host.example.org:80` → `host:80`; addresses stay.
pub(super) fn strip_domain(text: &str) -> String {
    let (host, port) = split(text).unwrap_or((text, ""));
    if host.parse::<IpAddr>().is_ok() {
        return text.to_owned();
    }
    let host = host.split('.').next().unwrap_or_default();
    match (port, host.contains([':', '%'])) {
        ("", _) => host.to_owned(),
        (port, true) => format!("[{host}]:{port}"),
        (port, false) => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_domains_are_taken_off() {
        for (text, port, domain) in [
            ("host:80", "host", "host:80"),
            ("host.example.org:80", "host.example.org", "host:80"),
            ("host.example.org", "host.example.org", "host"),
            ("[::1]:80", "::1", "[::1]:80"),
            ("10.0.0.1:80", "10.0.0.1", "10.0.0.1:80"),
            ("::1", "::1", "::1"),
        ] {
            assert_eq!((strip_port(text).as_str(), strip_domain(text).as_str()), (port, domain));
        }
    }
}
