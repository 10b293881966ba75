//! Where the cluster's secret comes from: the configuration, or a file beside the data. And its certificates.

use std::io::Write;
use std::path::{Path, PathBuf};

use frazil_proto::secret::{ClusterCredentials, ClusterSecret};
use frazil_proto::tls::ClusterTls;

use super::ClusterOptions;
use crate::failure::CommandError;

/// Of an executor: the secret must be there.
pub fn cluster_credentials(options: &ClusterOptions) -> Result<ClusterCredentials, CommandError> {
    Ok(ClusterCredentials { secret: cluster_secret(options)?, tls: tls(options)? })
}

/// Of the coordinator: a secret that was not given and is not there is made up and kept for the executors.
pub fn create_cluster_credentials(options: &ClusterOptions) -> Result<ClusterCredentials, CommandError> {
    Ok(ClusterCredentials { secret: create_cluster_secret(options)?, tls: tls(options)? })
}

fn tls(options: &ClusterOptions) -> Result<Option<ClusterTls>, CommandError> {
    let read = |path: &Path| {
        let doing = format!("reading the cluster's certificate or key {}", path.display());
        std::fs::read(path).map_err(CommandError::doing(doing))
    };
    match (&options.tls_ca, &options.tls_certificate, &options.tls_key) {
        (Some(ca), Some(certificate), Some(key)) => Ok(Some(ClusterTls {
            ca: read(ca)?,
            certificate: read(certificate)?,
            key: read(key)?,
            name: options.tls_name.clone(),
        })),
        (None, None, None) if options.tls_name.is_none() => Ok(None),
        _ => {
            let message = "cluster.tls_ca, cluster.tls_certificate and cluster.tls_key go together: set all or none";
            Err(CommandError::Usage(message.to_owned()))
        }
    }
}

pub(super) fn cluster_secret(options: &ClusterOptions) -> Result<ClusterSecret, CommandError> {
    match given(options)? {
        Given::Text(text) => checked(text, "cluster.secret"),
        Given::File(path) => read(&path),
        Given::Nothing => {
            let path = default_file(options);
            read(&path).map_err(|e| {
                CommandError::Failed(format!(
                    "{e}: copy the file from the coordinator's data directory, or set cluster.secret or cluster.secret_file"
                ))
            })
        }
    }
}

pub(super) fn create_cluster_secret(options: &ClusterOptions) -> Result<ClusterSecret, CommandError> {
    let Given::Nothing = given(options)? else { return cluster_secret(options) };
    let path = default_file(options);
    if !path.exists() {
        create(&path).map_err(CommandError::doing(format_args!("creating the cluster secret {path:?}")))?;
    }
    read(&path)
}

enum Given<'a> {
    Text(&'a str),
    File(PathBuf),
    Nothing,
}

fn given(options: &ClusterOptions) -> Result<Given<'_>, CommandError> {
    match (&options.secret, &options.secret_file) {
        (Some(_), Some(_)) => {
            Err(CommandError::Usage("cluster.secret and cluster.secret_file are both set: keep one".to_owned()))
        }
        (Some(text), None) => Ok(Given::Text(text)),
        (None, Some(path)) => Ok(Given::File(path.clone())),
        (None, None) => Ok(Given::Nothing),
    }
}

fn default_file(options: &ClusterOptions) -> PathBuf {
    options.data.join("cluster.secret")
}

fn read(path: &Path) -> Result<ClusterSecret, CommandError> {
    let text = std::fs::read_to_string(path)
        .map_err(CommandError::doing(format_args!("reading the cluster secret {}", path.display())))?;
    checked(&text, &path.display().to_string())
}

fn checked(text: &str, source: &str) -> Result<ClusterSecret, CommandError> {
    ClusterSecret::new(text).map_err(|e| CommandError::Usage(format!("{source}: {e}")))
}

/// Written aside with mode 0600 and then named, so that nobody reads half a secret and the first of two creators wins.
fn create(path: &Path) -> std::io::Result<()> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    writeln!(file, "{}", ClusterSecret::random().reveal())?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e.error),
        Ok(_) => Ok(()),
    }
}
