//! The plan's aggregates, ready to run.

use super::accumulator::Accumulator;
use super::accumulators::{Accumulators, Folds};
use super::callback::Callback;
use super::collect::{self, Items};
use super::fold::Fault;
use super::held::Held;
use super::reduce::Reduce;
use super::stored::id;
use super::user::User;
use crate::Functions;
use headwater_core::{Column, DataError, Error, FieldPath, Result, TimestampMs, Value, ValueRef};
use headwater_plan::{Aggregate, AggregateFunction, Expr};

/// The aggregates of a window: what they read and how they fold it.
#[derive(Debug)]
pub struct Aggregators {
    /// In order of output.
    list: Vec<Aggregator>,
    /// What they read, each expression once.
    inputs: Vec<Expr>,
    /// The accumulators of no values.
    pub(super) initial: Folds,
    /// The ids of the folds and of the lists, by place.
    pub(super) fold_ids: Vec<u32>,
    pub(super) list_ids: Vec<u32>,
    has_functions: bool,
}

#[derive(Debug)]
struct Aggregator {
    output: Box<str>,
    /// The index in `inputs`; `None` where rows are counted.
    input: Option<usize>,
    /// What to blame for a bad value.
    field: Box<str>,
    form: Form,
}

/// How an aggregate keeps its values; the number is that of its fold or list.
#[derive(Debug)]
enum Form {
    Fold(usize),
    Reduce(usize, Reduce),
    User(usize, User),
    List(usize, Option<Callback>),
}

impl Aggregators {
    /// Resolves what the plan names.
    ///
    /// # Errors
    /// `Invalid` if a function was not registered, or two aggregates are the same.
    pub fn new(aggregates: &[Aggregate], functions: &Functions) -> Result<Aggregators> {
        let mut built = Aggregators {
            list: Vec::new(),
            inputs: Vec::new(),
            initial: Folds::Many([].into()),
            fold_ids: Vec::new(),
            list_ids: Vec::new(),
            has_functions: false,
        };
        let mut initial = Vec::new();
        for aggregate in aggregates {
            built.append(aggregate, functions, &mut initial)?;
        }
        built.initial = initial.into_iter().collect();
        Ok(built)
    }

    fn append(
        &mut self,
        aggregate: &Aggregate,
        functions: &Functions,
        initial: &mut Vec<Accumulator>,
    ) -> Result<()> {
        let id = id(aggregate);
        if self.fold_ids.contains(&id) || self.list_ids.contains(&id) {
            return Err(Error::invalid(format!(
                "two aggregates cannot be told apart; rename one, output=`{}`",
                aggregate.output
            )));
        }
        let form = match &aggregate.function {
            AggregateFunction::Collect => Form::List(self.list_ids.len(), None),
            AggregateFunction::User {
                aggregator,
                is_collector: true,
            } => {
                self.has_functions = true;
                Form::List(
                    self.list_ids.len(),
                    Some(Callback::new(aggregator, functions)?),
                )
            }
            AggregateFunction::Reduce { initialise, reduce } => {
                self.has_functions = true;
                Form::Reduce(initial.len(), Reduce::new(initialise, reduce, functions)?)
            }
            AggregateFunction::User {
                aggregator,
                is_collector: false,
            } => {
                self.has_functions = true;
                Form::User(initial.len(), User(Callback::new(aggregator, functions)?))
            }
            _ => Form::Fold(initial.len()),
        };
        if matches!(form, Form::List(..)) {
            self.list_ids.push(id);
        } else {
            initial.push(empty(&aggregate.function));
            self.fold_ids.push(id);
        }
        let input = self.input(aggregate);
        let field = match input.map(|input| self.inputs[input].fields()).as_deref() {
            Some([only]) if !only.0.is_empty() => only.to_string().into(),
            _ => aggregate.output.clone(),
        };
        self.list.push(Aggregator {
            output: aggregate.output.clone(),
            input,
            field,
            form,
        });
        Ok(())
    }

    fn input(&mut self, aggregate: &Aggregate) -> Option<usize> {
        let input = match (&aggregate.input, &aggregate.function) {
            (None, AggregateFunction::Count) => return None,
            (None, _) => Expr::Field(FieldPath::default()),
            (Some(input), _) => input.clone(),
        };
        Some(
            self.inputs
                .iter()
                .position(|known| *known == input)
                .unwrap_or_else(|| {
                    self.inputs.push(input);
                    self.inputs.len() - 1
                }),
        )
    }

    /// What to evaluate for each row, in the order in which the columns are
    /// passed back.
    pub fn inputs(&self) -> &[Expr] {
        &self.inputs
    }

    /// The fields of a result, in order.
    pub fn outputs(&self) -> impl ExactSizeIterator<Item = &str> {
        self.list.iter().map(|aggregator| &*aggregator.output)
    }

    /// Whether users' functions take part: then [`Aggregators::add`] may fail
    /// midway.
    pub fn has_functions(&self) -> bool {
        self.has_functions
    }

    /// The accumulators of no values.
    pub fn initial(&self) -> Accumulators {
        let items = (!self.list_ids.is_empty()).then(|| Box::new(Items::new(self.list_ids.len())));
        Accumulators {
            folds: self.initial.clone(),
            items,
        }
    }

    /// The accumulators of a window that starts anew after `old`.
    pub(crate) fn restarted(&self, old: &Accumulators) -> Accumulators {
        let items = old.items.as_ref().map(|items| Box::new(items.restarted()));
        Accumulators {
            folds: self.initial.clone(),
            items,
        }
    }

