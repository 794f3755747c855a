//! `quorus runs export`: histories as JSON lines, run by run, so that an export which was interrupted can go on.

use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Seek, SeekFrom, Write},
};

use indicatif::ProgressBar;
use quorus_client::{Client, v1};
use quorus_spec::export::{end_line, event_line, run_line};
use serde_json::Value;

use super::{
    args::Globals,
    client,
    failure::Failure,
    select::{Pages, Select},
    term,
    text::plural,
};

/// Events of a page; the most that nodes give.
const EVENTS: u32 = 1000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    select: Select,
    /// File to write; - is stdout
    #[arg(long, short = 'O', default_value = "-", value_name = "FILE")]
    to: String,
    /// Go on with an export that was interrupted: keep the whole runs that the file has, add the others
    #[arg(long)]
    resume: bool,
    /// At most this many runs [default: all]
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
}

pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let client = client::connect(globals)?;
    let (mut out, known) = open(&args)?;
    let bar = if globals.quiet || args.to == "-" { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    let mut pages = Pages::new(args.select.text(), args.limit.unwrap_or(usize::MAX));
    let mut written = 0;
    while let Some(page) = pages.next(&client).await? {
        for run in page.iter().filter(|run| !known.contains(&run.run_uid)) {
            if let Some(lines) = history(&client, run).await? {
                out.write_all(lines.as_bytes())?;
                written += 1;
                bar.set_message(plural(written, "run"));
                bar.tick();
            }
        }
        out.flush()?;
    }
    bar.finish_and_clear();
    let kept = if known.is_empty() { String::new() } else { format!(", {} were there already", known.len()) };
    term::remark(globals, &format!("{} exported{kept}", plural(written, "run")));
    Ok(())
}

/// All lines of a run; `None` if it was removed meanwhile.
async fn history(client: &Client, run: &v1::Run) -> Result<Option<String>, Failure> {
    let (run_id, run_uid) = (run.run_id.clone(), run.run_uid.clone());
    let request = v1::GetRunRequest { run_id: run_id.clone(), run_uid: run_uid.clone(), ..Default::default() };
    let whole = match client.get_run(request).await {
        Ok(whole) => whole,
        Err(error) if error.reason() == "RUN_NOT_FOUND" => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut lines = run_line(&whole);
    let mut request = v1::GetRunHistoryRequest { run_id, run_uid, page_size: EVENTS, ..Default::default() };
    loop {
        let page = match client.run_history(request.clone()).await {
            Ok(page) => page,
            Err(error) if error.reason() == "RUN_NOT_FOUND" => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // A run that goes on may have more by now than its line says.
        for event in page.events.iter().filter(|event| event.sequence <= whole.sequence) {
            lines.push_str(&event_line(&whole.run_uid, event));
        }
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    lines.push_str(&end_line(&whole));
    Ok(Some(lines))
}

/// Where to write, and the runs that are there already.
fn open(args: &Args) -> Result<(Box<dyn Write>, HashSet<String>), Failure> {
    if args.to == "-" {
        if args.resume {
            return Err(Failure::usage("only a file can be resumed; name one with --to"));
        }
        return Ok((Box::new(std::io::stdout()), HashSet::new()));
    }
    let failed = |error: std::io::Error| Failure::error(format!("can't write `{}`: {error}", args.to));
    if !args.resume {
        let file = OpenOptions::new().write(true).create_new(true).open(&args.to).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Failure::usage(format!("`{}` exists; --resume goes on with it", args.to)),
            _ => failed(error),
        })?;
        return Ok((Box::new(file), HashSet::new()));
    }
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&args.to).map_err(failed)?;
    let (known, end) = whole_runs(&file).map_err(failed)?;
    file.set_len(end).map_err(failed)?;
    file.seek(SeekFrom::End(0)).map_err(failed)?;
    Ok((Box::new(file), known))
}

/// The runs of which a file has everything, and where the last of them ends.
fn whole_runs(file: &File) -> std::io::Result<(HashSet<String>, u64)> {
    let mut known = HashSet::new();
    let (mut at, mut end) = (0, 0);
    let mut lines = BufReader::new(file);
    let mut line = String::new();
    loop {
        line.clear();
        let read = lines.read_line(&mut line)? as u64;
        at += read;
        let whole = line.ends_with('\n').then(|| serde_json::from_str::<Value>(&line).ok()).flatten();
        // What follows a broken line is not trusted.
        let Some(value) = whole else { return Ok((known, end)) };
        if value["type"] == "end"
            && let Some(uid) = value["run_uid"].as_str()
        {
            known.insert(uid.to_owned());
            end = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_written_run_is_not_whole() {
        let mut file = tempfile::tempfile().unwrap();
        let whole = "{\"type\":\"run\",\"run_uid\":\"a\"}\n{\"type\":\"end\",\"run_uid\":\"a\"}\n";
        file.write_all(format!("{whole}{{\"type\":\"run\",\"run_uid\":\"b\"}}\n{{\"type\":\"ev").as_bytes()).unwrap();
        file.rewind().unwrap();
        let (known, end) = whole_runs(&file).unwrap();
        assert_eq!(known, HashSet::from(["a".to_owned()]));
        assert_eq!(end, whole.len() as u64);
    }
}
