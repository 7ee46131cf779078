//! The fields of a plan, found in one strict pass.
//!
//! The key decision: **the whole row is validated, also after the last field.**
//! Stopping early would be faster, but then a row would be malformed for
//! one plan and not for another, a later duplicate would be missed, and a
//! splice could forward broken text. What makes the full pass affordable is the
//! learned key order (`layout`).
//!
//! The paths form a tree; the pass walks the row's text and the tree together
//! and leaves the tree where the plan names nothing.

use super::{
    error::JsonError,
    escape::key_is,
    layout::{Layout, START, UNNAMED},
    scan::{self, Scanned},
};
use crate::{FieldPath, Span, Step};

/// Finds the fields that a plan names, in one strict pass over a row's text.
///
/// It learns the key order from the rows it sees, so keep one per topic and
/// plan. What it learned never changes a result, only its speed.
///
/// # Examples
/// ```
/// use headwater_core::{FieldPath, Span, Step, json::Locator};
///
/// let nested = FieldPath(vec![Step::Name("tyre".into()), Step::Name("fl".into())]);
/// let mut locator = Locator::new(&[FieldPath::name("speed"), nested, FieldPath::name("gear")]);
/// let row = br#"{"speed": 152.2, "tyre": {"fl": 85.4}}"#;
/// let mut spans = [Span::NULL; 3];
/// locator.locate(row, &mut spans)?;
/// assert_eq!(spans[0].of(row), Some(b"152.2".as_slice()));
/// assert_eq!(spans[1].of(row), Some(b"85.4".as_slice()));
/// assert_eq!(spans[2].of(row), None);
/// # Ok::<(), headwater_core::json::JsonError>(())
/// ```
#[derive(Debug)]
pub struct Locator {
    paths: Box<[FieldPath]>,
    /// The tree of the paths; the first node is the row.
    nodes: Vec<Node>,
}

/// A place in the rows that a path leads to or through.
#[derive(Debug)]
struct Node {
    /// The paths that end here, by index.
    ending: Vec<u32>,
    /// The paths that go on from here, by index.
    passing: Vec<u32>,
    /// The properties that are named, with their nodes.
    names: Vec<(Box<str>, u32)>,
    /// The elements that are named, with their nodes.
    indices: Vec<(i64, u32)>,
    /// The key order of the objects that stood here.
    layout: Layout,
}

impl Node {
    fn new() -> Self {
        Node {
            ending: Vec::new(),
            passing: Vec::new(),
            names: Vec::new(),
            indices: Vec::new(),
            layout: Layout::new(),
        }
    }

    fn named(&self, raw_key: &str) -> u32 {
        let named = self.names.iter().find(|(name, _)| key_is(raw_key, name));
        named.map_or(UNNAMED, |(_, child)| *child)
    }

    fn indexed(&self, index: i64) -> u32 {
        let indexed = self.indices.iter().find(|(wanted, _)| *wanted == index);
        indexed.map_or(UNNAMED, |(_, child)| *child)
    }
}

impl Locator {
    /// A locator of `paths`. A path may be the start of another one, and the
    /// empty path is the row itself.
    pub fn new(paths: &[FieldPath]) -> Locator {
        let mut nodes = vec![Node::new()];
        for (path_index, path) in paths.iter().enumerate() {
            let mut node = 0;
            for step in &path.0 {
                nodes[node].passing.push(path_index as u32);
                node = child_of(&mut nodes, node, step) as usize;
            }
            nodes[node].ending.push(path_index as u32);
        }
        Locator {
            paths: paths.into(),
            nodes,
        }
    }

    /// The paths, in the order of the spans.
    pub fn paths(&self) -> &[FieldPath] {
        &self.paths
    }

    /// Validates all of `text` as strict JSON (RFC 8259) in UTF-8, of any kind
    /// and with whitespace around it, and puts where the value of path `i`
    /// stands in `text` into `spans[i]`, [`Span::NULL`] for a missing one.
    ///
    /// Keys compare unescaped, and the last of duplicate keys counts, at every
    /// level. A lone surrogate in a string is legal here; [`decode`] refuses it.
    ///
    /// [`decode`]: super::decode
    ///
    /// # Errors
    /// If `text` is not JSON, has more than 127 levels of objects and arrays, or
    /// is 4 GiB or longer. All spans are then null.
    ///
    /// # Panics
    /// If there are not as many spans as paths.
    pub fn locate(&mut self, text: &[u8], spans: &mut [Span]) -> Result<(), JsonError> {
        match simdutf8::basic::from_utf8(text) {
            Ok(text) => self.locate_str(text, spans),
            Err(_) => {
                spans.fill(Span::NULL);
                let at =
                    std::str::from_utf8(text).map_or_else(|error| error.valid_up_to(), str::len);
                Err(JsonError::new("not UTF-8", at))
            }
        }
    }

    /// [`Locator::locate`] for a text that is known to be UTF-8, for example
    /// because the buffer of all rows was checked at once.
    ///
    /// # Errors
    /// As [`Locator::locate`].
    ///
    /// # Panics
    /// As [`Locator::locate`].
    pub fn locate_str(&mut self, text: &str, spans: &mut [Span]) -> Result<(), JsonError> {
        assert_eq!(spans.len(), self.paths.len(), "one span per path");
        spans.fill(Span::NULL);
        let located = locate_row(&mut self.nodes, text, spans);
        if located.is_err() {
            spans.fill(Span::NULL);
        }
        located
    }
}

