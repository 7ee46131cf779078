//! From the plan to the operators of a task.
//!
//! Every task gets operators of its own, because it owns their state. What is
//! the same for all tasks of an input is worked out once, in [`Lowered`].

use crate::input::{Input, distinct};
use crate::settings::Settings;
use crate::tree::{Branch, Counts, Tree};
use crate::unseen::Unseen;
use headwater_core::json::Locator;
use headwater_core::{Error, FieldPath, Result, TimestampMs};
use headwater_operators::{
    Apply, ApplyBatch, Assign, Deliver, Drop, Filter, FilterBy, Functions, Operator, Project,
    SetHeaders, SetTimestamp, ToTopic, TopicRoute, Update, Window,
};
use headwater_plan::{Expr, LogicalPlan, NodeId, Op, Origin, Target, TopicRef, UnaryOp};
use std::collections::BTreeMap;

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
        let locates = distinct(fields_below(plan, input));
        let mut reads = Vec::new();
        reads_below(plan, input, &mut Vec::new(), &mut reads);
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
        Ok(Tree {
            branches,
            is_always_careful: self.is_always_careful,
        })
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
        Ok(Some(match &self.plan.node(id).op {
            Op::Input(_) => return Ok(None),
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
                let stream = &self.plan.input_of(self.input).topic.name;
                Box::new(Window::new(spec, functions, stream)?)
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

fn has_state_below(plan: &LogicalPlan, id: NodeId) -> bool {
    let children = &plan.node(id).children;
    children
        .iter()
        .any(|&child| plan.is_stateful(child) || has_state_below(plan, child))
}

/// The node and all below it, each after its parent, branches in order.
fn collect(plan: &LogicalPlan, id: NodeId, order: &mut Vec<NodeId>) {
    order.push(id);
    for &child in &plan.node(id).children {
        collect(plan, child, order);
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
        Op::ToTopic { key_expr, .. } => key_expr.iter().flat_map(|expr| expr.fields()).collect(),
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
        fields.extend(
            node.children
                .iter()
                .flat_map(|&child| fields_below(plan, child)),
        );
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
        _ => {}
    }
    let replaces = matches!(
        node.op,
        Op::Apply(_) | Op::Update(_) | Op::ApplyBatch { .. } | Op::Window(_)
    );
    if !replaces {
        for &child in &node.children {
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
