//! What the sessions of all statements are made of, laid ready so that one more costs little.
//!
//! A builder of an existing session clones each map of functions and enters each function again under each of its names, for each of its
//! names: for a statement as small as `SELECT 1` that was a large part of all its work.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::sync::{Arc, OnceLock};

use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, WindowUDF};
use frazil_common::Failure;

use crate::session;
use crate::session_functions::StatementContext;
use crate::storage::ObjectStores;

/// A session with our rules, and no catalogs: others begin as it is.
pub struct BaseSession {
    whole: Arc<SessionState>,
    /// Without functions.
    bare: SessionState,
    scalar: Vec<Arc<ScalarUDF>>,
    higher_order: Vec<Arc<HigherOrderUDF>>,
    aggregate: Vec<Arc<AggregateUDF>>,
    window: Vec<Arc<WindowUDF>>,
}

impl BaseSession {
    pub fn new(env: Arc<RuntimeEnv>) -> Self {
        let whole = session::base_state(env);
        let bare = SessionStateBuilder::new_from_existing(whole.clone())
            .with_scalar_functions(Vec::new())
            .with_higher_order_functions(Vec::new())
            .with_aggregate_functions(Vec::new())
            .with_window_functions(Vec::new())
            .build();
        Self {
            scalar: distinct(whole.scalar_functions()),
            higher_order: distinct(whole.higher_order_functions()),
            aggregate: distinct(whole.aggregate_functions()),
            window: distinct(whole.window_functions()),
            whole: Arc::new(whole),
            bare,
        }
    }

    pub fn state(&self) -> &Arc<SessionState> {
        &self.whole
    }

    pub fn runtime_env(&self) -> &Arc<RuntimeEnv> {
        self.whole.runtime_env()
    }

    /// Of a session like it.
    pub fn builder(&self) -> SessionStateBuilder {
        SessionStateBuilder::new_from_existing(self.bare.clone())
            .with_scalar_functions(self.scalar.clone())
            .with_higher_order_functions(self.higher_order.clone())
            .with_aggregate_functions(self.aggregate.clone())
            .with_window_functions(self.window.clone())
    }
}

/// Each function once, whatever names it has.
fn distinct<T: ?Sized>(by_name: &HashMap<String, Arc<T>, RandomState>) -> Vec<Arc<T>> {
    let mut functions: Vec<&Arc<T>> = by_name.values().collect();
    functions.sort_unstable_by_key(|function| Arc::as_ptr(function).addr());
    functions.dedup_by(|one, other| Arc::ptr_eq(one, other));
    functions.into_iter().cloned().collect()
}

/// The session in which a statement's views are planned and its external tables opened: made when the first of them is asked for.
pub struct InnerSession {
    base: Arc<BaseSession>,
    stores: Arc<ObjectStores>,
    context: StatementContext,
    made: OnceLock<Result<Arc<SessionState>, Failure>>,
}

impl InnerSession {
    pub fn new(base: Arc<BaseSession>, stores: Arc<ObjectStores>, context: StatementContext) -> Arc<Self> {
        Arc::new(Self { base, stores, context, made: OnceLock::new() })
    }

    pub fn state(&self) -> Result<&Arc<SessionState>, Failure> {
        let make = || session::for_statement(&self.base, self.stores.clone(), &self.context).map(Arc::new);
        self.made.get_or_init(make).as_ref().map_err(Clone::clone)
    }
}

/// For running what was planned: plans hold their functions, so that nothing looks one up by its name.
pub fn running_context(state: &SessionState) -> Arc<TaskContext> {
    Arc::new(TaskContext::new(
        None,
        state.session_id().to_owned(),
        state.config().clone(),
        HashMap::new(),
        HashMap::new(),
        HashMap::new(),
        HashMap::new(),
        state.runtime_env().clone(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_all_functions_under_all_their_names() {
        let base = BaseSession::new(Arc::default());
        let made = base.builder().build();
        let names = |state: &SessionState| {
            let mut names: Vec<String> = state.scalar_functions().keys().cloned().collect();
            names.extend(state.aggregate_functions().keys().cloned());
            names.extend(state.window_functions().keys().cloned());
            names.extend(state.higher_order_functions().keys().cloned());
            names.extend(state.table_functions().keys().cloned());
            names.sort();
            names
        };
        assert_eq!(names(&made), names(base.state()));
        assert!(names(&made).len() > 300);
        assert!(made.scalar_functions().contains_key("character_length"), "an alias");
    }
}
