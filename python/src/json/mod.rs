//! JSON text to Python objects and back.
//!
//! Text that is decoded here has been validated by `core::json`; so the decoder
//! checks only what it needs. Written text follows `core::json::write_value`,
//! so that a number looks the same whichever side wrote it.

mod decode;
mod encode;
mod unchanged;

pub(crate) use decode::Decoder;
pub(crate) use encode::{encode, is_numpy_scalar};
pub(crate) use unchanged::encode_over;
