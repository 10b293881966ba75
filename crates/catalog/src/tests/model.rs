//! Random changes, against a model that is a map. Every snapshot of the past is looked at again at the end.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::support::*;
use crate::*;

/// Tables by name: columns' names, and files with their deleted rows.
type State = BTreeMap<String, (Vec<String>, BTreeMap<String, i64>)>;

async fn observe(database: &Database, view: &SnapshotView, transaction: Option<&Transaction>) -> State {
    let mut state = State::new();
    for table in view.tables() {
        let files = match transaction {
            Some(transaction) => transaction.files(table.id, &FileFilter::default()).await.unwrap(),
            None => database.files(view, table.id, &FileFilter::default()).await.unwrap(),
        };
        let deleted = |file: &DataFile| file.delete_file.as_ref().map_or(0, |delete| delete.delete_count);
        let files = files.iter().map(|f| (f.path.rsplit('/').next().unwrap().to_owned(), deleted(f))).collect();
        state.insert(table.name.clone(), (table.columns.iter().map(|c| c.name.clone()).collect(), files));
    }
    state
}

/// One random change, to the transaction and to the model.
async fn change(random: &mut StdRng, serial: &mut u64, transaction: &mut Transaction, state: &mut State) {
    *serial += 1;
    let view = transaction.view();
    let pick = match state.len() {
        0 => None,
        count => state.keys().nth(random.random_range(0..count)).cloned(),
    };
    let choice = random.random_range(0..12);
    let (Some(name), true) = (pick, choice > 0) else {
        let name = format!("t{serial}");
        transaction.create_table(main_schema(&view), &name, columns()).unwrap();
        state.insert(name, (vec!["id".to_owned(), "name".to_owned()], BTreeMap::new()));
        return;
    };
    let table = view.table("main", &name).unwrap().clone();
    let files = transaction.files(table.id, &FileFilter::default()).await.unwrap();
    let (columns, shown) = state.get_mut(&name).unwrap();
    match choice {
        1 => {
            transaction.drop_table(table.id).unwrap();
            state.remove(&name);
        }
        2 => {
            let new = format!("r{serial}");
            transaction.rename_table(table.id, &new).unwrap();
            let moved = state.remove(&name).unwrap();
            state.insert(new, moved);
        }
        3 => {
            let column = format!("c{serial}");
            transaction.add_column(table.id, None, Column::new(&column, ColumnType::Int32)).unwrap();
            columns.push(column);
        }
        4 if columns.len() > 1 => {
            let at = random.random_range(0..columns.len());
            transaction.drop_column(table.id, table.columns[at].id).unwrap();
            columns.remove(at);
        }
        5 => {
            let new = format!("copy{serial}");
            // Clones are of what is committed.
            if !table.id.is_local() && transaction.base().table_by_id(table.id).is_ok() {
                let (base, database) = (transaction.base().clone(), transaction.database().clone());
                let source = base.table_by_id(table.id).unwrap();
                let seen = observe(&database, &base, None).await.remove(&source.name).unwrap();
                transaction.clone_table(&database, &base, table.id, table.schema_id, &new).await.unwrap();
                state.insert(new, seen);
            }
        }
        6 | 7 if !files.is_empty() => {
            let file = &files[random.random_range(0..files.len())];
            let count = file.delete_file.as_ref().map_or(0, |delete| delete.delete_count) + 1;
            let path = format!("d{serial}.parquet");
            transaction.add_delete_files(table.id, vec![delete(file.id, &path, count)]).unwrap();
            *shown.get_mut(file.path.rsplit('/').next().unwrap()).unwrap() = count;
        }
        8 if !files.is_empty() => {
            let file = &files[random.random_range(0..files.len())];
            transaction.remove_files(table.id, &[file.id]).unwrap();
            shown.remove(file.path.rsplit('/').next().unwrap());
        }
        9 if random.random_bool(0.3) => {
            transaction.truncate_table(table.id).await.unwrap();
            shown.clear();
        }
        _ => {
            let path = format!("f{serial}.parquet");
            let mut new = file(&path, 0, 10);
            new.columns.retain(|one| table.column_by_id(one.column).is_some());
            transaction.add_files(table.id, vec![new]).unwrap();
            shown.insert(path, 0);
        }
    }
}

