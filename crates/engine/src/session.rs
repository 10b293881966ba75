//! The session every statement starts from, and the settings a user may change for one statement.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::array::timezone::Tz;
use datafusion::catalog::CatalogProviderList;
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::execution::SessionStateDefaults;
use datafusion::execution::cache::cache_manager::{CacheManager, CacheManagerConfig};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::prelude::SessionConfig;
use frazil_common::client_settings::{
    BINARY_OUTPUT_FORMAT, OUTPUT_FORMATS, QUERY_TAG, QUERY_TAG_BYTES_MAX, TIME_ZONE, is_client_setting,
};
use frazil_common::output_format::OutputFormat;
use frazil_common::{ErrorCode, Failure};

use crate::base_session::BaseSession;
use crate::errors::to_failure;
use crate::session_functions::{self, StatementContext};
use crate::sql_types::SqlTypes;
use crate::storage::ObjectStores;
use crate::{generate, lake, rules};

/// Where unqualified names are looked up.
pub const DEFAULT_DATABASE: &str = "frazil";
pub const DEFAULT_SCHEMA: &str = "public";

/// Of settings, those that say how a client is answered, by their full names; later ones count.
pub fn client_settings(settings: Vec<(String, String)>) -> Vec<(String, String)> {
    let settings = settings.into_iter().map(|(key, value)| (full_key(&key), value));
    settings.filter(|(key, _)| is_client_setting(key)).collect()
}

/// Fails with what is wrong with the value of a setting that changes nothing but the answer's form; `None`: it is another.
fn check_client_setting(key: &str, value: &str) -> Option<Result<(), Failure>> {
    let refused = |what: &str| Err(invalid(format!("setting {key:?}: {what}")));
    Some(match key {
        QUERY_TAG if value.len() > QUERY_TAG_BYTES_MAX => {
            refused(&format!("at most {QUERY_TAG_BYTES_MAX} bytes are taken"))
        }
        QUERY_TAG => Ok(()),
        BINARY_OUTPUT_FORMAT => match value.trim().to_ascii_uppercase().as_str() {
            "HEX" | "BASE64" => Ok(()),
            _ => refused("HEX and BASE64 are known"),
        },
        _ if OUTPUT_FORMATS.contains(&key) => match OutputFormat::parse(value) {
            Ok(_) => Ok(()),
            Err(what) => refused(&what),
        },
        _ => return None,
    })
}
/// Of a session: whether each change is committed with its statement.
pub const AUTOCOMMIT: &str = "autocommit";

/// Forces the number of partitions of a statement: for tests and experiments.
pub const PARTITIONS: &str = "partitions";
const PARTITIONS_MAX: usize = 1024;

/// Of the listings that one statement keeps; longer ones are read as often as they are needed.
const LISTING_BYTES_MAX: usize = 64 << 20;

/// What Frazil sets differently from DataFusion, on coordinator and executors alike.
fn base_config() -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(DEFAULT_DATABASE, DEFAULT_SCHEMA)
        .with_create_default_catalog_and_schema(false)
        // Each database has its own.
        .with_information_schema(false);
    let options = config.options_mut();
    // Rows move between partitions by exchanges only; dealing them round-robin would make every task talk to every other.
    options.optimizer.enable_round_robin_repartition = false;
    // Two rules of DataFusion 55.2 that change answers. The first ignores FILTER clauses: `min(a) FILTER (WHERE p)` loses
    // its minimum to what another aggregate of the query has seen. The second looks through an aggregate at another one
    // below: `SELECT DISTINCT m FROM (SELECT k, max(v) AS m … GROUP BY k) ORDER BY m LIMIT 50` limits the inner groups.
    options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    options.optimizer.enable_topk_aggregation = false;
    options.set("datafusion.sql_parser.recursion_limit", "256").expect("a known option");
    options.sql_parser.collect_spans = true;
    config
}

/// A session with our rules, and no catalogs.
pub fn base_state(env: Arc<RuntimeEnv>) -> SessionState {
    let mut functions = SessionStateDefaults::default_table_functions();
    functions.extend(generate::table_functions());
    functions.extend(lake::table_functions());
    SessionStateBuilder::new()
        .with_default_features()
        .with_table_function_list(functions)
        .with_type_planner(Arc::new(SqlTypes))
        .with_config(base_config())
        .with_runtime_env(env)
        .with_physical_optimizer_rules(rules::physical_rules())
        .build()
}

