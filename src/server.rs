//! Listeners: bound before anything runs, served by Pingora's accept loop on a
//! runtime of ours, drained at the end.
//!
//! Pingora's `Server` is not used: it owns the signals, and sleeps through its
//! whole grace period even when idle.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::Arc;

use parking_lot::Mutex;
use pingora_core::apps::ServerApp;
use pingora_core::listeners::{L4BufferSettings, ListenerConfig};
use pingora_core::server::{Fds, ShutdownWatch};
use pingora_core::services::Service as _;
use pingora_core::services::listening::Service;
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted; the system caps it at its own
/// `net.core.somaxconn`.
const BACKLOG: i32 = 4_096;
/// The buffers of a client connection with TLS, whose records come and leave in
/// pieces. Without it what is read and written is in large pieces already, and an
/// idle connection holds no buffers.
const BUFFERS: L4BufferSettings = L4BufferSettings { read: Some(8 * 1024), write: Some(16 * 1024) };

/// A bound address that nobody accepts from yet.
#[derive(Debug)]
pub struct Bound {
    socket: TcpListener,
    address: SocketAddr,
}

impl Bound {
    /// Binds `address`; its port may be 0.
    ///
    /// # Errors
    /// The system's, such as the address being in use.
    pub fn new(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from(socket);
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// The address with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The socket, for a server that is not Pingora's.
    pub fn into_socket(self) -> TcpListener {
        self.socket
    }
}

/// Accepts connections for `app`, which speaks TLS on them or not, until `shutdown`
/// turns true. Runs on the current runtime; returns once the listener is closed,
/// while connections may still be served.
pub async fn accept<A>(app: A, bound: Bound, tls: bool, shutdown: ShutdownWatch)
where
    A: ServerApp + Send + Sync + 'static,
{
    let name = bound.address.to_string();
    let mut inherited = Fds::new();
    inherited.add(name.clone(), bound.socket.into_raw_fd());
    let mut service = Service::new("proxy".to_owned(), app);
    let buffers = if tls { BUFFERS } else { L4BufferSettings::unbuffered() };
    service.add_listener(ListenerConfig::tcp(name).l4_buffer(buffers));
    service.start_service(Some(Arc::new(Mutex::new(inherited))), shutdown, 1).await;
}
