//! Ports: bound all at once before anything else begins, each failure told by its key.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use socket2::{Domain, Socket, Type};
use tokio::net::UnixListener;

use crate::cli::exit::{Exit, Failure};

/// Connections that wait to be accepted; the kernel takes its own maximum where that is less.
const BACKLOG: i32 = 1024;

/// Binds every address of a key.
pub(crate) fn tcp(key: &str, addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Failure> {
    addresses
        .iter()
        .map(|address| {
            let alone = !addresses.contains(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())));
            bind(*address, alone).map_err(|error| taken(key, *address, &error))
        })
        .collect()
}

/// Binds a UDP port as the neighbours' room does.
pub(crate) fn udp(key: &str, address: SocketAddr) -> Result<Socket, Failure> {
    let open = |address| open(address, Type::DGRAM, true);
    with_fallback(address, open).map_err(|error| taken(key, address, &error))
}

/// `[::]` means IPv4 too, unless `0.0.0.0` is named beside it.
fn bind(address: SocketAddr, both_families: bool) -> io::Result<TcpListener> {
    with_fallback(address, |address| {
        let socket = open(address, Type::STREAM, both_families)?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    })
}

/// On a machine without IPv6 `[::]` means IPv4 only.
fn with_fallback<T>(address: SocketAddr, open: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    let unspecified = address.is_ipv6() && address.ip().is_unspecified();
    match open(address) {
        Err(error) if unspecified && without_ipv6(&error) => {
            open(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        other => other,
    }
}

fn open(address: SocketAddr, kind: Type, both_families: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(!both_families)?;
    }
    if kind == Type::STREAM {
        // After a restart the old connections may still linger.
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn without_ipv6(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    matches!(code, Some(rustix::io::Errno::AFNOSUPPORT | rustix::io::Errno::ADDRNOTAVAIL))
}

/// A port that cannot be had, with its key and what to do.
pub(crate) fn taken(key: &str, address: SocketAddr, error: &io::Error) -> Failure {
    let port = address.port();
    let (what, fix) = match error.kind() {
        io::ErrorKind::AddrInUse => (
            format!("{key}: port {port} ({address}) is in use"),
            format!("find its user with `ss -lntup 'sport = {port}'`, or set {key}"),
        ),
        io::ErrorKind::PermissionDenied => (
            format!("{key}: port {port} ({address}) is not for this user"),
            format!("set {key} to a port of 1024 or above"),
        ),
        _ => (format!("{key}: {address}: {error}"), format!("set {key} to an address of this machine")),
    };
    Failure::new(Exit::General, what).fix(fix)
}

/// The control socket, for its owner alone. The caller holds the store's lock, so that a socket which is there
/// already belongs to nobody.
pub(crate) fn control(path: &Path) -> Result<UnixListener, Failure> {
    let failed = |error: io::Error| Failure::new(Exit::General, format!("{}: {error}", path.display()));
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    // The process makes its files for its owner alone, so nobody gets in between these two steps.
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_told_with_its_key() {
        let address = "127.0.0.1:0".parse().expect("address");
        let first = tcp("clients.listen", &[address]).expect("a free port");
        let address = first[0].local_addr().expect("bound");
        let failure = tcp("admin.listen", &[address]).expect_err("in use");
        assert_eq!(failure.exit, Exit::General);
        assert!(failure.message.contains("admin.listen"), "{failure}");
        assert!(failure.message.contains(&address.port().to_string()), "{failure}");
        let socket = udp("neighbours.listen", address).expect("another protocol");
        let failure = udp("neighbours.listen", address).expect_err("in use");
        assert!(failure.message.contains("neighbours.listen"), "{failure}");
        drop(socket);
    }

    #[tokio::test]
    async fn the_control_socket_is_its_owners() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("control.sock");
        drop(control(&path).expect("bound"));
        let _listener = control(&path).expect("a stale socket is replaced");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn everywhere_means_both_families() {
        let listeners = tcp("clients.listen", &["[::]:0".parse().expect("address")]).expect("bound");
        let port = listeners[0].local_addr().expect("bound").port();
        let client = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
        assert!(client.is_ok(), "{client:?}");
    }
}
