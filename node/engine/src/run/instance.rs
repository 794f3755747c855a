//! A step instance: a vertex of the plan in one scope of the run, and how its path tells both.

use crate::{Plan, PlannedKind, PlannedStep, Role, StepId};

/// A scope of a run: `None` is the run itself, else a group, a container of items, or an item.
pub(crate) type ScopeId = Option<StepId>;

/// Marks, among the positions of a scope, the compensation of a child run, which has no vertex of its own.
const CHILD_COMPENSATION: u32 = 1 << 31;

/// An entry of a run, and what the plan says about it.
#[derive(Clone, Debug)]
pub(crate) struct Instance<'p> {
    pub(crate) id: StepId,
    /// Its vertex. Of an item, the container; of a child's compensation, the child.
    pub(crate) step: &'p PlannedStep,
    /// The item that it is, of the container.
    pub(crate) item: Option<u32>,
    /// It undoes another step.
    pub(crate) undoes: bool,
    /// The scope that it is in.
    pub(crate) scope: ScopeId,
}

impl<'p> Instance<'p> {
    /// `None` if the plan has nothing of that path.
    pub(crate) fn of(plan: &'p Plan, id: &StepId) -> Option<Self> {
        let undoes = id.undoes();
        let step = match (plan.step(&StepId::from(id.planned())), &undoes) {
            (Some(step), _) => step,
            // A child is undone by its own run: the plan has no vertex for that.
            (None, Some(child)) => plan.step(&StepId::from(child.planned())).filter(|step| undoes_child(step))?,
            (None, None) => return None,
        };
        if let Some((container, position)) = id.as_item() {
            return Some(Self { id: id.clone(), step, item: Some(position), undoes: false, scope: Some(container) });
        }
        let within = id.within();
        let owner = match step.role {
            Role::Guard { of } => Some(&plan.steps[of]),
            Role::Body | Role::Finally | Role::OnAttention | Role::Compensation { .. } => step.parent.map(|parent| &plan.steps[parent]),
        };
        let scope = match owner {
            None => None,
            Some(owner) if has_items(owner) => Some(within?),
            Some(owner) => Some(below(within.as_ref(), owner)),
        };
        Some(Self { id: id.clone(), step, item: None, undoes: undoes.is_some(), scope })
    }

    /// Its place among the entries of its scope: plan order, or the number of the item.
    pub(crate) fn position(&self) -> u32 {
        match self.item {
            Some(item) => item,
            None if self.is_child_compensation() => position(self.step) | CHILD_COMPENSATION,
            None => position(self.step),
        }
    }

    /// True for what undoes a child run by its own means.
    pub(crate) fn is_child_compensation(&self) -> bool {
        self.undoes && !matches!(self.step.role, Role::Compensation { .. })
    }

    /// True if it is a container of items.
    pub(crate) fn has_items(&self) -> bool {
        self.item.is_none() && !self.undoes && has_items(self.step)
    }

    /// True if it is one of the steps that its scope is made of, so that the scope ends with them.
    pub(crate) fn is_body(&self) -> bool {
        match self.step.role {
            _ if self.undoes => false,
            Role::Body => true,
            Role::Finally | Role::OnAttention => self.scope.is_some(),
            Role::Compensation { .. } | Role::Guard { .. } => false,
        }
    }

    /// True for what neither undoes something nor runs because people are waited for.
    pub(crate) fn goes_forward(&self) -> bool {
        !self.undoes && self.step.role != Role::OnAttention
    }

    /// The items around it, as a path.
    pub(crate) fn within(&self) -> Option<StepId> {
        self.id.within()
    }
}

/// The entry at a position of a scope.
pub(crate) fn entry_at(plan: &Plan, scope: &ScopeId, position: u32) -> Option<StepId> {
    if let Some(container) = scope
        && !is_item(container)
        && plan.step(&StepId::from(container.planned())).is_some_and(has_items)
    {
        return Some(container.item(position));
    }
    let step = plan.steps.get((position & !CHILD_COMPENSATION) as usize)?;
    let id = in_scope(scope, step);
    Some(if position & CHILD_COMPENSATION == 0 { id } else { id.compensation() })
}

/// The instance of a vertex in a scope.
pub(crate) fn in_scope(scope: &ScopeId, step: &PlannedStep) -> StepId {
    match scope {
        None => step.id.clone(),
        Some(item) if is_item(item) => below(Some(item), step),
        Some(group) => below(group.within().as_ref(), step),
    }
}

/// The instance of a vertex that a reader below these items sees: in the same item of each container that both are in.
pub(crate) fn seen_from(plan: &Plan, within: Option<&StepId>, step: &PlannedStep) -> StepId {
    let around = ancestors(plan, step).filter(|container| has_items(container)).count();
    below(within.and_then(|within| outer(within, around)).as_ref(), step)
}

/// The item of a container that a reader below these items is in.
pub(crate) fn item_around(plan: &Plan, within: Option<&StepId>, container: &PlannedStep) -> Option<(StepId, u32)> {
    let around = ancestors(plan, container).filter(|container| has_items(container)).count();
    outer(within?, around + 1)?.as_item()
}

/// True if nothing of the step begins while its run waits for people.
pub fn goes_forward(plan: &Plan, id: &StepId) -> bool {
    Instance::of(plan, id).is_none_or(|instance| instance.goes_forward())
}

/// Steps that have one entry in a run at most: a run counts them.
pub(crate) fn steps_total(plan: &Plan) -> u32 {
    let is_plain = |step: &&PlannedStep| step.id.is_plain() && !ancestors(plan, step).any(has_items);
    u32::try_from(plan.steps.iter().filter(is_plain).count()).unwrap_or(u32::MAX)
}

pub(crate) fn position(step: &PlannedStep) -> u32 {
    // A plan has 10,000 steps at most.
    u32::try_from(step.index).unwrap_or(u32::MAX)
}

pub(crate) fn has_items(step: &PlannedStep) -> bool {
    matches!(step.kind, PlannedKind::ForEach(_) | PlannedKind::Repeat(_))
}

pub(crate) fn is_item(scope: &StepId) -> bool {
    scope.as_str().ends_with(']')
}

/// The containers around a vertex, from the inside.
pub(crate) fn ancestors<'p>(plan: &'p Plan, step: &PlannedStep) -> impl Iterator<Item = &'p PlannedStep> {
    let parent = |step: &PlannedStep| step.parent.map(|parent| &plan.steps[parent]);
    std::iter::successors(parent(step), move |step| parent(step))
}

/// True for a child run that undoes itself when its parent asks.
fn undoes_child(step: &PlannedStep) -> bool {
    matches!(&step.kind, PlannedKind::Workflow(child) if child.compensate_child)
}

fn below(within: Option<&StepId>, step: &PlannedStep) -> StepId {
    match within {
        None => step.id.clone(),
        Some(item) => StepId(format!("{item}.{}", step.id).into()),
    }
}

/// The first parts of a path of items.
fn outer(within: &StepId, parts: usize) -> Option<StepId> {
    let end = within.as_str().match_indices('.').map(|(at, _)| at).chain([within.as_str().len()]).nth(parts.checked_sub(1)?)?;
    Some(StepId::from(&within.as_str()[..end]))
}
