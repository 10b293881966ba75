//! What is asked of the planner, and what it answers.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::CatalogProviderList;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use frazil_common::Principal;

use crate::access::AccessAction;
use crate::lake::{Change, Lakes, PrunedScan, SystemTables, UploadedRows, VacuumRequest, Written};
use crate::session;
use crate::session_functions::StatementContext;
use crate::session_statements::SessionChange;
use crate::stages::{Load, StageAction, Unload};
use crate::storage::ObjectStores;

pub struct PlanRequest {
    pub sql: String,
    /// Whom it is run for.
    pub principal: Principal,
    /// Exact names, where unqualified ones are looked up.
    pub database: Option<String>,
    pub schema: Option<String>,
    /// The databases as the session's open transaction sees them; `None` is as they are now.
    pub lakes: Option<Arc<Lakes>>,
    pub settings: Vec<(String, String)>,
    /// Tables about the instance, as whoever sends the statement may see them.
    pub system: Option<Arc<dyn SystemTables>>,
    /// Values for its placeholders: a column for each, a row for each run.
    pub bindings: Option<RecordBatch>,
    /// Rows that came with it, which it reads as [`UPLOADED_ROWS`](crate::lake::UPLOADED_ROWS).
    pub uploaded: Option<Arc<UploadedRows>>,
    /// Its rows are not wanted, only what they would be: placeholders may have no values.
    pub describe_only: bool,
    pub context: StatementContext,
    /// Slots that the query may use.
    pub slots: usize,
    /// Executors that have them.
    pub executors: usize,
}

/// What is to be done for a statement.
pub enum Planned {
    Query(PlannedQuery),
    Explain {
        query: PlannedQuery,
        logical: String,
        /// The plan before the cut, with statistics, where `VERBOSE` asks for it.
        physical: Option<String>,
    },
    /// `EXPLAIN ANALYZE`; `verbose` wants each task's figures, too.
    Analyze {
        query: PlannedQuery,
        verbose: bool,
    },
    /// Rows that are to be written, and the change that they are part of.
    Write {
        query: PlannedQuery,
        written: Written,
    },
    /// A change that removes rows and writes none; `rows` is what it counts.
    Remove {
        written: Written,
        rows: i64,
    },
    Change(Change),
    Stage(StageAction),
    /// Staged files that are to be loaded: a write that also reports on each of them.
    Load {
        query: PlannedQuery,
        written: Written,
        load: Load,
    },
    /// Staged files that are only looked at; the query reports what is wrong with them.
    TryLoad {
        query: PlannedQuery,
        load: Load,
    },
    /// Rows that go into files of a stage.
    Unload {
        query: PlannedQuery,
        unload: Unload,
    },
    Vacuum(VacuumRequest),
    /// Users, roles or grants.
    Access(AccessAction),
    /// An answer that is there already.
    Rows(RecordBatch),
    Session(SessionChange),
    /// Done while planning: declarations. The text tells the user.
    Done(String),
}

impl Planned {
    /// Whether rows of tables are written or removed.
    pub fn changes_rows(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::Remove { .. } | Self::Load { .. })
    }

    /// The columns of the answer.
    pub fn schema(&self) -> SchemaRef {
        match self {
            Self::Query(query) => query.schema.clone(),
            Self::Rows(rows) => rows.schema(),
            Self::Write { written, .. } | Self::Remove { written, .. } => {
                let counts = written.answer_without_rows(0).into_iter();
                let fields: Vec<_> = counts.map(|(name, _)| Field::new(name, DataType::Int64, false)).collect();
                Arc::new(Schema::new(fields))
            }
            Self::Explain { .. } | Self::Analyze { .. } => Arc::new(Schema::new(vec![
                Field::new("plan_type", DataType::Utf8, false),
                Field::new("plan", DataType::Utf8, false),
            ])),
            _ => Arc::new(Schema::new(vec![Field::new("status", DataType::Utf8, false)])),
        }
    }
}

#[derive(Clone)]
pub struct PlannedQuery {
    pub plan: Arc<dyn ExecutionPlan>,
    /// As the client sees it.
    pub schema: SchemaRef,
    /// For the parts that run on the coordinator.
    pub context: Arc<TaskContext>,
    pub partitions: usize,
    /// Compressed bytes of all files it may read.
    pub scan_bytes: u64,
    /// What it reads, the catalog tells apart by snapshots.
    pub only_catalog_tables: bool,
    /// What it sees, which is not expired as long as this is held.
    pub catalogs: Arc<dyn CatalogProviderList>,
    /// What the catalog's statistics have left out.
    pub pruned: Vec<PrunedScan>,
    /// With the secrets that it may use.
    pub stores: Arc<ObjectStores>,
}

impl PlannedQuery {
    /// Session options that executors need.
    pub fn options_that_travel(&self) -> HashMap<String, String> {
        session::options_that_travel(self.context.session_config().options())
    }
}
