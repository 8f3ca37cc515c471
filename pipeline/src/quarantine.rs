//! Rows set aside: what is told of them, and that the same row is not set aside twice.

use std::collections::{HashMap, HashSet};

use mavis_catalog::{NewQuarantined, QuarantineFilter, QuarantineState, Quarantined, Step};
use mavis_lake::Writer;
use mavis_types::{RunId, SourceId, TableId};
use xxhash_rust::xxh3::xxh3_128;

use crate::{context::Running, failure::Failure};

/// Rows read from the catalog at once.
const PAGE: u32 = 5_000;
/// Reasons that a run's log names, most frequent first.
const NAMED: usize = 8;

/// Sets rows of one table and step aside. A row that waits there already, with the same origin and payload, is counted
/// and not written again: a source that is read again as a whole brings its bad rows again. One that is not brought
/// again, though what it came from was read, is closed (state `dropped`): what it says is not what the source says now.
#[derive(Debug)]
pub(crate) struct Aside {
    table: TableId,
    step: Step,
    waiting: HashSet<u128>,
    /// The rows that waited when this began.
    listed: Vec<Listed>,
    /// Marks of the rows set aside, new or not.
    again: HashSet<u128>,
    /// Rows set aside, new or not.
    pub(crate) rows: u64,
    /// Of these, rows that waited already; the writer was not told of them.
    pub(crate) known: u64,
    reasons: std::collections::BTreeMap<String, u64>,
}

/// A row that waits.
#[derive(Debug, Clone, Copy)]
struct Listed {
    id: i64,
    mark: u128,
    /// What the row it came from is found by when that one changes.
    subject: u128,
    /// Of the FHIR step: the mapping or the file that it came from.
    from: u128,
}

/// A row that cannot go on.
#[derive(Debug, Clone)]
pub(crate) struct Rejected {
    pub(crate) reason: String,
    pub(crate) origin: String,
    pub(crate) payload: String,
}

/// What names, files and ids are found by.
pub(crate) fn hash(text: &str) -> u128 {
    xxh3_128(text.as_bytes())
}

/// The mapping of a row of the FHIR step: the first word of its origin.
pub(crate) fn made_by(origin: &str) -> &str {
    origin.split(' ').next().unwrap_or_default()
}

/// The id that a row of the FHIR step would have as a resource, where its payload says one.
pub(crate) fn resource_id(row: &Quarantined) -> Option<String> {
    let value = mavis_fhir::json::parse(row.payload.as_bytes()).ok()?;
    value.get_str("id").map(str::to_owned)
}

fn mark(origin: &str, payload: &str) -> u128 {
    xxh3_128(format!("{}:{origin}{payload}", origin.len()).as_bytes())
}

impl Aside {
    /// Without a way to tell which of the waiting rows a change is about; those that a whole reading brings no more can
    /// be closed.
    pub(crate) async fn new(running: &Running, table: TableId, step: Step) -> Result<Self, Failure> {
        Self::by(running, table, step, |_| 0).await
    }

    /// `subject`: what of a waiting row names the row that it came from, as [`Aside::close_of`] is told it.
    pub(crate) async fn by(
        running: &Running,
        table: TableId,
        step: Step,
        subject: impl Fn(&Quarantined) -> u128 + Send,
    ) -> Result<Self, Failure> {
        Self::among(running, (table, step), None, made_by, subject).await
    }

    /// Of the FHIR step: the rows of one source alone, since a type's tables are everybody's. A row's subject is the id of
    /// the resource that it was to become, as [`crate::fhir_zone::state::id_hash`] names it; `from` tells the mapping or
    /// the file of an origin.
    pub(crate) async fn of_resources(
        running: &Running,
        table: TableId,
        source: SourceId,
        from: fn(&str) -> &str,
    ) -> Result<Self, Failure> {
        let subject = |row: &Quarantined| resource_id(row).map_or(0, |id| hash(&id));
        Self::among(running, (table, Step::ToFhir), Some(source), from, subject).await
    }

