//! What a statement would be: planned as far as that takes, and left at that.

use std::sync::Arc;

use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement as ParsedStatement;
use frazil_common::Failure;

use super::{KeptPlan, PlanRequest, Planner, parse_one};
use crate::access;
use crate::bindings;
use crate::describe::Description;
use crate::errors::to_failure;
use crate::lake::{self, Lakes};
use crate::secrets::Secrets;

impl Planner {
    /// What a statement would be. Nothing is changed, and its placeholders may have no values yet.
    /// The plan of a query comes with it, if it can be kept until the statement is run.
    pub async fn describe(self: &Arc<Self>, request: PlanRequest) -> Result<(Description, Option<KeptPlan>), Failure> {
        self.on_deep_thread(request, async |planner, request| planner.describe_here(request).await).await
    }

    async fn describe_here(&self, mut request: PlanRequest) -> Result<(Description, Option<KeptPlan>), Failure> {
        request.describe_only = true;
        if let Some(world) = self.world_of(&request).await? {
            let planned = self.plan_in(&request, &world).await?;
            return Ok((Description::of(&planned), KeptPlan::of(planned, request, world)));
        }
        if request.lakes.is_none() {
            request.lakes = Some(self.snapshot().await?);
        }
        let described = Description::of(&self.plan_here(&request).await?);
        if request.bindings.is_some() || !request.sql.contains(['?', '$', ':']) {
            return Ok((described, None));
        }
        self.with_placeholders(described, &request).await.map(|described| (described, None))
    }

    async fn with_placeholders(&self, described: Description, request: &PlanRequest) -> Result<Description, Failure> {
        let secrets = self.databases.secrets().await.map_err(Failure::from)?;
        let stores = Arc::new(self.stores.with_secrets(Secrets::new(secrets)));
        let access = self.databases.access().await.map_err(Failure::from)?;
        let rights = access::rights_of(&access, &request.principal)?;
        let lakes = request.lakes.as_ref().expect("it was set above").seen_by(access, rights);
        let (state, _) = self.statement_state(request, &lakes, &stores)?;
        // What only we can read, has no placeholders.
        let Ok(mut statement) = parse_one(&state, &request.sql) else { return Ok(described) };
        match bindings::number_all(&mut statement)? {
            0 => Ok(described),
            count => {
                let takes_rows = bindings::takes_rows(&statement);
                let plan = plan_with_placeholders(statement, &lakes, &state).await;
                if let Err(failure) = &plan {
                    tracing::debug!(%failure, "types of placeholders are not known");
                }
                Ok(Description { takes_rows, ..described.with_parameters(count, plan.as_ref().ok()) })
            }
        }
    }
}

/// The logical plan of a query or a write whose placeholders, which are numbered, have no values.
async fn plan_with_placeholders(
    mut statement: ParsedStatement,
    lakes: &Arc<Lakes>,
    state: &SessionState,
) -> Result<LogicalPlan, Failure> {
    lake::look_back(&mut statement, lakes, state).await?;
    lake::take_cluster_by(&mut statement);
    lake::put_defaults(&mut statement, lakes, state)?;
    lake::take_out_values(&mut statement, state).await?;
    let (statement, _) = lake::as_merge(statement)?;
    state.statement_to_plan(statement).await.map_err(|error| to_failure(&error))
}
