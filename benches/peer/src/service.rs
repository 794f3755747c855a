//! The work on the peer's side: as many steps as are asked for, one after another, in its two ways.

use std::net::SocketAddr;

use restate_sdk::prelude::*;

struct Bench;

#[service]
impl Bench {
    /// Steps that the handler executes itself; each result is recorded before the next one begins.
    #[handler(name = "run")]
    async fn run(&self, ctx: Context<'_>, steps: u32) -> Result<u32, HandlerError> {
        for _ in 0..steps {
            ctx.run(|| async { Ok(true) }).await?;
        }
        Ok(steps)
    }

    /// Steps that another service executes: a task that is dispatched.
    #[handler(name = "call")]
    async fn call(&self, ctx: Context<'_>, steps: u32) -> Result<u32, HandlerError> {
        for step in 0..steps {
            ctx.service_client::<StepClient>().step(step).call().await?;
        }
        Ok(steps)
    }
}

struct Step;

#[service]
impl Step {
    /// Does nothing, as our worker does.
    #[handler(name = "step")]
    async fn step(&self, _ctx: Context<'_>, _number: u32) -> Result<bool, HandlerError> {
        Ok(true)
    }
}

/// Serves until the process is ended.
pub(crate) async fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    HttpServer::new(Endpoint::builder().bind(Bench).bind(Step).build()).listen_and_serve(listen).await;
    Ok(())
}
