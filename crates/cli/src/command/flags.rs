//! The flags of each command. Those that stand for an option of the configuration are handed to it, and are read from
//! there; the others say what this one call is to do.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand, ValueEnum};
use frazil_common::ByteSize;
use toml::Value;

use crate::config::Flags;
use crate::load::SourceFormat;
use crate::sql::{Color, Format};

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run the coordinator: takes statements over REST, plans them and hands them to executors.
    Coordinator(Coordinator),
    /// Run an executor: registers with a coordinator and runs its tasks.
    Executor(Executor),
    /// Run a coordinator and executors as processes of this machine, with a SQL shell on them.
    Local {
        /// Executors to start.
        #[arg(long, default_value_t = 2, value_name = "N", value_parser = number(1, 64))]
        executors: usize,
        /// Slots (threads that run queries) of each executor.
        #[arg(long, default_value_t = 1, value_name = "N", value_parser = number(1, 1024))]
        slots: usize,
        /// Address of the REST API [coordinator.http_listen].
        #[arg(long, value_name = "ADDRESS")]
        http_listen: Option<String>,
    },
    /// Run statements: from a flag, a file, a pipe or a shell.
    Sql(Sql),
    /// Make users in the catalog, while no coordinator has it: the first administrator, or a new password for one.
    #[command(subcommand)]
    User(UserCommand),
    /// Load sample data, or files, into tables; or write sample data as Parquet.
    Load(Load),
    /// Run 22 queries on a cluster of this machine, next to single-process DataFusion.
    Demo,
    /// Measure.
    #[command(subcommand)]
    Bench(Bench),
    /// Print the configuration as it results from all its sources.
    Config,
    /// DataFusion in a process of its own, for `bench` and `demo`.
    #[command(hide = true)]
    SingleServer {
        #[arg(long, value_parser = number(1, 1024))]
        threads: usize,
    },
}

#[derive(Subcommand, Debug)]
pub enum UserCommand {
    /// Make a user, whose password is asked for or in FRAZIL_CLIENT_PASSWORD. The first one administers.
    Add {
        name: String,
        /// Give it the role admin.
        #[arg(long)]
        admin: bool,
    },
    /// Give a user another password, and let it in again if it was disabled.
    Password { name: String },
}

#[derive(Args, Debug)]
pub struct Coordinator {
    /// Address of the REST API [coordinator.http_listen].
    #[arg(long, value_name = "ADDRESS")]
    http_listen: Option<String>,
    /// Address where executors register [coordinator.rpc_listen].
    #[arg(long, value_name = "ADDRESS")]
    rpc_listen: Option<String>,
    /// Address where executors send result rows [coordinator.data_listen].
    #[arg(long, value_name = "ADDRESS")]
    data_listen: Option<String>,
    /// Directory or PostgreSQL URL of the catalog [coordinator.catalog, default: catalog in the data directory].
    #[arg(long, value_name = "DIR|URL")]
    catalog: Option<String>,
    /// Directory or URL of new databases' files [coordinator.warehouse, default: warehouse in the data directory].
    #[arg(long, value_name = "DIR|URL")]
    warehouse: Option<String>,
}

#[derive(Args, Debug)]
pub struct Executor {
    /// The coordinator's control plane: http://host:port [executor.coordinator].
    #[arg(long, value_name = "URL")]
    coordinator: Option<String>,
    /// Name to register under [executor.id].
    #[arg(long, value_name = "NAME")]
    id: Option<String>,
    /// Threads that run queries; 0 is one for each processor [executor.slots].
    #[arg(long, value_name = "N")]
    slots: Option<u32>,
    /// Memory of all queries together, like 4GB [executor.memory].
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// Address of the control plane [executor.rpc_listen].
    #[arg(long, value_name = "ADDRESS")]
    rpc_listen: Option<String>,
    /// Address for exchange data [executor.data_listen].
    #[arg(long, value_name = "ADDRESS")]
    data_listen: Option<String>,
}