/// The node that `step` leads to from `node`, made if it is new.
fn child_of(nodes: &mut Vec<Node>, node: usize, step: &Step) -> u32 {
    let new = nodes.len() as u32;
    let child = match step {
        Step::Name(name) => {
            let names = &mut nodes[node].names;
            match names.iter().find(|(known, _)| known == name) {
                Some((_, child)) => return *child,
                None => names.push((name.clone(), new)),
            }
            new
        }
        Step::Index(index) => {
            let indices = &mut nodes[node].indices;
            match indices.iter().find(|(known, _)| known == index) {
                Some((_, child)) => return *child,
                None => indices.push((*index, new)),
            }
            new
        }
    };
    nodes.push(Node::new());
    child
}

fn locate_row(nodes: &mut [Node], text: &str, spans: &mut [Span]) -> Result<(), JsonError> {
    if u32::try_from(text.len()).is_err() {
        return Err(JsonError::new("the text is 4 GiB or longer", 0));
    }
    let mut pass = Pass {
        nodes,
        text,
        bytes: text.as_bytes(),
        spans,
    };
    let start = scan::whitespace(pass.bytes, 0);
    let end = pass.value(0, start, 0)?;
    let end = scan::whitespace(pass.bytes, end);
    if end < text.len() {
        return Err(JsonError::new("expected nothing after the value", end));
    }
    Ok(())
}

/// One pass over one row.
struct Pass<'a> {
    nodes: &'a mut [Node],
    text: &'a str,
    bytes: &'a [u8],
    spans: &'a mut [Span],
}

impl Pass<'_> {
    /// The end of the value at `at`, which is what `node` names; `depth`
    /// containers are around it.
    #[inline]
    fn value(&mut self, node: u32, at: usize, depth: u32) -> Scanned {
        let Node {
            passing,
            names,
            indices,
            ..
        } = &self.nodes[node as usize];
        // An earlier duplicate may have left something.
        for &path in passing {
            self.spans[path as usize] = Span::NULL;
        }
        let end = match self.bytes.get(at) {
            Some(b'{') if !names.is_empty() => self.object(node, at, depth)?,
            Some(b'[') if !indices.is_empty() => self.array(node, at, depth)?,
            _ => scan::value(self.bytes, at, depth)?,
        };
        let span = Span {
            start: at as u32,
            len: (end - at) as u32,
        };
        for &path in &self.nodes[node as usize].ending {
            self.spans[path as usize] = span;
        }
        Ok(end)
    }

    /// The end of the object that opens at `at`.
    fn object(&mut self, node: u32, at: usize, depth: u32) -> Scanned {
        scan::open(self.bytes, at, depth)?;
        let mut at = at + 1;
        let mut slot = START;
        loop {
            let layout = &mut self.nodes[node as usize].layout;
            let child = match layout.predict(slot, self.bytes, at) {
                Some(predicted) => {
                    slot = predicted.slot;
                    at = predicted.at;
                    predicted.child
                }
                None if self.bytes.get(at) == Some(&b'}') => return Ok(at + 1),
                None => match self.unpredicted(node, slot, at)? {
                    Next::Entry {
                        slot: entry,
                        at: value,
                        child,
                    } => {
                        slot = entry;
                        at = value;
                        child
                    }
                    Next::End(end) => return Ok(end),
                },
            };
            if self
                .bytes
                .get(at)
                .is_some_and(|byte| scan::is_whitespace(*byte))
            {
                at = scan::whitespace(self.bytes, at);
            }
            at = if child == UNNAMED {
                scan::value(self.bytes, at, depth + 1)?
            } else {
                self.value(child, at, depth + 1)?
            };
        }
    }

    /// The entry or the end of the object at `at`, after the value of `slot`.
    #[inline(never)]
    fn unpredicted(&mut self, node: u32, slot: usize, start: usize) -> Result<Next, JsonError> {
        let bytes = self.bytes;
        let mut at = scan::whitespace(bytes, start);
        match bytes.get(at) {
            Some(b'}') => return Ok(Next::End(at + 1)),
            Some(b',') if slot != START => at = scan::whitespace(bytes, at + 1),
            _ if slot != START => return Err(scan::expected_end(bytes, at, true)),
            _ => {}
        }
        let key_end = scan::key_string(bytes, at)?;
        let raw_key = &self.text[at + 1..key_end - 1];
        at = scan::colon(bytes, key_end)?;
        let node = &mut self.nodes[node as usize];
        let child = node.named(raw_key);
        let slot = node.layout.learn(slot, &bytes[start..at], child);
        Ok(Next::Entry { slot, at, child })
    }

    /// The end of the array that opens at `at`.
    fn array(&mut self, node: u32, at: usize, depth: u32) -> Scanned {
        let counts_from_end = self.nodes[node as usize]
            .indices
            .iter()
            .any(|(index, _)| *index < 0);
        let mut starts = Vec::new();
        let mut count = 0;
        let mut at = scan::open(self.bytes, at, depth)?;
        if self.bytes.get(at) == Some(&b']') {
            return Ok(at + 1);
        }
        loop {
            if counts_from_end {
                starts.push(at);
            }
            at = match self.nodes[node as usize].indexed(count) {
                UNNAMED => scan::value(self.bytes, at, depth + 1)?,
                child => self.value(child, at, depth + 1)?,
            };
            count += 1;
            at = scan::whitespace(self.bytes, at);
            match self.bytes.get(at) {
                Some(b',') => at = scan::whitespace(self.bytes, at + 1),
                Some(b']') => break,
                _ => return Err(scan::expected_end(self.bytes, at, false)),
            }
        }
        for (index, start) in starts.into_iter().enumerate() {
            match self.nodes[node as usize].indexed(index as i64 - count) {
                UNNAMED => {}
                child => {
                    self.value(child, start, depth + 1)?;
                }
            }
        }
        Ok(at + 1)
    }
}

/// What follows a value in an object.
enum Next {
    Entry { slot: usize, at: usize, child: u32 },
    End(usize),
}
