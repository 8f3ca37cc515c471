//! From a configuration to open doors, and back down again in order.

use std::{collections::HashMap, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use mavis_catalog::Catalog;
use mavis_connectors::{Registry, Secrets};
use mavis_lake::{Lake, LakeOptions};
use mavis_pipeline::{Pipeline, PipelineOptions, Telling};
use mavis_sql::{Engine, EngineOptions, Limits};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tonic::transport::server::TcpIncoming;
use tracing::{info, warn};
use url::Url;

use crate::{
    App,
    alerts::Webhook,
    app::{Phase, Readiness},
    auth::{Auth, oidc::Issuers},
    closed,
    config::Config,
    data_dir::DataDir,
    fhir::Exports,
    first_token, grpc,
    host_keys::CatalogKeys,
    http,
    listen::{Peer, PlainListener, TlsListener},
    pgwire,
    read_log::ReadLog,
    results::{Results, ResultsOptions},
    telemetry,
    tls::{Inside, Tls},
};

/// How often metrics are told of the logs that sources keep for us.
const LOGS: Duration = Duration::from_secs(60);
/// How long open requests may go on after a stop was asked for.
const GRACE: Duration = Duration::from_secs(10);

/// A running server: its doors are open until [`Server::stop`].
#[derive(Debug)]
pub struct Server {
    app: App,
    data: DataDir,
    http: SocketAddr,
    grpc: SocketAddr,
    /// `None`: the door is closed.
    postgres: Option<SocketAddr>,
    closing: watch::Sender<bool>,
    doors: Vec<JoinHandle<()>>,
}

impl Server {
    /// Opens the data folder, the catalog, the lake, the pipeline and the query engine, then the doors; when it returns,
    /// the server is ready.
    ///
    /// # Errors
    /// What could not be opened and what to do about it. Nothing is left running.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        Box::pin(Self::start_with(config, Secrets::from_environment())).await
    }

    /// [`Server::start`] with the sources' passwords given.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_with(config: Config, secrets: Secrets) -> anyhow::Result<Self> {
        install_crypto();
        refuse_open_doors(&config)?;
        let tls = Tls::load(&config.tls)?;
        let metrics = telemetry::metrics()?;
        let data = DataDir::open(&config)?;
        // Bound first: a port that is taken is told before anything is opened. Nobody is answered before the end.
        let http_listener = bind("http", config.http.listen).await?;
        let grpc_listener = bind("grpc", config.grpc.listen).await?;
        let (http_address, grpc_address) = (http_listener.local_addr()?, grpc_listener.local_addr()?);
        let postgres_listener = bind_postgres(&config).await?;
        let postgres_address = postgres_listener.as_ref().map(TcpListener::local_addr).transpose()?;

        let secrets = config.secrets.complete(secrets)?;
        let catalog = Catalog::open(data.catalog().expose()).await?;
        let lake = Lake::open(lake_options(&config, &data)?, catalog.clone()).await;
        let lake = lake.map_err(|error| unopened(error, data.lake()))?;
        data.keep_lake()?;
        let webhook = Webhook::new(&config.alerts, &secrets)?;
        let pipeline = Pipeline::start(
            catalog.clone(),
            lake.clone(),
            Registry::built_in()
                .with_host_keys(Arc::new(CatalogKeys(catalog.clone())))
                .with_closed(closed::to_sources(&config, &data, &secrets)),
            secrets,
            PipelineOptions {
                workers: config.pipeline.workers,
                tables_per_run: config.pipeline.tables_per_run,
                spool: data.spool(),
                attempts: config.pipeline.attempts,
            },
        )
        .await?;
        if let Some(upkeep) = config.upkeep.upkeep() {
            pipeline.keep_up(upkeep);
        }
        if let Some(webhook) = webhook {
            let first_pause = Duration::from_secs(config.alerts.pause_seconds.max(1));
            pipeline.tell(Arc::new(webhook), Telling { first_pause, ..Telling::default() });
        }
        if config.schedules.look_every_seconds > 0 {
            pipeline.follow_schedules(Duration::from_secs(config.schedules.look_every_seconds));
        }
        pipeline.watch_logs(LOGS);
        let engine = Engine::new(lake.clone(), engine_options(&config, data.mask_key()?));
        first_token::ensure(&catalog, &data).await?;
        let auth = Auth::new(catalog.clone(), Issuers::start(&config.oidc)?);
        auth.check_names().await?;

        let results = Results::open(data.root().join("results"), results_options(&config))?;
        let app = App {
            auth,
            reads: ReadLog::start(catalog.clone()),
            catalog,
            lake,
            pipeline,
            engine,
            config: Arc::new(config),
            readiness: Readiness::starting(),
            metrics,
            exports: Exports::new(data.root().join("exports")),
            results,
            signing_key: Arc::new(data.signing_key()?),
        };

        let (closing, closed) = watch::channel(false);
        let http_door = tokio::spawn(serve_http(app.clone(), http_listener, tls.clone(), until_closed(closed.clone())));
        let postgres_door = postgres_listener.map(|listener| {
            tokio::spawn(pgwire::serve(app.clone(), listener, tls.clone(), until_closed(closed.clone())))
        });
        let grpc_door = grpc::door(&app).await?;
        let grpc_door = tokio::spawn(async move {
            if let Err(error) = serve_grpc(grpc_door, grpc_listener, tls, until_closed(closed)).await {
                warn!(error = format!("{error:#}"), "the gRPC door closed with an error");
            }
        });
        let upkeep = tokio::spawn(keep_up(app.clone()));
        app.readiness.set(Phase::Ready);
        let postgres_told = postgres_address.map_or_else(|| "nowhere".to_owned(), |address| address.to_string());
        info!(
            http = %http_address, grpc = %grpc_address, postgres = postgres_told,
            "ready: http on {http_address}, gRPC and Flight SQL on {grpc_address}, PostgreSQL on {postgres_told}"
        );
        Ok(Self {
            app,
            data,
            http: http_address,
            grpc: grpc_address,
            postgres: postgres_address,
            closing,
            doors: [http_door, grpc_door, upkeep].into_iter().chain(postgres_door).collect(),
        })
    }

    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    #[must_use]
    pub fn data(&self) -> &DataDir {
        &self.data
    }

    /// Address of the HTTP door, with the port that was taken.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// Address of the gRPC door, with the port that was taken.
    #[must_use]
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc
    }

    /// Address of the PostgreSQL door, with the port that was taken; `None` where the door is closed.
    #[must_use]
    pub fn postgres_address(&self) -> Option<SocketAddr> {
        self.postgres
    }

    /// Takes no more requests, lets runs come to a commit and open requests to their end (the latter for at most ten
    /// seconds), and closes.
    pub async fn stop(self) {
        info!("stopping: no new requests, running work goes on to its next commit");
        self.app.readiness.set(Phase::Stopping);
        self.closing.send_replace(true);
        self.app.pipeline.stop().await;
        for mut door in self.doors {
            if tokio::time::timeout(GRACE, &mut door).await.is_err() {
                warn!("requests were cut off after {} s", GRACE.as_secs());
                door.abort();
            }
        }
        Box::pin(self.app.auth.tell_untold(true)).await;
        self.app.results.close().await;
        Box::pin(self.app.reads.flush()).await;
        info!("stopped");
    }
}

