//! Networks whose clients are served.

use std::net::IpAddr;

use chime_sim_tests::chime::Server;

#[test]
fn networks_contain_addresses_of_their_version() {
    for (network, address, is_inside) in [
        ("10.0.0.0/8", "10.255.0.1", true),
        ("10.0.0.0/8", "11.0.0.1", false),
        ("10.0.0.0/8", "::ffff:10.0.0.1", true),
        ("::ffff:10.0.0.0/104", "10.0.0.1", true),
        ("::ffff:10.0.0.0/104", "11.0.0.1", false),
        ("0.0.0.0/0", "10.0.0.1", true),
        ("0.0.0.0/0", "2001:db8::1", false),
        ("::/0", "2001:db8::1", true),
        ("::/0", "10.0.0.1", false),
        ("::ffff:0.0.0.0/96", "10.0.0.1", true),
        ("2001:db8::/64", "2001:db8::ffff:1", true),
        ("2001:db8::/64", "2001:db8:0:1::1", false),
    ] {
        let address: IpAddr = address.parse().expect("an address");
        let server = Server {
            allowed: vec![network.parse().expect("a network")],
            ..Server::default()
        };
        assert_eq!(server.serves(address), is_inside, "{network} {address}");
    }
}
