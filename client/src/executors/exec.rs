//! Task type `exec`: runs a command and returns what it wrote.
//!
//! | input | meaning |
//! |---|---|
//! | `command` | a list is executed as it is; a string is run by `sh -c` |
//! | `env` | added to the worker's environment; `null` removes a variable |
//! | `stdin` | what the command reads |
//! | `workdir` | where it runs |
//!
//! Output: `{exit_code, stdout, stderr, stdout_truncated, stderr_truncated, duration_ms}`, and `json` if stdout is a JSON value. An exit code
//! other than 0 is a failure `ExitCode` with the same value as details; death by a signal is `Signal`. When the attempt is told to stop, the
//! whole process group gets SIGTERM, and SIGKILL after the grace. When the command ends, what it left running in its group is killed.

use std::{
    collections::BTreeMap, io, os::unix::process::ExitStatusExt, path::PathBuf, process::ExitStatus, process::Stdio, time::Duration,
};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::ChildStdin, process::Command, time::Instant};

use super::{
    capture::{Capture, Keep},
    process::Process,
};
use crate::{Output, PAYLOAD_BYTES_MAX, TaskContext, TaskError};

/// The task type.
pub const TASK_TYPE: &str = "exec";

/// Default of [`Exec::capture_bytes`].
pub const CAPTURE_BYTES_DEFAULT: usize = 256 * 1024;

/// How long pipes may stay open after the command ended, because something that it left running holds them.
const PIPE_GRACE: Duration = Duration::from_millis(500);

/// A line of stderr in a message is cut here; the whole is in the details.
const MESSAGE_LINE_MAX: usize = 300;

/// Settings of the executor.
#[derive(Clone, Copy, Debug)]
pub struct Exec {
    /// How much of stdout (its beginning) and stderr (its end) is kept.
    pub capture_bytes: usize,
}

impl Default for Exec {
    fn default() -> Self {
        Self { capture_bytes: CAPTURE_BYTES_DEFAULT }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    command: CommandLine,
    #[serde(default)]
    env: BTreeMap<String, Value>,
    stdin: Option<String>,
    workdir: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "`command` must be a list of strings, or a string for the shell")]
enum CommandLine {
    Shell(String),
    Argv(Vec<String>),
}

/// Runs the command of a task.
pub async fn exec(context: TaskContext, settings: Exec) -> Result<Output, TaskError> {
    let input: Input = context.input()?;
    let (mut command, program) = prepare(&input, &context)?;
    let began = Instant::now();
    let mut process = Process::spawn(&mut command).map_err(|error| not_started(&program, &error))?;
    let (stdin, stdout, stderr) = process.pipes();
    let mut out = Capture::new(Keep::Head, settings.capture_bytes);
    let mut err = Capture::new(Keep::Tail, settings.capture_bytes);
    let status = {
        let read_out = async {
            if let Some(stdout) = stdout {
                out.read(stdout, |line| context.log_from("stdout", line)).await;
            }
        };
        let read_err = async {
            if let Some(stderr) = stderr {
                err.read(stderr, |line| context.log_from("stderr", line)).await;
            }
        };
        let pipes = async { tokio::join!(read_out, read_err, feed(stdin, input.stdin.as_deref())) };
        tokio::pin!(pipes);
        let mut piping = true;
        let status = loop {
            tokio::select! {
                status = end(&mut process, &context) => break status,
                _ = &mut pipes, if piping => piping = false,
            }
        };
        if piping {
            let _ = tokio::time::timeout(PIPE_GRACE, &mut pipes).await;
        }
        status
    };
    process.kill();
    let status = status.map_err(|error| TaskError::failed("ProcessLost", error.to_string()))?;
    if !status.success() && context.cancellation().is_some() {
        return Err(TaskError::Cancelled { nothing_done: false });
    }
    let output = output(status, &mut out, &mut err, began.elapsed());
    verdict(status, &err, output)
}

