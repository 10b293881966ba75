//! Files that the database picks are those that are found in a list in memory, whatever their statistics are.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::support::*;
use crate::sql::Value;
use crate::*;

const DAY_NANOS: i128 = 86_400_000_000_000;

fn column_types() -> Vec<ColumnType> {
    use ColumnType as T;
    vec![
        T::Int32,
        T::Int64,
        T::UInt64,
        T::Date,
        T::Timestamp,
        T::TimestampTz,
        T::TimestampS,
        T::Decimal(12, 2),
        T::Float64,
        T::Float32,
        T::Varchar,
        T::Uuid,
        T::Boolean,
    ]
}

/// One of some dozens of values, so that predicates often meet a bound.
fn value(column_type: &ColumnType, rng: &mut StdRng) -> Scalar {
    use ColumnType as T;
    let step = rng.random_range(-40..40_i64);
    match column_type {
        T::Date => Scalar::Date(step * 20),
        T::Timestamp | T::TimestampTz => {
            let fraction = [0, 1_000, 500_000_000, 999_999_000].choose(rng).copied().unwrap_or(0);
            Scalar::Timestamp(i128::from(step) * DAY_NANOS / 4 + fraction)
        }
        T::TimestampS => Scalar::Timestamp(i128::from(step) * 1_000_000_000),
        T::Decimal(_, scale) => Scalar::Decimal(i128::from(step) * 25, *scale),
        T::Float64 => {
            Scalar::Float([step as f64 / 3.0, step as f64 * 1e20, -0.0, 0.0].choose(rng).copied().unwrap_or(0.0))
        }
        T::Float32 => Scalar::Float(f64::from(step as f32 / 3.0)),
        T::Varchar => {
            Scalar::Text(["", "a", "A", "ä", "b'\"", "z", "Z\u{10ffff}", "10", "9"][step.rem_euclid(9) as usize].into())
        }
        T::Uuid => Scalar::Text(uuid::Uuid::from_u128(step.unsigned_abs().into()).to_string().into()),
        T::Boolean => Scalar::Bool(step > 0),
        T::UInt64 => Scalar::Int(u64::MAX as i128 - i128::from(step.unsigned_abs())),
        _ => Scalar::Int(step.into()),
    }
}

fn random_file(number: i64, rng: &mut StdRng) -> NewDataFile {
    let columns = column_types().into_iter().enumerate().map(|(index, column_type)| {
        let (a, b) = (value(&column_type, rng), value(&column_type, rng));
        let (min, max) = match compare(&a, &b) {
            Some(std::cmp::Ordering::Greater) => (b, a),
            _ => (a, b),
        };
        let kind = rng.random_range(0..10);
        NewColumnStatistics {
            column: ColumnId(index as i64 + 1),
            size_bytes: Some(100),
            null_count: [0, 0, 0, 3, 10].choose(rng).copied().filter(|_| kind != 0).unwrap_or(10),
            value_count: 7,
            min: Some(min).filter(|_| kind > 1),
            max: Some(max).filter(|_| kind > 0 && kind != 2),
            contains_nan: matches!(column_type, ColumnType::Float64 | ColumnType::Float32).then_some(kind == 9),
        }
    });
    NewDataFile {
        path: Place::relative(format!("{number}.parquet")),
        record_count: 10,
        size_bytes: 1000 + number,
        footer_size_bytes: Some(200),
        columns: columns.collect(),
        row_id_start: None,
    }
}

