//! The commands and their flags, and which function each one calls.

mod flags;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use tokio::runtime::Builder;

use crate::bench::{
    DoorsRequest, LoadRequest, OverheadRequest, ScanRequest, SlowReaderRequest, TpchRequest, single_server,
};
use crate::config::{self, Config, Flags, Sources};
use crate::failure::CommandError;
use crate::load::{FilesRequest, SampleSet, SourceRequest};
use crate::local::LocalRequest;
use crate::sql::SqlRequest;
use crate::user::UserRequest;
use crate::{bench, demo, load, local, roles, sql, telemetry, user};

use flags::{Bench, Command, Load, LoadInto, LoadSet};

/// A small, self-hosted data warehouse: SQL in, Arrow out, Parquet between.
#[derive(Parser, Debug)]
#[command(name = "frazil", version, propagate_version = true, disable_help_subcommand = true)]
pub struct Arguments {
    /// Configuration file; else ./frazil.toml, else frazil/frazil.toml in the user's configuration directory.
    #[arg(long, global = true, value_name = "FILE", env = "FRAZIL_CONFIG")]
    config: Option<PathBuf>,
    /// Directory where everything is kept [cluster.data, default: frazil-data].
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// What is told on stderr: error, warn, info, debug, trace [log.level, default: warn].
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    #[command(subcommand)]
    command: Command,
}

/// Threads for connections, timers and the client's side of things. Queries have threads of their own, in the executors
/// and the coordinator.
const IO_THREADS: usize = 2;

pub fn run(arguments: Arguments) -> Result<(), CommandError> {
    if let Command::SingleServer { threads } = &arguments.command {
        return single_server::run(*threads);
    }
    let mut flags = Flags::default();
    flags.set_path("cluster", "data", arguments.data.as_deref());
    flags.set("log", "level", arguments.log_level.clone());
    arguments.command.options(&mut flags);
    let sources = Sources::of_process(arguments.config, flags);
    let config_file = match &sources.file {
        // Children read the same file, whatever directory they run in.
        Some(path) => Some(std::path::absolute(path).map_err(CommandError::doing(format_args!("finding {path:?}")))?),
        None => None,
    };
    let config = config::load(&sources)?;
    telemetry::start(&config.log)?;
    let runtime = Builder::new_multi_thread().worker_threads(IO_THREADS).thread_name("io").enable_all().build();
    let runtime = runtime.map_err(CommandError::doing("starting threads"))?;
    let outcome = runtime.block_on(dispatch(arguments.command, config, config_file));
    // A thread that still reads from a terminal or a disk does not keep the process.
    runtime.shutdown_background();
    outcome
}

async fn dispatch(command: Command, config: Config, config_file: Option<PathBuf>) -> Result<(), CommandError> {
    match command {
        Command::Coordinator(_) => roles::run_coordinator(config).await,
        Command::Executor(_) => roles::run_executor(config).await,
        Command::Local { executors, slots, .. } => {
            local::run(config, LocalRequest { executors, slots, config_file }).await
        }
        Command::Sql(flags) => {
            let request = SqlRequest {
                command: flags.command,
                file: flags.file,
                keep_going: flags.keep_going,
                ask_password: flags.password,
                time_limit: flags.timeout.map(Duration::from_secs),
                executors: flags.executors,
            };
            sql::run(config, request).await
        }
        Command::User(command) => {
            let request = match command {
                flags::UserCommand::Add { name, admin } => UserRequest::Add { name, admin },
                flags::UserCommand::Password { name } => UserRequest::Password { name },
            };
            user::run(config, request).await
        }
        Command::Load(flags) => load(&config, flags).await,
        Command::Demo => demo::run(config, config_file).await,
        Command::Bench(Bench::Tpch(flags)) => {
            let request = TpchRequest {
                scale: flags.scale,
                executors: flags.executors,
                slots: flags.slots,
                runs: flags.runs,
                queries: flags.queries,
                compare: flags.compare == flags::Compare::Single,
                single_partitions: flags.single_partitions,
                single_threads: flags.single_threads,
                speedup: flags.speedup,
                json: flags.json,
                config_file,
            };
            bench::run_tpch(config, request).await
        }
        Command::Bench(Bench::Overhead { executors, slots, statements, json }) => {
            bench::run_overhead(config, OverheadRequest { executors, slots, statements, json, config_file }).await
        }
        Command::Bench(Bench::Doors { executors, slots, connections, seconds, rows, sessions, json }) => {
            let (seconds, rows) = (seconds as u64, rows as u64);
            let request = DoorsRequest { executors, slots, connections, seconds, rows, sessions, json, config_file };
            bench::run_doors(config, request).await
        }
        Command::Bench(Bench::Scan { files, databases, json }) => {
            bench::run_scan(config, ScanRequest { files, databases, json, config_file }).await
        }
        Command::Bench(Bench::Load { scale, executors, slots, runs, inserts, json }) => {
            let request = LoadRequest { scale, executors, slots, runs, inserts, json, config_file };
            bench::run_load(config, request).await
        }
        Command::Bench(Bench::SlowReader { executors, slots, slow, json }) => {
            let slow = Duration::from_secs(slow);
            bench::run_slow_reader(config, SlowReaderRequest { executors, slots, slow, json, config_file }).await
        }
        Command::Config => {
            print!("{}", config::shown(&config));
            Ok(())
        }
        Command::SingleServer { .. } => unreachable!("it has its own threads and was run before these were started"),
    }
}

