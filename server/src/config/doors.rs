use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

/// The HTTP door: SQL and the API, FHIR, health, metrics.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address and port to listen on; port 0 takes a free one. Default: 127.0.0.1:8080.
    pub listen: SocketAddr,
    /// Largest body of a request, in bytes. Default: 67108864 (64 MiB).
    pub max_body_bytes: usize,
    /// URL that clients reach the door at, without a slash at its end, where that is not the listening address (behind a
    /// proxy); it stands in links that answers carry. Default: made from the request's `Host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<url::Url>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            max_body_bytes: 64 << 20,
            public_url: None,
        }
    }
}

/// The gRPC door: ingestion, administration and Flight SQL.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcConfig {
    /// Address and port to listen on; port 0 takes a free one. Default: 127.0.0.1:50051.
    pub listen: SocketAddr,
    /// Largest message taken or sent, in bytes. Default: 67108864 (64 MiB).
    pub max_message_bytes: usize,
}

impl Default for GrpcConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 50051), max_message_bytes: 64 << 20 }
    }
}

/// The PostgreSQL door: SQL for clients that speak PostgreSQL's protocol.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostgresConfig {
    /// Whether the door is open at all. Default: true.
    pub enabled: bool,
    /// Address and port to listen on; port 0 takes a free one. Default: 127.0.0.1:5433, and no door where another program
    /// has that port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Connections that may be open at once. Default: 200.
    pub connections: usize,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self { enabled: true, listen: None, connections: 200 }
    }
}

impl PostgresConfig {
    /// Where the door listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listen.unwrap_or_else(|| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5433))
    }
}

/// TLS for every door; both files or neither. The files are read again when they change.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file of the certificate and its chain. Default: none, no TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// PEM file of the certificate's private key. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// PEM file of the authorities that sign clients' certificates. A certificate is asked for besides the token, never
    /// in its place. Default: none, no certificates are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
    /// Whether a connection without a client's certificate is refused (`required`) or taken (`asked`); one with a
    /// certificate that `client_ca` did not sign is always refused. Default: required, where there is a `client_ca`.
    pub client_certificates: ClientCertificates,
}

/// What happens to connections without a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    #[default]
    Required,
    Asked,
}
