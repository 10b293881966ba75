//! Single-process DataFusion: what every distributed answer is compared with.

use std::sync::Arc;
use std::time::Duration;

use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::collect;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::timeout;

use super::data::Table;
use super::engine::{Answer, Engine, Refusal, Request};

const STATEMENT_LIMIT: Duration = Duration::from_secs(120);

/// What the reference runs with when a request does not say.
const PARTITIONS: usize = 2;

/// Rules of DataFusion 55.2 that change answers. Found by the random queries and the logic tests:
///
/// - Dynamic filters of aggregates ignore `FILTER`: `min(a) FILTER (WHERE p), min(a) FILTER (WHERE q)` loses the first
///   minimum when rows with the second one's are read before.
/// - Top-k aggregation looks through an aggregate at another one below: `SELECT DISTINCT m FROM (SELECT k, max(v) AS m …
///   GROUP BY k) ORDER BY m DESC LIMIT 50` limits the inner groups to 50.
const WRONG_RULES: [&str; 2] =
    ["datafusion.optimizer.enable_aggregate_dynamic_filter_pushdown", "datafusion.optimizer.enable_topk_aggregation"];

pub struct Oracle {
    name: String,
    context: SessionContext,
}

impl Oracle {
    pub fn empty(name: impl Into<String>) -> Self {
        let mut config = SessionConfig::new().with_target_partitions(PARTITIONS).with_information_schema(true);
        for rule in WRONG_RULES {
            config = config.set_bool(rule, false);
        }
        Self { name: name.into(), context: SessionContext::new_with_config(config) }
    }

    pub async fn over(tables: &[Table]) -> Self {
        let oracle = Self::empty("single-process DataFusion");
        for table in tables {
            let registered =
                oracle.context.register_parquet(&table.name, &table.location(), ParquetReadOptions::default()).await;
            registered.unwrap_or_else(|e| panic!("table {:?} cannot be registered: {e}", table.name));
        }
        oracle
    }

    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// The statement's plan, before anything is executed: tells queries from statements that change something.
    pub async fn plan(&self, request: &Request) -> Result<LogicalPlan, DataFusionError> {
        self.session(request)?.state().create_logical_plan(&request.sql).await
    }

    /// Executes DDL at once and leaves queries to be collected.
    async fn frame(&self, request: &Request) -> Result<DataFrame, DataFusionError> {
        self.session(request)?.sql(&request.sql).await
    }

    /// A session with the request's settings over the same catalog.
    fn session(&self, request: &Request) -> Result<SessionContext, DataFusionError> {
        let mut config = self.context.copied_config();
        if let Some(partitions) = request.partitions {
            config = config.with_target_partitions(partitions);
        }
        let options = config.options_mut();
        if let Some(schema) = &request.schema {
            options.catalog.default_schema = schema.clone();
        }
        for (name, value) in &request.settings {
            options.set(name, value)?;
        }
        // The default schema exists: making it again would put an empty catalog in place of the shared one.
        let config = config.with_create_default_catalog_and_schema(false);
        let state = SessionStateBuilder::new_from_existing(self.context.state()).with_config(config).build();
        Ok(SessionContext::new_with_state(state))
    }

    async fn answer(&self, request: &Request) -> Result<Answer, DataFusionError> {
        let frame = self.frame(request).await?;
        let context = Arc::new(frame.task_ctx());
        // The physical plan's schema: the logical one can have other types, and an empty answer has no batch to look at.
        let plan = frame.create_physical_plan().await?;
        let schema = plan.schema();
        Ok(Answer { schema, batches: collect(plan, context).await? })
    }
}

impl Engine for Oracle {
    fn name(&self) -> &str {
        &self.name
    }

    fn run<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Answer, Refusal>> {
        async move {
            match timeout(STATEMENT_LIMIT, self.answer(request)).await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(error)) => Err(Refusal::local(error.strip_backtrace())),
                Err(_) => Err(Refusal::local(format!("{} took longer than {STATEMENT_LIMIT:?}", self.name))),
            }
        }
        .boxed()
    }
}
