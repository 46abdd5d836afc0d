//! Addresses that nobody means by accident.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A special network that an address lies in.
pub(super) struct Special {
    /// The address, or the IPv4 address that it embeds.
    pub(super) address: IpAddr,
    pub(super) network: IpNet,
    pub(super) what: &'static str,
}

const METADATA: &str = "an address that hands out the credentials of cloud machines";
const LINK_LOCAL: &str = "a link-local address";
const UNSPECIFIED: &str = "an address of this machine that stands for no host";
const MULTICAST: &str = "a multicast address";
const MAPPED: &str = "an IPv4 address that is written as IPv6";

/// IPv4: RFC 6890, RFC 5735; metadata by the providers' manuals.
const V4: [(Ipv4Addr, u8, &str); 10] = [
    // AWS, Azure, Google, OpenStack, Oracle, DigitalOcean; tasks and pods of AWS.
    (Ipv4Addr::new(169, 254, 169, 254), 32, METADATA),
    (Ipv4Addr::new(169, 254, 170, 2), 32, METADATA),
    (Ipv4Addr::new(169, 254, 170, 23), 32, METADATA),
    // Alibaba, Azure's fabric, Oracle's older machines.
    (Ipv4Addr::new(100, 100, 100, 200), 32, METADATA),
    (Ipv4Addr::new(168, 63, 129, 16), 32, METADATA),
    (Ipv4Addr::new(192, 0, 0, 192), 32, METADATA),
    (Ipv4Addr::new(169, 254, 0, 0), 16, LINK_LOCAL),
    (Ipv4Addr::new(0, 0, 0, 0), 8, UNSPECIFIED),
    (Ipv4Addr::new(224, 0, 0, 0), 4, MULTICAST),
    (Ipv4Addr::new(255, 255, 255, 255), 32, "the broadcast address"),
];

/// IPv6: RFC 4291.
const V6: [(Ipv6Addr, u8, &str); 8] = [
    // AWS: machines and pods. Google.
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128, METADATA),
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23), 128, METADATA),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128, METADATA),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, LINK_LOCAL),
    (Ipv6Addr::UNSPECIFIED, 128, UNSPECIFIED),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, MULTICAST),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, MAPPED),
    // IPv4-compatible, deprecated; ::1 is told apart below.
    (Ipv6Addr::UNSPECIFIED, 96, MAPPED),
];

/// All that is special about an address; each must be allowed.
pub(super) fn of(ip: IpAddr) -> Vec<Special> {
    match ip {
        IpAddr::V4(ip) => of_v4(ip).collect(),
        IpAddr::V6(Ipv6Addr::LOCALHOST) => vec![],
        IpAddr::V6(ip) => {
            let own = V6.iter().filter_map(|&(network, prefix, what)| {
                let network = Ipv6Net::new(network, prefix).ok()?;
                network.contains(&ip).then_some(Special { address: ip.into(), network: network.into(), what })
            });
            own.chain(embedded(ip).into_iter().flat_map(of_v4)).collect()
        }
    }
}

fn of_v4(ip: Ipv4Addr) -> impl Iterator<Item = Special> {
    V4.iter().filter_map(move |&(network, prefix, what)| {
        let network = Ipv4Net::new(network, prefix).ok()?;
        network.contains(&ip).then_some(Special { address: ip.into(), network: network.into(), what })
    })
}

/// The IPv4 address that packets to an IPv6 address end at: mapped and compatible (RFC 4291, section 2.5.5), NAT64
/// (RFC 6052), 6to4 (RFC 3056).
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let low = |[a, b]: [u16; 2]| Ipv4Addr::from_bits(u32::from(a) << 16 | u32::from(b));
    match ip.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, a, b] | [0x64, 0xff9b, 0, 0, 0, 0, a, b] | [0x2002, a, b, ..] => {
            Some(low([a, b]))
        }
        _ => None,
    }
}
