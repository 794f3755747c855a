//! `quorus concurrency`: which runs hold the concurrency keys of their workflows, and which wait for them.

use clap::Subcommand;
use quorus_client::v1;
use serde_json::json;

use super::{
    args::{Format, Globals},
    client,
    failure::Failure,
    render,
    table::table,
    term,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the keys that are held
    #[command(visible_alias = "ls")]
    List {
        /// Only those of this workflow
        #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
        workflow: String,
    },
}

pub(crate) async fn run(command: Command, globals: &Globals) -> Result<(), Failure> {
    let Command::List { workflow } = command;
    let client = client::connect(globals)?;
    let mut request = v1::ListConcurrencyRequest { workflow, ..Default::default() };
    let mut keys = Vec::new();
    loop {
        let page = client.list_concurrency(request.clone()).await?;
        keys.extend(page.keys);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    if keys.is_empty() && globals.output == Format::Table {
        term::remark(globals, "no concurrency key is held");
    }
    let value = || json!({"keys": keys.iter().map(render::value).collect::<Vec<_>>()});
    let header = ["WORKFLOW", "KEY", "HELD", "LIMIT", "WAITING", "HOLDERS"];
    term::print_as(globals, value, || table(header, keys.iter().map(row)))
}

fn row(key: &v1::ConcurrencyKey) -> [String; 6] {
    let holders: Vec<_> = key.holders.iter().map(|run| run.run_id.as_str()).collect();
    [key.workflow.clone(), key.key.clone(), key.held.to_string(), key.limit.to_string(), key.waiting.to_string(), holders.join(",")]
}
