//! From the plan to the operators of a task.
//!
//! Every task gets operators of its own, because it owns their state. What is
//! the same for all tasks of an input is worked out once, in [`Lowered`].

use crate::input::{Input, distinct};
use crate::settings::Settings;
use crate::tally::Counts;
use crate::tree::{Branch, Tree};
use crate::unseen::Unseen;
use crate::upstream::Exit;
use headwater_core::json::Locator;
use headwater_core::{Error, FieldPath, Result, TimestampMs};
use headwater_operators::{
    Apply, ApplyBatch, Assign, Deliver, Drop, Filter, FilterBy, Functions, Operator, Project,
    Repartition, SetHeaders, SetTimestamp, ToTopic, TopicRoute, Update, Window,
};
use headwater_plan::{Expr, GroupBy, LogicalPlan, NodeId, Op, Origin, Target, TopicRef, UnaryOp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One input topic of a plan, ready to be made into tasks.
pub(crate) struct Lowered<'a> {
    plan: &'a LogicalPlan,
    functions: &'a Functions,
    settings: &'a Settings,
    /// The partitions of every topic that the plan may write to.
    partitions: &'a BTreeMap<String, u32>,
    /// Topics that a dynamic target may name.
    declared: &'a [TopicRef],
    input: NodeId,
    /// The nodes below the input, each after its parent, and their branch index.
    order: Vec<NodeId>,
    locates: Vec<FieldPath>,
    reads: Vec<FieldPath>,
    is_always_careful: bool,
}

impl<'a> Lowered<'a> {
    /// Works out what all tasks of one input share.
    pub(crate) fn new(
        plan: &'a LogicalPlan,
        input: NodeId,
        functions: &'a Functions,
        settings: &'a Settings,
        partitions: &'a BTreeMap<String, u32>,
        declared: &'a [TopicRef],
    ) -> Self {
        let mut order = Vec::new();
        collect(plan, input, &mut order);
        // A change of key is itself part of the subtopology before it.
        let firsts = match &plan.node(input).op {
            Op::GroupBy(_) => plan.node(input).children.as_slice(),
            _ => std::slice::from_ref(&input),
        };
        let locates = distinct(firsts.iter().flat_map(|&id| fields_below(plan, id)));
        let mut reads = Vec::new();
        for &id in firsts {
            reads_below(plan, id, &mut Vec::new(), &mut reads);
        }
        let reads = distinct(reads);
        let is_always_careful = sees_order_of_others(plan, &order);
        Lowered {
            plan,
            functions,
            settings,
            partitions,
            declared,
            input,
            order,
            locates,
            reads,
            is_always_careful,
        }
    }

    /// How a task of this input reads its records.
    ///
    /// # Errors
    /// `Invalid` for a function that was not registered.
    pub(crate) fn input(&self) -> Result<Input> {
        let input = self.plan.input_of(self.input);
        let extractor = match &input.timestamp {
            Origin::Record => None,
            Origin::Expr(expr) => Some(SetTimestamp::by_expr(expr, self.functions)?),
            Origin::Function(function) => {
                Some(SetTimestamp::by_function(function, self.functions)?)
            }
        };
        Ok(Input {
            plan_id: self.input,
            format: input.topic.value,
            locator: Locator::new(&self.locates),
            unseen: Unseen::new(self.reads.clone()),
            extractor,
            max_future_ms: self.settings.max_future_ms,
            max_out_of_orderness_ms: self.settings.max_out_of_orderness_ms,
            idle_timeout_ms: self
                .settings
                .idle_timeout
                .map(|timeout| timeout.as_millis() as i64),
        })
    }