/// Both providers of rustls are compiled in, so that none is the default until one is chosen.
pub fn install_crypto() {
    // An error says that the process has one already, which is what is wanted.
    drop(rustls::crypto::ring::default_provider().install_default());
}

fn refuse_open_doors(config: &Config) -> anyhow::Result<()> {
    if config.insecure || config.tls.cert.is_some() {
        return Ok(());
    }
    let postgres = config.postgres.enabled.then(|| ("postgres", config.postgres.address()));
    for (door, address) in [("http", config.http.listen), ("grpc", config.grpc.listen)].into_iter().chain(postgres) {
        if !address.ip().is_loopback() {
            bail!(
                "{door}.listen {address} can be reached from other machines, and tokens and patient data would cross the \
                 network in clear text: set tls.cert and tls.key, or say --insecure"
            );
        }
    }
    Ok(())
}

async fn bind(door: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: take another address with --{door}"))
}

/// The listener of the PostgreSQL door. A port that was not asked for is not insisted on: a PostgreSQL of this machine may
/// have it.
async fn bind_postgres(config: &Config) -> anyhow::Result<Option<TcpListener>> {
    if !config.postgres.enabled {
        return Ok(None);
    }
    let address = config.postgres.address();
    match bind("postgres", address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(_) if config.postgres.listen.is_none() => {
            warn!("another program listens on {address}: the PostgreSQL door stays closed, set postgres.listen");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn lake_options(config: &Config, data: &DataDir) -> anyhow::Result<LakeOptions> {
    Ok(LakeOptions {
        url: data.lake().clone(),
        storage: config
            .lake
            .storage
            .iter()
            .map(|(key, value)| (key.clone(), value.expose().to_owned()))
            .collect::<HashMap<_, _>>(),
        memory_bytes: config.query.total_memory_bytes,
        pages_bytes: config.query.pages_bytes,
        spill_dir: data.empty_tmp()?,
        partitions: config.query.partitions,
        server: data.server_name()?,
    })
}

/// A store's refusal in a sentence; what it answers is often a page of XML.
fn unopened(error: mavis_lake::Error, lake: &Url) -> anyhow::Error {
    let mavis_lake::Error::Store { reason, .. } = &error else { return error.into() };
    let code = reason.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map(|(code, _)| code);
    match code {
        Some("NoSuchBucket" | "ContainerNotFound") => anyhow::anyhow!(
            "bucket `{}` does not exist: make it, or correct the lake's URL `{lake}`",
            lake.host_str().unwrap_or_default()
        ),
        Some(code) => anyhow::anyhow!(
            "the object store refuses the lake `{lake}` ({code}): check the URL and the options of [lake.storage]"
        ),
        None => error.into(),
    }
}

fn engine_options(config: &Config, mask_key: [u8; 32]) -> EngineOptions {
    EngineOptions {
        concurrent: config.query.concurrent,
        queued: config.query.queued,
        limits: Limits {
            time: Duration::from_secs(config.query.time_seconds),
            memory_bytes: config.query.memory_bytes,
            rows: None,
            result_bytes: None,
        },
        roles: config.limits.by_role(),
        answers_bytes: config.query.answers_bytes,
        mask_key,
    }
}

async fn serve_grpc(
    door: grpc::Door,
    listener: TcpListener,
    tls: Option<Tls>,
    until: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    match tls {
        None => door.serve(TcpIncoming::from(listener).with_nodelay(Some(true)), until).await?,
        Some(tls) => door.serve(TlsListener::new(listener, tls, Inside::Grpc)?.into_stream(), until).await?,
    }
    Ok(())
}

fn results_options(config: &Config) -> ResultsOptions {
    ResultsOptions {
        life: Duration::from_secs(config.query.result_seconds),
        bytes: config.query.results_bytes,
        ..ResultsOptions::default()
    }
}

async fn serve_http(
    app: App,
    listener: TcpListener,
    tls: Option<Tls>,
    until: impl Future<Output = ()> + Send + 'static,
) {
    let service = http::router(&app).into_make_service_with_connect_info::<Peer>();
    let served = match tls {
        None => axum::serve(PlainListener(listener), service).with_graceful_shutdown(until).await,
        Some(tls) => match TlsListener::new(listener, tls, Inside::Http) {
            Ok(listener) => axum::serve(listener, service).with_graceful_shutdown(until).await,
            Err(error) => Err(error),
        },
    };
    if let Err(error) = served {
        warn!(error = &error as &dyn std::error::Error, "the HTTP door closed with an error");
    }
}

/// Empties the buckets of histograms now and then, so that they do not grow where nobody asks for `/metrics`, and writes down
/// the failed logins that were only counted.
async fn keep_up(app: App) {
    let mut ticks = tokio::time::interval(Duration::from_secs(5));
    let stopping = app.readiness.stopping();
    tokio::pin!(stopping);
    loop {
        tokio::select! {
            () = &mut stopping => return,
            _ = ticks.tick() => {
                app.metrics.run_upkeep();
                app.auth.tell_untold(false).await;
            }
        }
    }
}

async fn until_closed(mut closed: watch::Receiver<bool>) {
    // An error says that the server is gone, which closes the doors too.
    drop(closed.wait_for(|closed| *closed).await);
}

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
/// When the signals cannot be listened for.
pub async fn stop_signal() -> anyhow::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        tokio::select! {
            _ = terminate.recv() => {}
            interrupted = tokio::signal::ctrl_c() => interrupted.context("cannot listen for SIGINT")?,
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await.context("cannot listen for an interrupt")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("404: <?xml?><Error><Code>NoSuchBucket</Code><RequestId>7</RequestId></Error>", "bucket `b` does not exist")]
    #[case("403: <Error><Code>SignatureDoesNotMatch</Code></Error>", "(SignatureDoesNotMatch)")]
    #[case("connection refused", "connection refused")]
    fn a_store_that_refuses_is_told_in_a_sentence(#[case] reason: &str, #[case] says: &str) {
        let error = mavis_lake::Error::Store { doing: "checking".to_owned(), reason: reason.to_owned() };
        let told = unopened(error, &"s3://b/lake".parse().unwrap()).to_string();
        assert!(told.contains(says) && !told.contains('<'), "{told}");
    }
}
