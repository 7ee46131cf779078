//! Expressions: one column out of the columns of a row.
//!
//! The rules are Python's, row by row: integers and floats are different kinds,
//! `/` gives a float, `//` and `%` round down, an integer result beyond 64 bits
//! is a data error, as is a division by zero. Null propagates as in pandas: any
//! arithmetic or comparison with null is null, `&` and `|` are three-valued, and
//! a filter drops a null.

use crate::FunctionRef;
use headwater_core::{FieldPath, Step, Value};

/// A tree over fields, literals and functions.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A field of the row; the empty path is the row itself.
    Field(FieldPath),
    /// The event time of the row in milliseconds.
    Timestamp,
    /// A constant.
    Literal(Value),
    /// An operation on one column.
    Unary {
        /// Which.
        op: UnaryOp,
        /// On what.
        input: Box<Expr>,
    },
    /// An operation on two columns.
    Binary {
        /// Which.
        op: BinaryOp,
        /// Left of the operator.
        left: Box<Expr>,
        /// Right of it.
        right: Box<Expr>,
    },
    /// Whether the value equals one of a list. Null is in a list that has null.
    IsIn {
        /// The value.
        input: Box<Expr>,
        /// The list.
        values: Vec<Value>,
    },
    /// Whether the row has all the fields, null or not.
    HasFields(Vec<FieldPath>),
    /// The value as another kind.
    Cast {
        /// The value.
        input: Box<Expr>,
        /// The kind.
        to: CastTo,
        /// What to do with a value that has no such form.
        on_error: OnCastError,
    },
    /// The first of two that is not null.
    Coalesce {
        /// Taken unless it is null.
        input: Box<Expr>,
        /// Taken then.
        fallback: Box<Expr>,
    },
    /// The value where the condition is true, else the other.
    Choose {
        /// The condition; null counts as false.
        condition: Box<Expr>,
        /// Where it is true.
        then: Box<Expr>,
        /// Where it is not.
        otherwise: Box<Expr>,
    },
    /// A built-in function of one column and constants.
    Scalar {
        /// Which.
        function: ScalarFunction,
        /// The column.
        input: Box<Expr>,
    },
    /// A user's function of one value, called for each row.
    Function {
        /// Which.
        function: FunctionRef,
        /// Its argument; the row itself where the input is the empty path.
        input: Box<Expr>,
    },
}

/// An operation on one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOp {
    /// `~x`: not, three-valued.
    Not,
    /// `-x`.
    Negate,
    /// `abs(x)`.
    Abs,
    /// Whether it is null.
    IsNull,
    /// Whether it is not null.
    NotNull,
}

/// An operation on two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    /// `+`; joins texts too.
    Add,
    /// `-`.
    Subtract,
    /// `*`.
    Multiply,
    /// `/`: always a float.
    Divide,
    /// `//`: rounds down.
    FloorDivide,
    /// `%`: takes the sign of the divisor; NaN-safe as in Python.
    Modulo,
    /// `**`.
    Power,
    /// `==`. Values of different kinds are unequal, but 1 == 1.0.
    Equal,
    /// `!=`.
    NotEqual,
    /// `<`.
    Less,
    /// `<=`.
    LessOrEqual,
    /// `>`.
    Greater,
    /// `>=`.
    GreaterOrEqual,
    /// `&`: three-valued; the right side does not count where the left is false,
    /// not even its errors.
    And,
    /// `|`: three-valued; the right side does not count where the left is true.
    Or,
    /// `x is y` of Quix Streams: equal, and null is null.
    Is,
    /// `right in left`: a text in a text, a value in an array, a name in an object.
    Contains,
}

impl BinaryOp {
    /// How Python writes it.
    pub fn symbol(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Subtract => "-",
            BinaryOp::Multiply => "*",
            BinaryOp::Divide => "/",
            BinaryOp::FloorDivide => "//",
            BinaryOp::Modulo => "%",
            BinaryOp::Power => "**",
            BinaryOp::Equal => "==",
            BinaryOp::NotEqual => "!=",
            BinaryOp::Less => "<",
            BinaryOp::LessOrEqual => "<=",
            BinaryOp::Greater => ">",
            BinaryOp::GreaterOrEqual => ">=",
            BinaryOp::And => "&",
            BinaryOp::Or => "|",
            BinaryOp::Is => "is",
            BinaryOp::Contains => "contains",
        }
    }
}

