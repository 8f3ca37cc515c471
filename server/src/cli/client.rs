use std::{ffi::OsString, net::IpAddr, path::PathBuf, time::Duration};

use clap::Args;
use mavis_proto::v1::{
    ingest_service_client::IngestServiceClient, maintenance_service_client::MaintenanceServiceClient,
    mapping_service_client::MappingServiceClient, quarantine_service_client::QuarantineServiceClient,
    schedule_service_client::ScheduleServiceClient, token_service_client::TokenServiceClient,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use url::Url;

use super::Failure;
use crate::data_dir::{TOKEN_FILE, default_root};

/// Largest answer that a command takes, in bytes.
const ANSWER: usize = 256 << 20;

/// How a command finds its server.
#[derive(Debug, Clone, Args)]
pub(super) struct ClientArgs {
    /// The server's gRPC door
    #[arg(
        long,
        global = true,
        help_heading = "Options of every command",
        value_name = "HOST:PORT",
        env = "MAVIS_SERVER",
        default_value = "127.0.0.1:50051"
    )]
    server: String,
    /// File that holds the token; without it MAVIS_TOKEN, then admin.token of MAVIS_DATA, of ./data,
    /// or of the default data folder; the last three only for a server on this machine
    #[arg(
        long,
        global = true,
        help_heading = "Options of every command",
        value_name = "FILE",
        env = "MAVIS_TOKEN_FILE"
    )]
    token_file: Option<PathBuf>,
    /// PEM file of the authority that signed the server's certificate; turns TLS on
    #[arg(long, global = true, help_heading = "Options of every command", value_name = "FILE", env = "MAVIS_CA_CERT")]
    ca_cert: Option<PathBuf>,
    /// PEM file of a certificate to show to a server that asks for one; needs --ca-cert and --client-key
    #[arg(
        long,
        global = true,
        help_heading = "Options of every command",
        value_name = "FILE",
        env = "MAVIS_CLIENT_CERT"
    )]
    client_cert: Option<PathBuf>,
    /// PEM file of its private key
    #[arg(
        long,
        global = true,
        help_heading = "Options of every command",
        value_name = "FILE",
        env = "MAVIS_CLIENT_KEY"
    )]
    client_key: Option<PathBuf>,
}

/// A channel whose every request carries the token.
pub(super) type Door = InterceptedService<Channel, Bearer>;

/// Puts the token into requests.
#[derive(Clone)]
pub(super) struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok() && (host.starts_with('[') || !host.contains([':', '/']))
    })
}

/// Where the server's first token may be: in its data folder, which is the one named by the environment, or else `data`
/// of the working folder or the default one. A lake on an object store has its token in the local folder beside it.
fn token_folders(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let state = || variable("MAVIS_STATE_DIR").map_or_else(default_root, PathBuf::from);
    let Some(data) = variable("MAVIS_DATA") else { return vec![PathBuf::from("data"), state()] };
    match data.to_str().filter(|text| text.contains("://")).map(Url::parse) {
        None => vec![PathBuf::from(data)],
        Some(url) => match url.ok().filter(|url| url.scheme() == "file").and_then(|url| url.to_file_path().ok()) {
            Some(folder) => vec![folder],
            None => vec![state()],
        },
    }
}

