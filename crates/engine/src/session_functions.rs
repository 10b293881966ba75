//! Functions of what a statement runs in: `current_database()`, `current_user()`, `last_query_id()` and their like.
//!
//! Each is a constant of the statement, and is one in its plan: no executor knows them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use frazil_common::{Failure, NameCase};

use crate::errors::to_failure;

/// What the functions tell of a statement.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StatementContext {
    pub user: String,
    pub role: String,
    /// What `current_warehouse()` tells; there are no warehouses to choose from.
    pub warehouse: Option<String>,
    /// Of the session, a number that is no secret.
    pub session: Option<String>,
    /// The statement before, in the session.
    pub last_statement: Option<String>,
    pub name_case: NameCase,
}

/// Adds the functions to a statement's session.
pub fn register(state: &mut SessionState, context: &StatementContext) -> Result<(), Failure> {
    let catalog = &state.config_options().catalog;
    let shown = |name: &str| Some(context.name_case.shown(name).into_owned());
    let values = [
        ("current_database", shown(&catalog.default_catalog)),
        ("current_schema", shown(&catalog.default_schema)),
        ("current_user", shown(&context.user)),
        ("current_role", shown(&context.role)),
        ("current_warehouse", context.warehouse.clone()),
        ("current_session", context.session.clone()),
        ("current_account", Some("FRAZIL".to_owned())),
        ("current_region", Some("LOCAL".to_owned())),
        ("current_version", Some(env!("CARGO_PKG_VERSION").to_owned())),
        ("last_query_id", context.last_statement.clone()),
    ];
    for (name, value) in values {
        let function = ScalarUDF::from(Constant { name, value, signature: Signature::nullary(Volatility::Stable) });
        state.register_udf(Arc::new(function)).map_err(|error| to_failure(&error))?;
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Constant {
    name: &'static str,
    value: Option<String>,
    signature: Signature,
}

impl ScalarUDFImpl for Constant {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(self.value.clone())))
    }

    /// What it is replaced by when it is planned must be null as often.
    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(self.name, DataType::Utf8, self.value.is_none())))
    }
}
