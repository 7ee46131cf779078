//! `State`: what a stateful function remembers of the current key.
//!
//! A Python object may outlive any borrow, so the store itself is lent to the
//! object while the functions of a batch run, and taken back afterwards. A
//! `State` that a function kept is then empty-handed, and says so.

use crate::error::exception;
use crate::function::owner_count;
use crate::json::{Decoder, encode};
use headwater::core::TimestampMs;
use headwater::state::KeyedStore;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const TAG_JSON: u8 = b'j';
const TAG_BYTES: u8 = b'b';

/// The store and the key that is being processed.
#[derive(Default)]
struct Lent {
    store: Option<KeyedStore>,
    key: Option<Vec<u8>>,
    now_ms: TimestampMs,
}

type Shared = Arc<Mutex<Lent>>;

fn lock(shared: &Shared) -> MutexGuard<'_, Lent> {
    // Held only inside one method; a panic there leaves nothing half done.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The store of a task, lent to Python for the calls of one batch.
pub(crate) struct StateLoan<'a> {
    owner: &'a mut KeyedStore,
    shared: Shared,
    state: Option<Py<PyState>>,
}

impl<'a> StateLoan<'a> {
    pub(crate) fn new(owner: &'a mut KeyedStore) -> StateLoan<'a> {
        let store = Some(std::mem::take(owner));
        let shared = Arc::new(Mutex::new(Lent {
            store,
            key: None,
            now_ms: 0,
        }));
        StateLoan {
            owner,
            shared,
            state: None,
        }
    }

    /// The state of the key of the next row.
    pub(crate) fn of_row<'py>(
        &mut self,
        py: Python<'py>,
        key: Option<&[u8]>,
        now_ms: TimestampMs,
        watermark_ms: TimestampMs,
    ) -> PyResult<Bound<'py, PyState>> {
        {
            let mut lent = lock(&self.shared);
            lent.key = key.map(<[u8]>::to_vec);
            lent.now_ms = now_ms;
            let store = lent
                .store
                .as_mut()
                .expect("the store is lent until the loan ends");
            store.set_watermark(watermark_ms);
            let mut state = store.of_key(key, now_ms);
            if state.has_clock() {
                state.advance_clock();
            }
        }
        // An object that a function kept must not turn into another key's state.
        if let Some(state) = &self.state
            && owner_count(state.bind(py).as_any()) == 1
        {
            return Ok(state.bind(py).clone());
        }
        if let Some(kept) = self.state.take() {
            kept.get()
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
        }
        let state = Bound::new(py, PyState(Mutex::new(Some(Arc::clone(&self.shared)))))?;
        self.state = Some(state.clone().unbind());
        Ok(state)
    }
}

impl Drop for StateLoan<'_> {
    fn drop(&mut self) {
        if let Some(store) = lock(&self.shared).store.take() {
            *self.owner = store;
        }
    }
}

/// `_native.State`.
#[pyclass(frozen, name = "State", module = "headwater._native")]
pub(crate) struct PyState(Mutex<Option<Shared>>);

impl PyState {
    fn with<R>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut headwater::state::KeyedState<'_>) -> R,
    ) -> PyResult<R> {
        let shared = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let gone = || {
            exception(
                py,
                "StateError",
                "a State is only there while the function handles one record; read what you need \
                 from it and keep that",
            )
        };
        let shared = shared.ok_or_else(gone)?;
        let mut lent = lock(&shared);
        let Lent { store, key, now_ms } = &mut *lent;
        let store = store.as_mut().ok_or_else(gone)?;
        Ok(work(&mut store.of_key(key.as_deref(), *now_ms)))
    }
}

/// The bytes that a name is stored under. Bytes and JSON names never meet.
fn name_bytes(py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(bytes) = key.cast::<PyBytes>() {
        return Ok([&[TAG_BYTES], bytes.as_bytes()].concat());
    }
    let mut name = vec![TAG_JSON];
    encode(key, &mut name).map_err(|error| {
        exception(
            py,
            "StateSerializationError",
            &format!("the state's key: {error}"),
        )
    })?;
    Ok(name)
}

/// A time to live in milliseconds.
fn ttl_ms(py: Python<'_>, ttl: Option<&Bound<'_, PyAny>>) -> PyResult<Option<i64>> {
    let Some(ttl) = ttl.filter(|ttl| !ttl.is_none()) else {
        return Ok(None);
    };
    let seconds: f64 = ttl
        .call_method0("total_seconds")
        .and_then(|seconds| seconds.extract())
        .map_err(|_| PyTypeError::new_err("ttl must be a datetime.timedelta"))?;
    if seconds <= 0.0 {
        return Err(exception(py, "StateError", "ttl must be longer than zero"));
    }
    Ok(Some((seconds * 1000.0).round() as i64))
}

#[pymethods]
impl PyState {
    #[pyo3(signature = (key, default=None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let name = name_bytes(py, key)?;
        let Some(stored) = self.with(py, |state| state.get(&name))? else {
            return Ok(default.unwrap_or_else(|| py.None().into_bound(py)));
        };
        match stored.split_first() {
            Some((&TAG_JSON, text)) => match std::str::from_utf8(text) {
                Ok(text) => Decoder::default().decode(py, text),
                Err(_) => Err(exception(
                    py,
                    "StateSerializationError",
                    "the stored value is damaged",
                )),
            },
            Some((&TAG_BYTES, bytes)) => Ok(PyBytes::new(py, bytes).into_any()),
            _ => Err(exception(
                py,
                "StateSerializationError",
                "the stored value is damaged",
            )),
        }
    }

    #[pyo3(signature = (key, value, ttl=None))]
    fn set(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let name = name_bytes(py, key)?;
        let mut stored = vec![TAG_JSON];
        encode(value, &mut stored).map_err(|error| {
            exception(
                py,
                "StateSerializationError",
                &format!("the state's value: {error}"),
            )
        })?;
        let ttl = ttl_ms(py, ttl)?;
        self.with(py, |state| state.set(&name, &stored, ttl))
    }

    #[pyo3(signature = (key, default=None))]
    fn get_bytes<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let value = self.get(py, key, default)?;
        match value.cast::<PyString>() {
            Ok(_) => Err(exception(
                py,
                "StateError",
                "the value was stored by `set`; read it by `get`",
            )),
            Err(_) => Ok(value),
        }
    }

    #[pyo3(signature = (key, value, ttl=None))]
    fn set_bytes(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        value: &[u8],
        ttl: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let name = name_bytes(py, key)?;
        let stored = [&[TAG_BYTES], value].concat();
        let ttl = ttl_ms(py, ttl)?;
        self.with(py, |state| state.set(&name, &stored, ttl))
    }

    fn delete(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let name = name_bytes(py, key)?;
        self.with(py, |state| {
            state.delete(&name);
        })
    }

    fn exists(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let name = name_bytes(py, key)?;
        self.with(py, |state| state.get(&name).is_some())
    }
}
