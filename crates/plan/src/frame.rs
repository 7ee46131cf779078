//! Data frames and the plan they make together.

use crate::{
    AggregateFunction, Expr, FunctionRef, GroupBy, Input, Op, Print, StoreId, StoreUse, Target,
    TopicRef, WindowSpec,
};
use headwater_core::{Error, Result};
use std::sync::Arc;

/// The user's handle on a list of operations. Immutable: every method returns
/// another frame, and two frames made from one are its branches.
#[derive(Clone, Debug)]
pub struct DataFrame(Arc<Link>);

#[derive(Debug)]
struct Link {
    op: Op,
    parent: Option<DataFrame>,
    line: Option<Arc<str>>,
}

impl DataFrame {
    /// The rows of a topic.
    pub fn input(input: Input) -> DataFrame {
        DataFrame(Arc::new(Link {
            op: Op::Input(input),
            parent: None,
            line: None,
        }))
    }

    /// The rows of a topic of JSON values.
    pub fn topic(name: &str) -> DataFrame {
        DataFrame::input(Input {
            topic: TopicRef::json(name),
            timestamp: Default::default(),
        })
    }

    /// This frame with one more step.
    #[must_use]
    pub fn then(&self, op: Op) -> DataFrame {
        DataFrame(Arc::new(Link {
            op,
            parent: Some(self.clone()),
            line: None,
        }))
    }

    /// This frame with one more step, which the user wrote at `line`.
    #[must_use]
    pub fn then_at(&self, op: Op, line: Option<Arc<str>>) -> DataFrame {
        DataFrame(Arc::new(Link {
            op,
            parent: Some(self.clone()),
            line,
        }))
    }

    /// Keeps the rows where the predicate is true.
    #[must_use]
    pub fn filter(&self, predicate: Expr) -> DataFrame {
        self.then(Op::Filter(predicate))
    }

    /// Sets a field.
    #[must_use]
    pub fn assign(&self, name: &str, value: impl Into<Expr>) -> DataFrame {
        self.then(Op::Assign(vec![(name.into(), value.into())]))
    }

    /// Keeps the named fields alone.
    #[must_use]
    pub fn project(&self, names: &[&str]) -> DataFrame {
        self.then(Op::Project(names.iter().map(|&name| name.into()).collect()))
    }

    /// Aggregates over windows of event time, for each key.
    #[must_use]
    pub fn window(&self, spec: WindowSpec) -> DataFrame {
        self.then(Op::Window(spec))
    }

    /// Goes on with the rows under another key, which `key` gives; `name` tells it
    /// from other changes of key of the same stream. Keys are written as JSON.
    ///
    /// # Examples
    ///
    /// ```
    /// use headwater_plan::{DataFrame, LogicalPlan, col, explain};
    ///
    /// # fn main() -> headwater_core::Result<()> {
    /// let by_city = DataFrame::topic("orders").group_by("city", col("city"));
    /// let plan = LogicalPlan::new(&[by_city.to_topic("orders-by-city")])?;
    /// assert!(explain(&plan).contains("group by city"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn group_by(&self, name: &str, key: Expr) -> DataFrame {
        let mut topic = TopicRef::json(name);
        topic.key = crate::TextFormat::Json;
        self.then(self.group_by_op(name, None, Some(key), topic))
    }

    /// The operation of [`DataFrame::group_by`], with a function for the key
    /// or other formats.
    pub fn group_by_op(
        &self,
        name: &str,
        key: Option<FunctionRef>,
        key_expr: Option<Expr>,
        formats: TopicRef,
    ) -> Op {
        let stream: Arc<str> = format!("{}--groupby--{name}", self.stream()).into();
        let topic = TopicRef {
            name: Arc::clone(&stream),
            ..formats
        };
        let timestamp = crate::Origin::Record;
        Op::GroupBy(GroupBy {
            stream,
            input: Input { topic, timestamp },
            key,
            key_expr,
        })
    }

    /// The name of the stream that the frame is of: its topic, and each change of
    /// key since.
    fn stream(&self) -> &str {
        match (&self.0.op, &self.0.parent) {
            (Op::Input(input), _) => &input.topic.name,
            (Op::GroupBy(group_by), _) => &group_by.stream,
            (_, Some(parent)) => parent.stream(),
            (_, None) => unreachable!("a frame begins with its input"),
        }
    }

    /// Appends each row to a topic of JSON values.
    #[must_use]
    pub fn to_topic(&self, name: &str) -> DataFrame {
        let target = Target::Topic(TopicRef::json(name));
        self.then(Op::ToTopic {
            target,
            key: None,
            key_expr: None,
        })
    }

    /// Hands each row to the sink of that name.
    #[must_use]
    pub fn sink(&self, name: &str) -> DataFrame {
        self.then(Op::Sink { name: name.into() })
    }

    /// Writes each row to the standard output.
    #[must_use]
    pub fn print(&self) -> DataFrame {
        self.then(Op::Print(Print {
            is_pretty: false,
            has_metadata: false,
        }))
    }

    /// The newest step.
    pub fn op(&self) -> &Op {
        &self.0.op
    }

    /// The frame before the newest step.
    pub fn parent(&self) -> Option<&DataFrame> {
        self.0.parent.as_ref()
    }

    /// Whether both are the same frame, not merely an equal one.
    pub fn is(&self, other: &DataFrame) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The topic at the frame's beginning.
    pub fn origin(&self) -> &Input {
        match (&self.0.op, &self.0.parent) {
            (Op::Input(input), _) => input,
            (_, Some(parent)) => parent.origin(),
            (_, None) => unreachable!("a frame begins with its input"),
        }
    }
}

