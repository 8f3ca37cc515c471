//! Writers, an optimizer and random deaths: every row is there once.
//!
//! A process dies when its store fails at a random write and answers nothing from then on; half of the time the write
//! had taken effect. It is started again on the same folder, with nothing but what is on the disk.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::support::*;
use mavis_lake::{AppId, End, Error, HopInput, Lake, WriteMode, hop::DELETED};
use mavis_types::{RunId, SourceId, TableId};
use rstest::rstest;

/// A small generator with a seed, so that a failure can be repeated.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// A process that may be killed.
struct Process<'a> {
    house: &'a House,
    server: &'static str,
    lake: Lake,
    faults: Arc<Faults>,
}

impl<'a> Process<'a> {
    async fn start(house: &'a House, server: &'static str) -> Self {
        let (lake, faults) = house.faulty(server).await;
        Self { house, server, lake, faults }
    }

    /// Makes one of the next writes fail; for ever, or only once.
    fn endanger(&self, dice: &mut Dice) {
        self.faults.fail_after(dice.below(4) as i64, dice.coin(), dice.below(4) != 0);
    }

    /// Kills the process and starts it again.
    async fn restart(&mut self) {
        let (lake, faults) = self.house.faulty(self.server).await;
        (self.lake, self.faults) = (lake, faults);
    }
}

/// Appends the rows from the cursor on; ids say who wrote them.
async fn append(lake: &Lake, table: TableId, app: AppId, first: i64, to: i64) -> Result<i64, Error> {
    let unit = lake.begin(table, app, RunId::new()).await?;
    let from = unit.cursor().map_or(0, |cursor| cursor.0["at"].as_i64().unwrap());
    if from >= to {
        unit.abandon().await;
        return Ok(from);
    }
    let mut writer = unit.write(WriteMode::Append, schema()).await?;
    for id in from..to {
        writer.push(&rows(&[(first + id, "x")])).await?;
    }
    writer.finish(at(to)).await.map(|_| to)
}

const STEPS: i64 = 12;
const ROWS: i64 = 5;

async fn appending(house: &House, table: TableId, server: &'static str, number: i64, seed: u64, deaths: &AtomicU64) {
    let mut dice = Dice(seed);
    let mut process = Process::start(house, server).await;
    let source = SourceId::from_uuid(uuid::Uuid::from_u128(number as u128 + 1));
    let first = number * 1_000_000;
    for step in 1..=STEPS {
        if dice.below(3) != 0 {
            process.endanger(&mut dice);
        }
        let app = AppId::ingest(source, table);
        if append(&process.lake, table, app, first, step * ROWS).await.is_err() {
            deaths.fetch_add(1, Ordering::SeqCst);
            process.restart().await;
        }
    }
    process.restart().await;
    while append(&process.lake, table, AppId::ingest(source, table), first, STEPS * ROWS).await.is_err() {}
}

