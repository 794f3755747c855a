//! A crowd: many clients that start runs at the same moment, far more than the nodes have room for, each call sent once.
//!
//! Nodes of such a seed have little room, so that a crowd is small enough to be simulated. What must come of it: those who find no room are told so at
//! once, nothing else suffers, and afterwards all is as before.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use quorus_client::{
    Client, Connect, Error, Options, content_digest,
    v1::{self, run_service_client::RunServiceClient},
};
use tonic::transport::{Channel, Endpoint};

use super::{
    net::{self, SimulatedNet},
    scene::Scene,
    story::{self, Story},
    work,
};
use crate::record::{Call, Ending, Prediction, Shape, StepShape};

/// The host of the crowd.
pub(super) const HOST: &str = "crowd";

/// Room of a node for changes in a seed with a crowd: more than the clients need that are there all the time.
pub(super) const ROOM: usize = 6;
/// So many times as many as there is room for come at once.
const TIMES: usize = 16;
/// A crowd comes again while its fault lasts, but not more often.
const WAVES: u32 = 3;
/// Between two waves.
const PAUSE: Duration = Duration::from_secs(2);
/// How long one of them waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the host looks whether a crowd is wanted.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The workflow that it starts: it is over at once.
const WORKFLOW: &str = "moment";

/// Crowds that are wanted. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Crowd(Arc<Mutex<VecDeque<Wanted>>>);

struct Wanted {
    fault: u64,
    until: Duration,
}

impl Crowd {
    /// A crowd comes now, and again until then.
    pub(super) fn comes(&self, fault: u64, until: Duration) {
        self.0.lock().push_back(Wanted { fault, until });
    }
}

/// What its workflow promises.
pub(super) fn shape() -> (String, Shape) {
    let step = StepShape { step: "only".to_owned(), kind: "set".to_owned(), ..StepShape::default() };
    let prediction = Prediction { status: "RUN_STATUS_SUCCEEDED".to_owned(), ..Prediction::default() };
    let predictions = BTreeMap::from([(String::new(), prediction)]);
    (WORKFLOW.to_owned(), Shape { workflow: WORKFLOW.to_owned(), steps: vec![step], predictions })
}

/// Waits for crowds for ever.
pub(super) async fn run(crowd: Crowd, scene: Arc<Scene>, story: Story) -> turmoil::Result {
    define(&scene, &story).await?;
    let mut channels = Vec::new();
    for node in 1..=scene.nodes {
        channels.push(Connect::channel(&SimulatedNet, &Endpoint::from_shared(format!("http://{}", net::address(node)))?));
    }
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(wanted) = crowd.0.lock().pop_front() else { continue };
        for wave in 1..=WAVES {
            // Also before the first: one that comes late is no part of its fault.
            if story::now() >= wanted.until {
                break;
            }
            let count = TIMES * scene.room();
            let calls = (1..=count).zip(channels.iter().cycle());
            let calls = calls.map(|(number, channel)| start(channel.clone(), format!("{HOST}-{}-{wave}-{number}", wanted.fault), &story));
            let ended = futures::future::join_all(calls).await;
            let [done, refused] = [Some(true), Some(false)].map(|how| ended.iter().filter(|ended| **ended == how).count());
            story.note(format_args!("a crowd of {count}: {done} done, {refused} refused"));
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn define(scene: &Scene, story: &Story) -> Result<(), Error> {
    let client = Client::new(Options { endpoints: scene.endpoints(0), connector: Some(Arc::new(SimulatedNet)), ..Options::default() })?;
    let steps = "\n    - {id: only, set: 1}";
    while let Err(error) = client.apply_workflow(work::application(WORKFLOW, steps)).await {
        story.note(format_args!("{HOST} can't apply its workflow yet: {}", error.reason()));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// True if it was done, false if refused, none if nobody knows.
async fn start(channel: Channel, run_id: String, story: &Story) -> Option<bool> {
    let call = Call::Start {
        run_id: run_id.clone(),
        request_id: run_id.clone(),
        workflow: WORKFLOW.to_owned(),
        input_sha256: content_digest(None),
        retried: false,
    };
    let id = story.invoke(&run_id, call);
    let mut node = RunServiceClient::new(channel);
    let request = v1::StartRunRequest { workflow: WORKFLOW.to_owned(), request_id: run_id.clone(), run_id, ..Default::default() };
    let (ending, done) = match tokio::time::timeout(PATIENCE, node.start_run(request)).await {
        Ok(Ok(answer)) => (Ending::Ok(work::answer(&answer.into_inner().run.unwrap_or_default())), Some(true)),
        Ok(Err(status)) => {
            let error = Error::from(status);
            match work::is_answer(&error, false) {
                true => (Ending::Fail { reason: error.reason().to_owned() }, Some(false)),
                false => (Ending::Info { what: work::kind_of(&error) }, None),
            }
        }
        Err(_) => (Ending::Info { what: "silence".to_owned() }, None),
    };
    story.end(id, ending, |_| {});
    done
}