    /// The operators of one task.
    ///
    /// # Errors
    /// `Invalid` for what only shows when an operator is made.
    pub(crate) fn tree(&self) -> Result<Tree> {
        let mut branches: Vec<Branch> = Vec::new();
        let index_of = |id: NodeId| self.order.iter().position(|&other| other == id);
        for &id in &self.order {
            let node = self.plan.node(id);
            let parent = (id != self.input)
                .then_some(node.parent)
                .flatten()
                .and_then(index_of);
            let is_below_state = parent.is_some_and(|parent| branches[parent].is_after_state);
            let is_stateful = self.plan.is_stateful(id) && id != self.input;
            branches.push(Branch {
                plan_id: id,
                operator: self.operator(id)?,
                children: node
                    .children
                    .iter()
                    .filter_map(|&child| index_of(child))
                    .collect(),
                is_after_state: is_below_state || is_stateful,
                is_first_stateful: is_stateful && !is_below_state,
                clock: self
                    .sets_time_of_windows(id, is_below_state)
                    .then_some(TimestampMs::MIN),
                counts: Counts::default(),
            });
        }
        let exits = self.exits(&branches);
        Ok(Tree {
            branches,
            exits,
            is_always_careful: self.is_always_careful,
        })
    }

    /// The changes of key at which this subtopology ends.
    fn exits(&self, branches: &[Branch]) -> Vec<Exit> {
        let is_exit = |id: &&NodeId| self.is_exit(**id);
        let exit = |&id: &NodeId| {
            let topic = Arc::clone(&self.plan.input_of(id).topic.name);
            let partitions = self.partitions.get(&*topic).copied().unwrap_or(0);
            let (mut clock_of, mut behind_ms) = (None, 0);
            let mut above = self.plan.node(id).parent;
            while let Some(node) = above.filter(|&node| node != self.input) {
                let branch = self.order.iter().position(|&other| other == node);
                clock_of = clock_of.or(branch.filter(|&branch| branches[branch].clock.is_some()));
                if let Op::Window(spec) = &self.plan.node(node).op {
                    behind_ms += spec.length.size_ms() + spec.grace_ms;
                }
                above = self.plan.node(node).parent;
            }
            Exit {
                topic,
                partitions,
                clock_of,
                behind_ms,
                closes_within_ms: closes_within(self.plan, id).map(|below_ms| {
                    below_ms + behind_ms + self.settings.max_out_of_orderness_ms + TICKS_MS
                }),
            }
        };
        self.order.iter().filter(is_exit).map(exit).collect()
    }

    /// Whether a node sends its rows to a repartition topic.
    fn is_exit(&self, id: NodeId) -> bool {
        id != self.input && matches!(self.plan.node(id).op, Op::GroupBy(_))
    }

    /// Whether a node sets the times by which windows below it are judged.
    fn sets_time_of_windows(&self, id: NodeId, is_below_state: bool) -> bool {
        let sets = matches!(
            self.plan.node(id).op,
            Op::SetTimestamp(_) | Op::SetTimestampBy(_)
        );
        sets && !is_below_state && has_state_below(self.plan, id)
    }

    fn operator(&self, id: NodeId) -> Result<Option<Box<dyn Operator>>> {
        let functions = self.functions;
        if id == self.input {
            return Ok(None);
        }
        Ok(Some(match &self.plan.node(id).op {
            Op::Input(_) => return Ok(None),
            Op::GroupBy(group_by) => {
                let target = Target::Topic(group_by.input.topic.clone());
                let (key, key_expr) = (group_by.key.as_ref(), group_by.key_expr.as_ref());
                let routes = self.routes(&target)?;
                let appends = ToTopic::new(routes, &target, key, key_expr, functions)?;
                Box::new(Repartition::new(appends))
            }
            Op::Filter(expr) => Box::new(Filter::new(expr, functions)?),
            Op::Assign(fields) => Box::new(Assign::new(fields, functions)?),
            Op::Project(names) => Box::new(Project::new(names.clone())),
            Op::Drop { names, missing } => Box::new(Drop::new(names.clone(), *missing)),
            Op::Apply(function) => Box::new(Apply::new(function, functions)?),
            Op::Update(function) => Box::new(Update::new(function, functions)?),
            Op::FilterBy(function) => Box::new(FilterBy::new(function, functions)?),
            Op::ApplyBatch {
                function,
                columns,
                form,
            } => Box::new(ApplyBatch::new(
                function,
                columns.clone(),
                *form,
                functions,
            )?),
            Op::SetTimestamp(expr) => Box::new(SetTimestamp::by_expr(expr, functions)?),
            Op::SetTimestampBy(function) => {
                Box::new(SetTimestamp::by_function(function, functions)?)
            }
            Op::SetHeaders(function) => Box::new(SetHeaders::new(function, functions)?),
            Op::Window(spec) => {
                let stream = self.plan.stream_of(self.input);
                let window = Window::new(spec, functions, stream)?;
                match self.plan.upstream_of(self.input) {
                    Some(_) => Box::new(window.behind_a_change_of_key()),
                    None => Box::new(window),
                }
            }
            Op::ToTopic {
                target,
                key,
                key_expr,
            } => {
                let routes = self.routes(target)?;
                Box::new(ToTopic::new(
                    routes,
                    target,
                    key.as_ref(),
                    key_expr.as_ref(),
                    functions,
                )?)
            }
            Op::Sink { .. } | Op::Print(_) | Op::PrintTable(_) => Box::new(Deliver::new()),
        }))
    }

