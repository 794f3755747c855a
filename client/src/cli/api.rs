//! `quorus api`: any method of the gRPC API, with JSON as proto defines it.

use clap::Subcommand;
use prost_reflect::{DynamicMessage, MethodDescriptor};
use quorus_client::{Client, Error};
use serde_json::json;

use super::{
    args::{Globals, json_text},
    client,
    dynamic::DynamicCodec,
    failure::Failure,
    render::POOL,
    table, term,
};

/// Only what clients may call; the rest is between nodes.
const PACKAGE: &str = "quorus.v1";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List services and methods
    List,
    /// Call a method; what comes back is printed as it comes
    Call {
        /// SERVICE/METHOD, for example RunService/GetRun
        #[arg(value_name = "METHOD")]
        method: String,
        /// The request: JSON, @FILE, or - for stdin
        #[arg(long, short, default_value = "{}", value_name = "JSON")]
        data: String,
    },
}

pub(crate) async fn run(command: Command, globals: &Globals) -> Result<(), Failure> {
    match command {
        Command::List => term::print_as(globals, || json!(methods().map(|method| path(&method)).collect::<Vec<_>>()), list),
        Command::Call { method, data } => call(globals, &method, &data).await,
    }
}

fn methods() -> impl Iterator<Item = MethodDescriptor> {
    let services = POOL.services().filter(|service| service.package_name() == PACKAGE);
    services.flat_map(|service| service.methods().collect::<Vec<_>>())
}

fn path(method: &MethodDescriptor) -> String {
    format!("{}/{}", method.parent_service().full_name(), method.name())
}

fn list() -> String {
    let stream = |streams: bool| if streams { "stream " } else { "" };
    let row = |method: MethodDescriptor| {
        let request = format!("{}{}", stream(method.is_client_streaming()), method.input().name());
        let response = format!("{}{}", stream(method.is_server_streaming()), method.output().name());
        [path(&method), request, response]
    };
    table::table(["METHOD", "REQUEST", "RESPONSE"], methods().map(row))
}

/// Finds `quorus.v1.RunService/GetRun`, `RunService/GetRun` or `GetRun`.
fn find(name: &str) -> Result<MethodDescriptor, Failure> {
    let wanted = name.trim_start_matches('/');
    let fits = |method: &MethodDescriptor| {
        let path = path(method);
        path == wanted || path.ends_with(&format!(".{wanted}")) || path.ends_with(&format!("/{wanted}"))
    };
    methods().find(fits).ok_or_else(|| {
        let all: Vec<_> = methods().map(|method| format!("  {}", path(&method))).collect();
        Failure::usage(format!("there is no method `{name}`; there are:\n{}", all.join("\n")))
    })
}

async fn call(globals: &Globals, name: &str, data: &str) -> Result<(), Failure> {
    let method = find(name)?;
    if method.is_client_streaming() {
        return Err(Failure::usage(format!("{} takes a stream of requests, which this command can't send", path(&method))));
    }
    let text = json_text("--data", data)?;
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    let request = DynamicMessage::deserialize(method.input(), &mut deserializer)
        .map_err(|error| Failure::usage(format!("--data is no {}: {error}", method.input().full_name())))?;
    let client = client::connect(globals)?;
    exchange(globals, &client, &method, request).await
}

async fn exchange(globals: &Globals, client: &Client, method: &MethodDescriptor, request: DynamicMessage) -> Result<(), Failure> {
    let codec = DynamicCodec { response: method.output() };
    let path = format!("/{}", path(method));
    if !method.is_server_streaming() {
        return print(globals, &client.unary(&path, request, codec).await?);
    }
    let mut stream = client.server_streaming(&path, request, codec).await?;
    loop {
        match stream.message().await {
            Ok(Some(message)) => print(globals, &message)?,
            Ok(None) => return Ok(()),
            Err(status) => return Err(Error::from(status).into()),
        }
    }
}

fn print(globals: &Globals, message: &DynamicMessage) -> Result<(), Failure> {
    // Names as in the .proto files, as people know them from definitions.
    let options = prost_reflect::SerializeOptions::new().use_proto_field_name(true);
    let value = message.serialize_with_options(serde_json::value::Serializer, &options);
    let value = value.map_err(|error| Failure::error(format!("can't print the answer: {error}")))?;
    match globals.output {
        super::args::Format::Yaml => term::print(&format!("---\n{}", term::yaml(&value)?)),
        _ => term::print(&term::json(&value)),
    }
}