async fn optimizing(house: &House, table: TableId, seed: u64, stop: &AtomicBool, deaths: &AtomicU64) {
    let mut dice = Dice(seed);
    let mut process = Process::start(house, "optimizer").await;
    while !stop.load(Ordering::SeqCst) {
        if dice.coin() {
            process.endanger(&mut dice);
        }
        if process.lake.optimize(table, RunId::new()).await.is_err() {
            deaths.fetch_add(1, Ordering::SeqCst);
            process.restart().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5 + dice.below(20))).await;
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_appended_row_is_there_once_whoever_dies(#[values(1, 2, 3, 4)] seed: u64) {
    let house = House::new();
    let table = keyless(&house.lake("maker").await).await.id;
    let (stop, deaths) = (AtomicBool::new(false), AtomicU64::new(0));
    let writers = async {
        tokio::join!(
            appending(&house, table, "one", 1, seed * 100 + 1, &deaths),
            appending(&house, table, "two", 2, seed * 100 + 2, &deaths),
        );
        stop.store(true, Ordering::SeqCst);
    };
    tokio::join!(writers, optimizing(&house, table, seed * 100 + 3, &stop, &deaths));
    let lake = house.lake("reader").await;
    let wanted: Vec<(i64, String)> = [1, 2]
        .iter()
        .flat_map(|number| (0..STEPS * ROWS).map(move |id| (number * 1_000_000 + id, "x".to_owned())))
        .collect();
    assert_eq!(content(&lake, table, None).await, wanted, "seed {seed}");
    assert_eq!(number(&lake, table, "SELECT count(DISTINCT __occurrence) FROM t").await, 2 * STEPS * ROWS);
    assert!(deaths.load(Ordering::SeqCst) > 2, "the test must kill something");
}

type State = BTreeMap<i64, String>;

fn change(state: &State, dice: &mut Dice) -> State {
    let mut next = state.clone();
    for _ in 0..dice.below(6) {
        let id = dice.below(20) as i64;
        if dice.below(3) == 0 {
            next.remove(&id);
        } else {
            next.insert(id, format!("v{}", dice.below(4)));
        }
    }
    next
}

fn listed(state: &State) -> Vec<(i64, String)> {
    state.iter().map(|(id, name)| (*id, name.clone())).collect()
}

async fn snapshot(lake: &Lake, table: TableId, state: &State) -> Result<(), Error> {
    let unit = lake.begin(table, app(table), RunId::new()).await?;
    let mut writer = unit.write(WriteMode::Snapshot, schema()).await?;
    for (id, name) in state {
        writer.push(&rows(&[(*id, name)])).await?;
    }
    writer.finish(whole()).await.map(drop)
}

async fn hop(lake: &Lake, input: TableId, output: TableId) -> Result<(), Error> {
    let hop = lake.begin_hop(input, output, "carry", RunId::new()).await?;
    let changes = match hop.input() {
        HopInput::Nothing => {
            hop.abandon().await;
            return Ok(());
        }
        HopInput::Changes { rows, .. } | HopInput::Whole { rows, .. } => Arc::clone(rows),
    };
    let session = lake.sessions().session(64 << 20);
    session.register_table("changes", changes)?;
    let batches = session.sql(&format!("SELECT id, name, {DELETED} FROM changes")).await?.collect().await?;
    let schema = batches.first().map_or_else(schema, |batch| batch.schema());
    let mut writer = hop.write(schema, None).await?;
    for batch in &batches {
        writer.push(batch).await?;
    }
    writer.finish(End::default()).await.map(drop)
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_mirrors_its_source_is_right_after_every_step_and_so_is_what_hops_from_it(
    #[values(11, 12, 13, 14)] seed: u64,
) {
    let house = House::new();
    let maker = house.lake("maker").await;
    let input = keyed(&maker).await.id;
    let output = maker.ensure(&spec("carried", &["id"], true)).await.unwrap().id;
    let (stop, deaths) = (AtomicBool::new(false), AtomicU64::new(0));
    let mirror = async {
        let mut dice = Dice(seed);
        let mut process = Process::start(&house, "mirror").await;
        let mut state = State::new();
        for _ in 0..15 {
            let next = change(&state, &mut dice);
            if dice.below(3) != 0 {
                process.endanger(&mut dice);
            }
            let done = snapshot(&process.lake, input, &next).await.is_ok();
            if !done {
                deaths.fetch_add(1, Ordering::SeqCst);
                process.restart().await;
            }
            let now = content(&maker, input, None).await;
            assert!(now == listed(&next) || (!done && now == listed(&state)), "seed {seed}: neither before nor after");
            if now == listed(&next) {
                state = next;
            }
            if dice.coin() {
                process.endanger(&mut dice);
            }
            if hop(&process.lake, input, output).await.is_err() {
                deaths.fetch_add(1, Ordering::SeqCst);
                process.restart().await;
            }
        }
        process.restart().await;
        while hop(&process.lake, input, output).await.is_err() {}
        stop.store(true, Ordering::SeqCst);
        state
    };
    let (state, ()) = tokio::join!(mirror, optimizing(&house, input, seed, &stop, &deaths));
    assert_eq!(content(&maker, input, None).await, listed(&state));
    assert_eq!(content(&maker, output, None).await, listed(&state), "seed {seed}");
    assert!(deaths.load(Ordering::SeqCst) > 2, "the test must kill something");
}