async fn run(database: Database, seed: u64, commits: usize) {
    eprintln!("seed {seed}");
    let (mut random, mut serial) = (StdRng::seed_from_u64(seed), 0);
    let mut state = State::new();
    let mut history = BTreeMap::from([(latest(&database).await.snapshot.id, state.clone())]);
    let mut dropped: BTreeMap<TableId, State> = BTreeMap::new();
    for _ in 0..commits {
        let mut transaction = begin(&database).await;
        let mut next = state.clone();
        let tables = database.dropped_tables().await.unwrap();
        if !tables.is_empty() && random.random_bool(0.1) {
            let table = &tables[random.random_range(0..tables.len())];
            if !next.contains_key(&table.name) {
                transaction.undrop_table(table, None).await.unwrap();
                next.extend(dropped[&table.id].clone());
            }
        } else {
            for _ in 0..random.random_range(1..5) {
                change(&mut random, &mut serial, &mut transaction, &mut next).await;
            }
        }
        assert_eq!(observe(&database, &transaction.view(), Some(&transaction)).await, next, "seed {seed}");
        if random.random_bool(0.1) {
            continue;
        }
        let base = transaction.base().clone();
        let snapshot = commit(transaction).await.snapshot;
        let view = latest(&database).await;
        for table in base.tables().filter(|table| view.table_by_id(table.id).is_err()) {
            let was = state.get(&table.name).unwrap().clone();
            dropped.insert(table.id, BTreeMap::from([(table.name.clone(), was)]));
        }
        state = next;
        assert_eq!(observe(&database, &view, None).await, state, "seed {seed}");
        history.insert(snapshot, state.clone());
    }
    for (snapshot, expected) in &history {
        let view = database.snapshot(At::Snapshot(*snapshot)).await.unwrap();
        assert_eq!(&observe(&database, &view, None).await, expected, "seed {seed}, snapshot {snapshot}");
    }
    // A cache that was filled all at once must see the same as one that followed.
    database.forget_files();
    let expired: Vec<_> = history.keys().copied().filter(|_| random.random_bool(0.5)).collect();
    let expired = database.expire_snapshots(&Expiry { snapshots: expired, ..Default::default() }).await.unwrap();
    for (snapshot, expected) in history.iter().filter(|(id, _)| !expired.contains(id)) {
        let view = database.snapshot(At::Snapshot(*snapshot)).await.unwrap();
        assert_eq!(&observe(&database, &view, None).await, expected, "seed {seed}, snapshot {snapshot} after expiry");
    }
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    let removable = database.files_to_remove(later, &[]).await.unwrap();
    for file in &removable {
        let name = file.path.rsplit('/').next().unwrap();
        let kept = history.iter().filter(|(id, _)| !expired.contains(id));
        let used = kept.flat_map(|(_, state)| state.values()).any(|(_, files)| files.contains_key(name));
        assert!(!used, "seed {seed}: {name} is still in use");
    }
}

#[tokio::test]
async fn random_changes_are_what_a_map_would_have() {
    let seeds = match std::env::var("FRAZIL_TEST_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => (1..=8).collect(),
    };
    for seed in seeds {
        let lake = lake().await;
        run(lake.database.clone(), seed, 60).await;
    }
    if let Ok(url) = std::env::var("FRAZIL_TEST_POSTGRES") {
        let schema = format!("test_{}", uuid::Uuid::new_v4().simple());
        run(Database::create_postgres("test", &url, &schema, "/data/test").await.unwrap(), 99, 40).await;
    }
}
