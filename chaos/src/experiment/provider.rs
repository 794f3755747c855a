//! Processes: how the activities of our own experiments are carried out.
//!
//! Invariants: a process that is not done in time, or when the experiment is stopped, is asked to end, and killed with all that it started if it doesn't.
//! Its output is bounded. The name of this program always means this program, whatever the search path says.

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt as _, process::Command, time::timeout};
use tokio_util::sync::CancellationToken;

use super::scope::plain;

/// The name of this program in experiments.
const THIS: &str = "quorus-chaos";
/// How much of each output is kept.
const OUTPUT_MAX: u64 = 256 * 1024;
/// How long a process may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs a program to its end. The answer has `status`, `stdout` and `stderr`. `arguments` are filled already.
pub async fn run(
    path: &str,
    arguments: &Value,
    environment: &[(String, String)],
    bound: Duration,
    stop: &CancellationToken,
) -> anyhow::Result<Value> {
    let mut command = command(path, arguments)?;
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("starting `{path}`: is it installed and in PATH?"))?;
    let group = child.id();
    let read = |pipe: Option<Box<dyn tokio::io::AsyncRead + Send + Unpin>>| async {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // What was read before a pipe broke is all that there is.
            let _ = pipe.take(OUTPUT_MAX).read_to_end(&mut bytes).await;
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let stdout = tokio::spawn(read(child.stdout.take().map(|pipe| Box::new(pipe) as _)));
    let stderr = tokio::spawn(read(child.stderr.take().map(|pipe| Box::new(pipe) as _)));
    let ended = tokio::select! {
        ended = timeout(bound, child.wait()) => ended.map_err(|_| anyhow::anyhow!("not at its end after {} s", bound.as_secs_f64())),
        () = stop.cancelled() => Err(anyhow::anyhow!("stopped with the experiment")),
    };
    let status = match ended {
        Ok(status) => status?,
        Err(why) => {
            signal(group, libc::SIGTERM);
            if timeout(PATIENCE, child.wait()).await.is_err() {
                signal(group, libc::SIGKILL);
                child.wait().await?;
            }
            return Err(why);
        }
    };
    // A process in the background may hold the pipes open: what was started detached must not hold up the experiment.
    let text =
        |task: tokio::task::JoinHandle<String>| async { timeout(PATIENCE, task).await.ok().and_then(Result::ok).unwrap_or_default() };
    let (stdout, stderr) = tokio::join!(text(stdout), text(stderr));
    let code = status.code().unwrap_or_else(|| std::os::unix::process::ExitStatusExt::signal(&status).map_or(-1, |signal| -signal));
    Ok(json!({"status": code, "stdout": stdout, "stderr": stderr}))
}

/// Where a program of that name is.
pub fn locate(path: &str) -> anyhow::Result<PathBuf> {
    if path == THIS && cfg!(not(test)) { std::env::current_exe().context("finding this program") } else { Ok(PathBuf::from(path)) }
}

fn command(path: &str, arguments: &Value) -> anyhow::Result<Command> {
    let program = locate(path)?;
    let some = |value: &Value| Some(plain(value)).filter(|text| !text.is_empty());
    Ok(match arguments {
        Value::String(line) => {
            let mut command = Command::new("sh");
            command.arg("-c").arg(format!("'{}' {line}", program.display().to_string().replace('\'', r"'\''")));
            command
        }
        Value::Array(items) => {
            let mut command = Command::new(program);
            command.args(items.iter().filter_map(some));
            command
        }
        Value::Object(map) => {
            let mut command = Command::new(program);
            command.args(map.iter().flat_map(|(name, value)| [Some(name.clone()), some(value)]).flatten());
            command
        }
        _ => Command::new(program),
    })
}

#[expect(unsafe_code, reason = "the standard library can't send signals to a group")]
fn signal(group: Option<u32>, number: i32) {
    if let Some(group) = group.and_then(|group| i32::try_from(group).ok()) {
        // SAFETY: a number is passed; the child leads this group and was not waited for, so that the id is still its own.
        unsafe { libc::kill(-group, number) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    async fn sh(arguments: Value) -> Value {
        run("sh", &arguments, &[("WHO".into(), "me".into())], LONG, &CancellationToken::new()).await.unwrap()
    }

    #[tokio::test]
    async fn a_process_answers_with_its_code_and_what_it_wrote() {
        let answer = sh(json!(["-c", "echo $WHO; echo no >&2; exit 3"])).await;
        assert_eq!(answer, json!({"status": 3, "stdout": "me\n", "stderr": "no\n"}));
        assert_eq!(sh(json!("-c 'exit 2'")).await["status"], 2, "a text goes through a shell");
        assert_eq!(sh(json!({"-c": "exit 4"})).await["status"], 4, "a map becomes names and values");
        assert_eq!(sh(json!(["-c", "kill -9 $$"])).await["status"], -9);
    }

    #[tokio::test]
    async fn a_process_that_takes_too_long_or_is_stopped_is_ended_with_its_children() {
        let token = CancellationToken::new();
        let error = run("sh", &json!(["-c", "sleep 1000 & wait"]), &[], Duration::from_millis(50), &token).await.unwrap_err();
        assert!(error.to_string().contains("not at its end"), "{error}");
        token.cancel();
        let error = run("sleep", &json!(["1000"]), &[], LONG, &token).await.unwrap_err();
        assert!(error.to_string().contains("stopped"), "{error}");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let error = run("no-such-program", &Value::Null, &[], LONG, &CancellationToken::new()).await.unwrap_err();
        assert!(format!("{error:#}").contains("starting `no-such-program`"), "{error:#}");
    }
}