/// The beginning of all repartition topics of an application.
pub fn repartition_prefix(application: &str) -> String {
    format!("repartition__{application}--")
}

/// The number of a node within its plan.
pub type NodeId = usize;

/// One operation of a plan.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// The operation before it; `None` for an input.
    pub parent: Option<NodeId>,
    /// The operations after it, in the order in which they run.
    pub children: Vec<NodeId>,
    /// The user's line.
    pub line: Option<Arc<str>>,
}

/// All operations of an application: one tree for each input topic.
#[derive(Clone, Debug, Default)]
pub struct LogicalPlan {
    nodes: Vec<Node>,
}

impl LogicalPlan {
    /// The plan of some frames. Steps that frames share run once; branches run
    /// in the order in which `frames` first names them.
    ///
    /// # Errors
    /// `Invalid` where one topic is read by two frames of different origin, two
    /// stateful steps would share a store, or a window is malformed.
    pub fn new(frames: &[DataFrame]) -> Result<LogicalPlan> {
        let mut plan = LogicalPlan::default();
        let mut known: Vec<(DataFrame, NodeId)> = Vec::new();
        for frame in frames {
            plan.add(frame, &mut known);
        }
        plan.check()?;
        Ok(plan)
    }

    fn add(&mut self, frame: &DataFrame, known: &mut Vec<(DataFrame, NodeId)>) -> NodeId {
        if let Some((_, id)) = known.iter().find(|(other, _)| other.is(frame)) {
            return *id;
        }
        let parent = frame.parent().map(|parent| self.add(parent, known));
        let op = frame.op().clone();
        let same = parent.and_then(|parent| {
            self.nodes[parent].children.iter().copied().find(|&child| {
                matches!(op, Op::Window(_) | Op::GroupBy(_)) && self.nodes[child].op == op
            })
        });
        let id = same.unwrap_or_else(|| {
            self.nodes.push(Node {
                op,
                parent,
                children: Vec::new(),
                line: frame.0.line.clone(),
            });
            let id = self.nodes.len() - 1;
            if let Some(parent) = parent {
                self.nodes[parent].children.push(id);
            }
            id
        });
        known.push((frame.clone(), id));
        id
    }

    /// The operations, each after its parent.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One operation.
    ///
    /// # Panics
    /// If the plan has no such node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// The inputs with their nodes: topics, and the repartition topics of changes
    /// of key, each after that which fills it.
    pub fn inputs(&self) -> impl Iterator<Item = (NodeId, &Input)> {
        self.nodes
            .iter()
            .enumerate()
            .filter_map(|(id, node)| match &node.op {
                Op::Input(input) => Some((id, input)),
                Op::GroupBy(group_by) => Some((id, &group_by.input)),
                _ => None,
            })
    }

    /// The node at which the subtopology of a node's rows begins: an input, or the
    /// last change of key. It is itself where one begins.
    pub fn root_of(&self, id: NodeId) -> NodeId {
        let node = self.node(id);
        match (&node.op, node.parent) {
            (Op::Input(_) | Op::GroupBy(_), _) => id,
            (_, Some(parent)) => self.root_of(parent),
            (_, None) => unreachable!("only an input has no parent"),
        }
    }

