//! A plan for people: what each step does, which grade runs it, and why that
//! was not a higher one.

use crate::{
    AggregateFunction, BinaryOp, Closing, Emit, Expr, LogicalPlan, NodeId, Op, Target, UnaryOp,
    WindowLength, WindowSpec,
};
use headwater_core::Value;

/// One operation in a few words, as errors and `explain()` name it.
pub fn describe(op: &Op) -> String {
    match op {
        Op::Input(input) => format!("read {}", input.topic.name),
        Op::Filter(expr) => format!("filter {}", text_of(expr)),
        Op::Assign(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, expr)| format!("{name} = {}", text_of(expr)))
                .collect();
            format!("assign {}", fields.join(", "))
        }
        Op::Project(names) => format!("keep {}", names.join(", ")),
        Op::Drop { names, .. } => format!("drop {}", names.join(", ")),
        Op::Apply(function) if function.shape.is_expand => format!("expand {}", function.name),
        Op::Apply(function) => format!("apply {}", function.name),
        Op::Update(function) => format!("update {}", function.name),
        Op::FilterBy(function) => format!("filter {}", function.name),
        Op::ApplyBatch { function, .. } => format!("apply_batch {}", function.name),
        Op::SetTimestamp(expr) => format!("set_timestamp {}", text_of(expr)),
        Op::SetTimestampBy(function) => format!("set_timestamp {}", function.name),
        Op::SetHeaders(function) => format!("set_headers {}", function.name),
        Op::Window(spec) => window_text(spec),
        Op::ToTopic {
            target: Target::Topic(topic),
            ..
        } => format!("to_topic {}", topic.name),
        Op::ToTopic {
            target: Target::Dynamic { function },
            ..
        } => {
            format!("to_topic by {}", function.name)
        }
        Op::GroupBy(group_by) => {
            let name = group_by.stream.rsplit("--").next().unwrap_or_default();
            format!("group by {name}")
        }
        Op::Sink { name } => format!("sink {name}"),
        Op::Print(_) => "print".to_owned(),
        Op::PrintTable(_) => "print_table".to_owned(),
    }
}

fn window_text(spec: &WindowSpec) -> String {
    let length = match spec.length {
        WindowLength::Tumbling { size_ms } => format!("tumbling window of {size_ms} ms"),
        WindowLength::Hopping {
            size_ms,
            advance_ms,
        } => {
            format!("hopping window of {size_ms} ms every {advance_ms} ms")
        }
    };
    let outputs: Vec<String> = spec
        .aggregates
        .iter()
        .map(|aggregate| {
            let input = aggregate.input.as_ref().map(text_of).unwrap_or_default();
            format!(
                "{} = {}({input})",
                aggregate.output,
                function_text(&aggregate.function)
            )
        })
        .collect();
    let emit = match spec.emit {
        Emit::Final => "final",
        Emit::Current => "current",
    };
    let closing = match spec.closing {
        Closing::Key => "each key's own time",
        Closing::Partition => "the partition's time",
    };
    format!(
        "{length}, {emit}, closed by {closing}: {}",
        outputs.join(", ")
    )
}

fn function_text(function: &AggregateFunction) -> String {
    match function {
        AggregateFunction::Reduce { reduce, .. } => format!("reduce {}", reduce.name),
        AggregateFunction::User { aggregator, .. } => aggregator.name.to_string(),
        AggregateFunction::Count => "count".into(),
        AggregateFunction::Sum => "sum".into(),
        AggregateFunction::Mean => "mean".into(),
        AggregateFunction::Min => "min".into(),
        AggregateFunction::Max => "max".into(),
        AggregateFunction::First => "first".into(),
        AggregateFunction::Last => "last".into(),
        AggregateFunction::Earliest => "earliest".into(),
        AggregateFunction::Latest => "latest".into(),
        AggregateFunction::Std => "std".into(),
        AggregateFunction::Variance => "variance".into(),
        AggregateFunction::Collect => "collect".into(),
    }
}

