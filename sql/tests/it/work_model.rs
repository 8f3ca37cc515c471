//! A random sequence of statements on a table of `work` does what the same sequence does to a list in memory.

use proptest::{prelude::*, test_runner::TestRunner};
use tokio::runtime::Runtime;

use crate::fixture::Fixture;

#[derive(Debug, Clone)]
enum Step {
    Insert(Vec<(i64, i64)>),
    /// `v = v + by` where `k % m = r`.
    Update {
        by: i64,
        m: i64,
        r: i64,
    },
    Delete {
        m: i64,
        r: i64,
    },
    /// Rows of this key get the value; a key that is not there is inserted.
    Merge(Vec<(i64, i64)>),
    /// Keys of the list lose their rows, all others get the value.
    Sync {
        keys: Vec<i64>,
        value: i64,
    },
    Truncate,
}

fn pairs() -> impl Strategy<Value = Vec<(i64, i64)>> {
    proptest::collection::vec((0..12_i64, 0..100_i64), 1..6)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => pairs().prop_map(Step::Insert),
        3 => (1..9_i64, 1..4_i64, 0..3_i64).prop_map(|(by, m, r)| Step::Update { by, m, r: r % m }),
        2 => (2..5_i64, 0..4_i64).prop_map(|(m, r)| Step::Delete { m, r: r % m }),
        3 => pairs().prop_map(Step::Merge),
        1 => (proptest::collection::vec(0..12_i64, 1..3), 0..100_i64)
            .prop_map(|(keys, value)| Step::Sync { keys, value }),
        1 => Just(Step::Truncate),
    ]
}

fn unique(pairs: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let mut unique: Vec<(i64, i64)> = Vec::new();
    for pair in pairs {
        if unique.iter().all(|(key, _)| *key != pair.0) {
            unique.push(*pair);
        }
    }
    unique
}

fn values(pairs: &[(i64, i64)]) -> String {
    pairs.iter().map(|(k, v)| format!("({k}, {v})")).collect::<Vec<_>>().join(", ")
}

/// The statement, and how many rows the list says that it concerns.
fn apply(step: &Step, list: &mut Vec<(i64, i64)>) -> (String, u64) {
    match step {
        Step::Insert(pairs) => {
            list.extend(pairs);
            (format!("INSERT INTO work.a.t VALUES {}", values(pairs)), pairs.len() as u64)
        }
        Step::Update { by, m, r } => {
            let mut rows = 0;
            for row in list.iter_mut().filter(|row| row.0 % m == *r) {
                row.1 += by;
                rows += 1;
            }
            (format!("UPDATE work.a.t SET v = v + {by} WHERE k % {m} = {r}"), rows)
        }
        Step::Delete { m, r } => {
            let before = list.len();
            list.retain(|row| row.0 % m != *r);
            (format!("DELETE FROM work.a.t WHERE k % {m} = {r}"), (before - list.len()) as u64)
        }
        Step::Merge(pairs) => {
            let pairs = unique(pairs);
            let mut rows = 0;
            for (k, v) in &pairs {
                let there = list.iter_mut().filter(|row| row.0 == *k).map(|row| row.1 = *v).count() as u64;
                if there == 0 {
                    list.push((*k, *v));
                }
                rows += there.max(1);
            }
            let sql = format!(
                "MERGE INTO work.a.t AS t USING (VALUES {}) AS s (k, v) ON t.k = s.k WHEN MATCHED THEN UPDATE SET v = s.v \
                 WHEN NOT MATCHED THEN INSERT (k, v) VALUES (s.k, s.v)",
                values(&pairs)
            );
            (sql, rows)
        }
        Step::Sync { keys, value } => {
            let rows = list.len() as u64;
            list.retain(|row| !keys.contains(&row.0));
            list.iter_mut().for_each(|row| row.1 = *value);
            let keys: Vec<(i64, i64)> = unique(&keys.iter().map(|key| (*key, 0)).collect::<Vec<_>>());
            let sql = format!(
                "MERGE INTO work.a.t AS t USING (VALUES {}) AS s (k, v) ON t.k = s.k WHEN MATCHED THEN DELETE \
                 WHEN NOT MATCHED BY SOURCE THEN UPDATE SET v = {value}",
                values(&keys)
            );
            (sql, rows)
        }
        Step::Truncate => {
            let rows = list.len() as u64;
            list.clear();
            ("TRUNCATE TABLE work.a.t".to_owned(), rows)
        }
    }
}

#[test]
fn statements_on_a_table_do_what_they_do_to_a_list() {
    let runtime = Runtime::new().unwrap();
    let lake = runtime.block_on(Fixture::new());
    let mut runner = TestRunner::new(ProptestConfig { cases: 12, max_shrink_iters: 20, ..ProptestConfig::default() });
    let checked = runner.run(&proptest::collection::vec(step(), 1..12), |steps| {
        runtime.block_on(async {
            lake.run("CREATE OR REPLACE TABLE work.a.t (k BIGINT, v BIGINT)").await;
            let mut list = Vec::new();
            for step in &steps {
                let (sql, rows) = apply(step, &mut list);
                assert_eq!(lake.run(&sql).await, rows, "{sql}");
                let mut expected: Vec<(i64, i64)> = list.clone();
                expected.sort_unstable();
                let expected: Vec<String> = expected.iter().map(|(k, v)| format!("{k}|{v}")).collect();
                assert_eq!(lake.rows("SELECT k, v FROM work.a.t ORDER BY k, v").await, expected, "{sql}");
            }
        });
        Ok(())
    });
    checked.unwrap();
}
