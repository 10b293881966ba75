//! What the tests stand on: engines to ask, data to ask about, and a comparison of answers.
//!
//! Start with [`engine`]: every test is written against its trait, and runs on a cluster of processes ([`cluster`]) or on
//! single-process DataFusion ([`oracle`]).

pub mod answers;
pub mod bucket;
pub mod certificates;
pub mod client;
pub mod clients;
pub mod cluster;
pub mod commands;
pub mod data;
pub mod embedded;
pub mod engine;
pub mod login;
pub mod oracle;
pub mod parquet_files;
pub mod paths;
pub mod rest;
pub mod small_disk;
pub mod terminal;
pub mod web;
