use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, Output},
};

use mavis_connectors::Secrets;
use mavis_proto::v1::{self as pb, token_service_client::TokenServiceClient};
use mavis_server::{
    Server,
    config::{Config, GrpcConfig, HttpConfig, PostgresConfig},
};
use tempfile::TempDir;
use tonic::{Request, metadata::MetadataValue, transport::Channel};

/// A server in this process on free ports, with a data folder of its own.
pub(crate) struct TestServer {
    pub(crate) server: Server,
    pub(crate) folder: TempDir,
}

pub(crate) fn config(folder: &Path) -> Config {
    let free: SocketAddr = "127.0.0.1:0".parse().unwrap();
    Config {
        data: Some(folder.display().to_string()),
        http: HttpConfig { listen: free, ..HttpConfig::default() },
        grpc: GrpcConfig { listen: free, ..GrpcConfig::default() },
        postgres: PostgresConfig { listen: Some(free), ..PostgresConfig::default() },
        ..Config::default()
    }
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    pub(crate) async fn start_in(folder: TempDir) -> Self {
        let config = config(&folder.path().join("data"));
        Self::start_as(folder, config).await
    }

    /// `config`: made by [`config`] for a folder in `folder`.
    pub(crate) async fn start_as(folder: TempDir, config: Config) -> Self {
        let server = Box::pin(Server::start_with(config, Secrets::from_pairs([]))).await.unwrap();
        Self { server, folder }
    }

    /// Stops the server and gives its folder back.
    pub(crate) async fn stop(self) -> TempDir {
        self.server.stop().await;
        self.folder
    }

    pub(crate) fn admin_token(&self) -> String {
        std::fs::read_to_string(self.server.data().token_file()).unwrap().trim().to_owned()
    }

    pub(crate) fn grpc_address(&self) -> std::net::SocketAddr {
        self.server.grpc_address()
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.grpc_address())).unwrap();
        endpoint.connect().await.unwrap()
    }

    /// Makes a token of this role and scope, and returns its secret.
    pub(crate) async fn token(&self, name: &str, role: pb::Role, schemas: &[&str]) -> String {
        let request = pb::CreateTokenRequest {
            name: name.to_owned(),
            role: role.into(),
            schemas: schemas.iter().map(|schema| (*schema).to_owned()).collect(),
            ..Default::default()
        };
        let mut tokens = TokenServiceClient::new(self.channel().await);
        tokens.create_token(with(&self.admin_token(), request)).await.unwrap().into_inner().secret
    }

    pub(crate) fn http(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.http_address())
    }

    /// Runs the `mavis` binary as a client of this server with the admin token.
    pub(crate) async fn mavis(&self, args: &[&str]) -> Output {
        self.mavis_as(&self.admin_token(), args).await
    }

    pub(crate) async fn mavis_as(&self, token: &str, args: &[&str]) -> Output {
        run(client(&self.server.grpc_address().to_string(), token, args)).await
    }
}

/// The binary as a client, with nothing of the environment that could lead it to another server.
pub(crate) fn client(server: &str, token: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mavis"));
    command
        .args(args)
        .env("MAVIS_SERVER", server)
        .env("MAVIS_TOKEN", token)
        .env("XDG_DATA_HOME", "/nonexistent")
        .env_remove("MAVIS_TOKEN_FILE")
        .env_remove("MAVIS_STATE_DIR")
        .env_remove("MAVIS_DATA");
    command
}

pub(crate) async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// A request that carries a token.
pub(crate) fn with<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", MetadataValue::try_from(format!("Bearer {token}")).unwrap());
    request
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}
