//! Tests through the front door: SQL in, rows out, on a cluster of processes, compared with single-process DataFusion on
//! the same data.
//!
//! Modules whose names end in `_in_process` need no cluster: they check the tests' own queries and runners.
//!
//! | variable | meaning |
//! |---|---|
//! | `FRAZIL_BIN` | the `frazil` to test, instead of this build's |
//! | `FRAZIL_TEST_POSTGRES_CLUSTER` | URL of a PostgreSQL database for catalogs; without it, what needs one says SKIPPED |
//! | `FRAZIL_TEST_CLIENTS` | where `tests/clients/install` has put clients; without it, the first test that needs one calls it |
//! | `FRAZIL_TEST_CLIENTS_INSTALL` | `0`: no client is installed, and what drives them says SKIPPED |
//! | `FRAZIL_SEED` | seed of the random queries, and of the kills |
//! | `FRAZIL_TEST_KILLS` | how many kills `kills::two_hundred_kills` makes, instead of 200 |

mod support;

mod bad_input;
mod bucket_vacuum;
mod buckets;
mod changed_files;
mod clients_with_users;
mod command_line;
mod cuts;
mod defaults;
mod explain;
mod faults;
mod flight_sql;
mod front_door;
mod full_disks;
mod history;
mod interop;
mod kills;
mod lake;
mod load;
mod membership;
mod merges;
mod names;
mod nested_writes;
mod openapi;
mod optimize;
mod postgres;
mod progress;
mod pruning;
mod queries;
mod random_queries;
mod random_writes;
mod refusals;
mod registry;
mod secrets;
mod shell;
mod sketches;
mod snowflake;
mod sql_api;
mod sqllogic;
mod stage_graphs;
mod stages;
mod suites;
mod time_travel;
mod tls;
mod tls_doors;
mod transactions;
mod users;
mod vacuum;
mod warehouses;
mod writers;
