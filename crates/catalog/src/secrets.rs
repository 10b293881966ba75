//! Credentials that statements have left: kept in the registry, whose file nobody else may read.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use uuid::Uuid;

use crate::databases::Databases;
use crate::error::{CatalogError, Result};
use crate::requests::{Request, note_request};
use crate::sql::{Tx, Value};
use crate::time;

pub(crate) const TABLE: &str = "CREATE TABLE IF NOT EXISTS frazil_secret(secret_id VARCHAR NOT NULL, name VARCHAR PRIMARY KEY, \
                                kind VARCHAR NOT NULL, scope VARCHAR NOT NULL, options VARCHAR NOT NULL, \
                                created_at VARCHAR NOT NULL)";
/// Names and scopes are shown whole, and all secrets are looked at for each store.
const SECRETS_MAX: usize = 1000;

/// A secret as it is kept. What its options mean is not known here.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretRecord {
    /// Another one each time it is created or replaced.
    pub id: Uuid,
    pub name: String,
    pub kind: String,
    pub scope: String,
    pub options: BTreeMap<String, String>,
}

impl fmt::Debug for SecretRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretRecord({}, {}, {})", self.name, self.kind, self.scope)
    }
}

/// What to do about a secret of the same name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IfExists {
    Fail,
    Keep,
    Replace,
}

impl Databases {
    /// By name.
    pub async fn secrets(&self) -> Result<Vec<SecretRecord>> {
        let mut tx = self.registry().read().await?;
        read(&mut tx).await
    }

    /// Returns whether it was created or replaced.
    pub async fn create_secret(
        &self,
        secret: SecretRecord,
        if_exists: IfExists,
        request: Option<Request<'_>>,
    ) -> Result<bool> {
        let mut tx = self.registry().write("frazil_secret").await?;
        let secrets = read(&mut tx).await?;
        if secrets.iter().any(|one| one.name == secret.name) {
            match if_exists {
                IfExists::Fail => return Err(CatalogError::DuplicateSecret(secret.name)),
                IfExists::Keep => return Ok(false),
                IfExists::Replace => _ = delete(&mut tx, &secret.name).await?,
            }
        } else if secrets.len() >= SECRETS_MAX {
            return Err(CatalogError::Invalid(format!("there are {SECRETS_MAX} secrets already")));
        }
        let options = serde_json::to_string(&secret.options)
            .map_err(|_| CatalogError::Invalid("the secret's options are no text".to_owned()))?;
        let done = format!("secret {} created", secret.name);
        let row = vec![
            Value::text(secret.id.to_string()),
            Value::text(secret.name),
            Value::text(secret.kind),
            Value::text(secret.scope),
            Value::text(options),
            Value::text(time::format_moment(SystemTime::now())),
        ];
        let columns = "secret_id, name, kind, scope, options, created_at";
        tx.insert("keeping a secret", "frazil_secret", columns, &[row]).await?;
        note_request(&mut tx, request, &done).await?;
        tx.commit().await.map(|()| true)
    }

    /// Returns whether there was one.
    pub async fn drop_secret(&self, name: &str, request: Option<Request<'_>>) -> Result<bool> {
        let mut tx = self.registry().write("frazil_secret").await?;
        if delete(&mut tx, name).await? == 0 {
            return Ok(false);
        }
        note_request(&mut tx, request, &format!("secret {name} dropped")).await?;
        tx.commit().await.map(|()| true)
    }
}

async fn delete(tx: &mut Tx, name: &str) -> Result<u64> {
    tx.execute("dropping a secret", "DELETE FROM frazil_secret WHERE name = $1", &[Value::text(name)]).await
}

async fn read(tx: &mut Tx) -> Result<Vec<SecretRecord>> {
    let sql = "SELECT secret_id, name, kind, scope, options FROM frazil_secret ORDER BY name";
    tx.all("reading secrets", sql, &[], |row| {
        // Never with what it says.
        let corrupt = || CatalogError::Corrupt("a secret cannot be read".to_owned());
        Ok(SecretRecord {
            id: row.text(0)?.parse().map_err(|_| corrupt())?,
            name: row.text(1)?.to_owned(),
            kind: row.text(2)?.to_owned(),
            scope: row.text(3)?.to_owned(),
            options: serde_json::from_str(row.text(4)?).map_err(|_| corrupt())?,
        })
    })
    .await
}
