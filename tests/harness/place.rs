//! Where something runs: in the machine's own network or in a network namespace.

use std::fs::File;
use std::io::Result;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A connection is refused at once or made at once: everything is on this machine.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A network to stand in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// The machine's own.
    #[default]
    Here,
    /// The namespace of that name.
    Namespace(String),
}

impl Place {
    /// A command that runs there.
    pub fn command(&self, program: impl Into<PathBuf>) -> Command {
        let program = program.into();
        match self {
            Self::Here => Command::new(program),
            Self::Namespace(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name]).arg(program);
                command
            }
        }
    }

    /// Listens there.
    pub fn listen(&self, address: SocketAddr) -> Result<TcpListener> {
        self.enter(|| TcpListener::bind(address))
    }

    /// Connects from there.
    pub fn connect(&self, address: SocketAddr) -> Result<TcpStream> {
        self.enter(|| TcpStream::connect_timeout(&address, CONNECT_LIMIT))
    }

    /// Does something on a thread that stands there. Sockets keep the namespace they were made in.
    pub fn enter<T: Send>(&self, act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let Self::Namespace(name) = self else { return act() };
        let namespace = File::open(format!("/run/netns/{name}"))?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
                act()
            });
            thread.join().expect("a thread in a namespace does not panic")
        })
    }
}
