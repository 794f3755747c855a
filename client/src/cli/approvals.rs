//! `quorus approvals`: what waits for people.

use clap::Subcommand;
use quorus_client::v1;
use serde_json::json;

use super::{
    args::{Format, Globals},
    client,
    failure::Failure,
    lifecycle_view as view, render, term,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the approvals that wait
    #[command(visible_alias = "ls")]
    List {
        /// Only approvals that somebody with this role may give
        #[arg(long, value_name = "ROLE")]
        role: Option<String>,
        /// At most this many
        #[arg(long, default_value_t = 100, value_name = "NUMBER")]
        limit: usize,
    },
}

pub(crate) async fn run(command: Command, globals: &Globals) -> Result<(), Failure> {
    let Command::List { role, limit } = command;
    let client = client::connect(globals)?;
    let mut request = v1::ListApprovalsRequest { role: role.unwrap_or_default(), ..Default::default() };
    let mut approvals = Vec::new();
    let mut more = true;
    while more && approvals.len() < limit {
        request.page_size = u32::try_from(limit - approvals.len()).unwrap_or(u32::MAX).min(1000);
        let page = client.list_approvals(request.clone()).await?;
        approvals.extend(page.approvals);
        more = !page.next_page_token.is_empty();
        request.page_token = page.next_page_token;
    }
    if globals.output == Format::Table && approvals.is_empty() {
        term::remark(globals, "no approvals wait");
    }
    let value = || json!({"approvals": approvals.iter().map(render::value).collect::<Vec<_>>()});
    term::print_as(globals, value, || view::approvals(&approvals))
}
