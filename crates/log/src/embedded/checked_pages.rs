//! Pages that are checked: a flipped bit anywhere in a closed log is found when
//! its page is read.
//!
//! SQLite checks the structure of a page but not its content: a committed position
//! with a flipped bit would simply be another position. The CRC of a record batch
//! covers records, and nothing else that stands in the file. So every page ends in
//! eight bytes that SQLite leaves to us, with a CRC-32C of the rest and of the
//! page's number. It is computed where pages leave for the file and compared where
//! they come from it: in the layer between SQLite and the system (its VFS), which
//! is the only place that sees all pages. Not checked are pages in the WAL, which
//! has checksums of SQLite's, the overflow pages of batches, which SQLite reads
//! past its cache and in part (a batch has its own CRC, so no byte is checked
//! twice), and what is mapped into memory
//! ([`Options::mmap_bytes`](super::Options::mmap_bytes)).
//!
//! The file says itself whether its pages are checked: byte 20 of its header is the
//! number of bytes left to us. Logs of version 1 have none and stay as they are. If
//! that byte alone is damaged, the checksum of the first page tells. Another program
//! may read the file; what it writes (the `sqlite3` shell) has no checksum and counts
//! as damaged.
//!
//! ```text
//! SQLite ──▶ our table of methods ──▶ the system's table of methods ──▶ file
//!            read: compare
//!            write: compute on a copy
//! ```
//!
//! A file that SQLite opens points to a table of methods. The one of the database
//! gets ours instead, which has two methods of its own and the system's for all the
//! rest, and remembers where those are. There is one table for checked files and
//! one for others: which of both a file points to is all the state there is.

use headwater_core::{Error, Result};
use rusqlite::ffi;
use std::cell::RefCell;
use std::ffi::{CStr, c_int, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The name of the layer, for opening a database through it.
pub(super) const NAME: &CStr = c"headwater";

/// The bytes at the end of a page that are ours: four of the CRC, four unused.
const RESERVED_BYTES: u8 = 8;

/// Where the header of the file says how many bytes are reserved.
const RESERVED_AT: usize = 20;
const FILE_HEADER_BYTES: usize = 100;
const PAGE_BYTES_MIN: usize = 512;

/// The layer of the system, on which ours is built.
static SYSTEM: AtomicPtr<ffi::sqlite3_vfs> = AtomicPtr::new(std::ptr::null_mut());

/// The tables that have been made, one pair for each table of the system's. They
/// are never freed: a file may point to them for as long as the process lives.
static TABLES: Mutex<Vec<&'static Tables>> = Mutex::new(Vec::new());

/// Both tables that stand for one of the system's.
struct Tables {
    unchecked: Table,
    checked: Table,
}

/// A table of methods, with what our methods must know. SQLite sees the first
/// field, so a file's pointer to its table is a pointer to this.
#[repr(C)]
struct Table {
    methods: ffi::sqlite3_io_methods,
    system: *const ffi::sqlite3_io_methods,
    checks: bool,
}

// SAFETY: tables are written before anybody sees them and never again; what they
// point to is the system's constant table.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

/// Makes the layer known to SQLite, once.
///
/// # Errors
/// `Internal` if SQLite refuses it.
pub(super) fn register() -> Result<()> {
    static REGISTERED: OnceLock<c_int> = OnceLock::new();
    let code = *REGISTERED.get_or_init(|| {
        // SAFETY: a null name asks for the default layer, which SQLite keeps for as
        // long as the process lives, as it does ours, which is leaked.
        unsafe {
            let system = ffi::sqlite3_vfs_find(std::ptr::null());
            if system.is_null() {
                return ffi::SQLITE_ERROR;
            }
            SYSTEM.store(system, Ordering::Release);
            let ours = Box::leak(Box::new(ffi::sqlite3_vfs {
                pNext: std::ptr::null_mut(),
                zName: NAME.as_ptr(),
                xOpen: Some(open),
                ..*system
            }));
            ffi::sqlite3_vfs_register(ours, 0)
        }
    });
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(Error::internal(format!(
            "SQLite refuses the layer that checks pages code=`{code}`"
        ))),
    }
}

/// Reserves the bytes in a database that is still empty.
pub(super) fn reserve(sqlite: &rusqlite::Connection) -> rusqlite::Result<()> {
    let mut bytes = c_int::from(RESERVED_BYTES);
    // SAFETY: the handle is open for as long as `sqlite` is borrowed; the control
    // reads and writes one integer.
    let code = unsafe {
        ffi::sqlite3_file_control(
            sqlite.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_RESERVE_BYTES,
            (&raw mut bytes).cast::<c_void>(),
        )
    };
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)),
    }
}

/// Opens a file; the database itself points to our table then.
unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    let system = SYSTEM.load(Ordering::Acquire);
    // SAFETY: `register` has stored a layer that stays; the arguments are SQLite's
    // own, and the system's file fits because ours has no more to keep.
    unsafe {
        let Some(system_open) = (*system).xOpen else {
            return ffi::SQLITE_ERROR;
        };
        let code = system_open(system, name, file, flags, flags_out);
        let is_database = flags & ffi::SQLITE_OPEN_MAIN_DB != 0;
        if code == ffi::SQLITE_OK && is_database && !(*file).pMethods.is_null() {
            let tables = tables_of((*file).pMethods);
            (*file).pMethods = (&raw const tables.unchecked).cast();
        }
        code
    }
}

