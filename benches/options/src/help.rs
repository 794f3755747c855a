//! What the help says beyond single options.

/// Examples of the whole command.
pub const EXAMPLES: &str = "\
Examples:
  quorus bench chain --cluster 3 --runs 3000 --steps 10 --concurrency 1024
  quorus bench chain --runs 20000 --steps 10 --concurrency 1024 -o json > result.json
  quorus bench repeat result.json

See `quorus bench --help` for what the figures mean.";

/// Examples, and what each figure of a result means.
pub const FIGURES: &str = "\
Examples:
  quorus bench chain --cluster 3 --runs 3000 --steps 10 --concurrency 1024
  quorus bench chain --runs 20000 --steps 10 --concurrency 1024 -o json > result.json
  quorus bench repeat result.json

What the figures mean:
  runs_per_second   runs that succeeded / (first start sent .. last end received), warm-up left out
  steps_per_second  the same with steps: each is a task that a node leased to a worker process, which executed it (it does nothing) and
                    reported its outcome; every one of these changes is fsynced by a quorum of nodes
  run_latency_ms    to the arrival of the run's end at the client that waits for it. It counts from just before the start call in a
                    closed loop, and from when the run was to start in an open one: that a start had to wait is no excuse.
                    For `start`: to the answer of the call
  step_latency_ms   at the worker, from the moment it has executed the last step that a step needs to the moment it begins that step:
                    outcome sent, committed, next step decided, leased, committed, received. Only for `chain`, `mixed` and `waiting`,
                    and only with the worker in this process
  gap_ms            `failover`: for each client and event, the longest time from one answered run to the next
  closed loop       each client waits for the end of its run before it starts the next one. Under overload such clients wait in
                    place of sending more, so the latencies tell of this concurrency and of no rate
  open loop         runs start when they are due. Latencies have no coordinated omission: a stall counts for every run that was due in it
  nodes             memory at the end; CPU time and written bytes from the end of the warm-up to the end. For nodes of --cluster from
                    /proc; for others memory and CPU time from their /metrics, if --http names them";

pub(crate) const CHAIN: &str = "\
Examples:
  quorus bench chain --cluster 3 --runs 150 --concurrency 1       how long does a step take when nothing else goes on?
  quorus bench chain --cluster 3 --runs 3000 --concurrency 1024   how many steps a second are there?
  quorus bench chain --cluster 3 --runs 3000 --rate 100           what does a stream of arrivals wait?";

pub(crate) const FANOUT: &str = "\
Examples:
  quorus bench fanout --cluster 3 --items 10000 --warm-up 0
  quorus bench fanout --cluster 3 --items 100 --runs 200 --concurrency 16";

pub(crate) const MIXED: &str = "\
Examples:
  quorus bench mixed --cluster 3 --seed 7 --runs 5000 --concurrency 256
  quorus bench mixed --seed 7 --rate 50 --runs 3000";

pub(crate) const WAITING: &str = "\
The chain is measured twice: `empty` in the result is the one before the waiting runs are there. Runs that still wait at the end are
terminated, unless the cluster is stopped anyway.

Examples:
  quorus bench waiting --cluster 3 --parked 100000 --runs 3000 --concurrency 256
  quorus bench waiting --cluster 3 --parked 10000 --for timer --runs 1000 --rate 50";

pub(crate) const START: &str = "\
Examples:
  quorus bench start --cluster 3 --runs 10000 --concurrency 1024
  quorus bench start --cluster 3 --runs 10000 --rate 500";

pub(crate) const FAILOVER: &str = "\
Only with --cluster: no other node is killed. Each client starts runs by a schedule of its own and has one open at a time; what comes due
meanwhile starts right after, and its latency counts from when it was due. Calls are repeated on other nodes as the client library does it.

Examples:
  quorus bench failover --cluster 3
  quorus bench failover --cluster 3 --graceful --events 10 --clients 16 --rate 100
  quorus bench failover --cluster 3 --node 2 --steps 1 -o json";

pub(crate) const WORKER: &str = "\
With --cluster it prints where its nodes are, for load tools elsewhere.

Examples:
  quorus bench worker --endpoints 10.0.0.1:7401,10.0.0.2:7401 --capacity 4096
  quorus bench worker --cluster 3";

pub(crate) const REPEAT: &str = "\
Everything is as in the result, the output format too; only --quiet is taken from this command line.

Example:
  quorus bench chain --cluster 3 -o json > result.json && quorus bench repeat result.json";
