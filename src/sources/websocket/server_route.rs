//! The way to a server: name look-up, TCP, proxy and TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls_pki_types::ServerName;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::connect_config_error::ConnectConfigError;
use super::connect_deadline::ConnectDeadline;
use super::connect_options::ConnectOptions;
use super::dialer::DialedStream;
use super::disconnects::tls_disconnect;
use super::encryption::Encryption;
use super::endpoint_url::EndpointUrl;
use super::host_port::{HostPort, HostPortError};
use super::paced_stream::PacedStream;
use super::proxy::Proxy;
use super::transport::Transport;
use crate::plugin::{Disconnect, DownCause};

/// Number of bytes read from a plain socket at a time, which stay in the cache of a small core until
/// they are decoded. A TLS stream is read by the record.
const READ_BUFFER_SIZE: usize = 128 << 10;

/// A server and everything that is needed to open a stream to it.
#[derive(Clone)]
pub(super) struct ServerRoute {
    server: HostPort,
    /// Present if the connection is encrypted.
    tls: Option<TlsEndpoint>,
    proxy: Option<Proxy>,
    options: Arc<ConnectOptions>,
}

/// The parameters of the TLS handshake.
#[derive(Clone)]
struct TlsEndpoint {
    connector: TlsConnector,
    /// Name that the certificate must be valid for.
    server_name: ServerName<'static>,
}

impl ServerRoute {
    /// Returns the route to the server of a URL. The secrets of its proxy are masked from then on.
    ///
    /// # Errors
    /// The host is no name, or the settings of TLS or of the proxy cannot be used.
    pub(super) fn new(
        url: &EndpointUrl,
        options: &Arc<ConnectOptions>,
    ) -> Result<Self, ConnectConfigError> {
        let server = url.server.clone();
        let tls = match url.encryption {
            Encryption::Plain => None,
            Encryption::Tls => {
                let server_name = ServerName::try_from(server.name().to_owned()).map_err(|_| {
                    let reason = HostPortError::InvalidHost(server.host.clone()).into();
                    ConnectConfigError::InvalidUrl { url: url.without_query(), reason }
                })?;
                Some(TlsEndpoint { connector: options.tls_connector()?, server_name })
            }
        };
        let proxy = options.proxy_to(&server, url.encryption)?;
        options.secrets.add(proxy.iter().flat_map(Proxy::secrets));
        Ok(Self { server, tls, proxy, options: Arc::clone(options) })
    }

    /// Returns the host that TCP connects to.
    fn first_host(&self) -> &HostPort {
        self.proxy.as_ref().map_or(&self.server, Proxy::address)
    }

    /// Opens the TCP connection to the server, or to the proxy if there is one.
    pub(super) async fn dial(&self, deadline: ConnectDeadline) -> Result<DialedStream, Disconnect> {
        let dialer = &self.options.dialer;
        let dialed = dialer.connect(self.first_host(), deadline.at, deadline.limit).await;
        dialed.map_err(|failure| {
            let origin = self.proxy.as_ref().map_or_else(String::new, |proxy| format!("{proxy}: "));
            Disconnect { detail: format!("{origin}{}", failure.detail), ..failure }
        })
    }

    /// Makes the connection one to the server: through the proxy, and encrypted.
    pub(super) async fn open_over(
        &self,
        tcp: TcpStream,
        deadline: ConnectDeadline,
    ) -> Result<Box<dyn Transport>, Disconnect> {
        let tcp = match &self.proxy {
            None => tcp,
            Some(proxy) => {
                let user_agent = self.options.user_agent();
                proxy.open_tunnel(tcp, &self.server, user_agent, deadline).await?
            }
        };
        tcp.set_nodelay(true).map_err(|error| Disconnect::new(DownCause::Io, error.to_string()))?;
        let tcp = PacedStream::new(tcp, Arc::clone(&self.options.pacer), self.options.read_pacing);
        match &self.tls {
            None => Ok(Box::new(BufReader::with_capacity(READ_BUFFER_SIZE, tcp))),
            Some(TlsEndpoint { connector, server_name }) => {
                let handshake = connector.connect(server_name.clone(), tcp);
                let stream = deadline.bound("the TLS handshake", handshake).await?;
                Ok(Box::new(stream.map_err(|error| tls_disconnect(&error))?))
            }
        }
    }

    /// Records what came of a connection: what answers at an address may be broken while another
    /// address of the host works.
    pub(super) fn report<T>(&self, address: SocketAddr, outcome: &Result<T, Disconnect>) {
        match outcome {
            Ok(_) => self.options.dialer.confirm(self.first_host(), address),
            Err(_) => self.options.dialer.report_faulty(self.first_host(), address),
        }
    }
}
