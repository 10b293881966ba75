//! `VACUUM`, when somebody asks for it, and from time to time.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use frazil_common::Failure;
use frazil_engine::lake::{VacuumOptions, VacuumRequest, Vacuumed, vacuum, vacuumed_rows};

use crate::options::CoordinatorOptions;
use crate::service::Inner;

pub async fn statement(inner: &Inner, request: VacuumRequest) -> Result<RecordBatch, Failure> {
    let mut options = options(&inner.options);
    options.is_forced = request.retention.is_some();
    options.retention = request.retention.unwrap_or(options.retention);
    options.dry_run = request.dry_run;
    vacuumed_rows(&run(inner, request.database.as_deref(), options).await?)
}

/// To be called as long as the coordinator lives.
pub(crate) async fn regularly(inner: Arc<Inner>) {
    if inner.options.vacuum_interval_s == 0 {
        return;
    }
    let interval = Duration::from_secs(inner.options.vacuum_interval_s);
    loop {
        tokio::time::sleep(interval).await;
        match run(&inner, None, options(&inner.options)).await {
            Ok(done) => {
                for one in done.iter().filter(|one| one.snapshots + one.files + one.orphans > 0 || one.is_purged) {
                    let Vacuumed { database, snapshots, files, orphans, is_purged } = one;
                    tracing::info!(database, snapshots, files, orphans, is_purged, "vacuumed");
                }
            }
            Err(error) => tracing::warn!(%error, "vacuuming failed, and is tried again later"),
        }
    }
}

/// One at a time: two would remove the same files.
async fn run(inner: &Inner, only: Option<&str>, options: VacuumOptions) -> Result<Vec<Vacuumed>, Failure> {
    let _turn = inner.vacuuming.lock().await;
    let (env, stores) = inner.planner.file_stores().await?;
    vacuum(&inner.databases, (&env, &stores), only, options).await
}

fn options(options: &CoordinatorOptions) -> VacuumOptions {
    VacuumOptions {
        retention: Duration::from_secs(options.retention_s),
        is_forced: false,
        orphan_grace: Duration::from_secs(options.orphan_grace_s),
        files_max: options.vacuum_files_max.max(1),
        dry_run: false,
        others_limit: Duration::from_secs(options.statement_limit_s.max(options.transaction_limit_s)),
    }
}