/// The base with the stores of a statement, and with what views can ask of its session.
pub fn for_statement(
    base: &BaseSession,
    stores: Arc<ObjectStores>,
    context: &StatementContext,
) -> Result<SessionState, Failure> {
    let env = statement_env(base.runtime_env(), stores).map_err(|error| to_failure(&error))?;
    let mut state = base.builder().with_runtime_env(env).build();
    session_functions::register(&mut state, context)?;
    Ok(state)
}

/// A statement's own session: the base with its settings.
pub fn statement_state(
    base: &BaseSession,
    catalogs: Arc<dyn CatalogProviderList>,
    partitions: usize,
    database: Option<&str>,
    schema: Option<&str>,
    settings: &[(String, String)],
    stores: Arc<ObjectStores>,
) -> Result<SessionState, Failure> {
    let env = statement_env(base.runtime_env(), stores).map_err(|error| to_failure(&error))?;
    let mut state = base.builder().with_runtime_env(env).with_catalog_list(catalogs).build();
    let options = state.config_mut().options_mut();
    options.execution.target_partitions = partitions;
    // With one partition there is nothing to deal out, and nothing to gain from reading one file in pieces.
    options.optimizer.repartition_file_scans = partitions > 1;
    if let Some(database) = database {
        database.clone_into(&mut options.catalog.default_catalog);
    }
    if let Some(schema) = schema {
        schema.clone_into(&mut options.catalog.default_schema);
    }
    for (key, value) in settings {
        apply_setting(options, key, value)?;
    }
    state.mark_start_execution();
    Ok(state)
}

/// The shared runtime with a cache of file listings for one statement: however often it names a table, and whatever is
/// written meanwhile, it sees one set of files, and directories are listed once.
pub fn statement_env(shared: &Arc<RuntimeEnv>, stores: Arc<ObjectStores>) -> Result<Arc<RuntimeEnv>> {
    let caches = &shared.cache_manager;
    let footers = caches.get_file_metadata_cache();
    let config = CacheManagerConfig::default()
        .with_metadata_cache_limit(footers.cache_limit())
        .with_file_metadata_cache(Some(footers))
        .with_file_statistics_cache(caches.get_file_statistic_cache())
        .with_list_files_cache_limit(LISTING_BYTES_MAX);
    let cache_manager = CacheManager::try_new(&config)?;
    Ok(Arc::new(RuntimeEnv { cache_manager, object_store_registry: stores, ..shared.as_ref().clone() }))
}

/// Settings by which a user could harm the server or break what a distributed plan relies on are not in this list.
pub fn apply_setting(options: &mut ConfigOptions, key: &str, value: &str) -> Result<(), Failure> {
    let key = full_key(key);
    if let Some(checked) = check_client_setting(&key, value) {
        return checked;
    }
    if forced_partitions_of(&key, value)?.is_some() {
        return Ok(());
    }
    if key == AUTOCOMMIT {
        return match is_on(value) {
            Some(_) => Ok(()),
            None => Err(invalid(format!("setting {AUTOCOMMIT:?} must be true or false"))),
        };
    }
    let allowed = match key.as_str() {
        "datafusion.execution.parquet.pushdown_filters" => true,
        TIME_ZONE => {
            // An unknown zone would fail somewhere in a scan, or be taken for UTC.
            if value.trim().parse::<Tz>().is_err() {
                return Err(invalid(format!("setting {key:?}: time zone {value:?} is not known")));
            }
            true
        }
        "datafusion.execution.batch_size" => {
            let size = value.trim().parse::<usize>().ok().filter(|size| (64..=65_536).contains(size));
            if size.is_none() {
                return Err(invalid(format!("setting {key:?} must be between 64 and 65536")));
            }
            true
        }
        "datafusion.optimizer.enable_round_robin_repartition"
        | "datafusion.optimizer.preserve_file_partitions"
        | "datafusion.optimizer.prefer_existing_sort"
        | "datafusion.optimizer.enable_aggregate_dynamic_filter_pushdown"
        | "datafusion.optimizer.enable_topk_aggregation"
        | "datafusion.optimizer.max_passes" => false,
        _ => key.starts_with("datafusion.optimizer.") || key.starts_with("datafusion.explain."),
    };
    if !allowed {
        let known = ConfigOptions::new().entries().iter().any(|entry| entry.key == key) || key.contains("runtime");
        return Err(if known {
            Failure::new(ErrorCode::AccessDenied, format!("setting {key:?} may not be changed by a statement"))
        } else {
            invalid(format!("setting {key:?} is not known"))
        });
    }
    options.set(&key, value.trim()).map_err(|error| {
        let failure = to_failure(&error);
        invalid(format!("setting {key:?}: {}", failure.message))
    })
}

