//! What steps are.

use quorus_engine::{
    ApprovalDefinition, ChildDefinition, EmitDefinition, FailDefinition, ForEachDefinition, GateDefinition, GroupDefinition,
    GuardDefinition, HttpDefinition, Kind, MetricQuery, OnItemFailure, OnParentClose, PoolDefinition, RepeatDefinition, SignalDefinition,
    SignalTarget, SinkDefinition, TaskDefinition, Wait,
};
use quorus_proto::v1::{self, compensation, gate_step, metric_query, step, wait_step};

use super::{Compiler, step::given};

impl Compiler {
    /// `path` is that of the step.
    pub(super) fn kind(&mut self, path: &str, kind: &step::Kind) -> Kind {
        match kind {
            step::Kind::Task(task) => Kind::Task(self.task(&format!("{path}.task"), task)),
            step::Kind::Wait(wait) => Kind::Wait(self.wait(&format!("{path}.wait"), wait)),
            step::Kind::Set(template) => Kind::Set(self.template(&format!("{path}.set"), Some(template)).unwrap_or_default()),
            step::Kind::Http(http) => Kind::Http(self.http(&format!("{path}.http"), http)),
            step::Kind::Signal(signal) => Kind::Signal(SignalDefinition {
                name: signal.name.clone(),
                matches: given(&signal.r#match),
                unbuffered: signal.buffered == Some(false),
            }),
            step::Kind::Approval(approval) => Kind::Approval(ApprovalDefinition {
                approvers: approval.approvers.clone(),
                required: approval.required,
                exclude_starter: approval.exclude_starter,
            }),
            step::Kind::Gate(gate) => Kind::Gate(self.gate(&format!("{path}.gate"), gate)),
            step::Kind::Group(group) => Kind::Group(self.group(&format!("{path}.group"), group)),
            step::Kind::ForEach(each) => Kind::ForEach(self.for_each(&format!("{path}.for_each"), each)),
            step::Kind::Repeat(repeat) => Kind::Repeat(self.repeat(&format!("{path}.repeat"), repeat)),
            step::Kind::Workflow(child) => Kind::Workflow(self.child(&format!("{path}.workflow"), child)),
            step::Kind::Emit(emit) => Kind::Emit(self.emit(&format!("{path}.emit"), emit)),
            step::Kind::Fail(fail) => Kind::Fail(FailDefinition { failure_type: fail.r#type.clone(), message: fail.message.clone() }),
        }
    }

    /// `path` is that of the compensation.
    pub(super) fn compensation_kind(&mut self, path: &str, kind: &compensation::Kind) -> Kind {
        match kind {
            compensation::Kind::Task(task) => Kind::Task(self.task(&format!("{path}.task"), task)),
            compensation::Kind::Http(http) => Kind::Http(self.http(&format!("{path}.http"), http)),
            compensation::Kind::Gate(gate) => Kind::Gate(self.gate(&format!("{path}.gate"), gate)),
            compensation::Kind::Emit(emit) => Kind::Emit(self.emit(&format!("{path}.emit"), emit)),
        }
    }

    fn task(&mut self, path: &str, task: &v1::TaskStep) -> TaskDefinition {
        let pools = task.pools.iter().enumerate().map(|(index, pool)| PoolDefinition {
            queue: pool.queue.clone(),
            max_preemptions: pool.max_preemptions,
            max_wait: self.millis(&format!("{path}.pools[{index}].max_wait"), pool.max_wait.as_ref()),
            move_when_remaining: self.millis(&format!("{path}.pools[{index}].move_when_remaining"), pool.move_when_remaining.as_ref()),
        });
        TaskDefinition {
            pools: pools.collect(),
            task_type: task.r#type.clone(),
            queue: task.queue.clone(),
            priority: task.priority,
            selectors: task.selectors.clone(),
        }
    }

    fn wait(&mut self, path: &str, wait: &v1::WaitStep) -> Wait {
        match &wait.when {
            None => Wait::Missing,
            Some(wait_step::When::For(duration)) => self.millis(&format!("{path}.for"), Some(duration)).map_or(Wait::Missing, Wait::For),
            Some(wait_step::When::ForExpression(source)) => Wait::ForExpression(source.clone()),
            Some(wait_step::When::Until(time)) => Wait::Until(time.clone()),
        }
    }

    fn http(&mut self, path: &str, http: &v1::HttpStep) -> HttpDefinition {
        HttpDefinition {
            method: http.method.clone(),
            url: http.url.clone(),
            headers: http.headers.clone(),
            body: self.template(&format!("{path}.body"), http.body.as_ref()),
            expect: http.expect.clone(),
            max_body_bytes: http.max_body_bytes,
            allow_private: http.allow_private,
            fail_on_crash: matches!(self.choice(&format!("{path}.on_crash"), http.on_crash), v1::OnCrash::Fail),
        }
    }

    fn gate(&mut self, path: &str, gate: &v1::GateStep) -> GateDefinition {
        let query = gate.query.as_ref().map(|query| match query {
            gate_step::Query::Prometheus(query) => prometheus(query),
            gate_step::Query::Http(query) => http_query(query),
        });
        let named = |query: &v1::MetricQuery| {
            query.source.as_ref().map(|source| match source {
                metric_query::Source::Prometheus(query) => prometheus(query),
                metric_query::Source::Http(query) => http_query(query),
            })
        };
        GateDefinition {
            query,
            queries: gate.queries.iter().map(|(name, query)| (name.clone(), named(query))).collect(),
            condition: gate.condition.clone(),
            fail_if: given(&gate.fail_if),
            interval: self.millis(&format!("{path}.interval"), gate.interval.as_ref()),
            hold_for: self.millis(&format!("{path}.hold_for"), gate.hold_for.as_ref()),
            fail_on_no_data: matches!(self.choice(&format!("{path}.no_data"), gate.no_data), v1::NoData::Fail),
        }
    }

    fn group(&mut self, path: &str, group: &v1::GroupStep) -> GroupDefinition {
        GroupDefinition {
            steps: self.steps(&format!("{path}.steps"), &group.steps),
            output: self.template(&format!("{path}.output"), group.output.as_ref()),
            guard: group.guard.as_ref().map(|guard| GuardDefinition {
                gate: guard.gate.as_ref().map(|gate| self.gate(&format!("{path}.guard.gate"), gate)),
                breach_for: self.millis(&format!("{path}.guard.breach_for"), guard.breach_for.as_ref()),
            }),
        }
    }

    fn for_each(&mut self, path: &str, each: &v1::ForEachStep) -> ForEachDefinition {
        ForEachDefinition {
            items: self.template(&format!("{path}.in"), each.r#in.as_ref()),
            steps: self.steps(&format!("{path}.steps"), &each.steps),
            max_parallel: each.max_parallel,
            stagger: self.millis(&format!("{path}.stagger"), each.stagger.as_ref()),
            max_failures: each.max_failures,
            max_failures_percent: each.max_failures_percent,
            on_item_failure: match self.choice(&format!("{path}.on_item_failure"), each.on_item_failure) {
                v1::OnItemFailure::Unspecified | v1::OnItemFailure::DeadLetter => OnItemFailure::DeadLetter,
                v1::OnItemFailure::Drop => OnItemFailure::Drop,
            },
            collect: self.template(&format!("{path}.collect"), each.collect.as_ref()),
            compensate_parallel: each.compensate_parallel,
        }
    }

    fn repeat(&mut self, path: &str, repeat: &v1::RepeatStep) -> RepeatDefinition {
        RepeatDefinition {
            steps: self.steps(&format!("{path}.steps"), &repeat.steps),
            until: repeat.until.clone(),
            interval: self.millis(&format!("{path}.interval"), repeat.interval.as_ref()),
            max_iterations: repeat.max_iterations,
            output: self.template(&format!("{path}.output"), repeat.output.as_ref()),
        }
    }

    fn child(&mut self, path: &str, child: &v1::WorkflowStep) -> ChildDefinition {
        ChildDefinition {
            name: child.name.clone(),
            version: child.version.clone(),
            compensate_child: child.compensate_child,
            on_parent_close: match self.choice(&format!("{path}.on_parent_close"), child.on_parent_close) {
                v1::OnParentClose::Unspecified | v1::OnParentClose::Cancel => OnParentClose::Cancel,
                v1::OnParentClose::Abandon => OnParentClose::Abandon,
            },
            output: self.template(&format!("{path}.output"), child.output.as_ref()),
        }
    }

    fn emit(&mut self, path: &str, emit: &v1::EmitStep) -> EmitDefinition {
        let sink = |sink: &v1::EmitSink| SinkDefinition {
            http: sink.http.clone(),
            headers: sink.headers.clone(),
            allow_private: sink.allow_private,
        };
        EmitDefinition {
            event_type: emit.r#type.clone(),
            source: emit.source.clone(),
            subject: emit.subject.clone(),
            data: self.template(&format!("{path}.data"), emit.data.as_ref()),
            sinks: emit.sinks.iter().map(sink).collect(),
            signal: emit.signal.as_ref().map(|signal| SignalTarget {
                run_id: signal.run_id.clone(),
                name: signal.name.clone(),
                start: signal.start,
                workflow: signal.workflow.clone(),
                input: self.template(&format!("{path}.signal.input"), signal.input.as_ref()),
            }),
        }
    }
}

fn prometheus(query: &v1::PrometheusQuery) -> MetricQuery {
    MetricQuery::Prometheus {
        url: query.url.clone(),
        query: query.query.clone(),
        headers: query.headers.clone(),
        allow_private: query.allow_private,
    }
}

fn http_query(query: &v1::HttpQuery) -> MetricQuery {
    MetricQuery::Http {
        url: query.url.clone(),
        headers: query.headers.clone(),
        value: query.value.clone(),
        allow_private: query.allow_private,
    }
}
