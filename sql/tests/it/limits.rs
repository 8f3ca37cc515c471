use std::time::Duration;

use futures::StreamExt;
use mavis_sql::{Engine, EngineOptions, Error, Limits, RoleLimits};
use mavis_types::{Principal, Role, Scope, TokenId};

use crate::fixture::{Fixture, lines, number, options};

const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 100000000000) a(x) WHERE x % 7 = 8";

fn limits() -> Limits {
    options().limits
}

async fn fails(engine: &Engine, lake: &Fixture, sql: &str, limits: Limits) -> Error {
    let session = engine.session(&lake.admin, None).await.unwrap();
    match session.query(sql, &[], Some(limits)).await {
        Err(error) => error,
        Ok(stream) => lines(stream).await.expect_err(sql),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_ends_at_its_deadline() {
    let lake = Fixture::new().await;
    let started = std::time::Instant::now();
    let short = Limits { time: Duration::from_millis(300), ..limits() };
    let error = fails(&lake.engine, &lake, ENDLESS, short).await;
    assert!(matches!(error, Error::Limit { limit: mavis_sql::OWN_TIME, .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_query_stops_and_says_so() {
    let lake = Fixture::new().await;
    let session = lake.engine.session(&lake.admin, None).await.unwrap();
    let mut stream = session.query(ENDLESS, &[], None).await.unwrap();
    assert!(lake.engine.cancel(stream.id));
    let error = stream.batches.next().await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert!(!lake.engine.cancel(stream.id), "it runs no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_dropped_gives_its_place_back() {
    let lake = Fixture::with(EngineOptions { concurrent: 1, queued: 1, limits: limits(), ..options() }).await;
    let session = lake.engine.session(&lake.admin, None).await.unwrap();
    let running = session.query(ENDLESS, &[], None).await.unwrap();
    let waiting = {
        let session = session.clone();
        tokio::spawn(async move { session.query("SELECT 1", &[], None).await.map(drop) })
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    let refused = session.query("SELECT 1", &[], None).await.unwrap_err();
    assert!(matches!(refused, Error::Limit { limit: "queue limit", .. }), "{refused}");
    drop(running);
    waiting.await.unwrap().unwrap();
    assert_eq!(number(session.query("SELECT 1", &[], None).await.unwrap()).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_rows_than_allowed_are_cut_off_with_an_error() {
    let lake = Fixture::new().await;
    let session = lake.engine.session(&lake.admin, None).await.unwrap();
    let few = Limits { rows: Some(10), ..limits() };
    let stream = session.query("SELECT * FROM range(0, 100000)", &[], Some(few)).await.unwrap();
    let (mut rows, mut told) = (0, None);
    let mut batches = stream.batches;
    while let Some(batch) = batches.next().await {
        match batch {
            Ok(batch) => rows += batch.num_rows(),
            Err(error) => told = Some(error),
        }
    }
    assert_eq!(rows, 10);
    assert!(matches!(told, Some(Error::Limit { limit: "row limit", .. })), "{told:?}");
    let exact = session.query("SELECT * FROM range(0, 10)", &[], Some(few)).await.unwrap();
    assert_eq!(lines(exact).await.unwrap().len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_and_a_sort_spills() {
    let lake = Fixture::new().await;
    let tight = Limits { memory_bytes: 24 << 20, ..limits() };
    let session = lake.engine.session(&lake.admin, None).await.unwrap();
    let sort = "SELECT count(*) FROM (SELECT x, row_number() OVER (ORDER BY repeat(x::text, 20)) AS n FROM range(0, 300000) t(x)) WHERE n > 0";
    assert_eq!(number(session.query(sort, &[], Some(tight)).await.unwrap()).await, 300_000);
    let hold = "SELECT length(string_agg(repeat(x::text, 50), ',')) FROM range(0, 1000000) t(x)";
    let error = fails(&lake.engine, &lake, hold, tight).await;
    assert!(matches!(error, Error::Limit { limit: "memory limit", .. }), "{error}");
}

/// The build side of a hash join does not fit; the second try joins by sorting.
#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_does_not_fit_is_tried_again_by_sorting() {
    let lake = Fixture::new().await;
    let tight = Limits { memory_bytes: 64 << 20, ..limits() };
    let session = lake.engine.session(&lake.admin, None).await.unwrap();
    let join = "SELECT count(*) FROM (SELECT x, repeat(x::text, 30) AS pad FROM range(0, 400000) t(x)) a \
                JOIN (SELECT x, repeat(x::text, 30) AS pad FROM range(0, 400000) t(x)) b ON a.x = b.x \
                WHERE length(a.pad) + length(b.pad) > 0";
    assert_eq!(number(session.query(join, &[], Some(tight)).await.unwrap()).await, 400_000);
}

/// Not a benchmark: prints what the first row of a warm `SELECT 1` takes.
#[tokio::test(flavor = "multi_thread")]
async fn select_one_is_answered() {
    let lake = Fixture::new().await;
    let session = lake.engine.session(&lake.admin, None).await.unwrap();
    let mut fastest = Duration::MAX;
    for _ in 0..50 {
        let started = std::time::Instant::now();
        assert_eq!(number(session.query("SELECT 1", &[], None).await.unwrap()).await, 1);
        fastest = fastest.min(started.elapsed());
    }
    println!("SELECT 1: {fastest:?}");
}

/// What reaches a limit of its role, in the order of the columns: the limit, its value and the role are told.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_has_limits_of_its_own_and_a_query_hears_which_it_reached() {
    let analyst = RoleLimits {
        time: Some(Duration::from_millis(500)),
        memory_bytes: Some(24 << 20),
        rows: Some(1_000),
        result_bytes: Some(64 << 10),
        ..RoleLimits::default()
    };
    let lake = Fixture::with(EngineOptions { roles: [(Role::Analyst, analyst)].into(), ..options() }).await;
    let principal = Principal::new(TokenId::new(), "analyst", Role::Analyst, Scope::All);
    let session = lake.engine.session(&principal, None).await.unwrap();
    let hold = "SELECT length(string_agg(repeat(x::text, 50), ',')) FROM range(0, 1000000) t(x)";
    for (sql, limit, value) in [
        (ENDLESS, "time limit", "0.5 s"),
        (hold, "memory limit", "24 MiB"),
        ("SELECT * FROM range(0, 5000)", "row limit", "1000 rows"),
        ("SELECT repeat('x', 1000) FROM range(0, 900)", "result size limit", "64 KiB"),
    ] {
        let error = match session.query(sql, &[], None).await {
            Err(error) => error,
            Ok(stream) => lines(stream).await.expect_err(sql),
        };
        let told = error.to_string();
        assert!(told.starts_with(limit) && told.contains(value) && told.contains("`analyst`"), "{sql}: {told}");
    }
    // Somebody of another role is not held to them, and a request cannot ask for more than its role has.
    let admin = lake.engine.session(&lake.admin, None).await.unwrap();
    assert_eq!(
        lines(admin.query("SELECT * FROM range(0, 5000)", &[], None).await.unwrap()).await.unwrap().len(),
        5_000
    );
    let asked = Limits { rows: Some(4_000), ..limits() };
    let stream = session.query("SELECT * FROM range(0, 5000)", &[], Some(asked)).await.unwrap();
    assert!(lines(stream).await.unwrap_err().to_string().contains("1000 rows"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_values_that_is_written_with_or_may_be_long() {
    let lake = Fixture::new().await;
    let among = (0..10_000).map(|n| format!("id = {n}")).collect::<Vec<_>>().join(" OR ");
    assert_eq!(lake.rows(&format!("SELECT count(*) FROM hms.hms_patient WHERE {among}")).await, ["3"]);
}
