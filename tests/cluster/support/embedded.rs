//! The cluster inside the test's own process: the same coordinator, executors and router, without ports.

use frazil_cli::client::{Client, StatementContext};
use frazil_cli::config::Config;
use frazil_cli::embedded;
use futures::FutureExt;
use futures::future::BoxFuture;
use tempfile::TempDir;

use super::engine::{Answer, Engine, Refusal, Request};

pub struct Embedded {
    client: Client,
    _cluster: embedded::Embedded,
    _directory: TempDir,
}

impl Embedded {
    pub async fn start(executors: usize) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut config = Config::default();
        config.cluster.data = directory.path().to_owned();
        config.executor.slots = 2;
        config.executor.memory = frazil_common::ByteSize::mib(512);
        let cluster = embedded::Embedded::start(&config, executors).await;
        let cluster = cluster.unwrap_or_else(|e| panic!("the embedded cluster does not start: {e}"));
        Self { client: cluster.client(), _cluster: cluster, _directory: directory }
    }
}

impl Engine for Embedded {
    fn name(&self) -> &str {
        "embedded cluster"
    }

    fn run<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Answer, Refusal>> {
        async move {
            let mut context = StatementContext { schema: request.schema.clone(), ..StatementContext::default() };
            context.parameters.extend(request.settings.iter().cloned());
            if let Some(partitions) = request.partitions {
                context.parameters.insert("partitions".to_owned(), partitions.to_string());
            }
            let answered = self.client.query(&request.sql, &context).await.map_err(Refusal::local)?;
            Ok(Answer { schema: answered.schema, batches: answered.batches })
        }
        .boxed()
    }
}
