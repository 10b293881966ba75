//! Who is let into a cluster, over the real control plane.

use frazil_common::BootId;
use frazil_proto::convert::boot_id_to_bytes;
use frazil_proto::secret::{ClusterSecret, ShowSecret};
use frazil_proto::v1::membership_client::MembershipClient;
use frazil_proto::{VERSION, transport, v1};
use serde_json::Value;

use crate::support::cluster::{Cluster, Options, SECRET};
use crate::support::commands::frazil;

async fn members(cluster: &Cluster) -> Vec<String> {
    let state = cluster.client().cluster().await.expect("the coordinator answers");
    let executors = state["executors"].as_array().expect("a list").iter();
    executors.map(|executor| executor["id"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_of_another_version_is_refused() {
    let cluster = Cluster::start(Options::executors(1)).await;
    let secret = ShowSecret::new(&ClusterSecret::new(SECRET).expect("long enough"));
    let channel = transport::channel(cluster.rpc()).expect("an address");
    let mut client = MembershipClient::with_interceptor(channel, secret);
    let request = |version: &str| v1::RegisterRequest {
        executor_id: "stranger".to_owned(),
        boot_id: boot_id_to_bytes(BootId::mint()),
        version: version.to_owned(),
        slots: 1,
        rpc_address: "http://127.0.0.1:1".to_owned(),
        data_address: "127.0.0.1:1".to_owned(),
        memory_bytes: 1 << 20,
    };
    for version in ["0.0.1", "99.0.0", ""] {
        let refusal = client.register(request(version)).await.expect_err(version);
        // What an executor takes as final, and prints.
        assert_eq!(format!("{:?}", refusal.code()), "FailedPrecondition", "{refusal}");
        let wanted = format!("executor stranger has version {version}, the coordinator {VERSION}");
        assert_eq!(refusal.message(), wanted);
        assert_eq!(members(&cluster).await, ["executor-0"]);
    }
    // Nothing else was wrong with it.
    client.register(request(VERSION)).await.expect("the right version is let in");
    assert_eq!(members(&cluster).await, ["executor-0", "stranger"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_with_another_secret_is_refused_and_says_why() {
    let cluster = Cluster::start(Options::executors(1)).await;
    let directory = tempfile::tempdir().expect("a directory");
    let arguments = ["executor", "--coordinator", cluster.rpc(), "--id", "stranger", "--data", "data"];
    let secret = [("FRAZIL_CLUSTER_SECRET".to_owned(), "not-the-secret-of-this-one".to_owned())];
    let ran = frazil(directory.path(), &arguments, &secret).await;
    assert_eq!(ran.code(), Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("stranger") && ran.stderr.contains("cluster secret"), "{}", ran.stderr);
    assert!(!String::from_utf8_lossy(&ran.stdout).contains("ready"), "it was not");
    assert_eq!(members(&cluster).await, ["executor-0"]);
    let health: Value = cluster.client().get("/api/v2/health").await.expect("the coordinator lives");
    assert!(health.is_object(), "{health}");
}