/// Our tables that stand for one of the system's.
///
/// # Safety
/// `system` is a table that stays for as long as the process lives.
unsafe fn tables_of(system: *const ffi::sqlite3_io_methods) -> &'static Tables {
    let mut known = TABLES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(tables) = known
        .iter()
        .find(|tables| std::ptr::eq(tables.checked.system, system))
    {
        return tables;
    }
    let table = |checks| Table {
        methods: ffi::sqlite3_io_methods {
            xRead: Some(read),
            xWrite: Some(write),
            // SAFETY: the caller's promise.
            ..unsafe { *system }
        },
        system,
        checks,
    };
    let tables = Box::leak(Box::new(Tables {
        unchecked: table(false),
        checked: table(true),
    }));
    known.push(tables);
    tables
}

/// Lets a file be checked or not, as its header says, and returns its table then.
///
/// # Safety
/// `file` is open and points to one of our tables.
unsafe fn heed_header(file: *mut ffi::sqlite3_file, bytes: &[u8], offset: i64) -> *const Table {
    // SAFETY: the caller's promise.
    unsafe {
        let table = (*file).pMethods.cast::<Table>();
        if offset != 0 || bytes.len() < FILE_HEADER_BYTES {
            return table;
        }
        let checks = bytes[RESERVED_AT] == RESERVED_BYTES;
        if checks == (*table).checks {
            return table;
        }
        let tables = tables_of((*table).system);
        let table = match checks {
            true => &raw const tables.checked,
            false => &raw const tables.unchecked,
        };
        (*file).pMethods = table.cast();
        table
    }
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    buffer: *mut c_void,
    count: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: SQLite calls a method with the file that points to its table, and
    // with a buffer of `count` bytes, which the system has filled if it says so.
    unsafe {
        let table = (*file).pMethods.cast::<Table>();
        let Some(system_read) = (*(*table).system).xRead else {
            return ffi::SQLITE_IOERR_READ;
        };
        let code = system_read(file, buffer, count, offset);
        if code != ffi::SQLITE_OK {
            return code;
        }
        let bytes = std::slice::from_raw_parts(buffer.cast::<u8>(), count as usize);
        let table = heed_header(file, bytes, offset);
        let is_damaged = is_page(bytes, offset)
            && match (*table).checks {
                true => !is_sound(bytes, offset),
                false => offset == 0 && was_checked(bytes),
            };
        match is_damaged {
            true => ffi::SQLITE_IOERR_DATA,
            false => code,
        }
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    buffer: *const c_void,
    count: c_int,
    offset: i64,
) -> c_int {
    thread_local! {
        /// SQLite's own page stays as it is.
        static COPY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    // SAFETY: as in `read`.
    unsafe {
        let table = (*file).pMethods.cast::<Table>();
        let Some(system_write) = (*(*table).system).xWrite else {
            return ffi::SQLITE_IOERR_WRITE;
        };
        let bytes = std::slice::from_raw_parts(buffer.cast::<u8>(), count as usize);
        let table = heed_header(file, bytes, offset);
        if !(*table).checks || !is_page(bytes, offset) {
            return system_write(file, buffer, count, offset);
        }
        COPY.with_borrow_mut(|copy| {
            copy.clear();
            copy.extend_from_slice(bytes);
            let (content, reserved) = copy.split_at_mut(bytes.len() - RESERVED_BYTES as usize);
            reserved.fill(0);
            reserved[..4].copy_from_slice(&checksum(content, bytes.len(), offset).to_le_bytes());
            system_write(file, copy.as_ptr().cast(), count, offset)
        })
    }
}

/// Whether these are the bytes of a page, and not of the header alone.
fn is_page(bytes: &[u8], offset: i64) -> bool {
    bytes.len() >= PAGE_BYTES_MIN
        && bytes.len().is_power_of_two()
        && (offset as u64).is_multiple_of(bytes.len() as u64)
}

/// A page that was reserved and never written is empty.
fn is_sound(page: &[u8], offset: i64) -> bool {
    let (content, reserved) = page.split_at(page.len() - RESERVED_BYTES as usize);
    let stored = u32::from_le_bytes([reserved[0], reserved[1], reserved[2], reserved[3]]);
    stored == checksum(content, page.len(), offset) || page.iter().all(|&byte| byte == 0)
}

/// Whether this first page of a file without checksums has one all the same.
fn was_checked(page: &[u8]) -> bool {
    let mut page = page.to_vec();
    page[RESERVED_AT] = RESERVED_BYTES;
    is_sound(&page, 0)
}

fn checksum(content: &[u8], page_bytes: usize, offset: i64) -> u32 {
    let number = offset as u64 / page_bytes as u64;
    crc32c::crc32c_append(crc32c::crc32c(content), &number.to_le_bytes())
}
