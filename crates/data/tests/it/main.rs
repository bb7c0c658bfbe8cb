//! Tests of the public interface, in one program, because each program links candle again.

mod batches;
mod embedded;
mod files;
mod idx;
