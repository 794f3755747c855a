//! Connections that others open to this node, over whatever network there is.

use std::{
    io::{self, IoSlice},
    net::TcpListener as StdListener,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{StreamExt, stream::BoxStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::{Connected, TcpIncoming};

/// Accepts connections.
pub trait Listen: Send + Sync + 'static {
    /// The connections from now on. May be asked for again, after the stream before was dropped: what came between waits.
    ///
    /// # Errors
    /// If the socket can't be used.
    fn incoming(&self) -> io::Result<BoxStream<'static, io::Result<Connection>>>;
}

/// Bytes in both directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// A connection that was accepted.
pub struct Connection(Box<dyn Io>);

impl Connection {
    /// Over this stream.
    pub fn new(io: impl Io) -> Self {
        Self(Box::new(io))
    }
}

/// A TCP port of the machine.
pub struct TcpListener(StdListener);

impl TcpListener {
    /// A port that was taken already.
    pub fn new(listener: StdListener) -> Self {
        Self(listener)
    }
}

impl Listen for TcpListener {
    /// Without `TCP_NODELAY` each message on a stream after the first waits for an acknowledgement that the other side delays, by 40 ms on Linux.
    /// It is set here because the server builder's own option does not reach listeners that are handed to it.
    fn incoming(&self) -> io::Result<BoxStream<'static, io::Result<Connection>>> {
        let listener = self.0.try_clone()?;
        listener.set_nonblocking(true)?;
        let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener)?).with_nodelay(Some(true));
        Ok(incoming.map(|accepted| accepted.map(Connection::new)).boxed())
    }
}

/// Nobody asks where a connection comes from.
impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
