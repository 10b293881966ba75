//! Which file made planning fail. DataFusion reads footers and samples rows while it plans; its errors say what is wrong
//! with them, not of which file. On that way out only, each file of the statement's tables is looked at by itself.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::listing::{ListingTable, ListingTableUrl};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{CreateExternalTable, LogicalPlan};
use frazil_common::{ErrorCode, Failure};
use futures::{FutureExt, StreamExt};

use crate::errors::{panic_message, to_failure};

/// After this many files, or this long, the failure stays without a name.
const FILES_MAX: usize = 10_000;
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Files that a statement reads while it is planned.
pub struct Suspects {
    url: ListingTableUrl,
    extension: String,
    format: Arc<dyn FileFormat>,
}

/// The files of all tables that a plan scans.
pub fn of_plan(plan: &LogicalPlan) -> Vec<Suspects> {
    let mut suspects = Vec::new();
    let visited = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Ok(provider) = source_as_provider(&scan.source)
            && let Some(table) = provider.downcast_ref::<ListingTable>()
        {
            let options = table.options();
            suspects.extend(table.table_paths().iter().map(|url| Suspects {
                url: url.clone(),
                extension: options.file_extension.clone(),
                format: options.format.clone(),
            }));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    visited.map_or_else(|_| vec![], |_| suspects)
}

/// The files of a table that is being declared.
pub fn of_declaration(table: &CreateExternalTable, state: &SessionState) -> Vec<Suspects> {
    let extension = table.file_type.to_lowercase();
    let Some(factory) = state.get_file_format_factory(&extension) else { return vec![] };
    let Ok(format) = factory.create(state, &table.options) else { return vec![] };
    let urls = table.locations.iter().filter_map(|location| ListingTableUrl::parse(location).ok());
    let one = |url: ListingTableUrl| {
        // One file may have any name; in a directory those of the format count.
        let extension = if url.is_collection() { format!(".{extension}") } else { String::new() };
        Suspects { url, extension, format: format.clone() }
    };
    urls.map(one).collect()
}

/// The failure with the name of the first file that cannot be read, when it is about files and names none.
pub async fn name_file(failure: Failure, suspects: &[Suspects], state: &SessionState) -> Failure {
    let about_files = matches!(
        failure.code,
        ErrorCode::FileCorrupt | ErrorCode::FileUnavailable | ErrorCode::InvalidData | ErrorCode::Internal
    );
    if !about_files || suspects.is_empty() || failure.message.starts_with("file \"") {
        return failure;
    }
    match tokio::time::timeout(TIME_LIMIT, first_broken(suspects, state)).await {
        Ok(Some((file, cause))) => Failure::new(cause.code, format!("file \"{file}\": {}", cause.message)),
        Ok(None) | Err(_) => failure,
    }
}

async fn first_broken(suspects: &[Suspects], state: &SessionState) -> Option<(String, Failure)> {
    let mut looked_at = 0;
    for suspect in suspects {
        let Ok(store) = state.runtime_env().object_store(&suspect.url) else { continue };
        let Ok(mut files) = suspect.url.list_all_files(state, store.as_ref(), &suspect.extension).await else {
            continue;
        };
        while let Some(Ok(file)) = files.next().await {
            looked_at += 1;
            if looked_at > FILES_MAX {
                return None;
            }
            let session: &dyn Session = state;
            let read = async {
                let schema = suspect.format.infer_schema(session, &store, std::slice::from_ref(&file)).await?;
                suspect.format.infer_stats(session, &store, schema, &file).await?;
                Result::Ok(())
            };
            let cause = match AssertUnwindSafe(read).catch_unwind().await {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => to_failure(&error),
                Err(panic) => Failure::new(ErrorCode::FileCorrupt, panic_message(&*panic)),
            };
            let code = match cause.code {
                ErrorCode::Internal | ErrorCode::InvalidData => ErrorCode::FileCorrupt,
                code => code,
            };
            return Some((file.location.to_string(), Failure::new(code, cause.message)));
        }
    }
    None
}