#[derive(Args, Debug)]
pub struct Sql {
    /// Statements to run.
    #[arg(short, long, value_name = "SQL", conflicts_with = "file")]
    pub command: Option<String>,
    /// File of statements to run.
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The coordinator's REST address; without one, a cluster runs inside this process [client.url].
    #[arg(long)]
    url: Option<String>,
    /// A server of the configuration's [profiles] [client.profile].
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Who logs in; the password is in FRAZIL_CLIENT_PASSWORD, or asked for [client.user].
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Ask for the password, also where one is configured.
    #[arg(long, conflicts_with_all = ["token", "token_file"])]
    pub password: bool,
    /// A token to log in with; others may see the flags of a process: better --token-file [client.token].
    #[arg(long, value_name = "TOKEN", conflicts_with_all = ["user", "token_file"])]
    token: Option<String>,
    /// File whose first line is a token to log in with [client.token_file].
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    token_file: Option<PathBuf>,
    /// PEM file of an authority that the coordinator's certificate is of [client.ca].
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
    /// How rows are printed [client.format].
    #[arg(long)]
    format: Option<Format>,
    /// auto (a terminal, and NO_COLOR is not set), always, never [client.color].
    #[arg(long, value_name = "WHEN")]
    color: Option<Color>,
    /// Go on behind statements that fail; the exit code is 1 all the same.
    #[arg(long)]
    pub keep_going: bool,
    /// Where unqualified table names are looked up [client.database].
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// Likewise [client.schema].
    #[arg(long, value_name = "NAME")]
    schema: Option<String>,
    /// Seconds that each statement may take.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub timeout: Option<u64>,
    /// Executors inside this process, where there is no address.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = number(1, 64))]
    pub executors: usize,
    /// Slots of each executor inside this process; 0 shares the processors [executor.slots].
    #[arg(long, value_name = "N")]
    slots: Option<u32>,
}

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub struct Load {
    #[command(subcommand)]
    pub set: Option<LoadSet>,
    /// Directory, file or URL of Parquet, CSV or JSON to load into one table.
    pub source: Option<String>,
    /// The table; else called as the source.
    #[arg(long, value_name = "NAME")]
    pub table: Option<String>,
    /// Of the files; else as their names end.
    #[arg(long)]
    pub format: Option<SourceFormat>,
    /// Replace a table that is there.
    #[arg(long, conflicts_with = "append")]
    pub replace: bool,
    /// Add to a table that is there.
    #[arg(long)]
    pub append: bool,
    /// The coordinator's REST address; else the tables are those of the data directory [client.url].
    #[arg(long)]
    url: Option<String>,
}

#[derive(Subcommand, Debug)]
pub enum LoadSet {
    /// The eight tables of TPC-H, into sample.tpch_sf….
    Tpch {
        /// 1 is about 1 GB of text; from 0.001.
        #[arg(long)]
        scale: f64,
        #[command(flatten)]
        into: LoadInto,
        /// With --to: bound on the memory it takes [default: 2GB].
        #[arg(long, value_name = "SIZE", requires = "to")]
        memory: Option<ByteSize>,
    },
    /// The 24 tables of TPC-DS, into sample.tpcds_sf….
    Tpcds {
        /// 1 is about 1 GB of text; from 0.01.
        #[arg(long)]
        scale: f64,
        #[command(flatten)]
        into: LoadInto,
    },
    /// A wide table of synthetic clicks, into sample.events_sf….events.
    Events {
        /// 1 is a million rows.
        #[arg(long, required_unless_present = "rows", conflicts_with = "rows")]
        scale: Option<f64>,
        /// In place of the scale.
        #[arg(long, value_name = "N")]
        rows: Option<u64>,
        /// Other rows for another seed.
        #[arg(long, default_value_t = 42)]
        seed: u64,
        #[command(flatten)]
        into: LoadInto,
        /// With --to: Parquet files of about equal rows; else one for each million.
        #[arg(long, value_name = "N", requires = "to")]
        files: Option<usize>,
    },
}

