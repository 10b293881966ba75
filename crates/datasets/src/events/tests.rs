//! The rows of `events`, before they are encoded.

use std::collections::HashSet;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

use super::*;

fn rows(seed: u64, total: u64, ids: std::ops::Range<u64>) -> RecordBatch {
    let batches: Vec<_> = EventBatches::new(seed, total, ids).collect::<Result<_, _>>().unwrap();
    concat_batches(&events_schema(), &batches).unwrap()
}

fn texts<'a>(batch: &'a RecordBatch, column: &str) -> Vec<&'a str> {
    batch.column_by_name(column).unwrap().as_string::<i32>().iter().flatten().collect()
}

#[test]
fn rows_follow_from_the_seed_and_not_from_how_they_are_cut() {
    let whole = rows(42, 20_000, 0..20_000);
    assert_eq!(whole.slice(9_000, 500), rows(42, 20_000, 9_000..9_500));
    assert_ne!(whole.slice(0, 500), rows(43, 20_000, 0..500));
}

#[test]
fn columns_have_the_shapes_they_promise() {
    let total = 30_000;
    let batch = rows(7, total, 0..total);
    assert_eq!(batch.num_columns(), 32);

    for url in texts(&batch, "page_url") {
        assert!((40..=200).contains(&url.len()), "{} bytes: {url}", url.len());
    }
    assert!(texts(&batch, "session_id").iter().all(|id| id.len() == 36 && id.split('-').count() == 5));
    for (column, few, many) in [
        ("event_type", 12, 12),
        ("user_agent", 150, 250),
        ("country", 50, 60),
        ("session_id", 8_000, 30_000),
        ("page_url", 10_000, 30_000),
        ("device", 3, 3),
    ] {
        let distinct = texts(&batch, column).into_iter().collect::<HashSet<_>>().len();
        assert!((few..=many).contains(&distinct), "{column}: {distinct} distinct values");
    }
    let phrases = texts(&batch, "search_phrase");
    assert!(phrases.iter().any(|phrase| phrase.is_empty()) && phrases.iter().any(|phrase| !phrase.is_ascii()));

    for (field, column) in events_schema().fields().iter().zip(batch.columns()) {
        let nulls = column.null_count();
        assert_eq!(field.is_nullable(), (1..total as usize).contains(&nulls), "{}: {nulls} nulls", field.name());
    }
}

#[test]
fn users_are_skewed_and_many() {
    let batch = rows(7, 30_000, 0..30_000);
    let mut events = std::collections::HashMap::<i64, usize>::new();
    for user in batch.column_by_name("user_id").unwrap().as_primitive::<Int64Type>().values() {
        *events.entry(*user).or_default() += 1;
    }
    let most = *events.values().max().unwrap();
    assert!(events.len() > 10_000 && (700..3_000).contains(&most), "{} users, {most} events of one", events.len());
}

#[test]
fn time_mostly_increases_and_stays_in_its_span() {
    let total = 30_000;
    let batch = rows(7, total, 0..total);
    let times =
        batch.column_by_name("event_time").unwrap().as_primitive::<TimestampMicrosecondType>().values().to_vec();
    let back = times.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert!((1..total as usize / 10).contains(&back), "{back} steps back");
    let day = 86_400_000_000;
    assert!(times.iter().all(|time| (20_089..20_089 + 90).contains(&(time / day))));
    assert!(times[0] / day == 20_089 && times[total as usize - 1] / day == 20_089 + 89);
}

#[test]
fn options_out_of_range_are_refused() {
    let options =
        EventsOptions { rows: 100, files: 4, seed: 1, destination: Destination::local("data"), parallelism: 2 };
    for (options, part) in [
        (EventsOptions { rows: 0, ..options.clone() }, "0 events"),
        (EventsOptions { files: 0, ..options.clone() }, "0 files for 100 events"),
        (EventsOptions { files: 101, ..options.clone() }, "give 1 to 100"),
        (EventsOptions { parallelism: 0, ..options.clone() }, "parallelism 0"),
    ] {
        let message = options.identity().unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }
    assert!(options.identity().is_ok());
}