    /// Whether a row can be added; [`Aggregators::add`] without users' functions
    /// cannot fail then.
    ///
    /// # Errors
    /// Why not, naming the field.
    #[inline]
    pub fn check(
        &self,
        accumulators: &Accumulators,
        columns: &[Column],
        row: usize,
    ) -> Result<(), Box<DataError>> {
        self.check_folds(accumulators.folds.as_slice(), columns, row)
    }

    /// As [`Aggregators::check`], for a window that isn't open yet.
    #[inline]
    pub(crate) fn check_new(&self, columns: &[Column], row: usize) -> Result<(), Fault> {
        self.check_folds(self.initial.as_slice(), columns, row)
    }

    #[inline]
    fn check_folds(
        &self,
        folds: &[Accumulator],
        columns: &[Column],
        row: usize,
    ) -> Result<(), Fault> {
        for aggregator in &self.list {
            let checked = match &aggregator.form {
                Form::Fold(fold) => folds[*fold].check(aggregator.value(columns, row)),
                Form::List(..) => collect::check(aggregator.value(columns, row)),
                Form::Reduce(..) | Form::User(..) => continue,
            };
            checked.map_err(|fault| aggregator.blamed(fault))?;
        }
        Ok(())
    }

    /// Adds a row that has passed [`Aggregators::check`].
    ///
    /// # Errors
    /// Those of users' functions; the accumulators are then in between.
    #[inline]
    pub fn add(
        &self,
        accumulators: &mut Accumulators,
        columns: &[Column],
        row: usize,
        timestamp: TimestampMs,
    ) -> Result<()> {
        let folds = accumulators.folds.as_mut_slice();
        for aggregator in &self.list {
            let value = || aggregator.value(columns, row);
            match &aggregator.form {
                Form::Fold(fold) => folds[*fold].add(value(), timestamp),
                Form::Reduce(fold, reduce) => {
                    let next = reduce.add(held(&folds[*fold]), value())?;
                    folds[*fold] = Accumulator::User(Some(next));
                }
                Form::User(fold, user) => {
                    let next = user.add(held(&folds[*fold]), value(), timestamp)?;
                    folds[*fold] = Accumulator::User(Some(next));
                }
                Form::List(..) => {}
            }
        }
        if !self.list_ids.is_empty()
            && let Some(items) = &mut accumulators.items
        {
            let lists = self
                .list
                .iter()
                .filter(|one| matches!(one.form, Form::List(..)));
            items.push(
                timestamp,
                lists.map(|aggregator| aggregator.value(columns, row)),
            );
        }
        Ok(())
    }

    /// Appends the results, in order of output.
    ///
    /// # Errors
    /// Those of users' functions; the results are then filled up with nulls.
    pub fn results(&self, accumulators: &Accumulators, out: &mut Vec<Value>) -> Result<()> {
        let folds = accumulators.folds.as_slice();
        let end = out.len() + self.list.len();
        for aggregator in &self.list {
            let result = match &aggregator.form {
                Form::Fold(fold) | Form::Reduce(fold, _) => Ok(folds[*fold].result()),
                Form::User(fold, user) => user.result(held(&folds[*fold])),
                Form::List(list, collector) => {
                    let text = accumulators
                        .items
                        .as_ref()
                        .map_or_else(|| "[]".to_owned(), |items| items.text(*list));
                    match collector {
                        None => Ok(Value::Json(text.into())),
                        Some(collector) => collector.call(Some("result"), &[ValueRef::Json(&text)]),
                    }
                }
            };
            match result {
                Ok(value) => out.push(value),
                Err(error) => {
                    out.resize(end, Value::Null);
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

impl Aggregator {
    #[inline]
    fn value<'c>(&self, columns: &'c [Column], row: usize) -> ValueRef<'c> {
        // A row that is counted as such is never null.
        self.input
            .map_or(ValueRef::Bool(true), |input| columns[input].value(row))
    }

    #[cold]
    fn blamed(&self, mut fault: Fault) -> Fault {
        fault.field.get_or_insert_with(|| self.field.to_string());
        fault
    }
}

fn held(accumulator: &Accumulator) -> Option<&Held> {
    match accumulator {
        Accumulator::User(held) => held.as_ref(),
        _ => None,
    }
}

fn empty(function: &AggregateFunction) -> Accumulator {
    match function {
        AggregateFunction::Count => Accumulator::Count(Default::default()),
        AggregateFunction::Sum => Accumulator::Sum(Default::default()),
        AggregateFunction::Mean => Accumulator::Mean(Default::default()),
        AggregateFunction::Min => Accumulator::Min(Default::default()),
        AggregateFunction::Max => Accumulator::Max(Default::default()),
        AggregateFunction::First => Accumulator::First(Default::default()),
        AggregateFunction::Last => Accumulator::Last(Default::default()),
        AggregateFunction::Earliest => Accumulator::Earliest(Default::default()),
        AggregateFunction::Latest => Accumulator::Latest(Default::default()),
        AggregateFunction::Std => Accumulator::Std(Default::default()),
        AggregateFunction::Variance => Accumulator::Variance(Default::default()),
        AggregateFunction::Collect
        | AggregateFunction::Reduce { .. }
        | AggregateFunction::User { .. } => Accumulator::User(None),
    }
}