/// What a cast makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CastTo {
    /// Python's `int(x)`: floats lose their fraction, texts are parsed.
    Int,
    /// Python's `float(x)`.
    Float,
    /// Python's `str(x)`, but `true`/`false` and JSON for objects as JSON has them.
    Str,
    /// Python's `bool(x)`.
    Bool,
}

/// What to do with a value that cannot be cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnCastError {
    /// A data error.
    #[default]
    Raise,
    /// Null.
    Null,
}

/// Built-in functions. Text functions take texts, date functions take
/// milliseconds since 1970 (UTC) or an ISO 8601 text; anything else but null is
/// a data error.
#[derive(Clone, Debug, PartialEq)]
pub enum ScalarFunction {
    /// Lower case.
    Lower,
    /// Upper case.
    Upper,
    /// Without white space at both ends.
    Strip,
    /// The number of characters, elements or fields.
    Length,
    /// Whether a text starts with another.
    StartsWith(Box<str>),
    /// Whether a text ends with another.
    EndsWith(Box<str>),
    /// Whether a text has another in it.
    HasText(Box<str>),
    /// Every occurrence of the first text replaced by the second.
    Replace(Box<str>, Box<str>),
    /// The characters `[start, end)`, negative from the end, as in Python.
    Slice(Option<i64>, Option<i64>),
    /// Rounded to this many decimals as Python's `round`: halves to even.
    Round(i32),
    /// An ISO 8601 text as milliseconds; a number stays.
    ToTimestampMs,
    /// Milliseconds as an ISO 8601 text.
    ToIsoFormat,
    /// Year of a time.
    Year,
    /// Month, 1 to 12.
    Month,
    /// Day of the month, 1 to 31.
    Day,
    /// Hour, 0 to 23.
    Hour,
    /// Minute, 0 to 59.
    Minute,
    /// Second, 0 to 59.
    Second,
    /// Millisecond, 0 to 999.
    Millisecond,
    /// Day of the week, Monday 0, as in pandas.
    DayOfWeek,
    /// The time rounded down to a multiple of this many milliseconds.
    FloorTo(i64),
}

/// A field by name: `col("speed")`.
pub fn col(name: &str) -> Expr {
    Expr::Field(FieldPath::name(name))
}

/// A constant: `lit(3.6)`.
pub fn lit(value: impl Into<Value>) -> Expr {
    Expr::Literal(value.into())
}

/// The event time of the row in milliseconds.
pub fn timestamp() -> Expr {
    Expr::Timestamp
}

impl Expr {
    /// An operation on two columns.
    #[must_use]
    pub fn binary(self, op: BinaryOp, right: Expr) -> Expr {
        Expr::Binary {
            op,
            left: Box::new(self),
            right: Box::new(right),
        }
    }

    /// An operation on one column.
    #[must_use]
    pub fn unary(self, op: UnaryOp) -> Expr {
        Expr::Unary {
            op,
            input: Box::new(self),
        }
    }

    /// A field of an object or an element of an array: `col("tyre").at("fl")`.
    ///
    /// # Panics
    /// If this is not a field.
    #[must_use]
    pub fn at(self, name: &str) -> Expr {
        self.step(Step::Name(name.into()))
    }

    /// A further step into a field.
    ///
    /// # Panics
    /// If this is not a field.
    #[must_use]
    pub fn step(self, step: Step) -> Expr {
        match self {
            Expr::Field(mut path) => {
                path.0.push(step);
                Expr::Field(path)
            }
            other => panic!("only a field has fields, this is {other:?}"),
        }
    }

    /// `self == other`.
    #[must_use]
    pub fn eq(self, other: impl Into<Expr>) -> Expr {
        self.binary(BinaryOp::Equal, other.into())
    }

    /// `self > other`.
    #[must_use]
    pub fn gt(self, other: impl Into<Expr>) -> Expr {
        self.binary(BinaryOp::Greater, other.into())
    }

