use mavis_catalog::{Error, NewQuarantined, QuarantineFilter, QuarantineState, Step};
use mavis_types::{RunId, TableId};

use crate::backend::{Db, on_both};

on_both!(
    a_row_written_twice_is_there_once_with_what_was_written_last,
    a_row_that_was_dealt_with_is_left_as_it_is,
    discarding_takes_the_waiting_rows_of_one_unit,
    rows_are_filtered_and_paged_by_id,
    a_payload_comes_back_byte_for_byte,
    erased_rows_leave_nothing_in_the_files,
);

fn row(sequence: i64, ordinal: i64) -> NewQuarantined {
    NewQuarantined {
        app_id: "in:a:b".to_owned(),
        sequence,
        ordinal,
        run: RunId::from_uuid(uuid::Uuid::from_u128(1)),
        table: TableId::from_uuid(uuid::Uuid::from_u128(2)),
        step: Step::ToProcessed,
        reason: "birth_date: not a date".to_owned(),
        origin: format!("labs.csv line {ordinal}"),
        payload: "{}".to_owned(),
    }
}

async fn all(db: &Db) -> Vec<mavis_catalog::Quarantined> {
    db.catalog.quarantined(&QuarantineFilter::default()).await.unwrap()
}

async fn a_row_written_twice_is_there_once_with_what_was_written_last(db: Db) {
    let rows: Vec<_> = (0..1_000).map(|ordinal| row(1, ordinal)).collect();
    db.catalog.quarantine(&rows).await.unwrap();
    let first = all(&db).await;
    assert_eq!(first.len(), 1_000);
    let again: Vec<_> = rows.iter().map(|row| NewQuarantined { payload: "[1]".to_owned(), ..row.clone() }).collect();
    db.catalog.quarantine(&again).await.unwrap();
    // The same name twice in one call.
    let twice = [again[0].clone(), NewQuarantined { payload: "[2]".to_owned(), ..again[0].clone() }];
    db.catalog.quarantine(&twice).await.unwrap();
    let second = all(&db).await;
    assert_eq!(first.iter().map(|row| row.id).collect::<Vec<_>>(), second.iter().map(|row| row.id).collect::<Vec<_>>());
    assert_eq!((second[0].payload.as_str(), second[999].payload.as_str()), ("[2]", "[1]"));
    db.catalog.quarantine(&[]).await.unwrap();
}

async fn a_row_that_was_dealt_with_is_left_as_it_is(db: Db) {
    db.catalog.quarantine(&[row(1, 0)]).await.unwrap();
    let id = all(&db).await[0].id;
    db.catalog.set_quarantine_state(id, QuarantineState::Replayed).await.unwrap();
    db.catalog.quarantine(&[NewQuarantined { payload: "late".to_owned(), ..row(1, 0) }]).await.unwrap();
    let kept = db.catalog.quarantined_row(id).await.unwrap();
    assert_eq!((kept.state, kept.payload.as_str()), (QuarantineState::Replayed, "{}"));
    assert_eq!(db.catalog.discard_quarantine("in:a:b", 1).await.unwrap(), 0);
    let unknown = db.catalog.set_quarantine_state(id + 99, QuarantineState::Dropped).await;
    assert!(matches!(unknown, Err(Error::NotFound { .. })));
    assert!(matches!(db.catalog.quarantined_row(id + 99).await, Err(Error::NotFound { .. })));
}

async fn discarding_takes_the_waiting_rows_of_one_unit(db: Db) {
    db.catalog.quarantine(&[row(1, 0), row(2, 0), row(2, 1)]).await.unwrap();
    assert_eq!(db.catalog.discard_quarantine("in:a:b", 2).await.unwrap(), 2);
    assert_eq!(db.catalog.discard_quarantine("in:a:c", 1).await.unwrap(), 0);
    assert_eq!(all(&db).await.len(), 1);
}

async fn rows_are_filtered_and_paged_by_id(db: Db) {
    let (table, run) = (TableId::new(), RunId::new());
    db.catalog.quarantine(&[row(1, 0), row(1, 1)]).await.unwrap();
    let theirs = (2..5).map(|n| NewQuarantined { table, run, ..row(1, n) }).collect::<Vec<_>>();
    db.catalog.quarantine(&theirs).await.unwrap();
    let filter = QuarantineFilter { table: Some(table), limit: Some(2), ..QuarantineFilter::default() };
    let page = db.catalog.quarantined(&filter).await.unwrap();
    assert_eq!(page.iter().map(|row| row.origin.as_str()).collect::<Vec<_>>(), ["labs.csv line 2", "labs.csv line 3"]);
    let next = QuarantineFilter { after: Some(page[1].id), run: Some(run), ..filter };
    let next = db.catalog.quarantined(&next).await.unwrap();
    assert_eq!(next.iter().map(|row| row.origin.as_str()).collect::<Vec<_>>(), ["labs.csv line 4"]);
    db.catalog.set_quarantine_state(next[0].id, QuarantineState::Dropped).await.unwrap();
    let dropped = QuarantineFilter { state: Some(QuarantineState::Dropped), ..QuarantineFilter::default() };
    assert_eq!(db.catalog.quarantined(&dropped).await.unwrap().len(), 1);
}

async fn a_payload_comes_back_byte_for_byte(db: Db) {
    let payload = "4711;N\0M;\u{1F600};\\;'\"\r\n";
    db.catalog.quarantine(&[NewQuarantined { payload: payload.to_owned(), ..row(1, 0) }]).await.unwrap();
    let row = &all(&db).await[0];
    assert_eq!(
        (row.payload.as_str(), row.step, row.reason.as_str()),
        (payload, Step::ToProcessed, "birth_date: not a date")
    );
}

async fn erased_rows_leave_nothing_in_the_files(db: Db) {
    let name = "kanarienvogel";
    let rows: Vec<_> =
        (0..1_500).map(|ordinal| NewQuarantined { payload: name.to_owned(), ..row(1, ordinal) }).collect();
    db.catalog.quarantine(&rows).await.unwrap();
    db.catalog.quarantine(&[row(2, 0)]).await.unwrap();
    let ids: Vec<i64> = all(&db).await.iter().filter(|row| row.payload == name).map(|row| row.id).collect();
    assert_eq!(db.catalog.erase_quarantined(&ids).await.unwrap(), 1_500);
    assert_eq!(db.catalog.erase_quarantined(&ids).await.unwrap(), 0);
    db.catalog.scrub().await.unwrap();
    assert_eq!(all(&db).await.len(), 1);
    // PostgreSQL's files are the server's.
    for entry in db.folder.iter().flat_map(|folder| std::fs::read_dir(folder.path()).unwrap()) {
        let file = entry.unwrap().path();
        let bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(name.len()).any(|window| window == name.as_bytes()), "{}", file.display());
    }
}
