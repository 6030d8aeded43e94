//! Taking a port.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Listens on `address`, without blocking; on all addresses of IPv4 where all of
/// both families (`[::]`) are asked for and the machine has no IPv6.
///
/// # Errors
/// What the kernel says: the address is taken, foreign or forbidden.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let bound = match TcpListener::bind(address) {
        Err(why)
            if address.is_ipv6()
                && address.ip().is_unspecified()
                && why.kind() != io::ErrorKind::AddrInUse =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port()))
        }
        bound => bound,
    }?;
    bound.set_nonblocking(true)?;
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn all_addresses_are_those_of_both_families() {
        let listener = bind("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        if listener.local_addr().unwrap().is_ipv6() {
            TcpStream::connect((std::net::Ipv6Addr::LOCALHOST, port)).unwrap();
        }
    }

    #[test]
    fn a_port_that_is_taken_is_an_error() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let why = bind(listener.local_addr().unwrap()).unwrap_err();
        assert_eq!(why.kind(), io::ErrorKind::AddrInUse);
    }
}
