//! Internet addresses as limits see them: networks of the configuration, and
//! the key that an address is counted under.

use std::net::IpAddr;
use std::str::FromStr;

/// One address, or every address with the same first bits (CIDR, RFC 4632).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Networks of the configuration; usually few or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

/// What an address is counted under: an IPv4 address by itself, an IPv6 address
/// by its first 64 bits, since a single customer has a /64 at least. An IPv4
/// address that is mapped into IPv6 is the IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressKey(u64);

/// Why a text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotANetwork {
    /// It has not the form `ADDRESS` or `ADDRESS/BITS`.
    #[error("expected an address or a network such as 10.0.0.0/8")]
    Form,
    /// More bits than the address has.
    #[error("the prefix of this address has at most {0} bits")]
    Bits(u8),
}

impl Network {
    /// Whether `address` is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (mine, other, width) = match (self.address, address.to_canonical()) {
            (IpAddr::V4(mine), IpAddr::V4(other)) => {
                (u128::from(mine.to_bits()), u128::from(other.to_bits()), 32)
            }
            (IpAddr::V6(mine), IpAddr::V6(other)) => (mine.to_bits(), other.to_bits(), 128),
            _ => return false,
        };
        // A shift by the whole width of the type has no value: all bits differ.
        let differing = mine ^ other;
        differing.checked_shr(width - u32::from(self.bits)).unwrap_or(0) == 0
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NotANetwork::Form)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => longest,
            Some(bits) if bits.is_empty() || !bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Err(NotANetwork::Form);
            }
            Some(bits) => match bits.parse::<u8>() {
                Ok(bits) if bits <= longest => bits,
                _ => return Err(NotANetwork::Bits(longest)),
            },
        };
        Ok(Self { address, bits })
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl Networks {
    /// Whether `address` is in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Network> {
        self.0.iter()
    }
}

/// Whether `address` is one of the public internet: neither private, local, reserved
/// nor a way to such a one. Source: IANA special-purpose address registries.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(matches!(a, 0 | 10 | 127 | 224..=255)
                || matches!((a, b), (100, 64..=127) | (169, 254) | (172, 16..=31))
                || matches!((a, b), (192, 168) | (198, 18..=19))
                || matches!((a, b, c), (192, 0, 0 | 2) | (198, 51, 100) | (203, 0, 113)))
        }
        IpAddr::V6(v6) => {
            let [a, b, ..] = v6.segments();
            // 2000::/3 is all that is given out; of it, tunnels and examples lead
            // elsewhere.
            a & 0xe000 == 0x2000 && a != 0x2002 && !(a == 0x2001 && (b < 0x0200 || b == 0x0db8))
        }
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

impl From<IpAddr> for AddressKey {
    fn from(address: IpAddr) -> Self {
        // Addresses of IPv4 lie in ff00::/8, which is multicast: nobody connects
        // from there.
        const IPV4: u64 = 0xffff_ffff_0000_0000;
        Self(match address.to_canonical() {
            IpAddr::V4(address) => IPV4 | u64::from(address.to_bits()),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                [a, b, c, d].into_iter().fold(0, |key, part| (key << 16) | u64::from(part))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_has_the_addresses_that_share_its_first_bits() {
        for (inside, outside, of) in [
            ("10.1.2.3", "11.0.0.0", "10.0.0.0/8"),
            ("10.255.0.0", "9.255.255.255", "10.99.0.0/8"),
            ("192.0.2.7", "192.0.2.8", "192.0.2.7"),
            ("192.0.2.7", "192.0.2.8", "192.0.2.7/32"),
            ("192.0.2.129", "192.0.2.127", "192.0.2.128/25"),
            ("2001:db8::1", "2001:db9::1", "2001:db8::/32"),
            ("::1", "::2", "::1"),
            ("::ffff:10.0.0.1", "::10.0.0.1", "10.0.0.0/8"),
            ("255.1.1.1", "::1", "0.0.0.0/0"),
            ("ff::1", "1.2.3.4", "::/0"),
        ] {
            assert!(network(of).contains(ip(inside)), "{inside} in {of}");
            assert!(!network(of).contains(ip(outside)), "{outside} in {of}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        let networks = ["", "10.0.0/8", "localhost", "10.0.0.0/", "10.0.0.0/+8", "::1/-1", "/8"];
        for text in networks {
            assert_eq!(text.parse::<Network>(), Err(NotANetwork::Form), "{text:?}");
        }
        assert_eq!("10.0.0.0/33".parse::<Network>(), Err(NotANetwork::Bits(32)));
        assert_eq!("::1/999".parse::<Network>(), Err(NotANetwork::Bits(128)));
    }

    #[test]
    fn ipv6_counts_by_its_first_64_bits_and_ipv4_whole() {
        let key = |text| AddressKey::from(ip(text));
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("::c000:201"));
    }
}
