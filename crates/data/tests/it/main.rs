//! Tests of the public interface, in one program: a program for each file would take minutes to link.

mod batches;
mod embedded;
mod files;
mod idx;