fn random_filter(rng: &mut StdRng) -> FileFilter {
    let types = column_types();
    let count = rng.random_range(1..4);
    let range = |_| {
        let index = rng.random_range(0..types.len());
        let bound = |rng: &mut StdRng| {
            let inclusive = rng.random_bool(0.5);
            rng.random_bool(0.7).then(|| Bound { value: value(&types[index], rng), inclusive })
        };
        let test = match rng.random_range(0..8) {
            0 => RangeTest::IsNull,
            1 => RangeTest::IsNotNull,
            2..=4 => {
                let count = rng.random_range(0..4);
                RangeTest::In((0..count).map(|_| value(&types[index], rng)).collect())
            }
            _ => RangeTest::Between { low: bound(rng), high: bound(rng) },
        };
        ColumnRange { column: ColumnId(index as i64 + 1), test }
    };
    FileFilter { ranges: (0..count).map(range).collect(), statistics: vec![] }
}

/// Texts as other writers, or nobody, would write them.
async fn spoil_some_texts(database: &Database, table: TableId, rng: &mut StdRng) {
    let texts = [
        "+5",
        " 7",
        "007",
        "-007",
        "1e3",
        "",
        "-",
        ".",
        ".5",
        "5.",
        "1.2.3",
        "0x10",
        "99999999999999999999",
        "--5",
        "5-",
        "infinity",
        "-infinity",
        "nan",
        "20000-01-01",
        "-0001-01-01",
        "1970-1-1",
        "1970-01-01T00:00:00",
        "1970-13-01",
        "1970-01-01 00:00:00+02",
        "1970-01-01 00:00:00-03:30+00",
        "1970-01-01 00:00:00.25+00",
        "1970-01-01 00:00:00Z",
        "true",
        "00000000-0000-0000-0000-00000000000A",
        "10000000000000000000000000000000.5",
        "0.123456789",
    ];
    let mut tx = database.inner.sql.write("ducklake_snapshot").await.unwrap();
    for text in texts {
        for side in ["min_value", "max_value"] {
            let sql = format!(
                "UPDATE ducklake_file_column_stats SET {side} = $1 WHERE table_id = $2 AND column_id = $3 AND data_file_id % 50 = $4"
            );
            let column = rng.random_range(1..=column_types().len() as i64);
            let args =
                [Value::text(text), Value::int(table.0), Value::int(column), Value::int(rng.random_range(0..50))];
            tx.execute("spoiling texts", &sql, &args).await.unwrap();
        }
    }
    let table = [Value::int(table.0)];
    for (column, every) in [("null_count", 17), ("contains_nan", 13)] {
        let sql = format!(
            "UPDATE ducklake_file_column_stats SET {column} = NULL WHERE table_id = $1 AND data_file_id % {every} = 3"
        );
        tx.execute("spoiling counts", &sql, &table).await.unwrap();
    }
    tx.commit().await.unwrap();
}

/// What a statement learns, and whether it was by a first look.
async fn learn(
    database: &Database,
    view: &SnapshotView,
    table: TableId,
    filter: &FileFilter,
    first_look: bool,
) -> (Vec<DataFile>, Vec<Vec<ColumnStatistics>>, TableStatistics, Vec<Option<u64>>, bool) {
    database.forget_files();
    database.inner.glance_files_min.store(if first_look { 1 } else { i64::MAX }, Ordering::Relaxed);
    let selected = database.select_files(view, table, filter).await.unwrap();
    let by_first_look = database.glanced(view, table).is_some();
    let files = selected.to_vec();
    assert_eq!(selected.len(), files.len());
    assert_eq!(selected.sum(), SelectedFiles::from(files.clone()).sum());
    let columns: Vec<_> = (1..=column_types().len() as i64).rev().map(ColumnId).collect();
    let statistics = database.file_statistics(view, table, &files, &columns).await.unwrap();
    let sum = database.table_statistics(view, table, &[]).await.unwrap();
    let distinct = database.distinct_counts(view, table, &columns).await.unwrap();
    assert_eq!(database.glanced(view, table).is_some(), by_first_look, "nothing else asked for the list");
    database.inner.loads.lock().abort_all();
    (files, statistics, sum, distinct, by_first_look)
}