/// The truth value of a setting.
pub fn is_on(value: &str) -> Option<bool> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "on" | "1" => Some(true),
        "false" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// A setting's one name.
pub fn full_key(key: &str) -> String {
    let key = key.trim().to_ascii_lowercase();
    match key.as_str() {
        "timezone" | "time_zone" | "time.zone" => TIME_ZONE.to_owned(),
        _ => key,
    }
}

/// Refuses a setting that no statement may change, or that there is none.
pub fn check_known(key: &str) -> Result<(), Failure> {
    if key == PARTITIONS || key == AUTOCOMMIT || is_client_setting(key) {
        return Ok(());
    }
    let mut options = ConfigOptions::new();
    let default = options.entries().into_iter().find(|entry| entry.key == key).and_then(|entry| entry.value);
    apply_setting(&mut options, key, default.as_deref().unwrap_or("UTC"))
}

/// The number of partitions that the settings ask for, if they do.
pub fn forced_partitions(settings: &[(String, String)]) -> Result<Option<usize>, Failure> {
    let mut forced = None;
    for (key, value) in settings {
        forced = forced_partitions_of(&key.trim().to_ascii_lowercase(), value)?.or(forced);
    }
    Ok(forced)
}

fn forced_partitions_of(key: &str, value: &str) -> Result<Option<usize>, Failure> {
    if key != PARTITIONS {
        return Ok(None);
    }
    match value.trim().parse::<usize>() {
        Ok(partitions) if (1..=PARTITIONS_MAX).contains(&partitions) => Ok(Some(partitions)),
        _ => Err(invalid(format!("setting {PARTITIONS:?} must be between 1 and {PARTITIONS_MAX}"))),
    }
}

fn invalid(message: String) -> Failure {
    Failure::new(ErrorCode::InvalidArgument, message)
}

/// The options in which a session differs from DataFusion's defaults: they do not travel with a plan.
pub fn options_that_travel(options: &ConfigOptions) -> HashMap<String, String> {
    static DEFAULTS: LazyLock<HashMap<String, Option<String>>> =
        LazyLock::new(|| ConfigOptions::new().entries().into_iter().map(|entry| (entry.key, entry.value)).collect());
    let changed = options.entries().into_iter().filter(|entry| {
        entry.key.starts_with("datafusion.execution.") && DEFAULTS.get(&entry.key) != Some(&entry.value)
    });
    changed.filter_map(|entry| Some((entry.key, entry.value?))).collect()
}

/// The context in which an executor runs a query's tasks.
pub fn task_context(
    base: &SessionState,
    stores: Arc<ObjectStores>,
    name: &str,
    options: impl IntoIterator<Item = (String, String)>,
) -> Result<Arc<TaskContext>, Failure> {
    let mut config = base.config().clone();
    for (key, value) in options {
        config.options_mut().set(&key, &value).map_err(|error| to_failure(&error))?;
    }
    Ok(Arc::new(TaskContext::new(
        Some(name.to_owned()),
        name.to_owned(),
        config,
        base.scalar_functions().clone(),
        base.higher_order_functions().clone(),
        base.aggregate_functions().clone(),
        base.window_functions().clone(),
        Arc::new(RuntimeEnv { object_store_registry: stores, ..base.runtime_env().as_ref().clone() }),
    )))
}
