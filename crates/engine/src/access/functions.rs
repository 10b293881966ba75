//! `current_user()` and `current_role()`: constants of a statement, put in while it is planned.

use std::any::Any;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};
use frazil_common::Principal;

/// Whom the statement is run for. Set by the planner, never by users.
#[derive(Clone, Debug, Default)]
pub struct Acting(pub Option<Principal>);

impl ExtensionOptions for Acting {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, _: &str) -> Result<()> {
        Err(DataFusionError::Configuration(format!("there is no setting {key}")))
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        Vec::new()
    }
}

impl ConfigExtension for Acting {
    const PREFIX: &'static str = "frazil_acting";
}

pub fn functions() -> Vec<Arc<ScalarUDF>> {
    let function = |name, of| {
        let signature = Signature::nullary(Volatility::Stable);
        Arc::new(ScalarUDF::new_from_impl(OfPrincipal { name, of, signature }))
    };
    vec![function("current_user", Of::User), function("current_role", Of::Role)]
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Of {
    User,
    Role,
}

#[derive(PartialEq, Eq, Hash, Debug)]
struct OfPrincipal {
    name: &'static str,
    of: Of,
    signature: Signature,
}

impl OfPrincipal {
    fn value(&self, options: &ConfigOptions) -> Result<String> {
        let principal = options.extensions.get::<Acting>().and_then(|acting| acting.0.as_ref());
        let value = principal.map(|principal| match self.of {
            Of::User => principal.user().to_owned(),
            Of::Role => principal.role().to_owned(),
        });
        value.ok_or_else(|| DataFusionError::Internal(format!("{}() outside of a statement", self.name)))
    }
}

impl ScalarUDFImpl for OfPrincipal {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn simplify(&self, _: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        Ok(ExprSimplifyResult::Simplified(lit(self.value(info.config_options())?)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(ScalarValue::from(self.value(&args.config_options)?)))
    }
}
