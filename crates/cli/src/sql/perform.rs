//! What the commands with a backslash do.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use super::command::{Command, HELP, Switch};
use super::output::Target;
use super::read::read_text;
use super::run::{Outcome, Session};
use super::split::statements;
use super::visible::visible_lines;
use crate::client::{Access, Client, StatementContext};
use crate::signals::Stop;

/// Files that files run: one that runs itself would never end.
const DEPTH_MAX: usize = 16;

impl Session {
    pub(super) async fn run_command(&mut self, line: &str) -> Outcome {
        match Command::parse(line) {
            Ok(command) => self.perform(command).await,
            Err(refused) => failed(&refused),
        }
    }

    pub(super) async fn perform(&mut self, command: Command) -> Outcome {
        match command {
            Command::Relations => self.ask("SHOW TABLES").await,
            Command::Columns(name) => self.ask(&format!("DESCRIBE {name}")).await,
            Command::Tables => self.ask(TABLES).await,
            Command::Views => self.ask("SHOW VIEWS").await,
            Command::Schemas => self.ask("SHOW SCHEMAS").await,
            Command::Stages => self.ask("SHOW STAGES").await,
            Command::Users => self.ask("SHOW USERS").await,
            Command::Databases => self.ask("SHOW DATABASES").await,
            Command::Use(name) => self.ask(&format!("USE {name}")).await,
            Command::Profile(None) => self.show_profiles(),
            Command::Profile(Some(name)) => self.connect(&name).await,
            Command::Include(path) => self.include(&path).await,
            Command::Edit(_) => failed("\\e is for the shell"),
            Command::Output(path) => self.write_to(path.as_deref()),
            Command::Watch(interval) => self.watch(interval).await,
            Command::Expanded(switch) => {
                let other = if self.view.expanded == Switch::On { Switch::Off } else { Switch::On };
                self.view.expanded = switch.unwrap_or(other);
                self.say(match self.view.expanded {
                    Switch::On => "a line for each value",
                    Switch::Off => "a line for each row",
                    Switch::Auto => "a line for each value where a row does not fit",
                })
            }
            Command::Format(None) => self.say(&format!("format {}", self.view.format)),
            Command::Format(Some(format)) => {
                self.view.format = format;
                Outcome::Done
            }
            Command::Timing(switch) => {
                self.view.timing = switched(switch, self.view.timing);
                self.say(if self.view.timing { "timing on" } else { "timing off" })
            }
            Command::Pager(switch) => {
                self.view.pager = switched(switch, self.view.pager);
                self.say(if self.view.pager { "pager on" } else { "pager off" })
            }
            Command::Help => {
                eprintln!("{HELP}");
                Outcome::Done
            }
            Command::Quit => Outcome::Quit,
        }
    }

    /// What a command stands for; what `\watch` repeats is the user's own statement.
    async fn ask(&mut self, sql: &str) -> Outcome {
        if statements(sql).len() != 1 {
            return failed(&format!("{sql:?} is not one statement: what is behind the command has to be a name"));
        }
        let last = self.last.take();
        let outcome = Box::pin(self.run_text(sql)).await;
        self.last = last;
        outcome
    }

    /// For whoever reads along.
    fn say(&self, text: &str) -> Outcome {
        if self.is_watched() {
            eprintln!("{text}");
        }
        Outcome::Done
    }

    fn show_profiles(&self) -> Outcome {
        if self.config.profiles.is_empty() {
            eprintln!("there are no profiles in the configuration");
        }
        for (name, profile) in &self.config.profiles {
            let mark = if self.profile.as_ref() == Some(name) { '*' } else { ' ' };
            let url = profile.url.as_deref().unwrap_or("without url");
            eprintln!("{}", visible_lines(&format!("{mark} {name}  {url}")));
        }
        Outcome::Done
    }

    /// Speaks with the server of another profile, as whom that profile says. Nothing of the present one is shown to it.
    async fn connect(&mut self, name: &str) -> Outcome {
        let options = match self.config.client_of(name) {
            Ok(options) => options,
            Err(error) => return failed(&error.to_string()),
        };
        let opened = async {
            let access = Access::of(&options.server)?;
            let client = Client::connect(options.server.url.as_deref().unwrap_or_default(), &access)?;
            let session = client.open_session().await?;
            Ok::<_, crate::failure::CommandError>((client, session))
        };
        let (client, session) = match opened.await {
            Ok(opened) => opened,
            Err(error) => return failed(&format!("profile {name:?}: {error}")),
        };
        if let Some(session) = &self.context.session {
            let _ = self.client.close_session(session).await;
        }
        self.client = client;
        self.context = StatementContext {
            database: options.server.database.clone(),
            schema: options.server.schema.clone(),
            time_limit: self.context.time_limit,
            session: Some(session),
            ..StatementContext::default()
        };
        self.profile = Some(name.to_owned());
        if self.view.in_shell {
            self.names.refresh(&self.client, &self.context);
        }
        self.say(&format!("profile {name}: {}", options.server.url.unwrap_or_default()))
    }

    async fn include(&mut self, path: &Path) -> Outcome {
        if self.depth >= DEPTH_MAX {
            return failed(&format!("{path:?} is not run: files run files {DEPTH_MAX} deep"));
        }
        let text = match read_text(path) {
            Ok(text) => text,
            Err(error) => return failed(&error.to_string()),
        };
        self.depth += 1;
        let outcome = Box::pin(self.run_text(&text)).await;
        self.depth -= 1;
        outcome
    }

    fn write_to(&mut self, path: Option<&Path>) -> Outcome {
        let Some(path) = path else {
            self.target = Target::Standard;
            return self.say("results on the screen");
        };
        match File::create(path) {
            Ok(file) => {
                self.target = Target::File { file, full: false };
                self.say(&format!("results in {}", visible_lines(&path.display().to_string())))
            }
            Err(error) => failed(&format!("writing {path:?}: {error}")),
        }
    }

    async fn watch(&mut self, interval: Duration) -> Outcome {
        let Some(sql) = self.last.clone() else {
            return failed("\\watch runs the last statement again, and there is none");
        };
        let pager = std::mem::replace(&mut self.view.pager, false);
        let mut times = 0u64;
        let outcome = loop {
            times += 1;
            self.say(&format!("-- {times}, every {} s", interval.as_secs_f64()));
            match Box::pin(self.run_text(&sql)).await {
                Outcome::Done => {}
                // As one leaves it.
                Outcome::Interrupted if self.is_watched() => break Outcome::Done,
                other => break other,
            }
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                signal = self.signals().next() => break match signal {
                    Stop::Terminate => Outcome::Terminated,
                    Stop::Interrupt if self.is_watched() => Outcome::Done,
                    Stop::Interrupt => Outcome::Interrupted,
                },
            }
        };
        self.view.pager = pager;
        outcome
    }
}

const TABLES: &str = "SELECT table_schema, table_name, table_type FROM information_schema.tables \
                      WHERE table_type <> 'VIEW' AND table_schema NOT IN ('information_schema', 'system') \
                      ORDER BY table_schema, table_name";

fn switched(switch: Option<Switch>, now: bool) -> bool {
    match switch {
        Some(Switch::On) => true,
        Some(Switch::Off) => false,
        Some(Switch::Auto) | None => !now,
    }
}

fn failed(message: &str) -> Outcome {
    eprintln!("error: {}", visible_lines(message));
    Outcome::Failed
}
