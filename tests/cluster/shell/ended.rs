//! `frazil sql` that is ended while a statement runs: by Ctrl-C, or by a signal from elsewhere.

use std::io::Write;
use std::process::{Command, Stdio};

use super::typed::{LIMIT, LONG, wait_for_phase};
use crate::support::cluster::{Cluster, Options, binary};
use crate::support::commands::configure;

#[derive(Clone, Copy, Debug)]
enum From {
    Flag,
    File,
    Pipe,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_is_ended_says_by_what() {
    let cluster = Cluster::start(Options::executors(1)).await;
    let directory = cluster.directory();
    let mut number = 0;
    for from in [From::Flag, From::File, From::Pipe] {
        for (signal, code) in [(libc::SIGINT, 130), (libc::SIGTERM, 143)] {
            number += 1;
            // The statement behind it is not run, whatever goes on after errors.
            let script = format!("select 'first' as a;\n-- run {number}\n{LONG}\nselect 'never' as b;\n");
            let script = script.replace("a.v % 7", &format!("a.v % {}", number + 10));
            let file = directory.join(format!("{number}.sql"));
            std::fs::write(&file, &script).expect("written");
            let mut command = Command::new(binary());
            command.args(["sql", "--url", cluster.url(), "--format", "csv", "--keep-going"]).current_dir(directory);
            match from {
                From::Flag => _ = command.args(["-c", &script]),
                From::File => _ = command.arg("-f").arg(&file),
                From::Pipe => {}
            }
            configure(directory, &[], |name, value| {
                match value {
                    Some(value) => command.env(name, value),
                    None => command.env_remove(name),
                };
            });
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().expect("started");
            let mut stdin = child.stdin.take().expect("a pipe");
            if let From::Pipe = from {
                stdin.write_all(script.as_bytes()).expect("taken");
            }
            drop(stdin);
            let mark = format!("a.v % {} ", number + 10);
            wait_for_phase(&cluster, &mark, "running").await;
            // SAFETY: kill(2) touches no memory; the child has not been waited for, so the id is its own.
            assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
            let waited = tokio::task::spawn_blocking(move || child.wait_with_output());
            let ran = tokio::time::timeout(LIMIT, waited).await.expect("it ends").expect("waited").expect("output");
            let (out, said) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
            assert_eq!(ran.status.code(), Some(code), "{from:?}, signal {signal}: {}: {said}", ran.status);
            assert!(out.contains("first") && !out.contains("never"), "{from:?}, signal {signal}: {out}");
            assert!(said.contains("cancelled"), "{from:?}, signal {signal}: {said}");
            wait_for_phase(&cluster, &mark, "cancelled").await;
        }
    }
}