    fn routes(&self, target: &Target) -> Result<Vec<TopicRoute>> {
        let topics: Vec<&TopicRef> = match target {
            Target::Topic(topic) => vec![topic],
            Target::Dynamic { .. } => self.declared.iter().collect(),
        };
        topics
            .into_iter()
            .map(|topic| {
                let partitions = self.partitions.get(&*topic.name).copied().ok_or_else(|| {
                    Error::invalid(format!(
                        "a topic to write to does not exist, topic=`{}`",
                        topic.name
                    ))
                })?;
                Ok(TopicRoute {
                    topic: topic.clone(),
                    partitions,
                })
            })
            .collect()
    }
}

/// The steps after a node in the same subtopology: after a change of key the rows
/// go on in another.
fn steps_after(plan: &LogicalPlan, id: NodeId) -> &[NodeId] {
    match &plan.node(id).op {
        Op::GroupBy(_) => &[],
        _ => &plan.node(id).children,
    }
}

/// Whether state, or a time that others are told of, hangs on what lies below a node.
fn has_state_below(plan: &LogicalPlan, id: NodeId) -> bool {
    steps_after(plan, id).iter().any(|&child| {
        plan.is_stateful(child)
            || matches!(plan.node(child).op, Op::GroupBy(_))
            || has_state_below(plan, child)
    })
}

/// Ticks come once a second; the last one must be past what waits for it.
const TICKS_MS: i64 = 2_000;

/// The length of all windows below a change of key, in whatever subtopology: so long
/// after a key's last record they may still be open. `None` if there is none.
fn closes_within(plan: &LogicalPlan, id: NodeId) -> Option<i64> {
    let mut longest = None;
    for &child in &plan.node(id).children {
        let own = match &plan.node(child).op {
            Op::Window(spec) => Some(spec.length.size_ms() + spec.grace_ms),
            _ => None,
        };
        let all = match (own, closes_within(plan, child)) {
            (Some(own), Some(below)) => Some(own + below),
            (own, below) => own.or(below),
        };
        longest = longest.max(all);
    }
    longest
}

/// The nodes of the subtopology of an input, each after its parent, branches in
/// order.
fn collect(plan: &LogicalPlan, input: NodeId, order: &mut Vec<NodeId>) {
    order.push(input);
    for &child in &plan.node(input).children {
        collect_below(plan, child, order);
    }
}

fn collect_below(plan: &LogicalPlan, id: NodeId, order: &mut Vec<NodeId>) {
    order.push(id);
    for &child in steps_after(plan, id) {
        collect_below(plan, child, order);
    }
}