#[tokio::test]
async fn a_first_look_finds_what_a_list_in_memory_has() {
    on_each_backing(|database| async move {
        let seed = rand::random();
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let mut transaction = begin(&database).await;
        let columns =
            column_types().into_iter().enumerate().map(|(at, column_type)| Column::new(format!("c{at}"), column_type));
        let table = transaction.create_table(main_schema(&transaction.view()), "t", columns.collect()).unwrap();
        let table = commit(transaction).await.tables[&table];
        let other = create_table(&database, "other").await;
        let mut views = vec![];
        for commit_number in 0..8 {
            let first = commit_number * 100;
            append(&database, table, (first..first + 100).map(|number| random_file(number, &mut rng)).collect()).await;
            append(&database, other, vec![file("x", 0, 10)]).await;
            let mut transaction = begin(&database).await;
            let files = transaction.files(table, &FileFilter::default()).await.unwrap();
            let gone: Vec<_> = files.iter().filter(|_| rng.random_bool(0.05)).map(|file| file.id).collect();
            let kept = files.iter().filter(|file| !gone.contains(&file.id) && rng.random_bool(0.05));
            let deletes = kept.map(|file| delete(file.id, &format!("d{commit_number}-{}", file.id), 2 + commit_number));
            let deletes = deletes.collect();
            transaction.remove_files(table, &gone).unwrap();
            transaction.add_delete_files(table, deletes).unwrap();
            commit(transaction).await;
            views.push(latest(&database).await);
        }
        spoil_some_texts(&database, table, &mut rng).await;
        let mut first_looks = 0;
        for _ in 0..400 {
            let view = views.choose(&mut rng).unwrap();
            let filter = random_filter(&mut rng);
            let (files, statistics, sum, distinct, by_first_look) = learn(&database, view, table, &filter, true).await;
            let (all_files, all_statistics, all_sum, all_distinct, other) =
                learn(&database, view, table, &filter, false).await;
            assert!(!other);
            assert_eq!(files, all_files, "seed {seed}, {filter:?}");
            assert_eq!(statistics, all_statistics, "seed {seed}, {filter:?}");
            assert_eq!((sum, distinct), (all_sum, all_distinct), "seed {seed}");
            first_looks += u32::from(by_first_look);
        }
        assert!(first_looks > 200, "only {first_looks} of 400 were first looks");
    })
    .await;
}

#[tokio::test]
async fn a_first_look_leaves_out_what_it_can() {
    on_each_backing(|database| async move {
        let mut transaction = begin(&database).await;
        let types = [
            ColumnType::Int64,
            ColumnType::Date,
            ColumnType::Timestamp,
            ColumnType::TimestampTz,
            ColumnType::Decimal(12, 2),
        ];
        let types = types.into_iter().chain([ColumnType::Float64, ColumnType::Varchar]).collect::<Vec<_>>();
        let columns =
            types.iter().enumerate().map(|(at, column_type)| Column::new(format!("c{at}"), column_type.clone()));
        let table = transaction.create_table(main_schema(&transaction.view()), "t", columns.collect()).unwrap();
        let table = commit(transaction).await.tables[&table];
        let scalar = |column_type: &ColumnType, number: i64| match column_type {
            ColumnType::Date => Scalar::Date(number),
            ColumnType::Timestamp | ColumnType::TimestampTz => Scalar::Timestamp(i128::from(number) * DAY_NANOS),
            ColumnType::Decimal(..) => Scalar::Decimal(i128::from(number), 2),
            ColumnType::Float64 => Scalar::Float(number as f64 / 8.0),
            ColumnType::Varchar => Scalar::Text(format!("{number:09}").into()),
            _ => Scalar::Int(number.into()),
        };
        let files = (0..3000_i64).map(|number| NewDataFile {
            path: Place::relative(format!("{number}.parquet")),
            record_count: 10,
            size_bytes: 1000,
            footer_size_bytes: None,
            columns: types
                .iter()
                .zip(1..)
                .map(|(column_type, id)| NewColumnStatistics {
                    column: ColumnId(id),
                    size_bytes: None,
                    null_count: 0,
                    value_count: 10,
                    min: Some(scalar(column_type, number * 10)),
                    max: Some(scalar(column_type, number * 10 + 9)),
                    contains_nan: Some(false).filter(|_| *column_type == ColumnType::Float64),
                })
                .collect(),
            row_id_start: None,
        });
        append(&database, table, files.collect()).await;
        let view = latest(&database).await;
        for (column_type, id) in types.iter().zip(1..) {
            let bounds = (scalar(column_type, 15_005), scalar(column_type, 15_024));
            let ranges = vec![ColumnRange::between(ColumnId(id), Some(bounds.0), Some(bounds.1))];
            let filter = FileFilter { ranges, statistics: vec![] };
            let (files, _, sum, _, by_first_look) = learn(&database, &view, table, &filter, true).await;
            // All 3000 are more than a first look takes.
            assert!(by_first_look, "{column_type:?}");
            assert_eq!((files.len(), sum.files, sum.rows), (3, 3000, 30_000), "{column_type:?}");
        }
        let all = FileFilter {
            ranges: vec![ColumnRange::between(ColumnId(1), Some(Scalar::Int(9)), None)],
            statistics: vec![],
        };
        let (files, .., by_first_look) = learn(&database, &view, table, &all, true).await;
        assert_eq!((files.len(), by_first_look), (3000, false));
    })
    .await;
}

