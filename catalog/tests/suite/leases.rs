use std::time::Duration;

use chrono::Utc;
use futures::future::join_all;
use mavis_catalog::Error;

use crate::backend::{Db, on_both};

const LONG: Duration = Duration::from_secs(600);

on_both!(
    fifty_takers_of_one_lease_have_one_winner,
    an_expired_lease_changes_hands_with_a_higher_epoch,
    a_lost_lease_is_neither_renewed_nor_given_back,
    a_lease_that_ran_out_is_its_holders_until_somebody_takes_it,
    the_epoch_outlives_the_release,
    release_all_ends_the_leases_of_one_prefix_only,
    a_lease_of_before_the_clock_was_put_back_holds_nobody_up,
);

async fn fifty_takers_of_one_lease_have_one_winner(db: Db) {
    let table = db.table("fhir.r4.patient").await.id;
    let taken = join_all((0..50).map(|n| {
        let catalog = db.catalog.clone();
        tokio::spawn(async move { catalog.lease(table, &format!("run-{n}"), LONG).await })
    }))
    .await;
    let mut winners = Vec::new();
    for outcome in taken {
        match outcome.unwrap() {
            Ok(lease) => winners.push(lease.holder),
            Err(Error::Leased { holder, expires_at, .. }) => {
                assert!(holder.starts_with("run-"));
                assert!(expires_at > Utc::now());
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(db.catalog.leases().await.unwrap()[0].holder, winners[0]);
}

async fn an_expired_lease_changes_hands_with_a_higher_epoch(db: Db) {
    let table = db.table("fhir.r4.patient").await.id;
    let first = db.catalog.lease(table, "a", Duration::from_millis(50)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(120)).await;
    let second = db.catalog.lease(table, "b", LONG).await.unwrap();
    assert!(second.epoch > first.epoch);
    assert!(second.expires_at > first.expires_at);
}

async fn a_lost_lease_is_neither_renewed_nor_given_back(db: Db) {
    let table = db.table("fhir.r4.patient").await.id;
    let lost = db.catalog.lease(table, "a", Duration::from_millis(50)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(120)).await;
    // Run out, and taken again by a holder of the same name: only the epoch tells them apart.
    let held = db.catalog.lease(table, "a", LONG).await.unwrap();
    assert!(matches!(db.catalog.renew(&lost, LONG).await, Err(Error::LeaseLost { .. })));
    db.catalog.release(&lost).await.unwrap();
    let renewed = db.catalog.renew(&held, LONG * 2).await.unwrap();
    assert!(renewed.expires_at > held.expires_at);
    assert_eq!(renewed.epoch, held.epoch);
}

async fn a_lease_that_ran_out_is_its_holders_until_somebody_takes_it(db: Db) {
    let table = db.table("fhir.r4.patient").await.id;
    let first = db.catalog.lease(table, "a", Duration::from_millis(50)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(120)).await;
    // As it looks when the clock jumps forward.
    let renewed = db.catalog.renew(&first, LONG).await.unwrap();
    assert_eq!(renewed.epoch, first.epoch);
    assert!(matches!(db.catalog.lease(table, "b", LONG).await, Err(Error::Leased { .. })), "one holds it, not two");
    // What was given back is nobody's, and what an earlier life held, run out or not, ends with it.
    db.catalog.release(&renewed).await.unwrap();
    assert!(matches!(db.catalog.renew(&renewed, LONG).await, Err(Error::LeaseLost { .. })));
    let earlier = db.catalog.lease(table, "srv/1", Duration::from_millis(50)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(120)).await;
    db.catalog.release_all("srv/").await.unwrap();
    assert!(matches!(db.catalog.renew(&earlier, LONG).await, Err(Error::LeaseLost { .. })));
}

async fn the_epoch_outlives_the_release(db: Db) {
    let table = db.table("fhir.r4.patient").await.id;
    let mut epoch = 0;
    for _ in 0..3 {
        let lease = db.catalog.lease(table, "a", LONG).await.unwrap();
        assert_eq!(lease.epoch, epoch + 1);
        epoch = lease.epoch;
        db.catalog.release(&lease).await.unwrap();
    }
}

async fn release_all_ends_the_leases_of_one_prefix_only(db: Db) {
    // `_` and `%` in a prefix stand for themselves.
    for (name, holder) in [("a", "srv_1/x"), ("b", "srv_1/y"), ("c", "srvX1/z"), ("d", "other")] {
        let table = db.table(&format!("raw.s.{name}")).await.id;
        db.catalog.lease(table, holder, LONG).await.unwrap();
    }
    assert_eq!(db.catalog.release_all("srv_1/").await.unwrap(), 2);
    assert_eq!(db.catalog.release_all("srv_1/").await.unwrap(), 0);
    let mut left: Vec<String> = db.catalog.leases().await.unwrap().into_iter().map(|lease| lease.holder).collect();
    left.sort();
    assert_eq!(left, ["other", "srvX1/z"]);
}

async fn a_lease_of_before_the_clock_was_put_back_holds_nobody_up(db: Db) {
    let table = db.table("fhir.r4.patient").await.id;
    // As it looks when the clock goes back by a day.
    let before = db.catalog.lease(table, "a", Duration::from_secs(86_400)).await.unwrap();
    let after = db.catalog.lease(table, "b", LONG).await.unwrap();
    assert!(after.epoch > before.epoch);
    assert!(matches!(db.catalog.renew(&before, LONG).await, Err(Error::LeaseLost { .. })), "one holds it, not two");
    assert!(matches!(db.catalog.lease(table, "c", LONG).await, Err(Error::Leased { .. })));
}