/// The fields that operators below a node name before they replace the row.
fn fields_below(plan: &LogicalPlan, id: NodeId) -> Vec<FieldPath> {
    let node = plan.node(id);
    let names = |names: &[Box<str>]| -> Vec<FieldPath> {
        names.iter().map(|name| FieldPath::name(name)).collect()
    };
    let mut fields = match &node.op {
        Op::Input(input) => match &input.timestamp {
            Origin::Expr(expr) => expr.fields(),
            Origin::Function(function) => function.reads.clone(),
            Origin::Record => Vec::new(),
        },
        Op::Filter(expr) | Op::SetTimestamp(expr) => expr.fields(),
        Op::Assign(assigned) => assigned
            .iter()
            .flat_map(|(name, expr)| expr.fields().into_iter().chain([FieldPath::name(name)]))
            .collect(),
        Op::Project(listed) | Op::Drop { names: listed, .. } => names(listed),
        Op::ApplyBatch { columns, .. } => names(columns),
        Op::ToTopic { key_expr, .. } | Op::GroupBy(GroupBy { key_expr, .. }) => {
            key_expr.iter().flat_map(|expr| expr.fields()).collect()
        }
        Op::Window(spec) => {
            let inputs = spec
                .aggregates
                .iter()
                .filter_map(|aggregate| aggregate.input.as_ref());
            inputs.flat_map(|expr| expr.fields()).collect()
        }
        _ => Vec::new(),
    };
    fields.extend(
        plan.functions_of(id)
            .into_iter()
            .flat_map(|function| function.reads.clone()),
    );
    if !matches!(node.op, Op::Apply(_) | Op::Window(_)) {
        let after = steps_after(plan, id).iter();
        fields.extend(after.flat_map(|&child| fields_below(plan, child)));
    }
    fields
}

/// The fields of a record that expressions read, without those that an earlier
/// step assigns. A test for null expects that a field may be missing.
fn reads_below<'a>(
    plan: &'a LogicalPlan,
    id: NodeId,
    assigned: &mut Vec<&'a str>,
    reads: &mut Vec<FieldPath>,
) {
    let node = plan.node(id);
    let before = assigned.len();
    let mut read = |expr: &'a Expr, assigned: &[&str]| {
        let mut is_null_test = false;
        expr.walk(&mut |part| {
            is_null_test |= matches!(
                part,
                Expr::Unary {
                    op: UnaryOp::IsNull | UnaryOp::NotNull,
                    ..
                } | Expr::Coalesce { .. }
                    | Expr::HasFields(_)
            );
        });
        if !is_null_test {
            let is_own =
                |field: &FieldPath| !assigned.iter().any(|name| field.root() == Some(name));
            reads.extend(expr.fields().into_iter().filter(is_own));
        }
    };
    match &node.op {
        Op::Filter(expr) | Op::SetTimestamp(expr) => read(expr, assigned),
        Op::Assign(fields) => {
            for (name, expr) in fields {
                read(expr, assigned);
                assigned.push(name);
            }
        }
        Op::Window(spec) => {
            for expr in spec
                .aggregates
                .iter()
                .filter_map(|aggregate| aggregate.input.as_ref())
            {
                read(expr, assigned);
            }
        }
        Op::GroupBy(group_by) => group_by.key_expr.iter().for_each(|key| read(key, assigned)),
        _ => {}
    }
    let replaces = matches!(
        node.op,
        Op::Apply(_) | Op::Update(_) | Op::ApplyBatch { .. } | Op::Window(_)
    );
    if !replaces {
        for &child in steps_after(plan, id) {
            reads_below(plan, child, assigned, reads);
        }
    }
    assigned.truncate(before);
}

/// Whether two operators see each other's effects in an order that would depend
/// on how batches are cut: they append to one topic, share the keyed store,
/// deliver to one sink, or print.
fn sees_order_of_others(plan: &LogicalPlan, order: &[NodeId]) -> bool {
    let mut shared: Vec<String> = Vec::new();
    let mut dynamic = 0;
    let mut topics = 0;
    for &id in order {
        let node = plan.node(id);
        let uses_keyed_store = !matches!(node.op, Op::Window(_)) && plan.is_stateful(id);
        if uses_keyed_store {
            shared.push("state".into());
        }
        match &node.op {
            Op::ToTopic {
                target: Target::Topic(topic),
                ..
            } => {
                topics += 1;
                shared.push(format!("topic {}", topic.name));
            }
            Op::ToTopic {
                target: Target::Dynamic { .. },
                ..
            } => dynamic += 1,
            Op::Sink { name } => shared.push(format!("sink {name}")),
            Op::Print(_) => shared.push("print".into()),
            _ => {}
        }
    }
    let count = shared.len();
    shared.sort();
    shared.dedup();
    shared.len() < count || dynamic > 1 || (dynamic > 0 && topics > 0)
}
