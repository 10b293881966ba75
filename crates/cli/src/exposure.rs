//! Who can reach the REST API, and whether that is meant: beyond this machine, only with users and with TLS, unless options say by
//! name that it may be otherwise.

use std::net::SocketAddr;
use std::path::Path;

use frazil_coordinator::{Coordinator, CoordinatorOptions};
use frazil_server::Tls;

use crate::failure::CommandError;

pub struct Exposure {
    address: SocketAddr,
    pub tls: Option<Tls>,
    without_users: bool,
}

impl Exposure {
    /// Before anything is served: reads the certificate, and refuses to go without where others can listen in.
    pub fn of(options: &CoordinatorOptions, address: SocketAddr) -> Result<Self, CommandError> {
        let tls = match (&options.http_tls_certificate, &options.http_tls_key) {
            (Some(certificate), Some(key)) => {
                let tls = Tls::from_files(Path::new(certificate), Path::new(key));
                Some(tls.map_err(CommandError::doing("reading the certificate of the REST API"))?)
            }
            (None, None) => None,
            _ => {
                let message =
                    "coordinator.http_tls_certificate and coordinator.http_tls_key go together: set both or none";
                return Err(CommandError::Usage(message.to_owned()));
            }
        };
        if tls.is_none() && !address.ip().is_loopback() && !options.http_allow_without_tls {
            return Err(CommandError::Usage(format!(
                "the REST API would be reached at {address} without TLS, and passwords and rows be read on their way: set \
                 coordinator.http_tls_certificate and coordinator.http_tls_key, or listen on 127.0.0.1, or say \
                 coordinator.http_allow_without_tls = true"
            )));
        }
        Ok(Self { address, tls, without_users: options.http_allow_without_users })
    }

    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// When the users are known, before the first request is taken.
    pub async fn check(&self, coordinator: &Coordinator) -> Result<(), CommandError> {
        if self.address.ip().is_loopback() || self.without_users || coordinator.statements().has_users().await? {
            return Ok(());
        }
        Err(CommandError::Usage(format!(
            "everyone who reaches {} could do everything, since there are no users: make the first with frazil user add, or \
             listen on 127.0.0.1, or say coordinator.http_allow_without_users = true",
            self.address
        )))
    }
}