    async fn among(
        running: &Running,
        (table, step): (TableId, Step),
        source: Option<SourceId>,
        from: fn(&str) -> &str,
        subject: impl Fn(&Quarantined) -> u128 + Send,
    ) -> Result<Self, Failure> {
        let mut waiting = HashSet::new();
        let mut listed = Vec::new();
        let mut sources: HashMap<RunId, Option<SourceId>> = HashMap::new();
        let mut after = None;
        loop {
            let filter = QuarantineFilter {
                table: Some(table),
                state: Some(QuarantineState::Waiting),
                after,
                limit: Some(PAGE),
                ..QuarantineFilter::default()
            };
            let page = running.catalog().quarantined(&filter).await?;
            let Some(last) = page.last().map(|row| row.id) else { break };
            for row in page.iter().filter(|row| row.step == step) {
                if source.is_some() {
                    let of_run = match sources.get(&row.run) {
                        Some(known) => *known,
                        None => {
                            let asked = running.catalog().run(row.run).await?.source;
                            sources.insert(row.run, asked);
                            asked
                        }
                    };
                    if of_run != source {
                        continue;
                    }
                }
                let mark = mark(&row.origin, &row.payload);
                waiting.insert(mark);
                listed.push(Listed { id: row.id, mark, subject: subject(row), from: hash(from(&row.origin)) });
            }
            if page.len() < PAGE as usize {
                break;
            }
            after = Some(last);
        }
        let reasons = std::collections::BTreeMap::new();
        Ok(Self { table, step, waiting, listed, again: HashSet::new(), rows: 0, known: 0, reasons })
    }

    /// Whether any row waited when this began.
    pub(crate) fn waits(&self) -> bool {
        !self.listed.is_empty()
    }

    /// Subjects of the waiting rows that were not set aside again.
    pub(crate) fn open_subjects(&self) -> HashSet<u128> {
        self.listed.iter().filter(|row| !self.again.contains(&row.mark)).map(|row| row.subject).collect()
    }

    /// After everything was read: closes the waiting rows that were not set aside again.
    pub(crate) async fn close_all(&self, running: &Running) -> Result<(), Failure> {
        self.close(running, |_| true).await
    }

    /// After what there is of these subjects was read: closes their waiting rows that were not set aside again.
    pub(crate) async fn close_of(&self, running: &Running, subjects: &HashSet<u128>) -> Result<(), Failure> {
        self.close(running, |row| subjects.contains(&row.subject)).await
    }

    /// After all of these mappings or files was read, and what there is of these subjects: as [`Self::close_of`].
    pub(crate) async fn close_from(
        &self,
        running: &Running,
        from: &HashSet<u128>,
        subjects: &HashSet<u128>,
    ) -> Result<(), Failure> {
        self.close(running, |row| from.contains(&row.from) || subjects.contains(&row.subject)).await
    }

    async fn close(&self, running: &Running, of: impl Fn(&Listed) -> bool + Send) -> Result<(), Failure> {
        let mut closed = 0_u64;
        for row in self.listed.iter().filter(|row| !self.again.contains(&row.mark) && of(row)) {
            running.catalog().set_quarantine_state(row.id, QuarantineState::Dropped).await?;
            closed += 1;
        }
        if closed > 0 {
            running
                .info(format!("{closed} rows left quarantine: they were corrected or deleted where they came from"))
                .await;
        }
        Ok(())
    }

    /// Sets a row aside.
    pub(crate) async fn put(&mut self, running: &Running, writer: &mut Writer, row: Rejected) -> Result<(), Failure> {
        self.rows += 1;
        *self.reasons.entry(row.reason.clone()).or_insert(0) += 1;
        let mark = mark(&row.origin, &row.payload);
        self.again.insert(mark);
        if !self.waiting.insert(mark) {
            self.known += 1;
            return Ok(());
        }
        writer
            .quarantine(NewQuarantined {
                app_id: String::new(),
                sequence: 0,
                ordinal: 0,
                run: running.id,
                table: self.table,
                step: self.step,
                reason: row.reason,
                origin: row.origin,
                payload: row.payload,
            })
            .await?;
        Ok(())
    }

    /// Tells the run's log how many rows were set aside, and why.
    pub(crate) async fn report(&self, running: &Running, table: &str) {
        if self.rows == 0 {
            return;
        }
        let mut reasons: Vec<(&String, &u64)> = self.reasons.iter().collect();
        reasons.sort_by_key(|(reason, count)| (std::cmp::Reverse(**count), (*reason).clone()));
        let mut told: Vec<String> =
            reasons.iter().take(NAMED).map(|(reason, count)| format!("{count} x {reason}")).collect();
        if reasons.len() > NAMED {
            told.push(format!("and {} other reasons", reasons.len() - NAMED));
        }
        running.warn(format!("`{table}`: {} rows in quarantine: {}", self.rows, told.join("; "))).await;
    }
}

/// Tells the run's log that a table's key does not tell its rows apart.
pub(crate) async fn tell_differing(running: &Running, table: &str, keys: u64) {
    if keys > 0 {
        running
            .warn(format!(
                "`{table}`: {keys} keys name rows that differ; the last of each was kept; give the table another key"
            ))
            .await;
    }
}