fn prepare(input: &Input, context: &TaskContext) -> Result<(Command, String), TaskError> {
    let (mut command, program) = match &input.command {
        CommandLine::Shell(line) => {
            let mut command = Command::new("sh");
            command.arg("-c").arg(line);
            (command, "sh".to_owned())
        }
        CommandLine::Argv(argv) => {
            let (program, arguments) = argv
                .split_first()
                .filter(|(program, _)| !program.is_empty())
                .ok_or_else(|| TaskError::invalid_input("`command` is empty"))?;
            let mut command = Command::new(program);
            command.args(arguments);
            (command, program.clone())
        }
    };
    let task = context.task();
    command
        .env("QUORUS_RUN_ID", &task.run_id)
        .env("QUORUS_STEP", &task.step)
        .env("QUORUS_ATTEMPT", task.attempt.to_string())
        .env("QUORUS_TOKEN", task.token.to_string())
        .env("QUORUS_IDEMPOTENCY_KEY", &task.idempotency_key);
    if !task.traceparent.is_empty() {
        command.env("TRACEPARENT", &task.traceparent);
    }
    for (name, value) in &input.env {
        match value {
            Value::String(text) => command.env(name, text),
            Value::Number(_) | Value::Bool(_) => command.env(name, value.to_string()),
            Value::Null => command.env_remove(name),
            Value::Array(_) | Value::Object(_) => {
                return Err(TaskError::invalid_input(format!("`env.{name}` is neither text nor a number")));
            }
        };
    }
    if let Some(workdir) = &input.workdir {
        if !workdir.is_dir() {
            return Err(TaskError::invalid_input(format!("`workdir` {} is no folder on this worker", workdir.display())));
        }
        command.current_dir(workdir);
    }
    command.stdin(if input.stdin.is_some() { Stdio::piped() } else { Stdio::null() }).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok((command, program))
}

fn not_started(program: &str, error: &io::Error) -> TaskError {
    match error.kind() {
        io::ErrorKind::NotFound => {
            TaskError::failed("CommandNotFound", format!("`{program}` is not on this worker")).non_retryable().nothing_done()
        }
        io::ErrorKind::PermissionDenied => {
            TaskError::failed("CommandNotExecutable", format!("`{program}` can't be executed: {error}")).non_retryable().nothing_done()
        }
        io::ErrorKind::InvalidInput | io::ErrorKind::ArgumentListTooLong => TaskError::invalid_input(format!("`{program}`: {error}")),
        // Out of processes or memory: another attempt may find some.
        _ => TaskError::failed("CommandNotStarted", format!("`{program}`: {error}")).nothing_done(),
    }
}

async fn feed(stdin: Option<ChildStdin>, text: Option<&str>) {
    if let (Some(mut stdin), Some(text)) = (stdin, text) {
        // A program that does not read its input to the end is no error.
        let _ = stdin.write_all(text.as_bytes()).await;
    }
}

/// Waits for the end, seeing to it that it comes when the attempt is told to stop. Cancel-safe.
async fn end(process: &mut Process, context: &TaskContext) -> io::Result<ExitStatus> {
    tokio::select! {
        biased;
        status = process.wait() => return status,
        _ = context.cancelled() => {}
    }
    process.terminate();
    tokio::select! {
        biased;
        status = process.wait() => return status,
        () = context.grace_over() => {}
    }
    process.kill();
    process.wait().await
}

/// The output, cut further if escaping made it larger than a payload may be.
fn output(status: ExitStatus, out: &mut Capture, err: &mut Capture, duration: Duration) -> Output {
    let mut max = PAYLOAD_BYTES_MAX / 4;
    loop {
        let stdout = out.text();
        let mut value = json!({
            "exit_code": status.code().unwrap_or(-1),
            "stdout": stdout,
            "stderr": err.text(),
            "stdout_truncated": out.truncated(),
            "stderr_truncated": err.truncated(),
            "duration_ms": duration.as_millis() as u64,
        });
        if let Some(signal) = status.signal() {
            value["signal"] = signal.into();
        }
        if !out.truncated()
            && let Ok(parsed) = serde_json::from_str::<Value>(&stdout)
        {
            value["json"] = parsed;
        }
        let output = Output::from(value);
        if output.0.data.len() <= PAYLOAD_BYTES_MAX {
            return output;
        }
        out.shrink(max);
        err.shrink(max);
        max /= 2;
    }
}

fn verdict(status: ExitStatus, err: &Capture, output: Output) -> Result<Output, TaskError> {
    let (kind, what) = match (status.code(), status.signal()) {
        (Some(0), _) => return Ok(output),
        (Some(code), _) => ("ExitCode", format!("exit code {code}")),
        (None, signal) => ("Signal", format!("killed by signal {}", signal.unwrap_or_default())),
    };
    let text = err.text();
    let message = match text.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => format!("{what}: {}", line.trim().chars().take(MESSAGE_LINE_MAX).collect::<String>()),
        None => what,
    };
    Err(TaskError::failed(kind, message).details(output))
}
