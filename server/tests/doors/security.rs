use std::time::{Duration, Instant};

use mavis_proto::v1::{
    self as pb, ingest_service_client::IngestServiceClient, maintenance_service_client::MaintenanceServiceClient,
    mapping_service_client::MappingServiceClient, quarantine_service_client::QuarantineServiceClient,
    token_service_client::TokenServiceClient,
};
use tonic::{Code, Request};

use crate::harness::{TestServer, with};

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_token_nothing_is_answered() {
    let test = TestServer::start().await;
    let mut ingest = IngestServiceClient::new(test.channel().await);
    let missing = ingest.list_sources(Request::new(pb::ListSourcesRequest {})).await.unwrap_err();
    assert_eq!(missing.code(), Code::Unauthenticated);
    assert!(missing.message().contains("admin.token"), "{}", missing.message());
    let wrong = ingest.list_sources(with("wrong", pb::ListSourcesRequest {})).await.unwrap_err();
    assert_eq!(wrong.code(), Code::Unauthenticated);
    let audit = test.server.app().catalog.audit_entries(10).await.unwrap();
    let failed: Vec<_> = audit.iter().filter(|entry| entry.action == "login.failed").collect();
    assert_eq!(failed.len(), 1, "a missing token is no login, a wrong one is: {audit:?}");
    assert_eq!((failed[0].actor.as_str(), failed[0].object.as_str()), ("anonymous", "127.0.0.1"));
    assert!(!failed[0].allowed && failed[0].door == "grpc");
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_failures_are_answered_later_and_good_tokens_are_not_held_up() {
    let test = TestServer::start().await;
    let mut ingest = IngestServiceClient::new(test.channel().await);
    for _ in 0..3 {
        ingest.list_sources(with("wrong", pb::ListSourcesRequest {})).await.unwrap_err();
    }
    let start = Instant::now();
    ingest.list_sources(with("wrong", pb::ListSourcesRequest {})).await.unwrap_err();
    assert!(start.elapsed() >= Duration::from_millis(400), "the fourth failure waits 400 ms");
    let start = Instant::now();
    ingest.list_sources(with(&test.admin_token(), pb::ListSourcesRequest {})).await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(400));
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_of_the_postgresql_door_are_guessed_as_slowly_as_elsewhere() {
    let test = TestServer::start().await;
    let knock = async |token: &str| {
        let began = Instant::now();
        let outcome = sqlx::ConnectOptions::connect(&crate::postgres::options(&test, "fhir", token)).await;
        (outcome.is_ok(), began.elapsed())
    };
    for _ in 0..3 {
        assert!(!knock("wrong").await.0);
    }
    let (let_in, took) = knock("wrong").await;
    assert!(!let_in && took >= Duration::from_millis(400), "the fourth failure waits 400 ms, not {took:?}");
    let mut ingest = IngestServiceClient::new(test.channel().await);
    let began = Instant::now();
    ingest.list_sources(with("wrong", pb::ListSourcesRequest {})).await.unwrap_err();
    assert!(began.elapsed() >= Duration::from_millis(400), "another door is no way round");
    let (let_in, took) = knock(&test.admin_token()).await;
    assert!(let_in && took < Duration::from_millis(400), "{took:?}");
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_refused_at_once() {
    let test = TestServer::start().await;
    let secret = test.token("passing", pb::Role::Engineer, &[]).await;
    let mut ingest = IngestServiceClient::new(test.channel().await);
    ingest.list_sources(with(&secret, pb::ListSourcesRequest {})).await.unwrap();
    let revoke = pb::RevokeTokenRequest { name_or_id: "passing".to_owned() };
    let mut tokens = TokenServiceClient::new(test.channel().await);
    tokens.revoke_token(with(&test.admin_token(), revoke)).await.unwrap();
    let refused = ingest.list_sources(with(&secret, pb::ListSourcesRequest {})).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().contains("revoked"), "{}", refused.message());
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_gets_the_own_schema_of_another_name() {
    let test = TestServer::start().await;
    test.token("dr.nadia", pb::Role::Analyst, &[]).await;
    test.token("dr_nadia", pb::Role::Analyst, &[]).await;
    let mut tokens = TokenServiceClient::new(test.channel().await);
    for taken in ["dr.nadia", "hospital:7f3a"].map(mavis_types::own_schema) {
        let request =
            pb::CreateTokenRequest { name: taken.clone(), role: pb::Role::Analyst.into(), ..Default::default() };
        let refused = tokens.create_token(with(&test.admin_token(), request)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{taken}: {refused}");
    }
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_only_query_and_only_administrators_touch_tokens() {
    let test = TestServer::start().await;
    let reader = test.token("reader", pb::Role::Reader, &["fhir.r4"]).await;
    let engineer = test.token("engineer", pb::Role::Engineer, &[]).await;
    let channel = test.channel().await;
    let run = || pb::StartRunRequest { source: "any".to_owned(), ..Default::default() };
    let refused = [
        IngestServiceClient::new(channel.clone()).start_run(with(&reader, run())).await.unwrap_err(),
        IngestServiceClient::new(channel.clone())
            .remove_source(with(&reader, pb::RemoveSourceRequest { name: "any".to_owned() }))
            .await
            .unwrap_err(),
        MappingServiceClient::new(channel.clone())
            .list_mappings(with(&reader, pb::ListMappingsRequest {}))
            .await
            .unwrap_err(),
        QuarantineServiceClient::new(channel.clone())
            .list_quarantined(with(&reader, pb::ListQuarantinedRequest::default()))
            .await
            .unwrap_err(),
        MaintenanceServiceClient::new(channel.clone())
            .optimize(with(&reader, pb::OptimizeRequest::default()))
            .await
            .unwrap_err(),
        TokenServiceClient::new(channel.clone())
            .list_tokens(with(&reader, pb::ListTokensRequest {}))
            .await
            .unwrap_err(),
        TokenServiceClient::new(channel.clone())
            .list_tokens(with(&engineer, pb::ListTokensRequest {}))
            .await
            .unwrap_err(),
    ];
    for status in refused {
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    }
    // The engineer gets past the door: what it hears is about the source.
    let status = IngestServiceClient::new(channel).start_run(with(&engineer, run())).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status}");
    let audit = test.server.app().catalog.audit_entries(50).await.unwrap();
    assert!(audit.iter().any(|entry| entry.actor == "reader" && entry.action == "run.start" && !entry.allowed));
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_are_open_to_whoever_reaches_the_door() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };

    let test = TestServer::start().await;
    let mut health = HealthClient::new(test.channel().await);
    let answer = health.check(HealthCheckRequest { service: String::new() }).await.unwrap().into_inner();
    assert_eq!(answer.status, 1, "serving");
    let mut reflection = ServerReflectionClient::new(test.channel().await);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = reflection.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(services)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("reflection did not list services")
    };
    let names: Vec<_> = services.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"mavis.v1.IngestService") && names.contains(&"grpc.health.v1.Health"), "{names:?}");
    test.stop().await;
}