    /// The input that a node's rows come from; of a change of key, the repartition topic.
    pub fn input_of(&self, id: NodeId) -> &Input {
        match &self.node(self.root_of(id)).op {
            Op::Input(input) => input,
            Op::GroupBy(group_by) => &group_by.input,
            _ => unreachable!("a subtopology begins with an input"),
        }
    }

    /// The name of the stream that a node's rows are of. Store ids begin with it.
    pub fn stream_of(&self, id: NodeId) -> &str {
        match &self.node(self.root_of(id)).op {
            Op::GroupBy(group_by) => &group_by.stream,
            _ => &self.input_of(id).topic.name,
        }
    }

    /// The node whose input is a repartition topic, and the number of the input
    /// that fills it; `None` for an input of the user's.
    pub fn upstream_of(&self, input: NodeId) -> Option<NodeId> {
        match self.node(input) {
            Node {
                op: Op::GroupBy(_),
                parent: Some(parent),
                ..
            } => Some(self.root_of(*parent)),
            _ => None,
        }
    }

    /// The plan as one application runs it: its repartition topics have its name.
    #[must_use]
    pub fn bound_to(&self, application: &str) -> LogicalPlan {
        let mut bound = self.clone();
        for node in &mut bound.nodes {
            if let Op::GroupBy(group_by) = &mut node.op {
                let name = format!("{}{}", repartition_prefix(application), group_by.stream);
                group_by.input.topic.name = name.into();
            }
        }
        bound
    }

    /// The plan with other topics in place of some inputs: what stands below an input
    /// is there once for each topic that `topics` gives for its name, and as it was
    /// where `topics` says `None`.
    ///
    /// # Errors
    /// As [`LogicalPlan::new`], of the plan that comes out.
    pub fn with_topics(
        &self,
        topics: impl Fn(&str) -> Option<Vec<Arc<str>>>,
    ) -> Result<LogicalPlan> {
        let mut plan = LogicalPlan::default();
        for (id, node) in self.nodes.iter().enumerate() {
            let Op::Input(input) = &node.op else { continue };
            let name = &input.topic.name;
            match topics(name) {
                None => plan.graft(self, id, None, (name, name)),
                Some(topics) => {
                    (topics.iter()).for_each(|topic| plan.graft(self, id, None, (name, topic)))
                }
            }
        }
        plan.check()?;
        Ok(plan)
    }

    /// Copies a node of another plan and what is below it, with another topic at its
    /// beginning.
    fn graft(
        &mut self,
        from: &LogicalPlan,
        id: NodeId,
        parent: Option<NodeId>,
        (was, is): (&str, &Arc<str>),
    ) {
        let mut node = from.nodes[id].clone();
        match &mut node.op {
            Op::Input(input) => input.topic.name = Arc::clone(is),
            Op::GroupBy(group_by) => {
                // The name of a stream begins with that of its topic.
                let rest = group_by.stream.strip_prefix(was).unwrap_or_default();
                group_by.stream = format!("{is}{rest}").into();
                group_by.input.topic.name = Arc::clone(&group_by.stream);
            }
            _ => {}
        }
        let children = std::mem::take(&mut node.children);
        node.parent = parent;
        self.nodes.push(node);
        let own = self.nodes.len() - 1;
        if let Some(parent) = parent {
            self.nodes[parent].children.push(own);
        }
        for child in children {
            self.graft(from, child, Some(own), (was, is));
        }
    }