impl ClientArgs {
    /// Whether the server is on this machine, so that it sees the same files.
    pub(super) fn is_local(&self) -> bool {
        let host = self.server.rsplit_once(':').map_or(self.server.as_str(), |(host, _)| host);
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    /// The token, from where it is found first. One that is only lying on this machine is not sent to another one.
    pub(super) fn token(&self) -> Result<String, Failure> {
        let unauthorised = |message: String| Failure { exit: Failure::UNAUTHORISED, message };
        let read = |path: &PathBuf| std::fs::read_to_string(path).map(|text| text.trim().to_owned());
        if let Some(path) = &self.token_file {
            return read(path)
                .map_err(|error| unauthorised(format!("cannot read the token file {}: {error}", path.display())));
        }
        if let Ok(token) = std::env::var("MAVIS_TOKEN")
            && !token.trim().is_empty()
        {
            return Ok(token.trim().to_owned());
        }
        if !self.is_local() {
            return Err(unauthorised(format!(
                "no token for {}: set MAVIS_TOKEN, or name a file with --token-file",
                self.server
            )));
        }
        let folders = token_folders(|name| std::env::var_os(name).filter(|value| !value.is_empty()));
        folders.iter().find_map(|folder| read(&folder.join(TOKEN_FILE)).ok()).ok_or_else(|| {
            let looked: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
            unauthorised(format!(
                "no token: set MAVIS_TOKEN, or name a file with --token-file (there is none in {})",
                looked.join(" or ")
            ))
        })
    }

    /// A connection without a token.
    pub(super) async fn channel(&self) -> Result<Channel, Failure> {
        let scheme = if self.ca_cert.is_some() { "https" } else { "http" };
        let not_a_server = || Failure::usage(format!("`{}` is not a server: write HOST:PORT", self.server));
        if !is_host_and_port(&self.server) {
            return Err(not_a_server());
        }
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{}", self.server))
            .map_err(|_| not_a_server())?
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true);
        if let Some(path) = &self.ca_cert {
            let read = |path: &PathBuf| {
                std::fs::read(path).map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))
            };
            let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(path)?));
            match (&self.client_cert, &self.client_key) {
                (Some(cert), Some(key)) => tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?)),
                (None, None) => {}
                _ => return Err(Failure::usage("--client-cert and --client-key belong together".to_owned())),
            }
            endpoint = endpoint
                .tls_config(tls)
                .map_err(|error| Failure::usage(format!("cannot use {}: {error}", path.display())))?;
        }
        endpoint.connect().await.map_err(|_| Failure {
            exit: Failure::UNREACHABLE,
            message: format!(
                "cannot reach a Mavis server at {}: start one with `mavis serve`, or name another with --server",
                self.server
            ),
        })
    }

    async fn door(&self) -> Result<Door, Failure> {
        let token = self.token()?;
        let bearer = format!("Bearer {token}").parse().map_err(|_| Failure {
            exit: Failure::UNAUTHORISED,
            message: "the token holds characters that no token has: check where it was copied from".to_owned(),
        })?;
        Ok(InterceptedService::new(self.channel().await?, Bearer(bearer)))
    }

    pub(super) async fn ingest(&self) -> Result<IngestServiceClient<Door>, Failure> {
        Ok(IngestServiceClient::new(self.door().await?).max_decoding_message_size(ANSWER))
    }

    pub(super) async fn mapping(&self) -> Result<MappingServiceClient<Door>, Failure> {
        Ok(MappingServiceClient::new(self.door().await?).max_decoding_message_size(ANSWER))
    }

    pub(super) async fn quarantine(&self) -> Result<QuarantineServiceClient<Door>, Failure> {
        Ok(QuarantineServiceClient::new(self.door().await?).max_decoding_message_size(ANSWER))
    }

    pub(super) async fn schedules(&self) -> Result<ScheduleServiceClient<Door>, Failure> {
        Ok(ScheduleServiceClient::new(self.door().await?).max_decoding_message_size(ANSWER))
    }

    pub(super) async fn tokens(&self) -> Result<TokenServiceClient<Door>, Failure> {
        Ok(TokenServiceClient::new(self.door().await?))
    }

    pub(super) async fn maintenance(&self) -> Result<MaintenanceServiceClient<Door>, Failure> {
        Ok(MaintenanceServiceClient::new(self.door().await?))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&[("MAVIS_DATA", "/srv/lake")], &["/srv/lake"])]
    #[case(&[("MAVIS_DATA", "file:///srv/lake")], &["/srv/lake"])]
    #[case(&[("MAVIS_DATA", "s3://bucket/lake"), ("MAVIS_STATE_DIR", "/var/lib/mavis")], &["/var/lib/mavis"])]
    #[case(&[("MAVIS_STATE_DIR", "/var/lib/mavis")], &["data", "/var/lib/mavis"])]
    fn a_token_is_looked_for_where_a_server_puts_it(#[case] set: &[(&str, &str)], #[case] folders: &[&str]) {
        let variable = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(*value));
        assert_eq!(token_folders(variable), folders.iter().map(PathBuf::from).collect::<Vec<_>>());
    }

    #[rstest]
    #[case("localhost:50051", true)]
    #[case("127.0.0.1:50051", true)]
    #[case("[::1]:50051", true)]
    #[case("10.0.0.7:50051", false)]
    #[case("127.example.org:50051", false)]
    #[case("mavis.example.org:443", false)]
    fn a_token_that_lies_here_is_only_for_a_server_on_this_machine(#[case] server: &str, #[case] local: bool) {
        let args = ClientArgs {
            server: server.to_owned(),
            token_file: None,
            ca_cert: None,
            client_cert: None,
            client_key: None,
        };
        assert_eq!(args.is_local(), local);
        let refused = args.token().err().is_some_and(|failure| failure.message.contains("no token for"));
        assert_eq!(refused, !local);
    }

    #[rstest]
    #[case("localhost:50051", true)]
    #[case("10.0.0.7:50051", true)]
    #[case("[::1]:50051", true)]
    #[case("mavis.example.org:443", true)]
    #[case("foo", false)]
    #[case("foo:", false)]
    #[case("foo:port", false)]
    #[case(":50051", false)]
    #[case("http://foo:50051", false)]
    fn a_server_is_a_host_and_a_port(#[case] text: &str, #[case] good: bool) {
        assert_eq!(is_host_and_port(text), good);
    }
}