    /// `self >= other`.
    #[must_use]
    pub fn gt_eq(self, other: impl Into<Expr>) -> Expr {
        self.binary(BinaryOp::GreaterOrEqual, other.into())
    }

    /// `self < other`.
    #[must_use]
    pub fn lt(self, other: impl Into<Expr>) -> Expr {
        self.binary(BinaryOp::Less, other.into())
    }

    /// `self <= other`.
    #[must_use]
    pub fn lt_eq(self, other: impl Into<Expr>) -> Expr {
        self.binary(BinaryOp::LessOrEqual, other.into())
    }

    /// Whether the value is null or missing.
    #[must_use]
    pub fn is_null(self) -> Expr {
        self.unary(UnaryOp::IsNull)
    }

    /// Whether the value is there.
    #[must_use]
    pub fn not_null(self) -> Expr {
        self.unary(UnaryOp::NotNull)
    }

    /// `self // other`: rounds down.
    #[must_use]
    pub fn floor_div(self, other: impl Into<Expr>) -> Expr {
        self.binary(BinaryOp::FloorDivide, other.into())
    }

    /// `self ** other`.
    #[must_use]
    pub fn pow(self, other: impl Into<Expr>) -> Expr {
        self.binary(BinaryOp::Power, other.into())
    }

    /// The absolute value.
    #[must_use]
    pub fn abs(self) -> Expr {
        self.unary(UnaryOp::Abs)
    }

    /// Calls `visit` for the expression and everything in it, outside first.
    pub fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        visit(self);
        match self {
            Expr::Field(_) | Expr::Timestamp | Expr::Literal(_) | Expr::HasFields(_) => {}
            Expr::Unary { input, .. }
            | Expr::IsIn { input, .. }
            | Expr::Cast { input, .. }
            | Expr::Scalar { input, .. }
            | Expr::Function { input, .. } => input.walk(visit),
            Expr::Binary { left, right, .. } => {
                left.walk(visit);
                right.walk(visit);
            }
            Expr::Coalesce { input, fallback } => {
                input.walk(visit);
                fallback.walk(visit);
            }
            Expr::Choose {
                condition,
                then,
                otherwise,
            } => {
                condition.walk(visit);
                then.walk(visit);
                otherwise.walk(visit);
            }
        }
    }

    /// The fields it reads, each once, in order of appearance.
    pub fn fields(&self) -> Vec<FieldPath> {
        let mut fields: Vec<FieldPath> = Vec::new();
        self.walk(&mut |expr| {
            let paths = match expr {
                Expr::Field(path) => std::slice::from_ref(path),
                Expr::HasFields(paths) => paths,
                _ => return,
            };
            for path in paths {
                if !path.0.is_empty() && !fields.contains(path) {
                    fields.push(path.clone());
                }
            }
        });
        fields
    }

    /// The user's functions that it calls.
    pub fn functions(&self) -> Vec<&FunctionRef> {
        let mut functions = Vec::new();
        self.walk(&mut |expr| {
            if let Expr::Function { function, .. } = expr {
                functions.push(function);
            }
        });
        functions
    }
}

impl<T: Into<Value>> From<T> for Expr {
    fn from(value: T) -> Self {
        Expr::Literal(value.into())
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident, $op:ident) => {
        impl<R: Into<Expr>> std::ops::$trait<R> for Expr {
            type Output = Expr;
            fn $method(self, right: R) -> Expr {
                self.binary(BinaryOp::$op, right.into())
            }
        }
    };
}
operator!(Add, add, Add);
operator!(Sub, sub, Subtract);
operator!(Mul, mul, Multiply);
operator!(Div, div, Divide);
operator!(Rem, rem, Modulo);
operator!(BitAnd, bitand, And);
operator!(BitOr, bitor, Or);

impl std::ops::Not for Expr {
    type Output = Expr;
    fn not(self) -> Expr {
        self.unary(UnaryOp::Not)
    }
}

impl std::ops::Neg for Expr {
    type Output = Expr;
    fn neg(self) -> Expr {
        self.unary(UnaryOp::Negate)
    }
}