    /// The user's functions that a node calls.
    pub fn functions_of(&self, id: NodeId) -> Vec<&FunctionRef> {
        match &self.node(id).op {
            Op::Filter(expr) | Op::SetTimestamp(expr) => expr.functions(),
            Op::Assign(fields) => fields
                .iter()
                .flat_map(|(_, expr)| expr.functions())
                .collect(),
            Op::Apply(function)
            | Op::Update(function)
            | Op::FilterBy(function)
            | Op::SetTimestampBy(function)
            | Op::SetHeaders(function)
            | Op::ApplyBatch { function, .. } => vec![function],
            Op::Input(Input {
                timestamp: crate::Origin::Function(function),
                ..
            }) => vec![function],
            Op::Input(Input {
                timestamp: crate::Origin::Expr(expr),
                ..
            }) => expr.functions(),
            Op::ToTopic {
                target,
                key,
                key_expr,
            } => {
                let dynamic = match target {
                    Target::Dynamic { function, .. } => Some(function),
                    Target::Topic(_) => None,
                };
                let by_expr = key_expr.iter().flat_map(Expr::functions);
                dynamic.into_iter().chain(key).chain(by_expr).collect()
            }
            Op::GroupBy(GroupBy { key, key_expr, .. }) => {
                let by_expr = key_expr.iter().flat_map(Expr::functions);
                key.iter().chain(by_expr).collect()
            }
            Op::Window(spec) => {
                let callbacks = [&spec.on_late, &spec.before_update, &spec.after_update]
                    .into_iter()
                    .flatten();
                let aggregates = spec.aggregates.iter().flat_map(|aggregate| {
                    let mut functions = aggregate
                        .input
                        .as_ref()
                        .map(Expr::functions)
                        .unwrap_or_default();
                    match &aggregate.function {
                        AggregateFunction::Reduce { initialise, reduce } => {
                            functions.extend([initialise, reduce]);
                        }
                        AggregateFunction::User { aggregator, .. } => functions.push(aggregator),
                        _ => {}
                    }
                    functions
                });
                callbacks.chain(aggregates).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether a node keeps state.
    pub fn is_stateful(&self, id: NodeId) -> bool {
        matches!(self.node(id).op, Op::Window(_))
            || self
                .functions_of(id)
                .iter()
                .any(|function| function.shape.is_stateful)
    }

    /// The stores of the plan, by id.
    ///
    /// # Errors
    /// `Invalid` where two windows would share a store.
    pub fn stores(&self) -> Result<Vec<StoreUse>> {
        let mut stores: Vec<StoreUse> = Vec::new();
        for (id, node) in self.nodes.iter().enumerate() {
            let stream = self.stream_of(id);
            let (store, signature) = match &node.op {
                Op::Window(spec) => (StoreId::window(stream, spec), spec.signature()),
                _ if self.is_stateful(id) => (StoreId::keyed(stream), vec!["keyed".to_owned()]),
                _ => continue,
            };
            match stores.iter().find(|known| known.id == store) {
                None => stores.push(StoreUse {
                    id: store,
                    node: id,
                    signature,
                }),
                Some(_) if !matches!(node.op, Op::Window(_)) => {}
                Some(known) => return Err(self.one_store(known, id)),
            }
        }
        stores.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(stores)
    }

    /// Two windows are one operator if they are equal in everything. Windows that
    /// differ are not joined, not even where they differ in aggregates alone: a
    /// change of one would then be a change of the other's state.
    fn one_store(&self, known: &StoreUse, id: NodeId) -> Error {
        let (first, second) = (self.node(known.node), self.node(id));
        let way_out = match (&first.op, &second.op) {
            (Op::Window(one), Op::Window(other))
                if first.parent == second.parent && one.differs_in_aggregates_alone(other) =>
            {
                "put all aggregates into one `.agg(...)`, or give one of them a name"
            }
            _ => "give one of them a name",
        };
        let line = second.line.as_ref();
        Error::invalid(format!(
            "two windows would keep their state in one store; {way_out}, `name=\"...\"`, \
             store=`{}`{}",
            known.id,
            line.map(|line| format!(" line=`{line}`"))
                .unwrap_or_default()
        ))
    }

    fn check(&self) -> Result<()> {
        let mut topics: Vec<&str> = Vec::new();
        for (id, input) in self.inputs() {
            if topics.contains(&&*input.topic.name) {
                if let Op::GroupBy(group_by) = &self.nodes[id].op {
                    return Err(Error::invalid(format!(
                        "two changes of key of one stream have one name; give one of them another, \
                         `name=\"...\"`, stream=`{}`",
                        group_by.stream
                    )));
                }
                return Err(Error::invalid(format!(
                    "one topic is read by two data frames; keep the first frame and branch from it, \
                     topic=`{}`",
                    input.topic.name
                )));
            }
            topics.push(&input.topic.name);
        }
        for node in &self.nodes {
            if let Op::Window(spec) = &node.op {
                spec.check()?;
            }
        }
        self.stores().map(|_| ())
    }
}