/// Where sample data go.
#[derive(Args, Debug)]
pub struct LoadInto {
    /// Plain Parquet files in this directory, s3://bucket/prefix, gs://… or az://…, in place of tables.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["replace", "url"])]
    pub to: Option<String>,
    /// With --to: files written at the same time; else one for each processor.
    #[arg(long, value_name = "N", requires = "to")]
    pub parallelism: Option<usize>,
    /// Load tables again that are there.
    #[arg(long)]
    pub replace: bool,
    /// The coordinator's REST address; else the tables are those of the data directory [client.url].
    #[arg(long)]
    url: Option<String>,
}

#[derive(Subcommand, Debug)]
pub enum Bench {
    /// The 22 queries, on single-process DataFusion and on clusters, in turn.
    Tpch(BenchTpch),
    /// Writing: CREATE TABLE AS SELECT next to single-process DataFusion's COPY TO, and INSERTs of one row.
    Load {
        /// Of the lineitem that is written.
        #[arg(long, default_value_t = 1.0)]
        scale: f64,
        #[arg(long, default_value_t = 2, value_name = "N", value_parser = number(1, 64))]
        executors: usize,
        #[arg(long, default_value_t = 1, value_name = "N", value_parser = number(1, 1024))]
        slots: usize,
        /// Turns of each; the medians count.
        #[arg(long, default_value_t = 5, value_name = "N", value_parser = number(1, 1000))]
        runs: usize,
        /// INSERTs of one row; 0 leaves them out.
        #[arg(long, default_value_t = 200, value_name = "N", value_parser = number(0, 1_000_000))]
        inserts: usize,
        #[arg(long)]
        json: bool,
    },
    /// Each front door: SELECT 1, statements a second, rows of a large result.
    Doors {
        #[arg(long, default_value_t = 1, value_name = "N", value_parser = number(1, 64))]
        executors: usize,
        #[arg(long, default_value_t = 2, value_name = "N", value_parser = number(1, 1024))]
        slots: usize,
        /// That send SELECT 1 at the same time.
        #[arg(long, default_value_t = 8, value_name = "N", value_parser = number(1, 1024))]
        connections: usize,
        /// How long they do.
        #[arg(long, default_value_t = 5, value_name = "S", value_parser = number(1, 3600))]
        seconds: usize,
        /// Of the large result, with ten columns.
        #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = number(1, 1_000_000_000))]
        rows: usize,
        /// Sessions that are opened at the beginning, to see what they cost; 0 leaves them out.
        #[arg(long, default_value_t = 1000, value_name = "N", value_parser = number(0, 10_000))]
        sessions: usize,
        /// Print one JSON object for each door.
        #[arg(long)]
        json: bool,
    },
    /// What a statement costs beside its work.
    Overhead {
        #[arg(long, default_value_t = 2, value_name = "N", value_parser = number(1, 64))]
        executors: usize,
        #[arg(long, default_value_t = 1, value_name = "N", value_parser = number(1, 1024))]
        slots: usize,
        /// Statements to measure, after some to warm up.
        #[arg(long, default_value_t = 500, value_name = "N", value_parser = number(1, 1_000_000))]
        statements: usize,
        #[arg(long)]
        json: bool,
    },
    /// Planning over a table of very many files, and answers from the catalog alone. Ends with 1 where a target is missed.
    Scan {
        /// Files of the table; only the catalog knows of them.
        #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = number(1000, 2_000_000))]
        files: usize,
        /// Databases beside the one that has the table.
        #[arg(long, default_value_t = 100, value_name = "N", value_parser = number(0, 1000))]
        databases: usize,
        #[arg(long)]
        json: bool,
    },
    /// The coordinator's memory while a large result goes to a reader that does not hurry.
    SlowReader {
        #[arg(long, default_value_t = 2, value_name = "N", value_parser = number(1, 64))]
        executors: usize,
        #[arg(long, default_value_t = 1, value_name = "N", value_parser = number(1, 1024))]
        slots: usize,
        /// Seconds to read slowly, before the rest is read at once.
        #[arg(long, default_value_t = 20, value_name = "S")]
        slow: u64,
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Compare {
    /// Single-process DataFusion: times, and whether answers are the same.
    Single,
    /// Nothing: answers are not checked.
    None,
}

#[derive(Args, Debug)]
pub struct BenchTpch {
    /// The tables are generated when they are missing.
    #[arg(long, default_value_t = 1.0)]
    pub scale: f64,
    /// Executors of each cluster, as a list.
    #[arg(long, default_value = "2", value_name = "N,…", value_delimiter = ',', value_parser = number(1, 64))]
    pub executors: Vec<usize>,
    /// Of each executor.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = number(1, 1024))]
    pub slots: usize,
    /// What the clusters are compared with.
    #[arg(long, default_value = "single")]
    pub compare: Compare,
    /// Times that each query runs; the least counts. The first one also reads footers.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = number(1, 1000))]
    pub runs: usize,
    /// Numbers of the queries, as a list; else all.
    #[arg(long, value_name = "N,…", value_delimiter = ',')]
    pub queries: Vec<usize>,
    /// Partitions that single-process DataFusion is tried with; the best total counts.
    #[arg(long, default_value = "2,4,8", value_name = "N,…", value_delimiter = ',', value_parser = number(1, 1024))]
    pub single_partitions: Vec<usize>,
    /// Threads of single-process DataFusion.
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = number(1, 1024))]
    pub single_threads: usize,
    /// Compare what a second executor brings with what a second thread brings.
    #[arg(long)]
    pub speedup: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

fn number(least: u64, most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(least..=most)
}

impl Command {
    /// Puts the flags that stand for options where those are merged.
    pub fn options(&self, flags: &mut Flags) {
        match self {
            Self::Coordinator(Coordinator { http_listen, rpc_listen, data_listen, catalog, warehouse }) => {
                flags.set("coordinator", "http_listen", http_listen.clone());
                flags.set("coordinator", "rpc_listen", rpc_listen.clone());
                flags.set("coordinator", "data_listen", data_listen.clone());
                flags.set("coordinator", "catalog", catalog.clone());
                flags.set("coordinator", "warehouse", warehouse.clone());
            }
            Self::Executor(Executor { coordinator, id, slots, memory, rpc_listen, data_listen }) => {
                flags.set("executor", "coordinator", coordinator.clone());
                flags.set("executor", "id", id.clone());
                flags.set("executor", "slots", *slots);
                flags.set("executor", "memory", memory.map(|size| format!("{}B", size.0)));
                flags.set("executor", "rpc_listen", rpc_listen.clone());
                flags.set("executor", "data_listen", data_listen.clone());
            }
            Self::Local { http_listen, .. } => {
                flags.set("coordinator", "http_listen", http_listen.clone());
            }
            Self::Sql(sql) => {
                let Sql { url, profile, user, token, token_file, ca, format, color, database, schema, slots, .. } = sql;
                flags.set("client", "profile", profile.clone());
                flags.set("client", "url", url.clone());
                flags.set("client", "user", user.clone());
                flags.set("client", "token", token.clone());
                flags.set_path("client", "token_file", token_file.as_deref());
                flags.set("client", "database", database.clone());
                flags.set("client", "schema", schema.clone());
                let color = color.and_then(|color| Some(color.to_possible_value()?.get_name().to_owned()));
                flags.set("client", "color", color);
                flags.set("client", "ca", ca.clone());
                flags.set("client", "format", format.map(|format| Value::String(format.to_string())));
                flags.set("executor", "slots", *slots);
            }
            Self::Load(load) => {
                let of_set = load.set.as_ref().and_then(|set| match set {
                    LoadSet::Tpch { into, .. } | LoadSet::Tpcds { into, .. } | LoadSet::Events { into, .. } => {
                        into.url.clone()
                    }
                });
                flags.set("client", "url", of_set.or_else(|| load.url.clone()));
            }
            Self::Demo | Self::User(_) | Self::Bench(_) | Self::Config | Self::SingleServer { .. } => {}
        }
    }
}
