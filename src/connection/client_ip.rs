//! The address that a request really comes from.
//!
//! `x-forwarded-for` is a list to which every proxy adds, at its end, the
//! address that it was called from. So it is read from the end, past proxies
//! that are trusted; what stands before the first other address may be anything
//! that a client wrote. The header counts only if the connection itself comes
//! from a trusted proxy.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

use crate::base::headers::FORWARDED_FOR;
use crate::base::network::Networks;

/// The client's address of a request that came from `peer`.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &Networks) -> IpAddr {
    let mut address = peer;
    if !trusted.contains(peer) {
        return address;
    }
    for line in headers.get_all(FORWARDED_FOR).iter().rev() {
        for entry in line.as_bytes().rsplit(|byte| *byte == b',') {
            // What is no address ends the list: nothing before it can be placed.
            let Some(next) = parse(entry) else { return address };
            address = next;
            if !trusted.contains(address) {
                return address;
            }
        }
    }
    address
}

/// An address, with or without a port or brackets.
fn parse(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(peer: &str, lines: &[&str], trusted: &[&str]) -> String {
        let trusted: Networks = trusted.iter().map(|text| text.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        client_address(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn the_header_counts_only_from_a_trusted_proxy() {
        assert_eq!(found("192.0.2.1", &["203.0.113.9"], &[]), "192.0.2.1");
        assert_eq!(found("192.0.2.1", &["203.0.113.9"], &["10.0.0.0/8"]), "192.0.2.1");
        assert_eq!(found("10.0.0.1", &["203.0.113.9"], &["10.0.0.0/8"]), "203.0.113.9");
        assert_eq!(found("10.0.0.1", &[], &["10.0.0.0/8"]), "10.0.0.1");
    }

    #[test]
    fn the_list_is_read_from_its_end_past_trusted_proxies() {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"];
        for (lines, expected) in [
            (&["1.1.1.1, 203.0.113.9, 10.0.0.2"][..], "203.0.113.9"),
            (&["1.1.1.1,203.0.113.9", "10.0.0.3 ,10.0.0.2"][..], "203.0.113.9"),
            (&["1.1.1.1", "203.0.113.9"][..], "203.0.113.9"),
            (&["10.0.0.3, 10.0.0.2"][..], "10.0.0.3"),
            (&["203.0.113.9:4711, [2001:db8::2]:80"][..], "203.0.113.9"),
            (&["2001:470::7, 2001:db8::2"][..], "2001:470::7"),
            (&["[2001:470::7]"][..], "2001:470::7"),
        ] {
            assert_eq!(found("10.0.0.1", lines, &trusted), expected, "{lines:?}");
        }
    }

    #[test]
    fn every_form_of_an_address_is_read_and_no_other() {
        let trusted = ["10.0.0.0/8", "fd00::/8"];
        for (lines, expected) in [
            (&["[2001:db8::7]:443"][..], "2001:db8::7"),
            (&["203.0.113.9:65535"], "203.0.113.9"),
            (&["\t203.0.113.9 \t"], "203.0.113.9"),
            (&["203.0.113.9,[fd00::1]:80,10.0.0.9:1,fd00::2"], "203.0.113.9"),
            (&["6.6.6.6", "203.0.113.9", "10.0.0.4", "[fd00::1], 10.0.0.2"], "203.0.113.9"),
            // None of these is an address.
            (&["203.0.113.9:65536"], "10.0.0.1"),
            (&["203.0.113.9:x"], "10.0.0.1"),
            (&["203.0.113"], "10.0.0.1"),
            (&["203.0.113.09"], "10.0.0.1"),
            (&["203.0.113.9 6.6.6.6"], "10.0.0.1"),
            (&["[203.0.113.9"], "10.0.0.1"),
            (&["[[2001:db8::7]]"], "10.0.0.1"),
            (&["2001:db8::7]:80"], "10.0.0.1"),
            (&["\"203.0.113.9\""], "10.0.0.1"),
            (&["for=203.0.113.9"], "10.0.0.1"),
            (&["203.0.113.9", ""], "10.0.0.1"),
            (&["203.0.113.9,"], "10.0.0.1"),
            (&["203.0.113.9, _hidden, 10.0.0.2"], "10.0.0.2"),
        ] {
            assert_eq!(found("10.0.0.1", lines, &trusted), expected, "{lines:?}");
            assert_eq!(found("192.0.2.1", lines, &trusted), "192.0.2.1", "{lines:?}");
        }
        let hops = "10.0.0.2, ".repeat(5_000);
        let found =
            found("10.0.0.1", &[&format!("6.6.6.6, 203.0.113.9, {hops}10.0.0.3")], &trusted);
        assert_eq!(found, "203.0.113.9");
    }

    #[test]
    fn what_is_no_address_ends_the_list() {
        for lines in [&["203.0.113.9, unknown, 10.0.0.2"][..], &["203.0.113.9", ", 10.0.0.2"][..]] {
            assert_eq!(found("10.0.0.1", lines, &["10.0.0.0/8"]), "10.0.0.2", "{lines:?}");
        }
        assert_eq!(found("10.0.0.1", &["x"], &["10.0.0.0/8"]), "10.0.0.1");
    }
}
