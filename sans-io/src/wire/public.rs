//! Which hosts are public: not on this machine, nor in a network that only those around it can reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::TransportHost;

/// Whether everybody reaches the same machine at an address.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

impl TransportHost {
    /// Whether it may be public, as far as can be told without resolving it. What looks like a name may stand for any address.
    #[must_use]
    pub fn is_public(&self) -> bool {
        match self {
            Self::Ipv4(address) => is_public_v4(*address),
            Self::Ipv6(address) => is_public_v6(*address),
            Self::Onion(_) => true,
            Self::Domain(name) => is_public_name(name.as_str()),
        }
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let special = match address.octets() {
        // This network; shared by the customers of a provider; for protocols; for benchmarks; reserved.
        [0 | 240..=255, ..] | [100, 64..=127, ..] | [192, 0, 0, _] | [198, 18..=19, ..] => true,
        _ => false,
    };
    !(special
        || address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // An address of four octets, in one of the ways to write it.
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            let [.., a, b, c, d] = address.octets();
            is_public_v4([a, b, c, d].into())
        }
        [0x2002, high, low, ..] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            is_public_v4([a, b, c, d].into())
        }
        // Teredo, and other tables of addresses; for documentation.
        [0x2001, 0..=0x01ff | 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => false,
        // Only these are assigned to machines that everybody reaches.
        [0x2000..=0x3fff, ..] => true,
        _ => false,
    }
}

fn is_public_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let Some((rest, last)) = name.rsplit_once('.') else {
        // Names without a dot are those of neighbours.
        return false;
    };
    let of_neighbours = ["local", "localhost", "localdomain", "internal", "lan"];
    let is = |label: &str, word: &str| label.eq_ignore_ascii_case(word);
    let arpa = is(last, "arpa")
        && rest
            .rsplit('.')
            .next()
            .is_some_and(|label| is(label, "home"));
    // Resolvers take 127.1 and 0x7f.1 for addresses.
    let number = last.starts_with(|c: char| c.is_ascii_digit());
    !(arpa || number || of_neighbours.iter().any(|word| is(last, word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_neighbours_are_not_public_however_they_are_written() {
        for host in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "[::]",
            "[::1]",
            "[fe80::1]",
            "[fec0::1]",
            "[fc00::1]",
            "[fd12:3456::1]",
            "[ff02::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:10.0.0.1]",
            "[::192.168.1.1]",
            "[64:ff9b::10.0.0.1]",
            "[64:ff9b:1::1]",
            "[2002:7f00:1::1]",
            "[2001:0:1:2:3:4:5:6]",
            "[2001:db8::1]",
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "printer.local",
            "Printer.Local.",
            "router",
            "router.lan",
            "metadata.google.internal",
            "nas.home.arpa",
            "127.1",
            "1.2130706433",
            "2130706433",
            "0x7f.1",
            "a.0x7f000001",
        ] {
            let host: TransportHost = host.parse().unwrap();
            assert!(!host.is_public(), "{host}");
        }
    }

    #[test]
    fn addresses_of_routers_are_public() {
        for host in [
            "1.1.1.1",
            "100.63.0.1",
            "100.128.0.1",
            "172.32.0.1",
            "198.20.0.1",
            "[2606:4700::1111]",
            "[::ffff:1.1.1.1]",
            "[64:ff9b::1.1.1.1]",
            "[2002:101:101::1]",
            "smp4.simplex.im",
            "local.example",
            "smp.home.example",
            "o5vmywmrnaxalvz6wi3zicyftgio6psuvyniis6gco6bp6ekl4cqj4id.onion",
        ] {
            let host: TransportHost = host.parse().unwrap();
            assert!(host.is_public(), "{host}");
        }
    }
}