/// A column that came later has no statistics in older files.
#[tokio::test]
async fn files_without_statistics_are_kept() {
    on_each_backing(|database| async move {
        let table = create_table(&database, "t").await;
        append(
            &database,
            table,
            (0..50).map(|number| file(&format!("{number}"), number * 10, number * 10 + 10)).collect(),
        )
        .await;
        let mut transaction = begin(&database).await;
        let id = transaction.add_column(table, None, Column::new("later", ColumnType::Int64)).unwrap();
        commit(transaction).await;
        let mut newer = file("new", 0, 10);
        newer.columns.push(NewColumnStatistics { column: id, ..newer.columns[0].clone() });
        append(&database, table, vec![newer]).await;
        let view = latest(&database).await;
        let filter = FileFilter { ranges: vec![ColumnRange::equals(id, Scalar::Int(100))], statistics: vec![] };
        let (files, .., by_first_look) = learn(&database, &view, table, &filter, true).await;
        assert_eq!((files.len(), by_first_look), (50, false));
    })
    .await;
}

#[tokio::test]
async fn the_list_is_read_behind_a_first_look() {
    on_each_backing(|database| async move {
        let table = create_table(&database, "t").await;
        append(
            &database,
            table,
            (0..50).map(|number| file(&format!("{number}"), number * 10, number * 10 + 10)).collect(),
        )
        .await;
        database.forget_files();
        database.inner.glance_files_min.store(1, Ordering::Relaxed);
        let view = latest(&database).await;
        let filter =
            FileFilter { ranges: vec![ColumnRange::equals(ColumnId(1), Scalar::Int(100))], statistics: vec![] };
        let first = database.select_files(&view, table, &filter).await.unwrap();
        assert!(first.len() == 1 && database.glanced(&view, table).is_some());
        let is_loaded = || database.inner.files.lock().get(table).is_loaded.load(Ordering::Acquire);
        let waited = tokio::time::timeout(Duration::from_secs(60), async {
            while !is_loaded() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waited.await.expect("the list is read");
        assert!(database.glanced(&view, table).is_none());
        assert_eq!(database.select_files(&view, table, &filter).await.unwrap().to_vec(), first.to_vec());
        append(&database, table, vec![file("more", 95, 105)]).await;
        let later = latest(&database).await;
        assert_eq!(database.select_files(&later, table, &filter).await.unwrap().len(), 2);
        assert_eq!(database.select_files(&view, table, &filter).await.unwrap().len(), 1);
    })
    .await;
}
