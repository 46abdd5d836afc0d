//! Names as Kubernetes allows them, checked before they become part of an address.

use super::cluster::refused;
use super::error::{KubernetesError, shortened};

/// A label of RFC 1123: what namespaces are called.
pub(in crate::kubernetes) fn is_label(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    name.len() <= 63
        && !name.is_empty()
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// A subdomain of RFC 1123: what workloads are called.
fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(|part| part.len() <= 253 && is_label_of_any_length(part))
}

fn is_label_of_any_length(part: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !part.is_empty() && part.bytes().all(inner) && !part.starts_with('-') && !part.ends_with('-')
}

/// Refuses what cannot be the name of a namespace.
pub(in crate::kubernetes) fn check_namespace(name: &str) -> Result<(), KubernetesError> {
    if is_label(name) {
        return Ok(());
    }
    let what = format!("namespace {:?}", shortened(name, 80));
    Err(refused(
        &what,
        "expected lower-case letters, digits and \"-\", at most 63, with a letter or digit at both ends",
    ))
}

/// Refuses what cannot be the name of a workload.
pub(in crate::kubernetes) fn check_name(kind: &str, name: &str) -> Result<(), KubernetesError> {
    if is_subdomain(name) {
        return Ok(());
    }
    let what = format!("{kind} {:?}", shortened(name, 80));
    Err(refused(
        &what,
        "expected lower-case letters, digits, \"-\" and \".\", at most 253, with a letter or digit at both ends",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_kubernetes_refuses_are_refused_before_they_reach_an_address() {
        for name in ["", "A", "a/b", "-a", "a-", "a b", "..", "a%2f", "ä", "a.b", &"a".repeat(64)] {
            assert!(check_namespace(name).is_err(), "{name}");
        }
        for name in ["", "A", "a/../b", ".a", "a..b", "a?x", &"a".repeat(254)] {
            assert!(check_name("Deployment", name).is_err(), "{name}");
        }
        check_namespace("kube-system").unwrap();
        check_name("Deployment", "shop.v1-2").unwrap();
    }
}