/// An expression as a user would write it.
pub fn text_of(expr: &Expr) -> String {
    match expr {
        Expr::Field(path) if path.0.is_empty() => "row".to_owned(),
        Expr::Field(path) => path.to_string(),
        Expr::Timestamp => "timestamp".to_owned(),
        Expr::Literal(value) => literal_text(value),
        Expr::Unary { op, input } => {
            let input = text_of(input);
            match op {
                UnaryOp::Not => format!("~{input}"),
                UnaryOp::Negate => format!("-{input}"),
                UnaryOp::Abs => format!("abs({input})"),
                UnaryOp::IsNull => format!("isnull({input})"),
                UnaryOp::NotNull => format!("notnull({input})"),
            }
        }
        Expr::Binary { op, left, right } => {
            let wrap = |side: &Expr| match side {
                Expr::Binary { .. } => format!("({})", text_of(side)),
                _ => text_of(side),
            };
            match op {
                BinaryOp::Contains => format!("contains({}, {})", text_of(left), text_of(right)),
                _ => format!("{} {} {}", wrap(left), op.symbol(), wrap(right)),
            }
        }
        Expr::IsIn { input, values } => {
            let values: Vec<String> = values.iter().map(literal_text).collect();
            format!("{} in [{}]", text_of(input), values.join(", "))
        }
        Expr::HasFields(paths) => {
            let paths: Vec<String> = paths.iter().map(ToString::to_string).collect();
            format!("has({})", paths.join(", "))
        }
        Expr::Cast { input, to, .. } => {
            format!("{}({})", format!("{to:?}").to_lowercase(), text_of(input))
        }
        Expr::Coalesce { input, fallback } => {
            format!("fillna({}, {})", text_of(input), text_of(fallback))
        }
        Expr::Choose {
            condition,
            then,
            otherwise,
        } => {
            format!(
                "{} where {} else {}",
                text_of(then),
                text_of(condition),
                text_of(otherwise)
            )
        }
        Expr::Scalar { function, input } => {
            let text = format!("{function:?}");
            let (name, rest) = text.split_once('(').unwrap_or((&text, ")"));
            let arguments = rest.trim_end_matches(')');
            match arguments.is_empty() {
                true => format!("{}({})", name.to_lowercase(), text_of(input)),
                false => format!("{}({}, {arguments})", name.to_lowercase(), text_of(input)),
            }
        }
        Expr::Function { function, input } => format!("{}({})", function.name, text_of(input)),
    }
}

fn literal_text(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => format!("{value:?}"),
        Value::Str(text) => format!("{text:?}"),
        Value::Bytes(bytes) => format!("b\"{}\"", bytes.escape_ascii()),
        Value::BigInt(text) | Value::Json(text) => text.to_string(),
    }
}

/// The whole plan, a line for each step, with the grade that runs it:
///
/// - **Rust**: expressions over columns, no call into the user's language;
/// - **batch function**: one call a batch;
/// - **record function**: one call a record, because the user wrote a function
///   of one row or value.
pub fn explain(plan: &LogicalPlan) -> String {
    let mut text = String::new();
    for (id, _) in plan.inputs() {
        if plan.upstream_of(id).is_none() {
            explain_node(plan, id, 0, &mut text);
        }
    }
    text
}

fn explain_node(plan: &LogicalPlan, id: NodeId, depth: usize, out: &mut String) {
    let node = plan.node(id);
    let indent = "  ".repeat(depth);
    let line = node
        .line
        .as_ref()
        .map(|line| format!("  ({line})"))
        .unwrap_or_default();
    out.push_str(&format!(
        "{indent}{}{line}\n{indent}    {}\n",
        describe(&node.op),
        grade(plan, id)
    ));
    for &child in &node.children {
        explain_node(plan, child, depth + 1, out);
    }
}

fn grade(plan: &LogicalPlan, id: NodeId) -> String {
    let functions = plan.functions_of(id);
    let state = if plan.is_stateful(id) {
        ", keeps state"
    } else {
        ""
    };
    match &plan.node(id).op {
        Op::ApplyBatch { function, .. } => {
            format!(
                "batch function{state}: `{}` is called once a batch",
                function.name
            )
        }
        Op::GroupBy(group_by) if functions.is_empty() => {
            let topic = &group_by.input.topic.name;
            format!("Rust: no Python; by way of the topic `{topic}`")
        }
        _ if functions.is_empty() => format!("Rust{state}: no Python"),
        _ => {
            let names: Vec<String> = functions
                .iter()
                .map(|function| format!("`{}`", function.name))
                .collect();
            format!(
                "record function{state}: calls {} for each record; a column expression or \
                 apply_batch would not",
                names.join(", ")
            )
        }
    }
}
