//! The list of servers that are connected to without the proxy of the environment.

use std::net::IpAddr;

use super::host_port::HostPort;

/// The value of `no_proxy`: names, addresses and networks, separated by commas or spaces.
pub(super) struct NoProxyList<'a>(&'a str);

impl<'a> NoProxyList<'a> {
    pub(super) fn new(list: &'a str) -> Self {
        Self(list)
    }

    /// Returns whether an entry exempts the server.
    ///
    /// A name includes its subdomains, with or without a leading dot or `*.`. An address or a network
    /// such as `10.0.0.0/8` exempts servers whose URL holds the address; names are not resolved. Each
    /// may have a port. `*` is every server.
    pub(super) fn exempts(&self, server: &HostPort) -> bool {
        let entries = self.0.split(|c: char| c == ',' || c == ';' || c.is_whitespace());
        entries.filter(|entry| !entry.is_empty()).any(|entry| is_match(entry, server))
    }
}

fn is_match(entry: &str, server: &HostPort) -> bool {
    if entry == "*" {
        return true;
    }
    if let Some(address) = server.ip() {
        let (network, port) = split_port(entry);
        if let Some(is_match) = is_in_network(network, address) {
            return is_match && port.is_none_or(|port| port == server.port.to_string());
        }
    }
    let (name, port) = split_port(entry);
    let name = name.to_ascii_lowercase();
    let name = name.strip_prefix('*').unwrap_or(&name);
    let name = name.strip_prefix('.').unwrap_or(name);
    let name = name.strip_suffix('.').unwrap_or(name);
    let host = server.name();
    let is_subdomain = host.strip_suffix(name).is_some_and(|above| above.ends_with('.'));
    !name.is_empty()
        && (host == name || is_subdomain)
        && port.is_none_or(|port| port == server.port.to_string())
}

/// Splits `name:port` and `[address]:port`. The colons of an IPv6 address without brackets are not
/// a port.
fn split_port(entry: &str) -> (&str, Option<&str>) {
    if let Some(inner) = entry.strip_prefix('[') {
        let (address, rest) = inner.split_once(']').unwrap_or((inner, ""));
        return (address, rest.strip_prefix(':'));
    }
    match entry.split_once(':') {
        Some((name, port)) if !port.contains(':') => (name, Some(port)),
        _ => (entry, None),
    }
}

/// Returns whether an address is in a network or equals an address; `None` if the text is neither.
fn is_in_network(text: &str, address: IpAddr) -> Option<bool> {
    let (network, length) = match text.split_once('/') {
        Some((network, length)) => (network, Some(length.parse::<u32>().ok()?)),
        None => (text, None),
    };
    let network: IpAddr = network.trim_matches(['[', ']']).parse().ok()?;
    let (network_bits, width) = bits(network.to_canonical());
    let (address_bits, address_width) = bits(address.to_canonical());
    // An IPv4 network that is written as an IPv6 one counts its 96 leading bits.
    let mapped = if network.is_ipv6() && width == 32 { 96 } else { 0 };
    let length = length.unwrap_or(width + mapped).checked_sub(mapped)?;
    if length > width {
        return None;
    }
    let shift = width - length;
    let prefix = |bits: u128| bits.checked_shr(shift).unwrap_or_default();
    Some(width == address_width && prefix(network_bits) == prefix(address_bits))
}

/// Returns the bits of an address and their number.
fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (address.to_bits().into(), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_addresses_and_names_are_exempt() {
        for (list, server, exempt) in [
            ("*", "x.example", true),
            ("x.example", "x.example", true),
            (".example", "x.example", true),
            (".x.example", "x.example", true),
            ("a, EXAMPLE:443", "x.example", true),
            ("*.example", "x.example", true),
            ("x.example.", "X.Example.", true),
            ("example:80", "x.example", false),
            ("ample", "x.example", false),
            ("a b\tx.example", "x.example", true),
            ("", "x.example", false),
            (".", "x.example", false),
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.9.9.9/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8:443", "10.1.1.1", true),
            ("10.0.0.0/8:80", "10.1.1.1", false),
            ("192.168.1.0/24,10.0.0.0/8", "10.1.1.1", true),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "[2001:db8::1]", false),
            ("10.1.1.1/32", "10.1.1.1", true),
            ("10.1.1.1/33", "10.1.1.1", false),
            ("10.1.1.1", "10.1.1.1", true),
            ("10.1.1.1:443", "10.1.1.1", true),
            ("10.1.1", "10.1.1.1", false),
            ("10.0.0.0/8", "[::ffff:10.1.1.1]", true),
            ("::ffff:10.0.0.0/104", "10.1.1.1", true),
            ("fd00::/8", "[fd12:3456::1]", true),
            ("[fd00::]/8", "[fd12:3456::1]", false),
            ("fd00::/8", "[fe80::1]", false),
            ("FE80::/10", "[fe80::1%25eth0]", true),
            ("::/0", "[2001:db8::1]", true),
            ("::1", "[::1]", true),
            ("[2001:db8::1]:443", "[2001:db8::1]", true),
            ("[2001:db8::1]:80", "[2001:db8::1]", false),
            ("2001:DB8:0::1", "[2001:db8::1]", true),
            ("10.0.0.0/8", "ten.example", false),
        ] {
            let server = HostPort::parse(server, 443).unwrap();
            assert_eq!(NoProxyList::new(list).exempts(&server), exempt, "{list} {server}");
        }
    }
}
