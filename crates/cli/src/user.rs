//! `frazil user`: users made in the catalog itself, by whoever may write its files. How the first administrator comes to be, and how
//! one whose password is lost comes back.

use frazil_catalog::{AccessChange, Member, UserOptions};
use frazil_common::principal::ADMIN_ROLE;
use frazil_coordinator::{coordinator, log_in};

use crate::config::Config;
use crate::directory;
use crate::failure::CommandError;
use crate::terminal::{self, Source};

pub enum UserRequest {
    Add { name: String, admin: bool },
    Password { name: String },
}

/// The coordinator of the data directory must not run: statements do the same then.
pub async fn run(config: Config, request: UserRequest) -> Result<(), CommandError> {
    let _claim = directory::claim(&config.cluster.data)?;
    let databases = coordinator::open_catalog(&config.coordinator, &config.cluster.data).await?;
    let (UserRequest::Add { name, .. } | UserRequest::Password { name }) = &request;
    let password = match &config.client.server.password {
        Some(password) => password.clone(),
        None => terminal::ask_password(&format!("new password of {name}: "), Source::Input)?,
    };
    let password = log_in::hash_now(&password)?;
    let options = UserOptions { password: Some(Some(password)), ..UserOptions::default() };
    let changes = match request {
        UserRequest::Add { name, admin } => {
            let grant = AccessChange::GrantRole { role: ADMIN_ROLE.to_owned(), to: Member::User(name.clone()) };
            let default = admin.then(|| Some(ADMIN_ROLE.to_owned()));
            let options = UserOptions { default_role: default, ..options };
            let create = AccessChange::CreateUser { name, if_not_exists: false, options };
            if admin { vec![create, grant] } else { vec![create] }
        }
        // Also of a user that was shut out.
        UserRequest::Password { name } => {
            let options = UserOptions { disabled: Some(false), ..options };
            vec![AccessChange::AlterUser { name, if_exists: false, options }]
        }
    };
    for change in changes {
        let done = databases.change_access(change, None).await.map_err(frazil_common::Failure::from)?;
        println!("{done}");
    }
    databases.close().await;
    Ok(())
}