async fn load(config: &Config, flags: Load) -> Result<(), CommandError> {
    let Load { set, source, table, format, replace, append, .. } = flags;
    let (set, into, memory, files) = match (set, source) {
        (Some(LoadSet::Tpch { scale, into, memory }), _) => (SampleSet::Tpch { scale }, into, memory, None),
        (Some(LoadSet::Tpcds { scale, into }), _) => (SampleSet::Tpcds { scale }, into, None, None),
        (Some(LoadSet::Events { scale, rows, seed, into, files }), _) => {
            let set = match rows {
                Some(rows) => SampleSet::Events { rows, seed },
                None => SampleSet::events(scale.unwrap_or_default(), seed),
            };
            (set, into, None, files)
        }
        (None, Some(source)) => {
            return load::run_source(config, SourceRequest { source, table, format, replace, append }).await;
        }
        (None, None) => return Err(CommandError::Usage("name a sample set, or what to load".to_owned())),
    };
    let LoadInto { to, parallelism, replace, .. } = into;
    match to {
        Some(to) => load::run_files(FilesRequest { set, to, parallelism, memory, files }).await,
        None => load::run_tables(config, set, replace).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_do_not_contradict_each_other() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn flags_become_options() {
        let written = "frazil executor --coordinator http://c:1 --slots 3 --memory 2GB --data d --id e";
        let arguments = Arguments::try_parse_from(written.split(' ')).unwrap();
        let mut flags = Flags::default();
        flags.set_path("cluster", "data", arguments.data.as_deref());
        arguments.command.options(&mut flags);
        let sources = Sources { file: None, usual_files: Vec::new(), environment: Vec::new(), flags };
        let config = config::load(&sources).unwrap();
        assert_eq!(config.executor.coordinator, "http://c:1");
        assert_eq!(config.executor.slots, 3);
        assert_eq!(config.executor.memory, frazil_common::ByteSize::gib(2));
        assert_eq!(config.executor.id.as_deref(), Some("e"));
        assert_eq!(config.cluster.data, PathBuf::from("d"));
    }

    #[test]
    fn wrong_use_is_refused() {
        for written in [
            "frazil executor --slots many",
            "frazil local --executors 0",
            "frazil sql -c x -f y",
            "frazil sql --format xml",
            "frazil bench tpch --runs 0",
            "frazil bench tpch --executors 1,zero",
            "frazil load",
            "frazil load events",
            "frazil load events --rows 1 --scale 1",
            "frazil load tpch --scale 1 --to d --replace",
            "frazil load tpch --scale 1 --memory 1GB",
            "frazil load d --replace --append",
            "frazil nonsense",
        ] {
            assert!(Arguments::try_parse_from(written.split(' ')).is_err(), "{written}");
        }
        let written = "frazil bench tpch --scale 1 --executors 1,2 --slots 1 --compare single --runs 3";
        assert!(Arguments::try_parse_from(written.split(' ')).is_ok());
    }
}
