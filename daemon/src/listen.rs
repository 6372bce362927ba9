//! Ports: bound all at once before anything else begins, each failure told by its key.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use socket2::{Domain, Protocol, Socket, Type};
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

/// `[::]` means IPv4 too, unless `0.0.0.0` is named beside it; on a machine without IPv6 it means IPv4 only.
fn bind(address: SocketAddr, both_families: bool) -> io::Result<TcpListener> {
    let bound = open(address, both_families);
    let unspecified = address.is_ipv6() && address.ip().is_unspecified();
    match bound {
        Err(error) if unspecified && without_ipv6(&error) => {
            open(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())), both_families)
        }
        other => other,
    }
}

fn open(address: SocketAddr, both_families: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!both_families)?;
    }
    // After a restart the old connections may still linger.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
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
