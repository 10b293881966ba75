//! Keeps this executor registered: announces it, sends heartbeats, announces it again when the coordinator was restarted.

use std::sync::Arc;
use std::time::Duration;

use frazil_common::{ErrorCode, Failure};
use frazil_proto::convert::{boot_id_to_bytes, failure_from_status};
use frazil_proto::secret::ShowSecret;
use frazil_proto::v1;
use frazil_proto::v1::membership_client::MembershipClient;
use tokio::time::Instant;
use tonic::Code;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use crate::executor::Shared;

type Client = MembershipClient<InterceptedService<Channel, ShowSecret>>;

/// For one call to be answered.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// For a coordinator that is not there yet, and for a former self whose heartbeats have not run out.
const REGISTER_LIMIT: Duration = Duration::from_secs(30);
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// How others see this executor.
#[derive(Clone)]
pub struct Announcement {
    pub slots: u32,
    pub rpc_address: String,
    pub data_address: String,
    pub memory_bytes: u64,
}

pub fn client(channel: Channel, secret: ShowSecret) -> Client {
    MembershipClient::with_interceptor(channel, secret)
}

/// Registers; gives up when the coordinator refuses for good or is not there in time. Returns the heartbeat interval.
pub async fn register(client: &mut Client, shared: &Shared, announcement: &Announcement) -> Result<Duration, Failure> {
    let deadline = Instant::now() + REGISTER_LIMIT;
    loop {
        let request = v1::RegisterRequest {
            executor_id: shared.id.0.clone(),
            boot_id: boot_id_to_bytes(shared.boot),
            version: frazil_proto::VERSION.to_owned(),
            slots: announcement.slots,
            rpc_address: announcement.rpc_address.clone(),
            data_address: announcement.data_address.clone(),
            memory_bytes: announcement.memory_bytes,
        };
        let status = match tokio::time::timeout(CALL_LIMIT, client.register(request)).await {
            Ok(Ok(response)) => {
                let interval = Duration::from_millis(response.into_inner().heartbeat_interval_ms);
                return Ok(interval.clamp(Duration::from_millis(10), Duration::from_secs(60)));
            }
            Ok(Err(status)) => status,
            Err(_) => tonic::Status::unavailable("no answer from the coordinator"),
        };
        let final_refusal = matches!(
            status.code(),
            Code::FailedPrecondition | Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument
        );
        if final_refusal || Instant::now() >= deadline {
            let cause = failure_from_status(&status);
            let message = format!("executor {} is not registered: {}", shared.id, cause.message);
            let code = if final_refusal { ErrorCode::AccessDenied } else { cause.code };
            return Err(Failure::new(code, message));
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// Sends heartbeats until the coordinator refuses this executor for good, and says why.
pub async fn keep_alive(
    mut client: Client,
    shared: Arc<Shared>,
    announcement: Announcement,
    mut interval: Duration,
) -> Failure {
    loop {
        tokio::time::sleep(interval).await;
        let request = v1::HeartbeatRequest {
            executor_id: shared.id.0.clone(),
            boot_id: boot_id_to_bytes(shared.boot),
            draining: shared.is_draining(),
            running_tasks: shared.running_tasks(),
            memory_used_bytes: shared.memory_used() as u64,
        };
        let known = match tokio::time::timeout(CALL_LIMIT, client.heartbeat(request)).await {
            Ok(Ok(response)) => response.into_inner().known,
            Ok(Err(status)) => {
                tracing::warn!(executor = %shared.id, %status, "heartbeat failed");
                continue;
            }
            Err(_) => {
                tracing::warn!(executor = %shared.id, "heartbeat was not answered");
                continue;
            }
        };
        if known || shared.is_draining() {
            continue;
        }
        tracing::info!(executor = %shared.id, "the coordinator does not know this executor, registering again");
        match register(&mut client, &shared, &announcement).await {
            Ok(renewed) => interval = renewed,
            // Not there: heartbeats go on and find it when it is back.
            Err(failure) if failure.code != ErrorCode::AccessDenied => {
                tracing::warn!(executor = %shared.id, %failure, "cannot register again yet");
            }
            Err(failure) => return failure,
        }
    }
}
