//! `headwater state get|scan`.

use crate::Console;
use crate::flags::Form;
use crate::layout::{Cell, Listing, json_object};
use crate::outcome::{Failure, Outcome};
use headwater::core::ValueRef;
use headwater::log::Log;
use headwater::state::StoredEntry;
use headwater::{Error, Result, StoredStore, Value, stored_stores};

/// What a look at the state asks for.
pub(crate) struct Asked<'a> {
    pub(crate) application: &'a str,
    pub(crate) store: Option<&'a str>,
    pub(crate) key: Option<&'a str>,
    pub(crate) count: Option<u64>,
}

/// Lists the stores of an application.
pub(crate) fn stores(
    log: &dyn Log,
    application: &str,
    form: Form,
    console: &mut Console<'_>,
) -> Outcome {
    let mut listing = Listing::new(["store", "kind", "partitions", "entries"]);
    for store in stored_stores(log, application)? {
        let mut entries = 0_u64;
        store.scan(log, None, &mut |_, _| {
            entries += 1;
            Ok(true)
        })?;
        listing.push([
            Cell::text(store.id.as_str()),
            Cell::text(if store.is_window { "window" } else { "keyed" }),
            Cell::number(store.ends.len() as u64),
            Cell::number(entries),
        ]);
    }
    listing.write(form, console.out)?;
    Ok(0)
}

/// Shows entries of the stores of an application.
pub(crate) fn show(
    log: &dyn Log,
    asked: &Asked<'_>,
    form: Form,
    console: &mut Console<'_>,
) -> Outcome {
    let stores = chosen(log, asked)?;
    let mut left = asked.count.unwrap_or(u64::MAX);
    let mut listing = Listing::new(["store", "partition", "key", "kind", "value"]);
    let mut written = Ok(());
    for store in &stores {
        let mut take = |partition: u32, entry: StoredEntry| {
            if left == 0 {
                return Ok(false);
            }
            left -= 1;
            match form {
                Form::Table => listing.push(row(store, partition, &entry)),
                Form::Json => {
                    written = writeln!(console.out, "{}", line(store, partition, &entry));
                }
            }
            Ok(written.is_ok())
        };
        store.scan(log, asked.key.map(str::as_bytes), &mut take)?;
    }
    written.map_err(Failure::Output)?;
    if form == Form::Table {
        listing.write(form, console.out)?;
    }
    Ok(0)
}

fn chosen(log: &dyn Log, asked: &Asked<'_>) -> Result<Vec<StoredStore>> {
    let mut stores = stored_stores(log, asked.application)?;
    let known: Vec<String> = stores.iter().map(|store| store.id.clone()).collect();
    if let Some(name) = asked.store {
        stores.retain(|store| store.id == name);
    }
    if stores.is_empty() {
        return Err(Error::invalid(format!(
            "the application has no such store application=`{}` store=`{}`\n\
             hint: its stores are: {}",
            asked.application,
            asked.store.unwrap_or_default(),
            if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            }
        )));
    }
    Ok(stores)
}

fn row(store: &StoredStore, partition: u32, entry: &StoredEntry) -> [Cell; 5] {
    let fields = entry.fields.iter();
    let fields = json_object(fields.map(|(name, value)| (*name, value.as_ref())));
    [
        Cell::text(store.id.as_str()),
        Cell::number(partition),
        Cell::bytes(entry.key.as_deref()),
        Cell::text(entry.kind),
        Cell::shown(Value::Null, fields),
    ]
}

fn line(store: &StoredStore, partition: u32, entry: &StoredEntry) -> String {
    let key = entry.key.as_deref().map(String::from_utf8_lossy);
    let head = [
        ("store", ValueRef::Str(&store.id)),
        ("partition", ValueRef::Int(partition.into())),
        ("key", key.as_deref().map_or(ValueRef::Null, ValueRef::Str)),
        ("kind", ValueRef::Str(entry.kind)),
    ];
    let fields = entry.fields.iter();
    json_object(
        head.into_iter()
            .chain(fields.map(|(name, value)| (*name, value.as_ref()))),
    )
}
